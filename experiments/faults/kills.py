"""Kills at random moments of the commands that train: no trial is lost, nothing stays, and the same command goes on."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from experiments.faults.cases import Case, Fault, Kind, Place
from experiments.faults.processes import PATIENCE, Marked, wait_until
from experiments.faults.stored import compare_result, left_over, rows, table_result, tune_result
from experiments.faults.tasks import SMALL
from marl_hpo_env.stopping import EXIT_CODE

SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
"""To the steering process, by a case's number; each fifth case kills one of its workers."""

TOGETHER = len(SIGNALS) + 1
LONGEST = 300.0
"""Seconds after which a command that goes on to its end is given up."""

TUNE = ("tune", "--task", SMALL, "--device", "cpu")


@dataclass(frozen=True, eq=False)
class Command:
    """A command that trains, and what comes of it.

    Args:
        name: of the command.
        arguments: behind `marl-hpo`, but for its folder.
        result: reads from its folder what it came to, without times.
        program: what Python runs.
    """

    name: str
    arguments: Sequence[str]
    result: Callable[[Path], Any]
    program: Sequence[str] = ("-m", "marl_hpo_env")
    _undisturbed: dict[Path, tuple[float, Any]] = field(default_factory=dict)
    _one: threading.Lock = field(default_factory=threading.Lock)

    def undisturbed(self, place: Place) -> tuple[float, Any]:
        """Seconds that it takes, and what it comes to."""
        with self._one:
            if place.folder not in self._undisturbed:
                run = Run(self, place.fresh(f"{self.name} undisturbed"))
                started = time.monotonic()
                run.start()
                run.end_by_itself()
                self._undisturbed[place.folder] = time.monotonic() - started, self.result(run.out)
            return self._undisturbed[place.folder]

    def folder(self, place: Place) -> Path:
        """What an undisturbed run has written."""
        self.undisturbed(place)
        return place.folder / f"{self.name} undisturbed" / "run"


class Run:
    """One run of a command, which may be started again and again.

    Args:
        command: which.
        folder: an empty one.
    """

    def __init__(self, command: Command, folder: Path) -> None:
        self.command, self.folder, self.out = command, folder, folder / "run"
        self.marked = Marked()
        self.kept: Mapping[tuple[Any, ...], tuple[Any, ...]] = {}
        self._output = folder / "output.txt"

    def start(self) -> None:
        """Starts the command, or goes on with it, and returns when it heeds signals; before it is not yet Python's turn."""
        program = [sys.executable, *self.command.program, *self.command.arguments, "--out", "run"]
        self.process = self.marked.start(program, self.folder, self._output)
        wait_until(lambda: self.process.poll() is not None or _heeds(self.process.pid), LONGEST)

    def ended_within(self, seconds: float) -> bool:
        """Whether the command has come to an end of its own in as many seconds.

        Raises:
            Fault: if it has, and not well.
        """
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        self._check_output()
        if self.process.returncode != 0:
            raise Fault("other", f"It ended with exit code {self.process.returncode}: {self._last_line()}")
        return True

    def kill(self, number: int) -> None:
        """Sends a signal to the steering process, and looks at what is left.

        Raises:
            Fault: if a process, a traceback, or not every trial is.
        """
        before = rows(self.out)
        self.process.send_signal(number)
        wait_until(lambda: self.process.poll() is not None, PATIENCE)
        self.marked.wait_until_gone()
        self._check_output()
        # It may have come to its end just before, or Python to its own, where no handler is left.
        expected = {0, -number, *([EXIT_CODE] if number in (signal.SIGTERM, signal.SIGINT) else [])}
        if self.process.returncode not in expected:
            raise Fault("other", f"It ended with exit code {self.process.returncode}: {self._last_line()}")
        self.check_kept({**self.kept, **before})

    def end_by_itself(self) -> None:
        """Waits for the command's end.

        Raises:
            Fault: if it does not come, it ends with an error, or something stays.
        """
        if not self.ended_within(LONGEST):
            self.marked.end()
            raise Fault("other", f"It has not ended after {LONGEST:g} s.")
        self.marked.wait_until_gone()
        self.check_kept(self.kept)
        if left := left_over(self.folder):
            raise Fault("left behind", f"There are still {len(left)} files such as {left[0].name}.")

    def check_kept(self, before: Mapping[tuple[Any, ...], tuple[Any, ...]]) -> None:
        """Whether all trials that were there are still, as they were."""
        after = rows(self.out)
        lost = [key for key, row in before.items() if after.get(key) != row]
        self.kept = after
        if lost:
            raise Fault("lost", f"Of {len(before)} trials {len(lost)} are lost or altered, such as {lost[0][1:]}.")

    def check_result(self, expected: Any) -> None:
        """Whether it came to what it comes to undisturbed."""
        found = self.command.result(self.out)
        if differing := [name for name in expected if found.get(name) != expected[name]]:
            raise Fault("lost", f"It came to something else than undisturbed: {', '.join(differing)}.")

    def workers(self) -> list[int]:
        """Its processes that train: those whose parent is neither the steering process nor unknown."""
        alive = self.marked.alive()
        return [pid for pid, parent in alive.items() if parent in alive and parent != self.process.pid]

    def go_on_to(self, expected: Any) -> None:
        """Lets the run come to its end, begun again where it was killed, and checks its result."""
        if self.process.poll() is not None:
            self.start()
        self.end_by_itself()
        self.check_result(expected)

    def _check_output(self) -> None:
        if "Traceback" in self._output.read_text(errors="replace"):
            raise Fault("traceback", self._last_line())

    def _last_line(self) -> str:
        return (self._output.read_text(errors="replace").strip().splitlines() or [""])[-1]


