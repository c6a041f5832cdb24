"""What travels to a machine of a Ray cluster, and what is done with it there.

A task travels once to each machine. Its data lie in memory there that all trainings share, so that nothing may write to them.
What the user's own modules define travels by value, since the other machines need not have their files.
"""

from __future__ import annotations

import os
import site
import sys
import sysconfig
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields, replace
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
import torch

from marl_hpo_env.catalog.task import Task
from marl_hpo_env.data.lazy_images import ImageFiles
from marl_hpo_env.data.splits import Data
from marl_hpo_env.errors import InputError, first_line
from marl_hpo_env.evaluators.surroundings import Surroundings
from marl_hpo_env.training.devices import choose_device
from marl_hpo_env.training.resource_limits import ResourceLimits, memory_limited, train_within
from marl_hpo_env.training.trainer import Trainer
from marl_hpo_env.trial import Request, Trial

Weights = Mapping[str, torch.Tensor]

_TRAINERS = 4
"""Those that a process keeps: a comparison has several tasks, and a machine several GPUs."""

_OURS = {"marl_hpo_env", "agents", "experiments"}

_Part = np.ndarray | ImageFiles
"""Inputs or targets as they travel: Ray holds the values of an array once for all processes of a machine."""


class _Held(NamedTuple):
    """What travels: what a training hangs on beside its task, the task without its data, and these: by split, inputs and
    targets; and what else the data are made with."""

    surroundings: Surroundings
    task: Task
    examples: Mapping[str, tuple[_Part, _Part]]
    rest: Mapping[str, Any]


def held(task: Task) -> Any:
    """Where Ray keeps the task and its data for as long as this is known.

    The data are those that the fingerprint was taken of, not loaded again elsewhere, where they might differ.

    Raises:
        InputError: if the task cannot be sent.
    """
    import ray

    _ = task.network  # compared with what was traced of it here, once
    data = task.splits
    examples = {name: (_packed(inputs), _packed(targets)) for name, (inputs, targets) in data.splits().items()}
    rest = {setting.name: getattr(data, setting.name) for setting in fields(data) if setting.name not in examples}
    sent = _Held(Surroundings.here(), replace(task, data=_elsewhere), examples, rest)
    try:
        with _own_modules_by_value():
            return ray.put(sent)
    except Exception as by_value:  # of any kind: what is in a module may be anything
        try:
            return ray.put(sent)  # the other machines may have its files
        except Exception:
            raise InputError(
                f"The task {task.name!r} cannot be sent to other machines: {first_line(by_value)}; define its functions and "
                "classes at the top of a module."
            ) from by_value


def trained(
    task: list[Any], device: str, request: Request, seconds: float, keep: bool, limits: ResourceLimits
) -> Iterator[tuple[Weights | None, Trial] | None]:
    """The Ray task: None when training begins, then the weights, if they are to be kept, and the trial.

    Args:
        task: in a list, what `held` gave; alone, Ray would unpack it anew for every request.
        device: `"cpu"` or `"cuda"`.
        request: what to train.
        seconds: after which final training is cut short.
        keep: whether the weights are wanted.
        limits: of which that of the memory is kept here; the process may take as much in addition to what it has with the task.
    """
    trainer = _trainer(task[0], _gpu() if device == "cuda" else device)
    with memory_limited(limits.memory_gb):
        yield None
        answer = train_within(limits, trainer, request, seconds, keep)
    yield answer


@lru_cache(_TRAINERS)
def _trainer(task: Any, device: str) -> Trainer:
    """The engine of a task on a device, made once in a process.

    Raises:
        InputError: if this machine lacks what the task needs.
    """
    import ray

    try:
        sent: _Held = ray.get(task)
    except (ImportError, AttributeError, ray.exceptions.RaySystemError) as error:
        raise InputError(
            f"A machine of the cluster cannot unpack the task: {first_line(error)}; install the same packages on all."
        ) from error
    sent.surroundings.apply()
    arguments = {**sent.rest}
    arguments |= {name: (_unpacked(inputs), _unpacked(targets)) for name, (inputs, targets) in sent.examples.items()}
    data = Data(**arguments)
    return replace(sent.task, data=data).trainer(choose_device(device), measure_time=False, verified=True)


def _gpu() -> str:
    """The GPU that Ray gives to this training, as torch numbers those that the machine lets be seen."""
    import ray

    (given,) = ray.get_runtime_context().get_accelerator_ids()["GPU"]
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    return f"cuda:{visible.split(',').index(given) if visible else int(given)}"


def _packed(part: torch.Tensor | ImageFiles) -> _Part:
    return part if isinstance(part, ImageFiles) else part.contiguous().numpy()


def _unpacked(part: _Part) -> Any:
    if isinstance(part, ImageFiles):
        return part
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")  # nor does anything write
        return torch.from_numpy(part)


def _elsewhere() -> Data:
    """In the place of a task's data while they travel beside it."""
    raise AssertionError("The data travel beside the task.")


@contextmanager
def _own_modules_by_value() -> Iterator[None]:
    """What the user's own modules define is pickled as it is, not by the name of a module; so is, always, `__main__`."""
    from ray import cloudpickle

    own = [module for module in list(sys.modules.values()) if _is_own(module)]
    for module in own:
        cloudpickle.register_pickle_by_value(module)
    try:
        yield
    finally:
        for module in own:
            cloudpickle.unregister_pickle_by_value(module)


def _is_own(module: ModuleType) -> bool:
    """Whether a module is from a file that is not installed."""
    name, file = getattr(module, "__name__", ""), getattr(module, "__file__", None)
    if file is None or name == "__main__" or name.partition(".")[0] in _OURS or sys.modules.get(name) is not module:
        return False
    return not any(Path(file).is_relative_to(folder) for folder in _installed())


@lru_cache(1)
def _installed() -> frozenset[str]:
    """The folders of what is installed."""
    libraries = (sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib"))
    return frozenset({*libraries, *site.getsitepackages(), site.getusersitepackages()})
