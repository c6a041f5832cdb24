"""The command `marl-hpo reproduce`."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from experiments.command_line import MOST_EPISODES, MOST_SEEDS, Device, Workers, path_option
from experiments.commands.task_options import (
    Examples,
    Images,
    ImageSize,
    TaskOptions,
    Width,
    check_images,
    read_options,
)
from marl_hpo_env import InputError, Task

if TYPE_CHECKING:
    from experiments.reproduction.item import Item

BASES = {"tables": "a table, or training", "training": "training", "spaces": "search spaces"}


def reproduce(
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="A table or figure of the paper; without it they are listed.")
    ] = None,
    tasks: Annotated[
        list[str] | None,
        typer.Option(
            "--task",
            help="What to do it on; `marl-hpo tasks` lists them. Where a task has a table it answers, unless options change the "
            "task. Repeat for more, where the paper's has several.",
            show_default="digits-convnet; of overhead the paper's three networks",
        ),
    ] = None,
    data: Annotated[Path | None, path_option("--data", "--data-dir", help="The folder with the tasks' data.")] = None,
    images: Images = None,
    image_size: ImageSize = None,
    examples: Examples = None,
    width: Width = None,
    seeds: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=MOST_SEEDS,
            metavar="N",
            help="Of the learners and the trainings.",
            show_default="100 on a table, 30 for fig9, 3 where trained",
        ),
    ] = None,
    episodes: Annotated[
        int | None,
        typer.Option(
            min=2,
            max=MOST_EPISODES,
            metavar="N",
            help="Of every learner, the paper's three fifths of them in its first phase; of fig3 the designs.",
            show_default="the learner's own",
        ),
    ] = None,
    learners: Annotated[
        list[str] | None,
        typer.Option(
            "--learner",
            help="Beside the paper's and random search, in table4, table5, table7 and fig10; repeat for more.",
        ),
    ] = None,
    max_epochs: Annotated[
        int | None,
        typer.Option(min=1, help="Final training ends here at the latest.", show_default="the task's"),
    ] = None,
    device: Device = None,
    workers: Workers = None,
    out: Annotated[
        Path,
        path_option(help="Folder for the report's folder, reproduce-NAME-TASK, and the trials' one, reproduce-TASK."),
    ] = Path("runs"),
) -> None:
    """Reproduce a table or figure of the paper; the same command continues one that was stopped."""
    from experiments.reproduction.item import Findings, Settings
    from experiments.reproduction.items import item, items
    from experiments.reproduction.report import folder_of, write
    from experiments.text_tables import print_table

    if name is None:
        rows = [[one.name, one.question, one.computed, BASES[one.needs]] for one in items().values()]
        print_table("", ["name", "what the paper asks", "what is computed here", "from"], rows)
        return
    wanted = item(name)
    _check_learners(wanted, learners or [])
    options = read_options(data, images, image_size, examples, width)
    names = list(tasks or wanted.tasks)
    _check_tasks(wanted, names)
    make = _maker(options, max_epochs, wanted.needs != "spaces")
    as_named = options == TaskOptions() and max_epochs is None
    settings = Settings(names, make, as_named, seeds, episodes, learners or [], device, workers, out)
    started = time.perf_counter()
    shown: list[Findings] = []

    def show(findings: Findings) -> None:
        shown[:] = [findings]
        write(wanted, findings, out, time.perf_counter() - started)

    wanted.reproduce(settings, show)
    for table in shown[0].tables:
        print_table(*table)
    for sentence in shown[0].sentences:
        typer.echo(sentence)
    folder = folder_of(wanted, shown[0].subjects, out)
    typer.echo(f"Report, picture and every run: {folder / 'report.md'}, {name}.png, {name}.csv")


def _check_learners(wanted: Item, names: Sequence[str]) -> None:
    from agents import learner
    from experiments.reproduction.finds import RANDOM, TEAM

    if names and not wanted.rivals:
        raise InputError(f"The option --learner is for table4, table5, table7 and fig10; {wanted.name} takes none.")
    if len({RANDOM, TEAM, *names}) < 2 + len(names):
        raise InputError(
            f"The learners {', '.join(names)} cannot be compared; {TEAM} and {RANDOM} play anyway, name others once."
        )
    for name in names:
        learner(name)


def _maker(options: TaskOptions, max_epochs: int | None, needs_data: bool) -> Callable[[str], Task]:
    def make(name: str) -> Task:
        task = options.task(name)
        if max_epochs is not None:
            task = replace(task, recipe=replace(task.recipe, max_epochs=max_epochs))
        if options.images is not None and needs_data:
            check_images(task)
        return task

    return make


def _check_tasks(wanted: Item, tasks: Sequence[str]) -> None:
    if len(set(tasks)) < len(tasks):
        raise InputError(f"The --task {', '.join(tasks)} are not all different; name each once.")
    if len(tasks) > wanted.most_tasks:
        at_most = "one task" if wanted.most_tasks == 1 else f"at most {wanted.most_tasks} tasks"
        raise InputError(f"There are {len(tasks)} tasks, and {wanted.name} is of {at_most}; name fewer with --task.")
