"""What learners are played on: a table, which answers at once, or a task whose designs are trained.

Both answer the same two questions: what does a learner find, and what is a design worth in the end?
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from agents import learner, play
from experiments.comparison.contest import Benchmark, code_of
from experiments.reproduction.item import Settings
from experiments.reproduction.trainings import Trainings
from marl_hpo_env import InputError, Trial, env
from marl_hpo_env.tables.table import shipped


@dataclass(frozen=True)
class Outcome:
    """What came of one learner's play.

    Args:
        designs: the number of each episode's design (`SearchSpace.index`).
        rewards: of each episode.
        terminated: the numbers of the episodes that did not complete, from 0.
        exploration: episodes of the first phase; None for a learner without phases.
        converged: the number of the design that the tables converged to (VI-C); None where they did not.
    """

    designs: Sequence[int]
    rewards: Sequence[float]
    terminated: Sequence[int]
    exploration: int | None
    converged: int | None

    @property
    def best_episode(self) -> int:
        """The first episode with the highest reward, from 0: its design is what the play found."""
        return max(range(len(self.rewards)), key=self.rewards.__getitem__)

    @property
    def found(self) -> int:
        """The number of the design found."""
        return self.designs[self.best_episode]

    @property
    def evaluations(self) -> int:
        """Distinct designs."""
        return len(set(self.designs))


class Worth(NamedTuple):
    """What a design is in the end.

    Args:
        test_accuracy: a fraction.
        model_size_mb: in MB.
        reward: the task's reward with the test accuracy in the place of the validation accuracy.
    """

    test_accuracy: float
    model_size_mb: float
    reward: float


def ground(settings: Settings, name: str) -> TableGround | TrainedGround:
    """The task's table where it has one and the options change nothing; else the task, to be trained.

    Raises:
        InputError: if there is no such task or table.
    """
    if settings.as_named and (name in shipped() or name.endswith(".npz")):
        return TableGround(name, settings.out)
    return TrainedGround(settings, name)


class TableGround:
    """A table. The learner's seed says which of the table's seeds rewards it; they take turns.

    Args:
        table: the name of one in the package, or the path of a file.
        out: the folder in whose `reproduce-TASK/runs.jsonl` finished runs are kept.

    Attributes:
        name: of the task.
        largest_table: cells of the largest Q-table: the least length of the first phase (VI-A).
        default_seeds: how many seeds the time allows.
        epochs: what the epochs of an episode can be, in ascending order (Fig. 12).

    Raises:
        InputError: if there is no such table, or it lacks test accuracies or sizes.
    """

    default_seeds = 100

    def __init__(self, table: str, out: Path) -> None:
        self._benchmark = Benchmark(table)
        self._table = self._benchmark.table
        self.name = self._benchmark.name
        self.largest_table = _largest_table(self._table.space)
        self.epochs = range(1 if self._answers(1) else self._table.epochs, self._table.epochs + 1)
        self._accuracy, self._size = (self._table.mean(metric) for metric in ("test_accuracy", "model_size_mb"))
        self._path = out / f"reproduce-{self.name}" / "runs.jsonl"
        self._kept: dict[str, Outcome] | None = None

    def _answers(self, epochs: int) -> bool:
        try:
            self._table.check(self._table.seeds[0], epochs)
        except InputError:
            return False
        return True

    def play(self, name: str, seed: int, episodes: int | None = None, epochs: int | None = None) -> Outcome:
        """A learner's play with this seed, kept when it ends; `epochs` of each episode, where not all that the table has."""
        reward = str(self._benchmark.reward)
        key = json.dumps([self._table.digest, reward, name, code_of(name), seed, episodes, epochs])
        kept = self._read()
        if key not in kept:
            kept[key] = self._played(name, seed, episodes, epochs)
            with self._path.open("a") as file:
                file.write(json.dumps([key, asdict(kept[key])]) + "\n")
        return kept[key]

    def _read(self) -> dict[str, Outcome]:
        """The finished runs, by what they hang on."""
        if self._kept is None:
            self._kept = {}
            try:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                lines = self._path.read_text().splitlines() if self._path.exists() else []
                self._path.open("a").close()
            except OSError as error:
                raise InputError(
                    f"The folder {str(self._path.parent)!r} cannot be written: {error.strerror}; choose another --out."
                ) from error
            whole = []
            for line in lines:
                try:
                    key, outcome = json.loads(line)
                    self._kept[key] = Outcome(**outcome)
                    whole.append(line)
                except (ValueError, TypeError):  # the line at which the last command was killed
                    continue
            if len(whole) < len(lines):
                self._path.write_text("".join(f"{line}\n" for line in whole))
        return self._kept

    def _played(self, name: str, seed: int, episodes: int | None, epochs: int | None) -> Outcome:
        benchmark = self._benchmark
        environment = env(
            benchmark.task,
            evaluator=benchmark.evaluator,
            reward=benchmark.reward,
            seed=benchmark.table_seed(seed),
            epochs=epochs or self._table.epochs,
        )
        player: Any = learner(name)
        played = play(environment, player, episodes, seed=seed)
        if not played:
            raise InputError(f"The learner {name!r} asks for nothing.")
        return _outcome(environment.unwrapped.space, played, player)

    def worth(self, design: int, seed: int) -> Worth:
        """What a design is worth in the end, whatever the seed."""
        values = self._accuracy, self._size, self._benchmark.worth
        return Worth(*(float(of_all[design]) for of_all in values))

    def final(self) -> str:
        return (
            f"the table's mean test accuracy after {self._table.epochs} epochs, over its {len(self._table.seeds)} seeds"
        )


