"""Runs of several learners with several seeds, with a progress bar."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeVar

from experiments.progress import progress_bar

T = TypeVar("T")


def with_bar(title: str, jobs: Iterable[T]) -> Iterator[T]:
    """Each job in turn, while a bar shows how many are done."""
    every = list(jobs)
    with progress_bar() as progress:
        bar = progress.add_task(title, total=len(every), note="")
        for job in every:
            progress.update(bar, note=" ".join(str(part) for part in job) if isinstance(job, tuple) else str(job))
            yield job
            progress.update(bar, advance=1)
