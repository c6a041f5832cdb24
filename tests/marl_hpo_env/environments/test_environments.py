"""The three environments: what their frameworks ask of them, and the rules of the game in each."""

from __future__ import annotations

import dataclasses
import math

import gymnasium
import numpy as np
import pettingzoo
import pytest
from gymnasium.utils.env_checker import check_env
from hypothesis import given
from hypothesis import strategies as st
from pettingzoo.test import api_test, parallel_api_test, parallel_seed_test, render_test, seed_test, state_test

import marl_hpo_env
from agents import RandomSearch, play
from marl_hpo_env import Layer, PaperReward, Request, SearchSpace, Store, StoredEvaluator, WeightedReward
from marl_hpo_env.environments.picture import picture
from marl_hpo_env.reward import Objective

IDENTIFIER = "marl_hpo_env/digits-convnet-v1"

# Every warning of the frameworks' tests is an error, but for those about what the table in marl_hpo_env/README.md says: agents
# bear the names of their layers; they see, in a Dict with an action mask, their feeding layers' picks, 0 where not yet made.
framework = pytest.mark.filterwarnings(
    "error::UserWarning",
    "ignore:Observation is not a NumPy array",
    "ignore:Observation space for each agent probably should be gymnasium.spaces.box",
    "ignore:State space for each .*environment probably should be gymnasium.spaces.box",
    "ignore:We recommend agents to be named in the format",
    "ignore:Agents have different observation space sizes",
    "ignore:Observation is a single number",
    "ignore:Action mask is a single number",
    "ignore:Observation numpy array is all zeros",
    "ignore:Observations are different shapes",
    "ignore:State is a single number",
    "ignore:.*Not able to test alternative render modes due to the environment not having a spec",
)


def play_by_turns(env, design):
    """Plays a design from a reset until every agent has seen its reward; returns what was shown on the way."""
    env.reset()
    shown = []
    picks = iter(design)
    for agent in env.agent_iter():
        observation, reward, terminated, truncated, info = env.last()
        seen = {key: value.tolist() for key, value in observation.items()}
        shown.append((agent, seen, reward, terminated, truncated, info, dict(env.rewards)))
        env.step(None if terminated or truncated else next(picks))
    return shown


def play_at_once(env, design):
    """Plays a design from a reset; returns what the step returned."""
    env.reset()
    return env.step(dict(zip(env.agents, design, strict=True)))


def play_alone(env, design):
    """Plays a design from a reset; returns what every step returned."""
    env.reset()
    return [env.step(action) for action in design]


def any_design(data, space: SearchSpace):
    return space.design_at(data.draw(st.integers(0, space.size - 1)))


# --- the frameworks' own tests, without training ---------------------------------------------------------------------


@framework
def test_the_turn_based_environment_passes_pettingzoos_tests(space, turn_based, simultaneous):
    api_test(turn_based(space), num_cycles=100)
    seed_test(lambda: turn_based(space), num_cycles=100)
    state_test(turn_based(space), simultaneous(space), num_cycles=100)
    render_test(lambda **settings: turn_based(space, **settings))


@framework
def test_the_simultaneous_environment_passes_pettingzoos_tests(space, simultaneous):
    parallel_api_test(simultaneous(space), num_cycles=100)
    parallel_seed_test(lambda: simultaneous(space), num_cycles=100)


@framework
def test_the_gymnasium_environment_passes_gymnasiums_test(space, single_controller):
    check_env(single_controller(space))
    check_env(single_controller(space, render_mode="ansi"))
    check_env(single_controller(space, render_mode="rgb_array"))


# --- the same on real training ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def digits():
    """The task, with trainings of one epoch."""
    task = marl_hpo_env.task("digits-convnet")
    return dataclasses.replace(task, recipe=dataclasses.replace(task.recipe, epochs=1))


@pytest.fixture(scope="module")
def trained(digits):
    """Trains each design once for all tests."""
    return StoredEvaluator(marl_hpo_env.TrainingEvaluator(digits, device="cpu"), Store())


@framework
def test_the_turn_based_environment_passes_pettingzoos_tests_on_real_training(digits, trained):
    def make(**settings):
        return marl_hpo_env.env(digits, **{"evaluator": trained, **settings})

    api_test(make(), num_cycles=2)
    state_test(make(), marl_hpo_env.parallel_env(digits, evaluator=trained), num_cycles=2)
    render_test(make)


