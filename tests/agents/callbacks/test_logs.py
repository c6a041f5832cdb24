"""What the three logs hold after a play, read back by their own packages."""

from __future__ import annotations

import importlib.util
import math
from pathlib import Path

import pytest

from agents import RandomSearch, play
from agents.callbacks import MLflow, TensorBoard, WeightsAndBiases
from agents.callbacks.figures import Figures, best_design
from agents.protocol import Episode
from marl_hpo_env import InputError, Request, Trial, env

PLAYED = 6


def played(callback):
    return play(env("digits-convnet", evaluator="table"), RandomSearch(), PLAYED, callbacks=[callback])


def best_so_far(episodes):
    return [max(e.reward for e in episodes[: i + 1]) for i in range(len(episodes))]


def test_figures_are_numbered_from_one_with_the_best_so_far_and_what_was_measured():
    figures = Figures()
    trials = [Trial(Request((n,), 0, 1), "completed", metrics={"flops": 2.0 * n, "seconds": None}) for n in (1, 2)]
    told = [
        figures.of(Episode((0,), reward, {}, False), trial) for reward, trial in zip((3.0, 1.0), trials, strict=True)
    ]
    assert told == [
        (1, {"reward": 3.0, "best_reward": 3.0, "metrics/flops": 2.0}),
        (2, {"reward": 1.0, "best_reward": 3.0, "metrics/flops": 4.0}),
    ]


def test_the_best_design_is_one_that_completed():
    episodes = [Episode((0, 1), 1.0, {}, False), Episode((2, 0), 9.0, {}, True), Episode((1, 1), 2.0, {}, False)]
    assert best_design(episodes) == "1,1"
    assert best_design(episodes[1:2]) is None
    assert best_design([]) is None


def test_tensorboard_has_a_curve_for_every_figure(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    episodes = played(TensorBoard(tmp_path))
    written = EventAccumulator(str(tmp_path))
    written.Reload()
    for name, values in (("reward", [e.reward for e in episodes]), ("best_reward", best_so_far(episodes))):
        scalars = written.Scalars(name)
        assert [scalar.step for scalar in scalars] == [*range(1, PLAYED + 1)]
        assert [scalar.value for scalar in scalars] == pytest.approx(values)
    assert "metrics/validation_accuracy" in written.Tags()["scalars"]
    text = written.Tensors("best_design/text_summary")[0].tensor_proto.string_val[0].decode()
    assert text == best_design(episodes)


def test_a_play_that_is_repeated_takes_the_place_of_the_one_before_in_tensorboard(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    for _ in range(2):
        played(TensorBoard(tmp_path))
    written = EventAccumulator(str(tmp_path))
    written.Reload()
    assert len(written.Scalars("reward")) == PLAYED


def test_mlflow_has_every_figure_by_episode(tmp_path, monkeypatch):
    pytest.importorskip("mlflow")
    folder = (tmp_path / "mlruns").as_uri()  # a database takes seconds to be made
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", folder)
    from mlflow import MlflowClient

    episodes = played(MLflow("digits", "random, seed 0", {"task": "digits-convnet"}))
    client = MlflowClient(folder)
    (run,) = client.search_runs([client.get_experiment_by_name("digits").experiment_id])
    assert (run.info.run_name, run.info.status) == ("random, seed 0", "FINISHED")
    assert run.data.params == {"task": "digits-convnet"}
    assert run.data.tags["best_design"] == best_design(episodes)
    history = client.get_metric_history(run.info.run_id, "best_reward")
    assert [metric.step for metric in history] == [*range(1, PLAYED + 1)]
    assert [metric.value for metric in history] == pytest.approx(best_so_far(episodes))
    assert math.isfinite(run.data.metrics["metrics/validation_accuracy"])
    played(MLflow("digits", "again"))  # in the same experiment
    assert len(client.search_runs([run.info.experiment_id])) == 2


def test_weights_and_biases_writes_offline(tmp_path, monkeypatch, capfd):
    pytest.importorskip("wandb")
    monkeypatch.chdir(tmp_path)
    episodes = played(WeightsAndBiases("digits", "random", {"seed": 0}, mode="offline", dir=str(tmp_path)))
    (folder,) = tmp_path.glob("wandb/offline-run-*")
    (file,) = folder.glob("*.wandb")
    assert file.stat().st_size > 0
    said = dict(line.split()[1:3] for line in capfd.readouterr().err.split("Run summary:")[1].splitlines()[1:4])
    assert said["best_design"] == best_design(episodes)
    assert float(said["best_reward"]) == pytest.approx(best_so_far(episodes)[-1], abs=1e-4)


@pytest.mark.parametrize(
    ("package", "make"),
    [
        ("tensorboard", lambda: TensorBoard("logs")),
        ("mlflow", lambda: MLflow("a", "b")),
        ("wandb", lambda: WeightsAndBiases("a", "b")),
    ],
)
def test_a_package_that_is_not_installed_is_a_sentence(package, make, monkeypatch, tmp_path):
    find = importlib.util.find_spec
    monkeypatch.setattr("agents.callbacks.figures.find_spec", lambda name: None if name == package else find(name))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=rf"needs the package '{package}'.*marl-hpo-env\[{package}\]"):
        make()
    assert not list(Path().iterdir())


def test_a_folder_of_logs_is_no_package(monkeypatch, tmp_path):
    (tmp_path / "wandb").mkdir()
    monkeypatch.setattr("sys.path", [str(tmp_path)])
    monkeypatch.delitem(__import__("sys").modules, "wandb", raising=False)
    with pytest.raises(InputError, match="'wandb'"):
        WeightsAndBiases("a", "b")
