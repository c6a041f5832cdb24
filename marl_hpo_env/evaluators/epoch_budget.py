"""How many epochs an episode trains (paper VI-A).

At most ten; fewer where the loss threshold is met sooner; never under three. Ours, by default: found out once, on the original
and a few random designs, and then fixed, so that rewards stay comparable. The paper lowers it as the run goes on.

The threshold is one of its own (ours; the paper gives none): a part of the way from the loss of guessing to the original's
after ten epochs. The limit that ends a training (V-E) lies so near guessing that the first epoch meets it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from marl_hpo_env.evaluators.evaluator import Evaluator
from marl_hpo_env.trial import Request, Trial

MOST_EPOCHS = 10
FEWEST_EPOCHS = 3
CALIBRATION_DESIGNS = 3

THRESHOLD_FRACTION = 0.75
"""Of the way from guessing to the original's loss after the last of its epochs."""


def loss_threshold(guessing: float, original: Trial, fraction: float = THRESHOLD_FRACTION) -> float:
    """The training loss that says enough of a design.

    Args:
        guessing: the loss of a network that guesses.
        original: the original network's completed trial, of `MOST_EPOCHS` where the budget is not given.
        fraction: of the way.
    """
    return guessing - fraction * (guessing - original.history[-1]["train_loss"])


def epochs_to(threshold: float, history: Sequence[Mapping[str, float]]) -> int | None:
    """The first epoch whose training loss met the threshold; None where none did."""
    met = (number for number, epoch in enumerate(history, start=1) if epoch["train_loss"] <= threshold)
    return next(met, None)


def lowered(epochs: int, trials: Iterable[Trial], threshold: float) -> int:
    """The budget after these trials: the fewest epochs in which one of them met the threshold, never under three."""
    met = [epochs_to(threshold, trial.history) for trial in trials if trial.status == "completed"]
    return max(FEWEST_EPOCHS, min([epochs, *(number for number in met if number is not None)]))


def calibrated(evaluator: Evaluator, seed: int, threshold: float) -> int:
    """The budget that the original and three random designs need, each trained for ten epochs."""
    rng = np.random.default_rng(seed)
    designs = [None, *(evaluator.space.sample(rng) for _ in range(CALIBRATION_DESIGNS))]
    requests = list(dict.fromkeys(Request(design, seed, MOST_EPOCHS) for design in designs))
    return lowered(MOST_EPOCHS, evaluator.evaluate(requests), threshold)
