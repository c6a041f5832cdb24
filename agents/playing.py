"""The loop between a learner and an environment."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any

from agents.callbacks import Callback
from agents.protocol import Episode, Learner
from marl_hpo_env import Design, InputError, SearchSpace, Trial, whole_number

EPISODES_PER_EVALUATION = 5
"""A learner that repeats itself more often than this is stopped short of its evaluations."""

_CHECKS_ONLY = {"OrderEnforcingWrapper", "OrderEnforcing", "PassiveEnvChecker"}
"""Wrappers of PettingZoo's and Gymnasium's that change nothing."""


def play(
    env: Any,
    learner: Learner,
    episodes: int | None = None,
    *,
    evaluations: int | None = None,
    seconds: float | None = None,
    target: float | None = None,
    start: Iterable[Sequence[int]] = (),
    seed: int = 0,
    batch: int = 1,
    callbacks: Sequence[Callback] = (),
) -> list[Episode]:
    """Lets a learner play from the beginning, until the first limit is met.

    Args:
        env: any of the package's environments, unwrapped or as `env` and `make` return it; its evaluator turns the learner's
            designs into trials.
        learner: is reset with the environment's space and `seed`.
        episodes: how many to play at most; None plays until the learner is finished, or, where `evaluations` are given,
            `EPISODES_PER_EVALUATION` times as many.
        evaluations: distinct designs after which to stop; repeats are episodes, and no evaluations.
        seconds: of wall-clock time after which to stop, at the next trial that ends: of a batch that is being evaluated, the
            finished trials become episodes and the others are given up. One design at least is evaluated. A play that was
            ended by a clock is not promised to repeat.
        target: reward at which to stop, after its batch.
        start: designs that are evaluated first, in this order and `batch` at a time, and told to the learner, which has not
            asked for them. They are episodes as any others.
        seed: of the learner.
        batch: designs asked at a time. The result depends on it, not on how many workers evaluate a batch.
        callbacks: are told, in this order, of every trial and episode, and of the end.

    Returns:
        Every episode, in the order asked.

    Raises:
        InputError: if `batch`, `episodes`, `evaluations` or `seconds` is not positive, the target or the seconds are no finite
            number, `seed` is no whole number from 0, the environment is wrapped in what the learner would not see, or the
            learner or `start` has a design that does not exist.
    """
    whole_number("batch", batch, 1)
    seed = whole_number("seed", seed, 0)
    _check_limits(episodes, evaluations, seconds, target)
    if episodes is None and evaluations is not None:
        episodes = EPISODES_PER_EVALUATION * evaluations
    deadline = math.inf if seconds is None else time.monotonic() + seconds
    limits = _Limits(episodes, evaluations, deadline)
    known = [env.unwrapped.space.check(design) for design in start]
    game = begin(env, learner, seed)
    played: list[Episode] = []
    seen: set[Design] = set()
    try:
        while wanted := min(batch, limits.left(played, seen)):
            designs, known = (known[:wanted], known[wanted:]) if known else (_asked(learner, wanted, game.space), known)
            if not designs:
                break
            trials = _evaluated(game, designs, deadline, callbacks)
            if time.monotonic() >= deadline:
                designs = [design for design in designs if design in trials]
            batch_episodes = [episode_of(game, trials[design]) for design in designs]
            learner.tell(batch_episodes)
            played += batch_episodes
            seen.update(trials)
            for episode in batch_episodes:
                for callback in callbacks:
                    callback.on_episode(episode, trials[episode.design])
            if target is not None and max(episode.reward for episode in batch_episodes) >= target:
                break
    finally:
        for callback in callbacks:
            callback.on_end(played)
    return played


def _check_limits(episodes: int | None, evaluations: int | None, seconds: float | None, target: float | None) -> None:
    for what, number in (("episodes", episodes), ("evaluations", evaluations)):
        if number is not None:
            whole_number(f"number of {what}", number, 1)
    if seconds is not None and not _finite(seconds, above=0):
        raise InputError(f"The number of seconds is {seconds!r}; it is a positive number.")
    if target is not None and not _finite(target):
        raise InputError(f"The target is {target!r}; it is a reward, a finite number.")


@dataclass(frozen=True)
class _Limits:
    """When a play ends: after how many episodes and distinct designs, and at what time."""

    episodes: int | None
    evaluations: int | None
    deadline: float

    def left(self, played: Sequence[Episode], seen: Collection[Design]) -> int:
        """How many designs may be asked for at once; 0 at the end.

        A batch has at most as many new designs as it has designs, so neither number is exceeded.
        """
        if played and time.monotonic() >= self.deadline:
            return 0
        left = [sys.maxsize]
        if self.episodes is not None:
            left.append(self.episodes - len(played))
        if self.evaluations is not None:
            left.append(self.evaluations - len(seen))
        return min(left)


def _evaluated(
    game: Any, designs: Sequence[Design], deadline: float, callbacks: Sequence[Callback]
) -> Mapping[Design, Trial]:
    """The trials of a batch by design; once the time is over, of those that have finished."""
    trials: dict[Design, Trial] = {}
    for trial in game.evaluate(list(dict.fromkeys(designs))):
        trials[trial.design] = trial
        for callback in callbacks:
            callback.on_trial(trial)
        if time.monotonic() >= deadline:
            break
    return trials


def episode_of(game: Any, trial: Trial) -> Episode:
    """The episode that a trial of a design is, in an environment without its wrappers."""
    assert trial.design is not None
    ended = trial.status != "completed"
    reward = game.score(trial)
    broken = not ended and reward == game.reward.penalty
    return Episode(trial.design, reward, game.objectives(trial), ended, game.directions, broken)


def _finite(number: Any, above: float = -math.inf) -> bool:
    return isinstance(number, Real) and not isinstance(number, bool) and above < float(number) < math.inf


def begin(env: Any, learner: Learner, seed: int) -> Any:
    """Readies a learner for an environment, as `play` does.

    Returns:
        The environment without its wrappers.

    Raises:
        InputError: if a wrapper changes what a learner sees or does: it would play past it.
    """
    game = env.unwrapped
    wrapper = env
    while wrapper is not game:
        if type(wrapper).__name__ not in _CHECKS_ONLY:
            raise InputError(
                f"A learner plays whole designs and would not see what {type(wrapper).__name__} changes; step the wrapped "
                "environment in a loop of your own, or give the environment without it."
            )
        wrapper = wrapper.env
    if hasattr(learner, "prepare") and hasattr(game, "task"):
        learner.prepare(game.task.name)
    learner.reset(game.space, seed)
    return game


def _asked(learner: Learner, n: int, space: SearchSpace) -> list[Design]:
    """What the learner asks for, which a stranger's may get wrong."""
    asked = learner.ask(n)
    if asked is None:
        return []
    if not isinstance(asked, list):
        raise InputError(f"The learner's `ask` returned {asked!r}; it returns a list of designs.")
    return [space.check(design) for design in asked[:n]]
