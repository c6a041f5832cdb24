"""What a comparison says of runs that were worked by hand."""

from __future__ import annotations

import csv
from dataclasses import replace

import numpy as np
import pytest

from experiments.comparison.contest import Benchmark, Contest, Run
from experiments.comparison.curves import Curves
from experiments.comparison.report import BETTER, covered_table, overall_table, regret_table, write
from experiments.comparison.statistics import bootstrap, interquartile_mean, mean, probability_of_improvement

ACCURACY = (("validation_accuracy", 1.0),)
AND_SIZE = (("validation_accuracy", 1.0), ("model_size_mb / original", 0.5))


def played(name, table, seed, designs, weights=ACCURACY):
    return Run(Contest(name, table, weights, (), seed, 3), designs, 0.5, "these versions")


@pytest.fixture
def curves(five):
    """Two learners with two seeds each."""
    runs = {
        "pairwise-q": [played("pairwise-q", five, 0, [0, 0, 2, 3]), played("pairwise-q", five, 1, [1, 0, 2])],
        "random": [played("random", five, 0, [2, 1, 0]), played("random", five, 1, [4, 4, 4])],
    }
    return Curves(Benchmark(five), runs, 3)


def test_curves_by_hand(curves):
    assert curves.checkpoints == [3]
    # Seed 0: 0.5, 0.8, 0.9 of 0.9. Seed 1: 0.8, 0.9, 0.9 of 0.9.
    assert curves.regret["pairwise-q"] == pytest.approx(np.array([[0.4, 0.1, 0], [0.1, 0, 0]]))
    assert curves.regret["random"] == pytest.approx(np.array([[0.1, 0.1, 0.1], [2.9, 2.9, 2.9]]))
    # The most that a design is worth is 0.8; the incumbents are 0, 2, 3 and 1, 0, 0.
    assert curves.worth["pairwise-q"] == pytest.approx(np.array([[0.3, 0.2, 0], [0.2, 0.3, 0.3]]))
    # The best rewards are design 3's, worth 0.8, and design 0's, worth 0.5.
    assert curves.floor == pytest.approx(0.15)
    # Means of (0.5, 0.6, 0.8, 0.9, -2) and (0.9, 0.8, 0.6, -2, -2): 0.16 and -0.34, both from 0.9.
    assert curves.chance == pytest.approx((0.74 + 1.24) / 2)
    assert curves.covered == {}


def test_checkpoints_end_with_the_last_evaluation(five):
    runs = {"random": [played("random", five, seed, [0, 1]) for seed in (0, 1)]}
    assert Curves(Benchmark(five), runs, 60).checkpoints == [25, 50, 60]
    assert Curves(Benchmark(five), runs, 50).checkpoints == [25, 50]


def test_the_training_time_is_that_of_the_distinct_designs(tmp_path, save_five):
    def timed(trial):
        design = trial.design
        known = design is not None and design[0] < 3
        return replace(trial, metrics={**trial.metrics, "seconds": 10.0 ** design[0]}) if known else trial

    path = save_five(tmp_path, timed)
    runs = {"random": [played("random", path, 0, [1, 1, 2, 0]), played("random", path, 1, [3, 2])]}
    curves = Curves(Benchmark(path), runs, 2)
    assert curves.seconds["random"].tolist() == [110.0, 100.0]
    _, header, rows = regret_table(curves)
    assert dict(zip(header, rows[0], strict=True))["trained, min"] == f"{105 / 60:.1f}"


def test_the_covered_share_is_of_distinct_designs_up_to_each_checkpoint(five):
    runs = {"random": [played("random", five, seed, [0, 0, 1, 2], AND_SIZE) for seed in (0, 2)]}
    made = Curves(Benchmark(five, AND_SIZE), runs, 2)
    assert made.covered["random"] == pytest.approx(np.full((2, 1), 3 / 5))
    title, header, rows = covered_table([made])
    assert title.startswith("five: ")
    assert "validation_accuracy and model_size_mb / original" in title
    assert header == ["learner", "at 2"]
    assert rows == [["random", "60 [60,60]"]]
    # Over several benchmarks: the middle half of 3/5, 3/5, 1 and 1.
    whole = Curves(made.benchmark, runs, 2)
    whole.covered = {"random": np.ones((2, 1))}
    title, _, rows = covered_table([made, whole])
    assert title.startswith("All benchmarks: ")
    assert rows == [["random", "80 [80,80]"]]


def shown(estimate, factor=1.0):
    return "{:.2g} [{:.2g},{:.2g}]".format(*(factor * float(part) for part in estimate))


