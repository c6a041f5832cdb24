"""The files of `experiments/frameworks`; a training is played where its framework is installed."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from importlib.util import find_spec

import pytest

from experiments.comparison.recorded import recordings
from experiments.suites.frameworks import CHECKOUT, EXAMPLES, PLAYERS, head, versions

FILES = sorted(path.stem for path in EXAMPLES.glob("*.py") if path.stem != "__init__")
MODULES = {
    "stable-baselines3": "stable_baselines3",
    "sb3-contrib": "sb3_contrib",
    "ray": "tree",  # of RLlib, without which Ray alone may be there
}


def script(name):
    return (EXAMPLES / f"{name}.py").read_text()


def run(name, *arguments):
    for package in head(script(name)).names:
        if package != "marl-hpo-env" and find_spec(MODULES.get(package, package)) is None:
            pytest.skip(f"needs {package}")
    command = [sys.executable, EXAMPLES / f"{name}.py", *map(str, arguments)]
    environ = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(CHECKOUT)}
    return subprocess.run(command, check=True, capture_output=True, text=True, env=environ).stdout


@pytest.mark.parametrize("name", FILES)
def test_a_file_says_what_it_needs_and_trains_and_can_be_read_at_once(name):
    text = script(name)
    needs = head(text)
    assert needs.requires_python
    assert needs.names[0] == "marl-hpo-env"
    assert ast.get_docstring(ast.parse(text))
    assert len(text.splitlines()) <= 80


@pytest.mark.parametrize("name", FILES)
def test_every_file_has_the_common_command_line(name):
    said = run(name, "--help")
    assert all(word in said for word in ("task", "folder", "--episodes", "--seed"))


def test_the_suite_runs_every_file():
    assert {player.file for player in PLAYERS.values()} == set(FILES)


@pytest.mark.parametrize(
    ("name", "task"),
    [("maskable_ppo", "digits-branches"), ("cleanrl_ppo", "digits-convnet"), ("sb3_supersuit", "digits-convnet")],
)
def test_a_training_ends_in_a_recorded_run(name, task, tmp_path):
    run(name, task, tmp_path / "run", "--episodes", 40, "--seed", 1)
    ((recording,),) = recordings([f"mine={tmp_path}/run"]).values()
    assert recording.header["task"] == task
    assert 40 <= len(recording.episodes) <= 44
    designs = [episode["design"] for episode in recording.episodes if episode["design"]]
    assert len({tuple(design) for design in designs}) > 1
    if name != "sb3_supersuit":  # which knows no masks
        assert len(designs) == len(recording.episodes)


def test_versions_are_those_of_an_environment():
    assert versions(sys.executable, ["numpy", "torch"]).keys() == {"numpy", "torch"}
