"""A task with every width divided: what a CPU can train in place of the paper's own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from marl_hpo_env.catalog.task import Task
from marl_hpo_env.errors import InputError, whole_number

if TYPE_CHECKING:
    from torch import nn

    from marl_hpo_env.networks.graph import Choices

_WIDTHS = ("out_channels", "out_features")


def narrow_task(task: Task, divisor: int) -> Task:
    """The same task with the widths of its network and of its choices divided, rounded down and at least 1.

    Dropout is divided by the square, as the number of weights is: with VGG-16's 0.3 to 0.5 between layers of a few kernels
    hardly a design begins to learn.

    Args:
        task: with a function that makes its network, and with choices.
        divisor: 1 leaves the task as it is.

    Raises:
        InputError: if the divisor is no whole number from 1, or the task has a ready network or no choices.
    """
    whole_number("divisor of the widths", divisor, 1)
    if divisor == 1:
        return task
    if task.choices is None or not callable(task.model) or hasattr(task.model, "parameters"):
        raise InputError(
            f"The task {task.name!r} cannot be narrowed: it takes a function that makes the network, and choices."
        )
    return replace(
        task,
        name=f"{task.name}-1-{divisor}",
        description=f"{task.description}, every width divided by {divisor}",
        model=partial(_narrow_model, task.model, divisor),
        choices=partial(_narrow_choices, task.choices, divisor),
    )


def narrow(model: nn.Module, divisor: int) -> nn.Module:
    """The network with every width divided, and dropout by the square; image channels and outputs stay. Changed in place.

    The outputs are the last layer's and those of heads whose last layer is named `fc2`, as GoogLeNet's are.
    """
    from torch import nn

    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p /= divisor**2
    layers = [module for module in model.modules() if isinstance(module, nn.Conv2d | nn.Linear)]
    of_output = {layers[-1]}
    of_output |= {module for name, module in model.named_modules() if name.rpartition(".")[2] == "fc2"}
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, nn.Conv2d | nn.ConvTranspose2d | nn.Linear | nn.BatchNorm1d | nn.BatchNorm2d):
                setattr(module, name, _narrowed(child, divisor, child is not layers[0], child not in of_output))
    return model


def _narrowed(module: Any, divisor: int, inputs: bool, outputs: bool) -> nn.Module:
    """The layer with its inputs, its outputs or both divided."""
    from torch import nn

    def divided(width: int, wanted: bool) -> int:
        return max(1, width // divisor) if wanted else width

    if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
        return type(module)(divided(module.num_features, True), eps=module.eps)
    bias = module.bias is not None
    if isinstance(module, nn.Linear):
        return nn.Linear(divided(module.in_features, inputs), divided(module.out_features, outputs), bias)
    settings = {name: getattr(module, name) for name in ("kernel_size", "stride", "padding")}
    if isinstance(module, nn.ConvTranspose2d):
        settings["output_padding"] = module.output_padding
    widths = divided(module.in_channels, inputs), divided(module.out_channels, outputs)
    return type(module)(*widths, **settings, bias=bias)


def _narrow_model(make: Any, divisor: int) -> nn.Module:
    return narrow(make(), divisor)


def _narrow_choices(choices: Any, divisor: int) -> Choices:
    made: Choices = choices() if callable(choices) else choices
    return {key: None if values is None else _divided(values, divisor) for key, values in made.items()}


def _divided(values: Mapping[str, Sequence[Any]], divisor: int) -> dict[str, Sequence[Any]]:
    return {
        name: tuple(dict.fromkeys(max(1, value // divisor) for value in options)) if name in _WIDTHS else options
        for name, options in values.items()
    }
