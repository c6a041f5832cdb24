"""Files that somebody made to do harm: their checksums fit, and what they say is impossible, huge or of another kind."""

from __future__ import annotations

import csv
import hashlib
import json
import random
import sqlite3
import struct
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from marl_hpo_env.evaluators import store as stores
from marl_hpo_env.tables import file as tables

VALUES: tuple[Any, ...] = (
    *(None, True, -1, 0, 1, 0.5, 10**12, 10**30, -(10**30), 1e308, float("nan"), float("inf")),
    *("", "x", "nan", "../../x", "\0", "\ud800", "x" * 10**5, [], {}, [[]], [0] * 10**5, {"type": "torch.nn.Conv2d"}),
)
"""In the place of any part of what a file says."""

DEEP = "[" * 50_000 + "]" * 50_000


def changed(thing: Any, draw: random.Random) -> Any:
    """A JSON value of which one part, at any depth, is another value, is lost, or is there many times."""
    if isinstance(thing, dict) and thing and draw.random() < 0.9:
        key = draw.choice(list(thing))
        rest = {name: value for name, value in thing.items() if name != key}
        return rest if draw.random() < 0.1 else {**rest, key: changed(thing[key], draw)}
    if isinstance(thing, list) and thing and draw.random() < 0.8:
        at = draw.randrange(len(thing))
        if draw.random() < 0.2:
            return thing[:at] + thing[at:] * draw.choice((0, 2, 60))
        return [*thing[:at], changed(thing[at], draw), *thing[at + 1 :]]
    return draw.choice(VALUES)


def _json(text: str, draw: random.Random) -> str:
    return DEEP if draw.random() < 0.05 else json.dumps(changed(json.loads(text), draw))


def text(path: Path, draw: random.Random) -> None:
    """Changes a JSON file."""
    path.write_text(_json(path.read_text(), draw))


def lines(path: Path, draw: random.Random) -> None:
    """Changes a line of a file of runs, with its checksum."""
    written = path.read_text().splitlines()
    at = draw.randrange(len(written))
    *values, _ = json.loads(written[at])
    values = changed(values, draw)
    if isinstance(values, list):
        values.append(hashlib.sha256(json.dumps(values).encode()).hexdigest()[:16])
    written[at] = json.dumps(values)
    path.write_text("\n".join(written) + "\n")


def cells(path: Path, draw: random.Random) -> None:
    """Changes a cell of a CSV file."""
    with path.open(newline="") as file:
        rows = list(csv.reader(file))
    row = draw.choice(rows)
    row[draw.randrange(len(row))] = str(draw.choice(VALUES)).encode(errors="replace").decode()
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(rows)


def store(path: Path, draw: random.Random) -> None:
    """Changes a row of a store, with its checksum; or its schema."""
    with closing(sqlite3.connect(path)) as database, database:
        if draw.random() < 0.3:
            statement = draw.choice(
                (
                    "drop table trials",
                    "drop table about",
                    "drop table accidents",
                    "pragma user_version = 99",
                    "pragma user_version = 1",
                    "pragma user_version = 0",
                    "alter table trials drop column history",
                    "alter table trials rename to others",
                    "create trigger t after insert on trials begin delete from trials; end",
                )
            )
            database.execute(statement)
            return
        columns = stores._COLUMNS["trials"].split(", ")
        rows = database.execute(f"select {', '.join(columns)} from trials").fetchall()
        row = list(draw.choice(rows))
        key = tuple(row[:4])
        at = draw.randrange(len(columns))
        if columns[at] in ("design", "epochs", "metrics", "history"):
            row[at] = _json(row[at], draw)
        else:
            row[at] = draw.choice([value for value in VALUES if _fits(value)])
        setters = ", ".join(f"{name} = ?" for name in columns)
        database.execute(
            f"update or ignore trials set {setters}, checksum = ? {stores._BY_KEY}",
            (*row, stores._checksum(*row), *key),
        )


def _fits(value: Any) -> bool:
    """Whether a database takes it."""
    try:
        sqlite3.connect(":memory:").execute("select ?", (value,))
    except (sqlite3.Error, OverflowError, UnicodeError):
        return False
    return True


def network(path: Path, draw: random.Random) -> None:
    """Changes what a saved network says of itself; files of before 0.2 have no checksum."""
    content = path.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    header, data = json.loads(content[8 : 8 + length]), content[8 + length :]
    about = header["__metadata__"]
    about.pop("checksum", None)
    if draw.random() < 0.7:
        name = draw.choice(("hyperparameters", "inputs"))
        about[name] = _json(about[name], draw)
    else:
        header = changed(header, draw)
    written = json.dumps(header).encode()
    claimed = draw.choice((len(written),) * 9 + (2**62,))
    path.write_bytes(struct.pack("<Q", claimed) + written + data)


def table(path: Path, draw: random.Random) -> None:
    """Changes the header of a table, or an array of it, and seals it anew."""
    header, columns, _ = tables.unpack(path.read_bytes(), path.name)
    header.pop("scales")
    draw.choice((_any_part, _any_part, _huge_space, _other_shape))(header, columns, draw)
    path.write_bytes(tables.pack(header, columns))


def _any_part(header: dict[str, Any], columns: dict[str, Any], draw: random.Random) -> None:
    new = changed(header, draw)
    if isinstance(new, dict):
        header.clear()
        header.update(new)


def _huge_space(header: dict[str, Any], columns: dict[str, Any], draw: random.Random) -> None:
    header["space"] = [
        {**layer, "choices": [[name, list(range(draw.choice((50, 2000))))] for name, _ in layer["choices"]]}
        for layer in header["space"] * draw.choice((1, 2, 300))
    ]


def _other_shape(header: dict[str, Any], columns: dict[str, Any], draw: random.Random) -> None:
    name = draw.choice(list(columns))
    change: Callable[[Any], Any] = draw.choice(
        (lambda a: a[..., :1], lambda a: a[None], lambda a: a * 1e300, lambda a: a - 1e9, lambda a: a.ravel())
    )
    columns[name] = change(columns[name])
