"""What the experiments' tests share: the command line, run in this process, tables worked by hand, a stranger's learners."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from experiments.command_line import run_command
from experiments.commands.main import app
from marl_hpo_env import Layer, Request, SearchSpace, Table, Trial


@pytest.fixture
def run_app(capsys: pytest.CaptureFixture[str]) -> Iterator[Callable[..., tuple[int, str, str]]]:
    """Runs a command with these arguments: exit code, output and error stream. It installs signal handlers of its own."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def run(command: typer.Typer, *arguments: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            run_command(command, "marl-hpo", list(map(str, arguments)))
        captured = capsys.readouterr()
        return int(ended.value.code or 0), captured.out, captured.err

    yield run
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.fixture
def marl_hpo(run_app: Callable[..., tuple[int, str, str]]) -> Callable[..., tuple[int, str, str]]:
    """Runs `marl-hpo` likewise."""
    return lambda *arguments: run_app(app, *arguments)


# --- tables ----------------------------------------------------------------------------------------------------------

FIVE = SearchSpace([Layer("conv", "Conv2d", {"out_channels": (1, 2, 3, 4, 5)})])
ORIGINAL = 5
# Validation and test accuracy of the five designs and the original, under each of two seeds; None: terminated.
FIGURES = {
    0: [(0.5, 0.4), (0.6, 0.6), (0.8, 0.7), (0.9, 0.8), None, (0.9, 0.5)],
    1: [(0.9, 0.6), (0.8, 0.6), (0.6, 0.5), None, None, (0.9, 0.5)],
}
SIZES = [1.0, 2.0, 4.0, 5.0, 6.0, 4.0]


def _trial(number: int, seed: int) -> Trial:
    request = Request(None if number == ORIGINAL else (number,), seed, 2)
    figures = FIGURES[seed][number]
    if figures is None:
        return Trial(request, "terminated", "by hand")
    accuracies = dict(zip(("validation_accuracy", "test_accuracy"), figures, strict=True))
    return Trial(request, "completed", None, {**accuracies, "model_size_mb": SIZES[number]})


@pytest.fixture(scope="session")
def save_five() -> Callable[..., str]:
    """Saves the table of five designs, `five.npz`, in a folder, with its trials changed; returns the path."""

    def save(folder: Path, change: Callable[[Trial], Trial] = lambda trial: trial) -> str:
        trials = [change(_trial(number, seed)) for seed in FIGURES for number in range(6)]
        Table.from_trials("five", FIVE, (0, 1), 2, trials).save(folder / "five.npz")
        return str(folder / "five.npz")

    return save


@pytest.fixture(scope="session")
def five(tmp_path_factory: pytest.TempPathFactory, save_five: Callable[..., str]) -> str:
    """The path of the table above."""
    return save_five(tmp_path_factory.mktemp("tables"))


@pytest.fixture(scope="session")
def chain(tmp_path_factory: pytest.TempPathFactory, table_of: Callable[..., Table], spaces: Any) -> str:
    """The path of a table of 64 designs, by formula."""
    path = tmp_path_factory.mktemp("tables") / "chain.npz"
    table_of(spaces["chain"]).save(path)
    return str(path)


# --- a stranger's learners -------------------------------------------------------------------------------------------

STRANGERS = '''
import numpy as np


class Climber:
    """Changes one layer of the best design so far."""

    def __init__(self, restart=0.0):
        self.restart = restart

    def reset(self, space, seed):
        self.space, self.rng = space, np.random.default_rng(seed)
        self.best, self.reward = None, -np.inf

    def ask(self, n):
        if self.best is None or self.rng.random() < self.restart:
            return [self.space.sample(self.rng)]
        layer = self.rng.integers(len(self.space))
        return [(*self.best[:layer], int(self.rng.integers(self.space.sizes[layer])), *self.best[layer + 1 :])]

    def tell(self, episodes):
        for episode in episodes:
            if episode.reward > self.reward:
                self.best, self.reward = episode.design, episode.reward


class Repeating(Climber):
    def ask(self, n):
        return [(0,) * len(self.space)] * n


class Silent(Climber):
    def ask(self, n):
        return []


class Lost(Climber):
    def ask(self, n):
        return [(99,) * len(self.space)]


class Single(Climber):
    def ask(self, n):
        return (0,) * len(self.space)


class Broken(Climber):
    def tell(self, episodes):
        1 / 0
'''


@pytest.fixture
def strangers(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder where the command is run, with a stranger's module."""
    folder = tmp_path_factory.mktemp("strangers")
    (folder / "strangers.py").write_text(STRANGERS)
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(folder)
    return folder
