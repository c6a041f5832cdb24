"""What a few epochs say of a design, and whom limits end: `python -m experiments.suites.few_epochs --task digits-convnet`.

The original and random designs are trained to convergence without limits. A longer training begins as a shorter one did, so
every shorter one is read off its history. From this the threshold of the epoch budget (`epoch_budget.THRESHOLD_FRACTION`) and
the batch-time limit of the paper's tasks were chosen.
"""

from __future__ import annotations

import csv
import itertools
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from experiments.command_line import Device, new_app, path_option, run_command
from experiments.commands.task_options import Examples, Images, ImageSize, Width, read_options
from experiments.progress import progress_bar
from experiments.provenance import cores, machine, measured_by, software
from experiments.reproduction.report import rank_correlation
from experiments.text_tables import markdown_section
from experiments.tuning.evaluators import Machines, evaluator_of
from marl_hpo_env import InputError, Limits, Request, StoredEvaluator, Task, Trial
from marl_hpo_env.evaluators import epoch_budget
from marl_hpo_env.evaluators.store import Store
from marl_hpo_env.training.devices import choose_device

app = new_app()

FRACTIONS = (0.1, 0.25, 0.5, 0.75, 0.9)
RATIOS = (1.25, 1.5, 2.0)
Z_99 = 2.576


def at_epoch(trial: Trial, epochs: int) -> Trial:
    """What a training of as many epochs would have come to; the whole one, where it ended sooner."""
    shorter = trial.history[:epochs]
    return replace(trial, history=shorter, metrics={**trial.metrics, **shorter[-1], "epochs": len(shorter)})


def mean_budget(guessing: float, original: Trial, designs: Sequence[Trial], fraction: float) -> float:
    """The mean calibrated budget, over every choice of the designs that calibrate it."""
    most = epoch_budget.MOST_EPOCHS
    threshold = epoch_budget.loss_threshold(guessing, at_epoch(original, most), fraction)
    drawn = itertools.combinations(designs, epoch_budget.CALIBRATION_DESIGNS)
    budgets = [
        epoch_budget.lowered(most, [at_epoch(trial, most) for trial in (original, *three)], threshold)
        for three in drawn
    ]
    return float(np.mean(budgets))


def report(task: Task, original: Trial, designs: Sequence[Trial]) -> str:
    """The tables, in Markdown, of completed trials."""
    converged = [trial.metrics["validation_accuracy"] or 0.0 for trial in designs]
    rewarded = [task.reward(trial, original) for trial in designs]
    validation = len(task.splits.validation[1])
    per_epoch, correlations = [], {}
    for epochs in range(1, epoch_budget.MOST_EPOCHS + 1):
        shorter = [at_epoch(trial, epochs) for trial in designs]
        accuracies = [trial.metrics["validation_accuracy"] or 0.0 for trial in shorter]
        rewards = [task.reward(trial, at_epoch(original, epochs)) for trial in shorter]
        correlations[epochs] = rank_correlation(accuracies, converged)
        # A network that always says the most frequent class, or no pixel at all, is right so often.
        chance = epoch_chance(task)
        lower = [a - Z_99 * np.sqrt(a * (1 - a) / validation) for a in accuracies]
        per_epoch.append(
            [
                str(epochs),
                f"{correlations[epochs]:.2f}",
                f"{rank_correlation(rewards, rewarded):.2f}",
                f"{rank_correlation(rewards, converged):.2f}",
                f"{100 * np.mean(accuracies):.1f}",
                "-" if chance is None else f"{sum(bound > chance for bound in lower)} of {len(lower)}",
            ]
        )
    by_fraction = []
    for fraction in FRACTIONS:
        budget = mean_budget(task.guessing_loss, original, designs, fraction)
        correlation = float(np.interp(budget, list(correlations), list(correlations.values())))
        by_fraction.append([f"{fraction:g}", f"{budget:.1f}", f"{correlation:.2f}", f"{correlation / budget:.3f}"])
    text = [
        markdown_section(
            "After so many epochs",
            [
                *("epochs", "accuracy, with converged", "reward, with converged", "reward, with converged accuracy"),
                *("mean accuracy %", "99% bound above chance"),
            ],
            per_epoch,
        ),
        "Rank correlations over the designs.\n",
        markdown_section(
            "By the threshold of the budget",
            ["f", "epochs, mean", "rank correlation of accuracy", "per epoch"],
            by_fraction,
        ),
    ]
    times = [(trial.metrics["train_ms_per_batch"] or np.nan) for trial in (original, *designs)]
    shares = [100 * np.mean(np.array(times[1:]) > ratio * times[0]) for ratio in RATIOS]
    text.append(
        markdown_section(
            "Designs whose median batch takes longer than so many times the original's",
            [f"{ratio:g}" for ratio in RATIOS],
            [[f"{share:.0f}%" for share in shares]],
        )
    )
    return "\n".join(text)


