"""Environments on a table: the same game as on trainings, with a known best design."""

from __future__ import annotations

import dataclasses
import math
import subprocess
import sys

import pytest
from gymnasium.utils.env_checker import check_env
from hypothesis import given
from hypothesis import strategies as st
from pettingzoo.test import api_test, parallel_api_test, parallel_seed_test, seed_test, state_test

import marl_hpo_env
from agents import Callback, RandomSearch, play
from marl_hpo_env import METRICS, PaperReward, Recipe, Request, Trial, WeightedReward
from marl_hpo_env.environments.registration import single_controller_env
from marl_hpo_env.evaluators.table import TableEvaluator
from marl_hpo_env.tables import table
from marl_hpo_env.tables.table import Table

ACCURACY = WeightedReward({"validation_accuracy": 1.0})


def play_by_turns(env, design):
    """What is shown from a reset until every agent has seen its reward."""
    env.reset()
    shown = []
    picks = iter(design)
    for agent in env.agent_iter():
        observation, *rest = env.last()
        shown.append((agent, {key: value.tolist() for key, value in observation.items()}, *rest))
        env.step(None if rest[1] else next(picks))
    return shown


# --- the frameworks' own tests ---------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore::UserWarning")  # test_environments knows them all
@pytest.mark.parametrize("name", table.shipped())
def test_pettingzoos_and_gymnasiums_tests_pass_with_many_episodes_on_every_table_of_the_package(name):
    def turn_based():
        return marl_hpo_env.env(name, evaluator="table")

    def simultaneous():
        return marl_hpo_env.parallel_env(name, evaluator="table")

    api_test(turn_based(), num_cycles=2000)
    seed_test(turn_based, num_cycles=500)
    state_test(turn_based(), simultaneous(), num_cycles=500)
    parallel_api_test(simultaneous(), num_cycles=2000)
    parallel_seed_test(simultaneous, num_cycles=500)
    check_env(single_controller_env(name, evaluator="table"))


@pytest.mark.parametrize("name", table.shipped())
def test_every_table_of_the_package_has_all_designs_of_its_task_and_one_without_regret(name):
    env = marl_hpo_env.env(name, evaluator="table").unwrapped
    designs = [env.space.design_at(number) for number in range(env.space.size)]
    scores = [env.score(trial) for trial in env.evaluate(designs)]
    assert len(Table.open(name).seeds) >= 3
    assert env.regret == pytest.approx(0)
    assert len(set(scores)) > len(scores) / 4


# --- the same game ---------------------------------------------------------------------------------------------------


@given(data=st.data())
def test_a_table_shows_and_rewards_what_the_evaluator_does_that_it_was_made_by(
    space, turn_based, table_of, formula_evaluator, data
):
    designs = st.lists(st.integers(0, space.size - 1).map(space.design_at), min_size=1, max_size=3)
    statuses = {data.draw(st.integers(0, space.size - 1).map(space.design_at)): "terminated"}
    settings = {
        "seed": data.draw(st.integers(0, 1)),
        "epochs": 4,
        "reward": data.draw(st.sampled_from([None, ACCURACY])),
    }
    made = table_of(space, formula_evaluator(space, statuses=statuses))
    on_formula = turn_based(space, evaluator=formula_evaluator(space, statuses=statuses), **settings)
    on_table = turn_based(space, evaluator=TableEvaluator(made), **settings)
    for design in data.draw(designs):
        assert play_by_turns(on_table, design) == play_by_turns(on_formula, design)
        found, trial = on_table.unwrapped.trial, on_formula.unwrapped.trial
        assert (found.request, found.status, found.history) == (trial.request, trial.status, trial.history)


def test_look_ups_are_not_stored_again(spaces, turn_based, table_of):
    evaluator = TableEvaluator(table_of(spaces["chain"]))
    assert turn_based(spaces["chain"], evaluator=evaluator).unwrapped.evaluator is evaluator


def test_a_request_for_what_does_not_exist_is_refused_before_any_is_answered(spaces, table_of, refused):
    evaluator = TableEvaluator(table_of(spaces["single"]))
    with refused("Action 3"):
        evaluator.evaluate([Request((0,), 0, 4), Request((3,), 0, 4)])


class Improving:
    """Validation accuracy grows with the epochs, most for the designs that start worst; the seed decides too."""

    def __init__(self, space):
        self.space = space

    def evaluate(self, requests):
        for request in requests:
            n = 0 if request.design is None else self.space.index(request.design)
            accuracy = [0.3 - 0.1 * n + 0.1 * n * epoch + 0.01 * request.seed * n for epoch in range(request.epochs)]
            history = tuple({"validation_accuracy": value} for value in accuracy)
            metrics = dict.fromkeys(METRICS) | {
                "validation_accuracy": accuracy[-1],
                "test_accuracy": 1 - accuracy[-1],
                "seconds": 2.0 + n,
            }
            yield Trial(request, "completed", None, metrics, history)


