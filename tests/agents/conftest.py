"""What the learners' tests share: additive tables, on which a learner that learns is told from one that does not."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from agents import Episode, Learner
from marl_hpo_env.testing import chain


def _finds_best(
    learner: Learner, seed: int, sizes: tuple[int, ...], evaluations: int, episodes: int, batch: int
) -> bool:
    """Whether it finds the best design of a chain whose reward is a sum of one standard normal term per layer."""
    space = chain(*sizes)
    terms = [np.random.default_rng([seed, p]).normal(size=size) for p, size in enumerate(sizes)]
    best = tuple(int(term.argmax()) for term in terms)
    learner.reset(space, seed)
    seen: set[tuple[int, ...]] = set()
    for _ in range(0, episodes, batch):
        designs = learner.ask(batch)
        seen.update(designs)
        if best in designs or len(seen) >= evaluations:
            break
        learner.tell([Episode(d, float(sum(t[a] for t, a in zip(terms, d, strict=True))), {}, False) for d in designs])
    return best in seen


@pytest.fixture(scope="session")
def solves() -> Callable[..., bool]:
    """Tells whether a learner finds the best design of an additive table, with 19 of 20 seeds.

    `sizes` are the layers' numbers of actions; `evaluations`, how many distinct designs it may ask for, and `episodes`, how
    many with repeats; `batch`, how many at a time. With `told=False` it is never told anything, as a check on the test.
    """

    def judge(
        make: Callable[[], Learner],
        sizes: tuple[int, ...],
        evaluations: int,
        episodes: int,
        batch: int = 1,
        told: bool = True,
    ) -> bool:
        failures = 0
        for seed in range(20):
            learner = make()
            if not told:
                learner.tell = lambda episodes: None  # type: ignore[method-assign]
            failures += not _finds_best(learner, seed, sizes, evaluations, episodes, batch)
            if failures > 1:
                return False
        return True

    return judge
