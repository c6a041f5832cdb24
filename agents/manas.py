"""MANAS: every agent is an adversarial bandit of its own.

Carlucci, Esperança, Tutunov, Singh, Gabillon, Yang, Xu, Chen, Wang, "MANAS: Multi-Agent Neural Architecture Search",
arXiv:1909.01051 (Lopes et al., Machine Learning 113, 2024), Algorithm 1 with the variant "MANAS" of section 5.2
("coordinated descent", the one with softmax sampling; not MANAS-LS): EXP3 (Auer et al. 2002) for each agent, all fed with
the loss of the joint design.

Deviations: a design is trained from fresh weights by the evaluator, so lines 4 and 5 of Algorithm 1 (shared weights) fall
away. The softmax of the source as printed prefers high losses; the exponent is negative here. The loss is the reward
mapped from the range seen so far, highest to lowest, to 0 to 1, the earlier losses with every new range again. The source
leaves the temperature open; it is the anytime one of Bubeck and Cesa-Bianchi, "Regret Analysis of Stochastic and
Nonstochastic Multi-armed Bandit Problems", 2012, Theorem 3.1, `eta_t = sqrt(ln K / (t K))`, with which an agent with K
actions has an expected regret of at most `2 sqrt(T K ln K)` after T rounds.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from agents.protocol import Episode, TurnBasedLearner
from marl_hpo_env import Design, SearchSpace


class Manas(TurnBasedLearner):
    """MANAS: one EXP3 bandit per layer, all fed with the loss of the joint design."""

    def reset(self, space: SearchSpace, seed: int) -> None:
        super().reset(space, seed)
        self._space = space
        self._rng = np.random.default_rng(seed)
        # Of each layer's actions, over the rounds that played them: the sums of 1 / probability and reward / probability.
        # Rewards count from the first one, so that a narrow range far from zero keeps its digits.
        self._weights = [np.zeros(size) for size in space.sizes]
        self._rewards = [np.zeros(size) for size in space.sizes]
        self._origin = self._lowest = self._highest = 0.0
        self._rounds = 0
        self._picks: list[int] = []
        self._probabilities: list[float] = []
        self._asked: dict[Design, list[float]] = {}  # with the probability of each pick
        self._seen: set[Design] = set()

    @property
    def finished(self) -> bool:
        """Whether every design has been asked for."""
        return len(self._seen) == self._space.size

    def act(self, agent: str, observation: Mapping[str, Any]) -> int:
        """Algorithm 1, line 3: an action drawn from the agent's policy."""
        layer = self._space.position(agent)
        if layer == 0:
            self._picks, self._probabilities = [], []
        policy = self.policy(layer)
        action = int(self._rng.choice(len(policy), p=policy))
        self._picks.append(action)
        self._probabilities.append(float(policy[action]))
        if len(self._picks) == len(self._space):
            design = tuple(self._picks)
            self._asked[design] = self._probabilities
            self._seen.add(design)
        return action

    def policy(self, layer: int) -> npt.NDArray[np.float64]:
        """The layer's probabilities, shape (actions,): the softmax of section 5.2."""
        actions = self._space.sizes[layer]
        if self._lowest == self._highest:
            return np.full(actions, 1 / actions)
        # Eq. 6, its sum of losses taken apart, so that it can be had for a range of rewards that was not known at the time.
        losses = (self._highest * self._weights[layer] - self._rewards[layer]) / (self._highest - self._lowest)
        eta = math.sqrt(math.log(actions) / (self._rounds * actions))
        exponentials = np.exp(-eta * (losses - losses.min()))
        probabilities: npt.NDArray[np.float64] = exponentials / exponentials.sum()
        return probabilities

    def tell(self, episodes: Sequence[Episode]) -> None:
        """Algorithm 1, line 7: each agent's credit assignment, Eq. 6."""
        # All are looked up first: a design can be in a batch more than once.
        told = [(episode, self._asked.get(episode.design)) for episode in episodes]
        for episode, probabilities in told:
            self._asked.pop(episode.design, None)
            self._seen.add(episode.design)
            if probabilities is None:
                continue  # never asked for: Eq. 6 divides by the probability with which it would have been
            self._rounds += 1
            if self._rounds == 1:
                self._origin = episode.reward
            reward = episode.reward - self._origin
            self._lowest, self._highest = min(self._lowest, reward), max(self._highest, reward)
            for layer, (action, probability) in enumerate(zip(episode.design, probabilities, strict=True)):
                self._weights[layer][action] += 1 / probability
                self._rewards[layer][action] += reward / probability
