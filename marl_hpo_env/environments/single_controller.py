"""The Gymnasium environment: one controller makes all picks in turn.

It sees the padded observation of the layer whose turn it is, and picks from as many actions as the layer with most has.
`action_masks()` says which of them the layer has, as sb3-contrib's MaskablePPO asks for it; so does
`info["action_mask"]`. A pick that the layer does not have ends the episode with the reward's penalty, as PettingZoo's
`TerminateIllegalWrapper` does: a learner without masks can find out.
"""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import numpy.typing as npt

from marl_hpo_env.environments.base import DesignEnvironment
from marl_hpo_env.environments.padded import PaddedEncoding
from marl_hpo_env.errors import InputError, whole_number


class SingleControllerEnvironment(DesignEnvironment, gymnasium.Env[npt.NDArray[np.float32], int]):
    """The same game for single-agent algorithms. `gymnasium.make("marl_hpo_env/digits-convnet-v0")` makes one."""

    metadata = {"render_modes": ["ansi"]}

    def _make_spaces(self) -> None:
        self._encoding = PaddedEncoding(self.space)
        self._over = True
        self.observation_space = self._encoding.box
        self.action_space = self._encoding.actions  # type: ignore[assignment]

    def action_masks(self) -> npt.NDArray[np.bool_]:
        """Which actions the layer whose turn it is has, bool of shape (most actions of any layer,)."""
        return self._encoding.mask(self._turn()).astype(bool)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[npt.NDArray[np.float32], dict[str, Any]]:
        """Begins an episode. `seed` seeds this environment's generator, never the trainings."""
        super().reset(seed=None if seed is None else whole_number("seed", seed, 0))
        self._restart()
        self._over = False
        return self._view(), self._masked(self._info())

    def step(self, action: int) -> tuple[npt.NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        """The layer whose turn it is gets `action`; the last pick evaluates the design.

        Raises:
            InputError: if the action is not within the action space, or the episode is over.
        """
        if self._over:
            raise InputError("No episode is under way: reset the environment for one.")
        if isinstance(action, bool) or not self.action_space.contains(action):
            raise InputError(f"Action {action!r} does not exist; actions are 0 to {self._encoding.actions.n - 1}.")
        if not self.action_masks()[action]:
            self._over = True
            return (
                self._view(),
                float(self.reward.penalty),
                True,
                False,
                self._masked({**self._info(), "terminated": 1.0}),
            )
        self.game.pick(int(action))
        if not self.game.design_complete:
            return self._view(), 0.0, False, False, self._masked(self._info())
        self._over = True
        reward, info = self._finish()
        return self._view(), reward, True, False, self._masked(info)

    def _turn(self) -> int:
        """The layer to pick for; once the design is complete, the last one."""
        return min(self.game.turn, len(self.space) - 1)

    def _view(self) -> npt.NDArray[np.float32]:
        return self._encoding.encode(self.game, self._turn())

    def _masked(self, info: dict[str, Any]) -> dict[str, Any]:
        return {**info, "action_mask": self._encoding.mask(self._turn())}
