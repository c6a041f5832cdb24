"""The benchmark beside Torch-Pruning: what it asks of both sides, on a network that is not trained."""

from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file

from experiments.benchmarks.pruning import (
    OURS,
    PEERS,
    TRAINING,
    Original,
    flops,
    paired_ms,
    pruned,
    report,
    searched_task,
    widest_uniform,
)
from marl_hpo_env import InputError, task
from marl_hpo_env.catalog.narrow import narrow_task
from marl_hpo_env.data.splits import Data

EXAMPLE = torch.zeros(1, 3, 32, 32)


@pytest.fixture(scope="module")
def original(tmp_path_factory) -> Original:
    images = torch.rand(8, 3, 32, 32, generator=torch.Generator().manual_seed(0)), torch.arange(8)
    named = narrow_task(task("resnet18-cifar10"), 4)
    named = replace(named, data=Data(images, images, images), recipe=TRAINING)
    torch.manual_seed(0)
    model = named.model()
    weights = tmp_path_factory.mktemp("pruning") / "original-0.safetensors"
    save_file(model.state_dict(), weights)
    return Original(named, 0, weights, {"flops": flops(model, EXAMPLE)})


@pytest.mark.parametrize("way", PEERS)
def test_torch_pruning_leaves_at_most_as_many_flops_and_not_many_fewer(way, original):
    pytest.importorskip("torch_pruning")
    whole = original.figures["flops"]
    left = flops(pruned(original.network(), way, 0.5 * whole, EXAMPLE), EXAMPLE)
    assert 0.4 * whole < left <= 0.5 * whole


@pytest.mark.parametrize("point", [0.25, 0.5, 0.75])
def test_the_search_begins_with_the_widest_uniform_design_and_takes_a_quarter_of_the_images(point, original):
    searched = searched_task(original, point)
    most = point * original.figures["flops"]
    design = widest_uniform(searched, most)
    assert len(set(design)) == 1
    assert 0.6 * most < flops(searched.network.build(design), EXAMPLE) <= most
    wider = tuple(action + 1 for action in design)
    assert flops(searched.network.build(wider), EXAMPLE) > most
    assert len(searched.splits.episode_examples) == 2
    assert len(searched.space) == 12  # eight inside the blocks, and one for each group that is added


def test_latency_is_a_pair(original):
    network = original.network()
    figures = paired_ms(network, network, EXAMPLE)
    assert set(figures) == {"ms", "original_ms", "ms / original"}
    assert all(value > 0 for value in figures.values())


def test_weights_that_are_gone_are_said(original):
    with pytest.raises(InputError, match="are gone; begin in another folder"):
        _ = original._replace(trained=original.trained.with_name("other.safetensors")).weights


def test_the_report_says_at_how_many_points_ours_is_ahead():
    of_original = {"test_accuracy": 0.8, "flops": 100.0, "parameters": 1000}
    ahead = {0.25: 0.71, 0.5: 0.72, 0.75: 0.69}
    results = [
        {
            "way": way,
            "point": point,
            "seed": 0,
            "test_accuracy": ahead[point] if way == OURS else 0.7,
            "flops": 100 * point,
            "parameters": 500,
            "ms / original": 0.5,
            "seconds": 1.0,
            "designs": 60 * (way == OURS),
        }
        for point in ahead
        for way in (*PEERS, OURS)
    ]
    text = report([of_original], results)
    assert f"| 50 | {OURS} | 72.00 [72.00,72.00] | 50.0 | 500 | 0.5 | 1 | 60 |" in text
    assert "At 75% of the FLOPs ours differs by -1.00 points from uniform L1" in text
    assert "Ours is ahead at 2 of 3 points." in text
