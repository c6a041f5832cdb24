"""The campaign's own tasks: one that trains in moments, one whose designs misbehave, and one without data."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from typing import NoReturn

import torch
from torch import nn

from marl_hpo_env import Data, InputError, Recipe, Task
from marl_hpo_env import task as named_task
from marl_hpo_env.networks.graph import Choices

SMALL = f"{__name__}:small"
WITHOUT_DATA = f"{__name__}:without_data"


def small() -> Task:
    """`digits-convnet` with one epoch, two to convergence, and sixteen designs."""
    task = named_task("digits-convnet")
    recipe = replace(task.recipe, epochs=1, max_epochs=2)
    return replace(task, name="faults-small", choices=_few_choices, recipe=recipe)


def _few_choices() -> Choices:
    return {nn.Conv2d: {"out_channels": (4, 8)}, nn.Linear: {"out_features": (4, 16, 32, 64)}}


def without_data() -> Task:
    """The same without data: a command line that is right but for that ends before anything is trained or written."""
    return replace(small(), name="faults-without-data", data=_no_data)


def _no_data() -> Data:
    raise InputError("The task 'faults-without-data' has no data; use another.")


def misbehaving() -> Task:
    """A linear network with a module that does what its design says as soon as it is trained; the first design is good."""
    return Task(
        "faults-misbehaving", _network, _noise, {Misbehaving: {"way": ("not", *WAYS)}}, Recipe(50, 1, "adam", 0.01)
    )


def _network() -> nn.Module:
    return nn.Sequential(nn.Linear(64, 8), Misbehaving(), nn.ReLU(), nn.Linear(8, 10))


def _noise() -> Data:
    generator = torch.Generator().manual_seed(0)
    examples = torch.rand(100, 64, generator=generator), torch.randint(10, (100,), generator=generator)
    return Data(examples, examples, examples)


class Misbehaving(nn.Module):
    """Passes its input on, and misbehaves while it is trained.

    Args:
        way: one of `WAYS`, or `"not"`.
    """

    def __init__(self, way: str = "not") -> None:
        super().__init__()
        self.way = way

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.training and self.way != "not":
            WAYS[self.way]()
        return x


class Unspeakable(Exception):
    """It raises when it is to say what is wrong."""

    def __str__(self) -> str:
        raise RuntimeError


def _raise() -> NoReturn:
    raise Unspeakable


def _hold_the_interpreter() -> None:
    sys.setswitchinterval(1000)
    while True:
        pass


def _print_without_end() -> None:
    while True:
        print("to the end of the world", "x" * 1000)


def _leave_a_process() -> NoReturn:
    subprocess.Popen(["sleep", "600"])
    os._exit(1)


WAYS: dict[str, Callable[[], object]] = {
    "segmentation fault": lambda: ctypes.string_at(0),
    "sys.exit": lambda: sys.exit(3),
    "os._exit": lambda: os._exit(0),
    "kills itself": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "aborts": os.abort,
    "holds the interpreter": _hold_the_interpreter,
    "sleeps": lambda: time.sleep(600),
    "prints without end": _print_without_end,
    "eats memory": lambda: [bytearray(10**8) for _ in range(10**4)],
    "a tensor too large": lambda: torch.zeros(10**12),
    "an exception without words": _raise,
    "leaves a process": _leave_a_process,
}
