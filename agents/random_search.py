"""Random search, the baseline of the paper (VIII-B) and of the field (Bergstra and Bengio, 2012)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from agents.protocol import Episode
from marl_hpo_env import Design, SearchSpace, whole_number


class RandomSearch:
    """Random search without repeats: an evaluation is never spent on a design that is already known."""

    def reset(self, space: SearchSpace, seed: int) -> None:
        self._space = space
        self._rng = np.random.default_rng(whole_number("seed", seed, 0))
        self._seen: set[Design] = set()

    def ask(self, n: int) -> list[Design]:
        designs: list[Design] = []
        while len(designs) < n and len(self._seen) < self._space.size:
            design = self._space.sample(self._rng)
            if design not in self._seen:
                self._seen.add(design)
                designs.append(design)
        return designs

    def tell(self, episodes: Sequence[Episode]) -> None:
        """Learns nothing but which designs are known."""
        self._seen.update(episode.design for episode in episodes)
