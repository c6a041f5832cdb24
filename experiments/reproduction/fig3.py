"""**The paper (II, Fig. 3).** a) 1,000 random designs of a U-Net by model size, accuracy and inference time after few epochs on
BraTS'18. b) The accuracy of three designs on BraTS'18 and on ISIC'18. Its claims: the accuracy of many stays close to 0; among
accurate designs size and times still differ widely; the same design is differently good on other data.

**Here.** a) Random designs of one or two tasks, 100 where --episodes says no other number, trained alone for as many epochs as an
episode has. b) Where two tasks have the same choices they get the same designs, and the first three that completed on both are
shown, with the rank correlation over all.

**What differs.** The network, data and machine. Accuracy is the Dice coefficient in segmentation, in the paper's Fig. 3 the
intersection over union.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from agents import RandomSearch
from experiments.figures import plt, save
from experiments.progress import progress_bar
from experiments.reproduction.finds import hardware
from experiments.reproduction.item import Findings, Item, Settings, Show
from experiments.reproduction.report import quartiles, rank_correlation
from experiments.reproduction.trainings import Trainings
from experiments.tuning.evaluators import Machines, evaluator_of
from marl_hpo_env import Design, Request, StoredEvaluator, Trial

DESIGNS = 100

METRICS = ("validation_accuracy", "model_size_mb", "train_ms_per_batch", "inference_ms_per_batch")


def reproduce(settings: Settings, show: Show) -> None:
    """Trains random designs of each task."""
    tasks = [settings.make(name) for name in settings.tasks]
    trained: dict[str, dict[Design, Trial]] = {}
    for task in tasks:
        tuning = Trainings(task, settings).of(0)
        alone = evaluator_of(tuning.task, Machines(settings.device, 1), timed=True)
        evaluator = StoredEvaluator(alone, tuning.folder.store, needs_time=True)
        search = RandomSearch()
        search.reset(task.space, 0)
        requests = [Request(d, task.seed, tuning.env.epochs) for d in search.ask(settings.episodes or DESIGNS)]
        trials: dict[Design, Trial] = {}
        with progress_bar() as progress:
            bar = progress.add_task(task.name, total=len(requests), note="designs")
            for trial in evaluator.evaluate(requests):
                assert trial.design is not None
                trials[trial.design] = trial
                progress.update(bar, advance=1)
        trained[task.name] = {request.design: trials[request.design] for request in requests if request.design}
        show(_findings(trained, hardware(settings)))


def _findings(trained: Mapping[str, Mapping[Design, Trial]], machine: str) -> Findings:
    rows, sentences, lines = [], [], []
    for task, trials in trained.items():
        done = _completed(trials)
        cells = []
        for name in METRICS:
            measured = _values(done.values(), name)
            cells.append(quartiles(measured, 100 if name == METRICS[0] else 1, 3) if len(measured) else "-")
        rows.append([task, str(len(trials)), f"{len(trials) - len(done)}", *cells])
        sentences += _spans(task, done)
        for design, trial in trials.items():
            figures = [trial.metrics.get(name) for name in METRICS]
            lines.append([task, " ".join(map(str, design)), trial.status, trial.request.epochs, *figures])
    both = _on_both(trained)
    if len(both) > 2:
        ranks = rank_correlation(*zip(*both.values(), strict=True))
        sentences.append(
            f"Over the {len(both)} designs that completed on both, accuracies have a rank correlation of {ranks:.2f}."
        )
    elif len(trained) > 1:
        sentences.append(
            "The tasks' choices differ, or too few designs completed on both: no design is compared across them."
        )
    epochs = {trial.request.epochs for trials in trained.values() for trial in trials.values()}
    title = (
        f"Random designs after {' and '.join(map(str, sorted(filter(None, epochs))))} epochs: median with the quartiles"
    )
    header = ["task", "designs", "not completed", "accuracy %", "size, MB", "training, ms/batch", "inference, ms/batch"]
    columns = ["task", "design", "status", "epochs", *METRICS]
    return Findings(
        list(trained), [(title, header, rows)], sentences, columns, lines, partial(_draw, trained, both), machine
    )


def _completed(trials: Mapping[Design, Trial]) -> dict[Design, Trial]:
    return {design: trial for design, trial in trials.items() if trial.status == "completed"}


def _values(trials: Any, name: str) -> list[float]:
    return [float(trial.metrics[name]) for trial in trials if trial.metrics.get(name) is not None]


def _spans(task: str, done: Mapping[Design, Trial]) -> list[str]:
    """How widely size and inference time differ among the most accurate designs."""
    ordered = sorted(done.values(), key=lambda trial: -(trial.metrics["validation_accuracy"] or 0))
    best = ordered[: max(2, len(ordered) // 4)]
    if len(best) < 2:
        return []
    size, inference = (_values(best, name) for name in ("model_size_mb", "inference_ms_per_batch"))
    times = f" and inference time by {max(inference) / min(inference):.3g} times" if inference else ""
    return [
        f"{task}: among the {len(best)} most accurate designs size differs by {max(size) / min(size):.3g} times{times}."
    ]


def _on_both(trained: Mapping[str, Mapping[Design, Trial]]) -> dict[Design, list[float]]:
    """The accuracies on two tasks of the designs that completed on both; empty where there are not two with the same."""
    if len(trained) < 2:
        return {}
    first, second = (_completed(trials) for trials in trained.values())
    if list(next(iter(trained.values()))) != list(list(trained.values())[1]):
        return {}
    return {
        design: [float(of[design].metrics["validation_accuracy"] or 0) for of in (first, second)]
        for design in first
        if design in second
    }


def _draw(trained: Mapping[str, Mapping[Design, Trial]], both: Mapping[Design, Sequence[float]], path: Path) -> None:
    panels = len(trained) + bool(both)
    figure, axes = plt.subplots(1, panels, figsize=(5.5 * panels, 4), squeeze=False)
    for axis, (task, trials) in zip(axes[0], trained.items(), strict=False):
        done = [trial for trial in trials.values() if trial.metrics.get("inference_ms_per_batch") is not None]
        accuracy = 100 * np.array(_values(done, "validation_accuracy"))
        points = axis.scatter(
            _values(done, "model_size_mb"), accuracy, c=_values(done, "inference_ms_per_batch"), s=14, cmap="viridis"
        )
        figure.colorbar(points, ax=axis, label="inference, ms/batch")
        axis.set_xscale("log")
        axis.set_xlabel("model size, MB")
        axis.set_ylabel("accuracy, %")
        axis.set_title(f"(a) {task}", fontsize="medium")
        axis.grid(alpha=0.3)
    if both:
        axis = axes[0][-1]
        shown = list(both.values())[:3]
        for number, task in enumerate(trained):
            places = [place + 0.4 * (number - 0.5) for place in range(len(shown))]
            axis.bar(places, [100 * accuracies[number] for accuracies in shown], 0.4, label=task)
        axis.set_xticks(range(len(shown)), [f"design {number + 1}" for number in range(len(shown))])
        axis.set_ylabel("accuracy, %")
        axis.set_title("(b) the same designs on both", fontsize="medium")
        axis.legend(fontsize="small")
    save(figure, path)


ITEM = Item(
    "fig3",
    "How do size, accuracy and inference time of random designs relate, and does it depend on the data?",
    "random designs after few epochs, on one or two tasks",
    "training",
    ("digits-convnet",),
    2,
    False,
    __doc__,
    reproduce,
)
