"""The evaluator that trains every design for real, in processes of its own."""

from __future__ import annotations

import math
import weakref
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from marl_hpo_env.catalog.task import Task
from marl_hpo_env.errors import InputError, warn, whole_number
from marl_hpo_env.evaluators.surroundings import Surroundings, fingerprint
from marl_hpo_env.space import Design, SearchSpace
from marl_hpo_env.training.devices import check_precision, choose_device, choose_devices
from marl_hpo_env.training.resource_limits import ResourceLimits, train_within
from marl_hpo_env.training.trainer import Trainer
from marl_hpo_env.training.workers import Death, Unsendable, Workers
from marl_hpo_env.trial import METRICS, Request, Trial

if TYPE_CHECKING:
    from torch import nn


class TrainingEvaluator:
    """Trains designs on the devices of this machine, one at a time or several side by side.

    Each training happens in a process of its own, also with one worker: a design that crashes costs its own trial, and is
    tried twice before it is `failed`. What a script or notebook defines is sent there by value. Where a task cannot be sent,
    one worker trains in this process, and a warning says so.

    Args:
        task: what is trained.
        device: such as `"cuda"`, or several with commas, such as `"cuda:0,cuda:1"`; CUDA where there is one, else the CPU,
            where None.
        workers: trainings side by side. Times are measured where each is alone on its device.
        timeout: seconds after which an episode's training is given up: its trial is `failed`. None for any.
        fit_timeout: likewise for the original network's training, and for final training.
        memory_gb: 10^9 bytes that a training may take of the machine's memory, on Linux; None for all there is.
        output: a file for what designs print; where None it goes to this process' error stream.

    Raises:
        InputError: if there is no such device, or it cannot compute in the recipe's precision; if there is not at least one
            worker per device, or a limit is not above 0.
    """

    def __init__(
        self,
        task: Task,
        device: str | None = None,
        workers: int | None = None,
        *,
        timeout: float | None = None,
        fit_timeout: float | None = None,
        memory_gb: float | None = None,
        output: Path | None = None,
    ) -> None:
        self._devices = choose_devices(device)
        self._count = whole_number("number of workers", len(self._devices) if workers is None else workers, 1)
        if self._count < len(self._devices):
            raise InputError(
                f"There are {self._count} workers for {len(self._devices)} devices; use one per device or more."
            )
        if not self.measures_time and task.limits.batch_ratio is not None:
            raise InputError(
                f"{task.name!r} limits the time of a batch, which is measured only alone; use one worker per device."
            )
        for each in self._devices:
            check_precision(task.recipes, each)
        self._limits = ResourceLimits(timeout, fit_timeout, memory_gb)
        self._task = task
        self._output = output
        self._trainer: Trainer | None = None  # of this process, where a task cannot be sent to another
        self._workers: Workers[_Job, _Done] | None = None
        self._original_ms: dict[str, float] = {}

    @property
    def space(self) -> SearchSpace:
        return self._task.space

    @property
    def fingerprint(self) -> str:
        """As `surroundings.fingerprint`."""
        return fingerprint(self._task, self._devices[0].type)

    @property
    def task_name(self) -> str:
        """The name of what is trained."""
        return self._task.name

    @property
    def measures_time(self) -> bool:
        """Whether each training is alone on its device."""
        return self._count == len(self._devices)

    @property
    def unmeasured(self) -> frozenset[str]:
        """Metrics that no trial of this evaluator has."""
        return self._task.unmeasured | ({"peak_memory_mb"} if self._devices[0].type == "cpu" else frozenset())

    def stands(self, trial: Trial) -> bool:
        """Whether a stored trial is what this evaluator's would be: not where it met a lower limit of time or memory."""
        return self._limits.stands(trial)

    def evaluate(self, requests: Sequence[Request]) -> Iterator[Trial]:
        """One trial per request, as they finish.

        Raises:
            InputError: if a design is not one of the space; nothing is trained then.
        """
        checked = [self._task.checked(request) for request in requests]
        return (done.trial for done in self._done([_Job(request, self._original_ms) for request in checked]))

    def fit(self, design: Design | None, seconds: float = math.inf) -> tuple[nn.Module | None, Trial]:
        """Final training (paper VII), alone: the network with the weights of its best epoch, None where it failed.

        Args:
            design: of the space, or None for the original network.
            seconds: after which training is cut short (`Trial.cut`).

        Raises:
            InputError: if the design is not one of the space.
        """
        checked = None if design is None else self.space.check(design)
        job = _Job(Request(checked, self._task.seed, None), self._original_ms, seconds, keep_weights=True)
        (done,) = self._done([job])
        if done.weights is None:
            return None, done.trial
        network = self._task.build(checked)
        network.load_state_dict(done.weights)
        return network.eval(), done.trial

    def _done(self, jobs: Sequence[_Job]) -> Iterator[_Done]:
        try:
            if self._trainer is None:
                self._workers = self._workers or self._new_workers()
                for done in self._workers.answers(jobs):
                    self._original_ms |= done.original_ms
                    yield done
                return
        except Unsendable as error:
            what = f"The task {self._task.name!r} cannot be sent to another process: {error}"
            if self._count > 1:
                raise InputError(
                    f"{what}; define its functions and classes where it can import them, or use one worker."
                ) from error
            warn(f"{what}. It is trained in this one, which a design that crashes ends.")
            self._trainer = self._task.trainer(self._devices[0])
        # Nothing can have been answered: what cannot be sent is known before the first training.
        for job in jobs:
            yield _trained(self._trainer, ResourceLimits(), job)

    def _new_workers(self) -> Workers[_Job, _Done]:
        _ = self._task.network  # compared with what was traced of it here, once
        limits = self._limits  # not this evaluator, which the processes must not outlive
        # The data are loaded once, here, and shared.
        task = replace(self._task, data=self._task.splits)
        here = Surroundings.here()
        begins = [partial(_begin, here, task, str(device), self.measures_time, limits) for device in self._devices]
        workers: Workers[_Job, _Done] = Workers(
            [begins[place % len(begins)] for place in range(self._count)],
            partial(_died, limits),
            timeout=lambda job: limits.seconds(job.request),
            memory_gb=limits.memory_gb,
            output=self._output,
            preload=["marl_hpo_env.training.trainer", "torch._dynamo"],  # what a training imports
        )
        weakref.finalize(self, workers.close)
        return workers


