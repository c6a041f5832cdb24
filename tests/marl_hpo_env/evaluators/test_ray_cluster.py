"""A cluster of two nodes on this machine, with one CPU each."""

from __future__ import annotations

import importlib
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter

import pytest
import torch

import marl_hpo_env
from marl_hpo_env import InputError, Request, TrainingEvaluator
from marl_hpo_env.testing import EvaluatorConformance
from marl_hpo_env.trial import CLOCK_METRICS

ray = pytest.importorskip("ray", reason="needs the extra `ray`")

FAULTY = """
import os, signal, time
import torch
from torch import nn
from marl_hpo_env import PaperReward, Recipe, Task
from marl_hpo_env.data.splits import Data

GATE = "gate"


class Faulty(nn.Module):
    def __init__(self, fault="none"):
        super().__init__()
        self.fault = fault

    def forward(self, x):
        if self.training and self.fault == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.training and self.fault == "hang":
            time.sleep(1000)
        if self.training and self.fault == "eat":
            torch.ones(10**9)
        while self.training and self.fault == "wait" and not os.path.exists(GATE):
            time.sleep(0.02)
        return x


def model():
    return nn.Sequential(nn.Linear(64, 8), Faulty(), nn.ReLU(), nn.Linear(8, 10))


def data():
    generator = torch.Generator().manual_seed(0)
    examples = torch.rand(100, 64, generator=generator), torch.randint(10, (100,), generator=generator)
    return Data(examples, examples, examples)


def choices():
    return {Faulty: {"fault": ("none", "kill", "hang", "eat", "wait")}}


def task():
    return Task("faulty", model, data, choices, Recipe(50, 1, "adam", 0.01, max_epochs=3), PaperReward())


def widths():
    return {nn.Linear: {"out_features": tuple(range(1, 41))}}


def slow():
    return Task("slow", model, data, widths, Recipe(50, 60, "adam", 0.01, max_epochs=3))
"""
GOOD, KILLS, HANGS, EATS, WAITS = (0,), (1,), (2,), (3,), (4,)
ENDLESS = 10**9


@pytest.fixture(scope="module")
def cluster():
    from ray.cluster_utils import Cluster

    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    made.add_node(num_cpus=1)
    yield made
    ray.shutdown()
    made.shutdown()


@pytest.fixture
def evaluator_on(cluster):
    return lambda task, **settings: marl_hpo_env.RayEvaluator(task, cluster.address, device="cpu", **settings)


@pytest.fixture(scope="module")
def gate(tmp_path_factory):
    """A file for which some designs wait."""
    return tmp_path_factory.mktemp("gate") / "open"


@pytest.fixture(scope="module")
def faulty_task(tmp_path_factory, gate):
    """A task of a module whose file is gone: no other process can import it."""
    folder = tmp_path_factory.mktemp("helper")
    (folder / "faulty_on_ray.py").write_text(FAULTY.replace('"gate"', repr(str(gate))))
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        made = importlib.import_module("faulty_on_ray").task()
    shutil.rmtree(folder)
    return made


def results(trials):
    return {
        trial.request: (
            trial.status,
            trial.reason,
            {name: value for name, value in trial.metrics.items() if name not in CLOCK_METRICS},
            list(trial.history),
        )
        for trial in trials
    }


def test_two_nodes_give_the_same_trials_as_one_worker_bit_for_bit(evaluator_on, capfd):
    task = marl_hpo_env.task("digits-convnet")
    designs = [None, (0, 0, 0, 0, 0), (7, 7, 7, 2, 2), (3, 5, 1, 1, 1)]
    requests = [Request(design, seed, 2) for seed, design in enumerate(designs)]
    here, there = TrainingEvaluator(task, "cpu"), evaluator_on(task)
    trials = list(there.evaluate(requests))
    assert len(trials) == len(requests)
    assert results(trials) == results(here.evaluate(requests))
    assert {trial.status for trial in trials} == {"completed"}
    assert (there.fingerprint, there.space, there.room) == (here.fingerprint, here.space, 2)
    assert all(trial.metrics["train_ms_per_batch"] is None for trial in trials)
    assert {trial.machine for trial in trials} == {torch.backends.cpu.get_cpu_capability()}
    assert there.pace == "2 machines, 4 trials in the last minute"
    assert capfd.readouterr().out == ""


