"""MANAS: every agent is a bandit of its own.

Carlucci, Esperança, Tutunov, Singh, Gabillon, Yang, Xu, Chen, Wang, "MANAS: Multi-Agent Neural Architecture Search",
arXiv:1909.01051 (Lopes et al., Machine Learning 113, 2024), Algorithm 1, all agents fed with the loss of the joint design:
as "MANAS" (section 5.2, coordinated descent), which is EXP3 (Auer et al. 2002) for each agent, or as "MANAS-LS" (section
5.1), which estimates the actions' parts in the losses by least squares and samples by the inverse of their ranks.

Deviations: a design is trained from fresh weights by the evaluator, so lines 4 and 5 of Algorithm 1 (shared weights) fall
away. The loss is the reward mapped from the range seen so far, highest to lowest, to 0 to 1, the earlier losses with every
new range again. Of MANAS, the softmax as printed prefers high losses; the exponent is negative here. Its temperature,
which section 5 leaves open, is the anytime one of Bubeck and Cesa-Bianchi, "Regret Analysis of Stochastic and Nonstochastic
Multi-armed Bandit Problems", 2012, Theorem 3.1, `eta_t = sqrt(ln K / (t K))`, with which an agent with K actions has a
pseudo-regret of at most `2 sqrt(T K ln K)` after T rounds. Of MANAS-LS, the S architectures of Eq. 5 are all so far, as
line 7 of Algorithm 1 has it. Ours, where the source is silent: of the many minima of Eq. 5 the one of least norm, in which
an action never picked has the estimate 0; actions with equal estimates share the probabilities of their ranks.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from agents.protocol import Episode, TurnBasedLearner
from marl_hpo_env import Design, InputError, SearchSpace, whole_number


class Manas(TurnBasedLearner):
    """MANAS: one bandit per layer, all fed with the loss of the joint design.

    Args:
        estimator: of what each action adds to the losses: `"importance-weighted"` (MANAS) or `"least-squares"` (MANAS-LS).

    Raises:
        InputError: for another estimator.
    """

    def __init__(self, estimator: Literal["importance-weighted", "least-squares"] = "importance-weighted") -> None:
        if estimator not in ("importance-weighted", "least-squares"):
            raise InputError(f"estimator is {estimator!r}; it is 'importance-weighted' or 'least-squares'.")
        self.estimator = estimator

    def reset(self, space: SearchSpace, seed: int) -> None:
        super().reset(space, seed)
        self._space = space
        self._rng = np.random.default_rng(whole_number("seed", seed, 0))
        # Of each layer's actions, over the rounds that played them: the sums of 1 / probability and reward / probability.
        # Rewards count from the first one, so that a narrow range far from zero keeps its digits.
        self._weights = [np.zeros(size) for size in space.sizes]
        self._rewards = [np.zeros(size) for size in space.sizes]
        # For least squares: every design told with its reward, and what was estimated from them, if they are still all.
        self._rewarded: list[tuple[Design, float]] = []
        self._estimates: list[npt.NDArray[np.float64]] | None = None
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
        """The layer's probabilities, shape (actions,): the softmax of section 5.2, or the Zipf law of section 5.1."""
        actions = self._space.sizes[layer]
        if self._lowest == self._highest:
            return np.full(actions, 1 / actions)
        if self.estimator == "least-squares":
            return _zipf(self._least_squares()[layer])
        # Eq. 6, its sum of losses taken apart, so that it can be had for a range of rewards that was not known at the time.
        losses = (self._highest * self._weights[layer] - self._rewards[layer]) / (self._highest - self._lowest)
        eta = math.sqrt(math.log(actions) / (self._rounds * actions))
        exponentials = np.exp(-eta * (losses - losses.min()))
        probabilities: npt.NDArray[np.float64] = exponentials / exponentials.sum()
        return probabilities

    def _least_squares(self) -> list[npt.NDArray[np.float64]]:
        """Eq. 5: of each layer, what its actions add to the loss; shape (actions,) each."""
        if self._estimates is None:
            designs, rewards = zip(*self._rewarded, strict=True)
            sizes = self._space.sizes
            picks = [np.eye(size)[column] for size, column in zip(sizes, np.transpose(designs), strict=True)]
            losses = (self._highest - np.array(rewards)) / (self._highest - self._lowest)
            solution = np.linalg.lstsq(np.concatenate(picks, axis=1), losses)[0]
            # Rounded, so that equal estimates are equal whatever the order of the sums.
            self._estimates = np.split(np.round(solution, 9), np.cumsum(sizes)[:-1])
        return self._estimates

    def tell(self, episodes: Sequence[Episode]) -> None:
        """Algorithm 1, line 7: each agent's credit assignment, Eq. 6 or, when a policy is asked for, Eq. 5."""
        # All are looked up first: a design can be in a batch more than once.
        drawn = [(episode, self._asked.get(episode.design)) for episode in episodes]
        for episode, probabilities in drawn:
            self._asked.pop(episode.design, None)
            self._seen.add(episode.design)
            if self.estimator == "importance-weighted" and probabilities is None:
                continue  # never asked for: Eq. 6 divides by the probability with which it would have been
            self._rounds += 1
            if self._rounds == 1:
                self._origin = episode.reward
            reward = episode.reward - self._origin
            self._lowest, self._highest = min(self._lowest, reward), max(self._highest, reward)
            if self.estimator == "least-squares":
                self._rewarded.append((episode.design, reward))
                self._estimates = None
            elif probabilities is not None:
                for layer, (action, probability) in enumerate(zip(episode.design, probabilities, strict=True)):
                    self._weights[layer][action] += 1 / probability
                    self._rewards[layer][action] += reward / probability


def _zipf(estimates: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Section 5.1: in proportion to the inverse of the rank, where the lowest estimate is the first."""
    _, group, counts = np.unique(estimates, return_inverse=True, return_counts=True)
    inverse_ranks = 1 / np.arange(1, len(estimates) + 1)
    shares = np.add.reduceat(inverse_ranks, np.cumsum(counts) - counts) / counts
    probabilities: npt.NDArray[np.float64] = shares[group] / inverse_ranks.sum()
    return probabilities
