"""The evaluator that predicts, on a surrogate that was fitted to made-up accuracies."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from sklearn.ensemble import RandomForestRegressor

import marl_hpo_env
from agents import learner, play
from marl_hpo_env import METRICS, Request, SurrogateEvaluator, TableEvaluator, Trial
from marl_hpo_env.catalog.surrogate import EPOCHS, SURROGATE, anatomy, surrogate_tasks
from marl_hpo_env.evaluators import surrogate
from marl_hpo_env.evaluators.forest import Forest
from marl_hpo_env.evaluators.surrogate import packed
from marl_hpo_env.testing import EvaluatorConformance

NOISE = {"design": np.array([[0.02, 0.0], [0.01, 0.01]]), "seed": np.array([[0.01, 0.0], [0.0, 0.02]])}
ORIGINAL = Trial(
    Request(None, 0, EPOCHS),
    "completed",
    None,
    dict.fromkeys(METRICS)
    | {"validation_accuracy": 0.4, "test_accuracy": 0.41, "parameters": 940_954, "model_size_mb": 3.773288}
    | {"flops": 39_848_448, "epochs": EPOCHS, "train_loss": 1.5, "seconds": 9.0},
    ({"train_loss": 1.5, "validation_accuracy": 0.4},),
    machine="AVX512",
)


@pytest.fixture(scope="module")
def space():
    return marl_hpo_env.task(SURROGATE).space


@pytest.fixture(scope="module")
def some(space):
    """Designs, and their features."""
    rng = np.random.default_rng(0)
    designs = [space.sample(rng) for _ in range(200)]
    return designs, anatomy(space, np.array(designs)).features


@pytest.fixture(scope="module")
def forests(some):
    """Accuracy rises with the parameters; with a stride of 2 in the first layer every training fails."""
    features = some[1]
    targets = {"accuracy": np.log10(features[:, -2]) / 10, "failed": features[:, 2] == 2}
    return {
        kind: Forest.of(RandomForestRegressor(20, random_state=0).fit(features, of)) for kind, of in targets.items()
    }


@pytest.fixture(scope="module")
def content(space, forests):
    return packed(SURROGATE, space, EPOCHS, [ORIGINAL], forests, NOISE, {"limits": {"flops_ratio": 2.0}})


@pytest.fixture(scope="module")
def path(content, tmp_path_factory):
    path = tmp_path_factory.mktemp("surrogate") / "made.npz"
    path.write_bytes(content)
    return path


@pytest.fixture
def evaluator(path):
    return SurrogateEvaluator(path)


class TestConformance(EvaluatorConformance):
    epochs = EPOCHS

    @pytest.fixture(autouse=True)
    def _path(self, path):
        self.path = path

    def make(self):
        return SurrogateEvaluator(self.path)


def test_it_says_what_it_predicts_sizes_exactly_and_who_is_over_the_limit(evaluator, some, forests):
    designs, features = some
    known = anatomy(evaluator.space, np.array(designs))
    accuracies = forests["accuracy"].predict(features)
    trials = list(evaluator.evaluate([Request(design, 0, EPOCHS) for design in designs]))
    assert {trial.status for trial in trials} == {"completed", "failed", "terminated"}
    deviations = []
    for row, trial in enumerate(trials):
        assert trial.metrics["model_size_mb"] == known.model_size_mb[row]
        assert (trial.metrics["parameters"], trial.metrics["flops"]) == (known.parameters[row], known.flops[row])
        if known.flops[row] > 2 * 39_848_448:
            assert trial.status == "terminated"
            assert trial.reason == f"Its {known.flops[row]:,} FLOPs are over 2 times the original network's 39,848,448."
        else:
            assert trial.status == ("failed" if features[row, 2] == 2 else "completed")
        if trial.status == "completed":
            measured = [trial.metrics["validation_accuracy"], trial.metrics["test_accuracy"]]
            deviations.append(np.array(measured) - accuracies[row])
        else:
            assert trial.metrics["validation_accuracy"] is None
    expected = sum(factor @ factor.T for factor in NOISE.values())
    assert np.cov(np.array(deviations).T) == pytest.approx(expected, abs=2e-4)


def test_another_seed_changes_the_noise_and_nothing_else(evaluator, some):
    (design,) = [design for design in some[0] if design[0] == 0][:1]
    trials = list(evaluator.evaluate([Request(design, seed, EPOCHS) for seed in range(1000)]))
    measured = np.array([[t.metrics["validation_accuracy"], t.metrics["test_accuracy"]] for t in trials])
    assert np.sqrt(np.diag(np.cov(measured.T))) == pytest.approx([0.01, 0.02], rel=0.1)
    assert len({(t.status, t.metrics["flops"]) for t in trials}) == 1


def test_the_original_answers_with_its_own_training(evaluator):
    (trial,) = evaluator.evaluate([Request(None, 7, EPOCHS)])
    assert {name for name, value in trial.metrics.items() if value is not None} == set(METRICS) - evaluator.unmeasured
    assert (trial.metrics["validation_accuracy"], trial.status) == (0.4, "completed")
    assert evaluator.trials == [ORIGINAL]


def test_it_is_played_by_the_task_s_name_once_it_comes_with_the_package(path, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr(surrogate, "_SHIPPED", path.parent)
        path.with_name(f"{SURROGATE}.npz").write_bytes(path.read_bytes())
        game = marl_hpo_env.env(SURROGATE).unwrapped
    assert len(play(game, learner("random"), episodes=3)) == 3
    assert game.epochs == EPOCHS
    assert not hasattr(game, "regret")
    with pytest.raises(AttributeError, match=r"The best design is known on a table.* and not where .* predicted"):
        _ = game.regret


def test_without_its_file_the_task_says_how_to_make_it(tmp_path, monkeypatch, refused):
    monkeypatch.setattr(surrogate, "_SHIPPED", tmp_path)
    with refused(SURROGATE, "not part of this package", "python -m experiments.suites.vgg_surrogate"):
        marl_hpo_env.env(SURROGATE)


def test_it_is_played_without_torch_and_without_the_library_that_fitted_it(path):
    code = (
        "import sys, marl_hpo_env; "
        f"game = marl_hpo_env.env({SURROGATE!r}, marl_hpo_env.SurrogateEvaluator({str(path)!r})).unwrapped; "
        "print(len(list(game.evaluate([(0,) * 19]))), {'torch', 'sklearn'} & set(sys.modules))"
    )
    printed = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert printed.strip() == "1 set()"


def test_what_it_does_not_know_is_refused(evaluator, refused, tmp_path):
    design = evaluator.space.design_at(0)
    with refused(f"{EPOCHS} epochs alone", "3 epochs"):
        marl_hpo_env.env(SURROGATE, evaluator, epochs=3)
    with refused("Fold 1"):
        evaluator.evaluate([Request(design, 0, EPOCHS, 1)])
    with refused("no surrogate 'vgg16'", SURROGATE):
        SurrogateEvaluator("vgg16")
    with refused("none.npz", "No such file"):
        SurrogateEvaluator(tmp_path / "none.npz")


def test_damaged_files_and_others_are_refused_in_a_sentence(content, damaged, tmp_path, refused, space, forests):
    path = tmp_path / "other.npz"
    for wrong in damaged(content):
        path.write_bytes(wrong)
        with refused("other.npz"):
            SurrogateEvaluator(path)
    path.write_bytes(marl_hpo_env.Table.open("digits-convnet").content)
    with refused("no surrogate", "vgg_surrogate"):
        SurrogateEvaluator(path)
    path.write_bytes(content)
    with refused("no table", "marl-hpo table build"):
        TableEvaluator(path)
    for forests_, trials in (({"failed": forests["failed"]}, [ORIGINAL]), (forests, [])):
        path.write_bytes(packed(SURROGATE, space, EPOCHS, trials, forests_, NOISE, {"limits": {"flops_ratio": 2.0}}))
        with refused("does not hold what a surrogate holds"):
            SurrogateEvaluator(path)


def test_a_surrogate_that_is_shipped_is_of_its_task_and_good_enough():
    for name in surrogate_tasks():
        if (Path(surrogate.__file__).parent / f"{name}.npz").exists():
            evaluator, task = SurrogateEvaluator(name), marl_hpo_env.task(name)
            assert evaluator.space == task.space
            assert {part: evaluator.about[part] for part in task.conditions} == task.conditions
            assert evaluator.about["held_out"]["kendall, best third"] >= 0.5
