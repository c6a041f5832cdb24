"""What `tune`, `fit` and `show` have in common: which task, how it is trained, and where the run is kept."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from experiments.command_line import path_option, seed_option
from experiments.commands.task_options import TaskOptions, check_images
from marl_hpo_env import InputError, Task

if TYPE_CHECKING:
    from marl_hpo_env.networks.saved import About

Out = Annotated[
    Path | None,
    path_option(
        help="Folder for trials, which all of its runs share, with a folder of its own for each run's report; a run continues "
        "from what is in it.",
        show_default="runs/TASK",
    ),
]
TaskName = Annotated[
    str | None,
    typer.Option(
        "--task",
        help="What to tune; `marl-hpo tasks` lists them. Your own: package.module:FUNCTION or FILE.py:FUNCTION.",
    ),
]
Model = Annotated[
    str | None,
    typer.Option(
        help="In place of a task, your network: torchvision:NAME, or what makes it: package.module:FUNCTION, FILE.py:FUNCTION."
    ),
]
DataFolder = Annotated[
    Path | None,
    path_option(
        "--data",
        "--data-dir",
        help="The folder with the task's data. With --model one of images: a folder per class, folders images and masks, or any "
        "with --labels or --masks.",
    ),
]
ChoicesFile = Annotated[
    Path | None,
    path_option(
        "--choices", help="With --model: a TOML file of hyperparameter values; by default fractions of the original's."
    ),
]
WeightsFile = Annotated[
    Path | None,
    path_option(
        "--weights",
        help="With --model: a .safetensors, .pth or .pt file with the network's own weights, which every design and the "
        "original start from. Added layers then share one width. Images have the size and normalisation that the weights expect, "
        "where these are torchvision's or of a network saved here.",
    ),
]
Epochs = Annotated[
    str | None,
    typer.Option(
        metavar="N|calibrated|running",
        help="Epochs of each design's training: a number. Or calibrated before the run, on the original and a few designs, "
        "3 to 10. Or running: lowered as the run goes on, as in the paper.",
        show_default="the task's; with --model calibrated",
    ),
]
BatchSize = Annotated[
    int | None, typer.Option(min=1, help="Images per step.", show_default="the task's; with --model 64")
]
LearningRate = Annotated[
    float | None,
    typer.Option(
        help="Of the optimizer.", show_default="the task's; with --model 0.001, Adam's; with --weights 0.0001"
    ),
]
Seed = Annotated[int, seed_option("Seed of the learner.")]
FitTimeout = Annotated[
    float | None,
    typer.Option(
        metavar="SECONDS",
        help="Give up the original's training, or final training, that takes longer.",
        show_default="no limit",
    ),
]
TrialMemory = Annotated[
    float | None,
    typer.Option(metavar="GB", help="Memory that one training may take.", show_default="all that there is"),
]


def chosen_task(
    name: str | None,
    model: str | None,
    options: TaskOptions,
    choices: Path | None,
    recipe: dict[str, Any],
    weights: Path | None,
    needs_data: bool = True,
) -> Task:
    """The named task, or one of the user's own network; what `recipe` says takes the place of its recipe's values.

    Raises:
        InputError: if the options do not fit each other, or what they name is not there.
    """
    given = {key: value for key, value in recipe.items() if value is not None}
    if (name is None) == (model is None):
        raise InputError(
            "Say what to tune: either --task with a name, or --model with your network and --data with images."
        )
    if name is not None:
        if choices is not None:
            raise InputError("A task brings its own choices; leave out --choices.")
        if weights is not None:
            raise InputError("The option --weights is for --model; a task is trained from its own start.")
        task = options.task(name)
        task = replace(task, recipe=replace(task.recipe, **given))
        if options.images is not None and needs_data:
            check_images(task)
        return task
    assert model is not None
    for option, value in (("--images", options.images), ("--examples", options.examples)):
        if value is not None:
            raise InputError(f"The option {option} is for --task; a --model takes --data, a folder of images.")
    if options.divisor > 1:
        raise InputError("The option --width is for --task; a --model has its own widths, and --choices says others.")
    if options.data is None and needs_data:
        raise InputError(f"The model {model!r} needs --data, a folder of images.")

    from experiments.commands.own_network import own_task

    return own_task(model, options.data, options.image_size, choices, given, weights, options.wanted)


def read_design(text: str) -> list[int]:
    """The action indices of a design such as `3,5,0,1,2`; whether they are of a space is not known here.

    Raises:
        InputError: if it is no list of whole numbers.
    """
    try:
        return [int(action) for action in text.split(",")]
    except ValueError:
        raise InputError(f"The design {text!r} is not a list of action indices; write it as 3,5,0,1,2.") from None


def said_about(model: str | None, task: Task) -> About | None:
    """What is written beside the networks of a task; None where its data are no photos that were read from files."""
    if model is None and task.splits.reading is None:
        return None
    from experiments.commands.own_network import about

    return about(model, task)
