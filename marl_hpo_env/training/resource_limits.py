"""What one training may take of time and memory. Unlike `Limits`, which are the task's, these are of where it is trained.

Whoever trains in a process of its own, on this machine or on a cluster, trains by `train_within`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

from marl_hpo_env.errors import InputError
from marl_hpo_env.trial import Request, Trial

if TYPE_CHECKING:
    from marl_hpo_env.training.trainer import Trainer

_MET = re.compile(r"Took (?:longer than (\S+) s|more than (\S+) GB of memory)\.")


@dataclass(frozen=True)
class ResourceLimits:
    """Limits whose breach makes a trial `failed`; it is stored, and taken again where the limit is higher.

    Args:
        timeout: seconds that an episode's training may take; None for any.
        fit_timeout: likewise for the original network's training, and for final training.
        memory_gb: 10^9 bytes that a training may take of the machine's memory; None for all there is.

    Raises:
        InputError: for a value that is not above 0.
    """

    timeout: float | None = None
    fit_timeout: float | None = None
    memory_gb: float | None = None

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if value is not None and (isinstance(value, bool | str) or not 0 < value < math.inf):
                raise InputError(f"The {field.name} is {value!r}; it is above 0, or None for no limit.")

    def seconds(self, request: Request) -> float | None:
        """What this request may take."""
        return self.fit_timeout if request.design is None or request.epochs is None else self.timeout

    def took_longer(self, request: Request) -> str:
        """The reason of a trial that took longer."""
        return f"Took longer than {self.seconds(request):g} s."

    def took_more(self) -> str:
        """The reason of a trial that took more memory."""
        return f"Took more than {self.memory_gb:g} GB of memory."

    def stands(self, trial: Trial) -> bool:
        """Whether a stored trial is what it would be with these limits: not where it met a lower one."""
        met = _MET.fullmatch(trial.reason or "")
        if met is None:
            return True
        limit = self.seconds(trial.request) if met[1] else self.memory_gb
        return limit is not None and limit <= float(met[1] or met[2])


@contextmanager
def memory_limited(gb: float | None) -> Iterator[None]:
    """Lets this process' allocations fail beyond as much memory, in 10^9 bytes, beside what it has now; None for no limit.

    Only Linux counts what is written to, and limits it; elsewhere nothing is limited.
    """
    before = None
    if gb is not None:
        try:
            import resource

            with open("/proc/self/status") as file:
                held = next(int(line.split()[1]) * 1024 for line in file if line.startswith("VmData:"))
            before = resource.getrlimit(resource.RLIMIT_DATA)
            resource.setrlimit(resource.RLIMIT_DATA, (held + int(gb * 1e9), before[1]))
        except (ImportError, OSError, StopIteration, ValueError):
            before = None
    try:
        yield
    finally:
        if before is not None:
            resource.setrlimit(resource.RLIMIT_DATA, before)


def train_within(
    limits: ResourceLimits, trainer: Trainer, request: Request, seconds: float, keep: bool
) -> tuple[Mapping[str, Any] | None, Trial]:
    """What a training in a process of its own comes to: the weights on the CPU, if they are to be kept and there are some, and
    the trial, which says where it met the limit of the memory.

    Args:
        limits: of the process; `memory_limited` keeps that of the memory.
        trainer: the engine.
        request: what to train.
        seconds: after which final training is cut short.
        keep: whether the weights are wanted.
    """
    network, trial = trainer.train(request, seconds)
    if trial.accidental and trainer.device.type == "cpu" and limits.memory_gb is not None:
        trial = replace(trial, reason=limits.took_more(), accidental=False)  # it met the limit, no accident
    if not keep or network is None:
        return None, trial
    return {name: tensor.cpu() for name, tensor in network.state_dict().items()}, trial
