"""What a built network calls where the branches of a merge no longer have one size (ours; the paper is silent).

These are functions of the other branch, not modules of a fixed size, so that a built network takes images of any size.
"""

from __future__ import annotations

from functools import wraps
from typing import Any

import torch
from torch import fx
from torch.nn import functional

POOLS: dict[int, Any] = {
    3: functional.adaptive_avg_pool1d,
    4: functional.adaptive_avg_pool2d,
    5: functional.adaptive_avg_pool3d,
}
_INTERPOLATION = {3: "linear", 4: "bilinear", 5: "trilinear"}


def _call(align: Any) -> Any:
    """A function that stays one call when a network with it is traced again, as torch does where one is read from a file."""

    @wraps(align)
    def called(x: torch.Tensor, like: torch.Tensor) -> Any:
        for value in (x, like):
            if isinstance(value, fx.Proxy):
                return value.tracer.create_proxy("call_function", called, (x, like), {})
        return align(x, like)

    return called


@_call
def pool_to(x: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """`x` pooled adaptively to the spatial size of `like`; shape (n, channels, *spatial)."""
    if x.shape[2:] == like.shape[2:]:
        return x
    pooled: torch.Tensor = POOLS[x.dim()](x, like.shape[2:])
    return pooled


@_call
def interpolate_to(x: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """`x` interpolated linearly to the spatial size of `like`; shape (n, channels, *spatial)."""
    if x.shape[2:] == like.shape[2:]:
        return x
    return functional.interpolate(x, size=like.shape[2:], mode=_INTERPOLATION[x.dim()], align_corners=False)
