import numpy as np
import pytest
import torch
from PIL import Image

from marl_hpo_env import InputError, image_folder
from marl_hpo_env.data.images import MEAN, STD


def write(folder, name, count, size=(20, 10), mode="RGB", color=None, suffix="png"):
    (folder / name).mkdir(parents=True, exist_ok=True)
    for i in range(count):
        Image.new(mode, size, color).save(folder / name / f"{mode}{i}.{suffix}")


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
    assert data.notes == ()


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
    assert len(data.notes) == 1
    assert data.notes[0].startswith("2 of 12 images")


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
    assert "half of the validation images" in data.notes[0]


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


@pytest.mark.parametrize("names", [("images", "masks"), ("Image", "Mask")])
def test_a_folder_of_images_and_masks_is_not_read_as_two_classes(tmp_path, refused, names):
    for name in names:
        (tmp_path / name).mkdir()
    with refused("which are no classes", "segmentation"):
        image_folder(tmp_path, 8)
