"""Regularized (aging) evolution.

Real, Aggarwal, Huang, Le, "Regularized Evolution for Image Classifier Architecture Search", AAAI 2019, Algorithm 1: a
population begins at random; each cycle draws a sample from it with replacement, mutates the sample's best into a child,
adds the child, and removes the oldest. The source evaluates 20,000 designs with a population of 100 and samples of 25.

Deviations: population and sample are a fifth of the source's, in the same proportion, since here a few hundred designs
are evaluated and not 20,000 (NAS-Bench-101's own script has 50 and 10, NAS-Bench-201's 10 and 3). A mutation gives one
hyperparameter of one layer another value (in the source one operation or input of a cell); the source's identity mutation
is left out, since the same design has the same reward. In a batch every child comes from the population as it was told
last, as with the source's asynchronous workers.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

import numpy as np

from agents.protocol import Episode
from marl_hpo_env import Design, InputError, SearchSpace, whole_number


class RegularizedEvolution:
    """Aging evolution: the best of a sample is mutated, and the oldest dies.

    Args:
        population_size: P, from 1 (the source: 100).
        sample_size: S, from 1 to the population's (the source: 25).

    Raises:
        InputError: for a setting outside its range.
    """

    def __init__(self, population_size: int = 20, sample_size: int = 5) -> None:
        self.population_size = whole_number("setting population_size", population_size, 1)
        self.sample_size = whole_number("setting sample_size", sample_size, 1)
        if sample_size > population_size:
            raise InputError(
                f"The setting sample_size is {sample_size}; it is at most population_size, {population_size}."
            )

    def reset(self, space: SearchSpace, seed: int) -> None:
        self._space = space
        self._rng = np.random.default_rng(whole_number("seed", seed, 0))
        # Appending to it when it is full removes the oldest.
        self._population: deque[Episode] = deque(maxlen=self.population_size)
        self._asked = 0
        self._seen: set[Design] = set()
        # Of each layer that has a choice, the hyperparameters that have one.
        self._mutable = [
            (position, [name for name, values in layer.choices.items() if len(values) > 1])
            for position, layer in enumerate(space.layers)
            if len(layer.actions) > 1
        ]

    def ask(self, n: int) -> list[Design]:
        """Children, which can be designs that came before; none once every design has been asked for."""
        designs: list[Design] = []
        while len(designs) < n and len(self._seen) < self._space.size:
            begun = self._asked >= self.population_size and self._population
            design = self._child() if begun else self._space.sample(self._rng)
            self._asked += 1
            self._seen.add(design)
            designs.append(design)
        return designs

    def tell(self, episodes: Sequence[Episode]) -> None:
        """Each episode joins the population, in which a terminated one has the reward that it was given."""
        self._population.extend(episodes)

    def _child(self) -> Design:
        sample = [self._population[index] for index in self._rng.integers(len(self._population), size=self.sample_size)]
        parent = max(sample, key=lambda episode: episode.reward)
        return self._mutated(parent.design)

    def _mutated(self, design: Design) -> Design:
        """The layer, its hyperparameter and the new value are drawn uniformly, one after the other."""
        position, names = self._mutable[self._rng.integers(len(self._mutable))]
        layer = self._space.layers[position]
        values = layer.hyperparameters(design[position])
        name = names[self._rng.integers(len(names))]
        others = [value for value in layer.choices[name] if value != values[name]]
        action = layer.action(values | {name: others[self._rng.integers(len(others))]})
        return (*design[:position], action, *design[position + 1 :])
