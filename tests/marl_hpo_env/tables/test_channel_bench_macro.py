"""The reader of Channel-Bench-Macro, on a file in the official layout, and on the authors' own where it is at hand."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import pytest

from marl_hpo_env import Request, Table, TableEvaluator, env
from marl_hpo_env.tables.channel_bench_macro import CHANNEL_BENCH_MACRO
from marl_hpo_env.tables.foreign import FOREIGN

OFFICIAL = Path(__file__).resolve().parents[4] / "shared" / "data" / "channel-bench-macro_resnet_cifar10.json"


def parameters(widths: list[int]) -> int:
    """Of the network as its authors count: every 3x3 convolution with its batch norm, the linear layer, and no projection."""
    path1, inside1, inside2, inside3, path2, inside4, inside5 = widths
    blocks = [(path1, inside1, path1), (path1, inside2, path1), (path1, inside3, path2)]
    blocks += [(path2, inside4, path2), (path2, inside5, path2)]
    convolutions = [
        (3, path1),
        *(pair for before, inside, after in blocks for pair in ((before, inside), (inside, after))),
    ]
    return sum(9 * before * after + 2 * after for before, after in convolutions) + 10 * path2 + 10


def official_layout() -> dict:
    """Every network, in no order, with figures that follow from it."""
    file = {}
    for digits in itertools.product(range(1, 5), repeat=7):
        mean = 80 + sum(digits) / 2
        file["".join(map(str, digits))] = {
            "acc": [mean - 0.25, mean, mean + 0.25],
            "std": 0.2,
            "flops": 10**6 + sum(digits),
            "params": 1000 + sum(digits),
            "mean": mean,
        }
    return dict(reversed(file.items()))


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    path = tmp_path_factory.mktemp("channels") / "Results_ResNet.json"
    path.write_text(json.dumps(official_layout()))
    return path


@pytest.fixture(scope="module")
def channels(written):
    return Table.open(written)


def test_every_figure_is_where_its_digits_say(channels):
    assert (channels.task_name, channels.space.size, channels.seeds) == ("channel-bench-macro", 4**7, (0, 1, 2))
    file = official_layout()
    for digits in ("1111111", "4111111", "1111112", "4444444"):
        trial = channels.trial(Request(tuple(int(digit) - 1 for digit in digits), 2, 1))
        assert trial.metrics["validation_accuracy"] == trial.metrics["test_accuracy"] == file[digits]["acc"][2] / 100
        assert trial.metrics["parameters"] == file[digits]["params"]
        assert trial.metrics["flops"] == 2 * file[digits]["flops"]
    widths = channels.space.hyperparameters((0, 1, 2, 3, 0, 1, 2))
    assert [chosen["out_channels"] for chosen in widths.values()] == [64, 128, 192, 512, 128, 256, 384]
    assert len(np.unique(channels.networks)) == 4**7


def test_it_is_played_and_says_that_it_has_test_accuracy_only(channels):
    evaluator = TableEvaluator(channels)
    assert "Test accuracy only" in evaluator.task.description
    game = env(evaluator.task, evaluator=evaluator).unwrapped
    list(game.evaluate([(3,) * 7]))
    assert game.regret == pytest.approx(0)


@pytest.mark.parametrize(
    ("content", "mentioned"),
    [
        ("widths", "holds no JSON"),
        ("[1, 2]", "neither of Channel-Bench-Macro nor of NAS-Bench-Macro"),
        ("{}", "neither of Channel-Bench-Macro nor of NAS-Bench-Macro"),
        ('{"11111111": {"acc": [1, 2, 3]}}', "neither of Channel-Bench-Macro nor of NAS-Bench-Macro"),
        ('{"1111111": {"acc": [1, 2, 3]}}', "is not that of Channel-Bench-Macro: 'params'"),
        ('{"1111111": {"acc": [1, 2], "params": 1, "flops": 1}}', "is not that of Channel-Bench-Macro"),
        ('{"1111111": {"acc": [1, 2, 101], "params": 1, "flops": 1}}', "acc of 1111111"),
        ('{"1111111": {"acc": [1, 2, 3], "params": 1, "flops": 1}}', "lacks 49149 of its 49152 trials"),
        ('{"0111111": {"acc": [1, 2, 3], "params": 1, "flops": 1}}', "Action -1"),
    ],
)
def test_another_file_is_refused(content, mentioned, tmp_path, refused):
    (tmp_path / "file.json").write_text(content)
    with refused(mentioned):
        Table.open(tmp_path / "file.json")


def test_a_file_that_is_not_there_is_refused(tmp_path, refused):
    with refused("nothing.json", "cannot be read"):
        Table.open(tmp_path / "nothing.json")


def test_no_two_benchmarks_look_alike():
    assert len({(len(benchmark.space), benchmark.accuracies) for benchmark in FOREIGN}) == len(FOREIGN)


@pytest.mark.skipif(not OFFICIAL.exists(), reason="the authors' file is not at hand")
def test_the_authors_file():
    channels = Table.open(OFFICIAL)
    file = json.loads(OFFICIAL.read_text())
    best = max(file, key=lambda digits: file[digits]["mean"])
    assert channels.space.design_at(int(channels.mean_test_accuracy.argmax())) == tuple(int(d) - 1 for d in best)
    # The widths are what the table says: from them, and what feeds what, follow the parameters of every network.
    counts = channels.mean("parameters")
    for index in range(0, channels.space.size, 7):
        chosen = CHANNEL_BENCH_MACRO.space.hyperparameters(channels.space.design_at(index)).values()
        assert counts[index] == parameters([layer["out_channels"] for layer in chosen])
