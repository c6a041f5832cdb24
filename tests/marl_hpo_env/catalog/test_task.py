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


def test_targets_that_are_neither_classes_nor_masks_are_refused(refused):
    examples = torch.zeros(3, 2), torch.zeros(3, 2)
    task = Task("regression", torch.nn.Linear(2, 2), lambda: Data(examples, examples, examples))
    with refused("train split", "torch.float32", "class indices"):
        _ = task.splits
