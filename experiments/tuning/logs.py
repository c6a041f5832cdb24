"""The programs beside which a run can be watched: TensorBoard, MLflow, Weights & Biases."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from agents import Callback
from agents.callbacks import MLflow, TensorBoard, WeightsAndBiases
from agents.callbacks.figures import check_installed
from agents.episodes_file import file_name
from experiments.tuning.run import Run

Log = Callable[[Run, str], Callback]
"""Makes the callback for one play of a run, whose learner has this label."""


def logs(tensorboard: bool, mlflow: bool, wandb: bool) -> list[Log]:
    """Those that are asked for.

    Raises:
        InputError: if the package of one is not installed.
    """
    every: dict[str, tuple[bool, Log]] = {
        "tensorboard": (tensorboard, lambda run, label: TensorBoard(run / "tensorboard" / file_name(label))),
        "mlflow": (mlflow, lambda run, label: MLflow(_project(run), _name(run, label), _parameters(run, label))),
        "wandb": (
            wandb,
            lambda run, label: WeightsAndBiases(
                _project(run), _name(run, label), _parameters(run, label), dir=str(run.path)
            ),
        ),
    }
    for package, (asked, _) in every.items():
        if asked:
            check_installed(package)
    return [log for asked, log in every.values() if asked]


def _project(run: Run) -> str:
    return file_name(run.settings["task"])


def _name(run: Run, label: str) -> str:
    return f"{run.path.name}, {label}"


def _parameters(run: Run, label: str) -> dict[str, Any]:
    return {"task": run.settings["task"], "plays": label, **run.settings["identity"]}
