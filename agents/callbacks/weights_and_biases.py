"""A play in Weights & Biases (extra `wandb`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from agents.callbacks.callback import Callback
from agents.callbacks.figures import Figures, best_design, check_installed
from agents.protocol import Episode
from marl_hpo_env import InputError, Trial


class WeightsAndBiases(Callback):
    """Writes one run of W&B's: the reward, the best so far and every metric by episode, and at the end the best design.

    Args:
        project: its name there.
        run: the run's name.
        parameters: what else to keep of the run, such as the task, the learner and the seed.
        **settings: of `wandb.init`, such as `mode="offline"`, which is also `WANDB_MODE=offline`: `wandb sync` uploads it later.

    Raises:
        InputError: if `wandb` is not installed, or cannot begin a run, such as without an account.
    """

    def __init__(self, project: str, run: str, parameters: Mapping[str, Any] | None = None, **settings: Any) -> None:
        check_installed("wandb")
        import wandb

        try:
            # A run of its own, beside one that the user's own script may have begun.
            self._run = wandb.init(
                project=project, name=run, config=dict(parameters or {}), reinit="create_new", **settings
            )
        except wandb.Error as error:
            raise InputError(
                f"Weights & Biases cannot begin a run: {error} Log in with `wandb login`, or write to a folder with "
                "WANDB_MODE=offline."
            ) from error
        self._figures = Figures()

    def on_episode(self, episode: Episode, trial: Trial) -> None:
        number, figures = self._figures.of(episode, trial)
        self._run.log(figures, step=number)

    def on_end(self, episodes: Sequence[Episode]) -> None:
        if (design := best_design(episodes)) is not None:
            self._run.summary["best_design"] = design
        self._run.finish()
