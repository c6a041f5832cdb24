"""What a run's report says beside its tables, in sentences."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from experiments.tuning.callbacks import PHASES
from experiments.tuning.candidates import Settled
from experiments.tuning.tuning import Play, Tuning
from marl_hpo_env import PaperReward, Reward, Store, Task, Trial, WeightedReward
from marl_hpo_env.evaluators.epoch_budget import (
    CALIBRATION_DESIGNS,
    FEWEST_EPOCHS,
    MOST_EPOCHS,
    THRESHOLD_FRACTION,
)
from marl_hpo_env.reward import Constraint

SHARED = "shared weights"
"""What trials of slices are counted under."""

PAPERS_MEMORY = "164, 255 and 380 KB"
"""Of the tables of its three networks (VIII-D)."""


def outcome(played: Play) -> list[str]:
    """What a learner's play came to."""
    counts = f"{len(played.episodes)} episodes, {played.evaluations} distinct designs"
    lines = [f"{played.name}: best reward {played.best.reward:.4f} ({counts})."]
    if played.ended:
        lines.append(f"{played.name}: the search ended, since {played.ended}.")
    if played.converged is not None:
        last = next(e.reward for e in reversed(played.episodes) if e.design == played.converged)
        same = "the best" if played.converged == played.best.design else f"{list(played.converged)}, reward {last:.4f}"
        lines.append(f"{played.name}: the tables converged to {same}.")
    elif played.phases[-1]:
        lines.append(f"{played.name}: the tables had not converged.")
    for status in ("failed", "terminated"):
        without = [trial for trial in played.trials.values() if trial.status == status]
        if without:
            lines.append(f"{played.name}: {len(without)} designs {status}, such as one because: {without[0].reason}")
    return lines


def of_tables(played: Play) -> list[str]:
    """The memory of the paper's learner's tables (VIII-D), and how many of their cells its first phase left unvisited; none for
    other learners."""
    if not played.tables:
        return []
    cells = sum(rows * columns for rows, columns in played.tables.values())
    explored = [e.design for e, phase in zip(played.episodes, played.phases, strict=True) if phase == PHASES[0]]
    # A layer without neighbours has a table of one row.
    visited = sum(len({(0 if i == j else d[i], d[j]) for d in explored}) for i, j in played.tables)
    left = cells - visited
    kilobytes = " and ".join(f"{cells * width / 1e3:.4g} KB as float{8 * width}" for width in (4, 8))
    count = f"{len(played.tables)} table{'s' if len(played.tables) > 1 else ''}"
    return [
        f"{played.name}: {count} of {cells:,} cells, {kilobytes}; the paper's have {PAPERS_MEMORY} (VIII-D).",
        f"{played.name}: after the first phase of {len(explored)} episodes {left:,} cells ({left / cells:.1%}) were unvisited.",
    ]


def below_zero(reward: Reward, trials: Iterable[Trial]) -> list[str]:
    """Where Eq. 2 as printed is below 0 for most completed designs: for how many, and with which weight for no more than half.

    Args:
        reward: says nothing where it is none of the paper's.
        trials: of distinct designs.
    """
    if not isinstance(reward, PaperReward):
        return []
    completed = [trial for trial in trials if trial.status == "completed"]
    below = sum(reward.printed(trial) < 0 for trial in completed)
    if 2 * below <= len(completed):
        return []
    accuracy, size = (PaperReward(weight, reward.accuracy_score).printed for weight in (1.0, 0.0))
    # c A - (1 - c) S = 0, solved for c.
    weights = [-size(trial) / (accuracy(trial) - size(trial)) for trial in completed]
    return [
        f"As printed, Eq. 2 is below 0 for {below} of the {len(completed)} completed designs ({below / len(completed):.0%}); "
        f"with c_A = {np.median(weights):.3f} half of them would not be."
    ]


def inheritance(task: Task) -> list[str]:
    """Which weights designs start from, and what of the original has none; nothing where they start fresh."""
    if task.inherited is None:
        return []
    anew = [name for name, _ in task.build(None, "meta").named_parameters() if name not in task.inherited]
    rates = " or ".join(dict.fromkeys(f"{recipe.learning_rate:g}" for recipe in task.recipes))
    lines = [f"Every design and the original start from the given weights, at a learning rate of {rates}."]
    if anew:
        lines.append(f"Drawn anew, since the weights are for another number of classes: {', '.join(anew)}.")
    return lines


def largest_class(task: Task) -> list[str]:
    """What guessing the largest class would give; nothing where the targets are no classes."""
    if (largest := task.largest_class) is None:
        return []
    return [
        f"Guessing the largest class of the training images, {largest.name}, would give {100 * largest.validation:.2f}% of the "
        f"validation's and {100 * largest.test:.2f}% of the test's."
    ]


