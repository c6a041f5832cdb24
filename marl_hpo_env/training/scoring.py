"""What a network is trained by and judged by, by the kind of its targets (paper Table II for classes and masks).

classes   cross-entropy                            accuracy
labels    binary cross-entropy with logits         the share of right labels
values    mean squared error, standardised         R2 and the mean absolute error, in their own units
masks     1 minus the soft Dice coefficient        the Dice coefficient
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from marl_hpo_env.data.splits import Data
from marl_hpo_env.errors import InputError, first_line, is_number
from marl_hpo_env.metrics import Loss, Metric, mean_absolute_error, measures, r2

AUXILIARY_WEIGHT = 0.3
"""Of each auxiliary head's loss (GoogLeNet, [42], section 5)."""

_GUESSED = 1000
"""Training targets, evenly spaced, by which the best constant output under a loss of the task's own is found."""


LossOf = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""The mean loss of a batch's outputs, or of one of its heads', and targets."""


def losses(output: Any, targets: torch.Tensor, loss_of: LossOf) -> tuple[torch.Tensor, torch.Tensor]:
    """What a batch is trained by, and the part of it that is the network's own: without auxiliary heads, so that networks
    with and without them compare, and so that a limit means the same for both.

    Args:
        output: of the network, of shape (n, outputs, ...); or several, see `heads`.
        targets: of the batch.
        loss_of: one output and the targets.
    """
    output_loss, *auxiliary = (loss_of(_in_full(scores), targets) for scores in heads(output))
    return (output_loss + AUXILIARY_WEIGHT * sum(auxiliary) if auxiliary else output_loss), output_loss


def _in_full(scores: torch.Tensor) -> torch.Tensor:
    return scores.float() if scores.dtype == torch.bfloat16 else scores


def heads(output: Any) -> list[torch.Tensor]:
    """A network's outputs: its own first, then its auxiliary heads'. torchvision's for segmentation give them by name."""
    if isinstance(output, torch.Tensor):
        return [output]
    return [scores for scores in (output.values() if isinstance(output, Mapping) else output) if scores is not None]


def own_output(output: Any) -> torch.Tensor:
    """The network's own, without its auxiliary heads'."""
    return heads(output)[0]


