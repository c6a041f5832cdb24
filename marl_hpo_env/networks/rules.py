"""What each type of torch module needs so that it fits a new input and takes new hyperparameters.

A rule gets a module of the original network, the hyperparameters chosen for it, and what now reaches it; it returns what
replaces the module and, where that cannot pad unevenly by itself, padding to put before it. `register_rule` adds a type.
Padding and what is clamped are ours; the paper is silent.
"""

from __future__ import annotations

import copy
import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd
from torch.nn.modules.pooling import _AvgPoolNd, _MaxPoolNd

from marl_hpo_env.errors import InputError

WIDTHS = {"out_channels", "out_features"}
"""Constructor arguments that set the width of a module's output."""

KEEPS_SHAPE = (_NormBase, nn.ReLU, nn.Dropout, nn.Identity)
"""Types whose output has the shape of their input, which is slow to compute for batch norm on the meta device."""

LAYERS = (_ConvNd, nn.Linear, _NormBase, nn.GroupNorm, nn.LayerNorm)
"""Types whose subclasses are layers, too, whatever their forward pass does beside."""


class Incoming(NamedTuple):
    """A tensor that reaches a module.

    Args:
        shape: now, batch first.
        original: in the original network; the same while that is built itself.
    """

    shape: tuple[int, ...]
    original: tuple[int, ...]


class Replacement(NamedTuple):
    """What replaces a module.

    Args:
        kind: its type, or a function that makes it.
        arguments: by name, what `kind` is called with. What stays as it is has those of `constructor_arguments`.
        padding: what to pad the input with beforehand, in `torch.nn.functional.pad`'s order; empty for nothing.
        padding_value: what to pad it with.
        clamped: whether a kernel larger than its input was made to fit.
    """

    kind: Callable[..., nn.Module]
    arguments: dict[str, Any]
    padding: tuple[int, ...] = ()
    padding_value: float = 0.0
    clamped: bool = False


Rule = Callable[[Any, Mapping[str, Any], Sequence[Incoming]], Replacement]
"""From a module, the hyperparameters chosen for it by constructor argument (empty where it is not tunable), and the tensors
that reach it, to its replacement."""

_RULES: dict[type[nn.Module], Rule] = {}


def register_rule(kind: type[nn.Module], rule: Rule) -> None:
    """Says how modules of a type, and of types derived from it, follow what reaches them; they are not traced into.

    The rule of the nearest type counts, the latest one of a type:

        class Scale(nn.Module):
            def __init__(self, width):
                super().__init__()
                self.weight = nn.Parameter(torch.ones(width))

            def forward(self, x):
                return x * self.weight[:, None, None]

        register_rule(Scale, lambda module, chosen, inputs: Replacement(Scale, {"width": inputs[0].shape[1]}))

    `marl_hpo_env.testing.RuleConformance` tests a rule.
    """
    _RULES[kind] = rule


def registered() -> dict[type[nn.Module], Rule]:
    """The rules that do not come with this package."""
    ours = __name__.partition(".")[0]
    return {kind: rule for kind, rule in _RULES.items() if str(rule.__module__).partition(".")[0] != ours}


def rule_for(module: nn.Module) -> Rule | None:
    """The rule of the nearest of a module's types; None where there is none."""
    return next((_RULES[kind] for kind in type(module).__mro__ if kind in _RULES), None)


def is_layer(module: nn.Module) -> bool:
    """Whether a module is a layer by itself: it has a rule of a user's own, or it is derived from torch's layers."""
    return isinstance(module, LAYERS) or any(kind in _RULES for kind in type(module).__mro__ if not _is_torchs(kind))


def _is_torchs(kind: type) -> bool:
    return kind.__module__.startswith("torch.nn")


def torchs_type(module: nn.Module) -> type[nn.Module]:
    """The nearest of a module's types that is torch's own."""
    return next(kind for kind in type(module).__mro__ if _is_torchs(kind))


def constructor_arguments(module: nn.Module) -> dict[str, Any]:
    """The arguments that would construct `module`, read off its attributes of the same names.

    An argument that is no attribute is left out, so its default stands. Where a type derived from torch's layers does not
    show all of its arguments, they are those of torch's type.
    """
    arguments = {}
    for name in argument_names(module):
        if name == "bias":
            arguments[name] = getattr(module, "bias", None) is not None
        elif hasattr(module, name):
            arguments[name] = getattr(module, name)
    return arguments


