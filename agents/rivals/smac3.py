"""SMAC3 (Lindauer et al., "SMAC3: A Versatile Bayesian Optimization Package", JMLR 2022): a forest with expected improvement.

Its facade for hyperparameter optimisation as it comes: designs of a Sobol sequence first, then a forest of ten trees over the
logarithm of the costs, expected improvement maximised by local search, and one design in five at random. Each hyperparameter of
each layer is an integer, the rank of its value, where its values are numbers, else a category. What a design costs is its
reward with the sign changed; a terminated one has its penalty.

A design is not asked for twice. SMAC writes its history to a folder, which here is a temporary one.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from agents.protocol import Episode
from agents.rivals.ranks import Ranks
from marl_hpo_env import Design, InputError, SearchSpace, whole_number


class Smac:
    """SMAC3's hyperparameter optimisation: a random forest, log expected improvement, one design in five at random.

    Args:
        expected_episodes: a quarter of them at most are SMAC's initial design, ten per hyperparameter; it may play more.

    Raises:
        InputError: if SMAC3 is not installed, or the number is not positive.
    """

    def __init__(self, expected_episodes: int = 200) -> None:
        self.expected_episodes = whole_number("setting expected_episodes", expected_episodes, 1)
        try:
            import smac  # noqa: F401
        except ImportError:
            raise InputError(
                "The learner 'smac' needs the package 'smac'; install it with: pip install 'marl-hpo-env[smac]'."
            ) from None

    def reset(self, space: SearchSpace, seed: int) -> None:
        from ConfigSpace import CategoricalHyperparameter, ConfigurationSpace, UniformIntegerHyperparameter
        from smac import HyperparameterOptimizationFacade, Scenario

        self._space, self._ranks = space, Ranks(space)
        seed = whole_number("seed", seed, 0) % 2**31
        self._configurations = ConfigurationSpace(seed=seed)
        for name, values in self._ranks.values.items():
            if name in self._ranks.ordered and len(values) > 1:
                self._configurations.add(UniformIntegerHyperparameter(name, 0, len(values) - 1))
            else:
                self._configurations.add(CategoricalHyperparameter(name, range(len(values))))
        self._folder = TemporaryDirectory(prefix="smac-")
        scenario = Scenario(
            self._configurations,
            deterministic=True,
            n_trials=self.expected_episodes,
            seed=seed,
            output_directory=Path(self._folder.name),
        )
        self._smac = HyperparameterOptimizationFacade(
            scenario, lambda configuration, seed: 0.0, logging_level=False, overwrite=True
        )
        logging.getLogger("smac").setLevel(logging.ERROR)  # it says of small spaces how often it sampled at random
        self._asked: dict[Design, Any] = {}

    def ask(self, n: int) -> list[Design]:
        """Designs that were not asked for before; none once SMAC has no more."""
        from smac.main.exceptions import ConfigurationSpaceExhaustedException

        designs: list[Design] = []
        while len(designs) < n and len(self._asked) < self._space.size:
            try:
                trial = self._smac.ask()
            except (StopIteration, ConfigurationSpaceExhaustedException):
                break
            design = self._ranks.design({name: int(position) for name, position in dict(trial.config).items()})
            if design not in self._asked:
                self._asked[design] = trial
                designs.append(design)
        return designs

    def tell(self, episodes: Sequence[Episode]) -> None:
        """Costs of the designs asked for, and of those that a user knows."""
        from ConfigSpace import Configuration
        from smac.runhistory.dataclasses import TrialInfo, TrialValue

        for episode in episodes:
            trial = self._asked.get(episode.design)
            if trial is None:
                trial = TrialInfo(Configuration(self._configurations, self._ranks.positions(episode.design)), seed=0)
                self._asked[episode.design] = trial
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                self._smac.tell(trial, TrialValue(cost=-episode.reward), save=False)
