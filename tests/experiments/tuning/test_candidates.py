"""Which network is taken home where a bound is to be kept: the first along the front that keeps it, trained to convergence."""

from __future__ import annotations

import json
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from agents import Episode, learner
from experiments.tuning.candidates import candidates, candidates_table, settle
from experiments.tuning.evaluators import Machines
from experiments.tuning.limits import RunLimits
from experiments.tuning.sentences import constraints, resolution
from experiments.tuning.session import play_both, prepare
from experiments.tuning.tuning import Play, Untrainable
from marl_hpo_env import METRICS, Data, Request, TrainingEvaluator, Trial, WeightedReward

WITHIN = WeightedReward({"model_size_mb / original": 1}, ["validation_accuracy >= original - 0.05"])

# Size, accuracy after a few epochs, and to convergence; the original's are 8, 0.8 and 0.9.
DESIGNS = {
    (0,): (1.0, 0.50, 0.50),  # breaks the bound in the search
    (1,): (2.0, 0.76, 0.80),  # breaks it when trained to convergence
    (2,): (3.0, 0.75, 0.95),  # larger and less accurate than (1,)
    (3,): (4.0, 0.78, None),  # cannot be trained
    (4,): (5.0, 0.79, 0.86),
    (5,): (6.0, 0.81, 0.99),
}


def trial(design, size, accuracy, epochs=None):
    request = Request(design, 0, epochs)
    if accuracy is None:
        return Trial(request, "failed", "It does not fit.")
    return Trial(request, "completed", None, {"model_size_mb": size, "validation_accuracy": accuracy})


ORIGINAL = trial(None, 8.0, 0.9)


@pytest.fixture
def tuning():
    """One that answers from the table above, and notes what it was asked for."""
    early = trial(None, 8.0, 0.8, 2)
    asked = []

    def converge(label, design, seconds, run):
        asked.append((design, seconds))
        size, _, accuracy = DESIGNS[design]
        if accuracy is None:
            raise Untrainable(trial(design, size, None))
        return trial(design, size, accuracy)

    splits = SimpleNamespace(kind="classes", validation=(None, range(200)))
    return SimpleNamespace(
        reward=WITHIN,
        env=SimpleNamespace(original=early),
        converge=converge,
        asked=asked,
        task=SimpleNamespace(splits=splits, score="validation_accuracy", measures=METRICS),
    )


@pytest.fixture
def played(tuning):
    trials = {design: trial(design, size, accuracy, 2) for design, (size, accuracy, _) in DESIGNS.items()}
    episodes = [Episode(d, WITHIN(t, tuning.env.original), {}, False) for d, t in reversed(trials.items())]
    return Play("random", episodes, [""] * len(episodes), trials, None)


def test_candidates_are_the_front_of_those_that_kept_the_bound_the_smallest_first(tuning, played):
    assert candidates(tuning, played) == [(1,), (3,), (4,), (5,)]
    tuning.reward = WeightedReward({"validation_accuracy": 1})
    assert candidates(tuning, played) == [played.best.design]


def test_they_are_trained_until_one_keeps_the_bound(tuning, played):
    settled = settle(tuning, played, ORIGINAL, RunLimits())
    assert [one.design for one in settled.tried] == [(1,), (3,), (4,)]
    assert settled.design == (4,)
    header, rows = candidates_table(tuning, played, settled, ORIGINAL)
    assert header[-2:] == ["validation_accuracy, converged", "keeps the bounds"]
    assert rows == [
        ["1", "0.25", "0.25", "0.76", "0.8", "no"],
        ["3", "0.5", "-", "0.78", "-", "failed"],
        ["4", "0.625", "0.625", "0.79", "0.86", "yes"],
    ]
    assert constraints(tuning, "random", settled, ORIGINAL) == [
        "random: of 4 candidates along the front 3 were trained to convergence, the one with the best reward first.",
        "random: trained to convergence, the network keeps validation_accuracy >= original - 0.05.",
    ]


