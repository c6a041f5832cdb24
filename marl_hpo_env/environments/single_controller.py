"""The Gymnasium environment: one controller makes all picks in turn.

It sees the padded observation of the layer whose turn it is, or as in `views`, and picks from as many actions as the layer with
most has. `action_masks()` says which of them the layer has, as sb3-contrib's MaskablePPO asks for it; so does
`info["action_mask"]`. A pick that the layer does not have ends the episode with the reward's penalty, as PettingZoo's
`TerminateIllegalWrapper` does: a learner without masks can find out.
"""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import numpy.typing as npt

from marl_hpo_env.environments.base import RENDER_MODES, DesignEnvironment
from marl_hpo_env.environments.views import ControllerView, Kind, Masks
from marl_hpo_env.errors import InputError, whole_number


class SingleControllerEnvironment(DesignEnvironment, gymnasium.Env[Any, int]):
    """The same game for single-agent algorithms. `gymnasium.make("marl_hpo_env/digits-convnet-v1")` makes one."""

    metadata = {"render_modes": [*RENDER_MODES], "render_fps": 1, "name": "marl_hpo_env_v1"}

    def _make_spaces(self, observations: Kind, masks: Masks) -> None:
        self._viewed = ControllerView(self.space, observations, masks)
        self._over = True
        self.observation_space = self._viewed.observation
        self.action_space = self._viewed.action  # type: ignore[assignment]

    def action_masks(self) -> npt.NDArray[np.bool_]:
        """Which actions the layer whose turn it is has, bool of shape (most actions of any layer,)."""
        return self._viewed.legal(self._turn())

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begins an episode. `seed` seeds this environment's generator, never the trainings."""
        super().reset(seed=None if seed is None else whole_number("seed", seed, 0))
        self._restart()
        self._over = False
        return self._shown(self._info())

    def step(self, action: int) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """The layer whose turn it is gets `action`; the last pick evaluates the design.

        Raises:
            InputError: if the action is not within the action space, or the episode is over.
        """
        if self._over:
            raise InputError("No episode is under way: reset the environment for one.")
        if isinstance(action, bool) or not self.action_space.contains(action):
            raise InputError(f"Action {action!r} does not exist; actions are 0 to {self._viewed.most - 1}.")
        if not self.action_masks()[action]:
            reward, info = self._forfeit()
        else:
            self.game.pick(int(action))
            if not self.game.design_complete:
                observation, info = self._shown(self._info())
                return observation, 0.0, False, False, info
            reward, info = self._finish()
        self._over = True
        observation, info = self._shown(info)
        return observation, reward, True, False, info

    def _turn(self) -> int:
        """The layer to pick for; once the design is complete, the last one."""
        return min(self.game.turn, len(self.space) - 1)

    def _shown(self, info: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        turn = self._turn()
        return self._viewed.observe(self.game.state(), turn), self._viewed.informed(info, turn)