def argument_names(module: nn.Module) -> list[str]:
    """The names of what `constructor_arguments` reads, whether they are attributes or not."""
    kind = torchs_type(module) if isinstance(module, LAYERS) and not _shows_all(module) else type(module)
    parameters = inspect.signature(kind.__init__).parameters.values()
    named = [p.name for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    return [name for name in named if name not in ("self", "device", "dtype")]


def _shows_all(module: nn.Module) -> bool:
    """Whether every argument of a module's constructor is an attribute of it."""
    if _is_torchs(type(module)):
        return True
    parameters = dict(inspect.signature(type(module).__init__).parameters)
    if any(p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD) for p in parameters.values()):
        return False
    return all(name in ("self", "device", "dtype", "bias") or hasattr(module, name) for name in parameters)


def sets_width(module: nn.Module) -> bool:
    """Whether the module's output width is its own, not its input's."""
    return isinstance(module, nn.Linear) or (isinstance(module, _ConvNd) and not is_depthwise(module))


def is_depthwise(module: nn.Module) -> bool:
    """Whether this is a convolution in which every input channel has kernels of its own."""
    return isinstance(module, _ConvNd) and 1 < module.groups == module.in_channels


def replacement(module: nn.Module, chosen: Mapping[str, Any], inputs: Sequence[Incoming]) -> Replacement:
    """The replacement of `module` for what now reaches it, with the `chosen` hyperparameters.

    Args:
        module: the original.
        chosen: hyperparameter values by constructor argument, and `"type"`; empty where the module is not tunable.
        inputs: the tensors that now reach it.
    """
    arguments = constructor_arguments(module)
    kind = chosen.get("type", type(module))
    if kind is not type(module):
        new = {**arguments, **{name: value for name, value in chosen.items() if name != "type"}}
        known = inspect.signature(kind.__init__).parameters
        return Replacement(kind, {name: value for name, value in new.items() if name in known})
    chosen = {name: value for name, value in chosen.items() if name != "type"}
    rule = rule_for(module)
    if rule is None:
        return Replacement(kind, {**arguments, **chosen})
    need = rule(module, chosen, inputs)
    resized = need.kind is kind and need.arguments != arguments
    if resized and isinstance(module, LAYERS) and not _shows_all(module):
        need = need._replace(kind=partial(_resized, module))
    return need


def _resized(module: Any, **arguments: Any) -> nn.Module:
    """A copy of a module derived from one of torch's layers, with the tensors that torch's has for these arguments.

    Tensors of its own that are as long as its old width get the new one, their values repeated.
    """
    layer: Any = torchs_type(module)(**arguments)
    old, new = _width(module), _width(layer)
    standing = own_tensors(layer)
    memo: dict[int, Any] = {}
    for name, tensor in own_tensors(module).items():
        value = standing.get(name)
        if value is None:
            value = tensor.detach().to(torch.get_default_device())
            weight, its = getattr(module, "weight", None), getattr(layer, "weight", None)
            if weight is not None and its is not None and tensor.shape == weight.shape:  # such as a mask of it
                for dimension, size in enumerate(its.shape):
                    value = value.index_select(dimension, torch.arange(size) % tensor.shape[dimension])
            elif tensor.dim() and tensor.shape[0] == old != new:
                value = value[torch.arange(new) % old]
            if isinstance(tensor, nn.Parameter):
                value = nn.Parameter(value.clone(), tensor.requires_grad)
        memo[id(tensor)] = value
    copied = copy.deepcopy(module, memo)
    for name in (
        *arguments,
        "_reversed_padding_repeated_twice",
    ):  # the last is what torch makes of a convolution's padding
        if name != "bias" and hasattr(layer, name):
            setattr(copied, name, getattr(layer, name))
    return copied


def _width(module: nn.Module) -> int:
    """Of a layer's output; of a normalisation, what it normalises."""
    names = ("out_channels", "out_features", "num_features", "num_channels")
    return next((getattr(module, name) for name in names if hasattr(module, name)), 0) or module.normalized_shape[0]  # type: ignore[index, return-value]


def own_tensors(module: nn.Module) -> dict[str, torch.Tensor]:
    """The parameters and buffers that a module holds itself, by name."""
    return {**dict(module.named_parameters(recurse=False)), **dict(module.named_buffers(recurse=False))}


def _linear(module: nn.Linear, chosen: Mapping[str, Any], inputs: Sequence[Incoming]) -> Replacement:
    return _with(module, chosen, in_features=inputs[0].shape[-1])


def _norm(module: _NormBase, chosen: Mapping[str, Any], inputs: Sequence[Incoming]) -> Replacement:
    return _with(module, chosen, num_features=inputs[0].shape[1])


