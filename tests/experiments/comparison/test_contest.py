"""Comparisons on tables small enough to be worked by hand, and the command as a user runs it."""

from __future__ import annotations

import csv
import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from agents import learners
from agents.registry import split
from experiments.commands.compare import _default
from experiments.comparison import contest as comparison
from experiments.comparison.contest import Benchmark, Contest, Run, Runs, basis, run, run_all
from experiments.comparison.report import BETTER, Curves, covered_table, overall_table, regret_table, write
from experiments.comparison.statistics import bootstrap, interquartile_mean, mean, probability_of_improvement
from marl_hpo_env import Layer, Request, SearchSpace, Table, TableEvaluator, Trial, WeightedReward, env

ACCURACY = (("validation_accuracy", 1.0),)
AND_SIZE = (("validation_accuracy", 1.0), ("model_size_mb / original", 0.5))

FIVE = SearchSpace([Layer("conv", "Conv2d", {"out_channels": (1, 2, 3, 4, 5)})])
ORIGINAL = 5
# Validation and test accuracy of the five designs and the original, under each of two seeds; None: terminated.
FIGURES = {
    0: [(0.5, 0.4), (0.6, 0.6), (0.8, 0.7), (0.9, 0.8), None, (0.9, 0.5)],
    1: [(0.9, 0.6), (0.8, 0.6), (0.6, 0.5), None, None, (0.9, 0.5)],
}
SIZES = [1.0, 2.0, 4.0, 5.0, 6.0, 4.0]


def trial(number: int, seed: int) -> Trial:
    request = Request(None if number == ORIGINAL else (number,), seed, 2)
    figures = FIGURES[seed][number]
    if figures is None:
        return Trial(request, "terminated", "by hand")
    accuracies = dict(zip(("validation_accuracy", "test_accuracy"), figures, strict=True))
    return Trial(request, "completed", None, {**accuracies, "model_size_mb": SIZES[number]})


@pytest.fixture(scope="module")
def five(tmp_path_factory) -> str:
    """The path of the table above."""
    path = tmp_path_factory.mktemp("tables") / "five.npz"
    Table.from_trials("five", FIVE, (0, 1), 2, [trial(n, seed) for seed in FIGURES for n in range(6)]).save(path)
    return str(path)


@pytest.fixture(scope="module")
def chain(tmp_path_factory, table_of, spaces) -> str:
    """The path of a table of 64 designs, by formula."""
    path = tmp_path_factory.mktemp("tables") / "chain.npz"
    table_of(spaces["chain"]).save(path)
    return str(path)


STRANGERS = '''
import numpy as np


class Climber:
    """Changes one layer of the best design so far."""

    def __init__(self, restart=0.0):
        self.restart = restart

    def reset(self, space, seed):
        self.space, self.rng = space, np.random.default_rng(seed)
        self.best, self.reward = None, -np.inf

    def ask(self, n):
        if self.best is None or self.rng.random() < self.restart:
            return [self.space.sample(self.rng)]
        layer = self.rng.integers(len(self.space))
        return [(*self.best[:layer], int(self.rng.integers(self.space.sizes[layer])), *self.best[layer + 1 :])]

    def tell(self, episodes):
        for episode in episodes:
            if episode.reward > self.reward:
                self.best, self.reward = episode.design, episode.reward


class Repeating(Climber):
    def ask(self, n):
        return [(0,) * len(self.space)] * n


class Silent(Climber):
    def ask(self, n):
        return []


class Lost(Climber):
    def ask(self, n):
        return [(99,) * len(self.space)]


class Single(Climber):
    def ask(self, n):
        return (0,) * len(self.space)


class Broken(Climber):
    def tell(self, episodes):
        1 / 0
'''


@pytest.fixture(autouse=True)
def strangers(tmp_path_factory, monkeypatch) -> None:
    """A stranger's module in the folder where the command is run."""
    folder = tmp_path_factory.mktemp("strangers")
    (folder / "strangers.py").write_text(STRANGERS)
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(folder)
    return folder


