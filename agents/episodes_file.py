"""A run's episodes in a CSV file, which is written as they come and can be read at any time."""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from agents.protocol import Episode
from marl_hpo_env import InputError, first_line


class EpisodesFile:
    """Writes episodes, each at once: who is killed leaves all lines but those of the batch at hand.

    Args:
        path: written anew from its beginning, as a run that continues plays from there.
        objectives: names of what the reward sees.
        layers: names of the layers.
    """

    def __init__(self, path: Path, objectives: Sequence[str], layers: Sequence[str]) -> None:
        self._file = path.open("w", newline="")
        self._writer = csv.writer(self._file)
        self._objectives, self._layers = objectives, layers
        self._count = 0

    def write(self, episode: Episode, phase: str, printed: float | None) -> None:
        """Adds one episode, with its phase and, for all or for none, its reward as the paper prints it."""
        if self._count == 0:
            column = [] if printed is None else ["reward_as_printed"]
            header = ["episode", "phase", "reward", *column, "terminated", *self._objectives, *self._layers]
            self._writer.writerow(header)
        self._count += 1
        rewards = [episode.reward, *([] if printed is None else [printed])]
        values = [episode.objectives[name] for name in self._objectives]
        self._writer.writerow([self._count, phase, *rewards, int(episode.terminated), *values, *episode.design])
        self._file.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._file.close()


class Line(NamedTuple):
    """An episode as it stands in the file.

    Args:
        reward: of the episode.
        terminated: whether it did not complete.
        key: the text of its objectives and its design: the same for the same design.
        header: what each part of the key is.
    """

    reward: float
    terminated: bool
    key: tuple[str, ...]
    header: tuple[str, ...]

    def design(self, layers: int) -> tuple[int, ...]:
        """One action for each of as many layers."""
        return tuple(map(int, self.key[-layers:]))

    def objectives(self, layers: int) -> dict[str, float]:
        """What the reward sees of the design, by name; NaN where it did not complete."""
        return dict(zip(self.header[:-layers], map(float, self.key[:-layers]), strict=True))


def read_episodes(path: Path) -> list[Line]:
    """The episodes of a file that is there, in order; a last line that is being written is left out.

    Raises:
        InputError: if it is damaged.
    """
    try:
        text = path.read_bytes().decode()
        header, *rows = [*csv.reader(text[: text.rfind("\n") + 1].splitlines())] or [[]]
        if "terminated" not in header:  # nothing was played yet
            return []
        at = header.index("terminated")
        whole = (row for row in rows if len(row) == len(header))
        return [Line(float(row[2]), row[at] == "1", tuple(row[at + 1 :]), tuple(header[at + 1 :])) for row in whole]
    except (IndexError, ValueError, csv.Error) as error:
        raise InputError(
            f"The episodes in {str(path)!r} cannot be read ({first_line(error)}); the same command as before writes them anew."
        ) from error


def best_of(lines: Sequence[Line]) -> Line | None:
    """The first line with the highest reward among those that completed."""
    return max((line for line in lines if not line.terminated), key=lambda line: line.reward, default=None)


def file_name(label: str) -> str:
    """A label as part of a file's name: short, and of safe characters only."""
    return re.sub(r"[^\w.]+", "-", label).strip("-.")[:80]
