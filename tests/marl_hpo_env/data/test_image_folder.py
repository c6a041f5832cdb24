import shutil
import struct
import zlib

import numpy as np
import PIL
import pytest
import torch
from PIL import Image

from marl_hpo_env import InputError, image_folder
from marl_hpo_env.data.images import MEAN, STD
from marl_hpo_env.testing import DataConformance


def write(folder, name, count, size=(20, 10), mode="RGB", color=None, suffix="png"):
    """Pictures of one colour, or else of noise, of which no two are the same."""
    (folder / name).mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng([*f"{folder.name}/{name}".encode()])
    for i in range(count):
        pixels = noise.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
        image = Image.fromarray(pixels) if color is None else Image.new(mode, size, color)
        image.save(folder / name / f"{mode}{i}.{suffix}")


def grey(folder, name, arrays):
    """Pictures of one channel, of the arrays' type."""
    (folder / name).mkdir(parents=True, exist_ok=True)
    for i, array in enumerate(arrays):
        Image.fromarray(array).save(folder / name / f"{i}.png")


def sizes(data):
    return [len(x) for x, _ in data.splits().values()]


def test_images_of_any_size_mode_and_format_become_normalised_squares(tmp_path):
    write(tmp_path, "cat", 4, (31, 7), "RGB", (255, 0, 0))
    write(tmp_path, "cat", 3, (5, 50), "RGBA", (255, 0, 0, 128))
    write(tmp_path, "cat", 2, (9, 9), "CMYK", (0, 255, 255, 0), "jpg")
    write(tmp_path, "dog", 3, (8, 8), "L", 0)
    write(tmp_path, "dog", 3, (8, 8), "P", 0)
    write(tmp_path, "dog", 3, (8, 8), "1", 0)
    data = image_folder(tmp_path, 12)
    assert {name: tuple(x.shape[1:]) for name, (x, _) in data.splits().items()} == dict.fromkeys(
        data.splits(), (3, 12, 12)
    )
    assert sum(len(x) for x, _ in data.splits().values()) == 18
    red, black = (
        (torch.tensor(color) - torch.tensor(MEAN)) / torch.tensor(STD) for color in ((1.0, 0.0, 0.0), (0.0, 0.0, 0.0))
    )
    for inputs, targets in data.splits().values():
        assert set(targets.tolist()) == {0, 1}
        for image, target in zip(inputs, targets, strict=True):
            torch.testing.assert_close(image.mean((1, 2)), (red, black)[target], atol=0.1, rtol=0)
    assert data.notes[0].startswith(
        "Read 18 images of 2 classes, cat 9, dog 9; 14 for training, 2 for validation and 2 for"
    )
    assert (data.kind, data.class_names) == ("classes", ("cat", "dog"))


def test_a_photo_is_turned_upright(tmp_path):
    pixels = np.zeros((8, 8, 3), dtype=np.uint8)
    pixels[:4] = 255
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for i in range(3):
            image = Image.fromarray(pixels)
            exif = image.getexif()
            exif[0x0112] = 3 if name == "b" else 1  # b was taken upside down
            image.save(tmp_path / name / f"{i}.png", exif=exif)
    inputs, targets = image_folder(tmp_path, 8).train
    for image, target in zip(inputs, targets, strict=True):
        assert (image[0, 0, 0] > image[0, 7, 0]) == (target == 0)


def test_broken_images_are_left_out_and_counted_and_other_files_ignored(tmp_path):
    write(tmp_path, "cat", 5)
    write(tmp_path, "dog", 5)
    (tmp_path / "dog" / "torn.jpg").write_bytes((tmp_path / "dog" / "RGB0.png").read_bytes()[:40])
    (tmp_path / "dog" / "empty.png").write_bytes(b"")
    (tmp_path / "dog" / "notes.txt").write_text("no image")
    data = image_folder(tmp_path, 8)
    assert sum(len(x) for x, _ in data.splits().values()) == 10
    assert data.notes[0].startswith("Read 10 images of 2 classes, cat 5, dog 5; ")
    assert data.notes[1].startswith("2 of 12 images")
    assert data.notes[2].startswith("1 files (1 .txt), such as dog/notes.txt, are left out")
    assert len(data.notes) == 3


def test_a_division_into_train_val_and_test_is_kept(tmp_path):
    for part, count in (("train", 6), ("val", 4), ("test", 3)):
        for name in ("a", "b"):
            write(tmp_path / part, name, count)
    data = image_folder(tmp_path, 8)
    assert [len(x) for x, _ in data.splits().values()] == [12, 8, 6]


