"""**The paper (VIII-A, Fig. 9).** The reward of every episode in both phases of one run. Its claims: random designs of the first
phase get -1 to 31; in the second the first 50 episodes are as poor, then rewards rise with the decay of epsilon to a highest
of 36; the tables have converged at around episode 260 of it.

**Here.** The same picture of the run with seed 0, with the best so far. The table and the CSV file have every seed: the range
of both phases, in which episode the best design came, and when the tables converged.

**What differs.** The network, the data and the task's reward, hence the values of rewards. The paper's run goes on after its
convergence; here a run ends there. Converged is reading 5.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from agents import Episode
from experiments.reproduction.grounds import Outcome, ground
from experiments.reproduction.item import Findings, Item, Settings, Show
from experiments.reproduction.playing import with_bar
from experiments.reproduction.report import quartiles
from experiments.reproduction.trainings import the_papers_learner
from experiments.tuning.callbacks import PHASES
from experiments.tuning.pictures import rewards_per_episode
from experiments.tuning.tuning import Play


def reproduce(settings: Settings, show: Show) -> None:
    """Plays each seed."""
    played_on = ground(settings, settings.tasks[0])
    seeds = settings.seeds or min(30, played_on.default_seeds)  # the CSV file has every episode
    name = the_papers_learner(settings.episodes)
    outcomes = [played_on.play(name, seed) for seed in with_bar("seed", range(seeds))]
    show(_findings(played_on.name, outcomes))


def _findings(task: str, outcomes: Sequence[Outcome]) -> Findings:
    split = [outcome.exploration or 0 for outcome in outcomes]
    parts = {
        "exploration": [one.rewards[:n] for one, n in zip(outcomes, split, strict=True)],
        "exploration-exploitation, episodes 1 to 50": [
            one.rewards[n : n + 50] for one, n in zip(outcomes, split, strict=True)
        ],
        "exploration-exploitation, from 51": [one.rewards[n + 50 :] for one, n in zip(outcomes, split, strict=True)],
    }
    cells = []
    for part, rewards in parts.items():
        there = [run for run in rewards if len(run)]
        if there:
            lowest, highest = min(map(min, there)), max(map(max, there))
            middle = quartiles([float(np.mean(run)) for run in there], digits=3)
            cells.append([part, f"{lowest:.4g}", middle, f"{highest:.4g}", str(len(there))])
    header = ["phase", "lowest reward", "mean reward of a run", "highest reward", "runs"]
    ended = [len(one.rewards) - n for one, n in zip(outcomes, split, strict=True) if one.converged is not None]
    in_first = sum(one.best_episode < n for one, n in zip(outcomes, split, strict=True))
    same = sum(one.converged == one.found for one in outcomes)
    sentences = [
        f"The best design of {in_first} of {len(outcomes)} runs is one of the first phase.",
        f"{len(ended)} of {len(outcomes)} runs converged, in {same} of them to the best design seen.",
    ]
    if ended:
        sentences.append(f"They converged in episode {quartiles(ended, digits=3)} of the second phase.")
    rows = []
    for seed, (outcome, n) in enumerate(zip(outcomes, split, strict=True)):
        best = np.maximum.accumulate(outcome.rewards)
        for number, reward in enumerate(outcome.rewards):
            terminated = int(number in outcome.terminated)
            rows.append(
                [seed, number + 1, PHASES[number >= n], outcome.designs[number], reward, best[number], terminated]
            )
    return Findings(
        [task],
        [(f"Rewards, seeds: {len(outcomes)}; the median run, and the quartiles", header, cells)],
        sentences,
        ["seed", "episode", "phase", "design", "reward", "best_so_far", "terminated"],
        rows,
        partial(_draw, outcomes[0]),
    )


def _draw(outcome: Outcome, path: Path) -> None:
    """The picture that `marl-hpo tune` draws, too."""
    ended = set(outcome.terminated)
    episodes = [Episode((), reward, {}, number in ended) for number, reward in enumerate(outcome.rewards)]
    rewards_per_episode(Play("pairwise-q", episodes, (), {}, None), path, outcome.exploration or 0)


ITEM = Item(
    "fig9",
    "Do rewards rise in the second phase, and when do the tables converge?",
    "the reward of every episode in both phases, with the best so far",
    "tables",
    ("digits-convnet",),
    1,
    False,
    __doc__,
    reproduce,
)
