"""The design so far as pixels, for wrappers and libraries that ask for `"rgb_array"`, as those that make videos do."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

COLUMNS = 80
"""Characters of a line that are shown: a frame has the same size whatever was picked."""

_WIDTH, _HEIGHT, _MARGIN = 6, 14, 8
"""Pixels of a character, of a line, and around all of them."""


def picture(text: str) -> npt.NDArray[np.uint8]:
    """A text in black on white.

    Args:
        text: one line per layer.

    Returns:
        Pixels, shape (14 lines + 16, 496, 3).
    """
    lines = text.splitlines()
    size = (COLUMNS * _WIDTH + 2 * _MARGIN, len(lines) * _HEIGHT + 2 * _MARGIN)
    image = Image.new("RGB", size, "white")
    draw, font = ImageDraw.Draw(image), ImageFont.load_default_imagefont()  # each of its characters is as wide
    for number, line in enumerate(lines):
        shown = line[:COLUMNS].encode("latin-1", "replace").decode("latin-1")  # all that the font has
        draw.text((_MARGIN, _MARGIN + number * _HEIGHT), shown, "black", font)
    return np.asarray(image).copy()
