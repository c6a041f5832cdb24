"""Images in one .npz file: JPEG files end to end, or pixels."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from marl_hpo_env.data.arrays import image_arrays, training_images

SHARED = Path(__file__).resolve().parents[4] / "shared" / "data"


def jpegs(count, generator, size=12):
    """Pictures of one colour each: 20 times the class in red."""
    files, classes = [], np.arange(count) % 4
    for label in classes:
        pixels = np.full((size, size, 3), 0, dtype=np.uint8)
        pixels[..., 0] = 20 + 20 * label + generator.integers(0, 5)
        content = io.BytesIO()
        Image.fromarray(pixels).save(content, "JPEG", quality=95)
        files.append(content.getvalue())
    ends = np.cumsum([0, *map(len, files)])
    return np.frombuffer(b"".join(files), np.uint8), ends, classes


@pytest.fixture
def jpeg_file(tmp_path):
    generator = np.random.default_rng(0)
    content = {}
    for part, count in (("train", 80), ("test", 20)):
        content[f"jpeg_{part}"], content[f"off_{part}"], content[f"y_{part}"] = jpegs(count, generator)
    np.savez(tmp_path / "photos.npz", **content)
    return tmp_path / "photos.npz"


@pytest.fixture
def mask_file(tmp_path):
    generator = np.random.default_rng(0)
    x = generator.integers(0, 255, (20, 16, 16, 3)).astype(np.uint8)
    y = np.zeros((20, 16, 16), dtype=np.uint8)
    y[:, :8] = 7
    np.savez(tmp_path / "cells.npz", x=x, y=y)
    return tmp_path / "cells.npz"


def test_jpegs_keep_their_test_and_lose_a_part_for_validation(jpeg_file):
    data = image_arrays(jpeg_file)
    assert [len(x) for x, _ in data.splits().values()] == [68, 12, 20]
    for inputs, targets in data.splits().values():
        assert (inputs.shape[1:], inputs.dtype, targets.dtype) == ((3, 12, 12), torch.float32, torch.int64)
        # Every picture has its own class: the redder, the higher.
        red = inputs[:, 0].mean((1, 2))
        means = [red[targets == label].mean() for label in range(4)]
        assert means == sorted(means)
        assert targets.bincount().tolist() == [len(targets) // 4] * 4
    seen = data.train[0]
    assert seen.mean((0, 2, 3))[0] == pytest.approx(0, abs=1e-3)
    assert seen.var((0, 2, 3), correction=0)[0] == pytest.approx(1, abs=1e-3)
    assert image_arrays(jpeg_file).digest() == data.digest()


def test_fewer_examples_are_of_every_class_in_proportion(jpeg_file):
    data = image_arrays(jpeg_file, examples=17)
    assert data.train[1].bincount().tolist() == [4] * 4
    assert data.validation[1].bincount().tolist() == [1] * 4
    assert data.test[1].bincount().tolist() == [1] * 4
    assert data.notes[0].startswith("Read 24 images of 4 classes, ")
    assert data.notes[1:] == ("Training takes 16 of 68 images.",)
    assert image_arrays(jpeg_file, examples=1000).digest() == image_arrays(jpeg_file).digest()
    assert len(image_arrays(jpeg_file, examples=1000).notes) == 1
    assert training_images(jpeg_file) == 68


def test_the_images_for_training_are_counted_without_decoding_them(mask_file, tmp_path, refused):
    assert training_images(mask_file) == 14 == len(image_arrays(mask_file).train[0])
    with refused("absent.npz"):
        training_images(tmp_path / "absent.npz")


def test_pixels_with_masks_are_divided_and_scaled(mask_file):
    data = image_arrays(mask_file, image_size=8)
    assert [len(x) for x, _ in data.splits().values()] == [14, 3, 3]
    for inputs, masks in data.splits().values():
        assert (inputs.shape[1:], masks.shape[1:]) == ((3, 8, 8), (1, 8, 8))
        assert masks[:, :, :4].eq(1).all()
        assert masks[:, :, 4:].eq(0).all()
    assert image_arrays(mask_file).train[0].shape[1:] == (3, 16, 16)


def test_a_channel_of_one_value_is_no_division_by_zero(tmp_path):
    np.savez(tmp_path / "grey.npz", x=np.zeros((9, 4, 4, 3), np.uint8), y=np.arange(9) % 3)
    assert torch.isfinite(image_arrays(tmp_path / "grey.npz").train[0]).all()


def test_what_is_no_such_file_is_one_sentence(tmp_path, jpeg_file, refused):
    with refused("cannot be read as images", "absent.npz"):
        image_arrays(tmp_path / "absent.npz")
    (tmp_path / "text.npz").write_text("no")
    with refused("cannot be read as images"):
        image_arrays(tmp_path / "text.npz")
    np.savez(tmp_path / "other.npz", z=np.zeros(3))
    with refused("cannot be read as images", "x and y"):
        image_arrays(tmp_path / "other.npz")
    np.savez(tmp_path / "few.npz", x=np.zeros((4, 2, 2, 3), np.uint8), y=np.array([0, 0, 0, 1]))
    with refused("takes three of every class"):
        image_arrays(tmp_path / "few.npz")
    for setting in ("image_size", "examples"):
        with refused("is a whole number from 1"):
            image_arrays(jpeg_file, **{setting: 0})
    content = dict(np.load(jpeg_file))
    content["jpeg_train"] = content["jpeg_train"].copy()
    content["jpeg_train"][:40] = 0
    np.savez(tmp_path / "broken.npz", **content)
    with refused("cannot be decoded"):
        image_arrays(tmp_path / "broken.npz")


@pytest.mark.skipif(not (SHARED / "cifar10_jpeg.npz").exists(), reason="there are no real images")
def test_the_real_cifar10():
    data = image_arrays(SHARED / "cifar10_jpeg.npz", examples=400)
    assert data.train[1].bincount().tolist() == [40] * 10
    assert data.number_of_classes == 10


@pytest.mark.skipif(not (SHARED / "dsb2018_nuclei.npz").exists(), reason="there are no real images")
def test_the_real_nuclei():
    data = image_arrays(SHARED / "dsb2018_nuclei.npz", image_size=32, examples=40)
    assert data.train[0].shape == (40, 3, 32, 32)
    assert 0.02 < data.train[1].mean() < 0.5
