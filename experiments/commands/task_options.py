"""What `--task` and the options beside it say: which task, on which data, how wide."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple, cast

import typer

from experiments.command_line import at_most, path_option
from marl_hpo_env import InputError, Task, import_object
from marl_hpo_env import task as named_task
from marl_hpo_env.catalog.narrow import narrow_task
from marl_hpo_env.catalog.paper import own_training_images
from marl_hpo_env.catalog.registry import takes_folder

if TYPE_CHECKING:
    from marl_hpo_env import Data
    from marl_hpo_env.data.images import Normalisation
    from marl_hpo_env.data.splits import Kind

Images = Annotated[
    Path | None,
    path_option(
        metavar="FILE.npz|FOLDER",
        help="With --task, in place of --data-dir: images in one file, JPEG files end to end (jpeg_train, off_train, y_train, "
        "and the same of the test) or pixels x and classes or masks y. Or a folder, as --data is with --model.",
    ),
]
ImageSize = Annotated[
    int | None,
    typer.Option(
        min=1,
        callback=at_most(4096),
        help="With --images or --model: height and width to which images are scaled.",
        show_default="the task's; with --model 64, with --weights theirs where known",
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


Labels = Annotated[
    Path | None,
    path_option(
        metavar="FILE.csv",
        help="What is wanted of each image in the folder: a table with a column of files, and one of classes, or of labels or "
        "values. A column 'split' of train, val and test divides the images.",
        show_default="the folders are the classes",
    ),
]
KindOption = Annotated[
    str | None,
    typer.Option(
        "--kind",
        metavar="KIND",
        help="With --labels, what the table's columns hold: 'classes', one of several; 'labels', each there or not; or 'values', "
        "numbers to be predicted.",
        show_default="where it is plain, what they are",
    ),
]
Column = Annotated[
    list[str] | None,
    typer.Option(
        metavar="COLUMN",
        help="With --labels, a column that holds what is wanted; repeat for more.",
        show_default="all but those of files, groups and splits",
    ),
]
Groups = Annotated[
    str | None,
    typer.Option(
        metavar="COLUMN|FUNCTION",
        help="What tells the group of an image, such as its patient or video: no group is then in two of training, validation "
        "and test. A column of --labels; without these package.module:FUNCTION or FILE.py:FUNCTION of the image's path.",
    ),
]
Masks = Annotated[
    Path | None,
    path_option(
        metavar="FOLDER",
        help="For segmentation: a mask for each image of the folder, of the same name; black and white, or a class per pixel, 0 "
        "the background.",
        show_default="the folder masks beside images",
    ),
]


class Wanted(NamedTuple):
    """What is wanted of the images in a folder, as the options say it: plain values, so that they can be sent to another process.

    Args:
        labels: a table, as `image_table` reads it.
        kind: what its columns hold; None where it is plain.
        columns: those that are wanted; all others where there are none.
        groups: the column of groups; without a table the name of a function of the image's path.
        masks: a folder, as `image_masks` reads it.
    """

    labels: Path | None = None
    kind: str | None = None
    columns: tuple[str, ...] = ()
    groups: str | None = None
    masks: Path | None = None

    def check(self) -> None:
        """Raises an `InputError` where the options do not fit each other."""
        if self.labels is None:
            for option, value in (("--kind", self.kind), ("--column", ", ".join(self.columns))):
                if value:
                    raise InputError(f"The option {option} is for the columns of a table; give that with --labels.")
        elif self.masks is not None:
            raise InputError("Both --labels and --masks say what is wanted of the images; give one of them.")

    def read(self, folder: Path, image_size: int, normalisation: Normalisation | None = None) -> Data:
        """The images of a folder with what is wanted of them; normalised with ImageNet's mean and deviation where None.

        Raises:
            InputError: if they cannot be read.
        """
        from marl_hpo_env import image_folder, image_masks, image_table
        from marl_hpo_env.data.image_masks import mask_folders
        from marl_hpo_env.data.images import IMAGENET

        self.check()
        normalisation = normalisation or IMAGENET
        if self.labels is not None:
            kind = cast("Kind | None", self.kind)
            return image_table(self.labels, folder, image_size, kind, self.columns, self.groups, normalisation)
        groups = None if self.groups is None else import_object(self.groups, "function of groups")
        beside = mask_folders(folder)
        if beside is not None:
            return image_masks(beside[0], self.masks or beside[1], image_size, groups, normalisation)
        if self.masks is not None:
            return image_masks(folder, self.masks, image_size, groups, normalisation)
        return image_folder(folder, image_size, groups, normalisation)


class TaskOptions(NamedTuple):
    """The data and the width of a task: plain values, so that they can be sent to another process.

    Args:
        data: the folder with the task's data.
        images: a file of images in its place, as `image_arrays` reads it.
        image_size: height and width to which they are scaled; the task's where None.
        examples: as many for training; all where None, or where there are no more. Where the task's own data have more, the loss
            limit tolerates more epochs, in proportion.
        divisor: of every width.
        wanted: of images in a folder.
    """

    data: Path | None = None
    images: Path | None = None
    image_size: int | None = None
    examples: int | None = None
    divisor: int = 1
    wanted: Wanted = Wanted()

    def task(self, name: str) -> Task:
        """The named task so changed. Its data are not read yet.

        Raises:
            InputError: if there is no such task, or the options do not fit it or each other.
        """
        if self.images is None:
            for option, value in (("--image-size", self.image_size), ("--examples", self.examples)):
                if value is not None:
                    raise InputError(f"The option {option} is for --images, or for --model; the task brings its own.")
            if self.wanted != Wanted():
                raise InputError(
                    "The options --labels, --kind, --column, --groups and --masks are for --images with a folder, or for "
                    "--model; the task brings its own."
                )
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
        data: Data | Callable[[], Data] = partial(image_arrays, images, size, self.examples)
        if images.is_dir():
            data = self._of_folder(name, images, size)
        elif self.wanted != Wanted():
            raise InputError(
                f"What is wanted of the images in {str(images)!r} stands in that file; leave out the options for it."
            )
        limits = task.limits
        if limits.loss is not None:
            # An epoch of few images has few steps: the limit tolerates as many steps as with the task's own data.
            there = training_images(images) if callable(data) else len(data.train[0])
            trained_on = min(self.examples or there, there)
            share = max(1.0, (own_training_images(name) or there) / trained_on)
            limits = replace(limits, loss_epochs=math.ceil(limits.loss_epochs * share))
        return replace(task, data=data, input_shape=shape, limits=limits)

    def _of_folder(self, name: str, folder: Path, size: int | None) -> Data:
        if self.examples is not None:
            raise InputError(f"The option --examples is for --images with a file, and {str(folder)!r} is a folder.")
        if size is None:
            raise InputError(
                f"The task {name!r} takes images of any size; say with --image-size to which they are scaled."
            )
        return self.wanted.read(folder, size)


def read_options(
    data: Path | None,
    images: Path | None,
    image_size: int | None,
    examples: int | None,
    width: str | None,
    labels: Path | None = None,
    kind: str | None = None,
    column: Sequence[str] | None = None,
    groups: str | None = None,
    masks: Path | None = None,
) -> TaskOptions:
    """What a command's options of these names say.

    Raises:
        InputError: if the width cannot be read.
    """
    wanted = Wanted(labels, kind, tuple(column or ()), groups, masks)
    return TaskOptions(data, images, image_size, examples, read_width(width), wanted)


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
        InputError: if they are masks and it gives classes, or the other way round, or it has too few outputs, or too many of
            labels, values or masks.
    """
    outputs, data = task.network.output_shape, task.splits
    if (data.kind == "masks") != (len(outputs) > 2):
        wanted = "masks" if len(outputs) > 2 else "classes"
        raise InputError(f"The images are with {data.kind}, and the task {task.name!r} takes {wanted}; give others.")
    if data.number_of_classes != outputs[1] and (data.kind != "classes" or data.number_of_classes > outputs[1]):
        what = "planes of masks" if data.kind == "masks" else data.kind
        raise InputError(
            f"The images have {data.number_of_classes} {what}, and the network of {task.name!r} {outputs[1]} outputs; give "
            "others."
        )