class TrainedGround:
    """A task whose designs are trained. The learner's seed is the trainings', too. Attributes are those of a table.

    Args:
        settings: what the command says.
        name: of the task.

    Raises:
        InputError: if there is no such task, or it cannot be trained.
    """

    default_seeds = 3
    epochs = (1, 2, 3, 6, 10)

    def __init__(self, settings: Settings, name: str) -> None:
        task = settings.make(name)
        self.name = task.name
        self.largest_table = _largest_table(task.space)
        self._trainings = Trainings(task, settings)
        self._trainings.of(0)  # fails before anything is played

    def play(self, name: str, seed: int, episodes: int | None = None, epochs: int | None = None) -> Outcome:
        """As a table's; every trial is kept the moment it ends."""
        tuning = self._trainings.of(seed, epochs)
        player: Any = learner(name)
        played = tuning.play(name.partition("(")[0], player, episodes, seed)
        return _outcome(tuning.env.space, played.episodes, player)

    def worth(self, design: int, seed: int) -> Worth:
        """As a table's, by training it to convergence with this seed."""
        tuning = self._trainings.of(seed)
        original = _tested(tuning.converge("original", None)) if tuning.reward.relative else None
        trial = _tested(tuning.converge(f"what seed {seed} found", tuning.env.space.design_at(design)))
        accuracy, size = trial.metrics["test_accuracy"], trial.metrics["model_size_mb"]
        assert accuracy is not None
        assert size is not None
        return Worth(accuracy, size, float(tuning.reward(trial, original)))

    def final(self) -> str:
        """In words, what the final accuracy is."""
        return "the test accuracy of the network trained to convergence (VII)"


Ground = TableGround | TrainedGround


def _tested(trial: Trial) -> Trial:
    """The trial with its test accuracy in the place of its validation accuracy."""
    return replace(trial, metrics={**trial.metrics, "validation_accuracy": trial.metrics["test_accuracy"]})


def _outcome(space: Any, played: Sequence[Any], player: Any) -> Outcome:
    exploration = getattr(player, "exploration_length", None)
    converged = player.greedy_design if getattr(player, "converged", False) else None
    return Outcome(
        [space.index(episode.design) for episode in played],
        [episode.reward for episode in played],
        [number for number, episode in enumerate(played) if episode.terminated],
        None if exploration is None else min(exploration, len(played)),
        None if converged is None else space.index(converged),
    )


def _largest_table(space: Any) -> int:
    return max((space.sizes[i] * space.sizes[j] for i, j in space.pairs), default=max(space.sizes))
