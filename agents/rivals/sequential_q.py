"""One Q-learner that designs layer by layer, with experience replay: MetaQNN, and BlockQNN after it.

Baker, Gupta, Naik and Raskar, "Designing Neural Network Architectures using Reinforcement Learning" (ICLR 2017); Zhong,
Yan, Wu, Shao and Liu, "Practical Block-wise Neural Network Architecture Generation" (CVPR 2018), the same learner with 64
replays, another schedule of epsilon and shaped intermediate rewards, none of which is used here.

As in MetaQNN (section 4): the state is the layer's number and what the layer before it picked; the discount is 1 and every
reward but the last is 0; each new reward is followed by 100 replayed designs (128 in the authors' code), each updated from
its last layer to its first, with learning rate 0.01; epsilon, drawn by every layer, is 1 for the first 1,500 of 2,700
trained networks, then falls in steps to 0.1. The schedule counts distinct designs, and a design met again is no new training.

Ours: layers and their order are given, so no pick ends the network; the state is without the size of the representation,
by which MetaQNN rules picks out, since every pick is possible here; on forks and merges the layer before is still the one
before in network order, as BlockQNN's sequence of layers has it; the schedule is scaled to 200 evaluations, 1 in 13.5 of the
source's, unless told otherwise; values start from the first reward instead of 0.5 (the authors' code), since rewards here
have no fixed range; memory is the distinct designs told, at their last reward, where the authors' code keeps a design once
for every time it was met. A terminated design counts as any other, at its penalty.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from agents.protocol import Episode, TurnBasedLearner
from marl_hpo_env import Design, InputError, SearchSpace, whole_number

EPSILONS = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1)
"""MetaQNN's schedule (its Table 2)."""

EPSILON_STARTS = (0, 1500, 1600, 1700, 1800, 1950, 2100, 2250, 2400, 2550)
"""How many networks of 2,700 are trained before each epsilon; the last one lasts."""


class SequentialQ(TurnBasedLearner):
    """One tabular Q-learner for all layers, with experience replay (MetaQNN).

    Args:
        schedule_evaluations: evaluations over which epsilon falls from 1 to 0.1 (MetaQNN: 2,700; 200 is ours). It is 1
            for the first 5/9 of them.
        learning_rate: of Q-learning (MetaQNN: 0.01).
        replays: designs replayed after every episode (MetaQNN: 100).

    Attributes:
        q: the values, `q[layer][previous pick][action]`; one row for the first layer. Empty before the first reward.

    Raises:
        InputError: for a setting outside its range.
    """

    def __init__(self, schedule_evaluations: int = 200, learning_rate: float = 0.01, replays: int = 100) -> None:
        for name, count in (("schedule_evaluations", schedule_evaluations), ("replays", replays)):
            whole_number(f"setting {name}", count, 1)
        if not 0 < learning_rate <= 1:
            raise InputError(f"The setting learning_rate is {learning_rate}; it is above 0 and at most 1.")
        self.schedule_evaluations = schedule_evaluations
        self.learning_rate = learning_rate
        self.replays = replays

    def reset(self, space: SearchSpace, seed: int) -> None:
        """Empty tables and memory."""
        super().reset(space, seed)
        self._rng = np.random.default_rng(whole_number("seed", seed, 0))
        self._sizes = space.sizes
        # Empty until the first reward says where values start.
        self.q: list[list[list[float]]] = []
        self._memory: dict[Design, float] = {}
        self._designs: list[Design] = []
        self._previous = 0

    @property
    def epsilon(self) -> float:
        """The probability with which a layer now picks at random."""
        trained = len(self._memory) * 2700 / self.schedule_evaluations
        return EPSILONS[bisect_right(EPSILON_STARTS, trained) - 1]

    def act(self, agent: str, observation: Mapping[str, Any]) -> int:
        """Epsilon-greedy on the row of the previous pick; ties at random."""
        layer = self._game.space.position(agent)
        row = 0 if layer == 0 else self._previous
        if not self.q or self._rng.random() < self.epsilon:
            action = int(self._rng.integers(self._sizes[layer]))
        else:
            values = self.q[layer][row]
            highest = max(values)
            action = int(self._rng.choice([a for a, value in enumerate(values) if value == highest]))
        self._previous = action
        return action

    def tell(self, episodes: Sequence[Episode]) -> None:
        """Each episode is remembered, then designs drawn from the memory are replayed."""
        for episode in episodes:
            if not self.q:
                rows = (1, *self._sizes[:-1])
                self.q = [
                    [[episode.reward] * size for _ in range(n)] for n, size in zip(rows, self._sizes, strict=True)
                ]
            if episode.design not in self._memory:
                self._designs.append(episode.design)
            self._memory[episode.design] = episode.reward
            for drawn in self._rng.integers(len(self._designs), size=self.replays).tolist():
                self._replay(self._designs[drawn])

    def _replay(self, design: Design) -> None:
        """Eq. 3 of MetaQNN along a design, in reversed order, so that one pass carries its reward to the first layer."""
        target = self._memory[design]
        rows = (0, *design[:-1])
        for values_of, row, action in zip(reversed(self.q), reversed(rows), reversed(design), strict=True):
            values = values_of[row]
            values[action] += self.learning_rate * (target - values[action])
            target = max(values)
