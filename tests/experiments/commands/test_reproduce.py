"""The command `marl-hpo reproduce`, as a user runs it."""

from __future__ import annotations

import csv
import re
from dataclasses import replace

import pytest

from experiments.reproduction import grounds
from experiments.reproduction.items import NAMES
from marl_hpo_env import TrainingEvaluator

FEW = ["--seeds", 2, "--episodes", 6]


def rows_of(folder, name):
    with (folder / f"{name}.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def written(folder, name):
    assert {path.name for path in folder.iterdir()} == {"report.md", f"{name}.png", f"{name}.csv"}
    assert (folder / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    report = (folder / "report.md").read_text()
    assert "**The paper (" in report
    assert "**Here.**" in report
    assert "**What differs.**" in report
    assert f"![{name}]({name}.png)" in report
    assert "this command " in report
    return report


def test_without_a_name_all_are_listed(marl_hpo, monkeypatch):
    monkeypatch.setenv("COLUMNS", "250")
    code, said, err = marl_hpo("reproduce")
    assert code == 0, err
    listed = [line.split()[0] for line in said.splitlines()[2:] if line.strip()]
    assert listed == list(NAMES)
    papers = ["table4", "table5", "table6", "table7", "fig3", "fig9", "fig10", "fig11", "fig12", "fig13", "overhead"]
    assert sorted(listed) == sorted(papers)


@pytest.mark.parametrize(("name", "runs"), [("fig11", 3 * 3 * 2), ("fig12", 4 * 2), ("fig13", 3 * 2), ("fig9", 2 * 6)])
def test_a_figure_from_a_table_is_there_in_seconds_and_plays_nothing_twice(marl_hpo, tmp_path, monkeypatch, name, runs):
    given = ["reproduce", name, "--task", "digits-convnet", *FEW, "--out", tmp_path]
    code, said, err = marl_hpo(*given)
    assert code == 0, err
    folder = tmp_path / f"reproduce-{name}-digits-convnet"
    report = written(folder, name)
    assert str(folder / "report.md") in said
    assert len(rows_of(folder, name)) == runs
    monkeypatch.setattr(grounds, "play", lambda *_, **__: pytest.fail("it was played again"))
    assert marl_hpo(*given)[0] == 0
    again = (folder / "report.md").read_text()
    assert again.rpartition("Measured by")[0] == report.rpartition("Measured by")[0]


def test_a_table_of_ones_own_is_named_by_its_path(marl_hpo, five, tmp_path):
    code, _, err = marl_hpo("reproduce", "fig9", "--task", five, "--seeds", 2, "--out", tmp_path)
    assert code == 0, err
    written(tmp_path / "reproduce-fig9-five", "fig9")


def test_tables_4_to_7_and_figure_10_ask_the_same_trainings(marl_hpo, tmp_path, monkeypatch):
    common = ["--seeds", 2, "--episodes", 3, "--max-epochs", 1, "--workers", 1, "--out", tmp_path]
    given = ["--task", "digits-convnet", "--learner", "local-search", *common]
    code, said, err = marl_hpo("reproduce", "table5", *given)
    assert code == 0, err
    folder = tmp_path / "reproduce-table5-digits-convnet"
    written(folder, "table5")
    rows = rows_of(folder, "table5")
    networks = ["original", "pairwise-q", "random", "local-search"]
    assert [row["network"] for row in rows] == 2 * networks
    assert [row["seed"] for row in rows] == 4 * ["0"] + 4 * ["1"]
    for row in rows:
        assert all(float(row[name]) > 0 for name in ("test_accuracy", "model_size_mb", "parameters"))
        assert all(float(row[name]) > 0 for name in ("train_ms_per_batch", "inference_ms_per_batch"))
        assert (row["design"] == "") == (row["network"] == "original")
        assert row["epochs"] == "1"
    assert {row["designs"] for row in rows if row["network"] == "random"} <= {"2", "3"}
    assert "points of accuracy" in said
    assert re.search(
        r"the run took \d+ s .* on (cpu|cuda) for \d+ trainings, this command", (folder / "report.md").read_text()
    )
    monkeypatch.setattr(TrainingEvaluator, "_done", lambda *_: pytest.fail("it was trained again"))
    for name in ("table4", "fig10", "table7"):
        code, said, err = marl_hpo("reproduce", name, *given)
        assert code == 0, err
        written(tmp_path / f"reproduce-{name}-digits-convnet", name)
        assert all(network in said for network in networks[1:] if name != "fig10" or network != "random")
    code, said, err = marl_hpo("reproduce", "table6", *common)
    assert code == 0, err
    (first, second) = rows_of(tmp_path / "reproduce-table6-digits-convnet", "table6")
    assert first["network"] == second["network"] == "pairwise-q"
    assert 0 < float(first["first_phase_seconds"]) <= float(first["search_seconds"])


def test_figure_3_shows_random_designs_and_where_choices_agree_the_same_on_both_tasks(marl_hpo, tmp_path):
    given = ["reproduce", "fig3", "--task", "digits-convnet", "--task", "digits-branches", "--episodes", 3]
    code, said, err = marl_hpo(*given, "--out", tmp_path)
    assert code == 0, err
    assert "no design is compared across them" in said
    folder = tmp_path / "reproduce-fig3-digits-convnet-digits-branches"
    written(folder, "fig3")
    rows = rows_of(folder, "fig3")
    assert [row["task"] for row in rows] == 3 * ["digits-convnet"] + 3 * ["digits-branches"]
    assert all(row["inference_ms_per_batch"] for row in rows if row["status"] == "completed")


def test_a_task_that_options_change_is_trained_though_it_has_a_table(marl_hpo, tmp_path):
    given = ["reproduce", "fig9", "--width", "1/2", "--seeds", 1, "--episodes", 2, "--workers", 1, "--out", tmp_path]
    code, _, err = marl_hpo(*given)
    assert code == 0, err
    assert (tmp_path / "reproduce-digits-convnet-1-2" / "trials.sqlite").exists()
    written(tmp_path / "reproduce-fig9-digits-convnet-1-2", "fig9")


def test_the_overhead_needs_no_data(marl_hpo, tmp_path):
    given = ["reproduce", "overhead", "--task", "vgg16-cifar10", *FEW, "--out", tmp_path]
    code, said, err = marl_hpo(*given)
    assert code == 0, err
    written(tmp_path / "reproduce-overhead-vgg16-cifar10", "overhead")
    row = rows_of(tmp_path / "reproduce-overhead-vgg16-cifar10", "overhead")[0]
    assert (row["tables"], row["cells"], row["exploration_episodes"]) == ("18", "3572", "4")
    assert "the paper has 2 ms" in said


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["fig99"], "There is no table or figure to reproduce, 'fig99'"),
        (["fig11", "--task", "digits-convnt"], "There is no task 'digits-convnt'; did you mean 'digits-convnet'"),
        (["fig11", "--task", "nowhere.npz"], "The table 'nowhere.npz' cannot be read"),
        (
            ["fig11", "--task", "digits-convnet", "--task", "digits-branches"],
            "There are 2 tasks, and fig11 is of one task",
        ),
        (["fig3", "--task", "digits-convnet", "--task", "digits-convnet"], "name each once"),
        (["fig11", "--learner", "local-search"], "fig11 takes none"),
        (["table5", "--learner", "randm"], "There is no learner 'randm'"),
        (["table5", "--learner", "random"], "pairwise-q and random play anyway"),
        (["table5", "--task", "vgg16-cifar10"], "needs its data"),
        (["fig11", "--task", "vgg16-cifar10"], "needs its data"),
        (["table5", "--images", "none.npz"], "brings its own data; leave out --images"),
        (["table5", "--examples", "5"], "--examples"),
        (["table5", "--width", "3/4"], "The width '3/4' is not one over a whole number"),
    ],
)
def test_bad_input_is_one_sentence_and_nothing_is_written(marl_hpo, tmp_path, arguments, sentence):
    code, _, err = marl_hpo("reproduce", *arguments, "--out", tmp_path / "out")
    assert code == 2
    (last,) = err.strip().splitlines()
    assert last.startswith("marl-hpo: ")
    assert sentence in last
    assert not (tmp_path / "out").exists()


def test_a_table_without_test_accuracies_is_refused(marl_hpo, save_five, tmp_path):
    def untested(trial):
        return replace(trial, metrics={name: value for name, value in trial.metrics.items() if name != "test_accuracy"})

    code, _, err = marl_hpo("reproduce", "fig11", "--task", save_five(tmp_path, untested), "--out", tmp_path / "out")
    assert code == 2
    assert "has no 'test_accuracy'" in err
    assert not (tmp_path / "out").exists()


def test_a_folder_that_cannot_be_made_is_one_sentence(marl_hpo, tmp_path):
    (tmp_path / "file").write_text("")
    code, _, err = marl_hpo("reproduce", "fig9", *FEW, "--out", tmp_path / "file")
    assert code == 2
    assert "choose another --out" in err
