"""The report of a table or figure: Markdown, a picture, and a CSV file, with the machine and the time."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from experiments.comparison.statistics import bootstrap, mean
from experiments.provenance import cores, machine, measured_by, software
from experiments.reproduction.item import Findings, Item
from experiments.text_tables import markdown_section
from experiments.tuning.sentences import device_seconds, time_taken
from marl_hpo_env import InputError, Store


def folder_of(item: Item, subjects: Sequence[str], out: Path) -> Path:
    """Where the report of an item on these tasks lies."""
    return out / "-".join(["reproduce", item.name, *subjects])


def write(item: Item, findings: Findings, out: Path, seconds: float) -> Path:
    """Writes `report.md`, `NAME.png` and `NAME.csv`, in the place of earlier ones.

    Args:
        item: the table or figure.
        findings: what came of it.
        out: the folder of its folder.
        seconds: how long it took.

    Returns:
        Its folder.

    Raises:
        InputError: if it cannot be written.
    """
    folder = folder_of(item, findings.subjects, out)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"The folder {str(folder)!r} cannot be made: {error.strerror}; choose another --out."
        ) from error
    findings.draw(folder / f"{item.name}.png")
    with (folder / f"{item.name}.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(findings.header)
        writer.writerows([[_plain(cell) for cell in row] for row in findings.rows])
    where = findings.machine or f"{machine()}, {cores()} CPU cores"
    text = [f"# {item.name} on {', '.join(findings.subjects) or 'the paper’s own spaces'}\n", f"{item.about.strip()}\n"]
    text += [markdown_section(*table) for table in findings.tables]
    if findings.sentences:
        text.append("## In words\n\n" + "".join(f"- {sentence}\n" for sentence in findings.sentences))
    text.append(f"![{item.name}]({item.name}.png)\n")
    text.append(f"Every run: [{item.name}.csv]({item.name}.csv).\n")
    text.append(f"{measured_by(software(), where)}; {_took(findings.subjects, out, seconds)}.")
    (folder / "report.md").write_text("\n".join(text) + "\n")
    return folder


def _took(tasks: Sequence[str], out: Path, seconds: float) -> str:
    """How long all trainings of these tasks took that are kept, whichever command asked for them, and this command."""
    stores = [path for task in tasks if (path := out / f"reproduce-{task}" / "trials.sqlite").exists()]
    if not stores:
        return f"this command took {seconds:.0f} s"
    spent: dict[str, tuple[int, float]] = {}
    for path in stores:
        store = Store(path)
        for kind, (count, took) in device_seconds(store).items():
            before = spent.get(kind, (0, 0.0))
            spent[kind] = before[0] + count, before[1] + took
        store.close()
    return time_taken(spent, seconds)


def with_interval(values: Sequence[float], factor: float = 1, digits: int = 4) -> str:
    """The mean over the seeds and its 95% bootstrap interval, as in `93.1 [92.5,93.6]`; of one seed its value alone."""
    scores = factor * np.asarray(values, dtype=float)
    if len(scores) < 2:
        return f"{scores[0]:.{digits}g}"
    estimate = bootstrap(mean, scores[:, None])
    return f"{estimate.value:.{digits}g} [{estimate.low:.{digits}g},{estimate.high:.{digits}g}]"


def over_seeds(seeds: int) -> str:
    """What `with_interval` shows, for a table's title."""
    if seeds < 2:
        return "one seed"
    few = ", too narrow for so few seeds" if seeds < 5 else ""
    return f"{seeds} seeds: mean with its 95% interval{few}"


def quartiles(values: Sequence[float], factor: float = 1, digits: int = 4) -> str:
    """The median and the quartiles, as in `93.1 (92.5 to 93.6)`: what a box plot shows."""
    low, middle, high = np.quantile(factor * np.asarray(values, dtype=float), [0.25, 0.5, 0.75])
    return f"{middle:.{digits}g} ({low:.{digits}g} to {high:.{digits}g})"


def rank_correlation(a: Sequence[float], b: Sequence[float]) -> float:
    """Spearman's."""
    from scipy.stats import spearmanr  # type: ignore[import-untyped]

    return float(spearmanr(a, b).statistic)


def _plain(cell: Any) -> Any:
    """A cell of the CSV file: numbers in six digits, nothing where there is none."""
    if cell is None or (isinstance(cell, float) and np.isnan(cell)):
        return ""
    return f"{cell:.6g}" if isinstance(cell, float | np.floating) else cell
