"""The evaluator that computes: trials of synthetic tasks at any depth, with the best design known."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from marl_hpo_env.catalog.synthetic import SyntheticTask
from marl_hpo_env.reward import Reward, WeightedReward
from marl_hpo_env.space import Design, SearchSpace
from marl_hpo_env.tables.synthetic import SYNTHETIC, VALUE, drawing
from marl_hpo_env.trial import METRICS, Request, Trial


class SyntheticEvaluator:
    """Answers by the formula that a request's seed draws; its epochs do not matter.

    Args:
        task: one of the synthetic tasks.
    """

    measures_time = False
    exhaustive = True

    def __init__(self, task: SyntheticTask) -> None:
        self.task_name = task.name
        self.space: SearchSpace = task.space
        self.fingerprint = f"synthetic-{task.fingerprint}"
        sized = {"parameters"} if SYNTHETIC[task.name]["kind"] == "widths" else set()
        self.unmeasured = frozenset(METRICS) - sized

    def evaluate(self, requests: Sequence[Request]) -> Iterator[Trial]:
        """One trial per request, in their order.

        Raises:
            InputError: if there is no such design.
        """
        return iter([drawing(self.task_name, request.seed).trial(request) for request in requests])

    def best(self, reward: Reward, seed: int) -> Design | None:
        """The best design of a drawing, known where the reward is its value and nothing else."""
        alone = isinstance(reward, WeightedReward) and (list(reward.weights), reward.constraints) == ([VALUE], ())
        return drawing(self.task_name, seed).best if alone else None
