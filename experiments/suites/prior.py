"""What other tasks tell `coordination-graph` of a new one: `python -m experiments.suites.prior`.

Each task is played without a prior, with all that the others say, and with a misleading prior: runs of the others whose rewards
have the other sign. So no task learns from itself. The tasks are

- tables, rewarded with the validation accuracy of one of their seeds and judged by what a found design is worth;
- synthetic families, another one for every seed: a task and three relatives, whose terms have `KINSHIP` of their variance in
  common with all others of the family, and of each relative a run of `RANDOM_DESIGNS` random designs.

Regret is a share of a random design's. All three plays of a seed are on the same task, so differences are paired.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any, NamedTuple

import numpy as np
import numpy.typing as npt
import typer

from agents import CoordinationGraph, Episode, play
from agents.episodes_file import EpisodesFile
from agents.playing import episode_of
from experiments.command_line import new_app, path_option, run_command
from experiments.comparison.contest import open_benchmark
from experiments.comparison.regret import incumbent_regret
from experiments.comparison.report import shown
from experiments.comparison.statistics import bootstrap, mean
from experiments.progress import progress_bar
from experiments.provenance import measured_by, software
from experiments.suites.ablation import SyntheticEnvironment
from experiments.text_tables import markdown_table
from experiments.tuning.run import Run
from marl_hpo_env import Design, SearchSpace
from marl_hpo_env.tables.synthetic import SyntheticTable, synthetic_table
from marl_hpo_env.tables.table import shipped

app = new_app()

ACCURACY = (("validation_accuracy", 1.0),)
FILES = ("nas-bench-macro_cifar10.json", "Results_ResNet.json")
"""Tables of others, played too where they lie in the current folder."""

FAMILIES: Mapping[str, Mapping[str, Any]] = {
    "additive family, 8 of 12": {"kind": "additive"},
    "pairwise family, 8 of 12": {"kind": "pairwise"},
    "family of 7 widths": {"kind": "widths", "layers": 7, "values": (4,)},
}
"""By name, what `synthetic_table` takes."""

FIRST_SEED = 10**6
"""Of the families; the constants of `agents/prior.py` were chosen on others."""

KINSHIP = 0.7
RELATIVES = 3
RANDOM_DESIGNS = 100

NONE, OTHERS, MISLEADING = "none", "other tasks", "misleading"
PRIORS = (NONE, OTHERS, MISLEADING)

EVALUATIONS = (5, 10, 25)
"""After which regret is reported."""

Array = npt.NDArray[np.float64]


class Setting(NamedTuple):
    """What is played under one seed.

    Args:
        environment: as `agents.play` takes it.
        priors: by name, as the learner takes them.
        worth: what a design is worth.
        best: the most that one is worth.
        chance: what a random one is worth, in the mean.
    """

    environment: Any
    priors: Mapping[str, str]
    worth: Callable[[Design], float]
    best: float
    chance: float


def write_run(
    folder: Path, task: str, space: SearchSpace, episodes: Sequence[Episode], directions: Mapping[str, int], sign: int
) -> None:
    """A run of random designs, as tuning keeps it, with rewards and objectives multiplied by `sign`."""
    identity = {"learner": "random", "seed": 0}
    folder.mkdir(parents=True, exist_ok=True)
    run = Run.claim(folder, task, identity, task=task, space=space.describe(), directions=dict(directions))
    with EpisodesFile(run.episodes("random"), list(directions), space.names) as file:
        for each in episodes:
            objectives = {name: sign * value for name, value in each.objectives.items()}
            file.write(each._replace(reward=sign * each.reward, objectives=objectives), "", None)


def of_table(table: str, tables: Sequence[str], negated: Path, seed: int) -> Setting:
    """A table, with all others as its prior; their runs with the other sign lie in the folder `negated`."""
    benchmark = open_benchmark(table, ACCURACY, ())
    space, worth = benchmark.table.space, benchmark.worth
    others = [other for other in tables if other != table]
    runs = [negated / open_benchmark(other, ACCURACY, ()).name for other in others]
    return Setting(
        benchmark.environment(benchmark.table_seed(seed)),
        {NONE: "", OTHERS: "+".join(others), MISLEADING: "+".join(map(str, runs))},
        lambda design: float(worth[space.index(design)]),
        float(worth.max()),
        float(worth.mean()),
    )


def write_negated(tables: Iterable[str], folder: Path) -> None:
    """Of each table a run of 300 random designs whose rewards have the other sign."""
    for table in tables:
        benchmark = open_benchmark(table, ACCURACY, ())
        game, rng = benchmark.environment(benchmark.table.seeds[0]), np.random.default_rng(0)
        designs = list(dict.fromkeys(game.space.sample(rng) for _ in range(300)))
        episodes = [episode_of(game, trial) for trial in game.evaluate(designs)]
        write_run(folder, benchmark.name, game.space, episodes, game.directions, -1)


def relatives(name: str, seed: int) -> list[SyntheticTable]:
    """The tasks of a synthetic family; each has `KINSHIP` of its variance in common with the others."""
    common, *own = (synthetic_table(**FAMILIES[name], seed=FIRST_SEED + 100 * seed + k) for k in range(RELATIVES + 2))
    return [
        SyntheticTable(
            common.space,
            tuple(
                np.sqrt(KINSHIP) * a + np.sqrt(1 - KINSHIP) * b for a, b in zip(common.terms, one.terms, strict=True)
            ),
        )
        for one in own
    ]


def of_family(name: str, folder: Path, seed: int) -> Setting:
    """A synthetic task, with runs of its relatives as its prior; they are written to the folder."""
    task, *others = relatives(name, seed)
    rng = np.random.default_rng(seed)
    folders = {+1: folder / f"{name} {seed}", -1: folder / f"{name} {seed} negated"}
    for number, other in enumerate(others):
        designs = list(dict.fromkeys(other.space.sample(rng) for _ in range(RANDOM_DESIGNS)))
        episodes = [Episode(design, other.value(design), {}, False) for design in designs]
        for sign, runs in folders.items():
            write_run(runs, f"relative{number}", other.space, episodes, {}, sign)
    chance = float(np.mean([task.value(task.space.sample(rng)) for _ in range(1000)]))
    return Setting(
        SyntheticEnvironment(task, seed),
        {NONE: "", OTHERS: f"{folders[1]}/*", MISLEADING: f"{folders[-1]}/*"},
        task.value,
        task.value(task.best()),
        chance,
    )


def regrets(task: Setting, seed: int) -> dict[str, Array]:
    """By prior, the regret in percent of a random design's after as many designs as `EVALUATIONS` says."""
    found, most = {}, max(EVALUATIONS)
    for name, prior in task.priors.items():
        episodes = play(task.environment, CoordinationGraph(prior=prior), evaluations=most, seed=seed)
        designs, rewards = [each.design for each in episodes], [each.reward for each in episodes]
        curve = incumbent_regret(designs, rewards, list(map(task.worth, designs)), task.best, most)
        found[name] = 100 * curve[np.array(EVALUATIONS) - 1] / (task.best - task.chance)
    return found


