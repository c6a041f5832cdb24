"""Episodes, as the learners' tests tell them."""

from __future__ import annotations

from agents import Episode, Learner
from marl_hpo_env import Design, Layer, SearchSpace

MIXED = SearchSpace(
    [
        Layer("conv", "Conv2d", {"out_channels": (32, 8, 16), "kernel_size": ((1, 1), (3, 3))}),
        Layer("fixed", "Dropout", {"p": (0.5,)}, ("conv",)),
        Layer("fc", "Linear", {"out_features": (64, 16, 32, 8)}, ("fixed",)),
    ]
)
"""Numbers out of order, a category, and a layer without a choice."""


def episode(design: Design, reward: float) -> Episode:
    """A completed design's episode."""
    return Episode(design, reward, {}, False)


def widest_is_best(design: Design) -> Episode:
    """Of `MIXED`: the widest is the best, and a 1x1 kernel is terminated."""
    values = MIXED.hyperparameters(design)
    if values["conv"]["kernel_size"] == (1, 1):
        return Episode(design, -2.0, {"validation_accuracy": float("nan")}, True)
    reward = values["conv"]["out_channels"] / 64 + values["fc"]["out_features"] / 128
    return Episode(design, reward, {"validation_accuracy": reward}, False)


def told_of_widths(learner: Learner, seed: int, episodes: int = 16) -> list[Episode]:
    """What a learner was told when it was asked for one design of `MIXED` after the other; fewer where it has no more."""
    learner.reset(MIXED, seed)
    told: list[Episode] = []
    while len(told) < episodes and (designs := learner.ask(1)):
        told += map(widest_is_best, designs)
        learner.tell(told[-len(designs) :])
    return told
