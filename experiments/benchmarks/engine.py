"""The training engine beside a plain loop over a DataLoader: designs per hour on a device.

Claim (aims of the project): on a GPU the engine trains as many designs per hour as a plain loop, or more, and gives the same
losses within rounding.

The plain loop is what a tutorial has: a `DataLoader` that shuffles a `TensorDataset` on the CPU, batches copied to the device
one by one, `torch.optim` as it comes, accuracy by `.item()`. Both train the same design from the same start for the same
epochs, one after the other in the same run; medians over repetitions. Images are random numbers: only times are read off them.

Run: `python -m experiments.benchmarks.engine --device cuda`; `make gpu` does.
"""

from __future__ import annotations

import time
from statistics import median
from typing import TYPE_CHECKING, Annotated, Any

import typer

from experiments.benchmarks.results import write_results
from experiments.command_line import new_app, run_command

if TYPE_CHECKING:
    import torch
    from torch import nn

    from marl_hpo_env import Recipe, Task
    from marl_hpo_env.training.trainer import Trainer

EPOCHS = 2

app = new_app()


def random_images(images: int) -> Task:
    """VGG-16 at full width, as on CIFAR-10, on so many random images for training and a tenth each for validation and test."""
    from dataclasses import replace

    import torch

    from marl_hpo_env import Data, Limits, task

    generator = torch.Generator().manual_seed(0)

    def part(count: int) -> tuple[torch.Tensor, torch.Tensor]:
        return torch.randn((count, 3, 32, 32), generator=generator), torch.randint(10, (count,), generator=generator)

    papers = task("vgg16-cifar10")
    few = max(1, images // 10)
    recipe = replace(papers.recipe, epochs=EPOCHS, augmentation=None)  # the loop has none
    return replace(papers, data=Data(part(images), part(few), part(few)), limits=Limits(), recipe=recipe)


def plain_loop(network: nn.Module, task: Task, device: torch.device) -> list[float]:
    """Trains as a tutorial does; returns the mean loss of each epoch."""
    import torch
    from torch.nn import functional
    from torch.utils.data import DataLoader, TensorDataset

    recipe: Recipe = task.recipe
    inputs: Any = task.splits.train[0]
    loader = DataLoader(TensorDataset(inputs, task.splits.train[1]), recipe.batch_size, shuffle=True)
    held_out: Any = [TensorDataset(x, y) for x, y in (task.splits.validation, task.splits.test)]  # type: ignore[arg-type]
    optimizer = torch.optim.SGD(network.parameters(), recipe.learning_rate, recipe.momentum, nesterov=recipe.nesterov)
    means = []
    for epoch in range(1, EPOCHS + 1):
        network.train()
        total = 0.0
        for x, y in loader:
            x, y = x.to(device), y.to(device)  # noqa: PLW2901
            optimizer.zero_grad()
            loss = functional.cross_entropy(network(x), y)
            loss.backward()
            optimizer.step()
            total += loss.item() * len(y)
        means.append(total / len(inputs))
        network.eval()
        with torch.no_grad():
            for split in held_out[: 1 if epoch < EPOCHS else 2]:
                for x, y in DataLoader(split, recipe.batch_size):
                    (network(x.to(device)).argmax(1) == y.to(device)).sum().item()
    return means


@app.command()
def main(
    device: Annotated[str, typer.Option(help="Where to train, such as 'cuda' or 'cpu'.")] = "cuda",
    images: Annotated[int, typer.Option(min=20, help="For training.")] = 20_000,
    repetitions: Annotated[int, typer.Option(min=1, help="Of each, after one that is not counted.")] = 3,
) -> None:
    """Train one design by the engine and by a plain loop, in turn."""
    from marl_hpo_env import Request
    from marl_hpo_env.training.devices import choose_device

    where = choose_device(device)
    task = random_images(images)
    trainer: Trainer = task.trainer(where)
    design = tuple(size // 2 for size in task.space.sizes)
    seconds: dict[str, list[float]] = {"engine": [], "plain": []}
    for repetition in range(repetitions + 1):
        started = time.perf_counter()
        network, trial = trainer.train(Request(design, repetition, EPOCHS))
        engine = time.perf_counter() - started
        assert network is not None, trial.reason
        started = time.perf_counter()
        plain_loop(trainer._fresh(design), task, where)
        plain = time.perf_counter() - started
        if repetition:
            seconds["engine"].append(engine)
            seconds["plain"].append(plain)
    hourly = {name: 3600 / median(taken) for name, taken in seconds.items()}
    figures = {
        "device": str(where) if where.type == "cpu" else _name(where),
        "images": images,
        "epochs": EPOCHS,
        "repetitions": repetitions,
        "designs_per_hour": hourly,
        "ratio": hourly["engine"] / hourly["plain"],
        "peak_memory_mb": trial.metrics["peak_memory_mb"],
    }
    write_results(f"engine-{where.type}", ["torch"], figures)


def _name(device: torch.device) -> str:
    import torch

    return torch.cuda.get_device_name(device)


if __name__ == "__main__":
    run_command(app, "python -m experiments.benchmarks.engine")
