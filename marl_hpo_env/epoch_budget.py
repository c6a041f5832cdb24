"""How many epochs an episode trains (paper VI-A).

At most ten; fewer where the loss limit is met sooner; never under three. Ours, by default: found out once, on the original
and a few random designs, and then fixed, so that rewards stay comparable. The paper lowers it as the run goes on.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import numpy as np

from marl_hpo_env.errors import InputError
from marl_hpo_env.evaluator import Evaluator
from marl_hpo_env.trial import Request, Trial

MOST_EPOCHS = 10
FEWEST_EPOCHS = 3
CALIBRATION_DESIGNS = 3

Budget = int | Literal["calibrated", "running"]
"""A fixed number of epochs; or found out once before a run; or the paper's running minimum."""


def check(budget: Budget) -> Budget:
    """The same.

    Raises:
        InputError: if it is none of the three.
    """
    if isinstance(budget, str):
        if budget not in ("calibrated", "running"):
            raise InputError.unknown("epoch budget", budget, ("calibrated", "running"))
    elif budget < 1:
        raise InputError(f"The number of epochs is {budget}; it is at least 1, or 'calibrated' or 'running'.")
    return budget


def lowered(epochs: int, trials: Iterable[Trial]) -> int:
    """The budget after these trials: the fewest epochs in which one of them met the loss limit, never under three."""
    met = [trial.metrics.get("epochs_to_threshold") for trial in trials if trial.status == "completed"]
    return max(FEWEST_EPOCHS, min([epochs, *(int(value) for value in met if value is not None)]))


def calibrated(evaluator: Evaluator, seed: int) -> int:
    """The budget that the original and three random designs need, each trained for ten epochs."""
    rng = np.random.default_rng(seed)
    designs = [None, *(evaluator.space.sample(rng) for _ in range(CALIBRATION_DESIGNS))]
    requests = list(dict.fromkeys(Request(design, seed, MOST_EPOCHS) for design in designs))
    return lowered(MOST_EPOCHS, evaluator.evaluate(requests))