@framework
def test_the_simultaneous_environment_passes_pettingzoos_test_on_real_training(digits, trained):
    parallel_api_test(marl_hpo_env.parallel_env(digits, evaluator=trained), num_cycles=2)


@framework
def test_trainings_repeat_to_the_last_bit(digits):
    # Each environment has a store of its own, so that both train.
    def on_cpu():
        return {"evaluator": marl_hpo_env.TrainingEvaluator(digits, device="cpu")}

    seed_test(lambda: marl_hpo_env.env(digits, **on_cpu()), num_cycles=2)
    parallel_seed_test(lambda: marl_hpo_env.parallel_env(digits, **on_cpu()), num_cycles=2)


@framework
def test_the_gymnasium_environment_passes_gymnasiums_test_on_real_training():
    check_env(gymnasium.make(IDENTIFIER, epochs=1).unwrapped)


def test_pettingzoo_makes_the_turn_based_environment_by_its_name():
    env = pettingzoo.make("aec", IDENTIFIER, epochs=1)
    shown = play_by_turns(env, (1, 1, 1, 0, 1))
    assert env.unwrapped.trial.status == "completed"
    assert env.unwrapped.trial.request == Request((1, 1, 1, 0, 1), 0, 1)
    assert shown[-1][2] == env.unwrapped.score(env.unwrapped.trial) > 0


def test_pettingzoo_makes_the_simultaneous_environment_by_its_name():
    env = pettingzoo.make("parallel", IDENTIFIER, epochs=1)
    rewards = play_at_once(env, (1, 1, 1, 0, 1))[1]
    assert env.trial.status == "completed"
    assert set(rewards.values()) == {env.score(env.trial)}


def test_gymnasium_makes_the_single_controller_environment_by_its_name():
    env = gymnasium.make(IDENTIFIER, epochs=1)
    _, reward, terminated, truncated, info = play_alone(env, (1, 1, 1, 0, 1))[-1]
    assert (terminated, truncated) == (True, False)
    assert reward == env.unwrapped.score(env.unwrapped.trial) > 0
    assert info["validation_accuracy"] == env.unwrapped.trial.metrics["validation_accuracy"]


def test_an_unknown_task_is_refused_with_the_names_nearest_to_it(refused):
    for make in (marl_hpo_env.env, marl_hpo_env.parallel_env, marl_hpo_env.task):
        with refused("'digit-convnet'", "'digits-convnet'"):
            make("digit-convnet")


# --- one episode -----------------------------------------------------------------------------------------------------


@given(data=st.data())
def test_all_agents_get_the_same_reward_and_terminate_together(space, turn_based, simultaneous, data):
    design = any_design(data, space)
    env = turn_based(space)
    shown = play_by_turns(env, design)
    picking, ended = shown[: len(space)], shown[len(space) :]
    reward = env.unwrapped.score(env.unwrapped.trial)
    assert [agent for agent, *_ in picking] == [agent for agent, *_ in ended] == list(space.agents)
    assert all(step[2:5] == (0.0, False, False) and set(step[6].values()) == {0.0} for step in picking)
    assert all(step[2:5] == (reward, True, False) for step in ended)
    assert ended[0][6] == dict.fromkeys(space.agents, reward)
    assert env.agents == []

    _, rewards, terminations, truncations, _ = play_at_once(simultaneous(space), design)
    assert rewards == dict.fromkeys(space.agents, reward)
    assert terminations == dict.fromkeys(space.agents, True)
    assert truncations == dict.fromkeys(space.agents, False)


@given(data=st.data())
def test_the_three_environments_play_the_same_game(space, turn_based, simultaneous, single_controller, data):
    design = any_design(data, space)
    envs = turn_based(space), simultaneous(space), single_controller(space)
    for env in envs:
        env.reset()
        assert (env.unwrapped.design, env.unwrapped.trial) == (None, None)
    by_turns, at_once, alone = (
        play_by_turns(envs[0], design),
        play_at_once(envs[1], design),
        play_alone(envs[2], design),
    )
    assert [env.unwrapped.design for env in envs] == [design] * 3
    assert envs[0].unwrapped.trial == envs[1].unwrapped.trial == envs[2].unwrapped.trial
    assert envs[0].unwrapped.trial.request == Request(design, 0, 4)
    assert by_turns[-1][2] == at_once[1][space.agents[0]] == alone[-1][1]
    assert [step[1:4] for step in alone[:-1]] == [(0.0, False, False)] * (len(space) - 1)


