"""Channels that must be chosen together, and the choice of those that a narrower or wider layer makes."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence

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
        self._joined: list[tuple[list[int], set[int]]] = []
        self._parts: dict[str, tuple[set[int], int]] = {}

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

    def join(self, ids: torch.Tensor, sizes: Sequence[int]) -> None:
        """Says that channels are put together of parts of these sizes."""
        self._joined.append((ids.tolist(), set(itertools.accumulate(sizes[:-1]))))

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

        A narrower one makes the strongest in their order, in proportion of each part; a wider one makes all of a part and then
        copies, in turn.

        Args:
            name: of the layer.
            width: now.
            strengths: by group; the first channels where None.
        """
        before = len(self.layers[name])
        if width == before:
            return torch.arange(width)
        edges, run = self._parts_of(name)
        parts = list(itertools.pairwise([0, *sorted(edges), before]))
        if any((end - start) % run or (end - start) * width % (before * run) for start, end in parts):
            parts, run = [(0, before)], 1
        strength = None
        if strengths is not None:
            strength = torch.tensor([strengths.get(root, 0.0) for root in self.roots(name)], dtype=torch.float64)
        kept = []
        for start, end in parts:
            units, chosen = (end - start) // run, (end - start) * width // (before * run)
            places = torch.arange(chosen) % units
            if strength is not None and chosen < units:
                summed = strength[start:end].view(units, run).sum(1)
                places = summed.argsort(descending=True, stable=True)[:chosen].sort().values
            kept.append((start + places[:, None] * run + torch.arange(run)).flatten())
        return torch.cat(kept)

    def _parts_of(self, name: str) -> tuple[set[int], int]:
        """Where the parts of a layer's channels end, and the length of the runs within them that stay whole; one for all layers
        that are tied."""
        if not self._parts:
            groups: dict[tuple[int, ...], list[str]] = {}
            for layer in self.layers:
                groups.setdefault(tuple(self.roots(layer)), []).append(layer)
            found = {roots: [self._own_parts(layer) for layer in layers] for roots, layers in groups.items()}
            for ids, edges in self._joined:
                found.get(tuple(map(self._groups.root, ids)), []).append((edges, 1))
            for roots, layers in groups.items():
                parts = set().union(*(edges for edges, _ in found[roots])), math.lcm(*(run for _, run in found[roots]))
                self._parts |= dict.fromkeys(layers, parts)
        return self._parts[name]

    def _own_parts(self, name: str) -> tuple[set[int], int]:
        roots = [self._channels.root(number) for number in self.layers[name].tolist()]
        edges: set[int] = set()
        runs = 1
        for ids, blocks, run in self._taken_apart:
            its = [self._channels.root(number) for number in ids]
            if its == roots:
                runs = math.lcm(runs, run)
            block = {root: place * blocks // len(its) for place, root in enumerate(its)}
            edges |= {i for i in range(1, len(roots)) if block.get(roots[i]) != block.get(roots[i - 1])}
        return edges, runs
