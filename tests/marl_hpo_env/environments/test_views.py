"""What is observed and where the masks are, in every way of showing them."""

from __future__ import annotations

import itertools
import subprocess
import sys

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces as gym
from gymnasium.utils.env_checker import check_env
from hypothesis import given
from hypothesis import strategies as st
from pettingzoo.test import api_test, parallel_api_test, parallel_seed_test, seed_test

import marl_hpo_env

WAYS = [*itertools.product(("dict", "flat", "padded"), ("observation", "info", None))]
every_way = pytest.mark.parametrize(("observations", "masks"), WAYS)

framework = pytest.mark.filterwarnings(
    "error::UserWarning",
    "ignore:Observation is not a NumPy array",
    "ignore:Observation space for each agent probably should be gymnasium.spaces.box",
    "ignore:We recommend agents to be named in the format",
    "ignore:Agents have different observation space sizes",
    "ignore:Observation is a single number",
    "ignore:Action mask is a single number",
    "ignore:Observation numpy array is all zeros",
    "ignore:Observations are different shapes",
    "ignore:.*Not able to test alternative render modes due to the environment not having a spec",
)


@framework
@every_way
@pytest.mark.parametrize("shape", ["diamond", "unequal", "dotted names", "one design"])
def test_every_way_passes_the_frameworks_tests(
    spaces, turn_based, simultaneous, single_controller, shape, observations, masks
):
    space, way = spaces[shape], {"observations": observations, "masks": masks}
    api_test(turn_based(space, **way), num_cycles=30)
    seed_test(lambda: turn_based(space, **way), num_cycles=30)
    parallel_api_test(simultaneous(space, **way), num_cycles=30)
    parallel_seed_test(lambda: simultaneous(space, **way), num_cycles=30)
    check_env(single_controller(space, **way))


@every_way
@given(data=st.data())
def test_an_observation_of_any_agent_is_in_its_space_at_any_time_and_the_caller_s(
    space, turn_based, observations, masks, data
):
    env = turn_based(space, observations=observations, masks=masks)
    env.reset()
    assert env.observation_spaces == {agent: env.observation_space(agent) for agent in env.possible_agents}
    assert env.action_spaces == {agent: env.action_space(agent) for agent in env.possible_agents}
    design = space.design_at(data.draw(st.integers(0, space.size - 1)))
    for action in (*design, *[None] * len(space)):
        state = env.state().tolist()
        for agent, size in zip(space.agents, space.sizes, strict=True):
            assert env.observation_space(agent) is env.observation_space(agent)
            for _ in range(2):
                observed = env.observe(agent)
                assert env.observation_space(agent).contains(observed)
                parts = observed if isinstance(observed, dict) else {"observation": observed}
                assert ("action_mask" in parts) == (masks == "observation")
                if agent in env.infos:
                    assert ("action_mask" in env.infos[agent]) == (masks == "info")
                mask = parts.get("action_mask", env.infos.get(agent, {}).get("action_mask"))
                if mask is not None:
                    width = max(space.sizes) if observations == "padded" else size
                    assert mask.dtype == np.int8
                    assert len(mask) == width == env.action_space(agent).n
                    assert mask.tolist() == [1] * size + [0] * (width - size)
                for part in parts.values():
                    part[:] = 99
        assert env.state().tolist() == state
        env.step(action)


@every_way
@given(data=st.data())
def test_the_single_controller_s_view_is_in_its_space_at_any_time(space, single_controller, observations, masks, data):
    env = single_controller(space, observations=observations, masks=masks)
    view, info = env.reset()
    for action in space.design_at(data.draw(st.integers(0, space.size - 1))):
        assert env.observation_space.contains(view)
        if masks is not None:
            mask = (view if masks == "observation" else info)["action_mask"]
            assert mask.tolist() == env.action_masks().tolist()
        view, _, _, _, info = env.step(action)
    assert env.observation_space.contains(view)
    assert ("action_mask" in info) == (masks == "info")


def test_agents_and_the_controller_observe_the_same_picks_in_three_ways(spaces, turn_based, single_controller):
    space, picks = spaces["unequal"], (1, 1)  # of 2, 5, 1 and 3 actions
    seen = {}
    for observations in ("dict", "flat", "padded"):
        env, alone = (make(space, observations=observations, masks=None) for make in (turn_based, single_controller))
        env.reset()
        alone.reset()
        for action in picks:
            env.step(action)
            view = alone.step(action)[0]
        seen[observations] = [*map(env.observe, space.agents), view]
    plain = [observation["observation"].tolist() for observation in seen["dict"]]
    assert plain == [[0], [2], [2], [0], [2, 2, 0, 0]]
    flat = [observation.tolist() for observation in seen["flat"]]
    assert flat == [[0], [0, 1], [0, 1, 0, 0, 0], [0], [0, 1, 0, 1, 0, 0, 0, 0, 0, 0, 0]]
    padded = [observation.tolist() for observation in seen["padded"]]
    identities = {  # the layer; Conv2d, Linear, MaxPool2d
        "conv": [1, 0, 0, 0, 1, 0, 0],
        "pool": [0, 1, 0, 0, 0, 0, 1],
        "fixed": [0, 0, 1, 0, 1, 0, 0],
        "fc": [0, 0, 0, 1, 0, 1, 0],
    }
    state = np.array([2 / 2, 2 / 5, 0, 0], dtype=np.float32).tolist()
    assert padded == [*(identity + state for identity in identities.values()), identities["fixed"] + state]