@given(data=st.data())
def test_an_observation_of_any_agent_is_in_its_space_at_any_time_and_changes_nothing(space, turn_based, data):
    env = turn_based(space)
    env.reset()
    design = any_design(data, space)
    for action in (*design, *[None] * len(space)):
        before = env.state().tolist(), list(env.agents), env.agent_selection, dict(env.rewards)
        for agent in env.possible_agents:
            observation = env.observe(agent)
            assert env.observation_space(agent).contains(observation)
            assert observation["action_mask"].all()
            observation["observation"] += 9
            observation["action_mask"] -= 1
            assert env.observation_space(agent).contains(env.observe(agent))
        assert (env.state().tolist(), list(env.agents), env.agent_selection, dict(env.rewards)) == before
        env.step(action)


@given(data=st.data())
def test_the_state_is_in_its_space_and_changes_after_every_pick(space, turn_based, data):
    env = turn_based(space)
    env.reset()
    states = [env.state().tolist()]
    for action in any_design(data, space):
        env.step(action)
        assert env.state_space.contains(env.state())
        states.append(env.state().tolist())
    assert len({tuple(state) for state in states}) == len(space) + 1


@given(data=st.data())
def test_simultaneous_observations_are_in_their_spaces_and_blind_to_the_picks(space, simultaneous, data):
    env = simultaneous(space)
    observations, _ = env.reset()
    assert all(not observation["observation"].any() for observation in observations.values())
    final = play_at_once(env, any_design(data, space))[0]
    for agent in env.possible_agents:
        assert env.observation_space(agent).contains(observations[agent])
        assert env.observation_space(agent).contains(final[agent])


@given(data=st.data())
def test_the_single_controllers_view_is_in_its_space_at_any_time(space, single_controller, data):
    env = single_controller(space)
    view, info = env.reset()
    for action in any_design(data, space):
        assert env.observation_space.contains(view)
        assert info["action_mask"].tolist() == env.action_masks().tolist()
        assert info["action_mask"].sum() == space.sizes[env.game.turn]
        view, _, _, _, info = env.step(action)
    assert env.observation_space.contains(view)


def test_an_agent_that_nothing_feeds_has_one_constant_to_observe_and_others_one_number_more_than_there_are_actions(
    spaces, turn_based, simultaneous
):
    for env in (turn_based(spaces["diamond"]), simultaneous(spaces["diamond"])):
        seen = [env.observation_space(agent)["observation"].nvec.tolist() for agent in env.possible_agents]
        assert seen == [[1], [5], [5], [5, 4]]
        assert env.state_space.nvec.tolist() == [5, 5, 4, 3]


def test_a_reset_in_the_middle_of_an_episode_begins_a_new_one(space, turn_based):
    env = turn_based(space)
    play_by_turns(env, [0] * len(space))
    env.reset()
    env.step(0)
    env.reset()
    assert (env.unwrapped.design, env.unwrapped.trial) == (None, None)
    assert env.agents == list(space.agents)
    assert env.agent_selection == space.agents[0]
    assert not env.state().any()
    assert set(env.rewards.values()) == {0.0}
    assert not any(env.terminations.values())


# --- infos and test figures ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", ["completed", "terminated", "failed"])
def test_infos_have_the_same_numeric_entries_from_the_reset_on(
    space, turn_based, simultaneous, single_controller, formula_evaluator, status
):
    design = tuple(size - 1 for size in space.sizes)
    reward = WeightedReward({"validation_accuracy": 1, "model_size_mb / original": 0.2}, ["flops <= 1e9"])
    keys = {"validation_accuracy", "model_size_mb / original", "flops", "terminated"}

    def settings():
        return {"evaluator": formula_evaluator(space, statuses={design: status}), "reward": reward}

    infos = [step[5] for step in play_by_turns(turn_based(space, **settings()), design)]
    env = simultaneous(space, **settings())
    infos += env.reset()[1].values()
    infos += play_at_once(env, design)[4].values()
    alone = single_controller(space, **settings())
    masked = [alone.reset()[1], *(step[4] for step in play_alone(alone, design))]
    assert all(info.pop("action_mask").dtype == np.int8 for info in masked)
    for info in [*infos, *masked]:
        assert set(info) == keys
        assert {type(value) for value in info.values()} == {np.float64}
        assert all(math.isfinite(value) for value in info.values())
    for info in (infos[len(space)], infos[-1], masked[-1]):
        assert info["terminated"] == (status != "completed")
        assert (info["flops"] > 0) == (status == "completed")
    assert infos[0] == masked[0] == dict.fromkeys(keys, 0.0)


