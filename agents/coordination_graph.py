"""Coordination graphs: our learner, pairwise tables along the layer graph as additive terms of one shared reward.

The paper's agents share one table per pair of connected layers and update it by Q-learning. But all agents get one reward,
after the last pick: there is nothing to bootstrap, and the tables are terms of a sum. Here they are fitted as such. A sum of
local terms over a graph of agents is a coordination graph (Guestrin, Koller and Parr, 2001), and its best joint action is
found exactly, by eliminating one agent after the other.

**Model.** The score of a design x is

    y(x) = mu + sum over layers l of t_l[x_l] + sum over pairs (i, j) of t_ij[x_i, x_j] + noise        (1)

With V_l[a] the features of the hyperparameter values of action a, where the values of an ordered hyperparameter differ by
the steps between them, and A_l[a] one feature per action, its terms are

    t_l[a]     = V_l[a] . w + A_l[a] . u_l                                                             (2)
    t_ij[a, b] = V_i[a] . W_ij V_j[b] + A_i[a] . U_ij A_j[b]                                           (3)

w is one for all layers with the same kind of choice, all else is of one layer or pair. Layers that are not connected can act
together, too: their pairs have the first term of Eq. 3 alone, as a group of their own, in networks of up to `MOST_LAYERS` layers.
The weights are normal a priori: those of group g have variance v_g / (number of layers or pairs). Features have mean 0 over a
layer's actions and mean square norm 1. So the groups are orthogonal over all designs, as in an analysis of variance, and v_g is
the variance that group g explains.

**Learning.** Two designs' scores have covariance sum_g v_g K_g, and K_g is a sum over layers or pairs: as in a Gaussian
process all is computed on matrices of (designs, designs), whose cost hardly depends on the number of terms. The strengths v_g
and the variance of the noise maximise their marginal likelihood times a log-normal prior, by Newton's method with the average
information matrix (Gilmour, Thompson and Cullis, 1995).

**Scores** are rewards made normal in two ways: in proportion to their distance from their mean; or so above their median, and
below it by their ranks, so that designs that hardly learn do not distort the sum. Each way has a posterior of its own. The one
that counts is that which ranks the better half of the designs better by what it foretells of each from all others (Spearman's
correlation; to leave one out costs no further inverse).

**Choice.** Thompson sampling: weights are drawn from their posterior, by Matheron's rule

    sample + V F' (F V F' + noise)^-1 (scores - F sample - noise sample),    F: features of the designs told       (4)

and the next design maximises the tables that they make. The sample's deviation from the mean is multiplied by a number drawn
uniformly within 0 and 1, so that some designs are greedier than others, whatever the number of evaluations to come; and while
there are fewer than `DESIGNS_PER_LAYER` for each layer, by the root of the share that there are: where most weights were hardly
looked at, the maximum of a sample is mostly chance.

**Feasibility.** What was terminated, failed or broke a constraint says nothing of the score. Once there is such a design, scores
are learned from the others, and feasibility, 1 or 0, is a further Eq. 1 with strengths of its own. Samples of both are weighed
against each other in several ways. Of the maximisers the next design is the one of the highest sampled score, among those whose
sampled feasibility is at least a half.

**Other tasks.** With `prior=` the prior medians of the strengths are learned from other tasks, and a trend m(x), what they say of
the values of hyperparameters, is one more term of Eq. 1, whose coefficient is learned, too (`agents/prior.py`).

**Several objectives** are an Eq. 1 each, and several sums of their samples, weighed at random, have a maximiser each. The next
design is the one that adds most to the hypervolume of what was told, by the sampled values of all.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterable, Sequence
from functools import lru_cache, partial
from itertools import combinations
from statistics import NormalDist
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from agents.prior import REWARD, TREND_MEAN, Learned, OtherTasks, Prior, Source, ordered
from agents.protocol import Episode, check_directions
from marl_hpo_env import Design, InputError, Layer, SearchSpace, hypervolume, non_dominated, whole_number

Array = npt.NDArray[np.float64]
Integers = npt.NDArray[np.intp]

GROUPS = ("shared", "action", "value_pair", "action_pair", "distant_pair")
"""The groups of weights in Eqs. 2 and 3, in the order in which they stand there."""

PARTS = (*GROUPS, "ranks", "distances", "thompson", "greed", "feasibility", "gain")
"""What an ablation can leave out."""

PRIOR_STRENGTHS = np.array([0.3, 0.3, 0.03, 0.02, 0.03, 0.1])
"""Prior medians of the strengths v_g, in the order of `GROUPS`, and of the variance of the noise; scores have variance 1."""

PRIOR_DEVIATION = 1.5
"""Prior standard deviation of their logarithms."""

LEAST_NOISE = 1e-3
"""Rewards that fit the sum exactly would leave no noise, and a matrix that cannot be inverted."""

RELEARN = 1.05
"""The strengths are learned again once there are this many times as many episodes."""

MOST_LAYERS = 20
"""In deeper networks pairs that are not connected are left out: their number grows with the square."""

MOST_CELLS = 500_000
"""Layers are eliminated one after the other if the tables on the way have no more cells than this, all together."""

DESIGNS_PER_LAYER = 2
"""With fewer than this the search is the greedier, the fewer there are."""

WEIGHTINGS = 6
"""So many designs are to choose from where there is more than one thing to maximise."""

FEASIBILITY_WEIGHTS = np.geomspace(0.25, 32, WEIGHTINGS)
"""Of the sampled feasibility, beside 1 for the score."""

MARGIN = 0.1
"""Hypervolume is measured from this many times the front's extent beyond its nadir."""


