"""A folder of images and a CSV file that says what is wanted of each: classes, labels, or values."""

from __future__ import annotations

import csv
import io
import math
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import torch

from marl_hpo_env.data.folders import expanded, left_out
from marl_hpo_env.data.images import IMAGENET, Normalisation
from marl_hpo_env.data.parts import part_named
from marl_hpo_env.data.pictures import image_files, no_images, read_pictures
from marl_hpo_env.data.splits import Data, Kind
from marl_hpo_env.data.targets import Targets, read_targets
from marl_hpo_env.errors import InputError, first_line, whole_number

Rows = list[dict[str, str]]

_PART_COLUMNS = ("split", "part", "set", "subset")
_NOTHING = ("", "nan", "na", "n/a", "none", "null")
"""In a cell, in lower case: it is empty."""

_UNNAMED = re.compile(r"(Unnamed: \d+)?")
"""A column of line numbers, as pandas writes and reads them."""

_DECIMAL_COMMA = re.compile(r"[+-]?\d+,\d+")

_MOST_NAMED = 10
"""Columns that a sentence names."""


def image_table(
    table: Path | str,
    folder: Path | str,
    image_size: int,
    kind: Kind | None = None,
    target: Sequence[str] = (),
    groups: str | None = None,
    normalisation: Normalisation = IMAGENET,
) -> Data:
    """Images as `image_folder` reads them, with targets from a table.

    Args:
        table: a CSV file, separated by commas, semicolons or tabs, whose first line names the columns. One column holds the
            images' files, by path in `folder` or name, with or without ending. A column `split` whose cells are train, val and
            test divides the images; otherwise they are drawn.
        folder: of the images, at any depth.
        image_size: height and width in pixels to which each image is scaled.
        kind: what the target columns hold. `"classes"`: one column of names or numbers. `"labels"`: columns of 0 and 1, or one
            column of labels separated by `|`, `;`, commas or spaces. `"values"`: columns of numbers. None where it is plain: one
            column of words is classes, one with decimals values, several of 0 and 1 labels, and several with others values.
        target: the columns that hold what is wanted; all but the files', groups' and parts' where there are none.
        groups: the column with the group of each image, such as its patient: no group is then in two parts.
        normalisation: as `image_folder` takes it.

    Returns:
        Inputs of shape (n, 3, image_size, image_size); `class_names` are the classes, labels or columns.

    Raises:
        InputError: if the table or the images cannot be read, a column is missing, the kind is not plain, or a cell is not of it.
    """
    table, root = expanded(table), expanded(folder)
    whole_number("image size", image_size, 1)
    if not root.is_dir():
        raise InputError(f"There is no folder {str(root)!r}; name the one with the images of {str(table)!r}.")
    rows = _rows(table)
    columns = list(rows[0])
    for column in [*target, *([groups] if groups else [])]:
        if column not in columns:
            raise InputError.unknown(f"column in {str(table)!r}", column, columns)
    images, others = image_files(root)
    files, found = _files(table, rows, images, root)
    parts = next((name for name in columns if name.lower() in _PART_COLUMNS and _are_parts(rows, name)), None)
    wanted = list(target) or [
        name for name in columns if not _UNNAMED.fullmatch(name) and name not in (files, groups, parts)
    ]
    if not wanted:
        raise InputError(
            f"The table {str(table)!r} has no column but {', '.join(columns)}; add what is wanted of each image."
        )
    rows, paths, notes = _usable(table, rows, found, files, [*wanted, *([groups] if groups else [])])
    named = _Columns(table, rows, wanted)
    kind = kind or named.plain_kind()
    pictures = read_pictures(root, paths, image_size, normalisation)
    read = named.targets(kind)
    used = set(paths)
    notes += left_out(
        [path for path in images if path not in used], root, f"{str(table)!r} has no line with targets for them"
    )
    notes += no_images([path for path in others if path != table], root)
    of_groups = f", {groups!r} their groups" if groups else ""
    notes = [
        f"In {table.name}, {files!r} names the images and {_listed(wanted)} their {kind}{of_groups}.",
        *read.notes,
        *notes,
    ]
    kept = torch.tensor(pictures.kept)
    return pictures.data(
        read.values[kept],
        read.kind,
        read.class_names,
        [part_named(rows[i][parts]) if parts else None for i in pictures.kept],
        [rows[i][groups] for i in pictures.kept] if groups else None,
        notes,
    )