def epoch_chance(task: Task) -> float | None:
    """The accuracy of a network that says the most frequent class; None for other kinds of targets."""
    targets = task.splits.validation[1]
    return None if task.splits.kind != "classes" else float(targets.bincount().max()) / len(targets)


@app.command()
def main(
    task: Annotated[str, typer.Option(help="Whose designs; `marl-hpo tasks` lists them.")],
    data: Annotated[Path | None, path_option("--data", "--data-dir", help="The folder with the task's data.")] = None,
    images: Images = None,
    image_size: ImageSize = None,
    examples: Examples = None,
    width: Width = None,
    designs: Annotated[int, typer.Option(min=epoch_budget.CALIBRATION_DESIGNS, help="Random ones.")] = 24,
    max_epochs: Annotated[
        int, typer.Option(min=epoch_budget.MOST_EPOCHS, help="A training ends here at the latest.")
    ] = 30,
    seed: Annotated[int, typer.Option(help="Of the designs and the trainings.")] = 0,
    device: Device = None,
    out: Annotated[
        Path, path_option(help="Folder for the task's folder, few-epochs-TASK; what is trained there is not again.")
    ] = Path("runs"),
) -> None:
    """How well a few epochs rank a task's designs, and whom the limits end."""
    named = read_options(data, images, image_size, examples, width).task(task)
    unlimited = replace(
        named, limits=Limits(), seed=seed, recipe=replace(named.recipe, max_epochs=max_epochs, epochs=max_epochs)
    )
    folder = out / f"few-epochs-{named.name}"
    folder.mkdir(parents=True, exist_ok=True)
    evaluator = StoredEvaluator(
        evaluator_of(unlimited, Machines(device, 1), timed=True), Store(folder / "trials.sqlite"), needs_time=True
    )
    rng = np.random.default_rng(seed)
    drawn = [unlimited.space.sample(rng) for _ in range(designs)]
    requests = [Request(design, seed, None) for design in (None, *drawn)]
    trained: dict[object, Trial] = {}
    with progress_bar() as progress:
        bar = progress.add_task(named.name, total=len(requests), note="designs")
        for trial in evaluator.evaluate(requests):
            trained[trial.design] = trial
            progress.update(bar, advance=1)
    original = trained.pop(None)
    completed = [trained[design] for design in drawn if trained[design].status == "completed"]
    if original.status != "completed" or len(completed) < epoch_budget.CALIBRATION_DESIGNS:
        raise InputError(f"Only {len(completed)} designs of {named.name!r} could be trained; look at {folder}.")
    _write(folder, named, original, completed, device)


def _write(folder: Path, task: Task, original: Trial, completed: Sequence[Trial], device: str | None) -> None:
    where = f"{machine(choose_device(device))}, {cores()} CPU cores"
    counts = [len(part[1]) for part in (task.splits.train, task.splits.validation)]
    about = (
        f"# What a few epochs say: {task.name}\n\n{len(completed)} random designs and the original, trained until validation "
        f"accuracy stops to improve, without limits, on {counts[0]} examples with {counts[1]} for validation.\n"
    )
    text = f"{about}\n{report(task, original, completed)}\n{measured_by(software(), where)}.\n"
    (folder / "report.md").write_text(text)
    with (folder / "epochs.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["design", "epoch", "train_loss", "validation_accuracy", "model_size_mb", "train_ms_per_batch"])
        for trial in (original, *completed):
            name = "original" if trial.design is None else " ".join(map(str, trial.design))
            sizes = [trial.metrics["model_size_mb"], trial.metrics["train_ms_per_batch"]]
            for number, epoch in enumerate(trial.history, start=1):
                figures = [epoch["train_loss"], epoch["validation_accuracy"], *sizes]
                writer.writerow([name, number, *(f"{figure:.6g}" for figure in figures)])
    typer.echo(text)


if __name__ == "__main__":
    run_command(app, "python -m experiments.suites.few_epochs")
