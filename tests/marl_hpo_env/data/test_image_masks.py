from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from marl_hpo_env import image_masks
from marl_hpo_env.data.image_masks import mask_folders
from marl_hpo_env.testing import DataConformance

NUCLEI = Path(__file__).parents[4] / "shared" / "data" / "dsb2018_nuclei.npz"


def write(root, count=10, values=(0, 255), suffix="", place="", ending="png", palette=None, size=8, seed=0):
    """Pictures of noise with masks of squares, one for each value but the first."""
    noise = np.random.default_rng(seed)
    arrays = []
    for i in range(count):
        mask = np.full((size, size), values[0], dtype=np.uint8)
        for k, value in enumerate(values[1:]):
            top, left = (i + 3 * k) % size, (2 * i + k) % size
            mask[top : top + 4, left : left + 4] = value
        images, masks = root / "images" / place, root / "masks" / place
        for folder in (images, masks):
            folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(noise.integers(0, 256, (size, size, 3), dtype=np.uint8)).save(images / f"{seed}_{i}.png")
        image = Image.fromarray(mask)
        if palette:
            image = image.convert("P")
            image.putdata(mask.flatten().tolist())
            image.putpalette(palette)
        image.save(masks / f"{seed}_{i}{suffix}.{ending}")
        arrays.append(mask)
    return np.stack(arrays)


def read(root, size=8, **settings):
    return image_masks(root / "images", root / "masks", size, **settings)


def planes(data):
    """Of all splits, as a sorted list of their bytes."""
    return sorted(mask.numpy().tobytes() for _, y in data.splits().values() for mask in y)


@pytest.mark.parametrize("values", [(0, 255), (0, 1), (0, 128)])
@pytest.mark.parametrize("suffix", ["", "_mask", "_segmentation", "-seg"])
def test_black_and_white_masks_are_one_plane(tmp_path, values, suffix):
    arrays = write(tmp_path, values=values, suffix=suffix)
    data = read(tmp_path)
    assert [len(x) for x, _ in data.splits().values()] == [6, 2, 2]
    assert (data.kind, data.class_names, data.train[1].shape[1:]) == ("masks", ("foreground",), (1, 8, 8))
    assert planes(data) == sorted((array != 0).astype(np.float32).tobytes() for array in arrays)
    assert data.notes == (
        "Read 10 images with 1 plane of masks: foreground; 6 for training, 2 for validation and 2 for the test.",
    )


@pytest.mark.parametrize("palette", [None, [0, 0, 0, 255, 0, 0, 0, 255, 0] + [7] * 759])
def test_indices_and_palettes_have_one_plane_per_class_but_the_background(tmp_path, palette):
    arrays = write(tmp_path, values=(0, 1, 3, 255), palette=palette)
    data = read(tmp_path)
    assert data.class_names == ("1", "3")
    expected = [np.stack([array == 1, array == 3]).astype(np.float32).tobytes() for array in arrays]
    assert planes(data) == sorted(expected)
    assert "The value 255 beside indices marks borders: such pixels are background." in data.notes
    assert "Each value of the masks but the background's 0 has a plane of its own: 1, 3." in data.notes


def test_shades_far_apart_are_classes_of_their_own(tmp_path):
    write(tmp_path, values=(0, 85, 170, 255))
    assert read(tmp_path).class_names == ("85", "170", "255")


def test_masks_in_many_shades_are_black_and_white_at_127(tmp_path):
    write(tmp_path, size=64)
    for path in list((tmp_path / "masks").iterdir()):
        array = np.asarray(Image.open(path)).astype(int)
        array[0] = np.arange(64) * 4  # as JPEG blurs a border
        Image.fromarray(array.astype(np.uint8)).save(path)
    data = read(tmp_path, 64)
    assert data.class_names == ("foreground",)
    assert data.train[1][0, 0, 0].tolist() == [0.0] * 32 + [1.0] * 32
    assert "above 127 is inside" in str(data.notes)


def test_masks_are_scaled_by_area(tmp_path):
    write(tmp_path, values=(0, 0), size=8)
    mask = np.zeros((8, 8), dtype=np.uint8)
    mask[:4, :3] = 255  # of the square of four by four, three quarters
    for path in list((tmp_path / "masks").iterdir()):
        Image.fromarray(mask).save(path)
    data = read(tmp_path, 2)
    assert data.train[1][0, 0].tolist() == [[1.0, 0.0], [0.0, 0.0]]


def test_folders_of_parts_divide_the_images(tmp_path):
    for seed, (part, count) in enumerate((("Train", 8), ("val", 3), ("test", 2))):
        write(tmp_path, count, place=part, seed=seed)
    assert [len(x) for x, _ in read(tmp_path).splits().values()] == [8, 3, 2]


def test_the_same_names_in_every_part_are_told_apart_by_their_folders(tmp_path):
    arrays = []
    for part, count in (("train", 8), ("val", 3), ("test", 2)):
        arrays += [*write(tmp_path, count, values=(0, 255), place=part)]
    assert planes(read(tmp_path)) == sorted((array != 0).astype(np.float32).tobytes() for array in arrays)


