"""Learners on networks that are trained while they play, without any table: `python -m experiments.suites.live`.

Every run is a learner with one seed; all learners are rewarded by the same trainings, those of that seed, and have equally many
evaluations (distinct designs). The best reward so far is what they are judged by, since no one knows the optimum. Stopped,
it continues: trainings and runs are kept in the folder.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from experiments.comparison.contest import Contest, Run, Runs, code_of, gather, played
from experiments.comparison.regret import incumbents
from experiments.comparison.report import INTERVALS, THE_PAPERS, measured_by, shown
from experiments.comparison.statistics import bootstrap, interquartile_mean, probability_of_improvement
from experiments.tuning.report import markdown_table
from marl_hpo_env import Store, StoredEvaluator, TrainingEvaluator, env, task

LEARNERS = ("coordination-graph", "optuna-tpe", THE_PAPERS, "random")

EVALUATIONS: Mapping[str, tuple[int, ...]] = {"digits-convnet": (25, 50), "digits-unet": (25, 50)}
"""By task, after how many evaluations the reward is reported; the last is where the runs end."""

Array = npt.NDArray[np.float64]


def environment(name: str, seed: int, folder: Path) -> Any:
    """The task's environment, every training kept in the folder."""
    chosen = task(name)
    trained = StoredEvaluator(TrainingEvaluator(chosen), Store(folder / "trials.sqlite"))
    return env(chosen, evaluator=trained, seed=seed).unwrapped


def run(folder: Path, contest: Contest) -> Run:
    """Plays a contest whose table is the name of a task."""
    return played(contest, environment(contest.table, contest.seed, folder))


def basis(contest: Contest) -> str:
    """As `comparison.basis`."""
    return f"{task(contest.table).fingerprint} {code_of(contest.learner)}"


def best_rewards(folder: Path, finished: Run) -> Array:
    """The best reward after each evaluation; shape (evaluations,)."""
    contest = finished.contest
    game = environment(contest.table, contest.seed, folder)
    designs = list(map(game.space.design_at, finished.designs))
    told = {trial.design: game.score(trial) for trial in game.evaluate(list(dict.fromkeys(designs)))}
    rewards = np.array([told[design] for design in designs])
    return rewards[incumbents(designs, rewards, contest.evaluations)]


def report(best: Mapping[str, Mapping[str, Array]]) -> str:
    """The tables, in Markdown.

    Args:
        best: by task and learner, shape (seeds, evaluations).
    """
    text = ["# Trained live\n"]
    for name, curves in best.items():
        points = EVALUATIONS[name]
        seeds = len(next(iter(curves.values())))
        text.append(f"## {name}: best reward, {task(name).reward}, in hundredths; {seeds} seeds {INTERVALS}\n")
        rows = []
        for learner, runs in curves.items():
            middles = [shown(bootstrap(interquartile_mean, runs[:, [n - 1]]), 100, 4) for n in points]
            rivals = [bootstrap(probability_of_improvement, curves[LEARNERS[0]][:, -1:], runs[:, -1:])]
            beaten = "-" if learner == LEARNERS[0] else shown(rivals[0], 1)
            rows.append([learner, *middles, beaten])
        text.append(markdown_table(["learner", *(f"at {n}" for n in points), f"P({LEARNERS[0]} is better)"], rows))
    return "\n".join(text)


def main(arguments: Sequence[str] | None = None) -> None:
    """Plays all learners on all tasks and writes the report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--out", type=Path, default=Path("experiments/results/live"))
    given = parser.parse_args(arguments)
    contests = [
        Contest(learner, name, (), (), seed, points[-1])
        for name, points in EVALUATIONS.items()
        for seed in range(given.seeds)
        for learner in LEARNERS
    ]
    finished = gather(partial(run, given.out), contests, Runs(given.out, basis), given.jobs)
    curves = {one.contest: best_rewards(given.out, one) for one in finished}
    best = {
        name: {
            learner: np.array([curves[Contest(learner, name, (), (), seed, points[-1])] for seed in range(given.seeds)])
            for learner in LEARNERS
        }
        for name, points in EVALUATIONS.items()
    }
    command = ["python", "-m", "experiments.suites.live", *(sys.argv[1:] if arguments is None else arguments)]
    text = f"{report(best)}\n{measured_by(command, finished)}\n"
    (given.out / "report.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
