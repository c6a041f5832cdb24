"""Learners against each other on tables: many seeds each, all with as many evaluations.

A run is one learner with one seed on one benchmark. It is rewarded on one of the table's seeds (they take turns, so that no
verdict hangs on one draw of the trainings) and never sees test figures. Every finished run is a line of `runs.jsonl`, so a
comparison that was stopped continues.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property, partial
from itertools import cycle, islice
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import numpy as np
import numpy.typing as npt

from agents import Episode, Learner, learner, play
from agents.registry import class_of
from experiments.progress import progress_bar
from experiments.provenance import cores, software
from marl_hpo_env import Design, InputError, Request, Reward, Table, TableEvaluator, Trial, WeightedReward, env
from marl_hpo_env.errors import warn
from marl_hpo_env.pareto import hypervolume, nadir
from marl_hpo_env.training.workers import Death, Workers

Array = npt.NDArray[np.float64]


class Contest(NamedTuple):
    """Which run: plain values, so that it can be sent to another process and kept in a file.

    Args:
        learner: as `agents.learner` reads it.
        table: the name of a table in the package, or the path of one's file, as `Table.open` takes it.
        weights: of a `WeightedReward`, or nothing for the task's own reward.
        constraints: of that reward.
        seed: of the learner.
        evaluations: distinct designs.
    """

    learner: str
    table: str
    weights: tuple[tuple[str, float], ...]
    constraints: tuple[str, ...]
    seed: int
    evaluations: int


@dataclass(frozen=True)
class Run:
    """What came of a contest.

    Args:
        contest: which run.
        designs: the number of each episode's design (`SearchSpace.index`); None where a recorded one has none.
        ms_per_episode: of the learner alone, in milliseconds.
        played_with: versions and commit (`provenance.software`).
    """

    contest: Contest
    designs: Sequence[int | None]
    ms_per_episode: float
    played_with: str

    @property
    def numbers(self) -> list[int]:
        """The designs of the episodes that have one."""
        return [number for number in self.designs if number is not None]


class Benchmark:
    """A table under one reward, with what is known of every design.

    Args:
        table: as in `Contest`.
        weights: as in `Contest`.
        constraints: as in `Contest`.

    Attributes:
        tested: whether the table has test accuracies.

    Raises:
        InputError: if there is no such table, or it lacks what the reward needs.
    """

    def __init__(self, table: str, weights: Sequence[tuple[str, float]] = (), constraints: Sequence[str] = ()) -> None:
        self.table = Table.open(table)
        self.evaluator = TableEvaluator(self.table)
        self.task = self.evaluator.task
        self.name = self.table.task_name
        self.tested = self.table.judged_by.startswith("test_")
        self.reward: Reward = WeightedReward(dict(weights), constraints) if weights else self.task.reward
        self._designs = list(map(self.table.space.design_at, range(self.table.space.size)))
        self._rewards: dict[int, Array] = {}
        self._points: dict[int, Array] = {}
        self.reward = self.environment(self.table.seeds[0]).reward  # fails if reward and table do not fit together

    def table_seed(self, seed: int) -> int:
        """The table's seed that a learner of this seed is rewarded on."""
        return self.table.seeds[seed % len(self.table.seeds)]

    def environment(self, table_seed: int) -> Any:
        """The environment that a run plays."""
        return env(
            self.task, evaluator=self.evaluator, reward=self.reward, seed=table_seed, epochs=self.table.epochs
        ).unwrapped

    def rewards(self, table_seed: int) -> Array:
        """Of every design, shape (designs,)."""
        if table_seed not in self._rewards:
            score = self.environment(table_seed).score
            self._rewards[table_seed] = np.array([score(trial) for trial in self._trials(table_seed)])
        return self._rewards[table_seed]

    @cached_property
    def worth(self) -> Array:
        """What every design is worth by figures that no learner saw; shape (designs,).

        It is the reward of means over the table's seeds, with the test accuracy in place of the validation accuracy."""
        means = {name: self.table.mean(name) for name in self.table.measured}
        score, judged = self.table.score, self.table.judged_by
        means[score] = means[judged]
        original = self._original_in_the_mean() if self.reward.relative else None
        values = []
        for number, design in enumerate(self._designs):
            metrics = {name: None if np.isnan(mean[number]) else float(mean[number]) for name, mean in means.items()}
            never = metrics[score] is None
            trial = Trial(Request(design, 0, None), "terminated" if never else "completed", None, metrics)
            values.append(self.reward(trial, original))
        return np.array(values)

    def _original_in_the_mean(self) -> Trial:
        """The original network by the figures that `worth` judges designs by, so that a bound on it asks the same of both."""
        trials = [self.environment(seed).original for seed in self.table.seeds]
        by_seed = {name: [trial.metrics[name] for trial in trials] for name in self.table.measured}
        metrics = {name: None if None in values else float(np.mean(values)) for name, values in by_seed.items()}
        metrics[self.table.score] = metrics[self.table.judged_by]
        return replace(trials[0], metrics=metrics)

    def objectives(self, table_seed: int) -> Array:
        """Every design's objectives, the lower the better: those of which more is better with their sign changed; shape
        (designs, objectives), NaN where the trial did not complete."""
        game = self.environment(table_seed)
        signs = -np.array(list(game.directions.values()))
        values = [list(game.objectives(trial).values()) for trial in self._trials(table_seed)]
        return np.asarray(signs * np.array(values, dtype=float))

    def seconds(self, designs: Sequence[int], table_seed: int) -> float:
        """What the trainings of these designs took when the table was made; NaN where it does not say."""
        if "seconds" not in self.table.measured:
            return float("nan")
        if not designs:
            return 0.0
        metrics = self.table.metrics([self._designs[number] for number in designs], table_seed)
        return float(np.nansum(metrics["seconds"]))

    def points(self, table_seed: int) -> Array:
        """Every design's objectives, shape (designs, objectives), from 0 for the best value in the table to 1 for the worst;
        infinite where the trial did not complete."""
        if table_seed not in self._points:
            values = self.objectives(table_seed)
            low, high = np.nanmin(values, axis=0), np.nanmax(values, axis=0)
            scaled = (values - low) / np.where(high > low, high - low, 1.0)
            self._points[table_seed] = np.where(np.isnan(scaled), np.inf, scaled)
        return self._points[table_seed]

    def covered(self, designs: Sequence[int], table_seed: int, to_nadir: bool = False) -> float:
        """The share of the table's hypervolume that these designs cover, with the worst of each objective as reference: in the
        table, or in its Pareto front, which is the nadir.

        It is 1 where there is no volume, as in a table of two designs that are each the worst in something."""
        points = self.points(table_seed)
        reference = nadir(points) if to_nadir else np.ones(points.shape[1])
        whole = hypervolume(points, reference)
        return hypervolume(points[list(designs)], reference) / whole if whole else 1.0

    def _trials(self, table_seed: int) -> Iterable[Trial]:
        return self.evaluator.evaluate([Request(design, table_seed, self.table.epochs) for design in self._designs])


