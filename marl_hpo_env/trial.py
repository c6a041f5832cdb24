"""A request for one training, the trial that records what came of it, and what each of its metrics means."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from marl_hpo_env.space import Design

Status = Literal["completed", "terminated", "failed"]
"""`terminated` by a limit (paper V-E); `failed` where it could not be built or trained. The trial's reason says why."""


class Metric(NamedTuple):
    """What a metric is measured in, and which way is better: +1 the higher, -1 the lower."""

    unit: str
    better: int


METRICS: Mapping[str, Metric] = {
    "validation_accuracy": Metric("fraction", +1),
    "test_accuracy": Metric("fraction", +1),
    "train_loss": Metric("while training, in the epoch whose weights are kept", -1),
    "train_accuracy": Metric("fraction, likewise", +1),
    "validation_loss": Metric("of the network as it is kept", -1),
    "model_size_mb": Metric("MB, 10^6 bytes of float32 parameters and buffers", -1),
    "parameters": Metric("weights and biases", -1),
    "flops": Metric("per example, a multiply-add counts two", -1),
    "peak_memory_mb": Metric("MB of device memory for network and training, CUDA only", -1),
    "train_ms_per_batch": Metric("ms, median, measured alone", -1),
    "inference_ms_per_batch": Metric("ms, median, measured alone", -1),
    "epochs": Metric("trained", -1),
    "epochs_to_threshold": Metric("epochs until the loss limit was met", -1),
    "seconds": Metric("s, the whole trial", -1),
}
"""Every metric of a trial. Accuracy is the Dice coefficient in segmentation. A metric is None where it was not measured."""

TIME_METRICS = ("train_ms_per_batch", "inference_ms_per_batch")
"""Measured only where nothing runs beside the training."""

CLOCK_METRICS = (*TIME_METRICS, "seconds")
"""What no seed can repeat: everything read off a clock."""


ACCIDENTS = ("Out of memory", "The worker process died")
"""How the reasons of failures begin that say nothing of the design alone."""


class Request(NamedTuple):
    """What an evaluator is asked for; with its evaluator's fingerprint it is the trial's key.

    Args:
        design: one action per layer, or None for the original network.
        seed: of the weights, the batch order and the augmentation.
        epochs: how many to train, or None to train to convergence (paper VII).
    """

    design: Design | None
    seed: int
    epochs: int | None


@dataclass(frozen=True)
class Trial:
    """The record of one evaluated design.

    Args:
        request: what was asked for.
        status: whether it completed, was terminated by a limit, or failed.
        reason: one sentence where it did not complete.
        metrics: a value, or None where not measured, for every name in `METRICS`.
        history: per epoch, its `train_loss`, `train_accuracy`, `validation_loss` and `validation_accuracy`.
    """

    request: Request
    status: Status
    reason: str | None = None
    metrics: Mapping[str, float | None] = field(default_factory=dict)
    history: Sequence[Mapping[str, float]] = ()

    @property
    def design(self) -> Design | None:
        """The evaluated design; None for the original network."""
        return self.request.design

    @property
    def accidental(self) -> bool:
        """Whether it failed by what happened around it, not by its key: such a trial is not stored, and is tried again."""
        return self.status == "failed" and (self.reason or "").startswith(ACCIDENTS)

    def __str__(self) -> str:
        what = "original network" if self.design is None else f"design {self.design}"
        budget = "to convergence" if self.request.epochs is None else f"for {self.request.epochs} epochs"
        lines = [f"{what}, trained {budget} with seed {self.request.seed}: {self.status}"]
        if self.reason:
            lines.append(f"  {self.reason}")
        for name, metric in METRICS.items():
            value = self.metrics.get(name)
            shown = "not measured" if value is None else f"{value:,.6g}" if abs(value) < 1e6 else f"{value:,.0f}"
            lines.append(f"  {name:<24}{shown:>14}  {metric.unit}")
        return "\n".join(lines)
