"""The evaluator that remembers, and what training promises as an evaluator."""

from __future__ import annotations

import dataclasses
import warnings

import pytest
from hypothesis import given
from hypothesis import strategies as st

import marl_hpo_env
from marl_hpo_env import METRICS, InputError, Request, Store, StoredEvaluator, TrainingEvaluator, Trial
from marl_hpo_env.evaluators.evaluator import evaluate_one
from marl_hpo_env.trial import CLOCK_METRICS, TIME_METRICS, VALUE_METRICS

A, B, C = Request((0, 0, 0), 0, 4), Request((1, 2, 3), 0, 4), Request((3, 3, 3), 0, 4)


@pytest.fixture
def inner(spaces, formula_evaluator):
    return formula_evaluator(spaces["chain"])


@pytest.fixture
def untimed(spaces, formula_evaluator):
    return formula_evaluator(spaces["chain"], measures_time=False)


# --- what is stored --------------------------------------------------------------------------------------------------


def test_an_evaluator_that_remembers_says_of_itself_what_its_inner_one_says(inner, untimed):
    for evaluator in (inner, untimed):
        stored = StoredEvaluator(evaluator, Store())
        assert stored.space is evaluator.space
        assert (stored.fingerprint, stored.measures_time) == (evaluator.fingerprint, evaluator.measures_time)


def test_a_request_that_is_repeated_in_one_call_is_evaluated_once_and_answered_as_often(inner):
    trials = list(StoredEvaluator(inner, Store()).evaluate([A, B, A, A]))
    assert inner.asked == [A, B]
    assert sorted(trial.request for trial in trials) == [A, A, A, B]


def test_a_stored_request_is_answered_from_the_store_and_first(inner):
    evaluator = StoredEvaluator(inner, Store())
    (first,) = evaluator.evaluate([B])
    trials = list(evaluator.evaluate([A, B, C, B]))
    assert [trial.request for trial in trials] == [B, B, A, C]
    assert dict(trials[0].metrics) == dict(first.metrics)
    assert inner.asked == [B, A, C]


def on_machine(evaluator, name):
    """The evaluator, as if its trials were made with these vector instructions from now on."""
    trial = type(evaluator).trial
    evaluator.trial = lambda request: dataclasses.replace(trial(evaluator, request), machine=name)
    return evaluator


@pytest.mark.filterwarnings("error::UserWarning")
def test_trials_of_other_vector_instructions_beside_the_stored_ones_are_said_once_and_refused_by_who_is_strict(
    inner, refused
):
    store = Store()
    list(StoredEvaluator(inner, store).evaluate([A]))  # of before machines were known
    list(StoredEvaluator(on_machine(inner, "AVX512"), store, strict=True).evaluate([B]))
    on_machine(inner, "AVX2")
    assert len(list(StoredEvaluator(inner, store, strict=True).evaluate([A, B]))) == 2  # nothing is new
    with refused("in memory", "made with AVX512", "a new one with AVX2"):
        list(StoredEvaluator(inner, store, strict=True).evaluate([C]))
    assert store.machines(inner.fingerprint) == {"AVX512"}
    evaluator = StoredEvaluator(inner, store)
    with pytest.warns(UserWarning, match="made with AVX512, and a new one with AVX2: their last digits may differ"):
        list(evaluator.evaluate([C]))
    list(evaluator.evaluate([C._replace(seed=1)]))
    assert store.machines(inner.fingerprint) == {"AVX2", "AVX512"}


def test_where_all_is_stored_the_inner_evaluator_is_not_asked(inner):
    store = Store()
    list(StoredEvaluator(inner, store).evaluate([A, B]))

    class Unasked:
        space, fingerprint, measures_time = inner.space, inner.fingerprint, True

        def evaluate(self, requests):
            raise AssertionError(requests)

    trials = list(StoredEvaluator(Unasked(), store).evaluate([B, A]))
    assert [trial.request for trial in trials] == [B, A]


