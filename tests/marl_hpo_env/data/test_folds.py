"""Folds: each example of training and validation is for validation once, classes in proportion, groups together."""

import pytest
import torch

from marl_hpo_env.data.folds import fold, numbers
from marl_hpo_env.data.given import split
from marl_hpo_env.data.splits import Data


def some(n: int, first: int = 0):
    """Examples that can be told apart, two in three of class 0."""
    return torch.arange(first, first + n).float().view(n, 1), torch.tensor([0, 1, 0] * n)[:n]


DATA = Data(some(30), some(9, 30), some(6, 100), class_names=("yes", "no"))


@pytest.mark.parametrize("folds", [2, 3, 5])
def test_every_example_is_for_validation_once_and_the_test_split_lies_outside(folds):
    parts = [fold(DATA, folds, number) for number in range(folds)]
    held = [int(x) for part in parts for x in part.validation[0]]
    assert sorted(held) == list(range(39))
    for part in parts:
        ours = [int(x) for x in (*part.train[0], *part.validation[0])]
        assert sorted(ours) == list(range(39))
        assert part.test is DATA.test
        assert (part.kind, part.class_names) == (DATA.kind, DATA.class_names)
        assert torch.equal(part.validation[1], torch.tensor([0, 1, 0])[part.validation[0].flatten().long() % 3])
        of_each = part.validation[1].bincount(minlength=2).tolist()
        assert of_each[0] in (26 // folds, 26 // folds + 1)
        assert of_each[1] in (13 // folds, 13 // folds + 1)
    again = fold(DATA, folds, 1)
    assert torch.equal(again.validation[0], parts[1].validation[0])
    assert held != sorted(held)  # drawn, not cut


def test_a_group_stays_together():
    groups = torch.arange(39) // 4
    data = Data(DATA.train, DATA.validation, DATA.test, groups=groups)
    sides = [{int(groups[int(x)]) for x in fold(data, 3, number).validation[0]} for number in range(3)]
    assert sum(map(len, sides)) == len(set().union(*sides)) == 10


def test_masks_are_dealt_without_classes():
    masks = torch.zeros(10, 1, 2, 2)
    assert numbers(masks, 5, classes=False).bincount().tolist() == [2] * 5


def test_what_cannot_be_divided_is_one_sentence(refused):
    with refused("13 examples of class 1", "14 folds"):
        fold(DATA, 14, 0)
    with refused("3 groups", "4 folds"):
        fold(Data(DATA.train, DATA.validation, DATA.test, groups=torch.arange(39) % 3), 4, 0)
    with refused("30 groups for 39"):
        fold(Data(DATA.train, DATA.validation, DATA.test, groups=torch.arange(30)), 4, 0)
    with refused("a part of these data's training examples"):
        fold(Data(DATA.train, DATA.validation, DATA.test, episode_examples=torch.arange(3)), 2, 0)


def test_the_groups_that_data_were_divided_by_are_those_of_their_folds():
    groups = [f"patient {i // 5}" for i in range(100)]
    data = split(torch.arange(100.0).view(100, 1, 1, 1), torch.arange(100) % 2, groups=groups)
    for number in range(3):
        part = fold(data, 3, number)
        sides = [{groups[int(x)] for x in inputs} for inputs, _ in (part.train, part.validation)]
        assert not sides[0] & sides[1]
