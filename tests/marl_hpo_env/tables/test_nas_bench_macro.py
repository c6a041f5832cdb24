"""The reader of NAS-Bench-Macro, on a file in the official layout, and on the authors' own where it is at hand."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import pytest

import marl_hpo_env
from agents import RandomSearch, play
from marl_hpo_env import Request, WeightedReward
from marl_hpo_env.evaluators.table import TableEvaluator
from marl_hpo_env.tables.foreign import foreign_table
from marl_hpo_env.tables.nas_bench_macro import network

OFFICIAL = Path(__file__).resolve().parents[4] / "shared" / "data" / "nas-bench-macro_cifar10.json"


def official_layout() -> dict:
    """Every network, in no order, with figures that follow from it."""
    file = {}
    for design in itertools.product(range(3), repeat=8):
        weight = sum((i + 1) * block for i, block in enumerate(network(design)))
        accuracies = [float(np.float32(20 + 0.9 * weight + 0.1 * seed)) for seed in range(3)]
        file["".join(map(str, design))] = {
            "test_acc": accuracies,
            "mean_acc": sum(accuracies) / 3,
            "std": 0.08,
            "params": 1000 + weight,
            "flops": 10**6 + weight,
        }
    return dict(reversed(file.items()))


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    path = tmp_path_factory.mktemp("macro") / "macro.json"
    path.write_text(json.dumps(official_layout()))
    return path


@pytest.fixture(scope="module")
def macro(written):
    return foreign_table(written)


def test_every_figure_is_where_its_digits_say(macro):
    assert (macro.space.size, macro.space.sizes, macro.seeds) == (3**8, (3,) * 8, (0, 1, 2))
    assert macro.space.names == tuple(f"layer{n}" for n in range(1, 9))
    assert macro.space.pairs == tuple((n, n + 1) for n in range(7))
    file = official_layout()
    for digits in ("00000000", "20000000", "00000001", "01210212", "22222222"):
        for seed in range(3):
            trial = macro.trial(Request(tuple(map(int, digits)), seed, 50))
            measured = {name: value for name, value in trial.metrics.items() if value is not None}
            assert measured == {
                "validation_accuracy": file[digits]["test_acc"][seed] / 100,
                "test_accuracy": file[digits]["test_acc"][seed] / 100,
                "parameters": file[digits]["params"],
                "flops": 2 * file[digits]["flops"],
                "epochs": 50,
            }
    assert macro.space.hyperparameters((0, 1, 2, 0, 0, 0, 0, 0))["layer3"] == {"block": "MB6_K5"}


@pytest.mark.parametrize(
    ("design", "same"),
    [
        ((0, 0, 0, 0, 0, 0, 0, 0), (0, 0, 0, 0, 0, 0, 0, 0)),
        ((1, 2, 0, 0, 1, 2, 0, 2), (1, 2, 0, 1, 0, 2, 2, 0)),
        ((0, 2, 2, 2, 1, 1, 1, 2), (0, 2, 2, 2, 1, 1, 1, 2)),
    ],
)
def test_within_a_stage_an_identity_can_stand_anywhere_but_first(design, same):
    assert network(design) == network(same) == same


def test_designs_that_are_the_same_network_are_recognised(macro):
    assert len(np.unique(macro.networks)) == 3969
    a, b, c = macro.networks[
        macro.numbers([(1, 2, 0, 0, 1, 2, 0, 2), (1, 2, 0, 1, 0, 2, 2, 0), (1, 2, 1, 0, 0, 2, 2, 0)])
    ]
    assert a == b != c


def test_it_is_played_and_says_that_it_has_test_accuracy_only(macro, refused):
    evaluator = TableEvaluator(macro)
    assert "Test accuracy only" in evaluator.task.description
    env = marl_hpo_env.env(evaluator.task, evaluator=evaluator)
    episodes = play(env, RandomSearch(), 20)
    assert env.unwrapped.regret == pytest.approx((20 + 0.9 * 72) / 100 - max(episode.reward for episode in episodes))
    for metric in ("model_size_mb", "seconds", "train_loss"):
        with refused(repr(metric)):
            marl_hpo_env.env(evaluator.task, evaluator=evaluator, reward=WeightedReward({metric: 1.0}))


def altered(change) -> str:
    file = official_layout()
    change(file)
    return json.dumps(file)


@pytest.mark.parametrize(
    ("content", "mentioned"),
    [
        (lambda: "accuracy", "holds no JSON"),
        (lambda: "[1, 2]", "nor of NAS-Bench-Macro"),
        (lambda: altered(lambda file: file["00000000"].pop("params")), "'params'"),
        (lambda: altered(lambda file: file["00000000"]["test_acc"].pop()), "is not that of NAS-Bench-Macro"),
        (lambda: "[" * 100_000, "holds no JSON"),
        *(
            (
                lambda wrong=wrong: altered(lambda file: file["00000001"].update(test_acc=[1, wrong, 1])),
                "test_acc of 00000001",
            )
            for wrong in (float("nan"), float("inf"), 1e9, -1, "90", True)
        ),
        (lambda: altered(lambda file: file["00000001"].update(params=float("nan"))), "params of 00000001"),
        (lambda: altered(lambda file: file["00000001"].update(flops=-3)), "flops of 00000001"),
        (lambda: altered(lambda file: file.pop("20000000")), "[2, 0, 0, 0, 0, 0, 0, 0]"),
        (lambda: altered(lambda file: file.update({"30000000": file["00000000"]})), "Action 3"),
    ],
)
def test_another_file_is_refused(content, mentioned, tmp_path, refused):
    (tmp_path / "macro.json").write_text(content())
    with refused(mentioned):
        foreign_table(tmp_path / "macro.json")


def test_a_file_that_is_not_there_is_refused(tmp_path, refused):
    with refused("macro.json", "cannot be read"):
        foreign_table(tmp_path / "macro.json")


@pytest.mark.skipif(not OFFICIAL.exists(), reason="the authors' file is not at hand")
def test_the_authors_file():
    macro = foreign_table(OFFICIAL)
    file = json.loads(OFFICIAL.read_text())
    best = max(file, key=lambda digits: file[digits]["mean_acc"])
    assert macro.space.design_at(int(macro.mean_test_accuracy.argmax())) == tuple(map(int, best))
    assert macro.mean_test_accuracy.max() == pytest.approx(file[best]["mean_acc"] / 100)
    # Two designs are the same network if and only if all their figures are the same.
    figures: dict = {}
    for digits, measured in file.items():
        number = macro.space.index(map(int, digits))
        key = *measured["test_acc"], measured["params"], measured["flops"]
        figures.setdefault(key, set()).add(macro.networks[number])
    assert all(len(networks) == 1 for networks in figures.values())
    assert len(figures) == len(np.unique(macro.networks)) == 3969
