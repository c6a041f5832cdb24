"""Runs on tasks whose designs are trained, one per seed, all of them in the task's folder."""

from __future__ import annotations

from dataclasses import replace

from experiments.reproduction.item import Settings
from experiments.tuning.evaluators import Machines
from experiments.tuning.session import prepare
from experiments.tuning.tuning import Tuning
from marl_hpo_env import Task

FIRST_PHASE = 3 / 5
"""Of episodes that are given for both phases (ours): Fig. 9 shows 350 of the second, VGG-16 has 500 of the first (VIII-D)."""


class Trainings:
    """The runs of a task by their seed, which is the trainings', too. Every trial is in `reproduce-TASK/trials.sqlite`.

    Args:
        task: what is tuned.
        settings: where and with how many workers.

    Raises:
        InputError: if it cannot be trained, or the folder not be written.
    """

    def __init__(self, task: Task, settings: Settings) -> None:
        self.task = task
        self._settings = settings
        self._first: Tuning | None = None
        self._tunings: dict[tuple[int, int | None], Tuning] = {}

    def of(self, seed: int, epochs: int | None = None) -> Tuning:
        """The run of a seed, and of as many epochs per episode where they are not the task's own."""
        settings = self._settings
        if self._first is None:
            folder = settings.out / f"reproduce-{self.task.name}"
            self._first = prepare(self.task, folder, Machines(settings.device, settings.workers))
        if (seed, epochs) not in self._tunings:
            # Worker processes end with their run: those of an earlier seed are not needed any more.
            self._tunings = {key: tuning for key, tuning in self._tunings.items() if key[0] == seed}
            task = replace(self._first.task, seed=seed)
            if epochs is not None:
                task = replace(task, recipe=replace(task.recipe, epochs=epochs))
            folder = self._first.folder.path
            self._tunings[seed, epochs] = Tuning(task, folder, machines=Machines(settings.device, settings.workers))
        return self._tunings[seed, epochs]


def the_papers_learner(episodes: int | None) -> str:
    """The paper's learner for as many episodes in both phases; with lengths of its own where None."""
    if episodes is None:
        return "pairwise-q"
    first = max(1, round(FIRST_PHASE * episodes))
    return f"pairwise-q(exploration_episodes={first},max_exploitation_episodes={episodes - first})"
