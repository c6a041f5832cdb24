"""A search on shared weights beside searches by trainings that cost as much: `python -m experiments.suites.shared_search`.

VGG-16 with batch norm, a quarter as wide, on 10,000 images of CIFAR-10. For every seed:
- `shared`: one network that holds every design is trained, the learner plays 500 episodes on its slices, and the best five and
  those on the front are trained as episodes are: found is the best of these, as by `marl-hpo tune --shared --confirm 5`;
- `trained`: the same learner, every design trained, until that has cost as much as the shared weights and their confirmation;
- `random`: random search for the same cost.
The three finds and the original are then trained until they stop to improve, at most 40 epochs.

The cost is examples times FLOPs of a forward pass, of everything trained before the final trainings; the calibration of the
epochs is needed by all and not counted. No clock decides: there is no limit on a batch's time.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import mean
from typing import Annotated, Any

import typer
from rich.console import Console

from agents import learner
from experiments.command_line import (
    MOST_EPISODES,
    MOST_SEEDS,
    Device,
    Workers,
    at_most,
    new_app,
    path_option,
    run_command,
)
from experiments.commands.task_options import TaskOptions
from experiments.progress import progress_bar
from experiments.provenance import cores, machine, measured_by, software
from experiments.text_tables import markdown_section
from experiments.tuning.evaluators import Machines
from experiments.tuning.run import replace_text
from experiments.tuning.shared import to_confirm, trained
from experiments.tuning.tuning import Play, Tuning
from marl_hpo_env import Design, InputError, SharedEvaluator, Task, first_line
from marl_hpo_env.training.devices import choose_device

app = new_app()

LEARNER = "coordination-graph"
CONFIRMED = 5
NETWORKS = ("original", "shared", "trained", "random")


def networks(tuning: Tuning, episodes: int, epochs: int) -> dict[str, dict[str, Any]]:
    """The original and the three finds of a seed, that of the task, each trained to its end; nothing stored is trained again.

    Args:
        tuning: the task and its folder.
        episodes: on shared weights.
        epochs: of the shared weights.

    Raises:
        InputError: if nothing that was tried can be trained.
    """
    seed = tuning.task.seed
    stored = trained(tuning, epochs)
    shared: Any = stored.inner
    searched = tuning.play(LEARNER, learner(LEARNER), episodes, seed, evaluator=stored)
    start = to_confirm(tuning, searched, CONFIRMED)
    if not start:
        raise InputError(f"None of the {searched.evaluations} designs keeps the constraints; play longer.")
    confirmed = tuning.play("confirmed", learner("random"), None, seed, len(start), start=start)
    cost = shared.cost + shared.cost_of(list(confirmed.trials.values()))
    found = {"original": _final(tuning, "original", None)}
    of_shared = {"episodes": len(searched.episodes), "trained": confirmed.evaluations, "cost": cost}
    found["shared"] = of_shared | _final(tuning, "shared", confirmed.best.design)
    for label, name in (("trained", LEARNER), ("random", "random")):
        played = within(tuning, name, cost, shared)
        of_play = {"episodes": len(played.episodes), "trained": played.evaluations}
        of_play["cost"] = shared.cost_of(list(played.trials.values()))
        found[label] = of_play | _final(tuning, label, played.best.design)
    return found


def within(tuning: Tuning, name: str, cost: float, shared: SharedEvaluator) -> Play:
    """A learner's play, every design trained, that ends with the training that brings it to a cost."""
    evaluations = 1
    while True:
        played = tuning.play(name, learner(name), None, tuning.task.seed, evaluations)
        if shared.cost_of(list(played.trials.values())) >= cost or played.evaluations < evaluations:
            return played
        evaluations += 1


def _final(tuning: Tuning, label: str, design: Design | None) -> dict[str, Any]:
    original, trial = tuning.converge("original", None), tuning.converge(label, design)
    kept = ("test_accuracy", "validation_accuracy", "parameters", "model_size_mb", "flops", "epochs", "seconds")
    return {"design": design, "reward": tuning.reward(trial, original), **{name: trial.metrics[name] for name in kept}}


