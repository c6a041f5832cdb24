"""The evaluator that trains every design for real."""

from __future__ import annotations

import math
import weakref
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from marl_hpo_env.catalog.task import Task
from marl_hpo_env.errors import InputError, whole_number
from marl_hpo_env.space import Design, SearchSpace
from marl_hpo_env.training.trainer import Trainer, choose_device
from marl_hpo_env.training.workers import Workers
from marl_hpo_env.trial import METRICS, Request, Trial

if TYPE_CHECKING:
    from torch import nn


class TrainingEvaluator:
    """Trains designs on one device, one at a time or several side by side.

    Args:
        task: what is trained.
        device: such as `"cuda"`; CUDA where there is one, else the CPU, where None.
        workers: trainings side by side. 1 trains in this process, and only then are times measured; more start processes,
            to which the task is pickled, so a script that uses them needs `if __name__ == "__main__":`.

    Raises:
        InputError: if there is no such device, or there is not at least one worker.
    """

    def __init__(
        self,
        task: Task,
        device: str | None = None,
        workers: int = 1,
        *,
        timeout: float | None = None,
        fit_timeout: float | None = None,
        memory_gb: float | None = None,
    ) -> None:
        self._count = whole_number("number of workers", workers, 1)
        if workers > 1 and task.limits.batch_ratio is not None:
            raise InputError(f"{task.name!r} limits the time of a batch, which is measured only alone; use one worker.")
        self._task = task
        self._device = choose_device(device)
        self._trainer: Trainer | None = None
        self._workers: Workers[Request, Trial] | None = None

    @property
    def space(self) -> SearchSpace:
        return self._task.space

    @property
    def fingerprint(self) -> str:
        """The task's, and the kind of device; on a CPU one thread trains, which is part of it."""
        kind = self._device.type
        return f"{self._task.fingerprint}-{kind}{'-1-thread' if kind == 'cpu' else ''}"

    @property
    def task_name(self) -> str:
        """The name of what is trained."""
        return self._task.name

    @property
    def measures_time(self) -> bool:
        return self._count == 1

    @property
    def unmeasured(self) -> frozenset[str]:
        """Metrics that no trial of this evaluator has."""
        return frozenset({"peak_memory_mb"} if self._device.type == "cpu" else ())

    def evaluate(self, requests: Sequence[Request]) -> Iterator[Trial]:
        """One trial per request, as they finish.

        Raises:
            InputError: if a design is not one of the space; nothing is trained then.
        """
        checked = [r if r.design is None else r._replace(design=self.space.check(r.design)) for r in requests]
        return self._train(checked)

    def fit(self, design: Design | None, seconds: float = math.inf) -> tuple[nn.Module | None, Trial]:
        """Final training (paper VII), alone: the network with the weights of its best epoch, None where it failed.

        Args:
            design: of the space, or None for the original network.
            seconds: after which training is cut short (`Trial.cut`).

        Raises:
            InputError: if the design is not one of the space.
        """
        checked = None if design is None else self.space.check(design)
        self._trainer = self._trainer or self._task.trainer(self._device)
        return self._trainer.train(Request(checked, self._task.seed, None), seconds)

    def _train(self, requests: Sequence[Request]) -> Iterator[Trial]:
        if self._count == 1:
            self._trainer = self._trainer or self._task.trainer(self._device)
            for request in requests:
                yield self._trainer.train(request)[1]
            return
        if self._workers is None:
            self._workers = Workers(
                _Training(self._task, str(self._device)),
                self._count,
                _died,
                what=f"The task {self._task.name!r}",
                preload=["marl_hpo_env.training.trainer", "torch._dynamo"],  # what a training imports
            )
            weakref.finalize(self, self._workers.close)
        yield from self._workers.answers(requests)


@dataclass
class _Training:
    """What a worker process does: it trains, having loaded data and network once."""

    task: Task
    device: str

    @cached_property
    def trainer(self) -> Trainer:
        return self.task.trainer(choose_device(self.device), measure_time=False)

    def __call__(self, request: Request) -> Trial:
        return self.trainer.train(request)[1]


def _died(request: Request, reason: str) -> Trial:
    return Trial(request, "failed", reason, dict.fromkeys(METRICS), accidental=True)
