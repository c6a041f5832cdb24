"""The graph of a network's forward pass, in training and in evaluation mode, by `torch.fx`."""

from __future__ import annotations

import hashlib
import re
import traceback
from collections.abc import Callable, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any

import torch
from torch import fx, nn
from torch.nn import functional
from torch.nn.modules.lazy import LazyModuleMixin
from torch.nn.utils.parametrize import is_parametrized

from marl_hpo_env.errors import InputError, first_line
from marl_hpo_env.networks.rules import KEEPS_SHAPE, constructor_arguments, is_layer
from marl_hpo_env.networks.tracer import UNKNOWN, ShapeTracer, answer_of, without_values

_POOLS = {
    functional.max_pool1d: nn.MaxPool1d,
    functional.max_pool2d: nn.MaxPool2d,
    functional.max_pool3d: nn.MaxPool3d,
    functional.avg_pool1d: nn.AvgPool1d,
    functional.avg_pool2d: nn.AvgPool2d,
    functional.avg_pool3d: nn.AvgPool3d,
}
_MAX_ARGUMENTS = ("kernel_size", "stride", "padding", "dilation", "ceil_mode")
_AVERAGE_ARGUMENTS = ("kernel_size", "stride", "padding", "ceil_mode", "count_include_pad")


class Traced:
    """A traced network.

    A forward pass may differ between training and evaluation (auxiliary heads, `F.dropout`), so it is traced in both modes.

    Args:
        model: a copy of it is traced, without the values of its parameters.
        inputs: examples of what `forward` takes, on the meta device, with a batch of 2.
        is_leaf: whether a module, given with its name, is one that is not traced into; torch's own and what is derived from its
            convolutions, linear layers and normalisations never are.

    Attributes:
        graphs: the graph, by training mode; one and the same where the modes do not differ.
        modules: every module that a graph calls, by name.
        tensors: every parameter, buffer or constant that a graph uses by itself, by name.
        saved: names of what the model's state dict holds.

    Raises:
        InputError: if the network cannot be traced.
    """

    def __init__(
        self, model: nn.Module, inputs: Sequence[torch.Tensor], is_leaf: Callable[[nn.Module, str], bool]
    ) -> None:
        self.name = type(model).__name__
        check_modules(model)
        self.saved = set(model.state_dict())
        self.modules: dict[str, nn.Module] = {}
        self.tensors: dict[str, torch.Tensor] = {}
        graphs = {training: self._trace(model, inputs, is_leaf, training) for training in (True, False)}
        same = str(graphs[True]) == str(graphs[False])
        self.graphs: dict[bool, fx.Graph] = {True: graphs[True], False: graphs[True] if same else graphs[False]}

    def _trace(
        self,
        model: nn.Module,
        inputs: Sequence[torch.Tensor],
        is_leaf: Callable[[nn.Module, str], bool],
        training: bool,
    ) -> fx.Graph:
        tracer, graph = self._run(model, inputs, is_leaf, training)
        if any(answer_of(node) is not UNKNOWN for node in graph.nodes):
            self._check_batch(model, inputs, is_leaf, training, graph)
        for node in graph.nodes:
            if node.op == "call_function" and node.target in _POOLS:
                self._as_module(node, {name for name, _ in tracer.root.named_modules()})
            elif node.op == "call_module":
                self.modules[str(node.target)] = model.get_submodule(str(node.target))
            elif node.op == "get_attr":
                self.tensors[str(node.target)] = _tensor(model, tracer.root, str(node.target))
        graph.lint()
        return graph

    def _run(
        self,
        model: nn.Module,
        inputs: Sequence[torch.Tensor],
        is_leaf: Callable[[nn.Module, str], bool],
        training: bool,
    ) -> tuple[ShapeTracer, fx.Graph]:
        try:
            root = without_values(model, buffers=False).train(training)
        except Exception as error:  # whatever the attributes of a user's model raise
            raise InputError(
                f"{self.name} cannot be copied: {first_line(error)}; give it without what deepcopy refuses."
            ) from error
        tracer = ShapeTracer(inputs, lambda module, name: is_leaf(module, name) or is_layer(module), KEEPS_SHAPE)
        try:
            return tracer, tracer.trace(root)
        except Exception as error:  # whatever a user's forward raises while it is traced
            raise InputError(
                f"{self.name} cannot be traced by torch.fx{_where(error)}: {first_line(error)}; its forward must not depend "
                "on the values of tensors."
            ) from error

    def _check_batch(
        self,
        model: nn.Module,
        inputs: Sequence[torch.Tensor],
        is_leaf: Callable[[nn.Module, str], bool],
        training: bool,
        graph: fx.Graph,
    ) -> None:
        """Refuses a forward pass in which the size of the batch became a number of the graph.

        Raises:
            InputError: where another batch gives another graph.
        """
        for batch in (1, 3):
            resized = [x.new_empty((batch, *x.shape[1:])) for x in inputs]
            _, other = self._run(model, resized, is_leaf, training)
            pairs = zip_longest(graph.nodes, other.nodes)
            differing = next(((a, b) for a, b in pairs if _shown(a) != _shown(b)), None)
            if differing is not None:
                line = next((line_of(node) for node in differing if node is not None and line_of(node)), "")
                raise InputError(
                    f"{self.name} cannot be traced: what its forward does{line} depends on the size of the batch; let it follow "
                    "the shapes."
                )

    def _as_module(self, node: fx.Node, taken: set[str]) -> None:
        """A pool that is called as a function becomes a module: it can be tuned, and shrinks to fit its input as one."""
        kind = _POOLS[node.target]  # type: ignore[index]
        names = _MAX_ARGUMENTS if issubclass(kind, nn.MaxPool1d | nn.MaxPool2d | nn.MaxPool3d) else _AVERAGE_ARGUMENTS
        arguments = {**dict(zip(names, node.args[1:], strict=False)), **node.kwargs}
        source = arguments.pop("input", None) or node.args[0]
        arguments = {name: value for name, value in arguments.items() if value not in (None, [], ())}
        if arguments.get("return_indices") is False:
            del arguments["return_indices"]
        if not set(arguments) <= set(names) or _nodes_in(tuple(arguments.values())):
            return
        pool = kind(**arguments)
        name = node.name
        while name in taken or (name in self.modules and repr(self.modules[name]) != repr(pool)):
            name += "_"
        self.modules[name] = pool
        node.op, node.target, node.args, node.kwargs = "call_module", name, (source,), {}

    @property
    def signature(self) -> str:
        """A digest of the network's code and modules, and of the tensors that a built network takes over; not of weights."""
        digest = hashlib.sha256()
        for graph in self.graphs.values():
            digest.update(str(graph).encode())
        for name, module in sorted(self.modules.items()):
            digest.update(f"{name}:{module!r}:{constructor_arguments(module)!r}".encode())
            if not all(hasattr(part, "reset_parameters") for part in owners(module)):
                for key, tensor in sorted(module.state_dict().items()):  # kept as they are, so they matter
                    _add_tensor(digest, f"{name}.{key}", tensor)
        for name, tensor in sorted(self.tensors.items()):
            _add_tensor(digest, name, tensor)
        return digest.hexdigest()


