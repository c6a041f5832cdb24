"""Kills on a Ray cluster of two nodes on this machine: of the driver, of a process that trains, of a node."""

from __future__ import annotations

import importlib.util
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from experiments.faults.cases import Case, Fault, Kind, Place
from experiments.faults.kills import LONGEST, TUNE, TUNE_1, Command, Run
from experiments.faults.processes import PATIENCE, wait_until
from experiments.faults.stored import rows, tune_result

TOGETHER = 3
"""The driver is killed, then, while the same command goes on, a process that trains, and a node."""

SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
"""To the driver, in turn."""

WORKER = b"ray::trained"
"""How Ray calls a process that trains."""


@contextmanager
def cluster() -> Iterator[Any]:
    """Two nodes with one CPU each."""
    from ray.cluster_utils import Cluster

    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    try:
        made.add_node(num_cpus=1)
        yield made
    finally:
        made.shutdown()


def tries(place: Place, kind: str, numbers: Sequence[int]) -> Iterator[Case]:
    """Kills a driver, a process and a node of one run, which then goes on to its end."""
    _, expected = TUNE_1.undisturbed(place)
    with cluster() as made:
        arguments = (*TUNE, *TUNE_1.arguments[len(TUNE) : -2], "--ray", made.address)
        command = Command("tune on Ray", arguments, tune_result)
        run = Run(command, place.fresh(f"{kind} {numbers[0]}"))

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
                if not wait_until(lambda: not _training(made), PATIENCE):
                    raise Fault("left behind", "The nodes go on training for a driver that is gone.")
            elif part == 1:
                if processes := _training(made):
                    os.kill(draw.choice(processes), signal.SIGKILL)
            else:
                made.remove_node(made.worker_nodes.copy().pop(), allow_graceful=False)
                made.add_node(num_cpus=1)
            if number == numbers[-1]:
                if run.process.poll() is not None:
                    run.start()
                run.end_by_itself()
                run.check_result(expected)

        try:
            for number in numbers:
                yield place.tried(kind, number, lambda number=number: attempt(number))  # type: ignore[misc]
        finally:
            run.marked.end()


def _training(made: Any) -> list[int]:
    """The processes that train on a cluster's nodes."""
    session = made.head_node.get_session_dir_path().encode()
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            if (place / "cmdline").read_bytes().startswith(WORKER) and session in (place / "environ").read_bytes():
                found.append(int(place.name))
        except OSError:  # gone meanwhile, or somebody else's
            continue
    return found


def kinds() -> list[Kind]:
    """Kills on a cluster, where Ray is installed."""
    if importlib.util.find_spec("ray") is None or sys.platform != "linux":
        return []
    return [Kind("killed: tune on Ray, 2 nodes", 24, TOGETHER, tries)]
