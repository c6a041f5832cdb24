"""**The paper (VIII-F, Fig. 12).** What is found with 1 to 10 epochs per episode, for three networks: final accuracy as bars,
model size as lines. Its claim: fewer than 3 (U-Net) or 6 epochs (VGG-16, GoogLeNet) misjudge designs, more than that add
nothing, and the size hangs on it less than the accuracy.

**Here.** The paper's learner with every number of epochs that the table has; on a trained task with 1, 2, 3, 6 and 10. Found
is the best design seen. Beside it stands the rank correlation of rewards with final rewards, over the designs of the first
phase: the final reward has the final accuracy in it. It is the reward with test accuracy in the place of validation accuracy.
By it runs are judged: accuracy alone can rise while the size rises more.

**What differs.** The network and the data; seeds in place of single runs. On a table the final accuracy is its mean test
accuracy after all its epochs. There, a training that a limit ended counts as ended however few epochs are asked for, which
favours few epochs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from experiments.comparison.statistics import Estimate, bootstrap, mean
from experiments.figures import plt, save
from experiments.reproduction.grounds import Ground, TableGround, ground
from experiments.reproduction.item import Findings, Item, Settings, Show
from experiments.reproduction.playing import with_bar
from experiments.reproduction.report import over_seeds, rank_correlation, with_interval
from experiments.reproduction.trainings import the_papers_learner

Row = dict[str, Any]


def reproduce(settings: Settings, show: Show) -> None:
    """Plays with each number of epochs and each seed."""
    played_on = ground(settings, settings.tasks[0])
    seeds = settings.seeds or played_on.default_seeds
    name = the_papers_learner(settings.episodes)
    rows = []
    for epochs, seed in with_bar(
        "epochs, seed", [(epochs, seed) for seed in range(seeds) for epochs in played_on.epochs]
    ):
        outcome = played_on.play(name, seed, epochs=epochs)
        worth = played_on.worth(outcome.found, seed)
        rows.append(
            {
                "epochs": epochs,
                "seed": seed,
                "designs": outcome.evaluations,
                "reward": outcome.rewards[outcome.best_episode],
                "final_reward": worth.reward,
                "test_accuracy": worth.test_accuracy,
                "model_size_mb": worth.model_size_mb,
                "rank_correlation": _rank_correlation(played_on, outcome, seed),
            }
        )
    show(_findings(played_on, rows, seeds))


def _rank_correlation(played_on: Ground, outcome: Any, seed: int) -> float | None:
    """Spearman's, of the rewards of the first phase with the designs' final accuracies; only a table knows all of them."""
    if not isinstance(played_on, TableGround):
        return None
    ended = set(outcome.terminated)
    numbers = [i for i in range(outcome.exploration) if i not in ended]
    if len(numbers) < 3:
        return None
    rewards = [outcome.rewards[i] for i in numbers]
    return rank_correlation(rewards, [played_on.worth(outcome.designs[i], seed).reward for i in numbers])


def of_epochs(rows: Sequence[Mapping[str, Any]], epochs: int, column: str) -> list[float]:
    """A column's values over the seeds."""
    return [float(row[column]) for row in rows if int(row["epochs"]) == epochs and row[column] not in (None, "")]


def behind(rows: Sequence[Mapping[str, Any]], epochs: int, most: int) -> Estimate:
    """By how much the final reward with the most epochs is higher, in the mean over the same seeds."""
    more, fewer = (np.array(of_epochs(rows, n, "final_reward")) for n in (most, epochs))
    return bootstrap(mean, (more - fewer)[:, None])


def _findings(played_on: Ground, rows: Sequence[Row], seeds: int) -> Findings:
    header = ["epochs per episode", "designs", "final reward", "final accuracy %", "size MB", "rank correlation"]
    cells = []
    for epochs in played_on.epochs:
        correlations = of_epochs(rows, epochs, "rank_correlation")
        cells.append(
            [
                str(epochs),
                f"{np.mean(of_epochs(rows, epochs, 'designs')):.0f}",
                with_interval(of_epochs(rows, epochs, "final_reward"), digits=3),
                with_interval(of_epochs(rows, epochs, "test_accuracy"), 100),
                with_interval(of_epochs(rows, epochs, "model_size_mb"), digits=3),
                with_interval(correlations, digits=3) if correlations else "-",
            ]
        )
    first, last = played_on.epochs[0], played_on.epochs[-1]
    sentences = [f"The final accuracy is {played_on.final()}."]
    if seeds > 1 and first < last:
        for epochs in played_on.epochs[:-1]:
            change = behind(rows, epochs, last)
            sentences.append(
                f"From {epochs} to {last} epochs per episode the final reward of the same seeds changes by "
                f"{change.value:+.2g} [{change.low:.2g},{change.high:.2g}]."
            )
    return Findings(
        [played_on.name],
        [(over_seeds(seeds).capitalize(), header, cells)],
        sentences,
        list(rows[0]),
        [list(row.values()) for row in rows],
        partial(_draw, rows, list(played_on.epochs), played_on.name, seeds),
    )


def _draw(rows: Sequence[Row], every: Sequence[int], title: str, seeds: int, path: Path) -> None:
    figure, axis = plt.subplots(figsize=(6, 4))
    accuracy = [100 * np.array(of_epochs(rows, epochs, "test_accuracy")) for epochs in every]
    heights = [values.mean() for values in accuracy]
    bars: Any = None
    if seeds > 1:
        estimates = [bootstrap(mean, values[:, None]) for values in accuracy]
        bars = [[float(e.value - e.low) for e in estimates], [float(e.high - e.value) for e in estimates]]
    places = range(len(every))
    axis.bar(places, heights, 0.6, yerr=bars, capsize=3, color="tab:blue", alpha=0.6, label="final accuracy")
    lowest = min(float(height) for height in heights)
    axis.set_ylim(max(0, lowest - 5), min(100, max(heights) + 5))
    axis.set_xticks(places, [str(epochs) for epochs in every])
    axis.set_xlabel("epochs per episode")
    axis.set_ylabel("final accuracy, %")
    sizes = axis.twinx()
    sizes.plot(
        places,
        [np.mean(of_epochs(rows, epochs, "model_size_mb")) for epochs in every],
        "o-",
        color="tab:red",
        label="size",
    )
    sizes.set_ylim(bottom=0)
    sizes.set_ylabel("model size, MB (line)")
    axis.set_title(title, fontsize="medium")
    save(figure, path)


ITEM = Item(
    "fig12",
    "How many epochs per episode are needed to judge designs?",
    "what is found with 1 epoch per episode up to all: final accuracy as bars, size as a line",
    "tables",
    ("digits-convnet",),
    1,
    False,
    __doc__,
    reproduce,
)
