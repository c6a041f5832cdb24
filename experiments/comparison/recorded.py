"""Runs that were played elsewhere: by any training on an environment in `RecordEpisodes`.

A run is a file, or a folder of files where several processes played it: their episodes take turns. Files may be compressed with
gzip. A run is taken only if all that its first line says is what the learners beside it play:
`marl_hpo_env/environments/recording.py` has the format.
"""

from __future__ import annotations

import gzip
import itertools
import json
import math
import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from glob import glob
from pathlib import Path
from typing import Any

from experiments.comparison.contest import Contest, Run
from marl_hpo_env import InputError, SearchSpace, is_number
from marl_hpo_env.environments.recording import MOST_TRAININGS

HEADER = ("task", "fingerprint", "reward", "epochs", "seed")
"""What a recording says of itself, in the order in which it is compared."""


@dataclass(frozen=True)
class RecordedRun(Run):
    """A run that was played elsewhere; its designs are None where an episode ended by an action that is not there.

    Args:
        rewards: of each episode.
        seconds: that the trainings of its designs took, each counted once; as far as the recording knows.
        before: trainings that were spent before the first episode; its curves begin behind them.
    """

    rewards: Sequence[float]
    seconds: float
    before: int


@dataclass(frozen=True)
class Recording:
    """What a file, or the files of a folder, hold.

    Args:
        path: of the file or folder.
        header: the first line.
        episodes: the others.
    """

    path: Path
    header: Mapping[str, Any]
    episodes: Sequence[Mapping[str, Any]]

    def check(self, **expected: Any) -> None:
        """Whether it is of what is compared.

        Args:
            **expected: what each of `HEADER` is; of the seed those that there can be.

        Raises:
            InputError: if not.
        """
        for name in HEADER:
            said, right = self.header[name], expected[name]
            if said not in right if name == "seed" else said != right:
                either = " or ".join(map(str, right)) if name == "seed" else repr(right)
                raise InputError(
                    f"The recording {str(self.path)!r} has the {name} {said!r}, and here it is {either}; compare what was played "
                    "alike."
                )

    def run(self, contest: Contest, space: SearchSpace) -> RecordedRun:
        """The run; `contest` says whose, and on what.

        Raises:
            InputError: if it has a design that is none of the space, or no design at all.
        """
        designs: list[int | None] = []
        seconds: dict[int, float] = {}
        for episode in self.episodes:
            try:
                number = None if episode["design"] is None else space.index(episode["design"])
            except InputError as error:
                raise InputError(f"The recording {str(self.path)!r} cannot be read: {error}") from error
            designs.append(number)
            if number is not None:
                seconds[number] = episode["seconds"] or 0.0
        if not seconds:
            raise InputError(f"The recording {str(self.path)!r} has no design in it; record a longer training.")
        rewards = [float(episode["reward"]) for episode in self.episodes]
        played_with = f"marl-hpo-env {self.header['version']} (recorded)"
        before = math.ceil(self.header.get("trainings", 0))
        return RecordedRun(contest, designs, float("nan"), played_with, rewards, sum(seconds.values()), before)


def recordings(texts: Sequence[str]) -> dict[str, list[Recording]]:
    """What `--recorded` names, by the name that it is given.

    Args:
        texts: such as `"my PPO=ppo-*.jsonl"`; what the pattern fits are files, or folders of files.

    Raises:
        InputError: if a text cannot be read, nothing fits it, or a file is no recording.
    """
    named = {}
    for text in texts:
        name, equals, pattern = (part.strip() for part in text.partition("="))
        if not (name and equals and pattern):
            raise InputError(f"The --recorded {text!r} cannot be read; write it as 'my PPO=ppo-*.jsonl'.")
        if name in named:
            raise InputError(f"The name {name!r} of --recorded is there twice; give each its own.")
        paths = [Path(path) for path in sorted(glob(str(Path(pattern).expanduser())))]
        if not paths:
            raise InputError(f"There is no file {pattern!r} for the --recorded {name!r}; name files of RecordEpisodes.")
        named[name] = [_read(path) for path in paths]
    return named


def _read(path: Path) -> Recording:
    """The recording of a file or a folder."""
    files = sorted([*path.glob("*.jsonl"), *path.glob("*.jsonl.gz")]) if path.is_dir() else [path]
    if not files:
        raise InputError(f"The folder {str(path)!r} has no file that ends in .jsonl or .jsonl.gz; name a run's.")
    read = [_lines(file) for file in files]
    header = read[0][0]
    for file, (other, _) in zip(files, read, strict=True):
        if other != header:
            raise InputError(
                f"The recording {str(file)!r} is not of the same run as {str(files[0])!r}; keep one in a folder."
            )
    rounds = itertools.zip_longest(*(episodes for _, episodes in read))
    return Recording(path, header, [episode for turn in rounds for episode in turn if episode is not None])


def _lines(file: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """A file's first line and the others. A last line without an end is that at which its process was killed."""
    number = 0
    try:
        content = gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes()
        lines = content.decode().split("\n")[:-1]
        number = 1
        header = json.loads(lines[0])
        if header["recording"] != 1 or not all(name in header for name in (*HEADER, "version")):
            raise ValueError("it is of another version")
        before = header.get("trainings", 0)
        if not is_number(before) or not 0 <= before <= MOST_TRAININGS:
            raise ValueError(f"trainings are a number from 0 to {MOST_TRAININGS:,}")
        episodes = []
        for number, line in enumerate(lines[1:], start=2):  # noqa: B007  # for the sentence
            episode = json.loads(line)
            seconds = episode["seconds"]
            if not (is_number(episode["reward"]) and (seconds is None or is_number(seconds))):
                raise ValueError("a reward and seconds are finite numbers")
            if not isinstance(episode["design"], list | None):
                raise ValueError("a design is a list")
            episodes.append(episode)
    except (gzip.BadGzipFile, zlib.error, EOFError) as error:
        raise InputError(f"The recording {str(file)!r} cannot be read: it is no gzip file, or cut short.") from error
    except OSError as error:
        raise InputError(f"The recording {str(file)!r} cannot be read: {error.strerror}.") from error
    except (IndexError, KeyError, RecursionError, TypeError, ValueError) as error:
        raise InputError(
            f"The recording {str(file)!r} cannot be read in line {number}; name a file that RecordEpisodes wrote."
        ) from error
    return header, episodes


def of_tasks(
    recorded: Mapping[str, Sequence[Recording]], tasks: Sequence[str], learners: Sequence[str]
) -> dict[str, dict[str, list[Recording]]]:
    """The recordings of each task by name; each name has equally many of all tasks, two at least, as intervals need.

    Args:
        recorded: as from `recordings`.
        tasks: the tasks that are compared on, as they call themselves.
        learners: those beside it.

    Raises:
        InputError: if not, or if a name is a learner's.
    """
    for name, of_name in recorded.items():
        if name in learners:
            raise InputError(f"The name {name!r} of --recorded is a learner's; give it another.")
        counts = Counter(str(recording.header["task"]) for recording in of_name)
        for recording in of_name:
            if recording.header["task"] not in tasks:
                recording.check(**{**recording.header, "task": " or ".join(tasks)})
        if len({counts[task] for task in tasks}) > 1 or counts[tasks[0]] < 2:
            has = ", ".join(f"{counts[task]} of {task!r}" for task in tasks)
            raise InputError(
                f"There are {has} recorded runs of {name!r}; intervals need two at least, as many of each task."
            )
    return {
        task: {name: [one for one in of_name if one.header["task"] == task] for name, of_name in recorded.items()}
        for task in tasks
    }
