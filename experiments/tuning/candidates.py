"""Which of the designs that were found is taken home: under constraints the first that keeps them, trained to convergence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from experiments.tuning.limits import RunLimits
from experiments.tuning.report import front, front_objectives, reached
from experiments.tuning.run import Run
from experiments.tuning.tuning import Play, Tuning, Untrainable
from marl_hpo_env import Design, Trial, WeightedReward


@dataclass(frozen=True)
class Settled:
    """What final training made of a play's candidates.

    Args:
        candidates: the designs that came into question, in order.
        tried: the final trainings of the first of them.
        trial: of the one that is taken home.
    """

    candidates: Sequence[Design]
    tried: Sequence[Trial]
    trial: Trial

    @property
    def design(self) -> Design:
        """The one that is taken home."""
        assert self.trial.design is not None
        return self.trial.design


def constrained(tuning: Tuning) -> bool:
    """Whether a network that is taken home has bounds to keep."""
    return isinstance(tuning.reward, WeightedReward) and bool(tuning.reward.constraints)


def candidates(tuning: Tuning, played: Play) -> list[Design]:
    """The designs that come into question, the one with the best reward first: with `--within` the smallest.

    Under constraints they are the front of those that kept them in the search, after a few epochs: larger ones are then more
    accurate. Without, the best alone.
    """
    if not constrained(tuning):
        return [played.best.design]
    rewards = {e.design: e.reward for e in played.episodes if not e.terminated and e.reward != tuning.reward.penalty}
    objectives = front_objectives(tuning.reward, tuning.task.score)
    kept = reached([played.trials[design] for design in rewards], objectives, tuning.env.original)
    on_front = front(kept, objectives, tuning.task.measures)
    return sorted((design for design, _ in on_front), key=lambda design: -rewards[design])


def settle(
    tuning: Tuning, played: Play, original: Trial, limits: RunLimits, to_come: int = 0, run: Run | None = None
) -> Settled:
    """Trains a play's candidates to convergence, one after the other, until one keeps the constraints.

    Where none does, or time is over, the last that could be trained is taken. What is stored is not trained again.

    Args:
        tuning: the task and its folder.
        played: whose candidates.
        original: the original's final training, which bounds refer to.
        limits: each training has a half of what is left of their time, and the last that can be needed all of it.
        to_come: further trainings that time is left for.
        run: whose folder the networks are written to, each in the place of the one before.

    Raises:
        Untrainable: if none can be trained.
    """
    in_question = candidates(tuning, played)
    tried: list[Trial] = []
    for number, design in enumerate(in_question, start=1):
        more = number < len(in_question)
        seconds = limits.training_seconds(1 + more + to_come)
        if tried and seconds <= 0:
            break
        label = f"what {played.name} found, candidate {number} of {len(in_question)}"
        try:
            tried.append(tuning.converge(label if len(in_question) > 1 else played.name, design, seconds, run))
        except Untrainable as error:
            tried.append(error.trial)
            continue
        if keeps(tuning, tried[-1], original):
            break
    completed = [trial for trial in tried if trial.status == "completed"]
    if not completed:
        raise Untrainable(tried[0])
    return Settled(in_question, tried, completed[-1])


def keeps(tuning: Tuning, trial: Trial, original: Trial) -> bool:
    """Whether a final training that completed keeps the constraints, if there are any."""
    return not (isinstance(tuning.reward, WeightedReward) and tuning.reward.broken(trial, original))


def candidates_table(
    tuning: Tuning, played: Play, settled: Settled, original: Trial
) -> tuple[list[str], list[list[str]]]:
    """Header and rows of the candidates that were trained: each objective in the search and to convergence."""
    objectives = front_objectives(tuning.reward, tuning.task.score)
    early = tuning.env.original
    rows = []
    for trial in settled.tried:
        cells = [",".join(map(str, trial.design or ()))]
        for objective in objectives:
            cells.append(f"{objective.value(played.trials[trial.design], early):.4g}")
            cells.append(f"{objective.value(trial, original):.4g}" if trial.status == "completed" else "-")
        kept = trial.status == "completed" and keeps(tuning, trial, original)
        rows.append([*cells, "yes" if kept else "no" if trial.status == "completed" else trial.status])
    header = [f"{objective}{when}" for objective in objectives for when in ("", ", converged")]
    return ["design", *header, "keeps the bounds"], rows
