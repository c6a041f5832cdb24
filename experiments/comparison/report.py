"""What a comparison says: tables, curves and profiles, with intervals over the seeds."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import numpy.typing as npt

from agents.registry import settings_of
from experiments.comparison.contest import Benchmark, Run, code_of
from experiments.comparison.regret import episodes_played, first_episodes, incumbent_regret, noise_floor, simple_regret
from experiments.comparison.statistics import (
    bootstrap,
    interquartile_mean,
    mean,
    median_attainment,
    performance_profile,
    probability_of_improvement,
)
from experiments.provenance import machine, measured_by
from experiments.text_tables import Table, markdown_section
from marl_hpo_env import METRICS

mpl.use("Agg")

from matplotlib import pyplot as plt

THE_PAPERS = "pairwise-q"
"""The last column of the tables is the probability of improvement over it."""

BETTER = f"P(better than {THE_PAPERS})"

INTERVALS = "(interquartile mean and 95% interval)"

HOW_TO_READ = f"""How to read it: the regret at 25 is the reward of the table's best design minus that of the best of the first 25
distinct designs. It is in hundredths of the reward, which are points where the reward is accuracy. Shown are the interquartile
mean over the seeds and its 95% bootstrap interval. "mean test" is the mean regret, with its interval, of the design with the
best reward in test figures, which no learner sees. The design with the best reward of all has some, too: the floor.

