"""What was aimed at beside what was measured, on a report worked by hand."""

from __future__ import annotations

import pytest

from experiments.pages import aims, results

REPORT = """# Comparison

## a: regret in hundredths of it

| learner | at 25 | at 50 | at 100 |
| --- | --- | --- | --- |
| coordination-graph | 2 [1.5,3] | 1 [0.5,2] | 0.1 [0,0.2] |
| predictor | 1 [0.5,1.4] | 1 [0.4,1.2] | 0.4 [0.1,1] |
| random | 4 [3,5] | 3 [2,4] | 1e-1 [1e-2,2] |

## a: percent of the hypervolume within the front's nadir of it

| learner | at 50 | at 100 |
| --- | --- | --- |
| coordination-graph(multi_objective=True) | 80 [79,81] | 85.5 [84,87] |
| random | 78.5 [77,79] | 86 [85,88] |
"""


@pytest.fixture(autouse=True)
def report(monkeypatch):
    for module in (aims, results):
        monkeypatch.setattr(module, "report_of", lambda folder: REPORT)


def test_a_rival_is_ahead_where_its_interval_ends_below():
    assert aims.behind("one", "another") == "`predictor` is ahead at 25 on a"


def test_the_best_rival_stands_beside_it():
    assert aims.shares("one") == "0.1 and 0.1 (`random`) on a"
    assert aims.ahead_in_hypervolume("one") == "+1.5 points to `random` at 50; -0.5 points to `random` at 100"
    assert aims.ahead_in_hypervolume("one", "another").count("; ") == 3
