"""One tuning run: a learner plays a task, and what it found is trained to convergence beside the original network."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from rich.console import Console
from torch import nn

from agents import Episode, Learner, PairwiseQ, play
from agents.playing import begin
from experiments.progress import progress_bar
from experiments.tuning.evaluators import Machines, evaluator_of, pace
from experiments.tuning.run_folder import RunFolder
from marl_hpo_env import InputError, PaperReward, Request, Reward, StoredEvaluator, Task, Trial, env
from marl_hpo_env.networks.saved import load_network, save_network
from marl_hpo_env.training.trainer import choose_device
from marl_hpo_env.trial import CLOCK_METRICS

BATCH = 8
"""Designs asked at a time. Fixed, since a learner's result may depend on it; how many workers there are changes nothing."""

PHASES = ("exploration", "exploration-exploitation")

OPEN_ENDED_EPISODES = 100
"""Episodes of a learner that has no end of its own, where none are asked for."""


@dataclass(frozen=True)
class Play:
    """What came of one learner's play.

    Args:
        name: of the learner.
        episodes: in the order asked.
        phases: of each episode; empty strings for a learner without phases.
        trials: by design.
        converged: the learner's own answer, where it has one (VI-C).
        tables: of the paper's learner, the rows and columns of the table of each pair of layers.
    """

    name: str
    episodes: Sequence[Episode]
    phases: Sequence[str]
    trials: dict[Any, Trial]
    converged: tuple[int, ...] | None
    tables: Mapping[tuple[int, int], tuple[int, int]] = field(default_factory=dict)

    @property
    def best(self) -> Episode:
        """The first episode with the highest reward among those that completed; among all, if none did."""
        completed = [episode for episode in self.episodes if not episode.terminated]
        return max(completed or self.episodes, key=lambda episode: episode.reward)

    @property
    def evaluations(self) -> int:
        """Distinct designs."""
        return len(self.trials)