def test_nothing_that_is_told_depends_on_the_test_split(
    spaces, turn_based, simultaneous, single_controller, formula_evaluator
):
    space, design = spaces["diamond"], (1, 2, 0, 1)

    def told(test_accuracy):
        def settings():
            return {"evaluator": formula_evaluator(space, test_accuracy=test_accuracy)}

        env = turn_based(space, **settings())
        yield play_by_turns(env, design)
        trial = env.unwrapped.trial
        assert trial.metrics["test_accuracy"] == test_accuracy
        yield env.unwrapped.objectives(trial)
        yield play_at_once(simultaneous(space, **settings()), design)[1:]
        yield [
            (view.tolist(), *step, str(info))
            for view, *step, info in play_alone(single_controller(space, **settings()), design)
        ]
        yield [episode._asdict() for episode in play(env, RandomSearch(), 5)]

    first, second = list(told(0.25)), list(told(0.75))
    assert first == second
    assert "validation_accuracy" in str(first)
    assert "test" not in str(first)


class StrangersReward:
    """Follows the reward protocol; nothing keeps it from naming a test figure."""

    def __init__(self, *objectives, relative=False):
        self.objectives = objectives
        self.relative = relative
        self.penalty = -1.0

    def __call__(self, trial, original=None):
        return trial.metrics["test_accuracy"]


@pytest.mark.parametrize("relative", [False, True])
def test_a_strangers_reward_that_sees_a_test_figure_is_refused_before_anything_is_evaluated(
    spaces, turn_based, simultaneous, single_controller, formula_evaluator, refused, relative
):
    honest = Objective("validation_accuracy", False)
    reward = StrangersReward(honest, Objective("test_accuracy", relative), relative=relative)
    for make in (turn_based, simultaneous, single_controller):
        evaluator = formula_evaluator(spaces["chain"])
        with refused("'test_accuracy'", "test figures never reach a learner"):
            make(spaces["chain"], evaluator=evaluator, reward=reward)
        assert evaluator.asked == []
        make(spaces["chain"], evaluator=evaluator, reward=StrangersReward(honest))  # one that does not is taken


def test_a_tasks_own_reward_is_refused_likewise(spaces, formula_evaluator, refused):
    task = dataclasses.replace(
        marl_hpo_env.task("digits-convnet"), reward=StrangersReward(Objective("test_accuracy", False))
    )
    for make in (marl_hpo_env.env, marl_hpo_env.parallel_env):
        with refused("'test_accuracy'"):
            make(task, evaluator=formula_evaluator(spaces["chain"]))


# --- what is evaluated -----------------------------------------------------------------------------------------------


def test_a_design_is_evaluated_once_and_the_original_once(spaces, turn_based, formula_evaluator):
    evaluator = formula_evaluator(spaces["chain"])
    env = turn_based(spaces["chain"], evaluator=evaluator)
    for design in ((0, 0, 0), (1, 2, 3), (0, 0, 0), (1, 2, 3)):
        play_by_turns(env, design)
    assert sorted(evaluator.asked, key=str) == sorted(
        [Request((0, 0, 0), 0, 4), Request(None, 0, 4), Request((1, 2, 3), 0, 4)], key=str
    )


def test_seed_and_epochs_are_of_every_trial_and_the_seed_of_a_reset_is_of_none(spaces, turn_based, formula_evaluator):
    evaluator = formula_evaluator(spaces["single"])
    env = turn_based(spaces["single"], evaluator=evaluator, seed=5, epochs=2)
    env.reset(seed=77)
    env.step(1)
    assert set(evaluator.asked) == {Request((1,), 5, 2), Request(None, 5, 2)}


