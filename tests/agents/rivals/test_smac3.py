"""SMAC3 behind the protocol: it replays, and it says so where it is not installed."""

import sys

import pytest
from episodes import MIXED, told_of_widths, widest_is_best

from agents.rivals.smac3 import Smac

pytest.importorskip("smac", reason="needs the extra 'smac'")


def run(seed):
    return told_of_widths(Smac(expected_episodes=16), seed)


def test_behind_its_initial_design_it_replays_what_it_asked_for():
    assert [each.design for each in run(1)] == [each.design for each in run(1)]


def test_no_design_is_asked_for_twice_and_there_is_an_end():
    learner = Smac(expected_episodes=8)
    learner.reset(MIXED, 0)
    asked = []
    while designs := learner.ask(4):
        asked += designs
        learner.tell([widest_is_best(design) for design in designs])
    assert len(asked) == len(set(asked)) <= MIXED.size


def test_without_the_package_it_says_what_to_install(monkeypatch, refused):
    monkeypatch.setitem(sys.modules, "smac", None)
    with refused("pip install 'marl-hpo-env[smac]'"):
        Smac()
