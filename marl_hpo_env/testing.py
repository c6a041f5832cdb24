"""Conformance suites: what every evaluator, reward, reader of data and rule of a module type owes to its users, as tests.

    from marl_hpo_env.testing import EvaluatorConformance


    class TestMine(EvaluatorConformance):
        def make(self):
            return Mine()

pytest finds the inherited tests; they need no other package. `agents.testing` has the suite for learners. Whatever trains is
tested on a CPU: on a GPU the last digits of equal trainings can differ.

`SPACES`, `chain` and `space_of` are search spaces for tests.
"""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import math
import numbers
import pickle
import re
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NoReturn, get_args

import numpy as np

from marl_hpo_env.catalog.task import Task
from marl_hpo_env.environments.registration import env
from marl_hpo_env.errors import InputError
from marl_hpo_env.evaluators.evaluator import Evaluator, is_exhaustive
from marl_hpo_env.metrics import Metric, measures
from marl_hpo_env.reward import Objective, Reward
from marl_hpo_env.space import Design, Layer, SearchSpace
from marl_hpo_env.trial import CLOCK_METRICS, METRICS, TIME_METRICS, Request, Status, Trial

if TYPE_CHECKING:
    import torch

    from marl_hpo_env.data.splits import Data


# --- search spaces ---------------------------------------------------------------------------------------------------


def space_of(*sizes: int, pairs: Iterable[tuple[int, int]] = ()) -> SearchSpace:
    """Layers `layer0`, `layer1` and so on, of one hyperparameter each.

    Args:
        sizes: each layer's number of actions, from 1.
        pairs: indices (feeding, fed) of layers, the lower one first; by default no layer feeds another.
    """
    feeding: list[list[str]] = [[] for _ in sizes]
    for i, j in pairs:
        feeding[j].append(f"layer{i}")
    return SearchSpace(
        Layer(f"layer{p}", "Linear", {"out_features": range(size)}, tuple(feeding[p])) for p, size in enumerate(sizes)
    )


def chain(*sizes: int) -> SearchSpace:
    """Layers of so many actions each, every one fed by the one before it."""
    return space_of(*sizes, pairs=itertools.pairwise(range(len(sizes))))


_CONV = {"out_channels": (8, 16), "kernel_size": (3, 5)}
_FIXED = {"kernel_size": ((3, 3),)}

SPACES: Mapping[str, SearchSpace] = {
    "chain": SearchSpace(
        [
            Layer("conv1", "Conv2d", _CONV),
            Layer("conv2", "Conv2d", _CONV, ("conv1",)),
            Layer("fc", "Linear", _CONV, ("conv2",)),
        ]
    ),
    "fork": SearchSpace(
        [
            Layer("stem", "Conv2d", _CONV),
            Layer("left", "Conv2d", _CONV, ("stem",)),
            Layer("right", "Conv2d", _CONV, ("stem",)),
        ]
    ),
    "merge": SearchSpace(
        [
            Layer("left", "Conv2d", _CONV),
            Layer("right", "Conv2d", _CONV),
            Layer("head", "Linear", _CONV, ("left", "right")),
        ]
    ),
    "diamond": SearchSpace(
        [
            Layer("stem", "Conv2d", _CONV),
            Layer("left", "Conv2d", _CONV, ("stem",)),
            Layer("right", "Conv2d", {"kernel_size": (1, 3, 5)}, ("stem",)),
            Layer("head", "Linear", {"out_features": (16, 32)}, ("left", "right")),
        ]
    ),
    "single": SearchSpace([Layer("conv", "Conv2d", {"out_channels": (4, 8, 16)})]),
    "unequal": SearchSpace(
        [
            Layer("conv", "Conv2d", {"out_channels": (8, 16)}),
            Layer("pool", "MaxPool2d", {"kernel_size": (1, 2, 3, 4, 5)}, ("conv",)),
            Layer("fixed", "Conv2d", {"out_channels": (8,)}, ("pool",)),
            Layer("fc", "Linear", {"out_features": (16, 32, 64)}, ("fixed",)),
        ]
    ),
    "unconnected": space_of(4, 2, 3),
    "fixed ends": SearchSpace(
        [
            Layer("first", "Conv2d", _FIXED),
            Layer("middle", "Conv2d", {"kernel_size": ((1, 1), (3, 3), (1, 3)), "bias": (True, False)}, ("first",)),
            Layer("last", "Conv2d", _FIXED, ("middle",)),
        ]
    ),
    "one design": SearchSpace([Layer("first", "Conv2d", _FIXED), Layer("last", "Conv2d", _FIXED, ("first",))]),
    # Names as modules have them, of which two are one where a dot becomes an underscore.
    "dotted names": SearchSpace(
        [
            Layer("block.0", "Conv2d", _CONV),
            Layer("block_0", "Conv2d", {"kernel_size": (1, 3, 5)}, ("block.0",)),
            Layer("block.0.fc", "Linear", {"out_features": (16, 32)}, ("block.0", "block_0")),
        ]
    ),
}
"""Small search spaces, by the name of their shape; the largest has 96 designs."""


