"""Tracing by `torch.fx` with the shapes of an example: what a forward pass asks of shapes is answered, and asked again later.

A value of the pass is a proxy that also knows its value for the example, a tensor on the meta device or a number. So
`isinstance`, `len`, `if x.dim() != 4` and `int(h.shape[2])` are answered. Each such answer is kept with the node that it came
from, so that whoever builds another network can ask again (`answer_of`). Only values of tensors cannot be known.
"""

from __future__ import annotations

import builtins
import copy
import operator
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any

import torch
from torch import fx, nn
from torch.fx.proxy import TraceError

_VALUE, _ANSWER = "value", "answer"
_FACTORIES = (
    "as_tensor",
    "zeros",
    "ones",
    "empty",
    "full",
    "rand",
    "randn",
    "randint",
    "arange",
    "linspace",
    "eye",
    "tensor",
)
_INDEXED = ("__getitem__", "expand", "repeat", "tile", "narrow")
_LEN = len  # while a model is traced, `len` is another function
_PARAMETERS = ("_parameters", "_buffers")


class Unknown:
    """What stands for a value that depends on the values of tensors."""


UNKNOWN = Unknown()


def answer_of(node: fx.Node) -> Any:
    """What the forward pass was told of this node's value, which the graph does not hold; `UNKNOWN` where it did not ask."""
    return node.meta.get(_ANSWER, UNKNOWN)


def is_tensor(node: fx.Node) -> bool:
    """Whether a node's value may be a tensor, or hold some; sizes are none."""
    value = node.meta.get(_VALUE, UNKNOWN)
    if isinstance(value, tuple | list | dict) and not isinstance(value, torch.Size):
        return any(isinstance(part, torch.Tensor) for part in _leaves(value))
    return value is UNKNOWN or isinstance(value, torch.Tensor)


class _ShapedProxy(fx.Proxy):
    """A proxy that knows its value for the example; to `isinstance`, while it is traced, it is one of its value's types."""

    @property
    def known(self) -> Any:
        """The value; `UNKNOWN` where it hangs on values of tensors."""
        return self.node.meta.get(_VALUE, UNKNOWN)

    def __getattr__(self, name: str) -> Any:
        value = self.known
        if value is not UNKNOWN and not hasattr(value, name):
            raise AttributeError(f"{type(value).__name__!r} object has no attribute {name!r}")
        return _ShapedAttribute(self, name)

    def __len__(self) -> int:
        return int(self._ask(self.tracer.create_proxy("call_function", _LEN, (self,), {})))

    def __setitem__(self, key: Any, value: Any) -> None:
        self.tracer.create_proxy("call_function", operator.setitem, (self, key, value), {})

    def __int__(self) -> int:
        return int(self._ask(self))

    def __float__(self) -> float:
        return float(self._ask(self))

    def __index__(self) -> int:
        asked = self._ask(self, probe=True)
        return int(asked.__index__())

    def __hash__(self) -> int:
        value = self.known
        return hash(self._ask(self)) if isinstance(value, int | float | str) else id(self)

    def __contains__(self, item: Any) -> bool:
        return any(bool(part == item) for part in self)

    def __format__(self, spec: str) -> str:
        return format(self.known, spec) if spec else repr(self)

    def _ask(self, proxy: Any, probe: bool = False) -> Any:
        return self.tracer.answer(proxy, probe)  # type: ignore[attr-defined]


class _ShapedAttribute(_ShapedProxy):
    """An attribute of a value, which is a node only once it is no method call."""

    def __init__(self, root: _ShapedProxy, name: str) -> None:
        object.__setattr__(self, "root", root)
        object.__setattr__(self, "name", name)
        object.__setattr__(self, "tracer", root.tracer)
        object.__setattr__(self, "_node", None)

    @property
    def node(self) -> fx.Node:  # type: ignore[override]
        if self._node is None:
            made = self.tracer.create_proxy("call_function", getattr, (self.root, self.name), {}).node
            object.__setattr__(self, "_node", made)
        return self._node

    @property
    def known(self) -> Any:
        value = self.root.known
        return UNKNOWN if value is UNKNOWN else attribute(value, self.name)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.tracer.create_proxy("call_method", self.name, (self.root, *args), kwargs)


