from __future__ import annotations

import dataclasses
import gc
import math
import os
import signal
import subprocess
import sys
from pathlib import Path

import faulty_task
import pytest
from faulty_task import ENDLESS, GOOD, KILLS, NAN, RAISES, pids, results, statuses, wait_until_gone
from torch import nn

import marl_hpo_env
from marl_hpo_env.catalog.models.convnet import ConvNet
from marl_hpo_env.data.digits import digits
from marl_hpo_env.data.splits import Data
from marl_hpo_env.errors import InputError
from marl_hpo_env.evaluators.training import TrainingEvaluator
from marl_hpo_env.reward import PaperReward
from marl_hpo_env.training.recipe import Limits
from marl_hpo_env.trial import Request


@pytest.fixture(scope="module")
def faulty():
    return faulty_task.task()


@pytest.fixture(scope="module")
def workers():
    return TrainingEvaluator(faulty_task.task(), "cpu", workers=2)


def test_two_workers_give_the_same_trials_as_this_process_bit_for_bit():
    task = marl_hpo_env.task("digits-convnet")
    alone, beside = TrainingEvaluator(task, "cpu"), TrainingEvaluator(task, "cpu", workers=2)
    designs = [None, (0, 0, 0, 0, 0), (7, 7, 7, 2, 2), (3, 5, 1, 1, 1)]
    requests = [Request(design, seed, 2) for seed, design in enumerate(designs)]
    trials = list(alone.evaluate(requests))
    assert [trial.request for trial in trials] == requests
    expected = results(trials)
    assert len({str(result) for result in expected.values()}) == len(requests)
    others = list(beside.evaluate(requests))
    assert len(others) == len(requests)
    assert results(others) == expected
    assert alone.measures_time
    assert not beside.measures_time
    assert all(trial.metrics["train_ms_per_batch"] is None for trial in others)
    assert all(trial.metrics["train_ms_per_batch"] > 0 for trial in trials)
    assert alone.fingerprint == beside.fingerprint


def test_a_design_that_fails_does_not_keep_the_others_from_their_trials(faulty):
    evaluator = TrainingEvaluator(faulty, "cpu")
    trials = list(evaluator.evaluate([Request(design, 0, 1) for design in (RAISES, GOOD, NAN, None)]))
    assert statuses(trials) == {RAISES: "failed", GOOD: "completed", NAN: "failed", None: "completed"}


def test_a_worker_that_is_killed_makes_a_failed_trial_that_says_so_and_the_rest_goes_on(workers):
    requests = [Request(design, 0, 1) for design in (KILLS, GOOD, RAISES, NAN, None)]
    trials = list(workers.evaluate(requests))
    assert statuses(trials) == {
        KILLS: "failed",
        GOOD: "completed",
        RAISES: "failed",
        NAN: "failed",
        None: "completed",
    }
    reasons = {trial.design: trial.reason for trial in trials}
    assert reasons[KILLS] == "The training's process was killed by SIGKILL, twice."
    assert reasons[RAISES] == "RuntimeError: no kernel for this."
    again = list(workers.evaluate([Request(GOOD, seed, 1) for seed in range(3)]))
    assert [trial.status for trial in again] == ["completed"] * 3
    assert len(pids()) == 2


def test_a_worker_that_dies_while_it_waits_costs_no_trial(workers):
    list(workers.evaluate([Request(GOOD, 0, 1)]))
    before = pids()
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    assert not wait_until_gone(before)
    trials = list(workers.evaluate([Request(GOOD, seed, 1) for seed in range(3)]))
    assert [trial.status for trial in trials] == ["completed"] * 3


def test_an_abandoned_evaluation_leaves_no_busy_worker_and_the_next_one_works(faulty):
    before = pids()
    evaluator = TrainingEvaluator(faulty, "cpu", workers=2)
    trials = evaluator.evaluate([Request(GOOD, 0, 1), Request(GOOD, 1, ENDLESS), Request(GOOD, 2, ENDLESS)])
    assert next(trials).request.epochs == 1
    started = pids() - before
    assert len(started) == 2
    trials.close()
    assert not wait_until_gone(started)
    assert [trial.status for trial in evaluator.evaluate([Request(GOOD, 0, 1)])] == ["completed"]


def test_an_evaluation_beside_an_unfinished_one_gets_its_own_trials(faulty):
    evaluator = TrainingEvaluator(faulty, "cpu", workers=2)
    unfinished = evaluator.evaluate([Request(GOOD, seed, 1) for seed in range(4)])
    next(unfinished)  # and it is kept, as a traceback keeps it after Ctrl-C
    requests = {Request(GOOD, seed, 1) for seed in (10, 11)}
    assert {trial.request for trial in evaluator.evaluate(sorted(requests))} == requests


