"""Image files and what is wanted of each, as `Data`: what the readers of folders and of tables of labels share."""

from __future__ import annotations

import os
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torchvision.datasets.folder import IMG_EXTENSIONS

from marl_hpo_env.data.folders import files_below, left_out
from marl_hpo_env.data.images import UNREADABLE, ImageReading, Normalisation, in_bytes, normalised, read_square
from marl_hpo_env.data.parts import in_parts, numbered
from marl_hpo_env.data.splits import Data, Kind, counted, repeated
from marl_hpo_env.errors import InputError, is_number

Groups = Callable[[Path], Hashable]
"""Tells the group of an image, such as its patient or video, by its path relative to the folder."""


def image_files(root: Path) -> tuple[list[Path], list[Path]]:
    """The images below a folder, by their endings, and the other files; hidden and housekeeping ones are neither."""
    files = files_below(root)
    images = [path for path in files if path.suffix.lower() in IMG_EXTENSIONS]
    return images, [path for path in files if path.suffix.lower() not in IMG_EXTENSIONS]


@dataclass(frozen=True)
class Pictures:
    """Images that were read.

    Args:
        pixels: shape (n, image_size, image_size, 3), see `in_bytes`.
        kept: the indices of these among the files that were to be read.
        names: of the files, relative to the folder.
        reading: how they were read.
        notes: on what was left out or scaled.
    """

    pixels: torch.Tensor
    kept: list[int]
    names: list[Path]
    reading: ImageReading
    notes: list[str]

    def data(
        self,
        targets: torch.Tensor,
        kind: Kind,
        class_names: Sequence[str],
        parts: Sequence[str | None],
        groups: Sequence[Hashable] | None,
        notes: Sequence[str],
    ) -> Data:
        """The images with what is wanted of each, divided.

        Args:
            targets: as `Data` takes them, of the images that were kept.
            kind, class_names: as `Data` takes them.
            parts: as `in_parts` takes them.
            groups: likewise.
            notes: on the reading.

        Raises:
            InputError: if they cannot be divided.
        """
        drawn_by = targets if kind == "classes" else torch.zeros(len(targets), dtype=torch.int64)
        indices, held_out = in_parts(parts, drawn_by, groups, class_names)
        by = self.reading.mean, self.reading.deviation
        train, validation, test = ((normalised(self.pixels[part], *by), targets[part]) for part in indices)
        of_each = numbered(groups, *indices[:2])
        names = tuple(class_names)
        data = Data(train, validation, test, kind=kind, class_names=names, groups=of_each, reading=self.reading)
        said = (
            counted(data, "images"),
            *self.notes,
            *notes,
            *held_out,
            *repeated(self.pixels, targets, indices, [str(name) for name in self.names]),
        )
        return data.noted(*said)


def read_pictures(root: Path, paths: Sequence[Path], image_size: int, normalisation: Normalisation) -> Pictures:
    """These images of a folder as squares; those that cannot be read are left out.

    Raises:
        InputError: if none can be read, one has a depth that cannot be kept, or the normalisation is none.
    """
    _check(normalisation)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        squares = list(pool.map(lambda path: _square(path, image_size), paths))
    kept = [i for i, square in enumerate(squares) if square is not None]
    broken = [path for path, square in zip(paths, squares, strict=True) if square is None]
    if not kept:
        raise InputError(f"Of {len(paths)} images in {str(root)!r} none can be read; give others.")
    pixels, bits = in_bytes([square for square in squares if square is not None])
    notes = []
    if broken:
        notes.append(
            f"{len(broken)} of {len(paths)} images in {str(root)!r} cannot be read and are left out, such as "
            f"{broken[0].relative_to(root)}."
        )
    if bits is not None:
        deep = sum(square is not None and square.dtype != np.uint8 for square in squares)
        notes.append(
            f"{deep} images are deeper than 8 bits: their values are taken as {bits} bits, 0 to {2**bits - 1}, with every level "
            "kept."
        )
    names = [paths[i].relative_to(root) for i in kept]
    return Pictures(pixels, kept, names, ImageReading(image_size, bits, *normalisation), notes)


def no_images(others: Sequence[Path], root: Path) -> list[str]:
    """The sentence that counts a folder's files that are no images."""
    return left_out(others, root, f"images end in {', '.join(IMG_EXTENSIONS)}")


def _check(normalisation: Any) -> None:
    def numbers(values: Any) -> bool:
        return isinstance(values, list | tuple) and len(values) == 3 and all(map(is_number, values))

    two = isinstance(normalisation, list | tuple) and len(normalisation) == 2
    if not (two and all(map(numbers, normalisation)) and min(normalisation[1]) > 0):
        raise InputError(
            f"The normalisation of images is {normalisation!r}; it is a mean and a deviation above 0 for each of 3 channels, as "
            "in ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))."
        )


def _square(path: Path, size: int) -> np.ndarray | None:
    """One image as `read_square` gives it; None where it cannot be read."""
    try:
        return read_square(path, size, upright=True)[0]
    except InputError:
        raise
    except UNREADABLE:
        return None
