"""Search spaces for tests."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping

from marl_hpo_env.space import Layer, SearchSpace


def space_of(*sizes: int, pairs: Iterable[tuple[int, int]] = ()) -> SearchSpace:
    """Layers `layer0`, `layer1` and so on, of one hyperparameter each.

    Args:
        sizes: each layer's number of actions, from 1.
        pairs: indices (feeding, fed) of layers, the lower one first; by default no layer feeds another.
    """
    feeding: list[list[str]] = [[] for _ in sizes]
    for i, j in pairs:
        feeding[j].append(f"layer{i}")
    return SearchSpace(
        Layer(f"layer{p}", "Linear", {"out_features": range(size)}, tuple(feeding[p])) for p, size in enumerate(sizes)
    )


def chain(*sizes: int) -> SearchSpace:
    """Layers of so many actions each, every one fed by the one before it."""
    return space_of(*sizes, pairs=itertools.pairwise(range(len(sizes))))


_CONV = {"out_channels": (8, 16), "kernel_size": (3, 5)}
_FIXED = {"kernel_size": ((3, 3),)}

SPACES: Mapping[str, SearchSpace] = {
    "chain": SearchSpace(
        [
            Layer("conv1", "Conv2d", _CONV),
            Layer("conv2", "Conv2d", _CONV, ("conv1",)),
            Layer("fc", "Linear", _CONV, ("conv2",)),
        ]
    ),
    "fork": SearchSpace(
        [
            Layer("stem", "Conv2d", _CONV),
            Layer("left", "Conv2d", _CONV, ("stem",)),
            Layer("right", "Conv2d", _CONV, ("stem",)),
        ]
    ),
    "merge": SearchSpace(
        [
            Layer("left", "Conv2d", _CONV),
            Layer("right", "Conv2d", _CONV),
            Layer("head", "Linear", _CONV, ("left", "right")),
        ]
    ),
    "diamond": SearchSpace(
        [
            Layer("stem", "Conv2d", _CONV),
            Layer("left", "Conv2d", _CONV, ("stem",)),
            Layer("right", "Conv2d", {"kernel_size": (1, 3, 5)}, ("stem",)),
            Layer("head", "Linear", {"out_features": (16, 32)}, ("left", "right")),
        ]
    ),
    "single": SearchSpace([Layer("conv", "Conv2d", {"out_channels": (4, 8, 16)})]),
    "unequal": SearchSpace(
        [
            Layer("conv", "Conv2d", {"out_channels": (8, 16)}),
            Layer("pool", "MaxPool2d", {"kernel_size": (1, 2, 3, 4, 5)}, ("conv",)),
            Layer("fixed", "Conv2d", {"out_channels": (8,)}, ("pool",)),
            Layer("fc", "Linear", {"out_features": (16, 32, 64)}, ("fixed",)),
        ]
    ),
    "unconnected": space_of(4, 2, 3),
    "fixed ends": SearchSpace(
        [
            Layer("first", "Conv2d", _FIXED),
            Layer("middle", "Conv2d", {"kernel_size": ((1, 1), (3, 3), (1, 3)), "bias": (True, False)}, ("first",)),
            Layer("last", "Conv2d", _FIXED, ("middle",)),
        ]
    ),
    "one design": SearchSpace([Layer("first", "Conv2d", _FIXED), Layer("last", "Conv2d", _FIXED, ("first",))]),
    # Names as modules have them, of which two are one where a dot becomes an underscore.
    "dotted names": SearchSpace(
        [
            Layer("block.0", "Conv2d", _CONV),
            Layer("block_0", "Conv2d", {"kernel_size": (1, 3, 5)}, ("block.0",)),
            Layer("block.0.fc", "Linear", {"out_features": (16, 32)}, ("block.0", "block_0")),
        ]
    ),
}
"""Small search spaces, by the name of their shape; the largest has 96 designs."""
