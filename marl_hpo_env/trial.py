"""A request for one training, the trial that records what came of it, and what each of its metrics means."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from marl_hpo_env.space import Design

Status = Literal["completed", "terminated", "failed"]
"""`terminated` by a limit (paper V-E); `failed` where it could not be built or trained. The trial's reason says why."""


class Metric(NamedTuple):
    """What a metric is: the one place that says so.

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


METRICS: Mapping[str, Metric] = {
    "validation_accuracy": Metric("fraction", +1, "epoch"),
    "test_accuracy": Metric("fraction", +1, "training"),
    "train_loss": Metric("while training, in the epoch whose weights are kept", -1, "epoch"),
    "train_accuracy": Metric("fraction, likewise", +1, "epoch"),
    "validation_loss": Metric("of the network as it is kept", -1, "epoch"),
    "model_size_mb": Metric("MB, 10^6 bytes of float32 parameters and buffers", -1, "network"),
    "parameters": Metric("weights and biases", -1, "network"),
    "flops": Metric("per example, a multiply-add counts two", -1, "network"),
    "peak_memory_mb": Metric("MB of device memory for network and training, CUDA only", -1, "network"),
    "train_ms_per_batch": Metric("ms, median, measured alone", -1, "network", "alone"),
    "inference_ms_per_batch": Metric("ms, median, measured alone", -1, "network", "alone"),
    "epochs": Metric("trained", -1, "training"),
    "epochs_to_threshold": Metric("epochs until the loss threshold was met (VI-A)", -1, "history"),
    "seconds": Metric("s, the whole trial", -1, "training", "any"),
}
"""Every metric of a trial. Accuracy is the Dice coefficient in segmentation. A metric is None where it was not measured."""

TIME_METRICS = tuple(name for name, metric in METRICS.items() if metric.clock == "alone")
"""Measured only where nothing runs beside the training."""

CLOCK_METRICS = tuple(name for name, metric in METRICS.items() if metric.clock is not None)
"""What no seed can repeat: everything read off a clock."""


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
        metrics: a value, or None where not measured, for every name in `METRICS`.
        history: per epoch, the metrics of an epoch.
        accidental: whether it failed by what happened around it, such as too little memory, not by its key: such a trial is
            not stored, and is tried again.
        machine: what the last bits of it hang on: the vector instructions of a CPU, such as `AVX512`, or the name of a GPU. None
            where it is not known.
        folds: where it stands for trainings on several folds, the trial of each; it is they that are stored.
    """

    request: Request
    status: Status
    reason: str | None = None
    metrics: Mapping[str, float | None] = field(default_factory=dict)
    history: Sequence[Mapping[str, float]] = ()
    accidental: bool = False
    machine: str | None = None
    folds: tuple[Trial, ...] = ()

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
        lines = [f"{what}, trained {budget} with seed {self.request.seed}{fold}: {self.status}"]
        if self.reason:
            lines.append(f"  {self.reason}")
        for name, metric in METRICS.items():
            value = self.metrics.get(name)
            shown = "not measured" if value is None else f"{value:,.6g}" if abs(value) < 1e6 else f"{value:,.0f}"
            lines.append(f"  {name:<24}{shown:>14}  {metric.unit}")
        return "\n".join(lines)
