"""**The paper (VIII-E, Fig. 11).** U-Net on BraTS'18, ten runs for each of three lengths of the first phase: 1764 episodes, the
least that fill the Q-tables, 2500 and 3000. Beside them stands random search with as many episodes. Its claim: more episodes
make the outcome steadier, 2500 are nearly as good as 3000, and random search does not come near.

**Here.** The same three lengths in proportion to the largest Q-table (1, 1.42 and 1.7 times its cells), as box plots of the
final accuracy and the size of what is found: the best design seen. Random search is there twice: with the first phase's
episodes, as VIII-E has it, and with as many distinct designs as both phases of the same seed's run.

**What differs.** The network and the data; more seeds. On a table the final accuracy is its mean test accuracy after all its
epochs; on a trained task the network is trained to convergence.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from experiments.comparison.statistics import Estimate, bootstrap, probability_of_improvement
from experiments.figures import plt, save
from experiments.reproduction.grounds import Ground, ground
from experiments.reproduction.item import Findings, Item, Settings, Show
from experiments.reproduction.playing import with_bar
from experiments.reproduction.report import quartiles, with_interval
from experiments.reproduction.trainings import FIRST_PHASE

PAPER_LENGTHS = (1764, 2500, 3000)
TEAM, SHORT, EQUAL = (
    "pairwise-q",
    "random, as many episodes as the first phase",
    "random, as many designs as both phases",
)
COLOURS = {TEAM: "tab:blue", SHORT: "tab:gray", EQUAL: "tab:orange"}

Row = dict[str, Any]


def reproduce(settings: Settings, show: Show) -> None:
    """Plays all lengths and seeds."""
    played_on = ground(settings, settings.tasks[0])
    seeds = settings.seeds or played_on.default_seeds
    lengths, second = _lengths(played_on, settings.episodes)
    rows: list[Row] = []
    for length, seed in with_bar("first phase, seed", [(length, seed) for seed in range(seeds) for length in lengths]):
        rows += _runs(played_on, length, second, seed)
    show(_findings(played_on, rows, lengths, seeds))


def _lengths(played_on: Ground, episodes: int | None) -> tuple[list[int], int | None]:
    """The three first phases, and the most episodes of the second; of both together where a number is given."""
    if episodes is None:
        return [math.ceil(played_on.largest_table * n / PAPER_LENGTHS[0]) for n in PAPER_LENGTHS], None
    longest = FIRST_PHASE * episodes
    lengths = [max(1, round(longest * n / PAPER_LENGTHS[-1])) for n in PAPER_LENGTHS]
    return lengths, episodes - lengths[-1]


def _runs(played_on: Ground, length: int, second: int | None, seed: int) -> list[Row]:
    most = "" if second is None else f",max_exploitation_episodes={second}"
    team = played_on.play(f"pairwise-q(exploration_episodes={length}{most})", seed)
    rows = []
    for name, outcome in (
        (TEAM, team),
        (SHORT, played_on.play("random", seed, length)),
        (EQUAL, played_on.play("random", seed, team.evaluations)),
    ):
        worth = played_on.worth(outcome.found, seed)
        row: Row = {
            "learner": name,
            "first_phase": length,
            "seed": seed,
            "episodes": len(outcome.designs),
            "designs": outcome.evaluations,
            "reward": outcome.rewards[outcome.best_episode],
            "final_reward": worth.reward,
            "test_accuracy": worth.test_accuracy,
            "model_size_mb": worth.model_size_mb,
            "converged_test_accuracy": None,
        }
        if outcome.converged is not None:
            row["converged_test_accuracy"] = played_on.worth(outcome.converged, seed).test_accuracy
        rows.append(row)
    return rows


def _findings(played_on: Ground, rows: Sequence[Row], lengths: Sequence[int], seeds: int) -> Findings:
    header = [
        "learner",
        "first phase",
        "designs",
        "reward",
        "final reward",
        "final accuracy %",
        "size MB",
        "accuracy IQR",
        "size IQR",
    ]
    header += ["the tables’ own answer, accuracy %"]
    cells = []
    for name in (TEAM, SHORT, EQUAL):
        for length in lengths:
            runs = values_of(rows, name, length)
            answers = [value for value in runs["converged_test_accuracy"] if value is not None]
            cells.append(
                [
                    name,
                    str(length),
                    f"{np.mean(runs['designs']):.0f}",
                    with_interval(runs["reward"], digits=3),
                    with_interval(runs["final_reward"], digits=3),
                    quartiles(runs["test_accuracy"], 100),
                    quartiles(runs["model_size_mb"], digits=3),
                    f"{100 * spread(runs['test_accuracy']):.2g}",
                    f"{spread(runs['model_size_mb']):.2g}",
                    f"{quartiles(answers, 100)} of {len(answers)} runs" if answers else "-",
                ]
            )
    title = f"Seeds: {seeds}; mean with its 95% interval, or median with the quartiles"
    return Findings(
        [played_on.name],
        [(title, header, cells)],
        [f"The final accuracy is {played_on.final()}.", *_sentences(rows, lengths, seeds)],
        list(rows[0]),
        [list(row.values()) for row in rows],
        partial(_draw, rows, lengths, played_on.name),
    )


def values_of(rows: Sequence[Mapping[str, Any]], name: str, length: int) -> dict[str, list[Any]]:
    """Of every column, its values over the seeds."""
    chosen = [row for row in rows if row["learner"] == name and int(row["first_phase"]) == length]
    return {column: [row[column] for row in chosen] for column in chosen[0]}


def spread(values: Sequence[float]) -> float:
    """The interquartile range."""
    low, high = np.quantile(np.asarray(values, dtype=float), [0.25, 0.75])
    return float(high - low)


def _sentences(rows: Sequence[Row], lengths: Sequence[int], seeds: int) -> list[str]:
    if seeds < 2:
        return []
    spreads = [f"{100 * spread(values_of(rows, TEAM, length)['test_accuracy']):.2g}" for length in lengths]
    said = [
        f"The middle half of {TEAM}'s final accuracies spans {_listed(spreads)} points with {_listed(lengths)} episodes."
    ]
    narrower = narrowed(rows, lengths)
    said.append(
        f"From the shortest to the longest it becomes narrower by {100 * narrower.value:.2g} "
        f"[{100 * narrower.low:.2g},{100 * narrower.high:.2g}] points."
    )
    for rival in (SHORT, EQUAL):
        better = [ahead(rows, rival, length) for length in lengths]
        shown = ", ".join(f"{one.value:.2f} [{one.low:.2f},{one.high:.2f}]" for one in better)
        said.append(f"Against {rival}, a run of {TEAM} ends with the higher reward with probability {shown}.")
    return said


def narrowed(rows: Sequence[Mapping[str, Any]], lengths: Sequence[int]) -> Estimate:
    """By how much the interquartile range of the final accuracy is smaller with the longest first phase than the shortest."""

    def difference(short: Any, long: Any) -> Any:
        low, high = (np.quantile(scores[..., 0], [0.25, 0.75], axis=-1) for scores in (short, long))
        return (low[1] - low[0]) - (high[1] - high[0])

    accuracy = [values_of(rows, TEAM, length)["test_accuracy"] for length in (lengths[0], lengths[-1])]
    return bootstrap(difference, *(np.array(values, dtype=float)[:, None] for values in accuracy))


def ahead(rows: Sequence[Mapping[str, Any]], rival: str, length: int) -> Estimate:
    """How likely a run of the paper's learner ends with a higher reward than the rival's."""
    rewards = [np.array(values_of(rows, name, length)["reward"], dtype=float)[:, None] for name in (TEAM, rival)]
    return bootstrap(probability_of_improvement, *rewards)


def _listed(numbers: Sequence[object]) -> str:
    return f"{', '.join(map(str, numbers[:-1]))} and {numbers[-1]}"


def _draw(rows: Sequence[Row], lengths: Sequence[int], title: str, path: Path) -> None:
    figure, axes = plt.subplots(1, 2, figsize=(10, 4))
    for axis, column, factor, label in (
        (axes[0], "test_accuracy", 100, "final accuracy, %"),
        (axes[1], "model_size_mb", 1, "model size, MB"),
    ):
        for offset, name in enumerate((TEAM, SHORT, EQUAL)):
            values = [factor * np.array(values_of(rows, name, length)[column]) for length in lengths]
            places = [place + 0.25 * (offset - 1) for place in range(len(lengths))]
            boxes = axis.boxplot(values, positions=places, widths=0.2, patch_artist=True, manage_ticks=False)
            for box in boxes["boxes"]:
                box.set(facecolor=COLOURS[name], alpha=0.6)
            for line in boxes["medians"]:
                line.set(color="black")
            axis.plot([], [], "s", color=COLOURS[name], alpha=0.6, label=name)
        axis.set_xticks(range(len(lengths)), [str(length) for length in lengths])
        axis.set_xlabel("episodes in the first phase")
        axis.set_ylabel(label)
        axis.grid(alpha=0.3, axis="y")
    axes[0].legend(fontsize="x-small")
    figure.suptitle(title, fontsize="medium")
    save(figure, path)


ITEM = Item(
    "fig11",
    "Do more episodes in the first phase make the outcome better and steadier?",
    "three first phases in proportion to the paper's, beside random search, as box plots over seeds",
    "tables",
    ("digits-convnet",),
    1,
    False,
    __doc__,
    reproduce,
)
