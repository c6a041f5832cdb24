"""Learners on networks that are trained while they play, without any table: `python -m experiments.suites.live`.

Every run is a learner with one seed; all learners are rewarded by the same trainings, those of that seed, and have equally many
evaluations (distinct designs). The best reward so far is what they are judged by, since no one knows the optimum. Stopped,
it continues: trainings and runs are kept in the folder.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
import typer

from experiments.command_line import Jobs, new_app, run_command
from experiments.comparison.contest import Contest, Run, Runs, code_of, gather, played
from experiments.comparison.regret import incumbents
from experiments.comparison.report import INTERVALS, THE_PAPERS, measured_side_by_side, shown
from experiments.comparison.statistics import bootstrap, interquartile_mean, probability_of_improvement
from experiments.text_tables import markdown_table
from experiments.tuning.evaluators import evaluator_of
from marl_hpo_env import Store, StoredEvaluator, env
from marl_hpo_env import task as named_task

app = new_app()

LEARNERS = ("coordination-graph", "optuna-tpe", THE_PAPERS, "random")

EVALUATIONS: Mapping[str, tuple[int, ...]] = {"digits-convnet": (25, 50), "digits-unet": (25, 50)}
"""By task, after how many evaluations the reward is reported; the last is where the runs end."""

Array = npt.NDArray[np.float64]


def environment(name: str, seed: int, folder: Path) -> Any:
    """The task's environment, every training kept in the folder."""
    task = named_task(name)
    evaluator = StoredEvaluator(evaluator_of(task, None, 1, timed=False), Store(folder / "trials.sqlite"))
    return env(task, evaluator=evaluator, seed=seed).unwrapped


def run(folder: Path, contest: Contest) -> Run:
    """Plays a contest whose table is the name of a task."""
    return played(contest, environment(contest.table, contest.seed, folder))


def basis(contest: Contest) -> str:
    """As `experiments.comparison.contest.basis`."""
    return f"{named_task(contest.table).fingerprint} {code_of(contest.learner)}"


def best_rewards(folder: Path, finished: Run) -> Array:
    """The best reward after each evaluation; shape (evaluations,)."""
    contest = finished.contest
    game = environment(contest.table, contest.seed, folder)
    designs = list(map(game.space.design_at, finished.designs))
    scores = {trial.design: game.score(trial) for trial in game.evaluate(list(dict.fromkeys(designs)))}
    rewards = np.array([scores[design] for design in designs])
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
        text.append(f"## {name}: best reward, {named_task(name).reward}, in hundredths; {seeds} seeds {INTERVALS}\n")
        rows = []
        for learner, runs in curves.items():
            middles = [shown(bootstrap(interquartile_mean, runs[:, [n - 1]]), 100, 4) for n in points]
            rivals = [bootstrap(probability_of_improvement, curves[LEARNERS[0]][:, -1:], runs[:, -1:])]
            beaten = "-" if learner == LEARNERS[0] else shown(rivals[0], 1)
            rows.append([learner, *middles, beaten])
        text.append(markdown_table(["learner", *(f"at {n}" for n in points), f"P({LEARNERS[0]} is better)"], rows))
    return "\n".join(text)


@app.command()
def main(
    seeds: Annotated[int, typer.Option(min=2, help="Of every learner.")] = 10,
    jobs: Jobs = None,
    out: Annotated[Path, typer.Option(help="Folder for trainings, runs and report; none is done again.")] = Path(
        "experiments/results/live"
    ),
) -> None:
    """Compare learners on networks that are trained while they play, without any table."""
    contests = {
        name: {
            learner: [Contest(learner, name, (), (), seed, points[-1]) for seed in range(seeds)] for learner in LEARNERS
        }
        for name, points in EVALUATIONS.items()
    }
    # Seed by seed, so that all learners of a seed find its trainings in the store.
    every = [contests[name][learner][seed] for name in EVALUATIONS for seed in range(seeds) for learner in LEARNERS]
    finished = gather(partial(run, out), every, Runs(out, basis), jobs)
    curves = {one.contest: best_rewards(out, one) for one in finished}
    best = {
        name: {learner: np.array([curves[contest] for contest in of_seeds]) for learner, of_seeds in by_learner.items()}
        for name, by_learner in contests.items()
    }
    text = f"{report(best)}\n{measured_side_by_side(finished)}\n"
    (out / "report.md").write_text(text)
    typer.echo(text)


if __name__ == "__main__":
    run_command(app, "python -m experiments.suites.live")
