"""The costs of the paper's learner, on small search spaces."""

from __future__ import annotations

import pytest

from agents import PairwiseQ
from experiments.reproduction.overhead import measured


@pytest.mark.parametrize("shape", ["chain", "fork", "merge"])
def test_cells_are_counted_and_a_long_first_phase_visits_nearly_all(spaces, shape):
    if shape not in spaces:
        pytest.skip(f"there is no {shape}")
    space = spaces[shape]
    cells = sum(space.sizes[i] * space.sizes[j] for i, j in space.pairs)
    short = measured(PairwiseQ(exploration_episodes=1, max_exploitation_episodes=0), space, 0)
    assert short["cells"] == cells
    assert short["unvisited_after_exploration"] == short["unvisited_at_the_end"] == cells - len(space.pairs)
    assert (short["exploration_episodes"], short["exploitation_episodes"]) == (1, 0)
    long = measured(PairwiseQ(exploration_episodes=20 * cells, max_exploitation_episodes=5), space, 0)
    assert long["unvisited_after_exploration"] == 0
    assert long["tables"] == len(space.pairs)
    assert long["bytes_as_kept"] > 8 * cells
