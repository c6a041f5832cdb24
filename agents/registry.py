"""The learners by name."""

from __future__ import annotations

import inspect
from typing import Any

from agents.independent_q import IndependentQ
from agents.local_search import LocalSearch
from agents.manas import Manas
from agents.pairwise_q import PairwiseQ
from agents.protocol import Learner
from agents.random_search import RandomSearch
from agents.regularized_evolution import RegularizedEvolution
from marl_hpo_env import InputError

_LEARNERS: dict[str, type] = {
    "independent-q": IndependentQ,
    "local-search": LocalSearch,
    "manas": Manas,
    "pairwise-q": PairwiseQ,
    "random": RandomSearch,
    "regularized-evolution": RegularizedEvolution,
}


def learner(name: str, **settings: Any) -> Learner:
    """The learner with this name.

    Args:
        name: one of `learners()`.
        **settings: what its class takes.

    Raises:
        InputError: if there is no such learner or setting, or a setting is outside its range.
    """
    known = settings_of(name)
    for setting in settings:
        if setting not in known:
            if not known:
                raise InputError(f"The learner {name!r} has no settings; got {setting!r}.")
            raise InputError.unknown(f"setting of the learner {name!r},", setting, known)
    made: Learner = _class(name)(**settings)
    return made


def learners() -> list[str]:
    """The names of the learners."""
    return sorted(_LEARNERS)


def settings_of(name: str) -> tuple[str, ...]:
    """The names of a learner's settings.

    Raises:
        InputError: if there is no such learner.
    """
    return tuple(inspect.signature(_class(name)).parameters)


def summary(name: str) -> str:
    """One line about a learner: the first of its class's docstring."""
    return (inspect.getdoc(_class(name)) or "").splitlines()[0]


def _class(name: str) -> type:
    if name not in _LEARNERS:
        raise InputError.unknown("learner", name, _LEARNERS)
    return _LEARNERS[name]
