"""How a network is trained, and when its training is stopped."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

from marl_hpo_env.errors import InputError, is_number, number, truth_value, whole_number
from marl_hpo_env.training.augmentation import Augmentation

Budget = int | Literal["calibrated", "running"]
"""How many epochs an episode trains: a fixed number; or found out once before a run; or the paper's running minimum."""

Initialization = Literal["he", "he-inside", "torch", "inherit"]
"""The weights that a training starts from."""

_RATE, _FINE_TUNING_RATE = 1e-3, 1e-4
"""Learning rates where none is given: Adam's own, and a tenth of it for weights that have learned."""

Optimizer = Literal["adam", "sgd", "adamw"]

Schedule = Literal["step", "cosine", "one-cycle"]
"""What the learning rate does over the epochs."""

Imbalance = Literal["weights", "sampling"]
"""What is done about classes of different sizes."""


def check_budget(budget: Budget) -> Budget:
    """The same.

    Raises:
        InputError: if it is none of the three.
    """
    if isinstance(budget, str):
        if budget not in ("calibrated", "running"):
            raise InputError.unknown("epoch budget", budget, ("calibrated", "running"))
    elif type(budget) is not int or not 1 <= budget < 2**63:
        raise InputError(
            f"The number of epochs is {budget!r}; it is a whole number from 1, or 'calibrated' or 'running'."
        )
    return budget


@dataclass(frozen=True)
class Recipe:
    """How every network of a task is trained, the original as well as the designs (paper VII: "plain", all the same).

    Args:
        batch_size: examples per step. A last batch of one example is left out: batch norm cannot train on it.
        epochs: of one episode (VI-A), or `"calibrated"` or `"running"` (see `epoch_budget`); the least
            that the paper found to say enough is 3.
        optimizer: `"adam"` or `"sgd"` (Table II), or `"adamw"`, whose weight decay does not enter the gradient.
        learning_rate: of the optimizer, at its highest; where None 1e-3, and 1e-4 where weights are inherited.
        momentum: of SGD.
        weight_decay: of the optimizer.
        augmentation: of every training batch; None for none.
        initialization: `"he"` draws every convolution and dense layer as He et al.; `"he-inside"` counts the taps that lie
            inside the image and whether an activation follows (see `initialization`); `"torch"` leaves them as torch draws them;
            `"inherit"` takes over the task's weights, and draws as `"he-inside"` what has none there.
        min_improvement: in percentage points of validation accuracy; what counts as an improvement in final training (VII).
        patience: epochs without improvement after which final training ends (VII).
        max_epochs: final training ends here at the latest (ours; the paper names no end).
        nesterov: whether SGD's momentum looks ahead.
        decayed: what weight decay acts on: `"all"` parameters, or the `"kernels"` of convolutions and dense layers alone, as
            Keras' l2 does.
        warm_up_epochs: in the n-th of as many epochs the rate is n / (warm_up_epochs + 1) of its full value.
        step_epochs: the rate is multiplied by `step_factor` after every so many epochs; None keeps it.
        step_factor: above 0 and at most 1.
        schedule: `"step"` is what the two before say; `"cosine"` falls from the full rate, after warm-up, towards 0;
            `"one-cycle"` rises from 1/25 of the full rate over three tenths of its epochs and falls to nearly nothing, both as a
            cosine. They are torch's `CosineAnnealingLR` and `OneCycleLR`, one step per epoch; momentum stays.
        schedule_epochs: after as many epochs, warm-up among them, a cosine or one-cycle has ended, and the rate stays what it
            was in the last. It is a length of its own: however long is trained, an epoch has the same rate. No part of `"step"`.
        max_gradient_norm: a longer gradient, over all parameters, is shortened to this norm; None leaves it.
        precision: `"float32"`; or `"bf16"`, in which training computes what torch's autocast does in it, on a GPU that can.
            Evaluation, and the network that is saved, are float32.
        imbalance: of classes; None for nothing. `"weights"` weighs each example's loss by the inverse of its class' frequency
            among the training examples; `"sampling"` draws as many examples per epoch, with replacement, every class equally
            often. Both are for training alone: validation and test are what they are.

    The rate is a function of the epoch alone, so a longer training begins as the shorter one did. Patience counts from the
    last change of the rate at the earliest (ours): a step is there to improve.

    Raises:
        InputError: for a value outside its range, or values that do not go together.
    """

    batch_size: int = 64
    epochs: Budget = 3
    optimizer: Optimizer = "adam"
    learning_rate: float = None  # type: ignore[assignment]  # by the initialization
    momentum: float = 0.0
    weight_decay: float = 0.0
    augmentation: Augmentation | None = None
    initialization: Initialization = "he"
    min_improvement: float = 0.01
    patience: int = 10
    max_epochs: int = 500
    nesterov: bool = False
    decayed: Literal["all", "kernels"] = "all"
    warm_up_epochs: int = 0
    step_epochs: int | None = None
    step_factor: float = 0.5
    schedule: Schedule = "step"
    schedule_epochs: int | None = None
    max_gradient_norm: float | None = None
    precision: Literal["float32", "bf16"] = "float32"
    imbalance: Imbalance | None = None

    def __post_init__(self) -> None:
        check_budget(self.epochs)
        checked: dict[str, float] = {}
        for name in ("batch_size", "patience", "max_epochs"):
            checked[name] = whole_number(f"recipe's {name}", getattr(self, name), 1)
        checked["warm_up_epochs"] = whole_number("recipe's warm_up_epochs", self.warm_up_epochs, 0)
        for name in ("step_epochs", "schedule_epochs"):
            if getattr(self, name) is not None:
                checked[name] = whole_number(f"recipe's {name}", getattr(self, name), 1)
        for name in ("momentum", "weight_decay", "min_improvement"):
            checked[name] = number(f"recipe's {name}", getattr(self, name), least=0)
        default = _FINE_TUNING_RATE if self.initialization == "inherit" else _RATE
        rate = default if self.learning_rate is None else self.learning_rate
        checked["learning_rate"] = number("recipe's learning_rate", rate, above=0)
        if self.max_gradient_norm is not None:
            checked["max_gradient_norm"] = number("recipe's max_gradient_norm", self.max_gradient_norm, above=0)
        checked["step_factor"] = number("recipe's step_factor", self.step_factor, above=0, most=1)
        for name, value in checked.items():  # NumPy's numbers as Python's
            object.__setattr__(self, name, value)
        truth_value("recipe's nesterov", self.nesterov)
        if not isinstance(self.augmentation, Augmentation | None):
            raise InputError(f"The recipe's augmentation is {self.augmentation!r}; it is an Augmentation or None.")
        for what, given, known in (
            ("optimizer", self.optimizer, get_args(Optimizer)),
            ("initialization", self.initialization, get_args(Initialization)),
            ("part that decays", self.decayed, ("all", "kernels")),
            ("schedule", self.schedule, get_args(Schedule)),
            ("precision", self.precision, ("float32", "bf16")),
        ):
            if given not in known:
                raise InputError.unknown(what, given, known)
        if self.imbalance is not None and self.imbalance not in get_args(Imbalance):
            raise InputError.unknown("remedy for imbalance", self.imbalance, get_args(Imbalance))
        if self.nesterov and (self.optimizer != "sgd" or not self.momentum):
            raise InputError("The recipe's nesterov needs the optimizer 'sgd' with a momentum above 0.")

        self._check_schedule()

    def _check_schedule(self) -> None:
        """Raises an `InputError` where a schedule lacks its length, or is given what belongs to another."""
        if self.schedule == "step":
            return
        if self.step_epochs is not None:
            raise InputError(
                f"The recipe has the schedule {self.schedule!r} and step_epochs {self.step_epochs}; one of them sets the rate."
            )
        if self.schedule == "one-cycle" and self.warm_up_epochs:
            raise InputError(
                f"The recipe has warm_up_epochs {self.warm_up_epochs}, and a 'one-cycle' warms up by itself; leave them out."
            )
        least = 4 if self.schedule == "one-cycle" else self.warm_up_epochs + 1
        if self.schedule_epochs is None or self.schedule_epochs < least:
            raise InputError(
                f"The recipe's schedule_epochs are {self.schedule_epochs}; the schedule {self.schedule!r} needs a number from "
                f"{least}, after which it has ended."
            )

    def rate(self, epoch: int) -> float:
        """The learning rate in this epoch; epochs count from 1."""
        full, warm_up = self.learning_rate, self.warm_up_epochs
        if epoch <= warm_up:
            return full * epoch / (warm_up + 1)
        if self.schedule_epochs is None or self.schedule == "step":
            steps = 0 if self.step_epochs is None else (epoch - 1) // self.step_epochs
            return full * self.step_factor**steps
        length = self.schedule_epochs
        passed = min(epoch, length) - 1
        if self.schedule == "cosine":
            return _along_cosine(full, 0.0, (passed - warm_up) / (length - warm_up))
        peak, last = _RISING * length - 1, length - 1
        if passed <= peak:
            return _along_cosine(full / _FIRST, full, passed / peak)
        return _along_cosine(full, full / _FIRST / _LAST, (passed - peak) / (last - peak))