def owners(module: nn.Module) -> list[nn.Module]:
    """The parts of a module that hold parameters or buffers of their own."""
    return [part for part in module.modules() if [*part.parameters(False), *part.buffers(False)]]


def _add_tensor(digest: Any, name: str, tensor: torch.Tensor) -> None:
    digest.update(f"{name}:{tensor.dtype}:{tuple(tensor.shape)}".encode())
    if tensor.device.type != "meta":
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())


def check_modules(model: nn.Module) -> None:
    """Refuses what would be lost when modules are made anew, and wrappers.

    Raises:
        InputError: for weights that two modules share, parametrizations, lazy modules, and a model in a wrapper.
    """
    if isinstance(model, nn.DataParallel | nn.parallel.DistributedDataParallel):
        raise InputError(f"The model is wrapped in a {type(model).__name__}; give model.module.")
    if type(model).__name__ == "OptimizedModule" or model.__dict__.get("_compiled_call_impl") is not None:
        raise InputError("The model is compiled; give the model as it was before torch.compile.")
    if isinstance(model, torch.jit.ScriptModule):
        raise InputError(
            "The model is a TorchScript module, whose code is fixed; give the torch module that it was made from."
        )
    lazy = [name for name, module in model.named_modules() if isinstance(module, LazyModuleMixin)]
    if lazy:
        raise InputError(f"Module {lazy[0]!r} is lazy and does not know its sizes yet; run the model once first.")
    holders: dict[int, str] = {}
    for name, module in model.named_modules():
        if is_parametrized(module) or any("Norm" in type(hook).__name__ for hook in module._forward_pre_hooks.values()):
            raise InputError(
                f"The weights of module {name!r} are parametrized (weight or spectral norm), which cannot be rebuilt; remove the "
                "parametrization."
            )
        for key, parameter in module.named_parameters(recurse=False):
            other = holders.setdefault(id(parameter), f"{name}.{key}")
            if other != f"{name}.{key}":
                raise InputError(
                    f"{other!r} and '{name}.{key}' are one parameter, which cannot be rebuilt; give each its own."
                )


def _shown(node: fx.Node | None) -> str | None:
    return None if node is None else f"{node.name} {node.op} {node.target} {node.args} {node.kwargs}"


def _nodes_in(value: Any) -> list[fx.Node]:
    """The nodes anywhere in an argument."""
    found: list[fx.Node] = []
    fx.map_arg(value, found.append)
    return found


def _tensor(model: nn.Module, traced: nn.Module, name: str) -> torch.Tensor:
    """A tensor of the model, with its values, or one that came up while its copy was traced."""
    value: Any = model
    try:
        for part in name.split("."):
            value = getattr(value, part)
    except AttributeError:
        value = getattr(traced, name)
        if value.device.type == "meta" and any(p.device.type != "meta" for p in model.parameters()):
            raise InputError(
                f"{type(model).__name__} cannot be traced: its forward computes with weights that it takes from a list of "
                "parameters; let it take them from its attributes."
            ) from None
    found: torch.Tensor = value
    return found


def _where(error: Exception) -> str:
    """The line of the user's code at which an error was raised."""
    ours = (str(Path(torch.__file__).parent), str(Path(__file__).parent))
    frames = [f for f in traceback.extract_tb(error.__traceback__) if not f.filename.startswith(ours)]
    return f" at {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""


def line_of(node: fx.Node) -> str:
    """The line of the user's code that a node came from."""
    ours = (str(Path(torch.__file__).parent), str(Path(__file__).parent))
    lines = re.findall(r'File "(.+?)", line (\d+)', node.stack_trace or "")
    found = [(file, number) for file, number in lines if not file.startswith(ours)]
    return f" at {Path(found[-1][0]).name}:{found[-1][1]}" if found else ""
