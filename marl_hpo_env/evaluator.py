"""What turns designs into trials, as the environments see it, and the evaluator that remembers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

from marl_hpo_env.space import SearchSpace
from marl_hpo_env.store import Store
from marl_hpo_env.trial import TIME_METRICS, Request, Trial


class Evaluator(Protocol):
    """What the environments need of an evaluator.

    Attributes:
        space: the designs that it evaluates.
        fingerprint: names everything beside the request that a trial depends on; equal fingerprints, equal trials.
        measures_time: whether its trials carry the metrics in `TIME_METRICS`.
    """

    @property
    def space(self) -> SearchSpace: ...

    @property
    def fingerprint(self) -> str: ...

    @property
    def measures_time(self) -> bool: ...

    def evaluate(self, requests: Sequence[Request]) -> Iterator[Trial]:
        """One trial per request, as they finish, in any order."""
        ...


class StoredEvaluator:
    """An evaluator that asks its inner one only for what its store does not have, and stores each trial as it ends.

    Requests that are equal are evaluated once and answered once each.

    Args:
        inner: evaluates what is not stored.
        store: where trials are kept; `Store()` keeps them in memory.
        needs_time: whether a stored trial without times, as side-by-side workers leave it, is taken again.
    """

    def __init__(self, inner: Evaluator, store: Store, needs_time: bool = False) -> None:
        self.inner = inner
        self.store = store
        self.needs_time = needs_time

    @property
    def space(self) -> SearchSpace:
        return self.inner.space

    @property
    def fingerprint(self) -> str:
        return self.inner.fingerprint

    @property
    def measures_time(self) -> bool:
        return self.inner.measures_time

    @property
    def unmeasured(self) -> frozenset[str]:
        """Metrics that the inner evaluator never measures, where it says so."""
        return getattr(self.inner, "unmeasured", frozenset())

    def evaluate(self, requests: Sequence[Request]) -> Iterator[Trial]:
        """One trial per request: the stored ones first, then the others as they finish."""
        missing: dict[Request, int] = {}
        for request in requests:
            trial = None if request in missing else self.store.get(self.fingerprint, request)
            if trial is None or self._lacks_time(trial):
                missing[request] = missing.get(request, 0) + 1
            else:
                yield trial
        for trial in self.inner.evaluate(list(missing)) if missing else ():
            if not trial.accidental:
                self.store.put(self.fingerprint, trial)
            for _ in range(missing[trial.request]):
                yield trial

    def _lacks_time(self, trial: Trial) -> bool:
        """Whether times are needed that side-by-side workers did not measure."""
        return (
            self.needs_time
            and trial.status == "completed"
            and any(trial.metrics.get(name) is None for name in TIME_METRICS)
        )


def evaluate_one(evaluator: Evaluator, request: Request) -> Trial:
    """The trial of a single request."""
    (trial,) = evaluator.evaluate([request])
    return trial