def _rows(table: Path) -> Rows:
    try:
        text = table.read_text(encoding="utf-8-sig")
        separator = max(",;\t", key=text.partition("\n")[0].count)
        reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=separator, restkey="", restval="")
        rows = [{str(name).strip(): str(cell).strip() for name, cell in row.items()} for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = error.strerror if isinstance(error, OSError) else first_line(error)
        raise InputError(f"The table {str(table)!r} cannot be read: {reason}; give a CSV file in UTF-8.") from error
    if not rows or len(reader.fieldnames or ()) < 2:
        raise InputError(
            f"The table {str(table)!r} has {len(rows)} lines of {len(reader.fieldnames or ())} columns; its first line names the "
            "columns, one for the images and at least one for what is wanted of each."
        )
    names = Counter(str(name).strip() for name in reader.fieldnames or ())
    twice = [name for name, count in names.items() if count > 1]
    if twice:
        raise InputError(f"The table {str(table)!r} has {names[twice[0]]} columns {twice[0]!r}; name each once.")
    return rows


def _files(table: Path, rows: Rows, images: Sequence[Path], root: Path) -> tuple[str, list[Path | None]]:
    """The column that names most images, the first of equals; and the image of each row."""
    known: dict[str, list[Path]] = {}
    in_any_case: dict[str, list[Path]] = {}
    for path in images:
        relative = path.relative_to(root)
        for name in {relative.as_posix(), relative.with_suffix("").as_posix(), path.name, path.stem, path.as_posix()}:
            known.setdefault(name, []).append(path)
            in_any_case.setdefault(name.lower(), []).append(path)

    def matching(name: str) -> list[Path]:
        plain = name.replace("\\", "/").removeprefix("./")
        # As it is written, or else in any case: Windows, where many tables are from, tells none apart.
        for files, one, folder in ((known, plain, root.name), (in_any_case, plain.lower(), root.name.lower())):
            for path in (one, f"{folder}/{one}", one.removeprefix(f"{folder}/")):
                if path in files:
                    return files[path]
        return []

    found = {column: [matching(row[column]) for row in rows] for column in rows[0]}
    best = max(found, key=lambda column: sum(map(bool, found[column])))
    if not any(found[best]):
        first = next(iter(rows[0].values()))
        raise InputError(
            f"No column of {str(table)!r} names images in {str(root)!r}, which has {len(images)}; its first line after the "
            f"names of the columns begins with {first!r}."
        )
    if Path(best).suffix and matching(best):
        raise InputError(
            f"The first line of {str(table)!r} names the image {best!r}; give it one before that with the names of the columns."
        )
    for row, paths in zip(rows, found[best], strict=True):
        if len(paths) > 1:
            a, b = (str(path.relative_to(root)) for path in paths[:2])
            raise InputError(f"The image {row[best]!r} in {str(table)!r} may be {a!r} or {b!r}; write its path.")
    return best, [paths[0] if paths else None for paths in found[best]]


def _are_parts(rows: Rows, column: str) -> bool:
    return all(part_named(row[column]) for row in rows)


def _usable(
    table: Path, rows: Rows, paths: Sequence[Path | None], files: str, wanted: Sequence[str]
) -> tuple[Rows, list[Path], list[str]]:
    """The rows with an image and every cell that is wanted, once for each image; and sentences on the others."""
    lines: dict[Path, dict[str, str]] = {}
    lacking, empty, twice = [], [], 0
    for row, path in zip(rows, paths, strict=True):
        if path is None:
            lacking.append(row[files])
        elif any(row[column].lower() in _NOTHING for column in wanted):
            empty.append(row[files])
        elif path in lines:
            twice += 1
            if any(row[column] != lines[path][column] for column in wanted):
                raise InputError(
                    f"The table {str(table)!r} has two lines for {row[files]!r}, which differ in what is wanted; keep one."
                )
        else:
            lines[path] = row
    if not lines:
        raise InputError(f"The table {str(table)!r} has no line with an image and {', '.join(wanted)}; fill in some.")
    notes = []
    for count, what, example in (
        (len(lacking), "name images that are not there", lacking[:1]),
        (len(empty), "have an empty cell", empty[:1]),
        (twice, "repeat another", []),
    ):
        if count:
            such = f", such as that of {example[0]!r}" if example else ""
            notes.append(f"{count} lines of the table {what} and are left out{such}.")
    return list(lines.values()), list(lines), notes


class _Columns:
    """The target columns of a table.

    Args:
        table: the file, for the sentences.
        rows: of it.
        names: of the columns.
    """

    def __init__(self, table: Path, rows: Rows, names: Sequence[str]) -> None:
        self._table, self._names = table, list(names)
        self._cells = [[row[name] for name in names] for row in rows]

    def plain_kind(self) -> Kind:
        """What the columns plainly are.

        Raises:
            InputError: if they may be of several kinds.
        """
        numbers = [[_number(cell) for cell in cells] for cells in self._cells]
        plain = [number for row in numbers for number in row if number is not None]
        words = len(plain) < len(numbers) * len(self._names)
        truths = not words and set(plain) <= {0.0, 1.0}
        if len(self._names) == 1:
            if truths or (all(number is None for row in numbers for number in row) and not self._has_decimal_commas()):
                return "classes"
            if not words and any(number != int(number) for number in plain):
                return "values"
        elif not words:
            if not truths:
                return "values"
            return "classes" if all(sum(map(bool, row)) == 1 for row in numbers) else "labels"
        raise InputError(
            f"The columns {_listed(self._names)} of {str(self._table)!r} hold {self._cells[0][0]!r} and the like, which may "
            "be classes, labels or values; say which kind (--kind), and which columns are the target (--column)."
        )

    def _has_decimal_commas(self) -> bool:
        return any(_DECIMAL_COMMA.fullmatch(cell) for cells in self._cells for cell in cells)

    def targets(self, kind: Kind) -> Targets:
        """What the columns hold, as that kind.

        Raises:
            InputError: if a cell is not of it.
        """
        one = len(self._names) == 1
        if kind == "classes" and one:
            return read_targets([cells[0] for cells in self._cells], kind)
        if kind == "labels" and one and any(_number(cells[0]) is None for cells in self._cells):
            return self._tags()
        if kind not in ("classes", "labels", "values"):
            raise InputError.unknown("kind of targets in a table", kind, ("classes", "labels", "values"))
        values = [
            [self._checked(cell, name, kind) for cell, name in zip(cells, self._names, strict=True)]
            for cells in self._cells
        ]
        return read_targets(torch.tensor(values, dtype=torch.float32), kind, self._names)

    def _checked(self, cell: str, name: str, kind: Kind) -> float:
        comma = kind == "values" and _DECIMAL_COMMA.fullmatch(cell)
        number = _number(cell.replace(",", ".") if comma else cell)
        if number is None or not math.isfinite(number) or (kind != "values" and number not in (0, 1)):
            right = "numbers" if kind == "values" else "0 and 1"
            raise InputError(
                f"The column {name!r} of {str(self._table)!r} holds {cell!r}; {kind} are {right}, and columns that are no target "
                "are left out by naming the others (--column)."
            )
        return number

    def _tags(self) -> Targets:
        """One column of several labels each."""
        separator = next((mark for mark in "|;," if any(mark in cells[0] for cells in self._cells)), None)
        tags = [{tag.strip() for tag in cells[0].split(separator)} - {""} for cells in self._cells]
        names = sorted(set().union(*tags))
        values = torch.tensor([[float(name in of_one) for name in names] for of_one in tags])
        return read_targets(values, "labels", names)


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(map(repr, names[:_MOST_NAMED]))
    return shown if len(names) <= _MOST_NAMED else f"{shown} and {len(names) - _MOST_NAMED} more"


def _number(cell: str) -> float | None:
    """A cell as a number, also true and false; None where it is none."""
    truth = {"true": 1.0, "false": 0.0}.get(cell.lower())
    try:
        return float(cell) if truth is None else truth
    except ValueError:
        return None
