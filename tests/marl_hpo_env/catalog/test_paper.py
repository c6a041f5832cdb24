"""The paper's tasks against its Tables II and III, written out here by hand."""

from __future__ import annotations

import hashlib
import math
import pickle
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from functools import cache, partial
from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision.datasets import CIFAR10

import marl_hpo_env
from marl_hpo_env import InputError, PaperReward, Request
from marl_hpo_env.catalog.models.vgg import VGG16
from marl_hpo_env.catalog.surrogate import SURROGATE
from marl_hpo_env.tables.synthetic import SYNTHETIC
from marl_hpo_env.training.augmentation import Augmentation

VGG16S = ("vgg16-cifar10", "vgg16-cifar100", "vgg16-imagenet")
GOOGLENETS = ("googlenet-cifar10", "googlenet-cifar100", "googlenet-imagenet")
UNETS = ("unet-brats18", "unet-isic18")
PAPERS = (*VGG16S, *GOOGLENETS, *UNETS)
ALL = (*PAPERS, "resnet18-cifar10")

NETWORK = {name: name.split("-")[0] for name in ALL}

TABLE_II = {"vgg16": (128, "sgd"), "googlenet": (32, "sgd"), "unet": (20, "adam")}
DENSE = {"out_features": (128, 256, 512, 1024, 2048, 4096)}
TABLE_III = {
    "vgg16": {
        "Conv2d": {"out_channels": (16, 32, 64, 128, 256), "kernel_size": (3, 5), "stride": (1, 2)},
        "MaxPool2d": {"kernel_size": (2, 3)},
        "Linear": DENSE,
    },
    "googlenet": {
        "Conv2d": {
            "out_channels": (32, 48, 64, 80, 96, 112, 128, 160, 208, 384),
            "kernel_size": (1, 3, 5),
            "stride": (1, 2),
        },
        "MaxPool2d": {"kernel_size": (2, 3, 5, 7)},
        "Linear": DENSE,
    },
    "unet": {
        "Conv2d": {
            "out_channels": (16, 32, 64, 128, 256, 512, 1024),
            "kernel_size": (3, 5, 7),
            "stride": (1, 2),
        },
        "MaxPool2d": {"kernel_size": (2, 3)},
    },
}
TABLE_III["unet"]["ConvTranspose2d"] = TABLE_III["unet"]["Conv2d"]

# Layers of each kind. VGG-16 has one dense layer before the output on CIFAR (VII), two on ImageNet as published; GoogLeNet one
# in each auxiliary head; U-Net 22 convolutions, up-convolutions counted, beside the one that is its output.
LAYERS = {
    "vgg16-cifar10": {"Conv2d": 13, "MaxPool2d": 5, "Linear": 1},
    "vgg16-cifar100": {"Conv2d": 13, "MaxPool2d": 5, "Linear": 1},
    "vgg16-imagenet": {"Conv2d": 13, "MaxPool2d": 5, "Linear": 2},
    **{name: {"Conv2d": 3 + 9 * 6 + 2, "MaxPool2d": 4 + 9, "Linear": 2} for name in GOOGLENETS},
    **{name: {"Conv2d": 18, "ConvTranspose2d": 4, "MaxPool2d": 4} for name in UNETS},
}
SHAPES = {
    "cifar10": ((3, 32, 32), (10,)),
    "cifar100": ((3, 32, 32), (100,)),
    "imagenet": ((3, 224, 224), (1000,)),
    "brats18": ((4, 128, 128), (3, 128, 128)),
    "isic18": ((3, 128, 128), (1, 128, 128)),
}


@cache
def task(name):
    """Without data: a network can be looked at all the same."""
    return marl_hpo_env.task(name)


def test_these_are_the_tasks():
    assert marl_hpo_env.tasks() == sorted(
        [*ALL, *SYNTHETIC, SURROGATE, "digits-branches", "digits-convnet", "digits-unet"]
    )


@pytest.mark.parametrize("name", PAPERS)
def test_table_2(name):
    recipe = task(name).recipe
    assert (recipe.batch_size, recipe.optimizer) == TABLE_II[NETWORK[name]]


@pytest.mark.parametrize("name", PAPERS)
def test_table_3(name):
    layers = task(name).space.layers
    assert Counter(layer.kind for layer in layers) == LAYERS[name]
    for layer in layers:
        expected = TABLE_III[NETWORK[name]][layer.kind]
        assert list(layer.choices.items()) == list(expected.items()), layer.name


