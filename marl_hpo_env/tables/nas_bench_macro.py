"""NAS-Bench-Macro (Su et al., "Prioritized Architecture Sampling with Monto-Carlo Tree Search", CVPR 2021) as a table.

All 3^8 = 6,561 networks of eight blocks in stages of two, three and three, trained on CIFAR-10's 50,000 training images for
50 epochs, three times each. The file `nas-bench-macro_cifar10.json` is the authors', from their repository
`xiusu/NAS-Bench-Macro` (Apache-2.0).

It has *test accuracy only*, the best of all epochs: `validation_accuracy` is the test accuracy of one training, and a learner
that is rewarded on it sees test figures. What it finds is scored by the mean of the three.

    >>> from marl_hpo_env import env
    >>> from marl_hpo_env.tables.nas_bench_macro import nas_bench_macro
    >>> from marl_hpo_env.evaluators.table import TableEvaluator
    >>> evaluator = TableEvaluator(nas_bench_macro("nas-bench-macro_cifar10.json"))  # doctest: +SKIP
    >>> game = env(evaluator.task, evaluator=evaluator)                             # doctest: +SKIP
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from marl_hpo_env.errors import InputError, first_line, number
from marl_hpo_env.space import Design, Layer, SearchSpace
from marl_hpo_env.tables.table import Table
from marl_hpo_env.trial import Request, Trial

BLOCKS = ("Identity", "MB3_K3", "MB6_K5")
STAGES = (2, 3, 3)
EPOCHS = 50
SEEDS = (0, 1, 2)
NOTES = (
    "Test accuracy only: validation_accuracy is the test accuracy of one training, the best of its 50 epochs.",
    "The authors count a multiply-add as one operation; flops are twice their figure.",
)


def nas_bench_macro(path: Path | str) -> Table:
    """The table in the authors' file: eight agents of three actions, three seeds.

    Args:
        path: of `nas-bench-macro_cifar10.json`.

    Raises:
        InputError: if the file cannot be read, or is not the benchmark's or not all of it.
    """
    names = [f"layer{number}" for number in range(1, 1 + sum(STAGES))]
    space = SearchSpace(
        Layer(name, "Block", {"block": BLOCKS}, tuple(names[max(0, i - 1) : i])) for i, name in enumerate(names)
    )
    try:
        networks = json.loads(Path(path).read_text())
        trials = list(_trials(networks))
    except OSError as error:
        raise InputError(f"The file {str(path)!r} cannot be read: {error.strerror}.") from error
    except (AttributeError, KeyError, RecursionError, TypeError, ValueError) as error:
        raise InputError(f"The file {str(path)!r} is not that of NAS-Bench-Macro: {first_line(error)}.") from error
    designs = map(space.design_at, range(space.size))
    first: dict[Design, int] = {}
    return Table.from_trials(
        "nas-bench-macro",
        space,
        SEEDS,
        EPOCHS,
        trials,
        networks=[first.setdefault(network(design), len(first)) for design in designs],
        about={"notes": NOTES, "splits": {"train": 50_000, "test": 10_000}},
    )


def network(design: Design) -> Design:
    """The first of the designs that are the same network.

    An identity changes nothing, so within a stage it can stand anywhere; but for the stage's first block, which halves the
    image and doubles the channels whatever it is.
    """
    same: Design = ()
    for stage in STAGES:
        first, *rest = design[len(same) : len(same) + stage]
        blocks = [block for block in rest if block]
        same += (first, *blocks, *[0] * (len(rest) - len(blocks)))
    return same


def _trials(networks: dict[str, dict[str, Any]]) -> Iterator[Trial]:
    for digits, measured in networks.items():
        design = tuple(map(int, digits))
        for name in ("params", "flops"):
            number(f"{name} of {digits}", measured[name], above=0)
        for seed, accuracy in zip(SEEDS, measured["test_acc"], strict=True):
            number(f"test_acc of {digits}", accuracy, least=0, most=100)
            metrics = {
                "validation_accuracy": accuracy / 100,
                "test_accuracy": accuracy / 100,
                "parameters": measured["params"],
                "flops": 2 * measured["flops"],
                "epochs": EPOCHS,
            }
            yield Trial(Request(design, seed, EPOCHS), "completed", None, metrics)
