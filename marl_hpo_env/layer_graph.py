"""From a traced network and choices to the layers of a search space and what feeds what (paper V-A, VI-D)."""

from __future__ import annotations

import fnmatch
import inspect
from collections.abc import Mapping, Sequence
from typing import Any

from torch import fx, nn

from marl_hpo_env.errors import InputError
from marl_hpo_env.module_rules import WIDTHS, is_depthwise, sets_width
from marl_hpo_env.space import Layer, SearchSpace

Choices = Mapping[type[nn.Module] | str, Mapping[str, Sequence[Any]] | None]
"""Hyperparameter values by module type or by name pattern (`"features.*"`); the last key that matches a module counts,
and None leaves the module out. Hyperparameters are the module's constructor arguments."""


def search_space(traced: fx.GraphModule, choices: Choices) -> SearchSpace:
    """The search space of a traced network.

    Layers are the modules that `choices` matches, in the order of their first call; a module called at several places is
    one layer. The width of a module that reaches the output (the classes) is not tunable.

    Raises:
        InputError: if a key matches nothing, a hyperparameter is no constructor argument, or nothing is left to choose.
    """
    final = _reaching_output(traced)
    modules = {str(n.target): traced.get_submodule(str(n.target)) for n in traced.graph.nodes if n.op == "call_module"}
    unmatched = [key for key in choices if not any(_matches(key, name, module) for name, module in modules.items())]
    if unmatched:
        key = unmatched[0] if isinstance(unmatched[0], str) else unmatched[0].__name__
        raise InputError(f"The choices for {key!r} match no module of the network; it has {_kinds(modules)}.")
    tunable: dict[str, dict[str, Sequence[Any]]] = {}
    for name, module in modules.items():
        matching = [value for key, value in choices.items() if _matches(key, name, module)]
        if matching and matching[-1] is not None:
            chosen = _hyperparameters(name, module, matching[-1], fixed_width=name in final)
            if chosen:
                tunable[name] = chosen
    inputs = _inputs(traced, list(tunable))
    return SearchSpace(
        Layer(name, type(modules[name]).__name__, chosen, inputs[name]) for name, chosen in tunable.items()
    )


def _matches(key: type[nn.Module] | str, name: str, module: nn.Module) -> bool:
    return fnmatch.fnmatchcase(name, key) if isinstance(key, str) else isinstance(module, key)


def _kinds(modules: Mapping[str, nn.Module]) -> str:
    return ", ".join(sorted({type(module).__name__ for module in modules.values()}))


def _hyperparameters(
    name: str, module: nn.Module, choices: Mapping[str, Sequence[Any]], fixed_width: bool
) -> dict[str, Sequence[Any]]:
    known = inspect.signature(type(module).__init__).parameters
    for hyperparameter in choices:
        if hyperparameter not in known:
            raise InputError(
                f"{hyperparameter!r} of {name!r} is no constructor argument of {type(module).__name__}; it has "
                f"{', '.join(n for n in known if n not in ('self', 'device', 'dtype'))}."
            )
    if is_depthwise(module) or fixed_width:
        return {key: values for key, values in choices.items() if key not in WIDTHS}
    return dict(choices)


def _reaching_output(traced: fx.GraphModule) -> set[str]:
    """Names of the modules whose width is the width of the network's output."""
    final: set[str] = set()
    seen: set[fx.Node] = set()
    waiting = [node for node in traced.graph.nodes if node.op == "output"]
    while waiting:
        for node in waiting.pop().all_input_nodes:
            if node in seen:
                continue
            seen.add(node)
            if node.op == "call_module" and sets_width(traced.get_submodule(str(node.target))):
                final.add(str(node.target))
            else:
                waiting.append(node)
    return final


def _inputs(traced: fx.GraphModule, tunable: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """For each tunable module, the tunable modules that feed it.

    These are its nearest tunable ancestors. Where several values merge (add, cat), each operand contributes its nearest
    one; an operand that is itself a merge is represented by its latest (ours, DESIGN 6.7: else a residual chain would
    connect every layer with every other).
    """
    order = {name: position for position, name in enumerate(tunable)}
    sources: dict[fx.Node, tuple[int, ...]] = {}
    feeding: dict[str, set[int]] = {name: set() for name in tunable}
    for node in traced.graph.nodes:
        operands = [sources[operand] for operand in node.all_input_nodes]
        if len(operands) > 1:
            merged = {max(operand) for operand in operands if operand}
            value = tuple(sorted(merged))
        else:
            value = operands[0] if operands else ()
        if node.op == "call_module" and str(node.target) in order:
            position = order[str(node.target)]
            # A module called again later is fed by what came before its first call only: the graph stays acyclic.
            feeding[str(node.target)].update(source for source in value if source < position)
            value = (position,)
        sources[node] = value
    return {name: tuple(tunable[source] for source in sorted(found)) for name, found in feeding.items()}
