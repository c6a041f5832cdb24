"""The weights that a training starts from.

The paper names none; both starts here are ours. With torch's own draws, of a sixth of He's variance, a deep network without
batch norm does not begin to learn.
"""

from __future__ import annotations

import math
from collections.abc import Container, Iterator, Sequence
from typing import Any

import torch
from torch import fx, nn
from torch.nn import functional, init
from torch.nn.modules.conv import _ConvTransposeNd

from marl_hpo_env.networks.alignment import interpolate_to, pool_to

WEIGHTED = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d, nn.Linear)
"""The modules whose kernels are drawn."""

OUTPUT_GAIN = 0.01

_RECTIFIERS = (nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.PReLU, nn.ELU, nn.SiLU, nn.GELU, nn.Hardswish)
_RECTIFYING: set[Any] = {
    functional.relu,
    functional.relu6,
    functional.leaky_relu,
    functional.elu,
    functional.silu,
    functional.gelu,
}
_RECTIFYING |= {functional.hardswish, torch.relu, torch.relu_, "relu", "relu_"}


def he(network: nn.Module) -> None:
    """He et al. (2015), Eq. 10, for every convolution and dense layer: normal, variance 2 / fan-in; biases 0. Of a transposed
    convolution, of which they do not speak, fan-in is what torch counts as it: kernels times kernel area.
    """
    for module in network.modules():
        if isinstance(module, WEIGHTED):
            init.kaiming_normal_(module.weight, nonlinearity="relu")
            if module.bias is not None:
                init.zeros_(module.bias)


def he_inside(network: nn.Module, example: Any, only: Container[str] | None = None) -> None:
    """He et al.'s start with what an output really sums: normal, variance gain / (input channels x taps inside); biases 0.

    A tap of the kernel that falls on padding adds nothing: on a map of 1x1 a kernel of 3x3 sees one pixel of nine. Taps
    inside are counted in the mean over the outputs. The gain is 2 where a rectifier follows, perhaps after a norm; 1
    elsewhere, such as on a shortcut: through a thousand projections with gain 2 the deviation would grow to 1e150; and 0.01
    at the network's output, so that the loss begins at that of guessing.

    Args:
        network: made by `TunableNetwork.build`.
        example: an input of it, batch first; only its shape matters.
        only: names of the parameters that are drawn, biases with their kernels; all where None.
    """
    graphs = [part.graph for part in network.modules() if isinstance(part, fx.GraphModule)]
    graphs += [part.graph for part in network.__dict__.get("_passes", ()) if isinstance(part, fx.GraphModule)]
    gains = {name: gain for graph in graphs for name, gain in _gains(network, graph)}
    margins = {name: margin for graph in graphs for name, margin in _padded_before(graph).items()}
    fan_in: dict[str, float] = {}

    def counting(name: str) -> Any:
        def count(module: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
            fan_in.setdefault(name, _fan_in(module, inputs[0].shape, output.shape, margins.get(name)))

        return count

    weighted = {name: module for name, module in network.named_modules() if isinstance(module, WEIGHTED)}
    hooks = [module.register_forward_hook(counting(name)) for name, module in weighted.items()]
    mode = network.training
    try:
        with torch.no_grad():
            network.eval()(example)
    finally:
        network.train(mode)
        for hook in hooks:
            hook.remove()
    for name, module in weighted.items():
        if only is not None and f"{name}.weight" not in only:
            continue
        # A head that is called in training only is drawn by its plain fan-in.
        products = fan_in.get(name) or float(init._calculate_correct_fan(module.weight, "fan_in"))
        init.normal_(module.weight, 0.0, math.sqrt(gains.get(name, 1.0) / products))
        if module.bias is not None:
            init.zeros_(module.bias)


def _fan_in(module: Any, before: torch.Size, after: torch.Size, margins: Sequence[tuple[int, int]] | None) -> float:
    """How many products an output sums in the mean over the outputs, those with padding left out.

    Args:
        module: a convolution or dense layer.
        before: shape of its input.
        after: shape of its output.
        margins: by dimension, how much of the input's beginning and end is padding already; None for nothing.
    """
    if isinstance(module, nn.Linear):
        return float(module.in_features)
    products = float(module.in_channels // module.groups)
    for d, (size, outputs) in enumerate(zip(before[2:], after[2:], strict=True)):
        kernel, stride, dilation = module.kernel_size[d], module.stride[d], module.dilation[d]
        same = dilation * (kernel - 1) // 2 if module.padding == "same" else 0
        pad = same if isinstance(module.padding, str) else module.padding[d]
        first, beyond = (0, size) if margins is None else (margins[d][0], size - margins[d][1])
        if module.padding_mode != "zeros":
            inside = kernel * outputs  # pixels of the image stand where zeros would
        elif isinstance(module, _ConvTransposeNd):
            places = (i * stride + t * dilation - pad for i in range(first, beyond) for t in range(kernel))
            inside = sum(0 <= place < outputs for place in places)
        else:
            places = (o * stride + t * dilation - pad for o in range(outputs) for t in range(kernel))
            inside = sum(first <= place < beyond for place in places)
        products *= inside / outputs
    return max(products, 1.0)


def _gains(network: nn.Module, graph: fx.Graph) -> Iterator[tuple[str, float]]:
    """Of each convolution and dense layer: 2 if a rectifier follows before any merge or other layer, 0.01 if nothing but the
    output does, else 1."""
    modules = dict(network.named_modules())

    def followers(node: fx.Node) -> Iterator[str]:
        for user in node.users:
            called = modules.get(str(user.target)) if user.op == "call_module" else None
            merges = len(user.all_input_nodes) > 1 and user.target not in (pool_to, interpolate_to)
            if isinstance(called, _RECTIFIERS) or user.target in _RECTIFYING:
                yield "rectifier"
            elif user.op == "output":
                yield "output"
            elif isinstance(called, WEIGHTED) or merges:
                yield "layer"
            else:
                yield from followers(user)

    for node in graph.nodes:
        if node.op == "call_module" and isinstance(modules.get(str(node.target)), WEIGHTED):
            found = set(followers(node))
            yield str(node.target), 2.0 if "rectifier" in found else OUTPUT_GAIN if found == {"output"} else 1.0


def _padded_before(graph: fx.Graph) -> dict[str, list[tuple[int, int]]]:
    """Of each module that is called on a padded tensor: the padding at the beginning and the end of each dimension."""
    margins = {}
    for node in graph.nodes:
        source = node.all_input_nodes[0] if node.op == "call_module" and node.all_input_nodes else None
        if source is not None and source.target is functional.pad:
            padding: Any = source.args[1] if len(source.args) > 1 else source.kwargs["pad"]
            pairs = list(zip(padding[::2], padding[1::2], strict=True))
            margins[str(node.target)] = pairs[::-1]  # `pad` begins with the last dimension
    return margins
