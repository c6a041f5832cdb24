"""A search on shared weights from the command line: its best are trained, and found is the best of these."""

import csv
import re
from types import SimpleNamespace

import pytest

from agents import Episode, learner
from experiments.tuning import export
from experiments.tuning.evaluators import Machines
from experiments.tuning.limits import RunLimits
from experiments.tuning.overview import opened, write_overview
from experiments.tuning.session import play_both, prepare
from experiments.tuning.shared import Shared, play_shared, to_confirm
from marl_hpo_env import Request, Store, Trial

TUNE = ("tune", "--task", "digits-convnet", "--learner", "random", "--episodes", 6, "--device", "cpu", "--workers", 1)


def test_the_best_on_shared_weights_are_trained_and_the_run_goes_on(marl_hpo, tmp_path):
    arguments = (*TUNE, "--shared", "--shared-epochs", 1, "--confirm", 2, "--out", tmp_path)
    code, _, errors = marl_hpo(*arguments)
    assert code == 0, errors
    assert "Shared weights know no loss limit" in errors
    run = tmp_path / "random-shared-seed0"
    report = (run / "report.md").read_text()
    assert "- Shared weights: trained for 1 epochs" in report
    assert "- random on shared weights: 6 episodes, 6 distinct designs, as slices and not trained" in report
    assert "## Confirmed by training" in report
    searched, confirmed = (
        {tuple(line.values())[1:] for line in csv.DictReader((run / f"episodes-{name}.csv").open())}
        for name in ("random-on-shared-weights", "random")
    )
    assert len(searched) == 6
    assert 2 <= len(confirmed) <= 6
    assert (run / "network.safetensors").exists()
    store = Store(tmp_path / "trials.sqlite")
    trials = list(store.trials())
    on_slices = [trial for fingerprint, trial in trials if "-shared-" in fingerprint]
    assert len(on_slices) == 7  # with the original
    assert all(not trial.history and trial.metrics["train_loss"] is None for trial in on_slices)
    assert len([trial for _, trial in trials if trial.request.epochs == 4]) == len(confirmed) + 1
    store.close()
    (checkpoint,) = tmp_path.glob("*.safetensors")
    before = checkpoint.stat().st_mtime_ns
    assert marl_hpo(*arguments)[0] == 0
    assert checkpoint.stat().st_mtime_ns == before
    assert (run / "report.md").read_text().split("Measured by")[0] == report.split("Measured by")[0]


def test_what_does_not_go_with_shared_weights_is_refused(marl_hpo, tmp_path):
    for options, said in (
        (("--shared", "--baseline", "local-search"), "The option --baseline goes with trainings"),
        (("--shared", "--target", 1), "The option --target goes with trainings"),
        (("--shared", "--weight", "inference_ms_per_batch=1"), "which is not measured here"),
        (("--confirm", 2), "are for a search on shared weights; add --shared"),
    ):
        code, _, errors = marl_hpo(*TUNE, *options, "--out", tmp_path)
        assert code == 2
        assert said in " ".join(errors.split())


def test_of_designs_that_are_the_same_slice_one_is_trained(bright):
    """Two pairs of designs are the same network: the stride and the pool of a map of one pixel do nothing."""
    accuracies = {(0,): 0.9, (1,): 0.9, (2,): 0.8, (3,): 0.8, (4,): 0.7}
    sizes = {(0,): 3.0, (1,): 3.0, (2,): 2.0, (3,): 2.5, (4,): 4.0}
    trials = {
        design: Trial(
            Request(design, 0, 1),
            "completed",
            metrics={
                "validation_accuracy": accuracies[design],
                "model_size_mb": sizes[design],
                "seconds": float(design[0]),
            },
        )
        for design in accuracies
    }
    episodes = [Episode(design, accuracies[design], {}, False) for design in accuracies]
    tuning = SimpleNamespace(reward=bright.reward, task=bright)
    searched = SimpleNamespace(trials=trials, episodes=episodes)
    assert to_confirm(tuning, searched, 1) == [(0,), (2,)]  # the best, and what is smaller
    assert to_confirm(tuning, searched, 3) == [(0,), (2,), (3,)]
    assert to_confirm(tuning, searched, 9) == [(0,), (2,), (3,), (4,)]


