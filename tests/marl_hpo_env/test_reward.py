"""From a trial to the one number that every agent shares."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marl_hpo_env import METRICS, InputError, Metric, PaperReward, Request, Trial, WeightedReward
from marl_hpo_env.metrics import measures
from marl_hpo_env.reward import reward_of

REWARDED = sorted(name for name in METRICS if not name.startswith("test_"))
OBJECTIVES = [*REWARDED, *(f"{name} / original" for name in REWARDED)]
UNFINISHED = ["terminated", "failed"]


def a_trial(status="completed", design=(0,), **metrics):
    return Trial(Request(design, 0, 4), status, None, dict.fromkeys(METRICS) | metrics)


def the_original(**metrics):
    return a_trial(design=None, **metrics)


def any_metrics(lowest):
    return st.fixed_dictionaries({name: st.floats(lowest, 1e9) for name in METRICS})


# --- Equation 2 ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("weight", "reward"),
    [(0.5, 0.5 * 92 - 0.5 * 60), (0.9, 0.9 * 92 - 0.1 * 60), (1, 92), (0, -60)],
)
def test_equation_2_weighs_percent_against_megabytes(weight, reward):
    trial = a_trial(validation_accuracy=0.92, model_size_mb=60)
    assert PaperReward(accuracy_weight=weight, below_zero="printed")(trial) == pytest.approx(reward)
    assert PaperReward(accuracy_weight=weight).printed(trial) == pytest.approx(reward)
    # Below 0 it is squeezed: -60 becomes -60 / 61.
    assert PaperReward(accuracy_weight=weight)(trial) == pytest.approx(reward if reward >= 0 else -60 / 61)


def test_the_weights_of_equation_2_are_one_half_by_default():
    assert PaperReward()(a_trial(validation_accuracy=0.92, model_size_mb=60)) == pytest.approx(16)


@pytest.mark.parametrize("status", UNFINISHED)
@pytest.mark.parametrize("score", ["final", "per_epoch"])
def test_equation_2_is_minus_one_for_a_trial_that_did_not_complete(status, score):
    reward = PaperReward(accuracy_score=score)
    assert reward(a_trial(status)) == reward.penalty == -1


def test_as_printed_a_large_network_can_score_below_the_papers_penalty():
    # Reading 8 of agents/README.md: Eq. 2 as printed gives no order between the two.
    assert PaperReward(below_zero="printed")(a_trial(validation_accuracy=0.7, model_size_mb=553)) < PaperReward.penalty


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1e12)), min_size=2, max_size=10))
def test_every_completed_design_is_above_the_penalty_and_in_the_printed_order(measured):
    squeezed, printed = PaperReward(), PaperReward(below_zero="printed")
    trials = [a_trial(validation_accuracy=accuracy, model_size_mb=size) for accuracy, size in measured]
    for trial in trials:
        assert squeezed(trial) > squeezed.penalty
        assert squeezed(trial) == printed(trial) or (printed(trial) < 0 and -1 < squeezed(trial) < 0)
    ordered = sorted(trials, key=printed)
    assert all(squeezed(a) <= squeezed(b) for a, b in itertools.pairwise(ordered))


def test_per_epoch_divides_by_the_epochs_needed_to_meet_the_limit():
    trial = a_trial(validation_accuracy=0.8, model_size_mb=10, epochs=6, epochs_to_threshold=2)
    assert PaperReward(accuracy_score="per_epoch")(trial) == pytest.approx(0.5 * 80 / 2 - 0.5 * 10)
    assert PaperReward()(trial) == pytest.approx(0.5 * 80 - 0.5 * 10)


def test_per_epoch_divides_by_all_epochs_where_the_limit_was_never_met():
    trial = a_trial(validation_accuracy=0.8, model_size_mb=10, epochs=6)
    assert PaperReward(accuracy_score="per_epoch")(trial) == pytest.approx(0.5 * 80 / 6 - 0.5 * 10)


def test_the_objectives_of_a_reward_name_all_that_it_sees():
    # All of them reach a learner, as an episode's `objectives`.
    assert [str(objective) for objective in PaperReward().objectives] == ["validation_accuracy", "model_size_mb"]
    per_epoch = [str(objective) for objective in PaperReward(accuracy_score="per_epoch").objectives]
    assert any(objective in ("epochs", "epochs_to_threshold") for objective in per_epoch)


@pytest.mark.parametrize("weight", [-0.1, 1.1, math.nan, math.inf])
def test_the_accuracy_weight_lies_within_0_and_1(refused, weight):
    with refused(str(weight)):
        PaperReward(accuracy_weight=weight)


def test_an_unknown_accuracy_score_is_refused(refused):
    with refused("'per_epochs'", "'per_epoch'"):
        PaperReward(accuracy_score="per_epochs")


def test_another_way_below_zero_is_refused(refused):
    with refused("There is no way below zero 'clipped'", "printed"):
        PaperReward(below_zero="clipped")


def test_a_reward_needs_metrics_that_were_measured(refused):
    with refused("'model_size_mb'"):
        PaperReward()(a_trial(validation_accuracy=0.9))
    with refused("'inference_ms_per_batch'", "one worker"):
        WeightedReward({"inference_ms_per_batch": 1})(a_trial())


# --- weighted sums ---------------------------------------------------------------------------------------------------


def test_what_is_better_small_counts_negatively():
    reward = WeightedReward({"validation_accuracy": 10, "model_size_mb": 0.5, "train_loss": 2})
    trial = a_trial(validation_accuracy=0.9, model_size_mb=4, train_loss=0.25)
    assert reward(trial) == pytest.approx(10 * 0.9 - 0.5 * 4 - 2 * 0.25)


def test_a_relative_metric_is_divided_by_the_originals():
    reward = WeightedReward({"validation_accuracy / original": 1, "model_size_mb / original": 0.2, "flops": 0.001})
    trial = a_trial(validation_accuracy=0.6, model_size_mb=3, flops=50)
    original = the_original(validation_accuracy=0.8, model_size_mb=12)
    assert reward(trial, original) == pytest.approx(0.6 / 0.8 - 0.2 * 3 / 12 - 0.001 * 50)


@pytest.mark.parametrize("text", ["model_size_mb / original", "model_size_mb/original", " model_size_mb  /  original "])
def test_a_relative_metric_can_be_written_with_any_spaces(text):
    reward = WeightedReward({text: 1})
    assert [str(objective) for objective in reward.objectives] == ["model_size_mb / original"]


def test_a_metric_that_is_weighed_twice_is_refused_or_counts_twice():
    weights = {"model_size_mb / original": 0.25, "model_size_mb/original": 0.5}
    try:
        reward = WeightedReward(weights)
    except ValueError:
        return
    assert reward(a_trial(model_size_mb=1), the_original(model_size_mb=1)) == pytest.approx(-0.75)


@pytest.mark.parametrize("original", [None, the_original(), the_original(model_size_mb=0.0)])
def test_a_relative_metric_needs_the_originals(refused, original):
    with refused("'model_size_mb'", "original"):
        WeightedReward({"model_size_mb / original": 1})(a_trial(model_size_mb=3), original)


@pytest.mark.parametrize(
    ("constraint", "value", "holds"),
    [
        ("model_size_mb <= 5", 5, True),
        ("model_size_mb <= 5", 5.001, False),
        ("model_size_mb >= 5", 5, True),
        ("model_size_mb >= 5", 4.999, False),
        ("model_size_mb<=5e0", 4, True),
        ("model_size_mb / original <= 0.5", 4.9, True),
        ("model_size_mb / original <= 0.5", 5.1, False),
        ("model_size_mb >= original - 9.9", 0.1, True),  # 10 - 9.9 is a little less than 0.1,
        ("model_size_mb <= original - 9.9", 0.1, True),  # which is no less than 0.1
    ],
)
def test_a_broken_constraint_is_the_penalty(constraint, value, holds):
    reward = WeightedReward({"validation_accuracy": 3}, [constraint])
    got = reward(a_trial(validation_accuracy=0.5, model_size_mb=value), the_original(model_size_mb=10))
    assert got == (pytest.approx(1.5) if holds else reward.penalty)
    assert reward.penalty == -6


def test_every_constraint_has_to_hold():
    reward = WeightedReward({"validation_accuracy": 1}, ["model_size_mb <= 5", "flops <= 100"])
    assert reward(a_trial(validation_accuracy=0.5, model_size_mb=5, flops=100)) == 0.5
    assert reward(a_trial(validation_accuracy=0.5, model_size_mb=5, flops=101)) == reward.penalty
    assert reward(a_trial(validation_accuracy=0.5, model_size_mb=6, flops=100)) == reward.penalty


def test_a_constraint_is_among_the_objectives():
    reward = WeightedReward({"validation_accuracy": 1}, ["model_size_mb <= 5", "validation_accuracy >= 0.1"])
    assert [str(objective) for objective in reward.objectives] == ["validation_accuracy", "model_size_mb"]


@given(
    weights=st.dictionaries(st.sampled_from(OBJECTIVES), st.floats(1e-6, 1e6), min_size=1),
    metrics=any_metrics(0),
    original=any_metrics(1e-9),
    status=st.sampled_from(UNFINISHED),
)
def test_the_penalty_lies_below_every_feasible_reward(weights, metrics, original, status):
    reward = WeightedReward(weights, [f"{next(iter(weights))} >= 0"])
    assert reward(a_trial(**metrics), the_original(**original)) > reward.penalty
    assert reward(a_trial(status), the_original(**original)) == reward.penalty
    infeasible = WeightedReward(weights, [f"{next(iter(weights))} <= -1"])
    assert infeasible(a_trial(**metrics), the_original(**original)) == reward.penalty


@given(metrics=any_metrics(0), test_accuracy=st.floats(0, 1), weight=st.floats(0, 1))
def test_no_reward_depends_on_a_test_figure(metrics, test_accuracy, weight):
    other = metrics | {"test_accuracy": test_accuracy}
    everything = WeightedReward(dict.fromkeys(REWARDED, 1.0))
    for reward in (PaperReward(weight), PaperReward(weight, "per_epoch"), everything):
        if metrics["epochs"] or metrics["epochs_to_threshold"]:
            assert reward(a_trial(**metrics)) == reward(a_trial(**other))
        assert not any("test" in str(objective) for objective in reward.objectives)


@pytest.mark.parametrize("weight", [-1, -1e-9, math.nan, math.inf, -math.inf])
def test_a_weight_is_a_positive_number(refused, weight):
    with refused("'model_size_mb'", str(weight)):
        WeightedReward({"validation_accuracy": 1, "model_size_mb": weight})


@pytest.mark.parametrize("weights", [{}, {"validation_accuracy": 0}, {"validation_accuracy": 0, "flops": 0.0}])
def test_some_weight_is_above_zero(refused, weights):
    with refused("zero"):
        WeightedReward(weights)


def test_a_weight_of_zero_leaves_its_metric_out_of_the_sum():
    assert WeightedReward({"validation_accuracy": 1, "flops": 0})(a_trial(validation_accuracy=0.5, flops=1e9)) == 0.5


@pytest.mark.parametrize("text", ["validation_acuracy", "validation_acuracy / original"])
def test_an_unknown_metric_is_refused_where_task_and_reward_meet_with_the_names_nearest_to_it(refused, text):
    for reward in (WeightedReward({text: 1}), WeightedReward({"validation_accuracy": 1}, [f"{text} >= 0.5"])):
        with refused("'validation_acuracy'", "'validation_accuracy'"):
            reward_of(reward, METRICS, "validation_accuracy")
    with refused("'validation_acuracy'", "'validation_accuracy'"):
        WeightedReward({text: 1})(a_trial(validation_accuracy=0.5))


OWN = measures({"cost": Metric(len, -1, "euros"), "f1": Metric(len)})


def test_a_metric_of_the_tasks_own_counts_in_its_direction():
    trial = replace(a_trial(), metrics={"validation_f1": 0.75, "validation_cost": 8.0})
    original = replace(a_trial(), metrics={"validation_f1": 0.5, "validation_cost": 2.0})
    reward = WeightedReward({"validation_f1": 2, "validation_cost / original": 0.25}, ["validation_f1 >= original"])
    met = reward_of(reward, OWN, "validation_accuracy")
    assert met(trial, original) == 2 * 0.75 - 0.25 * 8 / 2
    assert met(original, trial) == met.penalty
    assert str(met) == "2 validation_f1 - 0.25 validation_cost / original, if validation_f1 >= original"


def test_the_score_is_a_of_equation_2_where_it_is_a_fraction_of_which_more_is_better(refused):
    trial = replace(a_trial(), metrics={"validation_f1": 0.75, "validation_accuracy": 0.5, "model_size_mb": 5.0})
    met = reward_of(PaperReward(), OWN, "validation_f1")
    assert [objective.metric for objective in met.objectives] == ["validation_f1", "model_size_mb"]
    assert met(trial) == 0.5 * 75 - 0.5 * 5
    assert [o.metric for o in met.per_epoch().objectives] == ["validation_f1", "model_size_mb", "epochs_to_threshold"]
    assert PaperReward()(trial) == 0.5 * 50 - 0.5 * 5
    with refused("'validation_cost'", "'euros'", "WeightedReward"):
        reward_of(PaperReward(), OWN, "validation_cost")


@pytest.mark.parametrize("text", ["test_accuracy", "test_accuracy / original"])
def test_a_test_figure_cannot_be_rewarded_or_constrained(refused, text):
    with refused("'test_accuracy'", "never reach a learner"):
        WeightedReward({text: 1})
    with refused("'test_accuracy'", "never reach a learner"):
        WeightedReward({"validation_accuracy": 1}, [f"{text} >= 0.5"])


def test_a_test_figure_is_not_suggested_either():
    with pytest.raises(ValueError, match="test_acuracy") as caught:
        WeightedReward({"test_acuracy": 1})
    assert "test_accuracy" not in str(caught.value)


@pytest.mark.parametrize("text", ["flops / first", "flops /", "flops / original / original"])
def test_a_metric_is_divided_by_the_originals_only(refused, text):
    with refused("'flops / original'", repr(text)):
        WeightedReward({text: 1})


@pytest.mark.parametrize(
    "text", ["", "flops", "flops < 5", "flops == 5", "flops <= five", "flops <= nan", "flops <= inf", "<= 5"]
)
def test_a_constraint_that_cannot_be_read_is_refused(refused, text):
    with refused(repr(text), "'inference_ms_per_batch <= 5'"):
        WeightedReward({"validation_accuracy": 1}, [text])


def test_a_reward_with_times_is_refused_where_times_are_not_measured(
    spaces, turn_based, simultaneous, single_controller, formula_evaluator, refused
):
    rewards = {
        "'inference_ms_per_batch'": WeightedReward(
            {"validation_accuracy": 1, "inference_ms_per_batch / original": 0.1}
        ),
        "'train_ms_per_batch'": WeightedReward({"validation_accuracy": 1}, ["train_ms_per_batch <= 5"]),
    }
    for metric, reward in rewards.items():
        for make in (turn_based, simultaneous, single_controller):
            with refused(metric, "one worker"):
                make(spaces["chain"], evaluator=formula_evaluator(spaces["chain"], measures_time=False), reward=reward)
            assert make(spaces["chain"], reward=reward).unwrapped.reward is reward


def test_sums_below_minus_the_weights_keep_their_order_and_stay_above_the_penalty():
    reward = WeightedReward({"validation_accuracy": 1, "inference_ms_per_batch": 0.1})
    sums = []
    for ms in (1, 19, 20, 21, 25, 50, 500, 50_000):
        trial = Trial(
            Request((0,), 0, 1), "completed", None, {"validation_accuracy": 0.9, "inference_ms_per_batch": ms}
        )
        sums.append(reward(trial))
    assert sums[:3] == pytest.approx([0.9 - 0.1, 0.9 - 1.9, 0.9 - 2.0])  # T is 1.1: as they are down to -1.1
    # Below -T: -2T - T^2 / s; at 25 ms s is -1.6.
    assert sums[4] == pytest.approx(-2.2 + 1.21 / 1.6)
    assert sums == sorted(sums, reverse=True)
    assert len(set(sums)) == len(sums)
    assert min(sums) > reward.penalty == -2.2
    absurd = Trial(Request((0,), 0, 1), "completed", None, {"validation_accuracy": 0.0, "inference_ms_per_batch": 1e30})
    assert min(sums) > reward(absurd) > reward.penalty


def test_a_bound_can_be_the_originals_value_plus_or_minus_a_number():
    def trial(accuracy, size=1.0):
        metrics = {"validation_accuracy": accuracy, "model_size_mb": size}
        return Trial(Request((0,), 0, 1), "completed", None, metrics)

    reward = WeightedReward({"model_size_mb / original": 1}, ["validation_accuracy >= original - 0.005"])
    original = trial(0.9)
    assert reward.relative
    assert reward(trial(0.8951, 0.5), original) == -0.5
    assert reward(trial(0.8949, 0.5), original) == reward.penalty
    assert reward.broken(trial(0.8), original) == ["validation_accuracy >= original -0.005"]
    assert WeightedReward({"model_size_mb": 1}, ["parameters <= original"]).relative
    for wrong in (
        "validation_accuracy >= original 0.1",
        "validation_accuracy >= original * 2",
        "parameters <= originally",
    ):
        with pytest.raises(InputError, match="cannot be read"):
            WeightedReward({"model_size_mb": 1}, [wrong])


def test_a_bound_of_a_relative_metric_is_relative_too():
    original = the_original(model_size_mb=10.0)
    by_number = WeightedReward({"validation_accuracy": 1}, ["model_size_mb / original <= 0.6"])
    # The original's own relative value is 1.
    by_original = WeightedReward({"validation_accuracy": 1}, ["model_size_mb / original <= original - 0.4"])
    for reward in (by_number, by_original):
        assert reward.relative  # the environments then have the original's trial ready
        assert reward(a_trial(validation_accuracy=0.5, model_size_mb=5.9), original) == 0.5
        assert reward(a_trial(validation_accuracy=0.5, model_size_mb=6.1), original) == reward.penalty
    assert not WeightedReward({"validation_accuracy": 1}, ["model_size_mb <= 6"]).relative
    assert not PaperReward().relative


def test_a_weighted_reward_keeps_what_it_was_given():
    weights, constraints = {"validation_accuracy": 1, "model_size_mb/original": 0.2}, ["flops<=100", "epochs >= 1"]
    reward = WeightedReward(weights, iter(constraints))
    assert (reward.weights, list(reward.constraints)) == (weights, constraints)
    weights["flops"] = 1.0  # the user's own, to change
    assert "flops" not in reward.weights


def test_a_reward_says_what_it_is():
    reward = WeightedReward({"validation_accuracy": 1, "model_size_mb / original": 0.2}, ["parameters <= 10"])
    assert str(reward) == "1 validation_accuracy - 0.2 model_size_mb / original, if parameters <= 10"
    assert str(PaperReward()) == "Eq. 2 with c_A = 0.5"
    assert str(PaperReward(0.7, "per_epoch", "printed")) == "Eq. 2 with c_A = 0.7, A per epoch, as printed below 0"


@pytest.mark.parametrize("weight", ["0.5", None, True, [0.5]])
def test_an_accuracy_weight_of_another_kind_is_one_sentence(refused, weight):
    with refused("accuracy weight", repr(weight)):
        PaperReward(weight)


@pytest.mark.parametrize(
    ("arguments", "mentioned"),
    [
        ((["flops"],), "['flops']"),
        (("flops",), "'flops'"),
        (({"flops": "1"},), "'1'"),
        (({"flops": True},), "True"),
        (({"flops": None},), "None"),
        (({3: 1.0},), "3"),
        (({"flops": 1.0}, "flops <= 3"), "'flops <= 3'"),
        (({"flops": 1.0}, 3), "3"),
        (({"flops": 1.0}, [3]), "3"),
        (({"flops": 1.0}, [None]), "None"),
    ],
)
def test_weights_and_constraints_of_another_kind_are_one_sentence(refused, arguments, mentioned):
    with refused(mentioned):
        WeightedReward(*arguments)