def test_workers_end_with_their_evaluator(faulty):
    before = pids()
    evaluator = TrainingEvaluator(faulty, "cpu", workers=2)
    list(evaluator.evaluate([Request(GOOD, seed, 1) for seed in range(2)]))
    started = pids() - before
    assert len(started) == 2
    del evaluator
    gc.collect()
    assert not wait_until_gone(started)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGHUP])
def test_workers_end_when_their_parent_is_killed_whatever_they_are_at(number):
    script = """
import multiprocessing, signal, threading, time
import faulty_task
from marl_hpo_env import Request, TrainingEvaluator

signal.signal(signal.SIGHUP, signal.SIG_DFL)  # which whoever runs the tests may ignore, as nohup does
evaluator = TrainingEvaluator(faulty_task.task(), "cpu", 3)
idle = evaluator.evaluate([Request(None, seed, 1) for seed in range(3)])
list(idle)
busy = evaluator.evaluate([Request(faulty_task.HANGS, 0, 1), Request(faulty_task.SPINS, 0, 1)])
threading.Thread(target=next, args=(busy,)).start()
time.sleep(1)
print(*[process.pid for process in multiprocessing.active_children()], flush=True)
time.sleep(600)
"""
    folder = str(Path(__file__).parent)
    parent = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, env=os.environ | {"PYTHONPATH": folder}
    )
    try:
        started = {int(pid) for pid in parent.stdout.readline().split()}
        assert len(started) == 3
        assert all(Path(f"/proc/{pid}").exists() for pid in started)
    finally:
        parent.send_signal(number)
        parent.wait()
        parent.stdout.close()
    assert not wait_until_gone(started)


@pytest.mark.parametrize("count", [1, 2])
def test_a_wrong_design_is_refused_before_anything_is_trained(faulty, count):
    before = pids()
    evaluator = TrainingEvaluator(faulty, "cpu", workers=count)
    with pytest.raises(InputError, match="Action 12"):
        evaluator.evaluate([Request(GOOD, 0, 1), Request((12,), 0, 1)])
    assert pids() == before


def test_an_empty_list_of_requests_gives_no_trials(workers, faulty):
    assert list(workers.evaluate([])) == []
    assert list(TrainingEvaluator(faulty, "cpu").evaluate([])) == []


def test_fewer_than_one_worker_is_refused(faulty):
    with pytest.raises(InputError, match="workers is 0"):
        TrainingEvaluator(faulty, "cpu", workers=0)


def test_the_space_is_that_of_the_task(workers, faulty):
    assert workers.space == faulty.space


def fingerprint(**changes) -> str:
    task = marl_hpo_env.task("digits-convnet")
    recipe = changes.pop("recipe", {})
    task = dataclasses.replace(task, recipe=dataclasses.replace(task.recipe, **recipe), **changes)
    return TrainingEvaluator(task, "cpu").fingerprint


def other_data() -> Data:
    data = digits()
    x, y = data.test
    return dataclasses.replace(data, test=(x, y.roll(1)))


def other_choices():
    return {nn.Conv2d: {"out_channels": (4, 8), "kernel_size": (1, 3), "stride": (1, 2)}}


def wider_choices():
    return {nn.Conv2d: {"out_channels": (4, 16), "kernel_size": (1, 3), "stride": (1, 2)}}


def test_the_fingerprint_differs_where_recipe_limits_data_choices_or_network_differ():
    found = [
        fingerprint(),
        fingerprint(recipe={"learning_rate": 1e-3}),
        fingerprint(recipe={"batch_size": 32}),
        fingerprint(recipe={"optimizer": "sgd"}),
        fingerprint(recipe={"momentum": 0.9}),
        fingerprint(recipe={"weight_decay": 0.1}),
        fingerprint(recipe={"patience": 3}),
        fingerprint(recipe={"min_improvement": 1.0}),
        fingerprint(recipe={"max_epochs": 3}),
        fingerprint(limits=Limits()),
        fingerprint(limits=Limits(loss=0.95 * math.log(10), loss_epochs=3)),
        fingerprint(limits=Limits(loss=0.95 * math.log(10), batch_ratio=5.0)),
        fingerprint(limits=Limits(loss=0.95 * math.log(10), batches=6)),
        fingerprint(data=other_data),
        fingerprint(choices=other_choices),
        fingerprint(choices=wider_choices),
        fingerprint(model=lambda: ConvNet(width=9)),
        fingerprint(model=lambda: ConvNet(dense=65)),
    ]
    assert len(set(found)) == len(found)


def test_the_fingerprint_is_the_same_whatever_is_rewarded_and_however_long_is_trained():
    assert {
        fingerprint(),
        fingerprint(reward=PaperReward()),
        fingerprint(recipe={"epochs": 9}),
        fingerprint(name="other", description="other", seed=7),
    } == {fingerprint()}


def test_the_fingerprint_names_the_kind_of_device_and_that_one_thread_trains():
    assert fingerprint().endswith("-cpu-1-thread")
