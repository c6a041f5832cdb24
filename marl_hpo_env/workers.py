"""Trainings side by side in processes of their own."""

from __future__ import annotations

import multiprocessing
import pickle
import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Any

from marl_hpo_env.errors import InputError
from marl_hpo_env.trial import METRICS, Request, Trial
from marl_hpo_env.tuning_task import Task


class Workers:
    """A fixed number of processes that each train one request at a time.

    They are started when they are first needed. Each holds one end of a pipe of its own, so it ends by itself when this
    process is gone, however it went.

    Args:
        task: sent to every process once.
        device: such as `"cpu"`.
        count: number of processes.
    """

    def __init__(self, task: Task, device: str, count: int) -> None:
        self._task = task
        self._device = device
        # A fork of this process would inherit torch's threads in an undefined state; the server forks clean ones.
        method = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
        self._context: Any = multiprocessing.get_context(method)
        if method == "forkserver":
            self._context.set_forkserver_preload(["marl_hpo_env.training", "torch._dynamo"])  # what a training imports
        self._count = count
        self._workers: list[_Worker] = []
        self._training = False

    def train(self, requests: Sequence[Request]) -> Iterator[Trial]:
        """One trial per request, as they finish. A process that dies is replaced, and the request tried again; the second time
        it makes a failed trial.

        Whoever abandons the iterator, as Ctrl-C does, leaves processes that still train: the next call starts new ones.
        """
        if self._training:
            self.close()
        while len(self._workers) < self._count:
            self._workers.append(self._start())
        self._training = True
        waiting = list(reversed(requests))
        busy: dict[Connection, tuple[_Worker, Request]] = {}
        idle = list(self._workers)
        retried: set[Request] = set()
        try:
            while waiting or busy:
                while waiting and idle:
                    worker = self._send(idle.pop(), waiting[-1])
                    busy[worker.connection] = worker, waiting.pop()
                for connection in wait(list(busy)):
                    assert isinstance(connection, Connection)
                    worker, request = busy.pop(connection)
                    try:
                        trial = connection.recv()
                    except (EOFError, ConnectionError):
                        worker.process.join()
                        code = worker.process.exitcode
                        worker = self._replace(worker)
                        if request not in retried:  # perhaps it was the system, short of memory
                            retried.add(request)
                            worker = self._send(worker, request)
                            busy[worker.connection] = worker, request
                            continue
                        reason = f"The worker process died with exit code {code}, twice."
                        trial = Trial(request, "failed", reason, dict.fromkeys(METRICS))
                    if waiting:
                        worker = self._send(worker, waiting[-1])
                        busy[worker.connection] = worker, waiting.pop()
                    else:
                        idle.append(worker)
                    yield trial
            self._training = False
        finally:
            if busy:
                self.close()

    def close(self) -> None:
        """Ends every process at once."""
        for worker in self._workers:
            worker.process.kill()
            worker.connection.close()
        self._workers = []
        self._training = False

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
        process = self._context.Process(target=_work, args=(theirs, self._task, self._device), daemon=True)
        try:
            process.start()
        except (AttributeError, TypeError, pickle.PicklingError) as error:
            raise InputError(
                f"The task {self._task.name!r} cannot be sent to workers: {error}; define its functions and classes at the top "
                "of a module, or use one worker."
            ) from error
        theirs.close()
        return _Worker(process, ours)


@dataclass
class _Worker:
    process: multiprocessing.process.BaseProcess
    connection: Connection


def _work(connection: Connection, task: Task, device: str) -> None:
    """The life of one worker process: trains what comes in until the other end of the pipe is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides
    from marl_hpo_env.training import Trainer, choose_device

    trainer = Trainer(task, choose_device(device), measure_time=False)
    while True:
        try:
            request = connection.recv()
            _, trial = trainer.train(request)
            connection.send(trial)
        except (EOFError, ConnectionError):
            return
