"""Learners where no CNN is: any of them as a sampler of Optuna (Akiba et al., 2019).

    import optuna
    from agents import learner
    from agents.learner_sampler import LearnerSampler

    study = optuna.create_study(sampler=LearnerSampler(learner("coordination-graph"), seed=0))
    study.optimize(objective, n_trials=100)

**The game.** Every parameter that all completed trials have in common is a layer with one hyperparameter. Its actions are the
values of a categorical parameter or of a short range; of a float or a long range they are bins, of equal width or, where the
parameter is logarithmic, equal ratio. The value is drawn inside the bin. Numbers are in order also where they are categories.
Parameters whose names have the same last word, but for its numbers, are layers of one kind: `units_l0` and `units_l1`, or
`encoder.width` and `decoder.width`. What is learned of one counts a little for the others.

**Each ask is a function of the study**, of the sampler's seed and of the trial's number: a copy of the learner is reset, told of
every finished trial, and asked for one design. So threads and processes can share a study, and one that was stored goes on.

**What it costs.** Each ask fits anew to all that is known, so it costs the more, the more trials there are. On one core, and with
20 floats, one of `coordination-graph` takes 45 ms with 100 trials, 0.2 s with 500 and 0.8 s with 1,000. With 100 floats that are
all connected it takes a second from the beginning: then say which ones are.

**Side by side.** A design that a running trial has is not taken. Each trial writes down in the study what it is about to take,
and only then looks at what the others have written: of two that want one design at least one sees the other, and asks again.

**Until a trial has completed**, and for parameters that only some trials have, values are drawn one parameter at a time. They are
a Latin hypercube: of as many trials in a row as a parameter has actions, no two get the same one, with one seed in all processes.
"""

from __future__ import annotations

import copy
import math
import re
import zlib
from collections.abc import Iterable, Mapping, Sequence, Set
from graphlib import CycleError, TopologicalSorter
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from agents.protocol import Episode, Learner
from marl_hpo_env import Design, InputError, Layer, SearchSpace, is_number, whole_number

try:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
    from optuna.samplers import BaseSampler
    from optuna.search_space import intersection_search_space
    from optuna.study import StudyDirection
    from optuna.trial import TrialState
except ImportError:
    raise InputError(
        "A learner as Optuna's sampler needs the package 'optuna'; install it with: pip install 'marl-hpo-env[optuna]'."
    ) from None

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.study import Study
    from optuna.trial import FrozenTrial

Array = npt.NDArray[np.float64]

TAKEN = "marl_hpo_env:taken"
"""The attribute of a running trial that holds what it is about to take, by parameter, as Optuna stores values."""


