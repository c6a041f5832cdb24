"""A learned predictor ranks the designs that were not evaluated, and the highest are next: the search of PNAS.

Liu et al., "Progressive Neural Architecture Search" (ECCV 2018), with its MLP ensemble.

As in the source: each action has an embedding of 100 numbers, uniform within +-0.1 at first; the mean of a design's
embeddings passes two hidden layers of 100 units to a sigmoid; five such networks, each of which never sees one fifth of the
designs, are averaged; they are trained by Adam on the absolute error, with learning rate 0.01 at first and 0.002 when they
continue with new designs; the designs predicted to be best are evaluated, and so on. The source's text was not at hand: the
shape of the MLP, the ensemble, the loss and the first learning rate are from memory, the rest as in code that follows it.

Otherwise than there: designs have all layers from the beginning, so nothing grows progressively, and the candidates are not
the extensions of the last ones. They are all designs not asked yet where the space has at most 4,096; elsewhere as many
draws, half of them uniform and half changing one layer of one of the ten best. Ours: 16 random designs first; 8 designs
(the source: 256) from one training to the next; 100 passes over all designs told in the first training and 40 in the later
ones; an embedding belongs to an action of one layer; the networks learn the rank of a reward among those told, from 0 for
the lowest to 1, since rewards have no fixed range, and the last bias starts near 0 and not at 1.8, since the mean rank is
1/2. A terminated design is learned at the rank of its penalty, which makes what is like it unlikely to be tried, and how far
below all others the penalty lies does not matter.
"""

from __future__ import annotations

import heapq
import itertools
from collections import deque
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from agents.protocol import Episode
from agents.rivals.torch_isolation import one_thread
from marl_hpo_env import Design, SearchSpace, whole_number

if TYPE_CHECKING:
    import torch

MEMBERS = 5
"""Networks in the ensemble."""

UNITS = 100
"""Of the embeddings and of each hidden layer."""

CANDIDATES = 4096
"""How many designs are ranked, where there are as many."""


