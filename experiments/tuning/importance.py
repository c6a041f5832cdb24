"""How much of what designs differ in is due to each layer and each hyperparameter alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from typing import Any

import numpy as np
import numpy.typing as npt

from experiments.tuning.report import short_name
from marl_hpo_env import Design, SearchSpace

Shares = dict[str, dict[str, float]]
"""By layer and hyperparameter, the share of the variance that its values alone explain, 0 to 1. What is missing to 1 in their
sum is due to values that work together, and to chance."""

FEWEST = 20
"""Completed designs; of fewer nothing is said."""

_TREES = 32


def of_trials(space: SearchSpace, values: Mapping[Design, float]) -> Shares | None:
    """By fANOVA on the designs that were tried: a random forest, whose variance over the whole space is decomposed.

    F. Hutter, H. Hoos, K. Leyton-Brown, "An Efficient Approach for Assessing Hyperparameter Importance", ICML 2014, as Optuna
    has it.

    Args:
        space: of the designs.
        values: by design.

    Returns:
        None where too few designs are given, all have one value, or Optuna is not installed.
    """
    if len(values) < FEWEST or len(set(values.values())) == 1 or find_spec("optuna") is None:
        return None
    import optuna
    from optuna.distributions import CategoricalDistribution, IntDistribution
    from optuna.importance import FanovaImportanceEvaluator
    from optuna.trial import create_trial

    # Each hyperparameter as the position of its value, in ascending order where there is one.
    orders = {(layer.name, name): ordered(choices) for layer in space.layers for name, choices in layer.choices.items()}
    distributions: dict[str, Any] = {
        " ".join(key): IntDistribution(0, len(order) - 1)
        if all(isinstance(value, int | float | tuple) for value in order)
        else CategoricalDistribution(range(len(order)))
        for key, order in orders.items()
    }
    trials = []
    for design, value in values.items():
        chosen = space.hyperparameters(design)
        params = {" ".join(key): order.index(chosen[key[0]][key[1]]) for key, order in orders.items()}
        trials.append(create_trial(value=value, params=params, distributions=distributions))
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        study = optuna.create_study()
        study.add_trials(trials)
        found = FanovaImportanceEvaluator(n_trees=_TREES, seed=0).evaluate(study)
    finally:
        optuna.logging.set_verbosity(verbosity)
    return {
        layer.name: {name: float(found.get(f"{layer.name} {name}", 0.0)) for name in layer.choices}
        for layer in space.layers
    }


def ordered(choices: Sequence[Any]) -> list[Any]:
    """A hyperparameter's values in ascending order, or as given where they have none."""
    try:
        return sorted(choices)
    except TypeError:  # types of modules, or numbers beside texts
        return list(choices)


def of_table(space: SearchSpace, landscape: npt.NDArray[np.float64]) -> Shares | None:
    """Exactly, where every design is known: the variance of the means over all designs that share a value.

    Args:
        space: of the designs.
        landscape: the value of every design by its number, shape (designs,); NaN where there is none, which is left out.

    Returns:
        None where all have one value.
    """
    measured = ~np.isnan(landscape)
    y = landscape[measured] - landscape[measured].mean()
    if not y.any():
        return None
    designs = np.stack(np.unravel_index(np.flatnonzero(measured), space.sizes, order="F"), axis=1)
    shares: Shares = {}
    for place, layer in enumerate(space.layers):
        shares[layer.name] = {}
        for name, choices in layer.choices.items():
            value_of = np.array([choices.index(layer.hyperparameters(a)[name]) for a in range(space.sizes[place])])
            groups = value_of[designs[:, place]]
            counts = np.bincount(groups, minlength=len(choices))
            sums = np.bincount(groups, weights=y, minlength=len(choices))
            shares[layer.name][name] = float((sums**2 / np.maximum(counts, 1)).sum() / (y**2).sum())
    return shares


def importance_table(by_figure: Mapping[str, Shares | None]) -> tuple[list[str], list[list[str]]] | None:
    """Header and rows, one per layer, the most important for the first figure on top: what the layer explains of each, in
    percent, and its hyperparameters' parts of that; None where nothing is known.

    Args:
        by_figure: the shares, by what they are of.
    """
    known = {figure: shares for figure, shares in by_figure.items() if shares is not None}
    if not known:
        return None
    first = next(iter(known.values()))
    order = sorted(first, key=lambda layer: -sum(first[layer].values()))
    rows = [[layer, *(_cell(shares[layer]) for shares in known.values())] for layer in order]
    together = [f"{100 * sum(sum(layer.values()) for layer in shares.values()):.0f}" for shares in known.values()]
    return ["layer", *(f"% of {figure}" for figure in known)], [*rows, ["all, each alone", *together]]


def most_important(space: SearchSpace, shares: Shares | None, count: int = 12) -> list[tuple[str, str]]:
    """So many layers and hyperparameters, in network order: those that explain most, or the first where nothing is known."""
    every = [(layer.name, name) for layer in space.layers for name, values in layer.choices.items() if len(values) > 1]
    ranked = every if shares is None else sorted(every, key=lambda one: -shares[one[0]][one[1]])
    return [one for one in every if one in ranked[:count]]


def _cell(shares: Mapping[str, float]) -> str:
    parts = ", ".join(f"{short_name(name)} {100 * share:.0f}" for name, share in shares.items())
    return f"{100 * sum(shares.values()):.0f}" + (f" ({parts})" if len(shares) > 1 else "")