@given(calls=st.lists(st.lists(st.integers(0, 7), max_size=6), max_size=5))
def test_every_request_is_answered_once_and_evaluated_at_most_once(spaces, formula_evaluator, calls):
    inner = formula_evaluator(spaces["chain"])
    evaluator = StoredEvaluator(inner, Store())
    for call in calls:
        requests = [Request(None if number == 7 else inner.space.design_at(number), 0, 4) for number in call]
        trials = list(evaluator.evaluate(requests))
        assert sorted(map(str, requests)) == sorted(str(trial.request) for trial in trials)
        assert all(dict(trial.metrics) == dict(inner.trial(trial.request).metrics) for trial in trials)
    assert sorted(map(str, set(inner.asked))) == sorted(map(str, inner.asked))


def test_design_seed_and_epochs_are_all_part_of_the_key(inner):
    evaluator = StoredEvaluator(inner, Store())
    requests = [A, A._replace(seed=1), A._replace(epochs=5), A._replace(epochs=None), A._replace(design=None)]
    list(evaluator.evaluate(requests))
    list(evaluator.evaluate(requests))
    assert inner.asked == requests


def test_trials_of_other_fingerprints_are_not_shared(spaces, formula_evaluator):
    store = Store()
    first = formula_evaluator(spaces["chain"], fingerprint="first")
    second = formula_evaluator(spaces["chain"], fingerprint="second")
    for inner in (first, second, first, second):
        list(StoredEvaluator(inner, store).evaluate([A]))
    assert first.asked == second.asked == [A]


def test_a_store_on_disk_answers_the_next_process(inner, tmp_path):
    store = Store(tmp_path / "trials.db")
    before = list(StoredEvaluator(inner, store).evaluate([A, B]))
    store.close()
    after = list(StoredEvaluator(inner, Store(tmp_path / "trials.db")).evaluate([A, B]))
    assert inner.asked == [A, B]
    assert [dict(trial.metrics) for trial in after] == [dict(trial.metrics) for trial in before]


def test_each_trial_is_stored_before_the_next_one_begins(inner):
    store = Store()
    trials = StoredEvaluator(inner, store).evaluate([A, B, C])
    next(trials)
    next(trials)
    trials.close()  # as Ctrl-C does
    assert [trial.request for _, trial in store.trials()] == [A, B]
    assert inner.asked == [A, B]


@pytest.mark.parametrize("status", ["terminated", "failed"])
def test_a_trial_that_did_not_complete_is_remembered_too(spaces, formula_evaluator, status):
    inner = formula_evaluator(spaces["chain"], statuses={A.design: status})
    evaluator = StoredEvaluator(inner, Store())
    for _ in range(2):
        (trial,) = evaluator.evaluate([A])
        assert (trial.status, trial.reason) == (status, "The formula says so.")
    assert inner.asked == [A]


def test_a_stored_training_that_was_cut_short_is_taken_again_once(inner):
    store = Store()
    (whole,) = inner.evaluate([A])
    store.put(inner.fingerprint, dataclasses.replace(whole, reason="Final training was cut short."))
    inner.asked.clear()
    for _ in range(2):
        assert list(StoredEvaluator(inner, store).evaluate([A, B]))[-1].reason is None
    assert inner.asked == [A, B]
    assert [trial.cut for _, trial in store.trials()] == [False, False]


# --- times -----------------------------------------------------------------------------------------------------------


def test_a_trial_stored_without_times_is_taken_again_once_by_who_measures_them(inner, untimed):
    store = Store()
    (trial,) = StoredEvaluator(untimed, store).evaluate([A])
    assert all(trial.metrics[name] is None for name in TIME_METRICS)
    for _ in range(2):
        (trial,) = StoredEvaluator(inner, store, needs_time=True).evaluate([A])
        assert all(trial.metrics[name] is not None for name in TIME_METRICS)
    assert inner.asked == [A]
    assert len(list(store.trials())) == 1


def test_a_trial_stored_without_times_serves_who_does_not_need_them(inner, untimed):
    store = Store()
    list(StoredEvaluator(untimed, store).evaluate([A]))
    list(StoredEvaluator(inner, store).evaluate([A]))
    assert inner.asked == []


