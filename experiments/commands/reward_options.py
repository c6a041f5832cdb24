"""What the options `--weight` and `--constraint` say."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from marl_hpo_env import InputError, Reward, Task, WeightedReward


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


def read_reward(weights: Sequence[str], constraints: Sequence[str]) -> Callable[[Task], Reward | None]:
    """What the options say of the reward, given the task; checked before the task is loaded."""
    parsed = read_weights(weights)
    if parsed:
        reward = WeightedReward(parsed, constraints)
        return lambda task: reward
    WeightedReward({"validation_accuracy": 1.0}, constraints)  # the constraints can be read

    def with_constraints(task: Task) -> Reward | None:
        if not constraints:
            return None
        if not isinstance(task.reward, WeightedReward):
            raise InputError(f"The reward of {task.name!r} takes no constraints; say what to reward with --weight.")
        return WeightedReward(task.reward.weights, constraints)

    return with_constraints