@pytest.mark.parametrize(
    ("seed", "epochs", "best", "reward"), [(0, 1, 0, 0.3), (1, 1, 0, 0.3), (0, 4, 2, 0.7), (1, 4, 2, 0.72)]
)
def test_seed_and_epochs_of_the_reward_are_to_choose(spaces, turn_based, table_of, seed, epochs, best, reward):
    space = spaces["single"]
    evaluator = TableEvaluator(table_of(space, Improving(space)))
    env = turn_based(space, evaluator=evaluator, reward=ACCURACY, seed=seed, epochs=epochs)
    rewards = [play_by_turns(env, (action,))[-1][2] for action in range(3)]
    assert rewards.index(max(rewards)) == best
    assert max(rewards) == pytest.approx(reward)
    assert env.unwrapped.regret == 0
    # What is found is scored by all seeds' test accuracy, after all epochs.
    assert evaluator.table.mean_test_accuracy.tolist() == pytest.approx([0.7, 0.495, 0.29])


def test_a_run_through_a_table_knows_the_seconds_that_the_trainings_took(spaces, turn_based, table_of):
    space = spaces["single"]
    env = turn_based(space, evaluator=TableEvaluator(table_of(space, Improving(space))), reward=ACCURACY, epochs=4)
    spent = []

    class Counting(Callback):
        def on_trial(self, trial):
            spent.append(trial.metrics["seconds"])

    play(env, RandomSearch(), 3, callbacks=[Counting()])
    assert sum(spent) == 2 + 3 + 4


def test_nothing_that_is_told_depends_on_the_test_split(spaces, turn_based, table_of, formula_evaluator):
    space = spaces["diamond"]

    def told(test_accuracy):
        made = table_of(space, formula_evaluator(space, test_accuracy=test_accuracy))
        env = turn_based(space, evaluator=TableEvaluator(made))
        yield play_by_turns(env, (1, 2, 0, 1))
        yield env.unwrapped.regret
        yield [episode._asdict() for episode in play(env, RandomSearch(), 5)]

    assert list(told(0.25)) == list(told(0.75))


# --- regret ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reward", [None, ACCURACY, PaperReward(), WeightedReward({"flops / original": 1.0})])
def test_regret_is_what_the_best_design_has_over_the_best_found(
    spaces, turn_based, table_of, formula_evaluator, reward
):
    space = spaces["diamond"]
    statuses = {space.design_at(space.size - 1): "terminated"}
    made = table_of(space, formula_evaluator(space, statuses=statuses))
    env = turn_based(space, evaluator=TableEvaluator(made), reward=reward, seed=1)
    rewards = {}
    for number in range(space.size):
        design = space.design_at(number)
        rewards[design] = play_by_turns(env, design)[-1][2]
    best = max(rewards.values())
    again = turn_based(space, evaluator=TableEvaluator(made), reward=reward, seed=1)
    assert again.unwrapped.regret == math.inf
    found = -math.inf
    for number in (5, 40, 3, 12):
        design = space.design_at(number)
        play_by_turns(again, design)
        found = max(found, rewards[design])
        assert again.unwrapped.regret == best - found
    for _ in again.unwrapped.evaluate(list(rewards)):  # designs that are asked for beside the game count too
        pass
    assert again.unwrapped.regret == 0


def test_under_a_running_budget_the_regret_is_among_what_was_found_in_as_many_epochs(spaces, turn_based, table_of):
    space = spaces["single"]

    class Slow:
        """The third design meets any threshold in its fourth epoch, the others never; the more epochs, the better."""

        def evaluate(self, requests):
            for request in requests:
                n = 3 if request.design is None else request.design[0]
                history = tuple(
                    {"train_loss": 2.0 if n < 2 or epoch < 4 else 0.1, "validation_accuracy": 0.1 * n + 0.01 * epoch}
                    for epoch in range(1, request.epochs + 1)
                )
                yield Trial(request, "completed", None, {**history[-1], "epochs": request.epochs}, history)

    env = turn_based(
        space, evaluator=TableEvaluator(table_of(space, Slow(), epochs=10)), reward=ACCURACY, epochs="running"
    ).unwrapped
    assert env.regret == math.inf
    list(env.evaluate([(1,)]))
    assert (env.epochs, env.regret) == (10, pytest.approx(0.1))  # 0.2 + 0.1 and 0.1 + 0.1
    list(env.evaluate([(2,)]))
    assert (env.epochs, env.regret) == (4, math.inf)  # nothing has been trained for so many epochs
    list(env.evaluate([(0,)]))
    assert env.regret == pytest.approx(0.2)  # 0.2 + 0.04 and 0.04


def test_the_regret_is_known_on_tables_only(spaces, turn_based):
    env = turn_based(spaces["single"]).unwrapped
    assert not hasattr(env, "regret")
    with pytest.raises(AttributeError, match="known on a table"):
        _ = env.regret


# --- what fits together ----------------------------------------------------------------------------------------------