@pytest.mark.parametrize("epochs", [0, -1])
def test_a_budget_below_one_epoch_is_refused(spaces, turn_based, refused, epochs):
    with refused(str(epochs)):
        turn_based(spaces["single"], epochs=epochs)


def test_a_reset_with_a_seed_makes_the_spaces_sample_alike(spaces, turn_based, simultaneous):
    space = spaces["unequal"]

    def samples(env, seed):
        env.reset(seed=seed)
        return [
            str(sampled.sample())
            for _ in range(5)
            for agent in env.possible_agents
            for sampled in (env.action_space(agent), env.observation_space(agent), env.state_space)
        ]

    for make in (turn_based, simultaneous):
        assert samples(make(space), 3) == samples(make(space), 3) != samples(make(space), 4)


def test_after_a_reset_with_a_seed_every_layer_samples_by_itself(turn_based, simultaneous):
    space = SearchSpace([Layer(name, "Linear", {"out_features": range(10)}) for name in "abc"])
    for env in (turn_based(space), simultaneous(space)):
        env.reset(seed=3)
        assert len({str([env.action_space(agent).sample() for _ in range(20)]) for agent in env.agents}) == 3


def test_what_a_user_writes_into_one_agents_info_is_in_no_other_agents(spaces, turn_based, simultaneous):
    env = turn_based(spaces["chain"]).unwrapped
    env.reset()
    at_once = simultaneous(spaces["chain"])
    infos = [env.infos, at_once.reset()[1]]
    for action in (0, 1, 2):
        env.step(action)
    infos += [env.infos, play_at_once(at_once, (0, 1, 2))[4]]
    for by_agent in infos:
        by_agent["conv1"]["note"] = 1.0
        assert [agent for agent, info in by_agent.items() if "note" in info] == ["conv1"]


def test_many_designs_are_evaluated_beside_the_game(spaces, turn_based, refused, formula_evaluator):
    evaluator = formula_evaluator(spaces["chain"])
    env = turn_based(spaces["chain"], evaluator=evaluator).unwrapped
    env.reset()
    env.step(2)
    trials = list(env.evaluate([(0, 0, 0), [1, 1, 1], np.array([0, 0, 0])]))
    assert [trial.design for trial in trials] == [(0, 0, 0), (0, 0, 0), (1, 1, 1)]
    assert (env.game.picks, env.trial) == ((2,), None)
    asked = len(evaluator.asked)
    with refused("'conv2'"):
        env.evaluate([(2, 2, 2), (0, 9, 0)])
    assert len(evaluator.asked) == asked


@pytest.mark.parametrize("status", ["terminated", "failed"])
def test_a_design_that_does_not_complete_gets_the_penalty_and_no_objectives(
    spaces, turn_based, formula_evaluator, status
):
    for reward, penalty in ((PaperReward(), -1.0), (WeightedReward({"validation_accuracy": 2}), -4.0)):
        evaluator = formula_evaluator(spaces["chain"], statuses={(1, 1, 1): status})
        env = turn_based(spaces["chain"], evaluator=evaluator, reward=reward)
        assert play_by_turns(env, (1, 1, 1))[-1][2] == penalty
        objectives = env.unwrapped.objectives(env.unwrapped.trial)
        assert set(objectives) == {str(objective) for objective in reward.objectives}
        assert all(math.isnan(value) for value in objectives.values())


def test_an_original_network_that_cannot_be_trained_is_refused_where_the_reward_needs_it(
    spaces, turn_based, formula_evaluator, refused
):
    evaluator = formula_evaluator(spaces["single"], statuses={None: "failed"})
    with refused("'digits-convnet'"):
        play_by_turns(turn_based(spaces["single"], evaluator=evaluator), (0,))
    play_by_turns(turn_based(spaces["single"], evaluator=evaluator, reward=PaperReward()), (0,))


# --- rules -----------------------------------------------------------------------------------------------------------


def test_turn_based_what_is_not_an_action_is_refused_and_changes_nothing(spaces, turn_based, refused, no_action):
    space = spaces["unequal"]
    env = turn_based(space)
    env.reset()
    for turn in range(len(space)):
        before = env.state().tolist(), env.agent_selection, dict(env.rewards), dict(env.infos)
        with refused(repr(space.names[turn])):
            env.step(no_action(space.sizes[turn]))
        assert (env.state().tolist(), env.agent_selection, dict(env.rewards), dict(env.infos)) == before
        env.step(0)
    assert env.unwrapped.design == (0, 0, 0, 0)


