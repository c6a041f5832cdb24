"""One run of a folder: its sub-folder, what identifies it, and how far it is."""

from __future__ import annotations

import itertools
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from agents.episodes_file import file_name
from marl_hpo_env import InputError
from marl_hpo_env.files import whole_file

SETTINGS = "settings.json"

NETWORK = "network.safetensors"
"""The file of the network that is taken home."""


class Run:
    """A run's sub-folder, which `settings.json` makes one.

    Args:
        path: the sub-folder.

    Attributes:
        path: the sub-folder.
        settings: what identifies the run, and what is said of it beside; plain JSON values.

    Raises:
        InputError: if its settings cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self.settings: dict[str, Any] = json.loads((path / SETTINGS).read_text())
            self.settings["identity"]["seed"]
        except (ValueError, TypeError, LookupError, RecursionError) as error:
            raise InputError(
                f"The settings of a run, {str(path / SETTINGS)!r}, cannot be read; move the folder away, and the same command "
                "makes it again."
            ) from error

    @classmethod
    def claim(cls, folder: Path, name: str, identity: Mapping[str, Any], **more: Any) -> Run:
        """The run of this identity: in the sub-folder `name`, or in `name-2`, `name-3` where others have the ones before; made
        where absent. Two processes that claim at once get one sub-folder each, or the same if their identities are equal.

        Args:
            folder: of the runs.
            name: of the sub-folder.
            identity: what makes it another run than others: JSON values, with a `seed`.
            **more: what the settings say beside it, now and until it is claimed again.
        """
        wanted = json.loads(json.dumps(identity))
        for number in itertools.count(1):
            path = folder / (name if number == 1 else f"{name}-{number}")
            if not path.exists():
                _make(path, {"identity": wanted, **more})
            if is_run(path) and (run := cls(path)).settings["identity"] == wanted:
                run.update(**more)
                return run
        raise AssertionError

    def update(self, **values: Any) -> None:
        """Says more of the run, or something else."""
        self.settings |= values
        replace_text(self.path / SETTINGS, json.dumps(self.settings, indent=1))

    @property
    def fingerprints(self) -> set[str]:
        """Of its trials: of those that are trained, and of slices where it searches on shared weights."""
        return {self.settings["identity"]["fingerprint"], *self.settings.get("slices", {}).values()}

    def labels(self, shared: bool = False) -> list[str]:
        """Of the learners whose designs are trained, or of the one that searches on shared weights."""
        on_slices = self.settings.get("slices", {})
        return [label for label in self.settings.get("learners", ()) if (label in on_slices) == shared]

    def episodes(self, label: str) -> Path:
        """Where a learner's episodes are, by its label."""
        return self.path / f"episodes-{file_name(label)}.csv"

    def trials(self, label: str) -> Path:
        """Where the distinct designs of a learner are, in the same form, each from the moment that its training ends."""
        return self.path / f"trials-{file_name(label)}.csv"

    def __truediv__(self, name: str) -> Path:
        return self.path / name


def is_run(path: Path) -> bool:
    """Whether a folder is a run's."""
    return (path / SETTINGS).is_file()


def runs_in(folder: Path) -> Iterator[Run]:
    """The runs of a folder, by name."""
    yield from map(Run, sorted(path.parent for path in folder.glob(f"[!.]*/{SETTINGS}")))


def label_of(learner: str) -> str:
    """A learner's name without the settings behind it."""
    return learner.partition("(")[0].strip()


def replace_text(path: Path, text: str) -> None:
    """Writes a text file so that a reader finds the old text or the new one, and nothing between."""
    with whole_file(path) as partial:
        partial.write_text(text)


def _make(path: Path, settings: Mapping[str, Any]) -> None:
    """Makes a run's sub-folder with its settings, at once; another process may be faster."""
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    partial.mkdir(exist_ok=True)
    (partial / SETTINGS).write_text(json.dumps(settings, indent=1))
    try:
        partial.rename(path)
    except OSError:  # it is there now, and not empty
        if not is_run(path):
            raise
        shutil.rmtree(partial)
