"""The one place where commands take the evaluator of a task from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from experiments.provenance import cores
from experiments.tuning.limits import BATCH
from marl_hpo_env import Evaluator, InputError, RayEvaluator, StoredEvaluator, Task, TrainingEvaluator
from marl_hpo_env.training.devices import choose_devices


@dataclass(frozen=True)
class Machines:
    """Where and how designs are trained, as the command's options say it.

    Args:
        device: such as `"cuda"`, or several with commas; a GPU where None and there is one.
        workers: trainings side by side; where None one if times matter, else as many as the device is good for.
        trial_timeout: seconds after which an episode's training is given up; None for none.
        fit_timeout: likewise of the original network's training, and of final training.
        trial_memory: GB that one training may take; None for all there is.
        ray: the address of a Ray cluster that trains in place of this machine.
        batch: designs asked at a time.
        strict: whether trials are refused that were made with other vector instructions than those that are stored.

    Raises:
        InputError: if both workers and a cluster are named.
    """

    device: str | None = None
    workers: int | None = None
    trial_timeout: float | None = None
    fit_timeout: float | None = None
    trial_memory: float | None = None
    ray: str | None = None
    batch: int = BATCH
    strict: bool = False

    @property
    def devices(self) -> int:
        """How many are named."""
        return 1 if self.device is None else len(self.device.split(","))

    def __post_init__(self) -> None:
        if self.ray is not None and self.workers is not None:
            raise InputError("On a Ray cluster Ray says how many trainings run side by side; leave out --workers.")


def evaluator_of(
    task: Task, machines: Machines, timed: bool, output: Path | None = None
) -> TrainingEvaluator | RayEvaluator:
    """What turns a task's designs into trials.

    Args:
        task: whose designs.
        machines: where they are trained.
        timed: whether times matter, as to a limit or a reward that sees them.
        output: a file for what designs print on this machine; on a cluster it is in Ray's own logs.

    Raises:
        InputError: if there is no such device or cluster, or times are limited and several workers or a cluster asked for.
    """
    if machines.ray is not None:
        return RayEvaluator(
            task,
            machines.ray,
            device=machines.device,
            timeout=machines.trial_timeout,
            fit_timeout=machines.fit_timeout,
            memory_gb=machines.trial_memory,
        )
    devices = choose_devices(machines.device)
    workers = machines.workers or (len(devices) if timed else default_workers(devices))
    return TrainingEvaluator(
        task,
        machines.device,
        workers,
        timeout=machines.trial_timeout,
        fit_timeout=machines.fit_timeout,
        memory_gb=machines.trial_memory,
        output=output,
    )


def pace(evaluator: Evaluator) -> str:
    """What a progress bar says of a cluster: its machines, and trials per minute; nothing where this machine trains."""
    inner = evaluator.inner if isinstance(evaluator, StoredEvaluator) else evaluator
    return inner.pace if isinstance(inner, RayEvaluator) else ""


def default_workers(devices: Sequence[torch.device]) -> int:
    """As many trainings side by side as this process has cores; on GPUs one each."""
    return cores() if devices[0].type == "cpu" else len(devices)
