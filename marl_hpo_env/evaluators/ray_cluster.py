"""The evaluator that trains every design on the machines of a Ray cluster.

Every machine needs the same environment: Python, Ray, torch and this package in the same versions. `ray_worker` is what happens
there.
"""

from __future__ import annotations

import logging
import math
import os
import signal
import socket
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch

from marl_hpo_env.catalog.task import Task
from marl_hpo_env.errors import InputError, first_line
from marl_hpo_env.evaluators.ray_worker import Weights, held, trained
from marl_hpo_env.evaluators.surroundings import fingerprint, numeric_settings
from marl_hpo_env.space import Design, SearchSpace
from marl_hpo_env.training.devices import check_precision
from marl_hpo_env.training.resource_limits import ResourceLimits
from marl_hpo_env.trial import METRICS, Request, Trial

if TYPE_CHECKING:
    from torch import nn

PINNED = ("ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA", "MKL_ENABLE_INSTRUCTIONS")
"""What says in the environment which vector instructions are used: where set here, it is set on every machine."""

_LOOK_S = 2.0
"""Seconds after which it is looked again how large the cluster is."""


class RayEvaluator:
    """Trains designs on a Ray cluster: each training is a Ray task of one CPU, or of one CPU and one GPU.

    Trials equal those of a `TrainingEvaluator` on the same kind of device: on CPUs bit for bit, where the vector instructions
    are the same. A training that is lost with its machine is tried on another one. One whose process dies twice while the
    machine lives on is a trial that failed.

    Args:
        task: what is trained. Its data are loaded here; only image files that are read batch by batch (`ImageFiles`) have to be
            on every machine, in the same place.
        address: of the cluster, as `ray.init` takes it: `"auto"` is the one that this machine is part of. Where this process
            is connected to a cluster already, that one is used.
        device: `"cpu"` or `"cuda"`; CUDA where the cluster has a GPU, else the CPU, where None.
        timeout: seconds after which an episode's training is given up; None for none.
        fit_timeout: likewise of the original network's training, and of final training.
        memory_gb: GB (10^9 bytes) that one training may take beside the data; a machine takes as many trainings as have room.

    Raises:
        InputError: if Ray is not installed, there is no cluster at the address, it has no GPU where one is asked for or the
            recipe's precision needs one, a limit is not above 0, or the task limits the time of a batch, which is measured only
            alone.
    """

    measures_time = False
    _work: Any = staticmethod(trained)  # the Ray task
    _in_flight = 2  # trainings given to Ray at once, as a multiple of those that the cluster has room for

    def __init__(
        self,
        task: Task,
        address: str = "auto",
        *,
        device: str | None = None,
        timeout: float | None = None,
        fit_timeout: float | None = None,
        memory_gb: float | None = None,
    ) -> None:
        if task.limits.batch_ratio is not None:
            raise InputError(f"{task.name!r} limits the time of a batch, which is measured only alone; leave out Ray.")
        self._limits = ResourceLimits(timeout, fit_timeout, memory_gb)
        _connect(address)
        self._task = task
        self._device = self._kind(address, device)
        if self._device == "cpu":  # what the cluster's GPUs can, they say themselves
            check_precision(task.recipes, torch.device("cpu"))
        self._held: Any = None  # the task, where Ray keeps it
        self._looked = -math.inf
        self._finished: deque[float] = deque()

    def _kind(self, address: str, device: str | None) -> str:
        """`"cpu"` or `"cuda"`."""
        import ray

        if device not in (None, "cpu", "cuda"):
            raise InputError(
                f"The device {device!r} cannot be used on a Ray cluster; use 'cpu' or 'cuda', Ray says which GPU."
            )
        gpus = ray.cluster_resources().get("GPU", 0) >= 1
        if device == "cuda" and not gpus:
            raise InputError(f"The Ray cluster at {address!r} has no GPU; use 'cpu', or add machines with a GPU.")
        return device or ("cuda" if gpus else "cpu")

    @property
    def space(self) -> SearchSpace:
        return self._task.space

    @property
    def fingerprint(self) -> str:
        """As a `TrainingEvaluator`'s on this kind of device, so that both know each other's trials."""
        return fingerprint(self._task, self._device)

    @property
    def task_name(self) -> str:
        """The name of what is trained."""
        return self._task.name

    @property
    def unmeasured(self) -> frozenset[str]:
        """Metrics that no trial of this evaluator has."""
        return self._task.unmeasured | ({"peak_memory_mb"} if self._device == "cpu" else frozenset())

    def stands(self, trial: Trial) -> bool:
        """As a `TrainingEvaluator`'s."""
        return self._limits.stands(trial)

    @property
    def room(self) -> int:
        """How many trainings the cluster has room for at once, at least 1: machines may still be on their way."""
        self._look()
        return max(1, self._room)

    @property
    def pace(self) -> str:
        """How many machines train, and how many trials a minute they have brought; for a progress bar."""
        self._look()
        now = time.monotonic()
        while self._finished and self._finished[0] < now - 60:
            self._finished.popleft()
        machines = "1 machine" if self._machines == 1 else f"{self._machines} machines"
        return f"{machines}, {len(self._finished)} trials in the last minute"

    def _look(self) -> None:
        """Sees how large the cluster is, at most every few seconds."""
        import ray

        now = time.monotonic()
        if now < self._looked + _LOOK_S:
            return
        self._looked = now
        what = "CPU" if self._device == "cpu" else "GPU"
        rooms = [int(node["Resources"].get(what, 0)) for node in ray.nodes() if node["Alive"]]
        self._room, self._machines = sum(rooms), sum(room > 0 for room in rooms)

    def evaluate(self, requests: Sequence[Request]) -> Iterator[Trial]:
        """One trial per request, as they finish. Whoever abandons the iterator ends the trainings that are under way.

        Raises:
            InputError: if a design is not one of the space, and nothing is trained then; or if the cluster cannot train this
                task at all, such as without a package that it needs.
        """
        checked = [self._task.checked(request) for request in requests]
        return (trial for _, trial in self._train([_Training(request) for request in checked]))

    def fit(self, design: Design | None, seconds: float = math.inf) -> tuple[nn.Module | None, Trial]:
        """Final training (paper VII) on one of the machines: the network, on this machine's CPU, with the weights of its best
        epoch; None where it failed.

        Args:
            design: of the space, or None for the original network.
            seconds: after which training is cut short (`Trial.cut`).

        Raises:
            InputError: if the design is not one of the space, or as `evaluate`.
        """
        checked = None if design is None else self.space.check(design)
        request = Request(checked, self._task.seed, None)
        ((weights, trial),) = self._train([_Training(request, time.monotonic() + seconds, keep=True)])
        if weights is None:
            return None, trial
        network = self._task.build(checked)
        network.load_state_dict(weights)
        return network.eval(), trial

    def _train(self, trainings: Sequence[_Training]) -> Iterator[tuple[Weights | None, Trial]]:
        """What comes of each training, as they end."""
        import ray

        waiting = deque(trainings)
        running: dict[Any, _Training] = {}
        try:
            while waiting or running:
                while waiting and len(running) < self._in_flight * self.room:
                    training = waiting.popleft()
                    running[self._start(training)] = training
                for stream in _ready(running):
                    try:
                        answer = self._heard(running[stream], stream)
                    except _Lost:
                        waiting.appendleft(running.pop(stream))
                        continue
                    if answer is not None:
                        del running[stream]
                        yield self._counted(answer)
                for stream in [each for each, training in running.items() if training.deadline <= time.monotonic()]:
                    ray.cancel(stream, force=True)
                    request = running.pop(stream).request
                    yield self._counted((None, _failed(request, self._limits.took_longer(request))))
        finally:
            for stream in running:
                ray.cancel(stream, force=True)

    def _start(self, training: _Training) -> Any:
        """Gives a training to Ray."""
        import ray

        if self._held is None:
            self._held = held(self._task)
        environment = {name: os.environ[name] for name in PINNED if name in os.environ}
        options: dict[str, Any] = {"num_cpus": 1, "max_retries": 0, "num_returns": "streaming"}
        if self._device == "cuda":
            # A process trains one after the other on whichever GPU it is given, so it must see all of them.
            environment["RAY_EXPERIMENTAL_NOSET_CUDA_VISIBLE_DEVICES"] = "1"
            options["num_gpus"] = 1
        if self._limits.memory_gb is not None:
            options["memory"] = int(1e9 * self._limits.memory_gb)
        if settings := numeric_settings():
            environment["MARL_HPO_NUMERIC_SETTINGS"] = str(
                settings
            )  # processes of its own, which others do not train in
        if environment:
            options["runtime_env"] = {"env_vars": environment}
        training.deadline = math.inf
        seconds = training.until - time.monotonic()
        remote = ray.remote(self._work).options(**options)
        return remote.remote([self._held], self._device, training.request, seconds, training.keep, self._limits)

    def _heard(self, training: _Training, stream: Any) -> tuple[Weights | None, Trial] | None:
        """What came of a training of which there is something to hear; None where it has begun.

        Raises:
            _Lost: if it came to nothing, and is to be tried again.
        """
        import ray
        from ray import exceptions

        try:
            said: tuple[Weights | None, Trial] | None = ray.get(next(stream))
        except (exceptions.NodeDiedError, exceptions.ObjectLostError) as error:
            raise _Lost from error
        except exceptions.WorkerCrashedError as error:
            training.deaths += 1
            if training.deaths < 2:
                raise _Lost from error
            return None, _failed(training.request, "Its process died, twice.")
        except exceptions.OutOfMemoryError:
            reason = "Out of memory: Ray ended its process, since its machine had no more."
            return None, replace(_failed(training.request, reason), accidental=True)
        except exceptions.RayTaskError as error:
            raise error.cause if isinstance(error.cause, InputError) else error  # noqa: B904
        except exceptions.RayError as error:
            raise InputError(f"The Ray cluster cannot train {self._task.name!r}: {first_line(error)}.") from error
        else:
            if said is not None:
                return said
            training.deadline = time.monotonic() + (self._limits.seconds(training.request) or math.inf)
        return None

    def _counted(self, answer: tuple[Weights | None, Trial]) -> tuple[Weights | None, Trial]:
        self._finished.append(time.monotonic())
        return answer


