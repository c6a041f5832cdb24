"""The file of a table: one compressed `.npz` without pickle, which any zip program and `numpy.load` can open.

| entry | type | meaning |
|---|---|---|
| `header` | uint8 | UTF-8 JSON, see below |
| `status` | uint8, (seeds, rows) | index into the header's `statuses` |
| `reason` | (seeds, rows) | 0, or one more than the index into the header's `reasons` |
| `length` | (seeds, rows) | epochs that the history covers |
| `network` | (designs,) | equal for designs that are the same network; absent where all differ |
| `metric/NAME` | (seeds, rows) | the trial's metric |
| `history/NAME` | (seeds, epochs, rows) | its value after each epoch |

A row is a design by its number (`SearchSpace.index`, the first layer varies fastest); the last row is the original network.
A column that no seed changes has one seed only. A metric that always equals the last epoch of its history is not repeated.

Every column has the smallest type that is exact: the value is `stored / scale`, `scale` standing in the header, so that an
accuracy over 400 images is a whole number of images. The highest number of an integer type, and NaN of a floating one,
mean "not measured". What was read off a clock is rounded to float32.

The header has `task` (a name), `fingerprint` (the task's), `evaluator` (its fingerprint, device included), `space`
(`SearchSpace.describe`), `seeds`, `epochs`, `units` (by metric), `statuses`, `reasons`, `scales` (by column), `own` (of the
task's own metrics: +1 or -1 for better high or low, and `epoch` or `training`), `score` where it is not accuracy, and what the
maker of the table says of it: `recipe`, `limits`, `scoring`, `splits` (their sizes), `versions`, `hardware`, `command`, `notes`.

The zip archive's comment, the last bytes of the file, is `marl-hpo-env table VERSION sha256 DIGEST`; the digest is of every
byte before it. A file whose bytes do not give it is refused.

A surrogate's file is such an archive, too, and its comment says so; what it holds stands in `evaluators/surrogate.py`.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import re
import zipfile
import zlib
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from marl_hpo_env.errors import InputError, first_line, whole_number

VERSION = 1

Column = npt.NDArray[np.float64]

MOST_BYTES = 2**28
"""Of all arrays of a table; beyond it a file is not read."""

UNREADABLE = (
    *(
        ArithmeticError,
        AttributeError,
        EOFError,
        LookupError,
        MemoryError,
        NotImplementedError,
        RecursionError,
        RuntimeError,
    ),
    *(TypeError, ValueError, zipfile.BadZipFile, zlib.error),
)
"""What is raised where a file is no table after all."""

MADE_BY = {"table": "marl-hpo table build", "surrogate": "python -m experiments.suites.vgg_surrogate"}
"""By the kind of a file, what makes one."""

_DIGEST_LENGTH = 64
_INTEGERS = (np.uint8, np.uint16, np.uint32)


def pack(
    header: Mapping[str, Any], columns: Mapping[str, Column], scales: Iterable[int] = (), kind: str = "table"
) -> bytes:
    """The bytes of a file; equal contents give equal bytes.

    Args:
        header: JSON values; `scales` is added.
        columns: by entry; NaN where not measured.
        scales: numbers that values may be exact multiples of the inverse of, such as the sizes of the splits.
        kind: of the file, one of `MADE_BY`.
    """
    candidates = sorted({1, 100, *scales})
    encoded = {name: _encode(column, candidates) for name, column in columns.items()}
    text = json.dumps({**header, "scales": {name: scale for name, (_, scale) in encoded.items()}})
    entries = {"header": np.frombuffer(text.encode(), np.uint8)} | {name: array for name, (array, _) in encoded.items()}
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, array in entries.items():
            entry = io.BytesIO()
            np.lib.format.write_array(entry, array, allow_pickle=False)
            # A ZipInfo of its own has no time of day in it.
            archive.writestr(zipfile.ZipInfo(f"{name}.npy"), entry.getvalue(), zipfile.ZIP_DEFLATED, 9)
        archive.comment = f"marl-hpo-env {kind} {VERSION} sha256 ".encode() + bytes(_DIGEST_LENGTH)
    content = file.getvalue()[:-_DIGEST_LENGTH]
    return content + hashlib.sha256(content).hexdigest().encode()


def unpack(content: bytes, name: str, kind: str = "table") -> tuple[dict[str, Any], dict[str, Column], str]:
    """The header, columns and digest of a file.

    Args:
        content: its bytes.
        name: of the file, for the sentences.
        kind: of the file, one of `MADE_BY`.

    Raises:
        InputError: if it is of another kind, damaged, or one of another version.
    """
    comment = re.search(rf"marl-hpo-env {kind} (\d+) sha256 ([0-9a-f]{{64}})\Z".encode(), content[-200:])
    if not comment:
        raise InputError(f"The file {name!r} is no {kind}, or only a part of one; `{MADE_BY[kind]}` makes one.")
    if int(comment[1]) != VERSION:
        raise InputError(
            f"The {kind} {name!r} is of version {int(comment[1])} and this package reads version {VERSION}; build it anew, or "
            "install the package that made it."
        )
    digest = hashlib.sha256(content[:-_DIGEST_LENGTH]).hexdigest()
    if digest.encode() != comment[2]:
        raise InputError(f"The {kind} {name!r} is damaged: its checksum does not fit; get it, or build it, anew.")
    try:
        arrays = _arrays(content)
        header = json.loads(arrays.pop("header").tobytes())
        columns = {entry: _decode(array, header["scales"][entry]) for entry, array in arrays.items()}
    except UNREADABLE as error:
        raise no_content(name, error, kind) from error
    return header, columns, digest


def no_content(name: str, error: Exception, kind: str = "table") -> InputError:
    """For a file whose checksum fits, but which holds something else: somebody made it so."""
    return InputError(f"The {kind} {name!r} does not hold what a {kind} holds: {first_line(error)}.")


def _arrays(content: bytes) -> dict[str, npt.NDArray[Any]]:
    """The arrays of an `.npz` file by name, if they are of sensible size."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        entries = archive.infolist()
        size = sum(entry.file_size for entry in entries)
        if size > MOST_BYTES:
            raise ValueError(f"it claims {size:,} bytes, and a table has at most {MOST_BYTES:,}")
        arrays = {}
        for entry in entries:
            with archive.open(entry) as file:
                # What was not read is not there, whatever the array's own header claims.
                inside = io.BytesIO(file.read(entry.file_size))
            arrays[entry.filename.removesuffix(".npy")] = _array(inside)
    return arrays


