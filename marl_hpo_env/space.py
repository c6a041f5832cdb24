"""Layers, the search space they span, and designs.

A *design* is one action per layer, in network order: a plain tuple of integers, hashable and canonical, so that it is a
dictionary key, a database key and a JSON list as it stands. There is no torch in this file.
"""

from __future__ import annotations

import itertools
import math
import operator
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, is_dataclass
from functools import cached_property
from typing import Any

import numpy as np

from marl_hpo_env.errors import InputError, is_number

Design = tuple[int, ...]
"""One action index per layer, in network order."""

MOST_ACTIONS = 1_000_000
"""Of a layer. No learner goes through more, and they are held in memory."""


@dataclass(frozen=True, eq=False)
class Layer:
    """One tunable module of a network; it has one agent.

    Args:
        name: the module's name in its network, such as `"features.0"`.
        kind: the module's type, such as `"Conv2d"`.
        choices: the values that each hyperparameter can take, such as `{"out_channels": (16, 32), "kernel_size": (3, 5)}`.
        inputs: names of the tunable layers that feed this one; empty for a layer that no tunable layer feeds.

    Raises:
        InputError: if there is no hyperparameter, or one without values or with a value twice.
    """

    name: str
    kind: str
    choices: Mapping[str, Sequence[Any]]
    inputs: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for what, text in (("name", self.name), ("kind", self.kind)):
            if not isinstance(text, str) or not text:
                raise InputError(f"The {what} of a layer is {text!r}; it is a text.")
        if isinstance(self.inputs, str) or not all(isinstance(name, str) for name in self.inputs):
            raise InputError(f"The inputs of layer {self.name!r} are {self.inputs!r}; give a list of layers' names.")
        if not isinstance(self.choices, Mapping):
            raise InputError(
                f"The choices of layer {self.name!r} are {self.choices!r}; give values by the hyperparameter's name."
            )
        if not self.choices:
            raise InputError(f"Layer {self.name!r} has no hyperparameter to choose; leave it out or give it choices.")
        frozen = {}
        for hyperparameter, values in self.choices.items():
            if isinstance(values, str) or not isinstance(values, Iterable):
                raise InputError(
                    f"The choices of {self.name!r} for {hyperparameter!r} are {values!r}; give a list of values."
                )
            frozen[hyperparameter] = tuple(tuple(v) if isinstance(v, list) else v for v in values)
            if not frozen[hyperparameter]:
                raise InputError(f"Layer {self.name!r} has no values for {hyperparameter!r}; give at least one.")
            for value in frozen[hyperparameter]:
                if not _is_value(value):
                    raise InputError(
                        f"Layer {self.name!r} has the value {value!r} of {hyperparameter!r}; give numbers, texts or types."
                    )
            if any(value in frozen[hyperparameter][:i] for i, value in enumerate(frozen[hyperparameter])):
                raise InputError(f"Layer {self.name!r} has a value of {hyperparameter!r} twice: {list(values)}.")
        actions = math.prod(map(len, frozen.values()))
        if actions > MOST_ACTIONS:
            raise InputError(
                f"Layer {self.name!r} has {actions:,} actions, the product of its numbers of values; {MOST_ACTIONS:,} are the "
                "most, so give fewer values."
            )
        object.__setattr__(self, "choices", frozen)
        object.__setattr__(self, "inputs", tuple(self.inputs))

    def __eq__(self, other: object) -> bool:
        # The order of the hyperparameters is part of what an action means; dictionaries would not compare it.
        return isinstance(other, Layer) and self._identity() == other._identity()

    def __hash__(self) -> int:
        return hash((self.name, self.kind, self.inputs))

    def _identity(self) -> tuple[Any, ...]:
        return self.name, self.kind, tuple(self.choices.items()), self.inputs

    @cached_property
    def actions(self) -> tuple[tuple[Any, ...], ...]:
        """Every action's tuple of hyperparameter values; the first hyperparameter varies fastest (paper V-B)."""
        products = itertools.product(*reversed(list(self.choices.values())))
        return tuple(values[::-1] for values in products)

    def hyperparameters(self, action: int) -> dict[str, Any]:
        """The hyperparameter values that `action` stands for.

        Raises:
            InputError: if the layer has no such action.
        """
        return dict(zip(self.choices, self.actions[self.check(action)], strict=True))

    def action(self, hyperparameters: Mapping[str, Any]) -> int:
        """The action that stands for these hyperparameter values (the inverse of `hyperparameters`).

        Raises:
            InputError: if the values are not one of the layer's actions.
        """
        values = tuple(tuple(v) if isinstance(v := hyperparameters.get(name), list) else v for name in self.choices)
        if set(hyperparameters) != set(self.choices) or values not in self.actions:
            raise InputError(
                f"Layer {self.name!r} has no action {dict(hyperparameters)}; its choices are {self.choices}."
            )
        return self.actions.index(values)

    def check(self, action: Any) -> int:
        """`action` as a plain int.

        Raises:
            InputError: if it is not one of the layer's action indices.
        """
        try:
            index = -1 if isinstance(action, bool | np.bool_) else operator.index(action)
        except TypeError:
            index = -1
        if not 0 <= index < len(self.actions):
            raise InputError(
                f"Action {action!r} of layer {self.name!r} does not exist; its actions are 0 to {len(self.actions) - 1}."
            )
        return index


