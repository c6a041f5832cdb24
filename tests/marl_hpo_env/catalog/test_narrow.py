"""The paper's tasks with every width divided."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch
from torch import nn

import marl_hpo_env
from marl_hpo_env import Task
from marl_hpo_env.catalog.narrow import narrow, narrow_task


@pytest.mark.parametrize(
    ("name", "divisor", "first", "outputs"),
    [
        ("vgg16-cifar10", 4, 16, 10),
        ("googlenet-cifar10", 8, 8, 10),
        ("unet-isic18", 8, 8, 1),
        ("vgg16-cifar100", 8, 8, 100),
    ],
)
def test_every_width_is_divided_but_for_the_images_and_the_outputs(name, divisor, first, outputs):
    whole = marl_hpo_env.task(name)
    small = narrow_task(whole, divisor)
    assert (small.name, small.input_shape, small.recipe) == (f"{name}-1-{divisor}", whole.input_shape, whole.recipe)
    networks = [task.network.build(None, "meta") for task in (whole, small)]
    convolutions = [[m for m in network.modules() if isinstance(m, nn.Conv2d)] for network in networks]
    assert convolutions[1][0].in_channels == 3
    assert convolutions[1][0].out_channels == first == convolutions[0][0].out_channels // divisor
    assert small.network.output_shape[1] == outputs
    counts = [sum(p.numel() for p in network.parameters()) for network in networks]
    assert 0.8 * counts[0] / divisor**2 < counts[1] < 1.6 * counts[0] / divisor**2
    for before, after in zip(whole.space.layers, small.space.layers, strict=True):
        assert (before.name, before.inputs) == (after.name, after.inputs)
        for hyperparameter, values in before.choices.items():
            wide = hyperparameter in ("out_channels", "out_features")
            assert after.choices[hyperparameter] == (tuple(v // divisor for v in values) if wide else values)
    small.network.build(small.space.sample(np.random.default_rng(0)), "meta")


def test_a_divisor_of_1_is_the_task_itself_and_a_narrow_task_can_be_sent():
    task = marl_hpo_env.task("vgg16-cifar10")
    assert narrow_task(task, 1) is task
    assert pickle.loads(pickle.dumps(narrow_task(task, 4))).space == narrow_task(task, 4).space


def test_choices_that_become_equal_are_one():
    task = narrow_task(marl_hpo_env.task("digits-convnet"), 8)
    assert dict(task.choices())[nn.Conv2d]["out_channels"] == (1,)


def test_what_cannot_be_narrowed_is_one_sentence(refused):
    data = torch.zeros(9, 1, 8, 8), torch.arange(9) % 3
    with refused("cannot be narrowed"):
        narrow_task(Task("mine", nn.Conv2d(1, 1, 1), data, {nn.Conv2d: {"out_channels": (1, 2)}}), 2)
    with refused("cannot be narrowed"):
        narrow_task(Task("mine", lambda: nn.Conv2d(1, 1, 1), data), 2)
    with refused("divisor of the widths is 0"):
        narrow_task(marl_hpo_env.task("digits-convnet"), 0)


def test_a_narrow_network_computes_and_its_dropout_is_divided_by_the_square():
    layers = (
        nn.Conv2d(3, 8, 3),
        nn.BatchNorm2d(8),
        nn.Dropout(0.4),
        nn.ConvTranspose2d(8, 16, 2, 2),
        nn.Conv2d(16, 7, 1),
    )
    network = narrow(nn.Sequential(*layers), 4)
    assert network(torch.zeros(2, 3, 8, 8)).shape == (2, 7, 12, 12)
    assert [tuple(p.shape[:2]) for p in network.parameters() if p.dim() == 4] == [(2, 3), (2, 4), (7, 4)]
    assert network[2].p == 0.025
