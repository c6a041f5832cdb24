"""How every command of this package starts and ends."""

from __future__ import annotations

import signal
import sys
import warnings
from collections.abc import Sequence
from typing import Annotated, Any, NoReturn

import typer

from marl_hpo_env import InputError

Jobs = Annotated[int | None, typer.Option(min=1, help="Runs side by side.", show_default="one per core")]
Device = Annotated[
    str | None, typer.Option(help="Where to train, such as 'cpu' or 'cuda'.", show_default="a GPU where there is one")
]
Workers = Annotated[
    int | None,
    typer.Option(
        min=1,
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


def new_app(**settings: Any) -> typer.Typer:
    """A command or a group of commands, such as `run_command` runs; `settings` as `typer.Typer` takes them."""
    return typer.Typer(add_completion=False, pretty_exceptions_enable=False, **settings)


def run_command(app: typer.Typer, name: str, arguments: Sequence[str] | None = None) -> None:
    """Runs a command to its end, which is an exit.

    Bad input is one sentence on the error stream and exit code 2, Ctrl-C is exit code 130. A warning is one sentence.

    Args:
        app: the command.
        name: how it is called, such as `marl-hpo`.
        arguments: what stands behind the name; what this process was started with where None.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _stop)
    try:
        with warnings.catch_warnings():
            _warn_in_a_sentence(name)
            app(arguments, prog_name=name)
    except InputError as error:
        typer.echo(f"{name}: {error}", err=True)
        sys.exit(2)
    except OSError as error:  # such as a full disk, or a picture in a folder that does not exist
        typer.echo(
            f"{name}: {error.filename or 'A file'} cannot be written or read: {error.strerror or error}.", err=True
        )
        sys.exit(2)
    except _Stopped:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        typer.echo("\nStopped; what was finished is stored, and the same command continues.", err=True)
        sys.exit(130)


class _Stopped(BaseException):
    """The user, or the system, asks the command to stop."""


def _stop(number: int, frame: object) -> NoReturn:
    raise _Stopped


def _warn_in_a_sentence(name: str) -> None:
    """Shows what is meant for users without the place in the code; other warnings, such as deprecations, as ever."""
    show = warnings.showwarning

    def say(message: Any, category: type[Warning], *place: Any, **more: Any) -> None:
        if category is UserWarning:
            typer.echo(f"{name}: {message}", err=True)
        else:
            show(message, category, *place, **more)

    warnings.showwarning = say
