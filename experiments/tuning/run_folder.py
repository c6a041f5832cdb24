"""A run's folder: its trials, and the reports written beside them."""

from __future__ import annotations

import os
from pathlib import Path

from marl_hpo_env import InputError, Store, Task


class RunFolder:
    """The folder that a run writes to and continues from.

    Args:
        path: made where absent.
        task: whose trials it holds.

    Raises:
        InputError: if it cannot be written, or holds the run of another task; nothing in it is changed then.
    """

    def __init__(self, path: Path, task: Task) -> None:
        self.path = path
        if path.exists() and not path.is_dir():
            raise InputError(f"The run folder {str(path)!r} is a file; choose a folder with --out.")
        ours = f"{task.name} {task.fingerprint}"  # fails if the task's data are not there
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(
                f"The run folder {str(path)!r} cannot be made: {error.strerror}; choose another --out."
            ) from error
        if not os.access(path, os.W_OK | os.X_OK):
            raise InputError(f"The run folder {str(path)!r} cannot be written; choose another with --out.")
        self.store = Store(path / "trials.sqlite")
        found = self.store.about("task")
        if found is None:
            self.store.set_about("task", ours)
        elif found != ours:
            self.store.close()
            name = found.rsplit(" ", 1)[0]
            what = (
                f"a run of the task {name!r}"
                if name != task.name
                else f"a run of {name!r} with another network, data, choices or recipe"
            )
            raise InputError(f"The run folder {str(path)!r} holds {what}; choose another with --out.")

    def __truediv__(self, name: str) -> Path:
        return self.path / name
