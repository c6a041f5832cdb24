"""What a comparison says: tables, curves and profiles, with intervals over the seeds."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from agents.registry import settings_of
from experiments.comparison.contest import Run, code_of
from experiments.comparison.curves import Curves, checkpoints, normalised
from experiments.comparison.pictures import draw_attainment, draw_profiles, draw_regret, draw_rewards
from experiments.comparison.recorded import RecordedRun
from experiments.comparison.regret import episodes_played, first_episodes
from experiments.comparison.statistics import bootstrap, interquartile_mean, mean, probability_of_improvement
from experiments.provenance import machine, measured_by
from experiments.text_tables import TextTable, markdown_section
from marl_hpo_env import PaperReward

if TYPE_CHECKING:
    import torch

    from experiments.comparison.trained import RewardCurves

THE_PAPERS = "pairwise-q"
"""The last column of the tables is the probability of improvement over it."""

BETTER = f"P(better than {THE_PAPERS})"

INTERVALS = "(interquartile mean and 95% interval)"

HOW_TO_READ = f"""How to read it: the regret at 25 is the reward of the table's best design minus that of the best of the first 25
distinct designs. It is in hundredths of the reward, which are points where the reward is accuracy. Shown are the interquartile
mean over the seeds and its 95% bootstrap interval. "mean test" is the mean regret, with its interval, of the design with the
best reward in test figures, which no learner sees. The design with the best reward of all has some, too: the floor.

With several objectives the hypervolume that all designs so far cover is a share of the table's. From the worst of each objective
in the table nearly any front covers nearly all; from the worst in the Pareto front, its nadir, fronts can be told apart.

"distinct" and "episodes" are how many designs and episodes the runs had on average; who stops early keeps the last regret.
"trained" is what training these designs took when the table was made, and "ms/episode" what the learner itself takes.
"{BETTER}" is the probability of a lower regret at the end.
"""
HOW_TO_READ_REWARDS = f"""How to read it: "at 25" is the reward of the best of the first 25 distinct designs, every one trained
for it: no one knows the best design. Shown are the interquartile mean over the seeds and its 95% bootstrap interval. All
learners of a seed are rewarded by the same trainings, those of that seed. On a synthetic task nothing is trained: every seed is
another drawing, in which the best design has 100 and all designs 0 in the mean. Those of a surrogate are predicted.

