"""Runs of learners on tables small enough to be worked by hand."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from experiments.comparison import contest as comparison
from experiments.comparison.contest import Benchmark, Contest, Runs, basis, run, run_all
from marl_hpo_env import Layer, Request, SearchSpace, Table, TableEvaluator, Trial, WeightedReward, env

ACCURACY = (("validation_accuracy", 1.0),)
AND_SIZE = (("validation_accuracy", 1.0), ("model_size_mb / original", 0.5))

pytestmark = pytest.mark.usefixtures("strangers")


# --- the benchmark ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("weights", [(), ACCURACY, AND_SIZE])
@pytest.mark.parametrize("seed", [0, 1])
def test_rewards_are_the_environment_s_scores(five, weights, seed):
    made = Benchmark(five, weights)
    evaluator = TableEvaluator(five)
    reward = WeightedReward(dict(weights)) if weights else None
    game = env(evaluator.task, evaluator=evaluator, reward=reward, seed=seed).unwrapped
    scores = [game.score(trial) for trial in game.evaluate([(n,) for n in range(5)])]
    assert made.rewards(seed).tolist() == scores


def test_rewards_by_hand(five):
    assert Benchmark(five).rewards(1).tolist() == [0.9, 0.8, 0.6, -2, -2]
    # The original has 4 MB: 0.5 - 0.5 * 1/4, and so on; terminated, -2 * (1 + 0.5).
    assert Benchmark(five, AND_SIZE).rewards(0) == pytest.approx([0.375, 0.35, 0.3, 0.275, -3])


def test_the_worth_of_a_design_is_its_mean_test_accuracy(five):
    # Design 3 completed under one seed only, design 4 under none.
    assert Benchmark(five).worth == pytest.approx([0.5, 0.6, 0.6, 0.8, -2])
    assert Benchmark(five, AND_SIZE).worth == pytest.approx([0.375, 0.35, 0.1, 0.175, -3])


def test_a_bound_from_the_original_compares_test_accuracy_with_test_accuracy(five):
    # The original has 0.9 in validation and 0.5 in the test.
    bound = ["validation_accuracy >= original - 0.05"]
    assert Benchmark(five, ACCURACY, bound).worth == pytest.approx([0.5, 0.6, 0.6, 0.8, -2])
    assert Benchmark(five, ACCURACY, bound).rewards(0) == pytest.approx([-2, -2, -2, 0.9, -2])
    above = ["validation_accuracy >= original + 0.05"]
    assert Benchmark(five, ACCURACY, above).worth == pytest.approx([-2, 0.6, 0.6, 0.8, -2])


def test_points_lie_from_the_best_to_the_worst_of_the_table(five):
    # Accuracies from 0.9 to 0.5, sizes from 1 to 5 MB; what did not complete is infinitely bad.
    by_hand = [[1, 0], [0.75, 0.25], [0.25, 0.75], [0, 1], [np.inf, np.inf]]
    assert Benchmark(five, AND_SIZE).points(0) == pytest.approx(np.array(by_hand))


def test_the_covered_share_by_hand(five):
    made = Benchmark(five, AND_SIZE)
    # Designs 1 and 2 cover 3/16 each and 1/16 of it both; the others are the worst in something.
    assert made.covered([1], 0) == pytest.approx(3 / 5)
    assert made.covered([1, 2], 0) == pytest.approx(1)
    assert made.covered(range(5), 0) == 1
    assert made.covered([0, 3, 4], 0) == 0
    assert made.covered([], 0) == 0


def test_a_table_without_any_volume_is_covered_by_anything(tmp_path):
    # The second is better and larger.
    two = SearchSpace([Layer("conv", "Conv2d", {"out_channels": (1, 4)})])
    figures = {(0,): (0.5, 1.0), (1,): (0.9, 5.0), None: (0.9, 4.0)}
    trials = [
        Trial(Request(design, 0, 2), "completed", None, {"validation_accuracy": accuracy, "model_size_mb": size})
        for design, (accuracy, size) in figures.items()
    ]
    Table.from_trials("two", two, (0,), 2, trials).save(tmp_path / "two.npz")
    assert Benchmark(str(tmp_path / "two.npz"), AND_SIZE).covered([0], 0) == 1


def test_the_covered_share_to_the_nadir_by_hand(tmp_path):
    # The last design alone is the worst in the table; the front reaches from (0.9, 5) over (0.8, 2) to (0.7, 1).
    space = SearchSpace([Layer("conv", "Conv2d", {"out_channels": (1, 2, 3, 4)})])
    figures = {(0,): (0.7, 1.0), (1,): (0.8, 2.0), (2,): (0.9, 5.0), (3,): (0.1, 9.0), None: (0.9, 1.0)}
    trials = [
        Trial(Request(design, 0, 2), "completed", None, {"validation_accuracy": accuracy, "model_size_mb": size})
        for design, (accuracy, size) in figures.items()
    ]
    Table.from_trials("four", space, (0,), 2, trials).save(tmp_path / "four.npz")
    made = Benchmark(str(tmp_path / "four.npz"), AND_SIZE)
    assert made.covered([0], 0) > 0.7
    assert made.covered([0, 2, 3], 0, to_nadir=True) == 0
    assert made.covered([1], 0, to_nadir=True) == pytest.approx(1)


def test_the_table_s_seeds_take_turns(five):
    assert [Benchmark(five).table_seed(seed) for seed in range(5)] == [0, 1, 0, 1, 0]


def test_a_reward_that_the_table_cannot_give_is_refused(five, refused):
    with refused("flops"):
        Benchmark(five, (("flops", 1.0),))
    with refused("no table 'nowhere'"):
        Benchmark("nowhere")


# --- runs ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["random", "regularized-evolution", "pairwise-q(update=averaged)", "strangers:Climber"]
)
def test_a_run_has_as_many_distinct_designs_as_asked_and_is_the_same_again(chain, name):
    contest = Contest(name, chain, (), (), 1, 12)
    played = run(contest)
    assert played.contest == contest
    assert len(set(played.designs)) == 12
    assert played.designs[-1] not in played.designs[:-1]  # it stops at the last new one
    assert played.ms_per_episode > 0
    assert run(contest).designs == played.designs
    assert run(contest._replace(seed=2)).designs != played.designs


def test_a_learner_that_only_repeats_itself_is_stopped(chain):
    assert run(Contest("strangers:Repeating", chain, (), (), 0, 4)).designs == [0] * 20  # five episodes per evaluation


def test_a_run_is_rewarded_by_its_own_seed_of_the_table(five, monkeypatch):
    episodes_seen = []
    monkeypatch.setattr(comparison._Timed, "tell", lambda self, episodes: episodes_seen.extend(episodes))
    run(Contest("random", five, ACCURACY, (), 1, 5))
    assert {e.design: e.reward for e in episodes_seen} == {(0,): 0.9, (1,): 0.8, (2,): 0.6, (3,): -2, (4,): -2}
    assert all(set(e.objectives) == {"validation_accuracy"} for e in episodes_seen)


def test_learners_that_ask_for_nothing_or_for_what_does_not_exist_are_refused(chain, refused):
    with refused("'strangers:Silent'", "nothing"):
        run(Contest("strangers:Silent", chain, (), (), 0, 4))
    with refused("the learner 'strangers:Lost'", "seed 0", "Action 99"):
        run(Contest("strangers:Lost", chain, (), (), 0, 4))
    with refused("the learner 'strangers:Single'", "`ask` returned (0, 0", "returns a list of designs"):
        run(Contest("strangers:Single", chain, (), (), 0, 4))


def test_an_error_of_a_stranger_s_own_keeps_its_traceback_and_says_whose_it_is(chain):
    with pytest.raises(ZeroDivisionError) as caught:
        run(Contest("strangers:Broken", chain, (), (), 3, 4))
    assert "'strangers:Broken'" in caught.value.__notes__[0]
    assert "seed 3" in caught.value.__notes__[0]


def contests(table, *names, seeds=2, evaluations=5):
    return [
        Contest(name, table, AND_SIZE, ("model_size_mb <= 5",), s, evaluations) for s in range(seeds) for name in names
    ]


def test_finished_runs_are_kept_and_not_run_again(chain, tmp_path):
    wanted = contests(chain, "random", "regularized-evolution")
    first = list(run_all(run, wanted[:3], Runs(tmp_path, basis), 1))
    again = []
    finished = list(run_all(lambda contest: again.append(contest) or run(contest), wanted, Runs(tmp_path, basis), 1))
    assert again == wanted[3:]
    assert [played.contest for played in finished] == wanted
    assert [played.designs for played in finished[:3]] == [played.designs for played in first]
    assert len((tmp_path / "runs.jsonl").read_text().splitlines()) == 4
    # A run of another code, or on another table, counts for nothing.
    changed = Runs(tmp_path, lambda contest: basis(contest) + ("changed" if contest.learner == "random" else ""))
    assert [changed.get(contest) is None for contest in wanted] == [contest.learner == "random" for contest in wanted]
    # A report from the file is the report of the run: nothing of a run is rounded on the way.
    kept = Runs(tmp_path, basis)
    assert [kept.get(contest) for contest in wanted] == finished


@pytest.mark.parametrize("kept", [1, 20, -1])
def test_what_comes_after_a_line_that_was_cut_off_is_kept(chain, tmp_path, kept):
    wanted = contests(chain, "random")
    whole = list(run_all(run, wanted, Runs(tmp_path, basis), 1))
    path = tmp_path / "runs.jsonl"
    one, two = path.read_text().splitlines()
    path.write_text(f"{one}\n{two[:kept]}")
    assert Runs(tmp_path, basis).get(wanted[1]) is None
    assert [played.designs for played in run_all(run, wanted, Runs(tmp_path, basis), 1)] == [
        played.designs for played in whole
    ]
    continued = Runs(tmp_path, basis)
    assert [continued.get(contest).designs for contest in wanted] == [played.designs for played in whole]


FOREIGN = ["{}", "[]", "3", "null", '"text"', "[1, 2, 3, 4, 5, 6, 7, 8, 9, 10]", "no JSON", "[" * 100_000, ""]


def test_foreign_lines_are_counted_in_a_sentence_and_left_out(chain, tmp_path):
    wanted = contests(chain, "random")
    whole = list(run_all(run, wanted, Runs(tmp_path, basis), 1))
    path = tmp_path / "runs.jsonl"
    one, two = path.read_text().splitlines()
    damaged = (
        two.replace("[0, ", "[1, ", 1) if "[0, " in two else two.replace("]", " ]", 1).replace("5, [", "5, [1, ", 1)
    )
    old = json.dumps(json.loads(one)[:-1])  # as before lines had a checksum
    path.write_bytes("\n".join([old, *FOREIGN, damaged, ""]).encode() + b"\xff\x00\n")
    with pytest.warns(UserWarning, match=r"runs.jsonl' has 10 lines that are no runs") as warned:
        kept = Runs(tmp_path, basis)
    assert len(warned) == 1
    assert [kept.get(contest) for contest in wanted] == [whole[0], None]


def test_two_jobs_come_to_the_same_as_one(chain, tmp_path):
    wanted = contests(chain, "strangers:Climber")
    alone, beside = (
        {played.contest: played.designs for played in run_all(run, wanted, Runs(tmp_path / str(jobs), basis), jobs)}
        for jobs in (1, 2)
    )
    assert alone == beside
    assert [Runs(tmp_path / "2", basis).get(contest).designs for contest in wanted] == [
        alone[contest] for contest in wanted
    ]


def test_a_folder_that_cannot_be_written_is_refused(tmp_path, refused):
    (tmp_path / "file").write_text("precious")
    with refused("file", "--out"):
        Runs(tmp_path / "file", basis)


def named(name, folder, contest):
    """Plays once both have begun, so that neither plays all of them before the other is there."""
    (folder / name).touch()
    deadline = time.monotonic() + 60
    while len(list(folder.iterdir())) < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    return replace(run(contest), played_with=name)


def test_on_several_devices_each_plays_its_share(chain, tmp_path):
    wanted = contests(chain, "random")
    begun = tmp_path / "begun"
    begun.mkdir()
    players = [partial(named, name, begun) for name in ("first", "second")]
    finished = list(run_all(players[0], wanted, Runs(tmp_path, basis), 2, players[1:]))
    assert {played.played_with for played in finished} == {"first", "second"}
