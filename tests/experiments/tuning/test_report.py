"""What a run shows at its end: the front of what was seen, and for masks what the found network predicts."""

from __future__ import annotations

import csv
import re
from dataclasses import replace

import pytest

from agents import learner
from experiments.tuning.evaluators import Machines
from experiments.tuning.limits import RunLimits
from experiments.tuning.report import front, front_objectives, front_table, improvement_table, improvements
from experiments.tuning.session import close, play_both, prepare
from marl_hpo_env import PaperReward, Request, Trial, WeightedReward
from marl_hpo_env.reward import Objective

ACCURACY, SIZE = Objective("validation_accuracy", False), Objective("model_size_mb", False)
RELATIVE_SIZE = Objective("model_size_mb", True)


@pytest.mark.parametrize(
    ("reward", "objectives"),
    [
        (PaperReward(), (ACCURACY, SIZE)),
        (WeightedReward({"model_size_mb / original": 1, "validation_accuracy": 1}), (RELATIVE_SIZE, ACCURACY)),
        (WeightedReward({"validation_accuracy": 1}), (ACCURACY, SIZE)),
        (WeightedReward({"flops": 1}), (ACCURACY, SIZE)),
        (
            WeightedReward({"flops": 1}, ["parameters <= 5"]),
            (Objective("flops", False), Objective("parameters", False)),
        ),
    ],
)
def test_a_front_is_of_what_the_reward_sees_and_of_accuracy_and_size_where_that_is_one_thing(reward, objectives):
    assert front_objectives(reward) == objectives


def test_the_front_by_hand():
    reached = {
        (0, 0): [0.5, 0.25],
        (0, 1): [0.8, 0.5],
        (1, 0): [0.7, 0.5],  # no smaller than (0, 1), and worse
        (1, 1): [0.8, 0.75],
        (2, 0): [0.95, 2.0],
    }
    best = front(reached, (ACCURACY, RELATIVE_SIZE))
    assert best == [((2, 0), [0.95, 2.0]), ((0, 1), [0.8, 0.5]), ((0, 0), [0.5, 0.25])]
    # The best in the first objective first: the smallest.
    turned = {design: [size, accuracy] for design, (accuracy, size) in reached.items()}
    assert [design for design, _ in front(turned, (RELATIVE_SIZE, ACCURACY))] == [(0, 0), (0, 1), (2, 0)]


def test_equal_designs_are_both_on_the_front():
    twins = {(0,): [0.8, 2.0], (1,): [0.8, 2.0]}
    assert [design for design, _ in front(twins, (ACCURACY, SIZE))] == [(0,), (1,)]


def test_the_front_s_table():
    header, rows = front_table([((2, 0), [0.95, 2.0]), ((0, 10), [1 / 3, 0.25])], (ACCURACY, RELATIVE_SIZE))
    assert header == ["design", "validation_accuracy", "model_size_mb / original"]
    assert rows == [["2,0", "0.95", "2"], ["0,10", "0.3333", "0.25"]]


def test_improvements_over_the_original_by_hand():
    names = ("model_size_mb", "train_ms_per_batch", "inference_ms_per_batch", "test_accuracy")

    def trial(*values):
        return Trial(Request(None, 0, None), "completed", None, dict(zip(names, values, strict=True)))

    trials = {"original": trial(60.0, 100.0, 10.0, 0.7), "pairwise-q": trial(1.5, 50.0, 8.0, 0.705)}
    assert improvements(trials, "pairwise-q") == pytest.approx([40, 2, 1.25, 0.5])
    trials["random"] = trial(30.0, 200.0, None, 0.69)
    header, rows = improvement_table(trials)
    assert header == ["network", "size", "training time", "inference time", "test accuracy, points"]
    assert rows == [
        ["pairwise-q", "40x", "2x", "1.25x", "+0.50"],
        ["random", "2x", "0.5x", "-", "-1.00"],
    ]


# --- a run that ends -------------------------------------------------------------------------------------------------


