"""What `--task` and the options beside it say: which task, on which data, how wide."""

from __future__ import annotations

import math
from dataclasses import replace
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Annotated, NamedTuple

import typer

from experiments.command_line import at_most, path_option
from marl_hpo_env import InputError, Task
from marl_hpo_env import task as named_task
from marl_hpo_env.catalog.narrow import narrow_task
from marl_hpo_env.catalog.paper import own_training_images
from marl_hpo_env.catalog.registry import takes_folder

Images = Annotated[
    Path | None,
    path_option(
        metavar="FILE.npz",
        help="With --task, in place of --data-dir: images in one file, JPEG files end to end (jpeg_train, off_train, y_train, "
        "and the same of the test) or pixels x and classes or masks y.",
    ),
]
ImageSize = Annotated[
    int | None,
    typer.Option(
        min=1,
        callback=at_most(4096),
        help="With --images or --model: height and width to which images are scaled.",
        show_default="the task's; with --model 64",
    ),
]
Examples = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="With --images: as many to train on, at least one of each class; validation and test shrink in proportion.",
        show_default="all",
    ),
]
Width = Annotated[
    str | None,
    typer.Option(
        metavar="1/N",
        help="With --task: every width of the network and of its choices divided by N, such as 1/4 or 0.25.",
        show_default="1",
    ),
]


class TaskOptions(NamedTuple):
    """The data and the width of a task: plain values, so that they can be sent to another process.

    Args:
        data: the folder with the task's data.
        images: a file of images in its place, as `image_arrays` reads it.
        image_size: height and width to which they are scaled; the task's where None.
        examples: as many for training; all where None, or where there are no more. Where the task's own data have more, the loss
            limit tolerates more epochs, in proportion.
        divisor: of every width.
    """

    data: Path | None = None
    images: Path | None = None
    image_size: int | None = None
    examples: int | None = None
    divisor: int = 1

    def task(self, name: str) -> Task:
        """The named task so changed. Its data are not read yet.

        Raises:
            InputError: if there is no such task, or the options do not fit it or each other.
        """
        if self.images is None:
            for option, value in (("--image-size", self.image_size), ("--examples", self.examples)):
                if value is not None:
                    raise InputError(f"The option {option} is for --images, or for --model; the task brings its own.")
        elif self.data is not None:
            raise InputError("Both --data-dir and --images say where the data are; give one of them.")
        task = narrow_task(named_task(name, self.data), self.divisor)
        return task if self.images is None else self._on_images(name, task, self.images)

    def _on_images(self, name: str, task: Task, images: Path) -> Task:
        from marl_hpo_env.data.arrays import image_arrays, training_images

        if not takes_folder(name):
            raise InputError(f"The task {name!r} brings its own data; leave out --images, which is {str(images)!r}.")
        size, shape = self.image_size, task.input_shape
        if shape is not None:
            channels, *sides = shape
            if channels != 3:
                raise InputError(f"The task {name!r} takes images of {channels} channels; those of --images have 3.")
            if size is None and len(set(sides)) > 1:
                raise InputError(f"The task {name!r} takes images of {sides[0]}x{sides[1]}; scale with --image-size.")
            size = size or sides[0]
            shape = (3, size, size)
        limits = task.limits
        if limits.loss is not None:
            # An epoch of few images has few steps: the limit tolerates as many steps as with the task's own data.
            there = training_images(images)
            trained_on = min(self.examples or there, there)
            share = max(1.0, (own_training_images(name) or there) / trained_on)
            limits = replace(limits, loss_epochs=math.ceil(limits.loss_epochs * share))
        data = partial(image_arrays, images, size, self.examples)
        return replace(task, data=data, input_shape=shape, limits=limits)


def read_width(text: str | None) -> int:
    """The divisor of a width such as `1/4` or `0.25`; 1 where there is none.

    Raises:
        InputError: if it is not one over a whole number.
    """
    try:
        width = Fraction("1" if text is None else text)
    except (ValueError, ZeroDivisionError):
        width = Fraction(0)
    if width.numerator != 1:
        raise InputError(f"The width {text!r} is not one over a whole number; write it as 1/4 or 0.25.")
    return width.denominator


def check_images(task: Task) -> None:
    """Whether a task's network fits the images that it was given, which are read for it.

    Raises:
        InputError: if they are masks and it gives classes, or the other way round, or it has too few outputs.
    """
    outputs, data = task.network.output_shape, task.splits
    masks = data.kind == "masks"
    if masks != (len(outputs) > 2):
        held, wanted = ("masks", "classes") if masks else ("classes", "masks")
        raise InputError(f"The images are with {held}, and the task {task.name!r} takes {wanted}; give others.")
    if data.number_of_classes != outputs[1] and (masks or data.number_of_classes > outputs[1]):
        raise InputError(
            f"The images have {data.number_of_classes} {'planes of masks' if masks else 'classes'}, and the network of "
            f"{task.name!r} {outputs[1]} outputs; give others."
        )
