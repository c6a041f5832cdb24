"""From a trial to the one number that every agent shares.

Only what a reward names in its `objectives` reaches a learner; test figures cannot be named.
"""

from __future__ import annotations

import copy
import math
import re
from collections.abc import Iterable, Mapping
from typing import Literal, NamedTuple, Protocol

from marl_hpo_env.errors import InputError, is_number, number
from marl_hpo_env.trial import CLOCK_METRICS, METRICS, Measure, Trial


class Objective(NamedTuple):
    """A metric that a reward sees, as it is or divided by the original network's."""

    metric: str
    relative: bool

    @classmethod
    def parse(cls, text: str) -> Objective:
        """Reads `"metric"` or `"metric / original"`. Whether there is such a metric is known where a task and a reward meet.

        Raises:
            InputError: for a test figure, or another divisor.
        """
        if not isinstance(text, str):
            raise InputError(f"The objective {text!r} is no text; name a metric, as in 'model_size_mb / original'.")
        metric, slash, divisor = (part.strip() for part in text.partition("/"))
        if slash and divisor != "original":
            raise InputError(f"A metric can be divided by 'original' only, as in '{metric} / original'; got {text!r}.")
        if metric.startswith("test_"):
            raise InputError(
                f"{metric!r} cannot be rewarded: test figures never reach a learner; use 'validation_accuracy'."
            )
        return cls(metric, bool(slash))

    def __str__(self) -> str:
        return f"{self.metric} / original" if self.relative else self.metric

    def value(self, trial: Trial, original: Trial | None) -> float:
        """This objective of a completed trial.

        Raises:
            InputError: if the trial, or the original where it is needed, does not have the metric.
        """
        measured = trial.metrics.get(self.metric)
        if measured is None and self.metric == "epochs_to_threshold":
            # A training that completed without ever meeting the threshold needed all its epochs (ours).
            measured = trial.metrics.get("epochs")
        if measured is None:
            raise InputError(f"The reward needs {self.metric!r}, which was not measured; {_remedy(self.metric)}.")
        if not self.relative:
            return float(measured)
        reference = None if original is None else original.metrics.get(self.metric)
        if not reference:
            raise InputError(f"The reward needs {self.metric!r} of the original network, which is {reference}.")
        return float(measured) / float(reference)


def _remedy(metric: str) -> str:
    if metric in CLOCK_METRICS:
        return "times are measured by one worker alone, so use one worker"
    return "use a metric that this evaluator measures, and a new folder if trials of an older version are stored in this one"


class Reward(Protocol):
    """What the environments need of a reward.

    One that hangs on the task has `of_task(measures, score)`, too, which returns the reward to pay: `measures` says of each
    metric what it is, `score` which of them stands for the accuracy.

    Attributes:
        objectives: the metrics that it sees.
        relative: whether it needs the original network's trial.
        penalty: what a design gets that was terminated, failed, or broke a constraint.
    """

    objectives: tuple[Objective, ...]
    relative: bool
    penalty: float

    def __call__(self, trial: Trial, original: Trial | None = None) -> float:
        """The reward of `trial`; `original` is the original network's trial, needed if an objective is relative."""
        ...


def reward_of(reward: Reward, measures: Mapping[str, Measure], score: str) -> Reward:
    """A reward where it meets a task.

    Args:
        reward: as the user gave it.
        measures: what each metric of the task's trials is.
        score: the metric that stands for accuracy.

    Raises:
        InputError: if it sees an unknown metric or a test figure, or cannot be of this score.
    """
    found: Reward = reward.of_task(measures, score) if hasattr(reward, "of_task") else reward
    for objective in found.objectives:
        if objective.metric.startswith("test_"):
            raise InputError(f"The reward sees {objective.metric!r}; test figures never reach a learner.")
        if objective.metric not in measures:
            raise _unknown(objective.metric, measures)
    return found


def _unknown(metric: str, measures: Mapping[str, Measure]) -> InputError:
    return InputError.unknown("metric", metric, [name for name in measures if not name.startswith("test_")])