@cache
def open_benchmark(table: str, weights: tuple[tuple[str, float], ...], constraints: tuple[str, ...]) -> Benchmark:
    """The benchmark, made once per process."""
    return Benchmark(table, weights, constraints)


def run(contest: Contest) -> Run:
    """Plays a contest to its end.

    Raises:
        InputError: if there is no such learner or benchmark, or the learner asks for a design that does not exist.
    """
    benchmark = open_benchmark(contest.table, contest.weights, contest.constraints)
    return played(contest, benchmark.environment(benchmark.table_seed(contest.seed)))


def played(contest: Contest, environment: Any) -> Run:
    """Plays a contest's learner in an environment, whatever the contest says of its table.

    Raises:
        InputError: if there is no such learner, or it asks for nothing or for a design that does not exist.
    """
    timed = _Timed(learner(contest.learner))
    whose = f"the learner {contest.learner!r} on {contest.table!r} with seed {contest.seed}"
    try:
        episodes = play(environment, timed, evaluations=contest.evaluations, seed=contest.seed)
    except InputError as error:
        raise InputError(f"There is an error in {whose}: {error}") from error
    except Exception as error:  # a stranger's own: its traceback is what helps, and whose it is
        error.add_note(f"in {whose}")
        raise
    if not episodes:
        raise InputError(f"The learner {contest.learner!r} asks for nothing.")
    designs = [environment.space.index(episode.design) for episode in episodes]
    # Rounded here, so that a report from the file is the report of the run.
    return Run(contest, designs, round(1e3 * timed.seconds / len(designs), 4), software())


