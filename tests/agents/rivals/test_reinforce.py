"""REINFORCE: the baseline by hand, the gradient's direction, that it learns, and that torch is left as it was."""

import math

import pytest
import torch
from episodes import episode
from hypothesis import given
from hypothesis import strategies as st

from agents.rivals.reinforce import Reinforce
from marl_hpo_env import InputError
from marl_hpo_env.testing import space_of


def started(space, seed=0, **settings):
    learner = Reinforce(**settings)
    learner.reset(space, seed)
    return learner


def test_the_advantage_is_the_distance_from_the_moving_average_in_moving_deviations():
    learner = started(space_of(2), baseline_decay=0.75)
    assert learner._advantage(4.0) == 0  # nothing to compare with
    # Average 4, distance 4; the mean square becomes 0.25 * 16 = 4.
    assert learner._advantage(8.0) == 4 / 2
    # Average 4 + 0.25 * 4 = 5, distance -3; the mean square becomes 0.75 * 4 + 0.25 * 9 = 5.25.
    assert learner._advantage(2.0) == pytest.approx(-3 / math.sqrt(5.25))


@given(st.lists(st.floats(-1e9, 1e9), min_size=1, max_size=20))
def test_no_reward_is_an_advantage_beyond_the_bound(rewards):
    learner = started(space_of(1))
    assert all(abs(learner._advantage(reward)) <= 1 / math.sqrt(0.1) + 1e-9 for reward in rewards)


def test_a_rewarded_design_becomes_likelier_and_a_penalised_one_rarer():
    for better, worse in (((0, 0), (1, 2)), ((1, 2), (0, 0))):
        learner = started(space_of(2, 3), learning_rate=0.01)
        for _ in range(30):
            learner.tell([episode(worse, -1.0), episode(better, 1.0)])
        drawn = learner.ask(200)
        assert drawn.count(better) > 2 * 200 / 6
        assert drawn.count(worse) < 200 / 6 / 2


def test_the_probabilities_of_all_designs_add_up_to_one_and_are_those_it_draws_with():
    learner = started(space_of(2, 4, 1), learning_rate=0.02)
    for _ in range(20):
        learner.tell([episode((0, 3, 0), 1.0), episode((1, 0, 0), -1.0)])
    designs = [(a, b, 0) for a in range(2) for b in range(4)]
    with torch.no_grad():
        probabilities = learner._log_probabilities(torch.tensor(designs)).exp().numpy()
    assert probabilities.sum() == pytest.approx(1, abs=1e-5)
    assert probabilities.max() > 0.4
    drawn = learner.ask(400)
    shares = [drawn.count(design) / 400 for design in designs]
    assert shares == pytest.approx(probabilities.tolist(), abs=0.1)  # four standard deviations at most


def test_the_first_designs_are_almost_uniform():
    drawn = started(space_of(2, 3)).ask(600)  # 100 each, standard deviation 9.1, and weights of at most 0.08
    assert all(55 <= drawn.count((a, b)) <= 145 for a in range(2) for b in range(3))


def test_equal_rewards_teach_nothing():
    learner = started(space_of(3, 3))
    before = learner._kernel.clone()
    learner.tell([episode((0, 1), 5.0), episode((2, 2), 5.0)])
    assert torch.equal(learner._kernel, before)


def test_it_finds_the_best_of_an_additive_table_but_not_untold(solves):
    # 250 of 1,024 designs; a faster rate than the default, since four designs are one step.
    budget = {"sizes": (4,) * 5, "evaluations": 250, "episodes": 600, "batch": 4}
    assert solves(lambda: Reinforce(learning_rate=0.002), **budget)
    assert not solves(Reinforce, **budget, told=False)


@pytest.mark.parametrize(("setting", "value"), [("learning_rate", 0), ("baseline_decay", 1), ("baseline_decay", -0.1)])
def test_a_setting_outside_its_range_is_refused(setting, value):
    with pytest.raises(InputError, match=f"^The setting {setting} is {value}; it is "):
        Reinforce(**{setting: value})
