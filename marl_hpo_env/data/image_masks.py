"""A folder of images and a folder of masks, for segmentation."""

from __future__ import annotations

import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import reduce
from os import cpu_count
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from marl_hpo_env.data.folders import expanded, left_out, subfolders
from marl_hpo_env.data.images import IMAGENET, UNREADABLE, Normalisation, mask_square
from marl_hpo_env.data.parts import part_named
from marl_hpo_env.data.pictures import Groups, image_files, no_images, read_pictures
from marl_hpo_env.data.splits import Data
from marl_hpo_env.data.targets import mask_values
from marl_hpo_env.errors import InputError, whole_number

_SUFFIX = re.compile(r"[ _.-]*(mask|masks|segmentation|seg|label|labels|gt|groundtruth|annotation)$", re.IGNORECASE)
"""Of a mask's name, behind that of its image."""

_IMAGES = {"image", "img"}
_MASKS = {"mask", "label", "annotation", "segmentation", "gt", "groundtruth"}
"""What folders of images and of masks are called, in the singular."""

_SHADES = 8
"""Between dark and light, that a drawing in shades of grey has at least."""

_GREY = 0.9
"""A drawing in shades of grey has at least as many of its pixels near black or white."""


def mask_folders(root: Path) -> tuple[Path, Path] | None:
    """The folders `images` and `masks` in this one, also as `imgs` or `labels` and the like, in any case; or this one twice,
    where its `train`, `val` and `test` hold such folders each.

    Returns:
        None where they are not there.
    """
    names = subfolders(root) if root.is_dir() else []
    found = {_side(name): root / name for name in names}
    if {"images", "masks"} <= set(found):
        return found["images"], found["masks"]
    parts = [root / name for name in names if part_named(name)]
    return (root, root) if parts and all(map(mask_folders, parts)) else None


def _side(folder: str) -> str | None:
    plain = re.sub("[^a-z]", "", folder.lower()).removesuffix("s")
    return "images" if plain in _IMAGES else "masks" if plain in _MASKS else None


def image_masks(
    images: Path | str,
    masks: Path | str,
    image_size: int,
    groups: Groups | None = None,
    normalisation: Normalisation = IMAGENET,
) -> Data:
    """Images as `image_folder` reads them, and masks: one plane of 0 and 1 for each class but the background.

    A mask belongs to the image of its name, without endings and without `_mask`, `_segmentation` and the like behind it. It is
    black and white (or of any two values), or holds a class index per pixel, as palettes and shades of grey; 0 is the
    background, and 255 beside indices marks borders that belong to no class. Masks in many shades, as JPEG makes them, are black
    and white at 127. Both are squeezed to squares; a pixel is inside where more than half of the area that it covers is.

    Args:
        images: folder of the images, at any depth. Where its folders are `train`, `val` and `test`, they divide the images.
        masks: folder of the masks; the same one, where `train`, `val` and `test` in it hold `images` and `masks` each.
        image_size: height and width in pixels to which both are scaled.
        groups: as `image_folder` takes them.
        normalisation: as `image_folder` takes it.

    Returns:
        Inputs of shape (n, 3, image_size, image_size) and masks of shape (n, planes, image_size, image_size); `class_names` are
        the values of the planes.

    Raises:
        InputError: if no image has a mask, a mask cannot be read or is of another size than its image, or the masks hold no
            classes.
    """
    root, mask_root = expanded(images), expanded(masks)
    whole_number("image size", image_size, 1)
    for folder in (root, mask_root):
        if not folder.is_dir():
            raise InputError(f"There is no folder {str(folder)!r}; give one with images and one with their masks.")
    (found, others), (drawings, other_masks) = image_files(root), image_files(mask_root)
    if root == mask_root:
        found = [path for path in found if _side_of(path, root) == "images"]
        drawings = [path for path in drawings if _side_of(path, root) == "masks"]
        other_masks = []
    pairs = _pairs(found, drawings, root, mask_root)
    if not pairs:
        raise InputError(
            f"None of {len(found)} images in {str(root)!r} has a mask of its name among {len(drawings)} in {str(mask_root)!r}; "
            "name them alike, as 1.jpg and 1.png or 1_mask.png."
        )
    pictures = read_pictures(root, [image for image, _ in pairs], image_size, normalisation)
    kept = [pairs[i] for i in pictures.kept]
    targets, names, notes = _masks(kept, image_size)
    paired = {path for pair in pairs for path in pair}
    notes += left_out([path for path in found if path not in paired], root, "they have no mask")
    notes += left_out([path for path in drawings if path not in paired], mask_root, "they have no image")
    parts = [next((part for place in name.parts[:-1] if (part := part_named(place))), None) for name in pictures.names]
    if None in parts and any(parts):
        raise InputError(
            f"The image {str(pictures.names[parts.index(None)])!r} in {str(root)!r} is in no part, and others are; put each into "
            "train, val or test."
        )
    of_each = None if groups is None else [groups(name) for name in pictures.names]
    notes += [*no_images(others, root), *no_images(other_masks, mask_root)]
    return pictures.data(targets, "masks", names, parts, of_each, notes)


