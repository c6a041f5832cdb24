"""scikit-learn's scanned digits: to be classified, and to be told from textured ground."""

from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional

from marl_hpo_env.data.splits import Data, Examples


def digits() -> Data:
    """scikit-learn's 1,797 scanned digits of 8x8 pixels, ten classes: 997 train, 400 validation, 400 test.

    The split is drawn once, with a fixed seed, so that each part has the classes in equal proportions. Pixels are scaled
    to 0..1, shape (n, 1, 8, 8).
    """
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    pixels, classes = load_digits(return_X_y=True)
    images = (pixels / 16).astype(np.float32).reshape(-1, 1, 8, 8)
    parts = []
    rest = images, classes.astype(np.int64)
    for size in (400, 400):
        kept_x, part_x, kept_y, part_y = train_test_split(*rest, test_size=size, random_state=0, stratify=rest[1])
        rest = kept_x, kept_y
        parts.append((part_x, part_y))
    validation, test, train = ((torch.from_numpy(x), torch.from_numpy(y)) for x, y in (*parts, rest))
    return Data(train, validation, test)


def digits_on_ground() -> Data:
    """Real digits on textured ground, to be told from it pixel by pixel; made on the spot, always the same.

    Each image of 24x24 holds one to three of scikit-learn's digits, one and a quarter to twice their size, drawn over ground
    of smoothed noise; its mask is where their ink is. Each split has digits of its own, those of `digits`: 400 images for
    training, 200 each for validation and test. Inputs of shape (n, 1, 24, 24) within 0..1, masks of 0 and 1.
    """
    generator = torch.Generator().manual_seed(0)
    parts = []
    for (images, _), count in zip(digits().splits().values(), (400, 200, 200), strict=True):
        assert isinstance(images, torch.Tensor)
        parts.append(_scenes(images, count, generator))
    return Data(parts[0], parts[1], parts[2])


def _scenes(digit_images: torch.Tensor, count: int, generator: torch.Generator, size: int = 24) -> Examples:
    def draw(low: int, high: int) -> int:
        return int(torch.randint(low, high + 1, (), generator=generator))

    coarse, fine = (torch.rand((count, 1, n, n), generator=generator) for n in (5, 16))
    grounds = [functional.interpolate(noise, (size, size), mode="bilinear") for noise in (coarse, fine)]
    scenes = 0.6 * grounds[0] + 0.4 * grounds[1]
    masks = torch.zeros_like(scenes)
    for scene, mask in zip(scenes, masks, strict=True):
        for _ in range(draw(1, 3)):
            side = draw(10, 16)
            digit = digit_images[draw(0, len(digit_images) - 1)][None]
            ink = functional.interpolate(digit, (side, side), mode="bilinear")[0]
            top, left = draw(0, size - side), draw(0, size - side)
            window = (slice(None), slice(top, top + side), slice(left, left + side))
            scene[window] = (1 - 0.7 * ink) * scene[window] + 0.7 * ink
            mask[window] = torch.maximum(mask[window], (ink > 0.4).float())
    return scenes, masks
