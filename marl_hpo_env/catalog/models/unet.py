"""The U-Net of Ronneberger, Fischer and Brox (2015), as the paper tunes it (Fig. 2)."""

from __future__ import annotations

import torch
from torch import nn


class UNet(nn.Module):
    """Levels down, as many up, a skip at every level, and a 1x1 convolution per pixel.

    With four levels, as in the paper's Fig. 2, it has 22 tunable convolutions, up-convolutions counted. Ours: convolutions
    are padded, so that the output has the input's size, and up-convolutions are 3x3, which gives the paper's 138 MB (34.5 M
    parameters; with 2x2 it would be 31.0 M).

    Args:
        channels: of the input.
        classes: of the output, one plane of scores each.
        width: kernels of the first level; each level down has twice as many.
        levels: number of times that the image is halved.
    """

    def __init__(self, channels: int = 1, classes: int = 1, width: int = 64, levels: int = 4) -> None:
        super().__init__()
        widths = [width * 2**level for level in range(levels + 1)]
        self.down = nn.ModuleList(_block(i, o) for i, o in zip([channels, *widths], widths, strict=False))
        self.pool = nn.ModuleList(nn.MaxPool2d(2) for _ in range(levels))
        upwards = list(zip(widths[:0:-1], widths[-2::-1], strict=True))
        self.up = nn.ModuleList(nn.ConvTranspose2d(i, o, 3, 2, padding=1, output_padding=1) for i, o in upwards)
        self.merge = nn.ModuleList(_block(i, o) for i, o in upwards)
        self.output = nn.Conv2d(width, classes, 1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Scores of shape (n, classes, h, w), of images of shape (n, channels, h, w), h and w multiples of 2^levels."""
        x = self.down[0](images)
        skips = []
        for pool, block in zip(self.pool, list(self.down)[1:], strict=True):
            skips.append(x)
            x = block(pool(x))
        for up, block, skip in zip(self.up, self.merge, reversed(skips), strict=True):
            x = block(torch.cat([skip, torch.relu(up(x))], dim=1))
        return self.output(x)


def _block(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, padding=1), nn.ReLU(), nn.Conv2d(outputs, outputs, 3, padding=1), nn.ReLU()
    )
