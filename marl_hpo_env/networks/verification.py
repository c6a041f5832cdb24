"""Whether what was traced is the network that was given: both compute one batch, and must come to the same."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from marl_hpo_env.errors import InputError, first_line

_SEED = 0


def verify(model: nn.Module, build: Callable[[], nn.Module], examples: Sequence[torch.Tensor]) -> None:
    """Compares the model with what was built of it, with its weights, in both modes.

    A model that differs from itself in training, such as one with a random source of its own, is compared in evaluation alone;
    one without values, on the meta device, not at all.

    Args:
        model: as it was given; it is not changed.
        build: makes the original of what was traced, with fresh weights, where the model's lie.
        examples: what `forward` takes; of floats the shape and type matter, of other types the values.

    Raises:
        InputError: where the model cannot run, or the two differ: with the first module at which they do.
    """
    tensors = [*model.parameters(), *model.buffers()]
    if any(tensor.is_meta for tensor in tensors):
        return
    device = tensors[0].device if tensors else torch.device("cpu")
    with _alone(device):
        built = build()
        built.load_state_dict(model.state_dict())
        inputs = [_batch(example).to(device) for example in examples]
        original = copy.deepcopy(model)
        for training in (True, False):
            before = {name: buffer.clone() for name, buffer in original.named_buffers()}
            outcomes = [_run(network.train(training), inputs) for network in (original, built)]
            kept = [name for name, buffer in before.items() if _equal(buffer, outcomes[0][f"buffer {name}"])]
            for name in kept:  # what forward does not change needs not be there
                outcomes[0].pop(f"buffer {name}")
            if _differing(*outcomes) is None:
                continue
            if training and _differs_from_itself(model, inputs):
                continue
            raise InputError(_sentence(model, built, inputs, training, *outcomes))


@contextmanager
def _alone(device: torch.device) -> Iterator[None]:
    """Without gradients, and with torch's generators as they were afterwards."""
    devices = [device] if device.type == "cuda" else []
    with torch.no_grad(), torch.random.fork_rng(devices=devices):
        yield


def _batch(example: torch.Tensor) -> torch.Tensor:
    """A batch of two like the example."""
    if example.is_floating_point():
        generator = torch.Generator().manual_seed(_SEED)
        return torch.randn((2, *example.shape[1:]), generator=generator).to(example.dtype)
    return example[torch.arange(2, device=example.device) % len(example)]


def _run(network: nn.Module, inputs: Sequence[torch.Tensor]) -> dict[str, torch.Tensor]:
    """What a forward pass returns and leaves behind, by name."""
    torch.manual_seed(_SEED)
    try:
        output = network(*(x.clone() for x in inputs))
    except Exception as error:  # whatever a user's forward raises
        raise InputError(
            f"The network cannot run on a batch of 2 like the example: {first_line(error)}; give an example that it takes."
        ) from error
    return {**dict(_tensors(output, "output")), **{f"buffer {name}": b for name, b in network.named_buffers()}}


def _tensors(value: Any, name: str) -> Iterator[tuple[str, torch.Tensor]]:
    """Every tensor in what a network returns."""
    if isinstance(value, torch.Tensor):
        yield name, value
    elif isinstance(value, Mapping):
        for key, part in value.items():
            yield from _tensors(part, f"{name} {key!r}")
    elif isinstance(value, list | tuple):
        for number, part in enumerate(value):
            yield from _tensors(part, f"{name} {number}" if len(value) > 1 else name)
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        for field in dataclasses.fields(value):
            yield from _tensors(getattr(value, field.name), f"{name} {field.name!r}")


def _differing(expected: Mapping[str, torch.Tensor], got: Mapping[str, torch.Tensor]) -> str | None:
    """The first name under which the two differ; buffers that only the second has do not count."""
    outputs = [name for name in {**expected, **got} if name.startswith("output")]
    names = dict.fromkeys([*outputs, *expected])
    return next((name for name in names if not _equal(expected.get(name), got.get(name))), None)


def _equal(a: torch.Tensor | None, b: torch.Tensor | None) -> bool:
    if a is None or b is None or a.shape != b.shape or a.dtype != b.dtype:
        return False
    return torch.equal(a, b) or torch.allclose(a.double(), b.double(), rtol=1e-4, atol=1e-6, equal_nan=True)


def _differs_from_itself(model: nn.Module, inputs: Sequence[torch.Tensor]) -> bool:
    once, again = (_run(copy.deepcopy(model).train(), inputs) for _ in range(2))
    return _differing(once, again) is not None


def _sentence(
    model: nn.Module,
    built: nn.Module,
    inputs: Sequence[torch.Tensor],
    training: bool,
    expected: Mapping[str, torch.Tensor],
    got: Mapping[str, torch.Tensor],
) -> str:
    what = _differing(expected, got)
    built = copy.deepcopy(built)
    built.load_state_dict(model.state_dict())
    seen = []
    for network in (copy.deepcopy(model), built):
        if not training:
            _run(network.train(), inputs)  # which came first, and may have left something
        seen.append(_outputs(network.train(training), inputs))
    names = [name for name in seen[0] if name in seen[1]]
    first = next((name for name in names if _differing(seen[0][name], seen[1][name])), None)
    where = f"; module {first!r} is the first that returns something else" if first else ""
    mode = "training" if training else "evaluation"
    return (
        f"{type(model).__name__} is not what torch.fx traced of it: in {mode} mode the {what} differs{where}; its forward does "
        "what no trace shows, such as a choice by the values of tensors or a state of its own."
    )


def _outputs(network: nn.Module, inputs: Sequence[torch.Tensor]) -> dict[str, dict[str, torch.Tensor]]:
    """What each module returned at its first call, in the order of the calls."""
    seen: dict[str, dict[str, torch.Tensor]] = {}

    def note(name: str) -> Callable[[nn.Module, Any, Any], None]:
        def hook(_: nn.Module, given: Any, output: Any) -> None:
            seen.setdefault(name, {k: t.clone() for k, t in _tensors(output, "output")})

        return hook

    handles = [module.register_forward_hook(note(name)) for name, module in network.named_modules() if name]
    try:
        _run(network, inputs)
    finally:
        for handle in handles:
            handle.remove()
    return seen
