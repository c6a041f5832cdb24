"""Work side by side in processes of its own: trainings, and the runs of a comparison."""

from __future__ import annotations

import multiprocessing
import pickle
import signal
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Any, Generic, TypeVar

from marl_hpo_env.errors import InputError

Request = TypeVar("Request")
Answer = TypeVar("Answer")


class Workers(Generic[Request, Answer]):
    """A fixed number of processes that each answer one request at a time.

    They are started when they are first needed. Each holds one end of a pipe of its own, so it ends by itself when this
    process is gone, however it went.

    Args:
        work: answers a request; sent to every process once, so it must be picklable.
        count: number of processes.
        died: makes the answer to a request whose process died twice, from the request and a sentence; it may raise.
        what: of what the work is, such as `"The task 'mine'"`, for the sentence that says that it cannot be sent.
        preload: modules that every process needs, imported once.
    """

    def __init__(
        self,
        work: Callable[[Request], Answer],
        count: int,
        died: Callable[[Request, str], Answer],
        *,
        what: str,
        preload: Sequence[str] = (),
    ) -> None:
        self._work = work
        self._died = died
        self._what = what
        # A fork of this process would inherit torch's threads in an undefined state; the server forks clean ones.
        method = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
        self._context: Any = multiprocessing.get_context(method)
        if method == "forkserver":
            self._context.set_forkserver_preload(list(preload))
        self._count = count
        self._workers: list[_Worker] = []
        self._answering: object | None = None  # the call of `answers` that has processes at work

    def answers(self, requests: Sequence[Request]) -> Iterator[Answer]:
        """One answer per request, as they come. A process that dies is replaced, and its request tried again once.

        Whoever abandons the iterator, as Ctrl-C does, leaves processes at work: the next call starts new ones.

        Raises:
            Exception: whatever `work` raises in a process.
        """
        if self._answering is not None:
            self.close()
        while len(self._workers) < self._count:
            self._workers.append(self._start())
        call = self._answering = object()
        waiting = list(reversed(requests))
        busy: dict[Connection, tuple[_Worker, Request]] = {}
        idle = list(self._workers)
        retried: list[Request] = []
        try:
            while waiting or busy:
                while waiting and idle:
                    worker = self._send(idle.pop(), waiting[-1])
                    busy[worker.connection] = worker, waiting.pop()
                for connection in wait(list(busy)):
                    assert isinstance(connection, Connection)
                    worker, request = busy.pop(connection)
                    try:
                        answer = connection.recv()
                    except (EOFError, ConnectionError):
                        worker.process.join()
                        code = worker.process.exitcode
                        worker = self._replace(worker)
                        if request not in retried:  # perhaps it was the system, short of memory
                            retried.append(request)
                            worker = self._send(worker, request)
                            busy[worker.connection] = worker, request
                            continue
                        answer = self._died(request, f"The worker process died with exit code {code}, twice.")
                    if isinstance(answer, _Raised):
                        raise answer.error
                    if waiting:
                        worker = self._send(worker, waiting[-1])
                        busy[worker.connection] = worker, waiting.pop()
                    else:
                        idle.append(worker)
                    yield answer
            self._answering = None
        finally:
            if self._answering is call:  # a later call has processes of its own
                self.close()

    def close(self) -> None:
        """Ends every process at once."""
        for worker in self._workers:
            worker.process.kill()
            worker.connection.close()
        self._workers = []
        self._answering = None

    def _send(self, worker: _Worker, request: Request) -> _Worker:
        """Sends a request to the worker, or to a new one in its place if it has died meanwhile."""
        try:
            worker.connection.send(request)
        except ConnectionError:
            worker = self._replace(worker)
            worker.connection.send(request)
        return worker

    def _replace(self, worker: _Worker) -> _Worker:
        worker.connection.close()
        self._workers.remove(worker)
        self._workers.append(self._start())
        return self._workers[-1]

    def _start(self) -> _Worker:
        ours, theirs = self._context.Pipe()
        process = self._context.Process(target=_answer, args=(theirs, self._work), daemon=True)
        try:
            process.start()
        except (AttributeError, TypeError, pickle.PicklingError) as error:
            raise InputError(
                f"{self._what} cannot be sent to workers: {error}; define its functions and classes at the top of a module, "
                "or use one worker."
            ) from error
        theirs.close()
        return _Worker(process, ours)


@dataclass
class _Worker:
    process: multiprocessing.process.BaseProcess
    connection: Connection


@dataclass
class _Raised:
    """What a process sends where its work raised."""

    error: Exception


def _answer(connection: Connection, work: Callable[[Any], Any]) -> None:
    """The life of one process: answers what comes in until the other end of the pipe is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides
    while True:
        try:
            request = connection.recv()
            connection.send(_answered(work, request))
        except (EOFError, ConnectionError):
            return


def _answered(work: Callable[[Any], Any], request: Any) -> Any:
    try:
        return work(request)
    except Exception as error:  # whatever it raises is raised again by who asked
        where = traceback.format_exc()
        try:
            pickle.loads(pickle.dumps(error))
        except Exception:  # an exception of a kind that cannot be sent
            error = RuntimeError(f"{type(error).__name__}: {error}")
        if not isinstance(error, InputError):
            error.add_note(f"In a worker process:\n{where}")
        return _Raised(error)
