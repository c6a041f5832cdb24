"""A search space as other packages' parameters: one per hyperparameter of a layer, each the position of its value."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from marl_hpo_env import Design, SearchSpace


class Ranks:
    """Parameters named such as `conv1.out_channels`.

    Args:
        space: whose hyperparameters they are.

    Attributes:
        values: by parameter, its values: numbers ascending, so that a position is a rank; others as they come.
        ordered: the parameters whose values are numbers.
    """

    def __init__(self, space: SearchSpace) -> None:
        self._space = space
        self.values: dict[str, list[Any]] = {}
        self.ordered: set[str] = set()
        for layer in space.layers:
            for hyperparameter, choices in layer.choices.items():
                name = f"{layer.name}.{hyperparameter}"
                if all(isinstance(value, int | float) and not isinstance(value, bool) for value in choices):
                    self.values[name] = sorted(choices)
                    self.ordered.add(name)
                else:
                    self.values[name] = list(choices)

    def design(self, positions: Mapping[str, int]) -> Design:
        """The design that these positions stand for."""
        return self._space.design(
            {
                layer.name: {
                    hyperparameter: self.values[name][positions[name]]
                    for hyperparameter in layer.choices
                    for name in [f"{layer.name}.{hyperparameter}"]
                }
                for layer in self._space.layers
            }
        )

    def positions(self, design: Design) -> dict[str, int]:
        """The positions that stand for this design (the inverse of `design`)."""
        return {
            f"{name}.{hyperparameter}": self.values[f"{name}.{hyperparameter}"].index(value)
            for name, hyperparameters in self._space.hyperparameters(design).items()
            for hyperparameter, value in hyperparameters.items()
        }