class CoordinationGraph:
    """Pairwise tables as terms of the shared reward: Thompson sampling, maximised along the layer graph.

    It asks for no design twice, and takes in designs that it did not ask for. It goes on until every design has been asked.
    A design whose reward is no number is taken for one that failed.

    Args:
        multi_objective: searches the front of all objectives in place of the highest reward.
        without: for ablations, parts to do without, joined by `+`, as in `"value_pair+action_pair"`: groups of weights;
            `"ranks"` or `"distances"`, so that scores are made in the other way alone; `"thompson"`, so that weights are the
            posterior's mean; `"greed"`, so that the first samples deviate from it as far as the later ones; `"feasibility"`, so
            that designs that are not feasible rank lowest; `"gain"`, so that several objectives are weighed against each other
            once, at random.
        prior: tables and stored runs of other tasks to learn from before it begins, as in `"runs/*+digits-convnet"`
            (`agents/prior.py`).

    Raises:
        InputError: for an unknown part, for both ways to make scores, or a prior that is not there or cannot be read.
    """

    def __init__(self, multi_objective: bool = False, without: str = "", prior: str = "") -> None:
        self.multi_objective = multi_objective
        self.without = set(filter(None, without.split("+")))
        for part in self.without:
            if part not in PARTS:
                raise InputError.unknown("part of coordination-graph", part, PARTS)
        self._scorings = [score for part, score in SCORINGS.items() if part not in self.without]
        if not self._scorings:
            raise InputError("The coordination-graph cannot do without both of 'ranks' and 'distances'; leave one out.")
        self._others = OtherTasks(prior, partial(_learned_from, "+".join(sorted(self.without))))
        self._task: str | None = None

    def prepare(self, task: str) -> None:
        """The name of the task, of which it takes in nothing but what it is told."""
        self._task = task

    def reset(self, space: SearchSpace, seed: int) -> None:
        """Knows nothing but the prior."""
        self._others.warn(space, self._task)
        self._space = space
        self._rng = np.random.default_rng(whole_number("seed", seed, 0))
        self._terms = _Terms(space, distant="distant_pair" not in self.without)
        self._maximiser = _Maximiser(space.sizes, self._terms.pairs)
        self._each: dict[str, list[_Posterior]] = {}
        self._posteriors: dict[str, _Posterior] = {}
        self._feasibility: _Posterior | None = None
        self._feasible: npt.NDArray[np.bool_] = np.zeros(0, dtype=np.bool_)
        self._known: set[Design] = set()
        self._episodes: list[Episode] = []
        self._best = space.sample(self._rng)

    def ask(self, n: int) -> list[Design]:
        """`n` different designs, neither asked nor told before; fewer once there are no more."""
        designs: list[Design] = []
        while len(designs) < n and len(self._known) < self._space.size:
            designs.append(self._choice())
            self._known.add(designs[-1])
        return designs

    def _choice(self) -> Design:
        posteriors = list(self._posteriors.values()) or [self._begun(None)]
        heat = 0.0 if "thompson" in self.without else self._rng.random()
        if "greed" not in self.without:
            heat *= math.sqrt(min(1.0, (1 + len(self._known)) / (DESIGNS_PER_LAYER * len(self._space))))
        several = self._feasibility is not None or (len(posteriors) > 1 and "gain" not in self.without)
        weights = self._rng.dirichlet(np.ones(len(posteriors)), WEIGHTINGS if several else 1)
        drawn = np.stack([posterior.draw(heat, self._rng) for posterior in posteriors])
        sums, feasible = weights @ drawn, None
        if self._feasibility is not None:
            feasible = self._feasibility.draw(heat, self._rng)
            sums += np.outer(FEASIBILITY_WEIGHTS, feasible)
        starts = [self._best, self._space.sample(self._rng), self._space.sample(self._rng)]
        found = []
        for tables in map(self._terms.tables, sums):
            found.append(self._maximiser.best_unknown(tables, self._maximiser.best(tables, starts), self._known))
        return found[int(self._gains(found, drawn, feasible).argmax())] if several else found[0]

    def _gains(self, designs: Sequence[Design], drawn: Array, feasible: Array | None) -> Array:
        """What each design adds if the drawn weights are true; those that are not feasible then come last."""
        values = np.stack([self._drawn_values(weights, designs) for weights in drawn], axis=1)
        if len(drawn) == 1:
            gains = values[:, 0]
        else:
            told = np.stack([self._terms.values(self._terms.tables(weights)) for weights in drawn], axis=1)
            gains = _hypervolume_gains(values, told[self._feasible])
        if feasible is None:
            return gains
        shares = self._feasible.mean() + (self._feasible.std() or 1.0) * self._drawn_values(feasible, designs)
        return np.where(shares >= 0.5, gains, -np.inf) if shares.max() >= 0.5 else shares

    def _drawn_values(self, weights: Array, designs: Sequence[Design]) -> Array:
        tables = self._terms.tables(weights)
        return np.array([self._maximiser.value(tables, design) for design in designs])

    def tell(self, episodes: Sequence[Episode]) -> None:
        """Takes in what came of designs; strengths are learned again as their number grows.

        Raises:
            InputError: if there are several objectives to search, and an episode has none or does not say which way is better.
        """
        if not episodes:
            return
        for episode in episodes:
            self._terms.add(episode.design)
            self._known.add(episode.design)
            self._episodes.append(episode)
        objectives: Sequence[str | None] = [None]
        if self.multi_objective:
            objectives = list(self._episodes[0].objectives)
            if not objectives:
                raise InputError("The episodes have no objectives, so multi_objective is to be False.")
            check_directions(self._episodes[0])
        rewards = self._values(None)
        self._best = self._episodes[int(rewards.argmax())].design
        values = {name: self._values(name) for name in objectives}
        self._feasible = np.logical_and.reduce(np.isfinite([rewards, *values.values()]))
        apart = "feasibility" not in self.without and not self._feasible.all()
        if apart:
            self._feasibility = self._feasibility or _Posterior(self._terms, self.without)
            shares = self._feasible - self._feasible.mean()
            self._feasibility.update(shares / (shares.std() or 1.0))
        for name, found in values.items():
            told = np.flatnonzero(np.isfinite(found)) if apart else np.arange(len(found))
            if len(told):
                self._update(name, found[told], told)

    def _update(self, objective: str | None, values: Array, told: Integers) -> None:
        """The posteriors of the reward, or of an objective, from its values, and the one of them that counts."""
        name = objective or REWARD
        if name not in self._each:
            seen = list(self._episodes[0].objectives)
            # A reward that sees one metric alone goes with it, whatever the other tasks were rewarded with.
            known_as = seen[0] if objective is None and len(seen) == 1 else objective
            self._each[name] = [self._begun(known_as) for _ in self._scorings]
        for posterior, score in zip(self._each[name], self._scorings, strict=True):
            posterior.update(score(values), told)
        self._posteriors[name] = max(self._each[name], key=lambda posterior: posterior.foresight(values))

    def _begun(self, objective: str | None) -> _Posterior:
        """What other tasks say of the reward, or of an objective."""
        prior = self._others.prior(self._space, self._task, objective, PRIOR_STRENGTHS)
        return _Posterior(self._terms, self.without, prior)

    @property
    def learned_from(self) -> str:
        """A digest of the prior's sources, without those of the task named to `prepare`; empty where there is none."""
        return self._others.digest(self._task)

    def _values(self, objective: str | None) -> Array:
        """The reward, or an objective, the higher the better, of all episodes; -inf where there is none."""
        if objective is None:
            values = np.array([-math.inf if episode.broken else episode.reward for episode in self._episodes])
        else:
            found = [episode.objectives[objective] for episode in self._episodes]
            values = self._episodes[0].directions[objective] * np.array(found)
        terminated = np.array([episode.terminated for episode in self._episodes])
        return np.where(terminated | ~np.isfinite(values), -np.inf, values)


