"""What a table or figure of the paper is to the command that reproduces it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from experiments.text_tables import TextTable
from marl_hpo_env import Task


@dataclass(frozen=True)
class Settings:
    """What the command says; each table and figure has defaults of its own for what is None.

    Args:
        tasks: their names, or the paths of tables.
        make: the named task with the data and the width that the options say.
        as_named: whether `make` changes nothing, so that the task's table may answer in its place.
        seeds: how many, of the learners and, where networks are trained, of the trainings.
        episodes: of every learner, both phases together; designs, where there is no learner.
        learners: beside the paper's and random search.
        device: where to train.
        workers: trainings side by side.
        out: the folder in which the reports' folders and those of the trials lie.
    """

    tasks: Sequence[str]
    make: Callable[[str], Task]
    as_named: bool
    seeds: int | None
    episodes: int | None
    learners: Sequence[str]
    device: str | None
    workers: int | None
    out: Path


@dataclass(frozen=True)
class Findings:
    """What came of a table or figure.

    Args:
        subjects: what it was found on, such as the names of the tasks.
        tables: for people, the first one with what the paper shows.
        sentences: what the tables say.
        header: of the CSV file.
        rows: of the CSV file.
        draw: writes the picture, a PNG file, to a path.
        machine: on what it was computed, where that is not this machine's processor.
    """

    subjects: Sequence[str]
    tables: Sequence[TextTable]
    sentences: Sequence[str]
    header: Sequence[str]
    rows: Sequence[Sequence[Any]]
    draw: Callable[[Path], None]
    machine: str = ""


Show = Callable[[Findings], None]
"""Writes the report. It may be called while the work goes on, so that a command that was stopped has a partial one."""


class Item(NamedTuple):
    """A table or figure.

    Args:
        name: as the command knows it.
        question: what the paper asks with it.
        computed: what is computed here.
        needs: `"tables"` answers from a task's table where it has one, else by training; `"training"` always trains; `"spaces"`
            needs the search spaces alone.
        tasks: what it is done on where no task is named.
        most_tasks: on how many it is done at most.
        rivals: whether other learners can be named beside the paper's.
        about: the documentation of its file.
        reproduce: does it, and calls the second argument with each report, the last one complete.
    """

    name: str
    question: str
    computed: str
    needs: str
    tasks: Sequence[str]
    most_tasks: int
    rivals: bool
    about: str
    reproduce: Callable[[Settings, Show], None]
