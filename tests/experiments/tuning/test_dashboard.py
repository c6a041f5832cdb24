"""Runs in Optuna's dashboard: what its storage holds, that it is filled while a run goes on, and that a browser shows it."""

from __future__ import annotations

import json
import shutil
import subprocess
import threading
from urllib.request import urlopen

import pytest

from agents import Callback, learner
from agents.episodes_file import read_episodes
from experiments.tuning.evaluators import Machines
from experiments.tuning.limits import RunLimits
from experiments.tuning.overview import opened
from experiments.tuning.run import Run
from experiments.tuning.session import play_both, prepare
from marl_hpo_env import WeightedReward

optuna = pytest.importorskip("optuna")
pytest.importorskip("optuna_dashboard")

from experiments.tuning.dashboard import Studies, server  # noqa: E402  # needs both

BOUND = "model_size_mb <= 0.0001"
REWARD = WeightedReward({"validation_accuracy": 1, "model_size_mb / original": 0.2}, [BOUND])
NAMES = ["reward", "validation_accuracy", "model_size_mb / original", "model_size_mb"]


def tuned(task, out, seed=0, logs=(), episodes=4):
    tuning = prepare(task, out, Machines("cpu", 1), REWARD, logs=logs)
    try:
        play_both(tuning, "random", learner("random"), None, seed, RunLimits(episodes))
    finally:
        tuning.folder.store.close()


@pytest.fixture(scope="module")
def runs(bright, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    tuned(bright, folder)
    return folder


def studies(folder):
    with opened(folder) as (_, store):
        made = Studies(folder, store)
        made.refresh()
        made.refresh()  # nothing is added twice
    return {study.study_name: study for study in optuna.get_all_study_summaries(made.storage)}, made.storage


def test_the_storage_holds_every_design_of_a_run(runs, bright):
    summaries, storage = studies(runs)
    assert list(summaries) == ["random-seed0"]
    study = optuna.load_study(study_name="random-seed0", storage=storage)
    assert study.metric_names == NAMES
    assert [direction.name for direction in study.directions] == ["MAXIMIZE", "MAXIMIZE", "MINIMIZE", "MINIMIZE"]
    assert study.user_attrs["reward"] == str(REWARD)
    lines = {line.design(1): line for line in read_episodes(Run(runs / "random-seed0").episodes("random"))}
    assert len(study.trials) == len(lines) == 4
    space = bright.space
    for trial in study.trials:
        design = tuple(map(int, trial.user_attrs["design"].split(",")))
        line, chosen = lines[design], space.hyperparameters(design)
        assert trial.state.name == "COMPLETE"
        assert trial.values == [line.reward, *line.objectives(1).values()]
        values = chosen[space.names[0]]
        assert trial.params["0 kernels"] == values["out_channels"]
        assert trial.params["0 size"] == values["kernel_size"]
        assert trial.distributions["0 kernels"].choices == (2, 4)
        assert trial.user_attrs["flops"] > 0
        assert trial.duration.total_seconds() == pytest.approx(trial.user_attrs["seconds"], abs=1e-3)
        assert list(trial.intermediate_values) == [1]
        # Broken exactly where the penalty was paid.
        (excess,) = trial.system_attrs["constraints"]
        assert excess == pytest.approx(line.objectives(1)["model_size_mb"] - 0.0001)
        assert (excess > 0) == (line.reward == REWARD.penalty)
    assert {trial.system_attrs["constraints"][0] > 0 for trial in study.trials} == {True, False}


def test_one_run_and_a_folder_of_an_earlier_version_are_shown_too(runs, tmp_path):
    folder = shutil.copytree(runs, tmp_path / "runs")
    run = Run(folder / "random-seed0")
    run.trials("random").unlink()
    for name in ("directions", "constraints"):
        del run.settings[name]
    run.update()
    summaries, storage = studies(folder / "random-seed0")
    (trials,) = (storage.get_all_trials(summary._study_id) for summary in summaries.values())
    assert len(trials) == 4


def test_trials_arrive_while_the_run_goes_on(bright, tmp_path):
    seen = []

    class Looking(Callback):
        """Looks at the dashboard's storage whenever a trial has ended, in the midst of a batch."""

        def __init__(self, run, label):
            self.store = opened(run.path)
            _, store = self.store.__enter__()
            self.studies = Studies(run.path, store)

        def on_trial(self, trial):
            self.studies.refresh()
            (study,) = self.studies.storage.get_all_studies()
            trials = self.studies.storage.get_all_trials(study._study_id)
            seen.append((len(trials), trials[-1].user_attrs["design"] == ",".join(map(str, trial.design))))

        def on_end(self, episodes):
            self.store.__exit__(None, None, None)

    tuned(bright, tmp_path, logs=[Looking])
    assert seen == [(1, True), (2, True), (3, True), (4, True)]  # one batch of eight


@pytest.fixture
def served(runs):
    with server(runs, 0) as pages:
        thread = threading.Thread(target=pages.serve_forever, daemon=True)
        thread.start()
        yield f"http://localhost:{pages.server_port}"
        pages.shutdown()
        thread.join()


def test_the_dashboard_serves_the_studies(served):
    with urlopen(f"{served}/api/studies") as answer:
        (study,) = json.load(answer)["study_summaries"]
    assert study["study_name"] == "random-seed0"
    with urlopen(f"{served}/api/studies/{study['study_id']}?after=0") as answer:
        told = json.load(answer)
    assert len(told["trials"]) == 4
    assert told["objective_names"] == NAMES


def test_a_browser_shows_the_trials(served, tmp_path):
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("there is no Chromium on this machine")
    flags = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        f"--user-data-dir={tmp_path}",
        "--virtual-time-budget=20000",
    ]
    page = subprocess.run(
        [browser, *flags, "--dump-dom", f"{served}/dashboard/studies/0/trials"],
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    ).stdout
    for shown in ("random-seed0", "0 kernels", "Trial 3"):
        assert shown in page


def test_bad_input_is_a_sentence(marl_hpo, runs, tmp_path, served, monkeypatch):
    port = served.rpartition(":")[2]
    for arguments, words in (
        ([tmp_path], ["holds no run"]),
        ([runs, "--port", port], [f"port {port}", "--port"]),
    ):
        code, _, errors = marl_hpo("dashboard", *arguments)
        assert code == 2
        for word in words:
            assert word in errors
    monkeypatch.setattr("agents.callbacks.figures.find_spec", lambda name: None)
    code, _, errors = marl_hpo("dashboard", runs)
    assert code == 2
    assert "marl-hpo-env[dashboard]" in errors
