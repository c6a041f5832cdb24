"""Trees fitted to trainings of the paper's space: made-up trainings, and the command."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from sklearn.ensemble import RandomForestRegressor
from typer.testing import CliRunner

import marl_hpo_env
from experiments.suites import vgg_surrogate
from experiments.suites.vgg_surrogate import (
    TWICE,
    Measured,
    app,
    between_seeds,
    factor,
    figures,
    fitted,
    known_means,
    measured,
    outcome,
    report,
    requests_of,
)
from marl_hpo_env import METRICS, SurrogateEvaluator, Trial
from marl_hpo_env.catalog.surrogate import EPOCHS, SURROGATE, anatomy

ORIGINAL_FLOPS = 39_848_448
VALIDATION, TEST = 0.02, 0.01


@pytest.fixture(scope="module")
def space():
    return marl_hpo_env.task(SURROGATE).space


class MadeUp:
    """An evaluator whose accuracy rises with the FLOPs, and falls where the first layer has a stride of 2; every seed adds noise.
    With the largest dense layer trainings fail."""

    measures_time = False
    fingerprint = "made-up"

    def __init__(self, space):
        self.space = space
        self.asked = []

    def evaluate(self, requests):
        for request in requests:
            self.asked.append(request)
            yield self.trial(request)

    def trial(self, request):
        metrics = dict.fromkeys(METRICS) | {"flops": ORIGINAL_FLOPS, "seconds": 2.0}
        mean, fails = 0.4, False
        if request.design is not None:
            known = anatomy(self.space, np.array([request.design]))
            metrics["flops"] = int(known.flops[0])
            mean = 0.3 + 0.05 * np.log10(known.flops[0] / ORIGINAL_FLOPS) - 0.1 * (known.features[0, 2] == 2)
            fails = request.design[-1] == self.space.sizes[-1] - 1
        if request.design is not None and metrics["flops"] > 2 * ORIGINAL_FLOPS:
            return Trial(request, "terminated", "Its FLOPs are over the limit.", metrics)
        if fails:
            return Trial(request, "failed", "The loss was no number.", metrics)
        draw = np.random.default_rng([request.seed, *(request.design or ())]).standard_normal(2)
        validation, test = (mean + [VALIDATION, TEST] * draw).tolist()
        return Trial(request, "completed", None, metrics | {"validation_accuracy": validation, "test_accuracy": test})


@pytest.fixture(scope="module")
def trials(space):
    return [MadeUp(space).trial(request) for request in requests_of(space, 300)]


@pytest.fixture(scope="module")
def trees(space, trials):
    return fitted(space, measured(trials))


def test_more_designs_only_add_to_those_that_are_there(space):
    few, more = requests_of(space, 20), requests_of(space, 100)
    assert set(few) < set(more)
    assert len(few) == 2 * 21
    assert len(more) == 101 + 1 + TWICE


def test_trees_predict_held_out_designs_and_the_noise_is_what_was_put_in(trees, trials):
    best = trees.held_out[trees.best]
    assert best["kendall"] > 0.6
    assert best["r2"] > 0.7
    assert best["kendall, best third"] == max(found["kendall, best third"] for found in trees.held_out.values())
    noise = trees.noise["seed"] @ trees.noise["seed"].T
    assert np.sqrt(np.diag(noise)) == pytest.approx([VALIDATION, TEST], rel=0.3)
    assert between_seeds(measured(trials))["designs"] <= TWICE


def test_who_is_over_the_limit_is_not_learned_from_and_who_fails_is_predicted(trees, trials, space):
    of = measured(trials)
    stopped = [trial.design for trial in trials if trial.status == "terminated"]
    assert stopped
    assert not set(stopped) & set(of.designs)
    predicted = trees.forests["failed"].predict(anatomy(space, np.array(of.designs)).features) > 0.5
    assert (predicted == (of.failed == 1)).mean() > 0.9


def test_the_report_says_how_many_there_were_and_what_cannot_be_predicted(trees, trials):
    text = report(measured(trials), trees, trials)
    stopped = sum(trial.status == "terminated" and trial.request.seed == 0 for trial in trials)
    assert f"Of 300 designs {stopped} are over the limit of FLOPs" in text
    assert "A training took 2.0 s on average" in text
    assert "| another seed's training |" in text
    assert "| the means, if they were known |" in text


def test_a_surrogate_that_does_not_rank_the_best_third_is_not_shipped(trees):
    held_out = dict(trees.held_out[trees.best])
    for kendall, said in (
        (0.5, "may be shipped: copy it"),
        (0.49, "below 0.5: the surrogate is not shipped"),
        (np.nan, "not"),
    ):
        changed = {trees.best: held_out | {"kendall, best third": kendall}}
        assert said in outcome(trees._replace(held_out=changed))


def test_figures_of_a_right_and_of_a_reversed_order():
    truth = np.linspace(0, 1, 30)
    assert figures(truth, truth) == dict.fromkeys(figures(truth, truth), pytest.approx(1.0)) | {"designs": 30}
    assert figures(-truth, truth)["kendall, best third"] == pytest.approx(-1.0)


def test_what_there_is_to_reach_falls_with_the_noise():
    rng = np.random.default_rng(0)
    means = rng.normal(0.3, 0.05, (200, 1, 1))

    def reached(noise: float) -> dict[str, float]:
        return known_means(Measured([], means + noise * rng.standard_normal((200, 2, 2)), np.zeros(200)))

    assert reached(0.0)["kendall, best third"] == pytest.approx(1.0)
    much, some = reached(0.1), reached(0.03)
    # Four measurements of 0.03 each, as two seeds of two: their mean has a variance of a quarter.
    assert some["r2"] == pytest.approx(1 - 0.015**2 / (0.05**2 + 0.015**2), abs=0.03)
    assert much["kendall, best third"] < some["kendall, best third"] < 0.9


def test_a_factor_gives_its_covariance_and_none_that_is_negative():
    covariance = np.array([[4.0, 1.0], [1.0, 2.0]])
    assert factor(covariance) @ factor(covariance).T == pytest.approx(covariance)
    assert factor(-covariance) == pytest.approx(np.zeros((2, 2)))


def test_trainings_that_are_too_few_are_refused(trials, refused):
    broken = [replace(trial, status="failed", reason="So.") if trial.request.seed else trial for trial in trials]
    with refused("Under two seeds only 0 designs"):
        measured(broken)


def test_the_command_trains_what_is_missing_and_writes_a_surrogate(space, tmp_path, monkeypatch):
    """The trainings are made up, the images too: they are read for their number alone."""
    made_up = MadeUp(space)
    monkeypatch.setattr(vgg_surrogate, "evaluator_of", lambda *_, **__: made_up)
    monkeypatch.setattr(vgg_surrogate, "ensembles", lambda: {"random forest": RandomForestRegressor(3, random_state=0)})
    images = tmp_path / "images.npz"
    pixels = np.zeros((40, 8, 8, 3), np.uint8)
    np.savez(images, x=pixels, y=np.arange(40) % 4)
    arguments = ["--images", str(images), "--examples", "10", "--device", "cpu", "--out", str(tmp_path / "out")]
    result = CliRunner().invoke(app, [*arguments, "--designs", "15"])
    assert result.exit_code == 0, result.output
    assert len(made_up.asked) == 2 * 16
    evaluator = SurrogateEvaluator(tmp_path / "out" / f"{SURROGATE}.npz")
    assert {trial.request for trial in evaluator.trials} == set(made_up.asked)
    assert evaluator.about["limits"]["flops_ratio"] == 2.0
    assert evaluator.epochs == EPOCHS
    assert "# A surrogate of the paper's space" in (tmp_path / "out" / "report.md").read_text()
    assert CliRunner().invoke(app, [*arguments, "--designs", "20"]).exit_code == 0
    assert len(made_up.asked) == 2 * 21
