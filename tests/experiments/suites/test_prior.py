"""What other tasks tell the learner: what is played, how it is judged, and the command."""

import numpy as np
import pytest

from agents.prior import sources
from experiments.suites import prior
from experiments.suites.prior import MISLEADING, NONE, OTHERS, app, of_family, of_table, regrets, relatives, report

SMALL = {"small": {"kind": "additive", "layers": 3, "values": (3,)}}


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    monkeypatch.setattr(prior, "FAMILIES", SMALL)
    monkeypatch.setattr(prior, "EVALUATIONS", (2, 4))
    monkeypatch.setattr(prior, "RANDOM_DESIGNS", 12)


def test_relatives_have_as_much_in_common_as_is_said(monkeypatch):
    monkeypatch.setattr(prior, "RELATIVES", 1)
    many = [
        np.corrcoef([[one.value(d) for d in np.ndindex(3, 3, 3)] for one in relatives("small", s)])[0, 1]
        for s in range(40)
    ]
    assert np.mean(many) == pytest.approx(prior.KINSHIP, abs=0.15)


def test_a_family_s_priors_are_runs_of_the_others_with_either_sign(tmp_path):
    task = of_family("small", tmp_path, 0)
    true, false = (sources(task.priors[name]) for name in (OTHERS, MISLEADING))
    assert task.priors[NONE] == ""
    assert [source.task for source in true] == ["relative0", "relative1", "relative2"]
    for here, there in zip(true, false, strict=True):
        assert {each.design: each.reward for each in here.episodes} == {
            each.design: -each.reward for each in there.episodes
        }
    _, other, *_ = relatives("small", 0)
    assert all(each.reward == pytest.approx(other.value(each.design)) for each in true[0].episodes)


def test_a_table_s_priors_are_the_other_tables(tmp_path):
    tables = ["digits-branches", "digits-convnet"]
    prior.write_negated(tables, tmp_path)
    task = of_table("digits-convnet", tables, tmp_path, 1)
    (other,), (negated,) = (sources(task.priors[name]) for name in (OTHERS, MISLEADING))
    assert other.task == negated.task == "digits-branches"
    table = prior.open_benchmark("digits-branches", prior.ACCURACY, ()).table
    for each in negated.episodes[:20]:
        accuracy = table.metrics([each.design])["validation_accuracy"][0]
        assert each.reward == each.objectives["validation_accuracy"] == -accuracy
    assert task.best >= task.chance
    assert task.environment.task.name == "digits-convnet"


def test_regrets_are_shares_of_a_random_design_s(tmp_path):
    task = of_family("small", tmp_path, 0)
    found = regrets(task, 0)
    assert found.keys() == set(task.priors)
    for curve in found.values():
        assert curve.shape == (2,)
        assert curve[0] >= curve[1] >= 0


def test_the_report_s_differences_are_of_the_same_seeds():
    def of(seed, more):
        return np.array([10.0 * seed + more, more])

    results = {"one": [{NONE: of(s, 1), OTHERS: of(s, 0), MISLEADING: of(s, 4)} for s in range(4)]}
    text = report(results)
    assert "| one | other tasks | 15 [" in text
    assert text.count("| -1 [-1,-1] | -1 [-1,-1] |") == text.count("| 3 [3,3] | 3 [3,3] |") == 2  # the task, and all


def test_the_command_writes_a_report(run_app, tmp_path):
    code, out, err = run_app(app, "--seeds", 2, "--table", "digits-branches", "--out", tmp_path)
    assert code == 0, err
    text = (tmp_path / "report.md").read_text()
    assert all(f"| {name} | {OTHERS} |" in text for name in ("digits-branches", "small", "all"))
    assert text in out
