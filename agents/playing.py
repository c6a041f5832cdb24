"""The loop between a learner and an environment."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from agents.protocol import Episode, Learner
from marl_hpo_env import Design, InputError, SearchSpace, Trial, whole_number

EPISODES_PER_EVALUATION = 5
"""A learner that repeats itself more often than this is stopped short of its evaluations."""

_CHECKS_ONLY = {"OrderEnforcingWrapper", "OrderEnforcing", "PassiveEnvChecker"}
"""Wrappers of PettingZoo's and Gymnasium's that change nothing."""

OnEpisode = Callable[[Episode, Trial], None]


def play(
    env: Any,
    learner: Learner,
    episodes: int | None = None,
    *,
    evaluations: int | None = None,
    seed: int = 0,
    batch: int = 1,
    on_trial: Callable[[Trial], None] | None = None,
    on_episode: OnEpisode | None = None,
) -> list[Episode]:
    """Lets a learner play from the beginning.

    Args:
        env: any of the package's environments, unwrapped or as `env` and `make` return it; its evaluator turns the learner's
            designs into trials.
        learner: is reset with the environment's space and `seed`.
        episodes: how many to play at most; None plays until the learner is finished, or, where `evaluations` are given,
            `EPISODES_PER_EVALUATION` times as many.
        evaluations: distinct designs after which to stop; repeats are episodes, and no evaluations.
        seed: of the learner.
        batch: designs asked at a time. The result depends on it, not on how many workers evaluate a batch.
        on_trial: is called with each distinct trial of a batch, as it finishes.
        on_episode: is called with every episode and its trial, in the order asked, after its batch.

    Returns:
        Every episode, in the order asked.

    Raises:
        InputError: if `batch`, `episodes` or `evaluations` is not positive, `seed` is no whole number from 0, the
            environment is wrapped in what the learner would not see, or the learner asks for a design that does not exist.
    """
    whole_number("batch", batch, 1)
    seed = whole_number("seed", seed, 0)
    for what, number in (("episodes", episodes), ("evaluations", evaluations)):
        if number is not None:
            whole_number(f"number of {what}", number, 1)
    if episodes is None and evaluations is not None:
        episodes = EPISODES_PER_EVALUATION * evaluations
    game = begin(env, learner, seed)
    played: list[Episode] = []
    seen: set[Design] = set()
    while (episodes is None or len(played) < episodes) and (evaluations is None or len(seen) < evaluations):
        # A batch has at most as many new designs as it has designs, so neither number is exceeded.
        left = [
            batch,
            *([episodes - len(played)] if episodes else []),
            *([evaluations - len(seen)] if evaluations else []),
        ]
        wanted = min(left)
        designs = _asked(learner, wanted, game.space)
        if not designs:
            break
        trials = {}
        for trial in game.evaluate(list(dict.fromkeys(designs))):
            trials[trial.design] = trial
            if on_trial is not None:
                on_trial(trial)
        batch_episodes = [
            Episode(design, game.score(trial), game.objectives(trial), trial.status != "completed")
            for design, trial in ((design, trials[design]) for design in designs)
        ]
        learner.tell(batch_episodes)
        played += batch_episodes
        seen.update(designs)
        if on_episode is not None:
            for episode in batch_episodes:
                on_episode(episode, trials[episode.design])
    return played


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
