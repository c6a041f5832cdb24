"""Folds: the training and the validation examples divided anew, so that each is for validation once."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from marl_hpo_env.data.splits import Data
from marl_hpo_env.errors import InputError


def fold(data: Data, folds: int, number: int) -> Data:
    """The data with one fold of their training and validation examples for validation, and the others for training.

    Every class is in each fold in proportion; examples of one group (`Data.groups`) are in one fold. The test split lies outside.
    Always the same way.

    Args:
        data: in memory.
        folds: how many, from 2.
        number: of the one, from 0.

    Raises:
        InputError: if the data are read from files while training, episodes see a part of them, or there are too few examples.
    """
    (inputs, targets), (more_inputs, more_targets) = data.train, data.validation
    if not (isinstance(inputs, torch.Tensor) and isinstance(more_inputs, torch.Tensor)):
        raise InputError("Folds are of data in memory, and these are read from files while training; leave folds out.")
    if data.episode_examples is not None:
        raise InputError(
            "Episodes see a part of these data's training examples, and folds are of all; leave folds out."
        )
    inputs, targets = torch.cat([inputs, more_inputs]), torch.cat([targets, more_targets])
    held = numbers(targets.cpu(), folds, data.kind == "classes", data.groups).to(targets.device) == number
    return replace(data, train=(inputs[~held], targets[~held]), validation=(inputs[held], targets[held]), groups=None)


def numbers(
    targets: torch.Tensor, folds: int, classes: bool = True, groups: torch.Tensor | None = None
) -> torch.Tensor:
    """The fold of each example, int64 from 0, shape (n,).

    Args:
        targets: of the examples, shape (n, ...).
        folds: how many.
        classes: whether targets are classes, of which each fold has its part.
        groups: of each example, int64, shape (n,).

    Raises:
        InputError: if a class has fewer examples, or there are fewer groups, than folds.
    """
    of_class = targets if classes else torch.zeros(len(targets), dtype=torch.int64)
    fewest, index = min((count, value) for value, count in enumerate(of_class.bincount().tolist()) if count)
    if fewest < folds:
        of = f" of class {index}" if classes else ""
        raise InputError(
            f"There are {fewest} examples{of} for training and validation; {folds} folds need as many each."
        )
    if groups is not None:
        return _by_group(of_class, folds, groups)
    order = torch.randperm(len(targets), generator=torch.Generator().manual_seed(0))
    found = torch.empty(len(targets), dtype=torch.int64)
    found[order[of_class[order].argsort(stable=True)]] = torch.arange(len(targets)) % folds  # dealt, class by class
    return found


def _by_group(of_class: torch.Tensor, folds: int, groups: torch.Tensor) -> torch.Tensor:
    from sklearn.model_selection import StratifiedGroupKFold

    if len(groups) != len(of_class):
        raise InputError(
            f"There are {len(groups)} groups for {len(of_class)} training and validation examples; give one for each."
        )
    if len(groups.unique()) < folds:
        raise InputError(f"There are {len(groups.unique())} groups; {folds} folds need as many at least.")
    found = np.empty(len(of_class), dtype=np.int64)
    division = StratifiedGroupKFold(folds, shuffle=True, random_state=0)
    for number, (_, held) in enumerate(division.split(found, of_class.numpy(), groups.numpy())):
        found[held] = number
    return torch.from_numpy(found)