@pytest.mark.parametrize(
    ("names", "actions", "cells", "episodes"),
    [(VGG16S, 20, 400, 500), (GOOGLENETS, 60, 3600, 4500), (UNETS, 42, 1764, 2000)],
)
def test_the_tables_are_as_large_as_the_paper_counts_and_its_episodes_fill_them(names, actions, cells, episodes):
    for name in names:
        space = task(name).space
        convolutions = {len(layer.actions) for layer in space.layers if layer.kind.startswith("Conv")}
        assert convolutions == {actions}
        assert max(space.sizes[i] * space.sizes[j] for i, j in space.pairs) == cells < episodes


@pytest.mark.parametrize("name", PAPERS)
def test_what_they_share(name):
    recipe, limits = task(name).recipe, task(name).limits
    assert (recipe.min_improvement, recipe.patience) == (0.01, 10)  # VII
    assert recipe.epochs == "calibrated"
    assert recipe.augmentation == Augmentation()  # VII: rotation, width and height shift, horizontal flip
    assert (limits.loss, limits.loss_epochs, limits.batch_ratio, limits.batches) == ("guessing", 2, 2.0, 5)
    assert isinstance(task(name).reward, PaperReward)


def test_resnet_is_said_not_to_be_the_papers():
    ours = task("resnet18-cifar10")
    assert "not the paper's" in ours.description
    assert not any("not the paper's" in task(name).description for name in PAPERS)
    assert Counter(layer.kind for layer in ours.space.layers) == {"Conv2d": 20}


# Sizes.

AUXILIARY = ("aux1.", "aux2.")


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("vgg16-imagenet", 138_357_544),
        ("googlenet-imagenet", 6_624_904 + 380_928),
        # By hand: 14,714,688 in the convolutions of VGG-16; 512 x 512 + 512; 512 x classes + classes; and batch norm, two for
        # each of 4,224 kernels and 512 units.
        ("vgg16-cifar10", 14_714_688 + 262_656 + 5_130 + 9_472),
        ("vgg16-cifar100", 14_714_688 + 262_656 + 51_300 + 9_472),
        # torchvision's 6,624,904, and 16 taps more in each of the nine 5x5 kernels, which are 3x3 there: 380,928.
        # GoogLeNet's output has 1024 x classes + classes.
        ("googlenet-cifar10", 6_624_904 + 380_928 - 1025 * 990),
        ("googlenet-cifar100", 6_624_904 + 380_928 - 1025 * 900),
    ],
)
def test_the_originals_have_their_known_sizes(name, parameters):
    network = task(name).network.build(None, "meta")
    assert sum(p.numel() for key, p in network.named_parameters() if not key.startswith(AUXILIARY)) == parameters


@pytest.mark.parametrize(
    ("name", "millions", "megabytes"),
    [("vgg16-cifar100", 15.0, 60), ("unet-brats18", 34.5, 138), ("unet-isic18", 34.5, 138)],
)
def test_the_originals_have_the_papers_sizes(name, millions, megabytes):
    count = sum(p.numel() for p in task(name).network.build(None, "meta").parameters())
    assert round(count / 1e6, 1) == millions
    assert round(4 * count / 1e6) == megabytes


def test_the_original_is_not_a_design():
    """Its widths lie outside Table III (reading 11 of agents/README.md)."""
    own = task("vgg16-cifar10").network.original
    assert own["features.28"] == {"out_channels": 512, "kernel_size": (3, 3), "stride": (1, 1)}
    with pytest.raises(InputError):
        task("vgg16-cifar10").space.design(own)


# Any design.


def shapes(output):
    return [tuple(one.shape) for one in ([output] if isinstance(output, torch.Tensor) else output)]


@pytest.mark.parametrize("name", ["vgg16-cifar100", "googlenet-cifar10", *UNETS, "resnet18-cifar10"])
def test_random_designs_have_the_originals_output(name):
    network = task(name).network
    given, expected = SHAPES[name.split("-")[1]]
    assert task(name).input_shape == given
    assert network.output_shape == (2, *expected)
    rng = np.random.default_rng(0)
    images = torch.zeros((2, *given), device="meta")
    heads = 3 if NETWORK[name] == "googlenet" else 1
    last = [size - 1 for size in network.space.sizes]  # the widest kernels, and every stride 2
    for design in (last, network.space.sample(rng)):
        built = network.build(design, "meta")
        assert shapes(built.train()(images)) == [(2, *expected)] * heads
        assert shapes(built.eval()(images)) == [(2, *expected)]


# Data.


@pytest.mark.parametrize(
    ("name", "folder"),
    [
        ("vgg16-cifar10", "cifar-10-batches-py"),
        ("vgg16-cifar100", "cifar-100-python"),
        ("vgg16-imagenet", "train and val"),
        ("googlenet-cifar10", "cifar-10-batches-py"),
        ("googlenet-cifar100", "cifar-100-python"),
        ("googlenet-imagenet", "train and val"),
        ("unet-brats18", "MICCAI_BraTS_2018_Data_Training"),
        ("unet-isic18", "ISIC2018_Task1-2_Training_Input and ISIC2018_Task1_Training_GroundTruth"),
        ("resnet18-cifar10", "cifar-10-batches-py"),
    ],
)
def test_without_its_folder_a_task_can_be_looked_at_and_not_be_trained(name, folder, refused):
    assert len(task(name).space) > 15
    with refused(name, "name a folder that holds", folder, "as data_dir", "--data-dir"):
        _ = task(name).splits


