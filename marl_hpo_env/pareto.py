"""Several objectives at once: the designs that no other dominates, and how much of the objective space they cover.

Every objective is minimised; what is better high is given with its sign changed (`METRICS[name].better` says which way).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from marl_hpo_env.errors import InputError


def non_dominated(points: npt.ArrayLike) -> npt.NDArray[np.bool_]:
    """Which points no other dominates, that is, is nowhere worse than and somewhere better.

    Equal points do not dominate each other, so a point that is given twice is kept or dropped both times.

    Takes n log n steps for two objectives, and n times the number of points kept for more.

    Args:
        points: shape (n, m), one row per point and one column per objective, all to be minimised; infinity is allowed.

    Returns:
        A mask of shape (n,).

    Raises:
        InputError: if `points` is no such matrix, or has NaN in it.
    """
    values = _matrix(points)
    # In this order no point is dominated by a later one.
    distinct, place = np.unique(values, axis=0, return_inverse=True)
    undominated = np.zeros(len(distinct), dtype=bool)
    if distinct.shape[1] == 2:
        lowest_before = np.concatenate([[np.inf], np.minimum.accumulate(distinct[:, 1])[:-1]])
        undominated[:] = distinct[:, 1] < lowest_before
        undominated[:1] = True  # also where it is infinite itself
    else:
        rest = np.arange(len(distinct))
        while len(rest):
            first, rest = rest[0], rest[1:]
            undominated[first] = True
            rest = rest[(distinct[rest] < distinct[first]).any(axis=1)]
    return undominated[place.reshape(-1)]


def nadir(points: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """The worst value of each objective among the points that no other dominates; shape (m,).

    As a reference of `hypervolume` it tells fronts apart, where the worst of all points lets nearly any front cover nearly all.
    What is best in one objective alone then adds nothing.

    Args:
        points: as for `non_dominated`, at least one.

    Raises:
        InputError: as `non_dominated`, or if there is no point.
    """
    values = _matrix(points)
    if not len(values):
        raise InputError("There are no points, so there is no worst of them; give at least one.")
    return np.asarray(values[non_dominated(values)].max(axis=0))


def hypervolume(points: npt.ArrayLike, reference: npt.ArrayLike) -> float:
    """The volume that is dominated by the points and bounded by the reference (Zitzler and Thiele, 1998).

    Exact for any number of objectives, by slicing one after another (HSO: While, Hingston, Barone and Huband, 2006); of n
    points that do not dominate each other it takes n log n steps for two objectives, and n times more for each further one.

    Args:
        points: shape (n, m), all objectives to be minimised. Those that are not better than the reference in every
            objective contribute nothing; no points at all have volume 0.
        reference: shape (m,): the worst value that counts, of each objective.

    Returns:
        The volume, in the product of the objectives' units.

    Raises:
        InputError: if the shapes do not fit, or a value is NaN, or a point minus infinity, or the reference not finite.
    """
    values = _matrix(points)
    worst = np.asarray(reference, dtype=float)
    if worst.ndim != 1 or not worst.size or not np.isfinite(worst).all():
        raise InputError(f"The reference is {worst.tolist()}; it is one finite number per objective.")
    if not len(values):
        return 0.0
    if values.shape[1] != len(worst):
        raise InputError(f"The points have {values.shape[1]} objectives, the reference {len(worst)}; give as many.")
    if np.isneginf(values).any():
        raise InputError("An objective is minus infinity; a volume needs points with a bound.")
    return _volume(values[(values < worst).all(axis=1)], worst)


def _volume(points: npt.NDArray[np.float64], reference: npt.NDArray[np.float64]) -> float:
    """The hypervolume of points that are all better than the reference."""
    if len(reference) == 1:
        return float((reference - points).max(initial=0.0))
    if len(reference) == 2:
        x, y = points[np.argsort(points[:, 0])].T
        return float(np.diff(x, append=reference[0]) @ (reference[1] - np.minimum.accumulate(y)))
    points = points[non_dominated(points)]
    points = points[np.argsort(points[:, -1])]
    # Between one value of the last objective and the next, the slice is what the points so far cover of the others.
    thickness = np.diff(points[:, -1], append=reference[-1])
    return float(
        sum(thickness[i] * _volume(points[: i + 1, :-1], reference[:-1]) for i in np.flatnonzero(thickness).tolist())
    )


def _matrix(points: npt.ArrayLike) -> npt.NDArray[np.float64]:
    values = np.asarray(points, dtype=float)
    if values.shape == (0,):
        values = values.reshape(0, 1)
    if values.ndim != 2 or not values.shape[1]:
        raise InputError(f"The points have shape {values.shape}; they are a matrix, one row per point.")
    if np.isnan(values).any():
        raise InputError("An objective is NaN; leave out designs that did not complete.")
    return values
