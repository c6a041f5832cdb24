"""What a network is trained by and judged by: cross-entropy and accuracy for classes, Dice for masks (paper Table II)."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch.nn import functional

AUXILIARY_WEIGHT = 0.3
"""Of each auxiliary head's loss (GoogLeNet, [42], section 5)."""


def losses(
    output: Any, targets: torch.Tensor, weights: torch.Tensor | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """What a batch is trained by, and the part of it that is the network's own: without auxiliary heads, so that networks
    with and without them compare, and so that a limit means the same for both.

    Args:
        output: of the network: scores of shape (n, classes) or (n, planes, h, w); or several, the first of which is the
            network's own and the others are its auxiliary heads'.
        targets: class indices, int64 of shape (n,): categorical cross-entropy. Or masks of 0 and 1, shape (n, planes, h, w):
            the Dice loss, 1 minus the soft Dice coefficient of the batch, averaged over the planes.
        weights: of each class, shape (classes,), for a weighted mean of the cross-entropy; None for the mean.
    """

    def loss_of(scores: torch.Tensor) -> torch.Tensor:
        if scores.dtype == torch.bfloat16:
            scores = scores.float()
        if targets.is_floating_point():
            return _dice_loss(scores, targets)
        if weights is None:
            return functional.cross_entropy(scores, targets)
        of_each = weights[targets]
        return (of_each * functional.cross_entropy(scores, targets, reduction="none")).sum() / of_each.sum()

    if isinstance(output, torch.Tensor):
        output_loss = loss_of(output)
        return output_loss, output_loss
    output_loss, *auxiliary = (loss_of(scores) for scores in output if scores is not None)
    return output_loss + AUXILIARY_WEIGHT * sum(auxiliary), output_loss


def guessing_loss(targets: torch.Tensor) -> float:
    """The loss of a network that knows nothing: equal scores for every class, or one half in every pixel."""
    if targets.is_floating_point():
        return float(_dice_loss(torch.zeros_like(targets), targets))
    return math.log(int(targets.max()) + 1)


def _dice_loss(scores: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
    inside = scores.sigmoid()
    over = [0, *range(2, masks.dim())]
    overlap = (inside * masks).sum(over)
    # One pixel on both sides: a plane that is empty in the whole batch is right when it is predicted so.
    return 1 - ((2 * overlap + 1) / (inside.sum(over) + masks.sum(over) + 1)).mean()


class Score:
    """Counts over a split, batch by batch: accuracy for classes, the Dice coefficient for masks.

    The Dice coefficient is that of all pixels of the split together, averaged over the planes (ours; the paper does not say):
    so a slice without any tumour neither counts as perfect nor as nothing.
    """

    def __init__(self) -> None:
        self._right: torch.Tensor | int = 0
        self._all: torch.Tensor | int = 0

    def add(self, output: Any, targets: torch.Tensor) -> None:
        """Counts a batch; `output` and `targets` as in `loss`."""
        scores = output if isinstance(output, torch.Tensor) else output[0]
        if targets.is_floating_point():
            predicted = scores > 0
            over = [0, *range(2, targets.dim())]
            self._right = self._right + 2 * (predicted & (targets > 0.5)).sum(over)
            self._all = self._all + predicted.sum(over) + (targets > 0.5).sum(over)
        else:
            self._right = self._right + (scores.argmax(1) == targets).sum()
            self._all += len(targets)

    def value(self) -> float:
        """The fraction of what was counted; 0..1."""
        right, total = torch.as_tensor(self._right).double().cpu(), torch.as_tensor(self._all).double().cpu()
        return float(torch.where(total > 0, right / total.clamp(min=1), 1.0).mean())
