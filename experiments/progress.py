"""What a command shows while it is at work: a bar on a terminal, a line a minute in a file or a pipe."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

BETWEEN_LINES = 60.0
"""Seconds."""


@contextmanager
def progress_bar(console: Console | None = None) -> Iterator[Progress]:
    """A bar with how many of how many, a task's field `note`, and the time that is left.

    Args:
        console: where; the error stream where None.
    """
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        TextColumn("{task.fields[note]}"),
        TimeRemainingColumn(),
        TextColumn("left"),
        console=console or Console(stderr=True),
    )
    with bar, _a_line_a_minute(bar.console, lambda: _in_words(bar)):
        yield bar


@contextmanager
def at_work(console: Console, what: str) -> Iterator[None]:
    """Says what is being done where nothing can be counted.

    Args:
        console: where.
        what: such as `"training the original network"`.
    """
    started = time.monotonic()
    with (
        console.status(what),
        _a_line_a_minute(console, lambda: f"{what}, for {_duration(time.monotonic() - started)} now"),
    ):
        yield


@contextmanager
def _a_line_a_minute(console: Console, line: Callable[[], str]) -> Iterator[None]:
    """While it is entered: prints a line now and then, where nobody would see a bar move."""
    if console.is_terminal or console.is_jupyter:
        yield
        return
    over = threading.Event()

    def lines() -> None:
        while not over.wait(BETWEEN_LINES):
            console.print(line(), markup=False, highlight=False, soft_wrap=True)

    thread = threading.Thread(target=lines, name="a line a minute", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _in_words(bar: Progress) -> str:
    """How far the bar's latest task is."""
    if not bar.tasks:
        return "beginning"
    task = bar.tasks[-1]
    of_total = "" if task.total is None else f" of {task.total:g}"
    left = "" if task.time_remaining is None else f", {_duration(task.time_remaining)} left"
    parts = [f"{task.description}: {task.completed:g}{of_total}", str(task.fields["note"])]
    return ", ".join(filter(None, parts)) + f", for {_duration(task.elapsed or 0)} now{left}"


def _duration(seconds: float) -> str:
    """Such as 1:05:09."""
    return str(timedelta(seconds=int(seconds)))
