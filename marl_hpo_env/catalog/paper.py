"""The paper's tasks: Table II's networks, data and settings, and Table III's choices.

Where the paper is silent the value is ours, and marked so. Ours in all of them: the learning rates, momentum, the start (He et
al.), the magnitudes of augmentation, the limits, weights of 0.5 in Eq. 2, and the part held out for validation (readings 8 to
12 of `agents/README.md`). Strides and sizes of pools go together; no choice is made for the 1x1 convolution that is the
U-Net's output.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from marl_hpo_env.catalog.task import Task
from marl_hpo_env.errors import InputError
from marl_hpo_env.reward import PaperReward
from marl_hpo_env.training.augmentation import Augmentation
from marl_hpo_env.training.recipe import Limits, Recipe

if TYPE_CHECKING:
    from torch import nn

    from marl_hpo_env.data.splits import Data
    from marl_hpo_env.networks.graph import Choices

# Table III; the first hyperparameter varies fastest.
_DENSE = (128, 256, 512, 1024, 2048, 4096)
VGG16_CHOICES = {
    "Conv2d": {"out_channels": (16, 32, 64, 128, 256), "kernel_size": (3, 5), "stride": (1, 2)},
    "MaxPool2d": {"kernel_size": (2, 3)},
    "Linear": {"out_features": _DENSE},
}
GOOGLENET_CHOICES = {
    # Ten numbers of kernels as printed: 60 actions. The paper's minimum of 4,356 = 66^2 episodes would need eleven.
    "Conv2d": {
        "out_channels": (32, 48, 64, 80, 96, 112, 128, 160, 208, 384),
        "kernel_size": (1, 3, 5),
        "stride": (1, 2),
    },
    "MaxPool2d": {"kernel_size": (2, 3, 5, 7)},
    "Linear": {"out_features": _DENSE},  # of the auxiliary heads: beside them GoogLeNet has only its output
}
_UNET_CONVOLUTION = {"out_channels": (16, 32, 64, 128, 256, 512, 1024), "kernel_size": (3, 5, 7), "stride": (1, 2)}
UNET_CHOICES = {
    "Conv2d": _UNET_CONVOLUTION,
    "ConvTranspose2d": _UNET_CONVOLUTION,
    "MaxPool2d": {"kernel_size": (2, 3)},
    "output": None,
}
RESNET18_CHOICES = {"Conv2d": {"out_channels": (16, 32, 64, 128, 256, 512), "kernel_size": (1, 3, 5)}}  # ours

# Table II; learning rates, momentum and start are ours. The epochs of an episode (VI-A) are calibrated, then fixed.
_OURS: dict[str, Any] = {"epochs": "calibrated", "augmentation": Augmentation(), "initialization": "he-inside"}
_VGG16 = Recipe(128, optimizer="sgd", learning_rate=0.01, momentum=0.9, **_OURS)
# On CIFAR as in geifmany/cifar-vgg, whose users say that its rate of 0.1 does not always start: 0.01 does. Keras' l2 of 5e-4
# on kernels is a weight decay of 1e-3.
_VGG16_CIFAR = replace(_VGG16, nesterov=True, weight_decay=1e-3, decayed="kernels", step_epochs=20)
_GOOGLENET = Recipe(32, optimizer="sgd", learning_rate=0.01, momentum=0.9, **_OURS)
_UNET = Recipe(20, optimizer="adam", learning_rate=1e-4, **_OURS)
_RESNET18 = Recipe(128, "calibrated", "sgd", 0.05, momentum=0.9, weight_decay=5e-4, augmentation=Augmentation())  # ours

_LIMITS = Limits(loss="guessing", batch_ratio=2.0)

_Reader = Callable[[Path], "Data"]


def paper_tasks() -> dict[str, Callable[[Path | None], Task]]:
    """Each task by its name, as a function of the folder with its data."""
    vgg16 = partial(_task, recipe=_VGG16, choices=VGG16_CHOICES)
    googlenet = partial(_task, recipe=_GOOGLENET, choices=GOOGLENET_CHOICES)
    unet = partial(_task, recipe=_UNET, choices=UNET_CHOICES)
    tasks = {
        "vgg16-imagenet": partial(vgg16, "VGG-16", partial(_torchvision, "vgg16", 1000), "ImageNet"),
        "googlenet-imagenet": partial(googlenet, "GoogLeNet", partial(_googlenet, 1000), "ImageNet"),
        "unet-brats18": partial(unet, "the U-Net", partial(_unet, 4, 3), "BraTS'18"),
        "unet-isic18": partial(unet, "the U-Net", partial(_unet, 3, 1), "ISIC'18"),
        "resnet18-cifar10": partial(
            _task, "ResNet-18", _resnet18, "CIFAR-10", recipe=_RESNET18, choices=RESNET18_CHOICES, papers=False
        ),
    }
    for classes in (10, 100):
        data = f"CIFAR-{classes}"
        tasks[f"vgg16-cifar{classes}"] = partial(vgg16, "VGG-16", partial(_vgg16, classes), data, recipe=_VGG16_CIFAR)
        tasks[f"googlenet-cifar{classes}"] = partial(googlenet, "GoogLeNet", partial(_googlenet, classes, 32), data)
    return {name: partial(make, name) for name, make in tasks.items()}


def _task(
    network: str,
    model: Callable[[], nn.Module],
    data: str,
    name: str,
    data_dir: Path | None,
    *,
    recipe: Recipe,
    choices: dict[str, Any],
    papers: bool = True,
) -> Task:
    return Task(
        name=name,
        description=f"{network} on {data}" + ("" if papers else " (ours, not the paper's)"),
        model=model,
        data=partial(_read, name, data, data_dir),
        choices=partial(_by_type, choices),
        recipe=recipe,
        reward=PaperReward(),
        limits=_LIMITS,
        input_shape=_SHAPES[data],
    )


_SHAPES = {
    "CIFAR-10": (3, 32, 32),
    "CIFAR-100": (3, 32, 32),
    "ImageNet": (3, 224, 224),
    "BraTS'18": (4, 128, 128),  # ours, as ISIC'18's: the paper names no size
    "ISIC'18": (3, 128, 128),
}

_TRAINED_ON = {"cifar10": 45_000, "cifar100": 45_000, "imagenet": 1_281_167, "isic18": 1_816}
"""By the end of a task's name, how many images its own data are trained on."""