# --- the benchmark ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("weights", [(), ACCURACY, AND_SIZE])
@pytest.mark.parametrize("seed", [0, 1])
def test_rewards_are_the_environment_s_scores(five, weights, seed):
    made = Benchmark(five, weights)
    evaluator = TableEvaluator(five)
    reward = WeightedReward(dict(weights)) if weights else None
    game = env(evaluator.task, evaluator=evaluator, reward=reward, seed=seed).unwrapped
    told = [game.score(trial) for trial in game.evaluate([(n,) for n in range(5)])]
    assert made.rewards(seed).tolist() == told


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
    two = SearchSpace([Layer("conv", "Conv2d", {"out_channels": (1, 4)})])
    better_and_larger = replace(trial(3, 0), request=Request((1,), 0, 2))
    trials = [trial(0, 0), better_and_larger, trial(ORIGINAL, 0)]
    Table.from_trials("two", two, (0,), 2, trials).save(tmp_path / "two.npz")
    assert Benchmark(str(tmp_path / "two.npz"), AND_SIZE).covered([0], 0) == 1


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
    told = []
    monkeypatch.setattr(comparison._Timed, "tell", lambda self, episodes: told.extend(episodes))
    run(Contest("random", five, ACCURACY, (), 1, 5))
    assert {e.design: e.reward for e in told} == {(0,): 0.9, (1,): 0.8, (2,): 0.6, (3,): -2, (4,): -2}
    assert all(set(e.objectives) == {"validation_accuracy"} for e in told)


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


# --- what a comparison says ------------------------------------------------------------------------------------------


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


def test_the_training_time_is_that_of_the_distinct_designs(tmp_path):
    timed = [
        replace(trial(n, seed), metrics={**trial(n, seed).metrics, "seconds": 10.0**n})
        for seed in FIGURES
        for n in range(3)
    ]
    rest = [trial(n, seed) for seed in FIGURES for n in range(3, 6)]
    Table.from_trials("five", FIVE, (0, 1), 2, timed + rest).save(tmp_path / "five.npz")
    path = str(tmp_path / "five.npz")
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


def test_a_table_without_test_figures_has_none_in_its_report(tmp_path):
    def untested(number, seed):
        made = trial(number, seed)
        return replace(made, metrics={name: value for name, value in made.metrics.items() if name != "test_accuracy"})

    table = Table.from_trials("five", FIVE, (0, 1), 2, [untested(n, seed) for seed in FIGURES for n in range(6)])
    table.save(tmp_path / "five.npz")
    runs = {"random": [played("random", str(tmp_path / "five.npz"), seed, [0, 1, 2]) for seed in (0, 1)]}
    ((title, header, _),) = write([Curves(Benchmark(str(tmp_path / "five.npz")), runs, 3)], tmp_path)
    assert "test" not in title
    assert not any("test" in column for column in header)


def test_every_run_says_with_what_it_was_played(curves, tmp_path):
    name, runs = next(iter(curves.runs.items()))
    earlier = {name: [replace(runs[0], played_with="those versions"), *runs[1:]]}
    write([Curves(curves.benchmark, {**curves.runs, **earlier}, curves.evaluations)], tmp_path)
    assert "with these versions and those versions, on" in (tmp_path / "report.md").read_text()
    told = list(csv.DictReader((tmp_path / "runs.csv").open()))
    assert [row["played_with"] for row in told] == ["those versions"] + ["these versions"] * (len(told) - 1)


# --- the command -----------------------------------------------------------------------------------------------------


LEARNERS = "pairwise-q, pairwise-q(update=averaged,alpha=0.5), strangers:Climber, strangers:Climber(restart=0.5)"


def test_learners_are_compared_and_what_is_there_is_not_run_again(marl_hpo, five, chain, tmp_path, monkeypatch):
    out = tmp_path / "out"
    *first, last = names = split(LEARNERS)
    given = ["--task", five, "--task", chain, "--learners", ",".join(first), "--learner", last]
    given += ["--seeds", 2, "--episodes", 4, "--jobs", 1]
    code, said, err = marl_hpo("compare", *given, "--out", out)
    assert code == 0, err
    pictures = {"regret-five.png", "regret-digits-convnet.png", "attainment-digits-convnet.png", "profiles.png"}
    assert {path.name for path in out.iterdir()} == {"runs.jsonl", "runs.csv", "report.md", *pictures}
    assert all((out / name).read_bytes().startswith(b"\x89PNG") for name in pictures)
    lines = [json.loads(line) for line in (out / "runs.jsonl").read_text().splitlines()]
    assert len(lines) == 2 * 2 * 4
    assert len((out / "runs.csv").read_text().splitlines()) == 1 + 2 * 2 * 4
    report = (out / "report.md").read_text()
    for name in names:
        assert name in said
        # Regret on each task, the hypervolume of the task with two objectives, and the summary.
        assert report.count(f"| {name} |") == 4
    assert report.count("- strangers:Climber: restart=0.0\n") == 1
    assert "All benchmarks" in said
    assert str(out / "report.md") in said
    # A user's second command: the same report, and nobody plays.
    monkeypatch.setattr(comparison, "run", lambda contest: pytest.fail("it was run again"))
    assert marl_hpo("compare", *given, "--out", out)[0] == 0
    assert (out / "report.md").read_text() == report


