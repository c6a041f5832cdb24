"""Weights that a design takes over from a network of the same graph: slices, crops, copies (ours; the paper is silent).

A narrower layer takes the strongest filters, by L1 norm, in their order; layers that are computed with one another, as those
that are added, have one order. A wider one has copies of filters, and what reads them divides by their number (Chen et al.,
Net2Net, 2016). Kernels are cropped, or padded with zeros, around their centre. The map before a linear layer is resampled.
A projection begins as the selection that it stands for.

A design that is equal or wider, with the same strides and pools, computes what the reference does, where operations treat
channels alone: convolutions (depthwise and grouped too), linear layers, batch norm, activations, pools, sums, products and
concatenations. It does not where statistics or a sum go over channels: layer and group norm (with copies that are not of all
channels alike), softmax over channels, attention (its products grow with the width of a head), and recurrent layers of another
hidden size.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.nn import functional
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from marl_hpo_env.networks.alignment import POOLS
from marl_hpo_env.networks.builder import NetworkBuilder
from marl_hpo_env.networks.channels import Carried, Labels, Reference, operands_of, positions
from marl_hpo_env.networks.groups import Groups

Tensors = Mapping[str, torch.Tensor]


class _Map(NamedTuple):
    """A map that a linear layer reads.

    Args:
        table: which of the weight's columns stands for a channel at a place, shape (channels, places).
        before: the map's spatial size in the reference.
        now: the size that it is resampled to.
    """

    table: torch.Tensor
    before: tuple[int, ...]
    now: tuple[int, ...]

    def resampled(self, weight: torch.Tensor) -> torch.Tensor:
        """Columns by channel and place of the map now; a sum over the map stays what it was."""
        by_place = weight[:, self.table].unflatten(2, self.before)
        ratio = torch.Size(self.before).numel() / torch.Size(self.now).numel()
        resampled: torch.Tensor = POOLS[by_place.dim()](by_place, self.now) * ratio
        return resampled.flatten(1)


class Slice(NamedTuple):
    """How one tensor follows from one of the reference's.

    Args:
        source: the name of the reference's.
        indices: by dimension from the first, which places of it; a number for as many of the first, None for all.
        within: of a grouped convolution, by row which columns of it.
        scale: what is multiplied with: 0 where there is no counterpart, and the reciprocal of the number of copies.
        kernel: what a kernel is padded with on each side, as `torch.nn.functional.pad` takes it; negative to crop.
        map: of a linear layer that reads one of another size.
    """

    source: str
    indices: tuple[torch.Tensor | int | None, ...] = ()
    within: torch.Tensor | None = None
    scale: torch.Tensor | None = None
    kernel: tuple[int, ...] = ()
    map: _Map | None = None

    def of(self, tensor: torch.Tensor) -> torch.Tensor:
        """The tensor, from the reference's; differentiable."""
        if self.map is not None:
            tensor = self.map.resampled(tensor)
        for dimension, index in enumerate(self.indices):
            if isinstance(index, int):
                tensor = tensor.narrow(dimension, 0, index)
            elif index is not None:
                tensor = tensor.index_select(dimension, index)
        if self.within is not None:
            index = self.within.view(*self.within.shape, *[1] * (tensor.dim() - 2))
            tensor = tensor.gather(1, index.expand(*self.within.shape, *tensor.shape[2:]))
        if any(self.kernel):
            tensor = functional.pad(tensor, self.kernel)
        if self.scale is not None:
            tensor = tensor * self.scale.view(*self.scale.shape, *[1] * (tensor.dim() - self.scale.dim())).to(
                tensor.dtype
            )
        return tensor

    def to(self, device: torch.device) -> Slice:
        """The same with its indices on a device."""

        def moved(value: Any) -> Any:
            if isinstance(value, torch.Tensor):
                return value.to(device)
            return type(value)(*map(moved, value)) if isinstance(value, _Map) else value

        return self._replace(
            indices=tuple(map(moved, self.indices)),
            within=moved(self.within),
            scale=moved(self.scale),
            map=moved(self.map),
        )