def tries(command: Command, place: Place, kind: str, numbers: Sequence[int]) -> Iterator[Case]:
    """Kills one run again and again; after the last kill it goes on to its end."""
    seconds, expected = command.undisturbed(place)
    run = Run(command, place.fresh(f"{kind} {numbers[0]}"))

    def attempt(number: int) -> None:
        nonlocal run
        part = place.draw(kind, number).random()
        of_worker = number % TOGETHER == len(SIGNALS)
        run.start()
        while _over_before(run, part * seconds, of_worker):
            # There was nothing left to kill: from the beginning, and sooner.
            run, part = Run(command, place.fresh(f"{kind} {numbers[0]}")), part * 0.7
            run.start()
        workers = run.workers() if of_worker else []
        if workers:
            with contextlib.suppress(ProcessLookupError):  # gone meanwhile
                os.kill(place.draw(kind, number).choice(workers), signal.SIGKILL)
        else:
            run.kill(signal.SIGKILL if of_worker else SIGNALS[number % TOGETHER])
        if number == numbers[-1]:
            run.go_on_to(expected)

    try:
        for number in numbers:
            yield place.tried(kind, number, partial(attempt, number))
    finally:
        run.marked.end()


def _over_before(run: Run, seconds: float, of_worker: bool) -> bool:
    """Whether a run has ended before as many seconds, or before it has a worker, where one is to be killed."""
    if run.ended_within(seconds):
        return True
    if not of_worker:
        return False
    wait_until(lambda: run.workers() or run.process.poll() is not None, LONGEST)
    return not run.workers() and run.ended_within(0)


def _heeds(pid: int) -> bool:
    """Whether a process has said what it does when it is told to end."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return False
    caught = next((int(line.split()[1], 16) for line in lines if line.startswith("SigCgt:")), 0)
    return bool(caught >> (signal.SIGTERM - 1) & 1)


PLAYED = ("--learner", "random", "--episodes", "12")
TUNE_1 = Command("tune, 1 worker", (*TUNE, *PLAYED, "--workers", "1"), tune_result)
TUNE_2 = Command(
    "tune, 2 workers", (*TUNE, "--learner", "pairwise-q", "--episodes", "12", "--workers", "2"), tune_result
)
COMPARE = Command(
    "compare, 2 jobs",
    (
        "compare",
        "--task",
        SMALL,
        "--device",
        "cpu",
        "--seeds",
        "2",
        "--episodes",
        "5",
        "--jobs",
        "2",
        "--learners",
        "random",
    ),
    compare_result,
)
BUILD = Command("table build", ("table", "build", "--task", SMALL, "--device", "cpu", "--seeds", "1"), table_result)


def kinds() -> list[Kind]:
    """Kills of each command."""
    counts = {TUNE_1: 60, TUNE_2: 50, COMPARE: 40, BUILD: 30}

    def kind(command: Command, count: int) -> Kind:
        return Kind(
            f"killed: {command.name}",
            count,
            TOGETHER,
            lambda place, name, numbers: tries(command, place, name, numbers),
            in_a_row=True,
        )

    return [kind(command, count) for command, count in counts.items()]
