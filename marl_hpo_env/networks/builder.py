"""Building a network from a traced one: every module is made for the shape that reaches it.

The graph is walked with tensors on the meta device, which have shapes and no values.
"""

from __future__ import annotations

import copy
import math
import operator
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import fx, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvTransposeNd

from marl_hpo_env.errors import InputError, first_line
from marl_hpo_env.networks.alignment import interpolate_to, pool_to
from marl_hpo_env.networks.rules import Replacement, constructor_arguments, replacement
from marl_hpo_env.networks.trace import Traced, line_of, owners

_CONCATENATIONS = {torch.cat, torch.concat, torch.concatenate}
_ELEMENTWISE = {
    *(operator.add, operator.iadd, operator.sub, operator.isub, operator.mul, operator.imul),
    *(torch.add, torch.sub, torch.mul, torch.maximum, torch.minimum, torch.stack),
    *("add", "add_", "sub", "sub_", "mul", "mul_"),
}
_UPSAMPLING = (_ConvTransposeNd, nn.Upsample, nn.PixelShuffle)
# Their shapes need no computing, which is slow for batch norm on the meta device.
_KEEPS_SHAPE = (_NormBase, nn.ReLU, nn.Dropout, nn.Identity)
_CONVOLUTION = {3: nn.Conv1d, 4: nn.Conv2d, 5: nn.Conv3d}
_META = torch.device("meta")

Shapes = dict[fx.Node, torch.Size]
"""The shape of every tensor of a graph."""


class TwoModes(nn.Module):
    """A built network whose forward pass differs between training and evaluation; both share every module."""

    def __init__(self, training: fx.GraphModule, evaluation: fx.GraphModule, root: nn.Module) -> None:
        super().__init__()
        self._modules = root._modules
        self._parameters = root._parameters
        self._buffers = root._buffers
        self._non_persistent_buffers_set = root._non_persistent_buffers_set
        for graph_module in (training, evaluation):
            graph_module._modules = root._modules
            graph_module._parameters = root._parameters
            graph_module._buffers = root._buffers
        object.__setattr__(self, "_passes", (evaluation, training))
        self.meta: dict[str, Any] = {}

    def forward(self, *inputs: torch.Tensor) -> Any:
        passes: tuple[nn.Module, nn.Module] = self.__dict__["_passes"]
        return passes[self.training](*inputs)


