"""What a table's landscape is like: how noisy, how rugged, and how far its noise lets anyone get.

A landscape is a figure of every design by its number, shape (designs,), NaN where there is none. Two designs are neighbours
if they differ in one layer's action.
"""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import numpy.typing as npt

from marl_hpo_env import SearchSpace
from marl_hpo_env.tables.table import Table

Landscape = npt.NDArray[np.float64]

_CHUNK = 10_000


def by_seed(table: Table, metric: str) -> Landscape:
    """The metric of every design under every seed, shape (seeds, designs); NaN where the trial did not complete."""
    return np.stack(
        [
            np.where(table.completed(table.designs, seed), table.metrics(table.designs, seed)[metric], np.nan)
            for seed in table.seeds
        ]
    )


def seed_deviation(values: Landscape) -> float:
    """The standard deviation between seeds, pooled over the designs that completed under all of them; NaN for one seed.

    Args:
        values: shape (seeds, designs).
    """
    complete = values[:, ~np.isnan(values).any(axis=0)]
    return math.sqrt(complete.var(axis=0, ddof=1).mean()) if len(values) > 1 and complete.size else math.nan


def explained(space: SearchSpace, landscape: Landscape) -> tuple[float, float]:
    """The share of the landscape's variance that a least-squares fit explains with one term per layer's action, and with
    one per pair of actions of any two layers."""
    designs = np.stack(np.unravel_index(np.arange(space.size), space.sizes, order="F"), axis=1)
    layers = [(designs[:, i], size) for i, size in enumerate(space.sizes)]
    pairs = [(a + m * b, m * n) for (a, m), (b, n) in combinations(layers, 2)]
    return _share(layers, landscape), _share(layers + pairs, landscape)


def autocorrelation(space: SearchSpace, landscape: Landscape) -> float:
    """The correlation of a design with the next on a random walk that changes one layer's action at each step.

    It is that of Weinberger (1990), over all possible steps rather than a sample of them."""
    grid = landscape.reshape(space.sizes, order="F")
    measured = ~np.isnan(grid)
    deviations = np.where(measured, grid - np.nanmean(landscape), 0.0)
    products = steps = 0.0
    for axis, size in enumerate(space.sizes):
        if size > 1:
            products += ((deviations.sum(axis) ** 2).sum() - (deviations**2).sum()) / (size - 1)
            steps += ((measured.sum(axis) ** 2).sum() - measured.sum()) / (size - 1)
    return float(products / steps / np.nanvar(landscape)) if steps and np.nanvar(landscape) else math.nan


def local_optima(space: SearchSpace, landscape: Landscape) -> int:
    """The number of designs that no neighbour beats."""
    grid = np.where(np.isnan(landscape), -np.inf, landscape).reshape(space.sizes, order="F")
    unbeaten = grid > -np.inf
    for axis in range(grid.ndim):
        unbeaten &= grid == grid.max(axis=axis, keepdims=True)
    return int(unbeaten.sum())


def _share(terms: list[tuple[npt.NDArray[np.int64], int]], landscape: Landscape) -> float:
    """The coefficient of determination with one coefficient for every value of every term.

    Args:
        terms: each design's value, shape (designs,), and how many values there are.
        landscape: shape (designs,).
    """
    measured = ~np.isnan(landscape)
    y = landscape[measured] - landscape[measured].mean()
    offsets = np.cumsum([0, *(size for _, size in terms)])
    codes = np.stack([values[measured] for values, _ in terms], axis=1) + offsets[:-1]
    gram, moment = np.zeros((offsets[-1], offsets[-1])), np.zeros(offsets[-1])
    for start in range(0, len(y), _CHUNK):  # one indicator per coefficient would not fit into memory for all designs
        part = codes[start : start + _CHUNK]
        indicators = np.zeros((len(part), offsets[-1]))
        np.put_along_axis(indicators, part, 1.0, axis=1)
        gram += indicators.T @ indicators
        moment += indicators.T @ y[start : start + _CHUNK]
    variance = y @ y
    return float(moment @ np.linalg.pinv(gram, hermitian=True) @ moment / variance) if variance else math.nan