# --- evaluators ------------------------------------------------------------------------------------------------------


class EvaluatorConformance:
    """An evaluator's conformance tests; a subclass, whose name begins with `Test`, says how the evaluator is made.

    Attributes:
        seeds: those that are asked for, at least one.
        epochs: as many are asked for, from 1.
        designs: how many are tried, at least one; the space's where it has fewer. With the original network and all seeds, a
            test evaluates each up to three times.
        metrics: of the task's own, by name.
    """

    seeds: Sequence[int] = (0, 1)
    epochs: int = 2
    designs: int = 3
    metrics: Mapping[str, Metric] = {}

    def make(self) -> Evaluator:
        """A new evaluator; every call makes one alike."""
        raise NotImplementedError("A subclass of EvaluatorConformance makes its evaluator in make().")

    # --- what it says of itself --------------------------------------------------------------------------------------

    def test_it_says_what_it_evaluates(self) -> None:
        evaluator, other = self.make(), self.make()
        for name, kind in (("space", SearchSpace), ("fingerprint", str), ("measures_time", bool)):
            value = getattr(evaluator, name, None)
            assert isinstance(value, kind), f"The evaluator's {name} is {value!r}, which is no {kind.__name__}."
            assert value != "", "The evaluator's fingerprint is empty; it names what its trials depend on."
            assert value == getattr(other, name), f"Of two evaluators made alike, the {name} differs."
        before = evaluator.fingerprint, evaluator.space.describe()
        self._answers(evaluator, self._with_the_original(evaluator))
        after = evaluator.fingerprint, evaluator.space.describe()
        assert after == before, "The evaluator's fingerprint or space changed while it evaluated."

    def test_unmeasured_metrics_are_in_no_trial(self) -> None:
        evaluator = self.make()
        unmeasured: frozenset[str] = getattr(evaluator, "unmeasured", frozenset())
        unknown = sorted(map(str, set(unmeasured) - set(measures(self.metrics))))
        assert not unknown, f"The evaluator says that it does not measure {unknown[0]!r}, which is no metric."
        for trial in self._answers(evaluator, self._with_the_original(evaluator)):
            for name in unmeasured:
                value = trial.metrics.get(name)
                assert value is None, f"The evaluator says that it does not measure {name!r}, and a trial has {value}."

    def test_times_are_there_where_it_measures_them(self) -> None:
        evaluator = self.make()
        for trial in self._answers(evaluator, self._with_the_original(evaluator)):
            for name in TIME_METRICS:
                value = trial.metrics.get(name)
                if not evaluator.measures_time:
                    assert value is None, (
                        f"The evaluator says that it measures no time, and a trial has {name} {value}."
                    )
                elif trial.status == "completed":
                    assert value is not None, f"The evaluator says that it measures time, and a trial has no {name}."

    def test_an_exhaustive_one_answers_for_every_design(self) -> None:
        evaluator = self.make()
        exhaustive = getattr(evaluator, "exhaustive", False)
        assert isinstance(exhaustive, bool), f"The evaluator's exhaustive is {exhaustive!r}, which is no bool."
        if not is_exhaustive(evaluator):
            return
        for seed in self.seeds:
            for design in _spread(evaluator.space, 100):
                try:
                    self._answers(evaluator, [Request(design, seed, self.epochs)])
                except InputError as error:
                    raise AssertionError(
                        f"The evaluator says that it is exhaustive, and refuses {design}: {error}"
                    ) from error

    def test_check_refuses_what_it_cannot_answer(self) -> None:
        evaluator = self.make()
        check = getattr(evaluator, "check", None)
        if check is None:
            return
        for seed in self.seeds:
            refused = _refusal(check, seed, self.epochs)
            assert refused is None, f"The evaluator's check refuses what the suite asks for: {refused}"
        (design,) = _spread(evaluator.space, 1)
        for seed, epochs in ((max(self.seeds) + 1000, self.epochs), (self.seeds[0], self.epochs + 1000)):
            request = Request(design, seed, epochs)
            if _refusal(check, seed, epochs):
                refused = _refusal(self._answers, evaluator, [request])
                assert refused, f"The evaluator's check refuses seed {seed} and {epochs} epochs, and it answers them."
            elif epochs == self.epochs:
                refused = _refusal(self._answers, evaluator, [request])
                assert not refused, f"The evaluator's check accepts seed {seed}, and it refuses that: {refused}"

    def test_its_task_has_a_name(self) -> None:
        name = getattr(self.make(), "task_name", "not said")
        assert isinstance(name, str), f"The evaluator's task_name is {name!r}, which is no str."
        assert name, "The evaluator's task_name is empty; leave it out where there is none."

    # --- what it answers ---------------------------------------------------------------------------------------------

    def test_every_request_is_answered_once_and_a_repeated_one_as_often(self) -> None:
        evaluator = self.make()
        requests = self._under_every_seed(evaluator)
        self._answers(evaluator, (*requests, requests[0], requests[-1], requests[0]))

    def test_no_request_gives_no_trial(self) -> None:
        trials = list(self.make().evaluate([]))
        assert not trials, f"The evaluator was asked for nothing, and answered {trials[0]!r}."

    def test_the_original_network_is_answered(self) -> None:
        evaluator = self.make()
        refused = _refusal(self._answers, evaluator, [Request(None, self.seeds[0], self.epochs)])
        assert refused is None, f"The evaluator refuses the original network; a trial that failed says why: {refused}"

    def test_a_trial_says_whether_it_completed_and_else_why(self) -> None:
        evaluator, statuses = self.make(), get_args(Status)
        for trial in self._answers(evaluator, self._with_the_original(evaluator)):
            assert trial.status in statuses, f"A trial's status is {trial.status!r}; there are {', '.join(statuses)}."
            if trial.status != "completed":
                assert _is_sentence(trial.reason), (
                    f"A trial's status is {trial.status!r} and its reason {trial.reason!r}, which is not one sentence."
                )
            assert trial.status == "failed" or not trial.accidental, (
                f"A trial is accidental and its status {trial.status!r}; only one that failed can be."
            )

    def test_metrics_are_known_finite_numbers_or_none(self) -> None:
        evaluator, known = self.make(), measures(self.metrics)
        for trial in self._answers(evaluator, self._with_the_original(evaluator)):
            for name, value in trial.metrics.items():
                assert name in known, f"A trial has the metric {name!r}, which is not in METRICS."
                if value is None:
                    continue
                assert _is_plain_number(value), f"A trial's {name} is {value!r}, which is neither int nor float."
                assert math.isfinite(value), f"A trial's {name} is {value}; what was not measured is None."
                if name.endswith("_accuracy"):
                    assert 0 <= value <= 1, f"A trial's {name} is {value}; it is a fraction from 0 to 1."

    def test_the_history_has_the_metrics_of_each_epoch(self) -> None:
        evaluator, known = self.make(), measures(self.metrics)
        for trial in self._answers(evaluator, self._with_the_original(evaluator)):
            length = len(trial.history)
            assert length <= self.epochs, f"A trial of {self.epochs} epochs has a history of {length}."
            for name, value in itertools.chain.from_iterable(figures.items() for figures in trial.history):
                assert name in known and known[name].of == "epoch", (  # noqa: PT018
                    f"A trial's history has {name!r}, which is no metric of an epoch."
                )
                assert _is_plain_number(value), f"In a trial's history {name} is {value!r}, neither int nor float."

    def test_equal_requests_give_equal_trials(self) -> None:
        evaluator, other = self.make(), self.make()
        requests = [Request(None, self.seeds[0], self.epochs), *self._under_every_seed(evaluator)]
        trials = {trial.request: trial for trial in self._answers(evaluator, requests)}
        for trial in self._answers(evaluator, requests[::-1]):
            self._compare(trials[trial.request], trial, "by the same evaluator")
        for request in requests[::-1]:
            (trial,) = self._answers(other, [request])
            self._compare(trials[request], trial, "by an evaluator made alike, which was asked one by one")

    def test_a_design_that_is_not_of_the_space_is_refused(self) -> None:
        evaluator = self.make()
        (design,) = _spread(evaluator.space, 1)
        beyond = (*design[:-1], evaluator.space.sizes[-1])
        for wrong in (design[:-1], (*design, 0), beyond, (-1, *design[1:])):
            request = Request(wrong, self.seeds[0], self.epochs)
            try:
                trials = list(evaluator.evaluate([request]))
            except InputError:
                continue
            except Exception as error:
                raise AssertionError(
                    f"Asked for {wrong}, which is no design of its space, the evaluator raised {error!r} and no InputError."
                ) from error
            raise AssertionError(
                f"Asked for {wrong}, which is no design of its space, the evaluator answered {trials}."
            )

    # --- how it is used ----------------------------------------------------------------------------------------------

    def test_it_can_be_left_in_the_middle_and_asked_again(self) -> None:
        evaluator = self.make()
        requests = self._under_every_seed(evaluator)
        left = iter(evaluator.evaluate(requests))
        next(left, None)
        # An iterator that nobody closed lives as long as something, such as a traceback, knows it.
        after = iter(evaluator.evaluate(requests))
        trials = list(itertools.islice(after, 1))
        if isinstance(left, Generator):
            left.close()
        del left
        trials.extend(after)
        _check_answered(requests, trials)
        self._answers(evaluator, requests)

    def test_it_can_be_played(self) -> None:
        evaluator = self.make()
        seed, space = self.seeds[0], evaluator.space
        task = Task("conformance", _nothing_to_train, _nothing_to_train)
        environment = env(task, evaluator, reward=_Completion(), epochs=self.epochs, seed=seed)
        for design in _spread(space, min(2, self.designs)):
            environment.reset()
            picks, rewards = iter(design), []
            for _ in environment.agent_iter():
                _, reward, terminated, _, _ = environment.last()
                rewards += [reward] if terminated else []
                environment.step(None if terminated else next(picks))
            trial = environment.unwrapped.trial
            assert trial.request == Request(design, seed, self.epochs), (
                f"Played {design}, the trial is {trial.request}."
            )
            expected = [_Completion()(trial)] * len(space)
            assert rewards == expected, f"Played {design}, which is {trial.status}, the rewards are {rewards}."

    def _under_every_seed(self, evaluator: Evaluator) -> list[Request]:
        """Some designs under every seed."""
        designs = _spread(evaluator.space, self.designs)
        return [Request(design, seed, self.epochs) for design in designs for seed in self.seeds]

    def _with_the_original(self, evaluator: Evaluator) -> list[Request]:
        """The original and some designs under one seed."""
        return [
            Request(design, self.seeds[0], self.epochs) for design in (None, *_spread(evaluator.space, self.designs))
        ]

    def _answers(self, evaluator: Evaluator, requests: Sequence[Request]) -> list[Trial]:
        """The trials of these requests, of which each is answered once."""
        trials = list(evaluator.evaluate(requests))
        _check_answered(requests, trials)
        return trials

    def _compare(self, first: Trial, second: Trial, when: str) -> None:
        """What a clock did not give is equal; what failed by accident says nothing."""
        if first.accidental or second.accidental:
            return
        names = [name for name in measures(self.metrics) if name not in CLOCK_METRICS]
        figures: list[tuple[str, Any, Any]] = [
            ("status", first.status, second.status),
            ("reason", first.reason, second.reason),
            *((name, first.metrics.get(name), second.metrics.get(name)) for name in names),
            ("history", [dict(epoch) for epoch in first.history], [dict(epoch) for epoch in second.history]),
        ]
        for name, a, b in figures:
            # NaN, which is not equal to itself, is of what did not complete.
            assert a == b or repr(a) == repr(b), f"Evaluated again {when}, {first.request} has the {name} {b}, not {a}."


