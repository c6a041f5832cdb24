"""Metrics and losses of a task's own, and some metrics ready to use: `Task(metrics={"f1": macro_f1}, score="validation_f1")`.

A metric is computed over a whole split: a mean over batches is another number for F1, AUC and R2. Outputs are the network's as it
gives them: a score per class, label or plane, of which those of labels and masks are predicted where they are above 0; values are
in their own units. On the command line one is named as `--metric f1=marl_hpo_env.metrics:macro_f1`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from marl_hpo_env.errors import InputError
from marl_hpo_env.trial import METRICS, Measure

Tensor = Any
"""One of torch's, which is not imported here."""


@dataclass(frozen=True)
class Metric:
    """A metric of a task's own. Under the name `"f1"` a trial has it as `validation_f1`, of every epoch, and `test_f1`.

    Args:
        function: of the network's outputs and the targets of a whole split, tensors on the CPU in the shapes that `Data` has,
            without auxiliary heads. It returns a finite number.
        better: which way: +1 the higher, -1 the lower.
        unit: what it is measured in. A `"fraction"` is shown in percent, improves by percentage points, and can be A of Eq. 2.
        name: stands in fingerprints for a function that cannot be read, such as one of compiled code; give another name when
            the function changes.

    Raises:
        InputError: if the function cannot be called, `better` is neither +1 nor -1, or unit or name are no texts.
    """

    function: Callable[[Tensor, Tensor], Any]
    better: int = +1
    unit: str = "fraction"
    name: str | None = None

    def __post_init__(self) -> None:
        _check("metric", self.function, self.name)
        if isinstance(self.better, bool) or self.better not in (+1, -1):
            raise InputError(f"A metric's better is {self.better!r}; it is +1 for the higher, -1 for the lower.")
        if not (isinstance(self.unit, str) and self.unit):
            raise InputError(f"A metric's unit is {self.unit!r}; it is a text, such as 'fraction'.")

    def of_output(self, place: int) -> Metric:
        """The same of one label, value or plane alone, by its place: `iou.of_output(0)`."""
        name = None if self.name is None else f"{self.name} of output {place}"
        return replace(self, function=_OfOutput(self.function, place), name=name)


@dataclass(frozen=True)
class Loss:
    """A loss of a task's own, where its function cannot be read and needs a name; any other can be given as it is.

    Args:
        function: of the network's outputs and the targets of a batch, on the device; it returns a mean, a tensor without
            dimensions with a gradient. Values are standardised there. A `torch.nn` loss is one.
        name: as that of a `Metric`.

    Raises:
        InputError: if the function cannot be called, or the name is no text.
    """

    function: Callable[[Tensor, Tensor], Tensor]
    name: str | None = None

    def __post_init__(self) -> None:
        _check("loss", self.function, self.name)


def measures(metrics: Mapping[str, Metric]) -> dict[str, Measure]:
    """What every metric of a trial is, those of its task's own among them.

    Args:
        metrics: of the task's own, by name.

    Raises:
        InputError: if one is no `Metric`, or its name is taken or cannot be one.
    """
    found = dict(METRICS)
    for name, metric in metrics.items():
        if not isinstance(metric, Metric):
            raise InputError(f"The metric {name!r} is {metric!r}; give a Metric, as in Metric(function, better=+1).")
        if not (isinstance(name, str) and name.isidentifier()):
            raise InputError(f"A metric has the name {name!r}; letters, digits and _ make one, as in 'macro_f1'.")
        if name.startswith(("test_", "validation_")):
            raise InputError(
                f"A metric has the name {name!r}; leave out its beginning: of 'f1' come 'validation_f1' and 'test_f1'."
            )
        if name in METRICS or f"validation_{name}" in METRICS:
            raise InputError(f"The name {name!r} of a metric is taken by one that every trial has; give it another.")
        found[f"validation_{name}"] = Measure(metric.unit, metric.better, "epoch")
        found[f"test_{name}"] = Measure(metric.unit, metric.better, "training")
    return found


def _check(what: str, function: object, name: object) -> None:
    if not callable(function) or isinstance(function, type):
        shown = f"the class {function.__name__}" if isinstance(function, type) else repr(function)
        raise InputError(f"A {what} is {shown}; it is a function of outputs and targets.")
    if not (name is None or (isinstance(name, str) and name)):
        raise InputError(f"The name of a {what} is {name!r}; it is a text that stands for its function.")