def _array(file: io.BytesIO) -> npt.NDArray[Any]:
    if np.lib.format.read_magic(file) != (1, 0):
        raise ValueError("an array of another version of NumPy's format")
    shape, fortran, kind = np.lib.format.read_array_header_1_0(file)
    if kind.kind not in "uf":
        raise ValueError(f"a column of {kind}")
    held = (len(file.getbuffer()) - file.tell()) // kind.itemsize
    if math.prod(shape) != held:
        raise ValueError(f"an array claims the shape {shape} and has {held} values")
    return np.frombuffer(file.getbuffer(), kind, held, file.tell()).reshape(shape, order="F" if fortran else "C")


def _encode(column: Column, scales: Iterable[int]) -> tuple[npt.NDArray[Any], int]:
    """The column in the smallest exact type, and its scale."""
    missing = np.isnan(column)
    with np.errstate(over="ignore"):
        for scale in scales:
            whole = np.rint(column * scale)
            if ((whole / scale == column) | missing).all() and np.min(whole, initial=0, where=~missing) == 0:
                top = np.max(whole, initial=0, where=~missing)
                for integer in _INTEGERS:
                    if top < np.iinfo(integer).max:
                        return np.where(missing, np.iinfo(integer).max, whole).astype(integer), scale
        for scale in scales:
            short = (column * scale).astype(np.float32)
            if ((short.astype(np.float64) / scale == column) | missing).all():
                return short, scale
    return column, 1


def _decode(array: npt.NDArray[Any], scale: Any) -> Column:
    scale = whole_number("scale of a column", scale, 1)
    if array.dtype.kind == "u":
        return np.where(array == np.iinfo(array.dtype).max, np.nan, array / scale)
    return array.astype(np.float64) / scale
