"""The evaluator that looks trials up in a table: the same game, instant rewards, and a known best design."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import NoReturn

from marl_hpo_env.catalog.registry import task as named_task
from marl_hpo_env.catalog.registry import tasks
from marl_hpo_env.catalog.task import Task
from marl_hpo_env.errors import InputError
from marl_hpo_env.metrics import Metric
from marl_hpo_env.reward import WeightedReward
from marl_hpo_env.space import SearchSpace
from marl_hpo_env.tables.table import Table
from marl_hpo_env.training.recipe import Recipe
from marl_hpo_env.trial import METRICS, TIME_METRICS, Request, Trial


class TableEvaluator:
    """Answers from a table. A request's seed says which of the table's trials, its epochs how far along their history.

    The reward is thus of one seed's validation accuracy after as many epochs as the environment trains (its `seed` and
    `epochs`); what was found is scored by `table.mean_test_accuracy`. A trial's `seconds` are those that its training took:
    their sum is a run's simulated time.

    Args:
        table: a table, the name of one that comes with the package, or the path of its file.

    Raises:
        InputError: if there is no such table, or it is damaged.
    """

    def __init__(self, table: Table | Path | str) -> None:
        self.table = table if isinstance(table, Table) else Table.open(table)

    @classmethod
    def of_task(cls, task: Task) -> TableEvaluator:
        """The one on the table of this task that comes with the package.

        Raises:
            InputError: if there is none, or it was made by another recipe or other limits than the task's.
        """
        evaluator = cls(task.name)
        for name, value in task.conditions.items():
            if evaluator.table.about.get(name) != value:
                raise InputError(
                    f"The table of {task.name!r} was made with the {name} {evaluator.table.about.get(name)} and the task has "
                    f"{value}; make one with `marl-hpo table build`."
                )
        return evaluator

    @property
    def space(self) -> SearchSpace:
        return self.table.space

    @property
    def fingerprint(self) -> str:
        return f"table-{self.table.digest}"

    @property
    def measures_time(self) -> bool:
        return self.table.measured.issuperset(TIME_METRICS)

    @cached_property
    def unmeasured(self) -> frozenset[str]:
        """Metrics that no completed trial of the table has."""
        stored = {name for name, metric in self.table.measures.items() if metric.of != "history"}
        return frozenset(stored - self.table.measured)

    @property
    def exhaustive(self) -> bool:
        """Every design's trial is there, so the best is known."""
        return True

    def check(self, seed: int, epochs: int) -> None:
        """Whether the table has trials of this seed and number of epochs.

        Raises:
            InputError: if not.
        """
        self.table.check(seed, epochs)

    def evaluate(self, requests: Sequence[Request]) -> Iterator[Trial]:
        """One trial per request, in their order.

        Raises:
            InputError: if there is no such design, seed or number of epochs in the table.
        """
        return iter([self.table.trial(request) for request in requests])

    @property
    def task(self) -> Task:
        """The built-in task of the table's name; for any other table, one that can be played on it but not trained. Its
        reward is then the score, the validation accuracy if it does not say another."""
        name = self.table.task_name
        if name in tasks():
            return named_task(name)
        own = {n.removeprefix("validation_"): m for n, m in self.table.measures.items() if n not in METRICS}
        score = self.table.score
        return Task(
            name,
            _nothing_to_train,
            _nothing_to_train,
            recipe=Recipe(epochs=self.table.epochs),
            reward=WeightedReward({score: 1.0}),
            description=" ".join(self.table.about.get("notes", ())),
            seed=self.table.seeds[0],
            metrics={n: Metric(_nothing_to_train, m.better, m.unit) for n, m in own.items() if m.of == "epoch"},
            score=score,
        )


def _nothing_to_train(*_: object) -> NoReturn:
    raise InputError("This task is known by its table alone; it has no network and no data to train.")
