"""Making environments by task name, and their registration with PettingZoo and Gymnasium."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium
import pettingzoo
from pettingzoo.utils import OrderEnforcingWrapper

from marl_hpo_env.catalog import registry
from marl_hpo_env.catalog.surrogate import SurrogateTask
from marl_hpo_env.catalog.synthetic import SyntheticTask
from marl_hpo_env.catalog.task import Task
from marl_hpo_env.environments.simultaneous import SimultaneousEnvironment
from marl_hpo_env.environments.single_controller import SingleControllerEnvironment
from marl_hpo_env.environments.turn_based import TurnBasedEnvironment
from marl_hpo_env.environments.vectorised import VectorisedEnvironment
from marl_hpo_env.errors import InputError
from marl_hpo_env.evaluators.evaluator import Evaluator
from marl_hpo_env.evaluators.surrogate import SurrogateEvaluator
from marl_hpo_env.evaluators.synthetic import SyntheticEvaluator
from marl_hpo_env.evaluators.table import TableEvaluator
from marl_hpo_env.tables.table import shipped


def env(
    task: Task | str, evaluator: Evaluator | str | None = None, **settings: Any
) -> OrderEnforcingWrapper[str, Any, Any]:
    """The turn-based environment (PettingZoo AEC) of a task; `env.unwrapped` has its `task`, `space`, `game`, `design`
    and `trial`.

    Args:
        task: a task; or its name, as `marl_hpo_env.task` takes it.
        evaluator: turns designs into trials; trains them, on the best device there is, where None; but those of a synthetic
            task are computed, those of a surrogate predicted. `"table"` looks them up in the task's table.
        **settings: `reward` and `epochs` (the task's where not given), `seed` (of every trial; the task's where not given),
            `data_dir` (of a named task's data), `observations` (`"dict"`, `"flat"` or `"padded"`) and `masks` (`"observation"`,
            `"info"` or None; see `views`), `render_mode` (None, `"ansi"` or `"rgb_array"`).

    Raises:
        InputError: if there is no such task or table, or the settings do not fit together.
    """
    return OrderEnforcingWrapper(TurnBasedEnvironment(*_found(task, evaluator, settings), **settings))


def parallel_env(
    task: Task | str, evaluator: Evaluator | str | None = None, **settings: Any
) -> SimultaneousEnvironment:
    """The simultaneous environment (PettingZoo Parallel) of a task; arguments as for `env`."""
    return SimultaneousEnvironment(*_found(task, evaluator, settings), **settings)


def single_controller_env(
    task: Task | str, evaluator: Evaluator | str | None = None, **settings: Any
) -> SingleControllerEnvironment:
    """The Gymnasium environment of a task, in which one controller makes all picks; arguments as for `env`, but for observations,
    which are padded by default, and masks, which are in the info."""
    settings = {"observations": "padded", "masks": "info", **settings}
    return SingleControllerEnvironment(*_found(task, evaluator, settings), **settings)


def vector_env(
    task: Task | str, evaluator: Evaluator | str | None = None, num_envs: int = 1, **settings: Any
) -> VectorisedEnvironment:
    """`num_envs` games of the Gymnasium environment side by side; arguments as for it."""
    settings = {"observations": "padded", "masks": "info", **settings}
    return VectorisedEnvironment(*_found(task, evaluator, settings), num_envs=num_envs, **settings)


def register_task(name: str, factory: registry.Factory) -> None:
    """Gives a task of one's own a name: in `marl_hpo_env.task` and `env`, with PettingZoo and with Gymnasium.

    On the command line, `--task package.module:factory` needs no registration.

    Args:
        name: letters, digits, `-` and `_`.
        factory: makes the task; one that takes `data_dir` is given the folder with the data, a `Path` or None.

    Raises:
        InputError: if the name is taken, or cannot be one.
    """
    known = name in registry.tasks()
    registry.add(name, factory)
    if not known:
        _register(name)


def register() -> None:
    """Registers every task of the package as `marl_hpo_env/<task>-v1` with PettingZoo (AEC and Parallel) and Gymnasium.

    Those with a table are there as `marl_hpo_env/<task>-table-v1`, too, for scripts that take an environment's name alone.
    """
    for name in registry.tasks():
        _register(name)
    for name in shipped():
        _register(f"{name}-table", task=name, evaluator="table")


def _register(name: str, **settings: str) -> None:
    identifier, settings = f"marl_hpo_env/{name}-v1", settings or {"task": name}
    if hasattr(pettingzoo, "register"):  # AgileRL wants a PettingZoo older than 1.27, which has no registry.
        pettingzoo.register("aec", identifier, env, kwargs=settings)
        pettingzoo.register("parallel", identifier, parallel_env, kwargs=settings)
    gymnasium.register(
        identifier,
        "marl_hpo_env.environments.registration:single_controller_env",
        vector_entry_point="marl_hpo_env.environments.registration:vector_env",
        kwargs=settings,
    )


def computed(task: Task) -> Evaluator | None:
    """What answers for a task whose trials are computed or predicted; None for one whose networks are trained.

    Raises:
        InputError: if it is a surrogate that does not come with the package.
    """
    if isinstance(task, SyntheticTask):
        return SyntheticEvaluator(task)
    return SurrogateEvaluator(task.name) if isinstance(task, SurrogateTask) else None


def _found(task: Task | str, evaluator: Evaluator | str | None, settings: dict[str, Any]) -> tuple[Task, Evaluator]:
    """What names stand for; takes `data_dir` out of the settings."""
    data_dir: Path | str | None = settings.pop("data_dir", None)
    if isinstance(task, str):
        task = registry.task(task, data_dir)
    elif data_dir is not None:
        raise InputError(f"The task {task.name!r} brings its own data; leave out data_dir, which is {str(data_dir)!r}.")
    if evaluator is None:
        evaluator = computed(task)
    if evaluator is None:
        from marl_hpo_env.evaluators.training import TrainingEvaluator

        return task, TrainingEvaluator(task)
    if isinstance(evaluator, str):
        if evaluator != "table":
            raise InputError(f"The evaluator is {evaluator!r}; name 'table', or give an evaluator.")
        return task, TableEvaluator.of_task(task)
    for member in ("space", "fingerprint", "measures_time", "evaluate"):
        if isinstance(evaluator, type) or not hasattr(evaluator, member):
            what = f"the class {evaluator.__name__}" if isinstance(evaluator, type) else f"a {type(evaluator).__name__}"
            raise InputError(
                f"The evaluator is {what}; give an object with space, fingerprint, measures_time and evaluate."
            )
    return task, evaluator
