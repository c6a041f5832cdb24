"""When a whole run ends."""

from __future__ import annotations

import math
import time

from marl_hpo_env import InputError

BATCH = 8
"""Designs asked at a time: a learner's result may depend on it, so it is the same however many can be trained side by side."""

FINAL_TRAINING = 0.1
"""Of a run's time, kept for final training."""


class RunLimits:
    """The limits of a run, which ends at the first that is met; its clock starts when this is made.

    Args:
        episodes: of the learner.
        evaluations: distinct designs.
        hours: of this command, final training and all.
        target: a reward.

    Raises:
        InputError: if one of them cannot be a limit.
    """

    def __init__(
        self,
        episodes: int | None = None,
        evaluations: int | None = None,
        hours: float | None = None,
        target: float | None = None,
    ) -> None:
        positive("--hours", hours)
        if target is not None and not math.isfinite(target):
            raise InputError(f"The option --target is {target}; it is a reward, a finite number.")
        self.episodes, self.evaluations, self.target = episodes, evaluations, target
        self._seconds = math.inf if hours is None else 3600 * hours
        self._started = time.monotonic()

    def search_seconds(self, plays: int) -> float | None:
        """The seconds that the next of as many plays that are to come may take; None where time is no limit."""
        if self._seconds == math.inf:
            return None
        left = self._started + (1 - FINAL_TRAINING) * self._seconds - time.monotonic()
        return max(1e-3, left / plays)  # one design is evaluated in any case

    def training_seconds(self, trainings: int) -> float:
        """The seconds that the next of as many final trainings that are to come may take; infinite where time is no limit."""
        return (self._started + self._seconds - time.monotonic()) / trainings


def positive(option: str, value: float | None) -> float | None:
    """The value of an option that is a positive number, or was not given.

    Raises:
        InputError: if it is none.
    """
    if value is not None and not 0 < value < math.inf:
        raise InputError(f"The option {option} is {value}; it is a positive number.")
    return value
