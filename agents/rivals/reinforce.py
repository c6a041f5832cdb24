"""A recurrent controller trained by REINFORCE: Zoph and Le; with a weighted reward it is MONAS.

Zoph and Le, "Neural Architecture Search with Reinforcement Learning" (ICLR 2017); Hsu et al., "MONAS: Multi-Objective Neural
Architecture Search using Reinforcement Learning" (2018), which gives such a controller a reward that weighs accuracy
against other objectives, as every reward here does. REINFORCE is Williams's (1992).

As in Zoph and Le (sections 3.2 and 4.1): an LSTM reads the last layer's action and a softmax per layer picks the next; every
weight starts uniform within +-0.08; the gradient of the expected reward is taken with an exponential moving average of past
rewards as its baseline, averaged over the designs of a batch (here: those told at once), and followed by Adam with learning
rate 0.0006. A design met again is one more sample of the policy.

Otherwise than there: one LSTM of 100 units in place of two of 35, as in the authors' next paper (Zoph et al., 2018), of whose
PPO and its settings nothing else is taken; one controller in place of parallel ones. The moving average has decay 0.9, which
the source does not give: it is that of NAS-Bench-201's REINFORCE (Zoph et al., 2018: 0.95). Ours: the advantage is divided by
the moving deviation of rewards, since rewards here have no fixed range (the source cubes accuracies). A terminated design
counts as any other, at its penalty.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from agents.protocol import Episode, TurnBasedLearner
from agents.rivals.torch_isolation import one_thread
from marl_hpo_env import InputError, SearchSpace, whole_number

if TYPE_CHECKING:
    import torch

UNITS = 100
"""Of the LSTM, and of the embeddings of actions that it reads."""


class Reinforce(TurnBasedLearner):
    """A recurrent controller trained by policy gradients, with a moving-average baseline (Zoph and Le; MONAS).

    Args:
        learning_rate: of Adam (the source: 0.0006). Higher ones settle earlier, and more often on a worse design.
        baseline_decay: of the moving averages of rewards and of their squared distances from it (0.9 as in NAS-Bench-201).

    Raises:
        InputError: for a setting outside its range.
    """

    def __init__(self, learning_rate: float = 0.0006, baseline_decay: float = 0.9) -> None:
        if not learning_rate > 0:
            raise InputError(f"The setting learning_rate is {learning_rate}; it is above 0.")
        if not 0 <= baseline_decay < 1:
            raise InputError(f"The setting baseline_decay is {baseline_decay}; it is at least 0 and below 1.")
        self.learning_rate = learning_rate
        self.baseline_decay = baseline_decay

    def reset(self, space: SearchSpace, seed: int) -> None:
        """New weights, no baseline."""
        import torch
        from torch import nn

        super().reset(space, seed)
        seed = whole_number("seed", seed, 0)
        self._rng = np.random.default_rng(seed)
        layers, actions = len(space), max(space.sizes)
        self._lstm = nn.LSTM(UNITS, UNITS, device="meta").to_empty(device="cpu")
        self._embedding = torch.empty(1 + layers * actions, UNITS)  # of the start, and of every layer's actions
        self._kernel, self._bias = torch.empty(layers, actions, UNITS), torch.empty(layers, actions)  # of the softmaxes
        weights = [*self._lstm.parameters(), self._embedding, self._kernel, self._bias]
        generator = torch.Generator().manual_seed(seed)
        for weight in weights:
            nn.init.uniform_(weight.requires_grad_(), -0.08, 0.08, generator)
        self._optimizer = torch.optim.Adam(weights, self.learning_rate, maximize=True)
        self._offsets = 1 + actions * torch.arange(layers)
        self._illegal = torch.arange(actions) >= torch.tensor(space.sizes)[:, None]
        self._baseline: float | None = None
        self._variance = 0.0

    def act(self, agent: str, observation: Mapping[str, Any]) -> int:
        """Draws from the layer's softmax."""
        import torch

        layer = self._game.space.position(agent)
        if layer == 0:
            self._token, self._state = 0, None
        size = len(observation["action_mask"])
        with one_thread(), torch.no_grad():
            output, self._state = self._lstm(self._embedding[self._token, None], self._state)
            logits = self._kernel[layer, :size] @ output[0] + self._bias[layer, :size]
        # The highest of logits plus Gumbel noise is a draw from their softmax.
        action = int(np.argmax(logits.numpy() + self._rng.gumbel(size=size)))
        self._token = int(self._offsets[layer]) + action
        return action

    def tell(self, episodes: Sequence[Episode]) -> None:
        """One step along the policy gradient, averaged over the episodes; also with ones that it did not ask for."""
        import torch

        if not episodes:
            return
        designs = torch.tensor([episode.design for episode in episodes])
        advantages = torch.tensor([self._advantage(episode.reward) for episode in episodes])
        with one_thread():
            self._optimizer.zero_grad()
            (advantages * self._log_probabilities(designs)).mean().backward()
            self._optimizer.step()

    def _log_probabilities(self, designs: torch.Tensor) -> torch.Tensor:
        """Of drawing each of the designs, which have shape (designs, layers)."""
        import torch

        starts = torch.zeros(len(designs), 1, dtype=torch.long)
        tokens = torch.cat([starts, (designs + self._offsets)[:, :-1]], dim=1)
        outputs, _ = self._lstm(self._embedding[tokens.T])  # (layers, designs, units)
        logits = torch.einsum("ldu,lau->dla", outputs, self._kernel) + self._bias
        log_softmax = logits.masked_fill(self._illegal, -torch.inf).log_softmax(dim=-1)
        return log_softmax.gather(-1, designs[..., None]).sum(dim=(1, 2))

    def _advantage(self, reward: float) -> float:
        """The reward's distance from the moving average before it, in moving deviations; at most 1 / sqrt(1 - decay)."""
        if self._baseline is None:
            self._baseline = reward
        distance = reward - self._baseline
        self._baseline += (1 - self.baseline_decay) * distance
        self._variance = self.baseline_decay * self._variance + (1 - self.baseline_decay) * distance * distance
        return distance / math.sqrt(self._variance) if self._variance else 0.0
