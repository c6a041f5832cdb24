"""Building a network from a traced one: every module is made for the shape that reaches it (`walk.py` walks the graph)."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from importlib import import_module
from types import ModuleType
from typing import Any, NamedTuple

import torch
from torch import fx, nn

from marl_hpo_env.errors import InputError, first_line
from marl_hpo_env.networks import sequence_rules  # noqa: F401  (registers its rules, for whoever builds)
from marl_hpo_env.networks.rules import LAYERS, Incoming, Replacement, constructor_arguments, replacement
from marl_hpo_env.networks.trace import Traced, owners
from marl_hpo_env.networks.tracer import without_values
from marl_hpo_env.networks.walk import Shapes, Walk

_CONVOLUTION = {3: nn.Conv1d, 4: nn.Conv2d, 5: nn.Conv3d}
_META = torch.device("meta")


class Network(fx.GraphModule):
    """A built network. It is read from a file as it was written, by its code: torch would trace it again."""

    def __reduce__(self) -> Any:
        code = self._graph.python_code("self")
        names = {
            key: _Imported(value.__name__) if isinstance(value, ModuleType) else value
            for key, value in code.globals.items()
        }
        return _restored, (code.src, names, {key: value for key, value in self.__dict__.items() if key != "_graph"})


class _Imported(NamedTuple):
    """A module of Python by its name."""

    name: str


class _Restored(nn.Module):
    """A built network that was read from a file: its code, and no graph."""

    def __reduce__(self) -> Any:
        return _restored, (self._source, self._names, dict(self.__dict__))

    def forward(self, *inputs: Any, **named: Any) -> Any:
        return self.__dict__["_forward"](self, *inputs, **named)


def _restored(source: str, names: dict[str, Any], state: dict[str, Any]) -> nn.Module:
    network = _Restored()
    scope = {key: import_module(value.name) if isinstance(value, _Imported) else value for key, value in names.items()}
    exec(source, scope)
    network.__dict__.update(state)
    network.__dict__.pop("_forward", None)
    network.__dict__ |= {"_source": source, "_names": names, "_forward": scope["forward"]}
    return network


class TwoModes(nn.Module):
    """A built network whose forward pass differs between training and evaluation; both share every module."""

    def __init__(self, training: fx.GraphModule, evaluation: fx.GraphModule, root: nn.Module) -> None:
        super().__init__()
        self._modules = root._modules
        self._parameters = root._parameters
        self._buffers = root._buffers
        self._non_persistent_buffers_set = root._non_persistent_buffers_set
        object.__setattr__(self, "_passes", (evaluation, training))
        self._share()
        self.meta: dict[str, Any] = {}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._share()  # copied or read from a file, the passes hold their own

    def _share(self) -> None:
        for graph_module in self.__dict__["_passes"]:
            graph_module._modules = self._modules
            graph_module._parameters = self._parameters
            graph_module._buffers = self._buffers

    def forward(self, *inputs: Any) -> Any:
        passes: tuple[nn.Module, nn.Module] = self.__dict__["_passes"]
        return passes[self.training](*inputs)


class _LeftOut:
    """Drops what the original saves and the new network has no use for, or has under its first name, when its state is loaded."""

    def __init__(self, names: set[str]) -> None:
        self._names = names

    def __call__(self, module: nn.Module, state: dict[str, Any], prefix: str, *_: Any) -> None:
        for name in self._names:
            state.pop(prefix + name, None)


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
        self.walks: dict[bool, Walk] = {}
        self.root = nn.Module()
        self.added = {"pools": 0, "interpolations": 0, "projections": 0, "clamps": 0}
        self.needs: dict[str, Replacement] = {}
        self.twins: dict[str, nn.Module] = {}  # on the meta device, by name
        self.projections: dict[tuple[Any, ...], str] = {}
        self.keys: dict[Any, int] = {}
        self.held: dict[str, torch.Tensor] = {}  # on the meta device, by name
        self.types = [x.dtype for x in inputs if x.is_floating_point()]

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
                walk = Walk(self, graph, None if self.original_shapes is None else self.original_shapes[training])
                passes[training] = Network(self.root, walk.run(), class_name=self.traced.name)
                self._unsaved_as_well(passes[training])
                self.shapes[training] = walk.shapes
                self.walks[training] = walk
        self.shapes.setdefault(False, self.shapes[True])
        two = len(passes) == 2
        module = TwoModes(passes[True], passes[False], self.root) if two else passes[True]
        left_out = self.traced.saved - set(module.state_dict())
        if left_out and not self.chosen:
            module.register_load_state_dict_pre_hook(_LeftOut(left_out))
        module.meta |= {"added": self.added, "hyperparameters": self.chosen, "inputs": self.inputs}
        return module.train()

    def need(self, name: str, inputs: Sequence[Incoming]) -> Replacement:
        """What the module of this name needs to fit; decided at its first call."""
        if name not in self.needs:
            original = self.traced.modules[name]
            self.needs[name] = replacement(original, self.chosen.get(name, {}), inputs)
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
            return self._copied(original, device, need)
        try:
            with device:
                made = need.kind(**need.arguments)
        except InputError:
            raise
        except Exception as error:  # whatever a constructor raises
            raise InputError(
                f"Module {name!r} cannot be made with {need.arguments}: {first_line(error)}; leave the value out of its "
                "choices."
            ) from error
        kept = next((t.dtype for t in original.parameters() if t.is_floating_point()), None)
        for hooks in (
            "_forward_hooks",
            "_forward_pre_hooks",
            "_forward_hooks_with_kwargs",
            "_forward_pre_hooks_with_kwargs",
        ):
            getattr(made, hooks).update(getattr(original, hooks))
        return made.to(device=device, dtype=kept)

    def _copied(self, original: nn.Module, device: torch.device, need: Replacement) -> nn.Module:
        """The same module with fresh weights; where its author gave no way to draw them anew, they stay."""
        if device.type == "meta":
            return without_values(original)
        owning = owners(original)
        if not all(hasattr(part, "reset_parameters") for part in owning):
            if need.arguments and need.kind is type(original) and not isinstance(original, LAYERS):
                with device:
                    return need.kind(**need.arguments)
            return copy.deepcopy(original).to(device)
        torchs = all(type(part).__module__.startswith("torch.nn") for part in owning)
        module = without_values(original).to_empty(device=device) if torchs else copy.deepcopy(original).to(device)
        for part in owners(module):
            reset: Any = part.reset_parameters
            reset()
        return module

    def owner(self, path: Sequence[str]) -> nn.Module:
        """The module that holds what is at this path of the new network; containers on the way are made."""
        owner = self.root
        for part in path:
            if part not in owner._modules:
                owner.add_module(part, nn.Module())
            owner = owner.get_submodule(part)
        return owner

    def hold(self, name: str) -> torch.Tensor:
        """Gives the new network a tensor that a graph uses by itself; returns it on the meta device.

        A tensor of a module that a graph calls is that module's, of the size that it has now.
        """
        owner, _, last = name.rpartition(".")
        if owner in self.needs:
            own: torch.Tensor = getattr(self.twins[owner], last)
            return own
        if name not in self.held:
            self._hold(name, self.traced.tensors[name].detach())
        return self.held[name]

    def resize(self, name: str, shape: Sequence[int]) -> torch.Tensor:
        """Gives a held tensor another shape: values are repeated, or the last left out. Returns it on the meta device."""
        value = self.traced.tensors[name].detach()
        for dimension, size in enumerate(shape):
            if size != value.shape[dimension]:
                places = torch.arange(size, device=value.device) % value.shape[dimension]
                value = value.index_select(dimension, places)
        self._hold(name, value)
        return self.held[name]

    def _hold(self, name: str, value: torch.Tensor) -> None:
        original = self.traced.tensors[name]
        *path, last = name.split(".")
        owner = self.owner(path)
        copied = copy.deepcopy(value).to(self.device)
        owner._parameters.pop(last, None)
        owner._buffers.pop(last, None)
        if isinstance(original, nn.Parameter):
            owner.register_parameter(last, nn.Parameter(copied, original.requires_grad))
        else:
            owner.register_buffer(last, copied, persistent=name in self.traced.saved)
        self.held[name] = value.to("meta")

    def _unsaved_as_well(self, network: fx.GraphModule) -> None:
        """What the original does not save, the network does not: some versions of torch (2.11, not 2.14) copy every buffer as one
        that is saved."""
        for name in self.held:
            *path, last = name.split(".")
            owner = network.get_submodule(".".join(path))
            if last in owner._buffers and name not in self.traced.saved:
                owner._non_persistent_buffers_set.add(last)

    def projection(self, key: tuple[Any, ...], shape: Sequence[int], channels: int, dimension: int) -> str:
        """Name of the 1x1 projection of what this key stands for; one per producer, in both modes.

        Args:
            key: of the producer.
            shape: of what it produces.
            channels: wanted.
            dimension: in which they lie: the last, or 1.
        """
        if (*key, channels) not in self.projections:
            name = f"projection_{len(self.projections)}"
            while name in self.traced.modules:
                name += "_"
            kind: Any = nn.Linear
            arguments: dict[str, Any] = {"in_features": shape[-1], "out_features": channels, "bias": False}
            if dimension < len(shape) - 1:
                kind = _CONVOLUTION[len(shape)]
                arguments = {"in_channels": shape[1], "out_channels": channels, "kernel_size": 1, "bias": False}
            dtype = self.types[0] if self.types else None
            with _META:
                self.twins[name] = kind(**arguments, dtype=dtype)
            with self.device:
                self.root.add_module(name, kind(**arguments, dtype=dtype))
            self.added["projections"] += 1
            self.projections[*key, channels] = name
        return self.projections[*key, channels]

    def key_of(self, content: Any) -> int:
        """A number for a value's origin, the same in both modes."""
        return self.keys.setdefault(content, len(self.keys))
