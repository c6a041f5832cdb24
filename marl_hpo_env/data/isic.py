"""ISIC'18: photographs of skin lesions with masks, as in task 1 of https://challenge.isic-archive.com/landing/2018/45."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch

from marl_hpo_env.data.cache import can_keep, kept_or_made
from marl_hpo_env.data.folders import expanded
from marl_hpo_env.data.images import UNREADABLE, mask_square, normalised, read_grey, read_square
from marl_hpo_env.data.parts import HELD_OUT_FRACTION, drawn, part_of
from marl_hpo_env.data.splits import Data, Examples
from marl_hpo_env.errors import InputError, whole_number

CACHE_VERSION = 1  # to be raised with every change of what `_read` returns
_WHERE = "https://challenge.isic-archive.com/data/#2018"

Pair = tuple[Path, Path]
"""An image and its mask."""


def isic18(root: Path | str, image_size: int = 128, cache: Path | str | None = None) -> Data:
    """The lesion segmentation images as squares, normalised with ImageNet's mean and deviation, and their masks.

    The official folders are `ISIC2018_Task1-2_<part>_Input` with `ISIC_<number>.jpg` and `ISIC2018_Task1_<part>_GroundTruth`
    with `ISIC_<number>_segmentation.png`, for the parts Training, Validation and Test. Validation or Test is drawn from
    Training where it is not there: 15% of the images each, always the same ones (ours; the paper does not say how it
    divided them). The data set does not tell which images show the same patient.

    Images are squeezed to a square whatever their proportions (ours). Masks are scaled likewise; a pixel is lesion where
    more than half of the area that it covers is.

    The first reading takes minutes, since the photographs have up to 12 megapixels; later ones use the cache.

    Args:
        root: holds the official folders.
        image_size: height and width in pixels.
        cache: folder for the squares; without, `isic18_images` in `root`. A part is read anew when a file of it, the size or
            the code has changed, or its cached file is broken.

    Returns:
        Inputs of shape (n, 3, image_size, image_size) and masks of 0 and 1 of shape (n, 1, image_size, image_size); `notes`
        says what was drawn from Training and how many masks are not plain black and white.

    Raises:
        InputError: if the folders are not there, an image or mask is missing or cannot be read, the two differ in size, a
            mask is not on the scale 0..255, or an image is in two parts.
    """
    root = expanded(root)
    whole_number("image size", image_size, 1)
    notes: list[str] = []
    parts = {name: _pairs(root, name, notes) for name in ("Training", "Validation", "Test")}
    _refuse_repeated(parts)
    _fill_from_training(parts, notes)
    cache_folder = expanded(root / "isic18_images" if cache is None else cache)
    if not can_keep(cache_folder):
        notes.append(f"The images are not kept for the next time, since {str(cache_folder)!r} cannot be written to.")
    examples = [_examples(name, pairs, image_size, cache_folder, notes) for name, pairs in parts.items()]
    return Data(examples[0], examples[1], examples[2], tuple(notes))


def _pairs(root: Path, part: str, notes: list[str]) -> list[Pair]:
    """The images of a part with their masks; none where the part is not there."""
    images, masks = root / f"ISIC2018_Task1-2_{part}_Input", root / f"ISIC2018_Task1_{part}_GroundTruth"
    present = [folder.is_dir() for folder in (images, masks)]
    if part != "Training" and not all(present):
        if any(present):
            lacking = masks if present[0] else images
            notes.append(f"The {part} images are left out, since there is no folder {str(lacking)!r}.")
        return []
    for folder, found in zip((images, masks), present, strict=True):
        if not found:
            raise InputError(
                f"There is no folder {str(folder)!r}; download task 1 of ISIC 2018 from {_WHERE} and unpack it in "
                f"{str(root)!r}."
            )
    pairs = [(path, masks / f"{path.stem}_segmentation.png") for path in sorted(images.glob("ISIC_*.jpg"))]
    if not pairs:
        raise InputError(f"The folder {str(images)!r} holds no image ISIC_<number>.jpg; unpack it again from {_WHERE}.")
    for path, mask in pairs:
        if not mask.is_file():
            raise InputError(f"The image {path.name} has no mask {str(mask)!r}; unpack the masks again from {_WHERE}.")
    return pairs


def _refuse_repeated(parts: dict[str, list[Pair]]) -> None:
    seen: dict[str, Path] = {}
    for pairs in parts.values():
        for path, _ in pairs:
            if path.name in seen:
                raise InputError(
                    f"The image {path.name} is in {str(seen[path.name].parent)!r} and in {str(path.parent)!r}; keep it in one "
                    "of them, so that test data stay apart."
                )
            seen[path.name] = path


def _fill_from_training(parts: dict[str, list[Pair]], notes: list[str]) -> None:
    """Draws what is not there from the training images."""
    everything = parts["Training"]
    missing = [name for name in ("Validation", "Test") if not parts[name]]
    sizes = [part_of(len(everything), HELD_OUT_FRACTION)] * len(missing)
    if sum(sizes) >= len(everything):
        raise InputError(
            f"There are {len(everything)} training images with masks; to draw from them takes at least three."
        )
    divided = drawn(len(everything), sizes, torch.Generator().manual_seed(0))
    for name, part in zip([*missing, "Training"], divided, strict=True):
        parts[name] = [everything[i] for i in part.sort().values.tolist()]
    notes += [
        f"There is no {name} part: {len(parts[name])} of the {len(everything)} Training images are it."
        for name in missing
    ]


def _examples(part: str, pairs: list[Pair], image_size: int, cache: Path, notes: list[str]) -> Examples:
    files = [path for pair in pairs for path in pair]
    squares = kept_or_made(cache / part, [CACHE_VERSION, image_size], files, lambda: _read(pairs, image_size))
    grey = [mask for (_, mask), plain in zip(pairs, squares["plain"], strict=True) if not plain]
    if grey:
        notes.append(
            f"{len(grey)} of {len(pairs)} masks in {str(grey[0].parent)!r} hold other values than 0 and 255, such as "
            f"{grey[0].name}; values above 127 are taken as lesion."
        )
    masks = np.unpackbits(squares["masks"], axis=-1, count=image_size)
    return normalised(torch.from_numpy(squares["images"])), torch.from_numpy(masks).unsqueeze(1).float()


def _read(pairs: list[Pair], image_size: int) -> dict[str, np.ndarray]:
    """Images, uint8 of shape (n, image_size, image_size, 3); masks, of eight pixels of a row per byte; and whether each
    mask's file is plain black and white."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        read = list(pool.map(lambda pair: _example(pair, image_size), pairs))
    images, masks, plain = (np.stack(values) for values in zip(*read, strict=True))
    return {"images": images, "masks": np.packbits(masks, axis=-1), "plain": plain}