def _side_of(path: Path, root: Path) -> str | None:
    return next((side for folder in path.relative_to(root).parts[:-1] if (side := _side(folder))), None)


def _pairs(images: Sequence[Path], masks: Sequence[Path], root: Path, mask_root: Path) -> list[tuple[Path, Path]]:
    """Each image with its mask: of the same place in the folders, or else of the only one of its name."""

    def keys(path: Path, name: str) -> tuple[str, str]:
        return Path(*(folder for folder in path.parts[:-1] if _side(folder) is None), name).as_posix(), name

    known: dict[str, list[Path]] = {}
    for path in masks:
        for name in dict.fromkeys((path.stem, _SUFFIX.sub("", path.stem))):
            for key in dict.fromkeys(keys(path.relative_to(mask_root), name)):
                known.setdefault(key, []).append(path)
    pairs = []
    for path in images:
        exact, alone = (known.get(key, []) for key in keys(path.relative_to(root), path.stem))
        candidates = exact or alone
        if len(candidates) > 1:
            raise InputError(
                f"The image {str(path)!r} may have the mask {str(candidates[0])!r} or {str(candidates[1])!r}; keep one."
            )
        pairs += [(path, mask) for mask in candidates]
    return pairs


def _masks(pairs: Sequence[tuple[Path, Path]], size: int) -> tuple[torch.Tensor, list[str], list[str]]:
    """The planes of each mask, shape (n, planes, size, size), with their names; and sentences on how they were read."""
    with ThreadPoolExecutor(cpu_count()) as pool:
        read = list(pool.map(_values, pairs))
        every = reduce(np.union1d, [np.unique(values) for values in read])
        notes = []
        if _is_grey(every, read):
            read = [np.where(values > 127, 255, 0) for values in read]
            notes.append(
                f"The masks are in {len(every)} shades, such as {pairs[0][1].name}; above 127 is inside, all else is background."
            )
            every = np.array([0, 255])
        planes = [int(value) for value in mask_values(every.tolist(), f"masks in {str(pairs[0][1].parent)!r}")]
        if every[-1] == 255 and planes[-1] != 255:
            notes.append("The value 255 beside indices marks borders: such pixels are background.")
        squares = pool.map(lambda values: np.stack([mask_square(values == value, size) for value in planes]), read)
        targets = torch.from_numpy(np.stack(list(squares))).float()
    if len(planes) == 1:
        return targets, ["foreground"], notes
    notes.append(
        f"Each value of the masks but the background's 0 has a plane of its own: {', '.join(map(str, planes))}."
    )
    return targets, [str(value) for value in planes], notes


def _values(pair: tuple[Path, Path]) -> np.ndarray:
    """The values of a mask's pixels: indices of its palette, or shades of grey; shape (height, width)."""
    image_path, path = pair
    try:
        with Image.open(path) as file, Image.open(image_path) as image:
            sizes, mode = (file.size, image.size), file.mode
            pixels = np.asarray(file)
    except UNREADABLE as error:
        raise InputError(f"The mask {str(path)!r} cannot be read as an image ({error}); give another.") from error
    if sizes[0] != sizes[1]:
        (width, height), (wide, high) = sizes
        raise InputError(
            f"The mask {str(path)!r} has {width}x{height} pixels and its image {image_path.name} {wide}x{high}, as stored; "
            "both are of one size."
        )
    if pixels.ndim == 3:
        colours = pixels[..., :3] if mode in ("RGB", "RGBA") else pixels[..., :1]
        if mode not in ("RGB", "RGBA", "LA") or (colours != colours[..., :1]).any():
            raise InputError(
                f"The mask {str(path)!r} is in colours ({mode}); save it with a palette, or with a class's number per pixel."
            )
        pixels = colours[..., 0]
    whole = pixels.astype(np.int32)
    if (whole != pixels).any():
        raise InputError(f"The mask {str(path)!r} has values that are no whole numbers; masks hold class indices.")
    return whole


def _is_grey(every: np.ndarray, read: Sequence[np.ndarray]) -> bool:
    """Whether masks are black and white with shades between, and no indices of classes, which lie close together."""
    between = ((every > 31) & (every < 224)).sum()
    if between < _SHADES or not 224 <= every[-1] <= 255:
        return False
    near = sum(int(((values < 32) | (values >= 224)).sum()) for values in read)
    return near >= _GREY * sum(values.size for values in read)
