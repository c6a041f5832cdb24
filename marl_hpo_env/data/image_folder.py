"""A folder of images, one folder per class."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from torchvision.datasets.folder import IMG_EXTENSIONS

from marl_hpo_env.data.folders import expanded, files_ending_in, subfolders
from marl_hpo_env.data.images import UNREADABLE, normalised, read_square
from marl_hpo_env.data.splits import Data, split
from marl_hpo_env.errors import InputError, whole_number

_EXPECTED = "put each class's images into a folder of its own, as in photos/cat/1.jpg and photos/dog/2.jpg"


def image_folder(root: Path | str, image_size: int) -> Data:
    """Images of any size and mode, as RGB squares, normalised with ImageNet's mean and deviation.

    Args:
        root: holds one folder per class; or `train`, `val` and `test` (or without `test`, half of `val`), each with one folder
            per class. Without such a division, 70% of each class are for training and 15% each for validation and test.
        image_size: height and width in pixels to which each image is scaled.

    Returns:
        Inputs of shape (n, 3, image_size, image_size); `notes` counts what could not be read.

    Raises:
        InputError: if there are fewer than two classes, or a class with fewer than three readable images.
    """
    root = expanded(root)
    whole_number("image size", image_size, 1)
    if not root.is_dir():
        raise InputError(f"There is no folder {str(root)!r}; {_EXPECTED}.")
    divided = {path.name: path for path in root.iterdir() if path.is_dir()}
    validation = divided.get("val", divided.get("validation", divided.get("valid")))
    notes: list[str] = []
    if "train" not in divided or validation is None:
        inputs, targets = _read(root, _classes(root), image_size, notes)
        whole = split(inputs, targets)
        return Data(whole.train, whole.validation, whole.test, tuple(notes))
    classes = _classes(divided["train"])
    parts: list[tuple[torch.Tensor, torch.Tensor]] = []
    for path in (divided["train"], validation, *([divided["test"]] if "test" in divided else [])):
        if _classes(path) != classes:
            raise InputError(
                f"The classes in {str(path)!r} are {_classes(path)}, in 'train' they are {classes}; make them one."
            )
        parts.append(_read(path, classes, image_size, notes))
    if len(parts) == 2:
        inputs, targets = parts.pop()
        parts += [(inputs[::2], targets[::2]), (inputs[1::2], targets[1::2])]
        notes.append("There is no test folder: half of the validation images are kept for the test.")
    return Data(parts[0], parts[1], parts[2], tuple(notes))


def _classes(root: Path) -> list[str]:
    classes = subfolders(root)
    if {name.lower().rstrip("s") for name in classes} == {"image", "mask"}:
        raise InputError(
            f"{str(root)!r} holds {' and '.join(map(repr, classes))}, which are no classes; segmentation needs a Data of images "
            "and masks from Python."
        )
    if len(classes) < 2:
        found = f"only {classes[0]!r}" if classes else "no folder"
        raise InputError(f"{str(root)!r} holds {found}; to tell apart there must be two classes: {_EXPECTED}.")
    return classes


def _read(root: Path, classes: Sequence[str], image_size: int, notes: list[str]) -> tuple[torch.Tensor, torch.Tensor]:
    paths = [
        (path, number)
        for number, name in enumerate(classes)
        for path in files_ending_in((root / name).rglob("*"), IMG_EXTENSIONS)
    ]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        images = list(pool.map(lambda item: _image(item[0], image_size), paths))
    readable = [(image, number) for image, (_, number) in zip(images, paths, strict=True) if image is not None]
    broken = [path for image, (path, _) in zip(images, paths, strict=True) if image is None]
    counts = [sum(number == i for _, number in readable) for i in range(len(classes))]
    for name, count in zip(classes, counts, strict=True):
        if count < 3:
            raise InputError(
                f"The class {name!r} in {str(root)!r} has {count} readable images; it needs at least three."
            )
    if broken:
        first = broken[0].relative_to(root)
        notes.append(
            f"{len(broken)} of {len(paths)} images in {str(root)!r} cannot be read and are left out, such as {first}."
        )
    inputs = normalised(torch.from_numpy(np.stack([image for image, _ in readable])))
    return inputs, torch.tensor([number for _, number in readable])


def _image(path: Path, size: int) -> np.ndarray | None:
    """One image as an array of shape (size, size, 3); None where it cannot be read."""
    try:
        return read_square(path, size, upright=True)[0]
    except UNREADABLE:
        return None