# --- slices beside trainings -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(bright, tmp_path_factory):
    """All four designs trained in one run; in another two of them are slices, of which the best and the front are trained."""
    out = tmp_path_factory.mktemp("runs")
    tuning = prepare(bright, out, Machines("cpu", 1))
    play_both(tuning, "random", learner("random"), None, 0, RunLimits(4))
    play_shared(tuning, "random", learner("random"), Shared(1, 1), 0, RunLimits(4))
    tuning.folder.store.close()
    return out


def played(folder, label):
    """A learner's rewards in the shared run, by design."""
    lines = csv.DictReader((folder / "random-shared-seed0" / f"episodes-{label}.csv").open())
    return {line["0"]: float(line["reward"]) for line in lines}


def test_the_report_counts_what_is_confirmed_and_what_the_weights_cost(folder):
    report = (folder / "random-shared-seed0" / "report.md").read_text()
    count = len(played(folder, "random"))
    assert f"- random: {count} of these designs were then trained, the best and those on the front; found is" in report
    assert float(re.search(r"as many FLOPs as (\S+) epochs of the original", report)[1]) > 0


def test_rows_have_the_slices_own_trials_and_say_that_they_are_slices(folder):
    rows = list(export.rows(folder / "random-shared-seed0"))
    sizes = {row["training"]: row["model_size_mb"] for row in rows if row["design"] == "original"}
    for training, label in (("shared", "random-on-shared-weights"), ("search", "random")):
        of_kind = [row for row in rows if row["training"] == training and row["design"] != "original"]
        assert {row["design"]: row["reward"] for row in of_kind} == pytest.approx(played(folder, label))
        for row in of_kind:
            assert row["learner"].endswith("on shared weights") == (training == "shared")
            weighed = row["validation_accuracy"] - 0.2 * row["model_size_mb"] / sizes[training]
            assert row["reward"] == pytest.approx(weighed)
    assert not any(row["training"] == "shared" for row in export.rows(folder / "random-seed0"))


def test_the_dashboard_has_a_study_of_its_own_for_slices(folder):
    optuna = pytest.importorskip("optuna")
    from experiments.tuning.dashboard import Studies

    with opened(folder) as (_, store):
        studies = Studies(folder, store)
        studies.refresh()
        studies.refresh()
    names = [summary.study_name for summary in optuna.get_all_study_summaries(studies.storage)]
    run = "random-shared-seed0"
    assert sorted(names) == ["random-seed0", run, f"{run} on shared weights"]
    for name, label in ((run, "random"), (f"{run} on shared weights", "random-on-shared-weights")):
        trials = optuna.load_study(study_name=name, storage=studies.storage).trials
        assert {trial.user_attrs["design"]: trial.values[0] for trial in trials} == played(folder, label)
        for trial in trials:
            assert trial.values[1] == trial.user_attrs["validation_accuracy"]


def test_the_page_has_a_front_of_trained_designs_and_another_of_slices(folder):
    text = (folder / "random-shared-seed0" / "report.html").read_text()
    sections = {part.partition("</h2>")[0]: part for part in text.split("<h2>")}
    front = "Every design, and those that no other beats"
    for title, label in ((front, "random"), (f"{front}: slices of shared weights", "random-on-shared-weights")):
        tips = re.findall(r"data-tip='design (\d)\nreward (\S+)\n", sections[title])
        assert dict(tips) == {design: f"{reward:.4g}" for design, reward in played(folder, label).items()}
    assert f"{front}: slices of shared weights" not in (folder / "random-seed0" / "report.html").read_text()


def test_the_table_over_runs_says_whose_best_reward_is_a_slice_s(folder):
    with opened(folder) as (runs, store):
        (run,) = (run for run in runs if "shared" in run.path.name)
        rows = {row[0]: row for row in write_overview(folder, store)[1]}
        assert rows[run.path.name][6] == "ended"
        run.update(learners=["random on shared weights"], ended=None)
        rows = {row[0]: row for row in write_overview(folder, store)[1]}
        assert rows[run.path.name][6] == "so far, on slices"
        assert rows["random-seed0"][6] == "ended"
