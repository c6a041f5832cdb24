"""Images that do not fit into memory: read from their files batch by batch, ahead of the training that takes them."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cached_property
from pathlib import Path

import numpy as np
import torch

from marl_hpo_env.data.images import SHORTER_SIDE, UNREADABLE, normalised, read_square
from marl_hpo_env.errors import InputError

_AHEAD = 4  # batches


class ImageFiles:
    """The pixels of image files, in the place of a tensor of shape (n, 3, image_size, image_size).

    Indexing with a slice or a tensor of indices reads those files, by as many threads as there are cores. Pixels are
    normalised with ImageNet's mean and deviation.

    Args:
        root: the folder that `names` are relative to.
        names: of the files.
        image_size: height and width in pixels.
        device: where what is read is put.
    """

    dtype = torch.float32

    def __init__(
        self, root: Path, names: Sequence[str] | np.ndarray, image_size: int, device: torch.device | str = "cpu"
    ) -> None:
        self.root = root
        self.names = np.asarray(names)
        self.image_size = image_size
        self.device = torch.device(device)

    @property
    def shape(self) -> torch.Size:
        """As of the tensor that this stands for."""
        return torch.Size((len(self.names), 3, self.image_size, self.image_size))

    def __len__(self) -> int:
        return len(self.names)

    def to(self, device: torch.device) -> ImageFiles:
        """The same files, read to another device."""
        return ImageFiles(self.root, self.names, self.image_size, device)

    def __getitem__(self, which: slice | torch.Tensor) -> torch.Tensor:
        return self.placed(self.pixels(which))

    def pixels(self, which: slice | torch.Tensor) -> list[Future[np.ndarray]]:
        """Starts to read these files."""
        names = self.names[which if isinstance(which, slice) else which.cpu().numpy()]
        return [self._threads.submit(self._read, str(name)) for name in names]

    def placed(self, pixels: Sequence[Future[np.ndarray]]) -> torch.Tensor:
        """What was read, normalised on the device; shape (n, 3, image_size, image_size).

        Raises:
            InputError: if a file cannot be read as an image.
        """
        raw = torch.from_numpy(np.stack([one.result() for one in pixels]))
        if self.device.type == "cuda":
            raw = raw.pin_memory()  # so that the copy does not wait
        return normalised(raw.to(self.device, non_blocking=True))

    @cached_property
    def _threads(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="images")

    def _read(self, name: str) -> np.ndarray:
        path = self.root / name
        try:
            return read_square(path, self.image_size, central=True, draft=round(SHORTER_SIDE * self.image_size))[0]
        except UNREADABLE as error:
            raise InputError(f"The image {str(path)!r} cannot be read ({error}); unpack it again.") from error

    def __getstate__(self) -> dict[str, object]:
        return {name: value for name, value in self.__dict__.items() if name != "_threads"}

    def digest(self) -> str:
        """What names these files: their names and sizes in bytes, not their contents, which would take hours to read."""
        sizes = [os.stat(self.root / str(name)).st_size for name in self.names]
        return repr((self.image_size, self.names.tolist(), sizes))


Inputs = torch.Tensor | ImageFiles
"""Examples in memory, or in files."""


def in_batches(inputs: Inputs, batches: Sequence[slice | torch.Tensor]) -> Iterator[torch.Tensor]:
    """The inputs of each batch of indices, one after the other; files are read ahead of who takes them. They are whoever's who
    takes them: a network may write to them."""
    if isinstance(inputs, torch.Tensor):
        for batch in batches:
            yield inputs[batch].clone() if isinstance(batch, slice) else inputs[batch]
        return
    ahead: deque[list[Future[np.ndarray]]] = deque()
    for batch in batches:
        ahead.append(inputs.pixels(batch))
        if len(ahead) > _AHEAD:
            yield inputs.placed(ahead.popleft())
    while ahead:
        yield inputs.placed(ahead.popleft())
