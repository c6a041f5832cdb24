"""A learner beside itself as Optuna's sampler."""

import numpy as np
import pytest

from experiments.comparison.contest import open_benchmark
from experiments.suites.learner_sampler import ACCURACY, ALL, GIVEN, ITSELF, connected_as_layers, report, sampled
from marl_hpo_env import Table

pytest.importorskip("optuna", reason="needs the extra 'optuna'")


def test_parameters_are_connected_within_a_layer_and_with_those_of_the_layers_that_feed_it():
    inputs = connected_as_layers(Table.open("digits-branches").space)
    assert inputs["stem.0.out_channels"] == ()
    assert inputs["residual.0.kernel_size"] == ("merge.0.out_channels", "residual.0.out_channels")
    assert inputs["merge.0.out_channels"] == (
        "left.0.out_channels",
        "right2.0.out_channels",
        "right2.0.kernel_size",
    )


def test_a_study_has_as_many_distinct_designs_as_trials():
    designs = sampled(open_benchmark("digits-branches", ACCURACY, ()), None, 0, 15)
    assert len(set(designs)) == len(designs) == 15


def test_the_report_says_what_lies_behind_the_learner_itself_seed_by_seed():
    results = [{ITSELF: np.array([s, 1.0]), ALL: np.array([s + 2, 1.0]), GIVEN: np.array([s, 0.5])} for s in (0.0, 4.0)]
    lines = report("t", results).splitlines()
    assert any(
        "sampler, all connected | 4.00 [2.00,6.00] | 1.00 [1.00,1.00] | 2.00 [2.00,2.00]" in line for line in lines
    )
    assert any("connected as the layers |" in line and line.endswith("| -0.50 [-0.50,-0.50] |") for line in lines)