def test_no_number_is_broken_in_two_in_a_narrow_terminal(marl_hpo, chain, tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    given = ["--task", chain, "--learners", "random,pairwise-q,regularized-evolution,local-search", "--seeds", 5]
    code, said, err = marl_hpo("compare", *given, "--episodes", 201, "--jobs", 1, "--out", tmp_path / "out")
    assert code == 0, err
    report = (tmp_path / "out" / "report.md").read_text()
    words = {word for line in report.splitlines() if line.startswith("| ") for word in line.split()} - {"|", "---"}
    assert all(word in said for word in words)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--learners", "randm"], "There is no learner 'randm'; did you mean 'random'"),
        (["--learners", "random,random"], "name each once"),
        (["--learners", "random", "--learner", "random"], "name each once"),
        (["--learner", "nowhere:Mine"], "There is no module 'nowhere' for the learner 'nowhere:Mine'"),
        (["--learners", ","], "name at least one"),
        (["--learners", ""], "name at least one"),
        (["--task", "digits-convnet,digits-branches"], "repeat --task for each"),
        (["--learners", "random(alpha=1)"], "The learner 'random' has no settings; got 'alpha'."),
        (["--learners", "pairwise-q(alpha=2"], "cannot be read; write it as pairwise-q(setting=value)"),
        (["--learners", "pairwise-q(alpha=2)"], "alpha is 2"),
        (["--learners", "nowhere:Mine"], "There is no module 'nowhere' for the learner 'nowhere:Mine'"),
        (["--learners", "strangers:Silent"], "asks for nothing"),
        (["--task", "nowhere"], "There is no table 'nowhere' in the package"),
        (["--task", "nowhere.npz"], "The table 'nowhere.npz' cannot be read: No such file"),
        (["--weight", "accuracy=1"], "There is no metric 'accuracy'"),
        (["--weight", "validation_accuracy"], "The weight 'validation_accuracy' cannot be read"),
        (["--weight", "flops=1"], "flops"),
        (["--constraint", "model_size_mb <= 3"], "give it with --weight"),
        (["--weight", "validation_accuracy=1", "--constraint", "model_size_mb <= 0"], "have the same reward"),
    ],
)
def test_bad_input_is_one_sentence_and_exit_code_2(marl_hpo, five, tmp_path, arguments, sentence):
    given = ["--task", five] if "--task" not in arguments else []
    code, _, err = marl_hpo(
        "compare", *given, *arguments, "--seeds", 2, "--episodes", 2, "--jobs", 1, "--out", tmp_path / "out"
    )
    assert code == 2
    last = err.strip().splitlines()[-1]
    assert last.startswith("marl-hpo: ")
    assert sentence in last
    if "Silent" not in str(arguments):  # which can be known by playing only
        assert err.strip() == last
        assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("several", [False, True])
def test_without_names_it_is_everyone_who_fits_the_reward_but_the_slowest(several):
    for_several = {"optuna-motpe", "optuna-nsga2"}
    assert set(learners()) - set(_default(several)) == ({"optuna-gp"} if several else {"optuna-gp", *for_several})


def test_a_learner_of_an_extra_that_is_not_installed_is_left_out_with_a_word(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "optuna", None)
    assert not [name for name in _default(True) if name.startswith("optuna")]
    assert "optuna-tpe is left out: Learners of Optuna need the package 'optuna'" in capsys.readouterr().err


@pytest.mark.parametrize("option", [["--seeds", "1"], ["--seeds", "many"], ["--episodes", "0"], ["--jobs", "0"]])
def test_numbers_that_cannot_be_are_refused(marl_hpo, five, tmp_path, option):
    code, _, err = marl_hpo("compare", "--task", five, *option, "--out", tmp_path / "out")
    assert code == 2
    assert option[0] in err
    assert not (tmp_path / "out").exists()


def test_two_tables_of_one_task_are_refused(marl_hpo, five, tmp_path):
    copy = tmp_path / "copy.npz"
    copy.write_bytes(Path(five).read_bytes())
    code, _, err = marl_hpo("compare", "--task", five, "--task", copy, "--out", tmp_path / "out")
    assert code == 2
    assert "There are 2 tables of 'five'" in err
    assert not (tmp_path / "out").exists()