"distinct" and "episodes" are how many designs and episodes the runs had on average; who stops early keeps the last regret.
"trained" is what training these designs took when the table was made, and "ms/episode" what the learner itself takes.
"{BETTER}" is the probability of a lower regret at the end.
"""
Array = npt.NDArray[np.float64]


def checkpoints(evaluations: int) -> list[int]:
    """After how many evaluations a run of so many is reported."""
    return [*(n for n in (25, 50, 100, 200) if n < evaluations), evaluations]


class Curves:
    """What every run of one benchmark reached after each of its evaluations.

    Args:
        benchmark: what was played.
        runs: by learner, one per seed, with the same seeds for all.
        evaluations: the length of the curves.

    Attributes:
        regret: by learner, shape (seeds, evaluations), in the reward's unit: of the best design under the reward that the
            learner saw.
        worth: likewise, of the best design under the mean test figures: the regret of the incumbent, which was chosen by
            its reward.
        floor: what the design with the best reward leaves of that, in the mean over ties and the table's seeds. Who finds the
            best reward every time has that. Below it is who found other designs, whose test figures are better by luck.
        chance: the mean regret of one random design.
        seconds: by learner, shape (seeds,): what the trainings of a run's evaluations took when the table was made. The run
            would have taken as long without it. NaN where the table does not say.
        covered: by learner, shape (seeds, checkpoints): the share of the hypervolume; empty with a single objective.
    """

    def __init__(self, benchmark: Benchmark, runs: Mapping[str, Sequence[Run]], evaluations: int) -> None:
        self.benchmark, self.runs, self.evaluations = benchmark, runs, evaluations
        self.checkpoints = checkpoints(evaluations)
        best = float(benchmark.worth.max())
        rewards = [benchmark.rewards(seed) for seed in benchmark.table.seeds]
        self.floor = noise_floor(rewards, benchmark.worth)
        self.chance = float(np.mean([of_one_seed.max() - of_one_seed.mean() for of_one_seed in rewards]))
        self.regret: dict[str, Array] = {}
        self.worth: dict[str, Array] = {}
        self.seconds: dict[str, Array] = {}
        self.covered: dict[str, Array] = {}
        several = len(benchmark.reward.objectives) > 1
        for name, played in runs.items():
            regret, worth, seconds, share = zip(*(self._of(run, best, several) for run in played), strict=True)
            self.regret[name], self.worth[name] = np.array(regret), np.array(worth)
            self.seconds[name] = np.array(seconds)
            if several:
                self.covered[name] = np.array(share)

    def _of(self, run: Run, best: float, several: bool) -> tuple[Array, Array, float, list[float]]:
        table_seed = self.benchmark.table_seed(run.contest.seed)
        of_all = self.benchmark.rewards(table_seed)
        designs = [(number,) for number in run.designs]
        rewards = of_all[list(run.designs)]
        regret = simple_regret(designs, rewards, float(of_all.max()), self.evaluations)
        worth = incumbent_regret(designs, rewards, self.benchmark.worth[list(run.designs)], best, self.evaluations)
        new = [run.designs[i] for i in first_episodes(designs)][: self.evaluations]
        share = [self.benchmark.covered(new[:n], table_seed) for n in self.checkpoints] if several else []
        return regret, worth, self.benchmark.seconds(new, table_seed), share


def regret_table(curves: Curves) -> Table:
    """Regret at the checkpoints, and what it cost; the lowest at the end first. Rewards in hundredths: points of accuracy,
    where the reward is accuracy."""
    last = curves.evaluations
    tested = curves.benchmark.tested
    header = ["learner", *(f"at {n}" for n in curves.checkpoints), *([f"mean test, at {last}"] if tested else [])]
    simulated = "seconds" in curves.benchmark.table.measured
    header += ["distinct", "episodes", *(["trained, min"] if simulated else []), "ms/episode"]
    header += [BETTER] if THE_PAPERS in curves.regret else []
    ends = {name: regret[:, -1:] for name, regret in curves.regret.items()}
    rows = []
    for name in sorted(ends, key=lambda name: interquartile_mean(ends[name])):
        runs = curves.runs[name]
        counts = [episodes_played([(n,) for n in run.designs], last)[-1] for run in runs]
        distinct = [len(set(run.designs)) for run in runs]
        figures = [_estimate(curves.regret[name][:, [n - 1]]) for n in curves.checkpoints]
        cost = [
            f"{np.mean(distinct):.0f}",
            f"{np.mean(counts):.0f}",
            *([f"{curves.seconds[name].mean() / 60:.1f}"] if simulated else []),
            f"{np.mean([r.ms_per_episode for r in runs]):.3g}",
        ]
        test = [_estimate(curves.worth[name][:, [-1]], statistic=mean)] if tested else []
        rows.append([name, *figures, *test, *cost, *_better(ends, name)])
    return curves.benchmark.name, header, rows


def covered_table(all_curves: Sequence[Curves]) -> Table:
    """The share of a table's hypervolume at the checkpoints, in percent, on one benchmark or over several; the highest at the
    end first."""
    first = all_curves[0]
    header = ["learner", *(f"at {n}" for n in first.checkpoints)]
    shares = {name: np.stack([curves.covered[name] for curves in all_curves], axis=1) for name in first.covered}
    rows = []
    for name in sorted(shares, key=lambda name: -interquartile_mean(shares[name][..., -1])):
        rows.append([name, *(_estimate(scores, digits=4) for scores in np.moveaxis(shares[name], -1, 0))])
    where = first.benchmark.name if len(all_curves) == 1 else "All benchmarks"
    objectives = " and ".join(map(str, first.benchmark.reward.objectives))
    return f"{where}: percent of the table's hypervolume of {objectives} {INTERVALS}", header, rows


def overall_table(all_curves: Sequence[Curves]) -> Table:
    """Over several benchmarks: regret as a share of a random design's, in percent."""
    scores = {name: _normalised(all_curves, name) for name in all_curves[0].regret}
    ends = {name: score[..., -1] for name, score in scores.items()}
    header = ["learner", *(f"at {n}" for n in all_curves[0].checkpoints), *([BETTER] if THE_PAPERS in scores else [])]
    rows = []
    for name in sorted(ends, key=lambda name: interquartile_mean(ends[name])):
        figures = [_estimate(scores[name][..., n - 1]) for n in all_curves[0].checkpoints]
        rows.append([name, *figures, *_better(ends, name)])
    return f"All benchmarks: regret in percent of a random design's {INTERVALS}", header, rows


def _better(regrets: Mapping[str, Array], name: str) -> list[str]:
    """The cell that says how probably a learner's regret at the end is below that of the paper's; none where that one is not
    there. Regrets by learner, shape (seeds, benchmarks)."""
    if THE_PAPERS not in regrets:
        return []
    if name == THE_PAPERS:
        return ["-"]
    return [shown(bootstrap(probability_of_improvement, -regrets[name], -regrets[THE_PAPERS]), 1)]


def _normalised(all_curves: Sequence[Curves], name: str) -> Array:
    """Shape (seeds, benchmarks, evaluations)."""
    return np.stack([curves.regret[name] / curves.chance for curves in all_curves], axis=1)


