"""What an episode on a table costs.

Claim (aims of the project):
- a step of the AEC loop on a table, evaluation, reward, reset and PettingZoo's bookkeeping of finished agents included, costs
  no more than one of PettingZoo's tic-tac-toe, measured alternately in the same run;
- the columnar look-up answers a million designs a second;
- a fresh process imports the package, opens a table and resets the environment in under a second, without torch.

Every figure is a median. Run: `python -m experiments.benchmarks.tables` (needs the extra `benchmarks`).
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from statistics import median
from typing import Any

import numpy as np

from experiments.benchmarks.overhead import beside_tictactoe, first_legal_move
from experiments.benchmarks.results import write_results
from marl_hpo_env import env
from marl_hpo_env.tables.table import Table, shipped

EPISODES = 100
DESIGNS = 1_000_000
REPETITIONS = 7

FRESH = """
import sys, time
start = time.perf_counter()
import marl_hpo_env
marl_hpo_env.env({name!r}, evaluator="table").reset()
print(time.perf_counter() - start, "torch" in sys.modules)
"""


def loop_us(make: Callable[[], Any], action: Callable[[Any], int]) -> float:
    """Microseconds per step of the AEC loop, over whole episodes."""
    game = make()
    steps = 0
    start = time.perf_counter()
    for _ in range(EPISODES):
        game.reset()
        for _ in game.agent_iter():
            *_, terminated, truncated, _ = game.last()
            game.step(None if terminated or truncated else action(game))
            steps += 1
    return 1e6 * (time.perf_counter() - start) / steps


def _beside(name: str) -> dict[str, float]:
    """The loop on a table, every action drawn at random, beside tic-tac-toe."""
    from pettingzoo.classic.tictactoe import tictactoe

    rng = np.random.default_rng(0)
    game = env(name, evaluator="table")
    sizes = dict(zip(game.unwrapped.space.names, game.unwrapped.space.sizes, strict=True))
    figures = beside_tictactoe(
        lambda: loop_us(lambda: game, lambda game: int(rng.random() * sizes[game.agent_selection])),
        lambda: loop_us(tictactoe.env, first_legal_move),
    )
    return {**figures, "steps_per_second": 1e6 / figures["ours_us"]}


def _designs_per_second(name: str) -> float:
    """Every metric of many designs at once."""
    table = Table.open(name)
    designs = np.random.default_rng(0).integers(table.space.sizes, size=(DESIGNS, len(table.space)))
    times = []
    for _ in range(REPETITIONS):
        start = time.perf_counter()
        table.metrics(designs)
        times.append(time.perf_counter() - start)
    return DESIGNS / median(times)


def _fresh(name: str) -> dict[str, Any]:
    """Import, opening and reset in a process of its own."""
    runs = [
        subprocess.run(
            [sys.executable, "-c", FRESH.format(name=name)], check=True, capture_output=True, text=True
        ).stdout
        for _ in range(REPETITIONS)
    ]
    return {
        "seconds": median(float(run.split()[0]) for run in runs),
        "torch_imported": any(run.split()[1] == "True" for run in runs),
    }


def measure(names: list[str]) -> dict[str, Any]:
    """Everything that the header claims, for each of these tables."""
    return {
        "tables": {
            name: {
                "designs": Table.open(name).space.size,
                "loop": _beside(name),
                "designs_per_second": _designs_per_second(name),
                "import_open_reset": _fresh(name),
            }
            for name in names
        },
    }


if __name__ == "__main__":
    write_results("tables", ["pettingzoo", "numpy"], measure(shipped()))
