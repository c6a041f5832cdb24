"""What a function or object of a user's own is, as a fingerprint knows it: what it was written as, and what it holds."""

from __future__ import annotations

import functools
import hashlib
import inspect
import itertools
import json
import types
from collections.abc import Mapping, Set
from enum import Enum
from pathlib import Path
from typing import Any

from marl_hpo_env.errors import InputError


class _Unreadable(Exception):
    """Something that cannot be read; the message names it."""


def identity(thing: object, name: str | None, what: str) -> str:
    """A text that is the same, also in another process, as long as what it stands for computes the same.

    A function is read by its module, name, source, defaults and closure, an object by its class and all that it holds, a torch
    module's tensors included. What a function calls in turn is not read, but where it is held.

    Args:
        thing: a function or any callable object.
        name: stands for it in place of all that; None reads it.
        what: it is, for the sentence.

    Raises:
        InputError: if it cannot be read.
    """
    if name is not None:
        return f"named {name}"
    try:
        content = _read(thing, ())
    except (_Unreadable, ValueError) as error:  # the latter of a variable around it that has no value
        raise InputError(
            f"The {what} cannot be read, because of {error}, so that nobody could tell its trials from another's; give it a name="
            " of its own."
        ) from error
    digest = hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]
    return f"{_name(thing if hasattr(thing, '__qualname__') else type(thing))} {digest}"


def _name(of: Any) -> str:
    return f"{of.__module__}.{of.__qualname__}"


def _read(thing: Any, around: tuple[int, ...]) -> Any:
    """JSON that says what it is.

    Args:
        thing: to read.
        around: the ids of what it is held by, in which it may be held again.
    """
    if id(thing) in around:
        return ["held by itself", around.index(id(thing))]
    around = (*around, id(thing))
    if thing is None or isinstance(thing, bool | int | float | str):
        return thing
    if isinstance(thing, Enum | Path | complex | bytes):
        return [type(thing).__name__, repr(thing)]
    if isinstance(thing, types.ModuleType):
        return ["module", thing.__name__]
    if isinstance(thing, type):
        return ["class", _name(thing), _source(thing)]
    if isinstance(thing, types.FunctionType):
        held = [thing.__defaults__, thing.__kwdefaults__, [cell.cell_contents for cell in thing.__closure__ or ()]]
        return ["function", _name(thing), _source(thing), *_place(thing), _read(held, around)]
    parts = _parts(thing)
    if parts is not None:
        read = [_read(part, around) for part in parts]
        return sorted(read, key=json.dumps) if isinstance(thing, Set) else read
    values = _values(thing)
    if values is not None:
        return values
    if type(thing).__module__ == "builtins" or not hasattr(thing, "__dict__"):
        raise _Unreadable(repr(thing)[:100])
    return ["object", _read(type(thing), around), _read(_state(thing), around)]


def _parts(thing: Any) -> list[Any] | None:
    """What a method, a partial function or a container is made of, after its kind; None for anything else."""
    if isinstance(thing, types.MethodType):
        return ["method", thing.__func__, thing.__self__]
    if isinstance(thing, functools.partial):
        return ["partial", thing.func, thing.args, thing.keywords]
    if isinstance(thing, Mapping):
        return ["mapping", *itertools.chain.from_iterable(thing.items())]
    if isinstance(thing, list | tuple | Set):
        return ["set" if isinstance(thing, Set) else "list", *thing]
    return None


def _state(thing: Any) -> dict[str, Any]:
    """What an object holds; of a torch module without torch's own bookkeeping."""
    from torch import nn

    if not isinstance(thing, nn.Module):
        return dict(vars(thing))
    held = {name: value for name, value in vars(thing).items() if not name.startswith("_") and name != "training"}
    tensors = {**dict(thing.named_parameters(recurse=False)), **dict(thing.named_buffers(recurse=False))}
    return {**held, "tensors": tensors, "modules": dict(thing.named_children())}


def _values(thing: Any) -> Any:
    """Of a tensor, an array, or one of torch's small types; None for anything else."""
    import numpy as np
    import torch

    if isinstance(thing, torch.dtype | torch.device):
        return ["torch", repr(thing)]
    if isinstance(thing, torch.Tensor):
        thing = thing.detach().cpu()
        content = thing.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
        return ["tensor", str(thing.dtype), list(thing.shape), hashlib.sha256(content).hexdigest()]
    if isinstance(thing, np.ndarray | np.generic) and not thing.dtype.hasobject:
        return ["array", str(thing.dtype), list(thing.shape), hashlib.sha256(thing.tobytes()).hexdigest()]
    return None


def _place(function: types.FunctionType) -> list[int]:
    """Where in its lines a lambda ends, since there may be others; nothing of any other function."""
    if function.__name__ != "<lambda>":
        return []
    code = function.__code__
    ends = [(line - code.co_firstlineno, column) for _, line, _, column in code.co_positions() if line and column]
    return list(max(ends, default=()))


def _source(thing: Any) -> str | None:
    """As it is written; None of what torch defines, whose source says nothing that its name does not."""
    if thing.__module__.partition(".")[0] in ("torch", "builtins"):
        return None
    try:
        return inspect.getsource(thing)
    except (OSError, TypeError) as error:
        raise _Unreadable(f"{_name(thing)!r}, whose source is not there") from error
