"""The command `marl-hpo compare`."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import numpy as np
import typer

from experiments.command_line import (
    MOST_EPISODES,
    MOST_SEEDS,
    MOST_SIDE_BY_SIDE,
    Device,
    Ray,
    Strict,
    at_most,
    path_option,
)
from experiments.commands.task_options import (
    Column,
    Examples,
    Groups,
    Images,
    ImageSize,
    KindOption,
    Labels,
    Masks,
    TaskOptions,
    Width,
    check_images,
    read_options,
)
from experiments.comparison.suite import Suite, suite, suites
from marl_hpo_env import InputError
from marl_hpo_env import tasks as known_tasks

if TYPE_CHECKING:
    from experiments.comparison.contest import Benchmark, Contest, Run
    from experiments.comparison.recorded import RecordedRun, Recording
    from experiments.text_tables import TextTable


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
            help="A task, answered by its table where the package has one, else trained; your own: package.module:FUNCTION. Or "
            "the path of a table (.npz), or of NAS-Bench-Macro or Channel-Bench-Macro (.json). Repeat for more.",
            show_default="the suite's",
        ),
    ] = None,
    seeds: Annotated[
        int | None,
        typer.Option(
            min=2,
            callback=at_most(MOST_SEEDS),
            help="Of every learner.",
            show_default=f"{Suite().seeds}, or the suite's",
        ),
    ] = None,
    episodes: Annotated[
        int | None,
        typer.Option(
            min=1,
            callback=at_most(MOST_EPISODES),
            metavar="N",
            help="Evaluations of every run: distinct designs.",
            show_default=f"{Suite().episodes}, or the suite's",
        ),
    ] = None,
    learners: Annotated[
        str | None,
        typer.Option(
            help="Separated by commas; settings stand behind a name, as in 'pairwise-q(update=averaged)'.",
            show_default="the suite's; without one all but optuna-gp, optuna-mogp and smac, which are slow, nevergrad "
            "and, where the reward has one objective, those that seek more",
        ),
    ] = None,
    more_learners: Annotated[
        list[str] | None,
        typer.Option("--learner", help="One more, such as your own: package.module:Class; repeat for more."),
    ] = None,
    recorded: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=FILES",
            help="Runs that any other training recorded with RecordEpisodes, as in 'my PPO=ppo-*.jsonl': each file, or folder of "
            "files, is one; repeat for more.",
        ),
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
    data: Annotated[
        Path | None,
        path_option("--data", "--data-dir", help="The folder with the data of tasks whose networks are trained."),
    ] = None,
    images: Images = None,
    image_size: ImageSize = None,
    examples: Examples = None,
    labels: Labels = None,
    kind: KindOption = None,
    column: Column = None,
    groups: Groups = None,
    masks: Masks = None,
    width: Width = None,
    device: Device = None,
    jobs: Annotated[
        int | None,
        typer.Option(
            min=1,
            callback=at_most(MOST_SIDE_BY_SIDE),
            help="Runs side by side.",
            show_default="one per core; where networks are trained 1 per GPU, or where times are rewarded or limited",
        ),
    ] = None,
    ray: Ray = None,
    strict: Strict = False,
    out: Annotated[
        Path | None,
        path_option(
            help="Folder for runs and reports; what is in it is not run again.",
            show_default="runs/compare; the suite's own with --suite",
        ),
    ] = None,
) -> None:
    """Compare learners with equal numbers of designs: on tables by regret, in minutes; on other tasks by the best reward, with
    every network trained."""
    from experiments.commands.reward_options import read_weights

    settings = Suite() if suite_name is None else suite(suite_name)
    folder = f"experiments/results/compare-{suite_name}" if suite_name else "runs/compare"
    weights = tuple((read_weights(weight) if weight else {k: float(v) for k, v in settings.weights.items()}).items())
    constraints = tuple(constraint or [])
    if constraints and not weights:
        raise InputError("The --constraint needs a reward beside it; give it with --weight.")
    options = read_options(data, images, image_size, examples, width, labels, kind, column, groups, masks)
    names = tasks or settings.tasks
    if not names:
        raise InputError(f"Say what to compare on: --task with a name, or --suite with one of {', '.join(suites())}.")
    trained = _are_trained(names, options, settings.trained and not tasks)
    chosen = Chosen(
        tuple(dict.fromkeys(names)),
        weights,
        constraints,
        seeds or settings.seeds,
        episodes or settings.episodes,
        jobs,
        out or Path(folder),
        tuple(recorded or ()),
    )

    def players(several_objectives: bool) -> list[str]:
        from agents import learner

        names = _names(learners, settings.learners, more_learners or [], several_objectives)
        if not (chosen.out / "runs.jsonl").exists():  # else only who still has to play must be there: `run_all` asks
            for name in names:
                learner(name)
        return names

    if trained:
        _on_trainings(chosen, players, options, device, ray, strict)
    elif device is not None or ray is not None or strict:
        given = "--ray" if ray else "--strict" if strict else "--device"
        raise InputError(f"Nothing is trained on tables; leave out {given}.")
    else:
        _on_tables(chosen, players)


class Chosen(NamedTuple):
    """What is compared on, and how often."""

    tasks: tuple[str, ...]
    weights: tuple[tuple[str, float], ...]
    constraints: tuple[str, ...]
    seeds: int
    episodes: int
    jobs: int | None
    out: Path
    recorded: tuple[str, ...]

    def contest(self, learner: str, task: str, seed: int) -> Contest:
        """One run of them."""
        from experiments.comparison.contest import Contest

        return Contest(learner, task, self.weights, self.constraints, seed, self.episodes)

    def contests(self, learners: Sequence[str]) -> list[Contest]:
        """All runs, seed by seed."""
        return [
            self.contest(name, task, seed) for seed in range(self.seeds) for task in self.tasks for name in learners
        ]

    def by_learner(self, task: str, learners: Sequence[str], finished: Iterable[Run]) -> dict[str, list[Run]]:
        """A task's runs by learner, one per seed."""
        runs = {one.contest: one for one in finished}
        return {name: [runs[self.contest(name, task, seed)] for seed in range(self.seeds)] for name in learners}

    def recordings(self, tasks: Sequence[str], learners: Sequence[str]) -> dict[str, dict[str, list[Recording]]]:
        """Of each task, as it calls itself, the recorded runs by name."""
        from experiments.comparison.recorded import of_tasks, recordings

        return of_tasks(recordings(self.recorded), tasks, learners)