class _Job(NamedTuple):
    """What a process is asked for."""

    request: Request
    original_ms: dict[str, float]  # what processes have measured, by device, when it is sent
    seconds: float = math.inf
    keep_weights: bool = False


class _Done(NamedTuple):
    """What it answers."""

    trial: Trial
    weights: Mapping[str, Any] | None
    original_ms: dict[str, float]


def _begin(
    surroundings: Surroundings, task: Task, device: str, measure_time: bool, limits: ResourceLimits
) -> partial[_Done]:
    surroundings.apply()
    return partial(_trained, task.trainer(choose_device(device), measure_time, verified=True), limits)


def _trained(trainer: Trainer, limits: ResourceLimits, job: _Job) -> _Done:
    device = str(trainer.device)
    if device in job.original_ms:
        trainer.original_ms = job.original_ms[device]  # once per run, so that every design has the same limit
    weights, trial = train_within(limits, trainer, job.request, job.seconds, job.keep_weights)
    measured = trainer.__dict__.get("original_ms")
    return _Done(trial, weights, {} if measured is None else {device: measured})


def _died(limits: ResourceLimits, job: _Job, death: Death) -> _Done:
    reason = death.reason or limits.took_longer(job.request)
    trial = Trial(job.request, "failed", reason, dict.fromkeys(METRICS), accidental=death.memory)
    return _Done(trial, None, {})
