"""The benchmarks whose authors' files are read as tables: the path of one is given wherever a table's is."""

from __future__ import annotations

from pathlib import Path

from marl_hpo_env.errors import InputError
from marl_hpo_env.tables.channel_bench_macro import CHANNEL_BENCH_MACRO
from marl_hpo_env.tables.measured_file import contents
from marl_hpo_env.tables.nas_bench_macro import NAS_BENCH_MACRO
from marl_hpo_env.tables.table import Table

FOREIGN = (CHANNEL_BENCH_MACRO, NAS_BENCH_MACRO)
"""A further one is a file beside theirs, and its name here."""


def foreign_table(path: Path | str) -> Table:
    """The table in a benchmark's own file, which is told by what it holds.

    Raises:
        InputError: if the file cannot be read, or is not a whole one of `FOREIGN`.
    """
    networks = contents(path)
    for benchmark in FOREIGN:
        if benchmark.is_of(networks):
            return benchmark.table(networks, path)
    titles = " nor of ".join(benchmark.title for benchmark in FOREIGN)
    raise InputError(f"The file {str(path)!r} is neither of {titles}; the others are tables that end in .npz.")
