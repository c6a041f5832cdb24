"""What a design does to the process that trains it costs its own trial, and nothing else."""

from __future__ import annotations

import dataclasses
import math
import subprocess
import sys
import threading
from functools import partial
from pathlib import Path

import faulty_task
import pytest
import torch
from faulty_task import (
    CRASHES,
    ENDLESS,
    EXITS,
    GOOD,
    GROWS,
    HANGS,
    KILLS,
    LEAVES,
    PRINTS,
    RAISES,
    SPINS,
    TENSOR,
    pids,
    results,
    statuses,
)
from torch import nn

import marl_hpo_env
from marl_hpo_env.catalog import registry
from marl_hpo_env.data.splits import Data
from marl_hpo_env.errors import InputError
from marl_hpo_env.evaluators.surroundings import Surroundings
from marl_hpo_env.evaluators.training import TrainingEvaluator
from marl_hpo_env.networks import rules
from marl_hpo_env.networks.rules import register_rule
from marl_hpo_env.training import workers as workers_module
from marl_hpo_env.training.recipe import Limits
from marl_hpo_env.training.workers import Workers
from marl_hpo_env.trial import Request, Trial


@pytest.fixture(scope="module")
def faulty():
    return faulty_task.task()


@pytest.mark.parametrize(
    ("design", "reason"),
    [
        (CRASHES, "The training's process was killed by SIGSEGV, twice."),
        (EXITS, "The training ended its process with exit code 3, twice."),
        (LEAVES, "The training ended its process with exit code 0, twice."),
        (HANGS, "Took longer than 2 s."),
        (SPINS, "Took longer than 2 s."),
        (PRINTS, "Took longer than 2 s."),
        (GROWS, "Took more than 1 GB of memory."),
        (TENSOR, "Took more than 1 GB of memory."),
    ],
)
def test_with_one_worker_too_a_design_that_misbehaves_costs_its_own_trial(limited, design, reason):
    evaluator, output = limited
    trials = list(evaluator.evaluate([Request(design, 0, 1), Request(GOOD, 0, 1)]))
    assert statuses(trials) == {design: "failed", GOOD: "completed"}
    (failed,) = (trial for trial in trials if trial.design == design)
    assert (failed.reason, failed.accidental) == (reason, False)
    assert not output.exists() or output.stat().st_size < 10**7


@pytest.fixture(scope="module")
def limited(faulty, tmp_path_factory):
    output = tmp_path_factory.mktemp("output") / "output.txt"
    return TrainingEvaluator(faulty, "cpu", 1, timeout=2, memory_gb=1, output=output), output


def test_what_designs_print_is_in_the_file_and_where_they_crashed(limited):
    evaluator, output = limited
    list(evaluator.evaluate([Request(CRASHES, 0, 1), Request(PRINTS, 0, 1)]))
    text = output.read_text()
    assert "Segmentation fault" in text
    assert "in forward" in text
    assert "to the end of the world" in text
    assert "more was printed than is kept" in text


def test_a_limit_holds_for_what_it_says_and_a_stored_trial_stands_where_it_is_not_higher(faulty):
    def stands(design, epochs, **limits) -> bool:
        slow = Trial(Request(design, 0, epochs), "failed", "Took longer than 2 s.")
        return TrainingEvaluator(faulty, "cpu", **limits).stands(slow)

    assert stands(GOOD, 1, timeout=2)
    assert stands(GOOD, 1, timeout=1)
    assert not stands(GOOD, 1, timeout=3)
    assert not stands(GOOD, 1)
    assert not stands(GOOD, None, timeout=1)
    assert stands(GOOD, None, fit_timeout=2)
    assert stands(None, 10, fit_timeout=2)
    large = Trial(Request(GOOD, 0, 1), "failed", "Took more than 1 GB of memory.")
    assert TrainingEvaluator(faulty, "cpu", memory_gb=0.5).stands(large)
    assert not TrainingEvaluator(faulty, "cpu", memory_gb=1.5).stands(large)
    assert TrainingEvaluator(faulty, "cpu").stands(Trial(Request(GOOD, 0, 1), "failed", "ValueError: no."))


@pytest.mark.parametrize("limit", [{"timeout": 0}, {"fit_timeout": math.nan}, {"memory_gb": -1}, {"timeout": "1"}])
def test_a_limit_is_above_zero(faulty, limit):
    with pytest.raises(InputError, match=f"The {next(iter(limit))} is .*above 0"):
        TrainingEvaluator(faulty, "cpu", **limit)


