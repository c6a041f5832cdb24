"""**The paper (VIII-B, Fig. 10).** Bars of how much what its learner found is better than what random search found, in
accuracy, size, training and inference time, for all six pairs of network and data. Its claim: better in each.

**Here.** The same bars from the trainings of Table V, with every seed as a point, and the paper's own beside them where it has
this network. Other learners' finds are compared with random search's, too.

**What differs.** As in Table V. The picture cannot be measured off the paper's text, so its bars are computed from Table V.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from experiments.figures import plt, save
from experiments.reproduction.finds import (
    IMPROVEMENTS,
    ORIGINAL,
    RANDOM,
    Find,
    csv_of,
    finds,
    hardware,
    improvement,
    improvements,
    labels,
)
from experiments.reproduction.item import Findings, Item, Settings, Show
from experiments.reproduction.paper import TABLE_V, papers_case
from experiments.reproduction.report import over_seeds, with_interval


def reproduce(settings: Settings, show: Show) -> None:
    """Plays and trains seed after seed; each adds to the report."""
    for found in finds(settings, settings.tasks[0]):
        show(_findings(found, hardware(settings)))


def _findings(found: Sequence[Find], machine: str) -> Findings:
    task = found[0].task
    rows = []
    for label in _rivals(found):
        better = improvements(found, label, RANDOM)
        rows.append([label, *(with_interval(better[n]) if better[n] else "-" for n in IMPROVEMENTS)])
    papers = _papers(task)
    if papers:
        rows.append(["the paper’s", *(f"{papers[name]:.4g}" for name in IMPROVEMENTS)])
    title = f"Against random search, {over_seeds(len({find.seed for find in found}))}"
    header, lines = csv_of(found)
    table = title, ["find of", *IMPROVEMENTS.values()], rows
    return Findings([task], [table], [], header, lines, partial(_draw, found), machine)


def _rivals(found: Sequence[Find]) -> list[str]:
    return [label for label in labels(found) if label not in (ORIGINAL, RANDOM)]


def _papers(task: str) -> dict[str, float] | None:
    case = papers_case(task)
    if case is None:
        return None
    proposed, _, search = TABLE_V[case]
    return improvement(proposed._asdict(), search._asdict())


def _draw(found: Sequence[Find], path: Path) -> None:
    figure, axes = plt.subplots(1, 4, figsize=(12, 3.4))
    papers = _papers(found[0].task)
    for axis, (name, unit) in zip(axes, IMPROVEMENTS.items(), strict=True):
        bars = {label: improvements(found, label, RANDOM)[name] for label in _rivals(found)}
        if papers:
            bars["the paper’s"] = [papers[name]]
        for place, measured in enumerate(bars.values()):
            if measured:
                axis.bar(place, np.mean(measured), 0.6, color=f"C{place}", alpha=0.6)
                axis.plot([place] * len(measured), measured, ".", color="black", markersize=4)
        axis.axhline(1 if name == "size" else 0, color="black", linewidth=0.8)
        axis.set_xticks(range(len(bars)), list(bars), rotation=20, fontsize="small")
        axis.set_title(unit, fontsize="medium")
        axis.grid(alpha=0.3, axis="y")
    figure.suptitle(f"{found[0].task}: better than random search", fontsize="medium")
    save(figure, path)


ITEM = Item(
    "fig10",
    "In what is the find better than random search's?",
    "improvements over random search's find as bars, from the trainings of table5",
    "training",
    ("digits-convnet",),
    1,
    True,
    __doc__,
    reproduce,
)
