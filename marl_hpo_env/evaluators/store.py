"""Trials in an SQLite database: one writer, many readers, nothing lost at any moment of a crash."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from marl_hpo_env.errors import InputError
from marl_hpo_env.trial import Request, Trial

VERSION = 2
"""Of the schema: `pragma user_version` of the file, which was 0 in the first."""

_TASKS = "create table tasks (fingerprint text primary key, name text not null) without rowid"

_SCHEMA = (
    """
    create table trials (
        fingerprint text not null,
        design text not null,      -- JSON list of action indices; "null" is the original network
        seed integer not null,
        epochs text not null,      -- JSON number; "null" is training to convergence
        status text not null,
        reason text,
        metrics text not null,     -- JSON object, units in the names
        history text not null,     -- JSON list, one object per epoch
        accidental integer not null default 0,
        primary key (fingerprint, design, seed, epochs)
    ) without rowid
    """,
    "create table about (name text primary key, value text not null) without rowid",
    _TASKS,
)

_FROM_VERSION_1 = (
    "alter table trials add column accidental integer not null default 0",
    """
    update trials set accidental = 1
    where status = 'failed' and (reason like 'Out of memory%' or reason like 'The worker process died%')
    """,
    _TASKS,
    # Version 1 says in `about` which task it holds, as NAME FINGERPRINT, the latter of 16 characters.
    """
    insert into tasks select distinct fingerprint, substr(value, 1, length(value) - 17) from trials join about
    on about.name = 'task' and fingerprint like substr(value, -16) || '%'
    """,
)

_COLUMNS = "fingerprint, design, seed, epochs, status, reason, metrics, history, accidental"


class Store:
    """Every trial of a run, there the moment it ends.

    Args:
        path: the database file, made where absent; None keeps the trials in memory.

    A file of an older version is brought forward when it is opened.

    Raises:
        InputError: if the file cannot be written, is not a store, or is one of a newer version.
    """

    def __init__(self, path: Path | str | None = None) -> None:
        self.name = "in memory" if path is None else repr(str(path))
        try:
            if path is not None:
                Path(path).parent.mkdir(parents=True, exist_ok=True)
            self._database = sqlite3.connect(path or ":memory:", timeout=60, check_same_thread=False)
            # Write-ahead logging lets readers look while the writer writes; a killed process loses nothing that was
            # committed, and every trial is a commit of its own.
            self._database.execute("pragma journal_mode=wal")
            self._bring_forward()
            self._database.execute(f"select {_COLUMNS} from trials")
        except (OSError, sqlite3.Error) as error:
            raise InputError(f"The store {str(path)!r} cannot be opened: {_reason(error)}.") from error

    def _bring_forward(self) -> None:
        """Makes the tables of a new file, or those that an older one lacks, in one transaction."""
        (version,) = self._database.execute("pragma user_version").fetchone()
        if version == VERSION:
            return
        if version > VERSION:
            raise InputError(
                f"The store {self.name} is of version {version} and this package reads up to {VERSION}; install a newer one."
            )
        self._database.execute("begin exclusive")  # another process may be at it
        (version,) = self._database.execute("pragma user_version").fetchone()
        if version < VERSION:
            old = self._database.execute("select 1 from sqlite_master where name = 'trials'").fetchone()
            for statement in _FROM_VERSION_1 if old else _SCHEMA:
                self._database.execute(statement)
            self._database.execute(f"pragma user_version = {VERSION}")
        self._database.commit()

    def get(self, fingerprint: str, request: Request) -> Trial | None:
        """The stored trial of this request, or None."""
        with _errors():
            row = self._database.execute(
                f"select {_COLUMNS} from trials where fingerprint = ? and design = ? and seed = ? and epochs = ?",
                (fingerprint, *_key(request)),
            ).fetchone()
        return None if row is None else _trial(row)[1]

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
            int(trial.accidental),
        )
        with _errors(), self._database:
            self._database.execute(
                f"insert or replace into trials ({_COLUMNS}) values (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (fingerprint, *_key(trial.request), *row),
            )

    def trials(self) -> Iterator[tuple[str, Trial]]:
        """Every (fingerprint, trial), ordered by key."""
        rows = self._database.execute(f"select {_COLUMNS} from trials order by fingerprint, design, seed, epochs")
        yield from map(_trial, rows)

    def introduce(self, fingerprint: str, task: str) -> int:
        """Keeps which task a fingerprint is of.

        Returns:
            How many trials of this task there are under other fingerprints, if there are none under this one; else 0.
        """
        with _errors(), self._database:
            self._database.execute("insert or replace into tasks values (?, ?)", (fingerprint, task))
            counted = dict(
                self._database.execute(
                    "select fingerprint, count(*) from trials join tasks using (fingerprint) where name = ? group by 1",
                    (task,),
                )
            )
        return 0 if fingerprint in counted else sum(counted.values())

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


def _trial(row: Sequence[Any]) -> tuple[str, Trial]:
    """The fingerprint and the trial of a row of `_COLUMNS`."""
    fingerprint, design, seed, epochs, status, reason, metrics, history, accidental = row
    actions = json.loads(design)
    request = Request(None if actions is None else tuple(actions), seed, json.loads(epochs))
    return fingerprint, Trial(
        request, status, reason, json.loads(metrics), tuple(json.loads(history)), bool(accidental)
    )


def _key(request: Request) -> tuple[str, int, str]:
    return json.dumps(request.design), request.seed, json.dumps(request.epochs)


def _reason(error: Exception) -> str:
    return (error.strerror or str(error)) if isinstance(error, OSError) else str(error)
