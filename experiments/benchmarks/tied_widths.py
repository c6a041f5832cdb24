"""Layers whose outputs are added, with one width for all of them or each with its own.

Designs are drawn at random, with a quarter to all of every convolution's width. Counted are, of ResNet-18 a quarter as wide and
of MobileNetV2 half as wide, both for 32x32 images: the projections that a design has so that its additions fit, and its
parameters and FLOPs. Then designs inherit the weights of a trained residual network for scikit-learn's digits, of three seeds:
their validation accuracy with batch norm's statistics taken anew, and after one epoch at a tenth of the rate.

No claim: it is what the default, one width where there are weights, is held against. Run:
`python -m experiments.benchmarks.tied_widths`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from statistics import mean
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.optim.swa_utils import update_bn
from torchvision.models import mobilenet_v2
from torchvision.models.resnet import BasicBlock

from experiments.benchmarks.pruning import flops
from experiments.benchmarks.results import write_results
from marl_hpo_env import InputError, Recipe, Request, Task, TunableNetwork
from marl_hpo_env import task as named_task
from marl_hpo_env.catalog.narrow import narrow_task
from marl_hpo_env.data.digits import digits
from marl_hpo_env.data.splits import Data
from marl_hpo_env.networks.graph import Choices

COUNTED = 100
"""Designs of each network, tied and not."""

INHERITING = 10
"""The same, of each trained original."""

SEEDS = 3
QUARTERS = 4
CPU = torch.device("cpu")
EPOCHS = 20
TRAINING = Recipe(64, EPOCHS, learning_rate=1e-2)
FINE_TUNING = Recipe(64, 1, learning_rate=1e-3, initialization="inherit")
WAYS = {"tied": True, "each its own": False}


def residual() -> nn.Module:
    """For the digits, 8x8: four residual blocks, of 16 and 32 channels."""
    shortcut = nn.Sequential(nn.Conv2d(16, 32, 1, 2, bias=False), nn.BatchNorm2d(32))
    stem = nn.Sequential(nn.Conv2d(1, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU())
    blocks = BasicBlock(16, 16), BasicBlock(16, 16), BasicBlock(16, 32, 2, shortcut), BasicBlock(32, 32)
    return nn.Sequential(stem, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 10))


def widths(model: nn.Module) -> Choices:
    """Quarters of the width of every convolution; a depthwise one has that of what feeds it."""
    return {
        name: {"out_channels": tuple(part * module.out_channels // QUARTERS for part in range(1, QUARTERS + 1))}
        for name, module in model.named_modules()
        if isinstance(module, nn.Conv2d) and module.groups == 1
    }


def counted(model: nn.Module, tied: bool) -> dict[str, dict[str, float]]:
    """Of random designs: projections, and parameters and FLOPs relative to the original's."""
    tunable = TunableNetwork(model, torch.zeros(1, 3, 32, 32), widths(model), verify=False, tie_added=tied)
    images = torch.zeros(1, 3, 32, 32, device="meta")
    rng = np.random.default_rng(0)
    built: list[Any] = [tunable.build(tunable.space.sample(rng), "meta") for _ in range(COUNTED)]
    original = tunable.build(None, "meta")
    whole = _parameters(original), flops(original, images)
    return {
        "projections": _summary([network.meta["added"]["projections"] for network in built]),
        "parameters / original": _summary([_parameters(network) / whole[0] for network in built]),
        "flops / original": _summary([flops(network, images) / whole[1] for network in built]),
    }


def inherited(data: Data, seed: int) -> dict[str, list[dict[str, float]]]:
    """By way, random designs of an original trained from this seed: what each reaches, and its size."""
    task = Task("digits-residual", residual, data, widths(residual()), TRAINING, seed=seed)
    network, trial = task.trainer(CPU, measure_time=False).train(Request(None, seed, EPOCHS))
    if network is None:
        raise InputError(f"The original of seed {seed} cannot be trained: {trial.reason}")
    whole: Any = trial.metrics
    examples: Any = data.train[0]
    figures: dict[str, list[dict[str, float]]] = {}
    for way, tied in WAYS.items():
        of_way = replace(task, recipe=FINE_TUNING, weights=network.state_dict(), tie_added=tied)
        trainer, rng = of_way.trainer(CPU, measure_time=False), np.random.default_rng(seed)
        figures[way] = []
        for _ in range(INHERITING):
            design = of_way.space.sample(rng)
            built = of_way.network.build(design, weights=network.state_dict())
            update_bn(examples.split(FINE_TUNING.batch_size), built)
            reached: Any = trainer.train(Request(design, seed, 1))[1].metrics
            figures[way].append(
                {
                    "accuracy at once": _accuracy(built, *data.validation),
                    "accuracy after an epoch": reached["validation_accuracy"],
                    "parameters / original": reached["parameters"] / whole["parameters"],
                    "flops / original": reached["flops"] / whole["flops"],
                    "original's accuracy": whole["validation_accuracy"],
                }
            )
    return figures


def _parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def _accuracy(network: nn.Module, inputs: Any, targets: torch.Tensor) -> float:
    with torch.inference_mode():
        return float((network.eval()(inputs).argmax(1) == targets).float().mean())


def _summary(values: Sequence[float]) -> dict[str, float]:
    return {"mean": mean(values), "least": min(values), "most": max(values)}


def main() -> None:
    """Counts, trains, and writes the figures."""
    torch.set_num_threads(1)
    resnet: Any = narrow_task(named_task("resnet18-cifar10", "."), 4).model
    models = {"ResNet-18": resnet(), "MobileNetV2": mobilenet_v2(num_classes=10, width_mult=0.5)}
    data = digits()
    by_seed = [inherited(data, seed) for seed in range(SEEDS)]
    every = {way: [design for found in by_seed for design in found[way]] for way in WAYS}
    figures = {
        "designs": {"counted": COUNTED, "inheriting, of each seed": INHERITING, "seeds": SEEDS},
        "counted": {name: {way: counted(model, on) for way, on in WAYS.items()} for name, model in models.items()},
        "digits": {
            way: {figure: _summary([design[figure] for design in found]) for figure in found[0]}
            for way, found in every.items()
        },
    }
    write_results("tied-widths", ("torch", "torchvision"), figures)


if __name__ == "__main__":
    main()
