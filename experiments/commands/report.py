"""The command `marl-hpo report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from experiments.command_line import path_option


def report(
    folder: Annotated[Path, typer.Argument(help="The folder that `marl-hpo tune` wrote to, or that of one run in it.")],
    csv: Annotated[
        Path | None,
        path_option(
            "--csv",
            metavar="FILE",
            help="Write every trial to this CSV file, too: a column for each metric and each hyperparameter.",
        ),
    ] = None,
) -> None:
    """Show what has come of runs so far, also of one that is going on or was stopped; nothing is trained."""
    from experiments.tuning.export import write_csv
    from experiments.tuning.overview import report_of
    from marl_hpo_env.data.folders import expanded

    report_of(expanded(folder))
    if csv is not None:
        typer.echo(f"{write_csv(expanded(folder), csv)} trials: {csv}")