class _Completion:
    """The reward that tells only whether a trial completed, which every evaluator measures."""

    objectives: tuple[Objective, ...] = ()
    relative = False
    penalty = -1.0

    def __call__(self, trial: Trial, original: Trial | None = None) -> float:
        return 1.0 if trial.status == "completed" else self.penalty


def _spread(space: SearchSpace, count: int) -> list[Design]:
    """Up to so many designs of a space, the first and others evenly spread."""
    count = min(count, space.size)
    return [space.design_at(number * (space.size - 1) // max(1, count - 1)) for number in range(count)]


def _check_answered(requests: Sequence[Request], trials: Sequence[Trial]) -> None:
    """Whether there is one trial of each request, told by what is written, so that 1 is neither True nor an array's."""
    for trial in trials:
        assert isinstance(trial, Trial), f"The evaluator answered {trial!r}, which is no Trial."
    asked, answered = Counter(map(repr, requests)), Counter(repr(trial.request) for trial in trials)
    for request in answered | asked:
        assert answered[request] == asked[request], (
            f"The evaluator was asked for {request} {asked[request]} times, and answered it {answered[request]} times."
        )


def _refusal(call: Callable[..., Any], *arguments: Any) -> InputError | None:
    """What the call raised, where that is an `InputError`."""
    try:
        call(*arguments)
    except InputError as error:
        return error
    return None


def _is_sentence(text: Any) -> bool:
    """Whether it is one line that begins and ends as a sentence does."""
    return isinstance(text, str) and re.fullmatch(r"[A-Z0-9'\"].*[.?!]", text) is not None


def _is_plain_number(value: Any) -> bool:
    """Whether it is a number that a store can write."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def _nothing_to_train() -> NoReturn:
    raise InputError("The task of a conformance suite has no network and no data; an evaluator evaluates without them.")


# --- rewards ---------------------------------------------------------------------------------------------------------


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


# --- data ------------------------------------------------------------------------------------------------------------


class DataConformance:
    """A data reader's conformance tests; a subclass, whose name begins with `Test`, says how the data are read.

    Every test reads them anew, and most look at every example: of a large data set test a small copy.
    """

    def make(self) -> Data:
        """The data, read anew."""
        raise NotImplementedError("A subclass of DataConformance reads its data in make().")

    def test_the_splits_are_alike_and_none_is_empty(self) -> None:
        data = self._read()
        for name, examples in data.splits().items():
            assert len(examples[0]) == len(examples[1]) > 0, (
                f"The {name} split has {len(examples[0])} inputs and {len(examples[1])} targets."
            )
            for what, part, first in zip(("inputs", "targets"), examples, data.train, strict=True):
                ours, theirs = ((tuple(tensor.shape[1:]), tensor.dtype) for tensor in (part, first))
                assert ours == theirs, (
                    f"The {name} split has {what} of shape {ours[0]} and {ours[1]}, training of {theirs[0]} and {theirs[1]}."
                )

    def test_inputs_are_finite_numbers(self) -> None:
        for name, batch in self._batches(self._read()):
            assert batch.isfinite().all(), f"The {name} split has inputs that are not finite numbers."

    def test_targets_are_of_their_kind(self) -> None:
        import torch

        data = self._read()
        for name, (inputs, targets) in data.splits().items():
            if data.kind in ("labels", "values"):
                assert targets.dtype == torch.float32 and targets.dim() == 2, (  # noqa: PT018
                    f"The {name} split has {data.kind} of {targets.dtype} and shape {tuple(targets.shape)}; they are float32 of "
                    f"shape (n, {data.kind})."
                )
                within = targets.isfinite() if data.kind == "values" else (targets == 0) | (targets == 1)
                assert within.all(), f"The {name} split has {data.kind} with {float(targets[~within][0]):g}."
                continue
            if data.kind == "masks":
                masks = targets.dtype == torch.float32 and targets.dim() > 2 and targets.shape[2:] == inputs.shape[2:]
                assert masks, (
                    f"The {name} split has masks of {targets.dtype} and shape {tuple(targets.shape)} for inputs of shape "
                    f"{tuple(inputs.shape)}; they are float32 of the same size."
                )
                values = sorted(set(targets.unique().tolist()) - {0.0, 1.0})
                assert not values, f"The {name} split has masks with {values[0]}; they hold 0 and 1."
                continue
            assert targets.dtype == torch.int64 and targets.dim() == 1, (  # noqa: PT018
                f"The {name} split has classes of {targets.dtype} and {targets.dim()} dimensions; they are int64 of one."
            )
            known = data.train[1].unique().tolist()
            assert known == list(range(len(known))), (
                f"The classes in training are {known}; they are 0 to n - 1, each at least once."
            )
            unknown = sorted(set(targets.unique().tolist()) - set(known))
            assert not unknown, f"The {name} split has the class {unknown[0]}, which is not in training."

    def test_no_example_is_in_two_splits(self) -> None:
        where: dict[bytes, str] = {}
        for name, batch in self._batches(self._read()):
            for example in batch:
                digest = hashlib.sha256(example.contiguous().numpy().tobytes()).digest()
                found = where.setdefault(digest, name)
                assert found == name, f"An input of the {name} split is in the {found} split too."

    def test_episodes_train_on_training_examples(self) -> None:
        import torch

        data = self._read()
        chosen = data.episode_examples
        if chosen is None:
            return
        assert chosen.dtype == torch.int64 and chosen.dim() == 1, (  # noqa: PT018
            f"The examples of an episode are {chosen.dtype} of {chosen.dim()} dimensions; they are int64 of one."
        )
        count = len(data.train[0])
        assert len(chosen) > 0, "The examples of an episode are none; give None for all."
        assert 0 <= chosen.min() <= chosen.max() < count, (
            f"An episode trains on examples beyond the {count} of training."
        )
        assert len(chosen.unique()) == len(chosen), "An episode trains on an example twice."

    def test_read_again_it_is_the_same(self) -> None:
        assert self._read().digest() == self._read().digest(), "Read twice, the data have two digests."

    def test_notes_are_sentences(self) -> None:
        notes = self._read().notes
        assert isinstance(notes, tuple), f"The notes are {notes!r}, which is no tuple."
        for note in notes:
            assert _is_sentence(note), f"The note {note!r} is not one sentence."

    def test_it_can_be_moved_to_a_device(self) -> None:
        import torch

        data = self._read()
        moved = data.to(torch.device("cpu"))
        assert type(moved) is type(data), f"Moved to a device, the data are a {type(moved).__name__}."
        assert moved.digest() == data.digest(), "Moved to a device, the data have another digest."

    def test_it_can_be_sent_to_another_process(self) -> None:
        data = self._read()
        try:
            sent = pickle.loads(pickle.dumps(data))
        except Exception as error:
            raise AssertionError(f"The data cannot be sent to another process: {error!r}.") from error
        assert sent.digest() == data.digest(), "Sent to another process, the data have another digest."

    def _read(self) -> Data:
        from marl_hpo_env.data.splits import Data

        data = self.make()
        assert isinstance(data, Data), f"The reader returns a {type(data).__name__}, which is no Data."
        return data

    def _batches(self, data: Data, size: int = 256) -> Iterator[tuple[str, torch.Tensor]]:
        """All inputs, so many at a time, each with the name of its split."""
        from marl_hpo_env.data.lazy_images import in_batches

        for name, (inputs, _) in data.splits().items():
            batches = [slice(start, start + size) for start in range(0, len(inputs), size)]
            yield from ((name, batch) for batch in in_batches(inputs, batches))


# --- rules of module types -------------------------------------------------------------------------------------------


class RuleConformance:
    """Conformance tests of the rule of a module's type (`marl_hpo_env.register_rule`).

    A subclass, whose name begins with `Test`, has registered the rule and says which module it is tested on. Where the module has
    hyperparameters that can be chosen, `chosen` holds values that it does not have.
    """

    chosen: Mapping[str, Any] = {}
    channels: int = 1
    """In which dimension of the input its channels lie."""

    def make(self) -> torch.nn.Module:
        """A module of the type, made anew."""
        raise NotImplementedError("A subclass of RuleConformance makes its module in make().")

    def example(self) -> torch.Tensor:
        """What reaches the module, a batch of two; of its size and type."""
        raise NotImplementedError("A subclass of RuleConformance gives what reaches its module in example().")

    def test_what_stays_as_it_is_has_the_modules_own_weights(self) -> None:
        import torch

        module, example = self.make(), self.example()
        new = self._replaced(example.shape, {})
        try:
            new.load_state_dict(module.state_dict())
        except RuntimeError as error:
            raise AssertionError(
                f"For the input that it was made for, the rule makes another module: {error}."
            ) from error
        outputs = []
        for network in (module, new):
            torch.manual_seed(0)
            outputs.append(network.eval()(example))
        assert torch.equal(*outputs), "For the input that it was made for, the rule makes a module of other outputs."

    def test_other_widths_of_the_input_are_followed(self) -> None:
        for factor in (0.5, 2, 3):
            shape = list(self.example().shape)
            shape[self.channels] = int(shape[self.channels] * factor)
            self._runs(shape, {})

    def test_what_is_chosen_is_made(self) -> None:
        for name, value in self.chosen.items():
            new = self._runs(self.example().shape, {name: value})
            if hasattr(new, name):
                got = getattr(new, name)
                assert got in (value, (value,) * (len(got) if isinstance(got, tuple) else 1)), (
                    f"{name!r} was chosen as {value!r} and is {got!r}."
                )

    def test_it_is_made_without_values_too(self) -> None:
        new = self._replaced(self.example().shape, dict(self.chosen), "meta")
        for name, tensor in new.state_dict().items():
            assert tensor.is_meta, f"{name!r} does not lie on the device that the module is made for."

    def _replaced(self, shape: Sequence[int], chosen: Mapping[str, Any], device: str = "cpu") -> torch.nn.Module:
        import torch

        from marl_hpo_env.networks.rules import Incoming, replacement, rule_for

        module = self.make()
        assert rule_for(module) is not None, f"No rule is registered for {type(module).__name__}."
        need = replacement(module, chosen, [Incoming(tuple(shape), tuple(self.example().shape))])
        with torch.device(device):
            return need.kind(**need.arguments)

    def _runs(self, shape: Sequence[int], chosen: Mapping[str, Any]) -> torch.nn.Module:
        import torch

        new = self._replaced(shape, chosen)
        try:
            output = new(torch.ones(*shape, dtype=self.example().dtype))
        except Exception as error:
            raise AssertionError(
                f"What the rule makes does not take an input of shape {tuple(shape)}: {error}."
            ) from error
        first = output if isinstance(output, torch.Tensor) else output[0]
        assert first.isfinite().all(), f"What the rule makes for an input of shape {tuple(shape)} is not finite."
        return new
