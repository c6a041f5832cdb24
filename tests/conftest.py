"""What the tests share: search spaces of every shape, and an evaluator that answers from a formula instead of training."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st

import marl_hpo_env
from marl_hpo_env import METRICS, Design, InputError, Layer, Request, SearchSpace, Trial
from marl_hpo_env.environments.registration import single_controller_env
from marl_hpo_env.tables.table import Table
from marl_hpo_env.testing import SPACES
from marl_hpo_env.trial import TIME_METRICS

# CI repeats the examples that it passed with; a developer's run looks for new ones.
settings.register_profile("marl-hpo", deadline=None, max_examples=30, derandomize="CI" in os.environ)
settings.load_profile("marl-hpo")


class FormulaEvaluator:
    """Follows the Evaluator protocol: every metric is a formula of the request, and nothing is trained.

    Args:
        space: the designs that it evaluates.
        measures_time: whether the trials have times.
        statuses: of the requests for these designs (None is the original network), where they do not complete.
        test_accuracy: of every trial; nobody who plays should be able to tell.

    Attributes:
        asked: every request that it was asked for, in order.
    """

    def __init__(
        self,
        space: SearchSpace,
        measures_time: bool = True,
        statuses: dict[Design | None, str] | None = None,
        test_accuracy: float = 0.123456789,
        fingerprint: str = "formula",
    ) -> None:
        self.space = space
        self.measures_time = measures_time
        self.fingerprint = fingerprint
        self.asked: list[Request] = []
        self._statuses = statuses or {}
        self._test_accuracy = test_accuracy

    def evaluate(self, requests: Sequence[Request]) -> Iterator[Trial]:
        for request in requests:
            self.asked.append(request)
            yield self.trial(request)

    def trial(self, request: Request) -> Trial:
        status = self._statuses.get(request.design, "completed")
        if status != "completed":
            return Trial(request, status, "The formula says so.", dict.fromkeys(METRICS), ())
        x = 0.3 if request.design is None else self.space.index(request.design) / self.space.size
        epochs = request.epochs or 30
        accuracy = 0.2 + 0.7 * x + 0.001 * request.seed
        metrics: dict[str, float | None] = dict.fromkeys(METRICS, 1.0)
        metrics |= {
            "validation_accuracy": accuracy,
            "test_accuracy": self._test_accuracy,
            "train_loss": 2.0 - x,
            "train_accuracy": 0.9,
            "validation_loss": 1.0,
            "model_size_mb": 1.0 + x * x,
            "parameters": 1000 + round(1000 * x),
            "flops": 5000 + round(9000 * x),
            "peak_memory_mb": 10.0 + x,
            "train_ms_per_batch": 3.0 + x,
            "inference_ms_per_batch": 1.0 + x,
            "epochs": epochs,
            "seconds": 0.5 + x,
            "epochs_to_threshold": None,  # the environment's to say
        }
        if not self.measures_time:
            metrics |= dict.fromkeys(TIME_METRICS)
        epoch_figures = {
            "train_loss": 2.0 - x,
            "train_accuracy": 0.9,
            "validation_loss": 1.0,
            "validation_accuracy": accuracy,
        }
        history = tuple(epoch_figures for _ in range(epochs))
        return Trial(request, "completed", None, metrics, history)


@st.composite
def _search_spaces(draw: st.DrawFn) -> SearchSpace:
    """Any small graph of layers, with values of the kinds that torch modules take."""
    value = st.one_of(
        st.integers(0, 512),
        st.tuples(st.integers(1, 7), st.integers(1, 7)),
        st.sampled_from(["zeros", "reflect", "same"]),
    )
    layers: list[Layer] = []
    for position in range(draw(st.integers(1, 5))):
        choices = draw(
            st.dictionaries(
                st.sampled_from(["out_channels", "kernel_size", "stride", "padding_mode"]),
                st.lists(value, min_size=1, max_size=3, unique=True),
                min_size=1,
                max_size=2,
            )
        )
        earlier = [layer.name for layer in layers]
        inputs = draw(st.lists(st.sampled_from(earlier), unique=True)) if earlier else []
        kind = draw(st.sampled_from(["Conv2d", "Linear", "MaxPool2d"]))
        layers.append(Layer(f"features.{position}", kind, choices, tuple(inputs)))
    return SearchSpace(layers)


@pytest.fixture(scope="session")
def search_spaces() -> st.SearchStrategy[SearchSpace]:
    """Draws search spaces."""
    return _search_spaces()


@pytest.fixture(scope="session")
def spaces() -> Mapping[str, SearchSpace]:
    """The search spaces by the name of their shape."""
    return SPACES


@pytest.fixture(scope="session", params=SPACES)
def space(request: pytest.FixtureRequest) -> SearchSpace:
    """Each of the search spaces in turn."""
    return SPACES[request.param]


@pytest.fixture(scope="session")
def formula_evaluator() -> type[FormulaEvaluator]:
    """The class of the fast evaluator."""
    return FormulaEvaluator


@pytest.fixture(scope="session")
def table_of() -> Callable[..., Table]:
    """Makes a table of a space, by the fast evaluator unless another is given."""

    def make(
        space: SearchSpace, evaluator: Any = None, seeds: Sequence[int] = (0, 1), epochs: int = 4, **about: Any
    ) -> Table:
        designs = [None, *map(space.design_at, range(space.size))]
        requests = [Request(design, seed, epochs) for seed in seeds for design in designs]
        trials = (evaluator or FormulaEvaluator(space)).evaluate(requests)
        return Table.from_trials("digits-convnet", space, seeds, epochs, trials, about=about)

    return make


@pytest.fixture(scope="session")
def turn_based() -> Callable[..., Any]:
    """Makes a turn-based environment on a space, with the fast evaluator unless another is given."""

    def make(space: SearchSpace, **settings: Any) -> Any:
        return marl_hpo_env.env("digits-convnet", **{"evaluator": FormulaEvaluator(space), **settings})

    return make


@pytest.fixture(scope="session")
def simultaneous() -> Callable[..., Any]:
    """Makes a simultaneous environment likewise."""

    def make(space: SearchSpace, **settings: Any) -> Any:
        return marl_hpo_env.parallel_env("digits-convnet", **{"evaluator": FormulaEvaluator(space), **settings})

    return make


@pytest.fixture(scope="session")
def single_controller() -> Callable[..., Any]:
    """Makes a Gymnasium environment likewise."""

    def make(space: SearchSpace, **settings: Any) -> Any:
        return single_controller_env("digits-convnet", **{"evaluator": FormulaEvaluator(space), **settings})

    return make


@pytest.fixture(scope="session")
def refused() -> Callable[..., Any]:
    """A context that expects an InputError of one sentence, in which every given text is mentioned."""

    @contextmanager
    def expect(*mentioned: str) -> Iterator[None]:
        with pytest.raises(InputError) as caught:
            yield
        message = str(caught.value)
        assert re.fullmatch(r"[A-Z'\"].*[.?]", message), message  # one line, begun and ended as a sentence
        assert not re.search(r"[.?!] +[A-Z]", message), message
        for text in mentioned:
            assert text in message

    return expect


_NO_ACTIONS: dict[str, Callable[[int], Any]] = {
    "negative": lambda size: -1,
    "one too many": lambda size: size,
    "numpy one too many": np.int64,
    "huge": lambda size: 10**30,
    "True": lambda size: True,
    "False": lambda size: False,
    "numpy True": lambda size: np.True_,
    "float": lambda size: 0.0,
    "numpy float": lambda size: np.float64(0),
    "string": lambda size: "0",
    "None": lambda size: None,
    "list": lambda size: [0],
    "array of one": lambda size: np.array([0]),
}


@pytest.fixture(scope="session", params=_NO_ACTIONS)
def no_action(request: pytest.FixtureRequest) -> Callable[[int], Any]:
    """Makes something that is not an action of a layer that has so many: one kind of it in turn."""
    return _NO_ACTIONS[request.param]
