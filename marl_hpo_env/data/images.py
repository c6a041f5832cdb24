"""How an image file becomes pixels, and pixels become a network's input: the one decoder and the one normalisation."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image, ImageFile, ImageOps

from marl_hpo_env.errors import InputError

# What torchvision's own pre-processing subtracts and divides by, so that a network trained here is used as any other.
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)

Normalisation = tuple[Sequence[float], Sequence[float]]
"""Of each channel on the scale 0..1: the mean, which is subtracted, and the deviation, which is then divided by."""

IMAGENET: Normalisation = (MEAN, STD)

SHORTER_SIDE = 256 / 224
"""Of the shorter side, scaled, to the central square that is cut out of it: torchvision's own evaluation."""

_DEPTHS = (8, 10, 12, 14, 16)
"""Bits that cameras and scanners have."""

_MOST = 2**16 - 1

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
        Pixels of shape (size, size, 3), uint8; or, of a file deeper than 8 bits, float32 in the file's own numbers of 0 to 65535,
        see `in_bytes`. And the file's own width and height.

    Raises:
        InputError: if it is an image, but its values have no depth that is known, or one that would be lost.
        OSError, SyntaxError, ValueError, Image.DecompressionBombError: where it cannot be read (see `UNREADABLE`).
    """
    with Image.open(path) as file:
        original = file.size
        if draft is not None:
            file.draft("RGB", (draft, draft))
        _refuse_deep_colours(file, path)
        image = ImageOps.exif_transpose(file) if upright else file
        box = None
        if central:
            side = min(image.size) / SHORTER_SIDE
            left, top = ((length - side) / 2 for length in image.size)
            box = (left, top, left + side, top + side)
        # The square alone is scaled: all of an image that is long and thin would take gigabytes.
        deep = image.mode[0] in "IF"
        whole = _deep_grey(image, path) if deep else image.convert("RGB")
        square = np.asarray(whole.resize((size, size), Image.Resampling.BILINEAR, box=box))
        return np.repeat(square[..., None], 3, axis=-1) if deep else square, original


def _deep_grey(image: Image.Image, path: Path) -> Image.Image:
    """An image of one channel of 16 bits as floats in its own numbers.

    Raises:
        InputError: if it holds floats, or numbers beyond 16 bits.
    """
    if image.mode == "F":
        raise InputError(
            f"The image {str(path)!r} holds floating-point numbers, whose scale no file says; save it with 8 or 16 bits."
        )
    values = np.asarray(image, dtype=np.float32)
    if values.min() < 0 or values.max() > _MOST:
        raise InputError(
            f"The image {str(path)!r} holds values from {values.min():g} to {values.max():g}; save it with 8 or 16 bits, so "
            f"within 0 to {_MOST}."
        )
    return Image.fromarray(values)


def _refuse_deep_colours(file: ImageFile.ImageFile, path: Path) -> None:
    """Raises an `InputError` for an image of several channels of 16 bits, of which Pillow keeps 8."""
    stored = [tile.args if isinstance(tile.args, tuple) else (tile.args,) for tile in file.tile]
    deep = any(";16" in str(mode) or (file.format == "PPM" and rest and rest[0] > 255) for mode, *rest in stored)
    if deep and file.mode[0] not in "IF":
        raise InputError(
            f"The image {str(path)!r} has several channels of 16 bits, of which 8 would be lost; save it with 8, or as one "
            "channel of 16."
        )


def in_bytes(squares: Sequence[np.ndarray]) -> tuple[torch.Tensor, int | None]:
    """Squares of `read_square` on the scale of 8 bits, and how many bits the deeper ones of them were taken to have.

    That is the least of 8, 10, 12, 14 and 16 that holds their highest value: a camera's 12 bits in a file of 16 use the whole
    scale.

    Returns:
        Shape (n, size, size, 3): uint8 where no file was deeper than 8 bits, and None; else float32 of 0 to 255, with every
        level kept.
    """
    deep = [square for square in squares if square.dtype != np.uint8]
    if not deep:
        return torch.from_numpy(np.stack(squares)), None
    highest = max(float(square.max()) for square in deep)
    bits = next(bits for bits in _DEPTHS if highest < 2**bits)
    return torch.from_numpy(np.stack([on_bytes(square, bits) for square in squares])), bits


def on_bytes(square: np.ndarray, bits: int) -> np.ndarray:
    """One square of `read_square` as float32 on the scale 0..255, where one that is deeper than 8 bits has so many."""
    values = square.astype(np.float32)
    return values if square.dtype == np.uint8 else values * np.float32(255 / (2**bits - 1))


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
        pixels: uint8, or float32 on the same scale, shape (n, height, width, channels).
        mean: of each channel on the scale 0..1; ImageNet's by default.
        deviation: likewise.

    Returns:
        float32 of shape (n, channels, height, width), on the device of the pixels.
    """
    mean, deviation = (torch.as_tensor(values, device=pixels.device).view(-1, 1, 1) for values in (mean, deviation))
    return pixels.permute(0, 3, 1, 2).to(torch.float32, copy=True).div_(255).sub_(mean).div_(deviation).contiguous()


class ImageReading(NamedTuple):
    """How a file became an input, so that any other photograph can become one.

    Args:
        image_size: height and width in pixels to which the whole image is scaled.
        bits: that images deeper than 8 bits were taken to have; None where there were none.
        mean: of each channel on the scale 0..1, by which it is normalised; ImageNet's by default.
        deviation: likewise.
    """

    image_size: int
    bits: int | None = None
    mean: Sequence[float] = MEAN
    deviation: Sequence[float] = STD

    def input(self, path: Path) -> torch.Tensor:
        """A photograph as the input of a network, shape (1, 3, image_size, image_size).

        Raises:
            InputError: if it cannot be read.
        """
        try:
            square = read_square(path, self.image_size, upright=True)[0]
        except InputError:
            raise
        except UNREADABLE as error:
            raise InputError(f"The image {str(path)!r} cannot be read ({error}); give another.") from error
        pixels = torch.from_numpy(on_bytes(square, self.bits or _DEPTHS[-1]))[None]
        return normalised(pixels, self.mean, self.deviation)
