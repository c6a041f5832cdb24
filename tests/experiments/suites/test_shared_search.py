"""A search on shared weights beside searches of equal cost."""

from dataclasses import replace

from experiments.suites.shared_search import NETWORKS, networks, report, tuning_of
from experiments.tuning.evaluators import Machines
from marl_hpo_env import task
from marl_hpo_env.training.shared_network import sizes_of


def test_both_searches_cost_as_much_and_what_they_find_is_trained(tmp_path):
    named = task("digits-convnet")
    named = replace(named, recipe=replace(named.recipe, max_epochs=1, epochs=1))
    tuning = tuning_of(named, tmp_path, Machines("cpu", 1))
    found = networks(tuning, 4, 1)
    assert tuple(found) == NETWORKS
    assert found["original"]["design"] is None
    shared = found["shared"]
    assert shared["episodes"] == 4
    # Each ends with the training that brings it there, and none costs more than one of the largest design.
    largest = named.network.build([size - 1 for size in named.space.sizes], "meta")
    dearest = sizes_of(largest)["flops"] * len(named.splits.train[1])
    for name in ("trained", "random"):
        assert shared["cost"] <= found[name]["cost"] < shared["cost"] + 2 * dearest
    assert networks(tuning, 4, 1) == found  # all of it from the store


def test_the_report_has_a_row_for_each_network():
    one = {"test_accuracy": 0.5, "reward": 20.0, "model_size_mb": 1.0, "parameters": 250_000}
    of_search = {"episodes": 500, "trained": 20, "cost": 1.5e15}
    result = {"original": one, **dict.fromkeys(NETWORKS[1:], one | of_search)}
    text = report([result, result])
    assert "| original | 50.00 [50.00,50.00] | 20.00 | 1 | 250,000 | - | - | - |" in text
    assert "| shared | 50.00 [50.00,50.00] | 20.00 | 1 | 250,000 | 500 | 20 | 1.5e+15 |" in text
