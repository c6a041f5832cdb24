"""What new users bring in a folder, through the command line, ending in a network that `marl-hpo predict` uses."""

from __future__ import annotations

import csv
import sys

import numpy as np
import pytest
from PIL import Image

NETS = """
from torch import nn


class Whole(nn.Module):
    def __init__(self, num_classes=2):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.head = nn.Linear(8, num_classes)

    def forward(self, x):
        return self.head(self.norm(self.conv(x)).relu().mean((2, 3)))


class PerPixel(nn.Module):
    def __init__(self, num_classes=1):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1)
        self.head = nn.Conv2d(8, num_classes, 1)

    def forward(self, x):
        return self.head(self.conv(x).relu())
"""
SETTINGS = ("--epochs", "2", "--batch-size", "8", "--learner", "random", "--episodes", "1", "--device", "cpu")
SETTINGS += ("--choices", "choices.toml", "--workers", "1", "--learning-rate", "0.03", "--out", "out")
NETWORK = "out/random-seed0/network.safetensors"


@pytest.fixture
def noise(tmp_path, monkeypatch):
    """Random numbers, in an otherwise empty working directory with a module of networks and a file of choices."""
    (tmp_path / "nets.py").write_text(NETS)
    (tmp_path / "choices.toml").write_text("[Conv2d]\nout_channels = [4, 8]\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield np.random.default_rng(0)
    for name in [
        name for name, module in sys.modules.items() if getattr(module, "__file__", None) == str(tmp_path / "nets.py")
    ]:
        del sys.modules[name]


def save(pixels, path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def written(place, header, rows):
    with place.open("w", newline="") as file:
        csv.writer(file).writerows([header, *rows])


def tuned(marl_hpo, *options):
    """What a run wrote to both streams."""
    code, out, err = marl_hpo("tune", *options, *SETTINGS)
    assert code == 0, err
    return out + err


def predicted(marl_hpo, model, *photos):
    """What is said of each photo."""
    code, out, err = marl_hpo("predict", NETWORK, *photos, "--model", model)
    assert code == 0, err
    return [line.partition(": ")[2] for line in out.splitlines()]


def test_an_imbalanced_folder_of_16_bit_grey_images_with_train_and_test_only(noise, tmp_path, marl_hpo):
    for part, counts in (("Train", {"healthy": 40, "ill": 8}), ("Test", {"healthy": 12, "ill": 3})):
        for name, count in counts.items():
            for i in range(count):
                scan = noise.integers(500, 900, (9, 11)).astype(np.uint16) + (2500 if name == "ill" else 0)
                save(scan, tmp_path / "scans" / part / name / f"scan {i}.png")
    (tmp_path / "choices.toml").write_text('[Conv2d]\nout_channels = [4, 8]\n[recipe]\nimbalance = "weights"\n')
    balanced = ("--metric", "balanced=marl_hpo_env.metrics:balanced_accuracy", "--score", "validation_balanced")
    said = tuned(marl_hpo, "--model", "nets.py:Whole", "--data", "scans", "--image-size", "8", *balanced)
    assert (
        "Read 63 images of 2 classes, healthy 52, ill 11; 41 for training, 7 for validation and 15 for the test."
        in said
    )
    assert "63 images are deeper than 8 bits: their values are taken as 12 bits" in said
    assert "There is no validation part: 7 of the training examples are kept for it." in said
    assert "Guessing the largest class of the training images, healthy, would give" in said
    test = tmp_path / "scans" / "Test"
    first, second = predicted(marl_hpo, "nets.py:Whole", test / "healthy" / "scan 0.png", test / "ill" / "scan 0.png")
    assert (first.split()[0], second.split()[0]) == ("healthy", "ill")


def test_a_table_of_ages_with_photos(noise, tmp_path, marl_hpo):
    rows = []
    for i in range(60):
        age = int(noise.integers(1, 90))
        save((40 + 2 * age + noise.integers(0, 9, (8, 8, 3))).astype(np.uint8), tmp_path / "faces" / f"{i}.png")
        rows.append((f"faces\\{i}.png", age, f"person {i // 2}"))  # as a program on Windows writes it
    written(tmp_path / "ages.csv", ("photo", "age", "person"), rows)
    options = ("--data", "faces", "--labels", "ages.csv", "--image-size", "8")
    code, _, err = marl_hpo("tune", "--model", "nets.py:Whole", *options)
    assert (code, "say which kind (--kind), and which columns are the target (--column)" in err) == (2, True)
    said = tuned(marl_hpo, "--model", "nets.py:Whole", *options, "--kind", "values", "--groups", "person")
    assert "Read 60 images with 1 value: age; 44 for training, 8 for validation and 8 for the test." in said
    assert "In ages.csv, 'photo' names the images and 'age' their values, 'person' their groups." in said
    young, old = sorted(rows, key=lambda row: row[1])[:: len(rows) - 1]
    photos = [tmp_path / row[0].replace("\\", "/") for row in (young, old)]
    ages = [float(line.removeprefix("age ")) for line in predicted(marl_hpo, "nets.py:Whole", *photos)]
    assert ages == pytest.approx([young[1], old[1]], abs=15)


def test_a_table_of_several_labels(noise, tmp_path, marl_hpo):
    rows = []
    for i in range(60):
        there = noise.integers(0, 2, 3)
        pixels = np.broadcast_to(there * 200, (8, 8, 3)) + noise.integers(0, 50, (8, 8, 3))
        save(pixels.astype(np.uint8), tmp_path / "scenes" / f"{i}.png")
        rows.append((i, *there))
    written(tmp_path / "tags.csv", ("scene", "red", "green", "blue"), rows)
    said = tuned(marl_hpo, "--model", "nets.py:Whole", "--data", "scenes", "--labels", "tags.csv", "--image-size", "8")
    assert "In tags.csv, 'scene' names the images and 'red', 'green', 'blue' their labels." in said
    save(np.broadcast_to(np.array([220, 20, 220], np.uint8), (8, 8, 3)), tmp_path / "new.png")
    (line,) = predicted(marl_hpo, "nets.py:Whole", "new.png")
    assert [label.split()[0] for label in line.split(", ")] == ["red", "blue"]


def test_nuclei_as_a_folder_of_images_and_masks(noise, tmp_path, marl_hpo):
    for i in range(40):
        inside = np.zeros((16, 16), bool)
        for y, x in noise.integers(0, 11, (2, 2)):
            inside[y : y + 5, x : x + 5] = True
        grey = noise.integers(0, 60, (16, 16)) + 150 * inside
        save(grey.astype(np.uint8), tmp_path / "cells" / "images" / f"{i}.png")
        save(inside.astype(np.uint8) * 255, tmp_path / "cells" / "masks" / f"{i}.png")
    said = tuned(marl_hpo, "--model", "nets.py:PerPixel", "--data", "cells", "--image-size", "16")
    assert "Read 40 images with 1 plane of masks: foreground" in said
    assert "A training may stay above its loss limit for 8 epochs, since they have fewer images." in said
    cells = tmp_path / "cells"
    (path,) = predicted(marl_hpo, "nets.py:PerPixel", cells / "images" / "0.png")
    found, true = np.asarray(Image.open(path)) > 0, np.asarray(Image.open(cells / "masks" / "0.png")) > 0
    assert (found & true).sum() / (found | true).sum() > 0.8
