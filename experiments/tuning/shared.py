"""A search on weights that designs share, and the training of the best that it finds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import typer

from agents import Learner, learner
from agents.episodes_file import file_name
from experiments.progress import progress_bar
from experiments.tuning.limits import RunLimits
from experiments.tuning.report import front, front_objectives
from experiments.tuning.run import Run, label_of
from experiments.tuning.session import close, found_nothing, reported
from experiments.tuning.tuning import Play, Tuning
from marl_hpo_env import Design, InputError, Request, SharedEvaluator, StoredEvaluator, Trial, env
from marl_hpo_env.trial import CLOCK_METRICS


@dataclass(frozen=True)
class Shared:
    """What a search on shared weights is asked for.

    Args:
        epochs: of the shared weights.
        confirm: how many of the best designs are trained, beside those on the front.
    """

    epochs: int
    confirm: int


def play_shared(
    tuning: Tuning,
    name: str,
    player: Learner,
    shared: Shared,
    seed: int,
    limits: RunLimits,
    start: Sequence[Design] = (),
) -> None:
    """One shared training, a learner's search on its slices, trainings of the best that it found, and the closing report.

    Args:
        tuning: the task and its folder.
        name: of the learner, with its settings.
        player: the learner.
        shared: how.
        seed: of the learner.
        limits: of the search, but for the time, which is the run's.
        start: designs that are evaluated first.
    """
    label = label_of(name)
    identity: dict[str, Any] = {"shared_epochs": shared.epochs, "confirm": shared.confirm}
    run = tuning.run(
        f"{file_name(label)}-shared-seed{seed}", learner=f"{name} on shared weights", seed=seed, start=start, **identity
    )
    with reported(tuning, run):
        _play_shared(tuning, run, label, player, shared, limits, start)


def _play_shared(
    tuning: Tuning,
    run: Run,
    label: str,
    player: Learner,
    shared: Shared,
    limits: RunLimits,
    start: Sequence[Design],
) -> None:
    seed, on_shared = run.settings["identity"]["seed"], f"{label} on shared weights"
    evaluator = trained(tuning, shared.epochs)
    run.update(learners=[on_shared], slices={on_shared: evaluator.fingerprint})
    searched = tuning.play(
        on_shared,
        player,
        limits.episodes,
        seed,
        limits.evaluations,
        seconds=limits.search_seconds(2),
        start=start,
        run=run,
        evaluator=evaluator,
    )
    chosen = to_confirm(tuning, searched, shared.confirm)
    if not chosen:
        raise InputError(
            f"None of the {searched.evaluations} designs keeps the constraints on shared weights; allow more, or play longer."
        )
    run.update(learners=[label, on_shared])
    confirmed = tuning.play(
        label,
        learner("random"),
        None,
        seed,
        len(chosen),
        seconds=limits.search_seconds(1),
        start=chosen,
        run=run,
    )
    if found_nothing(tuning, confirmed):
        raise InputError(
            f"None of the {confirmed.evaluations} designs that were trained completed and kept the constraints; train more "
            "of them with --confirm."
        )
    close(
        tuning,
        run,
        confirmed,
        None,
        limits,
        _sentences(tuning, evaluator.inner, searched, confirmed, shared.confirm),
        _table(searched, confirmed),
    )
    run.update(ended=searched.ended)


def trained(tuning: Tuning, epochs: int) -> StoredEvaluator:
    """Shared weights, trained to their end in the run's folder, from where they were left; their trials are in its store.

    Raises:
        InputError: if the reward cannot be given on shared weights, or they cannot be trained.
    """
    task = tuning.task
    with progress_bar(tuning.console) as progress:
        bar = progress.add_task("shared weights", total=epochs, note="")
        evaluator = SharedEvaluator(
            task,
            epochs,
            seed=task.seed,
            device=str(tuning.device),
            folder=tuning.folder.path,
            on_epoch=lambda epoch: progress.update(bar, completed=epoch, note="epochs"),
        )
        env(task, evaluator, reward=tuning.reward)  # fails if they do not fit together
        typer.echo(
            "Shared weights know no loss limit, no time and no calibrated epochs; their rewards order designs, and are not those "
            "of trainings.",
            err=True,
        )
        _ = evaluator.training
    return StoredEvaluator(evaluator, tuning.folder.store)


def to_confirm(tuning: Tuning, searched: Play, count: int) -> list[Design]:
    """The designs with the best rewards on shared weights, and those on the front, the best first.

    Of designs that are the same slice, as where only the stride on a map of one pixel differs, one is taken: the one that was
    met first.

    Args:
        tuning: says what is rewarded.
        searched: the play on shared weights.
        count: how many of the best.
    """
    rewards = {e.design: e.reward for e in searched.episodes if not e.terminated and e.reward != tuning.reward.penalty}
    met: dict[tuple[float | None, ...], Design] = {}
    for design in rewards:
        met.setdefault(_slice_of(searched.trials[design]), design)
    best = sorted(met.values(), key=lambda design: -rewards[design])
    objectives = front_objectives(tuning.reward, tuning.task.score)
    # What an objective is divided by, the same for all, does not change a front.
    reached = {d: [float(searched.trials[d].metrics[o.metric] or 0) for o in objectives] for d in best}
    on_front = {design for design, _ in front(reached, objectives, tuning.task.measures)} if best else set()
    return [design for place, design in enumerate(best) if place < count or design in on_front]


def _slice_of(trial: Trial) -> tuple[float | None, ...]:
    """What tells slices apart: all that is measured of one, but times."""
    return tuple(value for name, value in trial.metrics.items() if name not in CLOCK_METRICS)


def _sentences(tuning: Tuning, evaluator: Any, searched: Play, confirmed: Play, count: int) -> list[str]:
    """What the report says of the search."""
    original = evaluator.evaluate([Request(None, tuning.task.seed, evaluator.epochs)])
    (metrics,) = (trial.metrics for trial in original)
    examples = len(tuning.task.splits.train[0])
    passes = evaluator.cost / (examples * metrics["flops"])
    best = "the best" if count == 1 else f"the {count} best"
    return [
        f"Shared weights: trained for {evaluator.epochs} epochs, as many FLOPs as {passes:.3g} epochs of the original; "
        f"checkpoint {evaluator.digest}.",
        f"{searched.name}: {len(searched.episodes)} episodes, {searched.evaluations} distinct designs, as slices and not "
        f"trained; the search ended, since {searched.ended}.",
        f"{confirmed.name}: {confirmed.evaluations} of these designs were then trained, {best} and those on the front; found is "
        "the best of these.",
    ]


def _table(searched: Play, confirmed: Play) -> dict[str, tuple[list[str], list[list[str]]]]:
    """The confirmed designs, with their rewards before and after."""
    on_shared = {episode.design: episode.reward for episode in searched.episodes}
    rows = [
        [",".join(map(str, episode.design)), f"{on_shared[episode.design]:.4f}", f"{episode.reward:.4f}"]
        for episode in sorted(confirmed.episodes, key=lambda episode: -episode.reward)
    ]
    return {"Confirmed by training": (["design", "reward on shared weights", "reward"], rows)}
