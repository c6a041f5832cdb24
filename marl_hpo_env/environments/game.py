"""The rules of the game, without any framework: whose turn it is, what each agent sees, and the finished design.

The paper's game is cooperative and in extensive form (V): in network order each agent picks one action of its layer,
and the last pick completes the design. The environments are thin over this class.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from marl_hpo_env.errors import InputError
from marl_hpo_env.space import Design, SearchSpace

IntArray = npt.NDArray[np.int64]


class Game:
    """One episode's picks.

    Args:
        space: the layers and their actions.

    Attributes:
        space: the same.
        turn: index of the layer whose agent picks next; the number of layers once the design is complete.
    """

    def __init__(self, space: SearchSpace) -> None:
        self.space = space
        self._sizes = space.sizes
        self._feeding = [np.array(producers, dtype=np.intp) if producers else None for producers in space.feeding]
        self.reset()

    def reset(self) -> None:
        """Forgets every pick; the first layer's agent is next."""
        self.turn = 0
        self._state = np.zeros(len(self.space), dtype=np.int64)

    @property
    def agent(self) -> str | None:
        """Name of the agent that picks next; None once the design is complete."""
        return None if self.design_complete else self.space.agents[self.turn]

    @property
    def design_complete(self) -> bool:
        """Whether every agent has picked."""
        return self.turn == len(self._sizes)

    @property
    def design(self) -> Design | None:
        """The finished design; None until every agent has picked."""
        return tuple((self._state - 1).tolist()) if self.design_complete else None

    @property
    def picks(self) -> tuple[int, ...]:
        """The actions picked so far, in network order."""
        return tuple((self._state[: self.turn] - 1).tolist())

    def pick(self, action: Any) -> None:
        """The agent whose turn it is picks `action`.

        Raises:
            InputError: if its layer has no such action, or the design is complete.
        """
        turn = self.turn
        if turn == len(self._sizes):
            raise InputError("The design is complete: every agent has picked; reset the game for another.")
        if type(action) is not int or not 0 <= action < self._sizes[turn]:
            action = self.space.layers[turn].check(action)
        self._state[turn] = action + 1
        self.turn = turn + 1

    def observe(self, layer: int) -> IntArray:
        """What the agent of this layer sees: the paper's state (V-C).

        Returns:
            Shape (number of feeding layers,), their picks plus one, 0 where not yet picked. An agent that nothing feeds
            stays in its initial state: shape (1,), always 0.
        """
        feeding = self._feeding[layer]
        return np.zeros(1, dtype=np.int64) if feeding is None else self._state[feeding]

    def state(self) -> IntArray:
        """Every layer's pick plus one, 0 where not yet picked; shape (number of layers,), a copy."""
        return self._state.copy()

    def render(self) -> str:
        """The design so far, one line per layer."""
        width = max(map(len, self.space.names))
        lines = []
        for position, layer in enumerate(self.space.layers):
            if position < self.turn:
                chosen = layer.hyperparameters(int(self._state[position]) - 1)
                text = ", ".join(f"{name} {_show(value)}" for name, value in chosen.items())
            else:
                text = "picks next" if position == self.turn else "."
            lines.append(f"{layer.name:<{width}}  {layer.kind:<12} {text}")
        return "\n".join(lines)


def _show(value: Any) -> str:
    return value.__name__ if isinstance(value, type) else str(value)
