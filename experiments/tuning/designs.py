"""All designs that a run has tried, beside each other: the front of the best, and what they are good by."""

from __future__ import annotations

from collections.abc import Sequence

import typer

from experiments.tuning.importance import importance_table, most_important, of_trials
from experiments.tuning.pictures import parallel_coordinates, pareto_front
from experiments.tuning.report import front, front_objectives, front_table, reached
from experiments.tuning.run import Run
from experiments.tuning.tuning import Play, Tuning
from marl_hpo_env import Design


class Designs:
    """The designs of a run that completed, by what its reward sees.

    Args:
        tuning: the task and its folder.
        plays: whose designs.
    """

    def __init__(self, tuning: Tuning, plays: Sequence[Play]) -> None:
        self._space = tuning.task.space
        objectives = front_objectives(tuning.reward, tuning.task.score)
        self._names = [str(objective) for objective in objectives]
        original = tuning.env.original
        self._of_original = [objective.value(original, original) for objective in objectives]
        seen = {design: trial for played in plays for design, trial in played.trials.items()}
        self._reached = reached(seen.values(), objectives, original)
        self._front = front(self._reached, objectives, tuning.task.measures)
        self._front_table = front_table(self._front, objectives)
        self._shares = {name: of_trials(self._space, self._by(place)) for place, name in enumerate(self._names)}

    def _by(self, place: int) -> dict[Design, float]:
        """One objective of every design."""
        return {design: values[place] for design, values in self._reached.items()}

    def tables(self) -> dict[str, tuple[list[str], list[list[str]]]]:
        """The front, and what layers explain, where there are designs enough to say so."""
        tables = {f"No other of the {len(self._reached)} designs is better in all": self._front_table}
        if (importance := importance_table(self._shares)) is not None:
            tables["What layers explain of the variance, each alone (fANOVA)"] = importance
        return tables

    def draw(self, run: Run, taken: Design) -> None:
        """Draws the front, and the designs by the hyperparameters that matter most, into the run's folder; says where.

        Args:
            run: whose folder.
            taken: the design that is taken home.
        """
        picture = run / "pareto-front.png"
        best = [values for _, values in self._front]
        pareto_front(list(self._reached.values()), best, self._of_original, self._names, picture)
        typer.echo(f"Pareto front: {picture}")
        picture = run / "designs.png"
        shown = most_important(self._space, self._shares[self._names[0]])
        parallel_coordinates(self._space, shown, self._by(0), self._names[0], taken, picture)
        typer.echo(f"Designs, by the hyperparameters that matter most: {picture}")
