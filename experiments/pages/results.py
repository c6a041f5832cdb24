"""Reading the committed results."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

from marl_hpo_env import InputError

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "experiments" / "results"

PAPERS = "pairwise-q"


def lines_below(report: str, title: str) -> list[str]:
    """The first table below a title of a report in Markdown, line by line.

    Raises:
        InputError: if there is no such title, or no table below it.
    """
    after = report[report.index(title) :].splitlines() if title in report else []
    start = next((number for number, line in enumerate(after) if line.startswith("| ")), None)
    if start is None:
        raise InputError(f"The report has no table below {title!r}; make it again, or name another title.")
    return list(itertools.takewhile(lambda line: line.startswith("| "), after[start:]))


def rows_of(lines: Iterable[str]) -> list[dict[str, str]]:
    """The rows of a table in Markdown, each by its columns' titles."""
    header, _, *rows = [[cell.strip() for cell in line.strip().strip("|").split(" | ")] for line in lines]
    return [dict(zip(header, row, strict=True)) for row in rows]


def estimate_of(cell: str) -> tuple[float, float, float]:
    """The figure in a cell, and the ends of its interval: `2.5 [1.4,3.9]`."""
    figure, low, high = map(float, re.split(r"[ \[\],]+", cell.strip("]")))
    return figure, low, high


@cache
def report_of(folder: str) -> str:
    """A folder's report."""
    return (RESULTS / folder / "report.md").read_text()


@cache
def figures_of(name: str) -> Any:
    """The figures of a benchmark."""
    return json.loads((RESULTS / f"{name}.json").read_text())


def lines_of(folder: str, title: str) -> list[str]:
    """The first table below a title of a folder's report, line by line."""
    return lines_below(report_of(folder), title)


def learner_of(folder: str, name: str, title: str = "## All benchmarks") -> dict[str, str]:
    """A learner's row, without the intervals."""
    (row,) = (row for row in rows_of(lines_of(folder, title)) if row["learner"] == name)
    return {column: cell.split(" [")[0] for column, cell in row.items()}


def network_of(folder: str, name: str) -> dict[str, str]:
    """A network's row in the table of final trainings."""
    (row,) = (row for row in rows_of(lines_of(folder, "## Trained to convergence")) if row["network"] == name)
    return row