def test_simultaneous_what_is_not_an_action_is_refused_and_changes_nothing(spaces, simultaneous, refused, no_action):
    env = simultaneous(spaces["diamond"])
    env.reset()
    with refused("'right'"):
        env.step({"stem": 0, "left": 1, "right": no_action(3), "head": 0})
    assert not env.state().any()
    assert env.agents == list(env.possible_agents)
    assert env.trial is None
    env.step({"stem": 0, "left": 1, "right": 2, "head": 0})
    assert env.design == (0, 1, 2, 0)


def test_alone_what_is_not_in_the_action_space_is_refused_and_changes_nothing(
    spaces, single_controller, refused, no_action
):
    env = single_controller(spaces["unequal"])
    view, _ = env.reset()
    with refused("0 to 4"):
        env.step(no_action(5))
    assert not env.game.state().any()
    assert env.step(0)[2] is False
    assert not np.array_equal(env.step(0)[0], view)


@pytest.mark.parametrize("missing", ["stem", "head"])
def test_simultaneous_the_action_of_every_agent_is_needed(spaces, simultaneous, refused, missing):
    env = simultaneous(spaces["diamond"])
    env.reset()
    with refused(repr(missing), "missing"):
        env.step({agent: 0 for agent in env.agents if agent != missing})
    assert not env.state().any()
    assert len(env.agents) == 4


def test_simultaneous_the_order_in_which_actions_are_given_does_not_matter(spaces, simultaneous):
    env = simultaneous(spaces["unequal"])
    env.reset()
    env.step({"fc": 2, "fixed": 0, "pool": 4, "conv": 1})
    assert env.design == (1, 4, 0, 2)


def test_turn_based_after_the_end_only_none_is_an_action_and_then_nothing_happens(spaces, turn_based):
    env = turn_based(spaces["chain"])
    env.reset()
    for _ in range(3):
        env.step(1)
    with pytest.raises(ValueError, match="None"):
        env.step(0)
    assert env.agents == ["conv1", "conv2", "fc"]
    for _ in range(3):
        env.step(None)
    trial = env.unwrapped.trial
    assert env.agents == []
    env.step(None)
    env.step(0)
    assert env.agents == []
    assert env.unwrapped.design == (1, 1, 1)
    assert env.unwrapped.trial is trial


def test_simultaneous_after_the_end_and_before_a_reset_there_is_no_step(spaces, simultaneous, refused):
    env = simultaneous(spaces["chain"])
    actions = {"conv1": 0, "conv2": 1, "fc": 2}
    with refused("reset"):
        env.step(actions)
    play_at_once(env, (1, 1, 1))
    with refused("reset"):
        env.step(actions)
    assert env.design == (1, 1, 1)


def test_alone_after_the_end_and_before_a_reset_there_is_no_step(spaces, single_controller, refused):
    env = single_controller(spaces["chain"])
    with refused("reset"):
        env.step(0)
    play_alone(env, (1, 1, 1))
    with refused("reset"):
        env.step(0)
    assert env.design == (1, 1, 1)


@pytest.mark.parametrize("reward", [PaperReward(), WeightedReward({"validation_accuracy": 3, "model_size_mb": 1})])
def test_alone_a_masked_pick_ends_the_episode_with_the_penalty(
    spaces, single_controller, formula_evaluator, refused, reward
):
    evaluator = formula_evaluator(spaces["unequal"])
    env = single_controller(spaces["unequal"], evaluator=evaluator, reward=reward)
    env.reset()
    env.step(1)
    env.step(2)
    assert env.action_masks().tolist() == [True, False, False, False, False]
    view, got, terminated, truncated, info = env.step(1)
    assert (got, terminated, truncated, info["terminated"]) == (reward.penalty, True, False, 1.0)
    assert env.observation_space.contains(view)
    assert (env.design, env.trial, evaluator.asked) == (None, None, [])
    with refused("reset"):
        env.step(0)


def test_text_shows_the_design_so_far(spaces, turn_based, simultaneous, single_controller):
    for make in (turn_based, simultaneous, single_controller):
        env = make(spaces["chain"], render_mode="ansi")
        env.reset()
        assert "picks next" in env.render()
        assert env.render() == env.unwrapped.game.render()
        silent = make(spaces["chain"])
        silent.reset()
        assert silent.render() is None


