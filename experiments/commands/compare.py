"""The command `marl-hpo compare`."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer

from marl_hpo_env import InputError

if TYPE_CHECKING:
    from experiments.comparison.contest import Benchmark
    from experiments.comparison.report import Table


def compare(
    tasks: Annotated[
        list[str],
        typer.Option(
            "--task",
            help="A task with a table in the package, a table's path (.npz), or NAS-Bench-Macro's (.json); repeat for more.",
        ),
    ],
    seeds: Annotated[int, typer.Option(min=2, help="Of every learner.")] = 50,
    episodes: Annotated[int, typer.Option(min=1, help="Evaluations of every run: distinct designs.")] = 200,
    learners: Annotated[
        str | None,
        typer.Option(
            help="Separated by commas; settings stand behind a name, as in 'pairwise-q(update=averaged)'.",
            show_default="all but optuna-gp, which takes up to a second per design, and, where the reward has one objective, "
            "those that seek more",
        ),
    ] = None,
    own: Annotated[
        list[str] | None,
        typer.Option("--learner", help="One more, such as your own: package.module:Class; repeat for more."),
    ] = None,
    weight: Annotated[
        list[str] | None, typer.Option(metavar="METRIC=WEIGHT", help="As in `tune`, in place of the tasks' rewards.")
    ] = None,
    constraint: Annotated[list[str] | None, typer.Option(metavar="BOUND", help="As in `tune`; needs --weight.")] = None,
    jobs: Annotated[int | None, typer.Option(min=1, help="Runs side by side.", show_default="one per core")] = None,
    out: Annotated[Path, typer.Option(help="Folder for runs and reports; what is in it is not run again.")] = Path(
        "runs/compare"
    ),
) -> None:
    """Compare learners on tables: regret with confidence intervals, curves and profiles, in minutes."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from experiments.commands.reward_options import read_weights
    from experiments.comparison.contest import Contest, Run, Runs, basis, run, run_all
    from experiments.comparison.report import Curves, write

    weights = tuple(read_weights(weight or []).items())
    constraints = tuple(constraint or [])
    if constraints and not weights:
        raise InputError("The --constraint needs a reward beside it; give it with --weight.")
    grounds = _benchmarks(tasks, weights, constraints)
    several = any(len(ground.reward.objectives) > 1 for ground in grounds.values())
    names = _names(learners, own or [], several)
    contests = [
        Contest(name, table, weights, constraints, seed, episodes)
        for seed in range(seeds)
        for table in grounds
        for name in names
    ]
    runs = Runs(out, basis)
    finished: dict[Contest, Run] = {}
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[best]}")
    with Progress(*columns, TimeRemainingColumn(), TextColumn("left"), console=Console(stderr=True)) as progress:
        bar = progress.add_task("runs", total=len(contests), best="")
        lowest = float("inf")
        for one in run_all(run, contests, runs, jobs or os.cpu_count() or 1):
            finished[one.contest] = one
            ground = grounds[one.contest.table]
            told = ground.rewards(ground.table_seed(one.contest.seed))
            regret = 100 * float(told.max() - told[list(one.designs)].max())
            lowest = min(lowest, regret)
            progress.update(bar, advance=1, best=f"best regret {lowest:.3g}, last {one.contest.learner}")
    all_curves = []
    for table, ground in grounds.items():
        played = {
            name: [finished[Contest(name, table, weights, constraints, seed, episodes)] for seed in range(seeds)]
            for name in names
        }
        all_curves.append(Curves(ground, played, episodes))
    _print(write(all_curves, out))
    typer.echo(f"Tables, curves, profiles and every run: {out / 'report.md'}, {out / 'runs.csv'}")


def _benchmarks(
    tasks: Sequence[str], weights: tuple[tuple[str, float], ...], constraints: tuple[str, ...]
) -> dict[str, Benchmark]:
    """The benchmarks by the names that their tables were given, if learners can be told apart on them."""
    from experiments.comparison.contest import benchmark

    for table in tasks:
        if "," in table and not Path(table).exists():
            raise InputError(f"The --task {table!r} cannot be read; repeat --task for each.")
    grounds = {table: benchmark(table, weights, constraints) for table in tasks}
    for title, count in Counter(ground.name for ground in grounds.values()).items():
        if count > 1:
            raise InputError(f"There are {count} tables of {title!r}; compare on one of them at a time.")
    for ground in grounds.values():
        if not any(np.ptp(ground.rewards(seed)) for seed in ground.table.seeds):
            raise InputError(
                f"All designs of {ground.name!r} have the same reward, {ground.reward}; reward something else."
            )
    return grounds


def _names(learners: str | None, own: Sequence[str], several_objectives: bool) -> list[str]:
    """Who is compared; every one of them can be made."""
    from agents import learner
    from agents.registry import split

    names = [*(_default(several_objectives) if learners is None else split(learners)), *own]
    if not names:
        raise InputError(f"The learners {learners!r} are none; name at least one, separated by commas.")
    if len(set(names)) < len(names):
        raise InputError(f"The learners {','.join(names)!r} cannot be compared; name each once, separated by commas.")
    for name in names:
        learner(name)
    return names


def _default(several_objectives: bool) -> list[str]:
    """Every learner but the slowest and, with one objective, those that are for several; as far as they can be made here: those
    of an extra that is not installed are left out, with a word."""
    from agents import learner
    from agents import learners as all_learners

    passed = {"optuna-gp"} if several_objectives else {"optuna-gp", "optuna-motpe", "optuna-nsga2"}
    names = []
    for name in all_learners():
        if name in passed:
            continue
        try:
            learner(name)
        except InputError as error:
            typer.echo(f"{name} is left out: {error}", err=True)
            continue
        names.append(name)
    return names


def _print(tables: Sequence[Table]) -> None:
    """The tables in the terminal: where one is too wide, with intervals below their numbers; and rather a line that the
    terminal breaks than a number broken in two."""
    from rich.console import Console
    from rich.measure import Measurement

    from experiments.tuning.report import rich_table

    console = Console()
    unbounded = console.options.update(max_width=10_000)
    for title, header, rows in tables:
        table = rich_table(title, header, rows)
        if Measurement.get(console, unbounded, table).maximum > console.width:
            for column, cells in zip(table.columns, zip(header, *rows, strict=True), strict=True):
                column.width = max(len(word) for cell in cells for word in cell.split())
            console.width = max(console.width, Measurement.get(console, unbounded, table).maximum)
        console.print(table)
