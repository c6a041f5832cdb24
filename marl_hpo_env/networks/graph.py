"""From a traced network and choices to the layers of a search space and what feeds what (paper V-A, VI-D)."""

from __future__ import annotations

import fnmatch
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from torch import fx, nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from marl_hpo_env.errors import InputError, warn
from marl_hpo_env.networks.rules import WIDTHS, argument_names, is_depthwise, sets_width
from marl_hpo_env.networks.trace import Traced
from marl_hpo_env.networks.tracer import is_tensor
from marl_hpo_env.space import Layer, SearchSpace

FOLLOW_THE_INPUT = ("in_channels", "in_features", "num_features", "num_channels", "normalized_shape")
"""Constructor arguments that are what reaches the module."""

_SIZES = {*WIDTHS, "kernel_size", "stride", "dilation", "groups"}

Hyperparameters = dict[str, dict[str, Sequence[Any]]]
"""The values that each hyperparameter can take, by the layer's name and its own."""

Choices = Mapping[type[nn.Module] | str, Mapping[str, Sequence[Any]] | None]
"""Hyperparameter values by module type or by name pattern (`"features.*"`); the last key that matches a module counts,
and None leaves the module out. Hyperparameters are the module's constructor arguments."""


class Tie(NamedTuple):
    """A layer that has another's width.

    Args:
        leader: the layer whose width is chosen.
        chosen: what the leader calls its width.
        width: what the layer itself calls it.
    """

    leader: str
    chosen: str
    width: str


def search_space(traced: Traced, choices: Choices, units: Mapping[str, int] | None = None) -> SearchSpace:
    """The search space of a traced network (see `tunable_hyperparameters`)."""
    return space_of(traced, tunable_hyperparameters(traced, choices, units))


def tie(tunable: Hyperparameters, groups: Iterable[Sequence[str]]) -> dict[str, Tie]:
    """Takes the choice of its width from each layer but the first of a group; a layer that has no other choice, too.

    Args:
        tunable: changed in place.
        groups: names of layers that share one width, each layer in one group.

    Returns:
        By the name of each layer that lost the choice, whose width it has.
    """
    order = {name: position for position, name in enumerate(tunable)}
    ties = {}
    for group in groups:
        widths = {name: key for name in group for key in WIDTHS if key in tunable.get(name, ())}
        leader, *others = sorted(widths, key=order.__getitem__) or [""]
        for name in others:
            ties[name] = Tie(leader, widths[leader], widths[name])
            del tunable[name][widths[name]]
            if not tunable[name]:
                del tunable[name]
    return ties


def tunable_hyperparameters(
    traced: Traced, choices: Choices, units: Mapping[str, int] | None = None
) -> Hyperparameters:
    """The values of each layer's hyperparameters, by its name.

    Layers are the modules that `choices` matches, in the order of their first call; a module called at several places is
    one layer. The width of a module that reaches the output (the classes) is not tunable. Widths that are no multiple of what
    the network takes them apart into (`units`, as in `default_choices`) are left out, with a warning.

    Raises:
        InputError: if a key matches nothing, a hyperparameter is no constructor argument, or nothing is left to choose.
    """
    graph = traced.graphs[True]
    final = reaching_output(traced)
    names = dict.fromkeys(str(node.target) for node in graph.nodes if node.op == "call_module")
    modules = {name: traced.modules[name] for name in names}
    unmatched = [key for key in choices if not any(_matches(key, name, module) for name, module in modules.items())]
    if unmatched:
        key = unmatched[0] if isinstance(unmatched[0], str) else unmatched[0].__name__
        raise InputError(f"The choices for {key!r} match no module of the network; it has {_kinds(modules)}.")
    tunable: Hyperparameters = {}
    for name, module in modules.items():
        matching = [value for key, value in choices.items() if _matches(key, name, module)]
        if matching and matching[-1] is not None:
            chosen = _hyperparameters(name, module, matching[-1], fixed_width=name in final)
            chosen = _divisible(name, chosen, (units or {}).get(name, 1))
            if chosen:
                tunable[name] = chosen
    if not tunable:
        raise InputError(
            f"Nothing is left to choose in {traced.name}: the width of a layer that makes the output is not tunable; "
            f"give choices for other modules; it has {_kinds(modules)}."
        )
    return tunable


def space_of(traced: Traced, tunable: Hyperparameters) -> SearchSpace:
    """The layers with their choices, and what feeds what."""
    inputs = _inputs(traced.graphs[True], list(tunable))
    return SearchSpace(
        Layer(name, type(traced.modules[name]).__name__, chosen, inputs[name]) for name, chosen in tunable.items()
    )


