"""Optuna's samplers (Akiba et al., 2019), which many would pick first, as learners.

Each hyperparameter of each layer is one of Optuna's parameters, named such as `conv1.out_channels`. One whose values are
numbers is suggested as the rank of its value (`suggest_int`), so that Optuna knows their order; one with other values
(types, tuples, names) as a category (`suggest_categorical`).

Optuna asks for some designs again; a repeat is an episode like any other. In a batch it knows which designs are still
being evaluated. All settings that are not named here are Optuna's defaults.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal

import numpy as np

from agents.protocol import Episode, check_directions
from agents.rivals.ranks import Ranks
from marl_hpo_env import Design, InputError, SearchSpace, whole_number

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.samplers import BaseSampler
    from optuna.study import Study
    from optuna.trial import Trial


class _Parameters(Ranks):
    """A search space as Optuna's parameters."""

    def __init__(self, space: SearchSpace) -> None:
        from optuna.distributions import CategoricalDistribution, IntDistribution

        super().__init__(space)
        self.distributions: dict[str, BaseDistribution] = {
            name: IntDistribution(0, len(values) - 1)
            if name in self.ordered
            else CategoricalDistribution(range(len(values)))
            for name, values in self.values.items()
        }


class _OptunaLearner:
    """What the learners share: designs are asked of a study, and told to it as one maximised objective, the reward.

    The reward is told also where it is the penalty: a sampler that is not told of a terminated design asks for it again.
    """

    _study: Study

    def __init__(self) -> None:
        try:
            import optuna  # noqa: F401
        except ImportError:
            raise InputError(
                "Learners of Optuna need the package 'optuna'; install it with: pip install 'marl-hpo-env[optuna]'."
            ) from None

    def _sampler(self, seed: int) -> BaseSampler:
        raise NotImplementedError

    def reset(self, space: SearchSpace, seed: int) -> None:
        self._parameters = _Parameters(space)
        self._seed = whole_number("seed", seed, 0) % 2**32  # Optuna's samplers take 32 bits
        self._begin_study(["maximize"])

    def ask(self, n: int) -> list[Design]:
        return [self._ask_study() for _ in range(n)]

    def tell(self, episodes: Sequence[Episode]) -> None:
        for episode in episodes:
            self._study.tell(self._trial_of(episode.design), episode.reward)

    def _begin_study(self, directions: Sequence[Literal["maximize", "minimize"]]) -> None:
        import optuna

        with _silenced():
            self._study = optuna.create_study(sampler=self._sampler(self._seed), directions=directions)
        self._asked: defaultdict[Design, deque[Trial]] = defaultdict(deque)

    def _ask_study(self) -> Design:
        trial = self._study.ask(self._parameters.distributions)
        design = self._parameters.design(trial.params)
        self._asked[design].append(trial)
        return design

    def _trial_of(self, design: Design) -> Trial:
        """The first trial with this design that was asked and not told yet; a new one where there is none."""
        if not self._asked[design]:
            self._study.enqueue_trial(self._parameters.positions(design))
            self._ask_study()
        return self._asked[design].popleft()


class OptunaTPE(_OptunaLearner):
    """Optuna's tree-structured Parzen estimator (Bergstra et al., 2011), multivariate.

    What Optuna itself picks since its version 5. Terminated designs are told with the penalty, and so count among the bad ones.

    Args:
        multivariate: whether all parameters are drawn jointly (Falkner et al., 2018), or each by itself.

    Raises:
        InputError: if Optuna is not installed.
    """

    def __init__(self, multivariate: bool = True) -> None:
        super().__init__()
        self.multivariate = multivariate

    def _sampler(self, seed: int) -> BaseSampler:
        from optuna.samplers import TPESampler

        return TPESampler(seed=seed, multivariate=self.multivariate)


class OptunaGP(_OptunaLearner):
    """Optuna's Gaussian process with a Matérn kernel, log expected improvement as acquisition.

    Terminated designs are told with the penalty, and so are part of what the process is fitted to.

    Raises:
        InputError: if Optuna is not installed.
    """

    def _sampler(self, seed: int) -> BaseSampler:
        from optuna.samplers import GPSampler

        return GPSampler(seed=seed)


class _MultiObjectiveLearner(_OptunaLearner):
    """What the learners share that are told every objective in place of the reward, each in its own direction.

    A design that did not complete has no objectives; it is told as pruned, which is Optuna's word for what was stopped.
    A constraint of the reward is not seen, but the objective that it bounds is one of those sought.
    """

    def reset(self, space: SearchSpace, seed: int) -> None:
        self._names: list[str] | None = None
        super().reset(space, seed)

    def tell(self, episodes: Sequence[Episode]) -> None:
        from optuna.trial import TrialState

        for episode in episodes:
            if self._names is None:
                self._begin_objectives(episode)
            trial = self._trial_of(episode.design)
            values = [episode.objectives[name] for name in self._names or ()]
            if np.isnan(values).any():
                self._study.tell(trial, state=TrialState.PRUNED)
            else:
                self._study.tell(trial, values)

    def _begin_objectives(self, episode: Episode) -> None:
        """Begins again with a study of these objectives, which only the first episode names.

        What was asked until then was drawn uniformly by the seed, so the new study asks for the same designs again.
        """
        check_directions(episode)
        self._names = list(episode.objectives)
        asked = sum(len(trials) for trials in self._asked.values())
        self._begin_study(["maximize" if episode.directions[name] > 0 else "minimize" for name in self._names])
        self.ask(asked)


class OptunaMOTPE(_MultiObjectiveLearner):
    """Optuna's multi-objective tree-structured Parzen estimator (Ozaki et al., 2022), told every objective.

    Designs that did not complete count among the bad ones.

    Args:
        multivariate: whether all parameters are drawn jointly, or each by itself, which is Optuna's default here.

    Raises:
        InputError: if Optuna is not installed.
    """

    def __init__(self, multivariate: bool = False) -> None:
        super().__init__()
        self.multivariate = multivariate

    def _sampler(self, seed: int) -> BaseSampler:
        from optuna.samplers import TPESampler

        return TPESampler(seed=seed, multivariate=self.multivariate)


class OptunaMOGP(_MultiObjectiveLearner):
    """Optuna's Gaussian processes, one per objective, with the log expected hypervolume improvement as acquisition.

    A design that did not complete is no part of what the processes are fitted to.

    Raises:
        InputError: if Optuna is not installed.
    """

    def _sampler(self, seed: int) -> BaseSampler:
        from optuna.samplers import GPSampler

        return GPSampler(seed=seed)


class OptunaNSGA2(_MultiObjectiveLearner):
    """Optuna's NSGA-II (Deb et al., 2002), told every objective.

    Designs that did not complete are no part of a population.

    Args:
        population_size: at least 2; 50 is Optuna's default.

    Raises:
        InputError: if Optuna is not installed, or the population is too small.
    """

    def __init__(self, population_size: int = 50) -> None:
        super().__init__()
        self.population_size = whole_number("setting population_size", population_size, 2)

    def _sampler(self, seed: int) -> BaseSampler:
        from optuna.samplers import NSGAIISampler

        return NSGAIISampler(seed=seed, population_size=self.population_size)


@contextmanager
def _silenced() -> Iterator[None]:
    """Without Optuna's message on every new study, and with its logging as it was afterwards."""
    import optuna

    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(verbosity)