def _estimate(scores: Array, digits: int = 2, statistic: Callable[[Array], Array] = interquartile_mean) -> str:
    """In hundredths; scores of shape (seeds, benchmarks)."""
    return shown(bootstrap(statistic, scores), 100, digits)


def shown(estimate: Any, factor: float, digits: int = 2) -> str:
    """An estimate and its interval times a factor, as in `0.36 [0.2,0.5]`."""
    value, low, high = (f"{factor * float(part):.{digits}g}" for part in estimate)
    return f"{value} [{low},{high}]"


def draw_regret(curves: Curves, path: Path) -> None:
    """The interquartile mean of the regret after each evaluation, with its 95% band."""
    figure, axis = plt.subplots(figsize=(7, 4.5))
    numbers = np.arange(1, curves.evaluations + 1)
    drawn_at = np.unique(np.geomspace(1, curves.evaluations, 40).astype(int)) - 1
    lowest = min(float(runs[runs > 0].min(initial=np.inf)) for runs in curves.regret.values())
    for (name, runs), (colour, style) in zip(curves.regret.items(), _styles(), strict=False):
        estimate = bootstrap(
            lambda drawn: interquartile_mean(np.swapaxes(drawn, -1, -2)[..., None]), runs[:, drawn_at], resamples=500
        )
        axis.plot(numbers[drawn_at], 100 * estimate.value, style, color=colour, linewidth=1.2, label=name)
        axis.fill_between(
            numbers[drawn_at], 100 * estimate.low, 100 * estimate.high, color=colour, alpha=0.12, linewidth=0
        )
    axis.set_yscale("symlog", linthresh=max(100 * lowest, 1e-3) if np.isfinite(lowest) else 1e-3)
    axis.set_ylim(bottom=0)
    axis.set_xlabel("evaluations (distinct designs)")
    axis.set_ylabel("regret, hundredths of the reward")
    axis.set_title(curves.benchmark.name)
    axis.grid(alpha=0.3)
    axis.legend(fontsize="x-small", bbox_to_anchor=(1.01, 1), loc="upper left")
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)


def draw_attainment(curves: Curves, path: Path) -> None:
    """The median attainment surface of two objectives: what half of a learner's runs attained in all their evaluations.

    Beside it stands what all designs attain under half of the table's seeds, which no learner can pass."""
    benchmark = curves.benchmark
    known = {seed: benchmark.objectives(seed) for seed in benchmark.table.seeds}
    signs = np.array([-METRICS[objective.metric].better for objective in benchmark.reward.objectives])
    figure, axis = plt.subplots(figsize=(7, 4.5))
    drawn = []

    def draw(runs: Sequence[Array], style: str, **more: Any) -> None:
        corners = signs * median_attainment([points[~np.isnan(points).any(axis=1)] for points in runs])
        drawn.append(corners)
        axis.step(*corners.T, style, where="post", linewidth=1.2, **more)

    draw(list(known.values()), "-", color="black", label="all designs")
    for (name, runs), (colour, style) in zip(curves.runs.items(), _styles(), strict=False):
        first = [[run.designs[i] for i in first_episodes([(n,) for n in run.designs])] for run in runs]
        reached = [
            known[benchmark.table_seed(run.contest.seed)][designs[: curves.evaluations]]
            for run, designs in zip(runs, first, strict=True)
        ]
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
    axis.grid(alpha=0.3)
    axis.legend(fontsize="x-small", bbox_to_anchor=(1.01, 1), loc="upper left")
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)


def draw_profiles(all_curves: Sequence[Curves], path: Path) -> None:
    """The share of all runs whose regret at the end is below each share of a random design's, with its 95% band."""
    thresholds = np.geomspace(1e-4, 1, 60)
    figure, axis = plt.subplots(figsize=(7, 4.5))
    for name, (colour, style) in zip(all_curves[0].regret, _styles(), strict=False):
        scores = -_normalised(all_curves, name)[..., -1]
        estimate = bootstrap(partial(performance_profile, thresholds=-thresholds), scores, resamples=500)
        axis.plot(thresholds, estimate.value, style, color=colour, linewidth=1.2, label=name)
        axis.fill_between(thresholds, estimate.low, estimate.high, color=colour, alpha=0.12, linewidth=0)
    axis.set_xscale("log")
    axis.set_xlabel(f"regret after {all_curves[0].evaluations} evaluations, as a share of a random design's")
    axis.set_ylabel("share of runs below it")
    axis.grid(alpha=0.3)
    axis.legend(fontsize="x-small", bbox_to_anchor=(1.01, 1), loc="upper left")
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _styles() -> list[tuple[Any, str]]:
    colours = plt.get_cmap("tab10").colors  # type: ignore[attr-defined]
    return [(colour, style) for style in ("-", "--", ":", "-.") for colour in colours]


