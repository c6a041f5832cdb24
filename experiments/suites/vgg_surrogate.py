"""Trains designs of the paper's own space, and fits trees to them: `python -m experiments.suites.vgg_surrogate --images FILE`.

Random designs of `vgg16-cifar10-surrogate` (see `marl_hpo_env/catalog/surrogate.py`) are trained once each, the first 60 under a
second seed, too, and the original under both. Their order is always the same, so that more designs only add to what is there.
A design over the limit of FLOPs is terminated and costs nothing.

An ensemble of trees is fitted to the mean of validation and test accuracy. What is reported of it is of held-out designs: each is
predicted by trees that were fitted to four fifths of the others. The kind of ensemble is the one of three with the highest
Kendall in the best third, so that figure is a little too good. All trainings and the trees are written to one file. Where Kendall
in the best third is below 0.5 the file is a data set, and is not shipped as a surrogate.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
import numpy.typing as npt
import typer

from experiments.command_line import Device, Workers, at_most, new_app, path_option, run_command
from experiments.commands.table import followed, how_made
from experiments.provenance import command, cores, machine, measured_by, software
from experiments.text_tables import markdown_section
from experiments.tuning.evaluators import Machines, evaluator_of
from marl_hpo_env import Design, InputError, Request, SearchSpace, Store, StoredEvaluator, Trial
from marl_hpo_env import task as named_task
from marl_hpo_env.catalog.surrogate import EPOCHS, EXAMPLES, SURROGATE, anatomy
from marl_hpo_env.evaluators.forest import Forest
from marl_hpo_env.evaluators.surrogate import packed
from marl_hpo_env.files import whole_file
from marl_hpo_env.training.devices import choose_device

app = new_app()

TWICE = 60
"""So many designs are trained under two seeds: from them the noise is known."""

FOLDS = 5
LEAST_KENDALL = 0.5
"""In the best third; below it the surrogate is not shipped."""

FEWEST_DESIGNS = 15

DRAWN = 20
"""So often is drawn what there is to reach."""

TITLE = "On held-out designs"

Array = npt.NDArray[np.float64]
Figures = dict[str, float]


class Measured(NamedTuple):
    """What the trainings say of the designs that are within the limit of FLOPs.

    Args:
        designs: in the order in which they were drawn.
        accuracies: shape (designs, seeds, 2), of validation and test; NaN where a training did not complete, or there is none.
        failed: shape (designs,), the share of trainings that did not complete.
    """

    designs: list[Design]
    accuracies: Array
    failed: Array


class Fitted(NamedTuple):
    """The trees, and what is known of them.

    Args:
        forests: by what they predict.
        noise: as `packed` takes it.
        held_out: by the kind of ensemble, its figures on held-out designs; the best kind's `forests` are.
        best: the best kind.
    """

    forests: dict[str, Forest]
    noise: dict[str, Array]
    held_out: dict[str, Figures]
    best: str


def requests_of(space: SearchSpace, count: int) -> list[Request]:
    """Those of the original and so many designs."""
    rng = np.random.default_rng(0)
    drawn: dict[Design | None, None] = {None: None}
    while len(drawn) <= count:
        drawn[space.sample(rng)] = None
    again = list(drawn)[: 1 + TWICE]
    return [*(Request(design, 0, EPOCHS) for design in drawn), *(Request(design, 1, EPOCHS) for design in again)]


def measured(trials: Sequence[Trial]) -> Measured:
    """The trainings by design.

    Raises:
        InputError: if the original did not complete, or too few designs did under two seeds.
    """
    trained = [trial for trial in trials if trial.design is not None and trial.status != "terminated"]
    designs = list(dict.fromkeys(trial.design for trial in trained if trial.design is not None))
    rows = {design: row for row, design in enumerate(designs)}
    accuracies, counts = np.full((len(designs), 2, 2), np.nan), np.zeros(len(designs))
    for trial in trained:
        row = rows[trial.request.design or ()]
        counts[row] += 1
        if trial.status == "completed":
            accuracies[row, trial.request.seed] = [trial.metrics[f"{part}_accuracy"] for part in ("validation", "test")]
    completed = (~np.isnan(accuracies[:, :, 0])).sum(axis=1)
    original = next(trial for trial in trials if trial.design is None)
    if original.status != "completed" or (completed == 2).sum() < FEWEST_DESIGNS // 2:
        raise InputError(
            f"Under two seeds only {(completed == 2).sum()} designs could be trained, and the original network is "
            f"{original.status}; look at the trials."
        )
    return Measured(designs, accuracies, 1 - completed / counts)


def fitted(space: SearchSpace, of: Measured) -> Fitted:
    """Trees of the kind that predicts held-out designs best, fitted to all."""
    from sklearn.base import clone
    from sklearn.model_selection import KFold, cross_val_predict

    features = anatomy(space, np.array(of.designs)).features
    done = of.failed < 1
    known, seeds = features[done], of.accuracies[done]
    means = np.nanmean(seeds, axis=1)
    target = means.mean(axis=1)
    kinds = ensembles()
    folds = KFold(FOLDS, shuffle=True, random_state=0)
    predicted = {name: cross_val_predict(kind, known, target, cv=folds) for name, kind in kinds.items()}
    held_out = {name: figures(values, target) for name, values in predicted.items()}
    best = max(held_out, key=lambda name: held_out[name]["kendall, best third"])
    forests = {"accuracy": Forest.of(clone(kinds[best]).fit(known, target))}
    if of.failed.any():
        forests["failed"] = Forest.of(clone(kinds[best]).fit(features, of.failed))
    between = (seeds[:, 0] - seeds[:, 1])[~np.isnan(seeds).any(axis=(1, 2))]
    by_seed = between.T @ between / (2 * len(between))
    errors = means - predicted[best][:, None]
    of_mean = (1 / (~np.isnan(seeds[:, :, 0])).sum(axis=1)).mean() * by_seed
    by_design = errors.T @ errors / len(errors) - of_mean
    return Fitted(forests, {"design": factor(by_design), "seed": factor(by_seed)}, held_out, best)


def ensembles() -> dict[str, Any]:
    """The kinds among which is chosen, each with settings that are usual for a few hundred examples."""
    from sklearn.ensemble import ExtraTreesRegressor, GradientBoostingRegressor, RandomForestRegressor

    common = {"max_features": 1 / 3, "random_state": 0}
    return {
        "extra trees": ExtraTreesRegressor(200, min_samples_leaf=3, **common),
        "random forest": RandomForestRegressor(200, min_samples_leaf=3, **common),
        "gradient boosting": GradientBoostingRegressor(
            n_estimators=300, learning_rate=0.05, max_depth=3, subsample=0.7, **common
        ),
    }


def figures(predicted: Array, truth: Array) -> Figures:
    """Kendall's rank correlation and the share of variance that is explained, of all designs and of the truly best third."""
    from scipy.stats import kendalltau  # type: ignore[import-untyped]
    from sklearn.metrics import r2_score

    best = np.argsort(-truth, kind="stable")[: max(2, round(len(truth) / 3))]
    return {
        "designs": len(truth),
        "kendall": float(kendalltau(predicted, truth).statistic),
        "r2": float(r2_score(truth, predicted)),
        "kendall, best third": float(kendalltau(predicted[best], truth[best]).statistic),
        "r2, best third": float(r2_score(truth[best], predicted[best])),
    }


