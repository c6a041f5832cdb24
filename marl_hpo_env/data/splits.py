"""Data sets as tensors, split into training, validation and test."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch.utils.data import Dataset

from marl_hpo_env.data.lazy_images import ImageFiles, Inputs
from marl_hpo_env.errors import InputError, first_line

Examples = tuple[Inputs, torch.Tensor]
"""Inputs and targets, of equal length."""

Kind = Literal["classes", "labels", "values", "masks"]
"""Of targets: one class of several; several labels, each of which is there or not; numbers; a mask per plane."""


@dataclass(frozen=True, eq=False)
class Data:
    """A data set.

    Args:
        train: inputs, float32 of shape (n, channels, ...), or `ImageFiles` where they do not fit into memory; and targets:
            `"classes"` are int64 indices from 0 of shape (n,); `"labels"` float32 of 0 and 1, shape (n, labels); `"values"`
            float32, shape (n, values); `"masks"`, for segmentation, float32 of 0 and 1 of shape (n, planes, h, w), of the
            inputs' height and width.
        validation: the same; what rewards see.
        test: the same; reported, never told to a learner.
        notes: sentences about what was left out or changed while reading.
        episode_examples: indices of the training examples that episodes train on; final training takes all. None for all.
        kind: of the targets. Where None, int64 targets are classes and those of the inputs' size are masks; the others must
            say whether they are labels or values.
        class_names: of the classes, labels, values or planes, in order; empty where they have none.
        groups: of each training example and then of each validation example, such as a number per patient, int64 of shape (n,):
            folds keep a group together. None where every example is its own.

    Raises:
        InputError: if a split is empty, its inputs and targets differ in number, the inputs are not finite numbers, or the
            targets are not of the kind.
    """

    train: Examples
    validation: Examples
    test: Examples
    notes: tuple[str, ...] = ()
    episode_examples: torch.Tensor | None = None
    kind: Kind | None = None
    class_names: tuple[str, ...] = ()
    groups: torch.Tensor | None = None

    def __post_init__(self) -> None:
        if self.kind is None:
            object.__setattr__(self, "kind", _kind_of(*self.train))
        if self.kind not in get_args(Kind):
            raise InputError.unknown("kind of targets", self.kind, get_args(Kind))
        for name, (inputs, targets) in self.splits().items():
            if len(inputs) != len(targets) or len(inputs) == 0:
                raise InputError(
                    f"The {name} split has {len(inputs)} inputs and {len(targets)} targets; it needs as many of one as of "
                    "the other, and at least one."
                )
            if inputs.dtype != torch.float32:
                raise InputError(f"The {name} split has inputs of {inputs.dtype}; they are float32.")
            _check_targets(name, self.kind, inputs, targets)
            if isinstance(inputs, torch.Tensor) and not torch.isfinite(inputs).all():
                raise InputError(f"The {name} split has inputs that are not finite numbers; leave those out.")
        if self.class_names and len(self.class_names) != self.number_of_classes:
            raise InputError(
                f"There are {len(self.class_names)} names for {self.number_of_classes} {self.kind}; give one for each."
            )

    def splits(self) -> dict[str, Examples]:
        """The three splits by name."""
        return {"train": self.train, "validation": self.validation, "test": self.test}

    @property
    def number_of_classes(self) -> int:
        """One more than the highest class index of any split; the number of labels, values or planes of other targets."""
        if self.kind != "classes":
            return self.train[1].shape[1]
        return 1 + max(int(targets.max()) for _, targets in self.splits().values())

    def to(self, device: torch.device) -> Data:
        """The same data on another device."""
        moved = copy.copy(self)  # what was checked need not be checked again
        for name, (inputs, targets) in self.splits().items():
            object.__setattr__(moved, name, (inputs.to(device), targets.to(device)))
        return moved

    def digest(self) -> str:
        """A digest of every value of every split; of files, their names and sizes."""
        digest = hashlib.sha256(b"" if self.episode_examples is None else self.episode_examples.numpy().tobytes())
        for inputs, targets in self.splits().values():
            for part in (inputs, targets):
                if isinstance(part, ImageFiles):
                    digest.update(part.digest().encode())
                else:
                    digest.update(str((part.shape, part.dtype)).encode())
                    digest.update(part.cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()


def _kind_of(inputs: Inputs, targets: torch.Tensor) -> Kind:
    """What targets are that do not say so.

    Raises:
        InputError: if they might be of several kinds.
    """
    if targets.dim() > 2:
        return "masks"
    if targets.is_floating_point():
        raise InputError(
            f"The targets are {targets.dtype} of shape {tuple(targets.shape)}, which may be labels or values; say "
            "kind='labels' or kind='values', or give int64 class indices."
        )
    return "classes"


def _check_targets(name: str, kind: Kind | None, inputs: Inputs, targets: torch.Tensor) -> None:
    """Raises an `InputError` for targets that are not of their kind."""
    if kind == "classes":
        right = targets.dtype == torch.int64 and targets.dim() == 1 and bool(targets.min() >= 0)
        wanted = "int64 class indices from 0, one per input"
    elif kind == "masks":
        right = targets.is_floating_point() and targets.dim() > 2 and targets.shape[2:] == inputs.shape[2:]
        wanted = "float masks of the inputs' size"
    else:
        right = targets.dtype == torch.float32 and targets.dim() == 2 and targets.shape[1] > 0
        wanted = f"float32 of shape (n, {kind})"
    if not right:
        raise InputError(
            f"The {name} split has targets of {targets.dtype} and shape {tuple(targets.shape)}; {kind} are {wanted}."
        )
    if kind == "values" and not torch.isfinite(targets).all():
        raise InputError(f"The {name} split has values that are not finite numbers; leave those examples out.")
    if kind in ("labels", "masks") and not ((targets == 0) | (targets == 1)).all():
        per = "plane per class" if kind == "masks" else "column per label"
        raise InputError(f"The {name} split has {kind} with other values than 0 and 1; give one {per}.")


def as_data(given: object) -> Data:
    """What a user has as data: a `Data` as it is; a torch `Dataset` or a tuple of inputs and classes is split.

    Raises:
        InputError: if it is none of these.
    """
    if isinstance(given, Data):
        return given
    if isinstance(given, tuple) and len(given) == 2:
        return split(torch.as_tensor(given[0]), torch.as_tensor(given[1]))
    if isinstance(given, Dataset):
        try:
            examples = [given[i] for i in range(len(given))]  # type: ignore[arg-type]
            inputs = torch.stack([torch.as_tensor(x) for x, _ in examples])
            targets = torch.as_tensor([int(y) for _, y in examples])
        except (TypeError, ValueError, RuntimeError) as error:
            raise InputError(
                f"The data set cannot be read as tensors of one shape with class indices: {first_line(error)}."
            ) from error
        return split(inputs, targets)
    raise InputError(
        f"The data are a {type(given).__name__}; give a Data, a Dataset, or a tuple of inputs and classes."
    )


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


def split(inputs: torch.Tensor, targets: torch.Tensor, validation: float = 0.15, test: float = 0.15) -> Data:
    """Examples drawn into training, validation and test, each with the classes in equal proportions; always the same way.

    Args:
        inputs: shape (n, ...); integers are taken as pixels from 0 to 255 and scaled to 0..1.
        targets: class indices, shape (n,); or masks of 0 and 1, shape (n, planes, h, w), which are drawn without classes.
        validation: fraction of the examples.
        test: likewise.

    Raises:
        InputError: if a class has fewer than three examples, inputs and targets differ in number, or targets are neither whole
            numbers nor masks.
    """
    if len(inputs) != len(targets):
        raise InputError(
            f"There are {len(inputs)} inputs and {len(targets)} targets; give as many of one as of the other."
        )
    inputs = inputs.float() if inputs.is_floating_point() else inputs.float() / 255
    masks = targets.dim() > 2
    if not masks and targets.is_floating_point() and not (targets == targets.floor()).all():
        first = targets[targets != targets.floor()].flatten()[0]
        raise InputError(f"A target is {float(first):g}; class indices are whole numbers from 0.")
    targets = targets.float() if masks else targets.long()
    drawn_by = torch.zeros(len(targets), dtype=torch.int64) if masks else targets
    classes, counts = drawn_by.unique(return_counts=True)
    if len(classes) == 0 or counts.min() < 3:
        few = f"class {int(classes[counts.argmin()])} has {int(counts.min())}" if len(classes) else "there are none"
        raise InputError(f"A split needs at least three examples of every class; {few}.")
    in_validation, in_test, in_train = divided(drawn_by, (validation, test), torch.Generator().manual_seed(0))
    splits = [(inputs[part], targets[part]) for part in (in_train, in_validation, in_test)]
    return Data(splits[0], splits[1], splits[2])
