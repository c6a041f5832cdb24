"""What is observed and from which actions is picked, in each of the ways that training frameworks ask for it.

| `observations` | an agent sees | the single controller sees |
|---|---|---|
| `"dict"` | its feeding layers' picks plus one, 0 where not yet (the paper's state, V-C), int64 in a `Dict` | every layer's |
| `"flat"` | the same layers' picks, one-hot in a float32 `Box` | every layer's |
| `"padded"` | the same length and meaning for every agent, in a float32 `Box` | the same, for the layer whose turn it is |

**Flat**: for each layer that is seen, in network order, as many numbers as it has actions; that of its pick is 1, and all are 0
where it has not picked. An agent that nothing feeds sees one constant 0 in place of them, in `"dict"` too.

**Padded**: which layer it is (one-hot, number of layers); its kind (one-hot, number of kinds, in alphabetical order); every
layer's pick plus one as a fraction of its number of actions, 0 where not yet. All agents have as many actions as the layer with
most; to pick one that the layer does not have ends the episode with the reward's penalty.

| `masks` | the action mask, int8, 1 for what the layer has |
|---|---|
| `"observation"` | beside what is seen, in a `Dict` of `"observation"` and `"action_mask"` |
| `"info"` | `info["action_mask"]` |
| None | nowhere |

Unless padded, an agent's mask is all ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from gymnasium import spaces

from marl_hpo_env.environments.game import Game
from marl_hpo_env.errors import InputError
from marl_hpo_env.space import SearchSpace

Kind = Literal["dict", "flat", "padded"]
Masks = Literal["observation", "info"] | None
IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float32]


class OneHot:
    """Picks plus one as a vector of zeros and ones.

    Args:
        sizes: the numbers of actions of the layers whose picks they are.
    """

    def __init__(self, sizes: Sequence[int]) -> None:
        self._layer = np.repeat(np.arange(len(sizes)), sizes)
        self._pick = np.concatenate([np.arange(1, size + 1) for size in sizes])

    def __call__(self, picks: IntArray) -> FloatArray:
        """Shape (..., number of layers) to (..., sum of sizes)."""
        return (picks[..., self._layer] == self._pick).astype(np.float32)


class Views:
    """What agents and the single controller have in common.

    Args:
        space: the layers and their actions.
        observations: `"dict"`, `"flat"` or `"padded"`, see above.
        masks: `"observation"`, `"info"` or None.

    Attributes:
        most: the actions of the layer that has most.

    Raises:
        InputError: if there is no such way.
    """

    def __init__(self, space: SearchSpace, observations: Kind, masks: Masks) -> None:
        if observations not in ("dict", "flat", "padded"):
            raise InputError.unknown("kind of observations", observations, ("dict", "flat", "padded"))
        if masks not in ("observation", "info", None):
            raise InputError(f"The place of the masks is {masks!r}; it is 'observation', 'info', or None for nowhere.")
        self._kind, self._place = observations, masks
        self.most = max(space.sizes)
        kinds = sorted({layer.kind for layer in space.layers})
        identity = [[layer.kind == kind for kind in kinds] for layer in space.layers]
        self._identity = np.hstack([np.eye(len(space)), identity]).astype(np.float32)
        self._sizes = np.array(space.sizes, dtype=np.float32)

    def padded(self, state: IntArray, layer: int | IntArray) -> FloatArray:
        """The vector of a layer, or of one for each of several states, shape (states, layers)."""
        return np.concatenate([self._identity[layer], state / self._sizes], axis=-1, dtype=np.float32)

    def _observed(self, sizes: Sequence[int], actions: int) -> spaces.Space[Any]:
        """The space of what one who sees layers of these sizes, and picks from so many actions, is shown."""
        inner: spaces.Space[Any]
        if self._kind == "dict":
            inner = spaces.MultiDiscrete([size + 1 for size in sizes] or [1])
        else:
            length = sum(self._identity.shape) if self._kind == "padded" else sum(sizes) or 1
            inner = spaces.Box(0, 1, (length,), np.float32)
        return self._shown(inner, spaces.Box(0, 1, (actions,), np.int8), spaces.Dict)

    def _shown(self, seen: Any, mask: Any, together: Any = dict) -> Any:
        """What is seen and its mask, as they are shown."""
        if self._place == "observation":
            return together({"observation": seen, "action_mask": mask})
        return together({"observation": seen}) if self._kind == "dict" else seen


class AgentViews(Views):
    """Every agent's observations, masks and spaces, and the state's space; made once, so that the spaces can be seeded.

    Attributes:
        observation: each agent's observation space, by its name.
        action: each agent's action space.
        state: of every layer's pick plus one.
    """

    def __init__(self, space: SearchSpace, observations: Kind, masks: Masks) -> None:
        super().__init__(space, observations, masks)
        widths = [self.most if observations == "padded" else size for size in space.sizes]
        seen = [[space.sizes[i] for i in feeding] for feeding in space.feeding]
        self._layer_sizes = space.sizes
        self._one_hot = [OneHot(sizes or [1]) for sizes in seen] if observations == "flat" else []
        self._masks = [
            (np.arange(width) < size).astype(np.int8) for width, size in zip(widths, space.sizes, strict=True)
        ]
        self.action = {agent: spaces.Discrete(width) for agent, width in zip(space.agents, widths, strict=True)}
        self.observation = {
            agent: self._observed(sizes, width) for agent, sizes, width in zip(space.agents, seen, widths, strict=True)
        }
        self.state = spaces.MultiDiscrete([size + 1 for size in space.sizes])

    def observe(self, game: Game, layer: int) -> Any:
        """What the agent of this layer sees; the arrays are its own."""
        if self._kind == "padded":
            seen: Any = self.padded(game.state(), layer)
        else:
            seen = game.observe(layer)
            if self._kind == "flat":
                seen = self._one_hot[layer](seen)
        return self._shown(seen, self._masks[layer].copy())

    def informed(self, info: dict[str, Any], layer: int) -> dict[str, Any]:
        """The agent's own copy of what all are told, with its mask where it is told there."""
        return {**info, "action_mask": self._masks[layer].copy()} if self._place == "info" else dict(info)

    def is_padding(self, action: Any, layer: int) -> bool:
        """Whether it is in the agent's action space, and no action of its layer."""
        return (
            self._kind == "padded"
            and not isinstance(action, bool)
            and spaces.Discrete(self.most).contains(action)
            and action >= self._layer_sizes[layer]
        )

    def seed(self, seed: int) -> None:
        """Seeds every space, each with a seed of its own."""
        self.state.seed(seed)
        for offset, agent in enumerate(self.action, start=1):
            self.action[agent].seed(seed + offset)
            self.observation[agent].seed(seed + offset)


