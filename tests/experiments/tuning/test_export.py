"""A run's trials as rows for other programs."""

from __future__ import annotations

import csv

import pytest

from agents import learner
from experiments.tuning import export
from experiments.tuning.evaluators import Machines
from experiments.tuning.limits import RunLimits
from experiments.tuning.session import play_both, prepare
from marl_hpo_env import InputError, Store


@pytest.fixture(scope="module")
def folder(bright, tmp_path_factory):
    """Two runs, of three designs and of all four."""
    out = tmp_path_factory.mktemp("runs")
    for seed, episodes in ((0, 3), (1, 4)):
        tuning = prepare(bright, out, Machines("cpu", 1))
        play_both(tuning, "random", learner("random"), None, seed, RunLimits(episodes))
        tuning.folder.store.close()
    return out


def test_report_writes_a_row_per_trial_with_a_column_per_hyperparameter(folder, marl_hpo, tmp_path):
    code, out, err = marl_hpo("report", folder / "random-seed0", "--csv", tmp_path / "trials.csv")
    assert code == 0, err
    with (tmp_path / "trials.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert f"{len(rows)} trials: {tmp_path / 'trials.csv'}" in out
    assert {row["run"] for row in rows} == {"random-seed0"}
    searched = [row for row in rows if row["training"] == "search" and row["design"] != "original"]
    assert len(searched) == 3
    store = Store(folder / "trials.sqlite")
    sizes = {trial.design: trial.metrics["model_size_mb"] for _, trial in store.trials()}
    store.close()
    for row in searched:
        # Of two numbers of kernels and two sizes the kernels change first.
        design = int(row["design"])
        assert (row["0 kernels"], row["0 size"]) == (["2", "4", "2", "4"][design], ["1", "1", "3", "3"][design])
        assert float(row["model_size_mb"]) == sizes[design,]
        assert float(row["reward"]) == pytest.approx(
            float(row["validation_accuracy"]) - 0.2 * sizes[design,] / sizes[None]
        )
    originals = [row for row in rows if row["design"] == "original"]
    assert [row["training"] for row in originals] == ["search", "final"]
    assert all(row["0 kernels"] == row["learner"] == row["reward"] == "" for row in originals)
    assert [row["reward"] for row in rows if row["training"] == "final"] == ["", ""]


def test_a_folder_s_runs_stand_behind_each_other(folder):
    counts = {}
    for row in export.rows(folder):
        key = row["run"], row["training"]
        counts[key] = counts.get(key, 0) + 1
    assert counts["random-seed0", "search"] == 1 + 3
    assert counts["random-seed1", "search"] == 1 + 4


def test_pandas_is_asked_for_where_it_is_missing_and_gets_the_rows_where_it_is_there(folder, monkeypatch):
    monkeypatch.setattr(export.importlib, "import_module", lambda name: __import__("no_such_module"))
    with pytest.raises(InputError, match="needs the package 'pandas'; install it, or write a file"):
        export.data_frame(folder)
    monkeypatch.undo()
    pytest.importorskip("pandas")
    frame = export.data_frame(folder)
    assert len(frame) == len(list(export.rows(folder)))
    assert frame["0 kernels"].dropna().isin([2, 4]).all()


def test_where_there_is_no_run_it_is_one_sentence(marl_hpo, tmp_path):
    code, _, err = marl_hpo("report", tmp_path, "--csv", tmp_path / "trials.csv")
    assert (code, "holds no run" in err) == (2, True)
    assert not (tmp_path / "trials.csv").exists()
