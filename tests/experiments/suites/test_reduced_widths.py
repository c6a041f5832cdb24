"""The paper's networks with every width divided by eight, and the files that they are tried on."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image
from torch import nn

from experiments.suites import reduced_widths
from experiments.suites.reduced_widths import reduced
from marl_hpo_env import Limits


def _jpeg(grey: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (32, 32), (grey, grey, grey)).save(buffer, "JPEG", quality=100)
    return buffer.getvalue()


def test_images_in_jpeg_files_end_to_end_are_read_in_their_order(tmp_path, monkeypatch):
    stored = {}
    for part, greys in (("train", [0, 50, 100, 150, 200]), ("test", [255, 128])):
        files = [_jpeg(grey) for grey in greys]
        stored[f"jpeg_{part}"] = np.frombuffer(b"".join(files), np.uint8)
        stored[f"off_{part}"] = np.cumsum([0, *map(len, files)])
        stored[f"y_{part}"] = np.arange(len(greys), dtype=np.uint8)
    np.savez(tmp_path / "cifar10.npz", **stored)
    monkeypatch.setitem(reduced_widths.IMAGES, "vgg16-cifar10", (3, 2, 2))
    small = reduced("vgg16-cifar10", tmp_path / "cifar10.npz")
    assert small.name == "vgg16-cifar10-eighth"
    splits = small.splits
    for (images, labels), greys, classes in (
        (splits.train, [0, 50, 100], [0, 1, 2]),
        (splits.validation, [150, 200], [3, 4]),
        (splits.test, [255, 128], [0, 1]),
    ):
        assert images.shape == (len(greys), 3, 32, 32)
        assert labels.tolist() == classes
        # What is trained on has a mean of 50 and a deviation of 40.82; JPEG may be off by a shade or two.
        by_hand = [(grey - 50) / 40.82 for grey in greys]
        assert images.mean((1, 2, 3)).tolist() == pytest.approx(by_hand, abs=0.05)


def test_nuclei_are_divided_at_random_and_keep_their_masks(tmp_path, monkeypatch):
    x = np.zeros((5, 8, 8, 3), np.uint8)
    y = np.zeros((5, 8, 8), np.int32)
    for number in range(5):
        x[number] = 50 * number
        y[number, :, : 1 + number] = 7 + number  # each nucleus has a number of its own
    np.savez(tmp_path / "nuclei.npz", x=x, y=y)
    monkeypatch.setitem(reduced_widths.IMAGES, "unet-isic18", (3, 1, 1))
    splits = reduced("unet-isic18", tmp_path / "nuclei.npz").splits
    found = []
    for (images, masks), count in ((splits.train, 3), (splits.validation, 1), (splits.test, 1)):
        assert images.shape == (count, 3, 48, 48)
        assert masks.shape == (count, 1, 48, 48)
        assert set(masks.unique().tolist()) <= {0.0, 1.0}
        found += [
            (round(8 * float(mask.mean())) - 1, float(image.mean())) for image, mask in zip(images, masks, strict=True)
        ]
    numbers, means = map(np.array, zip(*found, strict=True))
    assert sorted(numbers) == [0, 1, 2, 3, 4]
    # Standardised by the three images that are trained on; each has its own mask.
    assert means == pytest.approx((numbers - numbers[:3].mean()) / numbers[:3].std(), abs=1e-3)


def test_a_reduced_task_has_the_paper_s_choices_with_widths_divided_and_no_limits(tmp_path):
    small = reduced("unet-isic18", tmp_path / "not-read-yet.npz")
    choices = small.choices()
    assert choices[nn.Conv2d] == {
        "out_channels": (2, 4, 8, 16, 32, 64, 128),
        "kernel_size": (3, 5, 7),
        "stride": (1, 2),
    }
    assert choices["output"] is None
    assert small.limits == Limits()


def test_a_task_that_is_not_reduced_and_a_file_that_is_not_there_are_one_sentence(run_app, tmp_path):
    for given, sentence in (
        (["vgg16-cifar100", tmp_path / "cifar.npz"], "There is no task to be reduced 'vgg16-cifar100'; did you mean"),
        (["vgg16-cifar10", tmp_path / "cifar.npz"], "cifar.npz cannot be written or read: No such file or directory."),
    ):
        code, _, err = run_app(reduced_widths.app, *given, "--out", tmp_path / "out")
        assert (code, len(err.strip().splitlines())) == (2, 1)
        assert sentence in err
        assert not (tmp_path / "out").exists()