def own_training_images(name: str) -> int | None:
    """How many images the named task's own data have for training; None where that is not known."""
    return _TRAINED_ON.get(name.rpartition("-")[2])


_HOLDS = {
    "CIFAR-10": "a folder that holds cifar-10-batches-py, or into which it is downloaded",
    "CIFAR-100": "a folder that holds cifar-100-python, or into which it is downloaded",
    "ImageNet": "a folder that holds train and val, each with one folder of images per class",
    "BraTS'18": "a folder that holds MICCAI_BraTS_2018_Data_Training",
    "ISIC'18": "a folder that holds ISIC2018_Task1-2_Training_Input and ISIC2018_Task1_Training_GroundTruth",
}


def _read(name: str, data: str, data_dir: Path | None) -> Data:
    if data_dir is None:
        raise InputError(
            f"The task {name!r} needs its data; name {_HOLDS[data]} as data_dir (on the command line --data-dir)."
        )
    from marl_hpo_env.data.brats import brats18
    from marl_hpo_env.data.cifar import cifar
    from marl_hpo_env.data.imagenet import imagenet
    from marl_hpo_env.data.isic import isic18

    readers: dict[str, _Reader] = {
        "CIFAR-10": partial(cifar, classes=10),
        "CIFAR-100": partial(cifar, classes=100),
        "ImageNet": imagenet,
        "BraTS'18": brats18,
        "ISIC'18": isic18,
    }
    return readers[data](data_dir)


def _by_type(choices: dict[str, Any]) -> Choices:
    from torch import nn

    return {getattr(nn, key, key): values for key, values in choices.items()}


def _vgg16(classes: Literal[10, 100]) -> nn.Module:
    from marl_hpo_env.catalog.models.vgg import VGG16

    return VGG16(classes)


def _torchvision(name: str, classes: int, **settings: Any) -> nn.Module:
    from torchvision.models import get_model

    model: nn.Module = get_model(name, weights=None, num_classes=classes, **settings)
    return model


def _googlenet(classes: int, image_size: int = 224) -> nn.Module:
    """torchvision's GoogLeNet with both heads and batch norm, and 5x5 kernels where Szegedy et al. have them: there torchvision
    has 3x3. With 1,000 classes it has 53.6 MB, the paper's 54; with 100 it has 42.5, where the paper has an unexplained 48.

    On small images its first convolution has a stride of 1 (ours): so no map shrinks to 1x1.
    """
    from torch import nn

    model: Any = _torchvision("googlenet", classes, aux_logits=True, init_weights=False)
    for module in model.modules():
        if type(module).__name__ == "Inception":
            small = module.branch3[1].conv
            module.branch3[1].conv = nn.Conv2d(small.in_channels, small.out_channels, 5, padding=2, bias=False)
    if image_size < 64:
        model.conv1.conv.stride = (1, 1)
    return model


def _unet(channels: int, planes: int) -> nn.Module:
    from marl_hpo_env.catalog.models.unet import UNet

    return UNet(channels, planes)


def _resnet18() -> nn.Module:
    """ResNet-18 for small images: a 3x3 convolution of stride 1 comes first, and no pool (ours, after He et al., 4.2)."""
    from torch import nn

    model = _torchvision("resnet18", 10)
    model.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
    model.maxpool = nn.Identity()
    return model
