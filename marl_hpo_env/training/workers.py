"""Work in processes of its own: trainings, and the runs of a comparison. What a process dies of costs its own request."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
import time
import types
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

from marl_hpo_env.errors import InputError
from marl_hpo_env.training.transport import packed
from marl_hpo_env.training.worker_process import NotReceived, Raised, Ready, receive, send, serve

Request = TypeVar("Request")
Answer = TypeVar("Answer")

OUTPUT_LIMIT = 10**6
"""Bytes of what one process prints on one request that are kept."""

START_METHODS = ("forkserver", "spawn")
"""Ways to start a process, the first that there is. A fork of this one would inherit torch's threads in an undefined state."""


START_ATTEMPTS = 3
"""To start a process, each of which has a new server where the last one was killed."""

_UNTIL_GONE = 0.2
"""Seconds between them, in which a server that was killed comes to its end: before, it is taken to be alive."""


class Death(NamedTuple):
    """How a request's process ended.

    Args:
        reason: what it died of, in a sentence; empty where its time was over.
        memory: whether the system killed it for want of memory.
    """

    reason: str = ""
    memory: bool = False


class Unsendable(Exception):
    """What makes the work cannot be sent to another process; the message says why."""


class Workers(Generic[Request, Answer]):
    """A fixed number of processes that each answer one request at a time.

    They are started when they are first needed, do not run the script or notebook that this process is at, and end with this
    process, however it goes.

    Args:
        begins: for each process, a function without arguments that returns what answers requests; it is sent there.
        died: makes the answer to a request whose process died, or took too long, or it raises. A death is met twice before.
        timeout: seconds that a request may take; None for any.
        memory_gb: see `worker_process.serve`.
        output: the file that gets what the processes print; where None it goes to this process' error stream.
        preload: modules that every process needs, imported once.
    """

    def __init__(
        self,
        begins: Sequence[Callable[[], Callable[[Request], Answer]]],
        died: Callable[[Request, Death], Answer],
        *,
        timeout: Callable[[Request], float | None] = lambda _: None,
        memory_gb: float | None = None,
        output: Path | None = None,
        preload: Sequence[str] = (),
    ) -> None:
        self._begins = begins
        self._died = died
        self._timeout = timeout
        self._memory_gb = memory_gb
        self._output = output
        method = next(name for name in START_METHODS if name in multiprocessing.get_all_start_methods())
        self._context: Any = multiprocessing.get_context(method)
        if method == "forkserver":
            self._context.set_forkserver_preload(list(preload))
        self._packed: list[bytes] = []
        self._failed_starts = 0  # since the last that did not fail
        self._workers: list[_Worker] = []
        self._answering: object | None = None  # the call of `answers` that has processes at work

    def start(self, most: int) -> None:
        """Starts the processes that are missing, and not more than this many in all; they get ready by themselves.

        Raises:
            Unsendable: if what makes the work cannot be pickled.
        """
        if not self._packed:
            try:
                once = {id(begin): packed(begin) for begin in self._begins}
            except Exception as error:  # pickling calls whatever a user's classes define
                raise Unsendable(str(error)) from error
            self._packed = [once[id(begin)] for begin in self._begins]
        there = {worker.place for worker in self._workers}
        self._workers += [self._started(place) for place in range(min(most, len(self._begins))) if place not in there]

    def answers(self, requests: Sequence[Request]) -> Iterator[Answer]:
        """One answer per request, as they come. A process that dies is replaced, and its request tried again once.

        Whoever abandons the iterator, as Ctrl-C does, leaves processes at work: the next call starts new ones.

        Raises:
            Unsendable: if what makes the work cannot be sent.
            Exception: whatever the work raises in a process.
        """
        if not requests:
            return
        if self._answering is not None:
            self.close()
        self.start(len(requests))
        call = self._answering = object()
        waiting = list(reversed(requests))
        deaths: list[Request] = []
        try:
            while waiting or any(worker.busy for worker in self._workers):
                for worker in list(self._workers):
                    if waiting and worker.ready and not worker.busy:
                        self._give(worker, waiting)
                for worker in self._heard():
                    message = self._message(worker, waiting, deaths)
                    if isinstance(message, Raised):
                        raise message.error
                    if isinstance(message, _Answer):
                        yield message.answer
            self._answering = None
        finally:
            if self._answering is call:  # a later call has processes of its own
                self.close()

    def close(self) -> None:
        """Ends every process at once."""
        for worker in self._workers:
            worker.end()
        self._workers = []
        self._answering = None

    def _give(self, worker: _Worker, waiting: list[Request]) -> None:
        """Sends the next request, or leaves it to the worker's successor if the worker has died meanwhile."""
        with contextlib.suppress(ConnectionError):
            worker.output.begin()
            worker.kills = _out_of_memory_kills()
            send(worker.connection, waiting[-1])
        worker.request = [waiting.pop()]
        seconds = self._timeout(worker.request[0])
        worker.deadline = None if seconds is None else time.monotonic() + seconds

    def _heard(self) -> list[_Worker]:
        """The workers that have sent something, died, or run out of time."""
        deadlines = [worker.deadline for worker in self._workers if worker.deadline is not None]
        left = None if not deadlines else max(0.0, min(deadlines) - time.monotonic())
        heard = wait([worker.connection for worker in self._workers], left)
        now = time.monotonic()
        return [
            worker
            for worker in self._workers
            if worker.connection in heard or (worker.deadline is not None and worker.deadline <= now)
        ]

    def _message(self, worker: _Worker, waiting: list[Request], deaths: list[Request]) -> _Answer | Raised | None:
        """What a worker's message, death or silence means for its request; None where nothing is known of one yet."""
        request = worker.request
        try:
            if not worker.connection.poll():  # its time is over
                self._replace(worker)
                return _Answer(self._died(request[0], Death()))
            message = receive(worker.connection)
        except (EOFError, ConnectionError):
            death = worker.death()
            self._replace(worker)
            if not request:
                self._failed_starts += not worker.ready
                if self._failed_starts > 2 * len(self._begins):
                    raise InputError(f"A worker process cannot start: {death.reason}") from None
                return None
            if request[0] not in deaths and not death.memory:
                deaths.append(request[0])
                waiting.append(request[0])
                return None
            twice = death if death.memory else Death(f"{death.reason.removesuffix('.')}, twice.")
            return _Answer(self._died(request[0], twice))
        if isinstance(message, NotReceived):
            raise Unsendable(f"{type(message.error).__name__}: {message.error}")
        if isinstance(message, Raised):
            return message
        if isinstance(message, Ready):
            worker.ready, self._failed_starts = True, 0
            return None
        worker.request, worker.deadline = [], None
        return _Answer(message)

    def _replace(self, worker: _Worker) -> None:
        worker.end()
        self._workers.remove(worker)
        self._workers.append(self._started(worker.place))

    def _started(self, place: int) -> _Worker:
        ours, theirs = self._context.Pipe()
        reads, writes = self._context.Pipe(duplex=False)
        for attempt in range(START_ATTEMPTS):
            process = self._context.Process(target=serve, args=(theirs, writes, self._memory_gb), daemon=True)
            try:
                with _unnamed_main():
                    process.start()
                break
            except (EOFError, ConnectionError):  # the server that starts processes was killed in the midst of it
                if attempt == START_ATTEMPTS - 1:
                    raise InputError(
                        "No worker process can be started: what starts them is killed each time."
                    ) from None
                time.sleep(_UNTIL_GONE)
        theirs.close()
        writes.close()
        worker = _Worker(place, process, ours, _Output(reads, self._output))
        with contextlib.suppress(ConnectionError):
            ours.send_bytes(self._packed[place])
        return worker


