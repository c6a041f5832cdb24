"""What is in a run's folder, so that two folders can be compared."""

from __future__ import annotations

import csv
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from safetensors.numpy import load_file

from marl_hpo_env import Request, Store, Trial
from marl_hpo_env.tables.table import Table
from marl_hpo_env.trial import CLOCK_METRICS

CLOCKS = ("training_seconds", "ms_per_episode")
"""Columns of `runs.csv` that are read off a clock."""


def rows(folder: Path) -> dict[tuple[Any, ...], tuple[Any, ...]]:
    """Every row of trials as it stands in a folder's store, by its key; none where there is no store yet."""
    path = folder / "trials.sqlite"
    if not path.exists():
        return {}
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=60)) as database:
        try:
            found = database.execute("select fingerprint, design, seed, epochs, * from trials").fetchall()
        except sqlite3.OperationalError:  # it is being made
            return {}
    return {row[:4]: row[4:] for row in found}


def outcome(trial: Trial) -> Any:
    """A trial without what was read off a clock."""
    metrics = {name: value for name, value in trial.metrics.items() if value is not None and name not in CLOCK_METRICS}
    return trial.request, trial.status, trial.reason, metrics, list(trial.history)


def trials(folder: Path) -> list[Any]:
    """Every stored trial without what was read off a clock, in order."""
    store = Store(folder / "trials.sqlite")
    try:
        return [outcome(trial) for _, trial in store.trials()]
    finally:
        store.close()


def tune_result(folder: Path) -> dict[str, Any]:
    """What a `tune` came to: its trials, episodes and networks."""
    episodes = {path.name: path.read_text() for path in folder.glob("*/episodes-*.csv")}
    return {
        "trials": trials(folder),
        "episodes": episodes,
        "networks": list(map(weights, folder.glob("*/*.safetensors"))),
    }


def weights(path: Path) -> dict[str, bytes]:
    """The weights in a file; the order of what it says beside them is left to chance."""
    return {name: tensor.tobytes() for name, tensor in load_file(path).items()}


def compare_result(folder: Path) -> dict[str, Any]:
    """What a `compare` came to: its trials and `runs.csv`, but for times."""
    with (folder / "runs.csv").open(newline="") as file:
        lines = [{name: value for name, value in row.items() if name not in CLOCKS} for row in csv.DictReader(file)]
    return {"trials": trials(folder), "runs": lines}


def table_result(folder: Path) -> dict[str, Any]:
    """What a `table build` came to: its trials and the table's, but for times."""
    (path,) = folder.glob("*.npz")
    return {"trials": trials(folder), "table": list(of_table(Table.open(path)))}


def of_table(table: Table) -> Iterator[Any]:
    """Every trial of a table without what was read off a clock."""
    designs = [None, *map(table.space.design_at, range(table.space.size))]
    for seed in table.seeds:
        for design in designs:
            yield outcome(table.trial(Request(design, seed, table.epochs)))


def left_over(folder: Path) -> list[Path]:
    """Files that were only on their way to becoming others."""
    return [path for path in folder.rglob("*") if path.name.endswith(".partial") or path.name.startswith(".")]
