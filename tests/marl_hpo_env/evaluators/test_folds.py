"""A task with folds: an episode's reward is the mean over trainings on each of them."""

from __future__ import annotations

import dataclasses
from statistics import fmean

import pytest
import torch
from torch import nn

import marl_hpo_env
from marl_hpo_env import (
    PaperReward,
    Recipe,
    Request,
    SharedEvaluator,
    Store,
    StoredEvaluator,
    TableEvaluator,
    Task,
    TrainingEvaluator,
    WeightedReward,
)
from marl_hpo_env.data.folds import fold
from marl_hpo_env.evaluators.folds import averaged
from marl_hpo_env.trial import CLOCK_METRICS

CPU = torch.device("cpu")
DESIGN = (1,)


def data():
    generator = torch.Generator().manual_seed(0)
    targets = torch.arange(120) % 3
    return torch.randn(120, 4, generator=generator) + targets[:, None], targets


def small(**changes) -> Task:
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 3))
    settings = {"data": data, "recipe": Recipe(16, 2, "adam", 1e-2), "folds": 3, **changes}
    return Task("small", model, choices={"0": {"out_features": (2, 4, 8)}}, **settings)


def comparable(trial):
    metrics = {name: value for name, value in trial.metrics.items() if name not in CLOCK_METRICS}
    return trial.status, metrics, list(trial.history)


def test_a_fold_s_trial_is_that_of_a_task_with_its_data_bit_for_bit():
    task = small()
    trainer = task.trainer(CPU)
    for number in (0, 2, 0):
        request = Request(DESIGN, 0, 2, number)
        trial = trainer.train(request)[1]
        assert trial.request == request
        alone = small(data=fold(task.splits, 3, number), folds=None)
        assert comparable(trial) == comparable(alone.trainer(CPU).train(Request(DESIGN, 0, 2))[1])
    whole = trainer.train(Request(DESIGN, 0, 2))[1]
    assert comparable(whole) == comparable(small(folds=None).trainer(CPU).train(Request(DESIGN, 0, 2))[1])


def test_a_recipe_is_chosen_on_every_fold():
    task = small(recipe_choices={"batch_size": (8, 16)})
    trial = task.trainer(CPU).train(Request((1, 1), 0, 2, 1))[1]
    assert comparable(trial) == comparable(small().trainer(CPU).train(Request((1,), 0, 2, 1))[1])


@pytest.mark.parametrize(
    "reward",
    [PaperReward(), WeightedReward({"validation_accuracy": 1}, ["validation_accuracy >= original"]), None],
)
def test_an_environment_s_reward_and_objectives_are_the_means_and_every_fold_is_stored(tmp_path, reward):
    task, path = small(), tmp_path / "trials.sqlite"
    evaluator = StoredEvaluator(TrainingEvaluator(task, "cpu"), Store(path))
    game = marl_hpo_env.env(task, evaluator=evaluator, reward=reward).unwrapped
    (trial,) = game.evaluate([DESIGN])
    assert trial.request == Request(DESIGN, 0, 2)
    original = game.original if game.reward.relative else None
    rewards = [
        game.reward(part, None if original is None else original.folds[number])
        for number, part in enumerate(trial.folds)
    ]
    assert len(set(rewards)) > 1 or isinstance(game.reward, PaperReward)
    assert game.score(trial) == fmean(rewards)
    accuracies = [part.metrics["validation_accuracy"] for part in trial.folds]
    assert trial.metrics["validation_accuracy"] == fmean(accuracies)
    objective = next(iter(game.objectives(trial)))
    assert game.objectives(trial)[objective] == fmean(game.objectives(part)[objective] for part in trial.folds)
    stored = {each.request: each for _, each in Store(path).trials() if each.design == DESIGN}
    assert stored == {Request(DESIGN, 0, 2, number): part for number, part in enumerate(trial.folds)}
    again = marl_hpo_env.env(task, evaluator=StoredEvaluator(Refusing(task), Store(path)), reward=reward).unwrapped
    assert [again.score(each) for each in again.evaluate([DESIGN, DESIGN])] == [game.score(trial)] * 2


class Refusing(TrainingEvaluator):
    def evaluate(self, requests):
        raise AssertionError("Everything is stored.")


def test_one_fold_that_does_not_complete_terminates_the_design():
    parts = [small().trainer(CPU).train(Request(DESIGN, 0, 2, number))[1] for number in range(3)]
    parts[1] = dataclasses.replace(parts[1], status="terminated", reason="It took too long.")
    trial = averaged(parts[::-1])
    assert (trial.status, trial.reason) == ("terminated", "In fold 1: It took too long.")
    assert trial.folds == tuple(parts)
    game = marl_hpo_env.env(small()).unwrapped
    assert game.score(trial) == game.reward.penalty


def test_final_training_is_on_the_data_as_they_are_divided():
    network, trial = small().fit(DESIGN, "cpu")
    expected, _ = small(folds=None).fit(DESIGN, "cpu")
    assert trial.request == Request(DESIGN, 0, None)
    assert all(map(torch.equal, network.state_dict().values(), expected.state_dict().values()))


def test_a_calibrated_budget_is_that_of_folds():
    task = small(recipe=Recipe(16, "calibrated", "adam", 1e-2))
    game = marl_hpo_env.env(task, evaluator=TrainingEvaluator(task, "cpu")).unwrapped
    assert 3 <= game.epochs <= 10
    assert len(game.original.folds) == 3


def test_folds_are_of_the_fingerprint():
    groups = dataclasses.replace(small().splits, groups=torch.arange(102) // 2)
    tasks = [small(), small(folds=2), small(folds=None), small(data=groups)]
    assert len({task.fingerprint for task in tasks}) == 4
    assert small(folds=None, data=groups).fingerprint == small(folds=None).fingerprint


@pytest.mark.parametrize("folds", [1, 0, 2.5, True, "3"])
def test_a_number_that_is_none_is_one_sentence(refused, folds):
    with refused("number of folds", str(folds)):
        small(folds=folds)


def test_folds_that_are_not_there_are_one_sentence(refused, table_of):
    evaluator = TrainingEvaluator(small(), "cpu")
    with refused("fold is 3"):
        evaluator.evaluate([Request(DESIGN, 0, 2, 3)])
    with refused("Fold 0 of 'small'"):
        TrainingEvaluator(small(folds=None), "cpu").evaluate([Request(DESIGN, 0, 2, 0)])
    with refused("3 folds", "Shared weights"):
        SharedEvaluator(small(), device="cpu")
    table = table_of(small().space)
    with refused("A table", "3 folds"):
        marl_hpo_env.env(small(), evaluator=TableEvaluator(table))
    with refused("Fold 1"):
        table.trial(Request(DESIGN, 0, 4, 1))
    with refused("class 0", "200 folds"):
        _ = small(folds=200).splits
