"""The tasks on scikit-learn's scanned digits: real data inside the package, seconds per episode on a CPU."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from marl_hpo_env.catalog.task import Task
from marl_hpo_env.reward import WeightedReward
from marl_hpo_env.training.recipe import Limits, Recipe

if TYPE_CHECKING:
    from torch import nn

    from marl_hpo_env.data.splits import Data
    from marl_hpo_env.networks.graph import Choices


def digits_tasks() -> dict[str, Callable[[], Task]]:
    """Each task by its name, as a function that makes it."""
    return {"digits-branches": _digits_branches, "digits-convnet": _digits_convnet, "digits-unet": _digits_unet}


def _digits_branches() -> Task:
    return Task(
        name="digits-branches",
        description="a small CNN with branches and a residual connection on scanned digits; seconds per episode, no download",
        model=_branched_model,
        data=_digits_data,
        choices=_branched_choices,
        recipe=_DIGITS,
        reward=WeightedReward({"validation_accuracy": 1.0, "model_size_mb / original": 0.2}),
        limits=Limits(loss="guessing"),
    )


def _branched_model() -> nn.Module:
    from marl_hpo_env.catalog.models.branched import BranchedNet

    return BranchedNet()


def _branched_choices() -> Choices:
    # 1,024 designs of seven layers.
    from torch import nn

    return {
        nn.Conv2d: {"out_channels": (4, 8)},
        "right?.0": {"out_channels": (4, 8), "kernel_size": (1, 3)},
        "residual.0": {"out_channels": (4, 8), "kernel_size": (1, 3)},
        nn.MaxPool2d: {"kernel_size": (2, 4)},
    }


# With batch norm torch's own, smaller start learns sooner than He's.
_DIGITS = Recipe(batch_size=64, epochs=4, optimizer="adam", learning_rate=1e-2, initialization="torch")


def _digits_convnet() -> Task:
    return Task(
        name="digits-convnet",
        description="a small CNN on scikit-learn's scanned digits; seconds per episode on a CPU, no download",
        model=_digits_model,
        data=_digits_data,
        choices=_digits_choices,
        recipe=_DIGITS,
        # In MB the network, 0.15 MB at most, would not weigh at all.
        reward=WeightedReward({"validation_accuracy": 1.0, "model_size_mb / original": 0.2}),
        limits=Limits(loss="guessing"),
    )


def _digits_model() -> nn.Module:
    from marl_hpo_env.catalog.models.convnet import ConvNet

    return ConvNet()


def _digits_data() -> Data:
    from marl_hpo_env.data.digits import digits

    return digits()


def _digits_choices() -> Choices:
    from torch import nn

    return {
        nn.Conv2d: {"out_channels": (4, 8), "kernel_size": (1, 3), "stride": (1, 2)},
        nn.MaxPool2d: {"kernel_size": (1, 2, 4)},
        nn.Linear: {"out_features": (4, 16, 64)},
    }


def _digits_unet() -> Task:
    return Task(
        name="digits-unet",
        description="a small U-Net that finds scanned digits on textured ground; seconds per episode on a CPU, no download",
        model=_digits_unet_model,
        data=_digits_unet_data,
        choices=_digits_unet_choices,
        recipe=Recipe(batch_size=20, epochs=4, optimizer="adam", learning_rate=5e-3),
        reward=WeightedReward({"validation_accuracy": 1.0, "model_size_mb / original": 0.2}),
        limits=Limits(loss="guessing"),
    )


def _digits_unet_model() -> nn.Module:
    from marl_hpo_env.catalog.models.unet import UNet

    return UNet(channels=1, classes=1, width=8, levels=2)


def _digits_unet_data() -> Data:
    from marl_hpo_env.data.digits import digits_on_ground

    return digits_on_ground()


def _digits_unet_choices() -> Choices:
    # 1,152 designs of seven layers: the first convolution of every block, and the up-convolutions.
    return {
        "down.0.0": {"out_channels": (4, 8)},
        "down.[12].0": {"out_channels": (4, 8, 16)},
        "up.*": {"out_channels": (4, 8)},
        "merge.*.0": {"out_channels": (4, 8), "kernel_size": (1, 3)},
    }
