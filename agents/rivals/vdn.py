"""Value-decomposition networks: the layers' agents share one network, and the team's value is the sum of theirs.

Sunehag et al., "Value-Decomposition Networks For Cooperative Multi-Agent Learning Based On Team Reward" (AAMAS 2018).

As in the source: the joint action-value is the sum of one value per agent, each from the agent's own observation and action;
only the sum is trained, on the shared reward; weights are shared, and an observation says whose it is (role information);
agents act epsilon-greedily by their own values; past episodes are replayed. As in PyMARL's VDN (Samvelyan et al., 2019):
hidden layers of 64 units; minibatches of 32 episodes; epsilon falls in a straight line from 1 to 0.05.

Otherwise than there: an episode is one joint decision with one reward, so the target is the reward itself, without
bootstrapping, target network, discount or recurrent layer. The agents decide by turns, and an agent's observation is the
paper's state, what the layers that feed its own have picked; where it depends on their picks, each agent maximises its own
value and the sum is maximised only approximately. Ours, since episodes here are few: two hidden layers; epsilon falls over
200 episodes (PyMARL: 50,000 steps); after every episode 4 minibatches (1), by Adam with learning rate 0.001 (RMSProp, 0.0005,
gradients clipped); the memory keeps everything (5,000 episodes). Rewards are standardised by the memory's mean and deviation,
since they have no fixed range. A terminated design counts as any other, at its penalty.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from agents.protocol import Episode, TurnBasedLearner
from agents.rivals.torch_isolation import one_thread
from marl_hpo_env import Design, InputError, SearchSpace, whole_number

if TYPE_CHECKING:
    import torch

UNITS = 64
"""Of each hidden layer."""

BATCH = 32
"""Episodes in a minibatch."""

LAST_EPSILON = 0.05


class ValueDecomposition(TurnBasedLearner):
    """Deep Q-learning agents with shared weights, whose values add up to the team's (VDN).

    Args:
        decay_episodes: epsilon falls from 1 to 0.05 over as many (200 is ours).
        learning_rate: of Adam (0.001 is ours; PyMARL's RMSProp: 0.0005).
        updates: minibatches after every episode (4 is ours; PyMARL: 1).

    Raises:
        InputError: for a setting outside its range.
    """

    def __init__(self, decay_episodes: int = 200, learning_rate: float = 0.001, updates: int = 4) -> None:
        for name, count in (("decay_episodes", decay_episodes), ("updates", updates)):
            whole_number(f"setting {name}", count, 1)
        if not learning_rate > 0:
            raise InputError(f"The setting learning_rate is {learning_rate}; it is above 0.")
        self.decay_episodes = decay_episodes
        self.learning_rate = learning_rate
        self.updates = updates

    def reset(self, space: SearchSpace, seed: int) -> None:
        """New weights, empty memory."""
        import torch

        super().reset(space, seed)
        seed = whole_number("seed", seed, 0)
        self._rng = np.random.default_rng(seed)
        self._space = space
        layers, actions = len(space), max(space.sizes)
        kinds = sorted({layer.kind for layer in space.layers})
        # What an agent sees is a list of ones: who it is, its layer's kind, and the picks of the layers that feed its own.
        # The first layer of the network is one row of weights for each of them; they are added.
        self._kinds = torch.tensor([layers + kinds.index(layer.kind) for layer in space.layers])
        self._picks = layers + len(kinds) + actions * torch.arange(layers)
        self._feeding, self._fed = torch.tensor(space.pairs, dtype=torch.long).reshape(-1, 2).T
        inputs = layers + len(kinds) + layers * actions
        shapes = [(inputs, UNITS), (UNITS, UNITS), (UNITS,), (UNITS, actions), (actions,)]
        generator = torch.Generator().manual_seed(seed)
        bound = UNITS**-0.5  # torch's own for a layer of so many inputs
        self._weights = [torch.empty(shape).uniform_(-bound, bound, generator=generator) for shape in shapes]
        for weight in self._weights:
            weight.requires_grad_()
        self._optimizer = torch.optim.Adam(self._weights, self.learning_rate)
        self._designs: list[Design] = []
        self._rewards: list[float] = []

    @property
    def epsilon(self) -> float:
        """The probability with which an agent now picks at random."""
        return max(LAST_EPSILON, 1 - (1 - LAST_EPSILON) * len(self._rewards) / self.decay_episodes)

    def act(self, agent: str, observation: Mapping[str, Any]) -> int:
        """Epsilon-greedy on the agent's own values."""
        if self._rng.random() < self.epsilon:
            return int(self._rng.integers(len(observation["action_mask"])))
        return int(self.values(agent, observation).argmax())

    def values(self, agent: str, observation: Mapping[str, Any]) -> npt.NDArray[np.float32]:
        """The agent's share of the team's value for each of its actions; shape (actions,), in standardised rewards."""
        import torch

        layer = self._space.position(agent)
        feeding = list(self._space.feeding[layer])
        picks = torch.as_tensor(observation["observation"][: len(feeding)]) - 1
        with one_thread(), torch.no_grad():
            first = self._weights[0]
            hidden = first[layer] + first[self._kinds[layer]] + first[self._picks[feeding] + picks].sum(dim=0)
            return self._values(hidden)[: self._space.sizes[layer]].numpy()

    def _values(self, hidden: torch.Tensor) -> torch.Tensor:
        """The values of an agent's actions; `hidden` is what the first layer makes of its observation, before its ReLU."""
        _, second, second_bias, third, third_bias = self._weights
        return (hidden.relu() @ second + second_bias).relu() @ third + third_bias

    def _joint_values(self, designs: torch.Tensor) -> torch.Tensor:
        """The sum, over the agents, of the values of their actions; `designs` has shape (designs, layers)."""
        first = self._weights[0]
        observed = first[self._picks[self._feeding] + designs[:, self._feeding]]
        identities = first[: len(self._kinds)] + first[self._kinds]
        hidden = identities.expand(len(designs), -1, -1).index_add(1, self._fed, observed)
        return self._values(hidden).gather(-1, designs[..., None]).sum(dim=(1, 2))

    def tell(self, episodes: Sequence[Episode]) -> None:
        """Each episode is remembered, then minibatches drawn from the memory are learned from."""
        import torch

        for episode in episodes:
            self._designs.append(episode.design)
            self._rewards.append(episode.reward)
            mean, deviation = np.mean(self._rewards), np.std(self._rewards) or 1.0
            for _ in range(self.updates):
                drawn = self._rng.integers(len(self._rewards), size=BATCH).tolist()
                designs = torch.tensor([self._designs[n] for n in drawn])
                rewards = torch.tensor([(self._rewards[n] - mean) / deviation for n in drawn], dtype=torch.float32)
                with one_thread():
                    loss = (self._joint_values(designs) - rewards).square().mean()
                    self._optimizer.zero_grad()
                    loss.backward()
                    self._optimizer.step()
