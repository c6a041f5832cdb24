"""Value decomposition: the sum of the agents' values, that it learns, and that torch is left as it was."""

import numpy as np
import pytest
import torch
from episodes import episode
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.rivals.vdn import ValueDecomposition
from marl_hpo_env import Game, InputError
from marl_hpo_env.testing import space_of


def started(space, seed=0, **settings):
    learner = ValueDecomposition(**settings)
    learner.reset(space, seed)
    return learner


def values_by_turns(learner, space, design):
    """Each agent's values, as it sees the design being made."""
    game = Game(space)
    for position, (name, action) in enumerate(zip(space.agents, design, strict=True)):
        mask = np.ones(space.sizes[position], dtype=np.int8)
        yield learner.values(name, {"observation": game.observe(position), "action_mask": mask})
        game.pick(action)


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_the_teams_value_is_the_sum_of_the_agents_values_on_any_graph(search_spaces, data):
    space = data.draw(search_spaces)
    learner = started(space, data.draw(st.integers(0, 9)))
    designs = [space.sample(np.random.default_rng(n)) for n in range(3)]
    sums = [
        sum(values[action] for values, action in zip(values_by_turns(learner, space, design), design, strict=True))
        for design in designs
    ]
    joint = learner._joint_values(torch.tensor(designs)).tolist()
    assert joint == pytest.approx(sums, abs=1e-5)


def test_an_agent_has_a_value_for_each_of_its_own_actions_only(space):
    learner = started(space)
    values = list(values_by_turns(learner, space, tuple(0 for _ in space.sizes)))
    assert [len(own) for own in values] == list(space.sizes)


def test_an_agent_sees_what_feeds_it_and_nothing_else(spaces):
    learner = started(spaces["diamond"])  # stem, left and right fed by it, head fed by both
    stem, left, right, head = zip(
        *(values_by_turns(learner, spaces["diamond"], design) for design in [(0, 0, 0, 0), (1, 0, 0, 0), (0, 2, 1, 0)]),
        strict=True,
    )
    assert (stem[0] == stem[1]).all()
    assert (left[0] != left[1]).any()
    assert (right[0] != right[1]).any()
    assert (right[0] == right[2]).all()  # of left's pick it knows nothing
    assert (head[0] == head[1]).all()  # nor head of the stem's
    assert (head[0] != head[2]).any()


def test_the_joint_value_comes_to_the_standardised_reward():
    learner = started(space_of(2, 2), updates=150)
    learner.tell([episode((0, 0), 30.0), episode((1, 1), 10.0)])  # mean 20, deviation 10
    assert learner._joint_values(torch.tensor([(0, 0), (1, 1)])).tolist() == pytest.approx([1, -1], abs=0.05)


def test_epsilon_falls_in_a_straight_line():
    learner = started(space_of(2, 2), decay_episodes=4, updates=1)
    epsilons = []
    for _ in range(6):
        epsilons.append(learner.epsilon)
        learner.tell([episode((0, 0), 1.0)])
    assert epsilons == pytest.approx([1, 0.7625, 0.525, 0.2875, 0.05, 0.05])


def test_it_finds_the_best_of_an_additive_table_but_not_untold(solves):
    # 150 of 1,024 designs.
    budget = {"sizes": (4,) * 5, "evaluations": 150, "episodes": 400}
    assert solves(lambda: ValueDecomposition(decay_episodes=80, learning_rate=0.003, updates=2), **budget)
    assert not solves(ValueDecomposition, **budget, told=False)


@pytest.mark.parametrize(("setting", "value"), [("decay_episodes", 0), ("updates", 0.5), ("learning_rate", -1)])
def test_a_setting_outside_its_range_is_refused(setting, value):
    with pytest.raises(InputError, match=f"^The setting {setting} is {value}; it is "):
        ValueDecomposition(**{setting: value})