@pytest.mark.parametrize("name", ["vgg16-imagenet", "unet-brats18", "unet-isic18"])
def test_an_empty_folder_is_refused_by_what_is_not_in_it(name, tmp_path, refused):
    with refused("There is no folder", str(tmp_path)):
        _ = marl_hpo_env.task(name, data_dir=tmp_path).splits


@pytest.mark.parametrize("name", ["digits-branches", "digits-convnet", "digits-unet"])
def test_a_task_that_brings_its_data_takes_no_folder(name, tmp_path, refused):
    with refused(name, "brings its own data", str(tmp_path)):
        marl_hpo_env.task(name, data_dir=tmp_path)


def test_a_task_that_does_not_exist_is_refused_with_those_that_are_near(refused):
    with refused("'vgg16-cifar'", "vgg16-cifar10"):
        marl_hpo_env.task("vgg16-cifar")


def test_a_task_can_be_sent_to_a_worker(tmp_path):
    for name in ALL:
        sent = pickle.loads(pickle.dumps(marl_hpo_env.task(name, data_dir=tmp_path)))
        assert sent.name == name
        assert callable(sent.model)


def test_no_task_needs_torch_before_it_is_used():
    code = (
        "import sys, marl_hpo_env; "
        "made = [marl_hpo_env.task(name) for name in marl_hpo_env.tasks()]; "
        "print(len(made), {'torch', 'torchvision', 'PIL', 'sklearn'} & set(sys.modules))"
    )
    printed = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=Path(__file__).parents[2]
    ).stdout
    assert printed.strip() == f"{len(marl_hpo_env.tasks())} set()"


# A real training.


@pytest.fixture
def cifar10(tmp_path, monkeypatch):
    """As https://www.cs.toronto.edu/~kriz/cifar.html describes the files: 10,000 images in each, here 40."""
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    generator = np.random.default_rng(0)
    sums = {}
    for name in [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]:
        labels = [i % 10 for i in range(40)]
        rows = generator.integers(0, 100, (40, 3072), dtype=np.uint8) + 15 * np.array(labels, dtype=np.uint8)[:, None]
        content = pickle.dumps({"batch_label": "", "labels": labels, "data": rows, "filenames": []}, protocol=2)
        (folder / name).write_bytes(content)
        sums[name] = hashlib.md5(content).hexdigest()
    content = pickle.dumps({"label_names": [str(i) for i in range(10)], "num_cases_per_batch": 40}, protocol=2)
    (folder / "batches.meta").write_bytes(content)
    monkeypatch.setattr(CIFAR10, "train_list", [list(item) for item in sums.items() if item[0] != "test_batch"])
    monkeypatch.setattr(CIFAR10, "test_list", [["test_batch", sums["test_batch"]]])
    meta = {"filename": "batches.meta", "key": "label_names", "md5": hashlib.md5(content).hexdigest()}
    monkeypatch.setattr(CIFAR10, "meta", meta)
    return tmp_path


def test_vgg16_narrowed_is_trained_on_the_official_files(cifar10):
    papers = marl_hpo_env.task("vgg16-cifar10", data_dir=cifar10)
    # Limits as they are, but for the one by time: no clock decides in a test.
    narrow = replace(
        papers, model=partial(VGG16, 10, scale=1 / 16), limits=replace(papers.limits, batch_ratio=None), seed=3
    )
    assert narrow.loss_limit == pytest.approx(0.95 * math.log(10))
    trainer = narrow.trainer(torch.device("cpu"), measure_time=False)
    smallest = (0,) * len(narrow.space)
    for design in (None, smallest):
        network, trial = trainer.train(Request(design, 3, 1))
        assert (trial.status, trial.reason) == ("completed", None)
        assert 0 <= trial.metrics["validation_accuracy"] <= 1
        assert 0 < trial.metrics["train_loss"] < 4  # a start from which it can learn: guessing is 2.3
        assert network.get_submodule("features.0").out_channels == (4 if design is None else 16)
    convolutions = 3 * 9 * 16 + 16 + 12 * (16 * 9 * 16 + 16)
    assert trial.metrics["parameters"] == convolutions + 13 * 2 * 16 + 16 * 128 + 128 + 2 * 128 + 128 * 10 + 10
    assert trial.metrics["epochs"] == 1
