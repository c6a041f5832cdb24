"""Kills on a Ray cluster of two nodes on this machine: of the driver, of a process that trains, of a node."""

from __future__ import annotations

import importlib.util
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

from experiments.faults.cases import Case, Fault, Kind, Place
from experiments.faults.kills import LONGEST, PLAYED, TUNE, TUNE_1, Command, Run
from experiments.faults.processes import PATIENCE, Marked, wait_until
from experiments.faults.ray_nodes import ADDRESS
from experiments.faults.stored import rows, tune_result

TOGETHER = 3
"""The driver is killed, then, while the same command goes on, a process that trains, and a node."""

SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
"""To the driver, in turn."""

WORKER = b"ray::trained"
"""How Ray calls a process that trains."""


@contextmanager
def cluster(folder: Path) -> Iterator[tuple[Marked, int]]:
    """The processes of a cluster, and the one that leads them."""
    marked = Marked()
    try:
        arguments = [sys.executable, "-m", "experiments.faults.ray_nodes"]
        process = marked.start(arguments, folder, folder / "cluster.txt")
        wait_until(lambda: process.poll() is not None or (folder / ADDRESS).exists(), LONGEST)
        yield marked, process.pid
    finally:
        marked.end()


def tries(place: Place, kind: str, numbers: Sequence[int]) -> Iterator[Case]:
    """Kills a driver, a process and a node of one run, which then goes on to its end."""
    _, expected = TUNE_1.undisturbed(place)
    folder = place.fresh(f"{kind} {numbers[0]}")
    with cluster(folder) as (nodes, leader):
        address = (folder / ADDRESS).read_text()
        command = Command("tune on Ray", (*TUNE, *PLAYED, "--ray", address), tune_result)
        run = Run(command, folder)

        def attempt(number: int) -> None:
            draw = place.draw(kind, number)
            if run.marked.alive() == {}:
                run.start()
            count = draw.randrange(1, 5)
            had = len(run.kept)
            wait_until(lambda: run.process.poll() is not None or len(rows(run.out)) >= had + count, LONGEST)
            part = number % TOGETHER
            if part == 0:
                run.kill(SIGNALS[number // TOGETHER % len(SIGNALS)])
                if not wait_until(lambda: not _training(nodes), PATIENCE):
                    raise Fault("left behind", "The nodes go on training for a driver that is gone.")
            elif part == 1:
                if processes := _training(nodes):
                    os.kill(draw.choice(processes), signal.SIGKILL)
            else:
                os.kill(leader, signal.SIGUSR1)
            if number == numbers[-1]:
                run.go_on_to(expected)

        try:
            for number in numbers:
                yield place.tried(kind, number, partial(attempt, number))
        finally:
            run.marked.end()


def _training(nodes: Marked) -> list[int]:
    """The processes that train on a cluster's nodes."""
    found = []
    for pid in nodes.alive():
        with suppress(OSError):  # gone meanwhile
            if Path(f"/proc/{pid}/cmdline").read_bytes().startswith(WORKER):
                found.append(pid)
    return found


def kinds() -> list[Kind]:
    """Kills on a cluster, where Ray is installed."""
    if importlib.util.find_spec("ray") is None or sys.platform != "linux":
        return []
    return [Kind("killed: tune on Ray, 2 nodes", 24, TOGETHER, tries, in_a_row=True)]
