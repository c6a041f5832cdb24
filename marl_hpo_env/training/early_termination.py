"""The early termination of an episode (paper V-E, Fig. 7)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NoReturn

from marl_hpo_env.training.recipe import Limits

if TYPE_CHECKING:
    from marl_hpo_env.training.scoring import Scoring

GUESSING_RATIO = 0.95
"""Of the loss of guessing: the limit `"guessing"` (ours; the paper gives no value, V-E)."""


def loss_limit(limits: Limits, scoring: Scoring) -> float | None:
    """The training loss above which an epoch violates the limit; None where there is no limit.

    Args:
        limits: with a loss, `"guessing"` or None.
        scoring: which says what guessing comes to.
    """
    return GUESSING_RATIO * scoring.guessing if limits.loss == "guessing" else limits.loss


class Terminated(Exception):
    """A limit was violated too often; the message says which."""


class Diverged(Exception):
    """A loss was no number, also after a restart; the message says when."""


class Restart(Exception):
    """The loss limit was violated too often, or the loss was no number, for the first time: train again with fresh weights."""


class EarlyTermination:
    """Counts consecutive violations of one episode's limits, over its restart if there is one.

    Args:
        limits: how many consecutive violations each limit tolerates, and the ratio of batch times.
        loss: the training loss above which an epoch violates its limit, or None (see `loss_limit`).
        original_ms: the original network's median batch time on this device; needed with a `batch_ratio`.
        original_flops: the original network's FLOPs; needed with a `flops_ratio`.
    """

    def __init__(
        self,
        limits: Limits,
        loss: float | None = None,
        original_ms: float | None = None,
        original_flops: float | None = None,
    ) -> None:
        self._limits = limits
        self._loss = loss
        self._batch_ms = None
        if limits.batch_ratio is not None:
            assert original_ms is not None
            self._batch_ms = limits.batch_ratio * original_ms
        self._original_flops = original_flops
        self._slow_batches = 0
        self._high_losses = 0
        self._restarted = False

    @property
    def watches_batches(self) -> bool:
        """Whether batch times matter."""
        return self._batch_ms is not None

    def batch(self, ms: float) -> None:
        """Sees one batch's training time.

        Raises:
            Terminated: at the last tolerated consecutive violation, at once.
        """
        limit = self._batch_ms
        if limit is None:
            return
        self._slow_batches = self._slow_batches + 1 if ms > limit else 0
        if self._slow_batches == self._limits.batches:
            raise Terminated(f"{self._slow_batches} consecutive batches took longer than {limit:.3g} ms.")

    def flops(self, flops: float) -> None:
        """Sees a design's FLOPs, before its first batch.

        Raises:
            Terminated: where they are over the limit, at once.
        """
        ratio, original = self._limits.flops_ratio, self._original_flops
        if ratio is None:
            return
        assert original is not None
        if flops > ratio * original:
            raise Terminated(f"Its {flops:,.0f} FLOPs are over {ratio:g} times the original network's {original:,.0f}.")

    def number(self, which: str, loss: float, epoch: int) -> None:
        """Sees whether one epoch's loss, of training or validation, is a number (V-E: bad initial weights). If not, it stays so.

        Raises:
            Restart: where it is none, the first time.
            Diverged: the second time.
        """
        if math.isfinite(loss):
            return
        if self._restarted:
            raise Diverged(f"The {which} loss became {loss} in epoch {epoch}, also after a restart.")
        self._restart()

    def epoch(self, loss: float) -> None:
        """Sees one epoch's training loss.

        Raises:
            Restart: at the last tolerated consecutive violation, the first time.
            Terminated: the second time.
        """
        limit = self._loss
        if limit is None:
            return
        self._high_losses = self._high_losses + 1 if loss > limit else 0
        if self._high_losses < self._limits.loss_epochs:
            return
        if self._restarted:
            raise Terminated(
                f"The training loss stayed above {limit:g} for {self._high_losses} consecutive epochs, also after a restart."
            )
        self._restart()

    def _restart(self) -> NoReturn:
        self._restarted = True
        self._slow_batches = self._high_losses = 0
        raise Restart