def _dice_loss(scores: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
    inside = scores.sigmoid()
    over = [0, *range(2, masks.dim())]
    overlap = (inside * masks).sum(over)
    # One pixel on both sides: a plane that is empty in the whole batch is right when it is predicted so.
    return 1 - ((2 * overlap + 1) / (inside.sum(over) + masks.sum(over) + 1)).mean()


LOSSES: Mapping[str, LossOf] = {
    "classes": functional.cross_entropy,
    "labels": functional.binary_cross_entropy_with_logits,
    "values": functional.mse_loss,
    "masks": _dice_loss,
}
"""By kind of targets."""


@dataclass(frozen=True)
class Units:
    """Values as networks are trained on them: less their mean and divided by their standard deviation, both of training alone.

    Args:
        mean: of each value in training, shape (values,).
        deviation: likewise; 1 for one that is always the same.
    """

    mean: torch.Tensor
    deviation: torch.Tensor

    @classmethod
    def of(cls, targets: torch.Tensor) -> Units:
        """Those of training targets, shape (n, values)."""
        deviation, mean = torch.std_mean(targets.double(), dim=0, correction=0)
        varies = targets.amax(0) > targets.amin(0)
        return cls(mean.float(), torch.where(varies, deviation, 1.0).float())

    def standardised(self, targets: torch.Tensor) -> torch.Tensor:
        """Targets in their own units as a network is to give them; shape (n, values)."""
        return (targets - self.mean) / self.deviation

    def own(self, outputs: torch.Tensor) -> torch.Tensor:
        """A network's outputs in the values' own units; shape (n, values)."""
        return outputs * self.deviation.to(outputs.device) + self.mean.to(outputs.device)


class Scoring:
    """What a task's networks are trained by and judged by. `Task.scoring` makes one.

    Args:
        data: of the task.
        loss: of the task's own; that of the kind of targets where None.
        metrics: of the task's own, by name.
        score: the metric that stands for accuracy, such as `"validation_accuracy"`.

    Attributes:
        data: the data, with values standardised.
        score: as given.
        measures: what each metric of a trial is, by name.
        units: of the values; None for other kinds of targets.

    Raises:
        InputError: if the score is none of this kind of targets.
    """

    def __init__(
        self,
        data: Data,
        loss: Loss | LossOf | None = None,
        metrics: Mapping[str, Metric] | None = None,
        score: str = "validation_accuracy",
    ) -> None:
        assert data.kind is not None
        self.kind = data.kind
        self.units = Units.of(data.train[1]) if self.kind == "values" else None
        self.data = data if self.units is None else _standardised(data, self.units)
        self._own_loss = loss is not None
        self.loss: LossOf = LOSSES[self.kind] if loss is None else loss.function if isinstance(loss, Loss) else loss
        of_kind = {"r2": r2, "mae": mean_absolute_error} if self.kind == "values" else {}
        self.metrics = {**of_kind, **(metrics or {})}
        known = {"validation_loss", *(f"validation_{name}" for name in self.metrics)}
        if self.kind != "values":
            known.add("validation_accuracy")
        if score not in known:
            raise InputError(
                f"The score is {score!r}, and targets that are {self.kind} have none; the task's score can be "
                f"{' or '.join(repr(name) for name in sorted(known))}."
            )
        self.score = score
        self.measures = measures(metrics or {})

    def on(self, device: torch.device) -> Scoring:
        """The same on a device, with a loss whose tensors are there, too."""
        moved = copy.copy(self)
        moved.data = self.data.to(device)
        if isinstance(self.loss, nn.Module):
            moved.loss = copy.deepcopy(self.loss).to(device)
        return moved

    def of(self, data: Data) -> Scoring:
        """The same of other examples, with values standardised on their own training part.

        Args:
            data: of the same task, as they are in `data`.
        """
        other = copy.copy(self)
        other.__dict__.pop("guessing", None)
        other.data = data
        if self.units is not None:
            again = Units.of(data.train[1])
            other.data = _standardised(data, again)
            mean, deviation = again.mean.cpu(), again.deviation.cpu()
            other.units = Units(self.units.own(mean), self.units.deviation * deviation)
        return other

    @cached_property
    def guessing(self) -> float:
        """The training loss of the best constant output: for labels that of their frequencies, for values their mean.

        For classes equal scores and for masks one half in every pixel, the best that is known before the data are seen (ours);
        under a loss of the task's own the best that is found.
        """
        targets = self.data.train[1]
        if self._own_loss:
            return _best_constant(self.loss, targets, self.data.number_of_classes)
        if self.kind == "classes":
            return math.log(int(targets.max()) + 1)
        if self.kind == "masks":
            return float(_dice_loss(torch.zeros_like(targets), targets))
        frequencies = targets.double().mean(0)
        if self.kind == "values":
            return float((targets.double() - frequencies).square().mean())
        return float((torch.special.entr(frequencies) + torch.special.entr(1 - frequencies)).mean())

    def figures(self, outputs: torch.Tensor, targets: torch.Tensor) -> dict[str, float]:
        """Every metric by name, of the outputs and targets of a whole split.

        Raises:
            InputError: if one cannot be computed, or is no finite number.
        """
        outputs, targets = outputs.cpu(), targets.cpu()
        if self.units is not None:
            outputs, targets = self.units.own(outputs), self.units.own(targets)
        found = {}
        for name, metric in self.metrics.items():
            try:
                value = float(metric.function(outputs, targets))
            except Exception as error:  # whatever a function of the user's own raises
                raise InputError(
                    f"The metric {name!r} cannot be computed: {type(error).__name__}: {first_line(error)}"
                ) from error
            if not is_number(value):
                raise InputError(f"The metric {name!r} is {value}; it is to be a finite number for every split")
            found[name] = value
        return found

    def check(self, shape: tuple[int, ...]) -> None:
        """Computes loss and metrics of outputs drawn at random, so that what cannot be is known before anything is trained.

        Args:
            shape: of a network's output for one example.

        Raises:
            InputError: if one cannot be computed.
        """
        targets = self.data.validation[1]
        if self.kind in ("labels", "values") and shape != targets.shape[1:]:
            raise InputError(
                f"The network has outputs of shape {shape} and the data have {targets.shape[1]} {self.kind}; give it one for "
                "each."
            )
        if not (self._own_loss or self.metrics):
            return
        draw = torch.Generator().manual_seed(0)
        outputs = torch.randn((len(targets), *shape), generator=draw)
        try:
            self.loss(outputs[:2].requires_grad_(), targets[:2]).backward()
        except Exception as error:  # likewise
            raise InputError(
                f"The loss cannot be computed of outputs of shape {tuple(outputs[:2].shape)} and targets of shape "
                f"{tuple(targets[:2].shape)}: {type(error).__name__}: {first_line(error)}."
            ) from error
        for name in ("validation", "test"):
            _, targets = self.data.splits()[name]
            outputs = torch.randn((len(targets), *shape), generator=draw)
            try:
                self.figures(outputs, targets)
            except InputError as error:
                raise InputError(f"{error}, here of the {name} split with outputs drawn at random.") from error


def _standardised(data: Data, units: Units) -> Data:
    """The same with values standardised."""
    train, validation, test = ((x, units.standardised(y)) for x, y in data.splits().values())
    return replace(data, train=train, validation=validation, test=test)


def _best_constant(loss_of: LossOf, targets: torch.Tensor, outputs: int) -> float:
    """The lowest loss that is found for outputs that are the same for every example."""
    places = torch.linspace(0, len(targets) - 1, min(len(targets), _GUESSED)).long()
    some = targets[places.to(targets.device)]
    constant = torch.zeros((1, outputs, *[1] * (some.dim() - 2)), device=some.device, requires_grad=True)
    optimizer = torch.optim.LBFGS([constant], max_iter=100, line_search_fn="strong_wolfe")
    seen = []

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = loss_of(constant.expand(len(some), -1, *some.shape[2:]), some)
        loss.backward()
        seen.append(float(loss.detach()))
        return loss

    if not math.isfinite(float(closure().detach())):
        raise InputError("The loss of outputs that are all 0 is no finite number; give one that is.")
    with suppress(RuntimeError):  # a loss without a lowest value leads beyond every number
        optimizer.step(closure)
    finite = [loss for loss in seen if math.isfinite(loss)]
    # To six digits: the last ones hang on the machine's threads, and a limit is not to.
    return float(f"{min(finite):.6g}")


class Accuracy:
    """Counts over a split, batch by batch: accuracy for classes, the share of right labels, the Dice coefficient for masks.

    The Dice coefficient is that of all pixels of the split together, averaged over the planes (ours; the paper does not say):
    so a slice without any tumour neither counts as perfect nor as nothing.

    Args:
        kind: of the targets; values have no accuracy.
    """

    def __init__(self, kind: str) -> None:
        self._kind = kind
        self._right: torch.Tensor | int = 0
        self._all: torch.Tensor | int = 0

    def add(self, output: Any, targets: torch.Tensor) -> None:
        """Counts a batch; `output` and `targets` as in `losses`."""
        scores = own_output(output)
        if self._kind == "masks":
            predicted = scores > 0
            over = [0, *range(2, targets.dim())]
            self._right = self._right + 2 * (predicted & (targets > 0.5)).sum(over)
            self._all = self._all + predicted.sum(over) + (targets > 0.5).sum(over)
        elif self._kind == "labels":
            self._right = self._right + ((scores > 0) == (targets > 0.5)).sum()
            self._all += targets.numel()
        elif self._kind == "classes":
            self._right = self._right + (scores.argmax(1) == targets).sum()
            self._all += len(targets)

    def value(self) -> float | None:
        """The fraction of what was counted; 0..1, None for values."""
        if self._kind == "values":
            return None
        right, total = torch.as_tensor(self._right).double().cpu(), torch.as_tensor(self._all).double().cpu()
        return float(torch.where(total > 0, right / total.clamp(min=1), 1.0).mean())
