"""The one place where examples are divided into training, validation and test."""

from __future__ import annotations

import re
import warnings
from collections.abc import Hashable, Sequence

import numpy as np
import torch

from marl_hpo_env.errors import InputError

HELD_OUT_FRACTION = 0.15
"""Of the examples: for validation, and as much for the test, where nothing else is said."""

_SPELLINGS = {
    "train": ("train", "training", "trn"),
    "validation": ("validation", "val", "valid", "dev", "validate"),
    "test": ("test", "testing", "tst"),
}
PARTS = tuple(_SPELLINGS)


def part_named(name: str) -> str | None:
    """`"train"`, `"validation"` or `"test"` where a folder or a column says one of them, in any case and usual spelling."""
    plain = re.sub("[^a-z]", "", name.lower())
    plain = re.sub("(set|data|images|imgs|split)$", "", plain)
    return next((part for part, spellings in _SPELLINGS.items() if plain in spellings), None)


def part_of(count: int, fraction: float) -> int:
    """How many of `count` a fraction of them is: rounded, and at least 1."""
    return max(1, round(fraction * count))


def drawn(count: int, sizes: Sequence[int], generator: torch.Generator) -> tuple[torch.Tensor, ...]:
    """The indices below `count` in random order, in parts of these sizes and a last one of what remains."""
    order = torch.randperm(count, generator=generator)
    return order.split([*sizes, count - sum(sizes)])


def divided(targets: torch.Tensor, fractions: Sequence[float], generator: torch.Generator) -> list[torch.Tensor]:
    """The indices of examples, drawn into a part for each fraction and a last one of the rest, each class in proportion.

    Args:
        targets: class indices, shape (n,); every class has an example in each of these parts, and needs one more for the rest.
        fractions: of the examples.
        generator: of the draw.
    """
    parts: list[list[torch.Tensor]] = [[] for _ in range(len(fractions) + 1)]
    for value in targets.unique():
        members = (targets == value).nonzero().flatten()
        sizes = [part_of(len(members), fraction) for fraction in fractions]
        for part, indices in zip(parts, drawn(len(members), sizes, generator), strict=True):
            part.append(members[indices])
    return [torch.cat(part) for part in parts]


def held_out(
    targets: torch.Tensor,
    fractions: Sequence[float],
    groups: Sequence[Hashable] | None = None,
    names: Sequence[str] = (),
) -> list[torch.Tensor]:
    """As `divided`, always the same way; with groups no group is in two parts, and classes are in proportion as far as that goes.

    Args:
        targets: class indices, shape (n,); zeros where examples have no classes.
        fractions: of the examples.
        groups: of each example, such as its patient; None where every example is its own.
        names: of the classes, for the sentences.

    Raises:
        InputError: if a class has too few examples, or there are too few groups.
    """
    classes, counts = targets.unique(return_counts=True)
    needed = len(fractions) + 1
    if groups is not None:
        return _held_out_by_group(targets, fractions, groups)
    if len(classes) == 0 or counts.min() < needed:
        fewest = int(counts.min()) if len(classes) else 0
        few = "there are none"
        if len(classes):
            index = int(classes[counts.argmin()])
            few = f"class {names[index] if names else index} has {fewest}"
        number = "three" if needed == 3 else "two"
        raise InputError(f"A split needs at least {number} examples of every class; {few}.")
    return divided(targets, fractions, torch.Generator().manual_seed(0))


