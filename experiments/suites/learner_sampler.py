"""Whether a learner loses anything as Optuna's sampler: `python -m experiments.suites.learner_sampler` (extra `optuna`).

On the tables of the package, `coordination-graph` plays the game as itself, and as `LearnerSampler` in a study whose parameters
are the layers' hyperparameters, one by one. There it either knows nothing of the network, so that every parameter is connected
with every other; or it knows which ones belong to one layer, or to two that are connected. All are rewarded with the validation
accuracy of one of the table's seeds.

Claim (aim): on digits-convnet the regret after 25 and 50 distinct designs is that of the learner itself, over 20 seeds: 0 lies in
the 95% intervals of the differences, seed by seed. The rule for which parameters are of one kind was changed after a look at
digits-branches.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import numpy.typing as npt
import typer

from agents import learner
from experiments.command_line import new_app, path_option, run_command
from experiments.comparison.contest import Benchmark, Contest, open_benchmark
from experiments.comparison.contest import run as play_contest
from experiments.comparison.regret import simple_regret
from experiments.comparison.statistics import bootstrap, mean
from experiments.progress import progress_bar
from experiments.provenance import measured_by, software
from experiments.text_tables import markdown_section
from marl_hpo_env import SearchSpace
from marl_hpo_env.tables.table import shipped

app = new_app()

LEARNER = "coordination-graph"
ACCURACY = (("validation_accuracy", 1.0),)
EVALUATIONS = (25, 50)
"""After which regret is reported."""

ITSELF, ALL, GIVEN = "the learner itself", "sampler, all connected", "sampler, connected as the layers"

Array = npt.NDArray[np.float64]


def connected_as_layers(space: SearchSpace) -> dict[str, tuple[str, ...]]:
    """Per parameter, those before it of its own layer and those of the layers that feed it."""
    names = [[f"{layer.name}.{name}" for name in layer.choices] for layer in space.layers]
    inputs = {}
    for of_layer, feeding in zip(names, space.feeding, strict=True):
        before = [name for other in feeding for name in names[other]]
        for place, name in enumerate(of_layer):
            inputs[name] = (*before, *of_layer[:place])
    return inputs


def sampled(benchmark: Benchmark, inputs: Mapping[str, Sequence[str]] | None, seed: int, evaluations: int) -> list[int]:
    """The numbers of the designs that the sampler has evaluated in a study."""
    import optuna

    from agents.learner_sampler import LearnerSampler

    space, rewards = benchmark.table.space, benchmark.rewards(benchmark.table_seed(seed))
    designs = []

    def objective(trial: optuna.Trial) -> float:
        design = {
            layer.name: {name: trial.suggest_categorical(f"{layer.name}.{name}", values) for name, values in choices}
            for layer in space.layers
            for choices in [layer.choices.items()]
        }
        designs.append(space.index(space.design(design)))
        return float(rewards[designs[-1]])

    study = optuna.create_study(
        direction="maximize", sampler=LearnerSampler(learner(LEARNER), inputs=inputs, seed=seed)
    )
    study.optimize(objective, n_trials=evaluations)
    return designs


def regrets(table: str, seed: int) -> dict[str, Array]:
    """By way, the regret in points of validation accuracy after as many evaluations as `EVALUATIONS` says."""
    benchmark = open_benchmark(table, ACCURACY, ())
    rewards, space, most = benchmark.rewards(benchmark.table_seed(seed)), benchmark.table.space, max(EVALUATIONS)
    played = {
        ITSELF: play_contest(Contest(LEARNER, table, ACCURACY, (), seed, most)).numbers,
        ALL: sampled(benchmark, None, seed, most),
        GIVEN: sampled(benchmark, connected_as_layers(space), seed, most),
    }
    found = {}
    for way, numbers in played.items():
        curve = simple_regret(list(map(space.design_at, numbers)), rewards[list(numbers)], float(rewards.max()), most)
        found[way] = 100 * curve[np.array(EVALUATIONS) - 1]
    return found


def report(title: str, results: Sequence[Mapping[str, Array]]) -> str:
    """The table of one benchmark, in Markdown: means with 95% intervals, and what each way lies behind the learner itself."""
    by_way = {way: np.array([result[way] for result in results]) for way in results[0]}
    rows = [
        [way, *(_shown(column) for values in (found, found - by_way[ITSELF]) for column in values.T)]
        for way, found in by_way.items()
    ]
    columns = [f"{what} {count}" for what in ("at", "behind at") for count in EVALUATIONS]
    return markdown_section(title, ["", *columns], rows)


def _shown(values: Array) -> str:
    estimate = bootstrap(mean, values[:, None])
    return f"{estimate.value:.2f} [{estimate.low:.2f},{estimate.high:.2f}]"


@app.command()
def main(
    seeds: Annotated[int, typer.Option(min=2, help="Of the learner.")] = 20,
    table: Annotated[list[str] | None, typer.Option(help="A table of the package; all where left out.")] = None,
    out: Annotated[Path, path_option(help="Folder for the report.")] = Path("experiments/results/learner-sampler"),
) -> None:
    """Play the package's tables with a learner as itself and as Optuna's sampler."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    parts = []
    with progress_bar() as progress:
        for name in table or shipped():
            bar = progress.add_task(name, total=seeds, note="seeds")
            results = []
            for seed in range(seeds):
                results.append(regrets(name, seed))
                progress.update(bar, advance=1)
            parts.append(report(f"{name}: regret in points of validation accuracy", results))
    text = (
        f"# A learner as Optuna's sampler\n\n`{LEARNER}` after so many distinct designs, and how far each way lies behind the "
        f"learner itself, seed by seed: means over {seeds} seeds, with 95% intervals.\n\n"
        + "\n".join(parts)
        + f"\n{measured_by(software(), '1 CPU core')}.\n"
    )
    out.mkdir(parents=True, exist_ok=True)
    (out / "report.md").write_text(text)
    typer.echo(text)


if __name__ == "__main__":
    run_command(app, "python -m experiments.suites.learner_sampler")
