"""The suites of the package, and that the committed results are theirs."""

from __future__ import annotations

import csv
from importlib.resources import files

import pytest

from agents import learner
from experiments.comparison.contest import Contest, _read, code_of
from experiments.comparison.suite import suite, suites
from experiments.pages.results import RESULTS

FILES = {"nas-bench-macro_cifar10.json": "nas-bench-macro", "Results_ResNet.json": "channel-bench-macro"}

COMMITTED = sorted(folder.name.removeprefix("compare-") for folder in RESULTS.glob("compare-*"))


WITH_RUNS = [name for name in COMMITTED if (RESULTS / f"compare-{name}" / "runs.jsonl").exists()]


def test_there_is_a_suite_for_every_committed_comparison():
    assert len(suites()) == 17
    assert set(COMMITTED) == set(suites())


@pytest.mark.parametrize("name", suites())
def test_a_suite_is_in_the_package_and_begins_with_the_question_that_it_answers(name):
    first = files("experiments.suites").joinpath(f"{name}.toml").read_text().splitlines()[0]
    assert first.startswith("# ")
    assert first.endswith("?")


@pytest.mark.parametrize("name", suites())
def test_the_learners_of_a_suite_can_be_made(name):
    for each in suite(name).learners:
        if each in ("nevergrad", "smac"):
            pytest.importorskip(each)
        learner(each)


@pytest.mark.parametrize("name", [name for name in COMMITTED if not suite(name).trained])
def test_the_committed_results_are_those_of_the_suite(name):
    with (RESULTS / f"compare-{name}" / "runs.csv").open() as file:
        rows = list(csv.DictReader(file))
    settings = suite(name)
    tables = [FILES.get(task, task) for task in settings.tasks]
    assert [(row["task"], row["learner"], int(row["seed"])) for row in rows] == [
        (table, each, seed) for table in tables for each in settings.learners for seed in range(settings.seeds)
    ]
    assert f"regret_{settings.episodes}" in rows[0]
    assert f"regret_{2 * settings.episodes}" not in rows[0]
    report = (RESULTS / f"compare-{name}" / "report.md").read_text()
    rewarded = " - ".join(f"{weight:.4g} {metric}" for metric, weight in settings.weights.items())
    assert not settings.weights or f"regret in hundredths of {rewarded}; " in report


def test_runs_are_committed():
    assert {"accuracy", "two-objectives", "synthetic"} <= set(WITH_RUNS)


@pytest.mark.parametrize("name", WITH_RUNS)
def test_the_committed_runs_are_those_of_the_report(name):
    lines = (RESULTS / f"compare-{name}" / "runs.jsonl").read_text().splitlines()
    runs = {run.contest: run for run, _ in map(_read, lines)}
    settings = suite(name)
    paths = {FILES.get(task, task): task for task in settings.tasks}
    with (RESULTS / f"compare-{name}" / "runs.csv").open() as file:
        for row in csv.DictReader(file):
            weights = tuple(settings.weights.items())
            run = runs[Contest(row["learner"], paths[row["task"]], weights, (), int(row["seed"]), settings.episodes)]
            assert (len(set(run.numbers)), len(run.designs)) == (int(row["distinct"]), int(row["episodes"]))
            assert run.played_with == row["played_with"]


def test_the_learner_of_our_own_is_reported_as_it_is():
    others = set()
    for name in COMMITTED:
        with (RESULTS / f"compare-{name}" / "runs.csv").open() as file:
            ours = [row for row in csv.DictReader(file) if row["learner"].startswith("coordination-graph")]
        if any(row["learner_code"] != code_of(row["learner"])[:7] for row in ours):
            others.add(name)
    assert not others
