"""Runs that end when told, that begin with known designs, and that share a folder."""

from __future__ import annotations

import json
import warnings
from dataclasses import replace

import pytest

from agents import learner
from agents.playing import episode_of
from agents.prior import sources
from experiments.command_line import Stopped
from experiments.tuning.evaluators import Machines
from experiments.tuning.limits import RunLimits
from experiments.tuning.overview import report_of
from experiments.tuning.run import Run
from experiments.tuning.session import play_both, prepare
from marl_hpo_env import InputError, Store, StoredEvaluator, TrainingEvaluator, WeightedReward, env


def tuned(task, out, limits=None, name="random", seed=0, baseline=None, start=(), reward=None):
    tuning = prepare(task, out, Machines("cpu", 1), reward)
    try:
        play_both(tuning, name, learner(name), baseline, seed, limits or RunLimits(3), start)
    finally:
        tuning.folder.store.close()


def report(out, run="random-seed0"):
    return (out / run / "report.md").read_text()


def test_the_report_says_which_limit_ended_the_search(bright, tmp_path):
    for limits, said in (
        (RunLimits(2), "2 episodes were played"),
        (RunLimits(evaluations=2), "2 distinct designs were evaluated"),
        (RunLimits(target=-100), "the target reward of -100 was reached"),
        (RunLimits(hours=1e-9), "its time was over"),
        (RunLimits(), "the learner was finished"),  # all four designs
    ):
        tuned(bright, tmp_path, limits)
        assert f"- random: the search ended, since {said}." in report(tmp_path)
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == ["random-seed0"]


def test_a_run_says_what_a_prior_reads(bright, tmp_path):
    reward = WeightedReward({"validation_accuracy": 1, "parameters / original": 0.1}, ["parameters <= 30"])
    tuned(bright, tmp_path / "bright", RunLimits(), baseline="local-search", reward=reward)
    (source,) = sources(f"{tmp_path}/*")
    assert (source.task, source.space) == ("bright", bright.space)
    assert len(source.episodes) == 4
    evaluator = StoredEvaluator(TrainingEvaluator(bright, "cpu"), Store(tmp_path / "bright" / "trials.sqlite"))
    game = env(bright, evaluator=evaluator, reward=reward).unwrapped
    for each in source.episodes:
        (trial,) = game.evaluate([each.design])
        assert episode_of(game, trial) == each
    assert {each.broken for each in source.episodes} == {True, False}


def test_a_run_that_goes_on_says_where_its_prior_has_changed(bright, tmp_path):
    other = replace(bright, name="other")
    tuned(other, tmp_path / "other", RunLimits(1))

    def play():
        tuned(bright, tmp_path / "bright", RunLimits(1), name=f"coordination-graph(prior={tmp_path}/*)")

    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        play()
        play()  # its own run is a source, too, that is left out
    assert not any("have changed" in str(each.message) for each in said)
    tuned(other, tmp_path / "other", RunLimits(2))
    with pytest.warns(UserWarning, match="The sources of the prior of 'coordination-graph.* have changed"):
        play()


def test_a_final_training_that_was_cut_is_said_and_trained_again_with_more_time(bright, tmp_path):
    patient = replace(bright, recipe=replace(bright.recipe, patience=40, max_epochs=40))
    tuned(patient, tmp_path, RunLimits(2, hours=1e-9))
    text = report(tmp_path)
    assert "- original: Final training was cut short after 1 epochs" in text
    assert "- random: Final training was cut short after 1 epochs" in text
    assert "| 1 |" in text.split("| random |")[1].splitlines()[0]
    tuned(patient, tmp_path, RunLimits(2))
    assert "cut short" not in report(tmp_path)
    whole = json.loads((tmp_path / "random-seed0" / "settings.json").read_text())["network"]
    assert whole["cut"] is False
    # With little time what is stored is taken, not cut.
    network = (tmp_path / "random-seed0" / "network.safetensors").read_bytes()
    tuned(patient, tmp_path, RunLimits(2, hours=1e-9))
    assert "cut short" not in report(tmp_path).replace("its time was over", "")
    assert (tmp_path / "random-seed0" / "network.safetensors").read_bytes() == network


def test_known_designs_are_the_first_episodes_and_part_of_the_run_s_identity(bright, tmp_path):
    original = bright.network.original_design
    tuned(bright, tmp_path, start=[(2,), original])
    lines = (tmp_path / "random-seed0" / "episodes-random.csv").read_text().splitlines()
    assert [int(line.rpartition(",")[2]) for line in lines[1:3]] == [2, original[0]]
    assert len(lines) == 1 + 3
    tuned(bright, tmp_path)
    tuned(bright, tmp_path, start=[(2,), original])
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_dir()) == ["random-seed0", "random-seed0-2"]


def test_runs_of_a_folder_share_trials_and_have_a_row_each(bright, tmp_path, monkeypatch):
    tuned(bright, tmp_path, RunLimits(4))
    monkeypatch.setattr(TrainingEvaluator, "evaluate", lambda *_: pytest.fail("It is stored."))
    tuned(bright, tmp_path, RunLimits(4), seed=1)
    tuned(bright, tmp_path, RunLimits(4), name="local-search")
    tuned(bright, tmp_path, RunLimits(4), reward=WeightedReward({"validation_accuracy": 1}))
    text = (tmp_path / "report.md").read_text()
    assert text.startswith("# bright\n\n## Runs\n")
    rows = [[cell.strip() for cell in line.split("|")[1:8]] for line in text.splitlines()[6:]]
    assert [row[:5] for row in rows] == [
        ["original", "-", "-", "-", "-"],
        ["local-search-seed0", "local-search", "0", "4", "4"],
        ["random-seed0", "random", "0", "4", "4"],
        ["random-seed0-2", "random", "0", "4", "4"],
        ["random-seed1", "random", "1", "4", "4"],
    ]
    assert {row[6] for row in rows[1:]} == {"ended"}