class Tuning:
    """Plays learners on one task, every trial in the run's folder the moment it ends.

    Args:
        task: what is tuned.
        out: the folder where it is stored; not touched before everything else is known to be right.
        reward: in place of the task's.
        machines: where and how designs are trained.
        console: where progress is shown.

    Raises:
        InputError: if the original network cannot be trained, or the settings do not fit together.
    """

    def __init__(
        self,
        task: Task,
        out: Path,
        *,
        reward: Reward | None = None,
        machines: Machines = Machines(),  # noqa: B008  # it does not change
        console: Console | None = None,
    ) -> None:
        self.task = task
        self.console = console or Console(stderr=True)
        self.reward = reward or task.reward
        timed = any(objective.metric in CLOCK_METRICS for objective in self.reward.objectives)
        timed = timed or task.limits.batch_ratio is not None
        self.device = None if machines.ray else choose_device(machines.device)  # None: those of a cluster
        evaluator = evaluator_of(task, machines, timed)
        env(task, evaluator=evaluator, reward=self.reward)  # fails if they do not fit together
        self.folder = RunFolder(out, task)
        # On a cluster no training is known to be alone on its machine.
        self._trains_alone = evaluator if machines.ray else evaluator_of(task, replace(machines, workers=1), timed=True)
        self._alone = StoredEvaluator(
            self._trains_alone,
            self.folder.store,
            needs_time=self._trains_alone.measures_time,
            strict=machines.strict,
        )
        self._stored = StoredEvaluator(evaluator, self.folder.store, needs_time=timed, strict=machines.strict)
        self.env = env(task, evaluator=self._stored, reward=self.reward).unwrapped
        self.reward = self.env.reward  # a running budget changes Equation 2

    def play(
        self, name: str, learner: Learner, episodes: int | None, seed: int, evaluations: int | None = None
    ) -> Play:
        """Lets a learner play; what is stored already is replayed, not trained again.

        Args:
            name: of the learner.
            learner: who plays.
            episodes: how many at most; until the learner is finished where None.
            seed: of the learner.
            evaluations: distinct designs after which it ends.
        """
        # Each play begins with the task's own epochs, also where an earlier one has lowered them.
        self.env = env(self.task, evaluator=self._stored, reward=self.reward).unwrapped
        with self.console.status(
            "training the original network, and finding out the epoch budget where it is not given"
        ):
            self.env.original  # noqa: B018  # fails before anything else if this task cannot be trained at all
        begin(self.env, learner, seed)
        total = getattr(learner, "total_episodes", None)
        if episodes is None and total is None and evaluations is None:
            episodes = OPEN_ENDED_EPISODES
        most = (episodes, total, evaluations, self.env.space.size if total is None else None)
        total = min(n for n in most if n is not None)
        exploration = getattr(learner, "exploration_length", None)
        phases: list[str] = []
        trials: dict[Any, Trial] = {}
        best = float("-inf")
        with progress_bar(self.console) as progress:
            bar = progress.add_task(name, total=total, note="")

            def on_trial(trial: Trial) -> None:
                trials[trial.design] = trial
                progress.update(bar, completed=min(total, progress.tasks[0].completed + 1))

            def on_episode(episode: Episode, trial: Trial) -> None:
                nonlocal best
                phase = "" if exploration is None else PHASES[len(phases) >= exploration]
                phases.append(phase)
                best = max(best, episode.reward)
                description = f"{name} {phase}".strip()
                note = f"best {best:.4g} {pace(self._stored)}"
                progress.update(bar, completed=len(phases), description=description, note=note)

            played = play(
                self.env,
                learner,
                episodes,
                evaluations=evaluations,
                seed=seed,
                batch=BATCH,
                on_trial=on_trial,
                on_episode=on_episode,
            )
            progress.update(bar, total=len(played))
        if all(trial.status != "completed" for trial in trials.values()):
            reasons = next(iter(trials.values())).reason
            raise InputError(f"No design of {self.task.name!r} could be trained, the first because: {reasons}")
        answer = learner.greedy_design if getattr(learner, "converged", False) else None  # type: ignore[attr-defined]
        pairs = learner.tables.items() if isinstance(learner, PairwiseQ) else ()
        tables = {pair: (len(table.q), len(table.q[0])) for pair, table in pairs}
        return Play(name, played, phases, trials, answer, tables)

    def converge(self, label: str, design: tuple[int, ...] | None) -> Trial:
        """Final training (VII), alone on the machine so that its times mean something.

        Raises:
            InputError: if it cannot be trained.
        """
        with self.console.status(f"training {label} to convergence"):
            (trial,) = self._alone.evaluate([Request(design, self.task.seed, None)])
        return _completed(trial)

    def take_home(self, design: tuple[int, ...]) -> tuple[Trial, Path]:
        """Final training of the design whose network the user takes home, and the file with it, which holds no code.

        Raises:
            InputError: if it cannot be trained, or the file not be written.
        """
        path = self.folder / "network.safetensors"
        made_of = f"{self.task.fingerprint} {list(design)}"
        request = Request(design, self.task.seed, None)
        stored = self.folder.store.get(self._alone.fingerprint, request)
        if stored is not None and path.exists() and self.folder.store.about("network") == made_of:
            return _completed(stored), path
        with self.console.status("training the network to take home to convergence"):
            network, trial = self._trains_alone.fit(design)
        self.folder.store.put(self._alone.fingerprint, trial)
        _completed(trial)
        assert network is not None
        save_network(network, path)
        self.folder.store.set_about("network", made_of)
        return trial, path

    @property
    def trained_with(self) -> set[str]:
        """The vector instructions, or GPUs, of its trials (`Trial.machine`)."""
        return self.folder.store.machines(self._stored.fingerprint)

    def network(self, path: Path) -> nn.Module:
        """The network that was taken home, from its file."""
        model = self.task.model
        return load_network(path, model if isinstance(model, nn.Module) else model())

    def printed(self, played: Play) -> list[float] | None:
        """Each episode's reward by Equation 2 as the paper prints it; None where another reward is paid, or this one as it is."""
        reward = self.reward
        if not isinstance(reward, PaperReward) or reward.below_zero == "printed":
            return None
        return [
            reward.penalty if episode.terminated else reward.printed(played.trials[episode.design])
            for episode in played.episodes
        ]

    def write_episodes(self, played: Play) -> None:
        """Every episode as a line of `episodes-<learner>.csv`."""
        names = [str(objective) for objective in self.reward.objectives]
        printed = self.printed(played)
        with (self.folder / f"episodes-{played.name}.csv").open("w", newline="") as file:
            writer = csv.writer(file)
            column = [] if printed is None else ["reward_as_printed"]
            writer.writerow(["episode", "phase", "reward", *column, "terminated", *names, *self.env.space.names])
            for index, (episode, phase) in enumerate(zip(played.episodes, played.phases, strict=True)):
                rewards = [episode.reward, *([] if printed is None else [printed[index]])]
                values = [episode.objectives[name] for name in names]
                writer.writerow([index + 1, phase, *rewards, int(episode.terminated), *values, *episode.design])


def _completed(trial: Trial) -> Trial:
    if trial.status != "completed":
        what = "The original network" if trial.design is None else f"The design {list(trial.design)}"
        raise InputError(f"{what} cannot be trained: {trial.reason}")
    return trial