@dataclass
class _Answer:
    answer: Any


@dataclass
class _Worker:
    place: int
    process: multiprocessing.process.BaseProcess
    connection: Connection
    output: _Output
    ready: bool = False
    request: list[Any] = field(default_factory=list)  # the one that it is at, or none
    deadline: float | None = None
    kills: int = 0

    @property
    def busy(self) -> bool:
        return bool(self.request)

    def end(self) -> None:
        """Kills the process and what it started."""
        with contextlib.suppress(OSError, TypeError):  # it may not have a group of its own yet
            os.killpg(self.process.pid, signal.SIGKILL)  # type: ignore[arg-type]
        self.process.kill()
        self.connection.close()

    def death(self) -> Death:
        """What the process died of."""
        self.process.join()
        code = self.process.exitcode or 0
        if code == -signal.SIGKILL and _out_of_memory_kills() > self.kills:
            return Death("Out of memory: the system killed the training.", memory=True)
        if code < 0:
            return Death(f"The training's process was killed by {_signal_name(-code)}.")
        return Death(f"The training ended its process with exit code {code}.")


class _Output:
    """Reads what a process prints, so that it never waits, and keeps the first of it.

    Args:
        pipe: where it comes from.
        path: the file that it is added to; None for this process' error stream.
    """

    def __init__(self, pipe: Connection, path: Path | None) -> None:
        self._pipe, self._path = pipe, path
        self._left = OUTPUT_LIMIT
        threading.Thread(target=self._read, daemon=True).start()

    def begin(self) -> None:
        """Another request begins."""
        self._left = OUTPUT_LIMIT

    def _read(self) -> None:
        with contextlib.suppress(OSError):
            while data := os.read(self._pipe.fileno(), 2**16):
                kept, self._left = data[: max(0, self._left)], self._left - len(data)
                if kept:
                    self._write(kept + (b"\n[more was printed than is kept]\n" if self._left < 0 else b""))
        self._pipe.close()

    def _write(self, data: bytes) -> None:
        if self._path is None:
            sys.stderr.write(data.decode(errors="replace"))
            return
        # Between trainings it is begun anew, so that a run of any length has a file of bounded size.
        long = self._path.exists() and self._path.stat().st_size > 4 * OUTPUT_LIMIT
        with self._path.open("wb" if long else "ab") as file:
            file.write(data)


@contextlib.contextmanager
def _unnamed_main() -> Iterator[None]:
    """Keeps a process that is started from importing `__main__`, which a script without its guard would run again."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = types.ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _out_of_memory_kills() -> int:
    """How many processes the system has killed for want of memory, where it says so."""
    counted = 0
    for path in _counters():
        with contextlib.suppress(OSError, ValueError), open(path) as file:
            counted += sum(int(line.split()[1]) for line in file if line.startswith("oom_kill "))
    return counted


def _counters() -> list[str]:
    """The files in which the kernel and this process' cgroup count such kills."""
    paths = ["/proc/vmstat"]
    with contextlib.suppress(OSError), open("/proc/self/cgroup") as file:
        for line in file:
            _, controllers, group = line.strip().split(":", 2)
            if not controllers:
                paths.append(f"/sys/fs/cgroup{group}/memory.events")
            elif "memory" in controllers.split(","):
                paths.append(f"/sys/fs/cgroup/memory{group}/memory.oom_control")
    return paths