def test_where_none_keeps_it_the_last_that_could_be_trained_is_taken_and_said(tuning, played, monkeypatch):
    for design in ((4,), (5,)):
        monkeypatch.setitem(DESIGNS, design, (*DESIGNS[design][:2], 0.5 if design == (4,) else None))
    settled = settle(tuning, played, ORIGINAL, RunLimits())
    assert [one.design for one in settled.tried] == [(1,), (3,), (4,), (5,)]
    assert settled.design == (4,)
    assert "does not keep validation_accuracy >= original -0.05" in constraints(tuning, "random", settled, ORIGINAL)[1]
    for design in DESIGNS:
        monkeypatch.setitem(DESIGNS, design, (*DESIGNS[design][:2], None))
    with pytest.raises(Untrainable, match=r"The design \[1\] cannot be trained: It does not fit\."):
        settle(tuning, played, ORIGINAL, RunLimits())


def test_time_is_left_for_those_to_come_and_when_it_is_over_no_further_one_is_trained(tuning, played):
    settle(tuning, played, ORIGINAL, RunLimits(hours=1), to_come=1)
    assert [round(seconds / 3600, 2) for _, seconds in tuning.asked] == [round(1 / 3, 2)] * 3
    tuning.asked.clear()
    settle(tuning, played, ORIGINAL, RunLimits(hours=1e-9))
    assert [design for design, _ in tuning.asked] == [(1,)]


def test_a_bound_finer_than_one_validation_example_is_never_called_kept(tuning, played):
    assert resolution(tuning.task, WITHIN) == ["One of the 200 validation examples weighs 0.5 points of accuracy."]
    tuning.task.splits.validation = (None, range(10))
    (line,) = resolution(tuning.task, WITHIN)
    assert line.startswith("One of the 10 validation examples weighs 10 points of accuracy, more than validation_")
    said = constraints(tuning, "random", settle(tuning, played, ORIGINAL, RunLimits()), ORIGINAL)[1]
    assert "keeps validation_accuracy >= original -0.05 cannot be told" in said
    for other in (
        WeightedReward({"validation_accuracy": 1}),
        WeightedReward({"flops": 1}, ["validation_accuracy >= 0.5"]),
    ):
        assert resolution(tuning.task, other) == []
    tuning.task.splits.kind = "masks"
    assert resolution(tuning.task, WITHIN) == []


def test_a_run_takes_home_what_keeps_the_bound_and_continues_without_training_again(bright, tmp_path, monkeypatch):
    fit, fitted = TrainingEvaluator.fit, []

    def first_falls_short(self, design, seconds):
        network, done = fit(self, design, seconds)
        done.metrics["validation_accuracy"] = 1.0
        if design is not None:
            fitted.append(design)
            done.metrics["validation_accuracy"] = 0.0 if len(fitted) == 1 else 1.0
        return network, done

    def tuned():
        tuning = prepare(bright, tmp_path, Machines("cpu", 1), reward)
        play_both(tuning, "random", learner("random"), None, 0, RunLimits(4))
        tuning.folder.store.close()

    # The search keeps a bound so loose that the front is long.
    reward = WeightedReward({"model_size_mb / original": 1}, ["validation_accuracy >= original - 0.9"])
    monkeypatch.setattr(TrainingEvaluator, "fit", first_falls_short)
    tuned()
    assert len(fitted) == 2
    settings = json.loads((tmp_path / "random-seed0" / "settings.json").read_text())
    assert settings["taken"] == {"random": list(fitted[1])}
    assert settings["network"] == {"design": list(fitted[1]), "cut": False}
    text = (tmp_path / "random-seed0" / "report.md").read_text()
    assert "## random: candidates" in text
    assert "the network keeps validation_accuracy >= original - 0.9." in text
    tuned()
    assert len(fitted) == 2
    assert (tmp_path / "random-seed0" / "report.md").read_text().split("Measured by")[0] == text.split("Measured by")[0]


def test_who_has_too_few_validation_images_is_told_before_anything_is_trained(bright, tmp_path, capsys):
    images = torch.rand(9, 1, 8, 8).split(3)
    few = Data(*((part, torch.tensor([0, 1, 0])) for part in images))
    net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Flatten(), nn.Linear(144, 2))
    tuning = prepare(replace(bright, model=net, data=few), tmp_path, Machines("cpu", 1), WITHIN)
    tuning.folder.store.close()
    assert "One of the 3 validation examples weighs 33.3 points of accuracy, more than" in capsys.readouterr().err