def default_choices(traced: Traced, units: Mapping[str, int] | None = None) -> Choices:
    """A quarter, a half, three quarters and all of each width, and each odd kernel size from 3 with the next smaller one.

    Ours: no layer ever gets wider. Where the widths of a residual block's branches come to differ, a projection adds some
    parameters.

    Args:
        traced: the network.
        units: what a module's width is to be a multiple of, by its name, where that is not 1 (`reshapes.granularity`).
    """
    units = units or {}
    choices: dict[type[nn.Module] | str, Mapping[str, Sequence[Any]] | None] = {}
    for name, module in traced.modules.items():
        values: dict[str, Sequence[Any]] = {}
        if isinstance(module, _ConvNd):
            groups = math.lcm(module.groups, units.get(name, 1))
            if not is_depthwise(module):
                quarters = {max(1, module.out_channels * i // (4 * groups)) * groups for i in range(1, 5)}
                values["out_channels"] = tuple(sorted(quarters))
            kernel = set(module.kernel_size)
            if len(kernel) == 1 and not isinstance(module, _ConvTransposeNd):
                (size,) = kernel
                if size >= 3 and size % 2:
                    values["kernel_size"] = (size - 2, size)
        elif isinstance(module, nn.Linear):
            unit = units.get(name, 1)
            quarters = {max(1, module.out_features * i // (4 * unit)) * unit for i in range(1, 5)}
            values["out_features"] = tuple(sorted(quarters))
        values = {key: options for key, options in values.items() if len(options) > 1}
        if values:
            choices[_literal(name)] = values
    return choices


def _literal(name: str) -> str:
    """A pattern that matches this name only."""
    return name.replace("[", "[[]").replace("*", "[*]").replace("?", "[?]")


def _matches(key: type[nn.Module] | str, name: str, module: nn.Module) -> bool:
    return fnmatch.fnmatchcase(name, key) if isinstance(key, str) else isinstance(module, key)


def _kinds(modules: Mapping[str, nn.Module]) -> str:
    return ", ".join(sorted({type(module).__name__ for module in modules.values()}))


def _hyperparameters(
    name: str, module: nn.Module, choices: Mapping[str, Sequence[Any]], fixed_width: bool
) -> dict[str, Sequence[Any]]:
    known = [n for n in argument_names(module) if n not in FOLLOW_THE_INPUT]
    for hyperparameter in choices:
        if hyperparameter in FOLLOW_THE_INPUT:
            raise InputError(f"{hyperparameter!r} of {name!r} follows what feeds it; choose among {', '.join(known)}.")
        if hyperparameter not in known and hyperparameter != "type":
            raise InputError(
                f"{hyperparameter!r} of {name!r} is no constructor argument of {type(module).__name__}; it has "
                f"{', '.join(known)}."
            )
        if hyperparameter in _SIZES:
            for value in choices[hyperparameter]:
                if not all(type(v) is int and v >= 1 for v in (value if isinstance(value, tuple | list) else [value])):
                    raise InputError(
                        f"{hyperparameter!r} of {name!r} cannot be {value!r}; it is a whole number from 1."
                    )
    if is_depthwise(module) or fixed_width:
        return {key: values for key, values in choices.items() if key not in WIDTHS}
    return dict(choices)


def _divisible(name: str, chosen: dict[str, Sequence[Any]], unit: int) -> dict[str, Sequence[Any]]:
    """The choices without widths that are no multiple of the unit."""
    kept = {
        key: tuple(v for v in values if key not in WIDTHS or v % unit == 0) if unit > 1 else values
        for key, values in chosen.items()
    }
    for key, values in chosen.items():
        left_out = [value for value in values if value not in kept[key]]
        if left_out:
            rest = f"; {len(kept[key])} are left" if kept[key] else "; none is left, so it stays as it is"
            warn(
                f"Of {name!r} the {key} {', '.join(map(str, left_out))} are left out: the network takes this width apart into "
                f"multiples of {unit}{rest}."
            )
    return {key: values for key, values in kept.items() if values or not chosen[key]}


def reaching_output(traced: Traced) -> set[str]:
    """Names of the modules whose width is the width of the network's output."""
    final: set[str] = set()
    seen: set[fx.Node] = set()
    waiting = [node for graph in traced.graphs.values() for node in graph.nodes if node.op == "output"]
    while waiting:
        for node in waiting.pop().all_input_nodes:
            if node in seen or not is_tensor(node):
                continue
            seen.add(node)
            if node.op == "call_module" and sets_width(traced.modules[str(node.target)]):
                final.add(str(node.target))
            else:
                waiting.append(node)
    return final


def _inputs(graph: fx.Graph, tunable: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """For each tunable module, the tunable modules that feed it.

    These are its nearest tunable ancestors. Where several values merge (add, cat), each operand contributes its nearest
    one; an operand that is itself a merge is represented by its latest (ours, reading 7 of
    `agents/README.md`: else a residual chain would connect every layer with every other).
    """
    order = {name: position for position, name in enumerate(tunable)}
    sources: dict[fx.Node, tuple[int, ...]] = {}
    feeding: dict[str, set[int]] = {name: set() for name in tunable}
    for node in graph.nodes:
        # A size, a constant or a value that comes twice is no further operand.
        operands = list(dict.fromkeys(sources[n] for n in node.all_input_nodes if sources[n]))
        value = operands[0] if operands else ()
        if len(operands) > 1:
            value = tuple(sorted({max(operand) for operand in operands}))
        if node.op == "call_module" and str(node.target) in order:
            position = order[str(node.target)]
            # A module called again later is fed by what came before its first call only: the graph stays acyclic.
            feeding[str(node.target)].update(source for source in value if source < position)
            value = (position,)
        sources[node] = value
    return {name: tuple(tunable[source] for source in sorted(found)) for name, found in feeding.items()}