class SearchSpace:
    """An ordered, directed acyclic graph of layers, and the designs on it.

    Args:
        layers: the layers in network order; each names the layers that feed it, which come before it.

    Attributes:
        layers: the layers, in network order.
        names: their names, as files and stores have them.
        agents: the agents' names: the layers', with `_` for every dot, as `torch.nn.ModuleDict` takes them (`features_0` for
            `features.0`). Where that is another layer's or agent's name, `_2`, `_3` and so on follow.
        sizes: the number of actions of each layer.
        feeding: for each layer, the indices of the layers that feed it, ascending.
        fed: for each layer, the indices of the layers that it feeds, ascending.
        pairs: every (feeding, fed) pair of layer indices, ascending; each has a Q-table (paper V-D, VI-D).

    Raises:
        InputError: if there is no layer, a name is used twice, or a layer is fed by one that does not come before it.
    """

    def __init__(self, layers: Iterable[Layer]) -> None:
        self.layers = tuple(layers)
        if not self.layers:
            raise InputError("A search space needs at least one layer with choices; there is none.")
        self.names = tuple(layer.name for layer in self.layers)
        self._position: dict[str, int] = {}
        feeding: list[tuple[int, ...]] = []
        for position, layer in enumerate(self.layers):
            if layer.name in self._position:
                raise InputError(f"Two layers are named {layer.name!r}; each needs a name of its own.")
            for name in layer.inputs:
                if name not in self._position:
                    raise InputError(f"Layer {layer.name!r} is fed by {name!r}, which is not a layer before it.")
            feeding.append(tuple(sorted({self._position[name] for name in layer.inputs})))
            self._position[layer.name] = position
        # No agent bears the name of another's layer, so that a name says which layer is meant.
        for position, name in enumerate(self.names):
            if "." in name:
                plain = name.replace(".", "_")
                numbered = itertools.chain([plain], (f"{plain}_{n}" for n in itertools.count(2)))
                self._position[next(agent for agent in numbered if agent not in self._position)] = position
        agents = {position: name for name, position in self._position.items()}  # the last of a layer's names
        self.agents = tuple(agents[position] for position in range(len(self.layers)))
        self.feeding = tuple(feeding)
        self.pairs = tuple(sorted((i, j) for j, producers in enumerate(feeding) for i in producers))
        fed: list[list[int]] = [[] for _ in self.layers]
        for i, j in self.pairs:
            fed[i].append(j)
        self.fed = tuple(tuple(consumers) for consumers in fed)
        self.sizes = tuple(len(layer.actions) for layer in self.layers)

    @cached_property
    def size(self) -> int:
        """The number of designs."""
        return math.prod(self.sizes)

    @property
    def size_text(self) -> str:
        """The number of designs for people: `4,608`, or `about 10^24`."""
        return f"{self.size:,}" if self.size < 10**15 else f"about 10^{math.log10(self.size):.0f}"

    def __len__(self) -> int:
        return len(self.layers)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SearchSpace) and self.layers == other.layers

    def __hash__(self) -> int:
        return hash(self.layers)

    def __repr__(self) -> str:
        return f"SearchSpace({len(self)} layers, {len(self.pairs)} pairs, {self.size_text} designs)"

    def position(self, name: str) -> int:
        """The index of the layer, or of the agent, with this name.

        Raises:
            InputError: if there is none.
        """
        try:
            return self._position[name]
        except KeyError:
            raise InputError.unknown("layer", name, self.names) from None

    def check(self, design: Iterable[Any]) -> Design:
        """`design` in its canonical form, a tuple of ints.

        Raises:
            InputError: if it is no sequence, has too many or too few actions, or one that its layer does not have.
        """
        if not isinstance(design, Iterable):
            raise InputError(
                f"A design of this space has {len(self.layers)} actions, one per layer; got {design!r}, which is none."
            )
        actions = tuple(design)
        if len(actions) != len(self.layers):
            raise InputError(
                f"A design of this space has {len(self.layers)} actions, one per layer; got {len(actions)}."
            )
        return tuple(layer.check(action) for layer, action in zip(self.layers, actions, strict=True))

    def sample(self, rng: np.random.Generator) -> Design:
        """A design drawn uniformly."""
        return tuple(rng.integers(self.sizes).tolist())

    def hyperparameters(self, design: Iterable[int]) -> dict[str, dict[str, Any]]:
        """Each layer's hyperparameter values, by layer name, such as `{"conv1": {"out_channels": 16}}`.

        Raises:
            InputError: if the design is not one of this space.
        """
        return {
            layer.name: layer.hyperparameters(action)
            for layer, action in zip(self.layers, self.check(design), strict=True)
        }

    def design(self, hyperparameters: Mapping[str, Mapping[str, Any]]) -> Design:
        """The design with these hyperparameter values (the inverse of `hyperparameters`).

        Raises:
            InputError: if a layer is missing or unknown, or has no such action.
        """
        known = set(self.names)
        for name in hyperparameters:
            if name not in known:
                raise InputError.unknown("layer", name, self.names)
        missing = [name for name in self.names if name not in hyperparameters]
        if missing:
            raise InputError(f"The hyperparameters of layer {missing[0]!r} are missing; a design has every layer's.")
        return tuple(layer.action(hyperparameters[layer.name]) for layer in self.layers)

    def index(self, design: Iterable[int]) -> int:
        """The design's number, from 0 to `size - 1`; the first layer varies fastest."""
        number = 0
        for size, action in zip(reversed(self.sizes), reversed(self.check(design)), strict=True):
            number = number * size + action
        return number

    def design_at(self, index: int) -> Design:
        """The design with this number (the inverse of `index`).

        Raises:
            InputError: if there is no such number.
        """
        index = operator.index(index)
        if not 0 <= index < self.size:
            raise InputError(f"There is no design number {index}; this space has designs 0 to {self.size - 1}.")
        actions = []
        for size in self.sizes:
            index, action = divmod(index, size)
            actions.append(action)
        return tuple(actions)

    def describe(self) -> list[dict[str, Any]]:
        """The space as plain JSON values; two spaces are the same if and only if this is equal."""
        return [
            {
                "name": layer.name,
                "kind": layer.kind,
                "choices": [[name, [_plain(value) for value in values]] for name, values in layer.choices.items()],
                "inputs": list(layer.inputs),
            }
            for layer in self.layers
        ]

    @classmethod
    def described(cls, description: Iterable[Mapping[str, Any]]) -> SearchSpace:
        """The space that `describe` described; a type among the choices stays what it is there, its name.

        Raises:
            InputError: if it describes no space.
        """
        try:
            return cls(
                Layer(
                    layer["name"],
                    layer["kind"],
                    {name: [_tuples(value) for value in values] for name, values in layer["choices"]},
                    layer["inputs"],
                )
                for layer in description
            )
        except (AttributeError, KeyError, RecursionError, TypeError, ValueError) as error:
            raise InputError(
                f"The description of a search space cannot be read: {error}; use what describe() made."
            ) from error


def _is_value(value: Any) -> bool:
    """Whether it can be a hyperparameter's: it is equal to itself, as NaN is not, and an array does not say."""
    if isinstance(value, tuple):
        return all(map(_is_value, value))
    return is_number(value) if isinstance(value, float) else isinstance(value, Hashable)


def _tuples(value: Any) -> Any:
    """A hyperparameter value from JSON: a list as a tuple, all else as it is."""
    return tuple(_tuples(v) for v in value) if isinstance(value, list) else value


def _plain(value: Any) -> Any:
    """A hyperparameter value as JSON: a type by its name, a dataclass as it is written, a tuple as a list, all else as it is."""
    if isinstance(value, type):
        return f"{value.__module__}.{value.__qualname__}"
    if is_dataclass(value):
        return repr(value)
    return [_plain(v) for v in value] if isinstance(value, tuple) else value
