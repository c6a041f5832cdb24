"""How a task reaches the processes that train it: code of `__main__` by value, large tensors once per machine.

Bytes made here go through a pipe to a process of our own, and never into a file.
"""

from __future__ import annotations

import io
import mmap
import os
import pickle
import weakref
from dataclasses import dataclass
from typing import Any

import cloudpickle
import torch

SHARED_FROM = 2**20
"""Bytes from which a tensor is shared among the processes of a machine, and not copied to each."""

_shared: dict[tuple[int, int], int] = {}
"""By address and bytes, the file in memory behind a tensor that is shared."""


def packed(thing: object) -> bytes:
    """`thing` as bytes for `unpacked` in another process of this machine, for as long as this process lives.

    What `__main__` defines travels by value, so that a script or notebook is not run again where it arrives. Large tensors are
    held once: this process' own move to memory that others map.

    Raises:
        Exception: whatever says that it cannot be pickled.
    """
    buffer = io.BytesIO()
    _Pickler(buffer).dump(thing)
    return buffer.getvalue()


def unpacked(data: bytes) -> Any:
    """What `packed` was given.

    Raises:
        Exception: such as for a module that cannot be imported here.
    """
    return pickle.loads(data)


class _Pickler(cloudpickle.Pickler):
    def reducer_override(self, thing: Any) -> Any:
        if type(thing) is torch.Tensor and _can_be_shared(thing):
            return _mapped, (_share(thing),)
        return super().reducer_override(thing)


@dataclass(frozen=True)
class _Place:
    """Where the values of a tensor are: a file in the memory of a process."""

    path: str
    size: int
    dtype: torch.dtype
    shape: tuple[int, ...]


def _can_be_shared(tensor: torch.Tensor) -> bool:
    return (
        hasattr(os, "memfd_create")
        and tensor.device.type == "cpu"
        and tensor.layout == torch.strided
        and not tensor.requires_grad
        and not tensor.is_inference()
        and tensor.is_contiguous()
        and tensor.nbytes >= SHARED_FROM
        and tensor.nbytes == tensor.untyped_storage().nbytes()  # else it is a part of another, which would stay, too
    )


def _share(tensor: torch.Tensor) -> _Place:
    """Moves a tensor's values to a file in memory, if they are not in one, and says where they are."""
    key = tensor.data_ptr(), tensor.nbytes
    if key not in _shared:
        file = os.memfd_create("marl-hpo-data")
        with os.fdopen(os.dup(file), "wb") as writer:
            tensor.flatten().view(torch.uint8).numpy().tofile(writer)
        mapped = _tensor(file, tensor.nbytes, tensor.dtype, tuple(tensor.shape))
        tensor.set_(mapped)  # type: ignore[call-overload]  # as `share_memory_` does
        key = tensor.data_ptr(), tensor.nbytes
        _shared[key] = file
        weakref.finalize(tensor.untyped_storage(), _close, key)
    place = f"/proc/{os.getpid()}/fd/{_shared[key]}"
    return _Place(place, tensor.nbytes, tensor.dtype, tuple(tensor.shape))


def _close(key: tuple[int, int]) -> None:
    os.close(_shared.pop(key))


def _mapped(place: _Place) -> torch.Tensor:
    """The tensor at this place. A page that is written to becomes this process' own."""
    file = os.open(place.path, os.O_RDWR)
    try:
        return _tensor(file, place.size, place.dtype, place.shape)
    finally:
        os.close(file)


def _tensor(file: int, size: int, dtype: torch.dtype, shape: tuple[int, ...]) -> torch.Tensor:
    pages = mmap.mmap(file, size, access=mmap.ACCESS_COPY)
    return torch.frombuffer(pages, dtype=torch.uint8).view(dtype).view(shape)
