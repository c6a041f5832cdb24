"""A search on shared weights beside searches of equal cost."""

import json
from dataclasses import replace

import numpy as np
import pytest

from experiments.suites import shared_search
from experiments.suites.shared_search import NETWORKS, networks, report, tuning_of
from experiments.tuning.evaluators import Machines
from marl_hpo_env import Table, task


def test_both_searches_cost_as_much_and_what_they_find_is_trained(tmp_path):
    named = task("digits-convnet")
    named = replace(named, recipe=replace(named.recipe, max_epochs=1, epochs=1))
    tuning = tuning_of(named, tmp_path, Machines("cpu", 1))
    found = networks(tuning, 4, 1)
    assert tuple(found) == NETWORKS
    assert found["original"]["design"] is None
    shared = found["shared"]
    assert shared["episodes"] == 4
    # Each ends with the training that brings it there, and none costs more than one of the design with the most FLOPs.
    dearest = np.nanmax(Table.open("digits-convnet").mean("flops")) * len(named.splits.train[1])
    for name in ("trained", "random"):
        assert shared["cost"] <= found[name]["cost"] < shared["cost"] + dearest
    assert networks(tuning, 4, 1) == found  # all of it from the store


ONE = {"test_accuracy": 0.5, "reward": 20.0, "model_size_mb": 1.0, "parameters": 250_000}
OF_SEARCH = {"episodes": 500, "trained": 20, "cost": 1.5e15}
FOUND = {"original": ONE, **dict.fromkeys(NETWORKS[1:], ONE | OF_SEARCH)}


@pytest.fixture
def command(run_app, monkeypatch, tmp_path):
    """The command on digits, whose searches have come to what is said above."""
    monkeypatch.setattr(shared_search.TaskOptions, "task", lambda options, name: task("digits-convnet"))
    monkeypatch.setattr(shared_search, "networks", lambda tuning, episodes, epochs: FOUND)
    return lambda *given: run_app(
        shared_search.app, "--images", "here.npz", "--device", "cpu", "--out", tmp_path / "out", *given
    )


def test_a_folder_s_figures_stand_for_what_they_were_measured_with(command, tmp_path):
    code, said, errors = command("--seeds", 1)
    assert code == 0, errors
    images = len(task("digits-convnet").splits.train[1])
    assert f"On {images:,} images" in said
    path = tmp_path / "out" / "seed-0.json"
    settings = {"images": images, "shared epochs": 40, "episodes": 500, "max epochs": 40}
    assert json.loads(path.read_text()) == {"settings": settings, **FOUND}
    assert command("--seeds", 1)[0] == 0
    for option, name in (
        ("--shared-epochs", "shared epochs"),
        ("--episodes", "episodes"),
        ("--max-epochs", "max epochs"),
    ):
        code, _, errors = command("--seeds", 2, option, 7)
        assert code == 2
        assert f"seed-0.json' is of {settings[name]} {name}, and 7 are asked for; choose another --out." in errors
    changed = FOUND | {"settings": settings | {"images": 2000}}
    for content, said in ((changed, "is of 2000 images"), (FOUND, "does not say of how many images it is")):
        path.rename(path.with_name("seed-1.json")).write_text(json.dumps(content))
        code, _, errors = command("--seeds", 2)
        assert (code, said in errors) == (2, True)
        assert not path.exists()
        path.with_name("seed-1.json").rename(path)


def test_the_report_has_a_row_for_each_network():
    text = report([FOUND, FOUND])
    assert "| original | 50.00 [50.00,50.00] | 20.00 | 1 | 250,000 | - | - | - |" in text
    assert "| shared | 50.00 [50.00,50.00] | 20.00 | 1 | 250,000 | 500 | 20 | 1.5e+15 |" in text
