"""Damaged files: each is read as what it was, or refused in one sentence, in little memory and little time.

Damage is of two sorts. Bytes change, such as on a bad disk: then the content is that of the whole file, or it is refused. Or
somebody made the file so, checksums included: then it may say something else, but nothing else may happen. The same holds where a
format has no checksum: NAS-Bench-Macro's, and the files that a report is made of.
"""

from __future__ import annotations

import contextlib
import io
import json
import operator
import random
import shutil
import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from experiments.faults import broken, hostile, inside
from experiments.faults.cases import Case, Fault, Kind, Place
from experiments.faults.kills import BUILD, COMPARE, TUNE_1
from experiments.faults.stored import of_table, outcome
from experiments.faults.tasks import small
from marl_hpo_env import InputError, Store

SECONDS = 30.0
"""That a case may take, on a machine that is busy."""


class Format(NamedTuple):
    """A format of files.

    Args:
        name: of the file.
        whole: makes a whole file at the path, from the folders of a tuning run, a comparison and a table.
        read: what a file holds, in a form that can be compared.
        hostile: changes its meaning, checksums included.
        agree: whether what was found is what was expected.
        sealed: whether it has checksums, so that other bytes are other content, or none.
    """

    name: str
    whole: Callable[[Path, Path, Path, Path], None]
    read: Callable[[Path], Any]
    hostile: Callable[[Path, random.Random], None]
    sealed: bool = True
    agree: Callable[[Any, Any], bool] = operator.eq


def _read_store(path: Path) -> Any:
    store = Store(path)
    try:
        return [(fingerprint, outcome(trial)) for fingerprint, trial in store.trials()]
    finally:
        store.close()


def _read_network(path: Path) -> Any:
    from marl_hpo_env.networks.saved import load_network

    network = load_network(path, _model())
    return {name: value.numpy().tobytes() for name, value in network.state_dict().items()}


@cache
def _model() -> Any:
    return small().model()


def _read_table(path: Path) -> Any:
    from marl_hpo_env.tables.table import Table

    return list(of_table(Table.open(path)))


def _read_macro(path: Path) -> Any:
    from marl_hpo_env.tables.foreign import foreign_table

    return repr(foreign_table(path))


def _read_runs(path: Path) -> Any:
    from experiments.comparison.contest import Runs

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it says which lines are no runs; they are run again
        runs = Runs(path.parent, lambda contest: "")
        runs._file.close()
    return runs._finished


def _read_report(path: Path) -> Any:
    from experiments.tuning.overview import report_of

    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        report_of(next(parent for parent in path.parents if (parent / "trials.sqlite").exists()))
    return None


def _copy(name: str) -> Callable[[Path, Path, Path, Path], None]:
    """Makes the whole file from that of this pattern in one of the folders."""

    def whole(path: Path, *folders: Path) -> None:
        (found,) = (found for folder in folders for found in folder.glob(name))
        shutil.copy(found, path)

    return whole


def _macro(path: Path, *folders: Path) -> None:
    """The authors' form with figures of our own."""
    digits = [f"{n // 3**7 % 3}{''.join(str(n // 3**i % 3) for i in range(7))}" for n in range(3**8)]
    draw = random.Random(0)
    measured = {
        name: {"test_acc": [round(90 + draw.random(), 2) for _ in range(3)], "params": 1000 + n, "flops": 10_000 + n}
        for n, name in enumerate(digits)
    }
    path.write_text(json.dumps(measured))


def _run(path: Path, *folders: Path) -> None:
    """A tuning run with its store; the path is that of a file in it."""
    run = path.parents[1]
    shutil.rmtree(run, ignore_errors=True)
    shutil.copytree(folders[0], run)


def _are_left(found: Any, expected: Any) -> bool:
    """Whether all runs that were found are among those expected; the others are run again."""
    return all(expected.get(contest) == run for contest, run in found.items())


RUN = "random-seed0"

FORMATS = (
    Format("trials.sqlite", lambda path, tune, *_: _settled_store(tune, path), _read_store, hostile.store),
    Format("network.safetensors", _copy("*/network.safetensors"), _read_network, hostile.network),
    Format("table.npz", _copy("*.npz"), _read_table, hostile.table),
    Format("runs.jsonl", _copy("runs.jsonl"), _read_runs, hostile.lines, agree=_are_left),
    Format(f"run/{RUN}/settings.json", _run, _read_report, hostile.text, sealed=False),
    Format(f"run/{RUN}/episodes-random.csv", _run, _read_report, hostile.cells, sealed=False),
    Format("nas-bench-macro.json", _macro, _read_macro, hostile.text, sealed=False),
)


def _settled_store(folder: Path, path: Path) -> None:
    """A store in one file, without the log beside it."""
    import sqlite3

    with contextlib.closing(sqlite3.connect(folder / "trials.sqlite")) as database:
        database.execute("vacuum into ?", (str(path),))


def tried(place: Place, kind: str, number: int) -> None:
    """Damages a copy of a whole file, and reads it."""
    form = FORMATS[number % len(FORMATS)]
    draw = place.draw(kind, number)
    path = place.folder / form.name
    for old in place.folder.glob(f"{form.name}-*"):  # the log of a store
        old.unlink()
    whole = place.folder.parent / "whole"
    sources = [Path(line) for line in (whole / "folders.txt").read_text().splitlines()]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    form.whole(path, *sources)
    expected = _expected(form, path)
    made_so = draw.random() < 0.3
    if made_so:
        form.hostile(path, draw)
    else:
        content = bytearray(path.read_bytes())
        draw.choice(broken.DAMAGES)(content, draw)
        path.write_bytes(content)
    try:
        found = form.read(path)
    except InputError as error:
        _check_sentence(str(error))
        return
    if form.sealed and not made_so and not form.agree(found, expected):
        raise Fault("lost", f"A damaged {path.name} is read as if it were whole.")


_EXPECTED: dict[str, Any] = {}


def _expected(form: Format, path: Path) -> Any:
    """What the whole file holds."""
    if form.name not in _EXPECTED:
        _EXPECTED[form.name] = form.read(path)
        if form.name == "trials.sqlite":
            for log in path.parent.glob(f"{path.name}-*"):
                log.unlink()
    return _EXPECTED[form.name]


def _check_sentence(sentence: str) -> None:
    if "\n" in sentence.strip() or "Traceback" in sentence or not sentence.strip() or len(sentence) > 2000:
        raise Fault("other", f"It is refused in no sentence: {sentence[:500]!r}")


def tries(place: Place, kind: str, numbers: Sequence[int]) -> Iterator[Case]:
    """As `inside.tries`, with whole files to damage."""
    whole = place.folder / "whole"
    whole.mkdir(parents=True, exist_ok=True)
    folders = [command.folder(place) for command in (TUNE_1, COMPARE, BUILD)]
    (whole / "folders.txt").write_text("".join(f"{folder}\n" for folder in folders))
    yield from inside.tries(tried, place, kind, numbers, seconds=SECONDS)


def kinds() -> list[Kind]:
    """Files, of each format in turn."""
    return [Kind("damaged files", 1000, 250, tries)]
