"""**The paper (VIII-C, Table IV).** Top-1 accuracy on ImageNet and number of parameters of what its learner found from VGG-16 and
GoogLeNet, beside the originals and six systems of architecture search, whose figures it quotes. Its claim: as accurate as
they are, with fewer parameters.

**Here.** Accuracy, parameters and size of the original, of what the paper's learner found, of random search's and any other
learner's find, from the trainings of Table V. The paper's table stands below.

**What differs.** The data and widths are those of the task and its options, so its accuracies are not those of ImageNet. The
six systems are not run: some of their ideas are learners here, and can be named with --learner.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from experiments.figures import plt, save
from experiments.reproduction.finds import ORIGINAL, Find, csv_of, finds, hardware, labels, values
from experiments.reproduction.item import Findings, Item, Settings, Show
from experiments.reproduction.paper import TABLE_IV
from experiments.reproduction.report import over_seeds, with_interval


def reproduce(settings: Settings, show: Show) -> None:
    """Plays and trains seed after seed; each adds to the report."""
    for found in finds(settings, settings.tasks[0]):
        show(_findings(found, hardware(settings)))


def _findings(found: Sequence[Find], machine: str) -> Findings:
    task = found[0].task
    whole = np.mean(values(found, ORIGINAL, "parameters"))
    rows = []
    for label in labels(found):
        parameters = values(found, label, "parameters")
        rows.append(
            [
                label,
                with_interval(values(found, label, "test_accuracy"), 100),
                f"{np.mean(parameters):,.0f}",
                f"{min(parameters):,.0f} to {max(parameters):,.0f}",
                f"{100 * np.mean(parameters) / whole:.3g}",
                with_interval(values(found, label, "model_size_mb")),
            ]
        )
    title = f"{task}, {over_seeds(len({find.seed for find in found}))}"
    header = ["network", "test accuracy %", "parameters", "from to", "% of the original's", "size, MB"]
    papers = [[approach, f"{accuracy:g}", parameters] for approach, (accuracy, parameters) in TABLE_IV.items()]
    tables = [(title, header, rows), ("The paper's, on ImageNet", ["approach", "accuracy %", "parameters"], papers)]
    columns, lines = csv_of(found)
    return Findings([task], tables, [], columns, lines, partial(_draw, found), machine)


def _draw(found: Sequence[Find], path: Path) -> None:
    figure, axis = plt.subplots(figsize=(6, 4))
    for label in labels(found):
        of_label = [find for find in found if find.network == label]
        accuracy = [100 * find.metric("test_accuracy") for find in of_label]
        axis.plot([find.metric("parameters") for find in of_label], accuracy, "o", alpha=0.7, label=label)
    axis.set_xscale("log")
    axis.set_xlabel("parameters")
    axis.set_ylabel("test accuracy, %")
    axis.set_title(f"{found[0].task}: every seed", fontsize="medium")
    axis.grid(alpha=0.3)
    axis.legend(fontsize="small")
    save(figure, path)


ITEM = Item(
    "table4",
    "How many parameters does what is found need for its accuracy?",
    "accuracy, parameters and size of the original and every find, from the trainings of table5",
    "training",
    ("digits-convnet",),
    1,
    True,
    __doc__,
    reproduce,
)
