"""The one place where commands take the evaluator of a task from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from experiments.provenance import cores
from marl_hpo_env import Task, TrainingEvaluator
from marl_hpo_env.training.trainer import choose_device


@dataclass(frozen=True)
class Machines:
    """Where and how designs are trained, as the command's options say it.

    Args:
        device: such as `"cuda"`, or several with commas; a GPU where None and there is one.
        workers: trainings side by side; where None one if times matter, else as many as the device is good for.
        trial_timeout: seconds after which an episode's training is given up; None for none.
        fit_timeout: likewise of the original network's training, and of final training.
        trial_memory: GB that one training may take; None for all there is.
    """

    device: str | None = None
    workers: int | None = None
    trial_timeout: float | None = None
    fit_timeout: float | None = None
    trial_memory: float | None = None


def evaluator_of(task: Task, machines: Machines, timed: bool, output: Path | None = None) -> TrainingEvaluator:
    """What turns a task's designs into trials.

    Args:
        task: whose designs.
        machines: where they are trained.
        timed: whether times matter, as to a limit or a reward that sees them.
        output: a file for what designs print.

    Raises:
        InputError: if there is no such device, or times are limited and several workers asked for.
    """
    workers = machines.workers or (1 if timed else default_workers(choose_device(machines.device)))
    return TrainingEvaluator(
        task,
        machines.device,
        workers,
        timeout=machines.trial_timeout,
        fit_timeout=machines.fit_timeout,
        memory_gb=machines.trial_memory,
        output=output,
    )


def default_workers(device: torch.device) -> int:
    """As many trainings side by side as this process has cores; on a GPU one."""
    return cores() if device.type == "cpu" else 1
