"""The paper's own space at once: a task whose trials are predicted from trainings of some of its designs.

It is `vgg16-cifar10` as a CPU can train it: VGG-16 with batch norm, a quarter as wide, on 5,000 images. An episode has five
epochs. The limit of a batch's time (V-E) is given in FLOPs: a design of more than twice the original's is terminated before its
first batch. So it is the ratio of the paper's tasks, it cuts off the slow tail, and no clock decides. There is no limit of the
loss, which as few steps as these could not be held to.

With data, as `python -m experiments.suites.vgg_surrogate` gives it, the same task is trained like any other.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from typing import NamedTuple, NoReturn

import numpy as np
import numpy.typing as npt

from marl_hpo_env.catalog.narrow import narrow_task
from marl_hpo_env.catalog.paper import paper_tasks
from marl_hpo_env.catalog.task import Task
from marl_hpo_env.errors import InputError
from marl_hpo_env.space import Layer, SearchSpace
from marl_hpo_env.training.recipe import Limits

IntArray = npt.NDArray[np.int64]

SURROGATE = "vgg16-cifar10-surrogate"
EPOCHS = 5
EXAMPLES = 5_000
"""To train on."""

_DIVISOR = 4
_FLOPS_RATIO = 2.0
_CLASSES = 10


@dataclass(frozen=True, eq=False)
class SurrogateTask(Task):
    """A task whose trials are predicted: `SurrogateEvaluator` answers for it."""


def surrogate_tasks() -> dict[str, Callable[[], Task]]:
    """Each task by its name, as a function that makes it."""
    return {SURROGATE: _vgg16_cifar10}


def _vgg16_cifar10() -> Task:
    trained = narrow_task(paper_tasks()["vgg16-cifar10"](None), _DIVISOR)
    return SurrogateTask(
        SURROGATE,
        trained.model,
        _nothing_to_train,
        trained.choices,
        replace(trained.recipe, epochs=EPOCHS),
        trained.reward,
        Limits(flops_ratio=_FLOPS_RATIO),
        f"VGG-16, a quarter as wide, {EPOCHS} epochs on {EXAMPLES:,} images of CIFAR-10: predicted from trainings",
        input_shape=trained.input_shape,
    )


def _nothing_to_train() -> NoReturn:
    raise InputError(
        f"The task {SURROGATE!r} is predicted and brings no data to train on; train 'vgg16-cifar10' with every width divided "
        f"by {_DIVISOR}."
    )


class Anatomy(NamedTuple):
    """What can be said of designs without training them.

    Args:
        parameters: shape (designs,), as a trial counts them.
        model_size_mb: likewise.
        flops: likewise.
        features: shape (designs, features), what a prediction sees: of every layer its hyperparameters, the side of its output
            and its FLOPs; and the parameters and FLOPs of all.
    """

    parameters: IntArray
    model_size_mb: npt.NDArray[np.float64]
    flops: IntArray
    features: IntArray


def anatomy(space: SearchSpace, designs: IntArray) -> Anatomy:
    """Of designs of the task, many at once, without building them: batch norm stands behind every layer with weights, and the
    output's layer behind all.

    Args:
        space: the task's.
        designs: action indices, shape (designs, layers).
    """
    zero = np.zeros(len(designs), dtype=np.int64)
    channels, side, parameters, buffers, flops = zero + 3, zero + 32, zero, zero, zero
    features = []
    for layer, actions in zip(space.layers, designs.T, strict=True):
        values = dict(zip(layer.choices, _values(layer)[:, actions], strict=True))
        width, own_flops = channels, zero
        if layer.kind == "MaxPool2d":  # one that is larger than its input is clamped
            side = np.maximum(side // values["kernel_size"], 1)
        else:
            if layer.kind == "Linear":
                width, weights, side = values["out_features"], channels * side**2 * values["out_features"], zero + 1
            else:  # padded, so that its side shrinks by the stride alone
                width, side = values["out_channels"], (side - 1) // values["stride"] + 1
                weights = values["kernel_size"] ** 2 * channels * width
            own_flops = 2 * weights * side**2
            parameters, buffers = parameters + weights + 3 * width, buffers + 2 * width
        channels, flops = width, flops + own_flops
        features += [*values.values(), side, own_flops]
    parameters, flops = parameters + (channels + 1) * _CLASSES, flops + 2 * channels * _CLASSES
    seen = np.stack([*features, parameters, flops], axis=1)
    return Anatomy(parameters, 4 * (parameters + buffers) / 1e6, flops, seen)


@cache
def _values(layer: Layer) -> IntArray:
    """A layer's values, shape (hyperparameters, actions)."""
    return np.array(layer.actions, dtype=np.int64).T
