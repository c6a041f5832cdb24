"""What the campaign tries, and what came of each case."""

from __future__ import annotations

import json
import math
import random
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

FAULTS = ("lost", "traceback", "left behind", "other")
"""Ways in which a case is not survived: a trial or its value is lost; a traceback is shown; a process or a file stays; else."""


class Fault(Exception):
    """A case was not survived.

    Args:
        what: one of `FAULTS`.
        sentence: what happened.
    """

    def __init__(self, what: str, sentence: str) -> None:
        super().__init__(sentence)
        self.what = what


class Case(NamedTuple):
    """What came of one case.

    Args:
        seed: of the campaign.
        kind: the name of what was tried.
        number: of the case, from which together with the seed all of it follows but for the clock.
        fault: one of `FAULTS`; empty where it was survived.
        sentence: what happened, or was measured.
    """

    seed: int
    kind: str
    number: int
    fault: str = ""
    sentence: str = ""


class Place(NamedTuple):
    """Where a campaign works.

    Args:
        seed: of the campaign.
        folder: for whatever is written.
    """

    seed: int
    folder: Path

    def draw(self, kind: str, number: int) -> random.Random:
        """The generator of a case."""
        return random.Random(f"{self.seed} {kind} {number}")

    def fresh(self, name: str) -> Path:
        """An empty folder."""
        path = self.folder / name
        shutil.rmtree(path, ignore_errors=True)
        path.mkdir(parents=True)
        return path

    def tried(self, kind: str, number: int, work: Callable[[], str | None]) -> Case:
        """The case that `work` tries; it returns what was measured, or raises a `Fault`."""
        try:
            return Case(self.seed, kind, number, "", work() or "")
        except Fault as fault:
            return Case(self.seed, kind, number, fault.what, str(fault))


@dataclass(frozen=True)
class Kind:
    """One kind of cases.

    Args:
        name: of the kind.
        count: of the whole campaign.
        together: cases that are tried in one go.
        tries: yields the cases of these numbers, one by one.
        in_a_row: whether a case needs those of its group before it.
        is_size: whether there is a single case, whose number is how large it is.
    """

    name: str
    count: int
    together: int
    tries: Callable[[Place, str, Sequence[int]], Iterator[Case]]
    in_a_row: bool = False
    is_size: bool = False

    def numbers(self, share: float) -> list[int]:
        """Of the cases of a share of the campaign."""
        count = max(1, math.ceil(self.count * share))
        return [count] if self.is_size else list(range(count))

    def groups(self, share: float) -> Iterator[list[int]]:
        """The numbers that are tried in one go."""
        numbers = self.numbers(share)
        for first in range(0, len(numbers), self.together):
            yield numbers[first : first + self.together]


class Journal:
    """The cases that were tried, each written at once.

    Args:
        path: a file of lines; what is in it counts.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("a+", encoding="utf-8")
        self._file.seek(0)
        self.cases: dict[tuple[int, str, int], Case] = {}
        line = "\n"
        for line in self._file:
            with suppress(ValueError):  # the campaign was killed at it
                self._keep(Case(*json.loads(line)))
        if not line.endswith("\n"):  # what comes next is a line of its own
            self._file.write("\n")

    def _keep(self, case: Case) -> None:
        self.cases[case[:3]] = case

    def put(self, case: Case) -> None:
        """Keeps a case."""
        self._keep(case)
        self._file.write(json.dumps(case) + "\n")
        self._file.flush()
