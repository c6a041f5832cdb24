"""How the tensors of one module follow from those of the same module of another network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.nn import functional
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from marl_hpo_env.networks.alignment import POOLS
from marl_hpo_env.networks.channels import Carried
from marl_hpo_env.networks.labels import Labels, operands_of, positions


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
        by_place = weight[:, self.table].unflatten(2, list(self.before))
        ratio = torch.Size(self.before).numel() / torch.Size(self.now).numel()
        resampled: torch.Tensor = POOLS[by_place.dim()](by_place, list(self.now)) * ratio
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
        index: Any
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


class ModuleSlices:
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
        self.new: Any = carried.walk.builder.twins[name]
        self.old: Any = carried.reference.walk.builder.twins[name]
        self.node, self.reference = node, carried.reference.walk.nodes[old]

    def slices(self) -> dict[str, Slice]:
        """By name, of what has a counterpart."""
        state = self.new.state_dict()
        if not state:
            return {}
        same = type(self.new) is type(self.old)
        found = self._by_type() if same else {}
        own = self.old.state_dict()
        for key, tensor in state.items():
            # A kernel's dimensions are not told apart by their sizes.
            kernel = same and key == "weight" and isinstance(self.new, _ConvNd | nn.Linear)
            part = None if key in found or key not in own or kernel else self._by_size(key, own[key], tensor)
            if part is not None:
                found[key] = part
        return {f"{self.name}.{key}": part._replace(source=f"{self.name}.{part.source}") for key, part in found.items()}

    def _by_type(self) -> dict[str, Slice]:
        """Of the types whose tensors have an order of their own."""
        old, new = self.old, self.new
        if isinstance(new, _ConvNd):
            return self._convolution()
        if isinstance(new, nn.Linear):
            return self._linear()
        if isinstance(new, nn.MultiheadAttention):
            return _attention(old, new, [self._incoming(-1, number) for number in range(3)])
        if isinstance(new, nn.TransformerEncoderLayer):
            return _encoder_layer("", old, new, self._incoming(-1))
        columns = self._incoming(-1) if isinstance(new, nn.TransformerEncoder | nn.RNNBase) else None
        found: dict[str, Slice] = {}
        if isinstance(new, nn.TransformerEncoder):
            for number, layers in enumerate(zip(old.layers, new.layers, strict=True)):
                found |= _encoder_layer(f"layers.{number}.", *layers, columns)
        elif isinstance(new, nn.RNNBase) and columns is not None and new.hidden_size == old.hidden_size:
            for key in (key for key in new.state_dict() if key.startswith("weight_ih_l0")):
                found[key] = sliced(key, None, columns, shared=1)
        return found

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
        found: dict[str, Slice] = {}
        transposed = isinstance(new, _ConvTransposeNd)
        inside, outside = self._incoming(1), self._outgoing(1)
        if outside is not None and new.bias is not None and old.bias is not None:
            found["bias"] = sliced("bias", outside)
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
            indices = (unless_all(rows, before[0]), unless_all(columns, before[1]))
            found["weight"] = Slice("weight", indices, scale=scale, kernel=kernel)
        else:
            same = width == index.shape[1] and bool((index == torch.arange(width)).all())
            found["weight"] = Slice("weight", (unless_all(rows, before[0]),), None if same else index, scale, kernel)
        return found

    def _linear(self) -> dict[str, Slice]:
        rows = self._outgoing(-1)
        found: dict[str, Slice] = {}
        if rows is None:
            return found
        if self.new.bias is not None and self.old.bias is not None:
            found["bias"] = sliced("bias", rows)
        read = self._map_columns()
        table, columns = (None, self._incoming(-1)) if read is None else read
        if columns is not None:
            sizes = (self.old.out_features, self.old.in_features)
            found["weight"] = sliced("weight", rows, columns, sizes, shared=1)._replace(map=table)
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
        columns = channel * torch.Size(now_sizes).numel() + now_places
        return _Map(table, sizes, now_sizes), torch.where(channel < 0, -1, columns)

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
            indices.append(None if match is None else unless_all(match, sizes[0]))
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
        found["linear1.weight"] = sliced("linear1.weight", None, columns, shared=1)
        found["linear2.weight"] = sliced("linear2.weight", columns)
    for name in ("norm1.weight", "norm1.bias", "norm2.weight", "norm2.bias", "linear2.bias"):
        if name in new.state_dict():
            found[name] = sliced(name, columns)
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
    found = {"out_proj.weight": sliced("out_proj.weight", query, inner, shared=1)}
    names = set(new.state_dict()) & set(old.state_dict())
    if "in_proj_weight" in names:
        found["in_proj_weight"] = sliced("in_proj_weight", three, query, shared=1)
    for name, columns in (("q_proj_weight", query), ("k_proj_weight", key), ("v_proj_weight", value)):
        if name in names:
            found[name] = sliced(name, inner, columns, shared=1)
    if "in_proj_bias" in names:
        found["in_proj_bias"] = sliced("in_proj_bias", three)
    if "out_proj.bias" in names:
        found["out_proj.bias"] = sliced("out_proj.bias", query)
    for name in {"bias_k", "bias_v"} & names:
        found[name] = Slice(name, (None, None, inner))
    return found


def sliced(
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


def unless_all(index: torch.Tensor, size: int) -> torch.Tensor | None:
    """The places, the first for what has none; None where they are all of this many in order."""
    index = index.clamp(min=0)
    return None if _is_all(index, size) else index


def beginning(part: Slice) -> Slice:
    """The same, where the first places are taken by their number: they need no copy."""
    indices = [i if i is None or not _is_all(i, len(i)) else len(i) for i in part.indices]  # type: ignore[arg-type]
    return part._replace(indices=tuple(indices))
