"""How far from the best a run is after each of its evaluations.

An *evaluation* is a design that the run has not had before. A repeat costs nothing, since its trial is known, but is a
wasted episode and is counted as such by `episodes_played`. So learners are compared at equal numbers of evaluations.

A curve has one entry per evaluation, the first after one. A run that ended early keeps its last value; one that went on
is cut.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence

import numpy as np
import numpy.typing as npt

from marl_hpo_env import InputError, whole_number

Array = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]


def first_episodes(designs: Sequence[Hashable]) -> Indices:
    """The indices of the episodes whose design is new, ascending; shape (distinct designs,). None is no design."""
    first: dict[Hashable, int] = {}
    for episode, design in enumerate(designs):
        if design is not None:
            first.setdefault(design, episode)
    return np.array(list(first.values()), dtype=np.int64)


def incumbents(designs: Sequence[Hashable], rewards: npt.ArrayLike, evaluations: int) -> Indices:
    """The index of the episode with the highest reward so far, the earliest on a tie.

    Args:
        designs: of each episode, in the order played.
        rewards: of each episode, shape (episodes,); of a repeated design, the first one counts.
        evaluations: the length of the curve, at least 1.

    Returns:
        Shape (evaluations,).

    Raises:
        InputError: if there is no episode, or not one reward for each, or `evaluations` is not positive.
    """
    by_episode = np.asarray(rewards, dtype=float)
    if not len(designs) or by_episode.shape != (len(designs),):
        raise InputError(
            f"There are {len(designs)} designs and rewards of shape {by_episode.shape}; give one reward for each."
        )
    first = first_episodes(designs)
    best = np.maximum.accumulate(by_episode[first])
    improved = np.r_[True, best[1:] > best[:-1]]
    # Evaluations number 0, 1, ...: the latest that improved.
    latest = np.maximum.accumulate(np.where(improved, np.arange(len(first)), 0))
    return _fitted(first[latest], evaluations)


def simple_regret(designs: Sequence[Hashable], rewards: npt.ArrayLike, best: float, evaluations: int) -> Array:
    """The known best reward minus the incumbent's.

    Args:
        designs, rewards, evaluations: as for `incumbents`.
        best: the highest reward that any design of the space has.

    Returns:
        Shape (evaluations,), 0 or above, never rising.

    Raises:
        InputError: as `incumbents`; or if a reward is above `best`, by more than rounding.
    """
    reached = np.asarray(rewards, dtype=float)[incumbents(designs, rewards, evaluations)]
    if reached[-1] > best + 1e-9 * max(1.0, abs(best)):
        raise InputError(f"The reward {reached[-1]} is above the known best, {best}; they are of different rewards.")
    return np.maximum(best - reached, 0.0)


def incumbent_regret(
    designs: Sequence[Hashable], rewards: npt.ArrayLike, values: npt.ArrayLike, best: float, evaluations: int
) -> Array:
    """`best` minus what the incumbent, chosen by its reward, is worth by another measure that the learner never saw.

    With the mean test accuracies over seeds and the highest of them, it is the test regret of what a user would take home.
    It can rise: a better reward is not always a better test accuracy.

    Args:
        designs, rewards, evaluations: as for `incumbents`.
        values: of each episode's design, shape (episodes,), higher is better; a design that did not complete needs one too.
        best: the highest value that any design of the space has.

    Returns:
        Shape (evaluations,).

    Raises:
        InputError: as `incumbents`; or if there is not one value for each episode, or one is NaN.
    """
    worth = np.asarray(values, dtype=float)
    if worth.shape != (len(designs),) or np.isnan(worth).any():
        raise InputError(
            f"There are {len(designs)} designs and values of shape {worth.shape}, {np.isnan(worth).sum()} of them NaN; "
            "give one number for each."
        )
    return np.asarray(best - worth[incumbents(designs, rewards, evaluations)])


def noise_floor(rewards: Iterable[Array], worth: Array) -> float:
    """What remains when someone picks the design with the best reward of all.

    That is the most that a design is worth minus what the pick is worth, in the mean over ties and over the seeds.

    Args:
        rewards: under each seed, of every design; shape (designs,), NaN where it has none.
        worth: of every design, as for `incumbent_regret`; NaN where it has none.
    """
    picked = [np.nanmean(worth[of_one_seed == np.nanmax(of_one_seed)]) for of_one_seed in rewards]
    return float(np.nanmax(worth) - np.mean(picked))


def episodes_played(designs: Sequence[Hashable], evaluations: int) -> Indices:
    """How many episodes a run took to each of its evaluations; shape (evaluations,).

    Where the run ended early, all its episodes.

    Raises:
        InputError: if there is no episode, or `evaluations` is not positive.
    """
    if not len(designs):
        raise InputError("There are 0 designs; a run has at least one episode.")
    first = first_episodes(designs) + 1
    padding = np.full(max(0, evaluations - len(first)), len(designs), dtype=np.int64)
    return _fitted(np.concatenate([first, padding]), evaluations)


def best_by_episode(rewards: npt.ArrayLike, episodes: int) -> Array:
    """The highest reward so far after each episode, also those without a design; shape (episodes,)."""
    best = np.maximum.accumulate(np.asarray(rewards, dtype=float))
    return best[np.minimum(np.arange(episodes), len(best) - 1)]


def _fitted(curve: Indices, evaluations: int) -> Indices:
    """The curve cut to this length, or lengthened by its last value."""
    whole_number("number of evaluations", evaluations, 1)
    return curve[np.minimum(np.arange(evaluations), len(curve) - 1)]
