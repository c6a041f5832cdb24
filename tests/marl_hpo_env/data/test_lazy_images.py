"""Images that are read from their files batch by batch."""

from __future__ import annotations

import os
import pickle
import shutil

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torchvision import transforms

from marl_hpo_env.data.images import MEAN, STD
from marl_hpo_env.data.lazy_images import ImageFiles, in_batches

COUNT = 23


def picture(size, mode="RGB"):
    """Waves of 50 degrees per hundredth of the shorter side, so that a crop elsewhere or a squeezed image shows."""
    width, height = size
    y, x = np.mgrid[:height, :width] * 100 / min(size)
    waves = [np.sin(0.87 * x), np.sin(0.87 * y), np.sin(0.6 * (x + y))]
    pixels = Image.fromarray((127 + 100 * np.stack(waves, axis=-1)).astype(np.uint8))
    return pixels.convert(mode)


def grey(level, size=(20, 16)):
    return Image.new("L", size, level)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Files that are told apart by their grey."""
    root = tmp_path_factory.mktemp("files")
    for number in range(COUNT):
        grey(10 * number).save(root / f"{number}.jpeg")
    return root


@pytest.fixture
def files(root):
    return ImageFiles(root, [f"{number}.jpeg" for number in range(COUNT)], 8)


def numbers(inputs):
    """Which of the files these are."""
    return ((inputs[:, 0, 0, 0] * STD[0] + MEAN[0]) * 25.5).round().int().tolist()


# One image.


SIZES = [(500, 375), (375, 500), (256, 256), (1700, 1300), (90, 120), (1000, 201), (260, 1100), (2060, 2060)]


@pytest.mark.parametrize(
    ("size", "mode"), [*((size, "RGB") for size in SIZES), ((500, 375), "L"), ((500, 375), "CMYK")]
)
def test_an_image_is_as_torchvision_scales_and_crops_it(tmp_path, size, mode):
    picture(size, mode).save(tmp_path / "one.jpeg", quality=95)
    steps = [transforms.Resize(256), transforms.CenterCrop(224), transforms.ToTensor(), transforms.Normalize(MEAN, STD)]
    with Image.open(tmp_path / "one.jpeg") as image:
        expected = transforms.Compose(steps)(image.convert("RGB"))
    (found,) = ImageFiles(tmp_path, ["one.jpeg"], 224)[:1]
    assert found.shape == expected.shape == (3, 224, 224)
    contrast = (expected - expected.mean((1, 2), keepdim=True)).abs().mean()
    # Of two roundings, of the longer side and of the corner, each may differ by half a pixel of a wave of eighteen.
    assert (found - expected).abs().mean() < 0.2 * contrast
    moved = expected.roll(3, 2)
    assert (found - moved).abs().mean() > 0.4 * contrast  # so three pixels would be noticed


@given(st.integers(1, 90), st.integers(1, 90), st.integers(1, 40))
def test_every_size_becomes_the_square_asked_for(tmp_path_factory, width, height, image_size):
    path = tmp_path_factory.mktemp("sizes") / "one.jpeg"
    grey(200, (width, height)).save(path)
    inputs = ImageFiles(path.parent, [path.name], image_size)[:1]
    assert inputs.shape == (1, 3, image_size, image_size)
    assert numbers(inputs) == [20]
    torch.testing.assert_close(inputs, inputs[..., :1, :1].expand_as(inputs))


@pytest.mark.parametrize("size", [(1, 20_000), (20_000, 1)])
def test_an_image_like_a_thread_takes_no_more_memory_than_another(tmp_path, monkeypatch, size):
    grey(100, size).save(tmp_path / "thread.jpeg")
    areas = []
    resize = Image.Image.resize

    def recorded(image, *args, **kwargs):
        scaled = resize(image, *args, **kwargs)
        areas.append(scaled.width * scaled.height)
        return scaled

    monkeypatch.setattr(Image.Image, "resize", recorded)
    assert numbers(ImageFiles(tmp_path, ["thread.jpeg"], 224)[:1]) == [10]
    assert max(areas) <= 256 * 256


def test_a_png_under_the_name_of_a_jpeg_is_read(tmp_path):
    """One of ImageNet's training images is one, n02105855_2933."""
    grey(100).convert("RGBA").save(tmp_path / "one.JPEG", format="PNG")
    assert numbers(ImageFiles(tmp_path, ["one.JPEG"], 8)[:1]) == [10]