def test_without_a_test_folder_half_of_the_validation_images_are_the_test(tmp_path):
    for part, count in (("train", 6), ("val", 4)):
        for name in ("a", "b"):
            write(tmp_path / part, name, count)
    data = image_folder(tmp_path, 8)
    assert [len(x) for x, _ in data.splits().values()] == [12, 4, 4]
    assert "half of the validation examples" in data.notes[1]


@pytest.mark.parametrize(
    ("classes", "sentence"),
    [
        ({}, "holds no folder; to tell apart there must be two classes"),
        ({"cat": 5}, "holds only 'cat'; to tell apart there must be two classes"),
        ({"cat": 5, "dog": 0}, "The class 'dog'"),
        ({"cat": 5, "dog": 2}, "has 2 readable images; it needs at least three."),
    ],
)
def test_too_few_classes_or_images_are_one_sentence(tmp_path, classes, sentence):
    for name, count in classes.items():
        write(tmp_path, name, count)
    with pytest.raises(InputError) as error:
        image_folder(tmp_path, 8)
    assert sentence in str(error.value)


def test_a_missing_folder_and_other_classes_in_a_part_are_refused(tmp_path):
    with pytest.raises(InputError, match="There is no folder"):
        image_folder(tmp_path / "nowhere", 8)
    for part, names in (("train", "ab"), ("val", "ac")):
        for name in names:
            write(tmp_path / part, name, 4)
    with pytest.raises(InputError, match=r"The classes in .*val"):
        image_folder(tmp_path, 8)


@pytest.mark.parametrize("names", [("images", "masks"), ("Image", "Mask"), ("imgs", "labels")])
def test_a_folder_of_images_and_masks_is_not_read_as_two_classes(tmp_path, refused, names):
    for name in names:
        (tmp_path / name).mkdir()
    with refused("which are no classes", "segmentation"):
        image_folder(tmp_path, 8)


# How a folder is divided.


@pytest.mark.parametrize(
    "names",
    [
        ("Train", "Val", "Test"),
        ("training", "validation", "testing"),
        ("TRAIN", "valid", "test_set"),
        ("train_images", "dev", "test images"),
    ],
)
def test_a_division_is_known_in_any_case_and_usual_spelling(tmp_path, names):
    for part, count in zip(names, (6, 4, 3), strict=True):
        for name in ("a", "b"):
            write(tmp_path / part, name, count)
    data = image_folder(tmp_path, 8)
    assert sizes(data) == [12, 8, 6]
    assert data.class_names == ("a", "b")


def test_without_a_validation_folder_it_is_held_out_of_training_by_class(tmp_path):
    for part, counts in (("train", (40, 20, 10)), ("test", (4, 3, 3))):
        for name, count in zip("abc", counts, strict=True):
            write(tmp_path / part, name, count)
    data = image_folder(tmp_path, 8)
    assert sizes(data) == [70 - 11, 11, 10]
    assert torch.bincount(data.validation[1]).tolist() == [6, 3, 2]
    assert torch.bincount(data.test[1]).tolist() == [4, 3, 3]
    assert data.class_names == ("a", "b", "c")
    assert "There is no validation part: 11 of the training examples are kept for it." in data.notes


def test_a_training_folder_alone_is_divided(tmp_path):
    for name in ("a", "b"):
        write(tmp_path / "train", name, 20)
    data = image_folder(tmp_path, 8)
    assert sizes(data) == [28, 6, 6]
    assert "training only" in data.notes[1]


def test_images_without_a_class_are_left_out_and_counted(tmp_path):
    for name in ("a", "b"):
        write(tmp_path / "train", name, 20)
    write(tmp_path, "test", 7)  # as competitions give them: nobody knows their classes
    data = image_folder(tmp_path, 8)
    assert sizes(data) == [28, 6, 6]
    assert any(note.startswith("7 files (7 .png), such as test/RGB0.png, are left out") for note in data.notes)


@pytest.mark.parametrize("names", [("train", "test"), ("Train", "Val", "Test"), ("test", "val")])
def test_classes_that_are_called_as_parts_do_not_pass(tmp_path, refused, names):
    for name in names:
        write(tmp_path, name, 5)
    with refused(*(repr(name) for name in names), "which name parts and no classes"):
        image_folder(tmp_path, 8)


def test_a_part_that_is_there_twice_is_refused(tmp_path, refused):
    for part in ("train", "val", "validation"):
        for name in ("a", "b"):
            write(tmp_path / part, name, 4)
    with refused("holds 'val' and 'validation', which are both for validation"):
        image_folder(tmp_path, 8)


