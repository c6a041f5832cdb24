"""What a process holds after many episodes and many trainings: it stays level."""

from __future__ import annotations

import contextlib
import gc
import os
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path

from experiments.faults import inside
from experiments.faults.cases import Fault, Kind, Place
from experiments.faults.processes import wait_until
from experiments.faults.tasks import small

SECONDS = 3000.0
"""That all of them may take."""

TABLE = "digits-branches"

MB_MORE = 20.0
"""That the second half may add to the memory: allocators keep what they have got."""

OWN = 3
"""Processes that stay: this one, the one that starts others, and the one that tracks what they share."""

RENEWED = 10
"""How often the environment or the evaluator is made anew."""


def episodes(place: Place, kind: str, number: int) -> str:
    """Plays as many episodes on a table, agent by agent."""
    import numpy as np

    from marl_hpo_env import TableEvaluator, env

    generator = np.random.default_rng(place.seed)

    def part(count: int) -> None:
        game = env(TABLE, evaluator=TableEvaluator(TABLE))
        for _ in range(count):
            game.reset(seed=int(generator.integers(2**31)))
            for agent in game.agent_iter():
                observation, _, terminated, truncated, _ = game.last()
                over = terminated or truncated
                game.step(None if over else game.action_space(agent).sample(observation["action_mask"]))

    return _levels(number, part)


def trainings(place: Place, kind: str, number: int) -> str:
    """Trains as many designs, each with a seed of its own, and stores them."""
    from marl_hpo_env import Request, Store, StoredEvaluator, TrainingEvaluator

    task = small()
    count = 0

    def part(more: int) -> None:
        nonlocal count
        store = Store(place.folder / "trials.sqlite")
        evaluator = StoredEvaluator(TrainingEvaluator(task, "cpu", 1), store)
        requests = [
            Request(task.space.design_at(seed % task.space.size), seed, 1) for seed in range(count, count + more)
        ]
        if sum(trial.status == "completed" for trial in evaluator.evaluate(requests)) != more:
            raise Fault("lost", f"Of {more} designs not all were trained.")
        store.close()
        count += more

    return _levels(number, part)


def _levels(number: int, part: Callable[[int], None]) -> str:
    """Does all of it in parts, and compares the middle with the end."""
    seen = []
    for done in range(RENEWED):
        part(number * (done + 1) // RENEWED - number * done // RENEWED)
        if done + 1 in (RENEWED // 2, RENEWED):
            gc.collect()
            wait_until(lambda: _processes() <= OWN, 10)
            seen.append((_resident_mb(), len(os.listdir("/proc/self/fd")), threading.active_count(), _processes()))
    (mb, *counts), (mb_later, *counts_later) = seen
    names = ("open files", "threads", "processes")
    told = [f"resident memory {mb:.0f} MB and {mb_later:.0f} MB"]
    told += [f"{name} {a} and {b}" for name, a, b in zip(names, counts, counts_later, strict=True)]
    sentence = f"{number:,}, in the middle and at the end: {', '.join(told)}."
    if mb_later > mb + MB_MORE or any(b > a for a, b in zip(counts, counts_later, strict=True)):
        raise Fault("left behind", sentence)
    return sentence


def _resident_mb() -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith("VmRSS:"))


def _processes() -> int:
    """Of this process' session, which whatever it starts is in, too."""
    count = 0
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # gone meanwhile
            count += int(path.read_text().rpartition(")")[2].split()[3]) == os.getsid(0)
    return count


def kinds() -> list[Kind]:
    """Episodes and trainings."""
    return [
        Kind("table episodes in a row", 10_000, 1, partial(inside.tries, episodes, seconds=SECONDS), is_size=True),
        Kind("trainings in a row", 300, 1, partial(inside.tries, trainings, seconds=SECONDS), is_size=True),
    ]
