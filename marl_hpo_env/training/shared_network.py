"""One network that holds every design of a search space: designs share its weights (Pham et al., 2018; Bender et al., 2018).

Its tensors are those of the largest design. Any other design is the network that `TunableNetwork.build` makes of it, with its
own strides, pools and alignments, whose tensors are slices: the first channels, and the middle of a kernel (`Plan`). So a design
is exact for every graph that can be tuned; only its weights are not its own.

What no slice gives is shared as well: a projection by what it projects, as a change to the selection that it begins as, and the
weights of a type that is among the choices by their name; each in the largest shape that some random designs need.
"""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import fx, nn
from torch.func import functional_call
from torch.nn import functional
from torch.nn.modules.batchnorm import _NormBase
from torch.utils.flop_counter import FlopCounterMode

from marl_hpo_env.errors import InputError, whole_number
from marl_hpo_env.networks.alignment import interpolate_to, pool_to
from marl_hpo_env.networks.slices import Slice
from marl_hpo_env.networks.tunable import TunableNetwork
from marl_hpo_env.networks.weights import Plan
from marl_hpo_env.space import Design
from marl_hpo_env.training.scoring import LOSSES, LossOf, losses

SURVEYED = 16
"""Random designs that are built when the network is made, to see what slices do not give."""

KEPT_LAYERS = 2**15
"""So many layers of designs are kept planned, the latest designs: memory does not grow with the depth of a network."""

Batch = tuple[torch.Tensor, torch.Tensor]

_Known = dict[tuple[str, torch.Size], tuple[int, torch.Tensor]]

_SAID_WHOLE = {
    *(nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear),
    *(nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d),
    *(nn.ReLU, nn.ReLU6, nn.Dropout),
}
"""Types of which everything that their FLOPs and outputs hang on is in how they are printed; a pool's indices are not."""


class _Built(NamedTuple):
    """A design without its values.

    Args:
        module: on the meta device, in training mode.
        plan: of its tensors.
        own: by name of a tensor that no slice gives, its key in what is shared beside and its shape.
        statistics: of normalisations by name, as they begin; training changes them and nobody reads them.
    """

    module: nn.Module
    plan: Plan
    own: Mapping[str, tuple[str, torch.Size]]
    statistics: dict[str, torch.Tensor]


class _Plans:
    """What is known of a network's designs whatever their weights are: the latest ones without values, all sizes, and the FLOPs
    of their layers."""

    def __init__(self) -> None:
        self.built: OrderedDict[Design, _Built] = OrderedDict()
        self.sizes: dict[Design | None, dict[str, float]] = {}
        self.layers: _Known = {}


_PLANS: WeakKeyDictionary[TunableNetwork, dict[torch.device, _Plans]] = WeakKeyDictionary()
"""By network and device: to plan a design takes longer than to run a small one."""


class _Weights(nn.Module):
    """The weights of the largest design, and by key those that no slice of it gives."""

    def __init__(self, largest: nn.Module, own: Mapping[str, torch.Tensor]) -> None:
        super().__init__()
        self.largest = largest
        self.own = nn.ParameterDict({key: nn.Parameter(value) for key, value in own.items()})

    def tensors(self) -> dict[str, torch.Tensor]:
        """Of the largest design, by name."""
        return {**dict(self.largest.named_parameters()), **dict(self.largest.named_buffers())}


