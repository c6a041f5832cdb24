import math

import pytest
import torch

from marl_hpo_env import InputError
from marl_hpo_env.training.augmentation import Augmentation


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_without_any_magnitude_nothing_changes():
    images, masks = torch.rand(4, 2, 6, 9), (torch.rand(4, 1, 6, 9) > 0.5).float()
    moved, moved_masks = Augmentation(rotation=0, shift=0, flip=False)(images, masks, generator())
    torch.testing.assert_close(moved, images)
    assert torch.equal(moved_masks, masks)


def test_a_flip_mirrors_left_and_right_of_about_half_the_images_exactly():
    images = torch.rand(200, 1, 5, 8)
    moved, _ = Augmentation(rotation=0, shift=0, flip=True)(images, torch.zeros(200, dtype=torch.int64), generator())
    mirrored = [torch.allclose(m, i.flip(-1), atol=1e-5) for m, i in zip(moved, images, strict=True)]
    same = [torch.allclose(m, i, atol=1e-5) for m, i in zip(moved, images, strict=True)]
    assert all(a != b for a, b in zip(mirrored, same, strict=True))
    assert 70 < sum(mirrored) < 130


def test_a_rotation_turns_by_pixels_also_where_height_and_width_differ(monkeypatch):
    # A quarter turn of a wide image: what was 2 pixels right of the centre is then 2 pixels above or below it.
    images = torch.zeros(1, 1, 5, 9)
    images[0, 0, 2, 6] = 1
    monkeypatch.setattr(torch, "rand", lambda *a, **k: torch.tensor([[1.0], [0.5], [0.5], [0.9]]))
    moved, _ = Augmentation(rotation=90, shift=0, flip=False)(images, torch.zeros(1, dtype=torch.int64), generator())
    assert moved[0, 0, :, 4].max() == pytest.approx(1, abs=1e-4)
    assert int(moved[0, 0, :, 4].argmax()) in (0, 4)
    assert moved.sum() == pytest.approx(1, abs=1e-3)


def test_a_rotation_turns_by_at_most_its_degrees_either_way_and_every_image_by_its_own_draw():
    side = 61
    images = torch.zeros(200, 1, side, side)
    images[..., side // 2, side // 2 + 25] = 1  # 25 pixels right of the centre
    moved, _ = Augmentation(rotation=30, shift=0, flip=False)(images, torch.zeros(200, dtype=torch.int64), generator())
    places = torch.arange(side) - side // 2
    mass = moved[:, 0].sum((1, 2))
    right = (moved[:, 0].sum(1) * places).sum(1) / mass
    below = (moved[:, 0].sum(2) * places).sum(1) / mass
    degrees = torch.rad2deg(torch.atan2(below, right))
    assert degrees.abs().max() <= 31
    assert degrees.min() < -25
    assert degrees.max() > 25
    assert 70 < int((degrees > 0).sum()) < 130
    assert degrees.round(decimals=1).unique().numel() > 100


def test_the_magnitudes_that_are_ours_are_15_degrees_a_tenth_and_a_flip():
    images = torch.rand(200, 1, 7, 7)
    targets = torch.zeros(200, dtype=torch.int64)
    by_default, _ = Augmentation()(images, targets, generator())
    spelled_out, _ = Augmentation(rotation=15, shift=0.1, flip=True)(images, targets, generator())
    assert torch.equal(by_default, spelled_out)
    unflipped, _ = Augmentation(rotation=15, shift=0.1, flip=False)(images, targets, generator())
    assert not torch.equal(by_default, unflipped)


def test_a_mask_is_mirrored_and_turned_as_its_image_is_where_height_and_width_differ():
    images = torch.zeros(100, 1, 20, 44)
    images[..., 4:9, 6:19] = 1
    moved, masks = Augmentation(rotation=40, shift=0.2)(images, images.clone(), generator())
    assert ((moved > 0.5).float() - masks).abs().mean() < 0.01
    # The rectangle keeps its 65 pixels where it stays inside: nothing is sheared or scaled.
    inside = (masks[:, 0, [0, -1]].sum((1, 2)) + masks[:, 0, :, [0, -1]].sum((1, 2))) == 0
    assert int(inside.sum()) > 30
    assert (masks[inside].sum((1, 2, 3)) - 65).abs().max() <= 10


def test_a_shift_moves_by_at_most_its_fraction_and_every_image_by_its_own_draw():
    images = torch.zeros(100, 1, 1, 41)
    images[..., 20] = 1
    moved, _ = Augmentation(rotation=0, shift=0.25, flip=False)(
        images, torch.zeros(100, dtype=torch.int64), generator()
    )
    places = (moved[:, 0, 0] * torch.arange(41)).sum(1) / moved[:, 0, 0].sum(1)
    assert (places - 20).abs().max() <= 0.25 * 41 + 1
    assert (places - 20).abs().max() > 7
    assert (places - 20).min() < -7
    assert (places - 20).max() > 7
    assert places.unique().numel() > 50


def test_masks_move_with_their_images_and_stay_masks():
    images = torch.zeros(50, 1, 33, 33)
    images[..., 8:20, 10:28] = 1
    moved, masks = Augmentation()(images, images.clone(), generator())
    assert set(masks.unique().tolist()) == {0.0, 1.0}
    assert ((moved > 0.5).float() - masks).abs().mean() < 0.01
    assert (masks - images).abs().mean() > 0.01


def test_class_indices_stay_as_they_are_and_one_seed_gives_one_batch():
    images, classes = torch.rand(8, 3, 7, 7), torch.arange(8)
    first, again = (Augmentation()(images, classes, generator(3)) for _ in range(2))
    assert torch.equal(first[0], again[0])
    assert torch.equal(first[1], classes)
    assert not torch.equal(first[0], Augmentation()(images, classes, generator(4))[0])


@pytest.mark.parametrize("right", [{"rotation": 0}, {"rotation": 180}, {"shift": 0}, {"shift": 1}])
def test_magnitudes_at_the_ends_of_their_range_are_taken(right):
    images, _ = Augmentation(**right)(torch.rand(3, 1, 5, 5), torch.zeros(3, dtype=torch.int64), generator())
    assert images.isfinite().all()


@pytest.mark.parametrize(
    "wrong", [{"rotation": -1.0}, {"rotation": 180.1}, {"rotation": math.nan}, {"shift": 1.5}, {"shift": -0.1}]
)
def test_magnitudes_out_of_range_are_refused(wrong):
    with pytest.raises(InputError):
        Augmentation(**wrong)


@pytest.mark.parametrize(
    "wrong",
    [{"rotation": value} for value in (-1, 181, math.nan, "15", None, True)]
    + [{"shift": value} for value in (-0.1, 1.1, math.inf, "a")]
    + [{"flip": value} for value in (1, "yes", None)],
)
def test_a_magnitude_of_another_kind_is_one_sentence(refused, wrong):
    (name,) = wrong
    with refused(name, repr(wrong[name])):
        Augmentation(**wrong)
