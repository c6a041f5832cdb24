"""**The paper (VIII-D).** The learner takes 2 ms per episode more than random search, which makes 4, 17 and 29 seconds for
VGG-16, GoogLeNet and U-Net. Its Q-tables take 164, 380 and 255 KB. The first phases of 500, 4500 and 2000 episodes are
slightly longer than the least that fill all tables (VI-A).

**Here.** The paper's own search spaces and numbers of episodes, with a second phase of at most 400, without data: a formula
gives the rewards, so nothing but the learners is timed. The tables' memory is that of arrays of float32 or float64, and that
of the lists which this learner keeps, with the marks of visits. Beside it stands how many cells no episode has visited.

**What differs.** The machine. The paper names no type of number, and its memory fits no single reading of the tables (reading
13). The second phase's length hangs on the rewards, which a formula gives here.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from agents import Episode, PairwiseQ, RandomSearch, learner
from experiments.figures import plt, save
from experiments.reproduction.item import Findings, Item, Settings, Show
from experiments.reproduction.playing import with_bar
from experiments.reproduction.report import over_seeds, with_interval
from experiments.reproduction.trainings import the_papers_learner
from experiments.tuning.callbacks import PHASES
from marl_hpo_env import Design, SearchSpace

PAPERS_MS = 2.0
PAPERS_KB = {"vgg16": 164, "googlenet": 380, "unet": 255}
"""By the beginning of a task's name."""

TASKS = ("vgg16-cifar10", "googlenet-cifar10", "unet-isic18")

Row = dict[str, Any]


def reproduce(settings: Settings, show: Show) -> None:
    """Plays each space and each seed."""
    spaces = {task.name: task.space for task in map(settings.make, settings.tasks)}
    seeds = settings.seeds or 3
    rows: list[Row] = []
    for name, seed in with_bar("space, seed", [(name, seed) for name in spaces for seed in range(seeds)]):
        team: Any = learner(the_papers_learner(settings.episodes))
        team.prepare(name)
        rows.append({"task": name, "seed": seed, **measured(team, spaces[name], seed)})
    show(_findings(rows, spaces, [] if tuple(spaces) == TASKS else list(spaces)))


def measured(team: PairwiseQ, space: SearchSpace, seed: int) -> Row:
    """One play of both phases, and random search with as many episodes.

    Args:
        team: the paper's learner.
        space: the layers and their actions.
        seed: of the learners and of the formula.

    Returns:
        Milliseconds per episode of each phase and of random search; the cells of the tables and how many are unvisited after
        each phase; and the bytes of the tables.
    """
    rng = np.random.default_rng(seed)
    values = [rng.random(size) for size in space.sizes]

    def episode(design: Design) -> Episode:
        reward = float(np.mean([of_layer[action] for of_layer, action in zip(values, design, strict=True)]))
        return Episode(design, reward, {}, False)

    team.reset(space, seed)
    spent, episodes = dict.fromkeys(PHASES, 0.0), dict.fromkeys(PHASES, 0)
    unvisited = {}
    while True:
        phase = team.phase
        if phase == PHASES[1] and PHASES[0] not in unvisited:
            unvisited[PHASES[0]] = _unvisited(team)
        started = time.perf_counter()
        designs = team.ask(1)
        asked = time.perf_counter() - started
        if not designs:
            break
        told = [episode(designs[0])]
        started = time.perf_counter()
        team.tell(told)
        spent[phase] += asked + time.perf_counter() - started
        episodes[phase] += 1
    unvisited[PHASES[1]] = _unvisited(team)
    total = sum(episodes.values())
    search = RandomSearch()
    search.reset(space, seed)
    started = time.perf_counter()
    for _ in range(total):
        search.tell([episode(design) for design in search.ask(1)])
    random_ms = 1e3 * (time.perf_counter() - started) / total
    ms = {phase: 1e3 * spent[phase] / episodes[phase] if episodes[phase] else math.nan for phase in PHASES}
    return {
        "exploration_episodes": episodes[PHASES[0]],
        "exploitation_episodes": episodes[PHASES[1]],
        "exploration_ms": ms[PHASES[0]],
        "exploitation_ms": ms[PHASES[1]],
        "team_ms": 1e3 * sum(spent.values()) / total,
        "random_ms": random_ms,
        "extra_seconds": sum(spent.values()) - random_ms * total / 1e3,
        "tables": len(team.tables),
        "cells": sum(table.cells for table in team.tables.values()),
        "unvisited_after_exploration": unvisited[PHASES[0]],
        "unvisited_at_the_end": unvisited[PHASES[1]],
        "bytes_as_kept": _bytes(team),
    }


def _unvisited(team: PairwiseQ) -> int:
    return sum(len(row) for table in team.tables.values() for row in table.unvisited)