@pytest.mark.parametrize("shape", ["diamond", "unequal"])
def test_flat_observations_tell_apart_what_plain_ones_do(spaces, turn_based, shape):
    space = spaces[shape]
    env, flat = turn_based(space), turn_based(space, observations="flat", masks=None)
    pairs = {agent: set() for agent in space.agents}
    for number in range(space.size):
        env.reset()
        flat.reset()
        for action in space.design_at(number):
            for agent in space.agents:
                pairs[agent].add((str(env.observe(agent)["observation"]), str(flat.observe(agent))))
            env.step(action)
            flat.step(action)
    for seen in pairs.values():
        assert len({plain for plain, _ in seen}) == len({other for _, other in seen}) == len(seen)


def test_padded_agents_have_the_same_spaces_each_with_a_generator_of_its_own(spaces, turn_based, simultaneous):
    space = spaces["unequal"]
    for make in (turn_based, simultaneous):
        env = make(space, observations="padded")

        def samples(env=env):
            env.reset(seed=1)
            return [[env.action_space(agent).sample() for _ in range(20)] for agent in env.possible_agents]

        first, *others = env.possible_agents
        assert all(env.observation_space(agent) == env.observation_space(first) for agent in others)
        assert all(env.action_space(agent) == gym.Discrete(max(space.sizes)) for agent in (first, *others))
        drawn = samples()
        assert drawn == samples()
        assert drawn[0] != drawn[1]


def test_a_pick_of_the_padding_ends_the_episode_with_the_penalty(
    spaces, turn_based, simultaneous, formula_evaluator, refused
):
    space = spaces["unequal"]
    evaluator = formula_evaluator(space)
    env = turn_based(space, evaluator=evaluator, observations="padded", masks=None)
    env.reset()
    env.step(1)
    env.step(4)
    with refused("'fixed'", "0 to 0"):
        env.step(5)  # no agent has so many
    env.step(1)
    at_once = simultaneous(space, evaluator=evaluator, observations="padded", masks=None)
    at_once.reset()
    with refused("'pool'"):
        at_once.step({"conv": 2, "pool": 5, "fixed": 0, "fc": 0})
    _, rewards, terminations, truncations, infos = at_once.step({"conv": 2, "pool": 0, "fixed": 0, "fc": 0})
    penalty = env.unwrapped.reward.penalty
    assert env.rewards == rewards == dict.fromkeys(space.agents, penalty)
    assert env.terminations == terminations == dict.fromkeys(space.agents, True)
    assert env.truncations == truncations == dict.fromkeys(space.agents, False)
    for info in (*env.infos.values(), *infos.values()):
        assert info["terminated"] == 1
    for ended in (env.unwrapped, at_once):
        assert (ended.design, ended.trial) == (None, None)
    assert evaluator.asked == []
    for agent in space.agents:
        assert env.last()[1:4] == (penalty, True, False), agent
        env.step(None)
    assert (env.agents, at_once.agents) == ([], [])
    env.reset()
    env.step(0)
    assert env.rewards == dict.fromkeys(space.agents, 0.0)


def test_an_unknown_way_is_one_sentence(spaces, turn_based, simultaneous, single_controller, refused):
    for make in (turn_based, simultaneous, single_controller):
        with refused("'boxes'", "'padded'"):
            make(spaces["chain"], observations="boxes")
        with refused("True", "'info'", "None"):
            make(spaces["chain"], masks=True)


def test_torch_takes_every_agent_s_name(space, turn_based):
    from torch import nn

    env = turn_based(space)
    assert len(nn.ModuleDict({agent: nn.Identity() for agent in env.possible_agents})) == len(space)


def test_version_0_says_that_there_is_version_1():
    with pytest.raises(gymnasium.error.DeprecatedEnv, match="Please use `marl_hpo_env/digits-convnet-v1` instead"):
        gymnasium.make("marl_hpo_env/digits-convnet-v0")


def test_a_script_that_takes_a_name_alone_plays_on_the_table():
    script = """
import sys, gymnasium
name = "marl_hpo_env:marl_hpo_env/digits-convnet-table-v1"
single, envs = gymnasium.make(name), gymnasium.make_vec(name, num_envs=2)
assert "marl_hpo_env" in sys.modules and single.unwrapped.evaluator.exhaustive and envs.evaluator.exhaustive
import pettingzoo
for kind in ("aec", "parallel"):
    assert pettingzoo.make(kind, name.partition(":")[2]).unwrapped.evaluator.exhaustive
"""
    subprocess.run([sys.executable, "-c", script], check=True)


def test_supersuit_pads_flattens_and_marks_agents():
    supersuit = pytest.importorskip("supersuit", reason="SuperSuit is not installed")
    plain = marl_hpo_env.parallel_env("digits-branches", evaluator="table", observations="flat", masks=None)
    env = supersuit.agent_indicator_v0(
        supersuit.flatten_v0(supersuit.pad_action_space_v0(supersuit.pad_observations_v0(plain)))
    )
    parallel_api_test(env, num_cycles=30)
    assert len({str(env.observation_space(agent)) for agent in env.possible_agents}) == 1
    shared = marl_hpo_env.parallel_env("digits-branches", evaluator="table", observations="padded", masks=None)
    vector = supersuit.concat_vec_envs_v1(supersuit.pettingzoo_env_to_vec_env_v1(shared), 3, base_class="gymnasium")
    agents = len(shared.possible_agents)
    observations, _ = vector.reset(seed=0)
    assert observations.shape == (3 * agents, *shared.observation_space(shared.possible_agents[0]).shape)
    _, rewards, terminations, _, _ = vector.step(np.zeros(3 * agents, dtype=int))
    assert (rewards > 0).all()
    assert terminations.all()
