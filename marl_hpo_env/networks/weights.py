"""Weights that a design takes over from a network of the same graph: slices, crops, copies (ours; the paper is silent).

A narrower layer takes the strongest filters, by L1 norm, in their order; layers that are computed with one another, as those
that are added, have one order. A wider one has copies of filters, and what reads them divides by their number (Chen et al.,
Net2Net, 2016). Kernels are cropped, or padded with zeros, around their centre. The map before a linear layer is resampled.
A projection begins as the selection that it stands for.

A design that is equal or wider, with the same strides and pools, computes what the reference does, where operations treat
channels alone: convolutions (depthwise and grouped too), linear layers, batch norm, activations, pools, sums, products and
concatenations, and the greatest of all channels. It does not where channels are counted or meet one another: softmax, sums,
running sums, deviations, norms and sorting over channels, products of maps with one another (`matmul`, attention), local
response norm, gated linear units, group norm, a `chunk` at a width that its parts do not divide, and recurrent layers of another
hidden size; nor in means over channels and layer norm, unless all channels are copied alike.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.nn.modules.conv import _ConvTransposeNd

from marl_hpo_env.networks.builder import NetworkBuilder
from marl_hpo_env.networks.channels import Carried, Reference
from marl_hpo_env.networks.groups import Groups
from marl_hpo_env.networks.labels import Labels, operands_of, positions
from marl_hpo_env.networks.slices import ModuleSlices, Slice, beginning, sliced, unless_all

Tensors = Mapping[str, torch.Tensor]


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
                        slices |= ModuleSlices(carried, node, old, name).slices()
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
        slices = {name: beginning(part) for name, part in slices.items()}
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
                    return sliced(f"{other}.weight", rows, columns, shared=1)
        had = carried.index(source)
        wanted = had if node not in carried.walk.likes else carried.index(carried.walk.likes[node])
        projection: Any = carried.walk.builder.twins[name]
        shape = projection.weight.shape
        if had is None or wanted is None or len(wanted) < shape[0]:
            return None
        weight = ((wanted[: shape[0], None] == had) & (had >= 0)).float()
        return (weight / weight.sum(1, keepdim=True).clamp(min=1)).view(shape)


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
            indices.append(unless_all(found.clamp(min=0), size))
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
