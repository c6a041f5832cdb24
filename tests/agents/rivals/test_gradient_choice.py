"""Choices by gradients: where one action is plainly better they find it, and what cannot be mixed is refused."""

import pytest
import torch
from torch import nn

from agents.rivals.gradient_choice import gradient_choice
from marl_hpo_env import Data, InputError, Recipe, Task


def _model():
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2)
    )


def edges(choices):
    """Vertical against horizontal stripes, which a kernel of one pixel cannot tell apart."""
    generator = torch.Generator().manual_seed(0)
    stripes = (torch.arange(8) % 2).float().expand(8, 8)
    targets = torch.arange(96) % 2
    clean = torch.stack([stripes if target else stripes.T for target in targets])[:, None]
    images = clean + 0.3 * torch.randn(clean.shape, generator=generator)
    splits = Data(*((images[a : a + 32], targets[a : a + 32]) for a in (0, 32, 64)))
    return Task("edges", _model, splits, choices=choices, recipe=Recipe(batch_size=16, learning_rate=0.03))


@pytest.mark.parametrize("relaxation", ["softmax", "gumbel"])
def test_the_kernel_that_can_tell_the_classes_apart_is_chosen(relaxation):
    task = edges({"0": {"kernel_size": (1, 3)}})
    found = gradient_choice(task, relaxation, epochs=30, seed=0, learning_rate=0.05)
    assert found.design == (1,)
    assert found.probabilities[0][1] > 0.6
    assert found.cost > 0
    assert gradient_choice(task, relaxation, epochs=30, seed=0, learning_rate=0.05) == found


def test_widths_cannot_be_mixed_and_are_drawn():
    task = edges({"0": {"out_channels": (2, 4), "kernel_size": (1, 3)}})
    with pytest.raises(InputError, match="layer '0' have outputs of different shapes"):
        gradient_choice(task, "softmax", epochs=1)
    found = gradient_choice(task, "gumbel", epochs=1)
    assert len(found.probabilities[0]) == 4
    with pytest.raises(InputError, match="relaxation"):
        gradient_choice(task, "hard", epochs=1)