def _group_norm(module: nn.GroupNorm, chosen: Mapping[str, Any], inputs: Sequence[Incoming]) -> Replacement:
    groups, channels = chosen.get("num_groups", module.num_groups), inputs[0].shape[1]
    return _with(module, chosen, num_channels=channels, num_groups=math.gcd(groups, channels))


def _layer_norm(module: nn.LayerNorm, chosen: Mapping[str, Any], inputs: Sequence[Incoming]) -> Replacement:
    """It normalises the last dimensions; a type derived from it may normalise the channels of an image."""
    incoming, normalized = inputs[0], tuple(module.normalized_shape)
    last, channels = (slice(-len(normalized), None), slice(1, 2))
    derived = type(module) is not nn.LayerNorm and incoming.original[channels] == normalized
    # Where both would do, the one that changes is what it is about.
    changed = incoming.original[last] != normalized or incoming.shape[channels] != normalized
    where = channels if derived and changed else last
    shape = incoming.shape[where]
    return _with(module, chosen, normalized_shape=tuple(shape))


def _prelu(module: nn.PReLU, chosen: Mapping[str, Any], inputs: Sequence[Incoming]) -> Replacement:
    return _with(module, chosen, num_parameters=inputs[0].shape[1] if module.num_parameters > 1 else 1)


def _unflatten(module: nn.Unflatten, chosen: Mapping[str, Any], inputs: Sequence[Incoming]) -> Replacement:
    """The first of its sizes takes what the others leave."""
    total, sizes = inputs[0].shape[module.dim], tuple(module.unflattened_size)
    rest = math.prod(sizes[1:])
    if not all(isinstance(size, int) and size > 0 for size in sizes) or math.prod(sizes) == total:
        return _with(module, chosen)
    if total % rest:
        raise InputError(
            f"The network cannot be built: Unflatten takes {total} apart into groups of {rest}, which do not divide it; leave "
            "out widths that are no multiple of them."
        )
    return _with(module, chosen, unflattened_size=(total // rest, *sizes[1:]))


def _transposed_convolution(
    module: _ConvTransposeNd, chosen: Mapping[str, Any], inputs: Sequence[Incoming]
) -> Replacement:
    shape, arguments = inputs[0].shape, constructor_arguments(module)
    return Replacement(
        type(module), _transposed(arguments, _channels(module, {**arguments, **chosen}, shape), len(shape) - 2)
    )


def _convolution(module: _ConvNd, chosen: Mapping[str, Any], inputs: Sequence[Incoming]) -> Replacement:
    shape, arguments = inputs[0].shape, constructor_arguments(module)
    return _padded(module, arguments, chosen, _channels(module, {**arguments, **chosen}, shape), shape)


def _pool(module: nn.Module, chosen: Mapping[str, Any], inputs: Sequence[Incoming]) -> Replacement:
    arguments = constructor_arguments(module)
    return _padded(module, arguments, chosen, {**arguments, **chosen}, inputs[0].shape)


def _with(module: nn.Module, chosen: Mapping[str, Any], **follows: Any) -> Replacement:
    """The same type with what was chosen, and with what follows the input."""
    return Replacement(type(module), {**constructor_arguments(module), **chosen, **follows})


def _channels(module: _ConvNd, new: dict[str, Any], shape: Sequence[int]) -> dict[str, Any]:
    """A convolution's channels and groups: depthwise stays depthwise, other groups stay where they divide."""
    channels = shape[1]
    if is_depthwise(module):
        multiplier = module.out_channels // module.in_channels
        return {**new, "in_channels": channels, "out_channels": channels * multiplier, "groups": channels}
    groups = math.gcd(new["groups"], channels, new["out_channels"])  # as many as divide both
    return {**new, "in_channels": channels, "groups": groups}


def _pads_itself(module: nn.Module) -> bool:
    """Whether a convolution's own forward pass may pad its input."""
    methods = ("forward", "_conv_forward")
    return any(getattr(type(module), name, None) is not getattr(torchs_type(module), name, None) for name in methods)


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
        if _pads_itself(module) and not any(before):
            growth = [0] * dimensions  # by the size of the image, not by its argument
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
        elif not _pads_itself(module):
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


_OURS: dict[type[nn.Module], Rule] = {
    nn.Linear: _linear,
    _NormBase: _norm,
    nn.GroupNorm: _group_norm,
    nn.LayerNorm: _layer_norm,
    nn.PReLU: _prelu,
    nn.Unflatten: _unflatten,
    _ConvNd: _convolution,
    _ConvTransposeNd: _transposed_convolution,
    _MaxPoolNd: _pool,
    _AvgPoolNd: _pool,
}
_RULES.update(_OURS)
