"""ImageNet (ILSVRC 2012): 1.28 million photographs in a thousand classes, read from their files as they are needed.

The layout is the one that `torchvision.datasets.ImageNet` unpacks the official archives into:
`train/<wnid>/<wnid>_<number>.JPEG` and `val/<wnid>/ILSVRC2012_val_<number>.JPEG`.
"""

from __future__ import annotations

from pathlib import Path

import torch

from marl_hpo_env.data.folders import expanded, files_ending_in, subfolders
from marl_hpo_env.data.lazy_images import ImageFiles
from marl_hpo_env.data.parts import drawn
from marl_hpo_env.data.splits import Data, Examples
from marl_hpo_env.errors import InputError, whole_number

_GET = (
    "download ILSVRC2012_img_train.tar, ILSVRC2012_img_val.tar and ILSVRC2012_devkit_t12.tar.gz from "
    "https://image-net.org/download-images and let torchvision.datasets.ImageNet unpack them"
)


def imagenet(root: Path | str, image_size: int = 224, episode_images: int = 500, validation_images: int = 50) -> Data:
    """Photographs as central squares, normalised with ImageNet's mean and deviation.

    The official validation images are the test, since the test's classes are not public; the validation part is held out of
    the training images, always the same ones (ours; the paper does not say). Episodes train on a part of the rest, always the
    same one (paper VIII-D: "500 images per class"); final training takes all of it.

    Args:
        root: holds `train` and `val`.
        image_size: height and width in pixels.
        episode_images: training images per class in an episode; all where a class has no more.
        validation_images: images per class.

    Returns:
        Inputs as `ImageFiles`, 3 x image_size x image_size each, and class indices in the order of the folders' names.

    Raises:
        InputError: if a folder or an image is missing, or `val` has other classes than `train`.
    """
    root = expanded(root)
    for name, value in (
        ("image size", image_size),
        ("number of images per class in an episode", episode_images),
        ("number of images per class for validation", validation_images),
    ):
        whole_number(name, value, 1)
    classes = _classes(root, "train")
    if _classes(root, "val") != classes:
        in_val = set(_classes(root, "val"))
        wrong = sorted(in_val.symmetric_difference(classes))[0]
        lacking = "'train'" if wrong in in_val else "'val'"
        raise InputError(
            f"The class {wrong!r} is not in {lacking} of {str(root)!r}; both have the same classes: {_GET}."
        )
    generator = torch.Generator().manual_seed(0)
    train: list[str] = []
    held_out: list[str] = []
    in_train: list[int] = []
    in_held_out: list[int] = []
    episodes: list[torch.Tensor] = []
    for number, name in enumerate(classes):
        images = _images(root, f"train/{name}")
        if len(images) <= validation_images:
            raise InputError(
                f"The class {name!r} in {str(root / 'train')!r} has {len(images)} images; with {validation_images} held out for "
                "validation it needs more."
            )
        of_validation, of_training = (part.sort().values for part in drawn(len(images), [validation_images], generator))
        held_out += [images[i] for i in of_validation.tolist()]
        in_held_out += [number] * len(of_validation)
        most = min(episode_images, len(of_training))
        of_episodes, _ = drawn(len(of_training), [most], generator)
        episodes.append(of_episodes.sort().values + len(train))
        train += [images[i] for i in of_training.tolist()]
        in_train += [number] * len(of_training)
    test = [(image, number) for number, name in enumerate(classes) for image in _images(root, f"val/{name}")]

    def examples(names: list[str], targets: list[int]) -> Examples:
        return ImageFiles(root, names, image_size), torch.tensor(targets)

    indices = torch.cat(episodes)
    note = f"Episodes train on {len(indices)} of the {len(train)} training images, at most {episode_images} per class."
    return Data(
        examples(train, in_train),
        examples(held_out, in_held_out),
        examples([image for image, _ in test], [number for _, number in test]),
        (note,) if len(indices) < len(train) else (),
        indices if len(indices) < len(train) else None,
    )


def _classes(root: Path, part: str) -> list[str]:
    place = root / part
    if not place.is_dir():
        raise InputError(f"There is no folder {str(place)!r}; {_GET} in {str(root)!r}.")
    classes = subfolders(place)
    if len(classes) < 2:
        raise InputError(f"The folder {str(place)!r} holds {len(classes)} folders of classes; {_GET}.")
    if len(classes) > 1000:
        raise InputError(f"The folder {str(place)!r} holds {len(classes)} classes; ImageNet's tasks have 1,000.")
    return classes


def _images(root: Path, place: str) -> list[str]:
    """The images of a folder, relative to the root."""
    images = files_ending_in((root / place).iterdir(), (".jpeg", ".jpg"))
    if not images:
        raise InputError(f"The folder {str(root / place)!r} holds no JPEG image; {_GET}.")
    return [f"{place}/{path.name}" for path in images]