class Predictor:
    """An ensemble of small networks predicts rewards, and the designs with the best predictions come next (PNAS).

    Args:
        random_designs: evaluated before anything is predicted (16 is ours).
        retrain_every: designs told between one training and the next (the source: 256; 8 is ours).

    Raises:
        InputError: for a setting outside its range.
    """

    def __init__(self, random_designs: int = 16, retrain_every: int = 8) -> None:
        for name, count in (("random_designs", random_designs), ("retrain_every", retrain_every)):
            whole_number(f"setting {name}", count, 1)
        self.random_designs = random_designs
        self.retrain_every = retrain_every

    def reset(self, space: SearchSpace, seed: int) -> None:
        """New weights, nothing known."""
        import torch

        self._space = space
        seed = whole_number("seed", seed, 0)
        self._rng = np.random.default_rng(seed)
        self._known: dict[Design, float] = {}
        self._asked: set[Design] = set()
        self._ranking: deque[Design] = deque()
        self._trained_on = 0
        layers, actions = len(space), max(space.sizes)
        self._offsets = actions * torch.arange(layers)
        generator = torch.Generator().manual_seed(seed)
        # The five networks side by side: of the embeddings in one matrix, of the layers in one stack.
        shapes_and_bounds: list[tuple[tuple[int, ...], float]] = [
            ((layers * actions, MEMBERS * UNITS), 0.1),
            *[
                ((MEMBERS, inputs, outputs), UNITS**-0.5)
                for inputs, outputs in [(UNITS, UNITS), (UNITS, UNITS), (UNITS, 1)]
            ],
            *[((MEMBERS, 1, outputs), UNITS**-0.5) for outputs in [UNITS, UNITS, 1]],
        ]
        self._weights = [
            torch.empty(shape).uniform_(-bound, bound, generator=generator).requires_grad_()
            for shape, bound in shapes_and_bounds
        ]
        self._optimizer = torch.optim.Adam(self._weights, 0.01)

    # --- which designs come next -------------------------------------------------------------------------------------

    def ask(self, n: int) -> list[Design]:
        """The designs with the best predictions, of those not asked yet; none when the space is exhausted."""
        designs: list[Design] = []
        while len(designs) < n and len(self._asked) < self._space.size:
            design = self._next()
            self._asked.add(design)
            designs.append(design)
        return designs

    def _next(self) -> Design:
        if not self._trained_on:
            return next(design for design in self._draws() if design not in self._asked)
        while self._ranking and self._ranking[0] in self._asked:
            self._ranking.popleft()
        if not self._ranking:
            candidates = self._candidates()
            order = np.argsort(-self._predict(candidates), kind="stable")
            self._ranking = deque(candidates[i] for i in order)
        return self._ranking.popleft()

    def _draws(self) -> Iterator[Design]:
        while True:
            yield self._space.sample(self._rng)

    def _candidates(self) -> list[Design]:
        """Distinct designs that were not asked yet, at least one."""
        if self._space.size <= CANDIDATES:
            every = itertools.product(*map(range, self._space.sizes))
            return [design for design in every if design not in self._asked]
        best = heapq.nlargest(10, self._known, key=self._known.__getitem__)
        found: dict[Design, None] = {}
        while not found:
            uniform = itertools.islice(self._draws(), CANDIDATES // 2)
            changed = (self._change_one_layer(best[i]) for i in self._rng.integers(len(best), size=CANDIDATES // 2))
            found = {design: None for design in itertools.chain(uniform, changed) if design not in self._asked}
        return list(found)

    def _change_one_layer(self, design: Design) -> Design:
        layer = int(self._rng.integers(len(design)))
        action = int(self._rng.integers(self._space.sizes[layer]))
        return (*design[:layer], action, *design[layer + 1 :])

    # --- what the ensemble predicts ----------------------------------------------------------------------------------

    def tell(self, episodes: Sequence[Episode]) -> None:
        """The designs are known, asked for or not; the ensemble is trained when enough are new."""
        for episode in episodes:
            self._known[episode.design] = episode.reward
            self._asked.add(episode.design)
        if len(self._known) - self._trained_on >= (self.retrain_every if self._trained_on else self.random_designs):
            self._train()
            self._trained_on = len(self._known)
            self._ranking.clear()

    def _train(self) -> None:
        import torch

        designs = torch.tensor(list(self._known))
        distinct, ranks = np.unique(list(self._known.values()), return_inverse=True)
        targets = torch.tensor(ranks / max(1, len(distinct) - 1), dtype=torch.float32)
        # Each member leaves out the fifth of the designs that is its own.
        seen = torch.arange(len(designs)) % MEMBERS != torch.arange(MEMBERS)[:, None]
        for group in self._optimizer.param_groups:
            group["lr"] = 0.002 if self._trained_on else 0.01
        with one_thread():
            for _ in range(40 if self._trained_on else 100):
                loss = (self._predictions(designs) - targets).abs()[seen].mean()
                self._optimizer.zero_grad()
                loss.backward()
                self._optimizer.step()

    def _predict(self, designs: Sequence[Design]) -> npt.NDArray[np.float32]:
        """The mean of the members' predictions, from 0 to 1; shape (designs,)."""
        import torch

        with one_thread(), torch.no_grad():
            return self._predictions(torch.tensor(designs)).mean(dim=0).numpy()

    def _predictions(self, designs: torch.Tensor) -> torch.Tensor:
        """Each member's; shape (members, designs)."""
        from torch.nn.functional import embedding_bag

        embeddings, first, second, last, first_bias, second_bias, last_bias = self._weights
        means = embedding_bag(designs + self._offsets, embeddings, mode="mean")
        hidden = means.unflatten(1, (MEMBERS, UNITS)).transpose(0, 1)
        hidden = (hidden @ first + first_bias).relu()
        hidden = (hidden @ second + second_bias).relu()
        return (hidden @ last + last_bias).sigmoid().squeeze(-1)