def epoch_budget(tuning: Tuning) -> str:
    """How many epochs a design was trained, and how that was found."""
    budget, epochs = tuning.task.recipe.epochs, tuning.env.epochs
    per_epoch = any(objective.metric == "epochs_to_threshold" for objective in tuning.reward.objectives)
    if isinstance(budget, int) and not per_epoch:
        return f"Epochs of a design's training: {epochs}, as given."
    where = (
        f"a training loss of {tuning.env.threshold:.4g}, {THRESHOLD_FRACTION:g} of the way from guessing "
        f"({tuning.task.guessing_loss:.4g}) to the original's after {budget if isinstance(budget, int) else MOST_EPOCHS} epochs"
    )
    if isinstance(budget, int):
        return f"Epochs of a design's training: {epochs}, as given; the threshold of A per epoch is {where}."
    found = (
        f"calibrated on the original and {CALIBRATION_DESIGNS} random designs"
        if budget == "calibrated"
        else f"lowered from {MOST_EPOCHS} as the run went on"
    )
    return f"Epochs of a design's training: {epochs}, {found}: the fewest, from {FEWEST_EPOCHS}, to {where}."


def constraints(tuning: Tuning, name: str, settled: Settled, original: Trial) -> list[str]:
    """Whether the constraints that held after a few epochs hold for the network that is taken home, and how many were tried."""
    reward = tuning.reward
    if not isinstance(reward, WeightedReward) or not reward.constraints:
        return []
    broken = reward.broken(settled.trial, original)
    count, tried = len(settled.candidates), len(settled.tried)
    verdict = f"does not keep {', '.join(broken)}" if broken else f"keeps {', '.join(reward.constraints)}"
    if not broken and _unresolved(tuning.task, reward):
        verdict = f"breaks no bound, but whether it keeps {', '.join(_unresolved(tuning.task, reward))} cannot be told"
    return [
        f"{name}: of {count} candidate{'s' if count > 1 else ''} along the front {tried} "
        f"{'was' if tried == 1 else 'were'} trained to convergence, the one with the best reward first.",
        f"{name}: trained to convergence, the network {verdict}.",
    ]


def resolution(task: Task, reward: Reward) -> list[str]:
    """How much one validation example weighs in a bound on the accuracy beside the original's; nothing where there is none."""
    if not _bounds_on_accuracy(task, reward):
        return []
    count = len(task.splits.validation[1])
    line = f"One of the {count} validation examples weighs {100 / count:.3g} points of accuracy"
    if not (unresolved := _unresolved(task, reward)):
        return [f"{line}."]
    return [
        f"{line}, more than {', '.join(unresolved)} allows: whether a network keeps that cannot be told from so few, and "
        "candidates are tried until one has as many right as the original."
    ]


def _unresolved(task: Task, reward: Reward) -> list[str]:
    """The bounds on accuracy that are finer than one validation example."""
    weight = 1 / len(task.splits.validation[1])
    return [str(bound) for bound in _bounds_on_accuracy(task, reward) if 0 < abs(bound.bound) < weight * (1 - 1e-9)]


def _bounds_on_accuracy(task: Task, reward: Reward) -> list[Constraint]:
    """The constraints that compare a share of right answers with the original's."""
    if task.splits.kind != "classes" or not isinstance(reward, WeightedReward):
        return []
    bounds = map(Constraint.parse, reward.constraints)
    return [bound for bound in bounds if bound.from_original and str(bound.objective) == "validation_accuracy"]


def added(task: Task, name: str, design: tuple[int, ...]) -> list[str]:
    """What the found network needed so that its branches fit; nothing where it needed nothing."""
    network: Any = task.build(design, "meta")
    parts = [f"{count} {what}" for what, count in network.meta["added"].items() if count]
    return [f"{name}: added so that the network fits: {', '.join(parts)}."] if parts else []


def time_taken(trained: dict[str, tuple[int, float]], wall: float) -> str:
    """How long a run took: its trainings, as `device_seconds` has them, and this command.

    Args:
        trained: by kind of device, how many trials and how many seconds.
        wall: of this command.
    """
    parts = [
        f"{seconds:.0f} s ({seconds / 3600:.3g} h) on {kind} for {count} {'slices' if kind == SHARED else 'trainings'}"
        for kind, (count, seconds) in sorted(trained.items())
    ]
    return f"the run took {' and '.join(parts or ['0 s'])}, this command {wall:.0f} s"


def device_seconds(store: Store) -> dict[str, tuple[int, float]]:
    """What a store's trials took, by the kind of device that stands behind a fingerprint: how many, and seconds. Trials that a
    formula computes are none of them."""
    spent: dict[str, tuple[int, float]] = {}
    for fingerprint, trial in store.trials():
        if "seconds" not in trial.metrics:
            continue
        kind = fingerprint.partition("-")[2].partition("-")[0] or "another device"
        kind = SHARED if trial.shared else kind
        count, seconds = spent.get(kind, (0, 0.0))
        spent[kind] = count + 1, seconds + float(trial.metrics.get("seconds") or 0.0)
    return spent


def made_with(machines: set[str], on_cluster: bool) -> list[str]:
    """A sentence on the machines that trained, where the report's last line does not say it: on a cluster, or where they
    differ."""
    if len(machines) < (1 if on_cluster else 2):
        return []
    differ = "; the last digits may differ between them" if len(machines) > 1 else ""
    return [f"Designs were trained with {', '.join(sorted(machines))}{differ}."]
