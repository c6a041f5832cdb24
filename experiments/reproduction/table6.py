"""**The paper (VIII-D, Table VI).** GPU hours that the search took for each of six pairs of network and data, from 15 hours for
VGG-16 on CIFAR-100 to 1670 for GoogLeNet on ImageNet, on an NVIDIA V100.

**Here.** Device hours by task: the sum of what the trainings of all distinct designs of a run of the paper's learner took, by
phase. Nothing is counted twice, and what is stored is not trained again. Final training is not among them, as in the paper.

**What differs.** The machine, the data, the widths and the number of episodes. Trainings side by side slow each other down, and
each counts with its own time.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from experiments.figures import plt, save
from experiments.reproduction.finds import Find, csv_of, finds, hardware
from experiments.reproduction.item import Findings, Item, Settings, Show
from experiments.reproduction.paper import TABLE_VI, papers_case
from experiments.reproduction.report import over_seeds, with_interval


def reproduce(settings: Settings, show: Show) -> None:
    """Plays task after task; each adds to the report."""
    played: dict[str, list[Find]] = {}
    for name in settings.tasks:
        for found in finds(settings, name, final=False, rivals=False):
            played[found[0].task] = found
            show(_findings(played, hardware(settings)))


def _findings(played: dict[str, list[Find]], machine: str) -> Findings:
    rows = []
    for task, found in played.items():
        case = papers_case(task)
        hours = [find.search_seconds / 3600 for find in found]
        per_design = [find.search_seconds / find.designs for find in found]
        rows.append(
            [
                task,
                f"{np.mean([find.episodes for find in found]):.0f}",
                f"{np.mean([find.designs for find in found]):.0f}",
                str(found[-1].epochs_per_episode),
                f"{np.mean([find.first_phase_seconds for find in found]) / 3600:.3g}",
                with_interval(hours, digits=3),
                with_interval(per_design, digits=3),
                f"{TABLE_VI[case]} ({' on '.join(case)})" if case else "-",
            ]
        )
    seeds = max(len(found) for found in played.values())
    header = [
        "task",
        "episodes",
        "designs",
        "epochs",
        "first phase, h",
        "both phases, h",
        "s per design",
        "the paper's, h",
    ]
    every = [find for found in played.values() for find in found]
    columns, lines = csv_of(every)
    title = f"Device hours, {over_seeds(seeds)}"
    return Findings(list(played), [(title, header, rows)], [], columns, lines, partial(_draw, every), machine)


def _draw(found: Sequence[Find], path: Path) -> None:
    tasks = list(dict.fromkeys(find.task for find in found))
    figure, axis = plt.subplots(figsize=(2 + 2 * len(tasks), 3.6))
    for place, task in enumerate(tasks):
        runs = [find for find in found if find.task == task]
        first = np.mean([find.first_phase_seconds for find in runs]) / 3600
        whole = np.mean([find.search_seconds for find in runs]) / 3600
        axis.bar(place, first, 0.5, color="tab:blue", label=None if place else "first phase")
        axis.bar(place, whole - first, 0.5, bottom=first, color="tab:orange", label=None if place else "second phase")
    axis.set_xticks(range(len(tasks)), tasks, fontsize="small")
    axis.set_ylabel("device hours of a search")
    axis.grid(alpha=0.3, axis="y")
    axis.legend(fontsize="small")
    save(figure, path)


ITEM = Item(
    "table6",
    "How many device hours does the search take, by task?",
    "the sum of what a run's trainings took, by phase",
    "training",
    ("digits-convnet",),
    6,
    False,
    __doc__,
    reproduce,
)
