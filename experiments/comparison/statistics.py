"""What a comparison may claim: the statistics of Agarwal et al. (2021), "Deep Reinforcement Learning at the Edge of the
Statistical Precipice", defined as in their package rliable.

Scores have shape (seeds, tasks), one score per run, comparable over tasks; higher is better, so a regret is given with its
sign changed. A function of scores also takes them with further axes in front, which it keeps.

    >>> scores = np.array([[0.1, 0.5], [0.2, 0.6], [0.3, 0.7], [0.9, 0.8]])
    >>> print(bootstrap(interquartile_mean, scores))
    0.525 [0.35, 0.75]
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from marl_hpo_env import InputError

Array = npt.NDArray[np.float64]


class Estimate(NamedTuple):
    """A statistic and its confidence interval; of each, an array where the statistic is one."""

    value: Array
    low: Array
    high: Array

    def __str__(self) -> str:
        return f"{self.value:.4g} [{self.low:.4g}, {self.high:.4g}]"


def interquartile_mean(scores: Array) -> Array:
    """The mean of the middle half of all runs: of `n = seeds * tasks` sorted scores without `n // 4` at either end.

    More robust than the mean, and less uncertain than the median. `scipy.stats.trim_mean(scores, 0.25, axis=None)`.

    Args:
        scores: shape (..., seeds, tasks).

    Returns:
        Shape (...).
    """
    runs = np.sort(scores.reshape(*scores.shape[:-2], -1))
    cut = runs.shape[-1] // 4
    return np.asarray(runs[..., cut : runs.shape[-1] - cut].mean(axis=-1))


def mean(scores: Array) -> Array:
    """Of all runs; shape (..., seeds, tasks) becomes shape (...)."""
    return np.asarray(scores.mean(axis=(-2, -1)))


def performance_profile(scores: Array, thresholds: npt.ArrayLike) -> Array:
    """The share of all runs whose score is above each threshold (a tail distribution over seeds and tasks).

    Args:
        scores: shape (..., seeds, tasks).
        thresholds: shape (t,), in the scores' unit.

    Returns:
        Shape (..., t), from 0 to 1.
    """
    return np.stack([(scores > threshold).mean(axis=(-2, -1)) for threshold in np.asarray(thresholds)], axis=-1)


def probability_of_improvement(x: Array, y: Array) -> Array:
    """P(X > Y): how likely a run of X scores higher than a run of Y on the same task, averaged over the tasks.

    Per task it is the share of all pairs of a run of X and a run of Y in which X is higher; an equal pair counts one half.
    That is the Mann-Whitney U statistic over the number of pairs.

    Args:
        x: shape (..., seeds of X, tasks).
        y: shape (..., seeds of Y, tasks).

    Returns:
        Shape (...), from 0 to 1; 0.5 where neither is better.
    """
    tasks = [(x[..., :, None, task], y[..., None, :, task]) for task in range(x.shape[-1])]
    return np.mean([((a > b).mean(axis=(-2, -1)) + (a >= b).mean(axis=(-2, -1))) / 2 for a, b in tasks], axis=0)


def median_attainment(runs: Sequence[Array]) -> Array:
    """The median attainment surface (Grunert da Fonseca, Fonseca and Hall, 2001): what at least half of the runs attained.

    A run attains a point if one of its own is no worse in both objectives.

    Args:
        runs: of each run its points, shape (points, 2); lower is better.

    Returns:
        Corners of the surface, shape (corners, 2): the first objective rising, the second falling. Empty where no point is
        attained by half of the runs.
    """
    levels = np.unique(np.concatenate([points[:, 0] for points in runs]))
    attained = np.full((len(runs), len(levels)), np.inf)
    for run, points in enumerate(runs):
        positions = np.searchsorted(levels, points[:, 0])
        np.minimum.at(attained[run], positions, points[:, 1])
    attained = np.minimum.accumulate(attained, axis=1)
    middle = np.sort(attained, axis=0)[(len(runs) + 1) // 2 - 1]
    corners = np.isfinite(middle) & (middle < np.append(np.inf, middle[:-1]))
    return np.stack([levels[corners], middle[corners]], axis=1)


def bootstrap(
    statistic: Callable[..., Array],
    *scores: npt.ArrayLike,
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Estimate:
    """A statistic with its stratified bootstrap percentile interval.

    A resample draws, for each learner and task by itself, as many seeds as there are, with replacement; the interval
    lies between the quantiles of the statistic over the resamples. It speaks of other seeds, not of other tasks, and is
    too narrow where seeds are few: for the interquartile mean of normal scores of three tasks, 95% intervals held the truth
    in 86% of 1,000 simulations with 3 seeds, and in 93% with 5 to 50.

    Args:
        statistic: of arrays of shape (..., seeds, tasks), one for each of `scores`.
        *scores: shape (seeds, tasks) each, at least two seeds; the same tasks.
        confidence: the interval's nominal coverage.
        resamples: how many; rliable's defaults are 2,000 for profiles and 50,000 for the rest.
        seed: of the resampling.

    Raises:
        InputError: if scores are no such matrices or not finite, or the confidence is not between 0 and 1.
    """
    samples = [_matrix(matrix) for matrix in scores]
    if len({matrix.shape[1] for matrix in samples}) != 1:
        counts = " and ".join(str(matrix.shape[1]) for matrix in samples)
        raise InputError(f"The scores are of {counts} tasks; compare them on the same tasks.")
    if not 0 < confidence < 1:
        raise InputError(f"The confidence is {confidence}; it lies between 0 and 1, such as 0.95.")
    if resamples < 1:
        raise InputError(f"There are {resamples} resamples; take 2000 or so.")
    rng = np.random.default_rng(seed)
    drawn = [
        matrix[rng.integers(len(matrix), size=(resamples, *matrix.shape)), np.arange(matrix.shape[1])]
        for matrix in samples
    ]
    low, high = np.quantile(statistic(*drawn), [(1 - confidence) / 2, (1 + confidence) / 2], axis=0)
    return Estimate(statistic(*samples), low, high)


def _matrix(scores: npt.ArrayLike) -> Array:
    matrix = np.asarray(scores, dtype=float)
    if matrix.ndim != 2 or not matrix.shape[1]:
        raise InputError(f"The scores have shape {matrix.shape}; it is (seeds, tasks).")
    if len(matrix) < 2:
        raise InputError(f"There is {len(matrix)} seed per task; an interval over seeds needs at least 2.")
    if not np.isfinite(matrix).all():
        raise InputError("A score is not finite; every run needs one.")
    return matrix
