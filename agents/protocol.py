"""What a learner is: the small protocol that everything which plays for the team shares."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol

import numpy as np

from marl_hpo_env import Design, Game, InputError, SearchSpace


class Episode(NamedTuple):
    """All that a learner is told of one episode; test figures never reach it.

    Args:
        design: one action per layer.
        reward: shared by all agents.
        objectives: the metrics that the reward sees, by name; NaN where the trial did not complete.
        terminated: whether the trial was terminated by a limit, or failed.
        directions: which way each objective is better, by name: +1 the higher, -1 the lower.
        broken: whether the trial completed and broke a constraint of the reward.
    """

    design: Design
    reward: float
    objectives: Mapping[str, float]
    terminated: bool
    directions: Mapping[str, int] = MappingProxyType({})
    broken: bool = False


def check_directions(episode: Episode) -> None:
    """Whether an episode says which way each of its objectives is better, which only a learner of several asks.

    Raises:
        InputError: if not.
    """
    for name in episode.objectives:
        if name not in episode.directions:
            raise InputError(
                f"The episodes do not say which way {name!r} is better; tell Episode(..., directions={{...}})."
            )


class Learner(Protocol):
    """An algorithm that plays for the whole team of agents.

    A learner is a deterministic function of its settings, the seed, and what it is told: this is what makes resuming by
    replay work.

    A learner may also have `prepare(task)`, which `play` calls with the task's name before `reset`, where the learner's source
    says something of that task; and what the command line then shows: `total_episodes`, the most that it plays, after which
    `ask` returns nothing; `exploration_length`, how many of them are its first phase; `converged` and `greedy_design`, the
    answer of its own that it may come to, beside the best design seen.
    """

    def reset(self, space: SearchSpace, seed: int) -> None:
        """Forgets everything; the designs to come are of `space`."""
        ...

    def ask(self, n: int) -> list[Design]:
        """Up to `n` designs to evaluate next; fewer where it has no more, none when it is finished."""
        ...

    def tell(self, episodes: Sequence[Episode]) -> None:
        """What came of the designs, in the order in which they were asked; before the first, and between, also of designs that
        it has not asked for, such as those that a user knows to be good."""
        ...


class TurnBasedLearner:
    """The base of learners that decide turn by turn: they implement `act` in place of `ask`.

    So the same learner drives a user's own loop over the turn-based environment and a batch of `play`.
    """

    _game: Game
    _masks: list[Any]

    def reset(self, space: SearchSpace, seed: int) -> None:
        """Prepares the game that `ask` plays; a subclass calls this first."""
        self._game = Game(space)
        self._masks = [np.ones(size, dtype=np.int8) for size in space.sizes]

    @property
    def finished(self) -> bool:
        """Whether it has no more designs to try; by default it goes on as long as it is asked."""
        return False

    @property
    def waits_for_rewards(self) -> bool:
        """Whether the next design depends on rewards that it has not been told yet; `ask` then ends its batch."""
        return False

    def act(self, agent: str, observation: Mapping[str, Any]) -> int:
        """The action of `agent`, whose turn it is.

        Args:
            agent: its name, one of `space.agents`; `space.position` says which layer it has.
            observation: what the turn-based environment shows it: `"observation"`, its feeding layers' picks plus one,
                and `"action_mask"`.
        """
        raise InputError(f"The learner {type(self).__name__!r} has no `act`; give it `act(agent, observation)`.")

    def tell(self, episodes: Sequence[Episode]) -> None:
        """What came of the designs; by default it learns nothing."""

    def ask(self, n: int) -> list[Design]:
        """Plays `n` games by turns, or fewer if it finishes or must know rewards first; at least one until it finishes."""
        if not hasattr(self, "_game"):
            raise InputError(
                f"The learner {type(self).__name__!r} has no game; its `reset` first calls `super().reset(space, seed)`."
            )
        game = self._game
        designs: list[Design] = []
        while len(designs) < n and not self.finished and not (designs and self.waits_for_rewards):
            game.reset()
            for position, name in enumerate(game.space.agents):
                observation = {"observation": game.observe(position), "action_mask": self._masks[position]}
                game.pick(self.act(name, observation))
            assert game.design is not None
            designs.append(game.design)
        return designs
