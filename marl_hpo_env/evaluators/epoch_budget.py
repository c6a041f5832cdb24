"""How many epochs an episode trains (paper VI-A).

At most ten; fewer where the loss limit is met sooner; never under three. Ours, by default: found out once, on the original
and a few random designs, and then fixed, so that rewards stay comparable. The paper lowers it as the run goes on.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from marl_hpo_env.evaluators.evaluator import Evaluator
from marl_hpo_env.trial import Request, Trial

MOST_EPOCHS = 10
FEWEST_EPOCHS = 3
CALIBRATION_DESIGNS = 3


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
