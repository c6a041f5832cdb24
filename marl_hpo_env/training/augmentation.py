"""Augmentation of training batches on the device: each example its own draw, masks alongside (paper VII).

Torch's own affine grids, drawn from a generator on the CPU: so the same seed gives the same draws on every device.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from marl_hpo_env.errors import number, truth_value

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Augmentation:
    """The paper's "rotation, width and height shift, and horizontal flip". It gives no magnitudes: these are ours.

    Args:
        rotation: at most as many degrees either way.
        shift: at most as large a fraction of the width and of the height, either way.
        flip: whether half of the images are mirrored left to right.

    Raises:
        InputError: for a negative magnitude, or a shift of more than the whole image.
    """

    rotation: float = 15.0
    shift: float = 0.1
    flip: bool = True

    def __post_init__(self) -> None:
        rotation = number("rotation in degrees", self.rotation, least=0, most=180)
        shift = number("shift, a fraction of the image,", self.shift, least=0, most=1)
        object.__setattr__(self, "rotation", rotation)
        object.__setattr__(self, "shift", shift)
        truth_value("flip", self.flip)

    def __call__(
        self, images: torch.Tensor, targets: torch.Tensor, generator: torch.Generator
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """An augmented batch.

        Args:
            images: shape (n, channels, h, w); what comes in from outside is 0.
            targets: class indices, which stay as they are, or masks of shape (n, planes, h, w), which move alongside and
                stay 0 or 1.
            generator: on the CPU.
        """
        import torch
        from torch.nn import functional

        n, _, height, width = images.shape
        draws = torch.rand((4, n), generator=generator)
        angle = (2 * draws[0] - 1) * math.radians(self.rotation)
        across, down = (2 * draws[1:3] - 1) * 2 * self.shift  # the grid spans -1 to 1
        mirror = torch.where(draws[3] < 0.5, -1.0, 1.0) if self.flip else torch.ones(n)
        cos, sin = angle.cos(), angle.sin()
        # Rotation in pixels, not in the grid's units, so that nothing is sheared where height and width differ.
        rows = torch.stack(
            [cos * mirror, -sin * height / width, across, sin * width / height * mirror, cos, down], dim=1
        )
        matrix = rows.view(n, 2, 3).to(images.device, images.dtype)
        grid = functional.affine_grid(matrix, [n, 1, height, width], align_corners=False)
        moved = functional.grid_sample(images, grid, mode="bilinear", align_corners=False)
        if targets.dim() == images.dim():
            targets = functional.grid_sample(targets, grid, mode="nearest", align_corners=False)
        return moved, targets
