"""What every reward owes to its users, as tests."""

from __future__ import annotations

import dataclasses
import itertools
import math
import numbers
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from marl_hpo_env.errors import InputError
from marl_hpo_env.reward import Objective, Reward
from marl_hpo_env.space import Design
from marl_hpo_env.trial import METRICS, Request, Trial


class RewardConformance:
    """A reward's conformance tests; a subclass, whose name begins with `Test`, says how the reward is made.

    They reward trials that lie between very good and very bad in every metric.

    Attributes:
        monotone: whether a better value of a metric is never worse, "better" being what `METRICS` says.
        penalty_is_lowest: whether no completed trial's reward lies below the penalty.
    """

    monotone: bool = True
    penalty_is_lowest: bool = True

    def make(self) -> Reward:
        """A new reward; every call makes one alike."""
        raise NotImplementedError("A subclass of RewardConformance makes its reward in make().")

    # --- what it says of itself --------------------------------------------------------------------------------------

    def test_it_says_what_it_sees(self) -> None:
        reward = self.make()
        objectives = reward.objectives
        assert isinstance(objectives, tuple), f"The reward's objectives are {objectives!r}, which is no tuple."
        for objective in objectives:
            assert isinstance(objective, Objective), f"The reward sees {objective!r}, which is no Objective."
            assert objective.metric in METRICS, f"The reward sees {objective.metric!r}, which is not in METRICS."
        assert isinstance(reward.relative, bool), f"The reward's relative is {reward.relative!r}, which is no bool."
        relative = [str(objective) for objective in objectives if objective.relative]
        assert reward.relative or not relative, f"The reward says that it is not relative, and sees {relative[0]!r}."
        assert _is_finite(reward.penalty), f"The reward's penalty is {reward.penalty!r}, which is no finite number."

    def test_it_needs_the_original_only_where_it_says_so(self) -> None:
        reward = self.make()
        if reward.relative:
            return
        for trial in _trials():
            rewards = [reward(trial, original) for original in (_original(), None, trial)]
            assert len(set(rewards)) == 1, (
                f"The reward is not relative, and with other originals it is one of {rewards}."
            )

    # --- what it gives -----------------------------------------------------------------------------------------------

    def test_a_completed_trial_gets_a_finite_number(self) -> None:
        reward = self.make()
        for trial in _trials():
            value = reward(trial, _original())
            assert _is_finite(value), (
                f"The reward of a completed trial is {value!r}, which is no finite number.\n{trial}"
            )

    def test_a_trial_that_did_not_complete_gets_the_penalty(self) -> None:
        reward = self.make()
        for status in ("terminated", "failed"):
            for trial in _trials():
                for metrics in (trial.metrics, dict.fromkeys(METRICS), {}):
                    ended = dataclasses.replace(trial, status=status, reason="It had to.", metrics=metrics, history=())
                    value = reward(ended, _original())
                    assert value == reward.penalty, f"A trial that {status} gets {value}, not {reward.penalty}."

    def test_the_penalty_lies_below_the_rewards(self) -> None:
        reward = self.make()
        values = [reward(trial, _original()) for trial in _trials()]
        assert max(values) > reward.penalty, f"No completed trial gets more than the penalty, {reward.penalty}."
        assert not self.penalty_is_lowest or min(values) >= reward.penalty, (
            f"A completed trial gets {min(values)}, which is below the penalty, {reward.penalty}."
        )

    def test_equal_trials_get_equal_rewards(self) -> None:
        reward, other = self.make(), self.make()
        values = [reward(trial, _original()) for trial in _trials()]
        again = [reward(trial, _original()) for trial in reversed(_trials())][::-1]
        assert again == values, "The reward of the same trials is another one when they are rewarded again."
        alike = [other(trial, _original()) for trial in _trials()]
        assert alike == values, "Two rewards made alike give equal trials unequal rewards."

    def test_a_better_value_is_never_worse(self) -> None:
        reward = self.make()
        if not self.monotone:
            return
        for trial, objective in itertools.product(_trials(), reward.objectives):
            name, before = objective.metric, reward(trial, _original())
            for share in (0.01, 0.5, 0.99):
                better = _with(trial, name, _better(name, trial.metrics[name], share))
                after = reward(better, _original())
                assert after >= before - 1e-9 * max(1, abs(before)), (
                    f"With {name} {better.metrics[name]} for {trial.metrics[name]} the reward falls from {before} to {after}."
                )

    # --- what it reads -----------------------------------------------------------------------------------------------

    def test_it_does_not_change_the_trial(self) -> None:
        reward, trials, original = self.make(), _trials(), _original()
        for trial in trials:
            reward(trial, original)
        assert (trials, original) == (_trials(), _original()), "The reward changed a trial, or the original's."

    def test_it_reads_only_the_metrics_that_it_names(self) -> None:
        reward = self.make()
        seen = {objective.metric for objective in reward.objectives}
        for trial in _trials():
            for name in sorted(set(METRICS) - seen):
                self._check_unread(reward, trial, name)
            other = dataclasses.replace(trial, history=_original().history[:1])
            assert reward(other, _original()) == reward(trial, _original()), (
                "The reward reads the history; the metrics that its objectives name are all it sees."
            )

    def test_it_never_reads_a_test_figure(self) -> None:
        reward = self.make()
        tests = [name for name in METRICS if name.startswith("test_")]
        for objective in reward.objectives:
            assert objective.metric not in tests, f"The reward sees {objective}; test figures never reach a learner."
        for trial, name in itertools.product(_trials(), tests):
            self._check_unread(reward, trial, name)

    def test_what_was_not_measured_is_refused_or_done_without(self) -> None:
        reward = self.make()
        for objective in reward.objectives:
            trial = _with(_original(), objective.metric, None)
            try:
                value = reward(trial, _original())
            except InputError:
                continue
            except Exception as error:
                raise AssertionError(
                    f"Without {objective.metric} the reward raised {error!r} and no InputError."
                ) from error
            assert _is_finite(value), f"Without {objective.metric} the reward is {value!r}, which is no finite number."

    def _check_unread(self, reward: Reward, trial: Trial, name: str) -> None:
        """Whether the reward is the same whatever the trial, and the original's, have of a metric."""
        original = _original()
        value = reward(trial, original)
        for other in (0.5, 1.0, 0.0, None):
            changed = reward(_with(trial, name, other), original), reward(trial, _with(original, name, other))
            assert changed == (value, value), f"The reward reads {name!r}, which its objectives do not name."


