"""When a whole run ends."""

from __future__ import annotations

import math

import pytest

from experiments.tuning.limits import RunLimits
from marl_hpo_env import InputError


@pytest.fixture
def clock(monkeypatch):
    now = [1000.0]
    monkeypatch.setattr("experiments.tuning.limits.time.monotonic", lambda: now[0])
    return now


def test_a_tenth_of_the_hours_is_kept_for_final_training_which_gets_all_that_is_left(clock):
    limits = RunLimits(hours=1)
    clock[0] += 240  # to read the data, say
    assert limits.search_seconds(1) == pytest.approx(3000)
    assert limits.search_seconds(2) == pytest.approx(1500)
    clock[0] += 1500
    assert limits.search_seconds(1) == pytest.approx(1500)
    clock[0] += 960
    assert limits.training_seconds(3) == pytest.approx(300)
    clock[0] += 100
    assert limits.training_seconds(2) == pytest.approx(400)
    clock[0] += 5000
    assert 0 < limits.search_seconds(1) <= 0.01
    assert limits.training_seconds(1) < 0


def test_without_hours_there_is_no_clock(clock):
    assert RunLimits().search_seconds(1) is None
    assert RunLimits().training_seconds(3) == math.inf


@pytest.mark.parametrize("given", [{"hours": 0}, {"hours": -2.5}, {"hours": math.inf}, {"hours": math.nan}])
def test_hours_that_are_not_positive_are_one_sentence(given):
    with pytest.raises(InputError, match=r"The option --hours is .*; it is a positive number\."):
        RunLimits(**given)


@pytest.mark.parametrize("target", [math.nan, math.inf, -math.inf])
def test_a_target_is_a_finite_reward(target):
    with pytest.raises(InputError, match=r"The option --target is .*; it is a reward, a finite number\."):
        RunLimits(target=target)
    assert RunLimits(target=-3).target == -3