def read(path: Path, settings: Mapping[str, int]) -> dict[str, Any]:
    """A seed's figures, from its file.

    Raises:
        InputError: if it is damaged, or they were measured with other settings than these, or do not say with which.
    """
    try:
        found: dict[str, Any] = dict(json.loads(path.read_text()))
    except (OSError, TypeError, ValueError) as error:
        raise InputError(f"The file {str(path)!r} cannot be read: {first_line(error)}.") from error
    for name, value in settings.items():
        said = found.get("settings", {}).get(name)
        if said is None:
            raise InputError(f"The file {str(path)!r} does not say of how many {name} it is; choose another --out.")
        if said != value:
            raise InputError(
                f"The file {str(path)!r} is of {said} {name}, and {value} are asked for; choose another --out."
            )
    return found


def report(results: Sequence[Mapping[str, Mapping[str, Any]]]) -> str:
    """The table, in Markdown: means over the seeds, and their range."""
    rows = []
    for name in NETWORKS:
        found = [result[name] for result in results]
        accuracy = [100 * one["test_accuracy"] for one in found]
        cells = [f"{mean(accuracy):.2f} [{min(accuracy):.2f},{max(accuracy):.2f}]"]
        cells += [f"{mean(one[figure] for one in found):{form}}" for figure, form in _FIGURES.items()]
        of_search = [
            "-" if name == "original" else f"{mean(one[figure] for one in found):{form}}"
            for figure, form in (("episodes", ".0f"), ("trained", ".0f"), ("cost", ".3g"))
        ]
        rows.append([name, *cells, *of_search])
    columns = ["network", "test accuracy %", "reward", "size, MB", "parameters", "episodes", "designs trained", "cost"]
    return markdown_section("Found at equal cost", columns, rows)


_FIGURES = {"reward": ".2f", "model_size_mb": ".3g", "parameters": ",.0f"}


def tuning_of(task: Task, folder: Path, machines: Machines) -> Tuning:
    """A seed's run in the folder of all, without progress of its own; learners are asked for one design at a time."""
    return Tuning(task, folder, machines=replace(machines, batch=1), console=Console(quiet=True))


@app.command()
def main(
    images: Annotated[Path, path_option(metavar="FILE.npz", help="Images of CIFAR-10, as `marl-hpo tune --images`.")],
    examples: Annotated[int, typer.Option(min=10, help="To train on.")] = 10_000,
    seeds: Annotated[int, typer.Option(min=1, callback=at_most(MOST_SEEDS), help="Of weights and learners.")] = 3,
    episodes: Annotated[int, typer.Option(min=1, callback=at_most(MOST_EPISODES), help="On shared weights.")] = 500,
    shared_epochs: Annotated[int, typer.Option(min=1, help="Of the shared weights.")] = 40,
    max_epochs: Annotated[int, typer.Option(min=1, help="Of a final training.")] = 40,
    device: Device = None,
    workers: Workers = None,
    out: Annotated[
        Path, path_option(help="Folder for trials, figures and report; what is in it is not run again.")
    ] = Path("experiments/results/shared-search"),
) -> None:
    """Search on shared weights and by trainings of equal cost, and train what each finds."""
    named = TaskOptions(images=images, examples=examples, divisor=4).task("vgg16-cifar10")
    named = replace(
        named,
        data=named.splits,
        recipe=replace(named.recipe, max_epochs=max_epochs),
        limits=replace(named.limits, batch_ratio=None),
    )
    count = len(named.splits.train[1])
    settings = {"images": count, "shared epochs": shared_epochs, "episodes": episodes, "max epochs": max_epochs}
    paths = [out / f"seed-{seed}.json" for seed in range(seeds)]
    found = {path: read(path, settings) for path in paths if path.exists()}
    out.mkdir(parents=True, exist_ok=True)
    with progress_bar() as progress:
        bar = progress.add_task(named.name, total=seeds, note="seeds")
        for seed, path in enumerate(paths):
            if path not in found:
                tuning = tuning_of(replace(named, seed=seed), out, Machines(device, workers))
                found[path] = {"settings": settings, **networks(tuning, episodes, shared_epochs)}
                replace_text(path, json.dumps(found[path], indent=1) + "\n")
            progress.update(bar, advance=1)
    chosen, results = choose_device(device), [found[path] for path in paths]
    text = (
        f"# Shared weights beside trainings: {named.name}\n\nOn {count:,} images; means over the seeds, "
        f"{seeds} so far, in brackets the lowest and the highest. The cost is examples times FLOPs.\n\n{report(results)}\n"
        f"{measured_by(software(), f'{machine(chosen)}, {cores()} CPU cores')}.\n"
    )
    (out / "report.md").write_text(text)
    typer.echo(text)


if __name__ == "__main__":
    run_command(app, "python -m experiments.suites.shared_search")
