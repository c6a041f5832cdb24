"""Any torch network as a search space, and any design of it as a torch network.

`torch.fx` traces the network; every module that the choices match is a layer. A design is built by walking the traced
graph with tensors on the meta device, so that each module is constructed for the shape that reaches it.
"""

from __future__ import annotations

import copy
import hashlib
import operator
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import fx, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _NormBase

from marl_hpo_env.errors import InputError
from marl_hpo_env.layer_graph import Choices, search_space
from marl_hpo_env.module_rules import constructor_arguments, replacement
from marl_hpo_env.space import SearchSpace

_CONCATENATIONS = {torch.cat, torch.concat, torch.concatenate}
_ELEMENTWISE = {
    *(operator.add, operator.iadd, operator.sub, operator.isub, operator.mul, operator.imul),
    *(torch.add, torch.sub, torch.mul, torch.maximum, torch.minimum),
    *("add", "add_", "sub", "sub_", "mul", "mul_"),
}
# Their shapes need no computing, which is slow for batch norm on the meta device.
_KEEPS_SHAPE = (_NormBase, nn.ReLU, nn.Dropout, nn.Identity)
_CONVOLUTION = {3: nn.Conv1d, 4: nn.Conv2d, 5: nn.Conv3d}
_POOL = {3: nn.AdaptiveAvgPool1d, 4: nn.AdaptiveAvgPool2d, 5: nn.AdaptiveAvgPool3d}


class TunableNetwork:
    """A network whose layers' hyperparameters can be chosen.

    Args:
        model: the original network; it is traced, not changed.
        example_input: what its `forward` takes, batch first; only shape and type matter. A tuple for several inputs.
        choices: hyperparameter values by module type or name pattern, such as
            `{nn.Conv2d: {"out_channels": (16, 32), "kernel_size": (3, 5)}, "head": None}`.

    Attributes:
        space: the search space.

    Raises:
        InputError: if the network cannot be traced, or the choices do not fit it.
    """

    def __init__(
        self, model: nn.Module, example_input: torch.Tensor | tuple[torch.Tensor, ...], choices: Choices
    ) -> None:
        types = tuple(key for key in choices if isinstance(key, type))
        inputs = example_input if isinstance(example_input, tuple) else (example_input,)
        self._traced = _trace(model, types)
        self._inputs = [torch.empty((2, *x.shape[1:]), dtype=x.dtype, device="meta") for x in inputs]
        self.space: SearchSpace = search_space(self._traced, choices)
        self._arguments = {
            name: constructor_arguments(module)
            for name, module in self._traced.named_modules()
            if name in {str(node.target) for node in self._traced.graph.nodes if node.op == "call_module"}
        }
        self._shapes: dict[fx.Node, torch.Size] = {}
        _Builder(self, {}, torch.device("meta"), record=self._shapes).run()

    @property
    def original(self) -> dict[str, dict[str, Any]]:
        """The original's own values of what can be chosen, by layer name; they need not be among the choices."""
        return {
            layer.name: {name: self._arguments[layer.name][name] for name in layer.choices}
            for layer in self.space.layers
        }

    @property
    def signature(self) -> str:
        """A digest of the network's code and modules, not of its weights."""
        modules = "".join(f"{name}:{module!r}" for name, module in self._traced.named_modules() if name)
        return hashlib.sha256((self._traced.code + modules).encode()).hexdigest()

    def build(self, design: Iterable[int] | None = None, device: torch.device | str | None = None) -> nn.Module:
        """A network with fresh weights, drawn from torch's generator of that device.

        Modules keep the original's names, so `build(None)` loads the original's state dict and then gives the same
        outputs, bit for bit.

        Args:
            design: one action per layer; None builds the original.
            device: where its weights lie; torch's default where None.

        Returns:
            An ordinary module. Its `meta["added"]` counts what had to be added so that everything fits: `pools` (spatial
            alignments), `projections` (1x1 convolutions), and `clamps` (kernels larger than their input).

        Raises:
            InputError: if the design is not one of the space, or the network cannot be built with it.
        """
        chosen = {} if design is None else self.space.hyperparameters(design)
        return _Builder(self, chosen, torch.device(device or torch.get_default_device())).run()


def _trace(model: nn.Module, leaves: tuple[type, ...]) -> fx.GraphModule:
    class Tracer(fx.Tracer):
        def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
            return isinstance(m, leaves) or super().is_leaf_module(m, module_qualified_name)

    try:
        return fx.GraphModule(model, Tracer().trace(model))
    except Exception as error:  # whatever a user's forward raises while it is traced
        raise InputError(
            f"{type(model).__name__} cannot be traced by torch.fx: {_line(error)}; its forward must not depend on the "
            "values or shapes of tensors."
        ) from error


