"""The files are written as https://challenge.isic-archive.com/landing/2018/45 describes task 1: images ISIC_<7 digits>.jpg,
masks ISIC_<7 digits>_segmentation.png of the same size, single-channel 8-bit, 0 outside the lesion and 255 inside.
"""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from marl_hpo_env import InputError
from marl_hpo_env.data import isic
from marl_hpo_env.data.images import MEAN, STD
from marl_hpo_env.data.isic import isic18
from marl_hpo_env.testing import DataConformance


def folders(root, part):
    images, masks = root / f"ISIC2018_Task1-2_{part}_Input", root / f"ISIC2018_Task1_{part}_GroundTruth"
    for folder in (images, masks):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "ATTRIBUTION.txt").write_text("as in the official archives")
        (folder / "LICENSE.txt").write_text("as in the official archives")
    return images, masks


def write(root, part, numbers, size=(60, 40)):
    """Skin with a dark lesion in the left half, brighter by the image's number."""
    images, masks = folders(root, part)
    width, height = size
    for number in numbers:
        pixels = np.full((height, width, 3), 230, dtype=np.uint8)
        pixels[:, : width // 2] = 10 * (number % 20)
        mask = np.zeros((height, width), dtype=np.uint8)
        mask[:, : width // 2] = 255
        Image.fromarray(pixels).save(images / f"ISIC_{number:07}.jpg", quality=95)
        Image.fromarray(mask).save(masks / f"ISIC_{number:07}_segmentation.png")


def numbers(inputs):
    """Which images these are, by the grey of their lesion."""
    red = inputs[:, 0, 2:-2, 2:6].mean((1, 2)) * STD[0] + MEAN[0]
    return (red * 255 / 10).round().int().tolist()


def test_images_and_masks_become_squares_in_fixed_parts(tmp_path):
    write(tmp_path, "Training", range(20))
    data = isic18(tmp_path, 16)
    assert [len(x) for x, _ in data.splits().values()] == [14, 3, 3]
    assert sorted(number for x, _ in data.splits().values() for number in numbers(x)) == list(range(20))
    for inputs, targets in data.splits().values():
        assert inputs.shape[1:] == (3, 16, 16)
        assert targets.shape[1:] == (1, 16, 16)
        assert inputs.dtype == targets.dtype == torch.float32
        assert (targets[..., :8] == 1).all()
        assert (targets[..., 8:] == 0).all()
        light = (torch.tensor(230 / 255) - torch.tensor(MEAN)) / torch.tensor(STD)
        torch.testing.assert_close(inputs[..., 10:].mean((0, 2, 3)), light, atol=0.05, rtol=0)
    assert data.notes == (
        "There is no Validation part: 3 of the 20 Training images are it.",
        "There is no Test part: 3 of the 20 Training images are it.",
    )
    assert isic18(tmp_path, 16).digest() == data.digest()


def test_official_parts_are_kept(tmp_path):
    for part, count in (("Training", range(8)), ("Validation", range(8, 11)), ("Test", range(11, 15))):
        write(tmp_path, part, count)
    data = isic18(tmp_path, 16)
    assert [numbers(x) for x, _ in data.splits().values()] == [[*range(8)], [8, 9, 10], [11, 12, 13, 14]]
    assert data.notes == ()


def test_a_part_without_masks_is_left_out_and_said(tmp_path):
    write(tmp_path, "Training", range(20))
    write(tmp_path, "Validation", range(100, 103))
    folders(tmp_path, "Test")[1].rename(tmp_path / "elsewhere")  # the masks of the test came out after the images
    data = isic18(tmp_path, 16)
    assert [len(x) for x, _ in data.splits().values()] == [17, 3, 3]
    assert "The Test images are left out" in data.notes[0]
    assert "ISIC2018_Task1_Test_GroundTruth" in data.notes[0]


def test_sizes_may_differ_between_images_and_large_ones_keep_their_place(tmp_path):
    for number, size in enumerate(((1024, 768), (600, 450), (61, 83), (3, 3))):
        write(tmp_path, "Training", [number], size)
    data = isic18(tmp_path, 32)
    for inputs, targets in data.splits().values():
        outside = inputs[:, 0] > inputs[:, 0].amin((1, 2), keepdim=True) + 1
        assert (outside[..., 20:] & (targets[:, 0, :, 20:] == 0)).all()
        assert (targets[..., :8] == 1).all()


def test_an_image_is_not_turned_by_exif_away_from_its_mask(tmp_path):
    write(tmp_path, "Training", range(3))
    path = tmp_path / "ISIC2018_Task1-2_Training_Input" / "ISIC_0000001.jpg"
    with Image.open(path) as image:
        exif = image.getexif()
        exif[0x0112] = 3
        image.save(path, exif=exif, quality=95)
    for inputs, _ in isic18(tmp_path, 16).splits().values():
        assert (inputs[:, 0, :, 2] < inputs[:, 0, :, -2]).all()


def test_masks_of_other_values_and_modes_are_told_by_127(tmp_path):
    write(tmp_path, "Training", range(6))
    masks = tmp_path / "ISIC2018_Task1_Training_GroundTruth"
    for number, (low, high) in enumerate(((0, 128), (127, 255), (5, 250))):
        pixels = np.full((40, 60), low, dtype=np.uint8)
        pixels[:, :30] = high
        Image.fromarray(pixels).save(masks / f"ISIC_{number:07}_segmentation.png")
    for number, mode in ((3, "1"), (4, "RGB")):
        path = masks / f"ISIC_{number:07}_segmentation.png"
        with Image.open(path) as image:
            image.convert(mode).save(path)
    data = isic18(tmp_path, 16)
    for _, targets in data.splits().values():
        assert (targets[..., :8] == 1).all()
        assert (targets[..., 8:] == 0).all()
    told = [note for note in data.notes if "other values than 0 and 255" in note]
    assert sum(int(note.split()[0]) for note in told) == 3


def test_an_empty_mask_is_taken_as_it_is(tmp_path):
    write(tmp_path, "Training", range(3))
    for path in (tmp_path / "ISIC2018_Task1_Training_GroundTruth").glob("*.png"):
        Image.new("L", (60, 40)).save(path)
    assert not any(targets.any() for _, targets in isic18(tmp_path, 16).splits().values())


# The cache.


@pytest.fixture
def root(tmp_path):
    write(tmp_path, "Training", range(12))
    mask = tmp_path / "ISIC2018_Task1_Training_GroundTruth" / "ISIC_0000003_segmentation.png"
    pixels = np.full((40, 60), 3, dtype=np.uint8)  # not plain black and white, which a note says
    pixels[:, :30] = 250
    Image.fromarray(pixels).save(mask)
    return tmp_path


def same(data, expected):
    return (data.digest(), data.notes) == (expected.digest(), expected.notes)


@pytest.mark.parametrize("size", [16, 13])  # whole bytes of mask, and not
def test_the_second_reading_is_from_the_cache_and_the_same(root, monkeypatch, size):
    first = isic18(root, size)
    assert sum("other values than 0 and 255" in note for note in first.notes) == 1
    assert len(list((root / "isic18_images").iterdir())) == 3  # one per part
    with monkeypatch.context() as patch:
        patch.setattr(isic, "_example", lambda pair, size: pytest.fail("an image was read again"))
        assert same(isic18(root, size), first)
    assert same(isic18(root, size, cache=root / "elsewhere"), first)
    assert len(list((root / "elsewhere").iterdir())) == 3


def test_another_size_is_kept_beside_it(root, monkeypatch):
    both = [isic18(root, size) for size in (16, 8)]
    monkeypatch.setattr(isic, "_example", lambda pair, size: pytest.fail("an image was read again"))
    assert same(isic18(root, 16), both[0])
    assert same(isic18(root, 8), both[1])


@pytest.mark.parametrize("number", range(12))
def test_a_changed_image_or_mask_is_read_anew(root, number):
    first = isic18(root, 16)
    path = root / "ISIC2018_Task1_Training_GroundTruth" / f"ISIC_{number:07}_segmentation.png"
    Image.new("L", (60, 40)).save(path)
    changed = isic18(root, 16)
    areas = torch.cat([targets.sum((1, 2, 3)) for _, targets in changed.splits().values()])
    assert sorted(areas.tolist()) == [0] + [128] * 11
    write(root, "Training", [number])
    assert len(isic18(root, 16).notes) == len(first.notes) - (number == 3)


def test_the_code_of_another_version_reads_anew(root, monkeypatch):
    first = isic18(root, 16)
    monkeypatch.setattr(isic, "CACHE_VERSION", isic.CACHE_VERSION + 1)
    read = []
    example = isic._example
    monkeypatch.setattr(isic, "_example", lambda pair, size: read.append(pair) or example(pair, size))
    assert same(isic18(root, 16), first)
    assert len(read) == 12


@pytest.mark.parametrize("damage", ["truncated", "flipped", "empty", "other"])
def test_a_broken_cache_is_made_anew(root, damage):
    first = isic18(root, 16)
    for path in (root / "isic18_images").iterdir():
        content = bytearray(path.read_bytes())
        if damage == "flipped":
            content[len(content) // 2] ^= 255
        path.write_bytes({"truncated": content[:-200], "flipped": content, "empty": b"", "other": b"hello"}[damage])
    assert same(isic18(root, 16), first)
    assert all(np.load(path)["key"] for path in (root / "isic18_images").iterdir())


def test_a_cache_is_never_unpickled(root):
    """An array of objects, which NumPy would unpickle: it is read anew."""
    first = isic18(root, 16)
    for path in (root / "isic18_images").iterdir():
        np.savez(path, key=np.array([object()], dtype=object), allow_pickle=True)
    assert same(isic18(root, 16), first)


def test_a_cache_that_cannot_be_written_costs_a_note_only(root, monkeypatch):
    expected = isic18(root, 16)
    (root / "a file").write_text("")
    data = isic18(root, 16, cache=root / "a file" / "images")
    (note,) = set(data.notes) - set(expected.notes)
    assert note.startswith("The images are not kept for the next time, since ")
    assert data.digest() == expected.digest()

    def full(*_args, **_kwargs):
        raise OSError("No space left on device")

    monkeypatch.setattr(np, "savez", full)
    assert same(isic18(root, 16, cache=root / "full"), expected)
    assert list((root / "full").iterdir()) == []


# What is broken.


def broken(path, image=None):
    if image is None:
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    else:
        image.save(path)


@pytest.mark.parametrize(
    ("name", "change", "sentence"),
    [
        (
            "2_segmentation.png",
            lambda path: path.unlink(),
            r"ISIC_0000002.jpg has no mask .*ISIC_0000002_segmentation.png",
        ),
        ("2_segmentation.png", broken, "ISIC_0000002_segmentation.png' cannot be read as an image"),
        ("2.jpg", broken, "ISIC_0000002.jpg' cannot be read as an image"),
        ("2.jpg", lambda path: path.write_bytes(b""), "ISIC_0000002.jpg' cannot be read as an image"),
        (
            "2_segmentation.png",
            lambda path: broken(path, Image.new("L", (40, 60))),
            r"ISIC_0000002_segmentation.png' has 40x60 pixels and its image ISIC_0000002.jpg 60x40",
        ),
        (
            "2_segmentation.png",
            lambda path: broken(path, Image.new("L", (60, 40), 1)),
            "ISIC_0000002_segmentation.png' holds values up to 1 only; lesion is 255",
        ),
    ],
)
def test_a_missing_or_broken_file_is_one_sentence(tmp_path, name, change, sentence):
    write(tmp_path, "Training", range(6))
    (path,) = tmp_path.rglob(f"ISIC_000000{name}")
    change(path)
    with pytest.raises(InputError, match=sentence):
        isic18(tmp_path, 16)


def test_an_image_in_two_parts_is_refused(tmp_path):
    write(tmp_path, "Training", range(6))
    write(tmp_path, "Test", range(5, 8))
    with pytest.raises(InputError, match=r"ISIC_0000005.jpg is in .*Training_Input.* and in .*Test_Input"):
        isic18(tmp_path, 16)


def test_missing_folders_say_what_is_expected_and_where_to_get_it(tmp_path):
    with pytest.raises(InputError, match=r"no folder .*ISIC2018_Task1-2_Training_Input.*isic-archive.com"):
        isic18(tmp_path)
    _, masks = folders(tmp_path, "Training")
    with pytest.raises(InputError, match=r"Training_Input' holds no image"):
        isic18(tmp_path)
    masks.rename(tmp_path / "elsewhere")
    with pytest.raises(InputError, match=r"no folder .*ISIC2018_Task1_Training_GroundTruth"):
        isic18(tmp_path)
    (tmp_path / "elsewhere").rename(masks)
    write(tmp_path, "Training", range(2))
    with pytest.raises(InputError, match="takes at least three"):
        isic18(tmp_path)
    with pytest.raises(InputError, match="a whole number from 1"):
        isic18(tmp_path, 0)


NUCLEI = Path(__file__).parents[4] / "shared" / "data" / "dsb2018_nuclei.npz"


@pytest.mark.skipif(not NUCLEI.exists(), reason="the real nuclei are not here")
def test_real_photographs_and_masks_in_this_layout_are_read(tmp_path):
    with np.load(NUCLEI, allow_pickle=False) as file:
        pixels, masks = file["x"][:12], file["y"][:12] > 0
    images_folder, masks_folder = folders(tmp_path, "Training")
    for number, (image, mask) in enumerate(zip(pixels, masks, strict=True)):
        Image.fromarray(image).save(images_folder / f"ISIC_{number:07}.jpg", quality=95)
        drawn = Image.fromarray(255 * mask.reshape(image.shape[:2]).astype(np.uint8))
        drawn.save(masks_folder / f"ISIC_{number:07}_segmentation.png")
    data = isic18(tmp_path, 128)
    read = torch.cat([targets for _, targets in data.splits().values()])
    # A pixel of half the size is inside where more than half of its four are, so the area stays about the same.
    assert float(read.mean()) == pytest.approx(masks.mean(), rel=0.1)
    assert float(read.mean()) > 0.01
    inputs = torch.cat([inputs for inputs, _ in data.splits().values()])
    brightness = (inputs * torch.tensor(STD).view(3, 1, 1) + torch.tensor(MEAN).view(3, 1, 1)).mean()
    assert float(brightness) == pytest.approx(pixels.mean() / 255, abs=0.01)


class TestConformance(DataConformance):
    @pytest.fixture(autouse=True)
    def _files(self, tmp_path):
        write(tmp_path, "Training", range(20))
        self.root = tmp_path

    def make(self):
        return isic18(self.root, 16)
