"""The one place where commands take the evaluator of a task from."""

from __future__ import annotations

import torch

from experiments.provenance import cores
from marl_hpo_env import Evaluator, Task, TrainingEvaluator
from marl_hpo_env.training.trainer import choose_device


def evaluator_of(task: Task, device: str | None, workers: int | None, timed: bool) -> Evaluator:
    """What turns a task's designs into trials.

    Args:
        task: whose designs.
        device: where to train; a GPU where None and there is one.
        workers: trainings side by side; where None one if times matter, else as many as the device is good for.
        timed: whether times matter, as to a limit or a reward that sees them.

    Raises:
        InputError: if there is no such device, or times are limited and several workers asked for.
    """
    return TrainingEvaluator(task, device, workers or (1 if timed else default_workers(choose_device(device))))


def default_workers(device: torch.device) -> int:
    """As many trainings side by side as this process has cores; on a GPU one."""
    return cores() if device.type == "cpu" else 1
