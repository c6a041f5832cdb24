"""A small network for small images whose layers fork and merge."""

from __future__ import annotations

import torch
from torch import nn


class BranchedNet(nn.Module):
    """Two branches that are concatenated, as in GoogLeNet, then a residual connection, as in ResNet; batch norm throughout.

    Args:
        image_size: height and width of the single-channel images.
        width: kernels of each convolution.
        classes: number of classes.
    """

    def __init__(self, image_size: int = 8, width: int = 8, classes: int = 10) -> None:
        super().__init__()
        self.stem = _convolution(1, width)
        self.left = _convolution(width, width)
        self.right1 = _convolution(width, width)
        self.right2 = _convolution(width, width)
        self.merge = _convolution(2 * width, width)
        self.residual = _convolution(width, width)
        self.pool = nn.MaxPool2d(2)
        self.output = nn.Linear(width * (image_size // 2) ** 2, classes)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Class scores, shape (n, classes), of images, shape (n, 1, image_size, image_size)."""
        x = self.stem(images)
        x = self.merge(torch.cat([self.left(x), self.right2(self.right1(x))], dim=1))
        x = x + self.residual(x)
        return self.output(torch.flatten(self.pool(x), 1))


def _convolution(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU())
