"""The evaluator on shared weights: a slice's trial is one of its own kind, and never passes for a training."""

from dataclasses import replace

import pytest

import marl_hpo_env
from marl_hpo_env import (
    InputError,
    Request,
    SharedEvaluator,
    Store,
    StoredEvaluator,
    Table,
    TrainingEvaluator,
    WeightedReward,
)
from marl_hpo_env.testing import EvaluatorConformance

DESIGN = (0, 5, 7, 1, 2)


@pytest.fixture
def task():
    named = marl_hpo_env.task("digits-convnet")
    return replace(named, recipe=replace(named.recipe, batch_size=512))  # few steps


class TestSharedEvaluator(EvaluatorConformance):
    designs = 2

    def make(self):
        named = marl_hpo_env.task("digits-convnet")
        return SharedEvaluator(replace(named, recipe=replace(named.recipe, batch_size=512)), self.epochs, device="cpu")


def test_an_environment_takes_its_epochs_and_refuses_others(task):
    evaluator = SharedEvaluator(task, 1, device="cpu")
    game = marl_hpo_env.env(task, evaluator).unwrapped
    (trial,) = game.evaluate([DESIGN])
    assert trial.request == Request(DESIGN, 0, 1)
    assert 0 <= trial.metrics["validation_accuracy"] <= 1
    assert trial.metrics["train_loss"] is None
    with pytest.raises(InputError, match="trained for 1 epochs and 4 epochs is asked for"):
        marl_hpo_env.env(task, evaluator, epochs=4)
    with pytest.raises(InputError, match="training to convergence is asked for"):
        evaluator.evaluate([Request(DESIGN, 0, None)])
    with pytest.raises(InputError, match="are to be calibrated, and this evaluator answers for 1 alone"):
        marl_hpo_env.env(task, evaluator, epochs="calibrated")


def test_sizes_are_a_training_s_and_its_fingerprint_is_its_own(task):
    shared, trained = SharedEvaluator(task, 1, device="cpu"), TrainingEvaluator(task, "cpu")
    (ours,) = shared.evaluate([Request(DESIGN, 0, 1)])
    theirs = task.trainer(trained._devices[0]).sizes(task.network.build(DESIGN))
    assert {name: ours.metrics[name] for name in theirs} == theirs
    assert shared.fingerprint != trained.fingerprint
    others = [
        SharedEvaluator(task, 2, device="cpu"),
        SharedEvaluator(task, 1, seed=1, device="cpu"),
        SharedEvaluator(task, 1, parts=2, device="cpu"),
        SharedEvaluator(task, 1, sandwich=True, device="cpu"),
    ]
    assert len({shared.fingerprint, *(other.fingerprint for other in others)}) == 5


def test_what_compares_accuracies_with_an_original_that_is_no_design_is_refused(task):
    reward = WeightedReward({"model_size_mb / original": 1}, ["validation_accuracy >= original - 0.01"])
    narrow = replace(task, choices=_without_original)
    with pytest.raises(
        InputError, match="compares 'validation_accuracy' with the original network's, which is no design"
    ):
        marl_hpo_env.env(narrow, SharedEvaluator(narrow, 1, device="cpu"), reward=reward)
    (trial,) = SharedEvaluator(narrow, 1, device="cpu").evaluate([Request(None, 0, 1)])
    assert trial.metrics["validation_accuracy"] is None
    assert trial.metrics["parameters"] == 10178
    whole = replace(task, choices=_with_original)
    (trial,) = SharedEvaluator(whole, 1, device="cpu").evaluate([Request(None, 0, 1)])
    assert trial.metrics["validation_accuracy"] is not None
    marl_hpo_env.env(whole, SharedEvaluator(whole, 1, device="cpu"), reward=reward)


def _without_original():
    return {"conv1": {"out_channels": (2, 4)}}


def _with_original():
    return {"conv1": {"out_channels": (4, 8)}}


def test_a_reward_of_what_no_slice_has_is_refused(task):
    with pytest.raises(InputError, match=r"'train_loss', which is not measured here: .* on shared weights"):
        marl_hpo_env.env(task, SharedEvaluator(task, 1, device="cpu"), reward=WeightedReward({"train_loss": 1}))


def test_a_store_holds_trials_of_one_checkpoint(task, tmp_path):
    store = Store(tmp_path / "trials.sqlite")
    request = Request(DESIGN, 0, 1)
    first = SharedEvaluator(task, 1, device="cpu", folder=tmp_path)
    (trial,) = StoredEvaluator(first, store).evaluate([request])
    again = SharedEvaluator(task, 1, device="cpu", folder=tmp_path)
    assert again.digest == first.digest
    assert list(StoredEvaluator(again, store).evaluate([request])) == [trial]

    class Other(SharedEvaluator):
        digest = "of another"

    with pytest.raises(InputError, match="and these have of another; put the checkpoint back"):
        list(StoredEvaluator(Other(task, 1, device="cpu"), store).evaluate([request]))


def test_a_slice_s_trial_says_so_from_the_store_too_and_no_table_takes_it(task, tmp_path):
    store = Store(tmp_path / "trials.sqlite")
    evaluator = StoredEvaluator(SharedEvaluator(task, 1, device="cpu"), store)
    for trial in (*evaluator.evaluate([Request(DESIGN, 0, 1)]), *(stored for _, stored in store.trials())):
        assert trial.shared
        assert str(trial).startswith(
            f"design {DESIGN}, a slice of weights that were trained for 1 epochs, with seed 0: "
        )
        with pytest.raises(InputError, match=r"\[0, 5, 7, 1, 2\] under seed 0 is of a slice .* train the design"):
            Table.from_trials("mine", task.space, [0], 1, [trial])
    (trained,) = TrainingEvaluator(task, "cpu").evaluate([Request(DESIGN, 0, 1)])
    assert not trained.shared
    assert "trained for 1 epochs with seed 0" in str(trained)


def test_cost_is_that_of_trainings_in_the_same_unit(task):
    evaluator = SharedEvaluator(task, 1, device="cpu")
    training = evaluator.training
    per_pass = training.cost / len(task.splits.train[0])
    flops = [training.network.sizes(design)["flops"] for design in training._designs]
    assert 2 * min(flops) <= per_pass <= 2 * max(flops)
    (trial,) = evaluator.evaluate([Request(DESIGN, 0, 1)])
    assert evaluator.cost_of([trial]) == len(task.splits.train[0]) * trial.metrics["flops"]
