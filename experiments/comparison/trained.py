"""Learners against each other on networks that are trained while they play, without any table.

A run is one learner with one seed on one task. All learners of a seed are rewarded by the same trainings, those of that seed,
which are kept in the comparison's folder. No one knows the best design, so a run is judged by the best reward that it found.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from experiments.comparison.contest import Contest, Run, code_of, played
from experiments.comparison.curves import checkpoints, delayed, longest
from experiments.comparison.recorded import RecordedRun
from experiments.comparison.regret import best_by_episode, incumbents
from experiments.tuning.evaluators import Machines, evaluator_of
from marl_hpo_env import Evaluator, InputError, Reward, Store, StoredEvaluator, Task, WeightedReward, env
from marl_hpo_env.environments.registration import computed
from marl_hpo_env.trial import CLOCK_METRICS

Array = npt.NDArray[np.float64]


class Trainings:
    """The tasks of a comparison whose networks are trained, and every training of them.

    It can be sent to another process, which loads the data anew.

    Args:
        folder: where the trainings are kept; not touched before the first run.
        make: the task of a name.
        device: where to train.
        alone: whether nothing runs beside a training, so that times mean something; else no task limits them.
        weights: of a reward in place of the tasks' own, or nothing.
        constraints: of that reward.
        ray: the address of a Ray cluster that trains in place of this machine.
        strict: whether trials are refused that were made with other vector instructions than those that are stored.
    """

    def __init__(
        self,
        folder: Path,
        make: Callable[[str], Task],
        device: str | None,
        alone: bool,
        weights: Sequence[tuple[str, float]] = (),
        constraints: Sequence[str] = (),
        ray: str | None = None,
        strict: bool = False,
    ) -> None:
        self.folder, self._make, self._alone = folder, make, alone
        self._machines = Machines(device, None if ray else 1, ray=ray, strict=strict)
        self._own: Reward | None = WeightedReward(dict(weights), constraints) if weights else None
        self._tasks: dict[str, Task] = {}
        self._evaluators: dict[str, Evaluator] = {}
        self._stored: dict[str, StoredEvaluator] = {}

    def task(self, name: str) -> Task:
        """The task, loaded once."""
        if name not in self._tasks:
            task = self._make(name)
            if not self._alone:
                task = replace(task, limits=replace(task.limits, batch_ratio=None))
            self._tasks[name] = task
        return self._tasks[name]

    def reward(self, name: str) -> Reward:
        """What designs of this task are rewarded by."""
        return self.task(name).reward if self._own is None else self._own

    def check(self, name: str) -> None:
        """Whether runs can be played on this task, before anything is written.

        Raises:
            InputError: if its data are not there, or task, reward and device do not fit together.
        """
        times = [o.metric for o in self.reward(name).objectives if o.metric in CLOCK_METRICS]
        if times and not self._alone:
            instead = "leave out --ray" if self._machines.ray else "use --jobs 1"
            raise InputError(f"The reward sees {times[0]!r}, which is measured only alone; {instead}.")
        env(self.task(name), evaluator=self._evaluator(name), reward=self.reward(name))
        if computed(self.task(name)) is None:
            self.task(name).fingerprint  # noqa: B018  # fails if the data are not there

    def environment(self, name: str, seed: int) -> Any:
        """The environment that the runs of a seed play."""
        if name not in self._stored:
            store = Store(self.folder / "trials.sqlite")
            timed, strict = self._is_timed(name), self._machines.strict
            self._stored[name] = StoredEvaluator(self._evaluator(name), store, needs_time=timed, strict=strict)
        return env(self.task(name), evaluator=self._stored[name], reward=self.reward(name), seed=seed).unwrapped

    def fingerprint(self, name: str) -> str:
        """What its trainings hang on."""
        return self._evaluator(name).fingerprint

    def run(self, contest: Contest) -> Run:
        """Plays a contest whose table is the name of a task."""
        return played(contest, self.environment(contest.table, contest.seed))

    def basis(self, contest: Contest) -> str:
        """What else the outcome of a contest hangs on: what its trainings and their rewards hang on, and the learner's code."""
        name = contest.table
        epochs = self.task(name).recipe.epochs
        return f"{self.fingerprint(name)} {epochs} {self.reward(name)} {code_of(contest.learner)}"

    def replayed(self, finished: Run) -> tuple[Array, float]:
        """The rewards of a run's episodes, shape (episodes,), and the seconds that its trainings took, each counted once; all
        from what is kept or recorded."""
        if isinstance(finished, RecordedRun):
            return np.array(finished.rewards), finished.seconds
        game = self.environment(finished.contest.table, finished.contest.seed)
        designs = list(map(game.space.design_at, finished.numbers))
        rewards, seconds = [], {}
        # One by one and with repeats, as they were played: the epochs of a running budget hang on what came before.
        for design in designs:
            (trial,) = game.evaluate([design])
            rewards.append(game.score(trial))
            seconds[trial.request] = float(trial.metrics.get("seconds") or 0.0)
        return np.array(rewards), sum(seconds.values())

    def _evaluator(self, name: str) -> Evaluator:
        if name not in self._evaluators:
            task = self.task(name)
            self._evaluators[name] = computed(task) or evaluator_of(task, self._machines, timed=self._is_timed(name))
        return self._evaluators[name]

    def _is_timed(self, name: str) -> bool:
        return is_timed(self.task(name), self.reward(name))

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_tasks": {}, "_evaluators": {}, "_stored": {}}


def is_timed(task: Task, reward: Reward) -> bool:
    """Whether a clock reaches what a learner is told: the reward sees times, or a limit ends trainings by them."""
    return task.limits.batch_ratio is not None or any(o.metric in CLOCK_METRICS for o in reward.objectives)


class RewardCurves:
    """The best reward of every run on one task after each of its evaluations.

    Args:
        trainings: what was played.
        name: of the task.
        runs: by learner, one per seed, with the same seeds for all.
        evaluations: the length of the curves.

    Attributes:
        name: of the task, as it calls itself.
        reward: what it was rewarded by.
        checkpoints: after how many evaluations it is reported.
        best: by learner, shape (seeds, evaluations).
        by_episode: by learner, shape (seeds, episodes): likewise after each episode; empty where no run was recorded.
        seconds: by learner, shape (seeds,): what the trainings of a run took, those that it shares with others, too.
    """

    def __init__(self, trainings: Trainings, name: str, runs: Mapping[str, Sequence[Run]], evaluations: int) -> None:
        self.runs, self.evaluations, self.checkpoints = runs, evaluations, checkpoints(evaluations)
        self.name = trainings.task(name).name
        self.reward = trainings.environment(name, 0).reward
        self.best: dict[str, Array] = {}
        self.by_episode: dict[str, Array] = {}
        self.seconds: dict[str, Array] = {}
        for learner, of_learner in runs.items():
            told, seconds = zip(*map(trainings.replayed, of_learner), strict=True)
            best = [
                delayed(run, rewards[incumbents(run.designs, rewards, evaluations)], self.reward.penalty)
                for run, rewards in zip(of_learner, told, strict=True)
            ]
            self.best[learner], self.seconds[learner] = np.array(best), np.array(seconds)
            if episodes := longest(runs):
                self.by_episode[learner] = np.array(
                    [
                        delayed(run, best_by_episode(rewards, episodes), self.reward.penalty)
                        for run, rewards in zip(of_learner, told, strict=True)
                    ]
                )
