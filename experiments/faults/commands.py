"""Wrong command lines, made from the commands' own options: one sentence, exit code 2, and nothing written."""

from __future__ import annotations

import contextlib
import gc
import io
import os
import random
import shlex
import sys
from collections.abc import Iterator, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

import typer

from experiments.command_line import run_command
from experiments.faults import inside
from experiments.faults.cases import Case, Fault, Kind, Place
from experiments.faults.known_lines import KNOWN, write_files
from experiments.faults.processes import Marked
from experiments.faults.tasks import WITHOUT_DATA

SECONDS = 60.0
"""That a command line may take here, where two run side by side."""

RIGHT = (
    "demo --device nope",
    f"tune --task {WITHOUT_DATA}",
    f"tune --task {WITHOUT_DATA} --learner random --episodes 1 --out new",
    "tune --model ./mine.py:make --data nowhere",
    f"fit --task {WITHOUT_DATA} --design 0,0,0,0",
    f"show --task {WITHOUT_DATA} --picture layers.txt",
    "show --model ./mine.py:make --picture layers.txt",
    f"compare --task {WITHOUT_DATA} --seeds 2 --episodes 2",
    f"compare --task {WITHOUT_DATA} --seeds 2 --episodes 2 --learners random --out new",
    "report nowhere",
    f"reproduce table4 --task {WITHOUT_DATA}",
    f"reproduce fig9 --task {WITHOUT_DATA}",
    f"table build --task {WITHOUT_DATA} --out new",
    "table describe nowhere.npz",
    "table check nowhere.npz",
)
"""Lines that would be right but for the last thing they say; so nothing is trained, whatever becomes of the rest."""

WORDS = (
    *("", " ", "-1", "0", "0.5", "1.5", "nan", "inf", "-inf", "1e999", "1_000", "99999999999999999999", "None", "true"),
    *(
        "abc",
        "ü€😀",
        "\udcff",
        "a" * 300,
        "a" * 5000,
        "--",
        "-",
        "[",
        "{}",
        "%s",
        "*",
        ",",
        "0,0",
        "3,5,,1",
        "-1,0,0,0",
    ),
    *("nowhere/else", "text.txt", "text.txt/x", "empty.npz", ".", "/", "/dev/null/x", "~nobody/x", "../..", ":", "a:b"),
    *(
        "./mine.py:raises",
        "./mine.py",
        "./raises.py:task",
        "os:getcwd",
        "random(",
        "random(seed=)",
        "random)",
        "1/0",
        "1/3",
    ),
    *("original", "cuda:99", "meta", "auto", "127.0.0.1:1", "calibrated", "running", "validation_accuracy", "x=y"),
    *("validation_accuracy=1", "validation_accuracy=nan", "validation_accuracy <= original", "<=", "a\nb", "\x1b[31m"),
)


def line(draw: random.Random) -> list[str]:
    """A wrong command line: a known one, or one with options changed, added, repeated, emptied or lost."""
    if draw.random() < 0.15:
        return shlex.split(draw.choice(KNOWN))
    words = draw.choice(RIGHT).split()
    for _ in range(draw.choice((1, 1, 1, 2, 3))):
        _change(words, draw)
    return words


def _change(words: list[str], draw: random.Random) -> None:
    options = _options(words)
    what = draw.random()
    if what < 0.75 and options:
        option = draw.choice(options)
        words += [option] if draw.random() < 0.05 else [option, draw.choice(WORDS)]
    elif what < 0.85:
        words.insert(draw.randrange(len(words) + 1), draw.choice(WORDS))
    elif what < 0.9:
        words += [f"--{draw.choice(('nope', 'tas', 'Seed', 'seed=x', ''))}"]
    else:
        given = [at for at, word in enumerate(words) if not word.startswith("-")]
        at = draw.choice(given)
        words[at] = draw.choice(WORDS) if at > 1 else words[at] + draw.choice(("", "x", " "))


def _options(words: Sequence[str]) -> list[str]:
    """The options of the command that a line names."""
    command = _commands()
    for word in words:
        deeper = getattr(command, "commands", {}).get(word)
        if deeper is None:
            break
        command = deeper
    return [option for parameter in command.params for option in parameter.opts if option.startswith("--")]


@cache
def _commands() -> Any:
    from experiments.commands.main import app

    return typer.main.get_command(app)


def _check(words: Sequence[str], code: object, said: str, before: object, folder: Path) -> None:
    """Whether a line ended as it should."""
    typed = shlex.join(words)[:300]
    if "Traceback" in said:
        raise Fault("traceback", f"marl-hpo {typed}: {said.strip().splitlines()[-1]}")
    if code not in (0, 2):
        raise Fault("other", f"marl-hpo {typed}: exit code {code}: {said.strip()[-300:]}")
    if not said.strip():
        raise Fault("other", f"marl-hpo {typed}: it says nothing.")
    if code == 2 and _files(folder) != before:
        raise Fault("left behind", f"marl-hpo {typed}: it has written something and says: {said.strip()[-300:]}")


def _files(folder: Path) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def tried(place: Place, kind: str, number: int) -> None:
    """Runs a wrong command line in this process."""
    from experiments.commands.main import app

    folder = place.folder / "there"
    if not folder.exists():
        folder.mkdir()
        write_files(folder)
    os.chdir(folder)
    words = line(place.draw(kind, number))
    gc.collect()  # a store of the line before is closed now, and changes no file later
    before, modules, paths = _files(folder), set(sys.modules), list(sys.path)
    said = io.TextIOWrapper(io.BytesIO(), "utf-8", "backslashreplace", write_through=True)
    code: object = 0
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        try:
            run_command(app, "marl-hpo", words)
        except SystemExit as ended:
            code = ended.code or 0
        except RecursionError:
            raise
        except Exception as error:
            raise Fault("traceback", f"marl-hpo {shlex.join(words)}: {type(error).__name__}: {error}") from error
    sys.path[:] = paths
    for name in ("mine", "raises", "leaves"):
        if name in set(sys.modules) - modules:
            del sys.modules[name]
    _check(words, code, said.buffer.getvalue().decode(errors="replace"), before, folder)


def tries(place: Place, kind: str, numbers: Sequence[int]) -> Iterator[Case]:
    """Runs wrong command lines as commands."""
    there = place.fresh(f"{kind} {numbers[0]}") / "there"
    there.mkdir()
    write_files(there)

    def attempt(number: int) -> None:
        words = line(place.draw(kind, number))
        before, output = _files(there), there.parent / "output.txt"
        marked = Marked()
        try:
            program = [sys.executable, "-B", "-m", "marl_hpo_env", *words]
            process = marked.start(program, there, output)
            code = process.wait(SECONDS)
            marked.wait_until_gone()
        finally:
            marked.end()
        _check(words, code, output.read_text(errors="replace"), before, there)

    for number in numbers:
        yield place.tried(kind, number, partial(attempt, number))


def kinds() -> list[Kind]:
    """Lines in one process, and as commands."""
    return [
        Kind("wrong command lines, in one process", 900, 300, partial(inside.tries, tried, seconds=SECONDS)),
        Kind("wrong command lines, as commands", 100, 10, tries),
    ]
