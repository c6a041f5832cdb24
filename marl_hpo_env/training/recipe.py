"""How a network is trained, and when its training is stopped."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from marl_hpo_env.errors import InputError, is_number, number, truth_value, whole_number
from marl_hpo_env.training.augmentation import Augmentation

Budget = int | Literal["calibrated", "running"]
"""How many epochs an episode trains: a fixed number; or found out once before a run; or the paper's running minimum."""

Initialization = Literal["he", "he-inside", "torch", "inherit"]
"""The weights that a training starts from."""


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
        optimizer: `"adam"` or `"sgd"` (Table II).
        learning_rate: of the optimizer, between warm-up and the first step.
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

    The rate is a function of the epoch alone, so a longer training begins as the shorter one did. Patience counts from the
    last change of the rate at the earliest (ours): a step is there to improve.

    Raises:
        InputError: for a value outside its range.
    """

    batch_size: int = 64
    epochs: Budget = 3
    optimizer: Literal["adam", "sgd"] = "adam"
    learning_rate: float = 1e-3
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

    def __post_init__(self) -> None:
        check_budget(self.epochs)
        checked: dict[str, float] = {}
        for name in ("batch_size", "patience", "max_epochs"):
            checked[name] = whole_number(f"recipe's {name}", getattr(self, name), 1)
        checked["warm_up_epochs"] = whole_number("recipe's warm_up_epochs", self.warm_up_epochs, 0)
        if self.step_epochs is not None:
            checked["step_epochs"] = whole_number("recipe's step_epochs", self.step_epochs, 1)
        for name in ("momentum", "weight_decay", "min_improvement"):
            checked[name] = number(f"recipe's {name}", getattr(self, name), least=0)
        checked["learning_rate"] = number("recipe's learning_rate", self.learning_rate, above=0)
        checked["step_factor"] = number("recipe's step_factor", self.step_factor, above=0, most=1)
        for name, value in checked.items():  # NumPy's numbers as Python's
            object.__setattr__(self, name, value)
        truth_value("recipe's nesterov", self.nesterov)
        if not isinstance(self.augmentation, Augmentation | None):
            raise InputError(f"The recipe's augmentation is {self.augmentation!r}; it is an Augmentation or None.")
        if self.optimizer not in ("adam", "sgd"):
            raise InputError.unknown("optimizer", self.optimizer, ("adam", "sgd"))
        if self.initialization not in get_args(Initialization):
            raise InputError.unknown("initialization", self.initialization, get_args(Initialization))
        if self.decayed not in ("all", "kernels"):
            raise InputError.unknown("part that decays", self.decayed, ("all", "kernels"))
        if self.nesterov and (self.optimizer != "sgd" or not self.momentum):
            raise InputError("The recipe's nesterov needs the optimizer 'sgd' with a momentum above 0.")

    def rate(self, epoch: int) -> float:
        """The learning rate in this epoch; epochs count from 1."""
        if epoch <= self.warm_up_epochs:
            return self.learning_rate * epoch / (self.warm_up_epochs + 1)
        steps = 0 if self.step_epochs is None else (epoch - 1) // self.step_epochs
        return self.learning_rate * self.step_factor**steps


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

    Raises:
        InputError: for a value outside its range.
    """

    loss: float | Literal["guessing"] | None = None
    loss_epochs: int = 2
    batch_ratio: float | None = None
    batches: int = 5

    def __post_init__(self) -> None:
        for name in ("loss", "batch_ratio"):
            value = getattr(self, name)
            if isinstance(value, str) and (name, value) == ("loss", "guessing"):
                continue
            if value is not None and not (is_number(value) and value > 0):
                guessing = ", 'guessing'" if name == "loss" else ""
                raise InputError(f"The limit {name} is {value!r}; it is above 0{guessing}, or None for no limit.")
        for name in ("loss_epochs", "batches"):
            whole_number(f"limit {name}", getattr(self, name), 1)
