"""What a recipe does about classes of different sizes: it weighs their examples, or draws them equally often."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.nn import functional

from marl_hpo_env.data.splits import Data
from marl_hpo_env.errors import InputError
from marl_hpo_env.training.recipe import Recipe


def check_imbalance(recipe: Recipe, data: Data, own_loss: bool) -> None:
    """Whether the data have what the recipe balances.

    Args:
        recipe: that may balance classes.
        data: of the task.
        own_loss: whether the task has a loss of its own.

    Raises:
        InputError: if not, or the loss that is to be weighed is the task's own.
    """
    if recipe.imbalance == "weights" and own_loss:
        raise InputError(
            "The recipe's imbalance is 'weights', which weighs the cross-entropy, and the task has a loss of its own; let that "
            "weigh the classes, or take 'sampling'."
        )
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


def weighted(targets: torch.Tensor) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
    """The mean cross-entropy in which every class weighs what `class_weights` of these targets say."""
    weights = class_weights(targets)

    def loss_of(scores: torch.Tensor, classes: torch.Tensor) -> torch.Tensor:
        of_each = weights[classes]
        return (of_each * functional.cross_entropy(scores, classes, reduction="none")).sum() / of_each.sum()

    return loss_of


def balanced(targets: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """As many indices of these targets as there are, drawn with replacement, every class equally often on average.

    Args:
        targets: class indices, shape (n,), on the CPU.
        generator: on the CPU.
    """
    return torch.multinomial(class_weights(targets)[targets], len(targets), replacement=True, generator=generator)