class SharedNetwork(nn.Module):
    """The shared weights of a network's designs.

    Args:
        network: whose designs.
        seed: of the weights, and of the random designs that are built to see what slices do not give.
        device: where the weights lie; torch's default where None.
        parts: the weights exist as many times, once `divide` was called: each is for a part of the choices of one layer, that
            with most of them, the first of several (Zhao et al., few-shot neural architecture search, 2021).
        loss: of a batch's outputs and targets; `task.scoring.loss` is a task's. Cross-entropy where None.

    Attributes:
        network: as given.

    Raises:
        InputError: if a layer has not as many choices, or the largest design cannot be built.
    """

    def __init__(
        self,
        network: TunableNetwork,
        *,
        seed: int = 0,
        device: torch.device | str | None = None,
        parts: int = 1,
        loss: LossOf | None = None,
    ) -> None:
        super().__init__()
        self.network = network
        self._losses = partial(losses, loss_of=loss or LOSSES["classes"])
        self.device = torch.device(device or torch.get_default_device())
        space = network.space
        self._parts = whole_number("number of parts", parts, 1)
        self._split_layer = max(range(len(space)), key=space.sizes.__getitem__)
        if self._parts > space.sizes[self._split_layer]:
            most = space.sizes[self._split_layer]
            raise InputError(f"The weights are to be in {parts} parts, and no layer has more than {most} actions.")
        self._largest = network.largest
        self._plans = _PLANS.setdefault(network, {}).setdefault(self.device, _Plans())
        cuda = self.device.type == "cuda"
        with torch.random.fork_rng(devices=[self.device] if cuda else []):
            (torch if cuda else torch.default_generator).manual_seed(seed)
            largest = network.build_with(self._largest, self.device)
            own = self._survey(seed)
        first = _Weights(largest, own)
        self._copies = nn.ModuleList([first])
        self._tensors = [first.tensors()]

    @property
    def largest(self) -> nn.Module:
        """The largest design, whose weights these are before they are divided."""
        return self._copies[0].largest  # type: ignore[return-value]

    @property
    def kept(self) -> int:
        """How many designs are kept planned."""
        return max(SURVEYED, KEPT_LAYERS // len(self.network.space))

    def divide(self) -> None:
        """Gives each part of the choices weights of its own, which begin as they are now."""
        while len(self._copies) < self._parts:
            self._copies.append(copy.deepcopy(self._copies[0]))
            self._tensors.append(self._copies[-1].tensors())  # type: ignore[operator]

    def loss(self, design: Design | None, batch: Batch) -> torch.Tensor:
        """What a design is trained by on a batch, with its slices as they are; gradients flow to what is shared.

        Batch norm takes its statistics from the batch.

        Args:
            design: of the space, or None for the original where it is a design.
            batch: inputs and targets, as `Data` has them.

        Raises:
            InputError: if the design cannot be built.
        """
        inputs, targets = batch
        built = self._of(design)
        tensors = {**self._slices(design, built), **built.statistics}
        return self._losses(functional_call(built.module.train(), tensors, (inputs,)), targets)[0]

    @torch.no_grad()
    def slice(self, design: Design | None, batches: Sequence[torch.Tensor]) -> nn.Module:
        """A design as it is evaluated: its slices as they are now, batch norm with the mean statistics of some batches.

        Args:
            design: of the space, or None for the original where it is a design.
            batches: training inputs, on the device.

        Raises:
            InputError: if the design cannot be built.
        """
        built = self._of(design)
        tensors = {name: value.detach() for name, value in self._slices(design, built).items()}
        tensors |= {name: _beginning(name, value) for name, value in built.statistics.items()}
        if built.statistics:
            norms = [module for module in built.module.modules() if isinstance(module, _NormBase)]
            built.module.eval()
            for norm in norms:
                norm.train()
            for inputs in batches:
                functional_call(built.module, tensors, (inputs,))
        return _Slice(built.module, tensors)

    def sizes(self, design: Design | None) -> dict[str, float]:
        """A design's `parameters`, `model_size_mb` and `flops`, exactly; of the original where None.

        Raises:
            InputError: if the design cannot be built.
        """
        sizes = self._plans.sizes
        if design not in sizes:
            module = self.network.build(None, "meta") if design is None else self._of(design).module
            sizes[design] = sizes_of(module, self._plans.layers)
        return sizes[design]

    def built(self, design: Design) -> tuple[nn.Module, dict[str, torch.Tensor]]:
        """A design's module on the meta device, and its tensors by name, from which gradients flow to what is shared."""
        built = self._of(design)
        return built.module, self._slices(design, built)

    def _slices(self, design: Design | None, built: _Built) -> dict[str, torch.Tensor]:
        part = self._part(design)
        found = built.plan(self._tensors[part])
        shared: Any = self._copies[part].own
        for name, (key, shape) in built.own.items():
            if key in shared:
                change = _cut(shared[key], shape)
                found[name] = found[name] + change if name in found else change
            elif name not in found:
                found[name] = torch.zeros(shape, device=self.device)
        return found

    def _part(self, design: Design | None) -> int:
        """Which of the weights a design has."""
        if len(self._copies) == 1:
            return 0
        design = self.network.original_design if design is None else design
        return design[self._split_layer] * self._parts // self.network.space.sizes[self._split_layer]

    def _of(self, design: Design | None) -> _Built:
        key = self.network.original_design if design is None else self.network.space.check(design)
        known = self._plans.built
        if key in known:
            known.move_to_end(key)
            return known[key]
        hyperparameters = self.network.hyperparameters(key)
        module, plan = self.network.planned(hyperparameters, self._largest)
        sources = dict(_projected(module))
        own = {}
        for name, tensor in module.named_parameters():
            if name not in plan.slices:
                owner = name.rpartition(".")[0]
                own[name] = (_key(sources.get(owner, name)), tensor.shape)
        statistics = {
            f"{name}.{buffer}": _beginning(buffer, torch.empty_like(value, device=self.device))
            for name, part in module.named_modules()
            if isinstance(part, _NormBase) and part.track_running_stats
            for buffer, value in part.named_buffers(recurse=False)
        }
        for part in module.modules():
            if isinstance(part, _NormBase):
                part.momentum = None  # the mean over all batches that it sees
        slices = {name: _as_mean(part) for name, part in plan.slices.items() if name not in statistics}
        plan = Plan(slices, plan.constants, plan.fresh)
        built = known[key] = _Built(module, plan.to(self.device), own, statistics)
        if len(known) > self.kept:
            known.popitem(last=False)
        return built

    def _survey(self, seed: int) -> dict[str, torch.Tensor]:
        """By key, what slices of the largest do not give, in the largest shape that is needed, as torch draws it; what is
        added to a projection's beginning is zero."""
        found: dict[str, torch.Tensor] = {}
        rng = np.random.default_rng(seed)
        for _ in range(SURVEYED):
            design = self.network.space.sample(rng)
            try:
                built = self._of(design)
            except InputError:  # some designs of a space may not build
                continue
            drawn: Mapping[str, torch.Tensor] = {}
            for name, (key, shape) in built.own.items():
                before = found.get(key)
                wanted = shape if before is None else torch.Size(map(max, shape, before.shape))
                if before is not None and wanted == before.shape:
                    continue
                if name in built.plan.constants:
                    found[key] = torch.zeros(wanted, device=self.device)
                else:
                    drawn = drawn or dict(self.network.build(design, self.device).named_parameters())
                    found[key] = _cut(drawn[name].detach(), wanted).clone()
        return found


class _Slice(nn.Module):
    """A design with its tensors."""

    def __init__(self, module: nn.Module, tensors: dict[str, torch.Tensor]) -> None:
        super().__init__()
        self.__dict__["_design"] = module.eval(), tensors

    def forward(self, *inputs: torch.Tensor) -> Any:
        module, tensors = self.__dict__["_design"]
        return functional_call(module.eval(), tensors, inputs)


class _LayerByLayer(fx.Interpreter):
    """Runs a network without values, each layer once for each shape of its inputs.

    Args:
        network: on the meta device.
        counter: counts what is run.
        known: FLOPs and output by layer and shape, which all designs fill.

    Attributes:
        flops: of the layers that were not run, since they are known.
    """

    def __init__(self, network: fx.GraphModule, counter: FlopCounterMode, known: _Known) -> None:
        super().__init__(network)
        self.flops = 0
        self._counter, self._known = counter, known

    def call_module(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        layer = self.fetch_attr(target)
        if type(layer) not in _SAID_WHOLE or len(args) != 1:
            return super().call_module(target, args, kwargs)
        key = repr(layer), args[0].shape
        if key not in self._known:
            before = self._counter.get_total_flops()
            output = super().call_module(target, args, kwargs)
            self._known[key] = self._counter.get_total_flops() - before, output
            return output
        flops, output = self._known[key]
        self.flops += flops
        return output


def sizes_of(network: nn.Module, known: _Known | None = None) -> dict[str, float]:
    """Parameters, MB and FLOPs of a network that `TunableNetwork` has built on the meta device, without a value computed.

    Args:
        network: as built.
        known: what earlier calls found of single layers; this one adds to it.
    """
    training = network.training
    network.eval()
    inputs = [x[:1] for x in network.meta["inputs"]]  # type: ignore[index]
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        if isinstance(network, fx.GraphModule):
            layers = _LayerByLayer(network, counter, {} if known is None else known)
            layers.run(*inputs)
            skipped = layers.flops
        else:
            network(*inputs)
            skipped = 0
    network.train(training)
    parameters = sum(p.numel() for p in network.parameters())
    buffers = sum(b.numel() for b in network.buffers() if b.is_floating_point())
    return {
        "parameters": parameters,
        "model_size_mb": 4 * (parameters + buffers) / 1e6,
        "flops": counter.get_total_flops() + skipped,
    }


def _as_mean(part: Slice) -> Slice:
    """Where a map is resampled for a linear layer the mean of its weights, not their sum: they are trained together, and a sum
    would learn as many times faster."""
    if part.map is None:
        return part
    ratio = torch.Size(part.map.now).numel() / torch.Size(part.map.before).numel()
    return part._replace(scale=torch.tensor(ratio) if part.scale is None else ratio * part.scale)


def _projected(module: nn.Module) -> Iterator[tuple[str, str]]:
    """Names of the projections that were added to a network, and what each projects."""
    for graph_module in (part for part in module.modules() if isinstance(part, fx.GraphModule)):
        for node in graph_module.graph.nodes:
            name = str(node.target)
            if node.op == "call_module" and name.startswith("projection_"):
                source = node.all_input_nodes[0]
                while source.target in (pool_to, interpolate_to, "movedim"):
                    source = source.all_input_nodes[0]
                yield name, f"projection of {source.name}"


def _key(name: str) -> str:
    """As a parameter may be called."""
    return name.replace(".", "/")


def _cut(tensor: torch.Tensor, shape: torch.Size) -> torch.Tensor:
    """The first places of every dimension; zeros where there are none."""
    for dimension, size in enumerate(shape):
        if size < tensor.shape[dimension]:
            tensor = tensor.narrow(dimension, 0, size)
    missing = [size - has for size, has in zip(shape, tensor.shape, strict=True)]
    if any(missing):
        tensor = functional.pad(tensor, [n for lack in reversed(missing) for n in (0, lack)])
    return tensor


def _beginning(name: str, value: torch.Tensor) -> torch.Tensor:
    return torch.ones_like(value) if name.endswith("running_var") else torch.zeros_like(value)
