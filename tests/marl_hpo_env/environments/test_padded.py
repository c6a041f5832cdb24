"""Identical, flat, padded observations."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pettingzoo.test import api_test, seed_test

from marl_hpo_env import PaddedObservations


@pytest.mark.filterwarnings(
    "error::UserWarning",
    "ignore:Observation is not a NumPy array",
    "ignore:Observation space for each agent probably should be gymnasium.spaces.box",
    "ignore:We recommend agents to be named in the format",
)
def test_padded_observations_pass_pettingzoos_tests(space, turn_based):
    api_test(PaddedObservations(turn_based(space)), num_cycles=100)
    seed_test(lambda: PaddedObservations(turn_based(space)), num_cycles=100)


def test_all_agents_have_the_same_spaces(space, turn_based):
    env = PaddedObservations(turn_based(space))
    first = env.possible_agents[0]
    for agent in env.possible_agents:
        assert env.observation_space(agent) == env.observation_space(first)
        assert env.action_space(agent) == env.action_space(first)
        assert env.observation_space(agent) is env.observation_space(agent)
    assert env.action_space(first).n == max(space.sizes)


def test_each_agent_samples_from_spaces_of_its_own(spaces, turn_based):
    env = PaddedObservations(turn_based(spaces["unequal"]))

    def samples():
        env.reset(seed=1)
        return [[env.action_space(agent).sample() for _ in range(20)] for agent in env.possible_agents]

    drawn = samples()
    assert drawn == samples()
    assert drawn[0] != drawn[1]


@given(data=st.data())
def test_a_padded_observation_of_any_agent_is_in_its_space_at_any_time(space, turn_based, data):
    env = PaddedObservations(turn_based(space))
    env.reset()
    design = space.design_at(data.draw(st.integers(0, space.size - 1)))
    for action in (*design, *[None] * len(space)):
        state = env.state().tolist()
        for agent, size in zip(space.agents, space.sizes, strict=True):
            observation = env.observe(agent)
            assert env.observation_space(agent).contains(observation)
            assert observation["action_mask"].tolist() == [1] * size + [0] * (max(space.sizes) - size)
            observation["observation"][:] = -1
            observation["action_mask"][:] = -1
            assert env.observation_space(agent).contains(env.observe(agent))
        assert env.state().tolist() == state
        env.step(action)


def test_a_padded_observation_says_who_picks_of_which_kind_and_what_was_picked(spaces, turn_based):
    env = PaddedObservations(turn_based(spaces["unequal"]))
    env.reset()
    env.step(1)
    env.step(1)
    expected = {
        "conv": [1, 0, 0, 0, 1, 0, 0],
        "pool": [0, 1, 0, 0, 0, 0, 1],
        "fixed": [0, 0, 1, 0, 1, 0, 0],
        "fc": [0, 0, 0, 1, 0, 1, 0],
    }  # the agent; Conv2d, Linear, MaxPool2d
    for agent, identity in expected.items():
        observed = env.observe(agent)["observation"]
        assert observed.dtype == np.float32
        assert observed.tolist() == pytest.approx([*identity, 2 / 2, 2 / 5, 0, 0])
    assert env.last()[0]["observation"].tolist() == env.observe("fixed")["observation"].tolist()


def test_the_padding_is_no_action(spaces, turn_based, refused):
    env = PaddedObservations(turn_based(spaces["unequal"]))
    env.reset()
    with refused("'conv'", "0 to 1"):
        env.step(2)
    assert env.agent_selection == "conv"
    assert not env.state().any()


def test_what_is_told_is_the_inner_environments(spaces, turn_based):
    padded, plain = PaddedObservations(turn_based(spaces["diamond"])), turn_based(spaces["diamond"])
    for env in (padded, plain):
        env.reset()
        for action in (1, 1, 2, 0):
            env.step(action)
    assert padded.rewards == plain.rewards
    assert padded.infos == plain.infos
    assert padded.last()[1:] == plain.last()[1:]
    assert padded.unwrapped.design == (1, 1, 2, 0)


def test_another_environment_than_the_turn_based_one_is_refused(simultaneous, single_controller, spaces, refused):
    for env in (simultaneous(spaces["chain"]), single_controller(spaces["chain"]), None):
        with refused("wraps the turn-based environment, not", type(env).__name__):
            PaddedObservations(env)
