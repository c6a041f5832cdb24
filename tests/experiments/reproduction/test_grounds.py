"""What learners are played on, worked by hand on a table of five designs."""

from __future__ import annotations

import json

import pytest

from experiments.reproduction.grounds import Outcome, TableGround


@pytest.fixture
def ground(five, tmp_path):
    return TableGround(five, tmp_path)


def test_what_is_found_is_the_first_design_with_the_highest_reward():
    outcome = Outcome([4, 2, 3, 2, 3], [-1.0, 0.5, 0.9, 0.5, 0.9], [0], 2, 2)
    assert (outcome.best_episode, outcome.found, outcome.evaluations) == (2, 3, 3)


def test_a_design_is_worth_its_mean_test_figures(ground):
    worth = ground.worth(0, seed=7)
    # 0.4 and 0.6 under the two seeds; the reward of an unknown table's task is the accuracy.
    assert worth.test_accuracy == pytest.approx(0.5)
    assert worth.reward == pytest.approx(0.5)
    assert worth.model_size_mb == 1.0
    # Completed under the first seed alone.
    assert ground.worth(3, seed=0).test_accuracy == pytest.approx(0.8)


@pytest.mark.parametrize(("seed", "best"), [(0, 3), (1, 0), (2, 3)])
def test_learners_seeds_take_the_tables_seeds_in_turn(ground, seed, best):
    outcome = ground.play("random", seed, 5)
    assert sorted(outcome.designs) == [0, 1, 2, 3, 4]
    assert outcome.found == best
    assert outcome.exploration is outcome.converged is None
    assert {outcome.designs[i] for i in outcome.terminated} == ({4} if seed % 2 == 0 else {3, 4})


def test_a_run_is_kept_by_all_that_it_hangs_on(five, tmp_path):
    first = TableGround(five, tmp_path)
    played = {(name, n): first.play(name, 0, n) for name in ("random", "local-search") for n in (2, 3)}
    path = tmp_path / "reproduce-five" / "runs.jsonl"
    assert len(path.read_text().splitlines()) == 4
    with path.open("a") as file:
        file.write('["half a li')  # as a killed command leaves it
    again = TableGround(five, tmp_path)
    again._played = lambda *_: pytest.fail("it was played again")
    assert {(name, n): again.play(name, 0, n) for name, n in played} == played
    assert [json.loads(line) for line in path.read_text().splitlines()]
    with pytest.raises(pytest.fail.Exception):
        again.play("random", 1, 2)


def test_a_table_without_history_has_one_number_of_epochs(ground):
    assert list(ground.epochs) == [2]
    assert ground.largest_table == 5


def test_a_shipped_table_has_the_epochs_of_its_history(tmp_path):
    shipped = TableGround("digits-branches", tmp_path)
    assert list(shipped.epochs) == [1, 2, 3, 4]
    assert shipped.largest_table == 16
    few, all_of_them = (shipped.play("random", 0, 5, epochs) for epochs in (1, 4))
    assert few.designs == all_of_them.designs
    assert few.rewards != all_of_them.rewards