def test_a_class_may_be_called_train_and_that_is_said(tmp_path):
    for name in ("bus", "car", "train"):
        write(tmp_path, name, 10)
    data = image_folder(tmp_path, 8)
    assert data.class_names == ("bus", "car", "train")
    assert "The folder 'train' is taken for a class, as the others are." in data.notes


def test_groups_stay_within_one_part(tmp_path):
    for name in ("a", "b"):
        for patient in range(10):
            write(tmp_path / name, f"p{patient}", 3)
    data = image_folder(tmp_path, 8, groups=lambda path: path.parent.name)
    where = {}
    for part, (x, _) in data.splits().items():
        assert len(x) >= 6
        for path in tmp_path.rglob("*.png"):
            pixels = torch.from_numpy(np.array(Image.open(path).resize((8, 8), Image.Resampling.BILINEAR)))
            mean, deviation = (torch.tensor(values) for values in (MEAN, STD))
            image = ((pixels / 255 - mean) / deviation).permute(2, 0, 1)
            if (x - image).abs().amax((1, 2, 3)).min() < 1e-5:
                where.setdefault(path.parent.name, set()).add(part)
    assert len(where) == 10
    assert all(len(parts) == 1 for parts in where.values())


# What is not read, or is there twice.


@pytest.mark.parametrize("hidden", [".ipynb_checkpoints", "__MACOSX", "@eaDir", "__pycache__"])
def test_hidden_and_housekeeping_folders_are_never_read(tmp_path, hidden):
    for name in ("cat", "dog"):
        write(tmp_path, name, 10)
    expected = image_folder(tmp_path, 8)
    shutil.copytree(tmp_path / "cat", tmp_path / "cat" / hidden)
    shutil.copytree(tmp_path / "cat", tmp_path / hidden / "cat")
    for name in (".DS_Store", "Thumbs.db", "desktop.ini", "._RGB0.png"):
        (tmp_path / "dog" / name).write_bytes(b"x")
    data = image_folder(tmp_path, 8)
    assert (data.digest(), data.notes) == (expected.digest(), expected.notes)


def test_a_picture_in_two_classes_or_two_parts_is_said(tmp_path):
    for part in ("train", "val", "test"):
        for name in ("a", "b"):
            write(tmp_path / part, name, 4)
    assert not any("twice" in note for note in image_folder(tmp_path, 8).notes)
    shutil.copy(tmp_path / "train" / "a" / "RGB0.png", tmp_path / "train" / "b" / "copy.png")
    Image.open(tmp_path / "train" / "a" / "RGB1.png").save(tmp_path / "test" / "a" / "again.bmp")
    notes = image_folder(tmp_path, 8).notes
    assert (
        "1 inputs are there twice, with other targets, such as train/a/RGB0.png and train/b/copy.png; keep one of"
        in str(notes)
    )
    assert "1 inputs are there twice, in two of training, validation and test, such as train/a/RGB1.png and" in str(
        notes
    )


def test_other_kinds_of_files_are_counted_by_their_endings(tmp_path):
    for name in ("cat", "dog"):
        write(tmp_path, name, 10)
    for i in range(3):
        (tmp_path / "cat" / f"{i}.heic").write_bytes(b"x")
    (tmp_path / "README").write_text("mine")
    write(tmp_path, ".", 2)
    notes = str(image_folder(tmp_path, 8).notes)
    assert "4 files (3 .heic, 1 no ending), such as" in notes
    assert "2 files (2 .png), such as RGB0.png, are left out: they are in no folder of a class." in notes


# Depth.


def back(data, reading_of=0):
    """The values of the first channel on the scale 0..1."""
    inputs = torch.cat([x for x, _ in data.splits().values()])
    return inputs[:, 0] * STD[0] + MEAN[0]


@pytest.mark.parametrize(("most", "bits"), [(4000, 12), (200, 8), (900, 10), (16000, 14), (65535, 16)])
def test_pictures_of_16_bits_keep_every_level(tmp_path, most, bits):
    levels = np.linspace(0, most, 64).round().astype(np.uint16).reshape(8, 8)
    for shift, name in enumerate(("a", "b")):
        grey(tmp_path, name, [np.roll(levels, 10 * i + shift) for i in range(5)])
    data = image_folder(tmp_path, 8)
    values = back(data)
    assert len(values[0].unique()) == len(np.unique(levels))
    for image in values:
        torch.testing.assert_close(
            image.flatten().sort().values, torch.from_numpy(levels.flatten() / (2**bits - 1)).float(), atol=1e-5, rtol=0
        )
    assert (
        f"10 images are deeper than 8 bits: their values are taken as {bits} bits, 0 to {2**bits - 1}, with"
        in data.notes[1]
    )
    assert data.reading.bits == bits


