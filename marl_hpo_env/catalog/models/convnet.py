"""A small network for small images."""

from __future__ import annotations

import torch
from torch import nn


class ConvNet(nn.Module):
    """Three convolutions with batch norm, a max pool, a dense layer and the output.

    Args:
        image_size: height and width of the single-channel images.
        width: kernels of each convolution.
        dense: units of the dense layer.
        classes: number of classes.
    """

    def __init__(self, image_size: int = 8, width: int = 8, dense: int = 64, classes: int = 10) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, width, 3, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.norm3 = nn.BatchNorm2d(width)
        self.pool = nn.MaxPool2d(2)
        self.dense = nn.Linear(width * (image_size // 2) ** 2, dense)
        self.output = nn.Linear(dense, classes)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Class scores, shape (n, classes), of images, shape (n, 1, image_size, image_size)."""
        x = torch.relu(self.norm1(self.conv1(images)))
        x = torch.relu(self.norm2(self.conv2(x)))
        x = torch.relu(self.norm3(self.conv3(x)))
        x = torch.relu(self.dense(torch.flatten(self.pool(x), 1)))
        return self.output(x)
