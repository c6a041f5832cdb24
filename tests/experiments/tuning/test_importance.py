"""What layers and hyperparameters explain of how designs differ."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from experiments.tuning.importance import importance_table, most_important, of_table, of_trials, ordered
from marl_hpo_env import Layer, SearchSpace

SPACE = SearchSpace(
    [
        Layer("conv", "Conv2d", {"out_channels": (8, 2, 4), "kernel_size": ((1, 1), (3, 3))}),
        Layer("act", "ReLU", {"type": ("torch.nn.ReLU", "torch.nn.SiLU")}, ("conv",)),
        Layer("fixed", "Linear", {"out_features": (5,)}, ("act",)),
    ]
)


def worth(design, joint=0.0):
    """2 per step of kernels, 1 for the larger kernel; the activation matters only beside it."""
    chosen = SPACE.hyperparameters(design)
    steps = {2: 0, 4: 1, 8: 2}[chosen["conv"]["out_channels"]]
    large = chosen["conv"]["kernel_size"] == (3, 3)
    return 2.0 * steps + large + joint * (large != (chosen["act"]["type"] == "torch.nn.SiLU"))


EVERY = [SPACE.design_at(number) for number in range(SPACE.size)]


def test_a_table_s_variance_is_decomposed_exactly():
    shares = of_table(SPACE, np.array([worth(design) for design in EVERY]))
    kernels, size = 4 * 2 / 3, 1 / 4  # the variances of 0, 2, 4 and of 0, 1
    assert shares["conv"]["out_channels"] == pytest.approx(kernels / (kernels + size))
    assert shares["conv"]["kernel_size"] == pytest.approx(size / (kernels + size))
    assert shares["act"]["type"] == pytest.approx(0)
    assert shares["fixed"]["out_features"] == pytest.approx(0)
    # What only works together is nobody's alone.
    joint = of_table(SPACE, np.array([worth(design, joint=10.0) for design in EVERY]))
    assert joint["act"]["type"] == pytest.approx(0)
    assert sum(sum(layer.values()) for layer in joint.values()) < 0.2


def test_designs_without_a_value_are_left_out_and_without_a_difference_there_is_nothing_to_say():
    landscape = np.array([worth(design) for design in EVERY])
    landscape[::5] = np.nan
    assert 0.8 < of_table(SPACE, landscape)["conv"]["out_channels"] < 1
    assert of_table(SPACE, np.ones(SPACE.size)) is None


def test_of_trials_it_is_fanova_the_same_each_time():
    pytest.importorskip("optuna")
    wide = SearchSpace(
        [*SPACE.layers, Layer("last", "Linear", {"out_features": (1, 2, 3)}, ("fixed",))],
    )
    values = {(*design, i): worth(design) for design, i in itertools.product(EVERY, range(3))}
    shares = of_trials(wide, values)
    assert shares["conv"]["out_channels"] > 0.75
    assert 0.02 < shares["conv"]["kernel_size"] < 0.2
    assert shares["act"]["type"] == shares["fixed"]["out_features"] == pytest.approx(0, abs=0.01)
    assert of_trials(wide, values) == shares
    assert of_trials(wide, dict(itertools.islice(values.items(), 19))) is None  # too few
    assert of_trials(wide, dict.fromkeys(values, 1.0)) is None


def test_the_table_has_the_most_important_layer_on_top_and_its_parts():
    shares = {"act": {"type": 0.05}, "conv": {"out_channels": 0.5, "kernel_size": 0.25}}
    header, rows = importance_table({"accuracy": shares, "size": None})
    assert header == ["layer", "% of accuracy"]
    assert rows == [["conv", "75 (kernels 50, size 25)"], ["act", "5"], ["all, each alone", "80"]]
    assert importance_table({"accuracy": None}) is None


def test_axes_are_the_most_important_in_network_order_and_only_where_there_is_a_choice():
    shares = of_table(SPACE, np.array([worth(design) for design in EVERY]))
    assert most_important(SPACE, shares, 2) == [("conv", "out_channels"), ("conv", "kernel_size")]
    assert most_important(SPACE, None) == [("conv", "out_channels"), ("conv", "kernel_size"), ("act", "type")]
    assert ordered((8, 2, 4)) == [2, 4, 8]
    assert ordered((3, "same")) == [3, "same"]
