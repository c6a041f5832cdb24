"""The recipe as an agent: what it chooses trains the design, and the network never knows."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import torch
from gymnasium.utils.env_checker import check_env
from pettingzoo.test import api_test, parallel_api_test, seed_test, state_test

import marl_hpo_env
from agents import learner, play
from agents.rivals.gradient_choice import gradient_choice
from marl_hpo_env import (
    Augmentation,
    InputError,
    Recipe,
    Request,
    SharedEvaluator,
    Store,
    StoredEvaluator,
    Table,
    TableEvaluator,
    Task,
    TrainingEvaluator,
    load_network,
    save_network,
)
from marl_hpo_env.environments.registration import single_controller_env
from marl_hpo_env.trial import CLOCK_METRICS

CHOICES = {"learning_rate": (1e-3, 1e-2), "optimizer": ("sgd", "adam"), "batch_size": (64, 256)}
NETWORK = (3, 3, 3, 1, 2)


@pytest.fixture(scope="module")
def digits() -> Task:
    task = marl_hpo_env.task("digits-convnet")
    return dataclasses.replace(task, recipe=dataclasses.replace(task.recipe, epochs=2, max_epochs=3))


@pytest.fixture(scope="module")
def chosen(digits) -> Task:
    return dataclasses.replace(digits, recipe_choices=CHOICES)


def comparable(trial):
    metrics = {name: value for name, value in trial.metrics.items() if name not in CLOCK_METRICS}
    return trial.status, trial.reason, metrics, list(trial.history)


def test_the_recipe_is_the_first_layer_and_feeds_those_that_nothing_else_feeds(digits, chosen):
    first, *others = chosen.space.layers
    assert (first.name, first.kind, first.inputs, dict(first.choices)) == ("recipe", "Recipe", (), CHOICES)
    assert chosen.space.size == 8 * digits.space.size
    for ours, theirs in zip(others, digits.space.layers, strict=True):
        assert ours.inputs == (theirs.inputs or ("recipe",))
        assert (ours.name, ours.kind, ours.choices) == (theirs.name, theirs.kind, theirs.choices)
    assert chosen.network.space == digits.space  # which never sees it


@pytest.mark.parametrize("action", [0, 3, 6])
@pytest.mark.parametrize("epochs", [2, None])
def test_a_design_is_trained_as_by_a_task_with_the_recipe_that_it_chose_bit_for_bit(digits, chosen, action, epochs):
    values = chosen.space.layers[0].hyperparameters(action)
    assert values == dict(
        zip(CHOICES, [(1e-3, "sgd", 64), (1e-2, "adam", 64), (1e-3, "adam", 256)][action // 3], strict=True)
    )
    named = dataclasses.replace(digits, recipe=dataclasses.replace(digits.recipe, **values))
    cpu = torch.device("cpu")
    network, ours = chosen.trainer(cpu).train(Request((action, *NETWORK), 5, epochs))
    expected, theirs = named.trainer(cpu).train(Request(NETWORK, 5, epochs))
    assert ours.request == Request((action, *NETWORK), 5, epochs)
    assert comparable(ours) == comparable(theirs)
    assert (network is None) == (theirs.status == "terminated")  # as some are, by the limit
    assert network is None or all(map(torch.equal, network.state_dict().values(), expected.state_dict().values()))


def test_the_original_is_trained_by_the_recipe_as_it_stands(digits, chosen):
    ours, theirs = (task.trainer(torch.device("cpu")).train(Request(None, 0, 2))[1] for task in (chosen, digits))
    assert comparable(ours) == comparable(theirs)


def test_workers_train_and_take_home_what_the_recipe_chose(chosen, tmp_path):
    evaluator = TrainingEvaluator(chosen, "cpu")
    request = Request((2, *NETWORK), 0, 2)
    (trial,) = evaluator.evaluate([request])
    assert trial.request == request
    assert comparable(trial) == comparable(chosen.trainer(torch.device("cpu")).train(request)[1])
    network, _ = evaluator.fit((2, *NETWORK))
    here, _ = chosen.fit((2, *NETWORK), "cpu")
    x = chosen.splits.test[0][:5]
    assert torch.equal(network(x), here.eval()(x))
    assert "recipe" not in network.meta["hyperparameters"]
    save_network(network, tmp_path / "n.safetensors")
    assert torch.equal(load_network(tmp_path / "n.safetensors", chosen.model())(x), network(x))


def test_a_task_builds_its_designs_and_knows_its_original(digits, chosen):
    assert chosen.build((2, *NETWORK), "meta").meta["hyperparameters"] == digits.network.hyperparameters(NETWORK)
    assert chosen.build(None, "meta").meta["hyperparameters"] == {}
    assert chosen.original["recipe"] == {"learning_rate": 1e-2, "optimizer": "adam", "batch_size": 64}
    assert {name: value for name, value in chosen.original.items() if name != "recipe"} == digits.network.original
    assert chosen.original_design == (3, *digits.original_design)
    with pytest.raises(InputError, match="Layer 'recipe' has no action"):
        _ = dataclasses.replace(chosen, recipe=Recipe(learning_rate=0.5)).original_design
    with pytest.raises(InputError, match="6 actions"):
        chosen.build(NETWORK)


def test_choices_are_of_the_fingerprint_where_there_are_any(digits, chosen):
    one_less = dataclasses.replace(chosen, recipe_choices={name: CHOICES[name] for name in list(CHOICES)[:2]})
    other_order = dataclasses.replace(chosen, recipe_choices=dict(reversed(CHOICES.items())))
    assert len({task.fingerprint for task in (digits, chosen, one_less, other_order)}) == 4
    assert "recipe_choices" not in digits.conditions


def test_numpy_s_numbers_and_augmentations_can_be_chosen(digits):
    choices = {
        "learning_rate": np.logspace(-3, -2, 2).astype(np.float32),
        "augmentation": (None, Augmentation(flip=False)),
    }
    task = dataclasses.replace(digits, recipe_choices=choices)
    assert [type(value) for value in task.space.layers[0].choices["learning_rate"]] == [float, float]
    assert task.recipes[-1].augmentation == Augmentation(flip=False)
    json.dumps(task.space.describe())
    assert task.fingerprint != digits.fingerprint


@pytest.mark.parametrize(
    ("choices", "sentence"),
    [
        ({"learning_rate": (1e-3, -1)}, ("learning_rate=-1", "above 0")),
        ({"optimizer": ("sgd", "rmsprop")}, ("optimizer='rmsprop'", "'sgd'")),
        (
            {"nesterov": (False, True), "momentum": (0.9,), "optimizer": ("sgd", "adam")},
            ("nesterov=True", "'adam'", "'sgd'"),
        ),
        ({"epochs": (2, 3)}, ("'epochs'",)),
        ({"patience": (2, 3)}, ("'patience'",)),
        ({"learning_rat": (2, 3)}, ("'learning_rat'", "'learning_rate'")),
        ({}, ("no hyperparameter",)),
        ({"momentum": ()}, ("no values", "momentum")),
        ({"momentum": 0.9}, ("0.9", "list of values")),
        (("momentum",), ("momentum", "values by the setting's name")),
        ({"initialization": ("he", "inherit")}, ("no weights", "'inherit'")),
    ],
)
def test_choices_that_a_recipe_does_not_take_are_one_sentence_when_the_task_is_made(digits, refused, choices, sentence):
    with refused(*sentence):
        dataclasses.replace(digits, recipe_choices=choices)


def test_every_combination_may_be_valid_where_no_single_value_is(digits):
    choices = {"nesterov": (False, True), "momentum": (0.5, 0.9), "optimizer": ("sgd",)}
    assert len(dataclasses.replace(digits, recipe_choices=choices).recipes) == 5


def test_to_inherit_weights_or_not_can_be_chosen(digits):
    weights = digits.network.build(None).state_dict()
    task = dataclasses.replace(digits, weights=weights, recipe_choices={"initialization": ("he", "inherit")})
    network = task.network.build(NETWORK)
    assert network is not None
    trained = [task.trainer(torch.device("cpu")).train(Request((action, *NETWORK), 0, 1))[1] for action in (0, 1)]
    assert trained[0].status == trained[1].status == "completed"
    assert trained[0].history != trained[1].history


def test_a_layer_of_the_network_that_has_the_name_is_one_sentence(refused):
    from torch import nn

    class Named(nn.Module):
        def __init__(self):
            super().__init__()
            self.recipe, self.output = nn.Linear(4, 4), nn.Linear(4, 2)

        def forward(self, x):
            return self.output(self.recipe(x))

    data = torch.rand(20, 4), torch.tensor([0, 1] * 10)
    assert Task("free", Named(), data).space.size > 1
    with refused("'recipe'", "another name"):
        _ = Task("named", Named(), data, recipe_choices=CHOICES).space


def test_what_does_not_train_designs_by_a_recipe_refuses_to_choose_one(chosen, refused):
    with refused("recipe_choices", "shared weights"):
        SharedEvaluator(chosen, device="cpu")
    with refused("recipe_choices", "Gradients"):
        gradient_choice(chosen)
    with refused("digits-convnet", "recipe_choices"):
        marl_hpo_env.env(
            dataclasses.replace(marl_hpo_env.task("digits-convnet"), recipe_choices=CHOICES), evaluator="table"
        )


@pytest.mark.filterwarnings("ignore")  # about names and spaces, see tests/marl_hpo_env/environments
def test_every_environment_passes_its_framework_s_tests(chosen, formula_evaluator):
    def make(environment=marl_hpo_env.env, **settings):
        return environment(chosen, **{"evaluator": formula_evaluator(chosen.space), **settings})

    assert make().unwrapped.possible_agents[0] == "recipe"
    api_test(make(), num_cycles=60)
    seed_test(make, num_cycles=60)
    state_test(make(), make(marl_hpo_env.parallel_env), num_cycles=60)
    parallel_api_test(make(marl_hpo_env.parallel_env), num_cycles=60)
    check_env(make(single_controller_env))


@pytest.mark.parametrize(
    "name",
    ["pairwise-q", "coordination-graph", "random", "regularized-evolution", "optuna-tpe", "predictor", "reinforce"],
)
def test_learners_choose_recipes(chosen, formula_evaluator, name):
    game = marl_hpo_env.env(chosen, evaluator=formula_evaluator(chosen.space))
    episodes = play(game, learner(name), 12, seed=0)
    assert len({episode.design[0] for episode in episodes}) > 1


def test_a_game_on_trainings_and_a_table_of_it(digits):
    small = dataclasses.replace(
        digits,
        choices={"conv1": {"out_channels": (4, 8)}},
        recipe=dataclasses.replace(digits.recipe, epochs=1),
        recipe_choices={"optimizer": ("sgd", "adam")},
    )
    evaluator = StoredEvaluator(TrainingEvaluator(small, "cpu"), Store())
    game = marl_hpo_env.env(small, evaluator=evaluator)
    assert len(play(game, learner("random"), 4, seed=0)) == 4
    requests = [Request(design, 0, 1) for design in (None, *map(small.space.design_at, range(4)))]
    table = Table.from_trials("small", small.space, (0,), 1, evaluator.evaluate(requests), about=small.conditions)
    best = marl_hpo_env.env(small, evaluator=TableEvaluator(table)).unwrapped
    assert [best.score(trial) for trial in best.evaluator.evaluate(requests)] == [
        game.unwrapped.score(trial) for trial in evaluator.evaluate(requests)
    ]
