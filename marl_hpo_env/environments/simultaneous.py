"""The simultaneous environment (PettingZoo Parallel): the game's normal form (paper IV-B), one step per episode.

All agents pick at once, each seeing only that nothing has been picked; the step completes and evaluates the design.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from gymnasium import spaces
from pettingzoo import ParallelEnv

from marl_hpo_env.environments.base import RENDER_MODES, DesignEnvironment
from marl_hpo_env.environments.views import AgentViews, Kind, Masks
from marl_hpo_env.errors import InputError, whole_number


class SimultaneousEnvironment(DesignEnvironment, ParallelEnv[str, Any, int]):
    """The same game in one step. `marl_hpo_env.parallel_env` makes one; see there for the arguments."""

    metadata = {"render_modes": [*RENDER_MODES], "render_fps": 1, "name": "marl_hpo_env_v1", "is_parallelizable": True}

    def _make_spaces(self, observations: Kind, masks: Masks) -> None:
        self._views = AgentViews(self.space, observations, masks)
        self.possible_agents = list(self.space.agents)
        self.agents: list[str] = []
        self.observation_spaces, self.action_spaces = self._views.observation, self._views.action
        self.state_space = self._views.state

    def observation_space(self, agent: str) -> spaces.Space[Any]:
        return self._views.observation[agent]

    def action_space(self, agent: str) -> spaces.Discrete:
        return self._views.action[agent]

    def reset(
        self, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
        """Begins an episode. `seed` seeds the spaces' sampling, never the trainings."""
        if seed is not None:
            self._views.seed(whole_number("seed", seed, 0))
        self._restart()
        self.agents = list(self.possible_agents)
        return self._observations(), self._infos(self._info())

    def step(
        self, actions: dict[str, int]
    ) -> tuple[dict[str, Any], dict[str, float], dict[str, bool], dict[str, bool], dict[str, dict[str, Any]]]:
        """Every agent picks; the design is evaluated, unless a pick is one of the padding, and the episode ends.

        Raises:
            InputError: if an agent's action is missing, or it has no such action; the episode stands as it was.
        """
        if not self.agents:
            raise InputError("No episode is under way: reset the environment for one.")
        if not isinstance(actions, Mapping):
            raise InputError(f"The actions are {actions!r}; a step takes a dictionary with one of every agent.")
        missing = [agent for agent in self.agents if agent not in actions]
        if missing:
            raise InputError(f"The action of agent {missing[0]!r} is missing; a step takes one of every agent.")
        picks = [actions[agent] for agent in self.agents]
        padding = [self._views.is_padding(action, layer) for layer, action in enumerate(picks)]
        checked = self.space.check(0 if padded else action for padded, action in zip(padding, picks, strict=True))
        if any(padding):
            reward, info = self._forfeit()
        else:
            for action in checked:
                self.game.pick(action)
            reward, info = self._finish()
        agents, self.agents = self.agents, []
        return (
            self._observations(),
            dict.fromkeys(agents, reward),
            dict.fromkeys(agents, True),
            dict.fromkeys(agents, False),
            self._infos(info),
        )

    def state(self) -> npt.NDArray[np.int64]:
        """Every layer's pick plus one, 0 where not yet picked; shape (number of layers,)."""
        return self.game.state()

    def _observations(self) -> dict[str, Any]:
        return {agent: self._views.observe(self.game, layer) for layer, agent in enumerate(self.possible_agents)}

    def _infos(self, info: dict[str, Any]) -> dict[str, dict[str, Any]]:
        return {agent: self._views.informed(info, layer) for layer, agent in enumerate(self.possible_agents)}
