"""Pictures are written, and show what they are given."""

from __future__ import annotations

import pytest
import torch
from matplotlib import pyplot as plt
from torch import nn

from agents import Episode
from experiments.tuning.pictures import (
    improvement_bars,
    parallel_coordinates,
    pareto_front,
    predicted_masks,
    rewards_per_episode,
)
from experiments.tuning.tuning import Play
from marl_hpo_env import Layer, SearchSpace


@pytest.fixture
def drawn(monkeypatch):
    """The figures that were drawn, which are closed otherwise."""
    figures = []
    monkeypatch.setattr(plt, "close", figures.append)
    yield figures
    monkeypatch.undo()
    plt.close("all")


class Above(nn.Module):
    """Scores above 0 where the first channel is above a half; with auxiliary scores that say the contrary."""

    def __init__(self, several):
        super().__init__()
        self.several = several

    def forward(self, images):
        scores = images[:, :1] - 0.5
        return (scores, -scores) if self.several else scores


@pytest.mark.parametrize("several", [False, True])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_masks_are_shown_beside_the_images_and_what_was_predicted(tmp_path, drawn, several, channels):
    images = torch.zeros(3, channels, 4, 4)
    images[:, :, :2] = 1
    masks = torch.zeros(3, 1, 4, 4)
    masks[:, :, :, :2] = 1
    predicted_masks(Above(several), (images, masks), tmp_path / "masks.png", count=2)
    assert (tmp_path / "masks.png").read_bytes().startswith(b"\x89PNG")
    (figure,) = drawn
    assert [axis.get_ylabel() for axis in figure.axes[::2]] == ["image", "true mask", "predicted"]
    shown = [axis.images[0].get_array() for axis in figure.axes]
    assert len(shown) == 3 * 2
    assert shown[0].shape == ((4, 4, 3) if channels == 3 else (4, 4))
    assert shown[2].tolist() == [[1, 1, 0, 0]] * 4
    assert shown[4].tolist() == [[1] * 4] * 2 + [[0] * 4] * 2


def test_fewer_images_than_columns_and_a_mask_of_one_value_are_drawn(tmp_path, drawn):
    predicted_masks(Above(False), (torch.zeros(1, 1, 4, 4), torch.zeros(1, 1, 4, 4)), tmp_path / "masks.png")
    assert len(drawn[0].axes) == 3


def test_a_pareto_front_has_every_design_the_front_in_order_and_the_original(tmp_path, drawn):
    seen = [(0.9, 3.0, 7.0), (0.5, 1.0, 8.0), (0.6, 2.0, 9.0), (0.4, 2.0, 9.0)]
    pareto_front(seen, seen[:3], (0.8, 4.0, 5.0), ["accuracy", "size", "time"], tmp_path / "front.png")
    assert (tmp_path / "front.png").read_bytes().startswith(b"\x89PNG")
    (axis,) = drawn[0].axes
    assert (axis.get_xlabel(), axis.get_ylabel()) == ("size", "accuracy")
    designs, front, original = ([*zip(*line.get_data(), strict=True)] for line in axis.lines)
    assert set(designs) == {(size, accuracy) for accuracy, size, _ in seen}
    assert front == [(1.0, 0.5), (2.0, 0.6), (3.0, 0.9)]
    assert original == [(4.0, 0.8)]


def test_rewards_per_episode_have_the_sum_as_printed_on_an_axis_of_its_own(tmp_path, drawn):
    rewards, printed = [-0.9, 3.0, -0.5, 5.0], [-9.0, 3.0, -1.0, 5.0]
    played = Play("pairwise-q", [Episode((0,), reward, {}, False) for reward in rewards], ["", "", "", ""], {}, None)
    rewards_per_episode(played, tmp_path / "rewards.png", 3, printed)
    first, second, *twins = drawn[0].axes
    assert list(first.lines[0].get_ydata()) == rewards[:3]
    assert list(first.lines[1].get_ydata()) == [-0.9, 3.0, 3.0]
    assert list(second.lines[0].get_ydata()) == rewards[3:]
    assert [list(twin.lines[0].get_ydata()) for twin in twins] == [printed[:3], printed[3:]]
    assert twins[0].get_ylim() == twins[1].get_ylim()
    rewards_per_episode(played, tmp_path / "rewards.png", 3)
    assert len(drawn[1].axes) == 2


def test_improvements_are_bars_in_times_and_in_points(tmp_path, drawn):
    improvement_bars({"pairwise-q": [40.0, 2.0, 1.5, 0.5], "random": [2.0, 0.9, 1.0, -1.0]}, tmp_path / "bars.png")
    assert (tmp_path / "bars.png").read_bytes().startswith(b"\x89PNG")
    times, points = drawn[0].axes
    assert [bar.get_height() for bar in times.patches] == [40.0, 2.0, 1.5, 2.0, 0.9, 1.0]
    assert [bar.get_height() for bar in points.patches] == [0.5, -1.0]
    assert [text.get_text() for text in times.get_legend().get_texts()] == ["pairwise-q", "random"]


def test_designs_are_lines_through_their_values_and_the_one_taken_home_lies_on_top(tmp_path, drawn):
    space = SearchSpace([Layer("conv", "Conv2d", {"out_channels": (8, 2, 4), "kernel_size": ((1, 1), (3, 3))})])
    shown = [("conv", "out_channels"), ("conv", "kernel_size")]
    designs = [space.design({"conv": {"out_channels": n, "kernel_size": (k, k)}}) for n, k in ((8, 3), (2, 1), (4, 3))]
    figures = dict(zip(designs, (0.5, 0.9, 0.7), strict=True))
    parallel_coordinates(space, shown, figures, "validation_accuracy", designs[2], tmp_path / "designs.png")
    assert (tmp_path / "designs.png").read_bytes().startswith(b"\x89PNG")
    (axis,) = drawn[0].axes
    lines = [list(line.get_ydata()) for line in axis.lines if len(line.get_ydata()) == 3]
    # The values in ascending order from 0 to 1, then the figure likewise; the best is drawn last.
    assert lines == [[1, 1, 0], [0.5, 1, pytest.approx(0.5)], [0, 0, 1], [0.5, 1, pytest.approx(0.5)]]
    assert [text.get_text().strip() for text in axis.texts] == ["2", "4", "8", "1", "3", "0.5", "0.9"]
    assert [label.get_text() for label in axis.get_xticklabels()] == [
        "conv kernels",
        "conv size",
        "validation_accuracy",
    ]