@pytest.fixture
def shipped(spaces, table_of, tmp_path, monkeypatch):
    """Makes a table and puts it where those of the package lie."""
    monkeypatch.setattr(table, "_SHIPPED", tmp_path)

    def make(**about):
        made = table_of(spaces["chain"], **{**marl_hpo_env.task("digits-convnet").conditions, **about})
        made.save(tmp_path / "digits-convnet.npz")
        return made

    return make


def test_the_tables_environment_is_made_by_name(shipped):
    made = shipped()
    for make in (marl_hpo_env.env, marl_hpo_env.parallel_env, single_controller_env):
        env = make("digits-convnet", evaluator="table").unwrapped
        assert env.evaluator.table.digest == made.digest
        assert (env.space, env.epochs) == (made.space, 4)
        assert env.regret == math.inf
    assert TableEvaluator("digits-convnet").fingerprint == TableEvaluator(made).fingerprint


def test_a_task_without_a_table_has_none(shipped, refused):
    shipped()
    with refused("'digits-unet'", "digits-convnet"):
        marl_hpo_env.env("digits-unet", evaluator="table")
    with refused("'tables'", "'table'"):
        marl_hpo_env.env("digits-convnet", evaluator="tables")


def test_a_table_of_another_recipe_or_other_limits_is_refused(shipped, refused):
    task = marl_hpo_env.task("digits-convnet")
    shipped()
    for other, mentioned in (
        (dataclasses.replace(task, recipe=Recipe(batch_size=8, epochs=4)), "recipe"),
        (dataclasses.replace(task, limits=marl_hpo_env.Limits()), "limits"),
    ):
        with refused(mentioned, "'digits-convnet'"):
            marl_hpo_env.env(other, evaluator="table")
    fewer_epochs = dataclasses.replace(task, recipe=dataclasses.replace(task.recipe, epochs=2))
    assert marl_hpo_env.env(fewer_epochs, evaluator="table").unwrapped.epochs == 2


def test_an_environment_of_a_seed_or_epochs_that_the_table_lacks_is_refused(spaces, turn_based, table_of, refused):
    evaluator = TableEvaluator(table_of(spaces["single"]))
    with refused("no seed 7", "[0, 1]"):
        turn_based(spaces["single"], evaluator=evaluator, seed=7)
    with refused("5 epochs", "1 to 4"):
        turn_based(spaces["single"], evaluator=evaluator, epochs=5)
    with refused("10 epochs", "1 to 4"):
        _ = turn_based(spaces["single"], evaluator=evaluator, epochs="calibrated").unwrapped.epochs


def test_what_the_table_lacks_cannot_be_rewarded(spaces, turn_based, table_of, formula_evaluator, refused):
    space = spaces["single"]
    evaluator = TableEvaluator(table_of(space, formula_evaluator(space, measures_time=False)))
    assert evaluator.unmeasured == {"train_ms_per_batch", "inference_ms_per_batch"}
    assert not evaluator.measures_time
    assert TableEvaluator(table_of(space)).measures_time
    with refused("'train_ms_per_batch'", "a table answers what it holds"):
        turn_based(space, evaluator=evaluator, reward=WeightedReward({"train_ms_per_batch": 1.0}))


def test_a_table_of_no_task_brings_a_task_that_can_be_played(spaces, refused):
    space = spaces["single"]
    trials = [Trial(Request((n,), 3, 50), "completed", None, {"validation_accuracy": n / 4}) for n in range(3)]
    evaluator = TableEvaluator(
        Table.from_trials("mine", space, [3], 50, trials, about={"notes": ["Mine.", "All of it."]})
    )
    assert (evaluator.task.name, evaluator.task.description) == ("mine", "Mine. All of it.")
    env = marl_hpo_env.env(evaluator.task, evaluator=evaluator)
    assert play_by_turns(env, (1,))[-1][2] == 0.25
    assert env.unwrapped.regret == 0.25
    for function in (evaluator.task.model, evaluator.task.data):
        with refused("no network and no data"):
            function()
    built_in = TableEvaluator(Table.from_trials("digits-unet", space, [3], 50, trials)).task
    assert built_in.model is marl_hpo_env.task("digits-unet").model


def test_a_table_is_opened_and_played_without_torch(spaces, table_of, tmp_path):
    table_of(spaces["chain"]).save(tmp_path / "digits-convnet.npz")
    code = f"""
import sys, pathlib, marl_hpo_env
from marl_hpo_env.tables import table
table._SHIPPED = pathlib.Path({str(tmp_path)!r})
from marl_hpo_env.evaluators.table import TableEvaluator
evaluator = TableEvaluator("digits-convnet")
env = marl_hpo_env.env("digits-convnet", evaluator=evaluator)
env.reset()
for action in (0, 1, 2):
    env.step(action)
print(env.unwrapped.regret > 0, len(evaluator.table.pareto_front()), "torch" in sys.modules)
"""
    ran = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert ran.stdout.strip() == "True 1 False"
