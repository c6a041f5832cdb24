"""Learners on real trainings: the command, played small."""

import numpy as np
import pytest

from experiments.comparison.contest import Contest, Run
from experiments.suites import live
from experiments.suites.live import app, best_rewards, report, run
from marl_hpo_env import Store

SMALL = {"digits-convnet": (1, 2)}


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(live, "EVALUATIONS", SMALL)
    monkeypatch.setattr(live, "LEARNERS", ("coordination-graph", "random"))


def test_the_report_by_hand(small):
    ours = np.array([[0.6, 0.8], [0.6, 0.8]])
    text = report({"digits-convnet": {"coordination-graph": ours, "random": ours - 0.1}})
    assert "| learner | at 1 | at 2 | P(coordination-graph is better) |" in text
    assert "| coordination-graph | 60 [60,60] | 80 [80,80] | - |" in text
    assert "| random | 50 [50,50] | 70 [70,70] | 1 [1,1] |" in text


def test_real_trainings_are_kept_and_judged(small, run_app, tmp_path, monkeypatch):
    given = ["--seeds", 2, "--jobs", 1, "--out", tmp_path]
    code, out, err = run_app(app, *given)
    assert code == 0, err
    text = (tmp_path / "report.md").read_text()
    assert text in out
    store = Store(tmp_path / "trials.sqlite")
    trials = {(trial.design, trial.request.seed): trial for _, trial in store.trials()}
    assert {seed for design, seed in trials if design} == {0, 1}
    # The best so far never falls, and begins with the first design's reward: the originals of two seeds are in the store too.
    contest = Contest("random", "digits-convnet", (), (), 0, 2)
    played = run(tmp_path, contest)
    curve = best_rewards(tmp_path, played)
    design = live.environment("digits-convnet", 0, tmp_path).space.design_at(played.designs[0])
    trial, original = trials[design, 0], trials[None, 0]
    size = trial.metrics["model_size_mb"] / original.metrics["model_size_mb"]
    assert curve[0] == pytest.approx(trial.metrics["validation_accuracy"] - 0.2 * size)
    assert (np.diff(curve) >= 0).all()
    backwards = Run(contest, list(reversed(played.designs)), 0.0, "these versions")
    assert best_rewards(tmp_path, backwards)[-1] == curve[-1]
    monkeypatch.setattr(live, "run", lambda *_: pytest.fail("it was run again"))
    assert run_app(app, *given)[0] == 0
    assert (tmp_path / "report.md").read_text() == text
