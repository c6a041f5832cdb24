"""The turn-based environment (PettingZoo AEC), the main one: agents pick in network order, then share one reward.

| | |
|---|---|
| agents | one per layer, in network order, named as the module is, without dots: `SearchSpace.agents` |
| action | index of one tuple of the layer's hyperparameter values, `Discrete` |
| observation | `{"observation": feeding layers' picks + 1, "action_mask": all ones}`, or as in `views` |
| reward | 0 until the last pick; then the trial's, the same for every agent (paper V) |
| episode | one pick per agent; all agents terminate together |
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from gymnasium import spaces
from pettingzoo import AECEnv

from marl_hpo_env.environments.base import RENDER_MODES, DesignEnvironment
from marl_hpo_env.environments.views import AgentViews, Kind, Masks
from marl_hpo_env.errors import InputError, whole_number


class TurnBasedEnvironment(DesignEnvironment, AECEnv[str, Any, "int | None"]):
    """The paper's extensive-form game (V, Fig. 6). `marl_hpo_env.env` makes one; see there for the arguments."""

    metadata = {"render_modes": [*RENDER_MODES], "render_fps": 1, "name": "marl_hpo_env_v1", "is_parallelizable": False}

    def _make_spaces(self, observations: Kind, masks: Masks) -> None:
        self._views = AgentViews(self.space, observations, masks)
        self.possible_agents = list(self.space.agents)
        self.agents: list[str] = []
        self._position = {name: position for position, name in enumerate(self.space.agents)}
        self.observation_spaces, self.action_spaces = self._views.observation, self._views.action
        self.state_space = self._views.state

    def observation_space(self, agent: str) -> spaces.Space[Any]:
        return self._views.observation[agent]

    def action_space(self, agent: str) -> spaces.Discrete:
        return self._views.action[agent]

    def reset(self, seed: int | None = None, options: dict[str, Any] | None = None) -> None:
        """Begins an episode. `seed` seeds the spaces' sampling, never the trainings."""
        if seed is not None:
            self._views.seed(whole_number("seed", seed, 0))
        self._restart()
        self.agents = list(self.possible_agents)
        self.rewards: dict[str, float] = dict.fromkeys(self.agents, 0.0)
        self._cumulative_rewards: dict[str, float] = dict.fromkeys(self.agents, 0.0)
        self.terminations = dict.fromkeys(self.agents, False)
        self.truncations = dict.fromkeys(self.agents, False)
        self._inform(self._info())
        self._skip_agent_selection = None
        self.agent_selection = self.agents[0]

    def observe(self, agent: str) -> Any:
        """What the agent sees; it can be asked for any agent at any time, and changes nothing."""
        return self._views.observe(self.game, self._position[agent])

    def state(self) -> npt.NDArray[np.int64]:
        """Every layer's pick plus one, 0 where not yet picked; shape (number of layers,)."""
        return self.game.state()

    def step(self, action: int | None) -> None:
        """The selected agent picks `action`; the last agent's pick evaluates the design. One of the padding ends the episode.

        Raises:
            InputError: if the agent has no such action, or the episode is over or was never begun.
        """
        if not self.agents:
            raise InputError("No episode is under way: reset the environment for one.")
        if self.terminations[self.agent_selection]:
            if action is not None:
                raise InputError(
                    f"The episode is over: agent {self.agent_selection!r} steps with None, not {action!r}."
                )
            self._was_dead_step(action)
            return
        if self._views.is_padding(action, self.game.turn):
            reward, info = self._forfeit()
        else:
            self.game.pick(action)
            # Rewards are 0 until the last pick, so none are cleared or added up before it: a step costs the same however
            # many agents there are.
            if not self.game.design_complete:
                self.agent_selection = self.agents[self.game.turn]
                return
            reward, info = self._finish()
        self.rewards = dict.fromkeys(self.agents, reward)
        self._cumulative_rewards = dict.fromkeys(self.agents, reward)
        self.terminations = dict.fromkeys(self.agents, True)
        self._inform(info)
        self.agent_selection = self.agents[0]

    def _inform(self, info: dict[str, Any]) -> None:
        self.infos = {agent: self._views.informed(info, layer) for layer, agent in enumerate(self.agents)}
