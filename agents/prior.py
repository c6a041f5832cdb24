"""What tables and stored runs of other tasks say of a new one: a prior for `coordination-graph`.

Layers of other networks have hyperparameters of the same kind and name. What their values are worth there makes a *trend* m(x)
over the designs x of this task: a sum over layers and hyperparameters, of mean 0 and variance 1. The learner adds c m(x) to its
score, and c is normal with a positive mean. How far the trend holds is thus learned from this task's own scores, like all else:
one that misleads is soon left aside, or turned round.

**Values.** A layer's terms t_l of Eq. 1 in another task, as that task's scores leave them, are averaged over the actions that
have the same value. The value of a number is its rank, from 0 for the lowest to 1 for the highest, and the place of a layer its
depth, from 0 for the first to 1 for the last of those that have the hyperparameter; between ranks and depths it is interpolated.
Of values that are no numbers those count that are equal. A hyperparameter without a namesake there has no part in m.

**Tasks.** What they say of a hyperparameter is averaged, and multiplied by how far they agree: 1 - (variance between tasks) /
(tasks x square of the mean), or 0 where that is below (James and Stein, 1961).

**Strengths.** The prior median of a strength is the geometric mean of what the tasks came to, with the median that the learner
has without them counted as one task more.

The tables and runs of the task that is played are left out, by its name.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from glob import glob
from numbers import Real
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from agents.episodes_file import file_name, read_episodes
from agents.playing import episode_of
from agents.protocol import Episode
from marl_hpo_env import Design, InputError, SearchSpace, Table, TableEvaluator, env, first_line

Array = npt.NDArray[np.float64]
Hyperparameter = tuple[str, str, bool]
"""A layer's kind, the name, and whether the values are numbers."""

Worth = dict[Hyperparameter, list[dict[Any, float]]]
"""For each layer that has it, in network order: what each value is worth, by its rank from 0 to 1 or by its text."""

MOST_DESIGNS = 300
"""Of a source; of more, so many are drawn."""

REWARD = "reward"
"""What is learned of it stands under this name; of an objective, under the objective's."""

TREND_MEAN, TREND_VARIANCE = 0.5, 0.3
"""Of c: its mean, and the prior median of its variance, which is learned as the strengths are."""


class Prior(NamedTuple):
    """What is known before the first episode.

    Args:
        medians: of the strengths, of the variance of c if there is a trend, and of the noise.
        trend: per layer, what each action adds to m; None where no hyperparameter is in common.
    """

    medians: Array
    trend: list[Array] | None = None


class Learned(NamedTuple):
    """What a source says.

    Args:
        strengths: with the variance of the noise at the end; 0 for what the learner does without.
        tables: per layer, what each of its actions is worth.
    """

    strengths: Array
    tables: list[Array]


@dataclass(frozen=True, eq=False)
class Source:
    """Episodes of a task; two are equal if all that can be learned from them is.

    Args:
        name: where they are from, for the sentences.
        task: the task's name.
        space: its designs.
        episodes: of different designs.
    """

    name: str
    task: str
    space: SearchSpace
    episodes: Sequence[Episode]

    @cached_property
    def digest(self) -> str:
        """Of all that can be learned from it, but for its name."""
        told = [[*map(repr, (each.design, each.reward, dict(each.objectives), each[3:]))] for each in self.episodes]
        return hashlib.sha256(json.dumps([self.task, self.space.describe(), told]).encode()).hexdigest()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Source) and other.digest == self.digest

    def __hash__(self) -> int:
        return hash(self.digest)


# --- reading -------------------------------------------------------------------------------------------------------------


def sources(prior: str) -> list[Source]:
    """The tables and runs that a text names.

    Args:
        prior: names of tables, files of tables, folders of runs, folders of one run, or patterns of such files and folders,
            joined by `+` as in `"runs/*+digits-convnet"`.

    Raises:
        InputError: if one is not there or is none of these, or cannot be read.
    """
    texts = [prior] if _there(prior) else [text.strip() for text in prior.split("+") if text.strip()]
    return list(dict.fromkeys(source for text in texts for source in _named(text)))


def _there(text: str) -> list[Path]:
    return [Path(path) for path in sorted(glob(os.path.expanduser(text)))]


def _named(text: str) -> list[Source]:
    paths = _there(text)
    pattern = any(sign in text for sign in "*?[")
    if not paths and not pattern and os.sep not in text:
        return [_of_table(text, 0)]
    found = [source for path in paths for source in _inside(path)]
    if found:
        return found
    if not paths:
        raise InputError(f"The prior {text!r} names nothing that is there; name folders of runs, or tables.")
    raise InputError(
        f"The prior {text!r} names no table, and no run with an episode; a run's folder is one that tune made."
    )


