"""Tasks with a loss, metrics and a score of their own, and of every kind of targets: from the task to the trial."""

import dataclasses
import math

import pytest
import torch
from torch import nn

import marl_hpo_env
from marl_hpo_env import (
    METRICS,
    Data,
    Loss,
    Metric,
    PaperReward,
    Recipe,
    Request,
    SharedEvaluator,
    Store,
    StoredEvaluator,
    Table,
    TableEvaluator,
    Task,
    TrainingEvaluator,
    WeightedReward,
)
from marl_hpo_env.metrics import macro_f1, mean_absolute_error, r2
from marl_hpo_env.trial import ACCURACIES, VALUE_METRICS

CPU = torch.device("cpu")
KINDS = ("classes", "labels", "values")


def split_of(count, kind, seed):
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(count, 4, generator=generator)
    targets = {
        "classes": (inputs[:, 0] > 0).long() + (inputs[:, 1] > 0.5).long(),
        "labels": (inputs[:, :2] > 0).float(),
        "values": torch.stack([40 + 10 * inputs[:, 0], inputs[:, 1] - inputs[:, 2]], dim=1),
    }
    return inputs, targets[kind]


def data_of(kind):
    return Data(split_of(90, kind, 0), split_of(40, kind, 1), split_of(40, kind, 2), kind=kind)


def make_task(kind="classes", outputs=None, **settings):
    wanted = {"classes": 3, "labels": 2, "values": 2}[kind] if outputs is None else outputs
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, wanted))
    given = {"data": data_of(kind), "recipe": Recipe(16, 3, "adam", 0.03), **settings}
    return Task("own", model, choices={nn.Linear: {"out_features": (4, 8)}}, **given)


def train(task, epochs=3, design=(1,)):
    return task.trainer(CPU, measure_time=False).train(Request(design, 0, epochs))[1]


def rmse(outputs, targets):
    return (outputs - targets).square().mean().sqrt()


def negative(outputs, targets):
    return -float((outputs.argmax(1) == targets).float().mean())


# --- kinds of targets ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_a_network_learns_every_kind_of_targets_and_is_judged_as_it_is(kind):
    task = make_task(kind, recipe=Recipe(16, 10, "adam", 0.1))
    trial = train(task, 10)
    assert trial.status == "completed", trial.reason
    assert trial.metrics["train_loss"] < 0.5 * task.guessing_loss
    missing = ACCURACIES if kind == "values" else VALUE_METRICS
    measured = VALUE_METRICS if kind == "values" else ACCURACIES
    assert all(trial.metrics[name] is None for name in missing)
    assert all(trial.metrics[name] is not None for name in measured)
    assert set(trial.history[0]) == {"train_loss", "validation_loss"} | {
        n for n in measured if METRICS[n].of == "epoch"
    }
    assert trial.metrics["test_r2" if kind == "values" else "test_accuracy"] > 0.8


def test_values_are_scored_in_their_own_units():
    task = make_task("values")
    network, trial = task.trainer(CPU, measure_time=False).train(Request((1,), 0, 3))
    inputs, targets = task.splits.test
    with torch.no_grad():
        given = task.units.own(network(inputs))
    assert trial.metrics["test_mae"] == pytest.approx(float((given - targets).abs().mean()), rel=1e-5)
    assert trial.metrics["test_r2"] == pytest.approx(r2.function(given, targets), rel=1e-5)
    # The loss is that of standardised values: by training alone, as guessing, which comes to 1.
    assert task.guessing_loss == pytest.approx(1)
    assert (task.score, task.better) == ("validation_r2", 1)
    assert make_task().units is None


def test_values_of_a_kind_of_their_own_are_not_taken_for_labels_with_the_same_tensors():
    inputs, labels = split_of(90, "labels", 0)
    tasks = [
        make_task("labels", data=Data((inputs, labels), (inputs, labels), (inputs, labels), kind=kind))
        for kind in ("labels", "values")
    ]
    assert tasks[0].fingerprint != tasks[1].fingerprint


@pytest.mark.parametrize("kind", ["labels", "values"])
def test_a_network_with_another_number_of_outputs_than_wanted_is_refused_before_anything_is_trained(refused, kind):
    with refused("outputs of shape (3,)", f"2 {kind}"):
        _ = make_task(kind, outputs=3).network
    with refused("1 outputs", f"2 {kind}"):
        _ = make_task(kind, outputs=1, loss=nn.L1Loss()).network
    with refused("outputs of shape (3,)", f"2 {kind}"):
        make_task(kind, outputs=3, input_shape=(4,)).trainer(CPU)