def between_seeds(of: Measured) -> Figures:
    """The same of one training as a prediction of another of the same design."""
    first, second = of.accuracies[~np.isnan(of.accuracies).any(axis=(1, 2))].mean(axis=2).T
    return figures(first, second)


def known_means(of: Measured) -> Figures:
    """The same of a prediction that knows every design's mean over all seeds: so much there is to reach. It is drawn from normal
    numbers of the measured variances."""
    by_seed = of.accuracies[of.failed < 1].mean(axis=2)
    seeds = (~np.isnan(by_seed)).sum(axis=1)
    twice = by_seed[seeds == 2]
    noise = ((twice[:, 0] - twice[:, 1]) ** 2).mean() / 2 / seeds
    means = max(np.nanmean(by_seed, axis=1).var() - noise.mean(), 0.0)
    rng = np.random.default_rng(0)
    drawn = np.sqrt(means) * rng.standard_normal((DRAWN, len(seeds)))
    trained = drawn + np.sqrt(noise) * rng.standard_normal(drawn.shape)
    found = [figures(*each) for each in zip(drawn, trained, strict=True)]
    return {name: float(np.mean([one[name] for one in found])) for name in found[0]}


def factor(covariance: Array) -> Array:
    """What standard normal numbers are multiplied by to have this covariance, or the nearest that one can be."""
    variances, directions = np.linalg.eigh(covariance)
    return np.asarray(directions * np.sqrt(np.maximum(variances, 0)))