def report(results: Mapping[str, Sequence[Mapping[str, Array]]]) -> str:
    """The table, in Markdown.

    Args:
        results: by task, what `regrets` returns for each seed.
    """
    by_prior = {prior: np.array([[of[prior] for of in seeds] for seeds in results.values()]) for prior in PRIORS}
    rows = []
    parts = [(name, slice(k, k + 1)) for k, name in enumerate(results)]
    for name, part in [*parts, ("all", slice(None))]:
        for prior, found in by_prior.items():
            # Shape (evaluations, seeds, tasks), as statistics take it.
            at, behind = (x[part].transpose(2, 1, 0) for x in (found, found - by_prior[NONE]))
            paired = ["-" if prior == NONE else shown(bootstrap(mean, x), 1) for x in behind]
            rows.append([name, prior, *(shown(bootstrap(mean, x), 1) for x in at), *paired])
    columns = [f"{what} {n}" for what in ("at", "behind none at") for n in EVALUATIONS]
    return markdown_table(["task", "prior", *columns], rows)


@app.command()
def main(
    seeds: Annotated[int, typer.Option(min=2, help="Of the learner, and of the synthetic families.")] = 20,
    table: Annotated[
        list[str] | None, typer.Option(help="A table; those of the package and the files there where left out.")
    ] = None,
    out: Annotated[Path, path_option(help="Folder for the report.")] = Path("experiments/results/prior"),
) -> None:
    """Play tasks with what other tasks say, without it, and with the contrary."""
    tables = table or [*shipped(), *(name for name in FILES if Path(name).exists())]
    results: dict[str, list[dict[str, Array]]] = {}
    with TemporaryDirectory() as temporary, progress_bar() as progress:
        write_negated(tables, Path(temporary))
        kinds = {open_benchmark(t, ACCURACY, ()).name: partial(of_table, t, tables, Path(temporary)) for t in tables}
        kinds |= {name: partial(of_family, name, Path(temporary)) for name in FAMILIES}
        for name, drawn in kinds.items():
            bar = progress.add_task(name, total=seeds, note="seeds")
            results[name] = []
            for seed in range(seeds):
                results[name].append(regrets(drawn(seed), seed))
                progress.update(bar, advance=1)
    text = (
        "# Knowledge from other tasks\n\nRegret of `coordination-graph` after so many distinct designs, in percent of a random "
        f"design's: means over {seeds} seeds with 95% intervals; then the same seeds' differences to no prior, below 0 where "
        f"the prior gains.\n\n{report(results)}\n{measured_by(software(), '1 CPU core')}.\n"
    )
    out.mkdir(parents=True, exist_ok=True)
    (out / "report.md").write_text(text)
    typer.echo(text)


if __name__ == "__main__":
    run_command(app, "python -m experiments.suites.prior")