def test_a_network_that_was_fitted_elsewhere_is_the_one_that_is_fitted_here(evaluator_on, faulty_task):
    network, trial = evaluator_on(faulty_task).fit(GOOD)
    expected, of_this_process = TrainingEvaluator(faulty_task, "cpu").fit(GOOD)
    assert results([trial]) == results([of_this_process])
    weights = network.state_dict()
    assert all(torch.equal(weights[name], tensor) for name, tensor in expected.state_dict().items())
    assert evaluator_on(faulty_task, fit_timeout=1).fit(HANGS)[0] is None
    assert evaluator_on(faulty_task).fit(GOOD, seconds=0)[1].cut


class TestConformance(EvaluatorConformance):
    designs = 2

    @pytest.fixture(autouse=True)
    def _made_by(self, evaluator_on):
        generator = torch.Generator().manual_seed(0)
        examples = torch.rand(60, 4, generator=generator), torch.arange(60) % 3
        model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3))
        task = marl_hpo_env.Task("tiny", model, examples, {torch.nn.Linear: {"out_features": (2, 4, 8)}})
        self.made = lambda: evaluator_on(task)

    def make(self):
        return self.made()


def test_a_design_that_kills_or_hangs_its_process_fails_and_the_rest_goes_on(evaluator_on, faulty_task):
    evaluator = evaluator_on(faulty_task, timeout=1.5)
    requests = [Request(design, 0, 1) for design in (KILLS, HANGS, GOOD, None)]
    trials = {trial.design: trial for trial in evaluator.evaluate(requests)}
    assert {design: trial.status for design, trial in trials.items()} == {
        KILLS: "failed",
        HANGS: "failed",
        GOOD: "completed",
        None: "completed",
    }
    assert trials[KILLS].reason == "Its process died, twice."
    assert trials[HANGS].reason == "Took longer than 1.5 s."
    assert not any(trial.accidental for trial in trials.values())


def test_what_an_abandoned_evaluation_had_under_way_is_ended(evaluator_on, faulty_task):
    evaluator = evaluator_on(faulty_task)
    trials = evaluator.evaluate([Request(GOOD, 0, 1), *[Request(GOOD, seed, ENDLESS) for seed in (1, 2, 3)]])
    assert next(trials).request.epochs == 1
    trials.close()
    deadline = time.monotonic() + 30
    while ray.available_resources().get("CPU") != 2 and time.monotonic() < deadline:
        time.sleep(0.1)
    assert ray.available_resources()["CPU"] == 2


def test_a_training_that_wants_more_memory_than_it_may_take_fails(evaluator_on, faulty_task):
    evaluator = evaluator_on(faulty_task, memory_gb=1)
    (trial,) = evaluator.evaluate([Request(EATS, 0, 1)])
    assert (trial.status, trial.reason, trial.accidental) == ("failed", "Took more than 1 GB of memory.", False)
    assert evaluator.stands(trial)
    assert not evaluator_on(faulty_task).stands(trial)
    assert [trial.status for trial in evaluator.evaluate([Request(GOOD, 0, 1)])] == ["completed"]