"distinct" and "episodes" are how many designs and episodes the runs had on average; who stops early keeps the last reward.
"trained" is what training these designs took, and "ms/episode" what the learner itself takes.
"{BETTER}" is the probability of a higher reward at the end.
"""
HOW_TO_READ_EPISODES = """By episodes, "at 500" is after 500 of them, repeated designs among them, and episodes that ended by an
action that is not there and so are "without a design". Who stops early keeps the last figure. Recorded runs were played
elsewhere, by loops of their own (`RecordEpisodes`); what their learners took is not known. One that spent trainings before its
first episode, as on weights that designs share, begins behind them: until then it has found nothing. On a table
"trained" counts each of them as the mean design's; elsewhere it leaves them out.
"""
EPISODES = (25, 100, 500, 1000, 2000)
"""After how many episodes they are reported."""

Array = npt.NDArray[np.float64]


def reward_table(curves: RewardCurves) -> TextTable:
    """The best reward at the checkpoints, and what it cost; the highest at the end first."""
    factor, unit = _unit(curves)
    header = ["learner", *(f"at {n}" for n in curves.checkpoints), "distinct", "episodes", "trained, min", "ms/episode"]
    header += [BETTER] if THE_PAPERS in curves.best else []
    ends = {name: -best[:, -1:] for name, best in curves.best.items()}
    rows = []
    for name in sorted(ends, key=lambda name: interquartile_mean(ends[name])):
        best = curves.best[name]
        figures = [shown(bootstrap(interquartile_mean, best[:, [n - 1]]), factor, digits=4) for n in curves.checkpoints]
        cost = _cost(curves.runs[name], curves.evaluations, curves.seconds[name])
        rows.append([name, *figures, *cost, *_better(ends, name)])
    return f"{curves.name}: best reward, {curves.reward}{unit}", header, rows


def _unit(curves: RewardCurves) -> tuple[float, str]:
    """What rewards are multiplied with to be shown, and how that is said: Eq. 2 has percentage points already."""
    return (1, "") if isinstance(curves.reward, PaperReward) else (100, ", in hundredths")


def _cost(runs: Sequence[Run], last: int, seconds: Array | None) -> list[str]:
    """Distinct designs, episodes, minutes of training where they are known, and milliseconds of the learner: means over runs."""
    counts = [episodes_played(run.designs, last)[-1] for run in runs]
    distinct = [_distinct(run) for run in runs]
    ms = np.mean([run.ms_per_episode for run in runs])
    return [
        f"{np.mean(distinct):.0f}",
        f"{np.mean(counts):.0f}",
        *([] if seconds is None else [f"{seconds.mean() / 60:.1f}"]),
        "-" if np.isnan(ms) else f"{ms:.3g}",
    ]


def _distinct(run: Run) -> int:
    return len(first_episodes(run.designs))


def episodes_table(curves: Curves | RewardCurves, figure: str, factor: float, digits: int) -> list[TextTable]:
    """The same after so many episodes, repeats and those without a design among them; none where no run was recorded."""
    if not curves.by_episode:
        return []
    episodes = next(iter(curves.by_episode.values())).shape[1]
    ends = checkpoints(episodes, EPISODES)
    sign = 1 if isinstance(curves, Curves) else -1
    rows = []
    for name in sorted(curves.by_episode, key=lambda name: sign * interquartile_mean(curves.by_episode[name][:, -1:])):
        reached = curves.by_episode[name]
        estimates = [shown(bootstrap(interquartile_mean, reached[:, [n - 1]]), factor, digits) for n in ends]
        lengths = [len(run.designs) for run in curves.runs[name]]
        illegal = np.mean([sum(number is None for number in run.designs) for run in curves.runs[name]])
        rows.append([name, *estimates, f"{np.mean(lengths):.0f}", f"{illegal:.0f}"])
    header = ["learner", *(f"at {n}" for n in ends), "episodes", "without a design"]
    return [(f"{curves.name}: {figure} by episodes {INTERVALS}", header, rows)]


def regret_table(curves: Curves) -> TextTable:
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
        figures = [_estimate(curves.regret[name][:, [n - 1]]) for n in curves.checkpoints]
        cost = _cost(curves.runs[name], last, curves.seconds[name] if simulated else None)
        test = [_estimate(curves.worth[name][:, [-1]], statistic=mean)] if tested else []
        rows.append([name, *figures, *test, *cost, *_better(ends, name)])
    return curves.benchmark.name, header, rows


def covered_tables(all_curves: Sequence[Curves]) -> list[TextTable]:
    """The share of a table's hypervolume at the checkpoints, in percent, from the front's nadir and from the worst of the table;
    none with a single objective."""
    if not all(curves.covered for curves in all_curves):
        return []
    return [covered_table(all_curves, to_nadir=True), covered_table(all_curves)]


def covered_table(all_curves: Sequence[Curves], to_nadir: bool = False) -> TextTable:
    """One of them, on one benchmark or over several; the highest at the end first."""
    first = all_curves[0]
    header = ["learner", *(f"at {n}" for n in first.checkpoints)]
    covered = [curves.covered_to_nadir if to_nadir else curves.covered for curves in all_curves]
    shares = {name: np.stack([of_one[name] for of_one in covered], axis=1) for name in first.covered}
    rows = []
    for name in sorted(shares, key=lambda name: -interquartile_mean(shares[name][..., -1])):
        rows.append([name, *(_estimate(scores, digits=4) for scores in np.moveaxis(shares[name], -1, 0))])
    where = first.benchmark.name if len(all_curves) == 1 else "All benchmarks"
    objectives = " and ".join(map(str, first.benchmark.reward.objectives))
    whose = "hypervolume within the front's nadir" if to_nadir else "table's hypervolume"
    return f"{where}: percent of the {whose} of {objectives} {INTERVALS}", header, rows


def overall_table(all_curves: Sequence[Curves]) -> TextTable:
    """Over several benchmarks: regret as a share of a random design's, in percent."""
    scores = {name: normalised(all_curves, name) for name in all_curves[0].regret}
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


