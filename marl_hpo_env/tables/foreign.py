"""The benchmarks whose authors' files are read as tables: the path of one is given wherever a table's is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from marl_hpo_env.errors import InputError, first_line
from marl_hpo_env.tables.channel_bench_macro import CHANNEL_BENCH_MACRO
from marl_hpo_env.tables.nas_bench_macro import NAS_BENCH_MACRO
from marl_hpo_env.tables.table import Table

FOREIGN = (CHANNEL_BENCH_MACRO, NAS_BENCH_MACRO)
"""A further one is a file beside theirs, and its name here."""


def foreign_table(path: Path | str) -> Table:
    """The table in a benchmark's own file, which is told by what it holds.

    Raises:
        InputError: if the file cannot be read, or is not a whole one of `FOREIGN`.
    """
    networks = _contents(path)
    for benchmark in FOREIGN:
        if benchmark.is_of(networks):
            return benchmark.table(networks, path)
    titles = " nor of ".join(benchmark.title for benchmark in FOREIGN)
    raise InputError(f"The file {str(path)!r} is neither of {titles}; the others are tables that end in .npz.")


def _contents(path: Path | str) -> Any:
    try:
        return json.loads(Path(path).read_text())
    except OSError as error:
        raise InputError(f"The file {str(path)!r} cannot be read: {error.strerror}.") from error
    except (RecursionError, ValueError) as error:
        raise InputError(f"The file {str(path)!r} holds no JSON: {first_line(error)}.") from error