@lru_cache(maxsize=64)  # a comparison makes a learner for every run
def _learned_from(without: str, source: Source, multi_objective: bool) -> dict[str, Learned]:
    """What a learner without a prior knows of the reward, or of each objective, when it was told all of a source."""
    learner = CoordinationGraph(multi_objective and bool(source.episodes[0].objectives), without)
    learner.reset(source.space, 0)
    told = 0
    while episodes := source.episodes[told:]:
        # In growing portions, as its strengths are learned by a few steps at each.
        learner.tell(episodes[: max(10, told // 2)])
        told += max(10, told // 2)
    known = {}
    for name, posterior in learner._posteriors.items():
        mean = posterior.draw(0.0, learner._rng)
        known[name] = Learned(posterior.strengths, learner._terms.tables(mean).layers)
    return known


def _by_distances(values: Array) -> Array:
    """Distances of values to their mean, of root mean square 1; those that are not finite count as the lowest that is."""
    finite = values[np.isfinite(values)]
    if not len(finite):
        return np.zeros(len(values))
    values = np.maximum(values, finite.min())
    return np.asarray((values - finite.mean()) / (finite.std() or 1.0))


def _by_ranks(values: Array) -> Array:
    """Normal quantiles of the ranks of different values; from the middle one up, distances to it, of root mean square 1."""
    levels, inverse = np.unique(values, return_inverse=True)
    if len(levels) == 1:
        return np.zeros(len(values))
    middle = len(levels) // 2
    lower = [NormalDist().inv_cdf((rank + 0.5) / len(levels)) for rank in range(middle)]
    upper = levels[middle:] - levels[middle]
    return np.append(lower, upper / (math.sqrt((upper**2).mean()) or 1.0))[inverse]


def _rank_correlation(first: Array, second: Array) -> float:
    """Spearman's, equal values having one rank; 0 where either has a single value."""
    one, other = (np.unique(values, return_inverse=True)[1] for values in (first, second))
    return float(np.corrcoef(one, other)[0][1]) if one.any() and other.any() else 0.0


SCORINGS = {"ranks": _by_ranks, "distances": _by_distances}
"""The ways to make scores, by the part that each is; the first where both are as good."""


def _hypervolume_gains(values: Array, told: Array) -> Array:
    """How much hypervolume each of the values adds to that of those told, the higher the better; shape (n, objectives) each."""
    both = np.concatenate([values, told])
    undominated = non_dominated(-both)
    low, high = both[undominated].min(axis=0), both[undominated].max(axis=0)
    reference = low - MARGIN * (high - low)
    front = told[undominated[len(values) :]]
    gains = np.zeros(len(values))
    for k in np.flatnonzero(undominated[: len(values)]):
        # What others have of the box from the reference to these values.
        others = hypervolume(-np.minimum(front, values[k]), -reference) if len(front) else 0.0
        gains[k] = np.prod(values[k] - reference) - others
    return gains


# --- the terms (Eqs. 1 to 3) ---------------------------------------------------------------------------------------------


class Tables(NamedTuple):
    """The terms of Eq. 1: per layer an array (actions,), per pair of layers one (actions of i, actions of j).

    Args:
        layers: t_l.
        pairs: t_ij.
    """

    layers: list[Array]
    pairs: list[Array]


class _Kind(NamedTuple):
    """Layers with the same choices: their indices, V and A, and which of the shared weights their value features have."""

    layers: list[int]
    values: Array
    actions: Array
    columns: Integers


class _Joint(NamedTuple):
    """Pairs of the same two kinds: their indices, and per group of weights its number and its features of either layer."""

    pairs: list[int]
    sides: list[tuple[int, Array, Array]]


class _Terms:
    """Features of the designs told so far, and tables from weights.

    Layers of one kind, and pairs of the same two kinds, are computed in one go; their weights and cells lie side by side.

    Args:
        space: of the designs.
        distant: whether there are to be terms of pairs that are not connected.

    Attributes:
        pairs: (i, j) with i < j, those that are connected first.
        count: how many weights there are.
        group: per weight, the index of its group.
        share: per weight, 1 / (number of layers or pairs).
    """

    def __init__(self, space: SearchSpace, distant: bool = True) -> None:
        self._sizes = np.array(space.sizes)
        self.pairs, self._connected = list(space.pairs), len(space.pairs)
        if distant and len(space) <= MOST_LAYERS:
            self.pairs += sorted(set(combinations(range(len(space)), 2)) - set(space.pairs))
        self._pairs = np.array(self.pairs, dtype=np.intp).reshape(-1, 2)
        shared: dict[Any, Integers] = {}
        kinds: dict[str, _Kind] = {}
        names = [repr((layer.kind, layer.choices)) for layer in space.layers]
        for position, (name, layer) in enumerate(zip(names, space.layers, strict=True)):
            if name not in kinds:
                kinds[name] = _Kind([], *_features(layer), _shared_columns(layer, shared))
            kinds[name].layers.append(position)
        joints: dict[tuple[str, str, bool], list[int]] = {}
        for pair, (i, j) in enumerate(self.pairs):
            joints.setdefault((names[i], names[j], pair < self._connected), []).append(pair)
        self._kinds = list(kinds.values())
        self._joints = []
        for (first, second, near), members in joints.items():
            one, other = kinds[first], kinds[second]
            values, actions = (one.values, other.values), (one.actions, other.actions)
            sides = [(2, *values), (3, *actions)] if near else [(4, *values)]
            self._joints.append(_Joint(members, sides))
        self._of_layer = [kinds[name] for name in names]
        self._shared = sum(map(len, shared.values()))

        # Where each layer's actions, each pair's cells, and what two actions of a layer have in common (V V' and A A') begin.
        self._first_action, self._first_cell = (
            np.zeros(len(space), dtype=np.intp),
            np.zeros(len(self._pairs), dtype=np.intp),
        )
        self._first_kernel = np.zeros(len(space), dtype=np.intp)
        self._actions = self._cells = kernels = 0
        for kind in self._kinds:
            size = len(kind.actions)
            self._first_action[kind.layers] = self._actions + size * np.arange(len(kind.layers))
            self._first_kernel[kind.layers] = kernels
            self._actions += size * len(kind.layers)
            kernels += size**2
        for members, sides in self._joints:
            size = math.prod(map(len, sides[0][1:]))
            self._first_cell[members] = self._cells + size * np.arange(len(members))
            self._cells += size * len(members)
        self._value_kernels = np.concatenate([(kind.values @ kind.values.T).ravel() for kind in self._kinds])
        self._action_kernels = np.concatenate([(kind.actions @ kind.actions.T).ravel() for kind in self._kinds])

        lengths = [(0, self._shared)]
        lengths += [(1, len(kind.layers) * kind.actions.shape[1]) for kind in self._kinds]
        for members, sides in self._joints:
            lengths += [(g, len(members) * left.shape[1] * right.shape[1]) for g, left, right in sides]
        self.group = np.repeat(*np.array(lengths).T)
        layers, connected = len(space), max(1, self._connected)
        self._parts = np.array([layers] * 2 + [connected] * 2 + [max(1, len(self.pairs) - self._connected)])
        self.share = 1 / self._parts[self.group]
        self.count = len(self.group)

        self._count = 0
        self._designs = np.zeros((16, layers), dtype=np.intp)
        self._shared_features = np.zeros((16, self._shared))
        self._grams = np.zeros((len(GROUPS), 16, 16))

    def __len__(self) -> int:
        return self._count

    @property
    def grams(self) -> Array:
        """Per group, K_g: shape (groups, designs, designs)."""
        return self._grams[:, : self._count, : self._count]

    @property
    def designs(self) -> Integers:
        """All designs told: shape (designs, layers)."""
        return self._designs[: self._count]

    def add(self, design: Design) -> None:
        """One more design: its row in every K_g."""
        new = self._count
        if new == len(self._designs):
            self._grow(new + new // 4)
        self._count += 1
        self._designs[new] = design
        for kind, action in zip(self._of_layer, design, strict=True):
            self._shared_features[new, kind.columns] += kind.values[action]
        common = self._first_kernel + self._designs[new] * self._sizes + self.designs
        values, actions = self._value_kernels[common], self._action_kernels[common]
        shared = self._shared_features[: self._count] @ self._shared_features[new]
        connected, distant = self._pairs[: self._connected].T, self._pairs[self._connected :].T
        kernels = (values, connected), (actions, connected), (values, distant)
        pairs = [np.einsum("np,np->n", kernel[:, i], kernel[:, j]) for kernel, (i, j) in kernels]
        row = np.stack([shared, actions.sum(axis=1), *pairs]) / self._parts[:, None]
        self._grams[:, new, : self._count] = self._grams[:, : self._count, new] = row

    def _grow(self, rows: int) -> None:
        more = rows - self._count
        self._designs = np.pad(self._designs, ((0, more), (0, 0)))
        self._shared_features = np.pad(self._shared_features, ((0, more), (0, 0)))
        self._grams = np.pad(self._grams, ((0, 0), (0, more), (0, more)))

    def tables(self, weights: Array) -> Tables:
        """Eqs. 2 and 3."""
        shared, start = weights[: self._shared], self._shared
        layers: list[Array] = [np.zeros(0)] * len(self._sizes)
        pairs: list[Array] = [np.zeros(0)] * len(self._pairs)
        for kind in self._kinds:
            shape = len(kind.layers), kind.actions.shape[1]
            own, start = weights[start : start + math.prod(shape)].reshape(shape), start + math.prod(shape)
            total = kind.values @ shared[kind.columns] + own @ kind.actions.T
            for layer, table in zip(kind.layers, total, strict=True):
                layers[layer] = table
        for members, sides in self._joints:
            total = np.zeros((len(members), *map(len, sides[0][1:])))
            for _, left, right in sides:
                cube = len(members), left.shape[1], right.shape[1]
                total = total + left @ weights[start : start + math.prod(cube)].reshape(cube) @ right.T
                start += math.prod(cube)
            for pair, table in zip(members, total, strict=True):
                pairs[pair] = table
        return Tables(layers, pairs)

    def values(self, tables: Tables) -> Array:
        """F times the weights that made the tables: the sum of Eq. 1, without mu, of all designs told."""
        layers = np.concatenate([tables.layers[layer] for kind in self._kinds for layer in kind.layers])
        total = layers[self._used_actions()].sum(axis=1)
        if tables.pairs:
            pairs = np.concatenate([tables.pairs[pair].ravel() for members, _ in self._joints for pair in members])
            total += pairs[self._used_cells()].sum(axis=1)
        return np.asarray(total)

    def transposed(self, alpha: Array) -> Array:
        """F' times a number per design told: one number per weight."""
        blocks = [alpha @ self._shared_features[: self._count]]
        # Per action and per cell, the sum of the numbers of the designs that use it.
        used = self._used_actions()
        sums, start = np.bincount(used.ravel(), np.repeat(alpha, used.shape[1]), self._actions), 0
        for kind in self._kinds:
            shape = len(kind.layers), len(kind.actions)
            of_kind, start = sums[start : start + math.prod(shape)].reshape(shape), start + math.prod(shape)
            blocks.append((of_kind @ kind.actions).ravel())
        used = self._used_cells()
        sums, start = np.bincount(used.ravel(), np.repeat(alpha, used.shape[1]), self._cells), 0
        for members, sides in self._joints:
            cube = len(members), *map(len, sides[0][1:])
            of_joint, start = sums[start : start + math.prod(cube)].reshape(cube), start + math.prod(cube)
            blocks += [(left.T @ of_joint @ right).ravel() for _, left, right in sides]
        return np.concatenate(blocks)

    def of_actions(self, layers: Sequence[Array]) -> Array:
        """Weights u_l whose tables are these, per layer of mean 0."""
        weights, start = np.zeros(self.count), self._shared
        for kind in self._kinds:
            scaled = math.sqrt(1 - 1 / len(kind.actions)) * np.concatenate([layers[layer] for layer in kind.layers])
            weights[start : start + len(scaled)] = scaled
            start += len(scaled)
        return weights

    def _used_actions(self) -> Integers:
        """Which of all layers' actions each design uses: shape (designs, layers)."""
        return self._first_action + self.designs

    def _used_cells(self) -> Integers:
        """Which of all pairs' cells each design uses: shape (designs, pairs)."""
        i, j = self._pairs.T
        return self._first_cell + self.designs[:, i] * self._sizes[j] + self.designs[:, j]


def _features(layer: Layer) -> tuple[Array, Array]:
    """V and A of a layer: shape (actions, features) each, mean 0 over the actions and mean square norm 1."""
    blocks = [_normalised(block) for block in _value_blocks(layer).values()]
    values = np.concatenate([np.zeros((len(layer.actions), 0)), *blocks], axis=1) / math.sqrt(len(blocks) or 1)
    return values, _normalised(np.eye(len(layer.actions)))


def _shared_columns(layer: Layer, shared: dict[Any, Integers]) -> Integers:
    """Which shared weights the layer's value features have; `shared` holds them by what layers have in common."""
    for key, block in _value_blocks(layer).items():
        if key not in shared:
            shared[key] = sum(map(len, shared.values())) + np.arange(block.shape[1])
    return np.concatenate([np.zeros(0, dtype=np.intp), *(shared[key] for key in _value_blocks(layer))])


def _value_blocks(layer: Layer) -> dict[Any, Array]:
    """Per hyperparameter with a choice, the features of each action's value, by what layers that share weights have in common.

    Ordered values have one feature per step to the next value, which all that lie above it have: with normal weights, a
    random walk. So what layers share is the rank of a value, where there are as many. Others have one feature per value.
    """
    blocks: dict[Any, Array] = {}
    for position, (name, values) in enumerate(layer.choices.items()):
        if len(values) == 1:
            continue
        if ordered(values):
            above = [[action[position] >= step for step in sorted(values)[1:]] for action in layer.actions]
            blocks[layer.kind, name, len(values)] = np.array(above, dtype=float)
        else:
            equal = [[action[position] == value for value in values] for action in layer.actions]
            blocks[layer.kind, name, repr(values)] = np.array(equal, dtype=float)
    return blocks


def _normalised(features: Array) -> Array:
    features = features - features.mean(axis=0)
    return np.asarray(features / (math.sqrt((features**2).sum() / len(features)) or 1.0))


# --- learning ------------------------------------------------------------------------------------------------------------


class _Posterior:
    """What is known of the weights from one score per design told.

    Attributes:
        strengths: v_g per group, where there is a trend its variance, then the variance of the noise.
        inverse: of the scores' covariance, sum_g v_g K_g + 1 (for mu, which has variance 1) + noise.
        scores: per design.

    With a trend m, c m(x) is added to Eq. 1 (`agents/prior.py`): c is normal, and its variance one more strength.
    """

    def __init__(self, terms: _Terms, without: Iterable[str] = (), prior: Prior | None = None) -> None:
        prior = prior or Prior(PRIOR_STRENGTHS)
        self._terms = terms
        self._told = np.arange(len(terms))
        self._trend = None if prior.trend is None else terms.of_actions(prior.trend)
        self._medians = prior.medians
        trend_and_noise = [True] * (len(self._medians) - len(GROUPS))
        self._used = np.array([group not in without for group in GROUPS] + trend_and_noise)
        self.strengths = np.where(self._used, self._medians, 0.0)
        self.inverse: npt.NDArray[np.floating[Any]] = np.zeros((0, 0))
        self.scores: Array = np.zeros(0)
        self._learned = 0

    def update(self, scores: Array, told: Integers | None = None) -> None:
        """New scores, with those of designs that are new.

        Args:
            scores: one per design.
            told: which of the designs told they are of, those before in front; all where None.
        """
        self.scores = scores
        self._told = np.arange(len(scores)) if told is None else told
        if len(scores) >= RELEARN * self._learned:
            self._learned = len(scores)
            for _ in range(2):
                self.inverse = np.asarray(np.linalg.inv(self._covariance()), dtype=np.float64)
                self._newton_step()
            self.inverse = np.asarray(np.linalg.inv(self._covariance()), dtype=np.float64)
        else:
            for new in range(len(self.inverse), len(scores)):
                self._append(new)

    def foresight(self, values: Array) -> float:
        """How well the better half of the designs are ranked by what all others predict of each: Spearman's correlation with
        their `values`, -1 to 1."""
        residuals = self.inverse @ (self.scores - TREND_MEAN * self._trend_values())
        predicted = self.scores - residuals / np.diag(self.inverse)
        better = values >= np.median(values)
        return _rank_correlation(predicted[better], values[better])

    def _grams(self) -> Array:
        grams = self._terms.grams
        grams = grams if len(self._told) == len(self._terms) else grams[:, self._told[:, None], self._told]
        if self._trend is None:
            return grams
        trend = self._trend_values()
        return np.concatenate([grams, np.outer(trend, trend)[None]])

    def _trend_values(self) -> Array:
        """m of the designs told; 0 where there is no trend."""
        if self._trend is None:
            return np.zeros(len(self._told))
        return self._terms.values(self._terms.tables(self._trend))[self._told]

    def _covariance(self) -> Array:
        covariance = np.tensordot(self.strengths[:-1], self._grams(), 1) + 1.0
        covariance[np.diag_indices_from(covariance)] += self.strengths[-1]
        return np.asarray(covariance)

    def _append(self, new: int) -> None:
        """The inverse with one more row and column, from the one without."""
        grams = self._terms.grams[:, self._told[new], self._told[: new + 1]]
        covariance = self.strengths[: len(GROUPS)] @ grams + 1.0
        if self._trend is not None:
            trend = self._trend_values()
            covariance += self.strengths[len(GROUPS)] * trend[new] * trend[: new + 1]
        projected = self.inverse @ covariance[:new]
        rest = covariance[new] + self.strengths[-1] - projected @ covariance[:new]
        corner = np.append(projected, -1.0)
        self.inverse = np.pad(self.inverse, (0, 1)) + np.outer(corner, corner) / rest

    def _newton_step(self) -> None:
        """One step up the marginal likelihood of the logarithms of the strengths, times their prior."""
        alpha, grams = self.inverse @ (self.scores - TREND_MEAN * self._trend_values()), self._grams()
        pushed = np.stack([*(gram @ alpha for gram in grams), alpha])
        traces = np.array([*(np.vdot(gram, self.inverse) for gram in grams), np.trace(self.inverse)])
        used, v = self._used, self.strengths[self._used]
        slope = v * (pushed @ alpha - traces)[used] / 2
        information = np.outer(v, v) * (pushed @ self.inverse @ pushed.T)[np.ix_(used, used)] / 2
        slope -= np.log(v / self._medians[used]) / PRIOR_DEVIATION**2
        information += np.eye(len(v)) / PRIOR_DEVIATION**2
        self.strengths[used] = v * np.exp(np.clip(np.linalg.solve(information, slope), -1, 1))
        self.strengths[-1] = max(self.strengths[-1], LEAST_NOISE)

    def draw(self, heat: float, rng: np.random.Generator) -> Array:
        """Weights drawn from the posterior (Eq. 4), their deviation from its mean multiplied by `heat`, 0 to 1."""
        variances = self.strengths[self._terms.group] * self._terms.share
        sample = heat * np.sqrt(variances) * rng.standard_normal(self._terms.count)
        if self._trend is not None:
            sample += (TREND_MEAN + heat * math.sqrt(self.strengths[-2]) * rng.standard_normal()) * self._trend
        if not len(self.scores):
            return np.asarray(sample)
        error = heat * (rng.standard_normal() + math.sqrt(self.strengths[-1]) * rng.standard_normal(len(self.scores)))
        residual = self.scores - self._terms.values(self._terms.tables(sample))[self._told] - error
        pulls = np.zeros(len(self._terms))
        pulls[self._told] = self.inverse @ residual
        sample = sample + variances * self._terms.transposed(pulls)
        if self._trend is not None:
            of_trend = self.strengths[-2] * (self._trend_values() @ pulls[self._told])
            sample += of_trend * self._trend
        return np.asarray(sample)


# --- choosing the design -------------------------------------------------------------------------------------------------


class _Maximiser:
    """The design with the highest sum of tables.

    Exactly, by eliminating one layer after the other (Guestrin, Koller and Parr, 2001), where the tables on the way stay
    small, as on chains, trees and residual networks. Else layers that form a forest are maximised exactly while the others
    stay as they are, one such forest after the other until none improves the design.

    Args:
        sizes: the number of each layer's actions.
        pairs: those that have a table.
        most_cells: as `MOST_CELLS`.

    Attributes:
        exact: which of the two.
    """

    def __init__(self, sizes: Sequence[int], pairs: Sequence[tuple[int, int]], most_cells: int = MOST_CELLS) -> None:
        self._sizes, self._pairs = sizes, pairs
        self._neighbours: list[set[int]] = [set() for _ in sizes]
        self._touching: list[list[int]] = [[] for _ in sizes]
        for pair, (i, j) in enumerate(pairs):
            for layer, other in ((i, j), (j, i)):
                self._neighbours[layer].add(other)
                self._touching[layer].append(pair)
        order, cells = _min_fill(self._neighbours, sizes)
        self.exact = cells <= most_cells
        orders = [order] if self.exact else self._forests()
        self._eliminations = [_Elimination(sizes, pairs, order) for order in orders]

    def best(self, tables: Tables, starts: Sequence[Design]) -> Design:
        """The design with the highest value, or the best that is found from the starts."""
        if self.exact:
            return self._eliminations[0](tables, starts[0])
        found = [self._improved(tables, design) for design in starts]
        return max(found, key=lambda design: self.value(tables, design))

    def _improved(self, tables: Tables, design: Design) -> Design:
        """The design, bettered by one forest after the other."""
        value = -math.inf
        while (now := self.value(tables, design)) > value + 1e-9:
            value = now
            for eliminate in self._eliminations:
                design = eliminate(tables, design)
        return design

    def value(self, tables: Tables, design: Design) -> float:
        """The sum of Eq. 1, without mu."""
        layers = sum(float(table[action]) for table, action in zip(tables.layers, design, strict=True))
        pairs = zip(tables.pairs, self._pairs, strict=True)
        return layers + sum(float(table[design[i], design[j]]) for table, (i, j) in pairs)

    def best_unknown(self, tables: Tables, best: Design, known: set[Design]) -> Design:
        """The first design not in `known` of a best-first search from `best`, one layer's change at a time."""
        found = [(-self.value(tables, best), best)] if best in known else [(0.0, best)]
        queued = {best}
        while (head := heapq.heappop(found))[1] in known:
            cost, design = head
            for layer in range(len(design)):
                gains = self._conditional(tables, layer, design)
                for action in range(self._sizes[layer]):
                    changed = (*design[:layer], action, *design[layer + 1 :])
                    if changed not in queued:
                        queued.add(changed)
                        heapq.heappush(found, (cost - float(gains[action] - gains[design[layer]]), changed))
        return head[1]

    def _conditional(self, tables: Tables, layer: int, design: Design) -> Array:
        """What each action of the layer adds while all others stay, but for a constant."""
        total = tables.layers[layer].copy()
        for pair in self._touching[layer]:
            i, j = self._pairs[pair]
            total += tables.pairs[pair][:, design[j]] if i == layer else tables.pairs[pair][design[i]]
        return total

    def _forests(self) -> list[list[int]]:
        """Orders of elimination of sets of layers, each set a forest, so that each layer is in one of them."""
        orders: list[list[int]] = []
        covered: set[int] = set()
        while len(covered) < len(self._sizes):
            tree = list(range(len(self._sizes)))

            def root(layer: int, tree: list[int] = tree) -> int:
                while tree[layer] != layer:
                    tree[layer] = layer = tree[tree[layer]]
                return layer

            forest: set[int] = set()
            for layer in sorted(tree, key=lambda layer: layer in covered):
                roots = [root(neighbour) for neighbour in self._neighbours[layer] & forest]
                if len(set(roots)) == len(roots):
                    forest.add(layer)
                    for other in roots:
                        tree[other] = layer
            covered |= forest
            inside = [near & forest if layer in forest else set() for layer, near in enumerate(self._neighbours)]
            orders.append([layer for layer in _min_fill(inside, self._sizes)[0] if layer in forest])
        return orders


class _Elimination:
    """The best actions of the layers in `order`, eliminated in this order, while all others stay as they are.

    Which tables are added up at each step, and along which axes, is the same for all tables: it is found once.
    """

    def __init__(self, sizes: Sequence[int], pairs: Sequence[tuple[int, int]], order: Sequence[int]) -> None:
        turn = {layer: k for k, layer in enumerate(order)}
        # Per layer, the tables to be added up once it is its turn, each with the layers that it spans. Tables have numbers:
        # first those of the layers, then those of the pairs, then what is left of each step.
        waiting: dict[int, list[tuple[int, tuple[int, ...]]]] = {layer: [(layer, (layer,))] for layer in order}
        self._sliced: list[tuple[int, int, int, bool]] = []
        for number, (i, j) in enumerate(pairs, start=len(sizes)):
            inside = tuple(layer for layer in (i, j) if layer in turn)
            if inside:
                waiting[min(inside, key=turn.__getitem__)].append((number, inside))
            if len(inside) == 1:
                self._sliced.append((number, i, j, inside == (i,)))
        self._steps = []
        number = len(sizes) + len(pairs)
        for layer in order:
            others = tuple(
                sorted({k for _, spanned in waiting[layer] for k in spanned} - {layer}, key=turn.__getitem__)
            )
            axes = (*others, layer)
            views = []
            for table, spanned in waiting[layer]:
                transposed = [spanned.index(axis) for axis in axes if axis in spanned]
                views.append((table, transposed, [sizes[axis] if axis in spanned else 1 for axis in axes]))
            self._steps.append((layer, others, views))
            if others:
                waiting[others[0]].append((number, others))
            number += 1

    def __call__(self, tables: Tables, design: Design) -> Design:
        known = [*tables.layers, *tables.pairs]
        for number, i, j, first in self._sliced:
            known[number] = known[number][:, design[j]] if first else known[number][design[i]]
        choices = []
        for *_, views in self._steps:
            total: Any = 0.0
            for table, transposed, shape in views:
                total = total + known[table].transpose(transposed).reshape(shape)
            choices.append(total.argmax(axis=-1))
            known.append(total.max(axis=-1))
        actions = list(design)
        for (layer, others, _), choice in zip(reversed(self._steps), reversed(choices), strict=True):
            actions[layer] = int(choice[tuple(actions[other] for other in others)])
        return tuple(actions)


def _min_fill(neighbours: Sequence[set[int]], sizes: Sequence[int]) -> tuple[list[int], int]:
    """The order of elimination that joins the fewest layers at each step, and the cells of all tables on the way."""
    graph = [set(near) for near in neighbours]

    def cost(layer: int) -> tuple[int, int, int]:
        near = sorted(graph[layer])
        joined = sum(b not in graph[a] for k, a in enumerate(near) for b in near[k + 1 :])
        return joined, math.prod(sizes[k] for k in near) * sizes[layer], layer

    costs = {layer: cost(layer) for layer in range(len(graph))}
    order: list[int] = []
    cells = 0
    while costs:
        _, more, layer = min(costs.values())
        cells += more
        order.append(layer)
        del costs[layer]
        for other in graph[layer]:
            graph[other] |= graph[layer] - {other}
            graph[other].discard(layer)
        for changed in graph[layer].union(*(graph[other] for other in graph[layer])):
            costs[changed] = cost(changed)
    return order, cells