def _inside(path: Path) -> Iterable[Source]:
    """What there is at a path: a table, one run, or those of a folder."""
    if path.suffix in (".npz", ".json"):
        return [_of_table(str(path), path.stat().st_mtime_ns)]
    settings = [path / "settings.json", *sorted(path.glob("[!.]*/settings.json"))]
    return filter(None, (_of_run(one.parent) for one in settings if one.is_file()))


@lru_cache(maxsize=16)  # others' files take seconds, and a comparison makes a learner for every run
def _of_table(name: str, changed: int) -> Source:
    """Of a table's random designs, rewarded as its task is; read again when it has `changed`."""
    table = Table.open(name)
    evaluator = TableEvaluator(table)
    game: Any = env(evaluator.task, evaluator=evaluator, seed=table.seeds[0], epochs=table.epochs).unwrapped
    designs = [table.space.design_at(number) for number in _some(range(table.space.size))]
    episodes = [episode_of(game, trial) for trial in game.evaluate(designs)]
    return Source(name, table.task_name, table.space, episodes)


def _of_run(folder: Path) -> Source | None:
    """The distinct designs of all learners of a run; None where nothing was played yet."""
    episodes: dict[Design, Episode] = {}
    try:
        settings = json.loads((folder / "settings.json").read_text())
        space, task = SearchSpace.described(settings["space"]), str(settings["task"])
        directions, penalty = dict(settings["directions"]), settings.get("penalty")
        # Slices of shared weights are worth something else than trainings.
        slices = {f"episodes-{file_name(label)}.csv" for label in settings.get("slices", {})}
        for path in sorted(path for path in folder.glob("episodes-*.csv") if path.name not in slices):
            for line in read_episodes(path):
                design = space.check(line.design(len(space)))
                broken = not line.terminated and line.reward == penalty
                objectives = line.objectives(len(space))
                episodes[design] = Episode(design, line.reward, objectives, line.terminated, directions, broken)
    except (OSError, ValueError, TypeError, LookupError, RecursionError) as error:
        raise InputError(f"The run {str(folder)!r} cannot be read for a prior: {first_line(error)}.") from error
    chosen = _some(sorted(episodes))
    return Source(str(folder), task, space, [episodes[design] for design in chosen]) if chosen else None


def _some(every: Sequence[Any]) -> list[Any]:
    """Some of them, the same each time, in random order."""
    order = np.random.default_rng(0).permutation(len(every))
    return [every[k] for k in order[:MOST_DESIGNS]]


# --- combining -----------------------------------------------------------------------------------------------------------


class OtherTasks:
    """What is known from sources, for any space.

    Args:
        prior: as `sources` takes it.
        learn: what a learner learns from a source of the reward (False), or of each objective by its name (True).

    Raises:
        InputError: as `sources`.
    """

    def __init__(self, prior: str, learn: Callable[[Source, bool], Mapping[str, Learned]]) -> None:
        self._sources = sources(prior)
        self._learn = learn

    def digest(self, task: str | None) -> str:
        """Of all sources but the task's own; empty where there is none."""
        return " ".join(source.digest for source in self._sources if source.task != task)

    def prior(self, space: SearchSpace, task: str | None, objective: str | None, medians: Array) -> Prior:
        """What is known of the reward, or of an objective, of the designs of a space.

        Args:
            space: of the designs.
            task: the name of the task, whose own sources are left out.
            objective: its name; None for the reward.
            medians: of the strengths and the noise where nothing is known.
        """
        space = _plain(space)
        strengths: dict[str, list[Array]] = {}
        worths: dict[str, list[Worth]] = {}
        for source in self._sources:
            if source.task == task:
                continue
            learned = self._learn(source, objective is not None).get(objective or REWARD)
            if learned is not None:
                found = np.where(learned.strengths > 0, learned.strengths, medians)
                strengths.setdefault(source.task, []).append(np.log(found))
                worths.setdefault(source.task, []).append(_worth(source.space, learned.tables))
        if not strengths:
            return Prior(medians)
        known = np.exp(np.mean([np.log(medians), *(np.mean(of, axis=0) for of in strengths.values())], axis=0))
        trend = _trend(space, list(worths.values()))
        if trend is None:
            return Prior(known)
        return Prior(np.array([*known[:-1], TREND_VARIANCE, known[-1]]), trend)

    def warn(self, space: SearchSpace, task: str | None) -> None:
        """Warns of sources that are left out, and where none has a hyperparameter in common with the space."""
        space = _plain(space)
        own = [source.name for source in self._sources if source.task == task]
        others = [source for source in self._sources if source.task != task]
        if own:
            warnings.warn(
                f"The prior leaves out what is of the task {task!r} itself: {', '.join(map(repr, own))}.", stacklevel=3
            )
        if others and all(_found_in(source.space).keys().isdisjoint(_found_in(space)) for source in others):
            warnings.warn(
                "No task of the prior has a layer of a kind, with a hyperparameter, that this one has; so it says how strong "
                "effects are, and not which values are good.",
                stacklevel=3,
            )


