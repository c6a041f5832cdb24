"""Channels that must be chosen together, and the choice of those that a narrower or wider layer makes."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch


class _Sets:
    """Disjoint sets of numbers."""

    def __init__(self) -> None:
        self.parents = [0]

    def root(self, number: int) -> int:
        """The number that stands for a set."""
        parents = self.parents
        while parents[number] != number:
            parents[number] = parents[parents[number]]
            number = parents[number]
        return number

    def unite(self, a: int, b: int) -> None:
        """Makes the sets of two numbers one."""
        first, second = sorted((self.root(a), self.root(b)))
        self.parents[second] = first


class Groups:
    """The numbers of a reference network's channels, from 1: which are one channel under several numbers, and which are computed
    with one another, and so are chosen together.

    Attributes:
        layers: by name, numbers of a layer's channels, the same at each of its calls.
    """

    def __init__(self) -> None:
        self.layers: dict[str, torch.Tensor] = {}
        self._channels = _Sets()
        self._groups = _Sets()
        self._taken_apart: list[tuple[list[int], int, int]] = []
        self._parts: dict[str, tuple[int, int]] = {}

    def more(self, count: int) -> int:
        """The first of as many new numbers."""
        first = len(self._channels.parents)
        for sets in (self._channels, self._groups):
            sets.parents.extend(range(first, first + count))
        return first

    def layer(self, name: str, width: int) -> torch.Tensor:
        """The numbers of a layer's channels."""
        if name not in self.layers:
            first = self.more(width)
            self.layers[name] = torch.arange(first, first + width, device="cpu")
        return self.layers[name]

    def same(self, some: torch.Tensor, others: torch.Tensor) -> None:
        """Says that channels are others, one by one."""
        for a, b in zip(some.tolist(), others.tolist(), strict=True):
            if a and b:
                self._channels.unite(a, b)
                self._groups.unite(a, b)

    def together(self, some: torch.Tensor, others: torch.Tensor) -> None:
        """Says that channels are computed with others, one by one."""
        for a, b in zip(some.tolist(), others.tolist(), strict=True):
            if a and b:
                self._groups.unite(a, b)

    def take_apart(self, ids: torch.Tensor, blocks: int, run: int) -> None:
        """Says that channels are taken apart into as many blocks, and within a block into runs of this length."""
        self._taken_apart.append((ids.tolist(), blocks, run))

    def roots(self, name: str) -> list[int]:
        """The groups of a layer's channels, by a number each."""
        return [self._groups.root(number) for number in self.layers[name].tolist()]

    def tied(self) -> list[list[str]]:
        """Names of layers whose channels are computed with one another, all of them in their order."""
        found: dict[tuple[int, ...], list[str]] = {}
        for name in self.layers:
            found.setdefault(tuple(self.roots(name)), []).append(name)
        return [names for names in found.values() if len(names) > 1]

    def select(self, name: str, width: int, strengths: Mapping[int, float] | None) -> torch.Tensor:
        """Which of the reference's channels a layer of this width makes, as indices.

        A narrower one makes the strongest in their order, as many of each block; a wider one makes all and then copies, in turn.

        Args:
            name: of the layer.
            width: now.
            strengths: by group; the first channels where None.
        """
        before = len(self.layers[name])
        if width == before:
            return torch.arange(width)
        blocks, run = self._parts_of(name)
        if before % (blocks * run) or width % (blocks * run):
            blocks, run = 1, 1
        units, chosen = before // (blocks * run), width // (blocks * run)
        kept = torch.arange(chosen).remainder(units).expand(blocks, chosen)
        if strengths is not None and chosen < units:
            of_channels = torch.tensor([strengths.get(root, 0.0) for root in self.roots(name)], dtype=torch.float64)
            order = of_channels.view(blocks, units, run).sum(2).argsort(dim=1, descending=True, stable=True)
            kept = order[:, :chosen].sort(1).values
        indices = (torch.arange(blocks)[:, None] * units + kept)[:, :, None] * run + torch.arange(run)
        return indices.flatten()

    def _parts_of(self, name: str) -> tuple[int, int]:
        """The number of blocks of a layer's channels, and the length of the runs within them that stay whole; one for all layers
        that are tied."""
        if not self._parts:
            groups: dict[tuple[int, ...], list[str]] = {}
            for layer in self.layers:
                groups.setdefault(tuple(self.roots(layer)), []).append(layer)
            for layers in groups.values():
                lengths, runs = zip(*map(self._own_parts, layers), strict=True)
                parts = len(self.layers[layers[0]]) // math.gcd(*lengths), math.lcm(*runs)
                self._parts |= dict.fromkeys(layers, parts)
        return self._parts[name]

    def _own_parts(self, name: str) -> tuple[int, int]:
        """The length of the blocks and of the runs."""
        roots = [self._channels.root(number) for number in self.layers[name].tolist()]
        length, runs = len(roots), 1
        for ids, blocks, run in self._taken_apart:
            its = [self._channels.root(number) for number in ids]
            if its == roots:
                runs = math.lcm(runs, run)
            block = {root: place * blocks // len(its) for place, root in enumerate(its)}
            ends = [i for i in range(1, len(roots)) if block.get(roots[i]) != block.get(roots[i - 1])]
            length = math.gcd(length, *ends)
        return length, runs