class _Timed:
    """A learner, and how long it took to think."""

    def __init__(self, inner: Learner) -> None:
        self.inner = inner
        self.seconds = 0.0

    def prepare(self, task: str) -> None:
        if hasattr(self.inner, "prepare"):
            self.inner.prepare(task)

    def reset(self, space: Any, seed: int) -> None:
        self.inner.reset(space, seed)

    def ask(self, n: int) -> list[Design]:
        started = time.perf_counter()
        designs = self.inner.ask(n)
        self.seconds += time.perf_counter() - started
        return designs

    def tell(self, episodes: Sequence[Episode]) -> None:
        started = time.perf_counter()
        self.inner.tell(episodes)
        self.seconds += time.perf_counter() - started


@cache
def code_of(name: str) -> str:
    """A digest of the module in which a learner is written, and of what it has learned from other tasks.

    One that cannot be made here, such as for want of a package, has learned nothing.

    Raises:
        InputError: if there is no such learner.
    """
    code = inspect.getsource(sys.modules[class_of(name).__module__])
    try:
        made = learner(name)
    except InputError:
        learned_from = ""
    else:
        learned_from = getattr(made, "learned_from", "")
    return hashlib.sha256(f"{code}{learned_from}".encode()).hexdigest()


def basis(contest: Contest) -> str:
    """What else the outcome of a contest hangs on: the table's content and the learner's code."""
    benchmark = open_benchmark(contest.table, contest.weights, contest.constraints)
    return f"{benchmark.table.digest} {code_of(contest.learner)}"


class Runs:
    """The finished runs of a folder.

    Args:
        folder: made where absent.
        basis: of a contest, what its outcome hangs on beside its own values; a run on another basis is not finished.

    Raises:
        InputError: if it cannot be written.
    """

    def __init__(self, folder: Path, basis: Callable[[Contest], str]) -> None:
        self._basis = basis
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._file = (folder / "runs.jsonl").open("a+", encoding="utf-8", errors="replace")
        except OSError as error:
            raise InputError(
                f"The folder {str(folder)!r} cannot be written: {error.strerror}; choose another --out."
            ) from error
        self._file.seek(0)
        self._finished: dict[Contest, tuple[Run, str]] = {}
        line, foreign = "\n", 0
        for line in self._file:
            try:
                finished, played_on = _read(line)
            except (TypeError, ValueError, RecursionError):
                # One that begins as a run and has no end is that at which an earlier command was killed.
                foreign += not line.startswith("[") or line.rstrip().endswith("]")
            else:
                self._finished[finished.contest] = finished, played_on
        if not line.endswith("\n"):  # what comes next is a line of its own
            self._file.write("\n")
        if foreign:
            lines = "a line that is no run" if foreign == 1 else f"{foreign} lines that are no runs"
            warn(f"The file {self._file.name!r} has {lines} of this version, or damaged; their contests are run again.")

    def get(self, contest: Contest) -> Run | None:
        """The finished run, or None."""
        finished, played_on = self._finished.get(contest, (None, ""))
        return finished if played_on == self._basis(contest) else None

    def put(self, finished: Run) -> None:
        """Keeps a run at once."""
        played_on = self._basis(finished.contest)
        self._finished[finished.contest] = finished, played_on
        outcome = list(finished.designs), finished.ms_per_episode, finished.played_with
        values = [*finished.contest, *outcome, played_on]
        self._file.write(f"{json.dumps([*values, _checksum(values)])}\n")
        self._file.flush()


