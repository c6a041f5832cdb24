"""The command `marl-hpo report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def report(
    folder: Annotated[Path, typer.Argument(help="The folder that `marl-hpo tune` wrote to, or that of one run in it.")],
) -> None:
    """Show what has come of runs so far, also of one that is going on or was stopped; nothing is trained."""
    from experiments.tuning.overview import report_of
    from marl_hpo_env.data.folders import expanded

    report_of(expanded(folder))
