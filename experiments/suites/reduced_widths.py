"""The paper's tasks with every width divided by eight, on real images and small enough for a CPU.

    python -m experiments.suites.reduced_widths vgg16-cifar10 cifar10.npz
    python -m experiments.suites.reduced_widths googlenet-cifar10 cifar10.npz
    python -m experiments.suites.reduced_widths unet-isic18 nuclei.npz

A file for CIFAR-10 holds `jpeg_train` and `jpeg_test` (JPEG files end to end), `off_train` and `off_test` (where each begins,
and the end), `y_train` and `y_test`. One for the U-Net holds images `x`, uint8 of shape (n, h, w, 3), and masks `y`. What is
written is in `experiments/results/<task>-eighth`: it shows that the tasks run from end to end, not how good they get.
"""

from __future__ import annotations

import io
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from PIL import Image
from torch.nn.functional import interpolate

from agents import learner
from experiments.command_line import new_app, run_command
from experiments.tuning.session import close, play_learner, prepare
from marl_hpo_env import Data, InputError, Limits, Task
from marl_hpo_env import task as named_task
from marl_hpo_env.catalog.narrow import narrow_task

app = new_app()

DIVISOR = 8
IMAGES = {"vgg16-cifar10": (2000, 500, 500), "googlenet-cifar10": (1000, 300, 300), "unet-isic18": (160, 60, 60)}
"""For training, validation and test."""
EPISODES = {"vgg16-cifar10": (10, 5), "googlenet-cifar10": (5, 3), "unet-isic18": (8, 4)}
"""Of the two phases: far fewer than fill the Q-tables."""
FEW_STEPS: dict[str, dict[str, Any]] = {
    "vgg16-cifar10": {"batch_size": 32},
    "googlenet-cifar10": {},
    "unet-isic18": {"batch_size": 8, "learning_rate": 1e-3},
}
"""Few images make few steps, unless batches are smaller or steps larger than the task's."""
NUCLEI_SIZE = 48


def reduced(name: str, data: Path) -> Task:
    """A task of the paper with widths and choices divided, on a few images, without limits.

    In three short epochs hardly a design of so few kernels would get below the loss of guessing.

    Raises:
        InputError: if it is none of those that have their number of images here.
    """
    if name not in IMAGES:
        raise InputError.unknown("task to be reduced", name, IMAGES)
    narrow = narrow_task(named_task(name), DIVISOR)
    return replace(
        narrow,
        name=f"{name}-eighth",
        data=partial(_nuclei if name.startswith("unet") else _cifar10, data, IMAGES[name]),
        recipe=replace(narrow.recipe, epochs=3, max_epochs=12, **FEW_STEPS[name]),
        limits=Limits(),
        input_shape=None,
    )


def _cifar10(path: Path, counts: tuple[int, int, int]) -> Data:
    with np.load(path, allow_pickle=False) as file:

        def images(part: str, start: int, end: int) -> tuple[torch.Tensor, torch.Tensor]:
            stored, offsets = file[f"jpeg_{part}"], file[f"off_{part}"]
            encoded = (stored[offsets[i] : offsets[i + 1]].tobytes() for i in range(start, end))
            pixels = np.stack([np.asarray(Image.open(io.BytesIO(one)).convert("RGB")) for one in encoded])
            inputs = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255
            return inputs.contiguous(), torch.from_numpy(file[f"y_{part}"][start:end].astype(np.int64))

        train, validation, test = counts
        parts = images("train", 0, train), images("train", train, train + validation), images("test", 0, test)
    return _standardised(*parts)


def _nuclei(path: Path, counts: tuple[int, int, int]) -> Data:
    with np.load(path, allow_pickle=False) as file:
        pixels = torch.from_numpy(file["x"]).permute(0, 3, 1, 2).float() / 255
        masks = torch.from_numpy(file["y"] > 0).float().reshape(len(pixels), 1, *pixels.shape[2:])
    order = torch.randperm(len(pixels), generator=torch.Generator().manual_seed(0))[: sum(counts)].split(list(counts))
    inputs = interpolate(pixels, (NUCLEI_SIZE, NUCLEI_SIZE), mode="bilinear", antialias=True)
    targets = (interpolate(masks, (NUCLEI_SIZE, NUCLEI_SIZE), mode="area") > 0.5).float()
    return _standardised(*((inputs[part], targets[part]) for part in order))


def _standardised(*splits: tuple[torch.Tensor, torch.Tensor]) -> Data:
    """Pixels less the training images' mean, divided by their deviation, channel by channel."""
    seen = splits[0][0]
    mean, deviation = (seen.mean((0, 2, 3), keepdim=True), seen.std((0, 2, 3), keepdim=True))
    train, validation, test = (((inputs - mean) / deviation, targets) for inputs, targets in splits)
    return Data(train, validation, test)


@app.command()
def main(
    task_name: Annotated[str, typer.Argument(metavar="TASK", help=f"One of {', '.join(sorted(IMAGES))}.")],
    data: Annotated[Path, typer.Argument(help="The file of its images, .npz.")],
    out: Annotated[
        Path | None, typer.Option(help="Folder of the run.", show_default="experiments/results/TASK-eighth")
    ] = None,
) -> None:
    """Tune one of the paper's tasks, with every width divided by eight, with the paper's agents."""
    task = reduced(task_name, data)
    tuning = prepare(task, out or Path("experiments/results") / task.name, None, None)
    exploration, exploitation = EPISODES[task_name]
    agents = learner("pairwise-q", exploration_episodes=exploration, max_exploitation_episodes=exploitation)
    close(tuning, play_learner(tuning, agents, "pairwise-q", 0, None))


if __name__ == "__main__":
    run_command(app, "python -m experiments.suites.reduced_widths")
