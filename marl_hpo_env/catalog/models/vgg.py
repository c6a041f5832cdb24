"""VGG-16 for small images, as the paper tunes it on CIFAR (VII)."""

from __future__ import annotations

import torch
from torch import nn

_BLOCKS = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))


class VGG16(nn.Module):
    """VGG-16 (Simonyan and Zisserman) with one dense layer before the output, batch norm and dropout.

    The paper uses "only one Dense layer before the output" on CIFAR; with 512 units the network has 15.0 M parameters, the
    paper's 60 MB.

    Batch norm after each ReLU, and dropout, are ours: they are those of the public Keras VGG-16 for CIFAR (geifmany/cifar-vgg),
    whose batch size, optimizer, augmentation, size and accuracy are the paper's. "Plain" (VII) speaks against it. But without
    batch norm hardly a design of Table III begins to learn on 32x32.

    Args:
        classes: number of classes.
        image_size: height and width of the RGB images, a multiple of 32.
        scale: of every width; 1 is the original.
    """

    def __init__(self, classes: int, image_size: int = 32, scale: float = 1.0) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = 3
        for block in _BLOCKS:
            for number, kernels in enumerate(block, start=1):
                width = max(1, round(kernels * scale))
                layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU(), nn.BatchNorm2d(width)]
                if number < len(block):
                    layers.append(nn.Dropout(0.3 if kernels == 64 else 0.4))
                channels = width
            layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers, nn.Dropout(0.5))
        units = max(1, round(512 * scale))
        self.dense = nn.Linear(channels * (image_size // 32) ** 2, units)
        self.head = nn.Sequential(nn.ReLU(), nn.BatchNorm1d(units), nn.Dropout(0.5))
        self.output = nn.Linear(units, classes)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Class scores, shape (n, classes), of images, shape (n, 3, image_size, image_size)."""
        return self.output(self.head(self.dense(torch.flatten(self.features(images), 1))))
