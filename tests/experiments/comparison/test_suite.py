"""The suites of the package, and that the committed results are theirs."""

from __future__ import annotations

import csv
from importlib.resources import files
from pathlib import Path

import pytest

from agents import learner
from experiments.comparison.suite import suite, suites

RESULTS = Path(__file__).parents[3] / "experiments" / "results"

FILES = {"nas-bench-macro_cifar10.json": "nas-bench-macro", "Results_ResNet.json": "channel-bench-macro"}

COMMITTED = sorted(folder.name.removeprefix("compare-") for folder in RESULTS.glob("compare-*"))


def test_there_is_a_suite_for_every_committed_comparison():
    assert len(suites()) == 17
    assert set(suites()) - set(COMMITTED) <= {"live"}  # whose results are of before it was a suite
    assert set(COMMITTED) <= set(suites())


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
