"""What a function or object of a user's own is in a fingerprint."""

import functools
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from marl_hpo_env.catalog.identity import identity
from marl_hpo_env.metrics import macro_f1


def of(thing, name=None):
    return identity(thing, name, "loss")


def power(outputs, targets, exponent=2.0, *, scale=1.0):
    return scale * (outputs - targets).abs().pow(exponent).mean()


def closed(weight):
    def loss(outputs, targets):
        return weight * (outputs - targets).sum()

    return loss


class Own(nn.Module):
    def __init__(self, weight=1.0, table=(1.0, 2.0)):
        super().__init__()
        self.weight = weight
        self.register_buffer("table", torch.tensor(table))

    def forward(self, outputs, targets):
        return self.weight * (outputs - targets).mean()


class Callable_:
    def __init__(self, values):
        self.values = values

    def __call__(self, outputs, targets):
        return self.values

    def method(self, outputs, targets):
        return self.values


SAME = {
    "function": (lambda: power, lambda: power),
    "closure": (lambda: closed(2.0), lambda: closed(2.0)),
    "partial": (lambda: functools.partial(power, scale=2), lambda: functools.partial(power, scale=2)),
    "torch module": (
        lambda: nn.CrossEntropyLoss(label_smoothing=0.1),
        lambda: nn.CrossEntropyLoss(label_smoothing=0.1),
    ),
    "own module": (Own, Own),
    "module in training": (lambda: Own().train(), lambda: Own().eval()),
    "object": (lambda: Callable_({"a": np.ones(3)}), lambda: Callable_({"a": np.ones(3)})),
    "method": (lambda: Callable_({1, "b"}).method, lambda: Callable_({"b", 1}).method),
    "name": (lambda: macro_f1.function, lambda: macro_f1.function),
}


@pytest.mark.parametrize("kind", SAME)
def test_what_is_made_alike_is_the_same(kind):
    first, second = SAME[kind]
    assert of(first()) == of(second())


DIFFERENT = {
    "function": (power, closed(1.0)),
    "closure": (closed(1.0), closed(2.0)),
    "default": (power, functools.partial(power)),
    "argument": (functools.partial(power, scale=1), functools.partial(power, scale=2)),
    "lambda": (lambda outputs, targets: outputs.sum(), lambda outputs, targets: outputs.mean()),
    "setting of a torch module": (nn.CrossEntropyLoss(), nn.CrossEntropyLoss(label_smoothing=0.1)),
    "tensor of a torch module": (nn.CrossEntropyLoss(torch.ones(2)), nn.CrossEntropyLoss(torch.tensor([1.0, 2.0]))),
    "type of a torch module": (nn.MSELoss(), nn.L1Loss()),
    "setting of an own module": (Own(), Own(2.0)),
    "buffer of an own module": (Own(), Own(table=(1.0, 3.0))),
    "module within": (nn.Sequential(nn.MSELoss()), nn.Sequential(nn.L1Loss())),
    "array": (Callable_(np.ones(3)), Callable_(np.ones((3, 1)))),
    "type of an array": (Callable_(torch.ones(3)), Callable_(torch.ones(3, dtype=torch.float64))),
    "method": (Callable_(1).method, Callable_(1)),
    "number": (Callable_(1), Callable_(True)),
}


@pytest.mark.parametrize("kind", DIFFERENT)
def test_what_differs_is_another(kind):
    first, second = DIFFERENT[kind]
    assert of(first) != of(second)


def test_a_function_that_calls_itself_is_read():
    def count(n):
        return 0 if n == 0 else 1 + count(n - 1)

    assert of(count) == of(count)


def test_a_name_stands_for_all_that_it_is():
    assert of(power, "mine") == of(closed(2.0), "mine") != of(power, "other")


@pytest.mark.parametrize(
    "unreadable",
    [len, Callable_(object()), Callable_(iter([])), closed(open)],
    ids=lambda value: type(value).__name__,
)
def test_what_cannot_be_read_needs_a_name(refused, unreadable):
    with refused("loss", "name="):
        of(unreadable)
    assert of(unreadable, "mine")


def test_it_is_the_same_in_another_process_and_another_where_the_source_is(tmp_path):
    def run(source):
        Path(tmp_path / "mine.py").write_text(source)
        code = (
            "import mine; from marl_hpo_env.catalog.identity import identity; print(identity(mine.loss, None, 'loss'))"
        )
        return subprocess.run(
            [sys.executable, "-B", "-c", f"import sys; sys.path.insert(0, {str(tmp_path)!r}); {code}"],
            check=True,
            capture_output=True,
            text=True,
        ).stdout

    source = "def loss(outputs, targets):\n    return (outputs - targets).sum()\n"
    assert run(source) == run(source)
    assert run(source) != run(source.replace("sum", "mean"))
