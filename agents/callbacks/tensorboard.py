"""A play in TensorBoard (extra `tensorboard`)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from agents.callbacks.callback import Callback
from agents.callbacks.figures import Figures, best_design, check_installed
from agents.protocol import Episode
from marl_hpo_env import Trial


class TensorBoard(Callback):
    """Writes a curve over the episodes for the reward, the best so far and every metric, and at the end the best design.

    Args:
        folder: where, for `tensorboard --logdir`; a play that is repeated there takes the place of the one before.

    Raises:
        InputError: if TensorBoard is not installed.
    """

    def __init__(self, folder: Path | str) -> None:
        check_installed("tensorboard")
        from torch.utils.tensorboard import SummaryWriter

        # Seconds: whoever watches should not wait. A run that continues plays its episodes from the first one again.
        self._writer = SummaryWriter(str(folder), purge_step=0, flush_secs=5)
        self._figures = Figures()

    def on_episode(self, episode: Episode, trial: Trial) -> None:
        number, figures = self._figures.of(episode, trial)
        for name, value in figures.items():
            self._writer.add_scalar(name, value, number)

    def on_end(self, episodes: Sequence[Episode]) -> None:
        if (design := best_design(episodes)) is not None:
            self._writer.add_text("best_design", design, len(episodes))
        self._writer.close()
