"""The commands `marl-hpo table`: build a table, describe it, check it by training again."""

from __future__ import annotations

import platform
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer

from experiments.command_line import Device, Ray, Strict, Workers, at_most, new_app, path_option, seed_option
from experiments.comparison.regret import noise_floor
from experiments.progress import progress_bar
from experiments.provenance import machine
from experiments.text_tables import print_table
from marl_hpo_env import InputError, Request, Task, Trial
from marl_hpo_env import task as named_task
from marl_hpo_env.tables.table import Table
from marl_hpo_env.trial import CLOCK_METRICS

if TYPE_CHECKING:
    from marl_hpo_env import Evaluator
    from marl_hpo_env.tables.table import Reference

MOST_DESIGNS = 200_000
"""Beyond it, one second per training makes a week."""

SIZES = ("model_size_mb", "parameters", "flops")
"""What accuracy is weighed against in a Pareto front: the first of them that the table has."""

FRONT_ROWS = 20

REFERENCES: tuple[Reference, ...] = ("nadir", "worst")
"""Of the hypervolumes, in the order in which they are shown."""

table_app = new_app(
    help="Every design of a small search space, trained once: benchmarks that answer in microseconds.",
    no_args_is_help=True,
)

Name = Annotated[
    str,
    typer.Argument(metavar="NAME|PATH", help="A table of the package, or a file's path: .npz, or a benchmark's .json."),
]


@table_app.command()
def build(
    task_name: Annotated[
        str,
        typer.Option("--task", help="Whose designs; `marl-hpo tasks` lists them. Your own: package.module:FUNCTION."),
    ],
    out: Annotated[Path, path_option(help="Folder for the trials and the table; what is in it is not trained again.")],
    seeds: Annotated[
        int, typer.Option(min=1, callback=at_most(1000), help="Trainings of each design, each with a seed of its own.")
    ] = 3,
    workers: Workers = None,
    device: Device = None,
    ray: Ray = None,
    strict: Strict = False,
) -> None:
    """Train every design of a task and the original network; the same command continues a build that was stopped."""
    from experiments.tuning.run_folder import RunFolder
    from marl_hpo_env import StoredEvaluator

    task = named_task(task_name)
    if task.space.size > MOST_DESIGNS:
        raise InputError(
            f"The space of {task.name!r} has {task.space.size_text} designs; a table has at most {MOST_DESIGNS:,}, so give "
            "fewer choices."
        )
    evaluator = _evaluator(task, device, workers, ray)
    folder = RunFolder(out, task)
    command = f"marl-hpo table build --task {task_name} --seeds {seeds}"
    about = {**how_made(task, evaluator, device, ray), "command": command}
    table = _table(task, StoredEvaluator(evaluator, folder.store, strict=strict), seeds, about)
    path = folder / f"{task.name}.npz"
    table.save(path)
    typer.echo(f"{table}: {path}, {path.stat().st_size / 1e6:.2f} MB")


@table_app.command()
def describe(name: Name) -> None:
    """Show a table's size, its best designs, its noise, how rugged it is and which layers matter."""
    from experiments.tuning.importance import importance_table, of_table

    table = Table.open(name)
    print_table(repr(table), ["", "value"], [list(row) for row in _summary(table)])
    what = table.judged_by.replace("_", " ")
    sizes = [metric for metric in SIZES if metric in table.measured][:1]
    for size in sizes:
        print_table(f"Pareto front: mean {what} against {size}", *_front(table, size))
    figures = {name.replace("_", " "): of_table(table.space, table.mean(name)) for name in (table.judged_by, *sizes)}
    if (importance := importance_table(figures)) is not None:
        print_table("What layers explain of the variance, each alone", *importance)
    for note in table.about.get("notes", ()):
        typer.echo(note)


