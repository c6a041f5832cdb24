"""A run's trials as a table for other programs: one row per trial, one column per metric and per hyperparameter."""

from __future__ import annotations

import csv
import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from experiments.tuning.episodes import read_episodes
from experiments.tuning.overview import opened, readable
from experiments.tuning.report import short_name
from experiments.tuning.run import Run
from marl_hpo_env import METRICS, InputError, SearchSpace, Store
from marl_hpo_env.files import whole_file


def rows(folder: Path) -> Iterator[dict[str, Any]]:
    """The trials of a folder's runs, or of one run.

    Each row has the columns

    - `run`, and the `learner` that found the design first, empty for the original network;
    - `training`: `search`, `final` where it was trained to convergence, or `shared` where it was not trained and is a slice
      of shared weights;
    - `design`: its action indices, such as `3,5,0`, or `original`; `status`, `reason`, and in the search its `reward`;
    - every metric by its name, as in `METRICS`; empty where it was not measured;
    - every hyperparameter, such as `features.0 kernels`: a number where it is the same in all dimensions; empty for the
      original.

    Args:
        folder: that `marl-hpo tune` wrote to, or that of one run in it.

    Raises:
        InputError: if there is no run, or its files are damaged.
    """
    with opened(folder) as (runs, store):
        for run in runs:
            with readable(run):
                yield from _rows(run, store)


def _rows(run: Run, store: Store) -> Iterator[dict[str, Any]]:
    settings = run.settings
    space = SearchSpace.described(settings["space"])
    told = {shared: _rewards(run, shared, len(space)) for shared in (False, True)}
    if "design" in settings["identity"]:
        told[False][tuple(settings["identity"]["design"])] = "", float("nan")
    for fingerprint, trial in store.trials():
        design, asked = trial.design, trial.request
        if fingerprint not in run.fingerprints or asked.seed != settings["training_seed"]:
            continue
        rewards = told[trial.shared]
        if design is not None and design not in rewards:
            continue
        learner, reward = ("", None) if design is None else rewards[design]
        hyperparameters = {} if design is None else space.hyperparameters(design)
        yield {
            "run": run.path.name,
            "learner": learner,
            "training": "shared" if trial.shared else "search" if asked.epochs is not None else "final",
            "design": "original" if design is None else ",".join(map(str, design)),
            "status": trial.status,
            "reason": trial.reason,
            "reward": reward if learner and asked.epochs is not None else None,
            **dict.fromkeys(METRICS),
            **trial.metrics,
            **{
                f"{layer.name} {short_name(name)}": None
                if design is None
                else plain_value(hyperparameters[layer.name][name])
                for layer in space.layers
                for name in layer.choices
            },
        }


def _rewards(run: Run, shared: bool, layers: int) -> dict[tuple[int, ...], tuple[str, float]]:
    """By design who found it first, and what it was rewarded with."""
    rewards: dict[tuple[int, ...], tuple[str, float]] = {}
    for label in run.labels(shared):
        for line in read_episodes(run.episodes(label)) if run.episodes(label).exists() else ():
            rewards.setdefault(line.design(layers), (label, line.reward))
    return rewards


def plain_value(value: Any) -> Any:
    """A hyperparameter's value for other programs: a number where it is one in all dimensions, else its text."""
    if isinstance(value, tuple) and len(set(value)) == 1:
        value = value[0]
    return value if isinstance(value, int | float) else str(value)


def write_csv(folder: Path, path: Path) -> int:
    """Writes `rows` as a CSV file with a header; returns how many there are.

    Raises:
        InputError: as `rows`; or if there is no trial.
    """
    found = list(rows(folder))
    if not found:
        raise InputError(f"The runs in {str(folder)!r} have no trial yet.")
    with whole_file(path) as partial, partial.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(dict.fromkeys(column for row in found for column in row)))
        writer.writeheader()
        writer.writerows(found)
    return len(found)


def data_frame(folder: Path | str) -> Any:
    """The same as a pandas `DataFrame`, as `experiments.tuning.export.data_frame("runs/mine")`.

    Raises:
        InputError: as `rows`; or where pandas is not installed.
    """
    try:
        pandas = importlib.import_module("pandas")
    except ImportError:
        raise InputError(
            "A data frame needs the package 'pandas'; install it, or write a file with marl-hpo report --csv."
        ) from None
    return pandas.DataFrame(rows(Path(folder)))
