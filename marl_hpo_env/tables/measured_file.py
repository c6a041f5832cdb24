"""Benchmarks that other people measured, read from their own files, which are the user's and never in this package.

A file of one is a JSON object: by a design's digits, one per layer, the test accuracies in percent of several trainings, the
parameters, and the multiply-adds. What differs from one benchmark to the next stands in its `MeasuredFile`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from marl_hpo_env.errors import InputError, first_line, number
from marl_hpo_env.space import Design, SearchSpace
from marl_hpo_env.tables.table import Table
from marl_hpo_env.trial import Request, Trial

COUNTED = "The authors count a multiply-add as one operation; flops are twice their figure."


@dataclass(frozen=True)
class MeasuredFile:
    """What a benchmark's file holds, and what it does not say itself.

    Args:
        title: as its authors call it; in lower case it is the table's name.
        space: the designs.
        accuracies: under which key a design has its test accuracies, one per seed.
        seeds: of them, from 0.
        lowest: the digit of a layer's first action.
        epochs: of every training; 1 where nobody says how many there were.
        notes: what a user of the table must know.
        splits: how many examples there were, by name.
        network: of a design, the first of those that are the same network; None where all differ.
    """

    title: str
    space: SearchSpace
    accuracies: str
    seeds: int
    lowest: int
    epochs: int
    notes: tuple[str, ...]
    splits: Mapping[str, int]
    network: Callable[[Design], Design] | None = None

    def table(self, networks: Any, path: Path | str) -> Table:
        """The table of what was read from this file.

        Raises:
            InputError: if it is not the benchmark's or not all of it.
        """
        try:
            trials = list(self._trials(networks))
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise InputError(f"The file {str(path)!r} is not that of {self.title}: {first_line(error)}.") from error
        first: dict[Design, int] = {}
        same = self.network or (lambda design: design)
        return Table.from_trials(
            self.title.lower(),
            self.space,
            range(self.seeds),
            self.epochs,
            trials,
            networks=[first.setdefault(same(self.space.design_at(n)), len(first)) for n in range(self.space.size)],
            about={"notes": self.notes, "splits": dict(self.splits)},
        )

    def is_of(self, networks: Any) -> bool:
        """Whether the first entry of a file looks like this benchmark's."""
        if not (isinstance(networks, dict) and networks):
            return False
        digits, measured = next(iter(networks.items()))
        return len(digits) == len(self.space) and isinstance(measured, dict) and self.accuracies in measured

    def _trials(self, networks: Mapping[str, Mapping[str, Any]]) -> Iterator[Trial]:
        for digits, measured in networks.items():
            design = tuple(int(digit) - self.lowest for digit in digits)
            for name in ("params", "flops"):
                number(f"{name} of {digits}", measured[name], above=0)
            for seed, accuracy in zip(range(self.seeds), measured[self.accuracies], strict=True):
                number(f"{self.accuracies} of {digits}", accuracy, least=0, most=100)
                metrics = {
                    "validation_accuracy": accuracy / 100,
                    "test_accuracy": accuracy / 100,
                    "parameters": measured["params"],
                    "flops": 2 * measured["flops"],
                    "epochs": self.epochs,
                }
                yield Trial(Request(design, seed, self.epochs), "completed", None, metrics)
