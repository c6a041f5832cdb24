"""What users have in memory as data: tensors, arrays, lists, torch's data sets and dictionaries of them."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch.utils.data import Dataset
from torchvision.transforms.functional import pil_to_tensor

from marl_hpo_env.data.parts import HELD_OUT_FRACTION, PARTS, held_out, in_parts, numbered, part_named
from marl_hpo_env.data.splits import Data, Kind, counted, repeated
from marl_hpo_env.data.targets import Targets, as_tensor, read_targets
from marl_hpo_env.errors import InputError, first_line

_INPUTS = ("image", "images", "img", "pixel_values", "input", "inputs", "x")
_TARGETS = ("label", "labels", "target", "targets", "fine_label", "class", "mask", "masks", "y")


def split(
    inputs: Any,
    targets: Any,
    validation: float = HELD_OUT_FRACTION,
    test: float = HELD_OUT_FRACTION,
    *,
    kind: Kind | None = None,
    groups: Sequence[Hashable] | None = None,
    class_names: Sequence[str] = (),
) -> Data:
    """Examples drawn into training, validation and test, each with the classes in equal proportions; always the same way.

    Args:
        inputs: a tensor or an array of shape (n, ...); integers are taken as pixels from 0 to 255 and scaled to 0..1.
        targets: one for each. Class indices, shape (n,), the names of classes, or one-hot; masks, shape (n, planes, h, w) or
            of class indices (n, h, w); or,
            with their kind, labels of 0 and 1, shape (n, labels), and values, shape (n,) or (n, values).
        validation: fraction of the examples.
        test: likewise.
        kind: `"classes"`, `"labels"`, `"values"` or `"masks"`, see `Data`; None where the targets are plainly classes or masks.
        groups: of each example, such as its patient or video: no group is then in two of the three parts.
        class_names: of the classes, labels, values or planes.

    Raises:
        InputError: if a class has fewer than three examples, there are fewer than three groups, inputs and targets differ in
            number, integers are no pixels, or the targets are of no kind.
    """
    pixels = _inputs(inputs)
    read = read_targets(targets, kind, class_names, pixels.dim())
    if len(pixels) != len(read.values):
        raise InputError(
            f"There are {len(pixels)} inputs and {len(read.values)} targets; give as many of one as of the other."
        )
    of_each = None if groups is None else [str(group) for group in groups]  # of a tensor, each would be one of its own
    in_validation, in_test, in_train = held_out(_drawn_by(read), (validation, test), of_each, read.class_names)
    return _data(pixels, read, [in_train, in_validation, in_test], (), numbered(of_each, in_train, in_validation))


def as_data(given: object) -> Data:
    """What a user has as data.

    Args:
        given: a `Data` as it is. Of inputs and targets a pair, a dictionary or a torch `Dataset`, which is split; the items of a
            data set are pairs or dictionaries such as `{"image": ..., "label": ...}`. Or several of these: three are training,
            validation and test; of two, as `random_split` gives them, the first is divided into training and validation, and the
            second is the test; in a dictionary they have these names.

    Raises:
        InputError: if it is none of these.
    """
    if isinstance(given, Data):
        return given
    several = _several(given)
    if several is not None:
        return _of_parts({part: _pair(one) for part, one in several.items()})
    pair = _pair(given)
    return split(pair.inputs, pair.targets, class_names=pair.class_names)


class _Pair(NamedTuple):
    inputs: Any
    targets: Any
    class_names: tuple[str, ...] = ()


def _several(given: object) -> dict[str, Any] | None:
    """What was given as several parts, by the part; None where it is one."""
    if isinstance(given, Mapping):
        parts = {part_named(str(name)): one for name, one in given.items()}
        if parts and len(parts) == len(given) and None not in parts:
            return {str(part): one for part, one in parts.items()}
        return None
    if not isinstance(given, tuple | list) or len(given) not in (2, 3):
        return None
    if all(isinstance(one, Dataset) or _is_pair(one) for one in given):
        return dict(zip(PARTS if len(given) == 3 else ("train", "test"), given, strict=True))
    return None


def _is_pair(one: object) -> bool:
    return isinstance(one, tuple) and len(one) == 2 and all(isinstance(x, torch.Tensor | np.ndarray) for x in one)


def _of_parts(pairs: Mapping[str, _Pair]) -> Data:
    """Data that are divided already, at least into two."""
    pixels = [_inputs(pair.inputs) for pair in pairs.values()]
    targets = [as_tensor(pair.targets, "targets") for pair in pairs.values()]
    for part, (x, y) in zip(pairs, zip(pixels, targets, strict=True), strict=True):
        if len(x) != len(y):
            raise InputError(f"The {part} part has {len(x)} inputs and {len(y)} targets; give as many of both.")
    names = next(iter(pairs.values())).class_names
    try:
        inputs, whole = torch.cat(pixels), _together(targets)
    except (RuntimeError, TypeError, ValueError) as error:
        raise InputError("The parts differ in the shape or the type of their examples; give them alike.") from error
    read = read_targets(whole, None, names, inputs.dim())
    part_of_each = [part for part, x in zip(pairs, pixels, strict=True) for _ in range(len(x))]
    indices, notes = in_parts(part_of_each, _drawn_by(read), None, read.class_names)
    return _data(inputs, read, indices, notes)


def _together(targets: Sequence[torch.Tensor | np.ndarray]) -> Any:
    if any(isinstance(one, np.ndarray) for one in targets):
        return np.concatenate([np.asarray(one) for one in targets])
    return torch.cat([torch.as_tensor(one) for one in targets])


def _drawn_by(read: Targets) -> torch.Tensor:
    """The classes that each part has in proportion; zeros where there are none."""
    return read.values if read.kind == "classes" else torch.zeros(len(read.values), dtype=torch.int64)


def _data(
    inputs: torch.Tensor,
    read: Targets,
    parts: Sequence[torch.Tensor],
    notes: Sequence[str],
    groups: torch.Tensor | None = None,
) -> Data:
    train, validation, test = ((inputs[part], read.values[part]) for part in parts)
    data = Data(train, validation, test, kind=read.kind, class_names=read.class_names, groups=groups)
    return data.noted(counted(data), *read.notes, *notes, *repeated(inputs, read.values, parts))


def _inputs(given: Any) -> torch.Tensor:
    """Inputs as float32.

    Raises:
        InputError: if they are no numbers, or integers that are no pixels.
    """
    inputs = as_tensor(given, "inputs")
    if isinstance(inputs, np.ndarray) or inputs.is_complex() or inputs.dim() == 0:
        raise InputError(
            f"The inputs are {inputs.dtype} of shape {tuple(inputs.shape)}; give numbers, an input for each target."
        )
    if inputs.is_floating_point() or inputs.dtype == torch.bool:
        return inputs.float()
    if inputs.dtype != torch.uint8 and inputs.numel():
        inputs = inputs.long()
        low, high = int(inputs.min()), int(inputs.max())
        if low < 0 or high > 255:
            raise InputError(
                f"An input is {low if low < 0 else high}; integers are pixels from 0 to 255, so give other ones as floats, "
                "scaled to 0..1."
            )
    return inputs.float() / 255


def _pair(given: object) -> _Pair:
    """Inputs and targets of what was given as one.

    Raises:
        InputError: if it is no pair, no data set and no dictionary of both.
    """
    if isinstance(given, Dataset):
        return _of_dataset(given)
    if isinstance(given, Mapping):
        return _Pair(*_of_mapping(given, "The data"))
    if isinstance(given, tuple | list) and len(given) == 2:
        return _Pair(*given)
    raise InputError(
        f"The data are a {type(given).__name__}; give a Data, a Dataset, or a tuple of inputs and targets."
    )


def _of_mapping(item: Mapping[Any, Any], what: str) -> tuple[Any, Any]:
    found = [next((key for key in keys if key in item), None) for keys in (_INPUTS, _TARGETS)]
    if None in found:
        raise InputError(f"{what} have the entries {sorted(map(str, item))}; name them 'image' and 'label'.")
    return item[found[0]], item[found[1]]


def _of_dataset(dataset: Dataset[Any]) -> _Pair:
    """The examples of a data set, one by one; a part of one has its classes."""
    try:
        items = [dataset[i] for i in range(len(dataset))]  # type: ignore[arg-type]
        pairs = [_of_mapping(one, "The data set's items") if isinstance(one, Mapping) else tuple(one) for one in items]
        if any(len(pair) != 2 for pair in pairs):
            raise ValueError(f"an item has {len(next(pair for pair in pairs if len(pair) != 2))} parts")
        inputs = torch.stack([torch.as_tensor(_plain(x)) for x, _ in pairs])
        targets = [_plain(y) for _, y in pairs]
    except InputError:
        raise
    except Exception as error:  # whatever a user's data set raises
        raise InputError(
            f"The data set cannot be read as tensors of one shape with targets: {first_line(error)}; its items are pairs of an "
            "input and a class."
        ) from error
    if targets and isinstance(targets[0], np.ndarray | torch.Tensor):
        targets = [torch.as_tensor(one) for one in targets]
    whole = dataset
    while hasattr(whole, "dataset"):  # `Subset`
        whole = whole.dataset
    names = getattr(whole, "classes", ())
    numbers = targets and isinstance(targets[0], int) and isinstance(names, list | tuple)
    return _Pair(inputs, targets, tuple(map(str, names)) if numbers and max(targets) + 1 == len(names) else ())


def _plain(value: Any) -> Any:
    return pil_to_tensor(value) if isinstance(value, Image.Image) else value