class ShapeTracer(fx.Tracer):
    """Traces a model whose parameters may lie on the meta device.

    Args:
        examples: what `forward` takes, on the meta device.
        is_leaf: whether a module, given with its name, is one that is not traced into; torch's own never are.
        keeps_shape: types of modules whose output has the shape of their input: they need no computing.
    """

    record_stack_traces = True

    def __init__(
        self,
        examples: Sequence[torch.Tensor],
        is_leaf: Callable[[nn.Module, str], bool],
        keeps_shape: tuple[type[nn.Module], ...],
    ) -> None:
        super().__init__()
        self._examples = iter(examples)
        self._is_leaf = is_leaf
        self._keeps_shape = keeps_shape
        self._computing = False
        self._twins: dict[nn.Module, nn.Module] = {}
        self._probe: tuple[fx.Node, Any, int] | None = None

    def trace(self, root: Any, concrete_args: Any = None) -> fx.Graph:
        """The graph of `root`'s forward pass.

        Raises:
            TraceError: where it depends on the values of tensors.
            Exception: whatever `forward` raises.
        """
        self._grad = torch.is_grad_enabled()
        with _recorded(self):
            graph = super().trace(root, concrete_args)
        self._settle()
        return graph

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return self._is_leaf(m, module_qualified_name) or super().is_leaf_module(m, module_qualified_name)

    def call_module(self, m: nn.Module, forward: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        if self._computing:
            return forward(*args, **kwargs)
        if self.is_leaf_module(m, self.path_of_module(m)) or _holds_tensors(m):
            return super().call_module(m, forward, args, kwargs)
        last = next(iter(reversed(self.graph.nodes)), None)
        try:
            return super().call_module(m, forward, args, kwargs)
        except Exception as error:
            # A module without weights that cannot be traced into needs not be: what it computes, it computes.
            if last is None or isinstance(error, TraceError):
                raise
            for node in reversed(list(self.graph.nodes)):
                if node is last:
                    break
                self.graph.erase_node(node)
            return self.create_proxy("call_module", self.path_of_module(m), args, kwargs)

    def getattr(self, attr: str, attr_val: Any, parameter_proxy_cache: dict[str, Any]) -> Any:
        return attr_val if self._computing else super().getattr(attr, attr_val, parameter_proxy_cache)

    def _proxy_placeholder(self, name: str, *more: Any) -> Any:
        proxy = super()._proxy_placeholder(name, *more)
        # An argument that the example leaves out is None to whoever asks `is None`, which a proxy cannot answer.
        return None if proxy.known is None else proxy

    def proxy(self, node: fx.Node) -> fx.Proxy:
        return _ShapedProxy(node, self)

    def create_proxy(self, kind: str, target: Any, *more: Any, **settings: Any) -> Any:
        proxy = super().create_proxy(kind, target, *more, **settings)
        if kind.startswith("call") and self._grad and not torch.is_grad_enabled() and is_tensor(proxy.node):
            # Under `no_grad`, which no node shows. Where there is no gradient, what comes out is detached.
            known = proxy.node.meta.get(_VALUE, UNKNOWN)
            if isinstance(known, torch.Tensor):
                return super().create_proxy("call_method", "detach", (proxy,), {})
        return proxy

    def create_arg(self, a: Any) -> Any:
        if issubclass(type(a), fx.Proxy):
            return a.node
        if isinstance(a, torch.device) and a.type == "meta":
            # Taken from a parameter of the traced copy: where the input lies, its weights lie, too.
            first = next(node for node in self.graph.nodes if node.op == "placeholder")
            return self.create_node("call_function", getattr, (first, "device"), {})
        return super().create_arg(a)

    def create_node(
        self, kind: str, target: Any, args: Any, kwargs: Any, name: Any = None, type_expr: Any = None
    ) -> fx.Node:
        node = super().create_node(kind, target, args, kwargs, name, type_expr)
        self._settle(node)
        if kind != "output":
            node.meta[_VALUE] = self._value(node)
        return node

    def to_bool(self, obj: Any) -> bool:
        return bool(self.answer(obj))

    def iter(self, obj: Any) -> Iterator[Any]:
        return (obj[number] for number in range(len(obj)))

    def answer(self, proxy: Any, probe: bool = False) -> Any:
        """The value of a proxy, which is kept as an answer.

        Args:
            proxy: asked for.
            probe: whether torch may only want to know if it is a number, before it records the call.

        Raises:
            TraceError: where it is not known.
        """
        value = proxy.known
        if value is UNKNOWN or isinstance(value, torch.Tensor):
            raise TraceError("the values of tensors are asked for")
        self._settle()
        if probe:
            frame = sys._getframe(3)
            self._probe = proxy.node, frame, frame.f_lasti
        else:
            proxy.node.meta[_ANSWER] = value
        return value

    def _settle(self, node: fx.Node | None = None) -> None:
        """Decides what the last probe was: part of the call that made this node, or an answer by itself."""
        if self._probe is None:
            return
        asked, where, at = self._probe
        self._probe = None
        if node is not None and asked in node.all_input_nodes:
            frame: Any = sys._getframe(1)
            while frame is not None:
                if frame is where:
                    if frame.f_lasti == at:
                        return
                    break
                frame = frame.f_back
        asked.meta[_ANSWER] = asked.meta[_VALUE]

    def _value(self, node: fx.Node) -> Any:
        if node.op == "placeholder":
            return example_for(node, self._examples)
        args, kwargs = (fx.map_arg(part, lambda n: n.meta.get(_VALUE, UNKNOWN)) for part in (node.args, node.kwargs))
        if node.op != "get_attr" and any(v is UNKNOWN for v in _leaves((args, kwargs))):
            return UNKNOWN
        self._computing = True
        try:
            with torch.no_grad(), torch.device("meta"):
                return self._computed(node, on_meta(args), on_meta(kwargs))
        except (
            Exception
        ):  # it hangs on values of tensors, or the call is wrong, which whoever builds from the graph says
            return UNKNOWN
        finally:
            self._computing = False

    def _computed(self, node: fx.Node, args: Any, kwargs: Any) -> Any:
        if node.op == "get_attr":
            value: Any = self.root
            for part in str(node.target).split("."):
                value = getattr(value, part)
            return on_meta(value)
        if node.op == "call_module":
            module = self.root.get_submodule(str(node.target))
            return args[0] if isinstance(module, self._keeps_shape) else self._twin(module)(*args, **kwargs)
        if node.op == "call_method":
            return getattr(args[0], str(node.target))(*args[1:], **kwargs)
        if node.target is getattr:
            return attribute(*args)
        return node.target(*args, **kwargs)  # type: ignore[operator]

    def _twin(self, module: nn.Module) -> nn.Module:
        if module not in self._twins:
            self._twins[module] = without_values(module)
        return self._twins[module]


def example_for(placeholder: fx.Node, examples: Iterator[Any]) -> Any:
    """What an argument of `forward` is: the next of the examples, as many as there are for `*args`, or else its default."""
    name = str(placeholder.target)
    if name.startswith("*"):
        return {} if name.startswith("**") else tuple(examples)
    return next(examples, placeholder.args[0] if placeholder.args else None)


def without_values(module: nn.Module, buffers: bool = True) -> nn.Module:
    """A copy whose parameters, and buffers too, lie on the meta device; nothing is copied of their values.

    Raises:
        Exception: whatever copying the module's attributes raises.
    """
    memo: dict[int, Any] = {}
    for part in module.modules():
        for key in _PARAMETERS if buffers else _PARAMETERS[:1]:
            for tensor in getattr(part, key).values():
                if tensor is not None and id(tensor) not in memo:
                    empty = torch.empty_like(tensor, device="meta")
                    is_parameter = isinstance(tensor, nn.Parameter)
                    memo[id(tensor)] = nn.Parameter(empty, tensor.requires_grad) if is_parameter else empty
    return copy.deepcopy(module, memo)


@contextmanager
def _recorded(tracer: ShapeTracer) -> Iterator[None]:
    """Records calls that torch would not: what makes a tensor from sizes alone, and methods of constant tensors."""
    places: list[tuple[Any, str, str]] = [(torch, name, "call_function") for name in _FACTORIES]
    places += [(torch.Tensor, name, "call_method") for name in _INDEXED]
    inherited = {(owner, name): name in vars(owner) for owner, name, _ in places}
    before = {(owner, name): getattr(owner, name) for owner, name, _ in places}
    with torch.device("meta"):
        torch.empty(0)  # torch remembers which functions take a default device: they must not be the wrapped ones

    def wrapped(function: Any, name: str, kind: str) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            if tracer._computing or not any(issubclass(type(a), fx.Proxy) for a in _leaves((args, kwargs))):
                return function(*args, **kwargs)
            return tracer.create_proxy(kind, function if kind == "call_function" else name, args, kwargs)

        call.__name__ = name
        return call

    isinstance_before, len_before = builtins.isinstance, builtins.len
    apply_before = vars(torch.autograd.Function)["apply"]

    def is_of(value: Any, kind: Any) -> bool:
        # A proxy cannot say so by itself: torch's own C++ code would believe it, and read it as a tensor.
        if isinstance_before(value, kind):
            return True
        if tracer._computing or not isinstance_before(value, _ShapedProxy):
            return False
        known = value.known
        return known is not UNKNOWN and isinstance_before(known, kind)

    def len_of(value: Any) -> Any:
        if tracer._computing or not isinstance_before(value, _ShapedProxy):
            return len_before(value)
        return tracer.create_proxy("call_function", len_before, (value,), {})

    def apply(cls: Any, *args: Any, **kwargs: Any) -> Any:
        # A function with a backward pass of its own is one call: traced into, it would have another gradient.
        if tracer._computing or not any(issubclass(type(a), fx.Proxy) for a in _leaves((args, kwargs))):
            return apply_before.__get__(None, cls)(*args, **kwargs)
        return tracer.create_proxy("call_function", _function(cls), args, kwargs)

    try:
        for owner, name, kind in places:
            setattr(owner, name, wrapped(before[owner, name], name, kind))
        torch.autograd.Function.apply = classmethod(apply)
        builtins.isinstance = is_of
        builtins.len = len_of
        yield
    finally:
        builtins.isinstance = isinstance_before
        builtins.len = len_before
        torch.autograd.Function.apply = apply_before
        for owner, name, _ in places:
            if inherited[owner, name]:
                setattr(owner, name, before[owner, name])
            else:
                delattr(owner, name)


@cache
def _function(kind: Any) -> Any:
    """A call of a function with a backward pass of its own, under a name."""

    def call(*args: Any, **kwargs: Any) -> Any:
        return kind.apply(*args, **kwargs)

    call.__module__, call.__name__, call.__qualname__ = (
        kind.__module__,
        f"{kind.__name__}_apply",
        f"{kind.__qualname__}_apply",
    )
    return call


def attribute(value: Any, name: str) -> Any:
    """An attribute of an example's value. The example lies on the CPU for whoever asks: no branch is to hang on the meta
    device."""
    if isinstance(value, torch.Tensor) and name == "device":
        return torch.device("cpu")
    return getattr(value, name)


def on_meta(value: Any) -> Any:
    """Tensors and devices anywhere in the value, brought to the meta device."""
    if isinstance(value, torch.Tensor):
        return value.detach().to("meta")
    if isinstance(value, torch.device):
        return torch.device("meta")
    if isinstance(value, list):
        return [on_meta(part) for part in value]
    if type(value) is tuple:
        return tuple(on_meta(part) for part in value)
    if isinstance(value, dict):
        return {key: on_meta(part) for key, part in value.items()}
    if isinstance(value, slice):
        return slice(*(on_meta(part) for part in (value.start, value.stop, value.step)))
    return value


def _leaves(value: Any) -> Iterable[Any]:
    """Everything in nested tuples, lists, dictionaries and slices."""
    if issubclass(type(value), fx.Proxy):
        yield value
    elif isinstance(value, list | tuple):
        for part in value:
            yield from _leaves(part)
    elif isinstance(value, dict):
        for part in value.values():
            yield from _leaves(part)
    elif isinstance(value, slice):
        yield from (value.start, value.stop, value.step)
    else:
        yield value


def _holds_tensors(module: nn.Module) -> bool:
    return any(True for _ in module.parameters()) or any(True for _ in module.buffers())
