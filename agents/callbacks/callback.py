"""The contract of those who are told of a play while it goes on."""

from __future__ import annotations

from collections.abc import Sequence

from agents.protocol import Episode
from marl_hpo_env import Trial


class Callback:
    """Is told of one play; a subclass overrides what it wants to hear of.

    What it does changes nothing in the play, and what it raises ends the play.
    """

    def on_trial(self, trial: Trial) -> None:
        """A trial of the batch at hand has ended: once for each of its distinct designs, in the order that they finish in."""

    def on_episode(self, episode: Episode, trial: Trial) -> None:
        """The learner was told of an episode: of all in the order asked, after their batch."""

    def on_end(self, episodes: Sequence[Episode]) -> None:
        """The play has ended with these episodes, also where an error or the user ended it; nothing comes after this."""
