"""What a GPU concerns; `make gpu` runs these. Without one they are skipped."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import nn

import marl_hpo_env
from marl_hpo_env import Request, Store, StoredEvaluator, TrainingEvaluator
from marl_hpo_env.trial import CLOCK_METRICS

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU"),
]

DESIGN = (3, 3, 3, 1, 2)


def train(device: str, design=DESIGN, epochs: int | None = 3):
    task = marl_hpo_env.task("digits-convnet")
    return task.trainer(torch.device(device)).train(Request(design, 0, epochs))


def test_the_same_trial_twice_agrees_but_for_the_last_digits():
    (_, first), (_, second) = train("cuda"), train("cuda")
    assert first.status == second.status == "completed"
    for name, value in first.metrics.items():
        if name not in CLOCK_METRICS and value is not None:
            assert second.metrics[name] == pytest.approx(value, rel=1e-3, abs=0.02), name


def test_cpu_and_gpu_agree_within_what_rounding_makes_of_three_epochs():
    task = marl_hpo_env.task("digits-convnet")  # a GPU draws other numbers, so both start from the same weights
    recipe = dataclasses.replace(task.recipe, initialization="inherit")
    task = dataclasses.replace(task, recipe=recipe, weights=task.model().state_dict())
    on_cpu, on_gpu = (task.trainer(torch.device(each)).train(Request(DESIGN, 0, 3))[1] for each in ("cpu", "cuda"))
    assert on_gpu.history[0]["train_loss"] == pytest.approx(on_cpu.history[0]["train_loss"], rel=0.05)
    assert on_gpu.metrics["test_accuracy"] == pytest.approx(on_cpu.metrics["test_accuracy"], abs=0.1)
    for name in ("parameters", "model_size_mb", "flops"):
        assert on_gpu.metrics[name] == on_cpu.metrics[name]


def test_bf16_learns_what_float32_does():
    task = marl_hpo_env.task("digits-convnet")
    task = dataclasses.replace(task, recipe=dataclasses.replace(task.recipe, precision="bf16"))
    network, trial = task.trainer(torch.device("cuda")).train(Request(DESIGN, 0, 3))
    exact = train("cuda")[1]
    assert {p.dtype for p in network.parameters()} == {torch.float32}
    assert trial.history != exact.history
    assert trial.metrics["test_accuracy"] == pytest.approx(exact.metrics["test_accuracy"], abs=0.1)


def test_a_network_comes_home_from_the_gpu(tmp_path):
    network, _ = train("cuda", epochs=1)
    marl_hpo_env.save_network(network, tmp_path / "network.safetensors")
    task = marl_hpo_env.task("digits-convnet")
    loaded = marl_hpo_env.load_network(tmp_path / "network.safetensors", task.model())
    x = torch.zeros(2, 1, 8, 8)
    torch.testing.assert_close(loaded(x), network.eval()(x.cuda()).cpu(), rtol=1e-3, atol=1e-3)


def test_peak_memory_is_that_of_the_design():
    # The larger without strides: small maps need less than weights add.
    (_, small), (_, large) = train("cuda", (0, 0, 0, 0, 0), 1), train("cuda", (3, 3, 3, 0, 2), 1)
    assert 0 < small.metrics["peak_memory_mb"] <= large.metrics["peak_memory_mb"]


def test_what_does_not_fit_into_memory_fails_and_the_next_design_is_trained():
    task = marl_hpo_env.task("digits-convnet")
    huge = dataclasses.replace(task, choices={nn.Linear: {"out_features": (16, 10**11)}})
    store = Store()
    evaluator = StoredEvaluator(TrainingEvaluator(huge, "cuda"), store)
    trained, failed = evaluator.evaluate([Request((1,), 0, 1), Request((0,), 0, 1)])  # tried again at the end
    assert (failed.status, failed.accidental) == ("failed", True)
    assert failed.reason.startswith("Out of memory: ")
    assert trained.status == "completed"
    assert [trial.design for _, trial in store.trials()] == [(0,)]


def test_times_are_of_the_device():
    _, trial = train("cuda", epochs=1)
    for name in ("train_ms_per_batch", "inference_ms_per_batch"):
        assert trial.metrics[name] > 0
