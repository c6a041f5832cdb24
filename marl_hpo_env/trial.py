"""A request for one training, the trial that records what came of it, and what each of its metrics means."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from marl_hpo_env.space import Design

OF_SLICES = "-shared-"
"""Stands in the fingerprint of an evaluator whose trials are those of slices of shared weights."""

Status = Literal["completed", "terminated", "failed"]
"""`terminated` by a limit (paper V-E); `failed` where it could not be built or trained. The trial's reason says why."""


class Measure(NamedTuple):
    """What a metric of a trial is: the one place that says so.

    Args:
        unit: what it is measured in.
        better: which way: +1 the higher, -1 the lower.
        of: `"network"`, which does not hang on how long is trained; `"epoch"`, which every epoch of the history has;
            `"training"`, which is known at its end; or `"history"`, which an environment reads off the history, and which is
            never stored.
        clock: whether it is read off a clock, so that no seed can repeat it: `"alone"` means something only where nothing
            runs beside the training.
    """

    unit: str
    better: int
    of: Literal["network", "epoch", "training", "history"]
    clock: Literal["alone", "any"] | None = None

    @property
    def fraction(self) -> bool:
        """Whether it is a fraction, which people read in percent."""
        return self.unit.partition(",")[0] == "fraction"


METRICS: Mapping[str, Measure] = {
    "validation_accuracy": Measure("fraction", +1, "epoch"),
    "test_accuracy": Measure("fraction", +1, "training"),
    "train_loss": Measure("while training, in the epoch whose weights are kept", -1, "epoch"),
    "train_accuracy": Measure("fraction, likewise", +1, "epoch"),
    "validation_loss": Measure("of the network as it is kept", -1, "epoch"),
    "validation_r2": Measure("fraction, of the values' variance that is explained", +1, "epoch"),
    "test_r2": Measure("fraction, likewise", +1, "training"),
    "validation_mae": Measure("the values' own", -1, "epoch"),
    "test_mae": Measure("the values' own", -1, "training"),
    "model_size_mb": Measure("MB, 10^6 bytes of float32 parameters and buffers", -1, "network"),
    "parameters": Measure("weights and biases", -1, "network"),
    "flops": Measure("per example, a multiply-add counts two", -1, "network"),
    "peak_memory_mb": Measure("MB of device memory for network and training, CUDA only", -1, "network"),
    "train_ms_per_batch": Measure("ms, median, measured alone", -1, "network", "alone"),
    "inference_ms_per_batch": Measure("ms, median, measured alone", -1, "network", "alone"),
    "epochs": Measure("trained", -1, "training"),
    "epochs_to_threshold": Measure("epochs until the loss threshold was met (VI-A)", -1, "history"),
    "seconds": Measure("s, the whole trial", -1, "training", "any"),
}
"""Every metric of a trial but those of a task's own. Accuracy is the Dice coefficient of masks, and of several labels the share
that is right; values have none, and R2 and the mean absolute error in its place. What was not measured is None."""

TIME_METRICS = tuple(name for name, metric in METRICS.items() if metric.clock == "alone")
"""Measured only where nothing runs beside the training."""

CLOCK_METRICS = tuple(name for name, metric in METRICS.items() if metric.clock is not None)
"""What no seed can repeat: everything read off a clock."""

VALUE_METRICS = ("validation_r2", "test_r2", "validation_mae", "test_mae")
"""Measured in regression alone, where there is no accuracy."""

ACCURACIES = ("train_accuracy", "validation_accuracy", "test_accuracy")
"""Measured everywhere else."""


class Request(NamedTuple):
    """What an evaluator is asked for; with its evaluator's fingerprint it is the trial's key.

    Args:
        design: one action per layer, or None for the original network.
        seed: of the weights, the batch order and the augmentation.
        epochs: how many to train, or None to train to convergence (paper VII).
        fold: which fold of the training and validation examples is for validation, from 0; None for the data as they are divided.
    """

    design: Design | None
    seed: int
    epochs: int | None
    fold: int | None = None


@dataclass(frozen=True)
class Trial:
    """The record of one evaluated design.

    Args:
        request: what was asked for.
        status: whether it completed, was terminated by a limit, or failed.
        reason: one sentence where it did not complete, or was cut.
        metrics: a value, or None where not measured, for every name in `METRICS` and every metric of the task's own.
        history: per epoch, the metrics of an epoch.
        accidental: whether it failed by what happened around it, such as too little memory, not by its key: such a trial is
            not stored, and is tried again.
        machine: what the last bits of it hang on: the vector instructions of a CPU, such as `AVX512`, or the name of a GPU. None
            where it is not known.
        folds: where it stands for trainings on several folds, the trial of each; it is they that are stored.
        shared: whether it is that of a slice of shared weights, which was not trained by itself.
    """

    request: Request
    status: Status
    reason: str | None = None
    metrics: Mapping[str, float | None] = field(default_factory=dict)
    history: Sequence[Mapping[str, float]] = ()
    accidental: bool = False
    machine: str | None = None
    folds: tuple[Trial, ...] = ()
    shared: bool = False

    @property
    def design(self) -> Design | None:
        """The evaluated design; None for the original network."""
        return self.request.design

    @property
    def cut(self) -> bool:
        """Whether it completed, but final training was cut short: with more time it is trained again."""
        return self.status == "completed" and self.reason is not None

    def __str__(self) -> str:
        what = "original network" if self.design is None else f"design {self.design}"
        budget = "to convergence" if self.request.epochs is None else f"for {self.request.epochs} epochs"
        fold = "" if self.request.fold is None else f" on fold {self.request.fold}"
        trained = f"a slice of weights that were trained {budget}," if self.shared else f"trained {budget}"
        lines = [f"{what}, {trained} with seed {self.request.seed}{fold}: {self.status}"]
        if self.reason:
            lines.append(f"  {self.reason}")
        own = {name: "of the task's own" for name in self.metrics if name not in METRICS}
        for name, unit in {**{name: measure.unit for name, measure in METRICS.items()}, **own}.items():
            value = self.metrics.get(name)
            if value is None and name in VALUE_METRICS:
                continue
            shown = "not measured" if value is None else f"{value:,.6g}" if abs(value) < 1e6 else f"{value:,.0f}"
            lines.append(f"  {name:<24}{shown:>14}  {unit}")
        return "\n".join(lines)
