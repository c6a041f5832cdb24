"""The closing report of a run: who is how good, how large and how fast, and the design layer by layer."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich import box
from rich.table import Table

from experiments.provenance import machine, software
from marl_hpo_env import METRICS, Reward, Trial, TunableNetwork
from marl_hpo_env.pareto import non_dominated
from marl_hpo_env.reward import Objective

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


def comparison(trials: Mapping[str, Trial]) -> tuple[list[str], list[list[str]]]:
    """Header and rows of the closing table (the paper's Table V), one row per label."""
    header = ["network", *(title for title, _, _ in COLUMNS)]
    rows = [[label, *(_cell(trial, name, form) for _, name, form in COLUMNS)] for label, trial in trials.items()]
    return header, rows


def layers(network: TunableNetwork, designs: Mapping[str, tuple[int, ...]]) -> tuple[list[str], list[list[str]]]:
    """Header and rows of the original and the designs layer by layer, one column per label."""
    columns = [network.original, *(network.space.hyperparameters(design) for design in designs.values())]
    rows = [[layer.name, *(_values(column[layer.name]) for column in columns)] for layer in network.space.layers]
    return ["layer", "original", *designs], rows


def front_objectives(reward: Reward) -> tuple[Objective, ...]:
    """What a front of a run weighs: what its reward sees; accuracy against size where it sees one thing only."""
    if len(reward.objectives) > 1:
        return reward.objectives
    return Objective("validation_accuracy", False), Objective("model_size_mb", False)


def front(
    reached: Mapping[tuple[int, ...], Sequence[float]], objectives: Sequence[Objective]
) -> list[tuple[tuple[int, ...], Sequence[float]]]:
    """The designs that no other dominates, with what they reach, the best in the first objective first.

    Args:
        reached: the value of every objective, of each design that completed.
        objectives: what counts; `METRICS` says which way is better.
    """
    signs = np.array([METRICS[objective.metric].better for objective in objectives])
    kept = non_dominated(-signs * np.array(list(reached.values())))
    best = [one for one, keep in zip(reached.items(), kept, strict=True) if keep]
    return sorted(best, key=lambda one: -signs[0] * one[1][0])


def front_table(
    designs: Sequence[tuple[tuple[int, ...], Sequence[float]]], objectives: Sequence[Objective]
) -> tuple[list[str], list[list[str]]]:
    """Header and rows of a front, one row per design."""
    rows = [[",".join(map(str, design)), *(f"{value:.4g}" for value in values)] for design, values in designs]
    return ["design", *map(str, objectives)], rows


def search_space(network: TunableNetwork) -> tuple[list[str], list[list[str]]]:
    """Header and rows of a network's layers: the original's values, the choices, and what feeds each."""
    rows = []
    for layer in network.space.layers:
        choices = "; ".join(f"{_SHORT.get(n, n)} {' '.join(map(_value, v))}" for n, v in layer.choices.items())
        rows.append(
            [layer.name, layer.kind, _values(network.original[layer.name]), choices, ", ".join(layer.inputs) or "-"]
        )
    return ["layer", "kind", "original", "choices", "fed by"], rows


def rich_table(title: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    """For the terminal."""
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    for position, column in enumerate(header):
        numeric = position > 0 and all(_is_number(row[position]) for row in rows)
        table.add_column(column, justify="right" if numeric else "left", no_wrap=position == 0, overflow="fold")
    for row in rows:
        table.add_row(*row)
    return table


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """For a file."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def measured_with(device: torch.device, seconds: float) -> str:
    """The command, versions and hardware behind a report, in a sentence."""
    program = Path(sys.argv[0]).stem
    called = f"python -m experiments.{program}" if program == "reduced_widths" else "marl-hpo"
    command = " ".join([called, *sys.argv[1:]])
    hardware = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{os.cpu_count()} CPU cores"
    return (
        f"Measured by `{command}` with {software()}, on {machine()}, {hardware}; the run took {seconds:.0f} s. "
        "Times are of one training alone, on a CPU with one thread."
    )


def _cell(trial: Trial, name: str, form: Any) -> str:
    value = trial.metrics.get(name)
    return "-" if value is None else form(value)


def _values(hyperparameters: Mapping[str, Any]) -> str:
    return ", ".join(f"{_SHORT.get(name, name)} {_value(value)}" for name, value in hyperparameters.items())


def _value(value: Any) -> str:
    """A size that is the same in all dimensions as one number, a module type by its name."""
    if isinstance(value, type):
        return value.__name__
    return str(value[0] if isinstance(value, tuple) and len(set(value)) == 1 else value)


def _is_number(text: str) -> bool:
    return text == "-" or text.replace(",", "").replace(".", "").isdigit()