@table_app.command()
def check(
    name: Name,
    rows: Annotated[int, typer.Option(min=1, help="Trials to train again, drawn at random.")] = 50,
    seed: Annotated[int, seed_option("Of the draw.")] = 0,
    workers: Workers = None,
    device: Device = None,
    task_name: Annotated[
        str | None,
        typer.Option(
            "--task",
            help="The task that it was built from, where that is your own: package.module:FUNCTION or FILE.py:FUNCTION.",
            show_default="the one of the table's name",
        ),
    ] = None,
) -> None:
    """Train a random sample of a table's trials again and compare.

    They agree to the last bit where hardware and versions are those that it was made with, elsewhere within the spread
    between seeds."""
    table = Table.open(name)
    task = named_task(task_name or table.task_name)
    if table.about.get("fingerprint") != task.fingerprint:
        raise InputError(
            f"The table {name!r} is of another network, data, choices or recipe than {task.name!r} has now."
        )
    evaluator = _evaluator(task, device, workers)
    total = table.space.size * len(table.seeds)
    drawn = np.random.default_rng(seed).choice(total, min(rows, total), replace=False).tolist()
    pairs = (divmod(i, len(table.seeds)) for i in drawn)
    requests = [Request(table.space.design_at(number), table.seeds[i], table.epochs) for number, i in pairs]
    with followed(f"{task.name}: check", evaluator, requests) as trials:
        trained = list(trials)
    differing = [trial for trial in trained if not same(trial, table.trial(trial.request))]
    typer.echo(f"{len(trained)} trials trained again, {len(trained) - len(differing)} the same to the last bit.")
    if not differing:
        return
    about = how_made(task, evaluator, device)
    differing_parts = [part for part in ("evaluator", "versions", "hardware") if about[part] != table.about.get(part)]
    again, between = deviations(table, trained)
    typer.echo(
        f"Root mean square difference in test accuracy: {100 * again:.3f} points from the table, {100 * between:.3f} points "
        "between two seeds of the same designs in it."
    )
    for part in differing_parts:
        typer.echo(f"The table was made with the {part} {table.about.get(part)}, here it is {about[part]}.")
    if not differing_parts or not again <= between:
        raise typer.Exit(1)


def same(a: Trial, b: Trial) -> bool:
    """Whether two trials agree to the last bit in all that was measured and no clock was read for."""

    def repeatable(trial: Trial) -> Any:
        measured = {name: value for name, value in trial.metrics.items() if value is not None}
        metrics = {name: value for name, value in measured.items() if name not in CLOCK_METRICS}
        return trial.request, trial.status, trial.reason, metrics, list(trial.history)

    return bool(repeatable(a) == repeatable(b))


def deviations(table: Table, trained: Sequence[Trial]) -> tuple[float, float]:
    """The root mean square difference in test accuracy: of trials from the table's, and of two seeds of the same designs in
    the table.

    A trial that did not complete counts as accuracy 0."""

    def accuracy(trial: Trial) -> float:
        return (trial.metrics["test_accuracy"] or 0.0) if trial.status == "completed" else 0.0

    stored = np.array(
        [[accuracy(table.trial(trial.request._replace(seed=seed))) for seed in table.seeds] for trial in trained]
    )
    seeds = np.array([table.seeds.index(trial.request.seed) for trial in trained])
    same_seed = stored[np.arange(len(seeds)), seeds]
    again = np.array([accuracy(trial) for trial in trained]) - same_seed
    # The difference of a trial and itself is 0, and is no pair of two seeds.
    between = ((stored - same_seed[:, None]) ** 2).sum() / max(1, stored.size - len(seeds))
    return float(np.sqrt((again**2).mean())), float(np.sqrt(between))


def _evaluator(task: Task, device: str | None, workers: int | None, ray: str | None = None) -> Evaluator:
    from experiments.tuning.evaluators import Machines, evaluator_of

    return evaluator_of(task, Machines(device, workers, ray=ray), timed=task.limits.batch_ratio is not None)


def _table(task: Task, evaluator: Evaluator, seeds: int, about: dict[str, Any]) -> Table:
    space, epochs = task.space, task.recipe.epochs
    if isinstance(epochs, str):
        raise InputError(f"The epochs of {task.name!r} are {epochs!r}; a table needs a fixed number.")
    designs = [None, *map(space.design_at, range(space.size))]
    requests = [Request(design, seed, epochs) for seed in range(seeds) for design in designs]
    with followed(f"{task.name}: table", evaluator, requests) as trials:
        return Table.from_trials(task.name, space, range(seeds), epochs, trials, about=about, measures=task.measures)


@contextmanager
def followed(what: str, evaluator: Evaluator, requests: Sequence[Request]) -> Iterator[Iterator[Trial]]:
    """The trials of these requests under a progress bar, with the time that is left.

    Raises:
        InputError: after the last, if some failed by accident.
    """
    from experiments.tuning.evaluators import pace

    with progress_bar() as progress:
        bar = progress.add_task(what, total=len(requests), note="")

        def follow() -> Iterator[Trial]:
            accidents = []
            for trial in evaluator.evaluate(requests):
                progress.update(bar, advance=1, note=pace(evaluator))
                if trial.accidental:
                    accidents.append(trial)
                yield trial
            if accidents:
                raise InputError(
                    f"By accident {len(accidents)} trainings failed, such as one because: {accidents[0].reason} The same "
                    "command tries them again."
                )

        yield follow()


