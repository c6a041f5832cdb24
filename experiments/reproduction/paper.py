"""The paper's own figures, as printed in its tables."""

from __future__ import annotations

from typing import NamedTuple


class Measured(NamedTuple):
    """A row of Table V: accuracy in percent (Dice for the U-Net), times in ms per batch, size in MB."""

    test_accuracy: float
    train_ms_per_batch: float
    model_size_mb: float
    inference_ms_per_batch: float


TABLE_V = {
    ("VGG-16", "CIFAR100"): (
        Measured(73.35, 23, 7, 7),
        Measured(69.32, 37, 60, 14),
        Measured(63.03, 26, 13, 8),
    ),
    ("VGG-16", "ImageNet"): (
        Measured(74.36, 44, 53, 16),
        Measured(74.48, 74, 141, 27),
        Measured(68.70, 59, 63, 22),
    ),
    ("GoogLeNet", "CIFAR100"): (
        Measured(73.48, 54, 22, 13),
        Measured(70.19, 98, 48, 35),
        Measured(64.68, 118, 49, 40),
    ),
    ("GoogLeNet", "ImageNet"): (
        Measured(70.31, 35, 25, 15),
        Measured(70.02, 66, 54, 23),
        Measured(68.53, 49, 49, 17),
    ),
    ("U-Net", "BRATS'18"): (
        Measured(83.24, 98, 2, 33),
        Measured(83.25, 204, 138, 68),
        Measured(80.16, 157, 16, 52),
    ),
    ("U-Net", "ISIC'18"): (
        Measured(82.35, 70, 3, 18),
        Measured(81.57, 123, 138, 39),
        Measured(77.84, 92, 14, 31),
    ),
}
"""By network and data: proposed, original, random search."""

TABLE_IV = {
    "NAS": (72.8, "5.3M"),
    "PNAS": (74.2, "5.1M"),
    "DARTS": (73.1, "4.9M"),
    "SNAS": (72.7, "4.3M"),
    "MANAS": (73.9, "2.6M"),
    "Block-QNN": (75.7, "-"),
    "Proposed (VGG)": (74.36, "3.9M"),
    "Proposed (GoogLeNet)": (70.31, "2.4M"),
    "VGG (Original)": (74.48, "138M"),
    "GoogLeNet (Original)": (70.02, "6.4M"),
}
"""By approach: Top-1 accuracy on ImageNet in percent, and the number of parameters."""

TABLE_VI = {
    ("VGG-16", "CIFAR100"): 15,
    ("VGG-16", "ImageNet"): 97,
    ("GoogLeNet", "CIFAR100"): 257,
    ("GoogLeNet", "ImageNet"): 1670,
    ("U-Net", "BRATS'18"): 61,
    ("U-Net", "ISIC'18"): 42,
}
"""GPU hours on an NVIDIA V100."""

TABLE_VII = {
    "NAS": ("2000", "P100"),
    "ENAS": ("4", "GTX 1080Ti"),
    "PNAS": ("225", "P100"),
    "MANAS": ("0.5 to 2.8", "GTX 1080"),
    "Meta-QNN": ("100", "not named"),
    "Block-QNN": ("96", "TitanX"),
    "DARTS": ("4", "GTX 1080T"),
    "DARTS (with few-shot)": ("1.1", "P100"),
    "SNAS": ("1.5", "TITAN XP"),
    "Proposed (VGG)": ("0.6", "V100"),
}
"""GPU days on CIFAR-10, and the GPU."""

_NETWORKS = {"vgg16": "VGG-16", "googlenet": "GoogLeNet", "unet": "U-Net"}
_DATA = {
    "cifar100": "CIFAR100",
    "cifar10": "CIFAR100",
    "imagenet": "ImageNet",
    "brats18": "BRATS'18",
    "isic18": "ISIC'18",
}


def papers_case(task: str) -> tuple[str, str] | None:
    """The network and data of the paper that stand beside a task, also a narrowed one; None where it has none.

    Its tables have CIFAR-100 and not CIFAR-10, whose tasks stand beside it.
    """
    network, _, rest = task.partition("-")
    if network not in _NETWORKS or rest.split("-")[0] not in _DATA:
        return None
    return _NETWORKS[network], _DATA[rest.split("-")[0]]
