"""Every command that trains takes its evaluator from one place, so another can stand there."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from experiments.provenance import cores
from experiments.tuning import evaluators
from experiments.tuning.evaluators import Machines, default_workers, evaluator_of
from experiments.tuning.run_folder import RunFolder
from marl_hpo_env import Request, TrainingEvaluator, Trial, task
from marl_hpo_env.catalog import registry


def test_times_are_measured_one_training_at_a_time_and_else_every_core_trains():
    assert default_workers([torch.device("cpu")]) == cores()
    assert default_workers([torch.device("cuda", 0), torch.device("cuda", 1)]) == 2
    digits = task("digits-convnet")
    assert evaluator_of(digits, Machines("cpu"), timed=True).measures_time
    assert evaluator_of(digits, Machines("cpu"), timed=False).measures_time == (cores() == 1)
    assert not evaluator_of(digits, Machines("cpu", 2), timed=True).measures_time


def choices():
    from torch import nn

    return {nn.MaxPool2d: {"kernel_size": (1, 2)}, nn.Linear: {"out_features": (4, 16)}}


@pytest.fixture
def tiny(monkeypatch):
    """A task of four designs whose trainings last one epoch, known by name."""
    digits = task("digits-convnet")
    recipe = replace(digits.recipe, epochs=1, max_epochs=1)
    made = replace(digits, name="tiny", choices=choices, recipe=recipe)
    monkeypatch.setitem(registry._FACTORIES, "tiny", lambda: made)
    return made


@pytest.fixture
def elsewhere(monkeypatch, formula_evaluator):
    """What evaluators in the place of trainings were asked for."""
    asked = []

    class Elsewhere(formula_evaluator):
        task_name = "tiny"

        def __init__(self, task, device, workers, **_):
            super().__init__(task.space, fingerprint="elsewhere")
            self._trains = TrainingEvaluator(task, device)

        def fit(self, design, seconds):
            return self._trains.fit(design, seconds)

        def trial(self, request):
            asked.append(request)
            return super().trial(request)

    monkeypatch.setattr(evaluators, "TrainingEvaluator", Elsewhere)
    return asked


@pytest.mark.parametrize(
    ("command", "requests"),
    [
        # The original and every design; final training is `fit`, here.
        (["tune", "--learner", "random", "--episodes", "4"], 1 + 4),
        (["fit", "--design", "1,1"], 0),
        (["table", "build", "--seeds", "2"], 2 * (1 + 4)),
    ],
)
def test_designs_are_evaluated_by_whatever_stands_there(tiny, elsewhere, marl_hpo, tmp_path, command, requests):
    code, _, err = marl_hpo(*command, "--task", "tiny", "--device", "cpu", "--out", tmp_path)
    assert code == 0, err
    assert len(elsewhere) == requests


def test_a_table_is_checked_by_whatever_stands_there(tiny, elsewhere, marl_hpo, tmp_path):
    assert marl_hpo("table", "build", "--task", "tiny", "--device", "cpu", "--out", tmp_path)[0] == 0
    elsewhere.clear()
    code, out, _ = marl_hpo("table", "check", tmp_path / "tiny.npz", "--rows", "3", "--device", "cpu")
    assert (code, out.strip()) == (0, "3 trials trained again, 3 the same to the last bit.")
    assert len(elsewhere) == 3


@pytest.mark.filterwarnings("default:The store:UserWarning")
def test_trials_made_under_other_conditions_are_said_in_one_sentence(tiny, elsewhere, marl_hpo, tmp_path):
    folder = RunFolder(tmp_path, tiny)
    folder.store.introduce("on another device", "tiny")
    folder.store.put("on another device", Trial(Request((0, 0), 0, 1), "terminated", "by hand"))
    folder.store.close()
    code, _, err = marl_hpo("table", "build", "--task", "tiny", "--device", "cpu", "--out", tmp_path)
    assert code == 0
    (said,) = (line for line in err.splitlines() if "The store" in line)
    assert said.startswith("marl-hpo: The store '")
    assert said.endswith(
        "holds 1 trials of the task 'tiny' that were made with another network, data, choices, recipe, "
        "limits or kind of device; they do not count here."
    )
    assert "warn" not in err
