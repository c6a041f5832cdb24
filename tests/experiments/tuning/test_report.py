"""What a run shows at its end: the front of what was seen, and for masks what the found network predicts."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from agents import learner
from experiments.tuning.report import front, front_objectives, front_table
from experiments.tuning.session import close, play_learner, prepare
from marl_hpo_env import Data, PaperReward, Recipe, Task, WeightedReward
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


# --- a run that ends -------------------------------------------------------------------------------------------------


def _network() -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 1, 1))


@pytest.fixture(scope="module")
def bright() -> Task:
    """Finding the bright quarter of 8x8 images."""
    generator = torch.Generator().manual_seed(0)
    masks = torch.zeros(24, 1, 8, 8)
    for number, mask in enumerate(masks):
        top, left = 4 * (number % 2), 4 * (number // 2 % 2)
        mask[0, top : top + 4, left : left + 4] = 1
    images = masks + 0.1 * torch.randn(masks.shape, generator=generator)
    splits = Data(*zip(images.split(8), masks.split(8), strict=True))
    return Task(
        "bright",
        _network,
        splits,
        choices={"0": {"out_channels": (2, 4), "kernel_size": (1, 3)}},
        recipe=Recipe(batch_size=8, epochs=1, learning_rate=0.05, patience=2, max_epochs=3),
    )


def test_a_run_on_masks_ends_in_a_front_and_in_predicted_masks(bright, tmp_path, capsys):
    tuning = prepare(bright, tmp_path / "run", "cpu", 1)
    played = play_learner(tuning, learner("random"), "random", 0, 4)
    stopped = next(design for design in played.trials if design != played.best.design)
    played.trials[stopped] = replace(played.trials[stopped], status="terminated")
    close(tuning, played)
    said = capsys.readouterr().out
    for name in ("pareto-front.png", "masks.png", "rewards-random.png"):
        assert (tmp_path / "run" / name).read_bytes().startswith(b"\x89PNG")
        assert str(tmp_path / "run" / name) in said
    report = (tmp_path / "run" / "report.md").read_text()
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
    tuning = prepare(bright, tmp_path / "run", "cpu", 1, reward)
    played = play_learner(tuning, learner("random"), "random", 0, 2)
    with pytest.raises(SystemExit) as ended:
        close(tuning, played)
    assert ended.value.code == 1
    assert "None of the 2 designs completed and kept the constraints" in capsys.readouterr().err
    assert not (tmp_path / "run" / "report.md").exists()
