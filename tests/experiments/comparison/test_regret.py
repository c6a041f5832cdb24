"""Regret by hand, and against a run replayed in a plain loop."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.comparison.regret import episodes_played, first_episodes, incumbent_regret, incumbents, simple_regret

A, B, C, D = (0, 0), (0, 1), (1, 0), (1, 1)
REWARDS = {A: 0.2, B: 0.5, C: 0.5, D: 0.9}
TEST = {A: 0.4, B: 0.3, C: 0.8, D: 0.7}
RUN = [A, A, B, C, A, D]


def rewards(run):
    return [REWARDS[design] for design in run]


def accuracies(run):
    return [TEST[design] for design in run]


def test_a_run_by_hand():
    assert first_episodes(RUN).tolist() == [0, 2, 3, 5]
    assert incumbents(RUN, rewards(RUN), 4).tolist() == [0, 2, 2, 5]  # C only equals B
    assert simple_regret(RUN, rewards(RUN), 1.0, 4) == pytest.approx([0.8, 0.5, 0.5, 0.1])
    assert incumbent_regret(RUN, rewards(RUN), accuracies(RUN), 0.8, 4) == pytest.approx([0.4, 0.5, 0.5, 0.1])
    assert episodes_played(RUN, 4).tolist() == [1, 3, 4, 6]


def test_a_run_that_ended_early_keeps_its_last_value_and_a_longer_one_is_cut():
    run = [B, A, A, A]
    assert simple_regret(run, rewards(run), 0.9, 4) == pytest.approx([0.4] * 4)
    assert episodes_played(run, 4).tolist() == [1, 2, 4, 4]  # it ended after four episodes and no third evaluation
    assert simple_regret(RUN, rewards(RUN), 1.0, 2) == pytest.approx([0.8, 0.5])
    assert episodes_played(RUN, 2).tolist() == [1, 3]


@given(
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), min_size=1, max_size=25),
    st.lists(st.integers(-3, 3), min_size=9, max_size=9),
    st.integers(1, 12),
)
def test_it_is_what_a_plain_loop_finds(run, values, evaluations):
    rewards = [values[3 * a + b] for a, b in run]
    seen, best, curve, episodes = set(), None, [], []
    for episode, (design, reward) in enumerate(zip(run, rewards, strict=True), start=1):
        if design not in seen:
            seen.add(design)
            best = reward if best is None else max(best, reward)
            curve.append(3 - best)
            episodes.append(episode)
    while len(curve) < evaluations:
        curve.append(curve[-1])
        episodes.append(len(run))
    regret = simple_regret(run, rewards, 3, evaluations)
    assert regret.tolist() == curve[:evaluations]
    assert (np.diff(regret) <= 0).all()
    assert episodes_played(run, evaluations).tolist() == episodes[:evaluations]
    # By the reward itself, the incumbent's regret is the simple regret.
    assert incumbent_regret(run, rewards, rewards, 3, evaluations).tolist() == regret.tolist()


def test_rounding_is_no_negative_regret():
    assert simple_regret([A], [0.1 + 0.2], 0.3, 1).tolist() == [0]


def test_what_does_not_fit_is_refused(refused):
    with refused("0 designs"):
        simple_regret([], [], 1.0, 3)
    with refused("2 designs", "(1,)"):
        simple_regret([A, B], [0.5], 1.0, 3)
    with refused("0.9", "0.8", "different rewards"):
        simple_regret([D], [0.9], 0.8, 3)
    with refused("evaluations is 0"):
        simple_regret([A], [0.5], 1.0, 0)
    with refused("1 of them NaN"):
        incumbent_regret([A, B], [0.5, 0.6], [0.1, np.nan], 1.0, 2)
    with refused("0 designs"):
        episodes_played([], 3)
