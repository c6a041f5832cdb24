"""Many games of the single controller side by side, as Gymnasium vectorises them: one NumPy array for all of them.

    envs = gymnasium.make_vec("marl_hpo_env/digits-convnet-v1", num_envs=1024, evaluator="table")

It takes the arguments of the single environment, has its spaces, batched, and plays what `SyncVectorEnv` would. On a table a step
is a few array operations: finished designs are looked up in the rewards of all, which the reward filled once. Without a table all
designs that a step finishes are evaluated at once, side by side where the evaluator can.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from marl_hpo_env.catalog.task import Task
from marl_hpo_env.environments.base import MOST_LISTED, DesignEnvironment, Frame
from marl_hpo_env.environments.game import Game
from marl_hpo_env.environments.single_controller import SingleControllerEnvironment
from marl_hpo_env.environments.views import ControllerView, Kind, Masks
from marl_hpo_env.errors import InputError, whole_number
from marl_hpo_env.evaluators.evaluator import Evaluator, is_exhaustive

BoolArray = npt.NDArray[np.bool_]
FloatArray = npt.NDArray[np.float64]


class VectorisedEnvironment(DesignEnvironment, VectorEnv[Any, npt.NDArray[np.int64], npt.NDArray[Any]]):
    """The single controller's game, `num_envs` times. A finished game begins anew in the next step, which ignores its action.

    Args:
        task, evaluator, **settings: as of the single environment.
        num_envs: how many games, from 1.

    Attributes:
        views: how the layers' turns are shown.
    """

    metadata = {**SingleControllerEnvironment.metadata, "autoreset_mode": AutoresetMode.NEXT_STEP}

    def __init__(self, task: Task, evaluator: Evaluator, *, num_envs: int = 1, **settings: Any) -> None:
        self.num_envs = whole_number("number of environments", num_envs, 1)
        super().__init__(task, evaluator, **settings)

    def _make_spaces(self, observations: Kind, masks: Masks) -> None:
        self.views = ControllerView(self.space, observations, masks)
        self.single_observation_space = self.views.observation
        self.single_action_space = self.views.action
        self.observation_space = batch_space(self.views.observation, self.num_envs)
        self.action_space = batch_space(self.views.action, self.num_envs)
        self._sizes = np.array(self.space.sizes)
        self._state = np.zeros((self.num_envs, len(self.space)), dtype=np.int64)
        self._turn = np.zeros(self.num_envs, dtype=np.int64)
        self._over = np.zeros(self.num_envs, dtype=bool)
        self._begun = False
        self._keys = [*map(str, self.reward.objectives), "terminated"]

    def action_masks(self) -> BoolArray:
        """Which actions the layers whose turn it is have, bool of shape (games, most actions of any layer)."""
        return self.views.legal(self._layers())

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Begins all games. `seed`, or one for each, seeds the environment's generator, never the trainings."""
        seeds = list(seed) if isinstance(seed, Sequence) else [seed]
        if len(seeds) not in (1, self.num_envs):
            raise InputError(
                f"There are {len(seeds)} seeds for {self.num_envs} environments; give one for each, or one."
            )
        checked = [None if one is None else whole_number("seed", one, 0) for one in seeds]
        VectorEnv.reset(self, seed=checked[0])
        self._state[:], self._turn[:], self._over[:], self._begun = 0, 0, False, True
        return self._shown(np.zeros((self.num_envs, len(self._keys))))

    def step(self, actions: npt.ArrayLike) -> tuple[Any, FloatArray, BoolArray, BoolArray, dict[str, Any]]:
        """In each game the layer whose turn it is gets its action; those that are finished begin anew.

        Args:
            actions: shape (games,).

        Raises:
            InputError: if there is not one for each game, or one is not within the action space.
        """
        if not self._begun:
            raise InputError("No episode is under way: reset the environment for one.")
        picks = np.asarray(actions)
        if picks.shape != (self.num_envs,) or picks.dtype.kind not in "iu":
            raise InputError(
                f"The actions are {picks.dtype} of shape {picks.shape}; give whole numbers of shape ({self.num_envs},)."
            )
        self._check(picks)
        self._state[self._over], self._turn[self._over] = 0, 0
        legal = picks < self._sizes[self._turn]
        (picking,) = np.nonzero(legal & ~self._over)
        illegal = ~legal & ~self._over
        self._state[picking, self._turn[picking]] = picks[picking] + 1
        self._turn[picking] += 1
        complete = self._turn == len(self._sizes)
        rewards, told = np.zeros(self.num_envs), np.zeros((self.num_envs, len(self._keys)))
        if illegal.any():
            rewards[illegal], told[illegal, -1] = self.reward.penalty, 1
        if complete.any():
            rewards[complete], told[complete] = self._evaluated(self._state[complete] - 1)
        self._over = complete | illegal
        self._record_illegal(int(illegal.sum()))
        observation, info = self._shown(told)
        return observation, rewards, self._over.copy(), np.zeros(self.num_envs, dtype=bool), info

    def rewards(self, picks: npt.NDArray[np.int64]) -> FloatArray:
        """Of whole designs, beside the games: for who makes all picks at once.

        Args:
            picks: shape (designs, layers), from 0; a row with one that its layer does not have gets the penalty.

        Raises:
            InputError: if a pick is below 0 or no layer has so many actions.
        """
        self._check(picks)
        legal = (picks < self._sizes).all(axis=1)
        rewards = np.full(len(picks), float(self.reward.penalty))
        if legal.any():
            rewards[legal] = self._evaluated(picks[legal])[0]
        self._record_illegal(len(picks) - int(legal.sum()))
        return rewards

    def render(self) -> tuple[Frame, ...] | None:  # type: ignore[override]
        """Of each game the design so far, as the render mode has it."""
        if self.render_mode is None:
            return None
        frames = []
        for state, turn in zip(self._state, self._turn, strict=True):
            game = Game(self.space)
            for action in state[:turn] - 1:
                game.pick(int(action))
            frames.append(self._frame(game))
        return tuple(frames)

    def close(self, **kwargs: Any) -> None:
        VectorEnv.close(self, **kwargs)

    def _check(self, picks: npt.NDArray[Any]) -> None:
        wrong = picks[(picks < 0) | (picks >= self.views.most)]
        if wrong.size:
            raise InputError(f"Action {wrong[0]} does not exist; actions are 0 to {self.views.most - 1}.")

    def _record_illegal(self, episodes: int) -> None:
        for _ in range(episodes if self.recorders else 0):
            self._record(None, float(self.reward.penalty), None)

    def _layers(self) -> npt.NDArray[np.int64]:
        """Of each game the layer to pick for; once its design is complete, the last one."""
        return np.minimum(self._turn, len(self._sizes) - 1)

    def _shown(self, told: FloatArray) -> tuple[Any, dict[str, Any]]:
        """Observations and infos, in which every key has a mask of the games that have it: all."""
        layers = self._layers()
        info = self.views.informed(dict(zip(self._keys, told.T.copy(), strict=True)), layers)
        everywhere = {f"_{key}": np.ones(self.num_envs, dtype=bool) for key in info}
        return self.views.observe(self._state.copy(), layers), {**info, **everywhere}

    def _evaluated(self, designs: npt.NDArray[np.int64]) -> tuple[FloatArray, FloatArray]:
        """Rewards and infos of finished designs, shape (designs, layers)."""
        listed = is_exhaustive(self.evaluator) and self.space.size <= MOST_LISTED
        if listed and self.budget != "running":
            rewards, told = (of_all[self._numbers(designs)] for of_all in self.answers(self.epochs))
            self._note(self.epochs, float(rewards.max()))
            trials: list[Any] = [None] * len(designs)
        else:
            rows = [tuple(design) for design in designs.tolist()]
            by_design = {trial.design: trial for trial in self.evaluate(list(dict.fromkeys(rows)))}
            trials = [by_design[row] for row in rows]
            rewards = np.array([self.score(trial) for trial in trials])
            told = np.array([list(self.told(trial).values()) for trial in trials])
        if self.recorders:
            for design, reward, trial in zip(designs.tolist(), rewards.tolist(), trials, strict=True):
                self._record(tuple(design), reward, trial)
        return rewards, told

    def _numbers(self, designs: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Each design's number (`SearchSpace.index`)."""
        strides = np.concatenate([[1], np.cumprod(self._sizes[:-1])])
        numbers: npt.NDArray[np.int64] = designs @ strides
        return numbers