def test_a_learner_and_its_baseline_of_one_name_keep_their_settings(bright, tmp_path):
    names = "pairwise-q(exploration_episodes=2,max_exploitation_episodes=0)", "pairwise-q(exploration_episodes=3)"
    tuned(bright, tmp_path, name=names[0], baseline=names[1])
    text = report(tmp_path, "pairwise-q-seed0")
    for name in names:
        assert f"- {name}: best reward" in text
    assert len(list((tmp_path / "pairwise-q-seed0").glob("episodes-*.csv"))) == 2


# --- stopped -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def stopped(bright, tmp_path, monkeypatch):
    """A run that was stopped when final training began."""

    def stop(*_):
        raise Stopped

    with monkeypatch.context() as patch:
        patch.setattr(TrainingEvaluator, "fit", stop)
        with pytest.raises(Stopped):
            tuned(bright, tmp_path, RunLimits(3))
    return tmp_path


def test_a_run_that_is_stopped_leaves_a_report_and_its_row(stopped):
    text = report(stopped)
    assert text.startswith("# bright: so far\n")
    assert "(3 episodes, 3 distinct designs so far)" in text
    assert "## Layer by layer" in text
    assert "The best network so far is not trained yet" in text
    page = (stopped / "random-seed0" / "report.html").read_text()
    assert "The best network so far is not trained yet" in page
    assert page.count("data-tip='design ") == 3
    assert "| random-seed0 | random | 0 | 3 | 3 |" in (stopped / "report.md").read_text()


def test_a_report_needs_no_task_and_changes_no_trial(stopped, monkeypatch, capsys):
    before = (stopped / "trials.sqlite").read_bytes()
    (stopped / "random-seed0" / "report.md").unlink()
    monkeypatch.setattr("marl_hpo_env.Task.network", property(lambda _: pytest.fail("No task is needed.")))
    report_of(stopped)
    shown = capsys.readouterr().out
    assert "random: best reward" in shown
    assert report(stopped).startswith("# bright: so far\n")
    assert (stopped / "trials.sqlite").read_bytes() == before
    report_of(stopped / "random-seed0")
    assert capsys.readouterr().out == shown


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("space", value) for value in (None, 3, [3], "x", [])),
        *(("learners", value) for value in (None, 3, [3], [[]])),
        *(("original", value) for value in (None, 3, {"0": 3})),
        *(("identity", value) for value in ({"seed": 0}, {"seed": 0, "fingerprint": []})),
    ],
)
def test_settings_that_say_what_cannot_be_are_one_sentence(stopped, refused, name, value):
    run = Run(stopped / "random-seed0")
    run.update(**{name: value})
    with refused():
        report_of(stopped)


def test_a_run_that_has_ended_keeps_its_report_and_shows_it(bright, stopped, capsys):
    tuned(bright, stopped, RunLimits(3))
    text = report(stopped)
    assert "so far" not in text
    capsys.readouterr()
    report_of(stopped)
    assert text in capsys.readouterr().out
    assert report(stopped) == text


def test_of_several_runs_the_table_is_shown_and_how_to_see_one(bright, stopped, capsys):
    tuned(bright, stopped, RunLimits(3), seed=1)
    capsys.readouterr()
    report_of(stopped)
    shown = capsys.readouterr().out
    assert "Layer by layer" not in shown
    assert f"One of them: marl-hpo report {stopped / 'random-seed0'}" in shown


def test_an_original_that_takes_too_long_leaves_a_report_beside_its_sentence(bright, tmp_path, monkeypatch):
    def too_long(self, design, seconds):
        network, trial = fit(self, design, seconds)
        return network, replace(trial, status="failed", reason="It took longer than 3 s.")

    fit = TrainingEvaluator.fit
    monkeypatch.setattr(TrainingEvaluator, "fit", too_long)
    with pytest.raises(InputError, match=r"The original network cannot be trained: It took longer than 3 s\."):
        tuned(bright, tmp_path)
    assert report(tmp_path).startswith("# bright: so far\n")


# --- folders of an earlier version -----------------------------------------------------------------------------------------


def test_a_folder_of_an_earlier_version_is_read_as_one_run_and_its_report_is_kept(bright, tmp_path, capsys):
    tuned(bright, tmp_path, RunLimits(3))
    for name in ("report.md", "episodes-random.csv", "network.safetensors"):
        (tmp_path / "random-seed0" / name).replace(tmp_path / name)  # where they were
    for path in (tmp_path / "random-seed0").iterdir():
        path.unlink()
    (tmp_path / "random-seed0").rmdir()
    before = (tmp_path / "report.md").read_text()
    capsys.readouterr()
    report_of(tmp_path)
    said = capsys.readouterr()
    assert "The report of an earlier version is kept as" in said.err
    assert (tmp_path / "report-before.md").read_text() == before
    assert "| (of before) | random | - | 3 | 3 |" in (tmp_path / "report.md").read_text()
    tuned(bright, tmp_path, RunLimits(3), seed=1)
    rows = (tmp_path / "report.md").read_text()
    assert "| (of before) |" in rows
    assert "| random-seed1 |" in rows
    assert (tmp_path / "report-before.md").read_text() == before


def test_a_folder_without_a_run_is_refused_and_left_as_it_is(tmp_path):
    for folder in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(InputError, match="holds no run; name the one that `marl-hpo tune` named"):
            report_of(folder)
    assert list(tmp_path.iterdir()) == []
