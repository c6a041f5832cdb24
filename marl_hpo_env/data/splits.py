"""Data sets as tensors, split into training, validation and test."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch

from marl_hpo_env.data.images import ImageReading
from marl_hpo_env.data.lazy_images import ImageFiles, Inputs
from marl_hpo_env.errors import InputError

Examples = tuple[Inputs, torch.Tensor]
"""Inputs and targets, of equal length."""

Kind = Literal["classes", "labels", "values", "masks"]
"""Of targets: one class of several; several labels, each of which is there or not; numbers; a mask per plane."""

_MOST_NAMES = 20
"""That a sentence lists."""


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
        reading: how image files became inputs; None where they were none, or in another way.

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
    reading: ImageReading | None = None

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

    def noted(self, *notes: str) -> Data:
        """The same data with these sentences before their own."""
        noted = copy.copy(self)
        object.__setattr__(noted, "notes", (*notes, *self.notes))
        return noted

    def digest(self) -> str:
        """A digest of every value of every split; of files, their names and sizes."""
        digest = hashlib.sha256(b"" if self.episode_examples is None else self.episode_examples.numpy().tobytes())
        if self.kind in ("labels", "values"):  # which may be the same numbers
            digest.update(self.kind.encode())
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


def counted(data: Data, what: str = "examples") -> str:
    """A sentence that says what was read: how many examples of which classes, and how they are divided.

    Args:
        data: as read.
        what: an example is called.
    """
    sizes = {name: len(targets) for name, (_, targets) in data.splits().items()}
    divided = (
        f"{sizes['train']:,} for training, {sizes['validation']:,} for validation and {sizes['test']:,} for the test"
    )
    count, outputs = f"{sum(sizes.values()):,} {what}", data.number_of_classes
    names = data.class_names or [str(i) for i in range(outputs)]
    if data.kind != "classes":
        one = {"labels": "label", "values": "value", "masks": "plane of masks"}[str(data.kind)]
        several = {"plane of masks": "planes of masks"}.get(one, f"{one}s")
        listed = f": {', '.join(names[:_MOST_NAMES])}" if data.class_names and outputs <= _MOST_NAMES else ""
        return f"Read {count} with {outputs} {one if outputs == 1 else several}{listed}; {divided}."
    every = torch.cat([targets for _, targets in data.splits().values()])
    counts = torch.bincount(every, minlength=outputs)
    if outputs <= _MOST_NAMES:
        of_each = ", ".join(f"{name} {number:,}" for name, number in zip(names, counts.tolist(), strict=True))
    else:
        few, many = int(counts.argmin()), int(counts.argmax())
        of_each = f"from {int(counts[few]):,} ({names[few]}) to {int(counts[many]):,} ({names[many]}) of each"
    return f"Read {count} of {outputs:,} classes, {of_each}; {divided}."


def repeated(
    inputs: torch.Tensor, targets: torch.Tensor, parts: Sequence[torch.Tensor], names: Sequence[str] = ()
) -> list[str]:
    """Sentences on inputs that are there more than once: with other targets, and in several of the three parts.

    Args:
        inputs: shape (n, ...).
        targets: likewise.
        parts: the indices of each.
        names: of the examples; their numbers where there are none.
    """
    part_of = {i: number for number, part in enumerate(parts) for i in part.tolist()}
    alike: dict[bytes, list[int]] = {}
    for i in sorted(part_of):
        digest = hashlib.blake2b(inputs[i].contiguous().numpy().tobytes(), digest_size=16).digest()
        alike.setdefault(digest, []).append(i)
    same = [members for members in alike.values() if len(members) > 1]
    notes = []
    for what, differ in (
        ("with other targets", lambda i, j: not torch.equal(targets[i], targets[j])),
        ("in two of training, validation and test", lambda i, j: part_of[i] != part_of[j]),
    ):
        found = [(one[0], i) for one in same for i in one[1:] if differ(one[0], i)]
        if found:
            a, b = (names[i] if names else f"number {i}" for i in found[0])
            notes.append(f"{len(found)} inputs are there twice, {what}, such as {a} and {b}; keep one of each.")
    return notes
