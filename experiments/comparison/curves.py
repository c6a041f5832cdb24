"""What the runs of a comparison reached after each of their evaluations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from experiments.comparison.contest import Benchmark, Run
from experiments.comparison.recorded import RecordedRun
from experiments.comparison.regret import best_by_episode, incumbent_regret, noise_floor, simple_regret

Array = npt.NDArray[np.float64]


def checkpoints(length: int, usual: Sequence[int] = (25, 50, 100, 200)) -> list[int]:
    """After how many of its evaluations, or episodes, a run of so many is reported."""
    return [*(n for n in usual if n < length), length]


def longest(runs: Mapping[str, Sequence[Run]]) -> int:
    """The episodes of the longest run, where some were recorded: then they are compared by episodes, too; else 0."""
    played = [run for of_learner in runs.values() for run in of_learner]
    if not any(isinstance(run, RecordedRun) for run in played):
        return 0
    return max(_before(run) + len(run.designs) for run in played)


def delayed(run: Run, curve: Array, nothing: float) -> Array:
    """A run's curve behind the trainings that were spent before its first episode; there it has what finding nothing has."""
    return np.r_[np.full(min(_before(run), len(curve)), nothing), curve][: len(curve)]


def _before(run: Run) -> int:
    return run.before if isinstance(run, RecordedRun) else 0


class Curves:
    """What every run of one benchmark reached after each of its evaluations.

    Args:
        benchmark: what was played.
        runs: by learner, one per seed, with the same seeds for all.
        evaluations: the length of the curves.

    Attributes:
        name: of the benchmark.
        regret: by learner, shape (seeds, evaluations), in the reward's unit: of the best design under the reward that the
            learner saw.
        worth: likewise, of the best design under the mean test figures: the regret of the incumbent, which was chosen by
            its reward.
        floor: what the design with the best reward leaves of that, in the mean over ties and the table's seeds. Who finds the
            best reward every time has that. Below it is who found other designs, whose test figures are better by luck.
        chance: the mean regret of one random design.
        seconds: by learner, shape (seeds,): what the trainings of a run's evaluations took when the table was made. The run
            would have taken as long without it. NaN where the table does not say. What a recorded run spent before its first
            episode is counted in trainings of a mean design.
        covered: by learner, shape (seeds, checkpoints): the share of the hypervolume; empty with a single objective.
        covered_to_nadir: likewise, with the front's nadir as reference.
        by_episode: by learner, shape (seeds, episodes): the regret after each episode; empty where no run was recorded.
    """

    def __init__(self, benchmark: Benchmark, runs: Mapping[str, Sequence[Run]], evaluations: int) -> None:
        self.benchmark, self.runs, self.evaluations = benchmark, runs, evaluations
        self.name = benchmark.name
        self.checkpoints = checkpoints(evaluations)
        best = float(benchmark.worth.max())
        rewards = [benchmark.rewards(seed) for seed in benchmark.table.seeds]
        self.floor = noise_floor(rewards, benchmark.worth)
        self.chance = float(np.mean([of_one_seed.max() - of_one_seed.mean() for of_one_seed in rewards]))
        self.regret: dict[str, Array] = {}
        self.worth: dict[str, Array] = {}
        self.seconds: dict[str, Array] = {}
        self.covered: dict[str, Array] = {}
        self.covered_to_nadir: dict[str, Array] = {}
        self.by_episode: dict[str, Array] = {}
        several, episodes = len(benchmark.reward.objectives) > 1, longest(runs)
        for name, played in runs.items():
            regret, worth, seconds, share = zip(*(self._of(run, best, several) for run in played), strict=True)
            self.regret[name], self.worth[name] = np.array(regret), np.array(worth)
            self.seconds[name] = np.array(seconds)
            if several:
                self.covered[name], self.covered_to_nadir[name] = np.moveaxis(np.array(share), -1, 0)
            if episodes:
                self.by_episode[name] = np.array([self._by_episode(run, episodes) for run in played])

    def _of(self, run: Run, best: float, several: bool) -> tuple[Array, Array, float, list[list[float]]]:
        table_seed = self.benchmark.table_seed(run.contest.seed)
        of_all = self.benchmark.rewards(table_seed)
        rewards, worths = self._told(run, of_all), self._told(run, self.benchmark.worth)
        regret = simple_regret(run.designs, rewards, float(of_all.max()), self.evaluations)
        worth = incumbent_regret(run.designs, rewards, worths, best, self.evaluations)
        penalty = self.benchmark.reward.penalty
        regret, worth = delayed(run, regret, float(of_all.max()) - penalty), delayed(run, worth, best - penalty)
        new = [new_designs(run, n) for n in (self.checkpoints if several else [])]
        share = [[self.benchmark.covered(designs, table_seed, nadir) for nadir in (False, True)] for designs in new]
        seconds = self.benchmark.seconds(new_designs(run, self.evaluations), table_seed)
        if before := min(_before(run), self.evaluations):
            everything = range(len(of_all))
            seconds += before * self.benchmark.seconds(everything, table_seed) / len(everything)
        return regret, worth, seconds, share

    def _by_episode(self, run: Run, episodes: int) -> Array:
        of_all = self.benchmark.rewards(self.benchmark.table_seed(run.contest.seed))
        best = delayed(run, best_by_episode(self._told(run, of_all), episodes), self.benchmark.reward.penalty)
        return float(of_all.max()) - best

    def _told(self, run: Run, of_all: Array) -> Array:
        """Of each episode what its design has; the penalty where there is none."""
        penalty = self.benchmark.reward.penalty
        return np.array([penalty if number is None else of_all[number] for number in run.designs])


def new_designs(run: Run, evaluations: int) -> list[int]:
    """The numbers of the distinct designs of a run's first evaluations, in the order of their first episodes; what was spent
    before the first episode is among these evaluations."""
    return list(dict.fromkeys(run.numbers))[: max(0, evaluations - _before(run))]


def normalised(all_curves: Sequence[Curves], name: str) -> Array:
    """A learner's regret as a share of a random design's, shape (seeds, benchmarks, evaluations)."""
    return np.stack([curves.regret[name] / curves.chance for curves in all_curves], axis=1)
