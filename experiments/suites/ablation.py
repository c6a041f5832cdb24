"""What each part of `coordination-graph` earns, on synthetic tables: `python -m experiments.suites.ablation`.

Every seed is another drawing of every table. A run is rewarded with the table's noise, if any, and judged by the true value
of the design with its best reward: regret as a share of a random design's mean regret, so that tables can be averaged. The
settings of `coordination-graph` are tuned here and nowhere else (`synthetic.py`); other learners stand beside it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from functools import cache
from importlib import import_module
from itertools import chain
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
import numpy.typing as npt
import typer

from experiments.command_line import Jobs, new_app, path_option, run_command
from experiments.comparison.contest import Contest, Run, Runs, code_of, gather, played
from experiments.comparison.curves import checkpoints
from experiments.comparison.regret import incumbent_regret
from experiments.comparison.report import measured_side_by_side, shown
from experiments.comparison.statistics import bootstrap, interquartile_mean, mean
from experiments.text_tables import markdown_table
from marl_hpo_env import Design
from marl_hpo_env.tables.synthetic import SYNTHETIC, SyntheticTable, synthetic_table

app = new_app()

TABLES: Mapping[str, Mapping[str, Any]] = {
    "additive, 8 layers of 12": {"kind": "additive"},
    "additive, 20 of 12, noisy": {"kind": "additive", "layers": 20, "noise": 0.5},
    "pairwise, 5 of 12": {"kind": "pairwise", "layers": 5},
    "pairwise, 5 of 12, skewed": {"kind": "pairwise", "layers": 5, "skewed": True},
    "pairwise, 8 of 12, skewed": {"kind": "pairwise", "skewed": True},
    "pairwise, 8 of 3": {"kind": "pairwise", "values": (3,)},
    "pairwise, 8 of 12": {"kind": "pairwise"},
    "pairwise, 8 of 12, noisy": {"kind": "pairwise", "noise": 0.5},
    "pairwise, 8 of 12, skips": {"kind": "pairwise", "skips": True},
    "pairwise, 8 of 12, penalties": {"kind": "pairwise", "penalised": 0.05},
    "pairwise, 6 of 6, forbidden": SYNTHETIC["synthetic-forbidden-6"],
    "pairwise, 6 of 6, unordered": {"kind": "pairwise", "layers": 6, "values": (3, 2), "ordered": False},
    "cells, 6 of 5": {"kind": "cells", "layers": 6, "values": (5,), "ordered": False},
    "cells, 8 of 4": {"kind": "cells", "layers": 8, "values": (4,), "ordered": False},
    "rugged, 8 of 12": {"kind": "rugged"},
    "rugged, 5 of 12, skewed": {"kind": "rugged", "layers": 5, "skewed": True},
    "orders, 8 of 3": SYNTHETIC["synthetic-orders-8"],
}
"""By name, what `synthetic_table` takes."""

FULL = "coordination-graph"

WITHOUT = {
    "no pairs": "value_pair+action_pair+distant_pair",
    "no hyperparameter terms": "shared+value_pair+distant_pair",
    "no weights shared by layers": "shared",
    "no terms of one layer": "action",
    "no terms of one layer, nor per pair of actions": "action+action_pair",
    "no pairs of values": "value_pair",
    "no pairs of actions": "action_pair",
    "no pairs beyond the graph": "distant_pair",
    "distances alone": "ranks",
    "ranks alone": "distances",
    "greedy": "thompson",
    "no greed at first": "greed",
    "no feasibility": "feasibility",
}
"""The ablations, by what the report calls them."""

BESIDE = ("random", "local-search", "regularized-evolution", "optuna-tpe", "pairwise-q")

Array = npt.NDArray[np.float64]


class _Trial(NamedTuple):
    """Of a trial what a learner sees."""

    design: Design
    reward: float
    status: str


class _Told:
    """The reward: what a trial has; no design but a terminated one gets a penalty."""

    penalty = -math.inf


class SyntheticEnvironment:
    """A synthetic table as `agents.play` needs an environment.

    Args:
        table: the designs and their values.
        seed: of the noise, which is drawn in the order in which designs are first evaluated.
    """

    reward = _Told()

    def __init__(self, table: SyntheticTable, seed: int) -> None:
        self.table, self.space = table, table.space
        self._rng = np.random.default_rng((seed, 1))
        self._rewards: dict[Design, float] = {}

    @property
    def unwrapped(self) -> SyntheticEnvironment:
        """Itself."""
        return self

    def evaluate(self, designs: Iterable[Design]) -> Iterable[_Trial]:
        """What a learner sees of each design; the same again when it comes again."""
        for design in designs:
            if design not in self._rewards:
                self._rewards[design] = self.table.reward(design, self._rng)
            yield _Trial(design, self._rewards[design], "terminated" if self.table.forbidden(design) else "completed")

    def score(self, trial: _Trial) -> float:
        """The reward."""
        return trial.reward

    def objectives(self, _: _Trial) -> dict[str, float]:
        """None."""
        return {}

    @property
    def directions(self) -> dict[str, int]:
        """None."""
        return {}


@cache
def _table(name: str, seed: int) -> SyntheticTable:
    return synthetic_table(**TABLES[name], seed=seed)


def run(contest: Contest) -> Run:
    """Plays a contest whose table is one of `TABLES`, drawn with the contest's seed."""
    return played(contest, SyntheticEnvironment(_table(contest.table, contest.seed), contest.seed))


