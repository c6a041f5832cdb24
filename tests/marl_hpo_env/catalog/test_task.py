"""A task's fingerprint: what stores and tables that were made before are found by."""

from __future__ import annotations

import dataclasses

import pytest
import torch

import marl_hpo_env
from marl_hpo_env import Augmentation, Limits, Recipe, Table
from marl_hpo_env.catalog import task as task_module
from marl_hpo_env.catalog.task import Task, _settings
from marl_hpo_env.data.splits import Data

FINGERPRINTS = {
    "digits-branches": "bbc641a067ce35de",
    "digits-convnet": "7f1b8355f84a46ff",
    "digits-unet": "3bd375f5bc195e7c",
}
"""Of version 0.1.0: a change of these orphans every store and table there is."""


@pytest.mark.parametrize("name", FINGERPRINTS)
def test_the_digits_tasks_keep_their_fingerprints(name):
    assert marl_hpo_env.task(name).fingerprint == FINGERPRINTS[name]


@pytest.mark.parametrize("name", ["digits-branches", "digits-convnet"])
def test_the_shipped_tables_belong_to_their_tasks(name):
    about = Table.open(name).about
    assert about["fingerprint"] == FINGERPRINTS[name]
    assert about["evaluator"] == f"{FINGERPRINTS[name]}-cpu-1-thread"
    assert {part: about[part] for part in ("recipe", "limits")} == marl_hpo_env.task(name).conditions


def test_a_setting_that_is_added_enters_only_where_it_is_not_at_its_default(monkeypatch):
    @dataclasses.dataclass(frozen=True)
    class Later(Recipe):
        looks_ahead: bool = False

    monkeypatch.setitem(task_module._FIRST_SETTINGS, Later, task_module._FIRST_SETTINGS[Recipe])
    assert _settings(Later()) == _settings(Recipe())
    assert _settings(Later(looks_ahead=True)) == {**_settings(Recipe()), "looks_ahead": True}


@pytest.mark.parametrize("kind", [Recipe, Limits, Augmentation])
def test_the_first_settings_are_those_of_the_first_version(kind):
    # Whoever adds a setting leaves this list alone.
    first = {
        Recipe: "batch_size epochs optimizer learning_rate momentum weight_decay augmentation initialization "
        "min_improvement patience max_epochs",
        Limits: "loss loss_epochs batch_ratio batches",
        Augmentation: "rotation shift flip",
    }
    assert task_module._FIRST_SETTINGS[kind] == tuple(first[kind].split())


def test_a_task_that_names_no_learner_is_what_the_game_knows():
    assert not [field.name for field in dataclasses.fields(Task) if "exploration" in field.name]


@pytest.mark.parametrize("kind", [torch.float64, torch.float16, torch.uint8])
def test_inputs_of_another_type_than_networks_take_are_refused(refused, kind):
    right, wrong = (
        (torch.zeros(3, 2), torch.tensor([0, 1, 1])),
        (torch.zeros(3, 2, dtype=kind), torch.tensor([0, 1, 1])),
    )
    task = Task("other type", torch.nn.Linear(2, 2), lambda: Data(right, right, wrong))
    with refused("test split", str(kind), "float32"):
        _ = task.splits


def test_targets_that_are_neither_classes_nor_masks_are_refused(refused):
    examples = torch.zeros(3, 2), torch.zeros(3, 2)
    task = Task("regression", torch.nn.Linear(2, 2), lambda: Data(examples, examples, examples))
    with refused("torch.float32", "kind='values'", "class indices"):
        _ = task.splits


def some_examples(classes):
    return torch.arange(24.0).view(6, 4), torch.tensor(classes)


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_a_network_with_fewer_outputs_than_any_split_has_classes_is_refused(refused, split):
    splits = {name: some_examples([0, 1, 2, 0, 1, 2]) for name in ("train", "validation", "test")}
    splits[split] = some_examples([0, 1, 2, 0, 1, 3])
    choices = {"0": {"out_features": (2, 4)}}

    def task(outputs):
        model = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.Linear(4, outputs))
        return Task("few", model, lambda: Data(**splits), choices)

    with refused("3 outputs", "4 classes"):
        _ = task(3).network
    assert task(4).network.space.size == 2


def test_the_fingerprint_tells_apart_what_a_trial_depends_on_and_no_more():
    model = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.Linear(4, 3))
    examples = some_examples([0, 1, 2, 0, 1, 2])
    data = Data(examples, examples, examples)
    task = Task("one", model, data, {"0": {"out_features": (2, 4)}})
    wider = torch.nn.Sequential(torch.nn.Linear(4, 5), torch.nn.Linear(5, 3))
    others = [
        dataclasses.replace(task, model=wider),
        dataclasses.replace(task, choices={"0": {"out_features": (2, 3)}}),
        *[
            dataclasses.replace(task, data=dataclasses.replace(data, **{split: some_examples([0, 1, 2, 0, 2, 1])}))
            for split in ("train", "validation", "test")
        ],
        dataclasses.replace(task, data=dataclasses.replace(data, episode_examples=torch.arange(3))),
        dataclasses.replace(task, data=dataclasses.replace(data, episode_examples=torch.arange(1, 4))),
        dataclasses.replace(task, recipe=Recipe(batch_size=2)),
        dataclasses.replace(task, recipe=Recipe(augmentation=Augmentation())),
        dataclasses.replace(task, recipe=Recipe(augmentation=Augmentation(flip=False))),
        dataclasses.replace(task, recipe=Recipe(warm_up_epochs=1)),
        dataclasses.replace(task, limits=Limits(loss="guessing")),
        dataclasses.replace(task, limits=Limits(loss="guessing", loss_epochs=3)),
    ]
    fingerprints = [other.fingerprint for other in (task, *others)]
    assert len(set(fingerprints)) == len(fingerprints)
    same = [
        dataclasses.replace(task, name="two", description="The same.", seed=3),
        dataclasses.replace(task, reward=marl_hpo_env.PaperReward()),
        dataclasses.replace(task, recipe=Recipe(epochs=7)),  # part of a request
        dataclasses.replace(task, data=lambda: data, model=lambda: model, choices=lambda: task.choices),
    ]
    assert {other.fingerprint for other in same} == {task.fingerprint}


def test_what_guessing_the_largest_class_of_training_would_give():
    x = torch.zeros(4, 2)
    train, validation, test = (
        (x, torch.tensor([2, 2, 0, 1])),
        (x, torch.tensor([0, 0, 0, 2])),
        (x, torch.tensor([2, 1, 2, 0])),
    )
    task = Task("guessed", torch.nn.Linear(2, 3), Data(train, validation, test))
    assert task.largest_class == ("class 2", 0.25, 0.5)
    named = Data(train, validation, test, class_names=("ant", "bee", "cow"))
    assert dataclasses.replace(task, data=named).largest_class.name == "cow"
    assert marl_hpo_env.task("digits-unet").largest_class is None