def _example(pair: Pair, size: int) -> tuple[np.ndarray, np.ndarray, bool]:
    """Pixels of shape (size, size, 3), the mask of shape (size, size), and whether that was plain black and white."""
    image_path, mask_path = pair
    try:
        # Not turned by EXIF: the documentation says not to rely on those tags, and masks are drawn on the pixels as stored.
        pixels, original = read_square(image_path, size, draft=2 * size)
    except UNREADABLE as error:
        raise _unreadable(image_path, error) from error
    try:
        grey = read_grey(mask_path)
    except UNREADABLE as error:
        raise _unreadable(mask_path, error) from error
    if grey.shape != original[::-1]:
        raise InputError(
            f"The mask {str(mask_path)!r} has {grey.shape[1]}x{grey.shape[0]} pixels and its image {image_path.name} "
            f"{original[0]}x{original[1]}; both are of one size."
        )
    lesion = grey > 127
    if grey.any() and not lesion.any():
        raise InputError(
            f"The mask {str(mask_path)!r} holds values up to {grey.max()} only; lesion is 255 and everything else 0."
        )
    plain = bool(((grey == 0) | (grey == 255)).all())
    return pixels, mask_square(lesion, size), plain


def _unreadable(path: Path, error: Exception) -> InputError:
    return InputError(f"The file {str(path)!r} cannot be read as an image ({error}); unpack it again from {_WHERE}.")
