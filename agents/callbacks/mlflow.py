"""A play in MLflow (extra `mlflow`)."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from agents.callbacks.callback import Callback
from agents.callbacks.figures import Figures, best_design, check_installed
from agents.protocol import Episode
from marl_hpo_env import InputError, Trial


class MLflow(Callback):
    """Writes one run of MLflow's: the reward, the best so far and every metric by episode, and at the end the best design.

    Where it is written MLflow says: its variable `MLFLOW_TRACKING_URI`, or the file `mlflow.db` in the current folder.

    Args:
        experiment: its name there; made where absent.
        run: the run's name.
        parameters: what else to keep of the run, such as the task, the learner and the seed.

    Raises:
        InputError: if MLflow is not installed, or cannot write.
    """

    def __init__(self, experiment: str, run: str, parameters: Mapping[str, Any] | None = None) -> None:
        check_installed("mlflow")
        from mlflow import MlflowClient
        from mlflow.exceptions import MlflowException

        try:
            # A client, and not the module's functions: the user's own script may have a run open there.
            self._client = MlflowClient()
            known = self._client.get_experiment_by_name(experiment)
            number = self._client.create_experiment(experiment) if known is None else known.experiment_id
            self._run = self._client.create_run(number, run_name=run).info.run_id
            for name, value in (parameters or {}).items():
                self._client.log_param(self._run, name, value)
        except MlflowException as error:
            raise InputError(f"MLflow cannot be written to: {error}") from error
        self._figures = Figures()

    def on_episode(self, episode: Episode, trial: Trial) -> None:
        from mlflow.entities import Metric

        number, figures = self._figures.of(episode, trial)
        now = time.time_ns() // 10**6
        self._client.log_batch(self._run, [Metric(name, value, now, number) for name, value in figures.items()])

    def on_end(self, episodes: Sequence[Episode]) -> None:
        if (design := best_design(episodes)) is not None:
            self._client.set_tag(self._run, "best_design", design)
        self._client.set_terminated(self._run)