_VALUES = len(Contest._fields) + 4
"""Of a line, without its checksum: the contest, the run's own, and what it was played on."""


def _read(line: str) -> tuple[Run, str]:
    """A run and what it was played on.

    Raises:
        TypeError, ValueError, RecursionError: if the line is no run, or does not fit its checksum.
    """
    values = json.loads(line)
    if len(values) > _VALUES and values.pop() != _checksum(values):  # those of before 0.2 have none
        raise ValueError("damaged")
    learner_name, table, weights, constraints, seed, evaluations, designs, ms_per_episode, played_with, played_on = (
        values
    )
    texts, counts = [learner_name, table, played_with, played_on, *constraints], [seed, evaluations, *designs]
    if not (all(type(text) is str for text in texts) and all(type(count) is int and count >= 0 for count in counts)):
        raise TypeError("no run")
    weighed = tuple((str(name), float(weight)) for name, weight in weights)
    contest = Contest(learner_name, table, weighed, tuple(constraints), seed, evaluations)
    return Run(contest, designs, float(ms_per_episode), played_with), played_on


def _checksum(values: Sequence[Any]) -> str:
    """Of a line's values."""
    return hashlib.sha256(json.dumps(values).encode()).hexdigest()[:16]


def run_all(
    run: Callable[[Contest], Run],
    contests: Sequence[Contest],
    runs: Runs,
    jobs: int | None = None,
    others: Sequence[Callable[[Contest], Run]] = (),
) -> Iterable[Run]:
    """Every run, the finished ones first, then the others as they end.

    Args:
        run: plays a contest; other processes must be able to import it.
        contests: what to run.
        runs: where finished ones are kept.
        jobs: processes side by side, one per core where None; 1 runs in this one.
        others: play in the place of `run` in every second process, every third and so on, such as on other devices.

    Raises:
        InputError: before anything is played, if a learner that has to play cannot be made. Of one whose runs are all
            finished nothing needs to be installed.
    """
    missing = []
    for contest in contests:
        finished = runs.get(contest)
        if finished is None:
            missing.append(contest)
        else:
            yield finished
    for name in dict.fromkeys(contest.learner for contest in missing):
        learner(name)
    jobs = jobs or cores()
    if jobs == 1 or len(missing) < 2:
        for contest in missing:
            finished = run(contest)
            runs.put(finished)
            yield finished
        return
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # of each process: they use the cores side by side
    players = islice(cycle([partial(_playing, each) for each in (run, *others)]), jobs)
    workers = Workers([*players], _died, preload=["agents"])
    try:
        for finished in workers.answers(missing):
            runs.put(finished)
            yield finished
    finally:
        workers.close()


def _playing(run: Callable[[Contest], Run]) -> Callable[[Contest], Run]:
    """What a process begins with."""
    return run


def _died(contest: Contest, death: Death) -> NoReturn:
    raise InputError(f"There is an error in the learner {contest.learner!r} with seed {contest.seed}: {death.reason}")


def gather(
    run: Callable[[Contest], Run],
    contests: Sequence[Contest],
    runs: Runs,
    jobs: int | None = None,
    note: Callable[[Run], str] = lambda _: "",
    others: Sequence[Callable[[Contest], Run]] = (),
) -> list[Run]:
    """Every run, with a progress bar while they are played.

    Args:
        run, contests, runs, jobs, others: as for `run_all`.
        note: what the bar says when a run has ended.
    """
    gathered = []
    with progress_bar() as progress:
        bar = progress.add_task("runs", total=len(contests), note="")
        for finished in run_all(run, contests, runs, jobs, others):
            gathered.append(finished)
            progress.update(bar, advance=1, note=note(finished))
    return gathered
