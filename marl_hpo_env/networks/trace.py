"""The graph of a network's forward pass, in training and in evaluation mode, by `torch.fx`."""

from __future__ import annotations

import hashlib
import re
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import fx, nn
from torch.nn import functional
from torch.nn.utils.parametrize import is_parametrized

from marl_hpo_env.errors import InputError, first_line
from marl_hpo_env.networks.rules import constructor_arguments

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
        model: traced, not changed.
        is_leaf: whether a module, given with its name, is one that is not traced into; torch's own never are.

    Attributes:
        graphs: the graph, by training mode; one and the same where the modes do not differ.
        modules: every module that a graph calls, by name.
        tensors: every parameter, buffer or constant that a graph uses by itself, by name.
        saved: names of what the model's state dict holds.

    Raises:
        InputError: if the network cannot be traced.
    """

    def __init__(self, model: nn.Module, is_leaf: Callable[[nn.Module, str], bool]) -> None:
        self.name = type(model).__name__
        _check_modules(model)
        self.saved = set(model.state_dict())
        self.modules: dict[str, nn.Module] = {}
        self.tensors: dict[str, torch.Tensor] = {}
        graphs = {}
        for training in (True, False):
            with _mode(model, training):
                graphs[training] = self._trace(model, is_leaf)
        same = str(graphs[True]) == str(graphs[False])
        self.graphs: dict[bool, fx.Graph] = {True: graphs[True], False: graphs[True] if same else graphs[False]}

    def _trace(self, model: nn.Module, is_leaf: Callable[[nn.Module, str], bool]) -> fx.Graph:
        class Tracer(fx.Tracer):
            record_stack_traces = True

            def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
                return is_leaf(m, module_qualified_name) or super().is_leaf_module(m, module_qualified_name)

        tracer = Tracer()
        try:
            graph = tracer.trace(model)
        except Exception as error:  # whatever a user's forward raises while it is traced
            raise InputError(
                f"{self.name} cannot be traced by torch.fx{_where(error)}: {first_line(error)}; its forward must not depend "
                "on the values or shapes of tensors."
            ) from error
        root = tracer.root
        for node in graph.nodes:
            if node.op == "call_function" and node.target in _POOLS:
                self._as_module(node, {name for name, _ in root.named_modules()})
            elif node.op == "call_module":
                self.modules[str(node.target)] = root.get_submodule(str(node.target))
            elif node.op == "get_attr":
                value: Any = root
                for part in str(node.target).split("."):
                    value = getattr(value, part)
                self.tensors[str(node.target)] = value
        graph.lint()
        return graph

    def _as_module(self, node: fx.Node, taken: set[str]) -> None:
        """A pool that is called as a function becomes a module: it can be tuned, and shrinks to fit its input as one."""
        kind = _POOLS[node.target]  # type: ignore[index]
        names = _MAX_ARGUMENTS if issubclass(kind, nn.MaxPool1d | nn.MaxPool2d | nn.MaxPool3d) else _AVERAGE_ARGUMENTS
        arguments = {**dict(zip(names, node.args[1:], strict=False)), **node.kwargs}
        source = arguments.pop("input", None) or node.args[0]
        arguments = {name: value for name, value in arguments.items() if value not in (None, [], ())}
        if arguments.get("return_indices") is False:
            del arguments["return_indices"]
        if not set(arguments) <= set(names) or any(isinstance(value, fx.Node) for value in arguments.values()):
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


def _check_modules(model: nn.Module) -> None:
    """Refuses what would be lost when modules are made anew.

    Raises:
        InputError: for weights that two modules share, parametrizations, and hooks.
    """
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


@contextmanager
def _mode(model: nn.Module, training: bool) -> Iterator[None]:
    """The model in one mode; every module's own mode is restored."""
    before = [(module, module.training) for module in model.modules()]
    model.train(training)
    try:
        yield
    finally:
        for module, mode in before:
            module.training = mode


def _where(error: Exception) -> str:
    """The line of the user's code at which an error was raised."""
    ours = (str(Path(torch.__file__).parent), str(Path(__file__).parent))
    frames = [f for f in traceback.extract_tb(error.__traceback__) if not f.filename.startswith(ours)]
    return f" at {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""


def line_of(node: fx.Node) -> str:
    """The line of the user's code that a node came from."""
    ours = str(Path(torch.__file__).parent)
    lines = re.findall(r'File "(.+?)", line (\d+)', node.stack_trace or "")
    found = [(file, number) for file, number in lines if not file.startswith(ours)]
    return f" at {Path(found[-1][0]).name}:{found[-1][1]}" if found else ""