class NetworkBuilder:
    """Builds one network.

    Args:
        traced: the original network.
        inputs: example inputs on the meta device, with a batch of 2.
        chosen: hyperparameter values by layer name; layers that are left out stay as they are.
        device: where its weights lie.
        original_shapes: by training mode, the shapes of the original; None while they are found out.
    """

    def __init__(
        self,
        traced: Traced,
        inputs: Sequence[torch.Tensor],
        chosen: Mapping[str, Mapping[str, Any]],
        device: torch.device,
        original_shapes: Mapping[bool, Shapes] | None = None,
    ) -> None:
        self.traced = traced
        self.inputs = inputs
        self.chosen = chosen
        self.device = device
        self.original_shapes = original_shapes
        self.shapes: dict[bool, Shapes] = {}
        self.root = nn.Module()
        self.added = {"pools": 0, "interpolations": 0, "projections": 0, "clamps": 0}
        self.needs: dict[str, Replacement] = {}
        self.twins: dict[str, nn.Module] = {}  # on the meta device, by name
        self.projections: dict[tuple[Any, ...], str] = {}
        self.keys: dict[Any, int] = {}

    def build(self) -> nn.Module:
        """The network, with fresh weights, in training mode.

        Its `meta["added"]` counts what was added so that it fits; `meta["hyperparameters"]` and `meta["inputs"]` are what it
        was built from.
        """
        passes: dict[bool, fx.GraphModule] = {}
        with torch.no_grad():
            for training, graph in self.traced.graphs.items():
                if passes and graph is self.traced.graphs[True]:
                    continue
                walk = _Walk(self, graph, None if self.original_shapes is None else self.original_shapes[training])
                passes[training] = fx.GraphModule(self.root, walk.run(), class_name=self.traced.name)
                self.shapes[training] = walk.shapes
        self.shapes.setdefault(False, self.shapes[True])
        two = len(passes) == 2
        module = TwoModes(passes[True], passes[False], self.root) if two else passes[True]
        module.meta |= {"added": self.added, "hyperparameters": self.chosen, "inputs": self.inputs}
        return module.train()

    def need(self, name: str, shape: Sequence[int]) -> Replacement:
        """What the module of this name needs to fit; decided at its first call."""
        if name not in self.needs:
            original = self.traced.modules[name]
            self.needs[name] = replacement(original, self.chosen.get(name, {}), shape)
            self.added["clamps"] += self.needs[name].clamped
            self.twins[name] = self._construct(name, original, self.needs[name], _META).eval()
            real = self.twins[name]
            if self.device.type != "meta":
                real = self._construct(name, original, self.needs[name], self.device)
            *path, last = name.split(".")
            self.owner(path).add_module(last, real)
        return self.needs[name]

    def _construct(self, name: str, original: nn.Module, need: Replacement, device: torch.device) -> nn.Module:
        """A module with these arguments and fresh weights; one that stays as it is needs no constructor."""
        if need.kind is type(original) and need.arguments == constructor_arguments(original):
            module = copy.deepcopy(original)
            owning = owners(module)
            if all(hasattr(part, "reset_parameters") for part in owning):
                if owning:
                    module = module.to_empty(device=device)
                for part in owning:
                    reset: Any = part.reset_parameters
                    reset()
                return module
            if device.type == "meta" or not need.arguments:
                return module.to(device)  # its author gave no way to draw weights anew: they stay
        try:
            with device:
                return need.kind(**need.arguments)
        except Exception as error:  # whatever a constructor raises
            raise InputError(
                f"Module {name!r} cannot be made with {need.arguments}: {first_line(error)}; leave the value out of its "
                "choices."
            ) from error

    def owner(self, path: Sequence[str]) -> nn.Module:
        """The module that holds what is at this path of the new network; containers on the way are made."""
        owner = self.root
        for part in path:
            if part not in owner._modules:
                owner.add_module(part, nn.Module())
            owner = owner.get_submodule(part)
        return owner

    def hold(self, name: str) -> torch.Tensor:
        """Gives the new network a tensor that a graph uses by itself; returns the original's."""
        value = self.traced.tensors[name]
        *path, last = name.split(".")
        owner = self.owner(path)
        if not hasattr(owner, last):
            copied = copy.deepcopy(value.detach()).to(self.device)
            if isinstance(value, nn.Parameter):
                owner.register_parameter(last, nn.Parameter(copied, value.requires_grad))
            else:
                owner.register_buffer(last, copied, persistent=name in self.traced.saved)
        return value

    def projection(self, key: tuple[Any, ...], shape: Sequence[int], channels: int) -> str:
        """Name of the 1x1 projection of what this key stands for; one per producer, in both modes."""
        if (*key, channels) not in self.projections:
            name = f"projection_{len(self.projections)}"
            while name in self.traced.modules:
                name += "_"
            kind: Any = nn.Linear
            arguments: dict[str, Any] = {"in_features": shape[-1], "out_features": channels, "bias": False}
            if len(shape) > 2:
                kind = _CONVOLUTION[len(shape)]
                arguments = {"in_channels": shape[1], "out_channels": channels, "kernel_size": 1, "bias": False}
            with _META:
                self.twins[name] = kind(**arguments)
            with self.device:
                self.root.add_module(name, kind(**arguments))
            self.added["projections"] += 1
            self.projections[*key, channels] = name
        return self.projections[*key, channels]

    def key_of(self, content: Any) -> int:
        """A number for a value's origin, the same in both modes."""
        return self.keys.setdefault(content, len(self.keys))


