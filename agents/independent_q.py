"""Independent Q-learning: every agent learns alone from the reward that all share.

Claus, Boutilier, "The Dynamics of Reinforcement Learning in Cooperative Multiagent Systems", AAAI 1998: each *independent
learner* keeps one value per action of its own, whatever the others do, and after every play of the game moves it towards
the reward, `Q(a) <- Q(a) + alpha (r - Q(a))`. A design is one play of this game: there are no states. (From memory: the
source's text was not at hand.)

Deviations: exploration is epsilon-greedy with the decay of Iranfar et al. (VIII-G) down to a least epsilon, where the
source draws from a Boltzmann distribution, whose temperature would have to suit the scale of the rewards. So that no
other setting depends on that scale, an action that was never tried counts as the best, and a value is the mean of its
rewards until their number reaches 1 / alpha.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from agents.protocol import Episode, TurnBasedLearner
from marl_hpo_env import Design, InputError, SearchSpace, whole_number


class IndependentQ(TurnBasedLearner):
    """Independent Q-learning agents: one value per action of each layer, epsilon-greedy, one shared reward.

    Args:
        alpha: the step towards a reward, once an action has been tried `1 / alpha` times (0.1 is ours).
        epsilon_decay: each agent's epsilon is `epsilon_decay ** n` in the n-th episode (Iranfar et al., VIII-G: 0.99).
        least_epsilon: it never falls below (ours; at 0 the team in the end repeats one design for ever).

    Raises:
        InputError: for a setting outside its range.
    """

    def __init__(self, alpha: float = 0.1, epsilon_decay: float = 0.99, least_epsilon: float = 0.05) -> None:
        for name, rate in (("alpha", alpha), ("epsilon_decay", epsilon_decay), ("least_epsilon", least_epsilon)):
            if isinstance(rate, bool) or not isinstance(rate, int | float):
                raise InputError(f"The setting {name} is {rate!r}; it is a number.")
            if not 0 <= rate <= 1 or (rate == 0 and name != "least_epsilon"):
                raise InputError(
                    f"The setting {name} is {rate}; it lies within 0 and 1, and only least_epsilon can be 0."
                )
        self.alpha = alpha
        self.epsilon_decay = epsilon_decay
        self.least_epsilon = least_epsilon

    def reset(self, space: SearchSpace, seed: int) -> None:
        super().reset(space, seed)
        self._space = space
        self._rng = np.random.default_rng(whole_number("seed", seed, 0))
        self.q = [np.full(size, math.inf) for size in space.sizes]
        self._tries = [[0] * size for size in space.sizes]
        self._picks: list[int] = []
        self._asked = 0
        self._seen: set[Design] = set()

    @property
    def finished(self) -> bool:
        """Whether every design has been asked for."""
        return len(self._seen) == self._space.size

    def act(self, agent: str, observation: Mapping[str, Any]) -> int:
        """The agent's best action or, with probability epsilon, any; ties at random."""
        layer = self._space.position(agent)
        if layer == 0:
            self._picks = []
        values = self.q[layer]
        if self._rng.random() < max(self.least_epsilon, self.epsilon_decay**self._asked):
            action = int(self._rng.integers(len(values)))
        else:
            action = int(self._rng.choice(np.flatnonzero(values == values.max())))
        self._picks.append(action)
        if len(self._picks) == len(self._space):
            self._asked += 1
            self._seen.add(tuple(self._picks))
        return action

    def tell(self, episodes: Sequence[Episode]) -> None:
        """Moves the value of every action of the design towards the shared reward."""
        for episode in episodes:
            for values, tries, action in zip(self.q, self._tries, episode.design, strict=True):
                tries[action] += 1
                if tries[action] == 1:
                    values[action] = episode.reward
                else:
                    values[action] += max(self.alpha, 1 / tries[action]) * (episode.reward - values[action])
