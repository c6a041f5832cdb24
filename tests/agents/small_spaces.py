"""What the learners' tests build on: spaces of layers that nothing connects, and episodes."""

from __future__ import annotations

from agents import Episode
from marl_hpo_env import Design, Layer, SearchSpace


def space_of(*sizes: int) -> SearchSpace:
    """One layer for each of these numbers of actions."""
    return SearchSpace(Layer(f"layer{p}", "Linear", {"out_features": range(size)}) for p, size in enumerate(sizes))


def episode(design: Design, reward: float) -> Episode:
    """A completed design's episode."""
    return Episode(design, reward, {}, False)
