"""The simultaneous environment many times over, as TorchRL's `EnvBase` with a batch size (needs the package `torchrl`).

    from marl_hpo_env.environments.batched_teams import BatchedTeams

    env = BatchedTeams("digits-convnet", "table", batch_size=1024)
    env.rollout(1)["next", "agents", "reward"]  # shape (1024, 1, agents, 1)

All agents of a game pick at once, so an episode is one step. Agents are one group, with padded observations:

| key | shape behind the batch size, and type |
|---|---|
| `("agents", "observation")` | (agents, 2 L + K) float32, see `views` |
| `("agents", "action_mask")` | (agents, m) bool, which actions the agent's layer has |
| `("agents", "action")` | (agents,) int64, 0 to m - 1 |
| `("agents", "reward")` | (agents, 1) float32, the same for all agents |
| `"state"` | (L,) int64, every layer's pick plus one |
| `"done"`, `"terminated"` | (1,) bool; under `"agents"`, too, (agents, 1) |

A pick that the layer does not have gets the reward's penalty. On a table a step is a few array operations. Episodes are recorded
by `RecordEpisodes(env.games, "run.jsonl")`.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from tensordict import TensorDict, TensorDictBase
from torchrl.data import Binary, Bounded, Categorical, Composite, Unbounded
from torchrl.envs import EnvBase

from marl_hpo_env.catalog.task import Task
from marl_hpo_env.environments.registration import vector_env
from marl_hpo_env.evaluators.evaluator import Evaluator

IntArray = npt.NDArray[np.int64]


class BatchedTeams(EnvBase):
    """As many games as the batch size has.

    Args:
        task, evaluator, **settings: as of `env`, but for observations and masks, which are as above.
        batch_size: a number of games, or several whose product it is.

    Attributes:
        games: the environment that evaluates: `games.task`, `games.space`, `games.regret` on a table.
        group_map: the agents' names, in the order of `"agents"`.
    """

    def __init__(
        self,
        task: Task | str,
        evaluator: Evaluator | str | None = None,
        *,
        batch_size: int | tuple[int, ...] = 1,
        **settings: Any,
    ) -> None:
        shape = torch.Size([batch_size] if isinstance(batch_size, int) else batch_size)
        super().__init__(device="cpu", batch_size=shape)
        self.games = vector_env(task, evaluator, num_envs=math.prod(shape), **settings)
        self.group_map = {"agents": list(self.games.space.agents)}
        agents, most = len(self.games.space), self.games.views.most
        self._begin = self._seen(np.zeros((self.games.num_envs, agents), dtype=np.int64))
        seen = self._begin["agents", "observation"].shape
        group = (*shape, agents)
        self.observation_spec = Composite(
            agents=Composite(
                observation=Bounded(0, 1, seen, dtype=torch.float32),
                action_mask=Binary(most, (*group, most), dtype=torch.bool),
                shape=group,
            ),
            state=Bounded(0, most, group, dtype=torch.int64),
            shape=shape,
        )
        self.action_spec = Composite(
            agents=Composite(action=Categorical(most, group, dtype=torch.int64), shape=group), shape=shape
        )
        self.reward_spec = Composite(
            agents=Composite(reward=Unbounded((*group, 1), dtype=torch.float32), shape=group), shape=shape
        )
        of_game, of_agents = (
            {name: Categorical(2, (*whose, 1), dtype=torch.bool) for name in ("done", "terminated")}
            for whose in (shape, group)
        )
        self.done_spec = Composite(**of_game, agents=Composite(**of_agents, shape=group), shape=shape)

    def _seen(self, state: IntArray) -> TensorDict:
        """What all agents see; `state` has the shape (games, layers)."""
        games, layers = state.shape
        turns = np.tile(np.arange(layers), games)
        group = (*self.batch_size, layers)
        agents = {
            "observation": torch.from_numpy(self.games.views.padded(np.repeat(state, layers, axis=0), turns)),
            "action_mask": torch.from_numpy(self.games.views.legal(turns)),
        }
        grouped = TensorDict({key: value.reshape(*group, -1) for key, value in agents.items()}, group)
        return TensorDict({"agents": grouped, "state": torch.from_numpy(state).reshape(group)}, self.batch_size)

    def _reset(self, tensordict: TensorDictBase | None = None, **_: Any) -> TensorDict:
        return self._begin.clone().update(self.full_done_spec.zero())

    def _step(self, tensordict: TensorDictBase) -> TensorDict:
        space = self.games.space
        picks = tensordict["agents", "action"].reshape(-1, len(space)).cpu().numpy().astype(np.int64)
        rewards = torch.from_numpy(self.games.rewards(picks)).float().reshape(*self.batch_size, 1, 1)
        seen = self._seen(np.where((picks < np.array(space.sizes)).all(axis=1, keepdims=True), picks + 1, 0))
        seen["agents", "reward"] = rewards.expand(*self.batch_size, len(space), 1).clone()
        return seen.update(self.full_done_spec.zero().apply(torch.logical_not))

    def _set_seed(self, seed: int | None) -> None:
        """Nothing is drawn here: a design's reward hangs on the task's seed."""
