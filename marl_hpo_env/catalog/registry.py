"""Tasks by name: those that come with the package, those that were registered, and those named by module and function."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from marl_hpo_env.catalog.digits import digits_tasks
from marl_hpo_env.catalog.paper import paper_tasks
from marl_hpo_env.catalog.surrogate import surrogate_tasks
from marl_hpo_env.catalog.synthetic import synthetic_tasks
from marl_hpo_env.catalog.task import Task
from marl_hpo_env.data.folders import expanded
from marl_hpo_env.errors import InputError, first_line, import_object

Factory = Callable[..., Task]
"""Makes a task. One that takes `data_dir` is given the folder with the data, a `Path` or None."""

_OURS: dict[str, Factory] = {**digits_tasks(), **paper_tasks(), **surrogate_tasks(), **synthetic_tasks()}

_FACTORIES = dict(_OURS)


def task(name: str, data_dir: Path | str | None = None) -> Task:
    """The task with this name.

    Args:
        name: one of `tasks()`, or `package.module:function` or `path/to/file.py:function` for a function that makes one.
        data_dir: the folder with its data, for the tasks on data that are not in the package. They are read at the first
            use, so without it such a task can be looked at and not be trained.

    Raises:
        InputError: if there is no such task, or it needs no folder and was given one.
    """
    factory = _factory(name)
    where = None if data_dir is None else expanded(data_dir)
    if isinstance(factory, Task):
        made = factory
    elif not callable(factory):
        raise InputError(f"The task {name!r} is a {type(factory).__name__}; name a function that makes a Task.")
    else:
        try:
            made = factory(data_dir=where) if takes_folder(name) else factory()
        except InputError:
            raise
        except Exception as error:  # whatever a user's function raises
            raise InputError(
                f"The task {name!r} cannot be made: {type(error).__name__}: {first_line(error)}."
            ) from error
    if not isinstance(made, Task):
        raise InputError(f"The task {name!r} makes a {type(made).__name__}; it must make a Task.")
    if where is not None and not takes_folder(name):
        raise InputError(f"The task {name!r} brings its own data; leave out data_dir, which is {str(data_dir)!r}.")
    return made


def takes_folder(name: str) -> bool:
    """Whether the task of this name is given a folder with its data; the others bring theirs.

    Raises:
        InputError: if there is no such task.
    """
    factory = _factory(name)
    try:
        return not isinstance(factory, Task) and "data_dir" in inspect.signature(factory).parameters
    except (TypeError, ValueError):  # nothing that can be called, or that says what it takes
        return False


def _factory(name: str) -> Any:
    """What makes the task of this name; of the user's own, whatever stands there."""
    factory = import_object(name, "task") if ":" in name else _FACTORIES.get(name)
    if factory is None:
        raise InputError.unknown("task", name, tasks())
    return factory


def tasks() -> list[str]:
    """The names of the tasks."""
    return sorted(_FACTORIES)


def registered() -> dict[str, Factory]:
    """The tasks that do not come with this package."""
    return {name: factory for name, factory in _FACTORIES.items() if name not in _OURS}


def add(name: str, factory: Factory) -> None:
    """As `environments.registration.register_task`, which also makes the task's environments known."""
    if not re.fullmatch(r"[A-Za-z0-9][\w-]*", name):
        raise InputError(
            f"The name {name!r} cannot be a task's; letters, digits, '-' and '_' can, as in 'resnet18-photos'."
        )
    if name in _FACTORIES and _FACTORIES[name] is not factory:
        raise InputError(f"There is a task {name!r} already; choose another name.")
    _FACTORIES[name] = factory