def _held_out_by_group(
    targets: torch.Tensor, fractions: Sequence[float], groups: Sequence[Hashable]
) -> list[torch.Tensor]:
    """The parts of `held_out`: each is that fold of scikit-learn's which is nearest to its fraction."""
    from sklearn.model_selection import StratifiedGroupKFold

    if len(groups) != len(targets):
        raise InputError(f"There are {len(groups)} groups for {len(targets)} examples; give one for each.")
    found = len(set(groups))
    if found <= len(fractions):
        raise InputError(
            f"There are {found} groups; to keep each in one of {len(fractions) + 1} parts takes as many at least."
        )
    wanted = [fraction * len(targets) for fraction in fractions]
    of_example, classes = _numbers(groups), targets.numpy()
    rest, parts = np.arange(len(targets)), []
    for number, size in enumerate(wanted):
        remaining = len(np.unique(of_example[rest])) - (len(wanted) - number - 1)  # groups that this part may draw from
        most = int(np.unique(classes[rest], return_counts=True)[1].max())
        folds = max(2, min(round(len(rest) / size), remaining, most))
        division = StratifiedGroupKFold(folds, shuffle=True, random_state=0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of a class that has fewer examples than there are folds
            held = [fold for _, fold in division.split(rest, classes[rest], of_example[rest])]
        left = len(wanted) - number  # groups that the later parts and training need
        right = [
            fold
            for fold in held
            if len(fold)
            and len(np.unique(of_example[np.delete(rest, fold)])) >= left
            and set(classes[np.delete(rest, fold)]) == set(classes)
        ]
        if not right:
            raise InputError(
                "No division keeps each group in one part and every class in training; give groups that are smaller, or a "
                "division of your own."
            )
        fold = min(right, key=lambda one: (abs(len(one) - size), len(one)))
        parts.append(torch.from_numpy(rest[fold]))
        rest = np.delete(rest, fold)
    return [*parts, torch.from_numpy(rest)]


def in_parts(
    parts: Sequence[str | None],
    targets: torch.Tensor,
    groups: Sequence[Hashable] | None = None,
    names: Sequence[str] = (),
) -> tuple[list[torch.Tensor], list[str]]:
    """The indices of the examples for training, validation and test, and sentences on what was held out for want of a part.

    Where there is no part at all, 15% are drawn for validation and 15% for the test. Where validation lacks, it is drawn from
    training. Where the test lacks, half of the validation examples are it.

    Args:
        parts: of each example `"train"`, `"validation"` or `"test"`; or None for all of them.
        targets, groups, names: as `held_out` takes them.

    Raises:
        InputError: if there is no part for training, a group is in two parts, or too little to be divided.
    """
    fractions = [HELD_OUT_FRACTION]
    indices = {
        part: torch.tensor([i for i, one in enumerate(parts) if one == part], dtype=torch.int64) for part in PARTS
    }
    there = [part for part in PARTS if len(indices[part])]
    if not there or there == ["train"]:
        validation, test, train = held_out(targets, fractions * 2, groups, names)
        notes = (
            ["There is a part for training only: 15% of it are for validation and 15% for the test."] if there else []
        )
        return [train, validation, test], notes
    if "train" not in there:
        raise InputError(f"There are examples for {' and '.join(there)} only; name the part for training, too.")
    _refuse_shared_groups(parts, groups)
    notes = []

    def drawn_from(part: str, fraction: float) -> tuple[torch.Tensor, torch.Tensor]:
        of_part = None if groups is None else [groups[i] for i in indices[part].tolist()]
        held, rest = held_out(targets[indices[part]], [fraction], of_part, names)
        return indices[part][held], indices[part][rest]

    if "validation" not in there:
        indices["validation"], indices["train"] = drawn_from("train", HELD_OUT_FRACTION)
        notes.append(
            f"There is no validation part: {len(indices['validation'])} of the training examples are kept for it."
        )
    if "test" not in there:
        whole = indices["validation"]
        if groups is None:
            indices["validation"], indices["test"] = whole[::2], whole[1::2]
        else:
            indices["test"], indices["validation"] = drawn_from("validation", 0.5)
        notes.append("There is no test part: half of the validation examples are kept for the test.")
    return [indices[part] for part in PARTS], notes


def numbered(groups: Sequence[Hashable] | None, *parts: torch.Tensor) -> torch.Tensor | None:
    """The number of each example's group, int64, of these parts one behind the other, as `Data` takes them; None without groups.

    Args:
        groups: of each example.
        parts: indices of examples.
    """
    if groups is None:
        return None
    return torch.from_numpy(_numbers(groups))[torch.cat(parts)]


def _numbers(groups: Sequence[Hashable]) -> np.ndarray:
    """Of each example, int64, the number of its group in the order in which groups come."""
    codes = {group: code for code, group in enumerate(dict.fromkeys(groups))}
    return np.array([codes[group] for group in groups])


def _refuse_shared_groups(parts: Sequence[str | None], groups: Sequence[Hashable] | None) -> None:
    where: dict[Hashable, str | None] = {}
    for group, part in zip(groups or (), parts, strict=False):
        if where.setdefault(group, part) != part:
            raise InputError(f"The group {group!r} is in {where[group]} and in {part}; keep each group in one part.")
