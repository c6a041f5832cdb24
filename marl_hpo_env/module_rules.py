"""What each type of torch module needs so that it fits a new input and takes new hyperparameters.

A rule gets the constructor arguments that a module had in the original network, the hyperparameters chosen for it, and
the shape of the tensor that now reaches it; it returns the constructor arguments of its replacement and, where the
module cannot pad unevenly by itself, padding to put before it. Padding and what is clamped are ours; the paper is silent.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from torch import nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd
from torch.nn.modules.pooling import _AvgPoolNd, _MaxPoolNd

from marl_hpo_env.errors import InputError

WIDTHS = {"out_channels", "out_features"}
"""Constructor arguments that set the width of a module's output."""


class Replacement(NamedTuple):
    """The constructor arguments of a module's replacement.

    Args:
        arguments: by name.
        padding: what to pad the input with beforehand, in `torch.nn.functional.pad`'s order; empty for nothing.
        padding_value: what to pad it with.
        clamped: whether a kernel larger than its input was made to fit.
    """

    arguments: dict[str, Any]
    padding: tuple[int, ...] = ()
    padding_value: float = 0.0
    clamped: bool = False


def constructor_arguments(module: nn.Module) -> dict[str, Any]:
    """The arguments that would construct `module`, read off its attributes of the same names.

    An argument that is no attribute is left out, so its default stands.
    """
    arguments = {}
    for name, parameter in inspect.signature(type(module).__init__).parameters.items():
        if name in ("self", "device", "dtype") or parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            continue
        if name == "bias":
            arguments[name] = getattr(module, "bias", None) is not None
        elif hasattr(module, name):
            arguments[name] = getattr(module, name)
    return arguments


def sets_width(module: nn.Module) -> bool:
    """Whether the module's output width is its own, not its input's."""
    return isinstance(module, nn.Linear) or (isinstance(module, _ConvNd) and not is_depthwise(module))


def is_depthwise(module: nn.Module) -> bool:
    """Whether this is a convolution in which every input channel has kernels of its own."""
    return isinstance(module, _ConvNd) and 1 < module.groups == module.in_channels


def replacement(
    module: nn.Module, arguments: Mapping[str, Any], chosen: Mapping[str, Any], shape: Sequence[int]
) -> Replacement:
    """The replacement of `module` for an input of `shape`, batch first, with the `chosen` hyperparameters.

    Args:
        module: the original.
        arguments: its `constructor_arguments`.
        chosen: hyperparameter values by constructor argument; empty where the module is not tunable.
        shape: of the input that now reaches it.
    """
    new = {**arguments, **chosen}
    if isinstance(module, nn.Linear):
        return Replacement({**new, "in_features": shape[-1]})
    if isinstance(module, _NormBase):
        return Replacement({**new, "num_features": shape[1]})
    if isinstance(module, nn.GroupNorm):
        return Replacement({**new, "num_channels": shape[1], "num_groups": math.gcd(new["num_groups"], shape[1])})
    if isinstance(module, nn.LayerNorm):
        return Replacement({**new, "normalized_shape": list(shape[-len(module.normalized_shape) :])})
    if isinstance(module, nn.PReLU) and module.num_parameters > 1:
        return Replacement({**new, "num_parameters": shape[1]})
    if isinstance(module, _ConvTransposeNd):
        return Replacement(_channels(module, new, shape))
    if isinstance(module, _ConvNd):
        return _padded(module, arguments, _channels(module, new, shape), shape)
    if isinstance(module, _MaxPoolNd | _AvgPoolNd):
        return _padded(module, arguments, new, shape)
    return Replacement(new)


def _channels(module: _ConvNd, new: dict[str, Any], shape: Sequence[int]) -> dict[str, Any]:
    """A convolution's channels and groups: depthwise stays depthwise, other groups stay where they divide."""
    channels = shape[1]
    if is_depthwise(module):
        multiplier = module.out_channels // module.in_channels
        return {**new, "in_channels": channels, "out_channels": channels * multiplier, "groups": channels}
    groups = math.gcd(new["groups"], channels, new["out_channels"])
    return {**new, "in_channels": channels, "groups": groups}


def _padded(module: nn.Module, arguments: Mapping[str, Any], new: dict[str, Any], shape: Sequence[int]) -> Replacement:
    """A convolution's or pool's padding: it grows with the kernel, so that the output keeps its size.

    `pad + dilation * (k' - k) / 2` in each dimension; an odd remainder goes right and bottom. A pool whose stride was its
    kernel keeps that, and its padding. A pool larger than its input shrinks to it; a convolution's input is padded up to
    its kernel.
    """
    dimensions = len(shape) - 2
    sizes = shape[2:]
    pool = not isinstance(module, _ConvNd)
    kernel, old_kernel = (_each(a["kernel_size"], dimensions) for a in (new, arguments))
    dilation = _each(new.get("dilation", 1), dimensions)
    padding: Any = new.get("padding", 0)
    extra = [0] * dimensions
    if pool and _each(arguments["stride"], dimensions) == old_kernel and new["stride"] == arguments["stride"]:
        new = {**new, "stride": new["kernel_size"]}
        pad = list(_each(padding, dimensions))
    elif padding == "same":
        if all(s == 1 for s in _each(new["stride"], dimensions)):
            return Replacement(new)
        # torch refuses "same" with a stride; this is the padding that "same" stands for.
        pad, extra = _halves([d * (k - 1) for d, k in zip(dilation, kernel, strict=True)])
    else:
        before = _each(0 if padding == "valid" else padding, dimensions)
        growth = [d * (k - o) for d, k, o in zip(dilation, kernel, old_kernel, strict=True)]
        halves, extra = _halves(growth)
        # A kernel that shrinks by more than there is padding leaves a larger output, it does not crop.
        extra = [e if b + h >= 0 else 0 for b, h, e in zip(before, halves, extra, strict=True)]
        pad = [max(0, b + h) for b, h in zip(before, halves, strict=True)]

    clamped = False
    for i, (size, k, d) in enumerate(zip(sizes, kernel, dilation, strict=True)):
        missing = d * (k - 1) + 1 - (size + 2 * pad[i] + extra[i])
        if missing > 0:
            clamped = True
            if pool:
                kernel = (*kernel[:i], size + 2 * pad[i] + extra[i], *kernel[i + 1 :])
            else:
                extra[i] += missing
        if pool:
            pad[i] = min(pad[i], kernel[i] // 2)
    new = {**new, "kernel_size": kernel if pool and clamped else new["kernel_size"], "padding": tuple(pad)}
    if not any(extra):
        return Replacement(new, clamped=clamped)
    before_module = tuple(n for e in reversed(extra) for n in (0, e))
    value = -math.inf if isinstance(module, _MaxPoolNd) else 0.0
    return Replacement(new, before_module, value, clamped)


def _halves(totals: Sequence[int]) -> tuple[list[int], list[int]]:
    """Each total as twice a half plus a remainder of 0 or 1."""
    return [t // 2 for t in totals], [t % 2 for t in totals]


def _each(value: Any, dimensions: int) -> tuple[int, ...]:
    """A size for each dimension: an int stands for all of them."""
    values = (value,) * dimensions if isinstance(value, int) else tuple(value)
    if len(values) != dimensions:
        raise InputError(f"The size {value!r} does not fit a module of {dimensions} dimensions; give an int.")
    return values