def test_pixels_show_the_text_in_frames_of_one_size(spaces, turn_based, simultaneous, single_controller):
    space = spaces["chain"]
    for make in (turn_based, simultaneous, single_controller):
        env = make(space, render_mode="rgb_array")
        env.reset()
        before = env.render()
        env.unwrapped.game.pick(0)
        after = env.render()
        assert (before.dtype, before.shape) == (np.uint8, (14 * len(space) + 16, 496, 3))
        assert before.shape == after.shape
        assert (before == 0).any()
        assert (before != after).any()
        assert np.array_equal(after, picture(env.unwrapped.game.render()))


def test_a_picture_shows_what_its_font_has_and_cuts_long_lines():
    cut = picture("a" * 200 + "\n\u4e16 \N{SNOWMAN}")
    assert np.array_equal(cut, picture("a" * 80 + "\n? ?"))


def test_wrappers_collect_frames():
    env = gymnasium.make("marl_hpo_env/digits-convnet-table-v1", render_mode="rgb_array")
    env = gymnasium.wrappers.RenderCollection(env)
    env.reset(seed=0)
    env.step(1)
    assert len(env.render()) == 2


def test_stable_baselines_makes_a_vector_that_it_asks_for_pixels():
    vec_env = pytest.importorskip("stable_baselines3.common.env_util", reason="stable-baselines3 is not installed")
    assert vec_env.make_vec_env("marl_hpo_env/digits-convnet-table-v1", n_envs=2).reset().shape[0] == 2


def test_what_is_no_evaluator_is_one_sentence(formula_evaluator, refused):
    for wrong, named in ((formula_evaluator, "the class FormulaEvaluator"), (object(), "a object")):
        with refused(f"The evaluator is {named}", "measures_time"):
            marl_hpo_env.env("digits-convnet", evaluator=wrong)


WRONG_SEEDS = [-1, 1.5, "0", float("nan"), True, 2**63]


@pytest.mark.parametrize("seed", WRONG_SEEDS)
def test_a_seed_is_a_whole_number_from_0(seed, spaces, turn_based, simultaneous, single_controller, refused):
    for make in (turn_based, simultaneous, single_controller):
        with refused("seed", repr(seed)):
            make(spaces["chain"]).reset(seed=seed)
        with refused("seed", repr(seed)):
            make(spaces["chain"], seed=seed)
    with refused("seed", repr(seed)):
        dataclasses.replace(marl_hpo_env.task("digits-convnet"), seed=seed)


def test_numpy_s_integers_are_seeds(spaces, turn_based, simultaneous, single_controller):
    for make in (turn_based, simultaneous, single_controller):
        env = make(spaces["chain"], seed=np.int64(3))
        env.reset(seed=np.uint8(5))
        (trial,) = env.unwrapped.evaluate([(0, 0, 0)])
        assert type(trial.request.seed) is int


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "1", None])
def test_a_reward_that_is_no_finite_number_is_refused_with_its_design(value, spaces, turn_based, refused):
    class Broken(PaperReward):
        def __call__(self, trial, original=None):
            return value

    env = turn_based(spaces["chain"], reward=Broken())
    env.reset()
    env.step(1)
    env.step(0)
    with refused("[1, 0, 2]", repr(value), "finite"):
        env.step(2)
    with refused("[0, 1, 0]", repr(value)):
        play(turn_based(spaces["chain"], reward=Broken()), One(), 1)


class One(RandomSearch):
    def ask(self, n):
        return [(0, 1, 0)]


def test_turn_based_before_a_reset_there_is_no_step(spaces, turn_based, refused):
    with refused("reset"):
        turn_based(spaces["chain"]).unwrapped.step(0)


@pytest.mark.parametrize("mode", ["depth_array", "", 3])
def test_an_unknown_render_mode_is_one_sentence(mode, spaces, turn_based, simultaneous, single_controller, refused):
    for make in (turn_based, simultaneous, single_controller):
        with refused(repr(mode), "'ansi'"):
            make(spaces["chain"], render_mode=mode)
        env = make(spaces["chain"], render_mode="human")  # which PettingZoo's test makes
        env.reset()
        with refused("'human'", "'ansi'"):
            env.render()
