"""VGG-16 for small images, as the paper tunes it on CIFAR (VII)."""

from __future__ import annotations

import torch
from torch import nn

_BLOCKS = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))


class VGG16(nn.Module):
    """The thirteen plain convolutions of VGG-16 (Simonyan and Zisserman), one dense layer, and the output.

    The paper uses "only one Dense layer before the output" on CIFAR; with 512 units (ours) the network has 15.0 M
    parameters, the paper's 60 MB.

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
            for kernels in block:
                width = max(1, round(kernels * scale))
                layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU()]
                channels = width
            layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        self.dense = nn.Linear(channels * (image_size // 32) ** 2, max(1, round(512 * scale)))
        self.output = nn.Linear(self.dense.out_features, classes)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Class scores, shape (n, classes), of images, shape (n, 3, image_size, image_size)."""
        return self.output(torch.relu(self.dense(torch.flatten(self.features(images), 1))))
