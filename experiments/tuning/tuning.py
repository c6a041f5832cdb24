"""One tuning run: a learner plays a task, and what it found is trained to convergence beside the original network."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from rich.console import Console
from torch import nn

from agents import Episode, Learner, PairwiseQ, play
from agents.episodes_file import EpisodesFile
from agents.playing import EPISODES_PER_EVALUATION, begin
from experiments.progress import at_work, progress_bar
from experiments.provenance import command
from experiments.tuning.callbacks import Kept, Shown
from experiments.tuning.evaluators import Machines, evaluator_of, pace
from experiments.tuning.limits import BATCH
from experiments.tuning.logs import Log
from experiments.tuning.report import original_values
from experiments.tuning.run import NETWORK, Run
from experiments.tuning.run_folder import RunFolder
from marl_hpo_env import Design, InputError, PaperReward, Request, Reward, StoredEvaluator, Task, Trial, env
from marl_hpo_env.networks.saved import About, load_network, save_network
from marl_hpo_env.training.devices import choose_devices
from marl_hpo_env.trial import CLOCK_METRICS

OPEN_ENDED_EPISODES = 100
"""Episodes of a learner that has no end of its own, where none are asked for."""


class Untrainable(InputError):
    """Final training did not complete.

    Args:
        trial: what came of it.
    """

    def __init__(self, trial: Trial) -> None:
        what = "The original network" if trial.design is None else f"The design {list(trial.design)}"
        super().__init__(f"{what} cannot be trained: {trial.reason}")
        self.trial = trial


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
        ended: why, as the end of a sentence.
    """

    name: str
    episodes: Sequence[Episode]
    phases: Sequence[str]
    trials: dict[Any, Trial]
    converged: tuple[int, ...] | None
    tables: Mapping[tuple[int, int], tuple[int, int]] = field(default_factory=dict)
    ended: str = ""

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
        about: what is written beside networks, in place of the kind of targets and their names.
        logs: who else is told of each play.

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
        about: About | None = None,
        logs: Sequence[Log] = (),
    ) -> None:
        self.task = task
        self._about = about
        self._logs = logs
        self.console = console or Console(stderr=True)
        self.reward = reward or task.reward
        timed = any(objective.metric in CLOCK_METRICS for objective in self.reward.objectives)
        timed = timed or task.limits.batch_ratio is not None
        self._batch = machines.batch
        devices = [] if machines.ray else choose_devices(machines.device)
        self.device = devices[0] if devices else None  # None: those of a cluster
        printed = out / "output.txt"
        evaluator = evaluator_of(task, machines, timed, printed)
        env(task, evaluator=evaluator, reward=self.reward)  # fails if they do not fit together
        self.folder = RunFolder(out, task)
        # On a cluster no training is known to be alone on its machine.
        alone = (
            evaluator
            if machines.ray
            else evaluator_of(task, replace(machines, device=str(devices[0]), workers=1), True, printed)
        )
        self._trains_alone = alone
        strict, store = machines.strict, self.folder.store
        self._alone = StoredEvaluator(alone, store, needs_time=alone.measures_time, strict=strict)
        self._stored = StoredEvaluator(evaluator, store, needs_time=timed, strict=strict)
        self.env = env(task, evaluator=self._stored, reward=self.reward).unwrapped
        self.reward = self.env.reward  # a running budget changes Equation 2

    def run(self, name: str, **identity: Any) -> Run:
        """The run of this identity in the folder, which begins or goes on.

        Args:
            name: of its sub-folder, but for a number behind it.
            **identity: what makes it another run than others, with its `seed`; reward, epochs and the kind of device do, too.
        """
        if self._batch != BATCH:
            identity["batch"] = self._batch
        return Run.claim(
            self.folder.path,
            name,
            {
                **identity,
                "epochs": self.task.recipe.epochs,
                "reward": str(self.reward),
                "fingerprint": self._alone.fingerprint,
            },
            task=self.task.name,
            training_seed=self.task.seed,
            space=self.task.space.describe(),
            original=original_values(self.task),
            command=command(),
            learners=[],
            taken={},
            ended=None,
            directions=self.env.directions,
            penalty=self.reward.penalty,
            constraints=[str(constraint) for constraint in getattr(self.reward, "constraints", ())],
        )

    def play(
        self,
        name: str,
        learner: Learner,
        episodes: int | None,
        seed: int,
        evaluations: int | None = None,
        *,
        seconds: float | None = None,
        target: float | None = None,
        start: Sequence[Design] = (),
        run: Run | None = None,
        evaluator: StoredEvaluator | None = None,
    ) -> Play:
        """Lets a learner play; what is stored already is replayed, not trained again.

        Args:
            name: of the learner.
            learner: who plays.
            episodes: how many at most; until the learner is finished where None.
            seed: of the learner.
            evaluations: distinct designs after which it ends.
            seconds: after which it ends.
            target: reward at which it ends.
            start: designs that are evaluated first.
            run: whose files and logs are written as trials and episodes come.
            evaluator: in place of the one that trains.
        """
        deadline = math.inf if seconds is None else time.monotonic() + seconds
        callbacks = [] if run is None else [log(run, name) for log in self._logs]
        # Each play begins with the task's own epochs, also where an earlier one has lowered them.
        evaluator = evaluator or self._stored
        self.env = env(self.task, evaluator=evaluator, reward=self.reward).unwrapped
        with at_work(
            self.console, "training the original network, and finding out the epoch budget where it is not given"
        ):
            self.env.original  # noqa: B018  # fails before anything else if this task cannot be trained at all
        begin(self.env, learner, seed)
        if run is not None:
            _compare_sources(run, name, getattr(learner, "learned_from", ""))
        total = getattr(learner, "total_episodes", None)
        if episodes is None and total is None and evaluations is None:
            episodes = OPEN_ENDED_EPISODES
        most = (episodes, total, evaluations, self.env.space.size if total is None else None)
        total = min(n for n in most if n is not None)
        exploration = getattr(learner, "exploration_length", None)
        with ExitStack() as closing:
            paths = [] if run is None else [run.trials(name), run.episodes(name)]
            files = [closing.enter_context(self._file_of_episodes(path)) for path in paths]
            kept = Kept(self.env, exploration, self._printed, *files)

            def more() -> str:
                left = max(0, deadline - time.monotonic()) / 60
                return pace(evaluator) + (f", ends within {left:.0f} min" if left < math.inf else "")

            progress = closing.enter_context(progress_bar(self.console))
            shown = Shown(progress, name, total, kept.phases, more)
            played = play(
                self.env,
                learner,
                episodes,
                evaluations=evaluations,
                seconds=None if seconds is None else max(1e-3, deadline - time.monotonic()),
                target=target,
                start=start,
                seed=seed,
                batch=self._batch,
                callbacks=[kept, shown, *callbacks],
            )
            late = time.monotonic() >= deadline
        if all(trial.status != "completed" for trial in kept.trials.values()):
            reasons = next(iter(kept.trials.values())).reason
            raise InputError(f"No design of {self.task.name!r} could be trained, the first because: {reasons}")
        answer = learner.greedy_design if getattr(learner, "converged", False) else None  # type: ignore[attr-defined]
        pairs = learner.tables.items() if isinstance(learner, PairwiseQ) else ()
        tables = {pair: (len(table.q), len(table.q[0])) for pair, table in pairs}
        outcome = Play(name, played, kept.phases, kept.trials, answer, tables)
        return replace(outcome, ended=_why(outcome, episodes, evaluations, target, late))

    def converge(self, label: str, design: Design | None, seconds: float = math.inf, run: Run | None = None) -> Trial:
        """Final training (VII), alone on the machine so that its times mean something.

        Args:
            label: of the network, for the progress that is shown.
            design: of the space, or None for the original network.
            seconds: after which it is cut short (`Trial.cut`).
            run: whose folder the network is written to, where it is trained now.

        Raises:
            Untrainable: if it cannot be trained.
        """
        stored = self._converged(design, seconds)
        return self._trained(label, design, seconds, run) if stored is None else _completed(stored)

    def take_home(self, label: str, design: Design, run: Run, seconds: float = math.inf) -> tuple[Trial, Path]:
        """Final training of the design whose network the user takes home, and the file with it, which holds no code.

        Args:
            label: of the network, for the progress that is shown.
            design: of the space.
            run: whose folder the file is in.
            seconds: as for `converge`.

        Raises:
            Untrainable: if it cannot be trained.
            InputError: if the file cannot be written.
        """
        path = run / NETWORK
        stored = self._converged(design, seconds)
        if stored is not None:
            saved = path.exists() and run.settings.get("network") == _saved(stored)
            if saved or stored.status != "completed":
                return _completed(stored), path
        return self._trained(label, design, seconds, run), path

    def _trained(self, label: str, design: Design | None, seconds: float, run: Run | None) -> Trial:
        network, trial = self._fit(label, design, seconds)
        _completed(trial)
        if run is not None:
            assert network is not None
            run.update(network=None)
            data = self.task.splits
            about = self._about or About(kind=data.kind, class_names=data.class_names)
            if (units := self.task.units) is not None:
                about = replace(about, value_mean=units.mean.tolist(), value_deviation=units.deviation.tolist())
            save_network(network, run / NETWORK, about)
            run.update(network=_saved(trial))
        return trial

    @property
    def trained_with(self) -> set[str]:
        """The vector instructions, or GPUs, of its trials (`Trial.machine`)."""
        return self.folder.store.machines(self._stored.fingerprint)

    def _converged(self, design: Design | None, seconds: float) -> Trial | None:
        """The stored final training of a design; None where there is none, or one that was cut and would now have more time."""
        request = Request(design, self.task.seed, None)
        stored = self.folder.store.get(self._alone.fingerprint, request)
        if stored is not None and stored.cut and (stored.metrics.get("seconds") or 0.0) >= seconds:
            return stored
        return self._alone.stored(request)

    def _fit(self, label: str, design: Design | None, seconds: float) -> tuple[nn.Module | None, Trial]:
        with at_work(self.console, f"training {label} to convergence"):
            network, trial = self._trains_alone.fit(design, seconds)
        if not trial.accidental and not (trial.cut and self._alone.stored(trial.request)):
            self.folder.store.put(self._alone.fingerprint, trial)
        return network, trial

    def network(self, path: Path) -> nn.Module:
        """The network that was taken home, from its file."""
        model = self.task.model
        return load_network(path, model if isinstance(model, nn.Module) else model())

    def _file_of_episodes(self, path: Path) -> EpisodesFile:
        return EpisodesFile(path, [str(objective) for objective in self.reward.objectives], self.env.space.names)

    def printed(self, played: Play) -> list[float] | None:
        """Each episode's reward by Equation 2 as the paper prints it; None where another reward is paid, or this one as it is."""
        values = [self._printed(episode, played.trials[episode.design]) for episode in played.episodes]
        return [value for value in values if value is not None] or None

    def _printed(self, episode: Episode, trial: Trial) -> float | None:
        reward = self.reward
        if not isinstance(reward, PaperReward) or reward.below_zero == "printed":
            return None
        return reward.penalty if episode.terminated else reward.printed(trial)


