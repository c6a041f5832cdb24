"""Conformance suites: what every evaluator, reward, reader of data and rule of a module type owes to its users, as tests.

    from marl_hpo_env.testing import EvaluatorConformance


    class TestMine(EvaluatorConformance):
        def make(self):
            return Mine()

pytest finds the inherited tests; they need no other package. `agents.testing` has the suite for learners. Whatever trains is
tested on a CPU: on a GPU the last digits of equal trainings can differ.

`SPACES`, `chain` and `space_of` are search spaces for tests.
"""

from marl_hpo_env.testing.evaluators import EvaluatorConformance
from marl_hpo_env.testing.readers import DataConformance
from marl_hpo_env.testing.rewards import RewardConformance
from marl_hpo_env.testing.rules import RuleConformance
from marl_hpo_env.testing.spaces import SPACES, chain, space_of

__all__ = [
    "SPACES",
    "DataConformance",
    "EvaluatorConformance",
    "RewardConformance",
    "RuleConformance",
    "chain",
    "space_of",
]
