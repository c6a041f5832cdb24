"""Numbers in place of values: which channel of the reference network each channel of a value is.

Every channel that a layer of the reference network makes has a number, from 1; 0 stands for none.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import fx


class Labels(NamedTuple):
    """The numbers of a value's channels.

    Args:
        ids: int64, of the value's rank; along a dimension in which they do not change its size is 1.
        places: likewise, where a dimension holds channels and what was a map: the place in the map, row by row.
        sizes: of that map.
    """

    ids: torch.Tensor
    places: torch.Tensor | None = None
    sizes: tuple[int, ...] = ()

    def along(self, dimension: int, size: int) -> torch.Tensor | None:
        """The numbers along one dimension of this size; where they change along others, too, those at the beginning of these."""
        return line_of_numbers(self.ids, dimension, size)

    def places_along(self, dimension: int, size: int) -> torch.Tensor | None:
        """The places likewise; None where there is no map."""
        return None if self.places is None else line_of_numbers(self.places, dimension, size)

    def fits(self, value: torch.Tensor) -> bool:
        """Whether these can be the numbers of this value."""
        return self.ids.dim() == value.dim() and all(
            a in (1, b) for a, b in zip(self.ids.shape, value.shape, strict=True)
        )


def positions(labels: torch.Tensor | None, reference: torch.Tensor | None) -> torch.Tensor | None:
    """For each channel its index among the reference's, -1 for none; None where that is not known."""
    if labels is None or reference is None or (len(reference) > 1 and bool((reference == reference[0]).all())):
        return None
    ordered, order = reference.sort(stable=True)
    at = torch.searchsorted(ordered, labels.contiguous()).clamp(max=len(ordered) - 1)
    return torch.where((ordered[at] == labels) & (labels > 0), order[at], -1)


def operands_of(node: fx.Node) -> list[fx.Node]:
    """The nodes anywhere in a node's arguments, each as often as it stands there."""
    found: list[fx.Node] = []
    fx.map_arg((node.args, node.kwargs), found.append)
    return found


def spanning(ids: torch.Tensor, value: torch.Tensor, dimension: int) -> Labels:
    """Numbers along one dimension of a value."""
    shape = [1] * value.dim()
    shape[dimension] = len(ids)
    return Labels(ids.view(shape))


def line_of_numbers(numbers: torch.Tensor, dimension: int, size: int) -> torch.Tensor | None:
    """The numbers along one dimension of this size; None where they are others in number."""
    if not -numbers.dim() <= dimension < numbers.dim():
        return None
    line = numbers.movedim(dimension, 0).flatten(1)[:, 0]
    return line.expand(size) if len(line) in (1, size) else None


def varying(ids: torch.Tensor) -> int | None:
    """The one dimension along which numbers change."""
    found = [d for d, size in enumerate(ids.shape) if size > 1]
    return found[0] if len(found) == 1 else None


def compressed(numbers: torch.Tensor) -> torch.Tensor:
    """The same with size 1 in every dimension along which they do not change."""
    for d, size in enumerate(numbers.shape):
        first = numbers.narrow(d, 0, 1) if size else numbers
        if size > 1 and (numbers.stride(d) == 0 or torch.equal(numbers, first.expand_as(numbers))):
            numbers = first
    return numbers


def with_none(ids: torch.Tensor) -> torch.Tensor:
    """The numbers in a row, and the number of none."""
    return torch.cat([ids.flatten(), ids.new_zeros(1)])


def called_name(node: fx.Node) -> str:
    """Of the function or method that a node calls."""
    return node.target if isinstance(node.target, str) else getattr(node.target, "__name__", "")
