"""Trials in an SQLite database: one writer, many readers, nothing lost at any moment of a crash."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from marl_hpo_env.errors import InputError
from marl_hpo_env.trial import Request, Trial

_SCHEMA = """
create table if not exists trials (
    fingerprint text not null,
    design text not null,      -- JSON list of action indices; "null" is the original network
    seed integer not null,
    epochs text not null,      -- JSON number; "null" is training to convergence
    status text not null,
    reason text,
    metrics text not null,     -- JSON object, units in the names
    history text not null,     -- JSON list, one object per epoch
    primary key (fingerprint, design, seed, epochs)
) without rowid;
create table if not exists about (name text primary key, value text not null) without rowid;
"""


class Store:
    """Every trial of a run, there the moment it ends.

    Args:
        path: the database file, made where absent; None keeps the trials in memory.

    Raises:
        InputError: if the file cannot be written or is not a store.
    """

    def __init__(self, path: Path | str | None = None) -> None:
        try:
            if path is not None:
                Path(path).parent.mkdir(parents=True, exist_ok=True)
            self._database = sqlite3.connect(path or ":memory:", timeout=60, check_same_thread=False)
            # Write-ahead logging lets readers look while the writer writes; a killed process loses nothing that was
            # committed, and every trial is a commit of its own.
            self._database.execute("pragma journal_mode=wal")
            self._database.executescript(_SCHEMA)
            self._database.execute(
                "select fingerprint, design, seed, epochs, status, reason, metrics, history from trials"
            )
        except (OSError, sqlite3.Error) as error:
            raise InputError(f"The store {str(path)!r} cannot be opened: {_reason(error)}.") from error

    def get(self, fingerprint: str, request: Request) -> Trial | None:
        """The stored trial of this request, or None."""
        with _errors():
            row = self._database.execute(
                "select status, reason, metrics, history from trials"
                " where fingerprint = ? and design = ? and seed = ? and epochs = ?",
                (fingerprint, *_key(request)),
            ).fetchone()
        if row is None:
            return None
        status, reason, metrics, history = row
        return Trial(request, status, reason, json.loads(metrics), tuple(json.loads(history)))

    def put(self, fingerprint: str, trial: Trial) -> None:
        """Stores a trial, in the place of an older one with the same key.

        Raises:
            InputError: if it cannot be written, such as on a full disk.
        """
        row = (
            trial.status,
            trial.reason,
            json.dumps(dict(trial.metrics)),
            json.dumps([dict(e) for e in trial.history]),
        )
        with _errors(), self._database:
            self._database.execute(
                "insert or replace into trials values (?, ?, ?, ?, ?, ?, ?, ?)",
                (fingerprint, *_key(trial.request), *row),
            )

    def trials(self) -> Iterator[tuple[str, Trial]]:
        """Every (fingerprint, trial), ordered by key."""
        rows = self._database.execute("select * from trials order by fingerprint, design, seed, epochs")
        for fingerprint, design, seed, epochs, status, reason, metrics, history in rows:
            actions = json.loads(design)
            request = Request(None if actions is None else tuple(actions), seed, json.loads(epochs))
            yield fingerprint, Trial(request, status, reason, json.loads(metrics), tuple(json.loads(history)))

    def about(self, name: str) -> str | None:
        """What the store says of `name`, such as the task that it belongs to; None where it says nothing."""
        with _errors():
            row = self._database.execute("select value from about where name = ?", (name,)).fetchone()
        return None if row is None else str(row[0])

    def set_about(self, name: str, value: str) -> None:
        """Writes what the store says of `name`."""
        with _errors(), self._database:
            self._database.execute("insert or replace into about values (?, ?)", (name, value))

    def close(self) -> None:
        """Closes the database; the store cannot be used afterwards."""
        self._database.close()


@contextmanager
def _errors() -> Iterator[None]:
    """A database that cannot be used is one sentence."""
    try:
        yield
    except sqlite3.Error as error:
        raise InputError(f"The store of trials cannot be used: {_reason(error)}.") from error


def _key(request: Request) -> tuple[str, int, str]:
    return json.dumps(request.design), request.seed, json.dumps(request.epochs)


def _reason(error: Exception) -> str:
    return (error.strerror or str(error)) if isinstance(error, OSError) else str(error)