def basis(contest: Contest) -> str:
    """As `experiments.comparison.contest.basis`."""
    return f"{TABLES[contest.table]} {code_of(contest.learner)}"


def regret(finished: Run) -> Array:
    """After each evaluation, the regret in the true value of the design with the best reward, as a share of a random
    design's; shape (evaluations,)."""
    contest = finished.contest
    table = _table(contest.table, contest.seed)
    designs = [table.space.design_at(number) for number in finished.numbers]
    trials = SyntheticEnvironment(table, contest.seed).evaluate(designs)
    values = [table.value(design) for design in designs]
    best = table.value(table.best())
    rng = np.random.default_rng(0)
    chance = best - np.mean([table.value(table.space.sample(rng)) for _ in range(1000)])
    curve = incumbent_regret(designs, [trial.reward for trial in trials], values, best, contest.evaluations)
    return np.asarray(curve / chance)


def report(regrets: Mapping[str, Array]) -> str:
    """The tables, in Markdown.

    Args:
        regrets: by row, with `FULL` among them, shape (seeds, tables, evaluations).
    """
    points = checkpoints(regrets[FULL].shape[-1])
    kinds = [[word for word in name.split(", ") if not word[0].isdigit()] for name in TABLES]
    rows, by_kind, by_table = [], [], []
    for name, curves in regrets.items():
        at_points = [curves[..., n - 1] for n in points]
        means = [shown(bootstrap(interquartile_mean, scores), 100) for scores in at_points]
        behind = [scores - regrets[FULL][..., n - 1] for scores, n in zip(at_points, points, strict=True)]
        paired = [shown(bootstrap(mean, difference), 100) if name != FULL else "-" for difference in behind]
        rows.append([name, *means, *paired])
        for kind in dict.fromkeys(chain(*kinds) if name != FULL else ()):
            of_kind = [difference[:, [kind in words for words in kinds]] for difference in behind]
            by_kind.append([name, kind, *(shown(bootstrap(mean, difference), 100) for difference in of_kind)])
        middle = [f"{100 * interquartile_mean(at_points[-1][:, [k]]):.2g}" for k in range(len(TABLES))]
        by_table.append([name, *middle])
    header = ["learner", *(f"at {n}" for n in points), *(f"behind the whole, at {n}" for n in points)]
    return (
        "# Ablation of coordination-graph\n\nRegret in percent of a random design's, over all tables: interquartile mean "
        f"and 95% interval; then the mean of the same seeds' differences to the whole learner.\n\n"
        f"{markdown_table(header, rows)}\nBehind the whole, by kind of table:\n\n"
        f"{markdown_table(['learner', 'tables', *(f'at {n}' for n in points)], by_kind)}\nBy table, at {points[-1]}:\n\n"
        f"{markdown_table(['learner', *TABLES], by_table)}"
    )


@app.command()
def main(
    seeds: Annotated[int, typer.Option(min=2, help="Of every learner, each another drawing of every table.")] = 30,
    episodes: Annotated[int, typer.Option(min=1, help="Evaluations of every run: distinct designs.")] = 200,
    jobs: Jobs = None,
    out: Annotated[Path, path_option(help="Folder for runs and report; what is in it is not run again.")] = Path(
        "experiments/results/ablation"
    ),
) -> None:
    """Leave out each part of coordination-graph in turn, on synthetic tables."""
    learners = {FULL: FULL, **{name: f"{FULL}(without={parts})" for name, parts in WITHOUT.items()}}
    learners |= {name: name for name in BESIDE}
    contests = {
        name: [[Contest(learner, table, (), (), seed, episodes) for table in TABLES] for seed in range(seeds)]
        for name, learner in learners.items()
    }
    every = [contest for of_learner in contests.values() for of_seed in of_learner for contest in of_seed]
    finished = gather(run, every, Runs(out, basis), jobs)
    curves = {one.contest: regret(one) for one in finished}
    regrets = {
        name: np.array([[curves[contest] for contest in of_seed] for of_seed in of_learner])
        for name, of_learner in contests.items()
    }
    text = f"{report(regrets)}\n{measured_side_by_side(finished)}\n"
    (out / "report.md").write_text(text)
    typer.echo(text)


if __name__ == "__main__":
    # By its name, since other processes know no `__main__`, in which the tables would be kept.
    run_command(import_module("experiments.suites.ablation").app, "python -m experiments.suites.ablation")
