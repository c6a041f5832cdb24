"""Nevergrad behind the protocol: it learns, it replays, and it says so where it is not installed."""

import sys

import numpy as np
import pytest

from agents import Episode
from agents.rivals.nevergrad_one_plus_one import NevergradOnePlusOne
from marl_hpo_env import Layer, SearchSpace

pytest.importorskip("nevergrad", reason="needs the extra 'nevergrad'")

SPACE = SearchSpace(
    [
        Layer("conv", "Conv2d", {"out_channels": (32, 8, 16), "kernel_size": ((1, 1), (3, 3))}),
        Layer("fixed", "Dropout", {"p": (0.5,)}, ("conv",)),
        Layer("fc", "Linear", {"out_features": (64, 16, 32, 8)}, ("fixed",)),
    ]
)


def episode(design):
    """The widest is the best, and a 1x1 kernel is terminated."""
    values = SPACE.hyperparameters(design)
    if values["conv"]["kernel_size"] == (1, 1):
        return Episode(design, -2.0, {"validation_accuracy": float("nan")}, True)
    reward = values["conv"]["out_channels"] / 64 + values["fc"]["out_features"] / 128
    return Episode(design, reward, {"validation_accuracy": reward}, False)


def run(seed, episodes=16):
    learner = NevergradOnePlusOne()
    learner.reset(SPACE, seed)
    told = []
    while len(told) < episodes and (designs := learner.ask(1)):
        told += map(episode, designs)
        learner.tell(told[-len(designs) :])
    return told


def test_it_finds_better_designs_than_chance_and_replays_them():
    runs = [run(seed) for seed in range(3)]
    late = np.mean([each.reward for told in runs for each in told[8:]])
    chance = np.mean([episode(SPACE.design_at(number)).reward for number in range(SPACE.size)])
    assert late > chance
    assert [each.design for each in run(1)] == [each.design for each in runs[1]]


def test_without_the_package_it_says_what_to_install(monkeypatch, refused):
    monkeypatch.setitem(sys.modules, "nevergrad", None)
    with refused("pip install 'marl-hpo-env[nevergrad]'"):
        NevergradOnePlusOne()
