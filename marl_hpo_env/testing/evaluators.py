"""What every evaluator owes to its users, as tests."""

from __future__ import annotations

import itertools
import math
import re
from collections import Counter
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any, NoReturn, get_args

from marl_hpo_env.catalog.task import Task
from marl_hpo_env.environments.registration import env
from marl_hpo_env.errors import InputError
from marl_hpo_env.evaluators.evaluator import Evaluator, is_exhaustive
from marl_hpo_env.metrics import Metric, measures
from marl_hpo_env.reward import Objective
from marl_hpo_env.space import Design, SearchSpace
from marl_hpo_env.trial import CLOCK_METRICS, TIME_METRICS, Request, Status, Trial


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
                assert is_sentence(trial.reason), (
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


def is_sentence(text: Any) -> bool:
    """Whether it is one line that begins and ends as a sentence does."""
    return isinstance(text, str) and re.fullmatch(r"[A-Z0-9'\"].*[.?!]", text) is not None


def _is_plain_number(value: Any) -> bool:
    """Whether it is a number that a store can write."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def _nothing_to_train() -> NoReturn:
    raise InputError("The task of a conformance suite has no network and no data; an evaluator evaluates without them.")
