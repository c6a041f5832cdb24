"""The predictor: what its ensemble is trained on, which designs it asks for, that it learns, and torch left as it was."""

import itertools

import numpy as np
import pytest
import torch
from episodes import episode
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.rivals.predictor import Predictor
from marl_hpo_env import InputError
from marl_hpo_env.testing import space_of


def started(space, seed=0, **options):
    learner = Predictor(**options)
    learner.reset(space, seed)
    return learner


def play(learner, reward, episodes, batch=1):
    designs = []
    while len(designs) < episodes and (asked := learner.ask(batch)):
        designs += asked
        learner.tell([episode(design, reward(design)) for design in asked])
    return designs


def members(learner, designs):
    with torch.no_grad():
        return learner._predictions(torch.tensor(designs))


def test_each_member_never_sees_a_fifth_of_the_designs():
    designs = [(0, 0), (1, 1), (2, 2), (0, 1), (1, 2)]
    predictions = []
    for first in (0.0, 3.0):  # either way the distinct rewards, and so the ranks of the other four, are the same
        learner = started(space_of(3, 3), random_designs=5)
        learner.tell([episode(design, reward) for design, reward in zip(designs, (first, 0, 1, 2, 3), strict=True)])
        predictions.append(members(learner, designs))
    assert torch.equal(predictions[0][0], predictions[1][0])
    assert all(not torch.equal(predictions[0][m], predictions[1][m]) for m in range(1, 5))


def test_it_predicts_the_ranks_of_what_it_was_told_however_far_apart_the_rewards_lie():
    designs = [(a, b) for a in range(4) for b in range(4)]
    learner = started(space_of(4, 4), random_designs=16)
    learner.tell([episode((a, b), -1e9 if a == 0 else 10.0**a + b) for a, b in designs])
    predicted = dict(zip(designs, learner._predict(designs), strict=True))
    assert max(predicted[0, b] for b in range(4)) < min(predicted[a, b] for a in range(1, 4) for b in range(4))
    assert np.mean([predicted[3, b] for b in range(4)]) > np.mean([predicted[1, b] for b in range(4)]) + 0.3


def test_equal_rewards_are_learned_too():
    designs = play(started(space_of(3, 3, 3)), lambda design: 7.0, 27)
    assert len(set(designs)) == 27


def test_the_next_designs_are_those_with_the_highest_predictions():
    learner = started(space_of(4, 4, 4), random_designs=8)
    known = play(learner, lambda design: float(sum(design)), 8)
    unseen = [design for design in itertools.product(range(4), repeat=3) if design not in known]
    expected = [unseen[i] for i in np.argsort(-learner._predict(unseen), kind="stable")]
    assert learner.ask(5) + learner.ask(4) == expected[:9]


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_every_design_comes_once_and_then_there_is_none(search_spaces, data):
    space = data.draw(search_spaces)
    learner = started(space, random_designs=3, retrain_every=50)
    batch = data.draw(st.integers(1, 30))
    designs = play(learner, lambda design: float(np.sin(space.index(design))), 40, batch)
    assert len(set(designs)) == len(designs) >= min(40, space.size)
    assert all(space.check(design) == design for design in designs)
    if space.size <= 40:
        assert learner.ask(1) == []


def test_in_a_large_space_candidates_are_new_and_half_of_them_are_near_the_best():
    space = space_of(*[4] * 30)
    learner = started(space, random_designs=12)
    known = play(learner, lambda design: float(sum(design)), 12)
    candidates = learner._candidates()
    assert not set(candidates) & set(known)
    best = sorted(known, key=sum)[2:]  # the ten best of twelve
    distance = [min(sum(a != b for a, b in zip(design, other, strict=True)) for other in best) for design in candidates]
    near = [d for d in distance if d == 1]
    assert 600 < len(near) < 1000  # 10 * 30 * 3 neighbours, most of which 2,048 draws meet
    assert 2000 < len(distance) - len(near) <= 2048
    assert len(set(play(learner, lambda design: float(sum(design)), 40))) == 40


def test_it_finds_the_best_of_an_additive_table_but_not_untold(solves):
    # 80 of 1,024 designs.
    budget = {"sizes": (4,) * 5, "evaluations": 80, "episodes": 80}
    assert solves(Predictor, **budget)
    assert not solves(Predictor, **budget, told=False)


def test_designs_that_it_did_not_ask_for_count_as_known():
    learner = started(space_of(2, 2), random_designs=2)
    learner.tell([episode((0, 0), 0.0), episode((1, 1), 1.0)])
    assert sorted(learner.ask(9)) == [(0, 1), (1, 0)]


@pytest.mark.parametrize(("setting", "value"), [("random_designs", 0), ("retrain_every", 2.5)])
def test_a_setting_outside_its_range_is_refused(setting, value):
    with pytest.raises(InputError, match=f"^The setting {setting} is {value}; it is "):
        Predictor(**{setting: value})
