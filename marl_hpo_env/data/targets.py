"""What users have as targets, and what of it `Data` takes: classes, labels, values or masks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, get_args

import numpy as np
import torch

from marl_hpo_env.data.splits import Kind
from marl_hpo_env.errors import InputError, first_line


class Targets(NamedTuple):
    """Targets as `Data` takes them.

    Args:
        values: of the kind.
        kind: see `Data`.
        class_names: where they are known.
        notes: on what was changed.
    """

    values: torch.Tensor
    kind: Kind
    class_names: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


MOST_PLANES = 64
"""Of masks: more values than that are shades of grey, or numbers of single objects."""


def read_targets(
    given: Any, kind: Kind | None = None, class_names: Sequence[str] = (), dimensions: int | None = None
) -> Targets:
    """Targets of a kind, or of the kind that they plainly are.

    Where no kind is said, these are plain: whole numbers of one dimension and strings are classes, rows with a single 1 are
    classes that are one-hot, and what has more than two dimensions are masks.

    Args:
        given: a tensor, an array or a list, one target per example.
        kind: see `Data`.
        class_names: of the classes, labels, values or planes.
        dimensions: of the inputs: masks that have one less hold a class index per pixel, or 0 and 255.

    Raises:
        InputError: if they are of no kind, or may be of several.
    """
    if kind is not None and kind not in get_args(Kind):
        raise InputError.unknown("kind of targets", kind, get_args(Kind))
    array = as_tensor(given, "targets")
    if isinstance(array, np.ndarray):
        return _named_classes(array, kind, class_names)
    if array.is_floating_point() and not array.isfinite().all():
        raise InputError(f"A target is {float(array[~array.isfinite()][0]):g}; leave out what has none.")
    if not array.is_floating_point() and array.dtype != torch.bool:
        array = array.long()  # torch does not compare the others
    names = tuple(class_names)
    if kind is None:
        kind = _plain_kind(array)
    if kind in ("labels", "values"):
        return Targets((array[:, None] if array.dim() == 1 else array).float(), kind, names)
    if kind == "masks":
        return _masks(array, names, dimensions)
    return _classes(array, names)


def as_tensor(given: Any, what: str) -> torch.Tensor | np.ndarray:
    """A tensor of what a user has; an array of strings where it is that.

    Args:
        given: a tensor, an array, a list, or anything that NumPy makes an array of.
        what: it is, for the sentences.

    Raises:
        InputError: if it is neither numbers of one shape nor strings.
    """
    if isinstance(given, torch.Tensor):
        return given.detach().cpu()
    try:
        if isinstance(given, list | tuple) and given and all(isinstance(one, torch.Tensor) for one in given):
            return torch.stack([one.detach().cpu() for one in given])
        array = np.asarray(given)
        if array.dtype.kind in "OUS" and all(isinstance(one, str | bytes) for one in array.flat):
            return array.astype(str)
        return torch.as_tensor(array.tolist() if array.dtype.kind == "O" else array)
    except (TypeError, ValueError, RuntimeError) as error:
        reason = first_line(error).partition(". ")[0]
        raise InputError(
            f"The {what} cannot be read as tensors of one shape: {reason}; give numbers, one array for all."
        ) from error


def _plain_kind(targets: torch.Tensor) -> Kind:
    if targets.dim() > 2:
        return "masks"
    if targets.dim() == 1:
        if targets.is_floating_point() and (targets != targets.floor()).any():
            first = float(targets[targets != targets.floor()][0])
            raise InputError(
                f"A target is {first:g}; class indices are whole numbers from 0, and values to be predicted say kind='values'."
            )
        return "classes"
    if _is_one_hot(targets):
        return "classes"
    raise InputError(
        f"The targets have the shape {tuple(targets.shape)}; say kind='labels' where several may be right at once, "
        "kind='values' where they are values to be predicted, or give one class index each."
    )


def _is_one_hot(targets: torch.Tensor) -> bool:
    """Whether every row has a single 1 beside zeros, and every column is some row's."""
    if targets.dim() != 2 or targets.shape[1] < 2 or len(targets) == 0:
        return False
    ones = targets == 1
    return bool((ones | (targets == 0)).all() and (ones.sum(1) == 1).all() and ones.any(0).all())