def test_the_regret_table_is_of_the_package_s_statistics(curves):
    title, header, (first, second) = regret_table(curves)
    assert title == "five"
    assert header == ["learner", "at 3", "mean test, at 3", "distinct", "episodes", "ms/episode", BETTER]
    # The regrets at the end are 0 and 0; 0.1 and 2.9, of which both are the middle half.
    assert first[:2] == ["pairwise-q", "0 [0,0]"]
    assert second[1] == shown(bootstrap(interquartile_mean, [[0.1], [2.9]]), 100)
    assert second[1].startswith("1.5e+02 [")
    assert first[2] == shown(bootstrap(mean, [[0.0], [0.3]]), 100)
    assert first[2].startswith("15 [")
    # Three distinct designs each; four and three episodes to the third. The repeating run never had a second.
    assert first[3:6] == ["3", "4", "0.5"]
    assert second[3:6] == ["2", "3", "0.5"]
    assert first[6] == "-"
    assert second[6] == shown(bootstrap(probability_of_improvement, [[-0.1], [-2.9]], [[0.0], [0.0]]))
    assert second[6] == "0 [0,0]"
    without = Curves(curves.benchmark, {"random": curves.runs["random"]}, 3)
    for header, rows in (regret_table(without)[1:], overall_table([without, without])[1:]):
        assert BETTER not in header
        assert len(rows[0]) == len(header)


def test_the_overall_table_is_in_percent_of_a_random_design_s_regret(curves):
    _, header, rows = overall_table([curves, curves])
    assert header == ["learner", "at 3", BETTER]
    assert rows[0][:2] == ["pairwise-q", "0 [0,0]"]
    pair = np.array([[0.1, 0.1], [2.9, 2.9]]) / 0.99
    assert rows[1][1] == shown(bootstrap(interquartile_mean, pair), 100)


def test_a_comparison_s_files(curves, five, tmp_path):
    runs = {"random": [played("random", five, seed, [0, 1, 2], AND_SIZE) for seed in (0, 2)]}
    (tmp_path / "regret-of-an-earlier-task.png").touch()
    tables = write([curves], tmp_path)
    assert [title.split(":")[0] for title, _, _ in tables] == ["five"]
    assert "a random design's: 99; floor of the test regret: 15" in tables[0][0]
    assert {path.name for path in tmp_path.iterdir()} == {"report.md", "runs.csv", "regret-five.png", "profiles.png"}
    with (tmp_path / "runs.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["learner"], row["seed"], row["table_seed"]) for row in rows] == [
        ("pairwise-q", "0", "0"),
        ("pairwise-q", "1", "1"),
        ("random", "0", "0"),
        ("random", "1", "1"),
    ]
    assert list(rows[0].values())[:8] == ["five", "pairwise-q", "0", "0", "3", "4", "", "0.5"]
    assert [row["regret_3"] for row in rows] == ["0", "0", "0.1", "2.9"]
    assert [float(row["test_regret_3"]) for row in rows] == pytest.approx([0, 0.3, 0.2, 2.8])
    assert {row["hypervolume_3"] for row in rows} == {""}
    write([Curves(Benchmark(five, AND_SIZE), runs, 3)], tmp_path)
    with (tmp_path / "runs.csv").open() as file:
        assert [row["hypervolume_3"] for row in csv.DictReader(file)] == ["1", "1"]


def test_a_table_without_test_figures_has_none_in_its_report(tmp_path, save_five):
    def untested(trial):
        metrics = {name: value for name, value in trial.metrics.items() if name != "test_accuracy"}
        return replace(trial, metrics=metrics)

    path = save_five(tmp_path, untested)
    runs = {"random": [played("random", path, seed, [0, 1, 2]) for seed in (0, 1)]}
    ((title, header, _),) = write([Curves(Benchmark(path), runs, 3)], tmp_path)
    assert "test" not in title
    assert not any("test" in column for column in header)


def test_every_run_says_with_what_it_was_played(curves, tmp_path):
    name, runs = next(iter(curves.runs.items()))
    earlier = {name: [replace(runs[0], played_with="those versions"), *runs[1:]]}
    write([Curves(curves.benchmark, {**curves.runs, **earlier}, curves.evaluations)], tmp_path)
    assert "with these versions and those versions, on" in (tmp_path / "report.md").read_text()
    rows = list(csv.DictReader((tmp_path / "runs.csv").open()))
    assert [row["played_with"] for row in rows] == ["those versions"] + ["these versions"] * (len(rows) - 1)