def _on_tables(chosen: Chosen, players: Callable[[bool], list[str]]) -> None:
    """Learners on tables, where the best design is known."""
    from experiments.comparison.contest import Runs, basis, gather, run
    from experiments.comparison.curves import Curves
    from experiments.comparison.report import write

    benchmarks = _benchmarks(chosen)
    names = players(any(len(benchmark.reward.objectives) > 1 for benchmark in benchmarks.values()))
    found = chosen.recordings([benchmark.name for benchmark in benchmarks.values()], names)
    recorded = {
        table: {
            name: [_recorded_on(chosen, benchmark, table, name, *one) for one in enumerate(of_name)]
            for name, of_name in found[benchmark.name].items()
        }
        for table, benchmark in benchmarks.items()
    }
    runs = Runs(chosen.out, basis)
    finished = gather(run, chosen.contests(names), runs, chosen.jobs, _best_regret(benchmarks))
    all_curves = [
        Curves(benchmark, {**chosen.by_learner(table, names, finished), **recorded[table]}, chosen.episodes)
        for table, benchmark in benchmarks.items()
    ]
    _say(write(all_curves, chosen.out), chosen.out)


def _recorded_on(
    chosen: Chosen, benchmark: Benchmark, table: str, name: str, index: int, recording: Recording
) -> RecordedRun:
    """A recorded run on a table; its seed is one of those that are rewarded on the table's seed that it was played on."""
    seeds = benchmark.table.seeds
    recording.check(
        task=benchmark.name,
        fingerprint=benchmark.evaluator.fingerprint,
        reward=str(benchmark.reward),
        epochs=benchmark.table.epochs,
        seed=seeds,
    )
    seed = seeds.index(recording.header["seed"]) + index * len(seeds)
    return recording.run(chosen.contest(name, table, seed), benchmark.table.space)


def _on_trainings(
    chosen: Chosen,
    players: Callable[[bool], list[str]],
    options: TaskOptions,
    device: str | None,
    ray: str | None,
    strict: bool,
) -> None:
    """Learners on networks that are trained while they play."""
    from experiments.comparison.contest import Runs, gather
    from experiments.comparison.report import write_rewards
    from experiments.comparison.trained import RewardCurves, Trainings, is_timed
    from experiments.provenance import cores
    from experiments.tuning.evaluators import default_workers
    from experiments.tuning.sentences import device_seconds, time_taken
    from marl_hpo_env import Store, WeightedReward
    from marl_hpo_env.training.devices import choose_devices

    started = time.perf_counter()
    reward = WeightedReward(dict(chosen.weights), chosen.constraints) if chosen.weights else None
    made = {name: options.task(name) for name in chosen.tasks}
    _once([task.name for task in made.values()], "tasks")
    rewards = [reward or task.reward for task in made.values()]
    names = players(any(len(each.objectives) > 1 for each in rewards))
    timed = any(is_timed(task, each) for task, each in zip(made.values(), rewards, strict=True))
    devices = [] if ray else choose_devices(device)
    jobs = chosen.jobs or (cores() if ray else len(devices) if timed else default_workers(devices))
    alone = jobs <= len(devices)
    if not alone and any(task.limits.batch_ratio is not None for task in made.values()):
        where = "on a cluster" if ray else f"with {jobs} jobs"
        typer.echo(f"The batch-time limit is off: {where} no training is alone.", err=True)
    trainings, *others = (
        Trainings(chosen.out, options.task, each, alone, chosen.weights, chosen.constraints, ray, strict)
        for each in ([device] if ray else map(str, devices))
    )
    for name in chosen.tasks:
        trainings.check(name)
        if options.images is not None:
            check_images(trainings.task(name))
    found = chosen.recordings([task.name for task in made.values()], names)
    recorded: dict[str, dict[str, list[RecordedRun]]] = {name: {} for name in chosen.tasks}
    for name in chosen.tasks if chosen.recorded else ():
        task, reward_here = trainings.task(name), str(trainings.reward(name))
        expected = {"task": task.name, "fingerprint": trainings.fingerprint(name), "epochs": task.recipe.epochs}
        for whose, of_name in found[task.name].items():
            for recording in of_name:
                recording.check(**expected, reward=reward_here, seed=range(chosen.seeds))
                contest = chosen.contest(whose, name, recording.header["seed"])
                recorded[name].setdefault(whose, []).append(recording.run(contest, task.space))
    runs = Runs(chosen.out, trainings.basis)
    finished = gather(
        trainings.run,
        chosen.contests(names),
        runs,
        jobs,
        lambda run: f"last {run.contest.learner}",
        [each.run for each in others],
    )
    all_curves = [
        RewardCurves(trainings, name, {**chosen.by_learner(name, names, finished), **recorded[name]}, chosen.episodes)
        for name in chosen.tasks
    ]
    store = Store(chosen.out / "trials.sqlite")
    took = time_taken(device_seconds(store), time.perf_counter() - started)
    store.close()
    _say(
        write_rewards(all_curves, chosen.out, f"{took[0].upper()}{took[1:]}.", "a Ray cluster" if ray else devices[0]),
        chosen.out,
    )


