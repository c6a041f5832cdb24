"""Nevergrad's discrete (1+1) evolution strategy (Rapin and Teytaud, 2018), a cheap rival that is hard to beat on discrete spaces.

`DiscreteOnePlusOne` of the package: the best design so far is changed in at least one parameter, in one on average, and the
child takes its place if it is no worse. Each hyperparameter of each layer is a `TransitionChoice` if its values are numbers,
so that a change goes to a rank nearby rather than far off; else a `Choice`.

The reward is told with its sign changed, since Nevergrad minimises; a terminated design has its penalty. It asks for some
designs again; a repeat is an episode like any other.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Sequence
from typing import Any

import numpy as np

from agents.protocol import Episode
from agents.rivals.ranks import Ranks
from marl_hpo_env import Design, InputError, SearchSpace, whole_number


class NevergradOnePlusOne:
    """Nevergrad's DiscreteOnePlusOne: the best design so far is changed in about one hyperparameter.

    Raises:
        InputError: if Nevergrad is not installed.
    """

    def __init__(self) -> None:
        try:
            import nevergrad  # noqa: F401
        except ImportError:
            raise InputError(
                "The learner 'nevergrad' needs the package 'nevergrad'; install it with: pip install 'marl-hpo-env[nevergrad]'."
            ) from None

    def reset(self, space: SearchSpace, seed: int) -> None:
        from nevergrad import optimizers, p

        self._ranks = Ranks(space)
        drawn = np.random.get_state()  # noqa: NPY002  # a TransitionChoice takes a first seed from it
        parametrization = p.Dict(
            **{
                name: (p.TransitionChoice if name in self._ranks.ordered and len(values) > 1 else p.Choice)(
                    range(len(values))
                )
                for name, values in self._ranks.values.items()
            }
        )
        np.random.set_state(drawn)  # noqa: NPY002
        parametrization.random_state = np.random.RandomState(whole_number("seed", seed, 0) % 2**32)
        self._optimizer = optimizers.registry["DiscreteOnePlusOne"](parametrization)
        self._asked: defaultdict[Design, deque[Any]] = defaultdict(deque)

    def ask(self, n: int) -> list[Design]:
        """Changed designs, which can be ones that came before."""
        designs = []
        for _ in range(n):
            candidate = self._optimizer.ask()
            designs.append(self._ranks.design(candidate.value))
            self._asked[designs[-1]].append(candidate)
        return designs

    def tell(self, episodes: Sequence[Episode]) -> None:
        """Each design is a child; one that was not asked for is told as such."""
        for episode in episodes:
            if self._asked[episode.design]:
                candidate = self._asked[episode.design].popleft()
            else:
                positions = self._ranks.positions(episode.design)
                candidate = self._optimizer.parametrization.spawn_child(new_value=positions)
            self._optimizer.tell(candidate, -episode.reward)