class Unlucky:
    """Fails by accident, whatever it is asked for."""

    fingerprint, measures_time = "unlucky", False

    def __init__(self, space):
        self.space, self.asked = space, []

    def evaluate(self, requests):
        self.asked.append(len(requests))
        return (Trial(request, "failed", "The power went.", accidental=True) for request in requests)


def test_an_accident_is_not_stored_but_tried_again_alone_three_times_over_all_runs(spaces, tmp_path):
    unlucky = Unlucky(spaces["chain"])
    store = Store(tmp_path / "trials.sqlite")
    trials = list(StoredEvaluator(unlucky, store).evaluate([A, B, A]))
    assert [(trial.request, trial.accidental) for trial in trials] == [(A, True), (A, True), (B, True)]
    assert unlucky.asked == [2, 1, 1]
    assert list(store.trials()) == []
    store.close()
    store = Store(tmp_path / "trials.sqlite")
    (trial,) = StoredEvaluator(unlucky, store).evaluate([A])
    assert unlucky.asked == [2, 1, 1, 1]
    assert (trial.accidental, trial.reason) == (False, "The power went. That was its accident number 3.")
    assert [stored for _, stored in store.trials()] == [trial]
    assert list(StoredEvaluator(unlucky, store).evaluate([A])) == [trial]
    assert len(unlucky.asked) == 4


def test_a_stored_trial_that_no_longer_stands_or_was_cut_is_taken_again(inner):
    store = Store()
    store.put(inner.fingerprint, Trial(A, "failed", "Took longer than 1 s."))
    store.put(inner.fingerprint, Trial(B, "completed", "Final training was cut short."))
    stored = StoredEvaluator(inner, store)
    assert stored.stored(A) is not None
    inner.stands = lambda trial: trial.status == "completed"
    assert (stored.stored(A), stored.stored(B)) == (None, None)
    assert [trial.reason for trial in stored.evaluate([A, B])] == [None, None]
    assert inner.asked == [A, B]


def test_a_trial_stored_with_or_without_times_serves_who_does_not_measure_them(inner, untimed):
    store = Store()
    list(StoredEvaluator(inner, store).evaluate([A]))
    list(StoredEvaluator(untimed, store).evaluate([B]))
    list(StoredEvaluator(untimed, store).evaluate([A, B]))
    assert untimed.asked == [B]


def test_one_stored_request_without_times_is_taken_again_once_however_often_it_is_asked(inner, untimed):
    store = Store()
    list(StoredEvaluator(untimed, store).evaluate([A]))
    trials = list(StoredEvaluator(inner, store, needs_time=True).evaluate([A, B, A]))
    assert [trial.request for trial in trials] == [A, A, B]
    assert inner.asked == [A, B]
    assert all(trial.metrics[name] is not None for trial in trials for name in TIME_METRICS)


def test_a_training_that_did_not_complete_is_not_taken_again_for_its_times(spaces, formula_evaluator):
    store, statuses = Store(), {A.design: "terminated", B.design: "failed"}
    untimed = formula_evaluator(spaces["chain"], measures_time=False, statuses=statuses)
    list(StoredEvaluator(untimed, store).evaluate([A, B]))
    timed = formula_evaluator(spaces["chain"], statuses=statuses)
    trials = list(StoredEvaluator(timed, store, needs_time=True).evaluate([A, B]))
    assert [trial.status for trial in trials] == ["terminated", "failed"]
    assert timed.asked == []


@pytest.mark.parametrize("missing", TIME_METRICS)
def test_a_trial_that_lacks_one_of_the_times_is_taken_again(inner, missing):
    store = Store()
    trial = inner.trial(A)
    store.put(inner.fingerprint, dataclasses.replace(trial, metrics={**trial.metrics, missing: None}))
    (again,) = StoredEvaluator(inner, store, needs_time=True).evaluate([A])
    assert inner.asked == [A]
    assert again.metrics[missing] is not None


def test_the_trial_of_one_request(inner):
    trial = evaluate_one(inner, B)
    assert isinstance(trial, Trial)
    assert trial.request == B


