"""Data sets as tensors, split into training, validation and test."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, fields

import numpy as np
import torch

from marl_hpo_env.errors import InputError

Examples = tuple[torch.Tensor, torch.Tensor]
"""Inputs and targets, of equal length."""


@dataclass(frozen=True)
class Data:
    """A data set in memory.

    Args:
        train: inputs, float32 of shape (n, ...), and targets, int64 class indices of shape (n,).
        validation: the same; what rewards see.
        test: the same; reported, never told to a learner.

    Raises:
        InputError: if a split is empty or its inputs and targets differ in number.
    """

    train: Examples
    validation: Examples
    test: Examples

    def __post_init__(self) -> None:
        for name, (inputs, targets) in self.splits().items():
            if len(inputs) != len(targets) or len(inputs) == 0:
                raise InputError(
                    f"The {name} split has {len(inputs)} inputs and {len(targets)} targets; it needs as many of one as of "
                    "the other, and at least one."
                )

    def splits(self) -> dict[str, Examples]:
        """The three splits by name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def to(self, device: torch.device) -> Data:
        """The same data on another device."""
        return Data(**{name: (x.to(device), y.to(device)) for name, (x, y) in self.splits().items()})

    def digest(self) -> str:
        """A digest of every value of every split."""
        digest = hashlib.sha256()
        for inputs, targets in self.splits().values():
            for tensor in (inputs, targets):
                digest.update(str((tensor.shape, tensor.dtype)).encode())
                digest.update(tensor.cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()


def digits() -> Data:
    """scikit-learn's 1,797 scanned digits of 8x8 pixels, ten classes: 997 train, 400 validation, 400 test.

    The split is drawn once, with a fixed seed, so that each part has the classes in equal proportions. Pixels are scaled
    to 0..1, shape (n, 1, 8, 8).
    """
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    pixels, classes = load_digits(return_X_y=True)
    images = (pixels / 16).astype(np.float32).reshape(-1, 1, 8, 8)
    parts = []
    rest = images, classes.astype(np.int64)
    for size in (400, 400):
        kept_x, part_x, kept_y, part_y = train_test_split(*rest, test_size=size, random_state=0, stratify=rest[1])
        rest = kept_x, kept_y
        parts.append((part_x, part_y))
    validation, test, train = ((torch.from_numpy(x), torch.from_numpy(y)) for x, y in (*parts, rest))
    return Data(train, validation, test)