def test_one_output_without_a_dimension_is_refused(refused):
    class Flat(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(4, 8), nn.Linear(8, 1)

        def forward(self, x):
            return self.b(self.a(x)).squeeze(1)

    task = make_task("values")
    with refused("(n,)", "dimension"):
        _ = dataclasses.replace(task, model=Flat()).network


def test_values_that_a_function_reads_need_a_score_that_is_said(refused):
    with refused("'validation_accuracy'", "values", "'validation_r2'"):
        _ = make_task("values", data=lambda: data_of("values")).network
    task = make_task("values", data=lambda: data_of("values"), score="validation_r2")
    assert train(task).status == "completed"
    assert task.fingerprint == make_task("values").fingerprint


def test_classes_have_no_r2(refused):
    with refused("'validation_r2'", "classes", "'validation_accuracy'"):
        _ = make_task(score="validation_r2").network


# --- metrics ---------------------------------------------------------------------------------------------------------


def test_a_metric_of_ones_own_is_in_every_epoch_and_of_the_test_split():
    seen = []

    def f1(outputs, targets):
        seen.append((tuple(outputs.shape), tuple(targets.shape), outputs.device.type))
        return macro_f1.function(outputs, targets)

    task = make_task(metrics={"f1": Metric(f1)})
    trainer = task.trainer(CPU, measure_time=False)
    seen.clear()
    network, trial = trainer.train(Request((1,), 0, 2))
    assert trial.status == "completed", trial.reason
    assert seen == [((40, 3), (40,), "cpu")] * 3  # a whole split: two epochs of validation, and test
    inputs, targets = task.splits.validation
    with torch.no_grad():
        by_hand = macro_f1.function(network(inputs), targets)
    assert trial.metrics["validation_f1"] == trial.history[-1]["validation_f1"] == pytest.approx(by_hand)
    assert set(trial.metrics) == {*METRICS, "validation_f1", "test_f1"}
    assert "validation_f1" in str(trial)


def test_a_trial_is_the_same_to_the_bit_with_metrics_beside():
    plain, measured = train(make_task()), train(make_task(metrics={"f1": macro_f1}))
    for name in ("train_loss", "validation_loss", "validation_accuracy", "test_accuracy"):
        assert plain.metrics[name] == measured.metrics[name]
    assert set(make_task().measures) == set(METRICS)


@pytest.mark.parametrize(
    ("function", "mentioned"),
    [
        (lambda outputs, targets: math.nan, ("'f1'", "nan", "finite")),
        (lambda outputs, targets: 1 / 0, ("'f1'", "ZeroDivisionError")),
        (lambda outputs, targets: outputs, ("'f1'",)),
        (lambda outputs: 0.5, ("'f1'", "TypeError")),
    ],
)
def test_a_metric_that_cannot_be_computed_is_refused_before_anything_is_trained(refused, function, mentioned):
    with refused(*mentioned):
        _ = make_task(metrics={"f1": Metric(function)}).network


def test_a_metric_that_fails_later_is_a_failed_trial_that_says_so():
    calls = []

    def fickle(outputs, targets):
        calls.append(1)
        return 0.5 if len(calls) < 4 else math.nan

    trial = train(make_task(metrics={"fickle": Metric(fickle)}))
    assert (trial.status, trial.accidental) == ("failed", False)
    assert "'fickle' is nan" in trial.reason


def test_names_in_rewards_are_checked_where_task_and_reward_meet(refused):
    task = make_task(metrics={"f1": macro_f1}, reward=WeightedReward({"validation_f1": 1}, ["validation_f1 >= 0.1"]))
    evaluator = TrainingEvaluator(task, "cpu")
    game = marl_hpo_env.env(task, evaluator).unwrapped
    trial = train(task, 1)
    assert game.score(trial) == trial.metrics["validation_f1"]
    assert game.directions == {"validation_f1": 1}
    for wrong in (WeightedReward({"validation_f2": 1}), WeightedReward({"flops": 1}, ["validation_f2 >= 0.1"])):
        with refused("no metric 'validation_f2'", "'validation_f1'"):
            marl_hpo_env.env(task, evaluator, reward=wrong)
    with refused("'validation_mae'", "not measured here"):
        marl_hpo_env.env(task, evaluator, reward=WeightedReward({"validation_mae": 1}))
    values = make_task("values")
    with refused("'validation_accuracy'", "not measured here"):
        marl_hpo_env.env(values, reward=WeightedReward({"validation_accuracy": 1}))


# --- the score -------------------------------------------------------------------------------------------------------


def scripted(figures):
    """A metric that gives these figures, one after the other, after those of the trial on random outputs."""
    left = [0.5, 0.5, *figures]
    return lambda outputs, targets: left.pop(0) if left else 0.0


@pytest.mark.parametrize(
    ("metric", "figures", "best"),
    [
        ({"better": +1}, [0.2, 0.5, 0.4, 0.3], 2),
        ({"better": -1}, [0.4, 0.2, 0.5, 0.6], 2),
        # Percentage points of a fraction: a fiftieth of a point is one, a thousandth is none.
        ({"better": +1}, [0.5, 0.50001, 0.50002], 1),
        # Of anything else percent of the best so far: of 1000 a hundredth of a percent is 0.1.
        ({"better": -1, "unit": "cm"}, [1000.0, 999.95, 999.95], 1),
        ({"better": -1, "unit": "cm"}, [1000.0, 999.8, 999.9, 999.9], 2),
    ],
)
def test_the_best_epoch_and_the_end_are_those_of_the_score(metric, figures, best):
    task = make_task(
        metrics={"mine": Metric(scripted(figures), **metric)},
        score="validation_mine",
        recipe=Recipe(16, 3, "adam", 0.03, patience=2),
    )
    _ = task.network
    trial = train(task, None)
    assert trial.status == "completed", trial.reason
    assert len(trial.history) == best + 2
    assert trial.metrics["validation_mine"] == figures[best - 1]


def test_the_validation_loss_can_be_the_score():
    task = make_task(score="validation_loss", recipe=Recipe(16, 3, "adam", 0.03, max_epochs=4))
    trial = train(task, None)
    assert trial.metrics["validation_loss"] == min(epoch["validation_loss"] for epoch in trial.history)
    assert task.better == -1
    assert str(task.reward) == "- 1 validation_loss - 0.2 model_size_mb / original"


def test_the_score_is_in_the_default_reward_and_in_equation_2():
    task = make_task(metrics={"f1": macro_f1}, score="validation_f1")
    assert str(task.reward) == "1 validation_f1 - 0.2 model_size_mb / original"
    game = marl_hpo_env.env(task, TrainingEvaluator(task, "cpu"), reward=PaperReward()).unwrapped
    trial = train(task, 1)
    expected = 50 * trial.metrics["validation_f1"] - 0.5 * trial.metrics["model_size_mb"]
    assert game.score(trial) == pytest.approx(expected)


@pytest.mark.parametrize("score", ["validation_f2", "test_f1", "f1", "flops", "train_loss", "epochs"])
def test_a_score_that_is_none_is_refused(refused, score):
    with refused("score", repr(score)):
        make_task(metrics={"f1": macro_f1}, score=score)


@pytest.mark.parametrize(
    ("settings", "mentioned"),
    [
        ({"metrics": [macro_f1]}, ("metrics", "by name")),
        ({"metrics": {"test_f1": macro_f1}}, ("'test_f1'",)),
        ({"metrics": {"accuracy": macro_f1}}, ("'accuracy'", "taken")),
        ({"loss": "mse"}, ("loss", "'mse'")),
        ({"loss": nn.MSELoss}, ("loss", "the class MSELoss")),
    ],
)
def test_what_is_no_loss_or_metric_is_refused(refused, settings, mentioned):
    with refused(*mentioned):
        make_task(**settings)


# --- the loss --------------------------------------------------------------------------------------------------------


def test_a_loss_of_ones_own_trains_and_sets_what_guessing_comes_to():
    plain = make_task("values")
    own = make_task("values", loss=nn.HuberLoss(delta=0.5))
    assert train(own).history != train(plain).history
    assert 0 < own.guessing_loss < plain.guessing_loss
    assert own.trainer(CPU, measure_time=False).loss_limit is None
    limited = make_task("values", loss=nn.HuberLoss(delta=0.5), limits=marl_hpo_env.Limits(loss="guessing"))
    assert limited.loss_limit == limited.trainer(CPU, measure_time=False).loss_limit == 0.95 * own.guessing_loss


def test_the_default_loss_given_by_hand_trains_to_the_same_bits():
    assert train(make_task(loss=nn.CrossEntropyLoss())).history == train(make_task()).history


@pytest.mark.parametrize(
    "loss", [lambda outputs, targets: 1 / 0, lambda outputs, targets: outputs, lambda outputs, targets: 0.5]
)
def test_a_loss_that_cannot_be_computed_is_refused_before_anything_is_trained(refused, loss):
    with refused("The loss cannot be computed", "(2, 3)", "(2,)"):
        _ = make_task(loss=loss).network


# --- fingerprints, stores, workers, tables ---------------------------------------------------------------------------


def test_loss_metrics_and_score_are_in_the_fingerprint_when_they_are_set(refused):
    alike = [
        make_task(),
        make_task(score="validation_accuracy"),
        make_task(metrics={}),
        make_task(loss=None),
    ]
    assert len({task.fingerprint for task in alike}) == 1
    others = [
        make_task(loss=nn.CrossEntropyLoss()),
        make_task(loss=nn.CrossEntropyLoss(label_smoothing=0.1)),
        make_task(loss=Loss(nn.CrossEntropyLoss(), name="mine")),
        make_task(metrics={"f1": macro_f1}),
        make_task(metrics={"f2": macro_f1}),
        make_task(metrics={"f1": Metric(negative)}),
        make_task(metrics={"f1": Metric(negative, -1)}),
        make_task(metrics={"f1": macro_f1}, score="validation_f1"),
        make_task(score="validation_loss"),
    ]
    assert len({task.fingerprint for task in [*alike, *others]}) == 1 + len(others)
    assert "scoring" not in make_task().conditions
    with refused("metric 'f1'", "name="):
        _ = make_task("values", metrics={"f1": Metric(torch.dist)}).fingerprint
    assert make_task("values", metrics={"f1": Metric(torch.dist, name="distance")}).fingerprint


def test_tasks_with_functions_of_their_own_travel_to_workers_and_their_trials_to_the_store(tmp_path):
    bias = 0.25

    def shifted(outputs, targets):
        return float((outputs.argmax(1) == targets).float().mean()) + bias

    task = make_task(metrics={"shifted": Metric(shifted)}, score="validation_shifted", loss=nn.CrossEntropyLoss())
    store = Store(tmp_path / "trials.sqlite")
    evaluator = StoredEvaluator(TrainingEvaluator(task, "cpu"), store)
    request = Request((1,), 0, 2)
    (trial,) = evaluator.evaluate([request])
    assert trial.status == "completed", trial.reason
    assert trial.metrics["validation_shifted"] == pytest.approx(trial.metrics["validation_accuracy"] + bias)
    assert store.get(evaluator.fingerprint, request).metrics == trial.metrics


def test_shared_weights_are_trained_by_the_loss_and_judged_by_the_metrics():
    task = make_task("values", metrics={"rmse": Metric(rmse, -1, "years")})
    evaluator = SharedEvaluator(task, 2, device="cpu")
    (trial,) = evaluator.evaluate([Request((0,), 0, 2)])
    assert trial.status == "completed", trial.reason
    assert trial.metrics["validation_rmse"] > 0
    assert trial.metrics["test_mae"] > 0
    assert trial.metrics["validation_accuracy"] is None
    assert "validation_accuracy" in evaluator.unmeasured
    assert not evaluator.unmeasured & {"validation_rmse", "test_rmse", "validation_r2"}


def test_a_table_has_metrics_of_the_tasks_own_with_their_units_and_directions(tmp_path):
    task = make_task("values", metrics={"rmse": Metric(rmse, -1, "years")}, score="validation_rmse")
    trainer = task.trainer(CPU, measure_time=False)
    trials = [trainer.train(Request(design, 0, 2))[1] for design in (None, (0,), (1,))]
    about = {**task.conditions, "score": task.score}
    Table.from_trials("own", task.space, (0,), 2, trials, about=about, measures=task.measures).save(
        tmp_path / "own.npz"
    )
    table = Table.open(tmp_path / "own.npz")
    assert table.about["units"]["validation_rmse"] == "years"
    assert table.measures["test_rmse"] == ("years", -1, "training", None)
    assert table.trial(trials[1].request).metrics["test_rmse"] == trials[1].metrics["test_rmse"]
    assert table.judged_by == "test_rmse"
    evaluator = TableEvaluator(table)
    game = marl_hpo_env.env(evaluator.task, evaluator).unwrapped
    for design, trial in zip([(0,), (1,)], trials[1:], strict=True):
        (answer,) = game.evaluate([design])
        assert game.objectives(answer) == {"validation_rmse": trial.metrics["validation_rmse"]}
        # Far below 0 the weighted reward is squeezed, in order.
        assert game.score(answer) == -2 + 1 / trial.metrics["validation_rmse"]
    assert game.directions == {"validation_rmse": -1}
    front = table.pareto_front(("test_rmse", "model_size_mb"))
    errors = [trial.metrics["test_rmse"] for trial in trials[1:]]
    assert list(front) == ([1, 0] if errors[1] < errors[0] else [0])


def test_the_shipped_metric_of_values_is_the_one_that_every_regression_has():
    trial = train(make_task("values", metrics={"error": mean_absolute_error}))
    assert trial.metrics["validation_error"] == trial.metrics["validation_mae"]
