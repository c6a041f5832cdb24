"""A task whose trainings take milliseconds."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from marl_hpo_env import Data, Recipe, Task


def _network() -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 1, 1))


@pytest.fixture(scope="session")
def bright() -> Task:
    """Finding the bright quarter of 8x8 images: four designs, of which the last is the original."""
    generator = torch.Generator().manual_seed(0)
    masks = torch.zeros(24, 1, 8, 8)
    for number, mask in enumerate(masks):
        top, left = 4 * (number % 2), 4 * (number // 2 % 2)
        mask[0, top : top + 4, left : left + 4] = 1
    images = masks + 0.1 * torch.randn(masks.shape, generator=generator)
    splits = Data(*zip(images.split(8), masks.split(8), strict=True))
    return Task(
        "bright",
        _network,
        splits,
        choices={"0": {"out_channels": (2, 4), "kernel_size": (1, 3)}},
        recipe=Recipe(batch_size=8, epochs=1, learning_rate=0.05, patience=2, max_epochs=3),
    )
