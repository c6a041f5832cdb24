"""**The paper (VIII-G, Fig. 13).** Four runs of the second phase for each of three decays of epsilon, 0.98, 0.99 and one that is
slower: episodes to convergence against the final accuracy. Its claim: 0.98 halves the episodes of 0.99; slower decays take
more episodes and reach a statistically higher accuracy.

**Here.** The decays 0.98, 0.99 and 0.995 (the last is ours: the text names two), many seeds, with a limit of 3,000 episodes,
so that nearly every run can converge. Converged is reading 5: the same greedy design in five greedy episodes between which
tables changed. The accuracy is shown of both answers: of the best design seen, and of the one that the tables converged to.

**What differs.** The network and the data; more seeds, and the first phase is drawn anew for each. On a table the final
accuracy is its mean test accuracy after all its epochs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from experiments.figures import plt, save
from experiments.reproduction.grounds import Ground, ground
from experiments.reproduction.item import Findings, Item, Settings, Show
from experiments.reproduction.playing import with_bar
from experiments.reproduction.report import quartiles, with_interval
from experiments.reproduction.trainings import FIRST_PHASE

DECAYS = (0.98, 0.99, 0.995)
LIMIT = 3000
"""Episodes of the second phase at most."""

Row = dict[str, Any]


def reproduce(settings: Settings, show: Show) -> None:
    """Plays with each decay and each seed."""
    played_on = ground(settings, settings.tasks[0])
    seeds = settings.seeds or played_on.default_seeds
    lengths = f"max_exploitation_episodes={LIMIT}"
    if settings.episodes is not None:
        first = max(1, round(FIRST_PHASE * settings.episodes))
        lengths = f"exploration_episodes={first},max_exploitation_episodes={settings.episodes - first}"
    rows = []
    for decay, seed in with_bar("decay, seed", [(decay, seed) for seed in range(seeds) for decay in DECAYS]):
        outcome = played_on.play(f"pairwise-q(epsilon_decay={decay},{lengths})", seed)
        found, converged = outcome.found, outcome.converged
        rows.append(
            {
                "epsilon_decay": decay,
                "seed": seed,
                "converged": int(converged is not None),
                "second_phase_episodes": len(outcome.designs) - (outcome.exploration or 0),
                "designs": outcome.evaluations,
                "reward": outcome.rewards[outcome.best_episode],
                "final_reward": played_on.worth(found, seed).reward,
                "test_accuracy": played_on.worth(found, seed).test_accuracy,
                "model_size_mb": played_on.worth(found, seed).model_size_mb,
                "converged_test_accuracy": None
                if converged is None
                else played_on.worth(converged, seed).test_accuracy,
            }
        )
    show(_findings(played_on, rows, seeds))


def of_decay(rows: Sequence[Mapping[str, Any]], decay: float, column: str, converged: bool = False) -> list[float]:
    """A column's values over the seeds; only of those runs that converged, where asked."""
    chosen = [row for row in rows if float(row["epsilon_decay"]) == decay and (int(row["converged"]) or not converged)]
    return [float(row[column]) for row in chosen]


def _findings(played_on: Ground, rows: Sequence[Row], seeds: int) -> Findings:
    header = [
        "decay",
        "converged",
        "episodes to convergence",
        "designs",
        "best seen: final reward",
        "accuracy %",
        "size MB",
    ]
    header += ["converged to, accuracy %"]
    cells, lengths = [], {}
    for decay in DECAYS:
        episodes = of_decay(rows, decay, "second_phase_episodes", converged=True)
        answers = of_decay(rows, decay, "converged_test_accuracy", converged=True)
        lengths[decay] = float(np.median(episodes)) if episodes else None
        cells.append(
            [
                f"{decay:g}",
                f"{len(episodes)} of {seeds}",
                quartiles(episodes, digits=3) if episodes else "-",
                f"{np.mean(of_decay(rows, decay, 'designs')):.0f}",
                with_interval(of_decay(rows, decay, "final_reward"), digits=3),
                with_interval(of_decay(rows, decay, "test_accuracy"), 100),
                with_interval(of_decay(rows, decay, "model_size_mb"), digits=3),
                with_interval(answers, 100) if answers else "-",
            ]
        )
    sentences = [f"The final accuracy is {played_on.final()}."]
    fast, middle, slow = (lengths[decay] for decay in DECAYS)
    if fast and middle and slow:
        sentences.append(
            f"In the median 0.98 takes {fast / middle:.2f} and 0.995 {slow / middle:.2f} times the episodes of 0.99."
        )
    title = f"Seeds: {seeds}; median with the quartiles, or mean with its 95% interval"
    return Findings(
        [played_on.name],
        [(title, header, cells)],
        sentences,
        list(rows[0]),
        [list(row.values()) for row in rows],
        partial(_draw, rows, played_on.name),
    )


def _draw(rows: Sequence[Row], title: str, path: Path) -> None:
    figure, axes = plt.subplots(1, 2, figsize=(10, 4), sharey=True)
    for axis, column, label in (
        (axes[0], "test_accuracy", "the best design seen"),
        (axes[1], "converged_test_accuracy", "the design that the tables converged to"),
    ):
        for decay, colour in zip(DECAYS, ("tab:red", "tab:blue", "tab:green"), strict=True):
            episodes = of_decay(rows, decay, "second_phase_episodes", converged=True)
            accuracy = 100 * np.array(of_decay(rows, decay, column, converged=True))
            axis.plot(episodes, accuracy, "o", color=colour, markersize=4, alpha=0.6, label=f"{decay:g}")
            if episodes:
                axis.plot(
                    np.median(episodes), np.median(accuracy), "P", color=colour, markersize=12, markeredgecolor="black"
                )
        axis.set_xlabel("episodes of the second phase until convergence")
        axis.set_title(label, fontsize="medium")
        axis.grid(alpha=0.3)
    axes[0].set_ylabel("final accuracy, %")
    axes[0].legend(title="decay of epsilon", fontsize="small")
    figure.suptitle(f"{title}; crosses are medians", fontsize="medium")
    save(figure, path)


ITEM = Item(
    "fig13",
    "Does a slower decay of epsilon take longer to converge and find better?",
    "episodes to convergence and final accuracy for decays of 0.98, 0.99 and 0.995",
    "tables",
    ("digits-convnet",),
    1,
    False,
    __doc__,
    reproduce,
)
