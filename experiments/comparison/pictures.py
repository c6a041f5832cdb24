"""The pictures of a comparison."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from experiments.comparison.curves import Curves, new_designs, normalised
from experiments.comparison.statistics import bootstrap, interquartile_mean, median_attainment, performance_profile
from experiments.figures import plt, save

if TYPE_CHECKING:
    from experiments.comparison.trained import RewardCurves

Array = npt.NDArray[np.float64]

EVALUATIONS = "evaluations (distinct designs)"
EPISODES = "episodes"


def draw_regret(curves: Curves, path: Path, by_episode: bool = False) -> None:
    """The interquartile mean of the regret after each evaluation, or each episode, with its 95% band."""
    regret = curves.by_episode if by_episode else curves.regret
    lowest = min(float(runs[runs > 0].min(initial=np.inf)) for runs in regret.values())
    figure, axis = _draw_means(regret, 100, EPISODES if by_episode else EVALUATIONS)
    axis.set_yscale("symlog", linthresh=max(100 * lowest, 1e-3) if np.isfinite(lowest) else 1e-3)
    axis.set_ylim(bottom=0)
    axis.set_ylabel("regret, hundredths of the reward")
    axis.set_title(curves.benchmark.name)
    _save(figure, axis, path)


def draw_rewards(curves: RewardCurves, factor: float, unit: str, path: Path, by_episode: bool = False) -> None:
    """Likewise of the best reward, times a factor, in the unit that it then has."""
    best = curves.by_episode if by_episode else curves.best
    figure, axis = _draw_means(best, factor, EPISODES if by_episode else EVALUATIONS)
    axis.set_ylabel(unit)
    axis.set_title(curves.name)
    _save(figure, axis, path)


def _draw_means(by_learner: Mapping[str, Array], factor: float, along: str) -> tuple[Any, Any]:
    """A figure of interquartile means with their bands; by learner, shape (seeds, evaluations)."""
    figure, axis = plt.subplots(figsize=(7, 4.5))
    evaluations = next(iter(by_learner.values())).shape[1]
    drawn_at = np.unique(np.geomspace(1, evaluations, 40).astype(int)) - 1
    for (name, runs), (colour, style) in zip(by_learner.items(), _styles(), strict=False):
        estimate = bootstrap(
            lambda drawn: interquartile_mean(np.swapaxes(drawn, -1, -2)[..., None]), runs[:, drawn_at], resamples=500
        )
        axis.plot(drawn_at + 1, factor * estimate.value, style, color=colour, linewidth=1.2, label=name)
        band = factor * estimate.low, factor * estimate.high
        axis.fill_between(drawn_at + 1, *band, color=colour, alpha=0.12, linewidth=0)
    axis.set_xlabel(along)
    return figure, axis


def draw_attainment(curves: Curves, path: Path) -> None:
    """The median attainment surface of two objectives: what half of a learner's runs attained in all their evaluations.

    Beside it stands what all designs attain under half of the table's seeds, which no learner can pass."""
    benchmark = curves.benchmark
    known = {seed: benchmark.objectives(seed) for seed in benchmark.table.seeds}
    signs = -np.array(list(benchmark.environment(benchmark.table.seeds[0]).directions.values()))
    figure, axis = plt.subplots(figsize=(7, 4.5))
    drawn = []

    def draw(runs: Sequence[Array], style: str, **more: Any) -> None:
        corners = signs * median_attainment([points[~np.isnan(points).any(axis=1)] for points in runs])
        drawn.append(corners)
        axis.step(*corners.T, style, where="post", linewidth=1.2, **more)

    draw(list(known.values()), "-", color="black", label="all designs")
    for (name, runs), (colour, style) in zip(curves.runs.items(), _styles(), strict=False):
        reached = [known[benchmark.table_seed(run.contest.seed)][new_designs(run, curves.evaluations)] for run in runs]
        draw(reached, style, color=colour, label=name)
    # Fronts are steep at the best values of the first objective, and only there can learners be told apart by eye.
    corners = np.concatenate(drawn)
    best, worst = sorted((corners[:, 0].min(), corners[:, 0].max()), key=lambda value: signs[0] * value)
    near = corners[abs(corners[:, 0] - best) <= 0.15 * abs(best - worst), 1]
    axis.set_xlim(*sorted((best - 0.15 * (best - worst), best + 0.01 * (best - worst))))
    if near.min() > 0:
        axis.set_yscale("log")
        axis.set_ylim(near.min() / 1.2, near.max() * 1.2)
    axis.set_xlabel(str(benchmark.reward.objectives[0]))
    axis.set_ylabel(str(benchmark.reward.objectives[1]))
    axis.set_title(f"{benchmark.name}: attained by half of the runs", fontsize="medium")
    _save(figure, axis, path)


def draw_profiles(all_curves: Sequence[Curves], path: Path) -> None:
    """The share of all runs whose regret at the end is below each share of a random design's, with its 95% band."""
    thresholds = np.geomspace(1e-4, 1, 60)
    figure, axis = plt.subplots(figsize=(7, 4.5))
    for name, (colour, style) in zip(all_curves[0].regret, _styles(), strict=False):
        scores = -normalised(all_curves, name)[..., -1]
        estimate = bootstrap(partial(performance_profile, thresholds=-thresholds), scores, resamples=500)
        axis.plot(thresholds, estimate.value, style, color=colour, linewidth=1.2, label=name)
        axis.fill_between(thresholds, estimate.low, estimate.high, color=colour, alpha=0.12, linewidth=0)
    axis.set_xscale("log")
    axis.set_xlabel(f"regret after {all_curves[0].evaluations} evaluations, as a share of a random design's")
    axis.set_ylabel("share of runs below it")
    _save(figure, axis, path)


def _save(figure: Any, axis: Any, path: Path) -> None:
    """Writes a picture of all learners, whose names stand beside it."""
    axis.grid(alpha=0.3)
    axis.legend(fontsize="x-small", bbox_to_anchor=(1.01, 1), loc="upper left")
    save(figure, path, dpi=110)


def _styles() -> list[tuple[Any, str]]:
    colours = plt.get_cmap("tab10").colors  # type: ignore[attr-defined]
    return [(colour, style) for style in ("-", "--", ":", "-.") for colour in colours]
