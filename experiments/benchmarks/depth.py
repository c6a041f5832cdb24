"""A network of over 1,000 layers, played and trained as any other.

Claim (aims of the project; the paper says of its method that it reaches over 1,000 layers):
- the search space of a residual network of 1,021 convolutions is made in under 5 s, a design of it in under 5 s;
- its designs train with the trainer and the start of the paper's tasks: every loss is finite, and falls from epoch to epoch;
- all of it takes less than 2 GB;
- time and memory of weights that its designs share grow linearly in the layers.

Three episodes each of the paper's learner and of ours, on scikit-learn's digits. Run: `python -m experiments.benchmarks.depth`.
"""

from __future__ import annotations

import resource
import time
from functools import cache
from statistics import median

import numpy as np
import torch
from torch import nn

from agents import learner, play
from experiments.benchmarks.results import write_results
from marl_hpo_env import PaperReward, Recipe, SharedNetwork, Task, TrainingEvaluator, TunableNetwork, env
from marl_hpo_env.data.digits import digits
from marl_hpo_env.data.splits import Data
from marl_hpo_env.networks.graph import Choices

BLOCKS = 340
WIDTH = 8
EPISODES = 3
EPOCHS = 3
DESIGNS = 5
LEARNERS = ("pairwise-q", "coordination-graph")
CHOICES: Choices = {nn.Conv2d: {"out_channels": (WIDTH // 2, WIDTH), "kernel_size": (1, 3)}}


class Block(nn.Module):
    """Three convolutions, of which a tenth is added. Without batch norm: what the start does is to be seen."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = (nn.Conv2d(WIDTH, WIDTH, 3, padding=1) for _ in range(3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Shape (n, channels, height, width)."""
        added: torch.Tensor = x + 0.1 * self.c(torch.relu(self.b(torch.relu(self.a(x)))))
        return added


@cache
def network(blocks: int = BLOCKS) -> nn.Module:
    """1 + 3 x 340 convolutions, and the output."""
    return nn.Sequential(
        nn.Conv2d(1, WIDTH, 3, padding=1),
        *(Block() for _ in range(blocks)),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(WIDTH, 10),
    )


def images() -> Data:
    """A quarter of the digits."""
    whole = digits().splits()
    train, validation, test = ((x[: len(x) // 4], y[: len(y) // 4]) for x, y in whole.values())
    return Data(train, validation, test)


def task() -> Task:
    """With the paper's start, and without limits: every loss is to be seen."""
    recipe = Recipe(32, EPOCHS, "adam", 3e-4, initialization="he-inside")
    return Task("depth", network, images, CHOICES, recipe, PaperReward())


def shared(blocks: int) -> dict[str, float]:
    """What weights that designs share cost: seconds for the plan of a design, and for its step on a batch; MB of weights; the
    most memory that this process has had, which is theirs where smaller networks alone came before."""
    tunable = TunableNetwork(network(blocks), torch.zeros(1, 1, 8, 8), CHOICES, verify=False)
    weights = SharedNetwork(tunable)
    rng, (inputs, targets) = np.random.default_rng(1), images().train
    plans, steps = [], []
    for _ in range(DESIGNS):
        design = tunable.space.sample(rng)
        started = time.perf_counter()
        weights.sizes(design)
        planned = time.perf_counter()
        weights.loss(design, (inputs[:32], targets[:32])).backward()
        plans.append(planned - started)
        steps.append(time.perf_counter() - planned)
    megabytes = sum(4 * p.numel() for p in weights.parameters()) / 1e6
    return {
        "layers": len(tunable.space),
        "plan_s": median(plans),
        "step_s": median(steps),
        "weights_mb": megabytes,
        "peak_memory_gb": peak_memory_gb(),
    }


def peak_memory_gb() -> float:
    """Of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def main() -> None:
    """Measures, prints and writes the results."""
    torch.set_num_threads(1)
    of_shared = [shared(blocks) for blocks in (BLOCKS // 10, BLOCKS // 3, BLOCKS)]
    started = time.perf_counter()
    tunable = TunableNetwork(network(), torch.zeros(1, 1, 8, 8), CHOICES, verify=False)
    space_s = time.perf_counter() - started
    rng = np.random.default_rng(0)
    times = []
    for _ in range(DESIGNS):
        started = time.perf_counter()
        tunable.build(tunable.space.sample(rng))
        times.append(time.perf_counter() - started)
    runs = {}
    for name in LEARNERS:
        losses: list[list[float]] = []
        started = time.perf_counter()
        game = env(task(), TrainingEvaluator(task(), "cpu"))
        for episode in play(game, learner(name), EPISODES):
            (trial,) = game.unwrapped.evaluate([episode.design])
            losses.append([epoch["train_loss"] for epoch in trial.history])
        runs[name] = {"seconds": time.perf_counter() - started, "train_losses": losses}
    figures = {
        "layers": len(tunable.space),
        "space_s": space_s,
        "design_s": median(times),
        "runs": runs,
        "shared": of_shared,
        "peak_memory_gb": peak_memory_gb(),
    }
    write_results("depth", ["torch", "marl-hpo-env"], figures)


if __name__ == "__main__":
    main()
