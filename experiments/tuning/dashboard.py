"""Runs in Optuna's dashboard: a study for each, which is filled from the run's files and the store while the run goes on."""

from __future__ import annotations

import threading
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import optuna
import typer
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState, create_trial

from experiments.tuning.export import plain_value
from experiments.tuning.importance import ordered
from experiments.tuning.overview import opened, readable, runs_of
from experiments.tuning.report import short_name
from experiments.tuning.run import Run
from experiments.tuning.tried import Tried, directions, searched, tried
from marl_hpo_env import InputError, SearchSpace, Store, Trial
from marl_hpo_env.reward import Constraint

_BETWEEN_LOOKS = 1.0
"""Seconds after which a run's files are looked at again."""


class Studies:
    """An Optuna study for each run of a folder, in memory.

    A study's values are the reward and what it sees, its parameters the hyperparameters of every layer, its trials the distinct
    designs. One that was terminated is `PRUNED`, one that failed `FAIL`. A constraint of the reward is one of Optuna's. Slices of
    shared weights, which were not trained, have a study of their own.

    Args:
        folder: that `marl-hpo tune` writes to, or that of one run in it.
        store: of its trials.

    Attributes:
        storage: with the studies; each has the name of its run's folder, behind which that of slices says so.
    """

    def __init__(self, folder: Path, store: Store) -> None:
        self.storage = optuna.storages.InMemoryStorage()
        self._folder, self._store = folder, store
        self._studies: dict[str, optuna.Study] = {}
        self._seen: dict[str, set[tuple[int, ...]]] = {}
        self._stamps: dict[str, Sequence[Any]] = {}

    def refresh(self) -> None:
        """Adds the runs and trials that are new.

        Raises:
            InputError: if the files of a run are damaged.
        """
        for run in runs_of(self._folder):
            stamp = [(path.name, path.stat().st_size) for path in sorted(run.path.glob("*.csv"))]
            if stamp != self._stamps.get(run.path.name):
                with readable(run):
                    self._add(run, run.path.name)
                    self._add(run, f"{run.path.name} on shared weights", shared=True)
                self._stamps[run.path.name] = stamp

    def _add(self, run: Run, title: str, shared: bool = False) -> None:
        found = tried(run, self._store, shared)
        names = directions(run, found)
        if not names or (shared and not found):  # nothing is known of it yet
            return
        if title not in self._studies:
            self._studies[title] = self._new(run, title, names)
            self._seen[title] = set()
        study, seen = self._studies[title], self._seen[title]
        space = SearchSpace.described(run.settings["space"])
        constraints = [Constraint.parse(text) for text in run.settings.get("constraints", ())]
        original = searched(run, self._store, shared).get(None)
        for one in found:
            if one.design not in seen:
                study.add_trial(_trial(one, space, list(names), constraints, original))
                seen.add(one.design)

    def _new(self, run: Run, title: str, names: dict[str, int]) -> optuna.Study:
        ways = [StudyDirection.MAXIMIZE if better > 0 else StudyDirection.MINIMIZE for better in (1, *names.values())]
        with _quiet():
            study = optuna.create_study(storage=self.storage, study_name=title, directions=ways)
            study.set_metric_names(["reward", *names])
        for name in ("task", "command"):
            study.set_user_attr(name, run.settings[name])
        study.set_user_attr("reward", run.settings["identity"]["reward"])
        return study


def _trial(
    one: Tried, space: SearchSpace, objectives: Sequence[str], constraints: Sequence[Constraint], original: Trial | None
) -> FrozenTrial:
    """A design that was tried, as one of Optuna's trials."""
    chosen = space.hyperparameters(one.design)
    parameters: dict[str, Any] = {}
    distributions: dict[str, BaseDistribution] = {}
    for layer in space.layers:
        for name, choices in layer.choices.items():
            key = f"{layer.name} {short_name(name)}"
            parameters[key] = plain_value(chosen[layer.name][name])
            distributions[key] = CategoricalDistribution(list(dict.fromkeys(map(plain_value, ordered(choices)))))
    told: dict[str, Any] = {"learner": one.learner, "design": ",".join(map(str, one.design)), "reward": one.reward}
    curve: dict[int, float] = {}
    state = TrialState.PRUNED if one.terminated else TrialState.COMPLETE
    if one.trial is not None:
        told |= {name: value for name, value in one.trial.metrics.items() if value is not None}
        if one.trial.reason is not None:
            told["reason"] = one.trial.reason
        if one.trial.status == "failed":
            state = TrialState.FAIL
        of_epochs = next((name for name in objectives if all(name in epoch for epoch in one.trial.history)), None)
        if of_epochs is not None:
            curve = {number: epoch[of_epochs] for number, epoch in enumerate(one.trial.history, start=1)}
    completed = state == TrialState.COMPLETE
    trial = create_trial(
        state=state,
        values=[one.reward, *(one.objectives[name] for name in objectives)] if completed else None,
        params=parameters,
        distributions=distributions,
        user_attrs=told,
        # As the dashboard reads them: one number each, which is above 0 where the constraint is broken.
        system_attrs={
            "constraints": [each.excess(one.objectives[str(each.objective)], original) for each in constraints]
        }
        if constraints and completed
        else {},
        intermediate_values=curve,
    )
    trial.datetime_complete = datetime.now()
    trial.datetime_start = trial.datetime_complete - timedelta(seconds=told.get("seconds", 0.0))
    return trial


class _Server(ThreadingMixIn, WSGIServer):
    """Answers a browser's connections side by side: it opens some that it does not use at once."""

    daemon_threads = True


class _Silent(WSGIRequestHandler):
    def log_message(self, format: str, *arguments: Any) -> None:
        """Says nothing of a request."""


@contextmanager
def server(folder: Path, port: int) -> Iterator[WSGIServer]:
    """A server of the dashboard's pages on this machine, whose `serve_forever` is to be called.

    Args:
        folder: that `marl-hpo tune` writes to, or that of one run in it.
        port: 0 for one that is free.

    Raises:
        InputError: if there is no run, its files are damaged, or the port is taken.
    """
    from optuna_dashboard import wsgi

    with opened(folder) as (_, store):
        studies, lock = Studies(folder, store), threading.Lock()
        studies.refresh()
        pages = wsgi(studies.storage)
        latest = time.monotonic()

        def fresh(environ: Any, start: Any) -> Any:
            nonlocal latest
            with lock:
                if time.monotonic() - latest > _BETWEEN_LOOKS:
                    try:
                        studies.refresh()
                    except InputError as error:
                        typer.echo(error, err=True)
                    latest = time.monotonic()
            return pages(environ, start)

        try:
            made = make_server("localhost", port, fresh, _Server, _Silent)
        except OSError as error:
            raise InputError(
                f"The dashboard cannot use port {port}: {error.strerror}; name another with --port."
            ) from error
        with made:
            yield made


def serve(folder: Path, port: int) -> None:
    """Serves the dashboard until the command is stopped; its arguments are those of `server`.

    Raises:
        InputError: as `server`.
    """
    with server(folder, port) as pages:
        typer.echo(f"The runs of {str(folder)!r}: http://localhost:{port}  (Ctrl-C ends it)")
        pages.serve_forever()


@contextmanager
def _quiet() -> Iterator[None]:
    """Optuna does not say that it made a study, nor that names of values are new."""
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            yield
    finally:
        optuna.logging.set_verbosity(verbosity)
