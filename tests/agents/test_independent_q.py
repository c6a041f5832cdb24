"""Independent Q-learning against values worked out by hand."""

from collections import Counter

import pytest
from episodes import episode
from hypothesis import given
from hypothesis import strategies as st

from agents.independent_q import IndependentQ
from marl_hpo_env import Game, InputError
from marl_hpo_env.testing import space_of


def started(space, seed=0, **settings):
    learner = IndependentQ(**settings)
    learner.reset(space, seed)
    return learner


def greedy(space, seed=0, **settings):
    """A learner whose first episode is random (epsilon is 1) and already asked for, and which is greedy from there."""
    learner = started(space, seed, epsilon_decay=1e-12, least_epsilon=0.0, **settings)
    learner.ask(1)
    return learner


@pytest.mark.parametrize(
    "setting",
    [
        {"alpha": 0},
        {"alpha": 1.1},
        {"epsilon_decay": 0.0},
        {"epsilon_decay": 2},
        {"least_epsilon": -0.1},
        {"alpha": True},
        {"alpha": "0.1"},
    ],
)
def test_a_setting_outside_its_range_is_refused_by_name_and_value(setting):
    ((name, value),) = setting.items()
    with pytest.raises(InputError, match=f"^The setting {name} is {value!r}"):
        IndependentQ(**setting)


def test_a_value_is_a_mean_and_then_moves_by_alpha():
    # alpha 0.4. First 10; then 1/2 of the way to 20: 15; then 0.4 (not 1/3) of the way to 5: 11; then to 1: 7.
    learner = started(space_of(2, 3), alpha=0.4)
    for reward, value in ((10.0, 10.0), (20.0, 15.0), (5.0, 11.0), (1.0, 7.0)):
        learner.tell([episode((1, 2), reward)])
        assert learner.q[0][1] == pytest.approx(value)
        assert learner.q[1][2] == pytest.approx(value)


def test_every_agent_updates_its_own_action_alone():
    # Layer 0 plays action 0 twice: (4 + 8) / 2. Layer 1 plays each action once.
    learner = started(space_of(2, 2))
    learner.tell([episode((0, 0), 4.0), episode((0, 1), 8.0)])
    assert learner.q[0].tolist() == [6.0, float("inf")]
    assert learner.q[1].tolist() == [4.0, 8.0]


@pytest.mark.parametrize("offset", [0.0, -1e6, 1e6])
def test_a_greedy_team_tries_what_was_never_tried_and_then_plays_the_best(offset):
    learner = greedy(space_of(3, 3))
    told = {(0, 0): 1.0, (1, 1): 2.0}
    learner.tell([episode(design, offset + reward) for design, reward in told.items()])
    assert learner.ask(5) == [(2, 2)] * 5
    learner.tell([episode((2, 2), offset - 3.0)])
    assert learner.ask(5) == [(1, 1)] * 5


def test_ties_are_broken_at_random():
    learner = greedy(space_of(2))
    learner.tell([episode((0,), 1.0), episode((1,), 1.0)])
    game = Game(space_of(2))
    drawn = Counter(learner.act("layer0", {"observation": game.observe(0)}) for _ in range(400))
    assert all(140 <= drawn[action] <= 260 for action in (0, 1))


def test_epsilon_falls_by_its_decay_to_its_least_and_is_drawn_by_each_agent():
    # Two agents of 100 actions, almost greedy on (7, 7): an agent explores in a tenth of 1000 episodes, 99% of them visibly.
    # So each deviates in about 99 episodes (standard deviation 9.4), and both in about 10.
    learner = started(space_of(100, 100), epsilon_decay=0.5, least_epsilon=0.1)
    learner.tell([episode((action, action), 1.0 if action == 7 else 0.0) for action in range(100)])
    asked = learner.ask(1020)[20:]
    for layer in (0, 1):
        assert 60 <= sum(design[layer] != 7 for design in asked) <= 140
    assert 1 <= sum(design[0] != 7 and design[1] != 7 for design in asked) <= 30


def test_the_first_design_is_uniform():
    # 6 designs, 600 seeds: 100 each, standard deviation 9.1.
    drawn = Counter(started(space_of(2, 3), seed).ask(1)[0] for seed in range(600))
    assert len(drawn) == 6
    assert all(60 <= count <= 140 for count in drawn.values())


@given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 2), st.floats(-100, 100)), max_size=40), st.floats(0.01, 1))
def test_values_stay_within_the_rewards(told, alpha):
    learner = started(space_of(2, 3), alpha=alpha)
    learner.tell([episode((a, b), reward) for a, b, reward in told])
    for layer in (0, 1):
        for action, value in enumerate(learner.q[layer]):
            rewards = [each[2] for each in told if each[layer] == action]
            if rewards:
                assert min(rewards) - 1e-9 <= value <= max(rewards) + 1e-9
            else:
                assert value == float("inf")
