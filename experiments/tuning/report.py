"""The closing report of a run: who is how good, how large and how fast, and the design layer by layer."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import typer

from experiments.provenance import cores, machine, measured_by, software
from experiments.text_tables import TextTable, markdown_section, print_table
from experiments.tuning.run import replace_text
from marl_hpo_env import METRICS, Reward, SearchSpace, Task, Trial
from marl_hpo_env.pareto import non_dominated
from marl_hpo_env.reward import Objective
from marl_hpo_env.trial import VALUE_METRICS, Measure

COLUMNS = (
    ("val %", "validation_accuracy", lambda v: f"{100 * v:.2f}"),
    ("test %", "test_accuracy", lambda v: f"{100 * v:.2f}"),
    ("size MB", "model_size_mb", lambda v: f"{v:.4g}"),
    ("params", "parameters", lambda v: f"{v:,.0f}"),
    ("train ms", "train_ms_per_batch", lambda v: f"{v:.2f}"),
    ("infer ms", "inference_ms_per_batch", lambda v: f"{v:.2f}"),
    ("epochs", "epochs", lambda v: f"{v:.0f}"),
)

_SHORT = {"out_channels": "kernels", "out_features": "units", "kernel_size": "size"}
"""The paper's words for torch's constructor arguments (Table III)."""


def comparison(
    trials: Mapping[str, Trial], measures: Mapping[str, Measure] = METRICS
) -> tuple[list[str], list[list[str]]]:
    """Header and rows of the closing table (the paper's Table V), one row per label; metrics of values or of the task's own last.

    Args:
        trials: by label.
        measures: what each of their metrics is.
    """
    own = [name for name in measures if name in VALUE_METRICS or name not in METRICS]
    shown = [name for name in own if any(trial.metrics.get(name) is not None for trial in trials.values())]
    columns = [*COLUMNS, *(_column(name, measures[name]) for name in shown)]
    rows = [[label, *(_cell(trial, name, form) for _, name, form in columns)] for label, trial in trials.items()]
    return ["network", *(title for title, _, _ in columns)], rows


def _column(name: str, measure: Measure) -> tuple[str, str, Callable[[float], str]]:
    """A column of a metric under its name and unit."""
    short = name.replace("validation_", "val ").replace("_", " ")
    if measure.fraction:
        return f"{short} %", name, lambda v: f"{100 * v:.2f}"
    return f"{short}, {measure.unit}", name, lambda v: f"{v:.4g}"


IMPROVEMENTS = ("size", "training time", "inference time", "test accuracy")
"""What the paper's Fig. 10 compares: the first three in times, the last in points."""


def improvements(trials: Mapping[str, Trial], label: str) -> list[float]:
    """How many times smaller, faster to train and faster to run a network is than the original, and how many points more
    accurate; NaN where it was not measured."""
    original, other = trials["original"].metrics, trials[label].metrics

    def of(metrics: Mapping[str, float | None], name: str) -> float:
        value = metrics.get(name)
        return math.nan if value is None else float(value)

    names = ("model_size_mb", "train_ms_per_batch", "inference_ms_per_batch")
    ratios = [of(original, name) / of(other, name) for name in names]
    return [*ratios, 100 * (of(other, "test_accuracy") - of(original, "test_accuracy"))]


def improvement_table(trials: Mapping[str, Trial]) -> tuple[list[str], list[list[str]]]:
    """Header and rows of what the paper's Fig. 10 shows, one row per label but the original."""
    rows = []
    for label in trials:
        if label != "original":
            *ratios, points = improvements(trials, label)
            cells = [f"{ratio:.3g}x" for ratio in ratios] + [f"{points:+.2f}"]
            rows.append([label, *("-" if "nan" in cell else cell for cell in cells)])
    return ["network", *IMPROVEMENTS[:-1], f"{IMPROVEMENTS[-1]}, points"], rows


def original_values(task: Task) -> dict[str, str]:
    """The original's own values of what can be chosen, for people, by layer name."""
    return {name: _values(values) for name, values in task.original.items()}


def layers(
    space: SearchSpace, original: Mapping[str, str], designs: Mapping[str, tuple[int, ...]]
) -> tuple[list[str], list[list[str]]]:
    """Header and rows of the original and the designs layer by layer, one column per label.

    Args:
        space: of the designs.
        original: its values, as `original_values` has them.
        designs: by label.
    """
    columns = [space.hyperparameters(design) for design in designs.values()]
    rows = [
        [layer.name, original[layer.name], *(_values(column[layer.name]) for column in columns)]
        for layer in space.layers
    ]
    return ["layer", "original", *designs], rows


def front_objectives(reward: Reward, score: str = "validation_accuracy") -> tuple[Objective, ...]:
    """What a front of a run weighs: what its reward sees; the score against size where it sees one thing only."""
    if len(reward.objectives) > 1:
        return reward.objectives
    return Objective(score, False), Objective("model_size_mb", False)


def reached(
    trials: Iterable[Trial], objectives: Sequence[Objective], original: Trial
) -> dict[tuple[int, ...], list[float]]:
    """The value of every objective, of each design whose trial completed.

    Args:
        trials: of distinct designs.
        objectives: what counts.
        original: the original network's trial.
    """
    return {
        trial.design: [objective.value(trial, original) for objective in objectives]
        for trial in trials
        if trial.status == "completed" and trial.design is not None
    }


def front(
    reached: Mapping[tuple[int, ...], Sequence[float]],
    objectives: Sequence[Objective],
    measures: Mapping[str, Measure] = METRICS,
) -> list[tuple[tuple[int, ...], Sequence[float]]]:
    """The designs that no other dominates, with what they reach, the best in the first objective first.

    Args:
        reached: the value of every objective, of each design that completed.
        objectives: what counts.
        measures: what each metric is, which way it is better.
    """
    signs = np.array([measures[objective.metric].better for objective in objectives])
    on_front = non_dominated(-signs * np.array(list(reached.values())))
    best = [one for one, belongs in zip(reached.items(), on_front, strict=True) if belongs]
    return sorted(best, key=lambda one: -signs[0] * one[1][0])


def front_table(
    designs: Sequence[tuple[tuple[int, ...], Sequence[float]]], objectives: Sequence[Objective]
) -> tuple[list[str], list[list[str]]]:
    """Header and rows of a front, one row per design."""
    rows = [[",".join(map(str, design)), *(f"{value:.4g}" for value in values)] for design, values in designs]
    return ["design", *map(str, objectives)], rows


def search_space(task: Task) -> tuple[TextTable, TextTable]:
    """A task's layers, by number, with the original's values and what feeds each; and the sets of choices, by letter."""
    space, original = task.space, task.original
    sets: dict[str, str] = {}
    rows = []
    for number, (layer, feeding) in enumerate(zip(space.layers, space.feeding, strict=True), start=1):
        choices = "; ".join(f"{short_name(n)} {' '.join(map(short_value, v))}" for n, v in layer.choices.items())
        letter = sets.setdefault(choices, _letters(len(sets)))
        fed_by = ", ".join(str(position + 1) for position in feeding)
        rows.append([str(number), layer.name, layer.kind, _values(original[layer.name]), letter, fed_by or "-"])
    title = f"{len(space)} layers, {len(space.pairs)} pairs of connected layers, {space.size_text} designs"
    layers = title, ["#", "layer", "kind", "original", "choices", "fed by"], rows
    return layers, ("", ["choices", "values"], [[letter, choices] for choices, letter in sets.items()])


def _letters(number: int) -> str:
    """A, B, ... Z, AA, AB, ..."""
    return ("" if number < 26 else _letters(number // 26 - 1)) + chr(ord("A") + number % 26)


def publish(
    path: Path, title: str, tables: Mapping[str, tuple[list[str], list[list[str]]]], lines: Sequence[str], last: str
) -> None:
    """Shows tables and sentences, and writes them to a file.

    Args:
        path: a Markdown file.
        title: its heading.
        tables: header and rows by title.
        lines: sentences.
        last: the paragraph at the file's end, which is not shown.
    """
    text = [f"# {title}\n"]
    for name, (header, rows) in tables.items():
        print_table(name, header, rows)
        text.append(markdown_section(name, header, rows))
    for line in lines:
        typer.echo(line)
    replace_text(path, "\n".join([*text, "".join(f"- {line}\n" for line in lines), last]) + "\n")


def measured_alone(device: torch.device | None, time_taken: str) -> str:
    """The closing line of a report: the command, versions and hardware behind it, and how long it took; the device is None
    where a cluster trained."""
    if device is None:
        return f"{measured_by(software(), 'a Ray cluster')}; {time_taken}."
    cuda = device.type == "cuda"
    hardware = torch.cuda.get_device_name(device) if cuda else f"{cores()} CPU cores"
    alone = "Times are of one training alone" + ("." if cuda else ", on a CPU with one thread.")
    return f"{measured_by(software(), f'{machine()}, {hardware}')}; {time_taken}. {alone}"


def _cell(trial: Trial, name: str, form: Any) -> str:
    value = trial.metrics.get(name)
    return "-" if value is None else form(value)


def _values(hyperparameters: Mapping[str, Any]) -> str:
    return ", ".join(f"{short_name(name)} {short_value(value)}" for name, value in hyperparameters.items())


def short_name(hyperparameter: str) -> str:
    """A hyperparameter in the paper's words, where it has one for it."""
    return _SHORT.get(hyperparameter, hyperparameter)


def short_value(value: Any) -> str:
    """A size that is the same in all dimensions as one number, a module type by its name."""
    if isinstance(value, type):
        return value.__name__
    return str(value[0] if isinstance(value, tuple) and len(set(value)) == 1 else value)