def test_groups_stay_within_one_part(tmp_path):
    for seed in range(5):
        write(tmp_path, 4, seed=seed)
    data = read(tmp_path, groups=lambda path: path.name.partition("_")[0])
    assert [len(x) for x, _ in data.splits().values()] == [12, 4, 4]


def test_what_has_no_partner_is_left_out_and_counted(tmp_path):
    write(tmp_path, 12)
    (tmp_path / "masks" / "0_3.png").unlink()
    (tmp_path / "images" / "0_4.png").unlink()
    (tmp_path / "images" / "torn.png").write_bytes(b"x")
    (tmp_path / "masks" / "torn.png").write_bytes(b"x")
    (tmp_path / "masks" / "classes.txt").write_text("nucleus")
    notes = str(read(tmp_path).notes)
    for words in (
        "Read 10 images",
        "1 of 11 images in",
        "such as 0_3.png, are left out: they have no mask",
        "such as 0_4.png, are left out: they have no image",
        "such as classes.txt",
    ):
        assert words in notes


def colours(path):
    Image.fromarray(np.eye(3, dtype=np.uint8).repeat(3, 0)[:8, None].repeat(8, 1) * 255).save(path)


def other_size(path):
    Image.new("L", (9, 8)).save(path)


def objects(path):
    for i in (2, 3):
        numbers = 64 * (i - 2) + np.arange(64, dtype=np.uint16)
        Image.fromarray(numbers.reshape(8, 8)).save(path.with_name(f"0_{i}.png"))


def fractions(path):
    Image.fromarray(np.full((8, 8), 0.5, dtype=np.float32)).save(path.with_suffix(".tif"))
    path.unlink()


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (colours, ("0_2.png' is in colours (RGB)", "palette")),
        (other_size, ("0_2.png' has 9x8 pixels and its image 0_2.png 8x8",)),
        (objects, ("hold 128 values beside 0", "one number for each class")),
        (fractions, ("0_2.tif' has values that are no whole numbers",)),
        (lambda path: path.write_bytes(b"x"), ("0_2.png' cannot be read as an image",)),
    ],
)
def test_masks_that_cannot_be_used_are_refused_by_name(tmp_path, refused, damage, words):
    write(tmp_path)
    damage(tmp_path / "masks" / "0_2.png")
    with refused(*words):
        read(tmp_path)


def test_folders_without_pairs_are_refused(tmp_path, refused):
    write(tmp_path, values=(0, 0))
    with refused("hold 0 values beside 0, such as 0 alone"):
        read(tmp_path)
    with refused("There is no folder", "nowhere"):
        image_masks(tmp_path / "images", tmp_path / "nowhere", 8)
    for path in list((tmp_path / "masks").iterdir()):
        path.rename(path.with_name(f"x{path.name}"))
    with refused("None of 10 images", "has a mask of its name"):
        read(tmp_path)


def test_folders_of_images_and_masks_are_known(tmp_path):
    assert mask_folders(tmp_path / "nowhere") is None
    assert mask_folders(tmp_path) is None
    for images, masks in (("Images", "mask"), ("imgs", "labels"), ("img", "Ground_Truth")):
        root = tmp_path / images
        (root / images).mkdir(parents=True)
        assert mask_folders(root) is None
        (root / masks).mkdir()
        assert mask_folders(root) == (root / images, root / masks)


def test_parts_may_hold_images_and_masks_each(tmp_path):
    arrays = []
    for part, count in (("train", 8), ("val", 3), ("test", 2)):  # with the same names in every part
        arrays += [*write(tmp_path / part, count, suffix="_mask")]
    assert mask_folders(tmp_path) == (tmp_path, tmp_path)
    data = image_masks(tmp_path, tmp_path, 8)
    assert [len(x) for x, _ in data.splits().values()] == [8, 3, 2]
    assert planes(data) == sorted((array != 0).astype(np.float32).tobytes() for array in arrays)
    assert "left out" not in str(data.notes)
    (tmp_path / "test" / "masks").rename(tmp_path / "test" / "others")
    assert mask_folders(tmp_path) is None


class TestAFolderOfMasks(DataConformance):
    @pytest.fixture(autouse=True)
    def folder(self, tmp_path):
        write(tmp_path, values=(0, 1, 2))
        self.root = tmp_path

    def make(self):
        return read(self.root)


@pytest.mark.skipif(not NUCLEI.is_file(), reason="the real nuclei are not here")
def test_real_nuclei_are_the_same_from_files(tmp_path):
    with np.load(NUCLEI) as file:
        pixels, masks = file["x"][:20], file["y"][:20]
    for name, arrays in (("images", pixels), ("masks", (masks > 0).astype(np.uint8) * 255)):
        (tmp_path / name).mkdir()
        for i, array in enumerate(arrays):
            Image.fromarray(array).save(tmp_path / name / f"{i:02}.png")
    data = read(tmp_path, 256)
    whole = torch.cat([y for _, y in data.splits().values()])
    assert planes(data) == sorted((mask > 0).astype(np.float32).tobytes() for mask in masks)
    assert whole.mean() == pytest.approx((masks > 0).mean())
