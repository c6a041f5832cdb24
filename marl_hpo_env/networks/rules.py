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
    """What replaces a module.

    Args:
        kind: its type.
        arguments: of its constructor, by name.
        padding: what to pad the input with beforehand, in `torch.nn.functional.pad`'s order; empty for nothing.
        padding_value: what to pad it with.
        clamped: whether a kernel larger than its input was made to fit.
    """

    kind: type[nn.Module]
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


def replacement(module: nn.Module, chosen: Mapping[str, Any], shape: Sequence[int]) -> Replacement:
    """The replacement of `module` for an input of `shape`, batch first, with the `chosen` hyperparameters.

    Args:
        module: the original.
        chosen: hyperparameter values by constructor argument, and `"type"`; empty where the module is not tunable.
        shape: of the input that now reaches it.
    """
    arguments = constructor_arguments(module)
    kind = chosen.get("type", type(module))
    new = {**arguments, **{name: value for name, value in chosen.items() if name != "type"}}
    if kind is not type(module):
        known = inspect.signature(kind.__init__).parameters
        return Replacement(kind, {name: value for name, value in new.items() if name in known})
    if isinstance(module, nn.Linear):
        new["in_features"] = shape[-1]
    elif isinstance(module, _NormBase):
        new["num_features"] = shape[1]
    elif isinstance(module, nn.GroupNorm):
        new |= {"num_channels": shape[1], "num_groups": math.gcd(new["num_groups"], shape[1])}
    elif isinstance(module, nn.LayerNorm):
        new["normalized_shape"] = tuple(shape[-len(module.normalized_shape) :])
    elif isinstance(module, nn.PReLU) and module.num_parameters > 1:
        new["num_parameters"] = shape[1]
    elif isinstance(module, _ConvTransposeNd):
        return Replacement(kind, _transposed(arguments, _channels(module, new, shape), len(shape) - 2))
    elif isinstance(module, _ConvNd):
        return _padded(module, arguments, chosen, _channels(module, new, shape), shape)
    elif isinstance(module, _MaxPoolNd | _AvgPoolNd):
        return _padded(module, arguments, chosen, new, shape)
    return Replacement(kind, new)


def _channels(module: _ConvNd, new: dict[str, Any], shape: Sequence[int]) -> dict[str, Any]:
    """A convolution's channels and groups: depthwise stays depthwise, other groups stay where they divide."""
    channels = shape[1]
    if is_depthwise(module):
        multiplier = module.out_channels // module.in_channels
        return {**new, "in_channels": channels, "out_channels": channels * multiplier, "groups": channels}
    groups = math.gcd(new["groups"], channels, new["out_channels"])  # as many as divide both
    return {**new, "in_channels": channels, "groups": groups}


def _padded(
    module: nn.Module,
    arguments: Mapping[str, Any],
    chosen: Mapping[str, Any],
    new: dict[str, Any],
    shape: Sequence[int],
) -> Replacement:
    """A convolution's or pool's padding: it grows with the kernel, so that the output keeps its size.

    `pad + dilation * (k' - k) / 2` in each dimension; an odd remainder goes right and bottom. A pool whose stride was its
    kernel keeps that, and its padding. A pool larger than its input shrinks to it; a convolution's input is padded up to
    its kernel.
    """
    dimensions = len(shape) - 2
    pool = not isinstance(module, _ConvNd)
    kernel, old_kernel = (_each(a["kernel_size"], dimensions) for a in (new, arguments))
    dilation = _each(new.get("dilation", 1), dimensions)
    padding: Any = new.get("padding", 0)
    extra = [0] * dimensions
    if pool and "stride" not in chosen and _each(arguments["stride"], dimensions) == old_kernel:
        new = {**new, "stride": new["kernel_size"]}
        pad = list(_each(padding, dimensions))
    elif padding == "same":
        if all(s == 1 for s in _each(new["stride"], dimensions)):
            return Replacement(type(module), new)
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
    for i, (size, k, d) in enumerate(zip(shape[2:], kernel, dilation, strict=True)):
        if pool:
            # torch allows a pool at most half its kernel of padding.
            fitting = (n for n in range(k, 0, -1) if d * (n - 1) < size + 2 * min(pad[i], n // 2) + extra[i])
            largest = next(fitting, 1)
            clamped = clamped or largest < k
            kernel = (*kernel[:i], largest, *kernel[i + 1 :])
            pad[i] = min(pad[i], largest // 2)
        else:
            missing = d * (k - 1) + 1 - (size + 2 * pad[i] + extra[i])
            clamped = clamped or missing > 0
            extra[i] += max(0, missing)
    new = {**new, "kernel_size": kernel if pool and clamped else new["kernel_size"], "padding": tuple(pad)}
    before_module = tuple(n for e in reversed(extra) for n in (0, e)) if any(extra) else ()
    value = -math.inf if isinstance(module, _MaxPoolNd) else 0.0
    return Replacement(type(module), new, before_module, value if before_module else 0.0, clamped)


def _transposed(arguments: Mapping[str, Any], new: dict[str, Any], dimensions: int) -> dict[str, Any]:
    """A transposed convolution's padding grows with its kernel likewise; an odd remainder becomes output padding."""
    values = (
        _each(a[name], dimensions)
        for a, name in (
            (new, "kernel_size"),
            (arguments, "kernel_size"),
            (new, "dilation"),
            (new, "stride"),
            (new, "padding"),
            (new, "output_padding"),
        )
    )
    padding, output_padding = [], []
    for k, old, d, s, p, o in zip(*values, strict=True):
        growth = d * (k - old)
        pad = max(0, p + (growth + 1) // 2)
        output = o + 2 * (pad - p) - growth
        padding.append(pad)
        output_padding.append(min(max(0, output), max(s, d) - 1))  # torch allows no more
    return {**new, "padding": tuple(padding), "output_padding": tuple(output_padding)}


def _halves(totals: Sequence[int]) -> tuple[list[int], list[int]]:
    """Each total as twice a half plus a remainder of 0 or 1."""
    return [t // 2 for t in totals], [t % 2 for t in totals]


def _each(value: Any, dimensions: int) -> tuple[int, ...]:
    """A size for each dimension: an int stands for all of them."""
    values = (value,) * dimensions if isinstance(value, int) else tuple(value)
    if len(values) != dimensions:
        raise InputError(f"The size {value!r} does not fit a module of {dimensions} dimensions; give an int.")
    return values
