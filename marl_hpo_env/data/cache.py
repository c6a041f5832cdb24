"""Arrays that take long to read, kept in a file until what they were read from changes."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import zipfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from marl_hpo_env.files import whole_file


def kept_or_made(
    path: Path, settings: list[object], sources: Iterable[Path], make: Callable[[], Mapping[str, Any]]
) -> dict[str, np.ndarray]:
    """What `make` returns, from a file where that was made with the same settings from the same sources.

    A broken or outdated file is made anew; one that cannot be written costs the next reading its time, nothing else.

    Args:
        path: the file without its ending, to which a digest of the settings and `.npz` are added.
        settings: all that the arrays depend on beside their sources, such as the version of the code; JSON.
        sources: the files that they are made from, told by name, size and time of change.
        make: makes the arrays by name; strings become arrays of no dimension.
    """
    states = [(source.name, source.stat().st_size, source.stat().st_mtime_ns) for source in sources]
    key = json.dumps([settings, states])
    digest = hashlib.sha256(json.dumps(settings).encode()).hexdigest()[:8]
    path = path.with_name(f"{path.name}-{digest}.npz")
    try:
        with np.load(path, allow_pickle=False) as file:
            if str(file["key"]) == key:
                return {name: file[name] for name in file.files if name != "key"}
    except (OSError, EOFError, KeyError, ValueError, zipfile.BadZipFile):
        pass  # not there, or broken
    arrays: dict[str, Any] = {name: np.asarray(value) for name, value in make().items()}
    # A full or read-only disk keeps nothing.
    with contextlib.suppress(OSError), whole_file(path) as partial, partial.open("wb") as output:
        np.savez(output, key=np.asarray(key), **arrays)
    return arrays


def can_keep(folder: Path) -> bool:
    """Whether files can be written to this folder, which is made where it is not there."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return False
    return os.access(folder, os.W_OK)
