"""Synthetic tables: search spaces whose reward is a formula and whose best design is known exactly.

A learner's settings are tuned here, so that the tables on which learners are compared stay unseen. The value of a design is
a sum of terms over each layer and the two before it,

    value(x) = sum over l of term_l[x_(l-2), x_(l-1), x_l],

standardised to mean 0 and variance 1 over all designs. So the best design is found by dynamic programming in spaces of any
depth (Viterbi with two layers as the state), by nothing that a learner uses. Only `"cells"` has effects of any layers, connected
or not, beside: its spaces are small, and every design is looked at.

Some are tasks by name, `SYNTHETIC`: every seed is another drawing of one. There a trial has `validation_value`, which is 1 for
the best design and 0 for all designs in the mean, so that regret is in shares of a random design's; a design with a forbidden
pair is terminated.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations, pairwise
from math import prod, sqrt
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from marl_hpo_env.errors import InputError
from marl_hpo_env.space import Design, Layer, SearchSpace
from marl_hpo_env.tables.table import Table
from marl_hpo_env.trial import METRICS, Measure, Request, Trial

Array = npt.NDArray[np.float64]
Kind = Literal["additive", "pairwise", "rugged", "orders", "cells", "widths", "noise"]

# Shares of the value's variance, by kind: of effects per layer, per pair of connected layers, and per three layers in a row.
SHARES: dict[Kind, tuple[float, float, float]] = {
    "additive": (1.0, 0.0, 0.0),
    "pairwise": (0.5, 0.5, 0.0),
    "rugged": (0.4, 0.3, 0.3),
    "orders": (0.2, 0.2, 0.6),
    "cells": (0.4, 0.0, 0.0),
    "widths": (0.9, 0.1, 0.0),
    "noise": (0.0, 0.0, 0.0),
}

BEYOND: Mapping[int, float] = {2: 0.3, 3: 0.3}
"""Likewise in `"cells"`: of effects of any two and of any three layers."""

UNIT = 64
"""The least width, and the step from one to the next, of a layer of the kind `"widths"`."""

PENALTY = -6.0
"""The value of a penalised design: far below the others, as that of a network that breaks a constraint."""


@dataclass(frozen=True)
class SyntheticTable:
    """A search space, the value of every design in it, and the noise with which it is rewarded.

    Args:
        space: the designs.
        terms: per layer, an array of shape (actions two layers before, actions one layer before, its actions); 1 where there
            is no such layer.
        noise: standard deviation of a reward around its design's value; the values' own is 1.
        skewed: whether the reward is `-exp(-value)`, as accuracy is: the best designs close together, the bad ones far off.
        penalised: pairs of the actions of a layer and the next, by the index of the next and its pair; a design with one of
            them is penalised.
        beyond: what every design is worth beyond the sum of the terms, an axis per layer; None where nothing.
    """

    space: SearchSpace
    terms: tuple[Array, ...]
    noise: float = 0.0
    skewed: bool = False
    penalised: frozenset[tuple[int, int, int]] = frozenset()
    beyond: Array | None = None

    def value(self, design: Sequence[int]) -> float:
        """What the design is worth without noise."""
        return self._worth(design, 0.0)

    def reward(self, design: Sequence[int], rng: np.random.Generator) -> float:
        """What one evaluation of the design is rewarded with; the noise comes from `rng`."""
        return self._worth(design, self.noise * float(rng.standard_normal()))

    def forbidden(self, design: Sequence[int]) -> bool:
        """Whether the design is penalised."""
        return any((p, *design[p - 1 : p + 1]) in self.penalised for p in range(1, len(design)))

    def best(self) -> Design:
        """The design of the highest value."""
        if self.beyond is not None:
            return max(map(self.space.design_at, range(self.space.size)), key=self.value)
        # ahead[a, b]: the most that the layers from here on can add, if the two before have picked a and b.
        ahead = np.zeros((self.terms[-1].shape[1], self.terms[-1].shape[2]))
        choices = []
        for layer, term in reversed(list(enumerate(self.terms))):
            total = term + ahead[None, :, :]
            for _, before, action in filter(lambda pair: pair[0] == layer, self.penalised):
                total[:, before, action] = -np.inf
            choices.append(total.argmax(axis=2))
            ahead = total.max(axis=2)
        design: tuple[int, ...] = (0, 0)
        for choice in reversed(choices):
            design = (*design, int(choice[design[-2:]]))
        return design[2:]

    def _worth(self, design: Sequence[int], noise: float) -> float:
        padded = (0, 0, *design)
        value = noise + sum(float(term[padded[p : p + 3]]) for p, term in enumerate(self.terms))
        if self.beyond is not None:
            value += float(self.beyond[tuple(design)])
        if self.forbidden(design):
            value = PENALTY
        return -float(np.exp(-value)) if self.skewed else value


def synthetic_table(
    kind: Kind,
    seed: int,
    *,
    layers: int = 8,
    values: Sequence[int] = (4, 3),
    skips: bool = False,
    ordered: bool = True,
    noise: float = 0.0,
    skewed: bool = False,
    penalised: float = 0.0,
) -> SyntheticTable:
    """A table drawn at random.

    Every layer has one ordered hyperparameter per entry of `values`, whose effects are random walks over its values: partly
    the same in all layers, partly each layer's own. Actions have effects of their own beyond these, and so, by kind, have
    pairs of connected layers (products of random walks, and unordered) and three layers in a row (unordered). In the kind
    `"cells"` any two and any three layers have unordered effects in their place. Layers of the kind `"widths"` have one
    hyperparameter, `out_features`, whose effects rise.

    Args:
        kind: one of `SHARES`; in `"noise"` all designs are worth the same.
        seed: of the table.
        layers: the depth.
        values: how many values each hyperparameter of a layer has.
        skips: whether layers are also fed by the layer two before, in place of a chain.
        ordered: whether there are these effects of values, or each action, and each pair of actions, has one of its own only.
        noise: as in `SyntheticTable`; it is 1 where the kind is `"noise"` and none is given.
        skewed: as in `SyntheticTable`.
        penalised: the share of pairs of actions, one layer's and the next's, that are penalised.

    Raises:
        InputError: if there is no such kind.
    """
    if kind not in SHARES:
        raise InputError.unknown("kind of synthetic table", kind, SHARES)
    rng = np.random.default_rng(seed)
    names = [f"layer{p}" for p in range(layers)]
    widths = kind == "widths"
    choices = {f"choice{h}": range(count) for h, count in enumerate(values)}
    if widths:
        choices = {"out_features": range(UNIT, UNIT * values[0] + 1, UNIT)}
    inputs = [tuple(names[max(0, p - 1 - skips) : p]) for p in range(layers)]
    space = SearchSpace(
        Layer(name, "Linear" if widths else "Layer", choices, fed) for name, fed in zip(names, inputs, strict=True)
    )

    digits = np.array([np.unravel_index(a, values, order="F") for a in range(space.sizes[0])])
    shared = _walks(values, digits, rng, widths)
    sizes = [1, 1, *space.sizes]
    parts = [[np.zeros(sizes[p : p + 3]) for p in range(layers)] for _ in range(3)]
    single, pair, triple = parts
    for p in range(layers):
        walks, unordered = _walks(values, digits, rng, widths), rng.standard_normal(space.sizes[p])
        effect = shared + walks + 0.5 * unordered if ordered else unordered
        single[p] += rng.gamma(2.0) * _pure(effect)
        for before in space.feeding[p]:
            smooth = np.outer(_walks(values, digits, rng), _walks(values, digits, rng))
            rough = rng.standard_normal(smooth.shape)
            interaction = _pure(smooth + 0.5 * rough if ordered else rough)
            pair[p] += interaction[None] if before == p - 1 else interaction[:, None]
        if p >= 2:
            triple[p] += _pure(rng.standard_normal(triple[p].shape))
    terms = [np.zeros(sizes[p : p + 3]) for p in range(layers)]
    for share, part in zip(SHARES[kind], parts, strict=True):
        variance = sum(term.var() for term in part)
        if share and variance:
            terms = [term + np.sqrt(share / variance) * more for term, more in zip(terms, part, strict=True)]
    broken = frozenset(
        (p, int(before), int(action))
        for p in range(1, layers)
        for before, action in np.argwhere(rng.random((space.sizes[p - 1], space.sizes[p])) < penalised)
    )
    beyond = _beyond(space.sizes, rng) if kind == "cells" else None
    return SyntheticTable(space, tuple(terms), noise or float(kind == "noise"), skewed, broken, beyond)


def _beyond(sizes: tuple[int, ...], rng: np.random.Generator) -> Array:
    """Unordered effects of any layers, connected or not, by their number: shape `sizes`."""
    total = np.zeros(sizes)
    for order, share in BEYOND.items():
        part = np.zeros(sizes)
        for layers in combinations(range(len(sizes)), order):
            effect = rng.gamma(1.0) * _pure(rng.standard_normal([sizes[layer] for layer in layers]))
            part += effect.reshape([size if layer in layers else 1 for layer, size in enumerate(sizes)])
        total += sqrt(share) * part / (part.std() or 1.0)
    return total


def _walks(
    values: Sequence[int], digits: npt.NDArray[np.intp], rng: np.random.Generator, rising: bool = False
) -> Array:
    """Per action, the sum of one random walk per hyperparameter over its values, upwards only if rising; mean 0, variance 1."""
    effect = np.zeros(len(digits))
    for h, count in enumerate(values):
        steps = rng.standard_normal(count)
        effect += np.cumsum(np.abs(steps) if rising else steps)[digits[:, h]]
    effect -= effect.mean()
    return effect / (effect.std() or 1.0)


def _pure(effect: Array) -> Array:
    """The effect without what fewer of its layers would explain, so that the variances of effects add up."""
    for axis in range(effect.ndim):
        effect = effect - effect.mean(axis=axis, keepdims=True)
    return effect


# --- tasks by name ---------------------------------------------------------------------------------------------------

_CHAIN: Mapping[str, Any] = {"kind": "pairwise"}

SYNTHETIC: Mapping[str, Mapping[str, Any]] = {
    "synthetic-chain-20": {**_CHAIN, "layers": 20},
    "synthetic-chain-100": {**_CHAIN, "layers": 100},
    "synthetic-chain-1000": {**_CHAIN, "layers": 1000},
    "synthetic-forbidden-6": {**_CHAIN, "layers": 6, "values": (3, 2), "penalised": 0.2},
    "synthetic-orders-8": {"kind": "orders", "layers": 8, "values": (3,)},
    "synthetic-widths-7": {"kind": "widths", "layers": 7, "values": (4,)},
}
"""By the name of a task, what `synthetic_table` takes but the seed."""

VALUE = "validation_value"

MEASURES: Mapping[str, Measure] = {**METRICS, VALUE: Measure("1 for the best design, 0 in the mean", +1, "epoch")}

MOST_DESIGNS = 100_000
"""Of a synthetic task that is a table, too."""


def tabled() -> list[str]:
    """The synthetic tasks that are small enough for a table of every design."""
    return [name for name, of in SYNTHETIC.items() if prod(of.get("values", (4, 3))) ** of["layers"] <= MOST_DESIGNS]


class Drawing:
    """What one seed draws of a task in `SYNTHETIC`, with values as trials have them.

    Args:
        name: of the task.
        seed: of the drawing.
    """

    def __init__(self, name: str, seed: int) -> None:
        self.table = synthetic_table(**SYNTHETIC[name], seed=seed)
        self.space = self.table.space
        self.best = self.table.best()
        self._highest = self.table.value(self.best)
        self._widths = SYNTHETIC[name]["kind"] == "widths"

    def trial(self, request: Request) -> Trial:
        """The trial of a request: computed, not trained. The original network, which there is among widths only, is the widest.

        Raises:
            InputError: if there is no such design.
        """
        design = tuple(size - 1 for size in self.space.sizes) if request.design is None else request.design
        if request.design is None and not self._widths:
            return Trial(request, "failed", "A synthetic task has no original network.")
        design = self.space.check(design)
        if self.table.forbidden(design):
            return Trial(request, "terminated", "Two actions of neighbouring layers are forbidden together.")
        metrics: dict[str, float | None] = {VALUE: self.table.value(design) / self._highest}
        if self._widths:
            widths = [UNIT, *(UNIT * (action + 1) for action in design), 10]
            metrics["parameters"] = sum((before + 1) * after for before, after in pairwise(widths))
        return Trial(request, "completed", None, metrics)


@lru_cache(maxsize=4)
def drawing(name: str, seed: int) -> Drawing:
    """The drawing, made once."""
    return Drawing(name, seed)


def synthetic_as_table(name: str) -> Table:
    """The first drawing of one of `tabled()`, as a table."""
    drawn = drawing(name, 0)
    designs = [None, *map(drawn.space.design_at, range(drawn.space.size))]
    trials = [drawn.trial(Request(design, 0, 1)) for design in designs]
    notes = ["Values of a formula, not of trainings: the first drawing."]
    return Table.from_trials(
        name, drawn.space, [0], 1, trials, about={"score": VALUE, "notes": notes}, measures=MEASURES
    )
