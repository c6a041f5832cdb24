"""How many picks a second a single controller's games make on a table, on one core.

Claim (aims of the project): with 1,024 games on `digits-convnet` the vectorised environment makes a million picks a second, the
peer being Gymnasium's `SyncVectorEnv` of the same games, measured alternately in the same run.

Every pick is one that its layer has, drawn beforehand, so that nothing but the environments is measured; steps in which a game
begins anew count as none. Each figure is the median over repetitions. Run: `python -m experiments.benchmarks.vectorised`.
"""

from __future__ import annotations

import time
from statistics import median
from typing import Any

import gymnasium
import numpy as np

import marl_hpo_env
from experiments.benchmarks.results import write_results

GAMES = 1024
REPETITIONS = 7
MODES = {"vector_entry_point": 40, "sync": 2}
"""By Gymnasium's name of the mode, the episodes of a repetition."""


def picks_per_second(envs: Any, episodes: int) -> float:
    """Of so many episodes of all games."""
    space = marl_hpo_env.task("digits-convnet").space
    rng = np.random.default_rng(0)
    picks = [[rng.integers(size, size=GAMES) for size in space.sizes] for _ in range(episodes)]
    begin = np.zeros(GAMES, dtype=np.int64)
    envs.reset(seed=0)
    started = time.perf_counter()
    for episode in picks:
        for actions in episode:
            envs.step(actions)
        envs.step(begin)  # the finished games begin anew
    return episodes * len(space) * GAMES / (time.perf_counter() - started)


def main() -> None:
    """Measures, prints and writes the results."""
    figures: dict[str, list[float]] = {mode: [] for mode in MODES}
    made = {
        mode: gymnasium.make_vec("marl_hpo_env/digits-convnet-v1", GAMES, mode, evaluator="table") for mode in MODES
    }
    for envs in made.values():
        picks_per_second(envs, 1)
    for _ in range(REPETITIONS):
        for mode, envs in made.items():
            figures[mode].append(picks_per_second(envs, MODES[mode]))
    medians = {mode: median(measured) for mode, measured in figures.items()}
    write_results(
        "vectorised",
        ["gymnasium", "numpy"],
        {
            "games": GAMES,
            "picks_per_second": medians,
            "ratio": medians["vector_entry_point"] / medians["sync"],
            "of_repetitions": figures,
        },
    )


if __name__ == "__main__":
    main()
