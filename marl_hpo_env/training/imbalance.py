"""What a recipe does about classes of different sizes: it weighs their examples, or draws them equally often."""

from __future__ import annotations

import torch

from marl_hpo_env.data.splits import Data
from marl_hpo_env.errors import InputError
from marl_hpo_env.training.recipe import Recipe


def check_imbalance(recipe: Recipe, data: Data) -> None:
    """Whether the data have what the recipe balances.

    Raises:
        InputError: if not.
    """
    if recipe.imbalance is not None and data.kind != "classes":
        raise InputError(
            f"The recipe's imbalance is {recipe.imbalance!r}, which is for classes, and the targets are {data.kind}; leave it "
            "out."
        )


def class_weights(targets: torch.Tensor) -> torch.Tensor:
    """The weight of each class, the inverse of its frequency: 1 where all are equally many; float32, shape (classes,).

    Args:
        targets: class indices, shape (n,).
    """
    counts = targets.bincount()
    return (len(targets) / ((counts > 0).sum() * counts.clamp(min=1))).float()


def balanced(targets: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """As many indices of these targets as there are, drawn with replacement, every class equally often on average.

    Args:
        targets: class indices, shape (n,), on the CPU.
        generator: on the CPU.
    """
    return torch.multinomial(class_weights(targets)[targets], len(targets), replacement=True, generator=generator)