class LearnerSampler(BaseSampler):
    """A learner as a sampler of Optuna.

    The reward is the study's value, or its negative where it is minimised. Trials that failed, were pruned, break a constraint or
    have a value that is not finite are terminated episodes. Several values are the objectives, which a learner such as
    `coordination-graph(multi_objective=True)` searches. For all others they are weighed anew for each trial, with weights drawn
    uniformly (ParEGO; Knowles, 2006): the reward is the greatest weighted distance from the best, by ranks, with a minus.

    A learner that repeats no design, such as `coordination-graph`, repeats none here, with as many processes as there are, once a
    trial has completed. When it has no more designs, values are drawn as those before the first completed trial.

    Args:
        learner: is copied for each trial and stays as it is.
        inputs: by parameter, those that feed it, as `{"b": ("a",)}`; no others are connected. Names that a study does not have
            are passed over. None connects every parameter with every other.
        bins: the most actions of a float or of a range of integers.
        seed: of all that is drawn; None draws one.

    Raises:
        InputError: if Optuna is not installed, `learner` is none, `inputs` go round in a circle, or `bins` or `seed` are out of
            range.
    """

    def __init__(
        self,
        learner: Learner,
        *,
        inputs: Mapping[str, Sequence[str]] | None = None,
        bins: int = 16,
        seed: int | None = None,
    ) -> None:
        if not all(hasattr(learner, method) for method in ("reset", "ask", "tell")):
            raise InputError(f"The learner is {learner!r}; give one such as learner('coordination-graph').")
        self._learner = learner
        self._inputs = None if inputs is None else _checked(inputs)
        self._bins = whole_number("number of bins", bins, 2)
        self._seed = int(np.random.default_rng().integers(2**32)) if seed is None else whole_number("seed", seed, 0)

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """The parameters that all completed trials have in common, but for those with one value."""
        common = intersection_search_space(study.get_trials(deepcopy=False))
        return {name: distribution for name, distribution in common.items() if not distribution.single()}

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """One design of the learner as values."""
        if not search_space:
            return {}
        parameters = {name: _Parameter(search_space[name], self._bins) for name in self._order(search_space)}
        rng = np.random.default_rng([self._seed, trial.number])
        player = copy.deepcopy(self._learner)
        player.reset(self._space(parameters), int(rng.integers(2**32)))
        finished = _finished(study, parameters)
        player.tell(_episodes(finished, parameters, study.directions, rng))
        known = {trial.number} | {other.number for other in finished}
        taken, refused = _taken(study, parameters, known), set[Design]()
        while designs := player.ask(1):
            design = designs[0]
            if design not in taken - refused:  # one that it asks for again although it was refused, it insists on
                values = {name: parameters[name].draw(a, rng) for name, a in zip(parameters, design, strict=True)}
                stored = {name: search_space[name].to_internal_repr(value) for name, value in values.items()}
                study._storage.set_trial_system_attr(trial._trial_id, TAKEN, stored)
                taken = _taken(study, parameters, known)
                if design not in taken - refused:
                    return values
            refused.add(design)
        return {name: self.sample_independent(study, trial, name, search_space[name]) for name in parameters}

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """A value of a parameter that is not common to all completed trials."""
        parameter = _Parameter(param_distribution, self._bins)
        among = zlib.crc32(param_name.encode())
        turn, place = divmod(trial.number, len(parameter))
        order = np.random.default_rng([self._seed, among, turn]).permutation(len(parameter))
        return parameter.draw(int(order[place]), np.random.default_rng([self._seed, among, trial.number, 1]))

    def _order(self, names: Iterable[str]) -> list[str]:
        """The parameters, each behind its inputs."""
        if self._inputs is None:
            return list(names)
        known = set(names)
        graph = {name: known.intersection(self._inputs.get(name, ())) for name in names}
        # Sorted, since the order of a set is another one in another process.
        return list(TopologicalSorter({name: sorted(before) for name, before in graph.items()}).static_order())

    def _space(self, parameters: Mapping[str, _Parameter]) -> SearchSpace:
        layers: list[Layer] = []
        for name, parameter in parameters.items():
            before = [layer.name for layer in layers]
            inputs = before if self._inputs is None else [n for n in before if n in self._inputs.get(name, ())]
            layers.append(Layer(name, _kind(name), {"value": parameter.choices}, tuple(inputs)))
        return SearchSpace(layers)


def _checked(inputs: Mapping[str, Sequence[str]]) -> dict[str, tuple[str, ...]]:
    """Inputs as they are kept.

    Raises:
        InputError: if they are not names by name, or go round in a circle.
    """
    if not isinstance(inputs, Mapping) or any(
        isinstance(names, str) or not isinstance(names, Iterable) for names in inputs.values()
    ):
        raise InputError(f"The inputs are {inputs!r}; give names by parameter, such as {{'b': ('a',)}}.")
    try:
        TopologicalSorter(inputs).prepare()
    except CycleError as error:
        circle = " - ".join(map(repr, error.args[1]))
        raise InputError(f"The inputs go round in a circle, {circle}; leave one of them out.") from None
    return {name: tuple(names) for name, names in inputs.items()}


def _kind(name: str) -> str:
    """What a parameter has in common with others: the last word of its name, without its numbers."""
    return re.sub(r"\d+", "#", name.rpartition(".")[2] or name)