class PaperReward:
    """Equation 2: `-1` if terminated, else `c_A * A - c_S * S` with `c_A + c_S = 1`, `A` in percent and `S` in MB.

    Args:
        accuracy_weight: c_A, 0 to 1. The paper gives no value: 0.5 is ours, with which Fig. 9's highest rewards, 31 and 36,
            agree. With it 1 MB weighs as much as one point of accuracy.
        accuracy_score: `"final"` takes `A` as it is; `"per_epoch"` divides it by the epochs that the trial needed to
            meet the loss threshold (VI-A; it contradicts the maximum of 36 in Fig. 9, so it is not the default).
        below_zero: `"squeezed"` makes a sum s below 0 s / (1 - s), which keeps the order and stays above -1 (ours: most of
            Table III's designs of U-Net and GoogLeNet score far below -1, and Fig. 9's lowest reward is the -1 of the
            terminated alone); `"printed"` leaves it as Equation 2 has it.

    Raises:
        InputError: if the weight is not within 0 to 1, or there is no such score or such a way below zero.
    """

    penalty = -1.0
    relative = False

    def __init__(
        self,
        accuracy_weight: float = 0.5,
        accuracy_score: Literal["final", "per_epoch"] = "final",
        below_zero: Literal["squeezed", "printed"] = "squeezed",
    ) -> None:
        accuracy_weight = number("accuracy weight of Eq. 2", accuracy_weight, least=0, most=1)
        if accuracy_score not in ("final", "per_epoch"):
            raise InputError.unknown("accuracy score", accuracy_score, ("final", "per_epoch"))
        if below_zero not in ("squeezed", "printed"):
            raise InputError.unknown("way below zero", below_zero, ("squeezed", "printed"))
        self.below_zero = below_zero
        self.accuracy_weight = accuracy_weight
        self.accuracy_score = accuracy_score
        self.score = "validation_accuracy"
        self._see()

    def _see(self) -> None:
        epochs = ["epochs_to_threshold"] if self.accuracy_score == "per_epoch" else []
        self.objectives = tuple(Objective(name, False) for name in (self.score, "model_size_mb", *epochs))

    def of_task(self, measures: Mapping[str, Measure], score: str) -> PaperReward:
        """The same with this metric as A.

        Raises:
            InputError: if the score is no fraction of which more is better.
        """
        if score == self.score:
            return self
        measure = measures[score]
        if not (measure.fraction and measure.better > 0):
            raise InputError(
                f"Eq. 2 weighs percent of accuracy against MB, and the score {score!r} is in {measure.unit!r}; reward it with a "
                "WeightedReward."
            )
        return self._with(score=score)

    def _with(self, **changed: str) -> PaperReward:
        other = copy.copy(self)
        vars(other).update(changed)
        other._see()
        return other

    def __call__(self, trial: Trial, original: Trial | None = None) -> float:
        if trial.status != "completed":
            return self.penalty
        total = self.printed(trial)
        if total >= 0 or self.below_zero == "printed":
            return total
        # The last float above the penalty, where the sum is so low that rounding would reach it.
        return max(total / (1 - total), math.nextafter(self.penalty, 0.0))

    def per_epoch(self) -> PaperReward:
        """The same with A divided by the epochs (VI-A), as it is under a running budget, where these differ."""
        return self._with(accuracy_score="per_epoch")

    def printed(self, trial: Trial) -> float:
        """Equation 2's sum of a completed trial, as the paper prints it."""
        accuracy, size, *epochs = (objective.value(trial, None) for objective in self.objectives)
        if epochs:
            accuracy /= max(1, epochs[0])
        return self.accuracy_weight * 100 * accuracy - (1 - self.accuracy_weight) * size

    def __str__(self) -> str:
        per_epoch = ", A per epoch" if self.accuracy_score == "per_epoch" else ""
        below = ", as printed below 0" if self.below_zero == "printed" else ""
        score = "" if self.score == "validation_accuracy" else f", A is {self.score}"
        return f"Eq. 2 with c_A = {self.accuracy_weight:g}{per_epoch}{below}{score}"

    def __repr__(self) -> str:
        return (
            f"PaperReward(accuracy_weight={self.accuracy_weight}, accuracy_score={self.accuracy_score!r}, "
            f"below_zero={self.below_zero!r})"
        )


class Constraint(NamedTuple):
    """A bound on an objective: `inference_ms_per_batch <= 5`, or `validation_accuracy >= original - 0.005`."""

    objective: Objective
    relation: str
    bound: float
    from_original: bool

    @classmethod
    def parse(cls, text: str) -> Constraint:
        """Reads an objective, `<=` or `>=`, and a number, `original`, or `original` plus or minus a number.

        Raises:
            InputError: if it cannot be read.
        """
        if not isinstance(text, str):
            raise InputError(f"The constraint {text!r} is no text; write it as 'inference_ms_per_batch <= 5'.")
        match = re.fullmatch(r"\s*(.+?)\s*(<=|>=)\s*(original\b)?\s*(.*?)\s*", text)
        bound = None
        if match:
            amount = match[4].replace(" ", "")
            if match[3] and (not amount or amount[0] in "+-"):
                bound = _number(amount or "0")
            elif not match[3]:
                bound = _number(amount)
        if not match or bound is None:
            raise InputError(f"The constraint {text!r} cannot be read; write it as 'inference_ms_per_batch <= 5'.")
        return cls(Objective.parse(match[1]), match[2], bound, bool(match[3]))

    def __str__(self) -> str:
        bound = f"original {self.bound:+g}" if self.from_original else f"{self.bound:g}"
        return f"{self.objective} {self.relation} {bound}"

    @property
    def relative(self) -> bool:
        """Whether the original network's trial is needed."""
        return self.from_original or self.objective.relative

    def holds(self, trial: Trial, original: Trial | None) -> bool:
        """Whether a completed trial keeps the bound."""
        return self.excess(self.objective.value(trial, original), original) <= 0

    def excess(self, value: float, original: Trial | None) -> float:
        """How far a value of the objective is beyond the bound; 0 or below where it keeps it."""
        bound = self.bound
        if self.from_original:
            if original is None:
                raise InputError(f"The constraint '{self}' needs the original network's trial; give it.")
            bound += self.objective.value(original, original)
        if math.isclose(value, bound, rel_tol=1e-9):  # 0.8 - 0.1 is a little above 0.7
            return 0.0
        return value - bound if self.relation == "<=" else bound - value


