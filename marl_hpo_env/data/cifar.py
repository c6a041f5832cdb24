"""CIFAR-10 and CIFAR-100 in the files of https://www.cs.toronto.edu/~kriz/cifar.html, read and downloaded by torchvision."""

from __future__ import annotations

import warnings
from http.client import HTTPException
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torchvision.datasets import CIFAR10, CIFAR100
from torchvision.datasets.utils import check_integrity

from marl_hpo_env.data.folders import expanded
from marl_hpo_env.data.images import mean_and_deviation, normalised
from marl_hpo_env.data.parts import divided
from marl_hpo_env.data.splits import Data
from marl_hpo_env.errors import InputError

VALIDATION_FRACTION = 0.1


def cifar(root: Path | str, classes: Literal[10, 100], download: bool = True) -> Data:
    """45,000 images to train on, 5,000 for validation, and the official 10,000 for the test.

    The validation part is ours (the paper names none): a tenth of each class of the official training images, always the
    same ones. Pixels are scaled to 0..1, then normalised channel by channel with the mean and the deviation of the 45,000
    images that are trained on, so that nothing of the validation or test images enters.

    The files are pickles; torchvision compares their MD5 sums with the official ones before it opens them.

    Args:
        root: the folder that holds `cifar-10-batches-py` or `cifar-100-python`.
        classes: 10, or 100 for CIFAR-100's fine labels.
        download: fetch what is missing (about 170 MB).

    Returns:
        Inputs of shape (n, 3, 32, 32) and class indices of shape (n,).

    Raises:
        InputError: if files are missing and cannot be downloaded, or are not the official ones.
    """
    if classes not in (10, 100):
        raise InputError(f"CIFAR has no variant with {classes!r} classes; there are 10 and 100.")
    root = expanded(root)
    official = CIFAR10 if classes == 10 else CIFAR100
    try:
        with warnings.catch_warnings():
            # The official files were pickled in Python 2; NumPy 2.4.0 warns of it (github.com/pytorch/vision/issues/9340).
            warnings.simplefilter("ignore", np.exceptions.VisibleDeprecationWarning)
            learned, test = (official(root, train=part, download=download) for part in (True, False))
    except (OSError, RuntimeError, HTTPException) as error:
        hint = f"the download failed ({error})" if download else "or let it be downloaded with download=True"
        raise InputError(_what_is_wrong(root, official, hint)) from error

    targets = torch.tensor(learned.targets)
    part, _ = divided(targets, [VALIDATION_FRACTION], torch.Generator().manual_seed(0))
    held_out = torch.zeros(len(targets), dtype=torch.bool)
    held_out[part] = True
    pixels = torch.from_numpy(learned.data)
    channels = mean_and_deviation(pixels[~held_out])
    return Data(
        (normalised(pixels[~held_out], *channels), targets[~held_out]),
        (normalised(pixels[held_out], *channels), targets[held_out]),
        (normalised(torch.from_numpy(test.data), *channels), torch.tensor(test.targets)),
    )


def _what_is_wrong(root: Path, official: type[CIFAR10], hint: str) -> str:
    """One sentence on the first file that is missing or not the official one, and how to get it."""
    unpacked = root / official.base_folder
    for name, md5 in [*official.train_list, *official.test_list, (official.meta["filename"], official.meta["md5"])]:
        path = unpacked / name
        if not path.is_file():
            return f"There is no file {str(path)!r}; unpack {official.url} in {str(root)!r}, {hint}."
        if not check_integrity(path, md5):
            return (
                f"The file {str(path)!r} is not the official one, since its MD5 sum is not {md5}; delete the folder "
                f"{str(unpacked)!r} and unpack {official.url} again, {hint}."
            )
    return f"{official.__name__} in {str(root)!r} cannot be read, {hint}."
