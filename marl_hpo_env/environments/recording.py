"""Recorded episodes: what any training on an environment tried, so that it can stand beside other learners.

The file has one JSON object per line. The first says what was played:

    {"recording": 1, "task": "digits-convnet", "fingerprint": "table-5f...", "reward": "1 validation_accuracy", "seed": 0,
     "epochs": 8, "version": "0.2.0"}

and, where some came before the first episode, `"trainings": 41.9`.

Each of the others is an episode: its design (null where it ended by an action that its layer does not have), its reward, and
the seconds that the design's training took (null where that is not known):

    {"design": [3, 0, 7, 1, 2], "reward": 0.91, "seconds": 1.7}
"""

from __future__ import annotations

import json
import os
from importlib.metadata import version
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

import gymnasium
from gymnasium.vector import VectorEnv, VectorWrapper
from pettingzoo import AECEnv, ParallelEnv
from pettingzoo.utils import BaseParallelWrapper, BaseWrapper

from marl_hpo_env.environments.base import DesignEnvironment
from marl_hpo_env.errors import InputError, number
from marl_hpo_env.space import Design
from marl_hpo_env.trial import Trial

MOST_TRAININGS = 1_000_000
"""Before a recording's first episode."""


class RecordEpisodes:
    """Wraps any of the package's environments, and writes each finished episode to a file, whatever loop plays it.

    Environments of one process that are given the same file share it, in the order in which their episodes end. Each process
    writes a file of its own: `f"seed0/{os.getpid()}.jsonl"`. A folder of them is one run to `marl-hpo compare --recorded`.

    Args:
        env: made by `env`, `parallel_env`, `gymnasium.make` or `gymnasium.make_vec`, or a wrapper around one.
        path: of the file; it is written from the first episode's end on.
        trainings: what was spent before the first episode, such as on weights that designs share, in trainings of a design;
            a comparison's curves begin behind them.

    Returns:
        The environment in a wrapper of its own kind, which changes nothing.

    Raises:
        InputError: if it is another environment, the trainings are no number from 0 to a million, or the file is there already or
            cannot be written.
    """

    def __new__(cls, env: Any, path: Path | str, *, trainings: float = 0) -> Any:
        spent = number("trainings before the first episode", trainings, least=0, most=MOST_TRAININGS)
        game = getattr(env, "unwrapped", None)
        if isinstance(game, DesignEnvironment):
            for kind, wrapper in _WRAPPERS.items():
                if isinstance(env, kind):
                    game.recorders.append(Recorder.of(game, Path(path), spent))
                    return wrapper(env)
        raise InputError(
            f"RecordEpisodes wraps an environment of marl_hpo_env, not {type(env).__name__}; wrap each one where it is made."
        )


class _TurnBased(BaseWrapper[Any, Any, Any]):
    """A turn-based environment whose episodes are recorded."""


class _Simultaneous(BaseParallelWrapper[Any, Any, Any]):
    """Likewise a simultaneous one."""


class _SingleController(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Likewise one with a single controller."""


class _Vectorised(VectorWrapper):
    """Likewise many side by side."""


_WRAPPERS: dict[type, Any] = {
    AECEnv: _TurnBased,
    ParallelEnv: _Simultaneous,
    gymnasium.Env: _SingleController,
    VectorEnv: _Vectorised,
}


class Recorder:
    """Writes one file of episodes.

    Args:
        header: the first line.
        path: of the file, absolute.
    """

    _open: WeakValueDictionary[tuple[int, Path], Recorder] = WeakValueDictionary()

    def __init__(self, header: dict[str, Any], path: Path) -> None:
        if path.exists():
            raise InputError(
                f"The file {str(path)!r} is there already; a run, and each process of it, records into its own."
            )
        self.header, self.path = header, path
        self._file: Any = None

    @classmethod
    def of(cls, game: DesignEnvironment, path: Path, trainings: float) -> Recorder:
        """The one of this process and file, for an environment, behind as many trainings."""
        path = path.expanduser().absolute()
        header = {
            "recording": 1,
            "task": game.task.name,
            "fingerprint": game.evaluator.fingerprint,
            "reward": str(game.reward),
            "seed": game.seed,
            "epochs": game.budget,
            "version": version("marl-hpo-env"),
            **({"trainings": trainings} if trainings else {}),
        }
        recorder = cls._open.get((os.getpid(), path))
        if recorder is None:
            recorder = cls._open[os.getpid(), path] = cls(header, path)
        elif recorder.header != header:
            what = next(name for name in {**recorder.header, **header} if recorder.header.get(name) != header.get(name))
            said, ours = recorder.header.get(what), header.get(what)
            raise InputError(f"The file {str(path)!r} records the {what} {said!r}, not {ours!r}; name another.")
        return recorder

    def record(self, design: Design | None, reward: float, trial: Trial | None) -> None:
        """Writes an episode at once.

        Raises:
            InputError: if the file has been made by another process, or cannot be written.
        """
        try:
            if self._file is None:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                self._file = self.path.open("x", encoding="utf-8")
                self._file.write(f"{json.dumps(self.header)}\n")
            seconds = None if trial is None else trial.metrics.get("seconds")
            self._file.write(f"{json.dumps({'design': design, 'reward': reward, 'seconds': seconds})}\n")
            self._file.flush()
        except OSError as error:
            raise InputError(
                f"The episodes cannot be recorded in {str(self.path)!r}: {error.strerror}; each process needs a file of its own."
            ) from error

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_file": None}