def test_a_node_that_dies_costs_no_trial(cluster, evaluator_on, faulty_task, gate, monkeypatch):
    evaluator = evaluator_on(faulty_task)
    start, heard = evaluator._start, evaluator._heard
    started, begun = [], []

    def hear(training, stream):
        answer = heard(training, stream)
        if answer is None:
            begun.append(training)
            if len(begun) == 2:  # each node has one
                (node,) = cluster.worker_nodes
                cluster.remove_node(node, allow_graceful=False)
                cluster.add_node(num_cpus=1)
                gate.touch()
        return answer

    monkeypatch.setattr(evaluator, "_start", lambda training: started.append(training) or start(training))
    monkeypatch.setattr(evaluator, "_heard", hear)
    requests = [Request(WAITS, seed, 1) for seed in range(4)]
    trials = list(evaluator.evaluate(requests))
    assert Counter(trial.request for trial in trials) == Counter(requests)
    assert {trial.status for trial in trials} == {"completed"}
    assert len(started) > len(requests)  # what ran there was tried again


def test_a_driver_that_is_killed_is_continued_by_the_same_command(cluster, tmp_path):
    (tmp_path / "mine.py").write_text(FAULTY)
    store = tmp_path / "out" / "trials.sqlite"
    arguments = ["tune", "--task", "mine:slow", "--learner", "random", "--episodes", "30"]
    arguments += ["--ray", cluster.address, "--device", "cpu", "--out", "out"]
    command = [sys.executable, "-m", "marl_hpo_env", *arguments]

    def stored():
        if not store.exists():
            return {}
        with sqlite3.connect(f"file:{store}?mode=ro", uri=True) as database:
            try:
                return dict(database.execute("select design || seed || epochs, metrics || history from trials"))
            except sqlite3.OperationalError:  # it has just been made
                return {}

    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=tmp_path)
    deadline = time.monotonic() + 100
    while len(stored()) < 6 and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    before = stored()
    assert 6 <= len(before) < 30
    ended = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert ended.returncode == 0, ended.stderr
    after = stored()
    assert before.items() <= after.items()  # nothing was trained again: the seconds are those of before
    assert len(after) == 1 + 30 + 2  # the original and every design, the original and the best to convergence
    assert "(raylet)" not in ended.stdout + ended.stderr
    report = (tmp_path / "out" / "random-seed0" / "report.md").read_text()
    assert "on a Ray cluster" in report
    assert f"Designs were trained with {torch.backends.cpu.get_cpu_capability()}." in report


def test_what_cannot_be_used_is_one_sentence(evaluator_on, faulty_task, refused):
    limited = marl_hpo_env.task("vgg16-cifar10")
    with refused("batch", "Ray"):
        evaluator_on(limited)
    for device in ("cuda", "cuda:0", "mps"):
        with refused("GPU"):
            marl_hpo_env.RayEvaluator(faulty_task, device=device)
    with pytest.raises(InputError, match="Action 5"):
        evaluator_on(faulty_task).evaluate([Request((5,), 0, 1)])


def test_a_cluster_that_is_not_there_is_one_sentence():
    script = """
import signal, marl_hpo_env
signal.signal(signal.SIGTERM, signal.SIG_IGN)
for address in ("127.0.0.1:1", "nonsense", "auto"):
    try:
        marl_hpo_env.RayEvaluator(marl_hpo_env.task("digits-convnet"), address)
    except marl_hpo_env.InputError as error:
        print(error)
print(signal.getsignal(signal.SIGTERM) == signal.SIG_IGN)
"""
    environment = os.environ | {"RAY_ADDRESS": "127.0.0.1:1"}
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environment, check=False)
    *sentences, kept = ended.stdout.splitlines()
    assert kept == "True"
    assert len(sentences) == 3
    for sentence in sentences:
        assert re.fullmatch(r"There is no Ray cluster at '[^']+' \(.+\); start one with .+\.", sentence)


def test_without_ray_the_sentence_says_how_to_install_it(monkeypatch, refused):
    monkeypatch.setitem(sys.modules, "ray", None)
    with refused("pip install 'marl-hpo-env[ray]'"):
        marl_hpo_env.RayEvaluator(marl_hpo_env.task("digits-convnet"))
