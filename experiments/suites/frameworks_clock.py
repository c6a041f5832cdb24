"""A clock for a file of `experiments/frameworks`: `python -m experiments.suites.frameworks_clock GAME FILE TASK FOLDER ...`.

The file runs as it stands. With the GAME "ours" its environment is the package's. With "theirs" another one stands in its
place: of PettingZoo tic-tac-toe in turn and rock-paper-scissors at once, as tic-tac-toe cannot be played so; of Gymnasium
CartPole, whose masks are all ones. A last line says how many picks, or steps of an agent, a second of this process's CPU time
had, from the first episode's end, or step, to the last; there is none where other processes made them.
"""

from __future__ import annotations

import runpy
import sys
import time
from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector import VectorWrapper
from pettingzoo.utils import BaseParallelWrapper, BaseWrapper

import marl_hpo_env
from marl_hpo_env.environments.recording import Recorder

RATE = "steps per second:"
"""Before the figure."""

_ticks: list[tuple[float, int]] = []
"""The CPU time of the first and of the latest tick, each with the steps up to then."""


def tick(steps: int) -> None:
    """Counts steps that have just been made."""
    _ticks[1:] = [(time.process_time(), steps + (_ticks[-1][1] if _ticks else 0))]


class TurnBased(BaseWrapper[Any, Any, Any]):
    """Counts the steps of agents that have not ended."""

    def step(self, action: Any) -> None:
        super().step(action)
        tick(int(action is not None))


class Simultaneous(BaseParallelWrapper[Any, Any, Any]):
    """Counts the steps of all agents."""

    def step(self, actions: Any) -> Any:
        answer = super().step(actions)
        tick(len(actions))
        return answer


class SingleController(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Counts steps, and has masks that allow all."""

    def action_masks(self) -> Any:
        return np.ones(self.action_space.n, dtype=bool)  # type: ignore[attr-defined]

    def step(self, action: Any) -> Any:
        answer = super().step(action)
        tick(1)
        return answer


class Vectorised(VectorWrapper):
    """Likewise of many games."""

    def reset(self, **settings: Any) -> Any:
        observations, infos = super().reset(**settings)
        return observations, {**infos, **self._masks()}

    def step(self, actions: Any) -> Any:
        *answer, infos = super().step(actions)
        tick(self.num_envs)
        return *answer, {**infos, **self._masks()}

    def _masks(self) -> dict[str, Any]:
        return {"action_mask": np.ones((self.num_envs, self.single_action_space.n), dtype=np.int8)}  # type: ignore[attr-defined]


def play_ours(task: str) -> None:
    """Counts the picks of finished episodes."""
    record, layers = Recorder.record, len(marl_hpo_env.task(task).space)

    def counted(self: Recorder, *episode: Any) -> None:
        record(self, *episode)
        tick(layers)

    Recorder.record = counted  # type: ignore[assignment,method-assign]


def play_theirs() -> None:
    """Lets every maker of an environment make another one."""
    from pettingzoo.classic.rps import rps
    from pettingzoo.classic.tictactoe import tictactoe

    make, make_vec = gymnasium.make, gymnasium.make_vec
    gymnasium.make = lambda *_, **__: SingleController(make("CartPole-v1", max_episode_steps=50))
    gymnasium.make_vec = lambda *_, num_envs, **__: Vectorised(
        make_vec("CartPole-v1", num_envs, "sync", max_episode_steps=50)
    )
    for module in (marl_hpo_env, sys.modules["marl_hpo_env.environments.registration"]):
        module.env = lambda *_, **__: TurnBased(tictactoe.env())  # type: ignore[attr-defined]
        module.parallel_env = lambda *_, **__: Simultaneous(rps.parallel_env())  # type: ignore[attr-defined]
    marl_hpo_env.RecordEpisodes = lambda env, path: env  # type: ignore[assignment,misc]


def main(game: str, file: str, *arguments: str) -> None:
    """Runs the file with these arguments, then says the rate."""
    if game == "ours":
        play_ours(arguments[0])
    else:
        play_theirs()
    sys.argv = [file, *arguments]
    runpy.run_path(file, run_name="__main__")
    if len(_ticks) > 1:
        (began, before), (ended, steps) = _ticks
        print(f"{RATE} {(steps - before) / (ended - began)}")


if __name__ == "__main__":
    # By its name, so that who copies an environment by pickling copies no counter.
    from experiments.suites import frameworks_clock  # noqa: PLW0406

    frameworks_clock.main(*sys.argv[1:])
