"""The trial of a design that is trained on every fold, and the evaluator that asks for it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from statistics import fmean

from marl_hpo_env.evaluators.evaluator import Evaluator
from marl_hpo_env.space import SearchSpace
from marl_hpo_env.trial import Request, Trial


class FoldsEvaluator:
    """Asks its inner evaluator for a trial of every fold, and answers with their mean (see `averaged`).

    Args:
        inner: is asked, and stores each fold's trial if it stores any.
        folds: how many.
    """

    def __init__(self, inner: Evaluator, folds: int) -> None:
        self._inner = inner
        self._folds = folds

    @property
    def space(self) -> SearchSpace:
        return self._inner.space

    @property
    def fingerprint(self) -> str:
        return self._inner.fingerprint

    @property
    def measures_time(self) -> bool:
        return self._inner.measures_time

    def evaluate(self, requests: Sequence[Request]) -> Iterator[Trial]:
        """One trial per request, as the last of their folds finish."""
        wanted = Counter(requests)
        gathered: dict[Request, list[Trial]] = {request: [] for request in wanted}
        parts = [request._replace(fold=fold) for request in wanted for fold in range(self._folds)]
        for trial in self._inner.evaluate(parts):
            request = trial.request._replace(fold=None)
            gathered[request].append(trial)
            if len(gathered[request]) == self._folds:
                yield from [averaged(gathered.pop(request))] * wanted[request]


def averaged(trials: Sequence[Trial]) -> Trial:
    """The trial that stands for those of a design's folds, which it holds: their metrics' means, but for the seconds, which are
    the sum. Where one did not complete, it did not either, and has no metrics."""
    folds = tuple(sorted(trials, key=lambda trial: trial.request.fold or 0))
    request = folds[0].request._replace(fold=None)
    seconds = sum(trial.metrics.get("seconds") or 0.0 for trial in folds)
    stopped = next((trial for trial in folds if trial.status != "completed"), None)
    if stopped is not None:
        reason = f"In fold {stopped.request.fold}: {stopped.reason}"
        metrics = {**dict.fromkeys(stopped.metrics), "seconds": seconds}
        return Trial(request, stopped.status, reason, metrics, (), stopped.accidental, stopped.machine, folds)
    metrics = {
        **{name: _mean([trial.metrics.get(name) for trial in folds]) for name in folds[0].metrics},
        "seconds": seconds,
    }
    history = tuple(
        {name: fmean(epoch[name] for epoch in epochs) for name in epochs[0]}
        for epochs in zip(*(trial.history for trial in folds), strict=True)
    )
    return Trial(request, "completed", None, metrics, history, machine=folds[0].machine, folds=folds)


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return fmean(known) if len(known) == len(values) else None