def how_made(task: Task, evaluator: Evaluator, device: str | None, ray: str | None = None) -> dict[str, Any]:
    """What a table's header says of how its trials came about."""
    from marl_hpo_env.training.devices import choose_devices

    versions = {name: version(name) for name in ("marl-hpo-env", "torch", "numpy")}
    return {
        **task.conditions,
        **({} if task.score == "validation_accuracy" else {"score": task.score}),
        "fingerprint": task.fingerprint,
        "evaluator": evaluator.fingerprint,
        "splits": {name: len(inputs) for name, (inputs, _) in task.splits.splits().items()},
        "notes": list(task.splits.notes),
        "versions": {**versions, "python": platform.python_version()},
        "hardware": "a Ray cluster" if ray else machine(choose_devices(device)[0]),
    }


def _summary(table: Table) -> Iterator[tuple[str, str]]:
    """What the table is like, a line at a time."""
    from experiments.comparison.landscape import (
        autocorrelation,
        by_seed,
        explained,
        local_optima,
        seed_deviation,
    )

    judged = table.judged_by
    scores = table.mean(judged)
    what = judged.replace("_", " ")
    best = int(np.nanargmax(table.measures[judged].better * scores))
    completed = np.mean([table.completed(table.designs, seed) for seed in table.seeds])
    distinct = len(np.unique(table.networks))
    yield "designs", f"{table.space.size:,}" + (f" ({distinct:,} networks)" if distinct < table.space.size else "")
    yield "layers, pairs of layers", f"{len(table.space)}, {len(table.space.pairs)}"
    yield "seeds, epochs", f"{list(table.seeds)}, {table.epochs}"
    yield "trials completed", f"{100 * completed:.2f}%"
    yield f"best mean {what}", f"{_shown(table, judged, scores[best])} ({_actions(table, best)})"
    middle = [_shown(table, judged, value) for value in (float(np.nanmean(scores)), float(np.nanmedian(scores)))]
    yield f"mean and median {what}", ", ".join(middle)
    original = table.trial(Request(None, table.seeds[0], table.epochs))
    if original.status == "completed":
        value = original.metrics[judged]
        yield f"original's {what}", "-" if value is None else _shown(table, judged, value)
    for metric in ("validation_accuracy", "test_accuracy"):
        if metric in table.measured:
            deviation = seed_deviation(by_seed(table, metric))
            yield f"deviation between seeds, {metric.removesuffix('_accuracy')}", f"{100 * deviation:.3f} points"
    if "test_accuracy" in table.measured:
        floor = noise_floor(by_seed(table, "validation_accuracy"), table.mean_test_accuracy)
        yield "left by picking on validation", f"{100 * floor:.3f} points of mean test accuracy"
    landscape = table.measures[table.score].better * table.mean(table.score)
    alone, with_pairs = explained(table.space, landscape)
    yield "variance explained by layers", f"{100 * alone:.1f}%, with pairs {100 * with_pairs:.1f}%"
    yield "autocorrelation of a random walk", f"{autocorrelation(table.space, landscape):.3f}"
    yield "local optima", f"{local_optima(table.space, landscape):,}"
    if "seconds" in table.measured:
        spent = sum(np.nansum(table.metrics(table.designs, seed)["seconds"]) for seed in table.seeds)
        yield "training time", f"{spent / 3600:.2f} hours"
    for part in ("versions", "hardware", "command"):
        if part in table.about:
            value = table.about[part]
            yield part, ", ".join(f"{k} {v}" for k, v in value.items()) if isinstance(value, dict) else str(value)


def _front(table: Table, size: str) -> tuple[list[str], list[list[str]]]:
    """Header and rows of the Pareto front, evenly thinned where it is long, and its hypervolumes as the last rows."""
    judged = table.judged_by
    objectives = (judged, size)
    front = table.pareto_front(objectives)
    shown = np.unique(np.linspace(0, len(front) - 1, FRONT_ROWS).round().astype(int))
    accuracy, sizes = table.mean(judged), table.mean(size)
    rows = [
        [_actions(table, n), _shown(table, judged, accuracy[n]).rstrip("%"), _amount(sizes[n])]
        for n in front[shown].tolist()
    ]
    for reference in REFERENCES:
        point = table.reference_point(objectives, reference)
        volume = table.hypervolume(objectives, reference=reference)
        said = f"{len(front)} designs, hypervolume {volume:.6g}, from the {reference} point"
        rows.append([said, _shown(table, judged, point[judged]).rstrip("%"), _amount(point[size])])
    percent = " %" if table.measures[judged].fraction else ""
    header = ["design", f"{judged.removesuffix('_accuracy')}{percent}", size]
    return header, rows


def _shown(table: Table, metric: str, value: float) -> str:
    """A value for people: a fraction in percent."""
    return f"{100 * value:.2f}%" if table.measures[metric].fraction else f"{value:.4g}"


def _amount(value: float) -> str:
    return f"{value:,.6g}" if abs(value) < 1e6 else f"{value:,.0f}"


def _actions(table: Table, number: int) -> str:
    """A design as `marl-hpo fit --design` takes it."""
    return ",".join(map(str, table.space.design_at(number)))
