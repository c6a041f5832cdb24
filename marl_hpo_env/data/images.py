"""How an image file becomes pixels, and pixels become a network's input: the one decoder and the one normalisation."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps

# What torchvision's own pre-processing subtracts and divides by, so that a network trained here is used as any other.
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)

SHORTER_SIDE = 256 / 224
"""Of the shorter side, scaled, to the central square that is cut out of it: torchvision's own evaluation."""

UNREADABLE = (OSError, SyntaxError, ValueError, Image.DecompressionBombError)
"""What is raised for a file that is no image, or a broken one."""


def read_square(
    path: Path, size: int, *, central: bool = False, upright: bool = False, draft: int | None = None
) -> tuple[np.ndarray, tuple[int, int]]:
    """An image as an RGB square.

    Args:
        path: of the file.
        size: height and width of the square in pixels.
        central: cut the square out of the middle, as torchvision's evaluation does; else the whole image is squeezed.
        upright: turn it as its EXIF tag says.
        draft: let JPEG decode at a half, a quarter or an eighth, for a fraction of the time, as long as both sides keep as
            many pixels.

    Returns:
        Pixels, uint8 of shape (size, size, 3); and the file's own width and height.

    Raises:
        OSError, SyntaxError, ValueError, Image.DecompressionBombError: where it cannot be read (see `UNREADABLE`).
    """
    with Image.open(path) as file:
        original = file.size
        if draft is not None:
            file.draft("RGB", (draft, draft))
        image = ImageOps.exif_transpose(file) if upright else file
        if image.mode.startswith("I"):  # 16 bits, which convert() would clip to white
            image = Image.fromarray((np.asarray(image).clip(0, 65535) // 257).astype(np.uint8))
        box = None
        if central:
            side = min(image.size) / SHORTER_SIDE
            left, top = ((length - side) / 2 for length in image.size)
            box = (left, top, left + side, top + side)
        # The square alone is scaled: all of an image that is long and thin would take gigabytes.
        square = image.convert("RGB").resize((size, size), Image.Resampling.BILINEAR, box=box)
        return np.asarray(square), original


def read_grey(path: Path) -> np.ndarray:
    """An image in shades of grey, uint8 of shape (height, width).

    Raises:
        OSError, SyntaxError, ValueError, Image.DecompressionBombError: where it cannot be read.
    """
    with Image.open(path) as file:
        return np.asarray(file.convert("L"))


def mask_square(inside: np.ndarray, size: int) -> np.ndarray:
    """A mask scaled to a square: a pixel is inside where more than half of the area that it covers is.

    Args:
        inside: bool, shape (height, width).
        size: height and width of the square in pixels.

    Returns:
        Bool, shape (size, size).
    """
    scaled = Image.fromarray(np.where(inside, 255, 0).astype(np.uint8)).resize((size, size), Image.Resampling.BOX)
    return np.asarray(scaled) > 127


def mean_and_deviation(pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Of each channel on the scale 0..1, each of shape (channels,); from counts of the 256 values, so exact on any machine.

    The deviation of a channel that has one value only is given as 1, so that it can be divided by.

    Args:
        pixels: uint8, shape (n, height, width, channels).
    """
    values = torch.arange(256, dtype=torch.float64) / 255
    counts = torch.stack([torch.bincount(channel.flatten(), minlength=256) for channel in pixels.unbind(-1)]).double()
    shares = counts / counts.sum(1, keepdim=True)
    mean = (shares * values).sum(1, keepdim=True)
    deviation = (shares * (values - mean) ** 2).sum(1, keepdim=True).sqrt()
    return mean.float().flatten(), torch.where(deviation > 0, deviation, 1.0).float().flatten()


def normalised(
    pixels: torch.Tensor,
    mean: Sequence[float] | torch.Tensor = MEAN,
    deviation: Sequence[float] | torch.Tensor = STD,
) -> torch.Tensor:
    """Pixels as a network's input.

    Args:
        pixels: uint8, shape (n, height, width, channels).
        mean: of each channel on the scale 0..1; ImageNet's by default.
        deviation: likewise.

    Returns:
        float32 of shape (n, channels, height, width), on the device of the pixels.
    """
    mean, deviation = (torch.as_tensor(values, device=pixels.device).view(-1, 1, 1) for values in (mean, deviation))
    return pixels.permute(0, 3, 1, 2).float().div_(255).sub_(mean).div_(deviation).contiguous()
