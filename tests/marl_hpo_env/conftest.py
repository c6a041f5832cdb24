"""What the environment's tests share beside tests/conftest.py."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    import torch
    from torch import fx


@pytest.fixture(scope="session")
def resizes() -> Callable[..., int]:
    """Counts what `function` brings to another size in a built network, once for each tensor and size."""
    from torch.fx.passes.shape_prop import ShapeProp

    def count(built: fx.GraphModule, x: torch.Tensor, function: Callable[..., Any]) -> int:
        ShapeProp(built).propagate(x)
        results = {(n.args[0], n.meta["tensor_meta"].shape) for n in built.graph.nodes if n.target is function}
        return sum(shape != resized.meta["tensor_meta"].shape for resized, shape in results)

    return count


@pytest.fixture(scope="session")
def damaged() -> Callable[[bytes], Iterator[bytes]]:
    """Makes forty damaged copies of a file's content: with a few bytes changed, or with its end cut off."""

    def copies(content: bytes) -> Iterator[bytes]:
        draw = random.Random(0)
        for _ in range(25):
            changed = bytearray(content)
            for place in draw.sample(range(len(content)), draw.choice((1, 1, 4))):
                changed[place] ^= draw.randint(1, 255)
            yield bytes(changed)
        for _ in range(15):
            yield content[: draw.randrange(len(content))]

    return copies
