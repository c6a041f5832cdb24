"""Channel-Bench-Macro (Su et al., "Searching for Network Width with Bilaterally Coupled Network", 2022) as a table.

Its ResNet half: all 4^7 = 16,384 CNNs whose seven widths are a quarter, a half, three quarters or all of 256 or 512 channels,
trained on CIFAR-10 three times each. The file `Results_ResNet.json` is the authors', from their repository
`xiusu/Channel-Bench-Macro`, which states no licence: it is yours to bring.

The widths, in the order of the key's digits:

| layer | width of | it feeds |
|---|---|---|
| `path1` | the stem, and the path that the first two blocks add to | `inside1` to `inside3`; `path2` by a projection |
| `inside1`, `inside2` | the inside of these blocks | back into the path, which is `path1`'s |
| `inside3` | the inside of the third block, of stride 2 | `path2` |
| `path2` | the path that the last three blocks end in | `inside4`, `inside5` |
| `inside4`, `inside5` | the inside of the fourth and the fifth block | back into the path, which is `path2`'s |

It has *test accuracy only*: `validation_accuracy` is the test accuracy of one training, and a learner that is rewarded on it
sees test figures. What it finds is scored by the mean of the three. The file does not say how long was trained: the table's
one epoch stands for the whole training. Its `params` and `flops` hold nothing of the projection.
"""

from __future__ import annotations

from marl_hpo_env.space import Layer, SearchSpace
from marl_hpo_env.tables.measured_file import COUNTED, MeasuredFile


def _width(name: str, channels: int, *inputs: str) -> Layer:
    return Layer(name, "Conv2d", {"out_channels": tuple(channels * quarters // 4 for quarters in range(1, 5))}, inputs)


CHANNEL_BENCH_MACRO = MeasuredFile(
    title="Channel-Bench-Macro",
    space=SearchSpace(
        [
            _width("path1", 256),
            _width("inside1", 256, "path1"),
            _width("inside2", 256, "path1"),
            _width("inside3", 512, "path1"),
            _width("path2", 512, "path1", "inside3"),
            _width("inside4", 512, "path2"),
            _width("inside5", 512, "path2"),
        ]
    ),
    accuracies="acc",
    seeds=3,
    lowest=1,
    epochs=1,
    notes=(
        "Test accuracy only: validation_accuracy is the test accuracy of one training.",
        "The one epoch stands for a whole training, of a length that the file does not say.",
        COUNTED,
    ),
    splits={"train": 50_000, "test": 10_000},
)
"""Seven agents of four actions, three seeds."""
