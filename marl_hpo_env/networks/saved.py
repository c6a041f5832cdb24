"""Networks on disk: weights and hyperparameters in a safetensors file, and no code."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, get_args

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

from marl_hpo_env.data.images import MEAN, STD
from marl_hpo_env.data.splits import Kind
from marl_hpo_env.errors import InputError, first_line, is_number, whole_number
from marl_hpo_env.files import whole_file
from marl_hpo_env.networks.builder import NetworkBuilder
from marl_hpo_env.networks.trace import Traced

_FORMAT = "marl-hpo-env network 1"


_LARGEST_IMAGE = 2**14
_MOST_CLASSES = 100_000


@dataclass(frozen=True)
class About:
    """How a network is made again and used; what is not known is left out.

    Args:
        model: what the original is made by: `torchvision:NAME`, or `module:function`.
        arguments: that it is called with, such as `{"num_classes": 3}`.
        kind: of what it gives: `"classes"`, `"labels"`, `"values"` or `"masks"`, as in `Data`.
        class_names: of classes, labels, values or planes, in order.
        image_size: height and width in pixels to which a whole image is scaled.
        bits: that images deeper than 8 bits were taken to have; None where there were none.
        mean: of each channel on the scale 0..1, which is subtracted.
        deviation: likewise, which is then divided by.
        value_mean: of values that the network gives standardised: what is added to each, after
        value_deviation: by which each is multiplied.

    Raises:
        InputError: if one of them cannot be so.
    """

    model: str | None = None
    arguments: Mapping[str, int] = field(default_factory=dict)
    kind: Kind | None = None
    class_names: Sequence[str] = ()
    image_size: int | None = None
    bits: int | None = None
    mean: Sequence[float] = MEAN
    deviation: Sequence[float] = STD
    value_mean: Sequence[float] = ()
    value_deviation: Sequence[float] = ()

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if isinstance(value, list):  # as JSON has it
                object.__setattr__(self, name, tuple(value))
        if not isinstance(self.model, str | None):
            raise InputError(f"The model of a saved network is {self.model!r}; it is a text.")
        if not (isinstance(self.arguments, Mapping) and all(isinstance(name, str) for name in self.arguments)):
            raise InputError(
                f"The arguments of a saved network's model are {self.arguments!r}; they are numbers by name."
            )
        for name, value in self.arguments.items():
            whole_number(f"argument {name!r} of a saved network's model", value, 0, _MOST_CLASSES)
        if self.kind not in (None, *get_args(Kind)):
            raise InputError.unknown("kind of targets", self.kind, get_args(Kind))
        if not (isinstance(self.class_names, tuple) and all(isinstance(n, str) for n in self.class_names)):
            raise InputError(f"The class names of a saved network are {self.class_names!r}; they are texts.")
        if self.image_size is not None:
            whole_number("image size of a saved network", self.image_size, 1, _LARGEST_IMAGE)
        if self.bits is not None:
            whole_number("number of bits of a saved network's images", self.bits, 8, 16)
        for of, mean, deviation in (
            ("channels", self.mean, self.deviation),
            ("values", self.value_mean, self.value_deviation),
        ):
            numbers = all(isinstance(one, tuple) and all(map(is_number, one)) for one in (mean, deviation))
            lengths = (1, 3) if of == "channels" else (len(mean),)
            fit = numbers and len(mean) == len(deviation) and len(mean) in lengths
            if not fit or not all(value > 0 for value in deviation):
                raise InputError(
                    f"The mean and deviation of a saved network's {of} are {mean!r} and {deviation!r}; they are a number for "
                    "each, the latter above 0."
                )


def save_network(network: nn.Module, path: Path | str, about: About | None = None) -> None:
    """Writes a network that `TunableNetwork.build` or `Task.fit` made.

    The file is a safetensors file: its tensors are the state dict, its metadata the hyperparameters by layer name, the
    shapes of the inputs and what is said about it, and a checksum of all that.

    Args:
        network: in any mode, on any device.
        path: of the file.
        about: how it is made again and used.

    Raises:
        InputError: if the network was not made so, or the file cannot be written.
    """
    meta: Any = getattr(network, "meta", {})
    if "hyperparameters" not in meta:
        raise InputError(f"{type(network).__name__} was not built from a design; save what Task.fit or build returned.")
    metadata = {
        "format": _FORMAT,
        "hyperparameters": json.dumps(meta["hyperparameters"], default=_type_name),
        "inputs": json.dumps([[list(x.shape[1:]), str(x.dtype).removeprefix("torch.")] for x in meta["inputs"]]),
    }
    if about is not None:
        metadata["about"] = json.dumps({name: value for name, value in asdict(about).items() if value})
    tensors = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in network.state_dict().items()}
    metadata["checksum"] = checksum(metadata, tensors)
    try:
        with whole_file(path) as partial:
            save_file(tensors, str(partial), metadata)
    except (OSError, SafetensorError) as error:
        raise InputError(f"The network cannot be written to {str(path)!r}: {error}.") from error


def load_network(path: Path | str, model: nn.Module, types: Iterable[type[nn.Module]] = ()) -> nn.Module:
    """Rebuilds a saved network.

    Args:
        path: written by `save_network`.
        model: the original network, as it was given to the task; its weights do not matter.
        types: module types beside torch's own that were among the choices for `"type"`.

    Returns:
        The network in evaluation mode, on the CPU.

    Raises:
        InputError: if the file cannot be read, is no saved network, or belongs to another model.
    """
    if not isinstance(model, nn.Module):
        raise InputError(
            f"The model is a {type(model).__name__}; give the network itself, as in load_network(path, make_net())."
        )
    metadata, tensors = _read(path)
    own_types = {_type_name(kind)["type"]: kind for kind in types}
    try:
        hyperparameters = _hyperparameters(metadata, own_types)
        inputs = _inputs(metadata)
    except InputError:
        raise
    except (AttributeError, KeyError, RecursionError, RuntimeError, TypeError, ValueError) as error:
        raise _no_content(path, error) from error
    traced = Traced(model, inputs, lambda module, name: name in hyperparameters)
    missing = [layer for layer in hyperparameters if layer not in traced.modules]
    if missing:
        raise InputError(
            f"The saved network has a layer {missing[0]!r}, the given model does not; give the model it was made of."
        )
    meta = torch.device("meta")
    original = NetworkBuilder(traced, inputs, {}, meta)
    original.build()
    try:
        # First without memory, of which a damaged file may ask for any amount.
        for device in (meta, torch.device("cpu")):
            network = NetworkBuilder(traced, inputs, hyperparameters, device, original.shapes).build()
            _load(network, {name: tensor.to(device) for name, tensor in tensors.items()}, path)
    except InputError:
        raise
    except Exception as error:  # whatever a module makes of the values that it is given
        raise _no_content(path, error) from error
    return network.eval()


def read_about(path: Path | str) -> tuple[About, list[torch.Tensor]]:
    """What a saved network says about itself, and examples of its inputs, of two each, without memory.

    Raises:
        InputError: if the file cannot be read, is no saved network, or says what cannot be.
    """
    metadata, _ = _read(path)
    try:
        return About(**json.loads(metadata.get("about", "{}"))), _inputs(metadata)
    except InputError:
        raise
    except (AttributeError, KeyError, RecursionError, RuntimeError, TypeError, ValueError) as error:
        raise _no_content(path, error) from error


def about_weights(path: Path | str) -> About | None:
    """What a file of weights says about the network; None where it is none of `save_network`.

    Raises:
        InputError: if it is one, and is damaged or says what cannot be.
    """
    try:
        with safe_open(str(path), framework="pt") as file:
            saved = (file.metadata() or {}).get("format") == _FORMAT
    except (OSError, SafetensorError):
        return None
    return read_about(path)[0] if saved else None


def _read(path: Path | str) -> tuple[dict[str, str], dict[str, torch.Tensor]]:
    """The metadata and tensors of a saved network.

    Raises:
        InputError: if the file is none, or is damaged.
    """
    try:
        with safe_open(str(path), framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError, ValueError, KeyError, MemoryError, RuntimeError) as error:
        raise InputError(f"The file {str(path)!r} cannot be read as a saved network: {first_line(error)}.") from error
    if metadata.get("format") != _FORMAT:
        raise InputError(f"The file {str(path)!r} is no saved network of this package; write one with save_network.")
    written = metadata.pop("checksum", None)  # which files of before 0.2 lack
    if written not in (None, checksum(metadata, tensors)):
        raise InputError(
            f"The saved network {str(path)!r} is damaged: its checksum does not fit; get it, or save it, anew."
        )
    return metadata, tensors


def _load(network: nn.Module, tensors: Mapping[str, torch.Tensor], path: Path | str) -> None:
    try:
        network.load_state_dict(tensors)
    except RuntimeError as error:
        differing = next((line.strip() for line in str(error).splitlines()[1:]), str(error)).rstrip(".")
        raise InputError(
            f"The weights in {str(path)!r} do not fit the given model; give the model it was made of, with as many classes: "
            f"{differing}."
        ) from error


def _no_content(path: Path | str, error: Exception) -> InputError:
    return InputError(
        f"The file {str(path)!r} does not hold what a saved network holds ({type(error).__name__}: {first_line(error)}); "
        "write one with save_network."
    )


def checksum(metadata: Mapping[str, str], tensors: Mapping[str, torch.Tensor]) -> str:
    """Of all that a file holds."""
    digest = hashlib.sha256(json.dumps(sorted(metadata.items())).encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(json.dumps([name, str(tensor.dtype), list(tensor.shape)]).encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _hyperparameters(metadata: Mapping[str, str], own_types: Mapping[str, type]) -> dict[str, dict[str, Any]]:
    """The hyperparameters by layer name."""
    return {
        layer: {name: _value(value, own_types) for name, value in chosen.items()}
        for layer, chosen in json.loads(metadata["hyperparameters"]).items()
    }


def _inputs(metadata: Mapping[str, str]) -> list[torch.Tensor]:
    """Examples of the inputs, without memory."""
    return [
        torch.empty((2, *shape), dtype=getattr(torch, dtype), device="meta")
        for shape, dtype in json.loads(metadata["inputs"])
    ]


def _type_name(value: Any) -> dict[str, str]:
    """A module type as JSON."""
    if not (isinstance(value, type) and issubclass(value, nn.Module)):
        raise InputError(f"The hyperparameter value {value!r} cannot be saved; numbers, strings and module types can.")
    return {"type": f"{value.__module__}.{value.__qualname__}"}


def _value(saved: Any, own_types: Mapping[str, type]) -> Any:
    """A hyperparameter value from JSON. Only torch's own module types and the given ones are looked up: a file runs no code."""
    if isinstance(saved, list):
        return tuple(_value(v, own_types) for v in saved)
    if isinstance(saved, dict):
        name = saved["type"].rpartition(".")[2]
        found = own_types.get(saved["type"]) or (
            getattr(nn, name, None) if saved["type"].startswith("torch.nn.") else None
        )
        if not (isinstance(found, type) and issubclass(found, nn.Module)):
            raise InputError(
                f"The saved network uses the module type {saved['type']!r}, which is not one of torch.nn's."
            )
        return found
    return saved
