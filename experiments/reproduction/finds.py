"""The original, what the paper's learner found, what random search found, and any other learner's find, seed by seed.

Tables IV to VII and Fig. 10 ask different questions of the same trainings, so one of them continues from what another has
trained: every trial is in `reproduce-TASK/trials.sqlite`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from agents import learner
from experiments.provenance import cores, machine
from experiments.reproduction.item import Settings
from experiments.reproduction.trainings import Trainings, the_papers_learner
from experiments.tuning.callbacks import PHASES
from experiments.tuning.tuning import Play, Tuning
from marl_hpo_env import Design, Trial
from marl_hpo_env.training.devices import choose_device

ORIGINAL, TEAM, RANDOM = "original", "pairwise-q", "random"

DEFAULT_SEEDS = 3

FINAL = (
    "validation_accuracy",
    "test_accuracy",
    "model_size_mb",
    "parameters",
    "train_ms_per_batch",
    "inference_ms_per_batch",
)
"""Of the network trained to convergence."""


class Find(NamedTuple):
    """A network of one seed.

    Args:
        task: its name.
        network: whose find, or the original.
        seed: of the learner and of every training.
        design: None for the original.
        episodes: played; 0 for the original.
        designs: distinct ones among them.
        epochs_per_episode: of each design's training.
        reward: the highest seen; None for the original.
        first_phase_seconds: what the trainings of the first phase's designs took; of learners without phases, of all.
        search_seconds: what the trainings of all its designs took.
        final: trained to convergence; None where that was not asked for.
    """

    task: str
    network: str
    seed: int
    design: Design | None
    episodes: int
    designs: int
    epochs_per_episode: int
    reward: float | None
    first_phase_seconds: float
    search_seconds: float
    final: Trial | None

    def metric(self, name: str) -> float:
        """Of the network trained to convergence; NaN where it was not measured."""
        value = None if self.final is None else self.final.metrics.get(name)
        return float("nan") if value is None else float(value)


def finds(settings: Settings, name: str, *, final: bool = True, rivals: bool = True) -> Iterator[list[Find]]:
    """Each seed's networks in turn, those of the seeds before among them, as they are trained.

    Args:
        settings: what the command says.
        name: of the task.
        final: whether every network is trained to convergence, the original among them.
        rivals: whether random search and the other learners play, too.

    Raises:
        InputError: if the task cannot be trained, or nothing that a learner asks for can.
    """
    trainings = Trainings(settings.make(name), settings)
    found: list[Find] = []
    for seed in range(settings.seeds or DEFAULT_SEEDS):
        tuning = trainings.of(seed)
        plays = _plays(tuning, settings, seed, (RANDOM, *settings.learners) if rivals else ())
        epochs = tuning.env.epochs
        if final:
            original = tuning.converge(f"the original, seed {seed}", None)
            found.append(Find(tuning.task.name, ORIGINAL, seed, None, 0, 0, epochs, None, 0.0, 0.0, original))
        for label, play in plays.items():
            trial = tuning.converge(f"what {label} found, seed {seed}", play.best.design) if final else None
            counts = len(play.episodes), play.evaluations, epochs
            found.append(
                Find(tuning.task.name, label, seed, play.best.design, *counts, play.best.reward, *_seconds(play), trial)
            )
        yield list(found)


def _plays(tuning: Tuning, settings: Settings, seed: int, rivals: Sequence[str]) -> dict[str, Play]:
    """The paper's learner, and the others with as many distinct designs."""
    team = tuning.play(TEAM, learner(the_papers_learner(settings.episodes)), None, seed)
    plays = {TEAM: team}
    for name in rivals:
        plays[name] = tuning.play(name, learner(name), None, seed, team.evaluations)
    return plays


def _seconds(play: Play) -> tuple[float, float]:
    """Of the trainings of the first phase's designs, and of all."""
    first = {e.design for e, phase in zip(play.episodes, play.phases, strict=True) if phase != PHASES[1]}
    took = {design: float(trial.metrics.get("seconds") or 0.0) for design, trial in play.trials.items()}
    return sum(took[design] for design in first), sum(took.values())


def labels(found: Sequence[Find]) -> list[str]:
    """The networks, each once, in their order."""
    return list(dict.fromkeys(find.network for find in found))


def values(found: Sequence[Find], network: str, metric: str) -> list[float]:
    """A metric of a network trained to convergence, over the seeds; without those where it was not measured."""
    measured = [find.metric(metric) for find in found if find.network == network]
    return [value for value in measured if not np.isnan(value)]


def improvements(found: Sequence[Find], network: str, over: str) -> dict[str, list[float]]:
    """A network against another of the same seed: how many times smaller, how many percent shorter training and inference
    take, and how many points its accuracy is higher. Over the seeds; empty where it was not measured."""
    by_seed = {(find.network, find.seed): find for find in found}
    better: dict[str, list[float]] = {name: [] for name in IMPROVEMENTS}
    for (label, seed), ours in by_seed.items():
        if label == network:
            for name, value in improvement(_figures(ours), _figures(by_seed[over, seed])).items():
                if not np.isnan(value):
                    better[name].append(value)
    return better


IMPROVEMENTS = {
    "accuracy": "points of accuracy",
    "size": "times smaller",
    "training": "% shorter training",
    "inference": "% shorter inference",
}
"""What a network can be better in, and how it is said."""


def improvement(ours: Mapping[str, float], theirs: Mapping[str, float]) -> dict[str, float]:
    """One network against another: both with accuracy in percent, and the other columns of Table V."""
    return {
        "accuracy": ours["test_accuracy"] - theirs["test_accuracy"],
        "size": theirs["model_size_mb"] / ours["model_size_mb"],
        "training": 100 * (1 - ours["train_ms_per_batch"] / theirs["train_ms_per_batch"]),
        "inference": 100 * (1 - ours["inference_ms_per_batch"] / theirs["inference_ms_per_batch"]),
    }


def _figures(find: Find) -> dict[str, float]:
    figures = {name: find.metric(name) for name in FINAL}
    return figures | {"test_accuracy": 100 * figures["test_accuracy"]}


def csv_of(found: Sequence[Find]) -> tuple[list[str], list[list[Any]]]:
    """Header and rows of the CSV file."""
    measured = (*FINAL, "epochs", "seconds")
    header = [*Find._fields[:-1], *measured]
    rows = []
    for find in found:
        design = None if find.design is None else " ".join(map(str, find.design))
        searched = [design if name == "design" else getattr(find, name) for name in Find._fields[:-1]]
        rows.append([*searched, *(find.metric(name) for name in measured)])
    return header, rows


def hardware(settings: Settings) -> str:
    """On what was trained."""
    device = choose_device(settings.device)
    return machine(device) + (f", {cores()} CPU cores" if device.type == "cpu" else "")
