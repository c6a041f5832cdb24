"""NAS-Bench-Macro (Su et al., "Prioritized Architecture Sampling with Monto-Carlo Tree Search", CVPR 2021) as a table.

All 3^8 = 6,561 networks of eight blocks in stages of two, three and three, trained on CIFAR-10's 50,000 training images for
50 epochs, three times each. The file `nas-bench-macro_cifar10.json` is the authors', from their repository
`xiusu/NAS-Bench-Macro` (Apache-2.0).

It has *test accuracy only*, the best of all epochs: `validation_accuracy` is the test accuracy of one training, and a learner
that is rewarded on it sees test figures. What it finds is scored by the mean of the three.

    >>> from marl_hpo_env import TableEvaluator, env
    >>> evaluator = TableEvaluator("nas-bench-macro_cifar10.json")  # doctest: +SKIP
    >>> game = env(evaluator.task, evaluator=evaluator)             # doctest: +SKIP
"""

from __future__ import annotations

from marl_hpo_env.space import Design, Layer, SearchSpace
from marl_hpo_env.tables.measured_file import COUNTED, MeasuredFile

BLOCKS = ("Identity", "MB3_K3", "MB6_K5")
STAGES = (2, 3, 3)
_NAMES = [f"layer{number}" for number in range(1, 1 + sum(STAGES))]


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


NAS_BENCH_MACRO = MeasuredFile(
    title="NAS-Bench-Macro",
    space=SearchSpace(
        Layer(name, "Block", {"block": BLOCKS}, tuple(_NAMES[max(0, i - 1) : i])) for i, name in enumerate(_NAMES)
    ),
    accuracies="test_acc",
    seeds=3,
    lowest=0,
    epochs=50,
    notes=(
        "Test accuracy only: validation_accuracy is the test accuracy of one training, the best of its 50 epochs.",
        COUNTED,
    ),
    splits={"train": 50_000, "test": 10_000},
    network=network,
)
"""Eight agents of three actions, three seeds."""
