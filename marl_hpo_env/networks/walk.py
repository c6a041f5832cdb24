"""The walk along a traced graph that makes its counterpart for a new network, with the shapes that flow through it.

Tensors lie on the meta device: they have shapes and no values. What no longer fits is brought to fit: the branches of a merge,
reshapes with fixed sizes (`reshapes.py`), and tensors of the model's own that go with a width.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import fx, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd
from torch.nn.modules.pooling import _MaxUnpoolNd

from marl_hpo_env.errors import InputError, first_line
from marl_hpo_env.networks import reshapes
from marl_hpo_env.networks.alignment import interpolate_to, pool_to
from marl_hpo_env.networks.rules import KEEPS_SHAPE, Incoming
from marl_hpo_env.networks.trace import line_of
from marl_hpo_env.networks.tracer import UNKNOWN, answer_of, attribute, example_for, on_meta

if TYPE_CHECKING:
    from marl_hpo_env.networks.builder import NetworkBuilder

_CONCATENATIONS = {torch.cat, torch.concat, torch.concatenate}
_ELEMENTWISE = {
    *(operator.add, operator.iadd, operator.sub, operator.isub, operator.mul, operator.imul, operator.truediv),
    *(torch.add, torch.sub, torch.mul, torch.div, torch.maximum, torch.minimum, torch.max, torch.min, torch.stack),
    *(torch.addcmul, torch.where, torch.lerp),
    *("add", "add_", "sub", "sub_", "mul", "mul_", "div", "div_", "addcmul", "where", "view_as", "max", "min"),
    *("maximum", "minimum", "lerp", "expand_as"),
}
_ATTENTION = functional.scaled_dot_product_attention
_PRODUCTS = {_ATTENTION, torch.matmul, torch.bmm, operator.matmul, "matmul", "bmm", "__matmul__"}
_EQUALITIES = {operator.eq, operator.ne}
_LIKE_THE_LAST = {"view_as", "expand_as"}
_CONVOLUTIONS = {functional.conv1d, functional.conv2d, functional.conv3d}
_WITH_CHANNELS = {
    *(functional.batch_norm, functional.instance_norm, functional.group_norm, functional.layer_norm),
    functional.prelu,
}
_UPSAMPLING = (_ConvTransposeNd, nn.Upsample, nn.PixelShuffle, _MaxUnpoolNd)
_CHANNELS_LAST = (nn.Linear, nn.MultiheadAttention, nn.RNNBase, nn.TransformerEncoderLayer, nn.TransformerEncoder)

Shapes = dict[fx.Node, torch.Size]
"""The shape of every tensor of a graph."""


class Walk:
    """One pass over one graph.

    Args:
        builder: of the new network, which it is given its modules and tensors by.
        graph: of the original.
        original_shapes: of the original's tensors; None while they are found out.
    """

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
        self.held: dict[fx.Node, list[fx.Node]] = {}  # what hangs on held tensors alone, in order, from which
        self.channels: dict[fx.Node, int] = {}  # the dimension of a value's channels, where it is not 1
        self.origins: dict[fx.Node, int] = {}
        self.resized: dict[tuple[fx.Node, Any, Any], fx.Node] = {}
        self.likes: dict[fx.Node, fx.Node] = {}  # of a projection, the value of the new graph whose channels it makes
        self.first_inputs: dict[str, fx.Node] = {}  # by a module's name, what reaches its first call
        self.shapes: Shapes = {}
        self.counted: set[Any] = set()

    def run(self) -> fx.Graph:
        """The counterpart of the graph; `shapes` are then those of the new network.

        Raises:
            InputError: if something cannot be brought to fit.
        """
        for node in self.source.nodes:
            new = self.nodes[node] = self._emit(node)
            self.origins[new] = self.builder.key_of(self._origin(node))
            if self._upsamples(node) or any(n in self.upsampled for n in node.all_input_nodes):
                self.upsampled.add(node)
            value = self.values.get(new)
            if isinstance(value, torch.Tensor):
                self._note_shape(node, value)
            self._ask_again(node, value)
        return self.graph

    def _note_shape(self, node: fx.Node, value: torch.Tensor) -> None:
        shape = self.shapes[node] = value.shape
        dimension = self._channel_dimension(node, value)
        if dimension != 1:
            self.channels[node] = dimension
        before = (self.original_shapes or {}).get(node)
        if before and shape and before[0] == 2 != shape[0]:
            raise InputError(
                f"The network cannot be built: {node.name!r}{line_of(node)} makes a batch of {shape[0]} of one of 2: a "
                "reshape with fixed sizes does not follow the widths; use flatten(1)."
            )

    def _ask_again(self, node: fx.Node, value: Any) -> None:
        """What the original's forward pass was told must hold for this network, too."""
        answer = answer_of(node)
        # Whether two branches are of one size is answered as in the original: they are brought to one where they merge.
        sizes = node.target in _EQUALITIES and sum(isinstance(operand, fx.Node) for operand in node.args) == 2
        if answer is not UNKNOWN and not sizes and value != answer:
            raise InputError(
                f"The network cannot be built: forward{line_of(node)} asks for {node.name!r}, which was {answer} in the original "
                f"and is {value} now; let it follow the shapes, or leave the layers before it out of the choices."
            )

    def _emit(self, node: fx.Node) -> fx.Node:
        """Puts the counterpart of `node` into the new graph."""
        if node.op == "placeholder":
            new = self.graph.node_copy(node)
            self.values[new] = example_for(node, self.inputs)
            return new
        if node.op == "get_attr":
            new = self.graph.node_copy(node)
            self.values[new] = self.builder.hold(str(node.target))
            self.held[node] = [node]
            return new
        operands = {n: self.nodes[n] for n in node.all_input_nodes}
        tensors = [n for n, new in operands.items() if isinstance(self.values[new], torch.Tensor)]
        if tensors and all(n in self.held for n in tensors) and node.op in ("call_function", "call_method"):
            self.held[node] = [*dict.fromkeys(m for n in tensors for m in self.held[n]), node]
        if node.op == "output":
            self._fit_output(operands)
        elif node.op == "call_module":
            self._fit_inputs(node, operands)
        elif self.original_shapes:
            if self.builder.chosen:
                self._fit_held(node, operands, self.original_shapes)
            if self._is_merge(node):
                self._fit_merge(node, operands, self.original_shapes)
            elif node.target in _PRODUCTS:
                self._fit_product(node, operands, self.original_shapes)
        new = self.graph.node_copy(node, lambda n: operands[n])
        if node.op in ("call_function", "call_method") and self.original_shapes and self.builder.chosen:
            try:
                self._fit_sizes(new, node, operands, self.original_shapes)
            except reshapes.Indivisible as error:
                self.graph.erase_node(new)
                self._fit_unit(node, operands, error)
                new = self.graph.node_copy(node, lambda n: operands[n])
                self._fit_sizes(new, node, operands, self.original_shapes)
        if node.op != "output":
            self.values[new] = self._evaluate(new, node)
        return new

    # --- modules

    def _fit_inputs(self, node: fx.Node, operands: dict[fx.Node, fx.Node]) -> None:
        """What reaches a module, padded as it needs; one that is called again takes the channels of its first call."""
        tensors = [n for n in node.all_input_nodes if isinstance(self.values[operands[n]], torch.Tensor)]
        if not tensors:
            raise InputError(
                f"The network cannot be built: module {str(node.target)!r}{line_of(node)} is given no tensor."
            )
        name, first = str(node.target), tensors[0]
        if isinstance(self.builder.traced.modules[name], _MaxUnpoolNd) and self.original_shapes and len(tensors) > 1:
            self._follow(operands, first, tensors[1])
        again = name in self.builder.needs
        need = self.builder.need(name, [self._incoming(n, operands[n]) for n in tensors])
        source = operands[first]
        if again:
            expected = need.arguments.get("in_channels", need.arguments.get("in_features"))
            shape = self.values[source].shape
            channels = shape[-1] if "in_features" in need.arguments else shape[1] if len(shape) > 1 else None
            if expected is not None and channels != expected:
                dimension = len(shape) - 1 if "in_features" in need.arguments else 1
                source = operands[first] = self._project(source, expected, dimension, self.first_inputs[name])
        self.first_inputs.setdefault(name, source)
        if need.padding:
            padded = self.graph.call_function(functional.pad, (source, need.padding), {"value": need.padding_value})
            self.values[padded] = functional.pad(self.values[source], need.padding, value=need.padding_value)
            operands[first] = padded

    def _incoming(self, node: fx.Node, new: fx.Node) -> Incoming:
        shape = tuple(self.values[new].shape)
        return Incoming(shape, tuple((self.original_shapes or {}).get(node, shape)))

    def _channel_dimension(self, node: fx.Node, value: torch.Tensor) -> int:
        """In which dimension of a value its channels lie: those that a layer's width sets."""
        rank = value.dim()
        if node.op == "call_module":
            module = self.builder.traced.modules[str(node.target)]
            if isinstance(module, _CHANNELS_LAST):
                return rank - 1 if rank > 2 else 1
            if isinstance(module, _ConvNd | _NormBase):
                return 1
        if node.op != "placeholder" and node.all_input_nodes:
            before = [n for n in node.all_input_nodes if n in self.shapes]
            shapes = {n: self.shapes[n] for n in before} | {node: value.shape}
            moved = reshapes.moved_dimension(node, {n: self.channels.get(n, 1) for n in before}, shapes)
            if moved is not None:
                return moved
            same = [self.channels[n] for n in before if n in self.channels and len(self.shapes[n]) == rank]
            if same and rank > 2:
                return same[0]
        return 1

    # --- merges

    def _is_merge(self, node: fx.Node) -> bool:
        return node.target in _CONCATENATIONS or (node.target in _ELEMENTWISE and len(node.all_input_nodes) > 1)

    def _fit_merge(self, node: fx.Node, operands: dict[fx.Node, fx.Node], original: Shapes) -> None:
        """Brings the operands of a merge to sizes that fit; only what was of one size in the original must be so now."""
        tensors = [n for n in operands if n in original and n not in self.held]
        rank = max((len(original[n]) for n in tensors), default=0)
        tensors = [n for n in tensors if len(original[n]) == rank]
        if len(tensors) < 2:
            return
        channel = max((self.channels.get(n, 1) for n in tensors), default=1)
        concatenated = self._concatenated(node, rank) if node.target in _CONCATENATIONS else None
        if rank > 2 and channel == 1 and (concatenated is None or concatenated < 2):
            # An operand that was smaller than another is meant to broadcast, as in squeeze-and-excitation.
            whole = max((tuple(original[n][2:]) for n in tensors), key=math.prod)
            same = [n for n in tensors if tuple(original[n][2:]) == whole]
            # In a decoder what comes from below follows the skip; else the smallest decides.
            deciding = [n for n in same if n not in self.upsampled] or same
            like = min((operands[n] for n in deciding), key=lambda new: math.prod(self.values[new].shape[2:]))
            if node.target in _LIKE_THE_LAST:
                like = operands[tensors[-1]]
            for n in same:
                operands[n] = self._resize(operands[n], like, interpolate_to if n in self.upsampled else pool_to)
        if rank > 1 and concatenated != channel:
            whole_channels = max(original[n][channel] for n in tensors)
            same = [n for n in tensors if original[n][channel] == whole_channels]
            # The branch that was computed last keeps its channels; a shortcut is projected onto it. A mask cannot be projected.
            masks = [n for n in same if not self.values[operands[n]].is_floating_point()]
            latest = max(masks or same, key=self.order.__getitem__)
            if node.target in _LIKE_THE_LAST:
                latest = tensors[-1]
            channels = self.values[operands[latest]].shape[channel]
            for n in same:
                if n not in masks and self.values[operands[n]].shape[channel] != channels:
                    operands[n] = self._project(operands[n], channels, channel, operands[latest])

    def _fit_product(self, node: fx.Node, operands: dict[fx.Node, fx.Node], original: Shapes) -> None:
        """Of a product of matrices, whose inner sizes were one, the channels of one are brought to those of the other."""
        a, b = (list(node.all_input_nodes) * 2)[:2]
        if a not in original or b not in original or min(len(original[a]), len(original[b])) < 3:
            return
        of_b = -1 if node.target is _ATTENTION else -2
        inner = self.values[operands[a]].shape[-1], self.values[operands[b]].shape[of_b]
        if inner[0] == inner[1] or original[a][-1] != original[b][of_b]:
            return
        sides = ((b, len(original[b]) + of_b, inner[0], a), (a, len(original[a]) - 1, inner[1], b))
        for n, at, wanted, other in sides:
            if self.channels.get(n, 1) == at:
                operands[n] = self._project(operands[n], wanted, at, operands[other])
                return

    def _follow(self, operands: dict[fx.Node, fx.Node], node: fx.Node, like: fx.Node) -> None:
        """Brings one operand to the size and channels of another."""
        value, wanted = self.values[operands[node]], self.values[operands[like]]
        if value.shape[2:] != wanted.shape[2:]:
            operands[node] = self._resize(operands[node], operands[like], interpolate_to)
        if value.shape[1] != wanted.shape[1]:
            operands[node] = self._project(operands[node], wanted.shape[1], 1, operands[like])

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
            if value.dim() and value.shape[0] != 2:  # a number by itself is a loss
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

    def _project(self, source: fx.Node, channels: int, dimension: int, like: fx.Node | None = None) -> fx.Node:
        """`source` with another number of channels, once per producer: those of `like`, where there is such a value.

        Raises:
            InputError: where there are none to begin with, or none are wanted.
        """
        if 0 in (channels, self.values[source].shape[dimension]):
            raise InputError(
                f"The network cannot be built: where {source.name!r} is merged no channels are left, since they are cut out by a "
                "number; let it follow the shapes, or leave the layers before it out of the choices."
            )
        between = 1 < dimension < self.values[source].dim() - 1
        if between:  # no convolution has its channels there
            source = self._moved(source, dimension, -1)
        shape = self.values[source].shape
        name = self.builder.projection(
            (self.origins[source],), shape, channels, len(shape) - 1 if between else dimension
        )
        key = source, name, ()
        if key not in self.resized:
            new = self.graph.call_module(name, (source,))
            self.values[new] = self.builder.twins[name](self.values[source])
            self.origins[new] = self.builder.key_of((name,))
            self.resized[key] = new
            if like is not None:
                self.likes[new] = like
        return self._moved(self.resized[key], -1, dimension) if between else self.resized[key]

    def _moved(self, source: fx.Node, before: int, after: int) -> fx.Node:
        key = source, before, after
        if key not in self.resized:
            new = self.graph.call_method("movedim", (source, before, after))
            self.values[new] = self.values[source].movedim(before, after)
            self.origins[new] = self.builder.key_of(("movedim", self.origins[source], before, after))
            self.resized[key] = new
        return self.resized[key]

    def _upsamples(self, node: fx.Node) -> bool:
        if node.op == "call_module":
            return isinstance(self.builder.traced.modules[str(node.target)], _UPSAMPLING)
        return node.target is functional.interpolate

    # --- tensors of the model's own, and sizes in the calls of functions

    def _fit_held(self, node: fx.Node, operands: dict[fx.Node, fx.Node], original: Shapes) -> None:
        """A tensor of the model's own goes with the width that it meets: layer scale, positions, kernels of a blur."""
        held = [n for n in operands if n in self.held and n in original]
        others = [n for n in operands if n not in self.held and n in original]
        if not held or not others:
            return
        largest = max(others, key=lambda n: len(original[n]))
        before, now = original[largest], self.values[operands[largest]].shape
        if before == now:
            return
        for n in held:
            shape = tuple(self.values[operands[n]].shape)
            if node.target in _CONVOLUTIONS:
                wanted = (now[1], *shape[1:]) if shape[:1] == before[1:2] and shape[1:2] == (1,) else shape
            elif node.target in _WITH_CHANNELS:
                channel = -1 if node.target is functional.layer_norm else 1
                wanted = tuple(now[channel] if size == before[channel] else size for size in shape)
            elif node.target in _CONCATENATIONS and len(before) == len(shape):
                along = self._concatenated(node, len(shape))
                sizes = enumerate(zip(original[n], before, now, shape, strict=True))
                wanted = tuple(new if i != along and size == old else mine for i, (size, old, new, mine) in sizes)
            elif node.target in _ELEMENTWISE:
                pairs = zip(original[n][::-1], before[::-1], now[::-1], shape[::-1], strict=False)
                wanted = tuple(new if size == old > 1 else mine for size, old, new, mine in pairs)[::-1]
            else:
                continue
            if wanted != shape:
                self._resize_held(n, wanted)

    def _resize_held(self, node: fx.Node, wanted: Sequence[int]) -> None:
        """Gives the tensors that a value hangs on the sizes with which it has the wanted shape."""
        shape = self.values[self.nodes[node]].shape
        changes = {old: new for old, new in zip(shape, wanted, strict=True) if old != new}
        chain = self.held[node]
        for part in chain:
            if part.op == "get_attr":
                name = str(part.target)
                mine = self.builder.hold(name).shape
                self.values[self.nodes[part]] = self.builder.resize(name, [changes.get(size, size) for size in mine])
        for part in chain:
            new = self.nodes[part]
            if part.op != "get_attr":
                self._fit_sizes(new, part, self.nodes, self.original_shapes or {})
                self.values[new] = self._evaluate(new, part)
            value = self.values[new]
            if isinstance(value, torch.Tensor):
                self.shapes[part] = value.shape

    def _fit_sizes(self, new: fx.Node, node: fx.Node, operands: Mapping[fx.Node, fx.Node], original: Shapes) -> None:
        """Sizes that are written into the calls of reshapes, splits and convolutions follow the widths."""
        source = next(iter(node.all_input_nodes), None)
        value = None if source is None else self.values.get(operands[source])
        if source not in original or not isinstance(value, torch.Tensor):
            return
        if node.target in _CONVOLUTIONS:
            self._fit_groups(new, node, original[source][1], value.shape[1])
        elif reshapes.has_sizes(node):
            reshapes.fit(new, node, original, self.values, value.shape)

    def _fit_groups(self, new: fx.Node, node: fx.Node, before: int, now: int) -> None:
        """A convolution that is called as a function and has kernels for every channel has them for every channel now."""
        if node.kwargs.get("groups") == before:
            new.kwargs = {**new.kwargs, "groups": now}
        elif len(node.args) > 6 and node.args[6] == before:
            new.args = (*new.args[:6], now)

    def _fit_unit(self, node: fx.Node, operands: dict[fx.Node, fx.Node], error: reshapes.Indivisible) -> None:
        """What a reshape cannot take apart is projected onto the next lower number of channels that it can.

        Raises:
            Indivisible: the same, where its channels alone are not what is taken apart.
        """
        source = node.all_input_nodes[0]
        shape, channel = self.values[operands[source]].shape, self.channels.get(source, 1)
        if (
            len(shape) < 2
            or shape[channel] % error.unit == 0
            or (len(shape) > 2 and channel not in (1, len(shape) - 1))
        ):
            raise error
        operands[source] = self._project(operands[source], max(1, shape[channel] // error.unit) * error.unit, channel)

    # --- values

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
        args, kwargs = (on_meta(fx.map_arg(part, self.values.__getitem__)) for part in (new.args, new.kwargs))
        try:
            if new.op == "call_module":
                twin = self.builder.twins[str(new.target)]
                return args[0] if isinstance(twin, KEEPS_SHAPE) else twin(*args, **kwargs)
            with torch.device("meta"):
                if new.op == "call_method":
                    self_arg, *rest = args
                    return getattr(self_arg, str(new.target))(*rest, **kwargs)
                if new.target is getattr:
                    return attribute(*args)
                assert callable(new.target)
                return new.target(*args, **kwargs)
        except Exception as error:  # whatever the network's own operations raise on shapes that do not fit
            what = new.target if isinstance(new.target, str) else getattr(new.target, "__name__", str(new.target))
            raise InputError(
                f"The network cannot be built: {what!r}{line_of(node)} fails: {first_line(error)}; let it follow the shapes, "
                "or leave the layers before it out of the choices."
            ) from error
