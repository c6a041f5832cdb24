"""Command lines that somebody has typed wrongly, and the files that they speak of."""

from __future__ import annotations

from pathlib import Path

import numpy as np

_MINE = """
from torch import nn


class Odd(Exception):
    def __str__(self):
        raise RuntimeError


def make(num_classes=3):
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, num_classes))


def raises():
    raise Odd


def number():
    return 3


class Learner:
    def __init__(self, setting):
        raise Odd

    def reset(self, space, seed): ...

    def ask(self, n): ...

    def tell(self, episodes): ...
"""

DIGITS = "--task digits-convnet"

KNOWN = [
    *[
        f"{command} --task {task}"
        for command in ("tune", "show", "compare", "reproduce table4")
        for task in (
            "''",
            "nope",
            ":",
            "./mine.py:raises",
            "./mine.py:number",
            "./nowhere.py:task",
            "./raises.py:task",
            "./leaves.py:task",
        )
    ],
    *[
        f"show --model {model}"
        for model in (
            "''",
            "nope",
            "torchvision:nope",
            "./mine.py",
            "./mine.py:raises",
            "./mine.py:number",
            "./mine.py:Odd",
            "builtins:int",
            "./raises.py:make",
            "./text.txt:make",
            "~nobody/mine.py:make",
        )
    ],
    *[f"show --model ./mine.py:make --choices {file}" for file in ("nan.toml", "nowhere.toml", "text.txt", "''")],
    *[f"tune --model ./mine.py:make --data {folder}" for folder in ("nowhere", "text.txt", "''")],
    *[f"tune {DIGITS} --device {device}" for device in ("nope", "privateuseone", "meta", "cuda:99", "''")],
    *[
        f"{command} --out {out}"
        for command in (f"tune {DIGITS}", f"table build {DIGITS}", "demo")
        for out in (
            "''",
            "text.txt",
            "text.txt/x",
            "/proc/nowhere",
        )
    ],
    *[
        f"tune {DIGITS} {option} {value}"
        for option in ("--episodes", "--epochs", "--batch-size", "--workers", "--seed")
        for value in (
            "0.5",
            "nan",
            "-1",
            "''",
            "99999999999999999999",
        )
    ],
    *[f"tune {DIGITS} --learning-rate {value}" for value in ("0", "nan", "inf", "a")],
    *[f"compare {DIGITS} {option} 99999999999999999999" for option in ("--seeds", "--episodes", "--jobs")],
    *[
        f"tune {DIGITS} --learner {learner}"
        for learner in (
            "''",
            "nope",
            "'random('",
            "'reinforce(learning_rate=abc)'",
            "'coordination-graph(multi_objective=maybe)'",
            "'./mine.py:Learner(setting=1)'",
            "./mine.py:make",
            "./raises.py:Learner",
        )
    ],
    *[f"tune {DIGITS} --width {width}" for width in ("''", "0", "1/0", "nan", "1/99999999999999999999")],
    *[
        f"tune --task vgg16-cifar100 --width 1/16 --images {images}"
        for images in ("text.txt", "empty.npz", "floats.npz", "words.npz")
    ],
    *[
        f"{command} {table}"
        for command in ("table describe", "table check", "compare --task")
        for table in (
            "nowhere.npz",
            "empty.npz",
            "floats.npz",
            "deep.json",
        )
    ],
]
"""Lines that end with exit code 2, in the folder of `write_files`."""

MODULES = {"mine": _MINE, "raises": "raise KeyError", "leaves": "import sys\nsys.exit(3)"}
"""A user's own, by name."""


def write_files(folder: Path) -> None:
    """Writes files that are not what they should be."""
    for name, content in MODULES.items():
        (folder / f"{name}.py").write_text(content)
    (folder / "text.txt").write_text("text")
    (folder / "nan.toml").write_text("[Conv2d]\nout_channels = [4, nan]\n")
    (folder / "deep.json").write_text("[" * 100_000)
    (folder / "empty.npz").touch()
    np.savez(folder / "floats.npz", x=np.full((30, 8, 8, 3), np.nan), y=np.zeros(30))
    np.savez(folder / "words.npz", x=np.zeros((30, 8, 8, 3), np.uint8), y=np.array(["a"] * 30))
