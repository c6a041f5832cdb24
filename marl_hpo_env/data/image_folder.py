"""A folder of images, one folder per class."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import torch

from marl_hpo_env.data.folders import expanded, left_out, subfolders
from marl_hpo_env.data.image_masks import mask_folders
from marl_hpo_env.data.images import IMAGENET, Normalisation
from marl_hpo_env.data.parts import PARTS, part_named
from marl_hpo_env.data.pictures import Groups, image_files, no_images, read_pictures
from marl_hpo_env.data.splits import Data
from marl_hpo_env.errors import InputError, whole_number

_EXPECTED = "put each class's images into a folder of its own, as in photos/cat/1.jpg and photos/dog/2.jpg"


def image_folder(
    root: Path | str, image_size: int, groups: Groups | None = None, normalisation: Normalisation = IMAGENET
) -> Data:
    """Images of any size and mode, as RGB squares, normalised.

    Images deeper than 8 bits keep every level: their values are taken as of 8, 10, 12, 14 or 16 bits, whichever is the least that
    holds all of them.

    Args:
        root: holds one folder per class, whose images are divided: 70% of each class for training and 15% each for validation
            and test. Or `train`, `val` and `test`, also as `Training`, `valid`, `dev` and the like, each with one folder per
            class; what is not there is held out: validation of training, the test of validation.
        image_size: height and width in pixels to which each image is scaled.
        groups: tells the group of an image, such as its patient, by its path relative to `root`: no group is then in two parts.
        normalisation: mean and deviation of each channel on the scale 0..1; ImageNet's by default.

    Returns:
        Inputs of shape (n, 3, image_size, image_size); `notes` say what was read, and what was not.

    Raises:
        InputError: if there are fewer than two classes, a class has fewer than three readable images, or parts differ in classes.
    """
    root = expanded(root)
    whole_number("image size", image_size, 1)
    if not root.is_dir():
        raise InputError(f"There is no folder {str(root)!r}; {_EXPECTED}.")
    parts = _parts(root)
    classes = _classes(next(iter(parts.values())))
    images: list[tuple[Path, str | None, int]] = []
    for part, folder in parts.items():
        if _classes(folder) != classes:
            raise InputError(
                f"The classes in {str(folder)!r} are {_classes(folder)}, in {next(iter(parts.values())).name!r} they are "
                f"{classes}; make them one."
            )
        for number, name in enumerate(classes):
            images += [(path, part, number) for path in image_files(folder / name)[0]]
    taken = {path for path, _, _ in images}
    everything, others = image_files(root)
    notes = left_out([path for path in everything if path not in taken], root, "they are in no folder of a class")
    notes += no_images(others, root)
    notes += [f"The folder {name!r} is taken for a class, as the others are." for name in classes if part_named(name)]
    pictures = read_pictures(root, [path for path, _, _ in images], image_size, normalisation)
    kept = [images[i] for i in pictures.kept]
    counts = Counter((part, number) for _, part, number in kept)
    for part, folder in parts.items():
        for number, name in enumerate(classes):
            if counts[part, number] < 3:
                raise InputError(
                    f"The class {name!r} in {str(folder)!r} has {counts[part, number]} readable images; it needs at least three."
                )
    return pictures.data(
        torch.tensor([number for _, _, number in kept]),
        "classes",
        classes,
        [part for _, part, _ in kept],
        None if groups is None else [groups(name) for name in pictures.names],
        notes,
    )


def _parts(root: Path) -> dict[str | None, Path]:
    """The folders of classes by the part that they are: `train`, `validation`, `test`, or None where there is no division.

    Raises:
        InputError: if a part is there twice, or there are parts and none for training.
    """
    named: dict[str, Path] = {}
    folders = subfolders(root)
    for name in folders:
        part = part_named(name)
        if part is not None:
            if part in named:
                raise InputError(
                    f"{str(root)!r} holds {named[part].name!r} and {name!r}, which are both for {part}; make them one."
                )
            named[part] = root / name
    divided = {part: folder for part, folder in named.items() if subfolders(folder)}
    if not named or (len(named) == 1 and len(folders) > 1 and not divided):
        return {None: root}  # a class may be called train, too
    if "train" not in divided:
        names = " and ".join(repr(folder.name) for folder in named.values())
        raise InputError(
            f"{str(root)!r} holds {names}, which name parts and no classes; a folder for training with one folder per class is "
            f"missing: {_EXPECTED}."
        )
    return {part: divided[part] for part in PARTS if part in divided}


def _classes(root: Path) -> list[str]:
    classes = subfolders(root)
    if len(classes) == 2 and mask_folders(root):
        raise InputError(
            f"{str(root)!r} holds {' and '.join(map(repr, classes))}, which are no classes; `image_masks` reads them for "
            "segmentation, and so does --masks."
        )
    if len(classes) < 2:
        found = f"only {classes[0]!r}" if classes else "no folder"
        raise InputError(f"{str(root)!r} holds {found}; to tell apart there must be two classes: {_EXPECTED}.")
    return classes
