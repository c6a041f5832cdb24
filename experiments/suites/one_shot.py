"""How well weights that designs share rank them, and at what cost: `python -m experiments.suites.one_shot`.

On every table of the package, weights are shared by all designs and trained once; every design is then judged as a slice. The
cost is that of the shared training alone, examples times FLOPs, in units of one mean training of the table. Slices themselves
are not counted: they take milliseconds, without gradients.

Three ways to choose from what is shared stand beside a learner that has every design trained, at equal cost:
- the best five slices of all are confirmed by training, and the best of these by its validation accuracy is taken;
- the same of the slices that a controller met: `reinforce`, 500 episodes on frozen weights (one-shot weights and a controller:
  ENAS without alternation);
- the design that `gradient_choice` comes to, by Gumbel-softmax as SNAS, trained once: a run that is recorded with its own cost.
A confirmation hangs on one training of each design, so what is reported of a choice is the mean over the table's seeds, any of
which could have confirmed it, and over ties.

Claims (aims): a rank correlation of 0.9 with the table's mean test accuracy on digits-convnet at the cost of 40 trainings; with
five designs confirmed by training, less regret than coordination-graph at the cost of 10 and of 20 trainings. 50 is reported.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
import torch
import typer

from agents import Episode, learner
from agents.rivals.gradient_choice import gradient_choice
from experiments.command_line import new_app, path_option, run_command
from experiments.comparison.contest import Contest, open_benchmark
from experiments.comparison.contest import run as play_contest
from experiments.comparison.recorded import recordings
from experiments.comparison.regret import incumbent_regret, noise_floor
from experiments.progress import progress_bar
from experiments.provenance import measured_by, software
from experiments.text_tables import markdown_section
from marl_hpo_env import RecordEpisodes, SearchSpace, Table, Task
from marl_hpo_env import task as named_task
from marl_hpo_env.tables.table import shipped
from marl_hpo_env.training.shared_training import SharedTraining

app = new_app()

COSTS = (5, 10, 20, 40, 80)
"""Of the shared training, at which designs are ranked."""

AIMED_AT = "digits-convnet"
"""The table that the aims are for."""

CONFIRMED = 5
WITH_CONFIRMED = (10, 20, 50)
"""Of the shared training and the confirming ones together."""

ACCURACY = (("validation_accuracy", 1.0),)
PEER = "coordination-graph"

CONTROLLER = "reinforce"
EPISODES = 500
"""Of the controller, on slices."""

WAYS = {
    "confirmed": f"shared, {CONFIRMED} confirmed",
    "controller": f"{CONTROLLER} on slices, {CONFIRMED} confirmed",
    "gradients": "gradient_choice(gumbel)",
    "peer": PEER,
}
"""By the name of their regrets in a result, as the report calls them."""

Array = npt.NDArray[np.float64]


def per_training(task: Task, table: Table) -> float:
    """Examples times FLOPs of a mean training of the table, over the designs that completed."""
    costs = table.mean("flops") * table.epochs * len(task.splits.train[0])
    return float(np.nanmean(costs))


def ranked(task: Task, table: Table, seed: int, progress: Any) -> dict[int, Array]:
    """By cost in trainings, reached at the end of the first epoch at which it is not less, every design's validation accuracy
    as a slice; shape (designs,), -1 where it has none."""
    marks = sorted({*COSTS, *(cost - CONFIRMED for cost in WITH_CONFIRMED)})
    unit = per_training(task, table)
    designs = list(map(table.space.design_at, range(table.space.size)))
    bar = progress.add_task(f"{task.name}, seed {seed}", total=marks[-1], note="trainings' cost")
    training = SharedTraining(task.trainer(torch.device("cpu"), measure_time=False), 10**6, seed)
    found: dict[int, Array] = {}
    for mark in marks:
        while training.cost < mark * unit:
            training.train_epoch()
            progress.update(bar, completed=training.cost / unit)
        found[mark] = np.array([training.evaluate(design)["validation_accuracy"] for design in designs], dtype=float)
    progress.remove_task(bar)
    return found


def figures(accuracies: Array, table: Table) -> dict[str, float]:
    """How well slices rank the designs of a table: Spearman's and Kendall's correlation with the mean test accuracy, of all
    designs, in which those that did not complete under any seed are last, and of those that completed under every one; and
    the share of the table's best percent that is in the slices' best percent."""
    from scipy.stats import kendalltau, spearmanr  # type: ignore[import-untyped]

    truth = np.nan_to_num(table.mean_test_accuracy, nan=-1.0)
    designs = list(map(table.space.design_at, range(table.space.size)))
    completed = np.all([table.completed(designs, seed) for seed in table.seeds], axis=0)
    count = max(1, round(0.01 * len(truth)))
    best, chosen = (set(np.argsort(-values, kind="stable")[:count].tolist()) for values in (truth, accuracies))
    return {
        "spearman": float(spearmanr(accuracies, truth).statistic),
        "kendall": float(kendalltau(accuracies, truth).statistic),
        "spearman, completed": float(spearmanr(accuracies[completed], truth[completed]).statistic),
        "kendall, completed": float(kendalltau(accuracies[completed], truth[completed]).statistic),
        "top 1% recall": len(best & chosen) / count,
    }


def confirmed_regret(accuracies: Array, table_name: str) -> float:
    """The regret in mean test accuracy of the best by its own training among the designs whose slices are the best.

    It is the mean over the table's seeds, any of which could have been the confirming one, and over designs that are equally
    good under a seed.

    Args:
        accuracies: of slices, shape (designs,); -inf of those that were not looked at.
        table_name: of the table.
    """
    benchmark = open_benchmark(table_name, ACCURACY, ())
    worth, chosen = benchmark.worth, np.argsort(-accuracies, kind="stable")[:CONFIRMED]
    rewards = [benchmark.rewards(table_seed)[chosen] for table_seed in benchmark.table.seeds]
    return float(worth.max() - worth[chosen].max() + noise_floor(rewards, worth[chosen]))


def met_by_controller(accuracies: Array, space: SearchSpace, seed: int) -> Array:
    """The same accuracies of the designs that the controller meets when they are its rewards; -inf of all others."""
    controller = learner(CONTROLLER)
    controller.reset(space, seed)
    met = np.full(len(accuracies), -np.inf)
    for _ in range(EPISODES):
        (design,) = controller.ask(1)
        number = space.index(design)
        met[number] = reward = accuracies[number]
        controller.tell([Episode(design, float(reward), {"validation_accuracy": float(reward)}, reward < 0)])
    return met


def recorded(task: Task, table: Table, seed: int, cost: int, folder: Path) -> Path:
    """The recording of what gradients choose, made where it is absent: one design, behind the trainings that its choice cost.

    Its weights have as many epochs as cost the rest on average: an epoch is one of the training examples, and as many of
    the validation examples, each with a design.
    """
    path = folder / f"gradient_choice-{cost}-{table.task_name}-{seed}.jsonl"
    if not path.exists():
        epochs = max(1, round((cost - 1) * table.epochs / 2))
        chosen = gradient_choice(task, "gumbel", epochs=epochs, seed=seed)
        benchmark = open_benchmark(table.task_name, ACCURACY, ())
        game = benchmark.environment(benchmark.table_seed(seed))
        game = RecordEpisodes(game, path, trainings=chosen.cost / per_training(task, table))
        game.reset()
        for action in chosen.design:
            game.step(action)
    return path


def gradient_regret(path: Path, table_name: str) -> dict[str, float]:
    """The regret of a recorded choice, and what it cost in trainings, with the one that confirms it."""
    benchmark = open_benchmark(table_name, ACCURACY, ())
    ((recording,),) = recordings([f"gradient_choice={path}"]).values()
    (number,) = recording.run(Contest("gradient_choice", table_name, ACCURACY, (), 0, 1), benchmark.table.space).numbers
    return {
        "regret": float(benchmark.worth.max() - benchmark.worth[number]),
        "cost": 1 + recording.header["trainings"],
    }


def peer_regrets(table_name: str, seed: int) -> list[float]:
    """That of the peer after as many trainings as `WITH_CONFIRMED` says."""
    benchmark = open_benchmark(table_name, ACCURACY, ())
    rewards, worth = benchmark.rewards(benchmark.table_seed(seed)), benchmark.worth
    evaluations = max(WITH_CONFIRMED)
    designs = play_contest(Contest(PEER, table_name, ACCURACY, (), seed, evaluations)).numbers
    actions = [benchmark.table.space.design_at(number) for number in designs]
    numbers = list(designs)
    curve = incumbent_regret(actions, rewards[numbers], worth[numbers], float(worth.max()), evaluations)
    return [float(curve[count - 1]) for count in WITH_CONFIRMED]


def report(results: Sequence[Mapping[str, Any]]) -> str:
    """The tables, in Markdown: means over the seeds, and the lowest and the highest."""
    text = []
    for name in dict.fromkeys(result["table"] for result in results):
        of_table = [result for result in results if result["table"] == name]
        names = list(of_table[0]["ranking"][str(COSTS[0])])
        rows = [
            [str(cost), *(_shown([result["ranking"][str(cost)][figure] for result in of_table]) for figure in names)]
            for cost in COSTS
        ]
        text.append(markdown_section(f"{name}: slices and trainings", ["cost in trainings", *names], rows))
        rows = [
            [
                str(cost),
                *(_shown([100 * result[way][place] for result in of_table], 2) for way in WAYS),
                f"{np.mean([result['cost of gradients'][place] for result in of_table]):.1f}",
            ]
            for place, cost in enumerate(WITH_CONFIRMED)
        ]
        title = f"{name}: regret in points of mean test accuracy"
        columns = ["cost in trainings", *WAYS.values(), "its cost: gradient_choice"]
        text.append(markdown_section(title, columns, rows))
    return "\n".join(text)


def outcome(results: Sequence[Mapping[str, Any]]) -> str:
    """How the aims came out on the table that they are for, a line each; nothing without it."""
    of_table = [result for result in results if result["table"] == AIMED_AT]
    if not of_table:
        return ""
    spearman = float(np.mean([result["ranking"]["40"]["spearman"] for result in of_table]))
    said = [f"- {AIMED_AT}: a rank correlation of {spearman:.3f} at the cost of 40 trainings; the aim was 0.9."]
    for place, cost in enumerate(WITH_CONFIRMED[:2]):
        ours, theirs = (
            100 * float(np.mean([result[way][place] for result in of_table])) for way in ("confirmed", "peer")
        )
        said.append(
            f"- {AIMED_AT}: at the cost of {cost} trainings a regret of {ours:.2f} points, and {theirs:.2f} of {PEER}; the aim, "
            f"to have less, is {'reached' if ours < theirs else 'not reached'}."
        )
    return "\n".join(said) + "\n"


def _shown(values: Sequence[float], digits: int = 3) -> str:
    return f"{np.mean(values):.{digits}f} [{min(values):.{digits}f},{max(values):.{digits}f}]"


@app.command()
def main(
    seeds: Annotated[int, typer.Option(min=1, help="Of every table, each of other shared weights.")] = 5,
    table: Annotated[list[str] | None, typer.Option(help="A table of the package; all where left out.")] = None,
    out: Annotated[Path, path_option(help="Folder for figures and report; what is in it is not run again.")] = Path(
        "experiments/results/one-shot"
    ),
) -> None:
    """Share weights among the designs of the package's tables, and compare their ranking with the trainings."""
    out.mkdir(parents=True, exist_ok=True)
    results = []
    with progress_bar() as progress:
        for name in table or shipped():
            task, opened = named_task(name), Table.open(name)
            for seed in range(seeds):
                path = out / f"{name}-{seed}.json"
                chosen = [recorded(task, opened, seed, cost, out / "recordings") for cost in WITH_CONFIRMED]
                if not path.exists():
                    found = ranked(task, opened, seed, progress)
                    slices = [found[cost - CONFIRMED] for cost in WITH_CONFIRMED]
                    met = [met_by_controller(accuracies, opened.space, seed) for accuracies in slices]
                    gradients = [gradient_regret(recording, name) for recording in chosen]
                    result = {
                        "table": name,
                        "seed": seed,
                        "played_with": software(),
                        "ranking": {str(cost): figures(found[cost], opened) for cost in COSTS},
                        "confirmed": [confirmed_regret(accuracies, name) for accuracies in slices],
                        "controller": [confirmed_regret(accuracies, name) for accuracies in met],
                        "gradients": [one["regret"] for one in gradients],
                        "cost of gradients": [one["cost"] for one in gradients],
                    }
                    path.write_text(json.dumps(result, indent=1))
                # The peer plays in a second, so it is always the one that there is now.
                results.append(json.loads(path.read_text()) | {"peer": peer_regrets(name, seed)})
    text = (
        f"# Shared weights\n\nEvery design of a table as a slice of weights that were trained once. Means over {seeds} seeds; in "
        "brackets the lowest and the highest. All designs, and those that completed under every seed of the table. A design that "
        "completed under none is worth the reward of a terminated one, which makes its regret hundreds of points.\n\n"
        f"{report(results)}\n{outcome(results)}\n{measured_by(software(), '1 CPU core')}.\n"
    )
    (out / "report.md").write_text(text)
    typer.echo(text)


if __name__ == "__main__":
    run_command(app, "python -m experiments.suites.one_shot")
