"""What the options `--metric`, `--loss` and `--score` say."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Annotated, Any

import typer

from marl_hpo_env import InputError, Metric, Reward, Task, WeightedReward, import_object

OwnMetrics = Annotated[
    list[str] | None,
    typer.Option(
        "--metric",
        metavar="NAME=FUNCTION",
        help="A metric of outputs and targets of a whole split, such as f1=mymodule:f1 or f1=file.py:f1; trials then have "
        "validation_f1, which can be rewarded, and test_f1. Repeat for more.",
    ),
]
OwnLoss = Annotated[
    str | None,
    typer.Option(
        "--loss",
        metavar="FUNCTION",
        help="What networks are trained by, such as torch.nn:HuberLoss.",
        show_default="that of the kind of targets",
    ),
]
OwnScore = Annotated[
    str | None,
    typer.Option(
        "--score",
        metavar="METRIC",
        help="What stands for the validation accuracy: in the best epoch, the end of final training and the reward, such as "
        "validation_f1 or validation_loss.",
        show_default="validation_accuracy; validation_r2 for values",
    ),
]


def read_scoring(metrics: Sequence[str], loss: str | None, score: str | None) -> Callable[[Task], Task]:
    """What the options make of a task; they are read, and their modules imported, before it is loaded.

    Args:
        metrics: of `--metric`, as `name=module:function`; a function is of a fraction of which more is better, anything else is a
            `Metric` in its module.
        loss: of `--loss`, as `module:function`, or a class that needs no arguments, such as `torch.nn:HuberLoss`.
        score: of `--score`; it takes the place of the task's own in its reward, too.

    Raises:
        InputError: if one cannot be read or found.
    """
    found: dict[str, Metric] = {}
    for text in metrics:
        name, equals, place = (part.strip() for part in text.partition("="))
        if not (equals and name and place):
            raise InputError(f"The metric {text!r} cannot be read; write it as f1=package.module:function.")
        if name in found:
            raise InputError(f"The metric {name!r} is given twice; name each once.")
        given = import_object(place, "metric")
        found[name] = given if isinstance(given, Metric) else Metric(given)
    changed: dict[str, Any] = {}
    if loss is not None:
        given = import_object(loss, "loss")
        changed["loss"] = given() if isinstance(given, type) else given
    if score is not None:
        changed["score"] = score

    def of_task(task: Task) -> Task:
        if not (found or changed):
            return task
        reward = task.reward if score is None else _rescored(task.reward, task.score, score)
        return replace(task, metrics={**task.metrics, **found}, reward=reward, **changed)

    return of_task


def _rescored(reward: Reward, before: str, score: str) -> Reward:
    """A weighted reward with another score in the place of the one before; Eq. 2 takes the task's by itself."""
    if not isinstance(reward, WeightedReward):
        return reward
    weights = {text.replace(before, score): weight for text, weight in reward.weights.items()}
    return WeightedReward(weights, reward.constraints)