def _say(tables: Iterable[TextTable], out: Path) -> None:
    from experiments.text_tables import print_table

    for table in tables:
        print_table(*table)
    typer.echo(f"Tables, curves and every run: {out / 'report.md'}, {out / 'runs.csv'}")


def _are_trained(names: Sequence[str], options: TaskOptions, suite_trains: bool) -> bool:
    """Whether networks are trained; a task with a table in the package answers from it, unless an option changes the task.

    Raises:
        InputError: if some are and some are not, or a name is neither a table's nor a task's.
    """
    from marl_hpo_env.tables.synthetic import tabled
    from marl_hpo_env.tables.table import shipped

    trained, tables = [], []
    for name in names:
        is_file = name.endswith((".npz", ".json")) or Path(name).exists()
        if "," in name and not is_file:
            raise InputError(f"The --task {name!r} cannot be read; repeat --task for each.")
        if is_file or (name in [*shipped(), *tabled()] and options == TaskOptions() and not suite_trains):
            tables.append(name)
        elif ":" in name or name in known_tasks():
            trained.append(name)
        else:
            raise InputError.unknown("task or table", name, sorted({*known_tasks(), *shipped()}))
    if tables and options != TaskOptions():
        raise InputError(
            f"The table {tables[0]!r} is not trained, so it takes none of --data-dir, --images and what goes with "
            "them, and no --width; leave them out."
        )
    if tables and trained:
        raise InputError(
            f"The task {trained[0]!r} is trained and {tables[0]!r} is a table; compare on one kind at a time."
        )
    return bool(trained)


def _benchmarks(chosen: Chosen) -> dict[str, Benchmark]:
    """The benchmarks by the names that their tables were given, if learners can be told apart on them."""
    from experiments.comparison.contest import open_benchmark

    benchmarks = {table: open_benchmark(table, chosen.weights, chosen.constraints) for table in chosen.tasks}
    _once([benchmark.name for benchmark in benchmarks.values()], "tables")
    for benchmark in benchmarks.values():
        if not any(np.ptp(benchmark.rewards(seed)) for seed in benchmark.table.seeds):
            raise InputError(
                f"All designs of {benchmark.name!r} have the same reward, {benchmark.reward}; reward something else."
            )
    return benchmarks


def _once(titles: Sequence[str], what: str) -> None:
    """Refuses what would have one report's file for two."""
    for title, count in Counter(titles).items():
        if count > 1:
            raise InputError(f"There are {count} {what} of {title!r}; compare on one of them at a time.")


def _names(
    learners: str | None, suite_learners: Sequence[str] | None, more: Sequence[str], several_objectives: bool
) -> list[str]:
    """Who is compared."""
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
    return names


def _default(several_objectives: bool) -> list[str]:
    """Every learner but the slowest, Nevergrad's, and, with one objective, those that are for several.

    Nevergrad has an extra of its own, which most will not have installed. Those of an extra that is not installed are left
    out, with a word."""
    from agents import learner
    from agents import learners as all_learners

    passed = {"nevergrad", "optuna-gp", "optuna-mogp", "smac"}
    if not several_objectives:
        passed |= {"optuna-motpe", "optuna-nsga2"}
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
        lowest = min(lowest, 100 * float(rewards.max() - rewards[list(finished.numbers)].max()))
        return f"best regret {lowest:.3g}, last {finished.contest.learner}"

    return note