SCRIPT = """
import torch
from torch import nn
import marl_hpo_env
from agents import learner, play

print("begins")


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(64, WIDTH), nn.Linear(WIDTH, 10)

    def forward(self, x):
        return self.last(torch.relu(self.first(x)))


WIDTH = 8
data = torch.rand(60, 64), torch.arange(60) % 10
task = marl_hpo_env.Task(
    "mine", Net, data, {nn.Linear: {"out_features": (4, 8)}}, recipe=marl_hpo_env.Recipe(epochs=1)
)
for workers in (1, 2):
    evaluator = marl_hpo_env.TrainingEvaluator(task, "cpu", workers)
    episodes = play(marl_hpo_env.env(task, evaluator=evaluator), learner("random"), 2)
    print(*[episode.terminated for episode in episodes])
"""


@pytest.mark.parametrize("how", ["script", "-c", "-"])
def test_a_script_without_a_guard_trains_what_it_defines_and_runs_once(tmp_path, how):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    arguments = {"script": [str(script)], "-c": ["-c", SCRIPT], "-": ["-"]}[how]
    given = SCRIPT if how == "-" else ""
    ended = subprocess.run(
        [sys.executable, *arguments], input=given, capture_output=True, text=True, timeout=200, check=False
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.splitlines() == ["begins", "False False", "False False"]


def test_a_notebook_trains_what_its_cells_define(tmp_path):
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    cells = [nbformat.v4.new_code_cell(cell) for cell in SCRIPT.split("\n\n\n")]
    notebook = nbformat.v4.new_notebook(cells=cells)
    nbclient.NotebookClient(notebook, timeout=200, resources={"metadata": {"path": str(tmp_path)}}).execute()
    printed = [output["text"] for cell in notebook.cells for output in cell.outputs]
    assert "".join(printed).splitlines() == ["begins", "False False", "False False"]


class Strange(nn.Module):
    """A module of a type of its own."""


def test_what_cannot_be_sent_is_trained_here_by_one_worker_which_says_so(faulty):
    task = dataclasses.replace(faulty, model=partial(_model_with, threading.Lock()))
    with pytest.warns(UserWarning, match="cannot be sent to another process: .*lock.*trained in this one"):
        (trial,) = TrainingEvaluator(task, "cpu").evaluate([Request(GOOD, 0, 1)])
    (elsewhere,) = TrainingEvaluator(faulty, "cpu").evaluate([Request(GOOD, 0, 1)])
    assert results([trial]) == results([elsewhere])
    with pytest.raises(InputError, match=r"cannot be sent to another process.*or use one worker"):
        list(TrainingEvaluator(task, "cpu", workers=2).evaluate([Request(GOOD, 0, 1)]))


def _model_with(lock):
    return faulty_task.model()


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
@pytest.mark.parametrize("threads", ["1", "8"])
def test_trials_have_the_same_bits_however_their_process_was_started(monkeypatch, method, threads):
    monkeypatch.setattr(workers_module, "START_METHODS", (method,))
    monkeypatch.setenv("OMP_NUM_THREADS", threads)
    task = marl_hpo_env.task("digits-convnet")
    request = Request((3, 5, 1, 1, 1), 0, 2)
    (elsewhere,) = TrainingEvaluator(task, "cpu").evaluate([request])
    _, here = task.trainer(torch.device("cpu")).train(request)
    assert results([elsewhere]) == results([here])


def test_data_are_held_once_whatever_number_of_workers(faulty):
    inputs, targets = torch.rand(500_000, 64), torch.randint(10, (500_000,))
    data = Data((inputs, targets), (inputs[:9], targets[:9]), (inputs[:9], targets[:9]))
    before = inputs[::1000].clone()
    evaluator = TrainingEvaluator(dataclasses.replace(faulty, data=data), "cpu", workers=2)
    started = pids()
    list(evaluator.evaluate([Request(GOOD, seed, 1) for seed in range(2)]))
    mapped = [Path(f"/proc/{pid}/maps").read_text().count("memfd:marl-hpo-data") for pid in pids() - started]
    assert mapped == [2, 2]  # the inputs and the targets; what is small travels
    assert torch.equal(data.train[0][::1000], before)


def test_final_training_gives_the_network_that_its_trial_is_of(faulty):
    task = dataclasses.replace(faulty, recipe=dataclasses.replace(faulty.recipe, max_epochs=2))
    network, trial = TrainingEvaluator(task, "cpu").fit(GOOD)
    expected, here = task.fit(GOOD, "cpu")
    assert results([trial]) == results([here])
    assert all(torch.equal(value, expected.state_dict()[name]) for name, value in network.state_dict().items())
    network, trial = TrainingEvaluator(task, "cpu").fit(RAISES)
    assert (network, trial.status) == (None, "failed")


def test_final_training_that_is_cut_says_so_and_keeps_its_best_epoch(faulty):
    task = dataclasses.replace(faulty, recipe=dataclasses.replace(faulty.recipe, max_epochs=ENDLESS))
    network, trial = TrainingEvaluator(task, "cpu").fit(GOOD, seconds=0)
    assert network is not None
    assert trial.cut
    assert trial.reason == "Final training was cut short after 1 epochs: the run's time was over."


def test_rules_tasks_and_numeric_settings_are_the_same_where_a_design_is_trained(monkeypatch, faulty):
    plain = TrainingEvaluator(faulty, "cpu").fingerprint
    here = Surroundings.here()
    assert (Strange in here.rules, "mine" in here.tasks, here.settings) == (False, False, {})
    torch.set_float32_matmul_precision("medium")
    try:
        assert TrainingEvaluator(faulty, "cpu").fingerprint == f"{plain}-matmul=medium"
        register_rule(Strange, lambda *_: None)
        monkeypatch.setitem(registry._FACTORIES, "mine", lambda: faulty)
        process = Workers([partial(_look, Surroundings.here())], died)
        assert list(process.answers([0])) == [("medium", True, True)]
        process.close()
    finally:
        torch.set_float32_matmul_precision("highest")
        del rules._RULES[Strange]


def _look(surroundings):
    surroundings.apply()
    return lambda _: (
        torch.get_float32_matmul_precision(),
        any(kind.__name__ == "Strange" for kind in rules._RULES),
        "mine" in registry.tasks(),
    )


def test_there_are_no_more_processes_than_requests():
    before = pids()
    process = Workers([partial(_look, Surroundings.here())] * 50, died)
    assert len(list(process.answers([0, 1]))) == 2
    assert len(pids() - before) == 2
    process.close()


def died(request, death):
    raise AssertionError(death)


def test_an_original_is_timed_once_per_run_also_where_its_process_dies(faulty):
    task = dataclasses.replace(faulty, limits=Limits(batch_ratio=1000.0))
    evaluator = TrainingEvaluator(task, "cpu")
    list(evaluator.evaluate([Request(GOOD, 0, 1)]))
    measured = dict(evaluator._original_ms)
    assert list(measured) == ["cpu"]
    list(evaluator.evaluate([Request(KILLS, 0, 1), Request(GOOD, 1, 1)]))
    assert evaluator._original_ms == measured


def test_devices_are_named_with_commas_and_have_a_worker_each(faulty):
    for wrong in ("cpu,cpu", "cpu,meta"):
        with pytest.raises(InputError, match=r"not different ones of one kind|cannot be used"):
            TrainingEvaluator(faulty, wrong)
    if not torch.cuda.is_available():
        with pytest.raises(InputError, match="'cuda:0' cannot be used on this machine"):
            TrainingEvaluator(faulty, "cuda:0,cuda:1")


KILLED_WHILE_IT_STARTS = """
import os, signal, threading
from functools import partial
from multiprocessing import forkserver
from marl_hpo_env.training.workers import Workers

forkserver.ensure_running()
server = forkserver._forkserver._forkserver_pid
os.kill(server, signal.SIGSTOP)  # it takes what it is given, and does nothing
threading.Timer(0.5, os.kill, (server, signal.SIGKILL)).start()
print(list(Workers([partial(partial, pow, 2)], lambda request, death: death).answers([5])))
"""


def test_a_server_of_processes_that_is_killed_while_it_starts_one_is_replaced(tmp_path):
    said = subprocess.run(
        [sys.executable, "-c", KILLED_WHILE_IT_STARTS],
        check=False,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert said.stdout.strip() == "[32]", said.stderr
