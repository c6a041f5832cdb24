"""Any torch network as a search space, and any design of it as a torch network."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import nn

from marl_hpo_env.errors import InputError, warn
from marl_hpo_env.networks import verification
from marl_hpo_env.networks.builder import NetworkBuilder
from marl_hpo_env.networks.graph import (
    FOLLOW_THE_INPUT,
    Choices,
    default_choices,
    reaching_output,
    space_of,
    tie,
    tunable_hyperparameters,
)
from marl_hpo_env.networks.reshapes import granularity
from marl_hpo_env.networks.rules import constructor_arguments, rule_for
from marl_hpo_env.networks.trace import Traced
from marl_hpo_env.networks.trials import trial_builds
from marl_hpo_env.networks.weights import Counterparts, Plan
from marl_hpo_env.space import Design, SearchSpace


class TunableNetwork:
    """A network whose layers' hyperparameters can be chosen.

    Args:
        model: the original network; it is traced by `torch.fx`, not changed.
        example_input: what its `forward` takes, batch first; only shape and type matter. A tuple for several inputs.
        choices: hyperparameter values by module type or name pattern, such as
            `{nn.Conv2d: {"out_channels": (16, 32), "kernel_size": (3, 5)}, "head": None}`; the last key that matches a
            module counts, and None leaves it out. Hyperparameters are constructor arguments, or `"type"` for the module
            type itself, such as `{nn.ReLU: {"type": (nn.ReLU, nn.SiLU)}}`. Where None, fractions of the original's own
            widths and kernel sizes.
        verify: whether the network is compared with what was traced of it, on one batch in both modes, and some designs are
            built without values before anything is trained.
        tie_added: whether layers whose outputs are added or multiplied share one width, which the first of them chooses; the
            others choose the rest of their hyperparameters. Else a merge of different widths gets a projection.

    Attributes:
        space: the search space.
        fixed: names of what has weights that no design changes, although it is no normalisation: tensors of the model's own that
            `forward` computes with, and modules of types that have no rule (see `register_rule`).

    Raises:
        InputError: if the network cannot be traced, is another than what was traced, or the choices do not fit it.

    Warns:
        UserWarning: of weights that no design changes, of widths that are left out, and where some designs cannot be built.
    """

    def __init__(
        self,
        model: nn.Module,
        example_input: torch.Tensor | tuple[torch.Tensor, ...],
        choices: Choices | None = None,
        verify: bool = True,
        tie_added: bool = False,
    ) -> None:
        leaves = tuple(key for key in choices or () if isinstance(key, type))
        inputs = example_input if isinstance(example_input, tuple) else (example_input,)
        self._inputs = [torch.empty((2, *x.shape[1:]), dtype=x.dtype, device="meta") for x in inputs]
        self._traced = Traced(model, self._inputs, lambda module, name: isinstance(module, leaves))
        original = NetworkBuilder(self._traced, self._inputs, {}, torch.device("meta"))
        original.build()
        self._shapes = original.shapes
        self._check_example(original, inputs)
        units = granularity(self._traced, self._shapes)
        chosen = default_choices(self._traced, units) if choices is None else choices
        self._reference: tuple[dict[str, Any], Counterparts] | None = None
        groups = self._counterparts({}).groups.tied() if tie_added else []
        for group in groups:
            units |= dict.fromkeys(group, math.lcm(*(units.get(name, 1) for name in group)))
        tunable = tunable_hyperparameters(self._traced, chosen, units)
        self._tied = tie(tunable, groups)
        self.space: SearchSpace = space_of(self._traced, tunable)
        self.fixed: tuple[str, ...] = self._without_rule()
        if verify:
            verification.verify(model, lambda: self.build(None, _device_of(model)), inputs)
            if self.fixed:
                warn(f"No design changes the weights of {_names(self.fixed)}.")
            trial_builds(self.space, lambda chosen: self.build_with(self._with_tied(chosen), "meta"))

    def _without_rule(self) -> tuple[str, ...]:
        """Names of what `fixed` is said of."""
        modules = [
            name
            for name, module in self._traced.modules.items()
            if rule_for(module) is None and name not in self.space.names and next(module.parameters(), None) is not None
        ]
        tensors = [
            name
            for name, tensor in self._traced.tensors.items()
            if isinstance(tensor, nn.Parameter)
            and name.rpartition(".")[0] not in self._traced.modules
            and sum(size > 1 for size in tensor.shape) > 1  # one value per channel goes with the channels
        ]
        return (*modules, *tensors)

    def _check_example(self, original: NetworkBuilder, inputs: Sequence[torch.Tensor]) -> None:
        """Whether the example has the size that the network is made for."""
        for name, need in original.needs.items():
            arguments = constructor_arguments(self._traced.modules[name])
            differing = [
                key
                for key in FOLLOW_THE_INPUT
                if key in arguments and _plain(need.arguments[key]) != _plain(arguments[key])
            ]
            if differing or need.clamped:
                what = (
                    f"has {differing[0]}={arguments[differing[0]]}" if differing else "is larger than what reaches it"
                )
                raise InputError(
                    f"The example input of shape {tuple(inputs[0].shape)} does not fit the network: module {name!r} {what}; give "
                    "one of the size that the network is made for."
                )

    @property
    def original(self) -> dict[str, dict[str, Any]]:
        """The original's own values of what can be chosen, by layer name; they need not be among the choices."""
        values = {}
        for layer in self.space.layers:
            module = self._traced.modules[layer.name]
            arguments = {**constructor_arguments(module), "type": type(module)}
            values[layer.name] = {name: arguments.get(name) for name in layer.choices}
        return values

    @property
    def original_design(self) -> Design:
        """The design with the original's own values.

        Raises:
            InputError: if it is no design of the space; the sentence names the first layer whose values are not among its
                choices, and the nearest design, value by value.
        """
        nearest, other, original = [], None, self.original
        for layer in self.space.layers:
            own = original[layer.name]
            near = {name: min(values, key=partial(_distance, own[name])) for name, values in layer.choices.items()}
            nearest.append(layer.action(near))
            differing = [name for name, value in near.items() if _distance(own[name], value) > 0]
            if differing and other is None:
                other = layer, differing[0], own[differing[0]]
        design = tuple(nearest)
        if other is not None:
            layer, name, value = other
            raise InputError(
                f"The original network is no design of this space: layer {layer.name!r} has {name} {_shown(value)}, and its "
                f"choices are {', '.join(map(_shown, layer.choices[name]))}; the nearest design is {','.join(map(str, design))}."
            )
        return design

    @property
    def output_shape(self) -> tuple[int, ...]:
        """Shape of what the original returns in evaluation for a batch of 2; of the first, where it returns several."""
        (output,) = (node for node in self._traced.graphs[False].nodes if node.op == "output")
        return tuple(self._shapes[False][output.all_input_nodes[0]])

    @property
    def signature(self) -> str:
        """A digest of the network's code, modules and constants, not of its weights."""
        return self._traced.signature

    def build(
        self,
        design: Iterable[int] | None = None,
        device: torch.device | str | None = None,
        *,
        weights: Mapping[str, torch.Tensor] | None = None,
    ) -> nn.Module:
        """A network with fresh weights, drawn from torch's generator of that device, or with those of the original.

        Modules keep the original's names, so `build(None)` loads the original's state dict and then gives the same
        outputs, bit for bit. A module that `forward` never calls is left out.

        Args:
            design: one action per layer; None builds the original.
            device: where its weights lie; torch's default where None.
            weights: a state dict of the original, whose weights the network takes over (see `weights.py`); what has none there
                is drawn, and named in its `meta["fresh"]`.

        Returns:
            An ordinary module in training mode. Its `meta["added"]` counts what had to be added so that everything fits:
            `pools` and `interpolations` (spatial alignments), `projections` (1x1 convolutions), and `clamps` (kernels
            larger than their input); its `meta["hyperparameters"]` are those of the design.

        Raises:
            InputError: if the design is not one of the space, the network cannot be built with it, or the weights are not the
                original's.
        """
        return self.build_with(self.hyperparameters(design), device, weights=weights)

    def build_with(
        self,
        hyperparameters: Mapping[str, Mapping[str, Any]],
        device: torch.device | str | None = None,
        *,
        weights: Mapping[str, torch.Tensor] | None = None,
    ) -> nn.Module:
        """The same from hyperparameter values by layer name, whether they are among the choices or not."""
        where = torch.device(device or torch.get_default_device())
        builder = NetworkBuilder(self._traced, self._inputs, hyperparameters, where, self._shapes)
        network = builder.build()
        if weights is not None:
            fitting = self.fitting(weights)
            meta: Any = network.meta
            meta["fresh"] = self._counterparts({}).plan(builder, fitting).load(network, fitting)
        return network

    def hyperparameters(self, design: Iterable[int] | None) -> dict[str, dict[str, Any]]:
        """What a design is built from: its layers' hyperparameters, and the widths of layers that share one; none for the
        original.

        Raises:
            InputError: if the design is not one of the space.
        """
        if design is None:
            return {}
        return self._with_tied(self.space.hyperparameters(design))

    def _with_tied(self, chosen: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
        """The same with the widths of layers that share one."""
        whole = {name: dict(values) for name, values in chosen.items()}
        for name, tied in self._tied.items():
            if tied.chosen in chosen.get(tied.leader, ()):
                whole.setdefault(name, {})[tied.width] = chosen[tied.leader][tied.chosen]
        return whole

    def plan(
        self,
        hyperparameters: Mapping[str, Mapping[str, Any]],
        reference: Mapping[str, Mapping[str, Any]] | None = None,
        strengths: Mapping[str, torch.Tensor] | None = None,
    ) -> Plan:
        """How the weights of one network of this space follow from those of another, as a differentiable function.

        Args:
            hyperparameters: what the one is built from, by layer name, such as `self.hyperparameters(design)`.
            reference: the same of the other; of the original where None.
            strengths: the other's state dict: a narrower layer takes the strongest filters; where None, the first.

        Raises:
            InputError: if one of the two cannot be built.
        """
        return self.planned(hyperparameters, reference, strengths)[1]

    def planned(
        self,
        hyperparameters: Mapping[str, Mapping[str, Any]],
        reference: Mapping[str, Mapping[str, Any]] | None = None,
        strengths: Mapping[str, torch.Tensor] | None = None,
    ) -> tuple[nn.Module, Plan]:
        """The one network without values, on the meta device, and what `plan` says of it."""
        builder = NetworkBuilder(self._traced, self._inputs, hyperparameters, torch.device("meta"), self._shapes)
        network = builder.build()
        return network, self._counterparts(reference or {}).plan(builder, strengths)

    @property
    def largest(self) -> dict[str, dict[str, Any]]:
        """By layer name, the values of every choice with which its module has the most weights; the smallest where it has as many
        with all, as with strides and pools. Of a choice of types it is the first.

        Every design's tensors are parts of the network that is built from it.
        """
        modules = self._traced.modules
        return self._with_tied(
            {layer.name: _largest(modules[layer.name], layer.choices) for layer in self.space.layers}
        )

    def _counterparts(self, reference: Mapping[str, Mapping[str, Any]]) -> Counterparts:
        if self._reference is None or self._reference[0] != reference:  # one at a time: there is hardly ever a second
            builder = NetworkBuilder(self._traced, self._inputs, reference, torch.device("meta"), self._shapes)
            builder.build()
            self._reference = dict(reference), Counterparts(builder)
        return self._reference[1]

    def fitting(self, weights: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """A state dict of the original, without what it holds for another number of classes.

        Args:
            weights: by name. The tensors of layers that make the output may be missing, or of another number of classes.

        Raises:
            InputError: where other tensors are missing, superfluous or of another shape; with the first few.
        """
        output = reaching_output(self._traced)
        shapes = {name: tuple(tensor.shape) for name, tensor in self._counterparts({}).state.items()}
        own = {name for name in shapes if name.rpartition(".")[0] in output}
        optional = own | {name for name in shapes if name.endswith("num_batches_tracked")}  # which old files lack
        wrong = [f"{name!r} is missing" for name in shapes if name not in weights and name not in optional]
        found = {}
        for name, tensor in weights.items():
            shape = tuple(tensor.shape)
            if name not in self._traced.saved:
                wrong.append(f"{name!r} is not of the network")
            elif shape == shapes.get(name):
                found[name] = tensor
            elif name in shapes and not (name in own and shape[1:] == shapes[name][1:]):
                wrong.append(f"{name!r} has shape {shape} and not {shapes[name]}")
        if wrong:
            more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
            raise InputError(
                f"The weights are not this network's: {', '.join(wrong[:3])}{more}; give the state dict of the original."
            )
        return found


def _largest(module: nn.Module, choices: Mapping[str, Sequence[Any]]) -> dict[str, Any]:
    own = constructor_arguments(module)

    def weights(name: str, value: Any) -> float:
        try:
            with torch.device("meta"):
                made = type(module)(**{**own, name: value})
            return sum(p.numel() for p in made.parameters())
        except Exception:  # whatever a constructor raises: a depthwise width without its groups
            return math.inf

    found = {}
    for name, values in choices.items():
        if name == "type":
            found[name] = values[0]
            continue
        sizes = [weights(name, value) for value in values]
        by_weights = max(sizes) > min(sizes) or math.inf in sizes
        best = max if by_weights else min
        found[name] = best(values, key=lambda value: (weights(name, value) if by_weights else 0, _volume(value)))
    return found


def _volume(value: Any) -> float:
    numbers = value if isinstance(value, tuple | list) else (value,)
    return math.prod(v for v in numbers if isinstance(v, int | float))


def _distance(own: Any, value: Any) -> float:
    """Between two values of a hyperparameter: 0 where they mean the same, infinite where they cannot be measured."""
    ours, theirs = (v if isinstance(v, tuple | list) else (v,) for v in (own, value))
    length = max(len(ours), len(theirs))
    ours, theirs = (v * length if len(v) == 1 else v for v in (ours, theirs))  # a size of all dimensions
    if tuple(ours) == tuple(theirs):
        return 0.0
    if len(ours) != len(theirs) or not all(isinstance(v, int | float) for v in (*ours, *theirs)):
        return math.inf
    return sum(abs(a - b) for a, b in zip(ours, theirs, strict=True))


def _shown(value: Any) -> str:
    return value.__name__ if isinstance(value, type) else str(value)


def _plain(value: Any) -> Any:
    """Sizes as torch takes them: a list as a tuple."""
    return tuple(value) if isinstance(value, list) else value


def _device_of(model: nn.Module) -> torch.device | None:
    return next((tensor.device for tensor in (*model.parameters(), *model.buffers())), None)


def _names(names: Sequence[str]) -> str:
    """The first few, and how many more."""
    shown = ", ".join(repr(name) for name in names[:3])
    return shown + (f" and {len(names) - 3} more" if len(names) > 3 else "")