class Plan:
    """How every tensor of a design follows from those of a reference network.

    Attributes:
        slices: by the name of the design's tensor.
        constants: by name, of projections: the selections that they begin as.
        fresh: names of the design's parameters that have no counterpart.
    """

    def __init__(self, slices: Mapping[str, Slice], constants: Tensors, fresh: Sequence[str]) -> None:
        self.slices = slices
        self.constants = constants
        self.fresh = tuple(fresh)

    def __call__(self, tensors: Tensors) -> dict[str, torch.Tensor]:
        """The design's tensors by name, from the reference's state dict; gradients flow back to it.

        What `tensors` lacks, and what is fresh, is not in it.
        """
        found = {name: part.of(tensors[part.source]) for name, part in self.slices.items() if part.source in tensors}
        return {**self.constants, **found}

    def load(self, network: nn.Module, tensors: Tensors) -> tuple[str, ...]:
        """Gives a built design its weights in place; names of the parameters that have none and stay as they are."""
        own = {**dict(network.named_parameters()), **dict(network.named_buffers())}
        with torch.no_grad():
            found = self({name: tensor.detach().cpu() for name, tensor in tensors.items()})
            for name, tensor in found.items():
                own[name].copy_(tensor)
        return tuple(name for name, _ in network.named_parameters() if name not in found)

    def to(self, device: torch.device | str) -> Plan:
        """The same for tensors on a device."""
        where = torch.device(device)
        slices = {name: part.to(where) for name, part in self.slices.items()}
        return Plan(slices, {name: tensor.to(where) for name, tensor in self.constants.items()}, self.fresh)


class Counterparts:
    """Every design of a traced network, beside one that holds the weights.

    Args:
        builder: of the reference, which it has built on the meta device.

    Attributes:
        state: the reference's state dict, without values.
    """

    def __init__(self, builder: NetworkBuilder) -> None:
        self.builder = builder
        self.state = builder.root.state_dict()
        self.groups = Groups()
        self.references = {mode: Reference(walk, self.groups) for mode, walk in builder.walks.items()}

    def plan(self, built: NetworkBuilder, strengths: Tensors | None = None) -> Plan:
        """How the tensors of a design follow.

        Args:
            built: the builder of the design, which it has built.
            strengths: the reference's state dict, of which narrower layers take the strongest filters; the first where None.
        """
        by_group = None if strengths is None else self._strengths(strengths)
        selected: dict[tuple[str, int], torch.Tensor] = {}

        def select(name: str, width: int) -> torch.Tensor:
            if (name, width) not in selected:
                selected[name, width] = self.groups.select(name, width, by_group)
            return selected[name, width]

        slices: dict[str, Slice] = {}
        constants: dict[str, torch.Tensor] = {}
        seen: set[str] = set()
        with torch.device("cpu"), torch.no_grad():
            for mode, walk in built.walks.items():
                carried = Carried(walk, self.references[mode], select)
                for node, old in carried.sources.items():
                    name = str(node.target)
                    if node.op == "call_module" and name not in seen:
                        seen.add(name)
                        slices |= _Module(carried, node, old, name).slices()
                    elif node.op == "get_attr" and name in self.builder.traced.saved and name not in slices:
                        slices |= _held(carried, node, old, name)
                for name, node in carried.projected.items():
                    found = self._projection(carried, name, node)
                    if isinstance(found, Slice):
                        slices.setdefault(f"{name}.weight", found)
                    elif found is not None:
                        constants.setdefault(f"{name}.weight", found)
        known = {**slices, **constants}
        fresh = [name for name, _ in built.root.named_parameters() if name not in known]
        slices = {name: _beginning(part) for name, part in slices.items()}
        return Plan(slices, {name: constants[name] for name in constants if name not in slices}, fresh)

    def _strengths(self, tensors: Tensors) -> dict[int, float]:
        """By group, the summed L1 norms of its filters."""
        found: dict[int, float] = {}
        for name in self.groups.layers:
            weight = tensors.get(f"{name}.weight")
            module = self.builder.twins[name]
            if weight is None:
                continue
            filters = weight.detach().double().abs()
            if isinstance(module, _ConvTransposeNd):  # by group, then input and output channel
                filters = filters.unflatten(0, (module.groups, -1)).transpose(1, 2).flatten(0, 1)
            for root, norm in zip(self.groups.roots(name), filters.flatten(1).sum(1).tolist(), strict=False):
                found[root] = found.get(root, 0.0) + norm
        return found

    def _projection(self, carried: Carried, name: str, node: Any) -> Slice | torch.Tensor | None:
        """A slice of the reference's projection of the same value, or the selection that a projection stands for."""
        source = operands_of(node)[0]
        reference = carried.reference
        for other, its in reference.projected.items():
            if reference.sources.get(operands_of(its)[0]) is carried.sources.get(source) is not None:
                rows = positions(carried.line(node), reference.line(its))
                columns = positions(carried.line(source), reference.line(operands_of(its)[0]))
                if rows is not None and columns is not None:
                    return _slice(f"{other}.weight", rows, columns, shared=1)
        had = carried.index(source)
        wanted = had if node not in carried.walk.likes else carried.index(carried.walk.likes[node])
        shape = carried.walk.builder.twins[name].weight.shape
        if had is None or wanted is None or len(wanted) < shape[0]:
            return None
        weight = ((wanted[: shape[0], None] == had) & (had >= 0)).float()
        return (weight / weight.sum(1, keepdim=True).clamp(min=1)).view(shape)


