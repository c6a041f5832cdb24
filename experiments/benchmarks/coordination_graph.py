"""What `coordination-graph` costs per episode, beside the trainings.

Claim (aims of the project):
- under 10 ms per episode at 200 episodes of 20 layers of 12 actions, ask and tell together;
- no dearer than Optuna's TPE (multivariate, as `optuna-tpe` sets it up), which plays the same table in the same run;
- still usable with 1,000 layers.

Rewards come from additive synthetic tables, so nothing else is measured. Each figure is a median over the episodes that it
names. Run: `python -m experiments.benchmarks.coordination_graph` (needs the extra `optuna`).
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from statistics import mean, median

import numpy as np

from agents import Episode, learner
from experiments.benchmarks.results import write_results
from marl_hpo_env.tables.synthetic import synthetic_table

OURS, PEER = "coordination-graph", "optuna-tpe"
EPISODES: Mapping[int, int] = {5: 200, 20: 200, 100: 200, 1000: 20}
"""By number of layers."""

WITH_THE_PEER = 20
LAST = 20
"""Episodes at the end that are taken for what an episode costs there."""


def ms_per_episode(name: str, layers: int, episodes: int) -> list[float]:
    """Milliseconds that a learner takes for each episode, ask and tell together."""
    table = synthetic_table("additive", 0, layers=layers)
    rng = np.random.default_rng(0)
    player = learner(name)
    player.reset(table.space, 0)
    times = []
    for _ in range(episodes):
        start = time.perf_counter()
        (design,) = player.ask(1)
        asked = time.perf_counter()
        reward = table.reward(design, rng)
        rewarded = time.perf_counter()
        player.tell([Episode(design, reward, {}, False)])
        times.append(1e3 * (asked - start + time.perf_counter() - rewarded))
    return times


def measure() -> dict[str, object]:
    """Everything that the header claims."""
    rows = {}
    for layers, episodes in EPISODES.items():
        times = ms_per_episode(OURS, layers, episodes)
        rows[str(layers)] = {
            "episodes": episodes,
            "mean_ms": mean(times),
            "median_ms": median(times),
            f"median_ms_of_the_last_{LAST}": median(times[-LAST:]),
            "longest_ms": max(times),
        }
    peer = mean(ms_per_episode(PEER, WITH_THE_PEER, EPISODES[WITH_THE_PEER]))
    ours = mean(ms_per_episode(OURS, WITH_THE_PEER, EPISODES[WITH_THE_PEER]))
    return {
        "actions": 12,
        "layers": rows,
        "beside_the_peer": {
            "peer": PEER,
            "layers": WITH_THE_PEER,
            "peer_mean_ms": peer,
            "ours_mean_ms": ours,
            "ratio": ours / peer,
        },
    }


if __name__ == "__main__":
    write_results("coordination-graph", ["numpy", "optuna"], measure())
