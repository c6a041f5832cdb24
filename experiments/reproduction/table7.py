"""**The paper (VIII-D, Table VII).** GPU days that architecture searches took on CIFAR-10, as others report them on their GPUs,
beside 0.6 days of its learner for VGG-16 on a V100. (Its title says CPU time.) Its claim: the least but for MANAS.

**Here.** Device hours by method on one task and one machine: the paper's learner, random search and any other learner, all with
as many distinct designs. It is the sum of what the trainings of each one's designs took. They differ because designs do.

**What differs.** The paper compares what other papers say of other spaces and machines. Here all methods search the same space,
with as many designs, so what is compared is what their designs cost, and how high their rewards are for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from experiments.figures import plt, save
from experiments.reproduction.finds import Find, csv_of, finds, hardware, labels
from experiments.reproduction.item import Findings, Item, Settings, Show
from experiments.reproduction.paper import TABLE_VII
from experiments.reproduction.report import over_seeds, with_interval


def reproduce(settings: Settings, show: Show) -> None:
    """Plays seed after seed; each adds to the report."""
    for found in finds(settings, settings.tasks[0], final=False):
        show(_findings(found, hardware(settings)))


def _findings(found: Sequence[Find], machine: str) -> Findings:
    rows = []
    for label in labels(found):
        runs = [find for find in found if find.network == label]
        rows.append(
            [
                label,
                f"{np.mean([find.designs for find in runs]):.0f}",
                with_interval([find.search_seconds / 3600 for find in runs], digits=3),
                f"{np.mean([find.search_seconds for find in runs]) / 86400:.3g}",
                with_interval([find.search_seconds / find.designs for find in runs], digits=3),
                with_interval([find.reward for find in runs if find.reward is not None]),
            ]
        )
    header = ["method", "designs", "device hours", "device days", "s per design", "highest reward"]
    title = f"{found[0].task}, {over_seeds(len({find.seed for find in found}))}"
    papers = [[method, days, gpu] for method, (days, gpu) in TABLE_VII.items()]
    tables = [(title, header, rows), ("The paper's, on CIFAR-10", ["method", "GPU days", "GPU"], papers)]
    columns, lines = csv_of(found)
    return Findings([found[0].task], tables, [], columns, lines, partial(_draw, found), machine)


def _draw(found: Sequence[Find], path: Path) -> None:
    names = labels(found)
    figure, axis = plt.subplots(figsize=(2 + 1.2 * len(names), 3.6))
    for place, name in enumerate(names):
        hours = [find.search_seconds / 3600 for find in found if find.network == name]
        axis.bar(place, np.mean(hours), 0.6, color=f"C{place}", alpha=0.6)
        axis.plot([place] * len(hours), hours, ".", color="black", markersize=4)
    axis.set_xticks(range(len(names)), names, rotation=20, fontsize="small")
    axis.set_ylabel("device hours of a search")
    axis.set_title(found[0].task, fontsize="medium")
    axis.grid(alpha=0.3, axis="y")
    save(figure, path)


ITEM = Item(
    "table7",
    "How many device hours does the search take, by method?",
    "the sum of what each method's trainings took, on one task with as many designs",
    "training",
    ("digits-convnet",),
    1,
    True,
    __doc__,
    reproduce,
)
