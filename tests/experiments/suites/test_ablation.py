"""The ablation: what it plays, how it judges, and the command."""

import subprocess
import sys

import numpy as np
import pytest

from agents import learner
from experiments.comparison.contest import Contest, Run
from experiments.suites import ablation
from experiments.suites.ablation import BESIDE, FULL, TABLES, WITHOUT, SyntheticEnvironment, app, regret, report, run
from marl_hpo_env.tables.synthetic import synthetic_table


def test_every_part_is_left_out_of_a_learner_that_can_be_made_without_it():
    for parts in WITHOUT.values():
        learner(f"{FULL}(without={parts})")
    for name in BESIDE:
        learner(name)
    for kinds in TABLES.values():
        synthetic_table(**kinds, seed=0)


def test_the_noise_of_a_design_is_drawn_once():
    environment = SyntheticEnvironment(synthetic_table("pairwise", 0, layers=3, noise=1.0), 0)
    first, other, again = environment.evaluate([(0, 0, 0), (1, 1, 1), (0, 0, 0)])
    assert environment.score(first) == environment.score(again) != environment.score(other)
    assert abs(environment.score(first) - environment.table.value((0, 0, 0))) > 1e-6
    assert environment.unwrapped is environment
    assert environment.objectives(first) == {}


@pytest.mark.parametrize("name", ["pairwise, 5 of 12, skewed", "additive, 20 of 12, noisy"])
def test_a_run_is_judged_by_the_value_of_its_best_rewarded_design(name):
    contest = Contest("random", name, (), (), 3, 6)
    played = run(contest)
    assert run(contest).designs == played.designs
    table = synthetic_table(**TABLES[name], seed=3)
    designs = [table.space.design_at(number) for number in played.designs]
    rewards = [trial.reward for trial in SyntheticEnvironment(table, 3).evaluate(designs)]
    values = [table.value(design) for design in designs]
    best, curve = table.value(table.best()), regret(played)
    assert len(curve) == 6
    # All are shares of the same number, a random design's regret.
    behind = [best - values[int(np.argmax(rewards[: n + 1]))] for n in range(6)]
    np.testing.assert_allclose(curve / curve[0], np.array(behind) / behind[0])
    sampled = [table.value(table.space.sample(np.random.default_rng(seed))) for seed in range(300)]
    assert behind[0] / curve[0] == pytest.approx(best - np.mean(sampled), rel=0.3)
    found = Run(contest, [table.space.index(table.best())], 0.0, "these versions")
    assert regret(found).max() == 0


def test_the_report_s_differences_are_of_the_same_seeds(monkeypatch):
    monkeypatch.setattr(ablation, "TABLES", dict.fromkeys(["cells, small", "additive"]))
    whole = np.broadcast_to(np.array([[0.1], [0.2], [0.3]])[:, :, None], (3, 2, 30))
    said = report({FULL: whole, "worse": whole + 0.05})
    assert f"| {FULL} | 20 [" in said
    # At 25 and at 30, the same difference for all seeds: certain, although the regrets are not.
    assert said.count("| 5 [5,5] | 5 [5,5] |") == 4
    assert "| worse | cells | 5 [5,5] | 5 [5,5] |" in said


def test_the_command_writes_a_report_and_runs_nothing_twice(run_app, tmp_path, monkeypatch):
    monkeypatch.setattr(ablation, "TABLES", {"small": {"kind": "pairwise", "layers": 3, "values": (3,)}})
    monkeypatch.setattr(ablation, "WITHOUT", {"greedy": "thompson"})
    monkeypatch.setattr(ablation, "BESIDE", ("random",))
    given = ["--seeds", 2, "--episodes", 5, "--jobs", 1, "--out", tmp_path]
    code, out, err = run_app(app, *given)
    assert code == 0, err
    text = (tmp_path / "report.md").read_text()
    assert all(f"| {name} |" in text for name in (FULL, "greedy", "random"))
    assert text in out
    monkeypatch.setattr(ablation, "run", lambda contest: pytest.fail("it was run again"))
    assert run_app(app, *given)[0] == 0
    assert (tmp_path / "report.md").read_text() == text


def test_the_command_runs_side_by_side(tmp_path):
    command = [sys.executable, "-m", "experiments.suites.ablation", "--seeds", "2", "--episodes", "1", "--jobs", "2"]
    done = subprocess.run([*command, "--out", tmp_path], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr.count("Traceback")) == (0, 0), done.stderr
    assert (tmp_path / "report.md").exists()