class ControllerView(Views):
    """The single controller's observations, masks and spaces. It has as many actions as the layer with most.

    Attributes:
        observation: its observation space.
        action: its action space.
    """

    def __init__(self, space: SearchSpace, observations: Kind, masks: Masks) -> None:
        super().__init__(space, observations, masks)
        self._one_hot = OneHot(space.sizes)
        self._legal = np.arange(self.most) < np.array(space.sizes)[:, None]
        self.observation = self._observed(space.sizes, self.most)
        self.action = spaces.Discrete(self.most)

    def observe(self, state: IntArray, layer: int | IntArray) -> Any:
        """What it sees where it is this layer's turn, or each of several layers' in a state of its own.

        Args:
            state: every layer's pick plus one, shape (layers,) or (states, layers); it is the observation's from now on.
            layer: whose turn it is, an index or shape (states,).
        """
        seen: Any = state
        if self._kind != "dict":
            seen = self.padded(state, layer) if self._kind == "padded" else self._one_hot(state)
        return self._shown(seen, self.legal(layer).astype(np.int8))

    def informed(self, info: dict[str, Any], layer: int | IntArray) -> dict[str, Any]:
        """What it is told, with the mask where it is told there."""
        return {**info, "action_mask": self.legal(layer).astype(np.int8)} if self._place == "info" else info

    def legal(self, layer: int | IntArray) -> npt.NDArray[np.bool_]:
        """Which actions the layer has, a copy of shape (actions,) or (states, actions)."""
        legal: npt.NDArray[np.bool_] = self._legal[layer].copy()
        return legal
