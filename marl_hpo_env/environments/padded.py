"""Identical, flat, padded observations, for networks that share parameters between agents."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from gymnasium import spaces
from pettingzoo.utils import BaseWrapper

from marl_hpo_env.environments.game import Game
from marl_hpo_env.environments.turn_based import Observation, TurnBasedEnvironment
from marl_hpo_env.errors import InputError, whole_number
from marl_hpo_env.space import SearchSpace


class PaddedEncoding:
    """One agent's view as a vector that has the same length and meaning for every agent.

    In order: which agent it is (one-hot, number of layers), its layer's kind (one-hot, number of kinds), and every layer's
    pick plus one as a fraction of its number of actions (0 where not yet picked).

    Args:
        space: the layers and their actions.

    Attributes:
        box: the space of the vectors, float32 within 0 and 1.
        actions: `Discrete`, as many as the layer with most has.
    """

    def __init__(self, space: SearchSpace) -> None:
        kinds = sorted({layer.kind for layer in space.layers})
        layers = len(space)
        self._identity = np.zeros((layers, layers + len(kinds)), dtype=np.float32)
        for position, layer in enumerate(space.layers):
            self._identity[position, position] = 1
            self._identity[position, layers + kinds.index(layer.kind)] = 1
        self._sizes = np.array(space.sizes, dtype=np.float32)
        self.box = spaces.Box(0, 1, (2 * layers + len(kinds),), np.float32)
        self.actions = spaces.Discrete(max(space.sizes))
        self._masks = np.arange(max(space.sizes)) < np.array(space.sizes)[:, None]

    def encode(self, game: Game, layer: int) -> npt.NDArray[np.float32]:
        """The vector of the agent of this layer."""
        return np.concatenate([self._identity[layer], game.state() / self._sizes], dtype=np.float32)

    def mask(self, layer: int) -> npt.NDArray[np.int8]:
        """1 for the actions that the layer has, 0 for the padding."""
        return self._masks[layer].astype(np.int8)


class PaddedObservations(BaseWrapper[str, Observation, "int | None"]):
    """Wraps the turn-based environment; every agent gets the same observation space and the same action space.

    Observations are `{"observation": PaddedEncoding, "action_mask": int8}`; the mask is 0 where the layer has no such
    action, and to pick one is an `InputError`.

    Args:
        env: made by `marl_hpo_env.env`.

    Raises:
        InputError: if it is another environment, such as the simultaneous one.
    """

    def __init__(self, env: Any) -> None:
        if not isinstance(getattr(env, "unwrapped", None), TurnBasedEnvironment):
            raise InputError(
                f"PaddedObservations wraps the turn-based environment, not {type(env).__name__}; make it with marl_hpo_env.env."
            )
        super().__init__(env)
        space = env.unwrapped.space
        self._encoding = PaddedEncoding(space)
        mask = spaces.Box(0, 1, (int(self._encoding.actions.n),), np.int8)
        self._spaces = {
            name: (
                spaces.Dict({"observation": self._encoding.box, "action_mask": mask}),
                spaces.Discrete(self._encoding.actions.n),
            )
            for name in space.agents
        }

    def observation_space(self, agent: str) -> spaces.Space[Any]:
        return self._spaces[agent][0]

    def action_space(self, agent: str) -> spaces.Discrete:
        return self._spaces[agent][1]

    def reset(self, seed: int | None = None, options: dict[str, Any] | None = None) -> None:
        super().reset(seed=seed, options=options)
        if seed is not None:
            seed = whole_number("seed", seed, 0)
            for offset, (observation, action) in enumerate(self._spaces.values(), start=1):
                observation.seed(seed + offset)
                action.seed(seed + offset)

    def observe(self, agent: str) -> Observation:
        game = self.env.unwrapped.game
        position = game.space.position(agent)
        return {"observation": self._encoding.encode(game, position), "action_mask": self._encoding.mask(position)}
