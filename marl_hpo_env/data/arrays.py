"""Images in one `.npz` file, in two forms.

- JPEG files end to end: `jpeg_train` and `jpeg_test` (uint8), `off_train` and `off_test` (where each file begins, and the end),
  `y_train` and `y_test` (class indices).
- Pixels: `x`, uint8 of shape (n, height, width, 3), and `y`, class indices of shape (n,) or masks of shape (n, height, width).
"""

from __future__ import annotations

import io
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.nn.functional import interpolate

from marl_hpo_env.data.folders import expanded
from marl_hpo_env.data.images import UNREADABLE, mean_and_deviation, normalised
from marl_hpo_env.data.parts import HELD_OUT_FRACTION, divided
from marl_hpo_env.data.splits import Data, counted
from marl_hpo_env.errors import InputError, first_line, whole_number


def image_arrays(path: Path | str, image_size: int | None = None, examples: int | None = None) -> Data:
    """The images of such a file, normalised channel by channel with the mean and deviation of those that are trained on.

    What the file calls test is the test; else 15% are. 15% of the others are for validation. The parts are drawn, each class
    in proportion, and always the same.

    Args:
        path: of the file.
        image_size: height and width in pixels to which images are scaled; None leaves them as they are.
        examples: about as many for training, drawn from each class in proportion and at least one of each; validation and test
            shrink as much. None takes all.

    Returns:
        Inputs of shape (n, 3, height, width); targets are class indices of shape (n,), or masks of 0 and 1 of shape (n, 1,
        height, width).

    Raises:
        InputError: if the file is none of this form, or has too few images.
    """
    for name, number in (("image size", image_size), ("number of examples", examples)):
        if number is not None:
            whole_number(name, number, 1)
    try:
        with np.load(expanded(path), allow_pickle=False) as file:
            parts, count = _parts(dict(file), examples)
    except _NO_IMAGES as error:
        if isinstance(error, InputError):
            raise
        reason = first_line(error).partition(". ")[0]
        raise InputError(
            f"The file {str(path)!r} cannot be read as images ({reason}); it holds x and y, or jpeg_train, off_train and y_train "
            "and the same of the test."
        ) from error
    channels = mean_and_deviation(torch.from_numpy(parts[0][0]))
    splits = []
    for pixels, targets in parts:
        inputs = normalised(torch.from_numpy(pixels), *channels)
        wanted = torch.from_numpy(targets)
        wanted = (wanted > 0).float()[:, None] if wanted.dim() > 1 else wanted.long()
        if image_size is not None and inputs.shape[2:] != (image_size, image_size):
            size = image_size, image_size
            inputs = interpolate(inputs, size, mode="bilinear", antialias=True)
            if wanted.dim() > 1:  # a pixel is inside where more than half of the area that it covers is
                wanted = (interpolate(wanted, size, mode="area") > 0.5).float()
        splits.append((inputs, wanted))
    few = len(splits[0][0])
    notes = (f"Training takes {few:,} of {count:,} images.",) if few < count else ()
    data = Data(splits[0], splits[1], splits[2])
    return data.noted(counted(data, "images"), *notes)


_NO_IMAGES = (
    *(OSError, EOFError, KeyError, IndexError, TypeError, ValueError, SyntaxError, MemoryError, NotImplementedError),
    *(zipfile.BadZipFile, zlib.error),
)
"""What is raised where a file holds no images."""


def training_images(path: Path | str) -> int:
    """How many images such a file has for training, when the held-out parts are taken out.

    Raises:
        InputError: if the file is none of this form.
    """
    try:
        with np.load(expanded(path), allow_pickle=False) as file:
            jpeg = "jpeg_train" in file
            classes = _classes(file["y_train" if jpeg else "y"])
    except _NO_IMAGES as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"The file {str(path)!r} cannot be read as images; it has no y_train and no y.") from error
    fractions = [HELD_OUT_FRACTION] if jpeg else [HELD_OUT_FRACTION, HELD_OUT_FRACTION]
    return len(divided(classes, fractions, torch.Generator().manual_seed(0))[-1])


def _parts(file: dict[str, Any], examples: int | None) -> tuple[list[tuple[np.ndarray, np.ndarray]], int]:
    """Pixels and targets for training, validation and test; and how many images there are for training in all."""
    generator = torch.Generator().manual_seed(0)
    classes = {name: _classes(file[name]) for name in file if name.startswith("y")}
    if "jpeg_train" in file:
        validation, train = divided(classes["y_train"], [HELD_OUT_FRACTION], generator)
        parts = [("_train", train), ("_train", validation), ("_test", torch.arange(len(classes["y_test"])))]
    else:
        validation, test, train = divided(classes["y"], [HELD_OUT_FRACTION, HELD_OUT_FRACTION], generator)
        parts = [("", train), ("", validation), ("", test)]
    share = 1.0 if examples is None else min(1.0, examples / len(train))
    read = []
    for part, indices in parts:
        if share < 1:
            indices = indices[divided(classes[f"y{part}"][indices], [share], generator)[0]]  # noqa: PLW2901
        order = indices.sort().values.numpy()
        pixels = _decoded(file[f"jpeg{part}"], file[f"off{part}"], order) if part else file["x"][order]
        if pixels.dtype != np.uint8 or pixels.ndim != 4:
            raise InputError(
                f"The images are {pixels.dtype} of shape {pixels.shape}; give uint8 of (n, height, width, 3)."
            )
        read.append((pixels, file[f"y{part}"][order]))
    return read, len(train)


def _classes(targets: np.ndarray) -> torch.Tensor:
    """Class indices; masks are of one class.

    Raises:
        InputError: if a class has too few images to be divided.
    """
    if targets.dtype.kind not in "iubf" or (targets.ndim == 1 and (targets != np.floor(targets)).any()):
        raise InputError(f"The classes are {targets.dtype}; give class indices, whole numbers from 0.")
    classes = torch.from_numpy(targets).long() if targets.ndim == 1 else torch.zeros(len(targets), dtype=torch.int64)
    values, counts = classes.unique(return_counts=True)
    if targets.ndim == 1 and len(values) and int(values[0]) != 0:
        raise InputError(f"The classes begin at {int(values[0])}; number them from 0.")
    if not len(values) or counts.min() < 3:
        raise InputError(f"Dividing images takes three of every class; of {len(classes)} one has fewer.")
    return classes


def _decoded(stored: np.ndarray, offsets: np.ndarray, order: np.ndarray) -> np.ndarray:
    images = []
    for index in order:
        try:
            with Image.open(io.BytesIO(stored[offsets[index] : offsets[index + 1]].tobytes())) as image:
                images.append(np.asarray(image.convert("RGB")))
        except UNREADABLE as error:
            raise InputError(f"Image {index} cannot be decoded ({error}); get the file again.") from error
    return np.stack(images)
