"""Making environments by task name, and their registration with PettingZoo and Gymnasium."""

from __future__ import annotations

from typing import Any

import gymnasium
import pettingzoo
from pettingzoo.utils import OrderEnforcingWrapper

from marl_hpo_env.builtin_tasks import tasks
from marl_hpo_env.simultaneous import SimultaneousEnvironment
from marl_hpo_env.tuning_task import Task
from marl_hpo_env.turn_based import TurnBasedEnvironment


def env(task: Task | str, **settings: Any) -> OrderEnforcingWrapper[str, Any, Any]:
    """The turn-based environment (PettingZoo AEC) of a task; `env.unwrapped` has its `task`, `space`, `game`, `design`
    and `trial`.

    Args:
        task: a task or its name.
        **settings: `evaluator` (trains where not given; `"table"` looks designs up), `reward` and `epochs` (the task's where
            not given), `seed` (of every trial; the task's where not given), `data_dir` (of a named task's data), `render_mode`
            (None or `"ansi"`).

    Raises:
        InputError: if there is no such task, or the settings do not fit together.
    """
    return OrderEnforcingWrapper(TurnBasedEnvironment(task, **settings))


def parallel_env(task: Task | str, **settings: Any) -> SimultaneousEnvironment:
    """The simultaneous environment (PettingZoo Parallel) of a task; settings as for `env`."""
    return SimultaneousEnvironment(task, **settings)


def register() -> None:
    """Registers every built-in task as `marl_hpo_env/<task>-v0` with PettingZoo (AEC and Parallel) and Gymnasium."""
    for name in tasks():
        identifier = f"marl_hpo_env/{name}-v0"
        pettingzoo.register("aec", identifier, env, kwargs={"task": name})
        pettingzoo.register("parallel", identifier, parallel_env, kwargs={"task": name})
        gymnasium.register(
            identifier,
            "marl_hpo_env.single_controller:SingleControllerEnvironment",
            kwargs={"task": name},
        )
