"""The command `marl-hpo dashboard`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def dashboard(
    folder: Annotated[
        Path, typer.Argument(help="The folder that `marl-hpo tune` writes to, or that of one run in it.")
    ],
    port: Annotated[int, typer.Option(min=1, max=65535, help="Of this machine, where the pages are served.")] = 8080,
) -> None:
    """Show runs in a browser, also while they go on: every trial's values and hyperparameters, and what matters."""
    from agents.callbacks.figures import check_installed
    from experiments.tuning.dashboard import serve
    from marl_hpo_env.data.folders import expanded

    check_installed("optuna_dashboard", "dashboard")
    serve(expanded(folder), port)
