"""Some designs of a search space, built without values before anything is trained: what cannot be built is said early."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from marl_hpo_env.errors import InputError, warn
from marl_hpo_env.space import Design, SearchSpace

RANDOM = 4
SECONDS = 1.0
"""For the random ones; the smallest and the largest design are always built."""


Hyperparameters = Mapping[str, Mapping[str, Any]]


def trial_builds(space: SearchSpace, build: Callable[[Hyperparameters], Any]) -> None:
    """Builds the smallest design, the largest and some random ones.

    Args:
        space: of the designs.
        build: from hyperparameter values by layer name; raises `InputError` where that cannot be built.

    Raises:
        InputError: if none can be built: with the layers whose choices are the cause, and what to leave out.

    Warns:
        UserWarning: if some cannot: with their share.
    """
    rng = np.random.default_rng(0)
    designs = [extreme(space, min), extreme(space, max), *(space.sample(rng) for _ in range(RANDOM))]
    started = time.perf_counter()
    built, refusals = 0, []
    for number, design in enumerate(designs):
        if number > 1 and time.perf_counter() - started > SECONDS:
            break
        try:
            build(space.hyperparameters(design))
            built += 1
        except InputError as error:
            refusals.append(str(error))
    if refusals and not built:
        raise InputError(_none(space, build, refusals[0]))
    if refusals:
        warn(
            f"{len(refusals)} of {built + len(refusals)} designs that were tried cannot be built, such as: {refusals[0]}"
        )


def extreme(space: SearchSpace, which: Callable[..., int]) -> Design:
    """The design of each layer's least or largest values."""
    sizes = [[_size(layer.hyperparameters(action)) for action in range(len(layer.actions))] for layer in space.layers]
    return tuple(which(range(len(of_layer)), key=of_layer.__getitem__) for of_layer in sizes)


def _size(values: Mapping[str, Any]) -> float:
    numbers = [v for value in values.values() for v in (value if isinstance(value, tuple | list) else [value])]
    return math.prod(v for v in numbers if isinstance(v, int | float) and v)


def _none(space: SearchSpace, build: Callable[[Hyperparameters], Any], refusal: str) -> str:
    """The layers that keep every design from being built: those that cannot change even alone."""
    started = time.perf_counter()
    culprits: list[str] = []
    for layer in space.layers:
        if time.perf_counter() - started > 10 * SECONDS:
            break
        if not any(_builds(build, {layer.name: layer.hyperparameters(a)}) for a in range(len(layer.actions))):
            culprits.append(layer.name)
    if not culprits:
        return f"None of the designs that were tried can be built, such as: {refusal}"
    more = f" and {len(culprits) - 3} more" if len(culprits) > 3 else ""
    names = ", ".join(repr(name) for name in culprits[:3]) + more
    them = "it" if len(culprits) == 1 else "them"
    return f"No design can be built, whatever is chosen for {names}; leave {them} out of the choices: {refusal}"


def _builds(build: Callable[[Hyperparameters], Any], hyperparameters: Hyperparameters) -> bool:
    try:
        build(hyperparameters)
    except InputError:
        return False
    return True