def test_a_run_on_masks_ends_in_a_front_and_in_predicted_masks(bright, tmp_path, capsys):
    tuning = prepare(bright, tmp_path / "run", Machines("cpu", 1))
    played = tuning.play("random", learner("random"), 4, 0)
    stopped = next(design for design in played.trials if design != played.best.design)
    played.trials[stopped] = replace(played.trials[stopped], status="terminated")
    close(tuning, tuning.run("mine", seed=0), played, None, RunLimits())
    said = capsys.readouterr().out
    folder = tmp_path / "run" / "mine"
    for name in ("pareto-front.png", "masks.png", "rewards-random.png"):
        assert (folder / name).read_bytes().startswith(b"\x89PNG")
        assert str(folder / name) in said
    report = (folder / "report.md").read_text()
    assert "## No other of the 3 designs is better in all" in report
    table = report.split("is better in all")[1].strip().splitlines()
    assert table[0] == "| design | validation_accuracy | model_size_mb / original |"
    rows = [line for line in table[2:] if line.startswith("|")]
    assert 1 <= len(rows) <= 3
    # The most accurate first, and each next one is smaller.
    accuracies, sizes = zip(*([float(cell) for cell in row.split("|")[2:4]] for row in rows), strict=True)
    assert list(accuracies) == sorted(accuracies, reverse=True)
    assert list(sizes) == sorted(sizes, reverse=True)


def test_where_no_design_keeps_the_constraints_there_is_no_report(bright, tmp_path, capsys):
    reward = WeightedReward({"validation_accuracy": 1}, ["parameters <= 1"])
    tuning = prepare(bright, tmp_path / "run", Machines("cpu", 1), reward)
    with pytest.raises(SystemExit) as ended:
        play_both(tuning, "random", learner("random"), "pairwise-q", 0, RunLimits(2))
    assert ended.value.code == 1
    assert "None of the 2 designs completed and kept the constraints" in capsys.readouterr().err
    folder = tmp_path / "run" / "random-seed0"
    assert not (folder / "episodes-pairwise-q.csv").exists()  # nothing is trained in vain
    assert not (folder / "report.md").exists()


def test_a_baseline_plays_as_many_distinct_designs_and_has_a_row_and_bars(bright, tmp_path, capsys):
    tuning = prepare(bright, tmp_path / "run", Machines("cpu", 1))
    name = "pairwise-q(exploration_episodes=2,max_exploitation_episodes=1)"
    play_both(tuning, name, learner(name), "random", 0, RunLimits())
    said = capsys.readouterr().out
    folder = tmp_path / "run" / "pairwise-q-seed0"
    report = (folder / "report.md").read_text()
    table = report.split("## Trained to convergence")[1].split("##")[0]
    assert [line.split("|")[1].strip() for line in table.strip().splitlines()[2:]] == [
        "original",
        "pairwise-q",
        "random",
    ]
    assert "## Improvement over the original" in report
    assert (folder / "improvements.png").read_bytes().startswith(b"\x89PNG")
    assert str(folder / "improvements.png") in said
    counts = [
        re.search(rf"- {name}: best reward .* (\d+) distinct designs", report)[1] for name in ("pairwise-q", "random")
    ]
    assert counts[0] == counts[1]


def test_a_baseline_that_finds_nothing_has_a_line_and_no_row(bright, tmp_path):
    tuning = prepare(bright, tmp_path / "run", Machines("cpu", 1))
    played = tuning.play("random", learner("random"), 2, 0)
    nothing = [episode._replace(terminated=True) for episode in played.episodes]
    close(tuning, tuning.run("mine", seed=0), played, replace(played, name="other", episodes=nothing), RunLimits())
    report = (tmp_path / "run" / "mine" / "report.md").read_text()
    assert "- other: none of its designs completed and kept the constraints." in report
    assert "| other |" not in report


def test_under_eq_2_the_sum_as_printed_stands_beside_the_reward(bright, tmp_path):
    # All of the weight is the size's, so every sum is below 0.
    reward = PaperReward(0.0)
    tuning = prepare(bright, tmp_path / "run", Machines("cpu", 1), reward)
    play_both(tuning, "random", learner("random"), None, 0, RunLimits(3))
    folder = tmp_path / "run" / "random-seed0"
    with (folder / "episodes-random.csv").open() as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        printed = -float(row["model_size_mb"])
        assert float(row["reward_as_printed"]) == pytest.approx(printed)
        assert float(row["reward"]) == pytest.approx(printed / (1 - printed))
    report = (folder / "report.md").read_text()
    assert "As printed, Eq. 2 is below 0 for 3 of the 3 completed designs (100%); with c_A = 0.000" in report
    assert "- Epochs of a design's training: 1, as given." in report


def test_each_play_of_a_running_budget_begins_with_ten_epochs(bright, tmp_path):
    task = replace(bright, recipe=replace(bright.recipe, epochs="running"), reward=PaperReward())
    tuning = prepare(task, tmp_path / "run", Machines("cpu", 1))
    assert tuning.reward.accuracy_score == "per_epoch"
    first = [tuning.play(name, learner("random"), 3, 0) for name in ("random", "again")]
    assert first[0].episodes == first[1].episodes
    budgets = [next(iter(played.trials.values())).request.epochs for played in first]
    assert budgets == [10, 10]
