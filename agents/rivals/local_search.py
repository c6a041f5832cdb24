"""Local search: hill climbing with random restarts.

White, Nolen, Savani, "Exploring the Loss Landscape in Neural Architecture Search", UAI 2021 (arXiv:2005.02960, first called
"Local Search is State of the Art for NAS Benchmarks"), with what the authors' code, naszilla's `local_search`, does by
default: of 10 random designs the best is climbed from; its neighbours are evaluated in random order, and the first that is
better is moved to; at a local optimum the search begins again with 10 other random designs; a design that is known is not
evaluated again.

Deviations: a neighbour differs in one hyperparameter of one layer (in the source in one operation or edge). In a batch
the neighbours are asked for together, and where they do not fill it, the random designs of the next climb do.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence

import numpy as np

from agents.protocol import Episode
from marl_hpo_env import Design, SearchSpace, whole_number


class LocalSearch:
    """Hill climbing with random restarts, one hyperparameter at a time; no design is evaluated twice.

    Args:
        initial_designs: random ones at the start of each climb, from 1 (the authors' code: 10).

    Raises:
        InputError: for a setting outside its range.
    """

    def __init__(self, initial_designs: int = 10) -> None:
        self.initial_designs = whole_number("setting initial_designs", initial_designs, 1)

    def reset(self, space: SearchSpace, seed: int) -> None:
        self._space = space
        self._rng = np.random.default_rng(whole_number("seed", seed, 0))
        self._seen: set[Design] = set()
        self._starts: set[Design] = set()
        self._current: Episode | None = None
        # Of each neighbour of the current design that is still to come, the layer and its other action.
        self._moves: list[tuple[int, int]] = []
        # How many random designs of the climb are still to come, and whether it begins with the next of them that is told.
        self._starts_left = self.initial_designs
        self._begins = True

    def ask(self, n: int) -> list[Design]:
        """Random starts, then neighbours of the best design of this climb; none once every design has been asked for."""
        designs: list[Design] = []
        while len(designs) < n and len(self._seen) < self._space.size:
            if not self._starts_left and not self._moves:
                self._starts_left, self._begins = self.initial_designs, True
            start = self._starts_left > 0
            design = self._space.sample(self._rng) if start else self._neighbour(*self._moves.pop())
            if design not in self._seen:
                self._seen.add(design)
                designs.append(design)
                if start:
                    self._starts.add(design)
                    self._starts_left -= 1
        return designs

    def tell(self, episodes: Sequence[Episode]) -> None:
        """Moves to what is better; or to a new start, if no neighbour was."""
        for episode in episodes:
            self._seen.add(episode.design)
            # A start is told after the neighbours that were asked before it: had one been better, the climb would go on.
            first_start = self._begins and episode.design in self._starts
            if self._current is None or first_start or episode.reward > self._current.reward:
                if self._begins and not first_start:
                    self._starts_left = 0
                self._begins = False
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
