"""What the environment's tests share beside tests/conftest.py."""

from __future__ import annotations

from collections.abc import Callable
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
