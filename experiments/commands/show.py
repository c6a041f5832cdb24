"""The command `marl-hpo show`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from experiments.command_line import path_option
from experiments.commands.run_options import ChoicesFile, DataFolder, Model, TaskName, WeightsFile, chosen_task
from experiments.commands.task_options import (
    Column,
    Examples,
    Groups,
    Images,
    ImageSize,
    KindOption,
    Labels,
    Masks,
    Width,
    read_options,
)
from experiments.text_tables import print_table
from marl_hpo_env import InputError


def show(
    task_name: TaskName = None,
    model: Model = None,
    data: DataFolder = None,
    images: Images = None,
    image_size: ImageSize = None,
    examples: Examples = None,
    labels: Labels = None,
    kind: KindOption = None,
    column: Column = None,
    groups: Groups = None,
    masks: Masks = None,
    width: Width = None,
    choices: ChoicesFile = None,
    weights_file: WeightsFile = None,
    picture: Annotated[Path, path_option(help="Where to draw the layer graph, a PNG file.")] = Path("runs/layers.png"),
) -> None:
    """Show a network's layers: what each can choose from and what feeds it; and draw the graph."""
    from experiments.tuning.pictures import layer_graph
    from experiments.tuning.report import search_space

    if picture.suffix != ".png":
        raise InputError(f"The picture {str(picture)!r} is no PNG file; name it like layers.png.")
    options = read_options(data, images, image_size, examples, width, labels, kind, column, groups, masks)
    task = chosen_task(task_name, model, options, choices, {}, weights_file, needs_data=False)
    layers, sets = search_space(task)
    print_table(*layers, one_line=True)
    print_table(*sets)
    picture.parent.mkdir(parents=True, exist_ok=True)
    layer_graph(task.space, picture)
    typer.echo(f"Layer graph: {picture}")