def _with(trial: Trial, metric: str, value: float | None) -> Trial:
    return dataclasses.replace(trial, metrics={**trial.metrics, metric: value})


def _completed(design: Design | None, metrics: Mapping[str, float]) -> Trial:
    """A trial of three epochs, which were all alike."""
    figures = {name: value for name, value in metrics.items() if METRICS[name].of == "epoch"}
    return Trial(Request(design, 0, 3), "completed", None, dict(metrics), (figures,) * 3)


def _metrics(fraction: Callable[[], float], count: Callable[[], float], other: Callable[[], float]) -> dict[str, float]:
    """Every metric: fractions, numbers of epochs, and what is any positive number."""
    kinds = {name: fraction for name, measure in METRICS.items() if measure.fraction}
    kinds |= {name: count for name in METRICS if name.startswith("epochs")}
    return {name: kinds.get(name, other)() for name in METRICS}


def _original() -> Trial:
    """The original network's trial."""
    return _completed(None, _metrics(lambda: 0.6, lambda: 10.0, lambda: 20.0))


def _trials() -> list[Trial]:
    """Completed trials, always the same ones: the best, the worst, one as the original's, and others between them."""
    rng = np.random.default_rng(0)
    return [
        _completed((0,), _metrics(lambda: 1.0, lambda: 1.0, lambda: 1e-3)),
        _completed((1,), _metrics(lambda: 0.0, lambda: 100.0, lambda: 1e9)),
        dataclasses.replace(_original(), request=Request((2,), 0, 3)),
        *(
            _completed(
                (n,), _metrics(rng.random, lambda: float(rng.integers(1, 31)), lambda: 10.0 ** rng.uniform(-1, 4))
            )
            for n in range(3, 23)
        ),
    ]


def _better(name: str, value: float | None, share: float) -> float:
    """A value that is nearer to the best one, 1 or 0, by this share."""
    assert value is not None
    return value + share * (1.0 - value) if METRICS[name].better > 0 else value * (1.0 - share)


def _is_finite(value: Any) -> bool:
    return isinstance(value, numbers.Real) and not isinstance(value, bool) and math.isfinite(value)