class _Builder:
    """Builds one network: a new graph beside the original's, with the shapes that flow through it."""

    def __init__(
        self,
        network: TunableNetwork,
        chosen: dict[str, dict[str, Any]],
        device: torch.device,
        record: dict[fx.Node, torch.Size] | None = None,
    ) -> None:
        self.traced = network._traced
        self.arguments = network._arguments
        self.inputs = iter(network._inputs)
        self.original_shapes = network._shapes
        self.order = {node: position for position, node in enumerate(self.traced.graph.nodes)}
        self.chosen = chosen
        self.device = device
        self.record = record
        self.root = nn.Module()
        self.graph = fx.Graph()
        self.nodes: dict[fx.Node, fx.Node] = {}
        self.values: dict[fx.Node, Any] = {}  # by node of the new graph: a tensor on the meta device, or a constant
        self.built: dict[str, nn.Module] = {}  # by name: the twin on the meta device
        self.aligned: dict[tuple[fx.Node, str, tuple[int, ...]], fx.Node] = {}
        self.added = {"pools": 0, "projections": 0, "clamps": 0}

    def run(self) -> nn.Module:
        with torch.no_grad():
            for node in self.traced.graph.nodes:
                self.nodes[node] = self._emit(node)
                value = self.values.get(self.nodes[node])
                if self.record is not None and isinstance(value, torch.Tensor):
                    self.record[node] = value.shape
        module = fx.GraphModule(self.root, self.graph, class_name=type(self.traced).__name__)
        module.meta["added"] = self.added
        return module.train()

    def _emit(self, node: fx.Node) -> fx.Node:
        """Puts the counterpart of `node` into the new graph."""
        if node.op == "placeholder":
            new = self.graph.node_copy(node, lambda n: self.nodes[n])
            self.values[new] = next(self.inputs, node.args[0] if node.args else None)
            return new
        if node.op == "get_attr":
            value = operator.attrgetter(str(node.target))(self.traced)
            *path, name = str(node.target).split(".")
            owner = self._owner(path)
            if not hasattr(owner, name):
                value = copy.deepcopy(value)
                if isinstance(value, nn.Parameter):
                    owner.register_parameter(name, nn.Parameter(value.to(self.device), value.requires_grad))
                else:
                    owner.register_buffer(name, value.to(self.device))
            new = self.graph.node_copy(node)
            self.values[new] = value.to("meta")
            return new
        if node.op == "output":
            new = self.graph.node_copy(node, lambda n: self.nodes[n])
            self._check_batch(node)
            return new
        if node.op == "call_module":
            return self._emit_module(node)
        operands = self._merged(node) if self._is_merge(node) else {n: self.nodes[n] for n in node.all_input_nodes}
        new = self.graph.node_copy(node, lambda n: operands[n])
        self.values[new] = self._evaluate(new)
        return new

    def _emit_module(self, node: fx.Node) -> fx.Node:
        name = str(node.target)
        original = self.traced.get_submodule(name)
        source = self.nodes[node.all_input_nodes[0]]
        if name not in self.built:
            need = replacement(original, self.arguments[name], self.chosen.get(name, {}), self.values[source].shape)
            self.added["clamps"] += need.clamped
            if need.padding:
                source = self._pad(source, need.padding, need.padding_value)
            self.built[name] = self._construct(name, original, need.arguments, torch.device("meta"))
            twin = self.built[name]
            if self.device.type != "meta":
                twin = self._construct(name, original, need.arguments, self.device)
            *path, last = name.split(".")
            self._owner(path).add_module(last, twin)
        first, *others = node.all_input_nodes
        operands = {first: source, **{n: self.nodes[n] for n in others}}
        new = self.graph.node_copy(node, lambda n: operands[n])
        self.values[new] = self._evaluate(new)
        return new

    def _construct(self, name: str, original: nn.Module, arguments: dict[str, Any], device: torch.device) -> nn.Module:
        """A module of the original's type with these arguments and fresh weights; unchanged ones need no constructor."""
        if arguments == self.arguments[name]:
            module = copy.deepcopy(original)
            if any(True for _ in module.parameters()) or any(True for _ in module.buffers()):
                module = module.to_empty(device=device)
                for part in module.modules():
                    reset = getattr(part, "reset_parameters", None)
                    if reset is not None:
                        reset()
            return module
        try:
            with device:
                return type(original)(**arguments)
        except Exception as error:  # whatever a constructor raises
            raise InputError(
                f"Module {name!r} cannot be made with {arguments}: {_line(error)}; leave the value out of its choices."
            ) from error

    def _owner(self, path: list[str]) -> nn.Module:
        """The module that holds what is at this path of the new network; containers on the way are made."""
        owner = self.root
        for part in path:
            if part not in owner._modules:
                owner.add_module(part, nn.Module())
            owner = owner.get_submodule(part)
        return owner

    def _is_merge(self, node: fx.Node) -> bool:
        return node.target in _CONCATENATIONS or (node.target in _ELEMENTWISE and len(node.all_input_nodes) > 1)

    def _merged(self, node: fx.Node) -> dict[fx.Node, fx.Node]:
        """The operands of a merge, with what does not fit aligned; by node of the original graph."""
        operands = {n: self.nodes[n] for n in node.all_input_nodes}
        tensors = {n: o for n, o in operands.items() if isinstance(self.values[o], torch.Tensor)}
        if len(tensors) < 2 or not self.original_shapes:
            return operands
        shapes = {n: self.original_shapes[n] for n in tensors}
        rank = max(len(shape) for shape in shapes.values())
        tensors = {n: o for n, o in tensors.items() if len(shapes[n]) == rank}
        concatenated = self._concatenated_dimension(node, rank) if node.target in _CONCATENATIONS else None

        for dimension in range(2, rank):
            # Only operands of one size in the original must have one size now; a size of 1 broadcasts.
            whole = max(shapes[n][dimension] for n in tensors)
            same = [n for n in tensors if shapes[n][dimension] == whole] if dimension != concatenated else []
            smallest = min((self.values[operands[n]].shape[dimension] for n in same), default=0)
            for n in same:
                size = list(self.values[operands[n]].shape[2:])
                if size[dimension - 2] != smallest:
                    size[dimension - 2] = smallest
                    operands[n] = self._align(operands[n], "pools", tuple(size))
        if rank > 1 and concatenated != 1:
            whole = max(shapes[n][1] for n in tensors)
            same = [n for n in tensors if shapes[n][1] == whole]
            # The branch that was computed last keeps its channels; a shortcut is projected onto it.
            latest = max(same, key=self.order.__getitem__)
            channels = self.values[operands[latest]].shape[1]
            for n in same:
                if self.values[operands[n]].shape[1] != channels:
                    operands[n] = self._align(operands[n], "projections", (channels,))
        return operands

    def _concatenated_dimension(self, node: fx.Node, rank: int) -> int:
        dimension = node.kwargs.get("dim", node.args[1] if len(node.args) > 1 else 0)
        assert isinstance(dimension, int)
        return dimension % rank

    def _align(self, source: fx.Node, what: str, size: tuple[int, ...]) -> fx.Node:
        """`source` brought to a spatial size (`"pools"`) or number of channels (`"projections"`), once per producer."""
        key = (source, what, size)
        if key not in self.aligned:
            shape = self.values[source].shape
            arguments: dict[str, Any]
            kind: Callable[..., nn.Module]
            if what == "pools":
                kind, arguments = _POOL[len(shape)], {"output_size": size}
            elif len(shape) == 2:
                kind, arguments = nn.Linear, {"in_features": shape[1], "out_features": size[0], "bias": False}
            else:
                kind = _CONVOLUTION[len(shape)]
                arguments = {"in_channels": shape[1], "out_channels": size[0], "kernel_size": 1, "bias": False}
            name = f"alignment_{len(self.aligned)}"
            with torch.device("meta"):
                twin = kind(**arguments)
            self.added[what] += 1
            with self.device:
                self.root.add_module(name, kind(**arguments))
            self.aligned[key] = self.graph.call_module(name, (source,))
            self.values[self.aligned[key]] = twin(self.values[source])
        return self.aligned[key]

    def _pad(self, source: fx.Node, padding: tuple[int, ...], value: float) -> fx.Node:
        new = self.graph.call_function(functional.pad, (source, padding), {"value": value})
        self.values[new] = functional.pad(self.values[source], padding, value=value)
        return new

    def _evaluate(self, node: fx.Node) -> Any:
        """The value of a node of the new graph, on the meta device."""

        def look_up(n: fx.Node) -> Any:
            return self.values[n]

        args = fx.map_arg(node.args, look_up)
        kwargs = fx.map_arg(node.kwargs, look_up)
        try:
            if node.op == "call_module":
                if isinstance(self.built[str(node.target)], _KEEPS_SHAPE):
                    return args[0]
                return self.built[str(node.target)].eval()(*args, **kwargs)
            if node.op == "call_method":
                self_arg, *rest = args
                return getattr(self_arg, str(node.target))(*rest, **kwargs)
            assert callable(node.target)
            return node.target(*args, **kwargs)
        except Exception as error:  # whatever the network's own operations raise on shapes that do not fit
            raise InputError(
                f"The network cannot be built: {node.target} at {node.name!r} fails: {_line(error)}"
            ) from error

    def _check_batch(self, node: fx.Node) -> None:
        """A reshape with a fixed size can fold features into the batch without any error."""
        for result in node.all_input_nodes:
            value = self.values[self.nodes[result]]
            if isinstance(value, torch.Tensor) and (value.dim() == 0 or value.shape[0] != 2):
                raise InputError(
                    f"The network's output {result.name!r} has shape {tuple(value.shape)} for a batch of 2: a reshape with "
                    "fixed sizes does not follow the widths; use flatten(1)."
                )


def _line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
