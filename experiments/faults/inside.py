"""Cases that are tried one after the other in a process of their own, with limits to its memory and to the time of each.

`python -m experiments.faults.inside MODULE:FUNCTION KIND SEED FOLDER NUMBER...` is that process. The function takes the place,
the kind and a number; it returns what was measured, or raises a `Fault`.
"""

from __future__ import annotations

import importlib
import json
import resource
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

from experiments.faults.cases import Case, Fault, Place
from experiments.faults.processes import Marked

MEMORY = 3 * 10**9
"""Bytes that such a process may take."""


def tries(
    work: Callable[[Place, str, int], str | None], place: Place, kind: str, numbers: Sequence[int], *, seconds: float
) -> Iterator[Case]:
    """The cases of these numbers. The process is started anew behind one that it does not survive.

    Args:
        work: what tries a case there.
        place: where.
        kind: of the cases.
        numbers: which.
        seconds: that a case may take; and as many for the process to start.
    """
    folder = place.fresh(f"{kind} {numbers[0]}")
    here = Place(place.seed, folder)
    waiting = list(numbers)
    while waiting:
        marked = Marked()
        answers, output = folder / "cases.jsonl", folder / "output.txt"
        answers.unlink(missing_ok=True)
        arguments = [f"{work.__module__}:{work.__name__}", kind, str(place.seed), str(folder), *map(str, waiting)]
        process = marked.start([sys.executable, "-m", "experiments.faults.inside", *arguments], folder, output)
        read, heard = 0, time.monotonic() + seconds
        try:
            while waiting:
                ended = process.poll() is not None
                lines = answers.read_text().splitlines(keepends=True) if answers.exists() else []
                for line in [line for line in lines[read:] if line.endswith("\n")]:
                    read, heard = read + 1, time.monotonic()
                    waiting.pop(0)
                    yield Case(*json.loads(line))
                if waiting and (ended or time.monotonic() > heard + seconds):
                    text = output.read_text(errors="replace").strip().splitlines() or [""]
                    what = (
                        f"ended its process with {process.returncode}" if ended else f"took longer than {seconds:g} s"
                    )
                    yield Case(place.seed, kind, waiting.pop(0), "other", f"It {what}: {text[-1]}")
                    break
                time.sleep(0.02)
            else:
                yield from _left(here, kind, numbers[-1], marked)
        finally:
            marked.end()


def _left(place: Place, kind: str, number: int, marked: Marked) -> Iterator[Case]:
    """The last case again, where a process is left."""
    case = place.tried(kind, number, marked.wait_until_gone)
    if case.fault:
        yield case


def main() -> None:
    """Tries the cases, and writes a line for each."""
    name, kind, seed, folder, *numbers = sys.argv[1:]
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, resource.RLIM_INFINITY))
    sys.dont_write_bytecode = True
    module, _, function = name.partition(":")
    work = getattr(importlib.import_module(module), function)
    place = Place(int(seed), Path(folder))
    with (place.folder / "cases.jsonl").open("a") as file:
        for number in map(int, numbers):
            case = place.tried(kind, number, partial(_worked, work, place, kind, number))
            file.write(json.dumps(case) + "\n")
            file.flush()


def _worked(work: Callable[[Place, str, int], str | None], place: Place, kind: str, number: int) -> str | None:
    try:
        return work(place, kind, number)
    except Fault:
        raise
    except BaseException as error:  # that is what is looked for
        where = traceback.extract_tb(error.__traceback__)[-1]
        said = traceback.format_exception_only(error)[-1].strip()
        raise Fault("traceback", f"{said} ({Path(where.filename).name}:{where.lineno})") from error


if __name__ == "__main__":
    main()
