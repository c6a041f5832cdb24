"""What a run writes for TensorBoard, MLflow and Weights & Biases."""

from __future__ import annotations

import pytest

from agents import learner
from experiments.tuning.evaluators import Machines
from experiments.tuning.limits import RunLimits
from experiments.tuning.logs import logs
from experiments.tuning.session import play_both, prepare


def tuned(task, out, told):
    tuning = prepare(task, out, Machines("cpu", 1), logs=told)
    play_both(tuning, "random", learner("random"), "local-search", 0, RunLimits(2))
    tuning.folder.store.close()


def test_each_play_of_a_run_has_curves_of_its_own_in_tensorboard(bright, tmp_path):
    pytest.importorskip("tensorboard")
    tuned(bright, tmp_path, logs(tensorboard=True, mlflow=False, wandb=False))
    written = {path.parent.name for path in (tmp_path / "random-seed0" / "tensorboard").glob("*/events*")}
    assert {"random", "local-search"} <= written


def test_each_play_of_a_run_is_one_in_mlflow_and_in_weights_and_biases(bright, tmp_path, monkeypatch):
    pytest.importorskip("mlflow")
    pytest.importorskip("wandb")
    from mlflow import MlflowClient

    place = (tmp_path / "mlruns").as_uri()
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", place)
    monkeypatch.setenv("WANDB_MODE", "offline")
    tuned(bright, tmp_path / "runs", logs(tensorboard=False, mlflow=True, wandb=True))
    client = MlflowClient(place)
    runs = client.search_runs([client.get_experiment_by_name("bright").experiment_id])
    assert {run.info.run_name for run in runs} == {"random-seed0, random", "random-seed0, local-search"}
    assert {run.data.params["seed"] for run in runs} == {"0"}
    assert all(run.info.status == "FINISHED" for run in runs)
    assert len(list((tmp_path / "runs" / "random-seed0" / "wandb").glob("offline-run-*/*.wandb"))) == 2


@pytest.mark.parametrize("package", ["tensorboard", "mlflow", "wandb"])
def test_a_package_that_is_not_there_is_a_sentence_before_anything_is_written(package, marl_hpo, monkeypatch, tmp_path):
    monkeypatch.setattr("agents.callbacks.figures.find_spec", lambda name: None)
    code, _, errors = marl_hpo("tune", "--task", "digits-convnet", f"--{package}", "--out", tmp_path / "run")
    assert code == 2
    assert f"marl-hpo-env[{package}]" in errors
    assert not (tmp_path / "run").exists()