@dataclass(frozen=True)
class _OfOutput:
    """A metric's function, of one output alone."""

    function: Callable[[Tensor, Tensor], Any]
    place: int

    def __call__(self, outputs: Tensor, targets: Tensor) -> Any:
        one = slice(self.place, self.place + 1)
        return self.function(outputs[:, one], targets[:, one])


def _columns(of: Tensor) -> Tensor:
    """The labels, or the pixels of each plane, one after the other."""
    return of.movedim(1, 0).flatten(1)


def _balanced_accuracy(outputs: Tensor, targets: Tensor) -> float:
    from sklearn.metrics import recall_score

    pairs = [(targets, outputs.argmax(1))]
    if targets.dim() > 1:
        pairs = list(zip(_columns(targets), _columns(outputs > 0), strict=True))
    recalls = [recall_score(there, found, labels=there.unique(), average="macro") for there, found in pairs]
    return float(sum(recalls)) / len(recalls)


def _macro_f1(outputs: Tensor, targets: Tensor) -> float:
    from sklearn.metrics import f1_score

    if targets.dim() == 1:
        return float(f1_score(targets, outputs.argmax(1), average="macro", zero_division=0.0))
    pairs = zip(_columns(targets), _columns(outputs > 0), strict=True)
    return float(sum(f1_score(there, found, zero_division=0.0) for there, found in pairs)) / targets.shape[1]


def _auc(outputs: Tensor, targets: Tensor) -> float:
    from sklearn.metrics import roc_auc_score

    scores = outputs
    if targets.dim() == 1:
        classes = targets.unique()
        scores, targets = outputs.softmax(1)[:, classes], targets[:, None] == classes
    pairs = zip(_columns(targets), _columns(scores), strict=True)
    return float(sum(roc_auc_score(there, score) for there, score in pairs)) / targets.shape[1]


def _overlap(outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Pixels of each plane that are predicted, that are there, and that are both; each of shape (planes,)."""
    predicted, there = outputs > 0, targets > 0.5
    over = [0, *range(2, targets.dim())]
    return predicted.sum(over).double(), there.sum(over).double(), (predicted & there).sum(over).double()


def _dice(outputs: Tensor, targets: Tensor) -> float:
    predicted, there, both = _overlap(outputs, targets)
    # A plane without a pixel on either side is right.
    return float((2 * both / (predicted + there)).nan_to_num(1.0).mean())


def _iou(outputs: Tensor, targets: Tensor) -> float:
    predicted, there, both = _overlap(outputs, targets)
    return float((both / (predicted + there - both)).nan_to_num(1.0).mean())


def _mean_squared_error(outputs: Tensor, targets: Tensor) -> float:
    return float((outputs - targets).double().square().mean())


def _mean_absolute_error(outputs: Tensor, targets: Tensor) -> float:
    return float((outputs - targets).double().abs().mean())


def _r2(outputs: Tensor, targets: Tensor) -> float:
    from sklearn.metrics import r2_score

    return float(r2_score(targets, outputs))


balanced_accuracy = Metric(_balanced_accuracy, name="balanced_accuracy")
"""The mean over the classes of the share of their examples that are found; the mean of that over several labels."""

macro_f1 = Metric(_macro_f1, name="macro_f1")
"""The mean over the classes, or labels, of F1."""

auc = Metric(_auc, name="auc")
"""The area under the ROC curve: the mean over the labels, or over the classes that there are, each against the rest."""

dice = Metric(_dice, name="dice")
"""The Dice coefficient of all pixels of a split, the mean over the planes; `dice.of_output(0)` is the first plane's."""

iou = Metric(_iou, name="iou")
"""Intersection over union, likewise."""

mean_squared_error = Metric(_mean_squared_error, -1, "the values' own, squared", "mean_squared_error")
"""Over all values."""

mean_absolute_error = Metric(_mean_absolute_error, -1, "the values' own", "mean_absolute_error")
"""Over all values."""

r2 = Metric(_r2, name="r2")
"""The share of the values' variance that is explained, the mean over the values; every regression has it as `validation_r2`."""