def write(all_curves: Sequence[Curves], folder: Path) -> list[Table]:
    """Tables and pictures of a comparison, and `runs.csv` with one row per run; returns the tables. Pictures of an earlier
    comparison in the folder are deleted."""
    for earlier in [*folder.glob("regret-*.png"), *folder.glob("attainment-*.png")]:
        earlier.unlink()
    tables: list[Table] = []
    pictures: list[str] = []
    for curves in all_curves:
        title, header, rows = regret_table(curves)
        what = (
            f"{title}: regret in hundredths of {curves.benchmark.reward}; a random design's: {100 * curves.chance:.3g}"
        )
        floor = f"; floor of the test regret: {100 * curves.floor:.3g}" if curves.benchmark.tested else ""
        tables.append((f"{what}{floor}", header, rows))
        if curves.covered:
            tables.append(covered_table([curves]))
        pictures.append(f"regret-{title}.png")
        draw_regret(curves, folder / pictures[-1])
        if len(curves.benchmark.reward.objectives) == 2:
            pictures.append(f"attainment-{title}.png")
            draw_attainment(curves, folder / pictures[-1])
    if len(all_curves) > 1:
        tables.append(overall_table(all_curves))
        if all(curves.covered for curves in all_curves):
            tables.append(covered_table(all_curves))
    pictures.append("profiles.png")
    draw_profiles(all_curves, folder / pictures[-1])
    with (folder / "runs.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        ends = all_curves[0].checkpoints
        kinds = [f"{kind}_{n}" for kind in ("regret", "test_regret", "hypervolume") for n in ends]
        counted = ["distinct", "episodes", "training_seconds", "ms_per_episode"]
        writer.writerow(["task", "learner", "seed", "table_seed", *counted, *kinds, "learner_code", "played_with"])
        for curves in all_curves:
            for name, runs in curves.runs.items():
                for i, run in enumerate(runs):
                    positions = [n - 1 for n in ends]
                    shares = curves.covered[name][i] if curves.covered else [""] * len(positions)
                    figures = [*curves.regret[name][i, positions], *curves.worth[name][i, positions], *shares]
                    seed = run.contest.seed
                    counts = [len(set(run.designs)), len(run.designs), curves.seconds[name][i], run.ms_per_episode]
                    cells = ["" if value == "" or np.isnan(value) else f"{value:.6g}" for value in (*counts, *figures)]
                    whose = [curves.benchmark.name, name, seed, curves.benchmark.table_seed(seed)]
                    writer.writerow([*whose, *cells, code_of(name)[:7], run.played_with])
    text = ["# Comparison\n", HOW_TO_READ]
    text += [markdown_section(*table) for table in tables]
    text += [f"![{picture}]({picture})\n" for picture in pictures]
    text.append(f"## Settings, where none stand behind a learner's name\n\n{listed_settings(all_curves[0].regret)}")
    all_runs = [run for curves in all_curves for runs in curves.runs.values() for run in runs]
    text.append(measured_side_by_side(all_runs))
    (folder / "report.md").write_text("\n".join(text) + "\n")
    return tables


def listed_settings(learners: Iterable[str]) -> str:
    """The defaults of these learners' settings, one line for each learner that has any, whatever stands behind its name."""
    lines = {}
    for name in (learner.partition("(")[0] for learner in learners):
        settings = ", ".join(f"{setting}={value!r}" for setting, value in settings_of(name).items())
        lines[name] = f"- {name}: {settings}\n" if settings else ""
    return "".join(lines.values())


def measured_side_by_side(runs: Iterable[Run]) -> str:
    """The closing line of a report: the command, with what its runs were played, and the machine."""
    played_with = " and ".join(sorted({run.played_with for run in runs}))
    return f"{measured_by(played_with, machine())}. Times are of runs side by side, where `--jobs` is not 1."
