"""The evaluator that predicts: trees that were fitted to trainings of some designs answer for all of them, in milliseconds.

A trial's accuracies are predicted(design) + deviation(design) + noise(design, seed). One figure is predicted for validation and
test, the mean of the two: both are of images that were not trained on. The deviation is what the trees cannot know of a design,
the same under every seed; the noise is what another seed changes. Both are normal, of validation and test together, and drawn
from the design, or from design and seed, alone. Their covariances were measured: the noise's between two seeds of the same
designs, the deviation's as what is left, on held-out designs, of the trees' error without that noise.

Sizes are exact, and so is who is terminated by the limit of FLOPs; whose training fails is predicted. The original network, which
is no design, answers with its own training.

The file is an archive as a table's (`tables/file.py`). Its header has, beside what the maker says of it, `task`, `space`
(`SearchSpace.describe`), `epochs`, `limits`, `trials` (every training: design, seed, status, reason, metrics, history) and
`noise` (of `design` and `seed`, the factor by which two standard normal numbers are multiplied). Its arrays are those of two
forests (see `Forest`): `accuracy/PART` and, if trainings failed, `failed/PART`, the share of a design's seeds under which they
do.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from marl_hpo_env.catalog.surrogate import anatomy, surrogate_tasks
from marl_hpo_env.errors import InputError, whole_number
from marl_hpo_env.evaluators.forest import PARTS, Array, Forest
from marl_hpo_env.space import Design, SearchSpace
from marl_hpo_env.tables.file import MADE_BY, UNREADABLE, no_content, pack, unpack
from marl_hpo_env.training.early_termination import EarlyTermination, Terminated
from marl_hpo_env.training.recipe import Limits
from marl_hpo_env.trial import METRICS, Request, Status, Trial

_KIND = "surrogate"
_SHIPPED = resources.files("marl_hpo_env") / "evaluators"
_MEASURED = ("validation_accuracy", "test_accuracy", "model_size_mb", "parameters", "flops", "epochs")


class _Answer(NamedTuple):
    """What is said of a design without its noise."""

    sizes: dict[str, float]
    status: Status
    reason: str | None
    accuracy: float


class SurrogateEvaluator:
    """Answers for every design of a space too large for a table. The best design is not known.

    Args:
        surrogate: the name of a task whose surrogate comes with the package, or the path of a file.

    Attributes:
        space: the designs.
        epochs: of every trial.
        task_name: the task.
        trials: every training that the trees were fitted to, the original's among them.
        about: the file's header.
        fingerprint: names the file's digest.

    Raises:
        InputError: if there is no such surrogate, or it is damaged.
    """

    measures_time = False
    unmeasured = frozenset(METRICS) - set(_MEASURED)

    def __init__(self, surrogate: Path | str) -> None:
        name = str(surrogate)
        self.about, columns, digest = unpack(_content(name), name, _KIND)
        self.fingerprint = f"surrogate-{digest}"
        try:
            self.space = SearchSpace.described(self.about["space"])
            self.epochs = whole_number("number of epochs", self.about["epochs"], 1)
            self.task_name = str(self.about["task"])
            self.trials = [_trial(row, self.epochs) for row in self.about["trials"]]
            self._original = next(trial for trial in self.trials if trial.design is None)
            ratio = Limits(flops_ratio=self.about["limits"]["flops_ratio"])
            self._limits = EarlyTermination(ratio, original_flops=self._original.metrics["flops"])
            self._forests = {kind: _forest(columns, kind) for kind in dict.fromkeys(n.split("/")[0] for n in columns)}
            self._noise = {of: np.reshape(self.about["noise"][of], (2, 2)).astype(float) for of in ("design", "seed")}
            seen = anatomy(self.space, np.zeros((1, len(self.space)), dtype=np.int64)).features.shape[1]
            if max(forest.features for forest in self._forests.values()) > seen:
                raise ValueError("its trees look at features that a design does not have")
            self._answers([(0,) * len(self.space)])  # fails if they do not fit together
        except (*UNREADABLE, StopIteration) as error:
            raise no_content(name, error, _KIND) from error

    def check(self, seed: int, epochs: int | None) -> None:
        """Whether it answers requests of this seed and number of epochs.

        Raises:
            InputError: if not.
        """
        whole_number("seed", seed, 0)
        if epochs != self.epochs:
            asked = "training to convergence" if epochs is None else f"{epochs} epochs"
            raise InputError(f"The surrogate of {self.task_name!r} knows {self.epochs} epochs alone, and not {asked}.")

    def evaluate(self, requests: Sequence[Request]) -> Iterator[Trial]:
        """One trial per request, in their order.

        Raises:
            InputError: if a design is not one of the space, the seed is none, or another number of epochs or a fold is asked for.
        """
        for request in requests:
            self.check(request.seed, request.epochs)
            if request.fold is not None:
                raise InputError(
                    f"Fold {request.fold} is asked of a surrogate, whose trainings are of none; leave it out."
                )
        asked = [r if r.design is None else r._replace(design=self.space.check(r.design)) for r in requests]
        answers = iter(self._answers([r.design for r in asked if r.design is not None]))
        return iter([self._of_original(r) if r.design is None else self._drawn(r, next(answers)) for r in asked])

    def _answers(self, designs: Sequence[Design]) -> list[_Answer]:
        known = anatomy(self.space, np.array(designs, dtype=np.int64).reshape(-1, len(self.space)))
        predicted = {kind: forest.predict(known.features).tolist() for kind, forest in self._forests.items()}
        answers = []
        for row in range(len(designs)):
            sizes = {name: getattr(known, name)[row].item() for name in ("parameters", "model_size_mb", "flops")}
            status: Status = "completed"
            reason = None
            if "failed" in predicted and predicted["failed"][row] > 0.5:
                status, reason = "failed", "By prediction its training fails."
            try:
                self._limits.flops(sizes["flops"])
            except Terminated as error:
                status, reason = "terminated", str(error)
            answers.append(_Answer(sizes, status, reason, predicted["accuracy"][row]))
        return answers

    def _drawn(self, request: Request, answer: _Answer) -> Trial:
        metrics: dict[str, float | None] = {**dict.fromkeys(METRICS), **answer.sizes}
        if answer.status == "completed":
            design, seed = request.design, int(request.seed)  # not as a NumPy number, which is printed otherwise
            drawn = self._deviation("design", design) + self._deviation("seed", design, seed)
            validation, test = np.clip(answer.accuracy + drawn, 0.0, 1.0).tolist()
            metrics |= {"validation_accuracy": validation, "test_accuracy": test, "epochs": self.epochs}
        return Trial(request, answer.status, answer.reason, metrics)

    def _deviation(self, of: str, *key: object) -> Array:
        """Of validation and test accuracy, drawn from the key alone."""
        seed = int.from_bytes(hashlib.sha256(repr(key).encode()).digest()[:8], "big")
        return np.asarray(self._noise[of] @ np.random.default_rng(seed).standard_normal(2))

    def _of_original(self, request: Request) -> Trial:
        measured = {name: self._original.metrics[name] for name in _MEASURED}
        return Trial(request, self._original.status, self._original.reason, {**dict.fromkeys(METRICS), **measured})


def packed(
    task: str,
    space: SearchSpace,
    epochs: int,
    trials: Iterable[Trial],
    forests: Mapping[str, Forest],
    noise: Mapping[str, Array],
    about: Mapping[str, Any],
) -> bytes:
    """The bytes of a surrogate's file; see the top of this module.

    Args:
        task: its name.
        space: its designs.
        epochs: of every trial.
        trials: with one of the original network at least.
        forests: by what they predict.
        noise: of `design` and `seed`, shape (2, 2).
        about: JSON values that say how the trials came about, with the task's `limits`.
    """
    header = {
        **about,
        **{"task": task, "space": space.describe(), "epochs": epochs, "trials": [_row(trial) for trial in trials]},
        "noise": {of: factor.tolist() for of, factor in noise.items()},
    }
    arrays = {f"{kind}/{name}": part for kind, forest in forests.items() for name, part in forest.parts.items()}
    return pack(header, arrays, kind=_KIND)


def _content(name: str) -> bytes:
    if not name.endswith(".npz"):
        if name not in surrogate_tasks():
            raise InputError.unknown("surrogate", name, surrogate_tasks())
        shipped = _SHIPPED / f"{name}.npz"
        if not shipped.is_file():
            raise InputError(
                f"The surrogate of {name!r} is not part of this package; make one with `{MADE_BY[_KIND]}`, and give the "
                "environment the evaluator SurrogateEvaluator('FILE.npz') of the file that it writes."
            )
        return shipped.read_bytes()
    try:
        return Path(name).read_bytes()
    except OSError as error:
        raise InputError(f"The surrogate {name!r} cannot be read: {error.strerror}.") from error


def _forest(columns: Mapping[str, Array], kind: str) -> Forest:
    return Forest({name: columns[f"{kind}/{name}"] for name in PARTS})


def _row(trial: Trial) -> list[Any]:
    metrics = {name: value for name, value in trial.metrics.items() if value is not None}
    return [trial.design, trial.request.seed, trial.status, trial.reason, metrics, list(trial.history), trial.machine]


def _trial(row: Sequence[Any], epochs: int) -> Trial:
    design, seed, status, reason, metrics, history, machine = row
    request = Request(None if design is None else tuple(design), seed, epochs)
    return Trial(request, status, reason, {**dict.fromkeys(METRICS), **metrics}, tuple(history), machine=machine)