def _estimate(scores: Array, digits: int = 2, statistic: Callable[[Array], Array] = interquartile_mean) -> str:
    """In hundredths; scores of shape (seeds, benchmarks)."""
    return shown(bootstrap(statistic, scores), 100, digits)


def shown(estimate: Any, factor: float, digits: int = 2) -> str:
    """An estimate and its interval times a factor, as in `0.36 [0.2,0.5]`."""
    value, low, high = (f"{factor * float(part):.{digits}g}" for part in estimate)
    return f"{value} [{low},{high}]"


def write(all_curves: Sequence[Curves], folder: Path) -> list[TextTable]:
    """Tables and pictures of a comparison, and `runs.csv` with one row per run; returns the tables. Pictures of an earlier
    comparison in the folder are deleted."""
    for earlier in [*folder.glob("regret-*.png"), *folder.glob("attainment-*.png")]:
        earlier.unlink()
    tables: list[TextTable] = []
    pictures: list[str] = []
    for curves in all_curves:
        title, header, rows = regret_table(curves)
        what = (
            f"{title}: regret in hundredths of {curves.benchmark.reward}; a random design's: {100 * curves.chance:.3g}"
        )
        floor = f"; floor of the test regret: {100 * curves.floor:.3g}" if curves.benchmark.tested else ""
        tables.append((f"{what}{floor}", header, rows))
        tables += covered_tables([curves])
        pictures.append(f"regret-{title}.png")
        draw_regret(curves, folder / pictures[-1])
        if curves.by_episode:
            tables += episodes_table(curves, "regret in hundredths", 100, 2)
            pictures.append(f"regret-{title}-episodes.png")
            draw_regret(curves, folder / pictures[-1], by_episode=True)
        if len(curves.benchmark.reward.objectives) == 2:
            pictures.append(f"attainment-{title}.png")
            draw_attainment(curves, folder / pictures[-1])
    if len(all_curves) > 1:
        tables.append(overall_table(all_curves))
        tables += covered_tables(all_curves)
    pictures.append("profiles.png")
    draw_profiles(all_curves, folder / pictures[-1])
    with (folder / "runs.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        ends = all_curves[0].checkpoints
        kinds = [
            f"{kind}_{n}" for kind in ("regret", "test_regret", "hypervolume", "hypervolume_to_nadir") for n in ends
        ]
        counted = ["distinct", "episodes", "training_seconds", "ms_per_episode"]
        writer.writerow(["task", "learner", "seed", "table_seed", *counted, *kinds, "learner_code", "played_with"])
        for curves in all_curves:
            for name, runs in curves.runs.items():
                for i, run in enumerate(runs):
                    positions = [n - 1 for n in ends]
                    both = (curves.covered, curves.covered_to_nadir)
                    shares = [of[name][i] if of else [""] * len(positions) for of in both]
                    figures = [*curves.regret[name][i, positions], *curves.worth[name][i, positions], *chain(*shares)]
                    seed = run.contest.seed
                    counts = [_distinct(run), len(run.designs), curves.seconds[name][i], run.ms_per_episode]
                    cells = ["" if value == "" or np.isnan(value) else f"{value:.6g}" for value in (*counts, *figures)]
                    whose = [curves.benchmark.name, name, seed, curves.benchmark.table_seed(seed)]
                    writer.writerow([*whose, *cells, _code(run), run.played_with])
    by_learner = [curves.runs for curves in all_curves]
    _write_report(HOW_TO_READ, tables, pictures, by_learner, measured_side_by_side(_all(by_learner)), folder)
    return tables


def write_rewards(
    all_curves: Sequence[RewardCurves], folder: Path, time_taken: str, device: torch.device | str | None = None
) -> list[TextTable]:
    """Tables and pictures of a comparison on trained networks, and `runs.csv` with one row per run; returns the tables.

    Args:
        all_curves: of every task.
        folder: where; pictures of an earlier comparison in it are deleted.
        time_taken: how long all of it took.
        device: where networks were trained, if that is no CPU; in words, if it is a cluster.
    """
    for earlier in folder.glob("rewards-*.png"):
        earlier.unlink()
    pictures = []
    for curves in all_curves:
        pictures.append(f"rewards-{curves.name}.png")
        factor, unit = _unit(curves)
        draw_rewards(curves, factor, f"best reward{unit}", folder / pictures[-1])
        if curves.by_episode:
            pictures.append(f"rewards-{curves.name}-episodes.png")
            draw_rewards(curves, factor, f"best reward{unit}", folder / pictures[-1], by_episode=True)
    with (folder / "runs.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        ends = all_curves[0].checkpoints
        counted = ["distinct", "episodes", "training_seconds", "ms_per_episode"]
        header = ["task", "learner", "seed", *counted, *(f"reward_{n}" for n in ends), "learner_code", "played_with"]
        writer.writerow(header)
        for curves in all_curves:
            for name, runs in curves.runs.items():
                for run, best, seconds in zip(runs, curves.best[name], curves.seconds[name], strict=True):
                    counts = [_distinct(run), len(run.designs), seconds, run.ms_per_episode]
                    cells = [f"{value:.6g}" for value in (*counts, *(best[n - 1] for n in ends))]
                    whose = [curves.name, name, run.contest.seed]
                    writer.writerow([*whose, *cells, _code(run), run.played_with])
    tables = []
    for curves in all_curves:
        factor, unit = _unit(curves)
        tables += [reward_table(curves), *episodes_table(curves, f"best reward{unit}", factor, 4)]
    by_learner = [curves.runs for curves in all_curves]
    measured = f"{measured_side_by_side(_all(by_learner), device)} {time_taken}"
    _write_report(HOW_TO_READ_REWARDS, tables, pictures, by_learner, measured, folder)
    return tables


def _code(run: Run) -> str:
    """A learner's code; nothing is known of a recorded one's."""
    return "" if isinstance(run, RecordedRun) else code_of(run.contest.learner)[:7]


def _all(by_learner: Iterable[Mapping[str, Sequence[Run]]]) -> list[Run]:
    return [run for of_task in by_learner for runs in of_task.values() for run in runs]


def _write_report(
    how_to_read: str,
    tables: Sequence[TextTable],
    pictures: Sequence[str],
    by_learner: Sequence[Mapping[str, Sequence[Run]]],
    measured: str,
    folder: Path,
) -> None:
    ours = [name for name, runs in by_learner[0].items() if not isinstance(runs[0], RecordedRun)]
    text = ["# Comparison\n", how_to_read]
    text += [] if len(ours) == len(by_learner[0]) else [HOW_TO_READ_EPISODES]
    text += [markdown_section(*table) for table in tables]
    text += [f"![{picture}]({picture})\n" for picture in pictures]
    text.append(f"## Settings, where none stand behind a learner's name\n\n{listed_settings(ours)}")
    text.append(measured)
    (folder / "report.md").write_text("\n".join(text) + "\n")


def listed_settings(learners: Iterable[str]) -> str:
    """The defaults of these learners' settings, one line for each learner that has any, whatever stands behind its name."""
    lines = {}
    for name in (learner.partition("(")[0] for learner in learners):
        settings = ", ".join(f"{setting}={value!r}" for setting, value in settings_of(name).items())
        lines[name] = f"- {name}: {settings}\n" if settings else ""
    return "".join(lines.values())


def measured_side_by_side(runs: Iterable[Run], device: torch.device | str | None = None) -> str:
    """The closing line of a report: the command, with what its runs were played, and the machine, or the device that trained."""
    played_with = " and ".join(sorted({run.played_with for run in runs}))
    hardware = device if isinstance(device, str) else machine(device)
    return f"{measured_by(played_with, hardware)}. Times are of runs side by side, where `--jobs` is not 1."
