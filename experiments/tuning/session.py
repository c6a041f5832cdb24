"""A run from the command to its closing report."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import typer

from agents import Learner, learner
from agents.episodes_file import file_name
from experiments.command_line import Stopped
from experiments.tuning.callbacks import PHASES
from experiments.tuning.candidates import Settled, candidates_table, constrained, settle
from experiments.tuning.designs import Designs
from experiments.tuning.evaluators import Machines
from experiments.tuning.limits import RunLimits
from experiments.tuning.logs import Log
from experiments.tuning.overview import report_so_far, write_overview
from experiments.tuning.page import write_page
from experiments.tuning.pictures import (
    improvement_bars,
    predicted_masks,
    rewards_per_episode,
)
from experiments.tuning.report import (
    comparison,
    improvement_table,
    improvements,
    layers,
    measured_alone,
    original_values,
    publish,
)
from experiments.tuning.run import Run, label_of
from experiments.tuning.sentences import (
    added,
    below_zero,
    constraints,
    device_seconds,
    epoch_budget,
    inheritance,
    largest_class,
    made_with,
    of_tables,
    outcome,
    resolution,
    time_taken,
)
from experiments.tuning.tuning import Play, Tuning
from marl_hpo_env import Design, InputError, Limits, Reward, Task, Trial
from marl_hpo_env.networks.saved import About

_STARTED = time.perf_counter()


def prepare(
    task: Task,
    out: Path | None,
    machines: Machines,
    reward: Reward | None = None,
    about: About | None = None,
    logs: Sequence[Log] = (),
) -> Tuning:
    """The run of a task in its folder, having said what the user should know of it; its arguments are those of `Tuning`.

    Raises:
        InputError: as `Tuning`.
    """
    if task.limits.batch_ratio is not None and (machines.ray or (machines.workers or 1) > machines.devices):
        where = "on a cluster" if machines.ray else f"with {machines.workers} workers"
        typer.echo(f"The batch-time limit is off: {where} no training is alone.", err=True)
        task = replace(task, limits=replace(task.limits, batch_ratio=None))
    tuning = Tuning(task, out or Path("runs") / task.name, reward=reward, machines=machines, about=about, logs=logs)
    for note in task.splits.notes:
        typer.echo(note, err=True)
    for line in inheritance(task):
        typer.echo(line, err=True)
    for line in resolution(task, tuning.reward):
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


def play_both(
    tuning: Tuning,
    name: str,
    player: Learner,
    baseline: str | None,
    seed: int,
    limits: RunLimits,
    start: Sequence[Design] = (),
) -> None:
    """A learner's play, where there is a baseline one of its with as many distinct designs, and the closing report.

    Args:
        tuning: the task and its folder.
        name: of the learner, with its settings.
        player: the learner.
        baseline: the name of another, or None.
        seed: of both.
        limits: of the run; its episodes, designs and target are the learner's alone.
        start: designs that both evaluate first.
    """
    run = tuning.run(f"{file_name(label_of(name))}-seed{seed}", learner=name, seed=seed, start=start)
    with reported(tuning, run):
        _play_both(tuning, run, player, baseline, limits, start)


@contextmanager
def reported(tuning: Tuning, run: Run) -> Iterator[None]:
    """However a run ends, its folder has the table over its runs; and where it was stopped or cannot go on, the report so far."""
    try:
        yield
    except (InputError, Stopped):
        report_so_far(run, tuning.folder.store)
        raise
    finally:
        write_overview(tuning.folder.path, tuning.folder.store)


def _play_both(
    tuning: Tuning, run: Run, player: Learner, baseline: str | None, limits: RunLimits, start: Sequence[Design]
) -> None:
    name, seed = run.settings["identity"]["learner"], run.settings["identity"]["seed"]
    label, other = label_of(name), label_of(baseline or "")
    if label == other:
        label, other = name, str(baseline)
    run.update(learners=[label])
    played = tuning.play(
        label,
        player,
        limits.episodes,
        seed,
        limits.evaluations,
        seconds=limits.search_seconds(1 if baseline is None else 2),
        target=limits.target,
        start=start,
        run=run,
    )
    if found_nothing(tuning, played):
        typer.echo(
            f"None of the {played.evaluations} designs completed and kept the constraints; allow more, or play longer: "
            "the same command with larger limits, such as --episodes, continues.",
            err=True,
        )
        sys.exit(1)
    beside = None
    if baseline is not None:
        run.update(learners=[label, other])
        beside = tuning.play(
            other,
            learner(baseline),
            None,
            seed,
            played.evaluations,
            seconds=limits.search_seconds(1),
            start=start,
            run=run,
        )
    close(tuning, run, played, beside, limits)
    run.update(ended=played.ended)


def found_nothing(tuning: Tuning, played: Play) -> bool:
    """Whether none of its designs completed and kept the constraints."""
    return played.best.terminated or played.best.reward == tuning.reward.penalty


def close(
    tuning: Tuning,
    run: Run,
    played: Play,
    baseline: Play | None,
    limits: RunLimits,
    before: Sequence[str] = (),
    more: Mapping[str, tuple[list[str], list[list[str]]]] | None = None,
) -> None:
    """The closing report: the original network and what was found, each trained to convergence the same way.

    Args:
        tuning: the task and its folder.
        run: the run.
        played: whose best network is taken home.
        baseline: another play, or None.
        limits: of the run.
        before: sentences on what came before the play.
        more: tables that stand behind the others, by title.
    """
    plays = [played] if baseline is None else [played, baseline]
    found = [each for each in plays if not found_nothing(tuning, each)]
    trials, settled, network = _final_trainings(tuning, run, found, limits)
    original, designs = trials["original"], {label: one.design for label, one in settled.items()}
    rewards = run / f"rewards-{file_name(played.name)}.png"
    rewards_per_episode(played, rewards, played.phases.count(PHASES[0]), tuning.printed(played))
    lines = [f"Reward: {tuning.reward}.", *before, epoch_budget(tuning), *largest_class(tuning.task)]
    segments = tuning.task.splits.kind == "masks"
    if segments:
        lines.append("Accuracy, as val % and test %, is the Dice coefficient.")
    for each in plays:
        lines += outcome(each) + of_tables(each)
        if each not in found:
            lines.append(f"{each.name}: none of its designs completed and kept the constraints.")
    seen = {design: trial for each in plays for design, trial in each.trials.items()}
    lines += below_zero(tuning.reward, seen.values())
    for each in found:
        lines += constraints(tuning, each.name, settled[each.name], original)
    lines += resolution(tuning.task, tuning.reward)
    lines += added(tuning.task, played.name, designs[played.name])
    lines += made_with(tuning.trained_with, on_cluster=tuning.device is None)
    every = Designs(tuning, plays)
    tables = every.tables()
    if constrained(tuning):
        tables = {
            f"{each.name}: candidates": candidates_table(tuning, each, settled[each.name], original) for each in found
        } | tables
    if baseline is not None:
        tables = {"Improvement over the original": improvement_table(trials), **tables}
    tables |= more or {}
    lines += [f"{label}: {trial.reason}" for label, trial in trials.items() if trial.cut]
    write_report(tuning, run, trials, designs, lines, tables)
    if baseline is not None:
        bars = run / "improvements.png"
        improvement_bars({name: improvements(trials, name) for name in trials if name != "original"}, bars)
        typer.echo(f"Improvement over the original: {bars}")
    every.draw(run, designs[played.name])
    if segments:
        masks = run / "masks.png"
        predicted_masks(tuning.network(network), tuning.task.splits.test, masks)
        typer.echo(f"Predicted masks: {masks}")
    typer.echo(f"The network found by {played.name}: {network}")
    typer.echo(
        f"  network = marl_hpo_env.load_network({str(network)!r}, model)  # model: the original, with as many classes"
    )
    typer.echo(f"Reward per episode: {rewards}")
    typer.echo(f"Every trial: {tuning.folder / 'trials.sqlite'}")


def _final_trainings(
    tuning: Tuning, run: Run, found: Sequence[Play], limits: RunLimits
) -> tuple[dict[str, Trial], dict[str, Settled], Path]:
    """The final trainings by label, of the original and what each play found; which candidates these were; and the file of the
    network of the first play."""
    original = tuning.converge("original", None, limits.training_seconds(1 + len(found)))
    settled: dict[str, Settled] = {}
    for to_come, played in zip(reversed(range(len(found))), found, strict=True):
        settled[played.name] = settle(tuning, played, original, limits, to_come, None if settled else run)
    trials = {"original": original, **{label: one.trial for label, one in settled.items()}}
    first = found[0].name
    # The file is there already, unless it was deleted since.
    seconds = limits.training_seconds(1)
    trials[first], network = tuning.take_home("the network to take home", settled[first].design, run, seconds)
    run.update(taken={label: list(one.design) for label, one in settled.items()})
    return trials, settled, network


def write_report(
    tuning: Tuning,
    run: Run,
    trials: dict[str, Trial],
    designs: dict[str, Design],
    lines: Sequence[str] = (),
    more: Mapping[str, tuple[list[str], list[list[str]]]] | None = None,
) -> None:
    """Shows the tables and sentences of a run; writes them to `report.md` and `report.html`, with what they were measured on."""
    task = tuning.task
    tables = {
        "Trained to convergence": comparison(trials, task.measures),
        "Layer by layer": layers(task.space, original_values(task), designs),
        **(more or {}),
    }
    took = time_taken(device_seconds(tuning.folder.store), time.perf_counter() - _STARTED)
    last = measured_alone(tuning.device, took)
    publish(run / "report.md", task.name, tables, lines, last)
    write_page(run, tuning.folder.store, task.name, tables, lines, last, designs)
    typer.echo(f"{took[0].upper()}{took[1:]}.")
    typer.echo(f"The report, for a browser: {run / 'report.html'}")
