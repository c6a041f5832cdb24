"""SMAC3 behind the protocol: it replays, and it says so where it is not installed."""

import sys

import pytest

from agents import Episode
from agents.rivals.smac3 import Smac
from marl_hpo_env import Layer, SearchSpace

pytest.importorskip("smac", reason="needs the extra 'smac'")

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
    learner = Smac(expected_episodes=16)
    learner.reset(SPACE, seed)
    told = []
    while len(told) < episodes and (designs := learner.ask(1)):
        told += map(episode, designs)
        learner.tell(told[-len(designs) :])
    return told


def test_behind_its_initial_design_it_replays_what_it_asked_for():
    assert [each.design for each in run(1)] == [each.design for each in run(1)]


def test_no_design_is_asked_for_twice_and_there_is_an_end():
    learner = Smac(expected_episodes=8)
    learner.reset(SPACE, 0)
    asked = []
    while designs := learner.ask(4):
        asked += designs
        learner.tell([episode(design) for design in designs])
    assert len(asked) == len(set(asked)) <= SPACE.size


def test_without_the_package_it_says_what_to_install(monkeypatch, refused):
    monkeypatch.setitem(sys.modules, "smac", None)
    with refused("pip install 'marl-hpo-env[smac]'"):
        Smac()