def report(of: Measured, trees: Fitted, trials: Sequence[Trial]) -> str:
    """The figures, in Markdown."""
    known = {"another seed's training": between_seeds(of), "the means, if they were known": known_means(of)}
    rows = [
        [name, f"{found['designs']:.0f}", *(f"{value:.2f}" for value in list(found.values())[1:])]
        for name, found in {**trees.held_out, **known}.items()
    ]
    stopped = len({trial.design for trial in trials if trial.status == "terminated"})
    seconds = [trial.metrics["seconds"] or 0.0 for trial in trials]
    deviations = {
        what: [f"{100 * each:.2f}" for each in np.linalg.norm(by, axis=1)] for what, by in trees.noise.items()
    }
    (validation, test), (own_validation, own_test) = deviations["seed"], deviations["design"]
    section = markdown_section(
        TITLE, ["predicted by", "designs", "Kendall", "R2", "Kendall, best third", "R2, best third"], rows
    )
    said = [
        f"Of {len(of.designs) + stopped} designs {stopped} are over the limit of FLOPs, and {sum(of.failed > 0)} others failed.",
        f"A training took {np.mean(seconds):.1f} s on average, and all of them {sum(seconds) / 3600:.2f} hours.",
        f"Another seed changes validation accuracy by {validation} points and test accuracy by {test} (one standard deviation); "
        f"what the trees do not know of a design is {own_validation} and {own_test}.",
        outcome(trees),
    ]
    return "\n".join([section, *(f"- {sentence}" for sentence in said), ""])


def outcome(trees: Fitted) -> str:
    """Whether the surrogate can be shipped, in a sentence."""
    kendall = trees.held_out[trees.best]["kendall, best third"]
    said = f"Kendall in the best third is {kendall:.2f} by {trees.best}"
    if kendall >= LEAST_KENDALL:
        return f"{said}: {SURROGATE}.npz beside this report may be shipped: copy it to marl_hpo_env/evaluators."
    return f"{said}, below {LEAST_KENDALL}: the surrogate is not shipped."


@app.command()
def main(
    images: Annotated[Path, path_option(metavar="FILE.npz", help="Images of CIFAR-10, as `marl-hpo tune --images`.")],
    designs: Annotated[
        int, typer.Option(min=FEWEST_DESIGNS, callback=at_most(100_000), help="Random ones; more add to what is there.")
    ] = 500,
    examples: Annotated[int, typer.Option(min=10, help="To train on.")] = EXAMPLES,
    device: Device = None,
    workers: Workers = None,
    out: Annotated[
        Path, path_option(help="Folder for trials, the surrogate and the report; what is in it is not trained again.")
    ] = Path("experiments/results") / SURROGATE,
) -> None:
    """Train designs of the paper's VGG-16, and fit a surrogate of its whole space to them."""
    from marl_hpo_env.data.arrays import image_arrays

    task = replace(named_task(SURROGATE), data=image_arrays(images, 32, examples))
    inner = evaluator_of(task, Machines(device, workers), timed=False)
    evaluator = StoredEvaluator(inner, Store(out / "trials.sqlite"))
    requests = requests_of(evaluator.space, designs)
    with followed(task.name, evaluator, requests) as answered:
        by_request = {trial.request: trial for trial in answered}
    trials = [by_request[request] for request in requests]
    of = measured(trials)
    trees = fitted(evaluator.space, of)
    about: Mapping[str, Any] = {
        **how_made(task, evaluator, device),
        **{"command": command(), "trees": trees.best, "held_out": trees.held_out[trees.best]},
    }
    content = packed(task.name, evaluator.space, EPOCHS, trials, trees.forests, trees.noise, about)
    with whole_file(out / f"{SURROGATE}.npz") as written:
        written.write_bytes(content)
    chosen = choose_device(device)
    text = (
        f"# A surrogate of the paper's space: {task.name}\n\n{len(trials)} trainings of {EPOCHS} epochs on "
        f"{len(task.splits.train[1]):,} images.\n\n{report(of, trees, trials)}\n"
        f"{measured_by(software(), f'{machine(chosen)}, {cores()} CPU cores')}.\n"
    )
    (out / "report.md").write_text(text)
    typer.echo(text)


if __name__ == "__main__":
    run_command(app, "python -m experiments.suites.vgg_surrogate")
