"""The synthetic tasks by name: the value of a design is a formula, the best design is known, and nothing is trained."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NoReturn

from marl_hpo_env.catalog.task import Task
from marl_hpo_env.errors import InputError
from marl_hpo_env.metrics import Metric
from marl_hpo_env.reward import WeightedReward
from marl_hpo_env.space import SearchSpace
from marl_hpo_env.tables.synthetic import MEASURES, SYNTHETIC, VALUE, drawing
from marl_hpo_env.training.recipe import Recipe

_DESCRIPTIONS = {
    "synthetic-chain-20": "a formula over 20 layers in a row and their pairs; the best design is known",
    "synthetic-chain-100": "likewise over 100 layers",
    "synthetic-chain-1000": "likewise over 1,000 layers",
    "synthetic-forbidden-6": "likewise over 6 layers, with pairs of actions that are forbidden: two thirds of all designs",
    "synthetic-orders-8": "a formula over 8 layers, most of whose variance is of three layers together",
    "synthetic-widths-7": "a formula over 7 widths against their parameters; two objectives",
}


@dataclass(frozen=True, eq=False)
class SyntheticTask(Task):
    """A task whose trials are computed: `SyntheticEvaluator` answers for it. Its seed says which drawing it is."""

    @property
    def space(self) -> SearchSpace:
        return drawing(self.name, 0).space

    @property
    def conditions(self) -> dict[str, dict[str, Any]]:
        return {}

    @property
    def fingerprint(self) -> str:
        """A digest of the formula's settings."""
        return hashlib.sha256(json.dumps([self.name, SYNTHETIC[self.name]]).encode()).hexdigest()[:16]


def synthetic_tasks() -> dict[str, Callable[[], Task]]:
    """Each task by its name, as a function that makes it."""
    return {name: partial(_synthetic, name) for name in SYNTHETIC}


def _synthetic(name: str) -> Task:
    sized = {"parameters / original": 1.0} if SYNTHETIC[name]["kind"] == "widths" else {}
    return SyntheticTask(
        name,
        _nothing_to_train,
        _nothing_to_train,
        description=_DESCRIPTIONS[name],
        recipe=Recipe(epochs=1),
        reward=WeightedReward({VALUE: 1.0, **sized}),
        metrics={VALUE.removeprefix("validation_"): Metric(_nothing_to_train, +1, MEASURES[VALUE].unit)},
        score=VALUE,
    )


def _nothing_to_train(*_: object) -> NoReturn:
    raise InputError("A synthetic task is a formula; it has no network and no data to train.")
