"""How well weights that designs share rank them, and at what cost: `python -m experiments.suites.one_shot`.

On every table of the package, weights are shared by all designs and trained once; every design is then judged as a slice. The
cost is that of the shared training alone, examples times FLOPs, in units of one mean training of the table. Slices themselves
are not counted: they take milliseconds, without gradients.

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

from experiments.command_line import new_app, path_option, run_command
from experiments.comparison.contest import Contest, open_benchmark
from experiments.comparison.contest import run as play_contest
from experiments.comparison.regret import incumbent_regret
from experiments.progress import progress_bar
from experiments.provenance import measured_by, software
from experiments.text_tables import markdown_section
from marl_hpo_env import Table, Task
from marl_hpo_env import task as named_task
from marl_hpo_env.tables.table import shipped
from marl_hpo_env.training.shared_training import SharedTraining

app = new_app()

COSTS = (5, 10, 20, 40, 80)
"""Of the shared training, at which designs are ranked."""

CONFIRMED = 5
WITH_CONFIRMED = (10, 20, 50)
"""Of the shared training and the confirming ones together."""

ACCURACY = (("validation_accuracy", 1.0),)
PEER = "coordination-graph"

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


def confirmed_regret(accuracies: Array, table_name: str, seed: int) -> float:
    """The regret in mean test accuracy of the best by its own training among the designs whose slices are the best."""
    benchmark = open_benchmark(table_name, ACCURACY, ())
    rewards, worth = benchmark.rewards(benchmark.table_seed(seed)), benchmark.worth
    chosen = np.argsort(-accuracies, kind="stable")[:CONFIRMED]
    return float(worth.max() - worth[chosen[np.argmax(rewards[chosen])]])


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
                *(_shown([100 * result[who][place] for result in of_table], 2) for who in ("confirmed", "peer")),
            ]
            for place, cost in enumerate(WITH_CONFIRMED)
        ]
        title = f"{name}: regret in points of mean test accuracy"
        text.append(markdown_section(title, ["cost in trainings", f"shared, {CONFIRMED} confirmed", PEER], rows))
    return "\n".join(text)


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
                if not path.exists():
                    found = ranked(task, opened, seed, progress)
                    result = {
                        "table": name,
                        "seed": seed,
                        "played_with": software(),
                        "ranking": {str(cost): figures(found[cost], opened) for cost in COSTS},
                        "confirmed": [confirmed_regret(found[cost - CONFIRMED], name, seed) for cost in WITH_CONFIRMED],
                        "peer": peer_regrets(name, seed),
                    }
                    path.write_text(json.dumps(result, indent=1))
                results.append(json.loads(path.read_text()))
    text = (
        f"# Shared weights\n\nEvery design of a table as a slice of weights that were trained once. Means over {seeds} seeds; in "
        "brackets the lowest and the highest. All designs, and those that completed under every seed of the table.\n\n"
        f"{report(results)}\n{measured_by(software(), '1 CPU core')}.\n"
    )
    (out / "report.md").write_text(text)
    typer.echo(text)


if __name__ == "__main__":
    run_command(app, "python -m experiments.suites.one_shot")
