"""A run from the command to its closing report."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import typer

from agents import Learner, learner
from experiments.text_tables import markdown_section, print_table
from experiments.tuning.evaluators import Machines
from experiments.tuning.pictures import improvement_bars, pareto_front, predicted_masks, rewards_per_episode
from experiments.tuning.report import (
    comparison,
    front,
    front_objectives,
    front_table,
    improvement_table,
    improvements,
    layers,
    measured_alone,
)
from experiments.tuning.sentences import (
    added,
    below_zero,
    constraints,
    device_seconds,
    epoch_budget,
    inheritance,
    of_tables,
    outcome,
    time_taken,
)
from experiments.tuning.tuning import PHASES, Play, Tuning
from marl_hpo_env import Limits, Reward, Task, Trial

_STARTED = time.perf_counter()


def prepare(task: Task, out: Path | None, machines: Machines, reward: Reward | None = None) -> Tuning:
    """The run of a task in its folder, having said what the user should know of it.

    Raises:
        InputError: as `Tuning`.
    """
    if task.limits.batch_ratio is not None and (machines.workers or 1) > 1:
        typer.echo(f"The batch-time limit is off: with {machines.workers} workers no training is alone.", err=True)
        task = replace(task, limits=replace(task.limits, batch_ratio=None))
    tuning = Tuning(task, out or Path("runs") / task.name, reward=reward, machines=machines)
    for note in task.splits.notes:
        typer.echo(note, err=True)
    for line in inheritance(task):
        typer.echo(line, err=True)
    if task.limits.loss is not None and task.limits.loss_epochs > Limits().loss_epochs:
        typer.echo(
            f"A training may stay above its loss limit for {task.limits.loss_epochs} epochs, since they have fewer images.",
            err=True,
        )
    if task.limits.batch_ratio is not None:
        typer.echo(
            f"A design's batch may take {task.limits.batch_ratio:g} times the original's: a clock decides.", err=True
        )
    return tuning


def play_learner(
    tuning: Tuning, player: Learner, name: str, seed: int, episodes: int | None, evaluations: int | None = None
) -> Play:
    """Lets a learner play, as `Tuning.play`, and writes its episodes into the run's folder."""
    played = tuning.play(name, player, episodes, seed, evaluations)
    tuning.write_episodes(played)
    run = f"{name}, seed {seed}, {tuning.env.epochs} epochs, {tuning.reward}"
    earlier = tuning.folder.store.about(f"run of {name}")
    if earlier not in (None, run):
        typer.echo(
            f"The report in {str(tuning.folder.path)!r} was of {earlier}; it is replaced, its trials stay.", err=True
        )
    tuning.folder.store.set_about(f"run of {name}", run)
    return played


def play_both(
    tuning: Tuning, name: str, player: Learner, baseline: str | None, seed: int, episodes: int | None
) -> None:
    """A learner's play, where there is a baseline one of its with as many distinct designs, and the closing report.

    Args:
        tuning: the run.
        name: of the learner.
        player: the learner.
        baseline: the name of another, or None.
        seed: of both.
        episodes: of the learner; until it is finished where None.
    """
    played = play_learner(tuning, player, name, seed, episodes)
    if _found_nothing(tuning, played):
        typer.echo(
            f"None of the {played.evaluations} designs completed and kept the constraints; allow more, or play more episodes: "
            "the same command with more --episodes continues.",
            err=True,
        )
        sys.exit(1)
    if baseline is None:
        close(tuning, played)
    else:
        close(tuning, played, play_learner(tuning, learner(baseline), baseline, seed, None, played.evaluations))


def _found_nothing(tuning: Tuning, played: Play) -> bool:
    return played.best.terminated or played.best.reward == tuning.reward.penalty


def close(tuning: Tuning, played: Play, baseline: Play | None = None) -> None:
    """The closing report: the original network and what was found, each trained to convergence the same way."""
    plays = [played] if baseline is None else [played, baseline]
    found = [each for each in plays if not _found_nothing(tuning, each)]
    trials = {"original": tuning.converge("original", None)}
    trials[played.name], network = tuning.take_home(played.best.design)
    if baseline is not None and baseline in found:
        trials[baseline.name] = tuning.converge(baseline.name, baseline.best.design)
    rewards = tuning.folder / f"rewards-{played.name}.png"
    length = sum(phase == PHASES[0] for phase in played.phases)
    rewards_per_episode(played, rewards, length, tuning.printed(played))
    lines = [f"Reward: {tuning.reward}.", epoch_budget(tuning)]
    for each in plays:
        lines += outcome(each) + of_tables(each)
        if each not in found:
            lines.append(f"{each.name}: none of its designs completed and kept the constraints.")
    seen = {design: trial for each in plays for design, trial in each.trials.items()}
    lines += below_zero(tuning.reward, seen.values())
    lines += constraints(tuning.reward, played.name, trials[played.name], trials["original"])
    lines += added(tuning.task, played.name, played.best.design)
    objectives = front_objectives(tuning.reward)
    original = tuning.env.original
    reached = {
        design: [objective.value(trial, original) for objective in objectives]
        for design, trial in seen.items()
        if trial.status == "completed"
    }
    best = front(reached, objectives)
    tables = {f"No other of the {len(reached)} designs is better in all": front_table(best, objectives)}
    if baseline is not None:
        tables = {"Improvement over the original": improvement_table(trials), **tables}
    write_report(tuning, trials, {each.name: each.best.design for each in found}, lines, tables)
    if baseline is not None:
        bars = tuning.folder / "improvements.png"
        improvement_bars({name: improvements(trials, name) for name in trials if name != "original"}, bars)
        typer.echo(f"Improvement over the original: {bars}")
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
    typer.echo(f"Reward per episode: {rewards}")
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
    took = time_taken(device_seconds(tuning.folder.store), time.perf_counter() - _STARTED)
    typer.echo(f"{took[0].upper()}{took[1:]}.")
    sentences = "".join(f"- {line}\n" for line in lines)
    (tuning.folder / "report.md").write_text("\n".join([*text, sentences, measured_alone(tuning.device, took)]) + "\n")
