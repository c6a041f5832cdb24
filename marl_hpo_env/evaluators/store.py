"""Trials in an SQLite database: one writer, many readers, nothing lost at any moment of a crash."""

from __future__ import annotations

import hashlib
import json
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, get_args

from marl_hpo_env.errors import InputError
from marl_hpo_env.trial import OF_SLICES, Request, Status, Trial

VERSION = 3
"""Of the schema: `pragma user_version` of the file, which was 0 in the first."""

_PATIENCE = 60.0
"""Seconds to wait for another process that has the file."""

_COLUMNS = {
    "trials": "fingerprint, design, seed, epochs, status, reason, metrics, history, accidental, machine",
    "about": "name, value",
    "tasks": "fingerprint, name",
    "accidents": "fingerprint, design, seed, epochs, count",
}
"""Of each table; beside them stands the row's checksum, of what they hold in this order."""

_BY_KEY = "where fingerprint = ? and design = ? and seed = ? and epochs = ?"

_ACCIDENTS = """
    create table accidents (
        fingerprint text not null,
        design text not null,
        seed integer not null,
        epochs text not null,
        count integer not null,    -- how often this request failed by what happened around it
        checksum text,
        primary key (fingerprint, design, seed, epochs)
    ) without rowid
"""

_SCHEMA = (
    """
    create table trials (
        fingerprint text not null,
        design text not null,      -- JSON list of action indices; "null" is the original network
        seed integer not null,
        epochs text not null,      -- JSON number; "null" is training to convergence; a list of it and the fold, on a fold
        status text not null,
        reason text,
        metrics text not null,     -- JSON object, units in the names
        history text not null,     -- JSON list, one object per epoch
        accidental integer not null default 0,
        machine text,
        checksum text,
        primary key (fingerprint, design, seed, epochs)
    ) without rowid
    """,
    "create table about (name text primary key, value text not null, checksum text) without rowid",
    "create table tasks (fingerprint text primary key, name text not null, checksum text) without rowid",
    _ACCIDENTS,
)

_FROM_VERSION_1 = (
    "alter table trials add column accidental integer not null default 0",
    """
    update trials set accidental = 1
    where status = 'failed' and (reason like 'Out of memory%' or reason like 'The worker process died%')
    """,
    "create table tasks (fingerprint text primary key, name text not null) without rowid",
    # Version 1 says in `about` which task it holds, as NAME FINGERPRINT, the latter of 16 characters.
    """
    insert into tasks select distinct fingerprint, substr(value, 1, length(value) - 17) from trials join about
    on about.name = 'task' and fingerprint like substr(value, -16) || '%'
    """,
)

_FROM_VERSION_2 = (
    "alter table trials add column machine text",
    *(
        statement
        for table in ("trials", "about", "tasks")
        for statement in (
            f"alter table {table} add column checksum text",
            f"update {table} set checksum = checksum_of({_COLUMNS[table]})",
        )
    ),
    _ACCIDENTS,
)


