"""What turns designs into trials, as the environments see it, and the evaluator that remembers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Protocol

from marl_hpo_env.errors import InputError, warn
from marl_hpo_env.evaluators.store import Store
from marl_hpo_env.reward import Reward
from marl_hpo_env.space import Design, SearchSpace
from marl_hpo_env.trial import TIME_METRICS, Request, Trial


class Evaluator(Protocol):
    """What the environments need of an evaluator. `marl_hpo_env.testing.EvaluatorConformance` tests one.

    Attributes:
        space: the designs that it evaluates.
        fingerprint: names everything beside the request that a trial depends on; equal fingerprints, equal trials. `-shared-`
            in it says that its trials are those of slices of shared weights, as `Trial.shared` does.
        measures_time: whether its trials carry the metrics in `TIME_METRICS`.

    An evaluator may also have these, and is then taken at its word:

    - `unmeasured`, a set of names: metrics that none of its trials has. A reward that needs one is refused at once.
    - `exhaustive`, a bool: whether it answers for every design at once, so that the best design is known (the environments
      then have a `regret`) and nothing is won by storing its trials.
    - `best(reward, seed)`: the design with the highest reward under this seed, known without asking for every design; None where
      it is not known. Only an exhaustive one is asked.
    - `epochs`, an int: the one number of epochs that its trials have; an environment asks for as many.
    - `unmeasured_of_original`, a set of names: metrics that its trial of the original network does not have.
    - `digest`, a string: of what its trials depend on beside their key, such as the checkpoint of shared weights. A store holds
      trials of one digest only.
    - `check(seed, epochs)`: raises `InputError` where it cannot answer requests of this seed and number of epochs.
    - `stands(trial)`: whether a stored trial is what its own would be; not one that a lower limit of time made fail.
    - `task_name`, a string: what its designs are tuned for; by it a store tells trials of the same task that were made under
      other conditions.
    """

    @property
    def space(self) -> SearchSpace: ...

    @property
    def fingerprint(self) -> str: ...

    @property
    def measures_time(self) -> bool: ...

    def evaluate(self, requests: Sequence[Request]) -> Iterator[Trial]:
        """One trial per request, as they finish, in any order."""
        ...


def unmeasured(evaluator: Evaluator) -> frozenset[str]:
    """Metrics that no trial of this evaluator has, where it says so."""
    return frozenset(getattr(evaluator, "unmeasured", ()))


def own_epochs(evaluator: Evaluator) -> int | None:
    """The one number of epochs that it answers for; None where that is asked for."""
    return getattr(evaluator, "epochs", None)


def unmeasured_of_original(evaluator: Evaluator) -> frozenset[str]:
    """Metrics that its trial of the original network does not have, where it says so."""
    return frozenset(getattr(evaluator, "unmeasured_of_original", ()))


def is_exhaustive(evaluator: Evaluator) -> bool:
    """Whether it answers for every design at once."""
    return bool(getattr(evaluator, "exhaustive", False))


def known_best(evaluator: Evaluator, reward: Reward, seed: int) -> Design | None:
    """The design with the highest reward under this seed, where it says so without being asked for every design."""
    return evaluator.best(reward, seed) if hasattr(evaluator, "best") else None


def check_answers(evaluator: Evaluator, seed: int, epochs: int) -> None:
    """Whether it can answer requests of this seed and number of epochs.

    Raises:
        InputError: if it says that it cannot.
    """
    if hasattr(evaluator, "check"):
        evaluator.check(seed, epochs)


ACCIDENTS = 3
"""So often may a request fail by what happens around it, before it is held to be the cause."""


class StoredEvaluator:
    """An evaluator that asks its inner one only for what its store does not have, and stores each trial as it ends.

    Requests that are equal are evaluated once and answered once each. A stored trial counts as missing where its training was cut
    short, or the inner evaluator says that it does not stand. A request that fails by accident, such as for want of memory, is
    tried once more, alone; at its third accident, over all runs with this store, its failure is stored. Where the store has
    trials of the same task that were made under other conditions, and none under these, a warning says so before the first is
    evaluated. Another says so once where trials that were made with other vector instructions, or on another kind of GPU,
    stand beside a new one.

    Args:
        inner: evaluates what is not stored.
        store: where trials are kept; `Store()` keeps them in memory.
        needs_time: whether a stored trial without times, as side-by-side workers leave it, is taken again.
        strict: whether that second warning is an `InputError` in its place, so that all trials agree to the last bit.
    """

    def __init__(self, inner: Evaluator, store: Store, needs_time: bool = False, *, strict: bool = False) -> None:
        self.inner = inner
        self.store = store
        self.needs_time = needs_time
        self.strict = strict
        self._machines: set[str] | None = None  # of the stored trials, once a new one has come
        self._introduced = False

    @property
    def space(self) -> SearchSpace:
        return self.inner.space

    @property
    def fingerprint(self) -> str:
        return self.inner.fingerprint

    @property
    def measures_time(self) -> bool:
        return self.inner.measures_time

    @property
    def unmeasured(self) -> frozenset[str]:
        return unmeasured(self.inner)

    @property
    def exhaustive(self) -> bool:
        return is_exhaustive(self.inner)

    def best(self, reward: Reward, seed: int) -> Design | None:
        """What the inner one knows."""
        return known_best(self.inner, reward, seed)

    @property
    def epochs(self) -> int | None:
        return own_epochs(self.inner)

    @property
    def unmeasured_of_original(self) -> frozenset[str]:
        return unmeasured_of_original(self.inner)

    def check(self, seed: int, epochs: int) -> None:
        """As the inner evaluator's."""
        check_answers(self.inner, seed, epochs)

    def evaluate(self, requests: Sequence[Request]) -> Iterator[Trial]:
        """One trial per request: the stored ones first, then the others as they finish."""
        if not self._introduced:
            self._introduce()
        missing: dict[Request, int] = {}
        for request in requests:
            trial = None if request in missing else self.stored(request)
            if trial is None:
                missing[request] = missing.get(request, 0) + 1
            else:
                yield trial
        again: list[Request] = []
        for trial in self.inner.evaluate(list(missing)) if missing else ():
            settled = self._settled(trial)
            if settled.accidental:
                again.append(trial.request)
            else:
                yield from [settled] * missing[trial.request]
        for request in again:
            settled = self._settled(evaluate_one(self.inner, request))
            yield from [settled] * missing[request]

    def stored(self, request: Request) -> Trial | None:
        """The stored trial that answers a request, or None."""
        trial = self.store.get(self.fingerprint, request)
        if trial is None or trial.cut or self._lacks_time(trial):
            return None
        return trial if getattr(self.inner, "stands", lambda _: True)(trial) else None

    def _settled(self, trial: Trial) -> Trial:
        """The same, stored unless it is an accident that may not happen again."""
        if trial.accidental and self.store.count_accident(self.fingerprint, trial.request) >= ACCIDENTS:
            trial = replace(trial, reason=f"{trial.reason} That was its accident number {ACCIDENTS}.", accidental=False)
        if not trial.accidental:
            self._compare(trial)
            self.store.put(self.fingerprint, trial)
        return trial

    def _introduce(self) -> None:
        """Tells the store whose trials these are, and the user of those that do not count.

        Raises:
            InputError: if the store's trials have another digest.
        """
        digest = getattr(self.inner, "digest", None)
        if digest is not None:
            self._check_digest(digest)
        self._introduced = True
        name = getattr(self.inner, "task_name", None)
        if name is None:
            return
        others = self.store.introduce(self.fingerprint, name)
        if others:
            warn(
                f"The store {self.store.name} holds {others} trials of the task {name!r} that were made with another network, "
                "data, choices, recipe, limits or kind of device; they do not count here."
            )

    def _check_digest(self, digest: str) -> None:
        name = f"digest of {self.fingerprint}"
        stored = self.store.about(name)
        if stored is None:
            self.store.set_about(name, digest)
        elif stored != digest:
            raise InputError(
                f"The store {self.store.name} holds trials of shared weights with the digest {stored} and these have {digest}; "
                "put the checkpoint back that they were made with, or begin with another store."
            )

    def _compare(self, trial: Trial) -> None:
        """Tells the user of a new trial whose last bits other machines' may not have.

        Raises:
            InputError: if that is not wanted.
        """
        if trial.machine is None:
            return
        if self._machines is None:
            self._machines = self.store.machines(self.fingerprint)
        if self._machines and trial.machine not in self._machines:
            others = " and ".join(sorted(self._machines))
            said = f"The store {self.store.name} holds trials that were made with {others}, and a new one with {trial.machine}"
            if self.strict:
                raise InputError(f"{said}; go on where the others were made, or without being strict.")
            warn(f"{said}: their last digits may differ.")
        self._machines.add(trial.machine)

    def _lacks_time(self, trial: Trial) -> bool:
        """Whether times are needed that side-by-side workers did not measure."""
        return (
            self.needs_time
            and trial.status == "completed"
            and any(trial.metrics.get(name) is None for name in TIME_METRICS)
        )


def evaluate_one(evaluator: Evaluator, request: Request) -> Trial:
    """The trial of a single request."""
    (trial,) = evaluator.evaluate([request])
    return trial
