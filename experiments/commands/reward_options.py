"""What the options `--weight`, `--constraint`, `--accuracy-weight` and `--accuracy-score` say."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from marl_hpo_env import InputError, PaperReward, Reward, Task, WeightedReward


def read_weights(options: Sequence[str]) -> dict[str, float]:
    """The weight of each metric, from `metric=weight`.

    Raises:
        InputError: if one cannot be read.
    """
    weights = {}
    for text in options:
        metric, _, value = text.rpartition("=")
        try:
            weights[metric.strip()] = float(value)
        except ValueError:
            raise InputError(f"The weight {text!r} cannot be read; write it as validation_accuracy=1.") from None
    return weights


def read_reward(
    weights: Sequence[str],
    constraints: Sequence[str],
    accuracy_weight: float | None = None,
    accuracy_score: str | None = None,
    within: float | None = None,
) -> Callable[[Task], Reward | None]:
    """What the options say of the reward, given the task; what can be is checked before the task is loaded.

    Args:
        weights: of `--weight`.
        constraints: of `--constraint`.
        accuracy_weight: c_A of Eq. 2, for tasks that are rewarded by it.
        accuracy_score: as `PaperReward` takes it, likewise.
        within: beside weights, how much worse than the original's the task's score may be: in percentage points, or in its own
            units where it is no fraction.

    Raises:
        InputError: if one cannot be read, or they do not go together.
    """
    parsed = read_weights(weights)
    of_paper = [
        option
        for option, value in (("--accuracy-weight", accuracy_weight), ("--accuracy-score", accuracy_score))
        if value is not None
    ]
    if parsed and of_paper:
        raise InputError(f"Both --weight or --within and {of_paper[0]} say what to reward; give one of them.")
    if parsed:
        reward = WeightedReward(parsed, constraints)
        return lambda task: reward if within is None else WeightedReward(parsed, [*constraints, _bound(task, within)])
    WeightedReward({"validation_accuracy": 1.0}, constraints)  # the constraints can be read
    given: dict[str, Any] = {"accuracy_weight": accuracy_weight, "accuracy_score": accuracy_score}
    given = {name: value for name, value in given.items() if value is not None}
    PaperReward(**given)  # they can be used

    def of_task(task: Task) -> Reward | None:
        if of_paper:
            return _papers(task, of_paper[0], constraints, given)
        if not constraints:
            return None
        if not isinstance(task.reward, WeightedReward):
            raise InputError(f"The reward of {task.name!r} takes no constraints; say what to reward with --weight.")
        return WeightedReward(task.reward.weights, constraints)

    return of_task


def _bound(task: Task, within: float) -> str:
    """The constraint that the task's score is no further behind the original's."""
    amount = within / 100 if task.measures[task.score].fraction else within
    return f"{task.score} >= original - {amount}" if task.better > 0 else f"{task.score} <= original + {amount}"


def _papers(task: Task, option: str, constraints: Sequence[str], given: dict[str, Any]) -> Reward:
    """The task's Eq. 2 with what is given in the place of its own."""
    own = task.reward
    if not isinstance(own, PaperReward):
        raise InputError(f"The reward of {task.name!r} is not Eq. 2, so {option} says nothing of it; use --weight.")
    if constraints:
        raise InputError(f"Eq. 2 takes no constraints; give {option} or --constraint, the latter with --weight.")
    if given.get("accuracy_score") == "final" and task.recipe.epochs == "running":
        raise InputError("With --epochs running Eq. 2 divides A by the epochs; leave out --accuracy-score final.")
    settings = {"accuracy_weight": own.accuracy_weight, "accuracy_score": own.accuracy_score}
    return PaperReward(**{**settings, **given}, below_zero=own.below_zero)
