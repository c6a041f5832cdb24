"""Learners as samplers of Optuna: Optuna's own suites, and what these do not ask."""

import pytest

from agents import learner

optuna = pytest.importorskip("optuna", reason="needs the extra 'optuna'")

from optuna.testing.pytest_samplers import (  # noqa: E402
    BasicSamplerTestCase,
    MultiObjectiveSamplerTestCase,
    RelativeSamplerTestCase,
)

from agents.learner_sampler import LearnerSampler  # noqa: E402


class TestOptunasSuites(BasicSamplerTestCase, RelativeSamplerTestCase, MultiObjectiveSamplerTestCase):
    @pytest.fixture
    def sampler(self):
        return lambda: LearnerSampler(learner("coordination-graph"), seed=0)
