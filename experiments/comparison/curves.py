"""What the runs of a comparison reached after each of their evaluations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from experiments.comparison.contest import Benchmark, Run
from experiments.comparison.regret import first_episodes, incumbent_regret, noise_floor, simple_regret

Array = npt.NDArray[np.float64]


def checkpoints(evaluations: int) -> list[int]:
    """After how many evaluations a run of so many is reported."""
    return [*(n for n in (25, 50, 100, 200) if n < evaluations), evaluations]


class Curves:
    """What every run of one benchmark reached after each of its evaluations.

    Args:
        benchmark: what was played.
        runs: by learner, one per seed, with the same seeds for all.
        evaluations: the length of the curves.

    Attributes:
        regret: by learner, shape (seeds, evaluations), in the reward's unit: of the best design under the reward that the
            learner saw.
        worth: likewise, of the best design under the mean test figures: the regret of the incumbent, which was chosen by
            its reward.
        floor: what the design with the best reward leaves of that, in the mean over ties and the table's seeds. Who finds the
            best reward every time has that. Below it is who found other designs, whose test figures are better by luck.
        chance: the mean regret of one random design.
        seconds: by learner, shape (seeds,): what the trainings of a run's evaluations took when the table was made. The run
            would have taken as long without it. NaN where the table does not say.
        covered: by learner, shape (seeds, checkpoints): the share of the hypervolume; empty with a single objective.
        covered_to_nadir: likewise, with the front's nadir as reference.
    """

    def __init__(self, benchmark: Benchmark, runs: Mapping[str, Sequence[Run]], evaluations: int) -> None:
        self.benchmark, self.runs, self.evaluations = benchmark, runs, evaluations
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
        several = len(benchmark.reward.objectives) > 1
        for name, played in runs.items():
            regret, worth, seconds, share = zip(*(self._of(run, best, several) for run in played), strict=True)
            self.regret[name], self.worth[name] = np.array(regret), np.array(worth)
            self.seconds[name] = np.array(seconds)
            if several:
                self.covered[name], self.covered_to_nadir[name] = np.moveaxis(np.array(share), -1, 0)

    def _of(self, run: Run, best: float, several: bool) -> tuple[Array, Array, float, list[list[float]]]:
        table_seed = self.benchmark.table_seed(run.contest.seed)
        of_all = self.benchmark.rewards(table_seed)
        designs = [(number,) for number in run.designs]
        rewards = of_all[list(run.designs)]
        regret = simple_regret(designs, rewards, float(of_all.max()), self.evaluations)
        worth = incumbent_regret(designs, rewards, self.benchmark.worth[list(run.designs)], best, self.evaluations)
        new = [run.designs[i] for i in first_episodes(designs)][: self.evaluations]
        points = self.checkpoints if several else []
        share = [[self.benchmark.covered(new[:n], table_seed, nadir) for nadir in (False, True)] for n in points]
        return regret, worth, self.benchmark.seconds(new, table_seed), share


def normalised(all_curves: Sequence[Curves], name: str) -> Array:
    """A learner's regret as a share of a random design's, shape (seeds, benchmarks, evaluations)."""
    return np.stack([curves.regret[name] / curves.chance for curves in all_curves], axis=1)
