"""The task of the surrogate: what is said of its designs without building them."""

from __future__ import annotations

import pickle
from dataclasses import replace

import numpy as np

import marl_hpo_env
from marl_hpo_env.catalog.surrogate import EPOCHS, SURROGATE, anatomy


def test_sizes_and_flops_are_those_of_the_built_networks():
    from marl_hpo_env.training.shared_network import sizes_of

    task = marl_hpo_env.task(SURROGATE)
    rng = np.random.default_rng(0)
    corners = [tuple(0 for _ in task.space.sizes), tuple(size - 1 for size in task.space.sizes)]
    designs = [*corners, *(task.space.sample(rng) for _ in range(8))]
    known = anatomy(task.space, np.array(designs))
    for row, design in enumerate(designs):
        built = sizes_of(task.network.build(design, "meta"))
        assert {name: getattr(known, name)[row] for name in built} == built


def test_features_are_values_sides_and_flops():
    space = marl_hpo_env.task(SURROGATE).space
    design = space.design_at(0)
    by_hand = space.hyperparameters(design)["features.0"]
    assert by_hand == {"out_channels": 4, "kernel_size": 3, "stride": 1}
    first = anatomy(space, np.array([design])).features[0, :5]
    assert first.tolist() == [4, 3, 1, 32, 2 * 3 * 3 * 3 * 4 * 32 * 32]


def test_it_is_the_paper_s_task_for_a_cpu_and_no_clock_decides(refused):
    task = pickle.loads(pickle.dumps(marl_hpo_env.task(SURROGATE)))
    papers = marl_hpo_env.task("vgg16-cifar10")
    assert task.recipe == replace(papers.recipe, epochs=EPOCHS)
    assert task.limits.flops_ratio == papers.limits.batch_ratio
    assert (task.limits.batch_ratio, task.limits.loss) == (None, None)
    assert len(task.space) == len(papers.space) == 19
    with refused(SURROGATE, "no data to train on"):
        _ = task.splits