def _plain(space: SearchSpace) -> SearchSpace:
    """The space as a table or a run has it: a type among the choices is its name."""
    return SearchSpace.described(space.describe())


def ordered(values: Iterable[Any]) -> bool:
    """Whether a hyperparameter's values are numbers."""
    return all(isinstance(value, Real) and not isinstance(value, bool) for value in values)


def _places(values: Sequence[Any]) -> list[Any]:
    """Of each value its rank from 0 to 1, or its text."""
    if not ordered(values):
        return [repr(value) for value in values]
    ranks = np.argsort(np.argsort(values))
    return (ranks / max(1, len(values) - 1)).tolist()


def _found_in(space: SearchSpace) -> dict[Hyperparameter, list[tuple[int, int]]]:
    """The layers that have each hyperparameter, with its place among their choices."""
    found: dict[Hyperparameter, list[tuple[int, int]]] = {}
    for number, layer in enumerate(space.layers):
        for position, (name, values) in enumerate(layer.choices.items()):
            if len(values) > 1:
                found.setdefault((layer.kind, name, ordered(values)), []).append((number, position))
    return found


def _members(space: SearchSpace, layer: int, position: int) -> tuple[list[Any], npt.NDArray[np.bool_]]:
    """The places of a hyperparameter's values, and which of the layer's actions have which; shape (values, actions)."""
    values = list(space.layers[layer].choices.values())[position]
    have = [[action[position] == value for action in space.layers[layer].actions] for value in values]
    return _places(values), np.array(have)


def _worth(space: SearchSpace, tables: Sequence[Array]) -> Worth:
    """Per hyperparameter and layer that has it, in network order, what its values are worth; as if a design had one layer."""
    worth: Worth = {}
    for key, where in _found_in(space).items():
        worth[key] = []
        for layer, position in where:
            places, have = _members(space, layer, position)
            means = math.sqrt(len(space)) * (have @ tables[layer]) / have.sum(axis=1)
            worth[key].append(dict(sorted(zip(places, means.tolist(), strict=True))))
    return worth


def _at(worths: Sequence[Mapping[Any, float]], depth: float, places: Sequence[Any]) -> Array:
    """What values at these places are worth in a layer at this depth among those that have the hyperparameter, 0 to 1."""
    above = depth * (len(worths) - 1)
    low = int(above)
    before, after = (
        [worth.get(place, 0.0) for place in places]
        if isinstance(places[0], str)
        else np.interp(places, list(worth), list(worth.values()))
        for worth in (worths[low], worths[min(low + 1, len(worths) - 1)])
    )
    values = (1 - above + low) * np.array(before) + (above - low) * np.array(after)
    return np.asarray(values - values.mean())


def _trend(space: SearchSpace, tasks: Sequence[Sequence[Worth]]) -> list[Array] | None:
    """Per layer what each action adds to m; None where the tasks say nothing of any.

    Args:
        space: of the designs.
        tasks: per task what each of its sources says.
    """
    tables = [np.zeros(size) for size in space.sizes]
    for key, where in _found_in(space).items():
        parts = [_members(space, layer, position) for layer, position in where]
        depths = np.linspace(0, 1, len(where)) if len(where) > 1 else [0.5]
        said = []
        for task in tasks:
            of_task = [
                np.concatenate([_at(worth[key], d, places) for d, (places, _) in zip(depths, parts, strict=True)])
                for worth in task
                if key in worth
            ]
            if of_task:
                said.append(np.mean(of_task, axis=0))
        if said:
            mean = _shrunk(np.array(said))
            for (layer, _), (places, have) in zip(where, parts, strict=True):
                tables[layer] += mean[: len(places)] @ have
                mean = mean[len(places) :]
    variance = sum(float(table.var()) for table in tables)
    return [table / math.sqrt(variance) for table in tables] if variance > 1e-12 else None


def _shrunk(said: Array) -> Array:
    """The mean of what tasks say, times how far they agree; shape (tasks, n) becomes (n,)."""
    mean = said.mean(axis=0)
    square = (mean**2).sum()
    if len(said) == 1 or not square:
        return np.asarray(mean)
    between = ((said - mean) ** 2).sum() / (len(said) - 1)
    return np.asarray(mean * max(0.0, 1 - between / (len(said) * square)))
