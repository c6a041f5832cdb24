from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from marl_hpo_env.data.digits import digits, digits_on_ground
from marl_hpo_env.data.splits import Data
from marl_hpo_env.errors import InputError


@pytest.fixture(scope="module")
def data() -> Data:
    return digits()


def examples(n: int, targets: int | None = None) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.zeros(n, 2), torch.zeros(n if targets is None else targets, dtype=torch.int64)


def test_digits_have_the_documented_sizes_shapes_and_types(data):
    assert {name: len(x) for name, (x, _) in data.splits().items()} == {"train": 997, "validation": 400, "test": 400}
    for x, y in data.splits().values():
        assert (x.shape[1:], x.dtype) == ((1, 8, 8), torch.float32)
        assert (y.shape, y.dtype) == ((len(x),), torch.int64)
        assert (float(x.min()), float(x.max())) == (0.0, 1.0)
        assert set(y.tolist()) == set(range(10))


def test_every_scan_is_in_exactly_one_split_with_its_own_class(data):
    from sklearn.datasets import load_digits

    pixels, classes = load_digits(return_X_y=True)
    whole = sorted((row.astype(np.float32).tobytes(), int(c)) for row, c in zip(pixels / 16, classes, strict=True))
    parts = [
        (image.numpy().tobytes(), int(target))
        for x, y in data.splits().values()
        for image, target in zip(x.flatten(1), y, strict=True)
    ]
    assert sorted(parts) == whole


def test_each_split_has_the_classes_in_equal_proportions(data):
    everything = torch.cat([y for _, y in data.splits().values()])
    overall = torch.bincount(everything, minlength=10) / len(everything)
    for _, y in data.splits().values():
        assert (torch.bincount(y, minlength=10) - overall * len(y)).abs().max() <= 1.01


def test_the_split_is_the_same_every_time(data):
    assert digits().digest() == data.digest()


def test_the_digest_depends_on_every_split_value_and_shape(data):
    digests = [data.digest()]
    for name, (x, y) in data.splits().items():
        changed_x, changed_y = x.clone(), y.clone()
        changed_x[-1, 0, 7, 7] += 0.5
        changed_y[-1] = (changed_y[-1] + 1) % 10
        replacements = [(changed_x, y), (x, changed_y), (x.flatten(1), y), (x[:-1], y[:-1])]
        digests += [dataclasses.replace(data, **{name: new}).digest() for new in replacements]
    digests.append(Data(data.train, data.test, data.validation).digest())
    assert len(set(digests)) == len(digests)


def test_the_digest_is_of_the_values_not_of_their_layout_in_memory(data):
    x, y = data.train
    transposed = x.transpose(2, 3).contiguous().transpose(2, 3)
    assert not transposed.is_contiguous()
    assert dataclasses.replace(data, train=(transposed, y)).digest() == data.digest()


def test_moving_to_a_device_keeps_every_split(data):
    assert data.to(torch.device("cpu")).digest() == data.digest()
    moved = data.to(torch.device("meta"))
    assert all(t.device.type == "meta" for split in moved.splits().values() for t in split)


@pytest.mark.parametrize("split", ["train", "validation", "test"])
@pytest.mark.parametrize(("wrong", "words"), [(examples(0), "0 inputs"), (examples(3, 2), "3 inputs and 2 targets")])
def test_a_split_that_is_empty_or_uneven_is_refused_by_name(split, wrong, words):
    with pytest.raises(InputError, match=f"The {split} split has {words}"):
        Data(**{name: examples(4) for name in ("train", "validation", "test")} | {split: wrong})


def test_digits_on_ground_are_always_the_same_scenes_with_masks():
    data = digits_on_ground()
    assert {name: tuple(x.shape) for name, (x, _) in data.splits().items()} == {
        "train": (400, 1, 24, 24),
        "validation": (200, 1, 24, 24),
        "test": (200, 1, 24, 24),
    }
    assert data.digest() == digits_on_ground().digest()
    assert data.number_of_classes == 1
    for images, masks in data.splits().values():
        assert 0 <= images.min() < images.max() <= 1
        assert images[masks == 1].mean() > images[masks == 0].mean() + 0.1
        assert (masks.mean((1, 2, 3)) > 0.01).all()


def test_masks_that_are_not_0_or_1_or_of_another_size_are_refused():
    images, masks = torch.rand(3, 1, 4, 4), torch.ones(3, 1, 4, 4)
    Data((images, masks), (images, masks), (images, masks))
    for wrong in (masks * 0.5, masks[..., :2], masks.long()):
        with pytest.raises(InputError, match="The validation split has"):
            Data((images, masks), (images, wrong), (images, masks))


X = torch.rand(4, 3, 8, 8)


@pytest.mark.parametrize(
    ("targets", "kind", "width"),
    [
        (torch.tensor([0, 1, 2, 1]), "classes", 3),
        (torch.eye(4)[:, :2], "labels", 2),
        (torch.randn(4, 5), "values", 5),
        (torch.ones(4, 2, 8, 8), "masks", 2),
    ],
)
def test_the_kind_of_targets_is_said_or_plain(targets, kind, width):
    data = Data((X, targets), (X, targets), (X, targets), kind=kind, class_names=tuple("abcde"[:width]))
    assert (data.kind, data.number_of_classes) == (kind, width)
    if kind in ("classes", "masks"):
        assert Data((X, targets), (X, targets), (X, targets)).kind == kind


@pytest.mark.parametrize(
    ("targets", "settings", "words"),
    [
        (torch.rand(4, 2), {}, "kind='labels' or kind='values'"),
        (torch.rand(4, 2), {"kind": "labels"}, "other values than 0 and 1"),
        (torch.rand(4), {"kind": "values"}, r"shape \(n, values\)"),
        (torch.tensor([[1.0], [float("nan")], [2.0], [3.0]]), {"kind": "values"}, "not finite"),
        (torch.tensor([0, 1, 0, 1]), {"kind": "class"}, "kind of targets 'class'"),
        (torch.tensor([0, 1, 0, 1]), {"class_names": ("cat",)}, "1 names for 2 classes"),
    ],
)
def test_targets_that_are_not_of_their_kind_are_refused(targets, settings, words):
    with pytest.raises(InputError, match=words):
        Data((X, targets), (X, targets), (X, targets), **settings)
