"""How every command of this package starts and ends."""

from __future__ import annotations

import signal
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import Annotated, Any, NoReturn, Self

import typer

from marl_hpo_env import InputError
from marl_hpo_env.errors import whole_number
from marl_hpo_env.stopping import EXIT_CODE, SIGNALS, end_at_once, end_at_once_when_told

MOST_SIDE_BY_SIDE = 1024
"""Processes."""


def at_most(most: int) -> Callable[[int | None], int | None]:
    """For an option's `callback`: a number beyond it, such as of processes, would be a slip of the finger."""

    def check(value: int | None) -> int | None:
        if value is not None and value > most:
            raise typer.BadParameter(f"{value} is more than {most:,}.")
        return value

    return check


MOST_EPISODES = 10**9
"""Of a run; likewise."""

MOST_SEEDS = 100_000
"""Of a comparison, or a table of the paper; likewise."""


def path_option(*names: str, metavar: str = "PATH", **settings: Any) -> Any:
    """A `typer.Option` that names a file or folder: `~` in it is the home folder, and it is not empty."""
    return typer.Option(*names, parser=_read_path, metavar=metavar, **settings)


def _read_path(text: str | Path) -> Path:
    try:
        path = Path(text).expanduser()
        path.exists()
    except (RuntimeError, ValueError, OSError) as error:  # nobody's home, a character that no name has, too long
        raise typer.BadParameter(f"{str(text)!r} is no path: {getattr(error, 'strerror', None) or error}.") from error
    if not str(text).strip():
        raise typer.BadParameter("The path is empty; name a file or folder, or leave the option out.")
    return path


def seed_option(help: str) -> Any:
    """A `typer.Option` that is a seed."""
    # Checked here and not by `max`, whose many digits would stand in the help.
    return typer.Option(min=0, help=help, callback=lambda value: whole_number("seed", value, 0))


Jobs = Annotated[
    int | None,
    typer.Option(min=1, callback=at_most(MOST_SIDE_BY_SIDE), help="Runs side by side.", show_default="one per core"),
]
Device = Annotated[
    str | None,
    typer.Option(help="Where to train, such as 'cpu' or 'cuda:0,cuda:1'.", show_default="a GPU where there is one"),
]
Workers = Annotated[
    int | None,
    typer.Option(
        min=1,
        callback=at_most(MOST_SIDE_BY_SIDE),
        help="Trainings side by side.",
        show_default="one per core; 1 on a GPU, or where times are rewarded or limited",
    ),
]

Ray = Annotated[
    str | None,
    typer.Option(
        metavar="auto|ADDRESS",
        help="Train on every machine of a Ray cluster: the one that this machine is part of, or the one at an address.",
    ),
]

Strict = Annotated[
    bool,
    typer.Option(
        "--strict",
        help="Refuse to go on with other vector instructions, or another kind of GPU, than stored trials were made with.",
    ),
]


def new_app(**settings: Any) -> typer.Typer:
    """A command or a group of commands, such as `run_command` runs; `settings` as `typer.Typer` takes them."""
    return typer.Typer(add_completion=False, pretty_exceptions_enable=False, **settings)


def run_command(app: typer.Typer, name: str, arguments: Sequence[str] | None = None) -> NoReturn:
    """Runs a command to its end, which is an exit.

    Bad input is one sentence on the error stream and exit code 2; Ctrl-C and SIGTERM are one and exit code 130. A warning is
    one sentence.

    Args:
        app: the command.
        name: how it is called, such as `marl-hpo`.
        arguments: what stands behind the name; what this process was started with where None.
    """
    with _Stopping() as stopping:
        try:
            code, sentence = _ended(app, name, arguments)
            end_at_once_when_told()
        except BaseException:  # whatever became of the exception that stops, on its way through others' code
            if not stopping.asked:
                raise
        if stopping.asked:
            code, sentence = EXIT_CODE, "\nStopped; what was finished is stored, and the same command continues."
    if sentence:
        typer.echo(sentence, err=True)
    sys.exit(code)


def _ended(app: typer.Typer, name: str, arguments: Sequence[str] | None) -> tuple[Any, str]:
    """The exit code of a command that has come to its end, and what is to be said of it."""
    try:
        with warnings.catch_warnings():
            _warn_in_a_sentence(name)
            app(arguments, prog_name=name)
    except InputError as error:
        return 2, f"{name}: {error}"
    except OSError as error:  # such as a full disk, or a picture in a folder that does not exist
        return 2, f"{name}: {error.filename or 'A file'} cannot be written or read: {error.strerror or error}."
    except SystemExit as ended:
        return ended.code, ""
    return 0, ""


class Stopped(BaseException):
    """The user, or the system, asks the command to stop."""


class _Stopping:
    """While it is entered, Ctrl-C and SIGTERM raise `Stopped` in the command; the second time the process ends at once.

    Never within an import: a module that is half imported fails later, elsewhere, and a library takes what its import raises for
    a part that is not installed. Then the exception waits for the import's end; after `_PATIENCE` the process ends at once.
    Nor is it lost where Python can raise nothing, as in `__del__`: it is raised again a moment later.

    Attributes:
        asked: whether it was asked to stop.
    """

    _MOMENT = 0.02
    """Seconds between two looks at whether an import is over."""

    _PATIENCE = 3
    """Seconds that an import is waited for: a module of the user's own may do anything in it."""

    def __init__(self) -> None:
        self.asked = False

    def __enter__(self) -> Self:
        self._unraisable = sys.unraisablehook
        sys.unraisablehook = self._lost
        for number in SIGNALS:
            signal.signal(number, self._ask)
        return self

    def __exit__(self, *error: object) -> None:
        self._look_again(0)
        sys.unraisablehook = self._unraisable

    def _ask(self, number: int, frame: FrameType | None) -> None:
        self.asked = True
        self._latest = time.monotonic() + self._PATIENCE
        end_at_once_when_told()  # whoever asks twice does not want to wait
        self._stop(number, frame)

    def _stop(self, number: int, frame: FrameType | None) -> None:
        if not _importing(frame):
            raise Stopped
        if time.monotonic() > self._latest or not self._look_again(self._MOMENT):
            end_at_once()

    def _lost(self, unraisable: Any) -> None:
        if unraisable.exc_type is not Stopped:
            self._unraisable(unraisable)
        else:
            self._look_again(self._MOMENT)

    def _look_again(self, seconds: float) -> bool:
        """Has `_stop` called in as many seconds, 0 for never; False where the system has no such clock."""
        if not hasattr(signal, "setitimer"):
            return False
        if self.asked:
            signal.signal(signal.SIGALRM, self._stop)
            signal.setitimer(signal.ITIMER_REAL, seconds)
        return True


def _importing(frame: FrameType | None) -> bool:
    """Whether an import is going on where this frame is."""
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False


def _warn_in_a_sentence(name: str) -> None:
    """Shows what is meant for users without the place in the code; other warnings, such as deprecations, as ever."""
    show = warnings.showwarning

    def say(message: Any, category: type[Warning], *place: Any, **more: Any) -> None:
        if category is UserWarning:
            typer.echo(f"{name}: {message}", err=True)
        else:
            show(message, category, *place, **more)

    warnings.showwarning = say