class _Module:
    """The slices of one module's tensors.

    Args:
        carried: the design.
        node: the module's first call in its graph.
        old: the same in the original graph.
        name: of the module.
    """

    def __init__(self, carried: Carried, node: Any, old: Any, name: str) -> None:
        self.carried = carried
        self.name = name
        self.new = carried.walk.builder.twins[name]
        self.old = carried.reference.walk.builder.twins[name]
        self.node, self.reference = node, carried.reference.walk.nodes[old]

    def slices(self) -> dict[str, Slice]:
        """By name, of what has a counterpart."""
        state = self.new.state_dict()
        if not state:
            return {}
        if type(self.new) is not type(self.old):
            found: dict[str, Slice] = {}
        elif isinstance(self.new, _ConvNd):
            found = self._convolution()
        elif isinstance(self.new, nn.Linear):
            found = self._linear()
        elif isinstance(self.new, nn.MultiheadAttention):
            found = _attention(self.old, self.new, [self._incoming(-1, n) for n in range(3)])
        elif isinstance(self.new, nn.TransformerEncoderLayer):
            found = _encoder_layer("", self.old, self.new, self._incoming(-1))
        elif isinstance(self.new, nn.TransformerEncoder):
            found = {}
            for number, (old, new) in enumerate(zip(self.old.layers, self.new.layers, strict=True)):
                found |= _encoder_layer(f"layers.{number}.", old, new, self._incoming(-1))
        elif isinstance(self.new, nn.RNNBase):
            columns = self._incoming(-1)
            found = {}
            for name in (key for key in state if key.startswith("weight_ih_l0") and columns is not None):
                if state[name].shape[0] == self.old.state_dict()[name].shape[0]:
                    found[name] = _slice(name, None, columns, shared=1)
        else:
            found = {}
        own = self.old.state_dict()
        for key, tensor in state.items():
            known = key == "weight" and type(self.new) is type(self.old) and isinstance(self.new, _ConvNd | nn.Linear)
            if key not in found and key in own and not known:
                part = self._by_size(key, own[key], tensor)
                if part is not None:
                    found[key] = part
        return {f"{self.name}.{key}": part._replace(source=f"{self.name}.{part.source}") for key, part in found.items()}

    def _incoming(self, dimension: int, number: int = 0) -> torch.Tensor | None:
        """Where the channels of an input lie in the reference's."""
        given = (operands_of(self.node), operands_of(self.reference))
        new, reference = (nodes[min(number, len(nodes) - 1)] for nodes in given)
        return self.carried.positions(new, reference, dimension)

    def _outgoing(self, dimension: int) -> torch.Tensor | None:
        return self.carried.positions(self.node, self.reference, dimension)

    def _convolution(self) -> dict[str, Slice]:
        """A convolution's weight is (output, input of a group, kernel), a transposed one's (input, output of a group, kernel)."""
        old, new = self.old, self.new
        transposed = isinstance(new, _ConvTransposeNd)
        inside, outside = self._incoming(1), self._outgoing(1)
        found = {}
        if outside is not None and new.bias is not None and old.bias is not None:
            found["bias"] = _slice("bias", outside)
        if inside is None or outside is None:
            return found
        growth = [k - before for k, before in zip(new.kernel_size, old.kernel_size, strict=True)]
        # An odd remainder lies right and bottom, of a transposed convolution left and top: as the builder pads.
        left = [(g + 1) // 2 if transposed else g // 2 for g in growth]
        kernel = tuple(n for g, half in zip(reversed(growth), reversed(left), strict=True) for n in (half, g - half))
        rows, columns = (inside, outside) if transposed else (outside, inside)
        # By the other's group, since a row's columns are those of its group.
        group = torch.arange(len(rows)) // (len(rows) // new.groups)
        absolute = columns.view(new.groups, -1)[group]
        before = (old.in_channels, old.out_channels) if transposed else (old.out_channels, old.in_channels)
        width = before[1] // old.groups
        index = absolute - (rows.clamp(min=0) // (before[0] // old.groups))[:, None] * width
        there = (index >= 0) & (index < width) & (absolute >= 0) & (rows >= 0)[:, None]
        copies = torch.cat([_shares(part) for part in inside.view(new.groups, -1)])
        shares = copies[:, None] if transposed else copies.view(new.groups, -1)[group]
        scale = _scale(there, shares)
        index = index.clamp(0, width - 1)
        if new.groups == old.groups == 1:
            indices = (_unless_all(rows, before[0]), _unless_all(columns, before[1]))
            found["weight"] = Slice("weight", indices, scale=scale, kernel=kernel)
        else:
            same = width == index.shape[1] and bool((index == torch.arange(width)).all())
            found["weight"] = Slice("weight", (_unless_all(rows, before[0]),), None if same else index, scale, kernel)
        return found

    def _linear(self) -> dict[str, Slice]:
        rows = self._outgoing(-1)
        found = {}
        if rows is None:
            return found
        if self.new.bias is not None and self.old.bias is not None:
            found["bias"] = _slice("bias", rows)
        read = self._map_columns()
        table, columns = (None, self._incoming(-1)) if read is None else read
        if columns is not None:
            sizes = (self.old.out_features, self.old.in_features)
            found["weight"] = _slice("weight", rows, columns, sizes, shared=1)._replace(map=table)
        return found

    def _map_columns(self) -> tuple[_Map | None, torch.Tensor] | None:
        """Where channels and a map reach a linear layer in one dimension: the map, if it is of another size now, and for each
        input its column of what the reference's weight is then."""
        lines = []
        for followed, node, size in (
            (self.carried.reference, self.reference, self.old.in_features),
            (self.carried, self.node, self.new.in_features),
        ):
            labels = followed.labels.get(operands_of(node)[0])
            if not isinstance(labels, Labels):
                return None
            lines.append((labels.along(-1, size), labels.places_along(-1, size), labels.sizes))
        (ids, places, sizes), (now, now_places, now_sizes) = lines
        if ids is None or now is None or places is None:
            return None
        if now_places is None:
            now_places, now_sizes = torch.zeros_like(now), (1,) * len(sizes)
        channels, number = ids.unique(return_inverse=True)
        count = torch.Size(sizes).numel()
        if len(channels) * count != len(ids) or len(sizes) != len(now_sizes) or not 1 <= len(sizes) <= 3:
            return None
        table = torch.full((len(channels), count), -1)
        table[number, places] = torch.arange(len(ids))
        channel = positions(now, channels) if len(channels) > 1 else torch.where(now == channels[0], 0, -1)
        if channel is None or bool((table < 0).any()):
            return None
        if sizes == now_sizes:
            return None, torch.where(channel < 0, -1, table[channel, now_places])
        places = torch.Size(now_sizes).numel()
        return _Map(table, sizes, now_sizes), torch.where(channel < 0, -1, channel * places + now_places)

    def _by_size(self, key: str, old: torch.Tensor, new: torch.Tensor) -> Slice | None:
        """Of any other tensor: a dimension as long as the width of the module's input or output is sliced as that is."""
        if old.dim() != new.dim():
            return None
        if not old.dim():
            return Slice(key)
        ends = []
        for n, reference in ((self.node, self.reference), (operands_of(self.node)[0], operands_of(self.reference)[0])):
            value = self.carried.walk.values[n]
            labels = self.carried.labels.get(n)
            if not isinstance(value, torch.Tensor) or value.dim() < 2:
                continue
            varying = [d for d, s in enumerate(labels.ids.shape) if s > 1] if isinstance(labels, Labels) else []
            dimension = varying[0] if len(varying) == 1 else 1
            found = self.carried.positions(n, reference, dimension)
            if found is not None:
                ends.append(
                    (self.carried.reference.walk.values[reference].shape[dimension], value.shape[dimension], found)
                )
        indices: list[torch.Tensor | None] = []
        scale = None
        for dimension, sizes in enumerate(zip(old.shape, new.shape, strict=True)):
            order = ends if dimension == 0 else ends[::-1]
            match = next((its for before, now, its in order if (before, now) == sizes and sizes[0] > 1), None)
            if match is None and sizes[0] != sizes[1]:
                return None
            indices.append(None if match is None else _unless_all(match, sizes[0]))
            if match is not None and bool((match < 0).any()):
                there = (match >= 0).float().view([-1 if d == dimension else 1 for d in range(old.dim())])
                scale = there if scale is None else scale * there
        return Slice(key, tuple(indices), scale=scale)


def _encoder_layer(prefix: str, old: Any, new: Any, columns: torch.Tensor | None) -> dict[str, Slice]:
    """Of a transformer's layer: its width is that of its input, all through."""
    if columns is None:
        return {}
    found = {
        f"self_attn.{key}": part._replace(source=f"self_attn.{part.source}")
        for key, part in _attention(old.self_attn, new.self_attn, [columns] * 3).items()
    }
    if old.linear1.out_features == new.linear1.out_features:
        found["linear1.weight"] = _slice("linear1.weight", None, columns, shared=1)
        found["linear2.weight"] = _slice("linear2.weight", columns)
    for name in ("norm1.weight", "norm1.bias", "norm2.weight", "norm2.bias", "linear2.bias"):
        if name in new.state_dict():
            found[name] = _slice(name, columns)
    return {f"{prefix}{key}": part._replace(source=f"{prefix}{part.source}") for key, part in found.items()}


def _attention(
    old: nn.MultiheadAttention, new: nn.MultiheadAttention, inputs: Sequence[torch.Tensor | None]
) -> dict[str, Slice]:
    """Of an attention: each head has the first of its channels, or copies of them; it makes the channels of its query."""
    query, key, value = inputs
    if query is None or key is None or value is None or old.num_heads != new.num_heads:
        return {}
    units, now = old.embed_dim // old.num_heads, new.embed_dim // new.num_heads
    inner = (torch.arange(old.num_heads)[:, None] * units + torch.arange(now) % units).flatten()
    three = torch.cat([inner + part * old.embed_dim for part in range(3)])
    found = {"out_proj.weight": _slice("out_proj.weight", query, inner, shared=1)}
    names = set(new.state_dict()) & set(old.state_dict())
    if "in_proj_weight" in names:
        found["in_proj_weight"] = _slice("in_proj_weight", three, query, shared=1)
    for name, columns in (("q_proj_weight", query), ("k_proj_weight", key), ("v_proj_weight", value)):
        if name in names:
            found[name] = _slice(name, inner, columns, shared=1)
    if "in_proj_bias" in names:
        found["in_proj_bias"] = _slice("in_proj_bias", three)
    if "out_proj.bias" in names:
        found["out_proj.bias"] = _slice("out_proj.bias", query)
    for name in {"bias_k", "bias_v"} & names:
        found[name] = Slice(name, (None, None, inner))
    return found


def _held(carried: Carried, node: Any, old: Any, name: str) -> dict[str, Slice]:
    """Of a tensor that a graph uses by itself: it goes with the channels of the first value that it meets."""
    reference = carried.reference.walk.nodes[old]
    before, now = carried.reference.walk.values[reference].shape, carried.walk.values[node].shape
    met = _meets(carried, old)
    if met is None:
        return {name: Slice(name)} if before == now else {}
    size, wanted, found = met
    indices = []
    for was, has in zip(before, now, strict=True):
        if (was, has) == (size, wanted):
            indices.append(_unless_all(found.clamp(min=0), size))
        elif was == has:
            indices.append(None)
        else:
            return {}
    return {name: Slice(name, tuple(indices))}


def _meets(carried: Carried, old: Any) -> tuple[int, int, torch.Tensor] | None:
    """The channels of the first value that one of the model's own tensors meets: how many in the reference, how many now, and
    where they lie."""
    walk, reference = carried.walk, carried.reference
    for user in (n for chain in [old, *_hanging(walk, old)] for n in chain.users):
        for other in user.all_input_nodes:
            new, its = walk.nodes[other], reference.walk.nodes[other]
            labels = reference.labels.get(its)
            if isinstance(labels, Labels) and labels.ids.numel() > 1:
                dimension = next((d for d, s in enumerate(labels.ids.shape) if s == labels.ids.numel()), None)
                found = None if dimension is None else carried.positions(new, its, dimension)
                if found is not None and dimension is not None:
                    return reference.walk.values[its].shape[dimension], walk.values[new].shape[dimension], found
    return None


def _hanging(walk: Any, old: Any) -> Iterator[Any]:
    """What is computed of one of the model's own tensors before it meets another value."""
    return (n for n, chain in walk.held.items() if old in chain and n is not old)


def _slice(
    source: str,
    rows: torch.Tensor | None,
    columns: torch.Tensor | None = None,
    sizes: Sequence[int] = (),
    shared: int | None = None,
) -> Slice:
    """Rows and columns of a tensor.

    Args:
        source: its name.
        rows: places in the first dimension, -1 for none; None for all.
        columns: likewise in the second.
        sizes: of these dimensions, where known: what takes all of one takes no index.
        shared: the dimension that is summed over, whose copies share what there is.
    """
    scale = None
    if rows is not None and bool((rows < 0).any()):
        scale = (rows >= 0).float()
        if columns is not None:
            scale = scale[:, None]
    if columns is not None and shared == 1:
        shares = _shares(columns)
        if not bool((shares == 1).all()):
            scale = shares[None, :] if scale is None else scale * shares
    given = [None if index is None else index.clamp(min=0) for index in (rows, columns)]
    known = [*sizes, None, None]
    indices = tuple(None if i is None or (s and _is_all(i, s)) else i for i, s in zip(given, known, strict=False))
    return Slice(source, indices[: 1 if columns is None else 2], scale=scale)


def _shares(columns: torch.Tensor) -> torch.Tensor:
    """For each channel one divided by the number of its copies; 0 where there is no counterpart."""
    _, number, counts = columns.unique(return_inverse=True, return_counts=True)
    return torch.where(columns < 0, 0.0, 1 / counts[number].float())


def _scale(there: torch.Tensor, shares: torch.Tensor) -> torch.Tensor | None:
    scale = there.float() * shares
    return None if bool((scale == 1).all()) else scale


def _is_all(index: torch.Tensor, size: int) -> bool:
    return len(index) == size and torch.equal(index, torch.arange(size))


def _unless_all(index: torch.Tensor, size: int) -> torch.Tensor | None:
    index = index.clamp(min=0)
    return None if _is_all(index, size) else index


def _beginning(part: Slice) -> Slice:
    """The same, where the first places are taken by their number: they need no copy."""
    indices = [i if i is None or not _is_all(i, len(i)) else len(i) for i in part.indices]  # type: ignore[arg-type]
    return part._replace(indices=tuple(indices))
