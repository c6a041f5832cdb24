"""**The paper (VIII-B, Table V).** Six pairs of network and data; for each the original, what random search found and what the
paper's learner found: accuracy, training and inference time per batch, model size. Its claims: up to 83 times smaller, 52%
shorter training and 54% shorter inference, no loss of accuracy, and ahead of random search in everything.

**Here.** The same four columns of the same three networks, and of any other learner's find, for several seeds. Every network
is trained to convergence (VII), alone on the machine. Random search and the others get as many distinct designs as the
paper's learner had in both phases. Found is the best design seen, by the task's reward.

**What differs.** The data and widths are those of the task and its options; the machine. The paper has one run of each.
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
    TEAM,
    Find,
    csv_of,
    finds,
    hardware,
    improvement,
    improvements,
    labels,
    values,
)
from experiments.reproduction.item import Findings, Item, Settings, Show
from experiments.reproduction.paper import TABLE_V, papers_case
from experiments.reproduction.report import over_seeds, with_interval
from experiments.text_tables import TextTable
from marl_hpo_env import PaperReward, Reward

COLUMNS = {
    "test_accuracy": ("test accuracy %", 100),
    "train_ms_per_batch": ("training, ms/batch", 1),
    "model_size_mb": ("size, MB", 1),
    "inference_ms_per_batch": ("inference, ms/batch", 1),
}
"""Of Table V: title and factor."""


def reproduce(settings: Settings, show: Show) -> None:
    """Plays and trains seed after seed; each adds to the report."""
    reward = settings.make(settings.tasks[0]).reward
    for found in finds(settings, settings.tasks[0]):
        show(_findings(found, reward, hardware(settings)))


def _findings(found: Sequence[Find], reward: Reward, machine: str) -> Findings:
    task = found[0].task
    seeds = len({find.seed for find in found})
    case = papers_case(task)
    tables = [_measured(found, f"{task}, {over_seeds(seeds)}"), improvement_table(found, TEAM)]
    if case is not None:
        tables.append(_papers(case))
    header, rows = csv_of(found)
    return Findings(
        [task], tables, [*sentences(found), *reasons(found, reward)], header, rows, partial(_draw, found), machine
    )


def _measured(found: Sequence[Find], title: str) -> TextTable:
    header = ["network", *(title for title, _ in COLUMNS.values()), "designs", "highest reward"]
    rows = []
    for label in labels(found):
        cells = [_cell(values(found, label, metric), factor) for metric, (_, factor) in COLUMNS.items()]
        of_label = [find for find in found if find.network == label]
        designs = f"{np.mean([find.designs for find in of_label]):.0f}" if label != ORIGINAL else "-"
        rewards = [find.reward for find in of_label if find.reward is not None]
        rows.append([label, *cells, designs, _cell(rewards, 1)])
    return title, header, rows


def _cell(measured: Sequence[float], factor: float) -> str:
    return with_interval(measured, factor) if measured else "-"


def improvement_table(found: Sequence[Find], network: str) -> TextTable:
    """A network's improvements over each other one."""
    rows = []
    for label in labels(found):
        if label != network:
            better = improvements(found, network, label)
            rows.append([label, *(_cell(better[name], 1) for name in IMPROVEMENTS)])
    return f"What {network} found, against the others of the same seed", ["against", *IMPROVEMENTS.values()], rows


def _papers(case: tuple[str, str]) -> TextTable:
    proposed, *others = TABLE_V[case]
    rows = []
    for label, theirs in zip(("original", "random search"), others, strict=True):
        better = improvement(proposed._asdict(), theirs._asdict())
        rows.append([label, *(f"{better[name]:.4g}" for name in IMPROVEMENTS)])
    return f"The paper's, {' on '.join(case)}", ["against", *IMPROVEMENTS.values()], rows


def sentences(found: Sequence[Find]) -> list[str]:
    """What the improvements say of the paper's claims."""
    said = []
    for label, what in ((ORIGINAL, "the original"), (RANDOM, "random search's find")):
        better = improvements(found, TEAM, label)
        points, size = better["accuracy"], better["size"]
        said.append(
            f"Against {what}, {TEAM}'s find differs by {with_interval(points, digits=3)} points of accuracy and is "
            f"{with_interval(size, digits=3)} times smaller."
        )
    epochs = " or ".join(map(str, sorted({find.epochs_per_episode for find in found})))
    return [*said, f"A design was trained for {epochs} epochs in an episode."]


def reasons(found: Sequence[Find], reward: Reward) -> list[str]:
    """Where what was found is larger or less accurate than the original: what the reward and short episodes did."""
    better = improvements(found, TEAM, ORIGINAL)
    said = []
    if np.mean(better["size"]) < 1 and isinstance(reward, PaperReward) and reward.accuracy_weight:
        size = np.mean(values(found, ORIGINAL, "model_size_mb"))
        points = (1 - reward.accuracy_weight) / reward.accuracy_weight
        said.append(
            f"Why it is no smaller: in points of accuracy a megabyte costs {points:.3g} by {reward}, and all of the "
            f"original's {size:.3g} MB cost {points * size:.3g}."
        )
    if np.mean(better["accuracy"]) < 0:
        team = [find for find in found if find.network == TEAM]
        designs, epochs = (
            np.mean(numbers) for numbers in zip(*((f.designs, f.metric("epochs")) for f in team), strict=True)
        )
        said.append(
            f"Why it is less accurate: it is the best of {designs:.0f} designs after an episode's epochs, while final training "
            f"took {epochs:.0f}; the original was not one of them."
        )
    return said


def _draw(found: Sequence[Find], path: Path) -> None:
    figure, axes = plt.subplots(1, 4, figsize=(12, 3.4))
    names = labels(found)
    for axis, (metric, (title, factor)) in zip(axes, COLUMNS.items(), strict=True):
        for place, name in enumerate(names):
            measured = factor * np.array(values(found, name, metric))
            if len(measured):
                axis.bar(place, measured.mean(), 0.6, color=f"C{place}", alpha=0.6)
                axis.plot([place] * len(measured), measured, ".", color="black", markersize=4)
        axis.set_xticks(range(len(names)), names, rotation=20, fontsize="small")
        axis.set_title(title, fontsize="medium")
        axis.grid(alpha=0.3, axis="y")
    figure.suptitle(f"{found[0].task}: mean and every seed", fontsize="medium")
    save(figure, path)


ITEM = Item(
    "table5",
    "How good, small and fast is what is found, beside the original and random search?",
    "original, found, random search and other learners, trained to convergence, several seeds",
    "training",
    ("digits-convnet",),
    1,
    True,
    __doc__,
    reproduce,
)
