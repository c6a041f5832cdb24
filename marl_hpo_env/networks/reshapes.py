"""Sizes that are written into a forward pass: how reshapes and splits follow the widths (ours; the paper is silent).

The dimensions of a reshape's input and output fall into groups of the same product, as in (2, 64, 4, 4) -> (2, 1024): the first
with the first, the other three with the other. Where a group's input changes, its output does: one dimension takes the product;
of several the one that was not written as a number, or the first, takes what the others leave.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import fx, nn
from torch.nn import functional

from marl_hpo_env.errors import InputError
from marl_hpo_env.networks.rules import sets_width
from marl_hpo_env.networks.trace import Traced, line_of

Shapes = Mapping[fx.Node, Sequence[int]]

_RESHAPES = {"view", "reshape", torch.reshape}
_SPLITS = {"split", torch.split, "split_with_sizes", torch.split_with_sizes}
_EXPANDS = {"expand"}
_REDUCTIONS = {"sum", "mean", "amax", "amin", torch.sum, torch.mean, torch.amax, torch.amin}
_TRANSPOSES = {"transpose", torch.transpose, "swapaxes", torch.swapaxes}
_PERMUTES = {"permute", torch.permute}


class Indivisible(InputError):
    """A reshape takes what reaches it apart into groups that do not divide it.

    Attributes:
        unit: of what is taken apart a whole number must be there.
    """

    def __init__(self, message: str, unit: int) -> None:
        super().__init__(message)
        self.unit = unit


def has_sizes(node: fx.Node) -> bool:
    """Whether the call is one whose sizes are brought to follow."""
    return node.target in _RESHAPES | _SPLITS | _EXPANDS


def fit(new: fx.Node, node: fx.Node, original: Shapes, values: Mapping[fx.Node, Any], shape: Sequence[int]) -> None:
    """Changes the sizes in the arguments of a call so that they follow its input.

    Args:
        new: the call in the new graph, changed in place.
        node: the call in the original graph.
        original: the shapes of the original's tensors.
        values: by node of the new graph.
        shape: of the call's input now.

    Raises:
        Indivisible: where a group of dimensions does not divide what reaches it.
    """
    source = node.all_input_nodes[0]
    if node.target in _SPLITS:
        _fit_split(new, values, original[source], shape)
        return
    if node not in original:
        return
    sizes = _sizes(new)
    known = [values[size] if isinstance(size, fx.Node) else size for size in sizes]
    if len(known) == 1 and isinstance(known[0], list | tuple):  # a computed list of sizes
        known = list(known[0])
        sizes = [sizes[0]] * len(known)
    if not known or not all(isinstance(size, int) for size in known):
        return
    if node.target in _EXPANDS:
        wanted = [
            -1 if size == old > 1 else size for size, old in zip(known[::-1], original[source][::-1], strict=False)
        ]
        _set_sizes(new, sizes, known, [*known[: len(known) - len(wanted)], *wanted[::-1]])
        return
    follow = _expected(node, original[source], original[node], shape, known, sizes)
    if follow is not None:
        _set_sizes(new, sizes, known, follow)


def _sizes(call: fx.Node) -> list[Any]:
    """The sizes that a call is given, one after the other or in a tuple."""
    given = list(call.args[1:]) or [value for key, value in call.kwargs.items() if key in ("shape", "size")]
    if len(given) == 1 and isinstance(given[0], list | tuple):
        return list(given[0])
    return given


def _set_sizes(call: fx.Node, sizes: Sequence[Any], known: Sequence[int], wanted: Sequence[int]) -> None:
    """Writes the sizes that differ into the call; what follows by itself stays."""
    if list(known) == list(wanted):
        return
    if len(set(sizes)) == 1 < len(sizes) and isinstance(sizes[0], fx.Node):
        sizes = [-1, *wanted[1:]]  # the batch is any
        known = sizes
    written = tuple(size if was in (-1, now) else now for size, was, now in zip(sizes, known, wanted, strict=True))
    call.args = (
        (call.args[0], written)
        if len(call.args) == 2 and isinstance(call.args[1], list | tuple)
        else (call.args[0], *written)
    )
    call.kwargs = {key: value for key, value in call.kwargs.items() if key not in ("shape", "size")}


def _groups(before: Sequence[int], after: Sequence[int]) -> Iterator[tuple[slice, slice]]:
    """The groups of dimensions of the same product."""
    i = j = 0
    while i < len(before) or j < len(after):
        start = i, j
        a = before[i] if i < len(before) else 1
        b = after[j] if j < len(after) else 1
        i, j = min(i + 1, len(before)), min(j + 1, len(after))
        while a != b:
            if a < b and i < len(before):
                a, i = a * before[i], i + 1
            elif j < len(after):
                b, j = b * after[j], j + 1
            else:
                return
        while i < len(before) and before[i] == 1 and not (j < len(after) and after[j] == 1):
            i += 1
        while j < len(after) and after[j] == 1 and not (i < len(before) and before[i] == 1):
            j += 1
        yield slice(start[0], i), slice(start[1], j)


def _expected(
    node: fx.Node, before: Sequence[int], after: Sequence[int], now: Sequence[int], known: list[int], sizes: list[Any]
) -> list[int] | None:
    """The sizes that follow; None where they do as they are, or nothing can be said."""
    groups = list(_groups(before, after))
    if not groups or groups[-1][1].stop != len(after) or groups[-1][0].stop != len(before) or len(known) != len(after):
        return None
    try:
        result = tuple(torch.empty(tuple(now), device="meta").reshape(known).shape)
    except RuntimeError:
        result = None
    if result is not None and all(math.prod(now[i]) == math.prod(result[o]) for i, o in groups):
        return None
    wanted: list[int] = []
    for i, o in groups:
        inside, outside = list(now[i]), list(after[o])
        if inside == list(before[i]):
            wanted += outside
            continue
        changed = {old for old, new in zip(before[i], inside, strict=True) if old != new}
        flexible = _flexible(outside, sizes[o], known[o], changed)
        rest = math.prod(outside) // max(1, outside[flexible])
        if math.prod(inside) % rest:
            raise Indivisible(
                f"The network cannot be built: {node.name!r}{line_of(node)} takes {math.prod(inside)} apart into groups of "
                f"{rest}, which do not divide it; leave out widths that are no multiple of them.",
                rest,
            )
        outside[flexible] = math.prod(inside) // rest
        wanted += outside
    return wanted


def _flexible(outside: Sequence[int], sizes: Sequence[Any], known: Sequence[int], changed: set[int]) -> int:
    """Which dimension of a group follows: one that was written as the number that changes, one that was not written as a number,
    or the first."""
    numbers = [p for p in range(len(outside)) if outside[p] in changed and not isinstance(sizes[p], fx.Node)]
    free = [p for p in range(len(outside)) if isinstance(sizes[p], fx.Node) or known[p] == -1]
    large = [p for p in range(len(outside)) if outside[p] > 1]
    return ([p for p in numbers if p in large] or [p for p in free if p in large] or large or free or [0])[0]


def _fit_split(new: fx.Node, values: Mapping[fx.Node, Any], before: Sequence[int], now: Sequence[int]) -> None:
    sizes = new.args[1] if len(new.args) > 1 else new.kwargs.get("split_size_or_sections", new.kwargs.get("split_size"))
    dimension = new.args[2] if len(new.args) > 2 else new.kwargs.get("dim", 0)
    if not isinstance(dimension, int):
        return
    total, old = now[dimension], before[dimension]
    if isinstance(sizes, int) and sizes > 0:
        sizes = [min(sizes, old - start) for start in range(0, old, sizes)]
    if not isinstance(sizes, list | tuple) or total == old:
        return
    known = [values[size] if isinstance(size, fx.Node) else size for size in sizes]
    if not all(isinstance(size, int) for size in known) or sum(known) == total or sum(known) != old:
        return
    edges = [round(total * sum(known[:number]) / old) for number in range(len(known) + 1)]
    parts = [b - a for a, b in itertools.pairwise(edges)]
    new.args, new.kwargs = (new.args[0], parts, dimension), {}


def moved_dimension(node: fx.Node, channels: Mapping[fx.Node, int], shapes: Shapes) -> int | None:
    """Where a call that moves dimensions puts the channels; None where it moves none.

    Args:
        node: the call.
        channels: the dimension of the channels of its operands.
        shapes: of its operands and of itself.
    """
    if not channels:
        return None
    source = next(iter(channels))
    before, rank = channels[source], len(shapes[node])
    numbers: list[Any] = [*node.args[1:], *node.kwargs.values()]
    if len(numbers) == 1 and isinstance(numbers[0], list | tuple):
        numbers = list(numbers[0])
    if node.target is torch.stack:
        return before + (isinstance(numbers[0], int) and numbers[0] % rank <= before) if numbers else before + 1
    if node.target in _REDUCTIONS and rank < len(shapes[source]):
        first = numbers[0] if numbers else None
        dropped = [
            n % len(shapes[source]) for n in (first if isinstance(first, list | tuple) else [first]) if type(n) is int
        ]
        return None if before in dropped else before - sum(n < before for n in dropped)
    if node.target in _RESHAPES and rank > 2:
        return _reshaped_dimension(before, shapes[source], shapes[node])
    if node.target not in _TRANSPOSES | _PERMUTES or not all(isinstance(n, int) for n in numbers):
        return None
    order = [int(n) % rank for n in numbers]
    if node.target in _PERMUTES:
        return order.index(before) if before in order else None
    return {order[0]: order[1], order[1]: order[0]}.get(before, before)


def _reshaped_dimension(channel: int, before: Sequence[int], after: Sequence[int]) -> int | None:
    """The last of the dimensions that the channels are taken apart into, beside those of one."""
    for i, o in _groups(before, after):
        if i.start <= channel < i.stop and i.stop - i.start == 1:
            large = [p for p in range(o.start, o.stop) if after[p] > 1]
            return large[-1] if large else None
    return None


def parts(node: fx.Node, shapes: Shapes, dimension: int) -> tuple[int, int] | None:
    """What a reshape takes the channels apart into: blocks, and within a block runs that stay whole; the number of runs in a
    block is what follows the width. None where it takes nothing apart.

    Args:
        node: a call in the original graph.
        shapes: of its input and of itself.
        dimension: of the channels in its input.
    """
    if node.target not in _RESHAPES or node not in shapes or node.all_input_nodes[0] not in shapes:
        return None
    before, after, sizes = shapes[node.all_input_nodes[0]], shapes[node], _sizes(node)
    if len(sizes) != len(after):
        return None
    for i, o in _groups(before, after):
        inside, outside = [d for d in range(*i.indices(len(before))) if before[d] > 1], list(after[o])
        if inside == [dimension] and sum(size > 1 for size in outside) > 1:
            known = [size if isinstance(size, int) else 0 for size in sizes[o]]
            follows = _flexible(outside, sizes[o], known, set())
            return math.prod(outside[:follows]), math.prod(outside[follows + 1 :])
    return None


def granularity(traced: Traced, shapes: Mapping[bool, Shapes]) -> dict[str, int]:
    """By the name of a module that sets a width, what the width must be a multiple of: a reshape takes it apart, as a channel
    shuffle or a decoder's first layer does, or an attention has heads.

    Args:
        traced: the original network.
        shapes: of its tensors, by training mode.
    """
    found: dict[str, int] = {}
    for training, graph in traced.graphs.items():
        its = shapes[training]
        for node in graph.nodes:
            for source, unit in _units(traced, node, its):
                for name in _setting_width(traced, source, its):
                    found[name] = math.lcm(found.get(name, 1), unit)
    return found


def _units(traced: Traced, node: fx.Node, shapes: Shapes) -> Iterator[tuple[fx.Node, int]]:
    """The values that a call takes apart, each with the unit."""
    if node.op == "call_module":
        module = traced.modules[str(node.target)]
        if isinstance(module, nn.Unflatten) and all(isinstance(size, int) for size in module.unflattened_size):
            yield node.all_input_nodes[0], max(1, math.prod(module.unflattened_size[1:]))
        heads = module.num_heads if isinstance(module, nn.MultiheadAttention) else None
        if isinstance(module, nn.TransformerEncoderLayer):
            heads = module.self_attn.num_heads
        if heads:
            yield from ((n, heads) for n in node.all_input_nodes)
    elif node.target in _RESHAPES and node in shapes and node.all_input_nodes[0] in shapes:
        source = node.all_input_nodes[0]
        before, after, sizes = shapes[source], shapes[node], _sizes(node)
        groups = list(_groups(before, after))
        if len(sizes) != len(after) or not groups or groups[-1][1].stop != len(after):
            return
        for i, o in groups:
            inside, outside = [size for size in before[i] if size > 1], list(after[o])
            if i.start == 1 and len(inside) == 1 and sum(size > 1 for size in outside) > 1:
                known = [size if isinstance(size, int) else 0 for size in sizes[o]]
                yield source, inside[0] // outside[_flexible(outside, sizes[o], known, set())]


def _setting_width(traced: Traced, node: fx.Node, shapes: Shapes) -> set[str]:
    """The modules whose width reaches this value unchanged."""
    names: set[str] = set()
    waiting, seen = [node], {node}
    while waiting:
        current = waiting.pop()
        if current.op == "call_module" and sets_width(traced.modules[str(current.target)]):
            names.add(str(current.target))
            continue
        unfolds = current.target is functional.unfold or (
            current.op == "call_module" and isinstance(traced.modules[str(current.target)], nn.Unfold)
        )
        for before in current.all_input_nodes:
            if before not in seen and before in shapes and not unfolds:
                seen.add(before)
                waiting.append(before)
    return names