def test_pictures_of_8_and_of_16_bits_are_on_one_scale(tmp_path):
    grey(tmp_path, "a", [np.full((8, 8), 255 - i, dtype=np.uint8) for i in range(3)])
    grey(tmp_path, "b", [np.full((8, 8), 4095 - i, dtype=np.uint16) for i in range(3)])
    assert back(image_folder(tmp_path, 8)).min() > 0.99


def png_of_16_bits(array, kind):
    """Pillow writes none of several channels."""

    def chunk(name, content):
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    height, width = array.shape[:2]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in array)
    header = struct.pack(">IIBBBBB", width, height, 16, kind, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("array", "name", "words"),
    [
        (np.full((8, 8), 0.5, dtype=np.float32), "x.tif", ("floating-point numbers",)),
        (np.full((8, 8), 70000, dtype=np.int32), "x.tif", ("values from 70000 to 70000", "within 0 to 65535")),
        (np.full((8, 8), -3, dtype=np.int32), "x.tif", ("values from -3 to -3",)),
        (b"P6 2 2 4095\n" + b"\x0f\xff" * 12, "x.ppm", ("several channels of 16 bits", "save it with 8")),
        (png_of_16_bits(np.full((8, 8, 3), 4000), 2), "x.png", ("several channels of 16 bits",)),
        (png_of_16_bits(np.full((8, 8, 2), 4000), 4), "x.png", ("several channels of 16 bits",)),
    ],
)
def test_a_depth_that_cannot_be_kept_is_refused_with_the_files_name(tmp_path, refused, array, name, words):
    for of_class in ("a", "b"):
        write(tmp_path, of_class, 5)
    path = tmp_path / "a" / name
    path.write_bytes(array) if isinstance(array, bytes) else Image.fromarray(array).save(path)
    with refused(str(path), *words):
        image_folder(tmp_path, 8)


@pytest.mark.parametrize("normalisation", [(MEAN, STD), ((0.5, 0.4, 0.3), (0.2, 0.3, 0.4))])
def test_a_photograph_is_read_again_as_the_data_were(tmp_path, normalisation):
    levels = np.linspace(0, 3000, 64).round().astype(np.uint16).reshape(8, 8)
    for name in ("a", "b"):
        grey(tmp_path, name, [np.roll(levels, i) for i in range(5)])
    data = image_folder(tmp_path, 8, normalisation=normalisation)
    for channel, (mean, deviation) in enumerate(zip(*normalisation, strict=True)):
        darkest = min(float(x[:, channel].min()) for x, _ in data.splits().values())
        assert darkest == pytest.approx(-mean / deviation)
    one = data.reading.input(tmp_path / "a" / "2.png")
    assert any(torch.equal(one[0], image) for x, _ in data.splits().values() for image in x)
    with pytest.raises(InputError, match=r"none\.png' cannot be read"):
        data.reading.input(tmp_path / "none.png")


@pytest.mark.parametrize("wrong", [0.5, (0.5, 0.5), ((0.5,), (0.5,)), (MEAN, (0.2, 0, 0.2)), (MEAN, STD, STD)])
def test_a_normalisation_that_is_none_is_one_sentence(tmp_path, refused, wrong):
    for name in ("a", "b"):
        write(tmp_path, name, 3)
    with refused(f"normalisation of images is {wrong!r}", "a mean and a deviation above 0"):
        image_folder(tmp_path, 8, normalisation=wrong)


class TestAFolder(DataConformance):
    @pytest.fixture(autouse=True)
    def folder(self, tmp_path):
        for name in ("cat", "dog"):
            write(tmp_path, name, 10)
        self.root = tmp_path

    def make(self):
        return image_folder(self.root, 8)


@pytest.mark.skipif(int(PIL.__version__.split(".")[0]) < 13, reason="Pillow 12 scales images to other pixels than 13")
def test_what_was_read_rightly_before_is_read_the_same(tmp_path):
    """The digests are those of version 0.1."""
    noise = np.random.default_rng(0)
    for name, count in {"cat": 9, "dog": 5, "eel": 20}.items():
        (tmp_path / name).mkdir()
        for i in range(count):
            image = Image.fromarray(noise.integers(0, 256, (11 + i % 3, 9, 3), dtype=np.uint8))
            image.convert(("RGB", "L", "RGBA", "P")[i % 4]).save(tmp_path / name / f"{i}.png")
    assert image_folder(tmp_path, 7).digest() == "1ce9541311729b392fb2be4e9b4d984a0a3588a9edfd0b55b573d8fe97f377ea"
