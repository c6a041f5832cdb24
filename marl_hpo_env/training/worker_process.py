"""The life of a process that works for another: what happens in it costs no more than the request that it was at."""

from __future__ import annotations

import contextlib
import faulthandler
import multiprocessing
import os
import pickle
import select
import signal
import threading
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

from marl_hpo_env.errors import InputError
from marl_hpo_env.training.resource_limits import memory_limited


@dataclass
class Ready:
    """What the process sends once it can answer."""


@dataclass
class NotReceived:
    """What it sends where its work cannot be read here, such as for want of a module."""

    error: Exception


@dataclass
class Raised:
    """What it sends where its work raised."""

    error: Exception


def serve(connection: Connection, output: Connection, memory_gb: float | None) -> None:
    """Reads what makes the work, then answers request after request until the other end of the pipe is closed.

    Args:
        connection: first brings, pickled, a function without arguments that returns what answers requests; then requests.
        output: a pipe for all that is printed here.
        memory_gb: what the work may take beside what it begins with, in 10^9 bytes; None for all there is.
    """
    # A group of its own: Ctrl-C in a terminal does not reach it, and it ends with whatever processes it starts.
    os.setpgid(0, 0)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    multiprocessing.current_process()._config["daemon"] = False  # type: ignore[attr-defined]  # it may start processes
    _end_with_parent()
    for stream in (1, 2):
        os.dup2(output.fileno(), stream)
    output.close()
    faulthandler.enable()  # where a crash happened goes to the output
    with contextlib.suppress(EOFError, ConnectionError):
        work = _begun(connection)
        if work is None:
            return
        with memory_limited(memory_gb):
            send(connection, Ready())
            while True:
                send(connection, _answered(work, receive(connection)))


def send(connection: Connection, message: Any) -> None:
    """Sends any message; torch's own way by `Connection.send` needs the sender to live until it is read."""
    connection.send_bytes(pickle.dumps(message))


def receive(connection: Connection) -> Any:
    """The next message."""
    return pickle.loads(connection.recv_bytes())


def _begun(connection: Connection) -> Callable[[Any], Any] | None:
    data = connection.recv_bytes()
    try:
        begin = pickle.loads(data)
    except Exception as error:
        send(connection, NotReceived(_sendable(error)))
        return None
    work = _answered(lambda begin: begin(), begin)
    if isinstance(work, Raised):
        send(connection, work)
        return None
    return work


def _answered(work: Callable[[Any], Any], request: Any) -> Any:
    try:
        return work(request)
    except Exception as error:  # whatever it raises is raised again by who asked
        where = traceback.format_exc()
        error = _sendable(error)
        if not isinstance(error, InputError):
            error.add_note(f"In a worker process:\n{where}")
        return Raised(error)


def _sendable(error: Exception) -> Exception:
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:  # an exception of a kind that cannot be sent
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error


def _end_with_parent() -> None:
    """Lets the system kill this process and its group when the parent is gone, whatever either is at."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    sentinel = parent.sentinel
    try:
        import fcntl

        # No thread of Python's could do so while a design keeps the interpreter to itself.
        fcntl.fcntl(sentinel, fcntl.F_SETOWN, -os.getpgrp())
        fcntl.fcntl(sentinel, fcntl.F_SETSIG, signal.SIGKILL)
        fcntl.fcntl(sentinel, fcntl.F_SETFL, fcntl.fcntl(sentinel, fcntl.F_GETFL) | os.O_ASYNC)
    except (ImportError, AttributeError, OSError):  # not on Linux
        threading.Thread(target=_wait_for_end, args=(sentinel,), daemon=True).start()
    if select.select([sentinel], [], [], 0)[0]:  # it was gone before
        os.killpg(0, signal.SIGKILL)


def _wait_for_end(sentinel: int) -> None:
    select.select([sentinel], [], [])
    os.killpg(0, signal.SIGKILL)