_RISING, _FIRST, _LAST = 0.3, 25, 1e4
"""Of a one-cycle: the part in which its rate rises; the full rate by the first, and the first by the last. They are torch's."""


def _along_cosine(start: float, end: float, part: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * part)) / 2


@dataclass(frozen=True)
class Limits:
    """When a training is terminated (paper V-E, Fig. 7). The paper gives none of the four values: the defaults are ours.

    Args:
        loss: an epoch's training loss above this is a violation; `"guessing"` stands for 0.95 times the loss of a network
            that guesses; None turns the limit off.
        loss_epochs: consecutive violating epochs after which the training is restarted once with fresh weights and, the
            second time, terminated.
        batch_ratio: a batch that takes longer than as many times the original network's median batch on this device is a
            violation; None turns the limit off. It is the only way for a clock to reach a reward, so it is off unless a
            task says otherwise.
        batches: consecutive violating batches after which the training is terminated at once.
        flops_ratio: the limit of time by count, so that no clock decides: a design of more than as many times the original
            network's FLOPs is terminated before its first batch (ours); None turns the limit off.

    Raises:
        InputError: for a value outside its range.
    """

    loss: float | Literal["guessing"] | None = None
    loss_epochs: int = 2
    batch_ratio: float | None = None
    batches: int = 5
    flops_ratio: float | None = None

    def __post_init__(self) -> None:
        for name in ("loss", "batch_ratio", "flops_ratio"):
            value = getattr(self, name)
            if isinstance(value, str) and (name, value) == ("loss", "guessing"):
                continue
            if value is not None and not (is_number(value) and value > 0):
                guessing = ", 'guessing'" if name == "loss" else ""
                raise InputError(f"The limit {name} is {value!r}; it is above 0{guessing}, or None for no limit.")
        for name in ("loss_epochs", "batches"):
            whole_number(f"limit {name}", getattr(self, name), 1)
