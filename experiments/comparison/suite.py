"""The settings of comparisons that are committed: one TOML file each in `experiments/suites`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from importlib.resources import files
from pathlib import Path

from experiments.toml_files import read_toml
from marl_hpo_env import InputError

FOLDER = Path(str(files("experiments.suites")))


@dataclass(frozen=True)
class Suite:
    """What `marl-hpo compare` plays where no option says it; the defaults are those without `--suite`.

    Args:
        tasks: as `--task` takes them.
        learners: as `agents.learner` reads them; all that fit the reward where None.
        seeds: of every learner.
        episodes: evaluations of every run.
        weights: by metric, of a reward in place of the tasks' own.
        trained: whether networks are trained while learners play also where a task has a table.
    """

    tasks: Sequence[str] = ()
    learners: Sequence[str] | None = None
    seeds: int = 50
    episodes: int = 200
    weights: Mapping[str, float] = field(default_factory=dict)
    trained: bool = False


def suites() -> list[str]:
    """The names of the suites."""
    return sorted(path.stem for path in FOLDER.glob("*.toml"))


def suite(name: str) -> Suite:
    """The suite of this name.

    Raises:
        InputError: if there is none, or its file cannot be read or says what a suite does not have.
    """
    if name not in suites():
        raise InputError.unknown("suite", name, suites())
    settings = read_toml(FOLDER / f"{name}.toml", "suite")
    known = [setting.name for setting in fields(Suite)]
    for setting in settings:
        if setting not in known:
            raise InputError.unknown(f"setting of a suite, such as {name!r}, called", setting, known)
    return Suite(**settings)