def _why(played: Play, episodes: int | None, evaluations: int | None, target: float | None, late: bool) -> str:
    """Why a play with these limits has ended."""
    if target is not None and max(episode.reward for episode in played.episodes) >= target:
        return f"the target reward of {target:g} was reached"
    if evaluations is not None and played.evaluations >= evaluations:
        return f"{evaluations} distinct designs were evaluated"
    if late:
        return "its time was over"
    if episodes is not None and len(played.episodes) >= episodes:
        return f"{episodes} episodes were played"
    if evaluations is not None and len(played.episodes) >= EPISODES_PER_EVALUATION * evaluations:
        return "the learner repeated itself"
    return "the learner was finished"


def _completed(trial: Trial) -> Trial:
    if trial.status != "completed":
        raise Untrainable(trial)
    return trial


def _saved(trial: Trial) -> dict[str, Any]:
    """What a run's settings say of the network that is in its folder."""
    return {"design": list(trial.design or ()), "cut": trial.cut}


def _compare_sources(run: Run, name: str, learned_from: str) -> None:
    """Says it where a learner's prior is not what it was when the run began or was last continued."""
    known = run.settings.get("learned_from", {})
    if known.get(name, learned_from) != learned_from:
        warnings.warn(
            f"The sources of the prior of {name!r} have changed since this run was last played, so it asks for other designs; "
            "those that were trained are not trained again.",
            stacklevel=3,
        )
    if learned_from:
        run.update(learned_from=known | {name: learned_from})
