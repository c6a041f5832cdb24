"""Local search: hill climbing with random restarts.

White, Nolen, Savani, "Local Search is State of the Art for Neural Architecture Search Benchmarks", UAI 2021, section 3,
in the variant "query until lower" that their published code runs by default: neighbours are evaluated in random order,
and the first that is better is moved to. At a local optimum the search begins again at a random design. As in that code,
a neighbour that is known already is passed over. The source has no settings.

Deviations: a neighbour differs in one hyperparameter of one layer (in the source in one operation or edge). In a batch
the neighbours are asked for together; where they do not fill it, more random starts do, and of several starts the best is
climbed from, as with the source's "number of initial architectures".
"""

from __future__ import annotations

import operator
from collections.abc import Sequence

import numpy as np

from agents.protocol import Episode
from marl_hpo_env import Design, SearchSpace


class LocalSearch:
    """Hill climbing with random restarts, one hyperparameter at a time; no design is evaluated twice."""

    def reset(self, space: SearchSpace, seed: int) -> None:
        self._space = space
        self._rng = np.random.default_rng(seed)
        self._seen: set[Design] = set()
        self._starts: set[Design] = set()
        self._current: Episode | None = None
        # Of each neighbour of the current design that is still to come, the layer and its other action.
        self._moves: list[tuple[int, int]] = []

    def ask(self, n: int) -> list[Design]:
        """Neighbours of the best design of this climb, then random starts; none once every design has been asked for."""
        designs: list[Design] = []
        while len(designs) < n and len(self._seen) < self._space.size:
            start = not self._moves
            design = self._space.sample(self._rng) if start else self._neighbour(*self._moves.pop())
            if design not in self._seen:
                self._seen.add(design)
                designs.append(design)
                if start:
                    self._starts.add(design)
        return designs

    def tell(self, episodes: Sequence[Episode]) -> None:
        """Moves to what is better; or to a new start, if no neighbour was."""
        for episode in episodes:
            self._seen.add(episode.design)
            # A start is told after the neighbours that were asked before it: had one been better, there would be new moves.
            at_optimum = not self._moves and episode.design in self._starts
            if self._current is None or at_optimum or episode.reward > self._current.reward:
                self._current = episode
                self._moves = self._moves_from(episode.design)

    def _neighbour(self, layer: int, action: int) -> Design:
        assert self._current is not None
        design = self._current.design
        return (*design[:layer], action, *design[layer + 1 :])

    def _moves_from(self, design: Design) -> list[tuple[int, int]]:
        """Every layer's actions that differ from the design's in one hyperparameter, in random order."""
        moves = [
            (position, action)
            for position, layer in enumerate(self._space.layers)
            for action, values in enumerate(layer.actions)
            if sum(map(operator.ne, values, layer.actions[design[position]])) == 1
        ]
        return [moves[index] for index in self._rng.permutation(len(moves))]
