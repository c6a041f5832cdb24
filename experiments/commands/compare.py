"""The command `marl-hpo compare`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer

from experiments.command_line import Jobs
from experiments.comparison.suite import Suite, suite, suites
from marl_hpo_env import InputError

if TYPE_CHECKING:
    from experiments.comparison.contest import Benchmark, Run


def compare(
    suite_name: Annotated[
        str | None,
        typer.Option(
            "--suite",
            help=f"Settings that come with the package: {', '.join(suites())}. An option beside it counts over the suite's.",
        ),
    ] = None,
    tasks: Annotated[
        list[str] | None,
        typer.Option(
            "--task",
            help="A task with a table in the package, a table's path (.npz), or NAS-Bench-Macro's (.json); repeat for more.",
            show_default="the suite's",
        ),
    ] = None,
    seeds: Annotated[
        int | None, typer.Option(min=2, help="Of every learner.", show_default=f"{Suite().seeds}, or the suite's")
    ] = None,
    episodes: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Evaluations of every run: distinct designs.",
            show_default=f"{Suite().episodes}, or the suite's",
        ),
    ] = None,
    learners: Annotated[
        str | None,
        typer.Option(
            help="Separated by commas; settings stand behind a name, as in 'pairwise-q(update=averaged)'.",
            show_default="the suite's; without one all but optuna-gp, which takes up to a second per design, and, where the "
            "reward has one objective, those that seek more",
        ),
    ] = None,
    more_learners: Annotated[
        list[str] | None,
        typer.Option("--learner", help="One more, such as your own: package.module:Class; repeat for more."),
    ] = None,
    weight: Annotated[
        list[str] | None,
        typer.Option(
            metavar="METRIC=WEIGHT",
            help="As in `tune`, in place of the tasks' rewards.",
            show_default="the suite's, or the tasks' rewards",
        ),
    ] = None,
    constraint: Annotated[list[str] | None, typer.Option(metavar="BOUND", help="As in `tune`; needs --weight.")] = None,
    jobs: Jobs = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder for runs and reports; what is in it is not run again.",
            show_default="runs/compare; with --suite experiments/results/compare-SUITE",
        ),
    ] = None,
) -> None:
    """Compare learners on tables: regret with confidence intervals, curves and profiles, in minutes."""
    from experiments.commands.reward_options import read_weights
    from experiments.comparison.contest import Contest, Runs, basis, gather, run
    from experiments.comparison.curves import Curves
    from experiments.comparison.report import write
    from experiments.text_tables import print_table

    settings = Suite() if suite_name is None else suite(suite_name)
    folder = f"experiments/results/compare-{suite_name}" if suite_name else "runs/compare"
    out, seeds, episodes = out or Path(folder), seeds or settings.seeds, episodes or settings.episodes
    weights = tuple((read_weights(weight) if weight else {k: float(v) for k, v in settings.weights.items()}).items())
    constraints = tuple(constraint or [])
    if constraints and not weights:
        raise InputError("The --constraint needs a reward beside it; give it with --weight.")
    benchmarks = _benchmarks(tasks or settings.tasks, weights, constraints)
    several = any(len(benchmark.reward.objectives) > 1 for benchmark in benchmarks.values())
    names = _names(learners, settings.learners, more_learners or [], several)

    def contest(name: str, table: str, seed: int) -> Contest:
        return Contest(name, table, weights, constraints, seed, episodes)

    contests = [contest(name, table, seed) for seed in range(seeds) for table in benchmarks for name in names]
    finished = gather(run, contests, Runs(out, basis), jobs, _best_regret(benchmarks))
    runs = {one.contest: one for one in finished}
    all_curves = [
        Curves(
            benchmark, {name: [runs[contest(name, table, seed)] for seed in range(seeds)] for name in names}, episodes
        )
        for table, benchmark in benchmarks.items()
    ]
    for table in write(all_curves, out):
        print_table(*table)
    typer.echo(f"Tables, curves, profiles and every run: {out / 'report.md'}, {out / 'runs.csv'}")


def _benchmarks(
    tasks: Sequence[str], weights: tuple[tuple[str, float], ...], constraints: tuple[str, ...]
) -> dict[str, Benchmark]:
    """The benchmarks by the names that their tables were given, if learners can be told apart on them."""
    from experiments.comparison.contest import open_benchmark

    if not tasks:
        raise InputError(f"Say what to compare on: --task with a table, or --suite with one of {', '.join(suites())}.")
    for table in tasks:
        if "," in table and not Path(table).exists():
            raise InputError(f"The --task {table!r} cannot be read; repeat --task for each.")
        if ":" in table and not Path(table).exists():
            raise InputError(
                f"The --task {table!r} is no table, and learners are compared on tables only; "
                f"make one with `marl-hpo table build --task {table}` and name its file."
            )
    benchmarks = {table: open_benchmark(table, weights, constraints) for table in tasks}
    for title, count in Counter(benchmark.name for benchmark in benchmarks.values()).items():
        if count > 1:
            raise InputError(f"There are {count} tables of {title!r}; compare on one of them at a time.")
    for benchmark in benchmarks.values():
        if not any(np.ptp(benchmark.rewards(seed)) for seed in benchmark.table.seeds):
            raise InputError(
                f"All designs of {benchmark.name!r} have the same reward, {benchmark.reward}; reward something else."
            )
    return benchmarks


def _names(
    learners: str | None, suite_learners: Sequence[str] | None, more: Sequence[str], several_objectives: bool
) -> list[str]:
    """Who is compared; every one of them can be made."""
    from agents import learner
    from agents.registry import split

    if learners is not None:
        names = split(learners)
    else:
        names = _default(several_objectives) if suite_learners is None else list(suite_learners)
    names += more
    if not names:
        raise InputError(f"The learners {learners!r} are none; name at least one, separated by commas.")
    if len(set(names)) < len(names):
        raise InputError(f"The learners {','.join(names)!r} cannot be compared; name each once, separated by commas.")
    for name in names:
        learner(name)
    return names


def _default(several_objectives: bool) -> list[str]:
    """Every learner but the slowest and, with one objective, those that are for several.

    Those of an extra that is not installed are left out, with a word."""
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


def _best_regret(benchmarks: Mapping[str, Benchmark]) -> Callable[[Run], str]:
    """Says of the run that has just ended whose it was, and the lowest regret of all so far."""
    lowest = float("inf")

    def note(finished: Run) -> str:
        nonlocal lowest
        benchmark = benchmarks[finished.contest.table]
        rewards = benchmark.rewards(benchmark.table_seed(finished.contest.seed))
        lowest = min(lowest, 100 * float(rewards.max() - rewards[list(finished.designs)].max()))
        return f"best regret {lowest:.3g}, last {finished.contest.learner}"

    return note
