"""A task that worker processes can import, whose designs misbehave, and what its tests share."""

from __future__ import annotations

import ctypes
import math
import multiprocessing
import os
import signal
import sys
import time
from pathlib import Path

import torch
from torch import nn

from marl_hpo_env import PaperReward, Recipe, Request, Task, Trial
from marl_hpo_env.data.splits import Data
from marl_hpo_env.trial import CLOCK_METRICS

FAULTS = ("none", "raise", "nan", "kill", "crash", "exit", "leave", "hang", "spin", "print", "grow", "tensor")


def spin():
    # it keeps the interpreter to itself
    sys.setswitchinterval(1000)
    while True:
        pass


def endless():
    while True:
        print("to the end of the world", "x" * 1000)


class Faulty(nn.Module):
    def __init__(self, fault="none"):
        super().__init__()
        self.fault = fault

    def forward(self, x):
        if self.training and self.fault != "none":
            {
                "raise": lambda: None,
                "nan": lambda: None,
                "kill": lambda: os.kill(os.getpid(), signal.SIGKILL),
                "crash": lambda: ctypes.string_at(0),
                "exit": lambda: sys.exit(3),
                "leave": lambda: os._exit(0),
                "hang": lambda: time.sleep(600),
                "spin": spin,
                "print": endless,
                "grow": lambda: [bytearray(10**8) for _ in range(10**4)],
                "tensor": lambda: torch.zeros(10**12),
            }[self.fault]()
        if self.training and self.fault == "raise":
            raise RuntimeError("no kernel for this")
        return x * math.nan if self.training and self.fault == "nan" else x


def model():
    return nn.Sequential(nn.Linear(64, 8), Faulty(), nn.ReLU(), nn.Linear(8, 10))


def data():
    generator = torch.Generator().manual_seed(0)
    examples = torch.rand(100, 64, generator=generator), torch.randint(10, (100,), generator=generator)
    return Data(examples, examples, examples)


def choices():
    return {Faulty: {"fault": FAULTS}}


def task():
    return Task("faulty", model, data, choices, Recipe(50, 1, "adam", 0.01), PaperReward())


GOOD, RAISES, NAN, KILLS, CRASHES, EXITS, LEAVES, HANGS, SPINS, PRINTS, GROWS, TENSOR = ((n,) for n in range(12))
ENDLESS = 10**9


def results(trials) -> dict[Request, tuple]:
    return {
        trial.request: (
            trial.status,
            trial.reason,
            {name: value for name, value in trial.metrics.items() if name not in CLOCK_METRICS},
            list(trial.history),
        )
        for trial in trials
    }


def statuses(trials: list[Trial]) -> dict[tuple, str]:
    return {trial.design: trial.status for trial in trials}


def pids() -> set[int]:
    return {process.pid for process in multiprocessing.active_children()}


def wait_until_gone(processes: set[int], seconds: float = 20) -> set[int]:
    """Those of the processes that are still there after that time."""
    deadline = time.monotonic() + seconds
    while processes and time.monotonic() < deadline:
        time.sleep(0.05)
        processes = {pid for pid in processes if Path(f"/proc/{pid}").exists()}
    return processes