def _classes(targets: torch.Tensor, names: tuple[str, ...]) -> Targets:
    """Class indices from 0."""
    if _is_one_hot(targets):
        note = f"The targets are one-hot: each is the class of {targets.shape[1]} whose column is 1."
        return Targets(targets.long().argmax(1), "classes", names, (note,))
    if targets.dim() == 2 and targets.shape[1] == 1:
        targets = targets[:, 0]
    if targets.dim() != 1:
        raise InputError(f"The targets have the shape {tuple(targets.shape)}; classes are one index each, or one-hot.")
    if targets.is_floating_point() and (targets != targets.floor()).any():
        first = float(targets[targets != targets.floor()][0])
        raise InputError(f"A target is {first:g}; class indices are whole numbers from 0.")
    targets = targets.long()
    there = targets.unique()
    if len(there) == 0:
        return Targets(targets, "classes", names)
    low, high, count = int(there[0]), int(there[-1]), len(there)
    if count == 1:
        raise _one_class(low)
    if high - low + 1 > 2 * count:
        raise InputError(
            f"The classes are {count} numbers from {low} to {high}, with more between them than there are; number them from 0."
        )
    notes = []
    if low != 0:
        # A class 0 without examples would be an output that is never right.
        names = names or tuple(str(int(number)) for number in there)
        targets = torch.searchsorted(there, targets.contiguous())
        notes.append(f"Classes are numbered from {low} to {high}; here they are 0 to {count - 1}, in the same order.")
    elif count <= high:
        missing = sorted(set(range(high + 1)) - set(there.tolist()))
        notes.append(f"{len(missing)} of {high + 1} classes have no example, such as class {missing[0]}.")
    return Targets(targets, "classes", names, tuple(notes))


def _named_classes(given: np.ndarray, kind: Kind | None, names: Sequence[str]) -> Targets:
    """Classes that are told by name: in the order of `names`, or else in that of the alphabet."""
    if kind not in (None, "classes") or given.ndim != 1:
        raise InputError(
            f"The targets are text, such as {str(given.flat[0])!r}; {kind or 'targets of several dimensions'} are numbers."
        )
    there = sorted(set(given.tolist()), key=in_order)
    if len(there) == 1:
        raise _one_class(there[0])
    unknown = [name for name in there if names and name not in names]
    if unknown:
        raise InputError.unknown("class", unknown[0], names)
    order = list(names) or there
    index = {name: i for i, name in enumerate(order)}
    return Targets(torch.tensor([index[name] for name in given.tolist()]), "classes", tuple(order))


def _one_class(only: int | str) -> InputError:
    return InputError(
        f"Every example is of the class {only}; to tell apart there must be two classes, and values to be predicted say "
        "kind='values'."
    )


def in_order(name: str) -> tuple[float, str]:
    """What names are sorted by: numbers as numbers, before words in the order of the alphabet."""
    try:
        return float(name), name
    except ValueError:
        return float("inf"), name


def _masks(targets: torch.Tensor, names: tuple[str, ...], dimensions: int | None) -> Targets:
    """Planes of 0 and 1."""
    if targets.dim() < 3:
        raise InputError(f"The targets have the shape {tuple(targets.shape)}; masks have that of the images.")
    if dimensions is not None and targets.dim() == dimensions - 1:
        indices = mask_values(targets.unique().tolist(), "targets")
        named = names or tuple(f"{value:g}" for value in indices)
        return Targets(torch.stack([targets == value for value in indices], dim=1).float(), "masks", named)
    if not targets.is_floating_point() and ((targets == 0) | (targets == 255)).all():
        targets = targets == 255
    return Targets(targets.float(), "masks", names)


def mask_values(values: Sequence[float], what: str) -> list[float]:
    """Those of the values of all masks that get a plane each: all but 0, the background; and but 255 beside indices up to
    `MOST_PLANES`, which marks borders that belong to no class.

    Args:
        values: that there are.
        what: they are in, for the sentences.

    Raises:
        InputError: if there are none but 0, or more than `MOST_PLANES`.
    """
    planes = sorted(value for value in values if value != 0)
    if len(planes) > 1 and planes[-1] == 255 and planes[-2] <= MOST_PLANES:
        planes.pop()
    if not 1 <= len(planes) <= MOST_PLANES or planes[0] < 0 or any(value != int(value) for value in planes):
        shown = ", ".join(f"{value:g}" for value in planes[:3]) or "0 alone"
        raise InputError(
            f"The {what} hold {len(planes)} values beside 0, such as {shown}; masks have 0 for the background and one number for "
            f"each class, at most {MOST_PLANES}."
        )
    return planes
