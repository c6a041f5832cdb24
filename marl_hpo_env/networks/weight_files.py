"""Weights in files that others wrote: safetensors, and torch's own, of which no code is run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from marl_hpo_env.errors import InputError, first_line

_WRAPPERS = ("state_dict", "model", "model_state_dict")
"""Names under which a checkpoint holds the weights beside other things."""

_PREFIX = "module."
"""Before each name where the model was wrapped for several devices."""


def read_weights(path: Path | str) -> dict[str, torch.Tensor]:
    """A state dict on the CPU.

    Args:
        path: a safetensors file, or one that `torch.save` wrote, which is read with `weights_only`: a state dict, or a checkpoint
            that holds one as `state_dict`, `model` or `model_state_dict`. `module.` before all names is dropped.

    Raises:
        InputError: if the file cannot be read, or holds no state dict.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise InputError(f"There is no file {str(path)!r} with weights; name a .safetensors, .pth or .pt file.")
    try:
        if path.suffix == ".safetensors":
            read: Any = load_file(path)
        else:
            read = torch.load(path, map_location="cpu", weights_only=True)
    except (Exception, SafetensorError) as error:  # whatever a file that holds something else makes torch raise
        raise InputError(
            f"The weights in {str(path)!r} cannot be read: {first_line(error)}; give a safetensors file, or a state dict that "
            "torch.save wrote."
        ) from error
    for key in _WRAPPERS:
        if isinstance(read, Mapping) and isinstance(read.get(key), Mapping):
            read = read[key]
    if not isinstance(read, Mapping) or not read or not all(isinstance(t, torch.Tensor) for t in read.values()):
        raise InputError(
            f"The file {str(path)!r} holds a {type(read).__name__} and no state dict; save model.state_dict() into it."
        )
    prefixed = all(str(name).startswith(_PREFIX) for name in read)
    return {str(name).removeprefix(_PREFIX) if prefixed else str(name): tensor for name, tensor in read.items()}
