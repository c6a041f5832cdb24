"""Nevergrad behind the protocol: it learns, it replays, and it says so where it is not installed."""

import sys

import numpy as np
import pytest
from episodes import MIXED, told_of_widths, widest_is_best

from agents.rivals.nevergrad_one_plus_one import NevergradOnePlusOne

pytest.importorskip("nevergrad", reason="needs the extra 'nevergrad'")


def run(seed):
    return told_of_widths(NevergradOnePlusOne(), seed)


def test_it_finds_better_designs_than_chance_and_replays_them():
    runs = [run(seed) for seed in range(3)]
    late = np.mean([each.reward for told in runs for each in told[8:]])
    chance = np.mean([widest_is_best(MIXED.design_at(number)).reward for number in range(MIXED.size)])
    assert late > chance
    assert [each.design for each in run(1)] == [each.design for each in runs[1]]


def test_without_the_package_it_says_what_to_install(monkeypatch, refused):
    monkeypatch.setitem(sys.modules, "nevergrad", None)
    with refused("pip install 'marl-hpo-env[nevergrad]'"):
        NevergradOnePlusOne()
