"""Which channel of a built network is which channel of another that was made of the same traced network.

Every channel that a layer of the reference network makes has a number, from 1; 0 stands for none. The numbers of a layer's
channels in the other network say which of them it took over, and both networks' operations are followed with the numbers in place
of values: what moves values moves their numbers.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import fx, nn
from torch.nn.modules.conv import _ConvNd

from marl_hpo_env.networks import reshapes
from marl_hpo_env.networks.groups import Groups
from marl_hpo_env.networks.labels import (
    Labels,
    called_name,
    compressed,
    operands_of,
    positions,
    spanning,
    varying,
    with_none,
)
from marl_hpo_env.networks.rules import is_depthwise, registered, rule_for
from marl_hpo_env.networks.walk import _ATTENTION, _CONCATENATIONS, _PRODUCTS, Walk

_MOVES = {
    *("view", "reshape", "flatten", "unflatten", "permute", "transpose", "swapaxes", "movedim", "chunk", "split"),
    *(
        "split_with_sizes",
        "unbind",
        "squeeze",
        "unsqueeze",
        "expand",
        "repeat",
        "flip",
        "roll",
        "narrow",
        "select",
        "t",
    ),
    *("index_select", "repeat_interleave", "tensor_split", "getitem", "stack", "pixel_shuffle", "pixel_unshuffle"),
    *("channel_shuffle", "unfold"),
}
_MOVING = (nn.Flatten, nn.Unflatten, nn.PixelShuffle, nn.PixelUnshuffle, nn.ChannelShuffle, nn.Unfold)
_ENCODERS = (nn.TransformerEncoderLayer, nn.TransformerEncoder)


class _Followed:
    """The numbers of every value of one built graph.

    Args:
        walk: that made the graph.
    """

    def __init__(self, walk: Walk) -> None:
        self.walk = walk
        self.labels: dict[fx.Node, Any] = {}
        self.sources = {new: old for old, new in walk.nodes.items()}
        self.projected: dict[str, fx.Node] = {}  # by a projection's name, its first call

    def made(self, old: fx.Node, name: str, width: int) -> torch.Tensor:
        """The numbers of what a layer makes."""
        raise NotImplementedError

    def spread(self, old: fx.Node, name: str, incoming: torch.Tensor, multiplier: int) -> torch.Tensor:
        """The numbers of what a depthwise convolution makes of channels of these numbers."""
        raise NotImplementedError

    def joined(self, node: fx.Node, old: fx.Node, dimension: int) -> torch.Tensor:
        """The numbers along the dimension of a concatenation."""
        raise NotImplementedError

    def together(self, labels: Sequence[torch.Tensor]) -> None:
        """Notes that channels of these numbers are computed with one another."""

    def apart(self, ids: torch.Tensor, blocks: int, run: int) -> None:
        """Notes that channels are taken apart into as many blocks, and within a block into runs of this length."""

    def reads(self, name: str, incoming: torch.Tensor | None) -> None:
        """Notes which channels a layer reads in one of its calls."""

    def follow(self) -> None:
        """Finds the numbers of every value."""
        with torch.device("cpu"), torch.no_grad():
            for node in self.walk.graph.nodes:
                self.labels[node] = self._of(node, self.sources.get(node))

    def _of(self, node: fx.Node, old: fx.Node | None) -> Any:
        value: Any = self.walk.values.get(node)
        if node.op in ("get_attr", "output"):
            return None
        if node.op == "placeholder":
            if not isinstance(value, torch.Tensor) or value.dim() < 2 or old is None:
                return None
            return spanning(self.made(old, "", value.shape[1]), value, 1)
        operands = [self.labels.get(n) for n in operands_of(node)]
        known = [n for n in operands if isinstance(n, Labels)]
        if old is None:
            return self._inserted(node, value, known)
        if node.op == "call_module":
            return self._of_module(node, old, value, known)
        if node.target is operator.getitem and type(operands[0]) is tuple:
            index = node.args[1]
            return operands[0][index] if type(index) is int and index < len(operands[0]) else None
        if not known:
            return None
        if node.target in _CONCATENATIONS:
            return self._concatenation(node, old, value, known)
        if node.target in _PRODUCTS:
            return self._product(node, value, operands)
        if called_name(node) in _MOVES:
            return self._moved(node, old, known)
        return self._passed(node, value, known)

    def _of_module(self, node: fx.Node, old: fx.Node, value: Any, known: Sequence[Labels]) -> Any:
        name = str(node.target)
        module = self.walk.builder.twins[name]
        first = known[0] if known else None
        if isinstance(module, _ConvNd):
            incoming = first and first.along(1, module.in_channels)
            self.reads(name, incoming)
            if is_depthwise(self.walk.builder.traced.modules[name]) and incoming is not None:
                return spanning(self.spread(old, name, incoming, module.out_channels // module.in_channels), value, 1)
            if module.groups > 1 and incoming is not None:
                self.apart(incoming, module.groups, 1)
            made = self.made(old, name, module.out_channels)
            if module.groups > 1:
                self.apart(made, module.groups, 1)
            return spanning(made, value, 1)
        if isinstance(module, nn.Linear):
            self.reads(name, first and first.along(-1, module.in_features))
            return spanning(self.made(old, name, module.out_features), value, -1)
        if isinstance(module, nn.RNNBase):
            return spanning(self.made(old, name, value[0].shape[-1]), value[0], -1), None
        if isinstance(module, nn.MultiheadAttention):
            return first, None
        if isinstance(module, _ENCODERS):
            return first
        if isinstance(module, _MOVING):
            return self._moved(node, old, known)
        own = rule_for(module) in registered().values() and any(p.dim() > 1 for p in module.parameters())
        if own and isinstance(value, torch.Tensor):
            dimension = 1 if first is None else varying(first.ids) or 1
            return spanning(self.made(old, name, value.shape[dimension]), value, dimension)
        return self._passed(node, value, known)

    def _inserted(self, node: fx.Node, value: torch.Tensor, known: Sequence[Labels]) -> Labels | None:
        """What the walk put between: a change of size, moved dimensions, padding or a projection."""
        if node.op == "call_method":
            return self._moved(node, node, known)
        if node.op != "call_module":
            return known[0] if known and known[0].fits(value) else None
        name = str(node.target)
        self.projected.setdefault(name, node)
        dimension = value.dim() - 1 if isinstance(self.walk.builder.twins[name], nn.Linear) else 1
        wanted = self.line(self.walk.likes.get(node, operands_of(node)[0]))
        if wanted is None or len(wanted) < value.shape[dimension]:
            return None
        return spanning(wanted[: value.shape[dimension]], value, dimension)

    def line(self, node: fx.Node) -> torch.Tensor | None:
        """The numbers of a value's channels, in whatever dimension they lie."""
        labels = self.labels.get(node)
        if not isinstance(labels, Labels) or (labels.ids.numel() > 1 and varying(labels.ids) is None):
            return None
        return labels.ids.flatten()

    def _concatenation(self, node: fx.Node, old: fx.Node, value: torch.Tensor, known: Sequence[Labels]) -> Any:
        dimension = self.walk._concatenated(old, value.dim())
        if not any(labels.ids.shape[dimension] > 1 for labels in known if labels.ids.dim() == value.dim()):
            return self._passed(node, value, known)
        return spanning(self.joined(node, old, dimension), value, dimension)

    def _product(self, node: fx.Node, value: torch.Tensor, operands: Sequence[Any]) -> Labels | None:
        """A product of matrices has the columns of its last operand, or the rows of its first."""
        a, b = operands[0], operands[1] if len(operands) > 1 else None
        attention = node.target is _ATTENTION
        if isinstance(a, Labels) and isinstance(b, Labels) and b.ids.dim() > 1:
            self.together([a.ids, b.ids if attention else b.ids.transpose(-1, -2)])
        last = operands[2] if attention and len(operands) > 2 else b
        if isinstance(last, Labels) and last.ids.shape[-1] > 1 and last.fits(value):
            return last
        return a if isinstance(a, Labels) and a.ids.shape[-1] == 1 and a.fits(value) else None

    def _passed(self, node: fx.Node, value: Any, known: Sequence[Labels]) -> Any:
        """Of what computes with channels one by one: the numbers of the operand that was computed last."""
        if isinstance(value, tuple):  # such as a pool's values and where they were
            return tuple(self._passed(node, part, known) for part in value)
        if not isinstance(value, torch.Tensor):
            return None
        fitting = [labels for labels in known if labels.fits(value)]
        if fitting:
            most = max(labels.ids.numel() for labels in fitting)
            whole = [labels for labels in fitting if labels.ids.numel() == most]
            self.together([labels.ids for labels in whole])
            return self._latest(node, whole)
        if len(known) != 1 or node.op == "call_module":
            return None
        # Such as a mean over the map: what is done to one number for all of it, it is done to each.
        (labels,) = known
        full = called_name(node) == "pad"
        result = self._run(
            node, lambda n, its: its.ids.double().expand(self.walk.values[n].shape if full else its.ids.shape)
        )
        if not isinstance(result, torch.Tensor) or not bool(torch.isin(result, with_none(labels.ids)).all()):
            return None
        passed = Labels(compressed(result))
        return passed if passed.fits(value) and passed.ids.numel() >= labels.ids.numel() else None

    def _latest(self, node: fx.Node, among: Sequence[Labels]) -> Labels:
        """The numbers of the operand that comes last in the original graph."""
        old = self.sources.get(node)
        if old is None or len(among) == 1:
            return among[0]
        pairs = zip(operands_of(old), operands_of(node), strict=False)
        ordered = sorted(pairs, key=lambda pair: self.walk.order[pair[0]])
        found: list[Any] = [self.labels.get(new) for _, new in ordered]
        return [labels for labels in found if any(labels is one for one in among)][-1]

    def _moved(self, node: fx.Node, old: fx.Node, known: Sequence[Labels]) -> Any:
        """Of what moves values: their numbers, moved."""
        if not known:
            return None
        self._note_parts(node, old, known[0])
        result = self._run(node, lambda n, labels: labels.ids.expand(self.walk.values[n].shape))
        if isinstance(result, list | tuple):
            return tuple(Labels(compressed(part)) for part in result)
        if not isinstance(result, torch.Tensor):
            return None
        ids, (labels,) = compressed(result), known[:1]
        if len(known) > 1 or result.dim() < 2:
            return Labels(ids)
        sizes = labels.sizes
        if not sizes:
            (source,) = (n for n in operands_of(node) if isinstance(self.labels.get(n), Labels))
            shape = self.walk.values[source].shape
            sizes = tuple(b for d, (a, b) in enumerate(zip(labels.ids.shape, shape, strict=True)) if d and a == 1 < b)
        found = self._run(node, self._place) if sizes else None
        if isinstance(found, torch.Tensor):
            places = compressed(found)
            mixed = any(a > 1 and b > 1 for a, b in zip(ids.shape, places.shape, strict=True))
            if mixed:
                return Labels(ids, places, sizes)
        return Labels(ids)

    def _place(self, node: fx.Node, labels: Labels) -> torch.Tensor:
        """The place in the map of every element of a value."""
        shape = self.walk.values[node].shape
        if labels.places is not None:
            return labels.places.expand(shape)
        own = [b if d and a == 1 else 1 for d, (a, b) in enumerate(zip(labels.ids.shape, shape, strict=True))]
        return torch.arange(torch.Size(own).numel()).view(own).expand(shape)

    def _note_parts(self, node: fx.Node, old: fx.Node, labels: Labels) -> None:
        """Notes what a call takes channels apart into."""
        dimension = varying(labels.ids)
        if dimension is None or labels.places is not None:
            return
        parts = self._parts(node, old, dimension, labels.ids.numel())
        if parts is not None:
            self.apart(labels.ids.flatten(), *parts)

    def _parts(self, node: fx.Node, old: fx.Node, dimension: int, total: int) -> tuple[int, int] | None:
        """The blocks, and within a block the runs, that a call takes this many channels apart into; None where it does not."""
        if node.op == "call_module":
            module = self.walk.builder.twins[str(node.target)]
            if isinstance(module, nn.PixelShuffle):
                return 1, module.upscale_factor**2
            if isinstance(module, nn.ChannelShuffle):
                return module.groups, 1
            if isinstance(module, nn.Unflatten) and self.walk.values[node].shape[dimension] < total:
                return 1, total // self.walk.values[node].shape[dimension]
            return None
        name, values = called_name(node), self.walk.values[node]
        if name in ("chunk", "split", "split_with_sizes", "tensor_split", "unbind"):
            sizes = [part.shape[dimension] for part in values if part.dim() > dimension]
            return (total // math.gcd(*sizes), 1) if len(sizes) > 1 and sum(sizes) == total else None
        if not isinstance(values, torch.Tensor):
            return None
        if name == "getitem" and values.dim() > dimension and 0 < values.shape[dimension] < total:
            cut = values.shape[dimension]
            return (total // cut, 1) if total % cut == 0 else None
        if name in ("channel_shuffle", "pixel_shuffle"):
            number = node.args[1] if len(node.args) > 1 else next(iter(node.kwargs.values()), 1)
            return ((number, 1) if name == "channel_shuffle" else (1, number**2)) if type(number) is int else None
        return reshapes.parts(old, self.walk.shapes, dimension)

    def _run(self, node: fx.Node, numbers: Callable[[fx.Node, Labels], torch.Tensor]) -> Any:
        """What a call makes of numbers in place of values; None where it takes none."""

        def argument(n: fx.Node) -> Any:
            labels = self.labels.get(n)
            return numbers(n, labels) if isinstance(labels, Labels) else self.walk.values[n]

        args: Any = fx.map_arg(node.args, argument)
        kwargs: Any = fx.map_arg(node.kwargs, argument)
        try:
            if node.op == "call_module":
                return self.walk.builder.twins[str(node.target)](*args, **kwargs)
            if node.op == "call_method":
                # Numbers that stand for a whole dimension do not lie one after the other, as a view needs it.
                method = "reshape" if node.target == "view" else str(node.target)
                result = getattr(args[0], method)(*args[1:], **kwargs)
            else:
                result = node.target(*args, **kwargs)  # type: ignore[operator]
        except Exception:  # whatever an operation does not do with whole numbers
            return None
        if isinstance(result, list | tuple):
            return result if all(isinstance(part, torch.Tensor) for part in result) else None
        if not isinstance(result, torch.Tensor) or result.device.type != "cpu":
            return None
        whole = result.round()
        return whole.long() if torch.equal(whole, result) else None


class Reference(_Followed):
    """The network whose channels are numbered, in one mode.

    Args:
        walk: that made its graph.
        groups: shared by the modes.
    """

    def __init__(self, walk: Walk, groups: Groups) -> None:
        super().__init__(walk)
        self.groups = groups
        self.bases: dict[fx.Node, int] = {}
        self.read: dict[str, torch.Tensor] = {}
        self.follow()

    def made(self, old: fx.Node, name: str, width: int) -> torch.Tensor:
        self.bases[old] = self.groups.more(width)
        ids = self.bases[old] + torch.arange(width)
        if name:
            self.groups.same(ids, self.groups.layer(name, width))
        return ids

    def spread(self, old: fx.Node, name: str, incoming: torch.Tensor, multiplier: int) -> torch.Tensor:
        self.bases[old] = self.groups.more(len(incoming) * multiplier)
        ids = self.bases[old] + torch.arange(len(incoming) * multiplier)
        if multiplier == 1:
            self.groups.same(ids, incoming)
        return ids

    def joined(self, node: fx.Node, old: fx.Node, dimension: int) -> torch.Tensor:
        sizes = [self.walk.values[n].shape[dimension] for n in operands_of(node)]
        self.bases[old] = self.groups.more(sum(sizes))
        ids = self.bases[old] + torch.arange(sum(sizes))
        self.groups.join(ids, sizes)
        for part, n in zip(ids.split(sizes), operands_of(node), strict=True):
            labels = self.labels.get(n)
            its = labels.along(dimension, len(part)) if isinstance(labels, Labels) else None
            if its is not None:
                self.groups.same(part, its)
        return ids

    def together(self, labels: Sequence[torch.Tensor]) -> None:
        for other in labels[1:]:
            if other.shape == labels[0].shape:
                self.groups.together(other.flatten(), labels[0].flatten())

    def apart(self, ids: torch.Tensor, blocks: int, run: int) -> None:
        if len(ids) % (blocks * run) == 0:
            self.groups.take_apart(ids, blocks, run)

    def reads(self, name: str, incoming: torch.Tensor | None) -> None:
        if incoming is not None:
            self.together([self.read.setdefault(name, incoming), incoming])


class Carried(_Followed):
    """A network made of the same traced network, in the reference's numbers.

    Args:
        walk: that made its graph.
        reference: in the same mode.
        selected: by a layer's name and width, which of the reference's channels it makes.
    """

    def __init__(self, walk: Walk, reference: Reference, selected: Callable[[str, int], torch.Tensor]) -> None:
        super().__init__(walk)
        self.reference = reference
        self.selected = selected
        self.follow()

    def made(self, old: fx.Node, name: str, width: int) -> torch.Tensor:
        return self.reference.bases[old] + (self.selected(name, width) if name else torch.arange(width))

    def spread(self, old: fx.Node, name: str, incoming: torch.Tensor, multiplier: int) -> torch.Tensor:
        reference = operands_of(self.reference.walk.nodes[old])[0]
        size = self.reference.walk.values[reference].shape[1]
        found = positions(incoming, self.reference.labels[reference].along(1, size))
        if found is None:
            found = torch.arange(len(incoming)) if len(incoming) == size else torch.full((len(incoming),), -1)
        channels = found[:, None] * multiplier + torch.arange(multiplier)
        return torch.where(found[:, None] < 0, 0, self.reference.bases[old] + channels).flatten()

    def joined(self, node: fx.Node, old: fx.Node, dimension: int) -> torch.Tensor:
        parts, offset = [], self.reference.bases[old]
        pairs = zip(operands_of(node), operands_of(self.reference.walk.nodes[old]), strict=True)
        for new, reference in pairs:
            size, its = (
                walk.values[n].shape[dimension] for walk, n in ((self.walk, new), (self.reference.walk, reference))
            )
            found = self.positions(new, reference, dimension)
            part = torch.full((size,), -1) if found is None else found
            parts.append(torch.where(part < 0, 0, offset + part))
            offset += its
        return torch.cat(parts)

    def positions(self, node: fx.Node, reference: fx.Node, dimension: int) -> torch.Tensor | None:
        """For each channel of a value its index in the reference's counterpart; in order where nothing is known of them and
        they are as many."""
        both = (self, node), (self.reference, reference)
        lines = []
        for followed, n in both:
            labels, size = followed.labels.get(n), followed.walk.values[n].shape[dimension]
            lines.append(labels.along(dimension, size) if isinstance(labels, Labels) else None)
        found = positions(*lines)
        if found is None:
            sizes = {followed.walk.values[n].shape[dimension] for followed, n in both}
            return torch.arange(sizes.pop()) if len(sizes) == 1 else None
        return found

    def index(self, node: fx.Node) -> torch.Tensor | None:
        """For each channel of a value, which may be one that the walk put between, its index in the reference."""
        origin = node
        while origin not in self.sources:
            origin = operands_of(origin)[0]
        return positions(self.line(node), self.reference.line(self.reference.walk.nodes[self.sources[origin]]))
