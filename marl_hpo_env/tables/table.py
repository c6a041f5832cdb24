"""Tables: every design of a small search space, trained once and for all.

A table answers in microseconds what a training answers in seconds, and knows the best design. It opens without torch. The
file is described in `tables/file.py`.

    >>> from marl_hpo_env.tables.table import Table
    >>> table = Table.open("digits-convnet")                                           # doctest: +SKIP
    >>> table.metrics([[0, 0, 0, 0, 0], [7, 7, 7, 2, 2]], seed=1)["validation_accuracy"]  # doctest: +SKIP

What a table holds is what its trainings came to after all their epochs. Asked for fewer, it answers from their history:
figures that are taken after the last epoch, such as test accuracy, are then not there, seconds are in proportion, and a
training that was restarted or terminated by a limit (V-E) counts as such, however few epochs are asked for.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from marl_hpo_env.errors import InputError, whole_number
from marl_hpo_env.files import whole_file
from marl_hpo_env.pareto import hypervolume, nadir, non_dominated
from marl_hpo_env.space import SearchSpace
from marl_hpo_env.tables.file import UNREADABLE, Column, no_content, pack, unpack
from marl_hpo_env.trial import ACCURACIES, CLOCK_METRICS, METRICS, Measure, Request, Status, Trial

IntArray = npt.NDArray[np.int64]
Reference = Literal["worst", "nadir"]

_STATUSES: tuple[Status, ...] = get_args(Status)
_COMPLETED = _STATUSES.index("completed")
_SHIPPED = resources.files("marl_hpo_env") / "tables"


class Table:
    """Every design of a search space with its trials, one per seed.

    Args:
        content: the bytes of a table's file.
        name: of the file, for the sentences.

    Attributes:
        space: the designs.
        seeds: each design has a trial under each of them.
        epochs: how long the trials were trained.
        about: the file's header: task, fingerprints, recipe, split, versions, hardware and more (see `tables/file.py`).
        digest: the checksum of all that the table holds.
        content: as given.

    Raises:
        InputError: if it is no table, a damaged one, or one of another version.
    """

    def __init__(self, content: bytes, name: str = "table") -> None:
        self.content = content
        self.about, columns, self.digest = unpack(content, name)
        try:
            self.space = SearchSpace.described(self.about["space"])
            self.seeds = tuple(whole_number("seed", seed, 0) for seed in self.about["seeds"])
            self.epochs = whole_number("number of epochs", self.about["epochs"], 1)
            self.task_name = str(self.about["task"])
            if self.about["statuses"] != list(_STATUSES):
                raise ValueError(f"its statuses are {self.about['statuses']} in place of {list(_STATUSES)}")
            if not self.seeds or len(set(self.seeds)) < len(self.seeds):
                raise ValueError(f"its seeds are {list(self.seeds)}")
            own = self.about.get("own", {}).items()
            measures = {name: Measure(str(self.about["units"][name]), better, of) for name, (better, of) in own}
            if any(m.better not in (+1, -1) or m.of not in ("epoch", "training") for m in measures.values()):
                raise ValueError(f"its own metrics are {self.about['own']}")
            self.measures = {**METRICS, **measures}
            for text in ("reasons", "notes"):
                if not all(isinstance(line, str) for line in self.about.get(text, ())):
                    raise ValueError(f"its {text} are {self.about[text]}")
            rows = (len(self.seeds), self.space.size + 1)
            shapes = {"history": (rows[0], self.epochs, rows[1]), "network": (self.space.size,)}
            for entry, column in columns.items():
                shape = shapes.get(entry.split("/")[0], rows)
                if column.shape not in (shape, (1, *shape[1:])):
                    raise ValueError(f"{entry!r} has the shape {column.shape} in place of {shape}")
                columns[entry] = np.broadcast_to(column, shape)
            self._status, self._reason, self._length = (
                _indices(columns[entry], top)
                for entry, top in (
                    ("status", len(self.about["statuses"]) - 1),
                    ("reason", len(self.about["reasons"])),
                    ("length", self.epochs),
                )
            )
            self.networks = _indices(
                columns.get("network", np.arange(self.space.size, dtype=float)), self.space.size - 1
            )
        except UNREADABLE as error:
            raise no_content(name, error) from error
        self._after_training, self._history = (
            {entry.removeprefix(kind): column for entry, column in columns.items() if entry.startswith(kind)}
            for kind in ("metric/", "history/")
        )
        self._cached: dict[tuple[int, int], dict[str, Column]] = {}
        self._shipped_as: str | None = None

    def __reduce__(self) -> tuple[Callable[..., Table], tuple[Any, ...]]:
        """A table of the package is sent to other processes by its name and digest, any other with its content."""
        return (_again, (self._shipped_as, self.digest)) if self._shipped_as else (Table, (self.content,))

    @classmethod
    def open(cls, table: Path | str) -> Table:
        """The table with this name that comes with the package, or in this file.

        Args:
            table: such as `"digits-convnet"` or `"synthetic-widths-7"`, or the path of an `.npz` file, or of the `.json` of a
                benchmark that is in `tables/foreign.py`.

        Raises:
            InputError: if there is none, or it is damaged or of another version.
        """
        path = Path(table)
        if path.suffix == ".json":
            from marl_hpo_env.tables.foreign import foreign_table

            return foreign_table(path)
        if path.suffix != ".npz":
            from marl_hpo_env.tables.synthetic import synthetic_as_table, tabled

            if str(table) in tabled():
                return synthetic_as_table(str(table))
            if str(table) not in shipped():
                raise InputError(
                    f"There is no table {str(table)!r} in the package, which has {', '.join([*shipped(), *tabled()])}; a "
                    "table's file ends in .npz, and that of a benchmark of others in .json."
                )
            opened = cls((_SHIPPED / f"{table}.npz").read_bytes(), str(table))
            opened._shipped_as = str(table)
            return opened
        try:
            return cls(path.read_bytes(), str(table))
        except OSError as error:
            raise InputError(f"The table {str(table)!r} cannot be read: {error.strerror}.") from error

    @classmethod
    def from_trials(
        cls,
        task: str,
        space: SearchSpace,
        seeds: Sequence[int],
        epochs: int,
        trials: Iterable[Trial],
        *,
        networks: Sequence[int] | IntArray | None = None,
        about: Mapping[str, Any] | None = None,
        measures: Mapping[str, Measure] = METRICS,
    ) -> Table:
        """A table of these trials.

        Args:
            task: what was tuned, such as `"digits-convnet"`.
            space: every design of it has a trial.
            seeds: under each of these.
            epochs: of every trial's request.
            trials: in any order; with those of the original network where there are any.
            networks: of each design, by its number: a number that is equal for designs which are the same network. By
                default all differ.
            about: JSON values that say how the trials came about, under the names in `tables/file.py`.
            measures: what each metric is; `task.measures`, where the task has metrics of its own.

        Raises:
            InputError: if a trial is missing, is that of a slice of shared weights, is of another space, seed or number of
                epochs, or differs from another of its request; or if a completed one has a figure that is no finite number or
                no fraction where it should be.
        """
        gathered = _Gathered(space, tuple(seeds), epochs, measures)
        for trial in trials:
            gathered.add(trial)
        about = about or {}
        columns = gathered.columns()
        if networks is not None:
            columns["network"] = np.asarray(networks, dtype=np.float64)
        header = {
            **about,
            "task": task,
            "space": space.describe(),
            "seeds": list(seeds),
            "epochs": epochs,
            "units": {name: measures[name].unit for name in measures if name in {*gathered.metrics, *gathered.history}},
            "statuses": _STATUSES,
            "reasons": [text for text in gathered.reasons if text is not None],
        }
        own = {name: measure[1:3] for name, measure in measures.items() if name not in METRICS}
        if own:
            header["own"] = own
        return cls(pack(header, columns, about.get("splits", {}).values()), task)

    def save(self, path: Path | str) -> None:
        """Writes the file, whose name ends in `.npz`.

        Raises:
            InputError: if it cannot be written, or has another name.
        """
        if Path(path).suffix != ".npz":
            raise InputError(f"The name of a table's file ends in .npz; got {str(path)!r}.")
        try:
            with whole_file(path) as partial:
                partial.write_bytes(self.content)
        except OSError as error:
            raise InputError(f"The table cannot be written to {str(path)!r}: {error.strerror}.") from error

    def __repr__(self) -> str:
        return f"Table({self.task_name!r}, {self.space.size:,} designs, {len(self.seeds)} seeds, {self.epochs} epochs)"

    @cached_property
    def measured(self) -> frozenset[str]:
        """The metrics that at least one completed trial has."""
        return frozenset(
            name
            for seed in self.seeds
            for name, column in self._metrics_of(seed, self.epochs).items()
            if not np.isnan(column[self._completed(seed)]).all()
        )

    @cached_property
    def designs(self) -> IntArray:
        """Every design in the order of its number, shape (designs, layers)."""
        numbers = np.unravel_index(np.arange(self.space.size), self.space.sizes, order="F")
        return np.stack(numbers, axis=1)

    def numbers(self, designs: npt.ArrayLike) -> IntArray:
        """Each design's number (`SearchSpace.index`), of many at once.

        Args:
            designs: action indices, shape (n, layers).

        Raises:
            InputError: if they are not designs of the table's space.
        """
        given = np.asarray(designs)
        sizes = np.array(self.space.sizes)
        if given.ndim != 2 or given.shape[1] != len(sizes) or given.dtype.kind not in "iu":
            raise InputError(
                f"The designs are {given.dtype} of shape {given.shape}; give whole numbers of shape (n, {len(sizes)}), one "
                "column per layer."
            )
        if len(given) and ((low := given.min(axis=0)) < 0).any() | (given.max(axis=0) >= sizes).any():
            layer = int(np.argmax((low < 0) | (given.max(axis=0) >= sizes)))
            raise InputError(
                f"An action of layer {self.space.names[layer]!r} does not exist; its actions are 0 to {sizes[layer] - 1}."
            )
        strides = np.concatenate([[1], np.cumprod(sizes[:-1])])
        number = np.zeros(len(given), dtype=np.int64)
        for column, stride in zip(given.T, strides, strict=True):
            number += column * stride
        return number

    def metrics(
        self, designs: npt.ArrayLike, seed: int | None = None, epochs: int | None = None
    ) -> dict[str, npt.NDArray[np.float64]]:
        """What the trials of many designs measured.

        Args:
            designs: action indices, shape (n, layers).
            seed: one of `seeds`; the first by default.
            epochs: from 1 to the table's, which is the default.

        Returns:
            By metric, shape (n,), NaN where it was not measured: the figures that `trial` gives, so also those of trials
            that did not complete; see `completed`.

        Raises:
            InputError: if there is no such design, seed or number of epochs.
        """
        numbers = self.numbers(designs)
        seed, epochs = self.seeds[0] if seed is None else seed, self.epochs if epochs is None else epochs
        self.check(seed, epochs)
        return {name: column[numbers] for name, column in self._metrics_of(seed, epochs).items()}

    def completed(self, designs: npt.ArrayLike, seed: int | None = None) -> npt.NDArray[np.bool_]:
        """Which designs' trials completed under this seed (the first by default), shape (n,).

        Raises:
            InputError: if there is no such design or seed.
        """
        numbers = self.numbers(designs)
        seed = self.seeds[0] if seed is None else seed
        self.check(seed, self.epochs)
        return self._completed(seed)[numbers]

    def trial(self, request: Request) -> Trial:
        """The trial of this request, as its training would have given it.

        Raises:
            InputError: if there is no such design, seed or number of epochs, or a fold is asked for.
        """
        design, seed, epochs, fold = request
        if fold is not None:
            raise InputError(f"Fold {fold} is asked of a table, whose trials are of none; train the design.")
        self.check(seed, epochs)
        assert epochs is not None
        position = self.seeds.index(seed)
        row = self.space.size if design is None else self.space.index(design)
        metrics: dict[str, float | None] = dict.fromkeys(self.measures)
        for name, column in self._metrics_of(seed, epochs).items():
            value = column.item(row)
            if not math.isnan(value):
                metrics[name] = value
        history = tuple(
            {name: column.item(position, epoch, row) for name, column in self._history.items()}
            for epoch in range(min(epochs, self._length.item(position, row)))
        )
        reason = self._reason.item(position, row)
        return Trial(
            request,
            self.about["statuses"][self._status.item(position, row)],
            self.about["reasons"][reason - 1] if reason else None,
            metrics,
            history,
        )

    def check(self, seed: int, epochs: int | None) -> None:
        """Whether the table has trials of this seed and number of epochs.

        Raises:
            InputError: if not.
        """
        if seed not in self.seeds:
            raise InputError(f"The table of {self.task_name!r} has no seed {seed}; its seeds are {list(self.seeds)}.")
        fewest = 1 if self._history else self.epochs
        if epochs is None or not fewest <= epochs <= self.epochs:
            asked = "training to convergence" if epochs is None else f"{epochs} epochs"
            available = f"1 to {self.epochs}" if fewest == 1 < self.epochs else f"{self.epochs} only"
            raise InputError(f"The table of {self.task_name!r} has no figures of {asked}; it has those of {available}.")

    def mean(self, metric: str) -> npt.NDArray[np.float64]:
        """Of every design by its number: the mean of a metric over the seeds under which it completed; NaN where under none.

        Raises:
            InputError: if the table does not have it.
        """
        if metric not in self.measured:
            raise InputError(
                f"The table of {self.task_name!r} has no {metric!r}; it has {', '.join(sorted(self.measured))}."
            )
        values, counts = np.zeros(self.space.size), np.zeros(self.space.size)
        for seed in self.seeds:
            column = self._metrics_of(seed, self.epochs)[metric][:-1]
            measured = self._completed(seed)[:-1] & ~np.isnan(column)
            values += np.where(measured, column, 0.0)
            counts += measured
        with np.errstate(invalid="ignore"):
            return values / counts

    @property
    def score(self) -> str:
        """The metric that stands for the accuracy."""
        return str(self.about.get("score", "validation_accuracy"))

    @property
    def judged_by(self) -> str:
        """What a found design is scored by: the test figure of the score, or the score itself where the table has none."""
        tested = self.score.replace("validation_", "test_")
        return tested if tested in self.measured else self.score

    @cached_property
    def mean_test_accuracy(self) -> npt.NDArray[np.float64]:
        """What a found design is scored by; shape (designs,). No reward sees it."""
        return self.mean("test_accuracy")

    def pareto_front(self, objectives: Sequence[str] = ("test_accuracy", "model_size_mb")) -> IntArray:
        """The numbers of the designs that no other dominates, by the means over the seeds, and one design of each network; best
        first in the first objective.

        Raises:
            InputError: if the table does not have such a metric.
        """
        numbers, points = self._points(objectives)
        front = non_dominated(points)
        numbers = numbers[front][np.argsort(points[front, 0], kind="stable")]
        _, first = np.unique(self.networks[numbers], return_index=True)
        return numbers[np.sort(first)]

    def reference_point(
        self, objectives: Sequence[str] = ("test_accuracy", "model_size_mb"), reference: Reference = "worst"
    ) -> dict[str, float]:
        """The point from which `hypervolume` is measured (ours).

        Args:
            objectives: two or more metrics, by their means over the seeds.
            reference: the worst value of each objective among all designs, or among those of the Pareto front: its nadir.

        Raises:
            InputError: if the table does not have such a metric, or there is no such reference.
        """
        point = _reference(self._points(objectives)[1], reference)
        return {name: float(-self.measures[name].better * value) for name, value in zip(objectives, point, strict=True)}

    def hypervolume(
        self,
        objectives: Sequence[str] = ("test_accuracy", "model_size_mb"),
        designs: npt.ArrayLike | None = None,
        reference: Reference = "worst",
    ) -> float:
        """The volume between these designs' Pareto front and `reference_point`, in the product of the metrics' units.

        Args:
            objectives: two or more metrics, by their means over the seeds.
            designs: shape (n, layers), such as those that a learner found; all by default: the most there is to find.
            reference: as for `reference_point`.

        Raises:
            InputError: if the table does not have such a metric or design, or there is no such reference.
        """
        numbers, points = self._points(objectives)
        point = _reference(points, reference)
        return hypervolume(points if designs is None else points[np.isin(numbers, self.numbers(designs))], point)

    def _points(self, objectives: Sequence[str]) -> tuple[IntArray, npt.NDArray[np.float64]]:
        """The numbers of the designs that completed, and their objectives, all to be minimised."""
        points = np.stack([self.mean(name) * -self.measures[name].better for name in objectives], axis=1)
        complete = ~np.isnan(points).any(axis=1)
        return np.flatnonzero(complete), points[complete]

    def _completed(self, seed: int) -> npt.NDArray[np.bool_]:
        return self._status[self.seeds.index(seed)] == _COMPLETED

    def _metrics_of(self, seed: int, epochs: int) -> dict[str, Column]:
        """Every metric under this seed after so many epochs, shape (rows,)."""
        if (seed, epochs) in self._cached:
            return self._cached[seed, epochs]
        position = self.seeds.index(seed)
        length = self._length[position]
        found: dict[str, Column] = {}
        for name, metric in self.measures.items():
            if metric.of == "history":
                continue  # tables of version 0.1 hold one, by another threshold
            after_training = self._after_training.get(name)
            by_epoch = self._history.get(name)
            if after_training is not None and (epochs == self.epochs or metric.of == "network"):
                found[name] = after_training[position]
            elif by_epoch is not None:
                found[name] = _last(by_epoch, np.minimum(self._length, epochs))[position]
            elif after_training is None:
                continue
            elif name == "epochs":
                found[name] = np.minimum(after_training[position], epochs)
            elif name == "seconds":
                found[name] = after_training[position] * np.minimum(length, epochs) / np.maximum(length, 1)
        self._cached[seed, epochs] = found
        return found


class _Gathered:
    """Trials on their way into columns; see `tables/file.py` for the columns' shapes.

    Args:
        space: the designs.
        seeds: of the trials.
        epochs: of the trials' requests.
        measures: what each metric is.
    """

    def __init__(
        self, space: SearchSpace, seeds: tuple[int, ...], epochs: int, measures: Mapping[str, Measure]
    ) -> None:
        self._measures = measures
        self._space, self._seeds, self._epochs = space, seeds, epochs
        self._shape = len(seeds), space.size + 1
        self._status = np.full(self._shape, np.nan)
        self._reason, self._length = np.zeros(self._shape), np.zeros(self._shape)
        self.reasons: dict[str | None, int] = {None: 0}
        self.metrics: dict[str, Column] = {}
        self.history: dict[str, Column] = {}
        self._added: dict[tuple[int, int], Trial] = {}

    def add(self, trial: Trial) -> None:
        """Takes in one trial.

        Raises:
            InputError: as `Table.from_trials`.
        """
        design, seed, epochs, fold = trial.request
        if fold is not None:
            raise InputError(f"A trial is of fold {fold}; a table's are of the data as they are divided.")
        if trial.shared:
            raise InputError(
                f"{_called(trial)} is of a slice of shared weights; a table's are trained: train the design."
            )
        if seed not in self._seeds or epochs != self._epochs or len(trial.history) > self._epochs:
            raise InputError(
                f"A trial has the seed {seed} and {epochs} epochs; this table's have the seeds {list(self._seeds)} and "
                f"{self._epochs} epochs."
            )
        position, row = self._seeds.index(seed), self._space.size if design is None else self._space.index(design)
        _check_figures(trial)
        if self._added.setdefault((position, row), trial) != trial:
            raise InputError(f"{_called(trial)} is there twice, with other figures; give one trial for each.")
        self._status[position, row] = _STATUSES.index(trial.status)
        self._reason[position, row] = self.reasons.setdefault(trial.reason, len(self.reasons))
        self._length[position, row] = len(trial.history)
        for name, value in trial.metrics.items():
            if name not in self._measures:
                raise InputError.unknown("metric", name, self._measures)
            if value is not None and self._measures[name].of != "history":
                self.metrics.setdefault(name, np.full(self._shape, np.nan))[position, row] = value
        for epoch, values in enumerate(trial.history):
            for name, value in values.items():
                if name not in self.history:
                    self.history[name] = np.full((self._shape[0], self._epochs, self._shape[1]), np.nan)
                self.history[name][position, epoch, row] = value

    def columns(self) -> dict[str, Column]:
        """The columns of a table's file.

        Raises:
            InputError: if a design has no trial.
        """
        missing = np.argwhere(np.isnan(self._status[:, :-1]))
        if len(missing):
            position, number = missing[0]
            raise InputError(
                f"The table lacks {len(missing)} of its {len(self._seeds) * self._space.size} trials, such as that of the "
                f"design {list(self._space.design_at(number))} under seed {self._seeds[position]}; a table has every design's."
            )
        absent = np.isnan(self._status)  # of the original network
        if absent.any():
            reason = "The table has no trial of the original network."
            self._status[absent] = _STATUSES.index("failed")
            self._reason[absent] = self.reasons.setdefault(reason, len(self.reasons))
        columns = {"status": self._status, "reason": self._reason, "length": self._length}
        unmeasured = np.full(self._shape, np.nan)
        for name in self._measures:
            last = _last(self.history[name], self._length) if name in self.history else unmeasured
            column = self.metrics.get(name, unmeasured)
            if name in CLOCK_METRICS:
                column = column.astype(np.float32).astype(np.float64)
            if not _equal(column, last):
                same = _equal(column, np.broadcast_to(column[:1], column.shape))
                columns[f"metric/{name}"] = column[:1] if same else column
        return columns | {f"history/{name}": column for name, column in self.history.items()}


def _check_figures(trial: Trial) -> None:
    """Raises an `InputError` for a figure that no training can have measured."""
    for figures in (trial.metrics, *trial.history):
        for name, value in figures.items():
            if value is None or (trial.status != "completed" and not math.isfinite(value)):
                continue  # a training that failed may have had a loss that is no number
            if not math.isfinite(value):
                raise InputError(f"{_called(trial)} has the {name} {value}; figures are finite numbers, or None.")
            if name in ACCURACIES and not 0 <= value <= 1:
                percent = f", so {value / 100:g} for {value:g}%" if 1 < value <= 100 else ""
                raise InputError(f"{_called(trial)} has the {name} {value:g}; it is a fraction of 0 to 1{percent}.")


def _called(trial: Trial) -> str:
    design = "original network" if trial.design is None else f"design {list(trial.design)}"
    return f"The trial of the {design} under seed {trial.request.seed}"


def shipped() -> list[str]:
    """The names of the tables that come with the package."""
    found = [Path(entry.name) for entry in _SHIPPED.iterdir()] if _SHIPPED.is_dir() else []
    return sorted(path.stem for path in found if path.suffix == ".npz")


def _reference(points: npt.NDArray[np.float64], reference: Reference) -> npt.NDArray[np.float64]:
    if reference not in get_args(Reference):
        raise InputError.unknown("reference", reference, get_args(Reference))
    return nadir(points) if reference == "nadir" else np.asarray(points.max(axis=0))


def _again(name: str, digest: str) -> Table:
    """The package's table of this name, where it is the one that was sent."""
    table = Table.open(name)
    if table.digest != digest:
        raise InputError(
            f"The table {name!r} is another one here than where it was sent from; use one version of marl-hpo-env."
        )
    return table


def _last(by_epoch: Column, length: npt.NDArray[Any]) -> Column:
    """The value after the last of `length` epochs; NaN where that is none. Shapes (seeds, epochs, rows), (seeds, rows)."""
    last = np.maximum(length.astype(np.int64) - 1, 0)
    return np.where(length > 0, np.take_along_axis(by_epoch, last[:, None, :], axis=1)[:, 0], np.nan)


def _equal(a: Column, b: Column) -> bool:
    return np.array_equal(a, b, equal_nan=True)


def _indices(column: Column, top: int) -> IntArray:
    """Whole numbers from 0 to `top`."""
    if not ((column >= 0) & (column <= top) & (column == np.floor(column))).all():
        raise ValueError(f"an index is not within 0 to {top}")
    return column.astype(np.int64)
