"""A run from the command to its closing report."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import typer

from agents import Learner
from experiments.text_tables import markdown_section, print_table
from experiments.tuning.pictures import pareto_front, predicted_masks, rewards_per_episode
from experiments.tuning.report import (
    comparison,
    front,
    front_objectives,
    front_table,
    layers,
    measured_alone,
)
from experiments.tuning.tuning import PHASES, Play, Tuning
from marl_hpo_env import Reward, Task, Trial, WeightedReward

_STARTED = time.perf_counter()


def prepare(
    task: Task, out: Path | None, device: str | None, workers: int | None, reward: Reward | None = None
) -> Tuning:
    """The run of a task in its folder, having said what the user should know of it.

    Raises:
        InputError: as `Tuning`.
    """
    if task.limits.batch_ratio is not None and (workers or 1) > 1:
        typer.echo(f"The batch-time limit is off: with {workers} workers no training is alone.", err=True)
        task = replace(task, limits=replace(task.limits, batch_ratio=None))
    tuning = Tuning(task, out or Path("runs") / task.name, reward=reward, device=device, workers=workers)
    for note in task.splits.notes:
        typer.echo(note, err=True)
    if task.limits.batch_ratio is not None:
        typer.echo(
            f"A design's batch may take {task.limits.batch_ratio:g} times the original's: a clock decides.", err=True
        )
    return tuning


def play_learner(tuning: Tuning, player: Learner, name: str, seed: int, episodes: int | None) -> Play:
    """Lets a learner play, and writes its episodes into the run's folder."""
    played = tuning.play(name, player, episodes, seed)
    tuning.write_episodes(played)
    run = f"{name}, seed {seed}, {tuning.env.epochs} epochs, {tuning.reward}"
    earlier = tuning.folder.store.about(f"run of {name}")
    if earlier not in (None, run):
        typer.echo(
            f"The report in {str(tuning.folder.path)!r} was of {earlier}; it is replaced, its trials stay.", err=True
        )
    tuning.folder.store.set_about(f"run of {name}", run)
    return played


def close(tuning: Tuning, played: Play, baseline: Play | None = None) -> None:
    """The closing report: the original network and what was found, each trained to convergence the same way."""
    plays = [played] if baseline is None else [played, baseline]
    if played.best.terminated or played.best.reward == tuning.reward.penalty:
        typer.echo(
            f"None of the {played.evaluations} designs completed and kept the constraints; allow more, or play more episodes: "
            "the same command with more --episodes continues.",
            err=True,
        )
        sys.exit(1)
    trials = {"original": tuning.converge("original", None)}
    trials[played.name], network = tuning.take_home(played.best.design)
    if baseline is not None:
        trials[baseline.name] = tuning.converge(baseline.name, baseline.best.design)
    path = tuning.folder / f"rewards-{played.name}.png"
    rewards_per_episode(played, path, sum(phase == PHASES[0] for phase in played.phases))
    lines = [f"Reward: {tuning.reward}."] + [line for each in plays for line in _outcome(each)]
    lines += _constraints(tuning.reward, played.name, trials[played.name], trials["original"])
    lines += added(tuning.task, played.name, played.best.design)
    objectives = front_objectives(tuning.reward)
    original = tuning.env.original
    reached = {
        design: [objective.value(trial, original) for objective in objectives]
        for each in plays
        for design, trial in each.trials.items()
        if trial.status == "completed"
    }
    best = front(reached, objectives)
    tables = {f"No other of the {len(reached)} designs is better in all": front_table(best, objectives)}
    write_report(tuning, trials, {each.name: each.best.design for each in plays}, lines, tables)
    picture = tuning.folder / "pareto-front.png"
    of_original = [objective.value(original, original) for objective in objectives]
    names = [str(objective) for objective in objectives]
    pareto_front(list(reached.values()), [values for _, values in best], of_original, names, picture)
    typer.echo(f"Pareto front: {picture}")
    if tuning.task.splits.test[1].is_floating_point():
        masks = tuning.folder / "masks.png"
        predicted_masks(tuning.network(network), tuning.task.splits.test, masks)
        typer.echo(f"Predicted masks: {masks}")
    typer.echo(f"The network found by {played.name}: {network}")
    typer.echo(
        f"  network = marl_hpo_env.load_network({str(network)!r}, model)  # model: the original, with as many classes"
    )
    typer.echo(f"Reward per episode: {path}")
    typer.echo(f"Every trial: {tuning.folder / 'trials.sqlite'}")


def write_report(
    tuning: Tuning,
    trials: dict[str, Trial],
    designs: dict[str, tuple[int, ...]],
    lines: Sequence[str] = (),
    more: dict[str, tuple[list[str], list[list[str]]]] | None = None,
) -> None:
    """Shows the tables and sentences of a run, and writes them to its `report.md` with what they were measured on."""
    text = [f"# {tuning.task.name}\n"]
    for title, (header, rows) in {
        "Trained to convergence": comparison(trials),
        "Layer by layer": layers(tuning.task.network, designs),
        **(more or {}),
    }.items():
        print_table(title, header, rows)
        text.append(markdown_section(title, header, rows))
    for line in lines:
        typer.echo(line)
    sentences = "".join(f"- {line}\n" for line in lines)
    (tuning.folder / "report.md").write_text(
        "\n".join([*text, sentences, measured_alone(tuning.device, time.perf_counter() - _STARTED)]) + "\n"
    )


def _constraints(reward: Reward, name: str, found: Trial, original: Trial) -> list[str]:
    """Whether the constraints that held after a few epochs hold for the networks that are taken home, in a sentence."""
    if not isinstance(reward, WeightedReward) or not reward.constraints:
        return []
    broken = reward.broken(found, original)
    verdict = f"does not keep {', '.join(broken)}" if broken else f"keeps {', '.join(reward.constraints)}"
    return [f"{name}: trained to convergence, the network {verdict}."]


def _outcome(played: Play) -> list[str]:
    """What a learner's play came to, in sentences."""
    counts = f"{len(played.episodes)} episodes, {played.evaluations} distinct designs"
    lines = [f"{played.name}: best reward {played.best.reward:.4f} ({counts})."]
    if played.converged is not None:
        last = next(e.reward for e in reversed(played.episodes) if e.design == played.converged)
        same = "the best" if played.converged == played.best.design else f"{list(played.converged)}, reward {last:.4f}"
        lines.append(f"{played.name}: the tables converged to {same}.")
    elif played.phases[-1]:
        lines.append(f"{played.name}: the tables had not converged.")
    for status in ("failed", "terminated"):
        without = [trial for trial in played.trials.values() if trial.status == status]
        if without:
            lines.append(f"{played.name}: {len(without)} designs {status}, such as one because: {without[0].reason}")
    return lines


def added(task: Task, name: str, design: tuple[int, ...]) -> list[str]:
    """What the found network needed so that its branches fit, in a sentence; none where it needed nothing."""
    network: Any = task.network.build(design, "meta")
    parts = [f"{count} {what}" for what, count in network.meta["added"].items() if count]
    return [f"{name}: added so that the network fits: {', '.join(parts)}."] if parts else []