# --- training --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def digits():
    task = marl_hpo_env.task("digits-convnet")
    return dataclasses.replace(task, recipe=dataclasses.replace(task.recipe, epochs=1))


@pytest.fixture(scope="module")
def training(digits):
    return TrainingEvaluator(digits, device="cpu")


def test_training_answers_every_request_in_order_with_every_metric(training):
    requests = [Request((1, 1, 1, 0, 1), 0, 1), Request(None, 0, 1), Request((1, 1, 1, 0, 1), 3, 2)]
    trials = list(training.evaluate(requests))
    assert [trial.request for trial in trials] == requests
    for trial in trials:
        assert trial.status == "completed"
        assert set(trial.metrics) == set(METRICS)
        assert [name for name in METRICS if trial.metrics[name] is None] == [
            *VALUE_METRICS,
            "peak_memory_mb",
            "epochs_to_threshold",  # the environment's to say
        ]
        assert trial.metrics["epochs"] == len(trial.history) == trial.request.epochs


def test_a_trial_depends_on_its_key_alone(training, digits):
    first, second = Request((2, 3, 1, 1, 0), 0, 1), Request((0, 1, 2, 0, 2), 1, 1)

    def repeatable(trials):
        return {
            trial.request: {name: trial.metrics[name] for name in METRICS if name not in CLOCK_METRICS}
            for trial in trials
        }

    forwards = repeatable(training.evaluate([first, second]))
    backwards = repeatable(TrainingEvaluator(digits, device="cpu").evaluate([second, first]))
    assert forwards == backwards
    assert forwards[first] != forwards[second]


@pytest.mark.parametrize("design", [(0, 0), (0, 0, 0, 0, 3), (0, 0, 0, 0, -1)])
def test_training_refuses_a_design_that_is_not_of_the_space_before_it_trains(training, refused, design):
    with refused():
        training.evaluate([Request((1, 1, 1, 0, 1), 0, 1), Request(design, 0, 1)])


def test_training_measures_time_alone_only(digits):
    assert TrainingEvaluator(digits, device="cpu", workers=1).measures_time
    assert not TrainingEvaluator(digits, device="cpu", workers=2).measures_time


@pytest.mark.parametrize("workers", [0, -1])
def test_there_is_at_least_one_worker(digits, refused, workers):
    with refused(str(workers)):
        TrainingEvaluator(digits, device="cpu", workers=workers)


def test_a_device_that_is_not_there_is_refused(digits, refused):
    with refused("'abacus'", "'cpu'"):
        TrainingEvaluator(digits, device="abacus")


def test_trials_of_the_task_under_another_fingerprint_are_named_before_anything_is_trained(spaces, formula_evaluator):
    def evaluator(fingerprint, name="mine"):
        inner = formula_evaluator(spaces["chain"], fingerprint=fingerprint)
        inner.task_name = name
        return inner

    store = Store()
    list(StoredEvaluator(evaluator("before"), store).evaluate([A]))
    now = evaluator("now")
    with pytest.warns(
        UserWarning, match=r"^The store in memory holds 1 trials of the task 'mine' .* they do not count here"
    ):
        next(StoredEvaluator(now, store).evaluate([A]))
    assert now.asked == [A]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        list(StoredEvaluator(evaluator("now"), store).evaluate([A, A]))
        list(StoredEvaluator(evaluator("elsewhere", "another task"), store).evaluate([A]))


def test_what_an_evaluator_may_say_of_itself_is_passed_on(spaces, formula_evaluator):
    inner = formula_evaluator(spaces["chain"])
    plain = StoredEvaluator(inner, Store())
    assert plain.unmeasured == frozenset()
    assert not plain.exhaustive
    plain.check(0, 1)
    inner.unmeasured, inner.exhaustive = {"flops"}, True

    def check(seed, epochs):
        raise InputError(f"No {seed}, {epochs}.")

    inner.check = check
    assert plain.unmeasured == {"flops"}
    assert plain.exhaustive
    with pytest.raises(InputError, match="No 3, 4"):
        plain.check(3, 4)
