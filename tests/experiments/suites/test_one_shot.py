"""The figures of shared weights on tables."""

import numpy as np
import pytest

from experiments.suites.one_shot import COSTS, WITH_CONFIRMED, confirmed_regret, figures, per_training, report
from marl_hpo_env import Table, task


def test_slices_that_are_right_rank_perfectly_and_wrong_ones_the_other_way():
    table = Table.open("digits-convnet")
    truth = np.nan_to_num(table.mean_test_accuracy, nan=-1.0)
    right = figures(truth, table)
    assert all(value == pytest.approx(1.0) for value in right.values())
    wrong = figures(-truth, table)
    assert wrong["spearman"] == pytest.approx(-1.0)
    assert wrong["top 1% recall"] == 0.0


def test_what_is_confirmed_is_the_best_of_five_by_its_own_training():
    table = Table.open("digits-convnet")
    truth = np.nan_to_num(table.mean_test_accuracy, nan=-1.0)
    assert 0 <= confirmed_regret(truth, "digits-convnet", 0) <= truth.max() - np.sort(truth)[-5]
    assert confirmed_regret(-truth, "digits-convnet", 0) > 0.5


def test_a_mean_training_costs_between_the_least_and_the_most():
    table, flops = Table.open("digits-convnet"), Table.open("digits-convnet").mean("flops")
    per_epoch = per_training(task("digits-convnet"), table) / table.epochs / len(task("digits-convnet").splits.train[0])
    assert np.nanmin(flops) < per_epoch < np.nanmax(flops)


def test_the_report_has_means_over_seeds_and_their_range():
    ranking = {str(cost): {"spearman": 0.5} for cost in COSTS}
    results = [
        {
            "table": "t",
            "ranking": ranking,
            "confirmed": [value] * len(WITH_CONFIRMED),
            "peer": [0.0] * len(WITH_CONFIRMED),
        }
        for value in (0.01, 0.02)
    ]
    assert "| 10 | 1.50 [1.00,2.00] | 0.00 [0.00,0.00] |" in report(results)
    assert "| 5 | 0.500 [0.500,0.500] |" in report(results)
