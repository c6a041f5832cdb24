"""Designs that misbehave: each costs its own trial, the one after it completes, and resuming does not meet it again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache, partial
from pathlib import Path

from experiments.faults import inside
from experiments.faults.cases import Fault, Kind, Place
from experiments.faults.tasks import WAYS, misbehaving
from marl_hpo_env import Request, Store, StoredEvaluator, TrainingEvaluator, Trial

TIMEOUT = 2.0
GB = 0.5
SECONDS = 60.0
"""That a case may take here: two timeouts, and the starts of as many processes on a machine that is busy."""

MOST_OUTPUT = 10**7
"""Bytes that the file of what designs print may have."""

GOOD = (0,)


class _Resumed(TrainingEvaluator):
    """That of a run which is continued and has nothing left to train."""

    def evaluate(self, requests: Sequence[Request]) -> Iterator[Trial]:
        if requests:
            raise Fault("lost", f"Resuming meets the design {requests[0].design} again.")
        return iter(())


@cache
def _evaluator(kind: type[TrainingEvaluator], folder: Path) -> StoredEvaluator:
    evaluator = kind(misbehaving(), "cpu", 1, timeout=TIMEOUT, memory_gb=GB, output=folder / "printed.txt")
    return StoredEvaluator(evaluator, Store(folder / "trials.sqlite"))


def tried(place: Place, kind: str, number: int) -> None:
    """Trains a design that misbehaves and then a good one; then again, as a run that is continued."""
    way = 1 + number % len(WAYS)
    requests = [Request((way,), number, 1), Request(GOOD, number, 1)]
    trials = {trial.design: trial for trial in _evaluator(TrainingEvaluator, place.folder).evaluate(requests)}
    name = list(WAYS)[way - 1]
    if GOOD not in trials or trials[GOOD].status != "completed":
        raise Fault("lost", f"The design after one that misbehaves ({name}) was lost: {trials.get(GOOD)}")
    bad = trials.get((way,))
    if bad is None or bad.status != "failed":
        raise Fault("other", f"The design that misbehaves ({name}) did not fail: {bad}")
    again = {trial.design: trial for trial in _evaluator(_Resumed, place.folder).evaluate(requests)}
    if again != trials:
        raise Fault("lost", f"A continued run has other trials ({name}).")
    printed = place.folder / "printed.txt"
    if printed.exists() and printed.stat().st_size > MOST_OUTPUT:
        raise Fault("left behind", "The file of what designs print grows without end.")


def kinds() -> list[Kind]:
    """The designs, in each of the ways in turn."""
    return [Kind("designs that misbehave", 100, len(WAYS), partial(inside.tries, tried, seconds=SECONDS))]