class _Parameter:
    """A parameter of Optuna's as a choice: its values, or bins of them, by number.

    A value has a position: its number where values can be counted, else itself or its logarithm. Actions lie between edges.

    Args:
        distribution: of the parameter.
        bins: the most of them.

    Attributes:
        distribution: as given.
        choices: one per action, numbers where they have an order.
    """

    def __init__(self, distribution: BaseDistribution, bins: int) -> None:
        self.distribution = distribution
        self.choices: tuple[Any, ...] = ()
        self._low: float = 0
        self._step: float | None = 1
        self._log = False
        if isinstance(distribution, CategoricalDistribution):
            choices, self._high = distribution.choices, len(distribution.choices) - 1.0
            ordered = all(map(is_number, choices)) and len(set(choices)) == len(choices)
            self.choices = choices if ordered else tuple(map(str, range(len(choices))))
            bins = len(choices)
        elif isinstance(distribution, IntDistribution | FloatDistribution):
            self._low, self._high = distribution.low, distribution.high
            self._step, self._log = distribution.step, distribution.log
        self._edges = self._cut(bins)
        self.choices = self.choices or tuple(range(len(self)))

    def _cut(self, bins: int) -> Array:
        if self._step is None:
            ends = (math.log(self._low), math.log(self._high)) if self._log else (self._low, self._high)
            return np.linspace(ends[0], ends[1], bins + 1)
        count = round((self._high - self._low) / self._step) + 1
        if count <= bins:
            edges = np.arange(count + 1.0)
        elif self._log:
            edges = np.geomspace(self._low, self._high + 1, bins + 1) - self._low
        else:
            edges = np.linspace(0, count, bins + 1)
        return np.unique(np.rint(edges))  # no bin without a value

    def __len__(self) -> int:
        return len(self._edges) - 1

    def action(self, internal: float) -> int:
        """The action that a value lies in, which is given as Optuna stores it."""
        if self._step is None:
            position = math.log(internal) if self._log else internal
        else:
            position = round((internal - self._low) / self._step)
        return int(np.clip(np.searchsorted(self._edges, position, side="right") - 1, 0, len(self) - 1))

    def draw(self, action: int, rng: np.random.Generator) -> Any:
        """A value, drawn uniformly inside the action."""
        position = float(rng.uniform(self._edges[action], self._edges[action + 1]))
        if self._step is None:
            value = math.exp(position) if self._log else position
        else:
            value = self._low + math.floor(position) * self._step
        return self.distribution.to_external_repr(min(max(value, self._low), self._high))


# --- the study as a learner is told of it -------------------------------------------------------------------------------


def _stored(trial: FrozenTrial) -> dict[str, float]:
    """The values that a trial has, or is about to take, as Optuna stores them."""
    values = {name: trial.distributions[name].to_internal_repr(value) for name, value in trial.params.items()}
    return {**trial.system_attrs.get(TAKEN, {}), **values}


def _design(parameters: Mapping[str, _Parameter], stored: Mapping[str, float]) -> Design:
    return tuple(parameter.action(stored[name]) for name, parameter in parameters.items())


def _taken(study: Study, parameters: Mapping[str, _Parameter], known: Set[int]) -> set[Design]:
    """The designs of all trials but those whose numbers are known: of those that run, and that have finished since."""
    stored = [_stored(trial) for trial in study.get_trials(deepcopy=False) if trial.number not in known]
    return {_design(parameters, values) for values in stored if parameters.keys() <= values.keys()}


def _finished(study: Study, parameters: Mapping[str, _Parameter]) -> list[FrozenTrial]:
    """Every finished trial that has these very parameters, in the order of their numbers."""
    return [
        trial
        for trial in study.get_trials(deepcopy=False)
        if trial.state.is_finished()
        and all(trial.distributions.get(name) == parameter.distribution for name, parameter in parameters.items())
    ]


def _episodes(
    finished: Sequence[FrozenTrial],
    parameters: Mapping[str, _Parameter],
    directions: Sequence[StudyDirection],
    rng: np.random.Generator,
) -> list[Episode]:
    """What a learner is told of finished trials; objectives bear the numbers of the study's values as names."""
    better = {str(number): 1 if way == StudyDirection.MAXIMIZE else -1 for number, way in enumerate(directions)}
    nothing = [math.nan] * len(better)
    values = np.array([trial.values if _counts(trial) else nothing for trial in finished]).reshape(-1, len(better))
    completed = np.asarray(np.isfinite(values).all(axis=1))
    values[~completed] = math.nan
    rewards = np.full(len(finished), -1.0)
    if completed.any():
        known = _rewards(values[completed] * list(better.values()), rng)
        rewards[completed], rewards[~completed] = known, known.min() - 1.0
    return [
        Episode(
            _design(parameters, _stored(trial)),
            float(rewards[k]),
            dict(zip(better, values[k].tolist(), strict=True)),
            not completed[k],
            better,
        )
        for k, trial in enumerate(finished)
    ]


def _counts(trial: FrozenTrial) -> bool:
    """Whether a trial has a value, and no constraint that it breaks."""
    return trial.state == TrialState.COMPLETE and all(value <= 0 for value in trial.constraints.values())


def _rewards(values: Array, rng: np.random.Generator) -> Array:
    """Of trials whose values, shape (trials, objectives), are the better the higher."""
    if values.shape[1] == 1:
        return values[:, 0]
    behind = np.stack([np.unique(-column, return_inverse=True)[1] for column in values.T], axis=1)
    scaled = behind / np.maximum(behind.max(axis=0), 1)
    return -(rng.dirichlet(np.ones(values.shape[1])) * scaled).max(axis=1)