@pytest.mark.parametrize("damage", ["truncated", "empty", "other", "missing"])
def test_a_file_that_cannot_be_read_is_named(tmp_path, refused, damage):
    path = tmp_path / "one.jpeg"
    picture((300, 200)).save(path)
    content = path.read_bytes()
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes({"truncated": content[: len(content) // 2], "empty": b"", "other": b"hello"}[damage])
    with refused(str(path), "cannot be read"):
        ImageFiles(tmp_path, ["one.jpeg"], 8)[:1]


# Many.


def test_they_stand_in_the_place_of_a_tensor(files):
    assert len(files) == COUNT
    assert files.shape == files[:].shape == (COUNT, 3, 8, 8)
    assert files.dtype == files[:].dtype == torch.float32
    assert numbers(files[:]) == list(range(COUNT))
    assert numbers(files[20:]) == [20, 21, 22]
    assert numbers(files[torch.tensor([5, 0, 5])]) == [5, 0, 5]


BATCHES = st.lists(st.lists(st.integers(0, COUNT - 1), min_size=1, max_size=4), max_size=14)


@given(BATCHES)
def test_batches_are_what_indexing_gives_in_order(root, batches):
    files = ImageFiles(root, [f"{number}.jpeg" for number in range(COUNT)], 8)
    asked = [torch.tensor(batch) for batch in batches]
    for inputs in (files, files[:]):
        found = list(in_batches(inputs, asked))
        assert [numbers(batch) for batch in found] == batches
        assert all(torch.equal(batch, files[which]) for batch, which in zip(found, asked, strict=True))


def test_slices_are_batches_too(files):
    slices = [slice(start, start + 5) for start in range(0, COUNT, 5)]
    for inputs in (files, files[:]):
        assert [numbers(batch) for batch in in_batches(inputs, slices)] == [list(range(COUNT))[part] for part in slices]


class Recording(ImageFiles):
    """Notes how many images were begun to be read and how many of these were taken, whenever one of the two changes."""

    def __init__(self, *args):
        super().__init__(*args)
        self.begun = self.taken = 0
        self.most = 0

    def pixels(self, which):
        futures = super().pixels(which)
        self.begun += len(futures)
        self.most = max(self.most, self.begun - self.taken)
        return futures

    def placed(self, pixels):
        self.taken += len(pixels)
        return super().placed(pixels)


def test_the_next_four_batches_are_read_while_one_is_trained_on(root):
    files = Recording(root, [f"{number}.jpeg" for number in range(COUNT)], 8)
    begun = []
    for _ in in_batches(files, torch.arange(20).split(2)):
        assert files.taken == 2 * (len(begun) + 1)
        begun.append(files.begun)
    assert begun == [10, 12, 14, 16, 18, 20, 20, 20, 20, 20]


def test_they_are_never_all_read_at_once(root):
    names = [f"{number}.jpeg" for number in range(COUNT)] * 20
    files = Recording(root, names, 8)
    for _ in in_batches(files, torch.arange(len(names)).split(2)):
        pass
    assert files.taken == len(names)
    assert files.most == 5 * 2


def test_a_file_that_cannot_be_read_stops_the_batch_that_has_it_and_none_before(files, tmp_path, refused):
    for path in files.root.iterdir():
        shutil.copy(path, tmp_path)
    (tmp_path / "7.jpeg").write_bytes(b"")
    broken = ImageFiles(tmp_path, files.names, 8)
    batches = in_batches(broken, torch.arange(12).split(2))
    assert [numbers(next(batches)) for _ in range(3)] == [[0, 1], [2, 3], [4, 5]]
    with refused("7.jpeg"):
        next(batches)
    assert numbers(broken[8:12]) == [8, 9, 10, 11]


def test_they_are_sent_to_another_process_as_names_whether_read_or_not(files):
    for _ in range(2):
        sent = pickle.dumps(files)
        assert len(sent) < 4000 + files.names.nbytes
        received = pickle.loads(sent)
        assert torch.equal(received[:], files[:])
        assert received.digest() == files.digest()


def test_on_another_device_they_are_the_same_files(files):
    moved = files.to(torch.device("meta"))
    assert (moved.device.type, files.device.type) == ("meta", "cpu")
    assert moved.shape == files.shape
    assert moved.digest() == files.digest()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
def test_on_a_gpu_they_are_read_to_it(files):
    moved = files.to(torch.device("cuda"))
    batches = torch.randperm(COUNT, generator=torch.Generator().manual_seed(0)).split(4)
    for batch, inputs in zip(batches, in_batches(moved, [batch.cuda() for batch in batches]), strict=True):
        assert inputs.device.type == "cuda"
        torch.testing.assert_close(inputs.cpu(), files[batch], atol=1e-6, rtol=0)


# The digest.


def test_the_digest_is_of_names_sizes_and_the_image_size(root, tmp_path):
    names = [f"{number}.jpeg" for number in range(4)]
    for name in names:
        shutil.copy(root / name, tmp_path)
    first = ImageFiles(tmp_path, names, 8).digest()
    os.utime(tmp_path / "2.jpeg", (0, 0))
    assert ImageFiles(tmp_path, names, 8).digest() == first
    others = [
        ImageFiles(tmp_path, names, 9),
        ImageFiles(tmp_path, names[::-1], 8),
        ImageFiles(tmp_path, names[:-1], 8),
    ]
    changed = [files.digest() for files in others]
    with (tmp_path / "2.jpeg").open("ab") as file:
        file.write(b"\0")
    changed.append(ImageFiles(tmp_path, names, 8).digest())
    (tmp_path / "2.jpeg").rename(tmp_path / "5.jpeg")
    changed.append(ImageFiles(tmp_path, ["0.jpeg", "1.jpeg", "5.jpeg", "3.jpeg"], 8).digest())
    assert len({first, *changed}) == 1 + len(changed)