class WeightedReward:
    """A weighted sum of any metrics, with constraints: the paper's "arbitrary set of objectives and constraints" (I).

    `sum(weight * value)`, where what is better small (size, times, loss) counts negatively, so that every weight is
    positive. Ours: the penalty of a design that was terminated, failed or broke a constraint is -2T, T being the sum of the
    weights. It lies below every feasible reward: a sum s below -T becomes -2T - T^2/s, which keeps the order.

    Args:
        weights: by objective, such as `{"validation_accuracy": 1, "model_size_mb / original": 0.2}`.
        constraints: such as `["inference_ms_per_batch <= 5"]`. A bound can be the original network's own value, plus or
            minus a number: `"validation_accuracy >= original - 0.005"` keeps within half a point of it.

    Attributes:
        weights: as given.
        constraints: as given.

    Raises:
        InputError: for a negative weight, weights that are all zero, or an objective or constraint that cannot be read.
    """

    def __init__(self, weights: Mapping[str, float], constraints: Iterable[str] = ()) -> None:
        if not isinstance(weights, Mapping):
            raise InputError(
                f"The weights of the reward are {weights!r}; give a weight by objective, as {{'flops': 1}}."
            )
        if isinstance(constraints, str) or not isinstance(constraints, Iterable):
            raise InputError(f"The constraints of the reward are {constraints!r}; give a list of texts.")
        self.weights = dict(weights)
        self._measures: Mapping[str, Measure] = METRICS
        self._weights: dict[Objective, float] = {}
        for text, weight in weights.items():
            if not (is_number(weight) and weight >= 0):
                raise InputError(
                    f"The weight of {text!r} is {weight!r}; weights are positive, and what is better small counts "
                    "negatively by itself."
                )
            objective = Objective.parse(text)
            if objective in self._weights:
                raise InputError(f"The objective {str(objective)!r} has two weights; give it one.")
            self._weights[objective] = float(weight)
        total = sum(self._weights.values())
        if total == 0:
            raise InputError("The weights of the reward are all zero; give at least one that is positive.")
        self.constraints = tuple(constraints)
        self._constraints = tuple(Constraint.parse(text) for text in self.constraints)
        self._total = total
        self.penalty = -2 * total
        self.relative = any(o.relative for o in self._weights) or any(c.relative for c in self._constraints)
        constrained = [constraint.objective for constraint in self._constraints]
        self.objectives = tuple(dict.fromkeys([*self._weights, *constrained]))

    def __call__(self, trial: Trial, original: Trial | None = None) -> float:
        if trial.status != "completed":
            return self.penalty
        if self.broken(trial, original):
            return self.penalty
        total = sum(
            self._better(objective) * weight * objective.value(trial, original)
            for objective, weight in self._weights.items()
        )
        # Below -T the sum is squeezed into the range down to the penalty, -2T, without ever reaching it or losing its order.
        if total >= -self._total:
            return total
        # The last float above the penalty, where the sum is so low that rounding would reach it.
        return max(self.penalty - self._total**2 / total, math.nextafter(self.penalty, 0.0))

    def of_task(self, measures: Mapping[str, Measure], score: str) -> WeightedReward:
        """The same with these metrics known, which say which way is better."""
        if all(objective.metric in METRICS for objective in self.objectives):
            return self
        other = copy.copy(self)
        other._measures = measures
        return other

    def _better(self, objective: Objective) -> int:
        if objective.metric not in self._measures:
            raise _unknown(objective.metric, self._measures)
        return self._measures[objective.metric].better

    @property
    def of_original(self) -> frozenset[str]:
        """The metrics that it sees of the original network."""
        relative = [objective.metric for objective in self.objectives if objective.relative]
        compared = [constraint.objective.metric for constraint in self._constraints if constraint.from_original]
        return frozenset([*relative, *compared])

    def broken(self, trial: Trial, original: Trial | None = None) -> list[str]:
        """The constraints that a completed trial does not keep."""
        return [str(constraint) for constraint in self._constraints if not constraint.holds(trial, original)]

    def __str__(self) -> str:
        low = {name for name, measure in self._measures.items() if measure.better < 0}
        terms = [
            f"{'-' if objective.metric in low else '+'} {weight:g} {objective}"
            for objective, weight in self._weights.items()
        ]
        bounds = f", if {' and '.join(self.constraints)}" if self.constraints else ""
        return " ".join(terms).removeprefix("+ ") + bounds

    def __repr__(self) -> str:
        weights = {str(objective): weight for objective, weight in self._weights.items()}
        return f"WeightedReward({weights}, {[str(constraint) for constraint in self._constraints]})"


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None
