"""The designs that a run has tried, from its files and the store alone, while it goes on and after."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from experiments.tuning.episodes import read_episodes
from experiments.tuning.run import Run
from marl_hpo_env import METRICS, Design, Store, Trial
from marl_hpo_env.reward import Objective


@dataclass(frozen=True)
class Tried:
    """A design that a run has tried.

    Args:
        learner: the label of who tried it first.
        design: one action per layer.
        reward: that was paid for it.
        terminated: whether it did not complete.
        objectives: what the reward sees, by name; NaN where it did not complete.
        trial: from the store; None where it has none of the design itself, as of one that was trained on several folds.
    """

    learner: str
    design: Design
    reward: float
    terminated: bool
    objectives: Mapping[str, float]
    trial: Trial | None


def tried(run: Run, store: Store, shared: bool = False) -> list[Tried]:
    """Every distinct design, in the order that their trials ended in.

    Args:
        run: the run.
        store: of its trials.
        shared: whether of those that were tried as slices of shared weights, in place of those that were trained.

    Raises:
        InputError: if the run's files are damaged.
    """
    layers, trials = len(run.settings["space"]), searched(run, store, shared)
    found: dict[Design, Tried] = {}
    for label in run.labels(shared):
        # A run of an earlier version has its episodes alone.
        for path in (run.trials(label), run.episodes(label)):
            for line in read_episodes(path) if path.exists() else ():
                design = line.design(layers)
                if design not in found:
                    objectives = line.objectives(layers)
                    trial = trials.get(design)
                    found[design] = Tried(label, design, line.reward, line.terminated, objectives, trial)
    return list(found.values())


def searched(run: Run, store: Store, shared: bool = False) -> dict[Design | None, Trial]:
    """The trials of a run's search by design, also those of other runs of its folder; None is the original network. They are of
    trainings, or where `shared` of slices of shared weights."""
    return {
        trial.design: trial
        for fingerprint, trial in store.trials()
        if fingerprint in run.fingerprints
        and trial.shared == shared
        and trial.request.seed == run.settings["training_seed"]
        and trial.request.epochs is not None
        and trial.request.fold is None
    }


def directions(run: Run, found: Sequence[Tried]) -> dict[str, int]:
    """What the run's reward sees, and which way each is better, +1 or -1; nothing where it is not known yet.

    A run of an earlier version says its objectives in its episodes, and all of them are metrics of every task.
    """
    seen = found[0].objectives if found else ()
    of_every_task = {
        name: METRICS[Objective.parse(name).metric].better for name in seen if "directions" not in run.settings
    }
    return dict(run.settings.get("directions", of_every_task))
