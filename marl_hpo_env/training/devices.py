"""Devices that train: which there are, how work on them is timed, and what training on one leaves as it was."""

from __future__ import annotations

import gc
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch

from marl_hpo_env.errors import InputError
from marl_hpo_env.training.recipe import Recipe


def choose_device(name: str | None) -> torch.device:
    """The named device; CUDA where there is one, else the CPU, where None.

    Raises:
        InputError: if there is no such device on this machine.
    """
    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device).item()
    except Exception as error:  # each kind of device has its own
        raise InputError(
            f"The device {name!r} cannot be used on this machine; use 'cpu', or 'cuda' with a GPU."
        ) from error
    return device


def choose_devices(names: str | None) -> list[torch.device]:
    """The devices of a list of names with commas; CUDA where there is one, else the CPU, where None.

    Raises:
        InputError: if there is no such device on this machine, or they are not different ones of a kind.
    """
    devices = [choose_device(name.strip()) for name in names.split(",")] if names is not None else [choose_device(None)]
    if len(set(devices)) < len(devices) or len({device.type for device in devices}) > 1:
        raise InputError(f"The devices {names!r} are not different ones of one kind; name them like 'cuda:0,cuda:1'.")
    return devices


def check_precision(recipes: Iterable[Recipe], device: torch.device) -> None:
    """Whether the device computes in the precision of these.

    Raises:
        InputError: if not.
    """
    if all(recipe.precision == "float32" for recipe in recipes):
        return
    if device.type == "cuda":
        with torch.cuda.device(device):
            if torch.cuda.is_bf16_supported(including_emulation=False):
                return
    raise InputError(
        f"The recipe's precision is 'bf16' and the device {str(device)!r} cannot compute in it; use 'float32', or a GPU that can."
    )


@contextmanager
def training_on(device: torch.device) -> Iterator[None]:
    """Training on this device: the caller's random generators and threads stay as they were.

    On a CPU one thread trains: bit-identical with any number of cores, and two side by side use two cores better than one on two.
    """
    cuda = device.type == "cuda"
    threads = torch.get_num_threads()
    if not cuda:
        torch.set_num_threads(1)
    try:
        with torch.random.fork_rng(devices=[device] if cuda else []), torch.cuda.device(device if cuda else -1):
            yield
    finally:
        torch.set_num_threads(threads)


def settled_memory(device: torch.device) -> int | None:
    """Bytes that a GPU has allocated before a training, from which its peak then counts; None on a CPU.

    Earlier networks are gone first: they lie in cycles, which are freed at any time, and would be taken off the peak. What the
    libraries for products of matrices keep of the memory is there, too: for forward and backward passes, which are in threads of
    their own.
    """
    if device.type != "cuda":
        return None
    gc.collect()
    zeros = torch.zeros((8, 8), device=device, requires_grad=True)  # no random number is drawn
    torch.nn.functional.linear(zeros, zeros, zeros[0]).sum().backward()
    del zeros
    torch.cuda.reset_peak_memory_stats(device)
    return torch.cuda.memory_allocated(device)


class Clock:
    """The time of some work on the device, from when it is made to `stop`. On CUDA nothing waits before `ms` is asked."""

    def __init__(self, device: torch.device) -> None:
        self._events: list[torch.cuda.Event] = []
        if device.type == "cuda":
            self._events = [torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)]
            self._events[0].record()
        self._started = time.perf_counter()

    def stop(self) -> None:
        """The work has been given to the device."""
        if self._events:
            self._events[1].record()
        self._stopped = time.perf_counter()

    def ms(self) -> float:
        """Milliseconds between the two."""
        if not self._events:
            return 1e3 * (self._stopped - self._started)
        self._events[1].synchronize()
        return float(self._events[0].elapsed_time(self._events[1]))