class _Walk:
    """One pass over one graph: its counterpart for the new network, with the shapes that flow through it."""

    def __init__(self, builder: NetworkBuilder, graph: fx.Graph, original_shapes: Shapes | None) -> None:
        self.builder = builder
        self.source = graph
        self.original_shapes = original_shapes
        self.graph = fx.Graph()
        self.inputs = iter(builder.inputs)
        self.order = {node: position for position, node in enumerate(graph.nodes)}
        self.nodes: dict[fx.Node, fx.Node] = {}
        self.values: dict[fx.Node, Any] = {}  # by node of the new graph: a tensor on the meta device, or a constant
        self.upsampled: set[fx.Node] = set()  # nodes of the original graph that come after an upsampling
        self.origins: dict[fx.Node, int] = {}
        self.resized: dict[tuple[fx.Node, Any, Any], fx.Node] = {}
        self.shapes: Shapes = {}
        self.counted: set[Any] = set()

    def run(self) -> fx.Graph:
        for node in self.source.nodes:
            new = self.nodes[node] = self._emit(node)
            self.origins[new] = self.builder.key_of(self._origin(node))
            if self._upsamples(node) or any(n in self.upsampled for n in node.all_input_nodes):
                self.upsampled.add(node)
            if isinstance(self.values.get(new), torch.Tensor):
                shape = self.shapes[node] = self.values[new].shape
                before = (self.original_shapes or {}).get(node)
                if before and shape and before[0] == 2 != shape[0]:
                    raise InputError(
                        f"The network cannot be built: {node.name!r}{line_of(node)} makes a batch of {shape[0]} of one of 2: a "
                        "reshape with fixed sizes does not follow the widths; use flatten(1)."
                    )
        return self.graph

    def _emit(self, node: fx.Node) -> fx.Node:
        """Puts the counterpart of `node` into the new graph."""
        if node.op == "placeholder":
            new = self.graph.node_copy(node)
            self.values[new] = next(self.inputs, node.args[0] if node.args else None)
            return new
        if node.op == "get_attr":
            new = self.graph.node_copy(node)
            self.values[new] = self.builder.hold(str(node.target)).to("meta")
            return new
        operands = {n: self.nodes[n] for n in node.all_input_nodes}
        if node.op == "output":
            self._fit_output(operands)
        elif node.op == "call_module":
            first = node.all_input_nodes[0]
            operands[first] = self._fit_input(node, operands[first])
        elif self.original_shapes and self._is_merge(node):
            self._fit_merge(node, operands, self.original_shapes)
        new = self.graph.node_copy(node, lambda n: operands[n])
        if node.op != "output":
            self.values[new] = self._evaluate(new, node)
        return new

    def _fit_input(self, node: fx.Node, source: fx.Node) -> fx.Node:
        """What reaches a module, padded as it needs; one that is called again takes the channels of its first call."""
        name = str(node.target)
        again = name in self.builder.needs
        need = self.builder.need(name, self.values[source].shape)
        if again:
            expected = need.arguments.get("in_channels", need.arguments.get("in_features"))
            shape = self.values[source].shape
            channels = shape[-1] if "in_features" in need.arguments else shape[1] if len(shape) > 1 else None
            if expected is not None and channels != expected:
                source = self._project(source, expected)
        if need.padding:
            padded = self.graph.call_function(functional.pad, (source, need.padding), {"value": need.padding_value})
            self.values[padded] = functional.pad(self.values[source], need.padding, value=need.padding_value)
            return padded
        return source

    def _is_merge(self, node: fx.Node) -> bool:
        return node.target in _CONCATENATIONS or (node.target in _ELEMENTWISE and len(node.all_input_nodes) > 1)

    def _fit_merge(self, node: fx.Node, operands: dict[fx.Node, fx.Node], original: Shapes) -> None:
        """Brings the operands of a merge to sizes that fit; only what was of one size in the original must be so now."""
        tensors = [n for n in operands if n in original]
        rank = max((len(original[n]) for n in tensors), default=0)
        tensors = [n for n in tensors if len(original[n]) == rank]
        if len(tensors) < 2:
            return
        concatenated = self._concatenated(node, rank) if node.target in _CONCATENATIONS else None
        if rank > 2 and (concatenated is None or concatenated < 2):
            # An operand that was smaller than another is meant to broadcast, as in squeeze-and-excitation.
            whole = max((tuple(original[n][2:]) for n in tensors), key=math.prod)
            same = [n for n in tensors if tuple(original[n][2:]) == whole]
            # In a decoder what comes from below follows the skip; else the smallest decides.
            deciding = [n for n in same if n not in self.upsampled] or same
            like = min((operands[n] for n in deciding), key=lambda new: math.prod(self.values[new].shape[2:]))
            for n in same:
                operands[n] = self._resize(operands[n], like, interpolate_to if n in self.upsampled else pool_to)
        if rank > 1 and concatenated != 1:
            whole_channels = max(original[n][1] for n in tensors)
            same = [n for n in tensors if original[n][1] == whole_channels]
            # The branch that was computed last keeps its channels; a shortcut is projected onto it.
            latest = max(same, key=self.order.__getitem__)
            channels = self.values[operands[latest]].shape[1]
            for n in same:
                if self.values[operands[n]].shape[1] != channels:
                    operands[n] = self._project(operands[n], channels)

    def _fit_output(self, operands: dict[fx.Node, fx.Node]) -> None:
        """The output of a network that predicts per pixel keeps the size of its input; a batch stays a batch."""
        pixels = next((n for n in self.source.nodes if n.op == "placeholder"), None)
        for n, new in operands.items():
            value = self.values[new]
            if not isinstance(value, torch.Tensor):
                continue
            if self.original_shapes and pixels in self.original_shapes and n in self.original_shapes:
                shape = self.original_shapes[n]
                if len(shape) > 2 and shape[2:] == self.original_shapes[pixels][2:]:
                    operands[n] = self._resize(new, self.nodes[pixels], interpolate_to)
            if value.dim() == 0 or value.shape[0] != 2:
                # A reshape with a fixed size can fold features into the batch without any error.
                raise InputError(
                    f"The network's output {n.name!r} has shape {tuple(value.shape)} for a batch of 2: a reshape with fixed "
                    "sizes does not follow the widths; use flatten(1)."
                )

    def _concatenated(self, node: fx.Node, rank: int) -> int:
        dimension = node.kwargs.get("dim", node.kwargs.get("axis", node.args[1] if len(node.args) > 1 else 0))
        assert isinstance(dimension, int)
        return dimension % rank

    def _resize(self, source: fx.Node, like: fx.Node, how: Any) -> fx.Node:
        """`source` with the spatial size of `like`, once per producer."""
        size = tuple(self.values[like].shape[2:])
        fits = tuple(self.values[source].shape[2:]) == size
        if source is like or (fits and not self.builder.chosen):
            return source
        if (source, how, like) not in self.resized:
            new = self.graph.call_function(how, (source, like))
            value = self.values[source]
            self.values[new] = value.new_empty((*value.shape[:2], *size))
            self.origins[new] = self.builder.key_of((how.__name__, self.origins[source], size))
            self.resized[source, how, like] = new
            first = (source, how, size) not in self.counted
            self.counted.add((source, how, size))
            if not fits and first and self.source is self.builder.traced.graphs[True]:
                self.builder.added["pools" if how is pool_to else "interpolations"] += 1
        return self.resized[source, how, like]

    def _project(self, source: fx.Node, channels: int) -> fx.Node:
        name = self.builder.projection((self.origins[source],), self.values[source].shape, channels)
        key = source, name, ()
        if key not in self.resized:
            new = self.graph.call_module(name, (source,))
            self.values[new] = self.builder.twins[name](self.values[source])
            self.origins[new] = self.builder.key_of((name,))
            self.resized[key] = new
        return self.resized[key]

    def _upsamples(self, node: fx.Node) -> bool:
        if node.op == "call_module":
            return isinstance(self.builder.traced.modules[str(node.target)], _UPSAMPLING)
        return node.target is functional.interpolate

    def _origin(self, node: fx.Node) -> Any:
        """What a value is computed from, apart from flags: a mode must not change it."""

        def content(value: Any) -> Any:
            if isinstance(value, fx.Node):
                return ("node", self.origins[self.nodes[value]])
            if isinstance(value, list | tuple):
                return tuple(content(v) for v in value)
            if isinstance(value, Mapping):
                return tuple((k, content(v)) for k, v in value.items())
            return None if isinstance(value, bool) else repr(value)

        return node.op, str(node.target), content(node.args), content(node.kwargs)

    def _evaluate(self, new: fx.Node, node: fx.Node) -> Any:
        """The value of a node of the new graph, on the meta device."""
        args = fx.map_arg(new.args, self.values.__getitem__)
        kwargs = fx.map_arg(new.kwargs, self.values.__getitem__)
        try:
            if new.op == "call_module":
                twin = self.builder.twins[str(new.target)]
                return args[0] if isinstance(twin, _KEEPS_SHAPE) else twin(*args, **kwargs)
            if new.op == "call_method":
                self_arg, *rest = args
                return getattr(self_arg, str(new.target))(*rest, **kwargs)
            assert callable(new.target)
            return new.target(*args, **kwargs)
        except Exception as error:  # whatever the network's own operations raise on shapes that do not fit
            what = new.target if isinstance(new.target, str) else getattr(new.target, "__name__", str(new.target))
            raise InputError(
                f"The network cannot be built: {what!r}{line_of(node)} fails: {first_line(error)}; let it follow the shapes, "
                "or leave the layers before it out of the choices."
            ) from error