class Store:
    """Every trial of a run, there the moment it ends.

    Args:
        path: the database file, made where absent; None keeps the trials in memory.

    A file of an older version is brought forward when it is opened. Every row has a checksum, and all are read once then.

    Raises:
        InputError: if the file cannot be written, is not a store, is damaged, or is one of a newer version.
    """

    def __init__(self, path: Path | str | None = None) -> None:
        self.name = "in memory" if path is None else repr(str(path))
        try:
            if path is not None:
                Path(path).parent.mkdir(parents=True, exist_ok=True)
            self._database = sqlite3.connect(path or ":memory:", timeout=_PATIENCE, check_same_thread=False)
            self._database.create_function("checksum_of", -1, _checksum, deterministic=True)
            self._write_ahead()
            self._bring_forward()
            self._verify()
        except (OSError, sqlite3.Error, MemoryError, UnicodeDecodeError) as error:  # SQLite quotes damaged names
            raise InputError(f"The store {str(path)!r} cannot be opened: {_reason(error)}.") from error

    def _write_ahead(self) -> None:
        """Write-ahead logging lets readers look while the writer writes; a killed process loses nothing that was committed, and
        every trial is a commit of its own."""
        deadline = time.monotonic() + _PATIENCE
        while True:
            try:
                self._database.execute("pragma journal_mode=wal")
            except sqlite3.OperationalError as error:
                # SQLite does not always wait here by itself while another process does the same to a new file.
                if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                    raise
                time.sleep(0.01)
            else:
                return

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
            steps = (*(_FROM_VERSION_1 if version < 2 else ()), *_FROM_VERSION_2) if old else _SCHEMA
            for statement in steps:
                self._database.execute(statement)
            self._database.execute(f"pragma user_version = {VERSION}")
        self._database.commit()

    def _verify(self) -> None:
        """Reads every row once: a trial that cannot be found under its key would be trained again without a word."""
        (fault,) = self._database.execute("pragma quick_check(1)").fetchone()
        if fault != "ok":
            raise self._damaged(fault.splitlines()[-1])
        for table, columns in _COLUMNS.items():
            for _ in self._rows(table, f"select {columns}, checksum from {table}"):
                pass

    def _rows(self, table: str, query: str, values: Sequence[Any] = ()) -> Iterator[Sequence[Any]]:
        """What a query for a table's columns and their checksum finds, without the checksum.

        Raises:
            InputError: if a row does not fit its checksum.
        """
        for *row, checksum in self._database.execute(query, values):
            if checksum != _checksum(*row):
                raise self._damaged(
                    f"in its {table} {' '.join(map(str, row[: 4 if table in ('trials', 'accidents') else 1]))!r}"
                )
            yield row

    def _write(self, table: str, *row: Any) -> None:
        """Puts a row in a table, in the place of an older one with the same key."""
        holders = ", ".join("?" * (len(row) + 1))
        with _errors(), self._database:
            self._database.execute(
                f"insert or replace into {table} ({_COLUMNS[table]}, checksum) values ({holders})",
                (*row, _checksum(*row)),
            )

    def _damaged(self, where: str) -> InputError:
        return InputError(
            f"The store {self.name} is damaged ({where}); put a copy from before in its place, or move it away to train its "
            "designs again."
        )

    def get(self, fingerprint: str, request: Request) -> Trial | None:
        """The stored trial of this request, or None.

        Raises:
            InputError: if it is damaged, or the file cannot be read.
        """
        with _errors():
            row = next(self._trial_rows(_BY_KEY, (fingerprint, *_key(request))), None)
        return None if row is None else self._trial(row)[1]

    def put(self, fingerprint: str, trial: Trial) -> None:
        """Stores a trial, in the place of an older one with the same key.

        Raises:
            InputError: if it cannot be written, such as on a full disk.
        """
        self._write(
            "trials",
            fingerprint,
            *_key(trial.request),
            trial.status,
            trial.reason,
            json.dumps(dict(trial.metrics)),
            json.dumps([dict(e) for e in trial.history]),
            int(trial.accidental),
            trial.machine,
        )

    def count_accident(self, fingerprint: str, request: Request) -> int:
        """Counts that a request failed by what happened around it, and says how often it has so far."""
        key = (fingerprint, *_key(request))
        query = f"select {_COLUMNS['accidents']}, checksum from accidents {_BY_KEY}"
        with _errors():
            *_, before = next(self._rows("accidents", query, key), (0,))
        self._write("accidents", *key, before + 1)
        return int(before) + 1

    def trials(self) -> Iterator[tuple[str, Trial]]:
        """Every (fingerprint, trial), ordered by key."""
        with _errors():
            yield from map(self._trial, self._trial_rows("order by fingerprint, design, seed, epochs"))

    def _trial_rows(self, which: str, values: Sequence[Any] = ()) -> Iterator[Sequence[Any]]:
        return self._rows("trials", f"select {_COLUMNS['trials']}, checksum from trials {which}", values)

    def _trial(self, row: Sequence[Any]) -> tuple[str, Trial]:
        """The fingerprint and the trial of a row of `trials`."""
        try:
            return _trial(row)
        except (
            AttributeError,
            RecursionError,
            TypeError,
            ValueError,
        ) as error:  # its checksum fits: somebody made it so
            raise self._damaged(f"in its trials {' '.join(map(str, row[:4]))[:200]!r}") from error

    def introduce(self, fingerprint: str, task: str) -> int:
        """Keeps which task a fingerprint is of.

        Returns:
            How many trials of this task there are under other fingerprints, if there are none under this one; else 0.
        """
        self._write("tasks", fingerprint, task)
        with _errors():
            counted = dict(
                self._database.execute(
                    "select fingerprint, count(*) from trials join tasks using (fingerprint) where name = ? group by 1",
                    (task,),
                )
            )
        return 0 if fingerprint in counted else sum(counted.values())

    def machines(self, fingerprint: str) -> set[str]:
        """What the trials of this fingerprint were made with (`Trial.machine`), where it is known."""
        with _errors():
            rows = self._database.execute("select distinct machine from trials where fingerprint = ?", (fingerprint,))
            return {machine for (machine,) in rows if machine is not None}

    def about(self, name: str) -> str | None:
        """What the store says of `name`, such as the task that it belongs to; None where it says nothing."""
        with _errors():
            rows = self._rows("about", "select name, value, checksum from about where name = ?", (name,))
            _, value = next(rows, (name, None))
        return value

    def set_about(self, name: str, value: str) -> None:
        """Writes what the store says of `name`."""
        self._write("about", name, value)

    def close(self) -> None:
        """Closes the database; the store cannot be used afterwards."""
        self._database.close()


@contextmanager
def _errors() -> Iterator[None]:
    """A database that cannot be used is one sentence."""
    try:
        yield
    except (sqlite3.Error, UnicodeDecodeError) as error:
        raise InputError(f"The store of trials cannot be used: {_reason(error)}.") from error


def _trial(row: Sequence[Any]) -> tuple[str, Trial]:
    fingerprint, design, seed, epochs, status, reason, metrics, history, accidental, machine = row
    actions = json.loads(design)
    budget = json.loads(epochs)
    request = Request(
        None if actions is None else tuple(actions), seed, *(budget if type(budget) is list else [budget])
    )
    measured, after_epochs = json.loads(metrics), tuple(map(dict, json.loads(history)))
    figures = [value for values in (measured, *after_epochs) for value in values.values() if value is not None]
    if not (status in get_args(Status) and all(isinstance(value, int | float) for value in figures)):
        raise TypeError("no trial")
    trial = Trial(
        request,
        status,
        reason,
        measured,
        after_epochs,
        bool(accidental),
        machine,
        shared=OF_SLICES in fingerprint,
    )
    return fingerprint, trial


def _key(request: Request) -> tuple[str, int, str]:
    budget = request.epochs if request.fold is None else [request.epochs, request.fold]
    return json.dumps(request.design), request.seed, json.dumps(budget)


def _checksum(*row: Any) -> str:
    """Of a row's values, whatever types damage has made of them."""
    return hashlib.sha256(json.dumps(row, default=repr).encode()).hexdigest()[:16]


def _reason(error: Exception) -> str:
    return (error.strerror or str(error)) if isinstance(error, OSError) else str(error)