def _bytes(team: PairwiseQ) -> int:
    """Of the tables with their marks of visits; small whole numbers are shared by all of Python and not counted."""
    total = 0
    for table in team.tables.values():
        total += sum(sys.getsizeof(row) + sum(map(sys.getsizeof, row)) for row in table.q)
        total += sum(map(sys.getsizeof, [*table.unvisited, *table.unasked, table.row_max]))
    return total


def _papers_kb(task: str) -> int | None:
    return PAPERS_KB.get(task.partition("-")[0])


def _findings(rows: Sequence[Row], spaces: dict[str, SearchSpace], subjects: Sequence[str]) -> Findings:
    costs, memory = [], []
    for name, space in spaces.items():
        runs = [row for row in rows if row["task"] == name]
        of = {column: [run[column] for run in runs] for column in runs[0]}
        first = runs[0]
        count = f"{first['exploration_episodes']} + {np.mean(of['exploitation_episodes']):.0f}"
        costs.append(
            [
                name,
                str(len(space)),
                count,
                *(with_interval(of[column], digits=3) for column in ("exploration_ms", "exploitation_ms", "random_ms")),
                with_interval([run["team_ms"] - run["random_ms"] for run in runs], digits=3),
                with_interval(of["extra_seconds"], digits=3),
            ]
        )
        left = [
            np.array(of[column]) / first["cells"] for column in ("unvisited_after_exploration", "unvisited_at_the_end")
        ]
        memory.append(
            [
                name,
                str(first["tables"]),
                f"{first['cells']:,}",
                f"{first['cells'] * 4 / 1e3:,.0f}",
                f"{first['cells'] * 8 / 1e3:,.0f}",
                f"{np.mean(of['bytes_as_kept']) / 1e3:,.0f}",
                str(_papers_kb(name) or "-"),
                *(f"{100 * share.mean():.2f}" for share in left),
            ]
        )
    seeds = len({row["seed"] for row in rows})
    slowest = max(float(np.mean([r["team_ms"] - r["random_ms"] for r in rows if r["task"] == name])) for name in spaces)
    return Findings(
        subjects,
        [
            (
                f"Milliseconds per episode, {over_seeds(seeds)}",
                [
                    "space",
                    "layers",
                    "episodes",
                    "first phase",
                    "second phase",
                    "random search",
                    "more than it",
                    "in all, s",
                ],
                costs,
            ),
            (
                "The Q-tables",
                [
                    *("space", "tables", "cells", "KB as float32", "KB as float64", "KB as kept", "the paper's KB"),
                    *("unvisited after the first phase, %", "at the end, %"),
                ],
                memory,
            ),
        ],
        [f"At most {slowest:.2g} ms per episode more than random search; the paper has {PAPERS_MS:g} ms."],
        list(rows[0]),
        [list(row.values()) for row in rows],
        partial(_draw, rows, list(spaces)),
    )


def _draw(rows: Sequence[Row], names: Sequence[str], path: Path) -> None:
    figure, axes = plt.subplots(1, 3, figsize=(12, 3.6))
    places = np.arange(len(names))

    def means(column: str) -> list[float]:
        return [float(np.mean([row[column] for row in rows if row["task"] == name])) for name in names]

    axes[0].bar(places, np.subtract(means("team_ms"), means("random_ms")), 0.5, color="tab:blue", label="here")
    axes[0].axhline(PAPERS_MS, color="tab:red", linestyle="--", label="the paper")
    axes[0].set_ylabel("ms per episode more than random search")
    kilobytes = np.array(means("cells")) * 8 / 1e3
    axes[1].bar(places - 0.2, kilobytes, 0.4, color="tab:blue", label="here, float64")
    papers = [float(_papers_kb(name) or math.nan) for name in names]
    axes[1].bar(places + 0.2, papers, 0.4, color="tab:red", label="the paper")
    axes[1].set_yscale("log")
    axes[1].set_ylabel("Q-tables, KB")
    for offset, column, label in (
        (-0.2, "unvisited_after_exploration", "after the first phase"),
        (0.2, "unvisited_at_the_end", "at the end"),
    ):
        axes[2].bar(places + offset, 100 * np.array(means(column)) / np.array(means("cells")), 0.4, label=label)
    axes[2].set_ylabel("unvisited cells, %")
    for axis in axes:
        axis.set_xticks(places, names, fontsize="small")
        axis.legend(fontsize="small")
        axis.grid(alpha=0.3, axis="y")
    save(figure, path)


ITEM = Item(
    "overhead",
    "What do the learner and its Q-tables cost (VIII-D)?",
    "ms per episode beside random search, memory of the tables and unvisited cells, on the paper's own spaces",
    "spaces",
    TASKS,
    9,
    False,
    __doc__,
    reproduce,
)