@dataclass(eq=False)
class _Training:
    """A training that was asked for.

    Args:
        request: what to train.
        until: when final training is cut short.
        keep: whether the weights are sent back.
        deaths: how many of its processes have died, the machine not.
        deadline: when it is given up; known once it has begun.
    """

    request: Request
    until: float = math.inf
    keep: bool = False
    deaths: int = 0
    deadline: float = math.inf


class _Lost(Exception):
    """A training came to nothing through what happened around it."""


def _ready(running: Mapping[Any, _Training]) -> list[Any]:
    """Those of which there is something to hear; none where a deadline comes first."""
    import ray

    deadline = min(training.deadline for training in running.values())
    # Not longer than this, since machines may join that others could train on.
    seconds = max(0.0, min(deadline - time.monotonic(), _LOOK_S))
    streams = list(running)
    if not ray.wait(streams, num_returns=1, timeout=seconds)[0]:
        return []
    ready: list[Any] = ray.wait(streams, num_returns=len(streams), timeout=0)[0]
    return ready


def _failed(request: Request, reason: str) -> Trial:
    return Trial(request, "failed", reason, dict.fromkeys(METRICS))


def _connect(address: str) -> None:
    """Connects this process to the cluster, unless it is connected.

    Raises:
        InputError: if Ray is not installed, or there is no cluster.
    """
    try:
        import ray
    except ImportError as error:
        raise InputError(
            "Training on a Ray cluster needs Ray; install it with: pip install 'marl-hpo-env[ray]'."
        ) from error
    if ray.is_initialized():
        return
    named = os.environ.get("RAY_ADDRESS", address) if address == "auto" else address
    host, _, port = named.rpartition(":")
    main = threading.current_thread() is threading.main_thread()
    handler = signal.getsignal(signal.SIGTERM)
    try:
        if port.isdecimal() and "/" not in host:  # Ray itself tries for most of a minute, and then ends this process
            socket.create_connection((host, int(port)), timeout=10).close()
        ray.init(address, log_to_driver=False, configure_logging=False, logging_level=logging.ERROR)
    except Exception as error:
        raise InputError(
            f"There is no Ray cluster at {named!r} ({first_line(error)}); start one with `ray start --head`, and run on one of "
            "its machines."
        ) from error
    finally:
        if main and handler is not None:
            signal.signal(signal.SIGTERM, handler)  # Ray takes it for itself
    # Ray tells of dead workers and machines on the standard output, whatever is logged; trials say what matters of it.
    ray._private.worker.print_to_stdstream = lambda *_, **__: None
