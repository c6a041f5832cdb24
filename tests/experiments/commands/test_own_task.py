"""A task of one's own, in a module in the current folder, in every command that takes a task."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from marl_hpo_env import Store, Table

ROOT = Path(__file__).parents[3]

OWN = """
import torch
from torch import nn

from marl_hpo_env import Recipe, Task


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3, padding=1)
        self.pool = nn.MaxPool2d(2)
        self.output = nn.Linear(4 * 16, 2)

    def forward(self, images):
        return self.output(torch.flatten(self.pool(self.conv(images).relu()), 1))


def images():
    generator = torch.Generator().manual_seed(0)
    classes = torch.arange(60) % 2
    return torch.randn(60, 1, 8, 8, generator=generator) + 2 * classes[:, None, None, None], classes


def choices():
    return {nn.Conv2d: {"out_channels": (2, 4)}, nn.MaxPool2d: {"kernel_size": (1, 2)}}


def bright():
    recipe = Recipe(batch_size=10, epochs=1, max_epochs=2, learning_rate=0.05)
    return Task("bright", Net, images, choices=choices, recipe=recipe, description="bright or dark")


number = 5
"""


@dataclass
class Ended:
    code: int
    out: str
    err: str


@pytest.fixture
def command(tmp_path):
    """Runs the command in a folder with a module `own`."""
    (tmp_path / "own.py").write_text(OWN)

    def run(*arguments: object) -> Ended:
        ended = subprocess.run(
            [sys.executable, "-m", "marl_hpo_env", *map(str, arguments)],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        return Ended(ended.returncode, ended.stdout, ended.stderr)

    return run


@pytest.fixture
def here(marl_hpo, tmp_path, monkeypatch):
    """Runs the command in this process, whose current folder has a module `own`: a process of its own takes seconds to start."""
    (tmp_path / "own.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.delitem(sys.modules, "own", raising=False)
    yield lambda *arguments: Ended(*marl_hpo(*arguments))
    sys.modules.pop("own", None)


def test_it_is_tuned_by_two_workers(command, tmp_path):
    given = ["--learner", "random", "--episodes", 4, "--device", "cpu", "--workers", 2]
    ended = command("tune", "--task", "own:bright", *given)
    assert ended.code == 0, ended.err
    assert "best reward" in ended.out
    report = (tmp_path / "runs" / "bright" / "random-seed0" / "report.md").read_text()
    assert report.startswith("# bright\n")
    assert "Measured by `python -m marl_hpo_env tune --task own:bright --learner random --episodes 4" in report
    designs = {trial.design for _, trial in Store(tmp_path / "runs" / "bright" / "trials.sqlite").trials()}
    assert len(designs - {None}) == 4


def test_a_design_of_it_is_trained_to_convergence(here, tmp_path):
    ended = here("fit", "--task", "own:bright", "--design", "0,1", "--device", "cpu", "--out", "out")
    assert ended.code == 0, ended.err
    assert (tmp_path / "out" / "fit" / "network.safetensors").exists()


def test_its_table_is_built_and_checked(here, tmp_path):
    ended = here("table", "build", "--task", "own:bright", "--seeds", "1", "--device", "cpu", "--out", "table")
    assert ended.code == 0, ended.err
    ended = here("table", "check", "table/bright.npz", "--rows", "2", "--device", "cpu")
    assert (ended.code, "There is no task 'bright'" in ended.err) == (2, True)
    ended = here("table", "check", "table/bright.npz", "--task", "own:bright", "--rows", "2", "--device", "cpu")
    assert (ended.code, ended.out.strip()) == (0, "2 trials trained again, 2 the same to the last bit.")


def test_it_is_shown(here, tmp_path):
    ended = here("show", "--task", "own:bright", "--picture", "layers.png")
    assert ended.code == 0, ended.err
    assert ended.out.startswith("2 layers, 1 pairs of connected layers, 4 designs\n")
    assert (tmp_path / "layers.png").exists()


def test_a_table_of_it_is_built_and_learners_are_compared_on_that(here, tmp_path):
    ended = here(
        "table", "build", "--task", "own:bright", "--seeds", 2, "--workers", 1, "--device", "cpu", "--out", "t"
    )
    assert ended.code == 0, ended.err
    table = Table.open(tmp_path / "t" / "bright.npz")
    assert table.about["command"] == "marl-hpo table build --task own:bright --seeds 2"
    given = ["--seeds", 2, "--episodes", 3, "--jobs", 1]
    ended = here("compare", "--task", "t/bright.npz", "--learners", "random,local-search", *given)
    assert ended.code == 0, ended.err


def test_learners_are_compared_on_it_while_its_networks_are_trained(here, tmp_path):
    given = ["--learners", "random,local-search", "--seeds", 2, "--episodes", 2, "--jobs", 1, "--device", "cpu"]
    ended = here("compare", "--task", "own:bright", *given)
    assert ended.code == 0, ended.err
    assert "## bright: best reward, " in (tmp_path / "runs" / "compare" / "report.md").read_text()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["tune", "--task", "own:number"], "The task 'own:number' is a int; name a function that makes a Task."),
        (["show", "--task", "own:Net"], "The task 'own:Net' makes a Net; it must make a Task."),
        (["fit", "--task", "nowhere:bright", "--design", "0"], "There is no module 'nowhere' for the task"),
        (["table", "build", "--task", "own:dark", "--out", "out"], "The task 'own:dark' cannot be found"),
        (["compare", "--task", "own:dark"], "The task 'own:dark' cannot be found"),
    ],
)
def test_what_is_no_task_is_one_sentence(here, tmp_path, arguments, sentence):
    ended = here(*arguments)
    assert ended.code == 2
    assert sentence in ended.err
    assert len(ended.err.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()
