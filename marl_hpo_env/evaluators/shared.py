"""The evaluator that trains once: every design is a slice of shared weights, and answers in milliseconds."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from pathlib import Path

from marl_hpo_env.catalog.task import Task
from marl_hpo_env.errors import InputError, truth_value, whole_number
from marl_hpo_env.evaluators.surroundings import fingerprint
from marl_hpo_env.space import SearchSpace
from marl_hpo_env.training.devices import choose_device
from marl_hpo_env.training.shared_training import SharedTraining
from marl_hpo_env.trial import OF_SLICES, Request, Trial

_SIZES = frozenset({"model_size_mb", "parameters", "flops"})


class SharedEvaluator:
    """Trains one network that holds every design, before its first trial; then it is frozen, and each trial is that of a slice.

    A trial's accuracies and loss are those of the slice, with batch norm's statistics taken anew; they order designs, and are
    not what the designs reach when they are trained. Sizes and FLOPs are exact. There is no calibrated epoch budget, no loss
    limit and no time. The original's accuracy is known only where it is a design itself.

    Args:
        task: whose designs.
        epochs: passes of the shared weights over the training examples; an environment takes them as an episode's.
        seed: of the shared weights; that of a request changes nothing.
        device: where they are trained; CUDA where there is one, else the CPU, where None.
        parts: as many copies of the weights, each for a part of one layer's choices, from half of the epochs on (few-shot).
        sandwich: whether every batch trains the largest and the smallest design, too.
        folder: for a checkpoint after every epoch, from which a training that was stopped goes on; None keeps it in memory.
        on_epoch: called after every epoch with how many are trained.

    Raises:
        InputError: for a number of epochs or parts, or a seed, that cannot be one, or a device that is not there; or for a
            task whose recipe is chosen, or with folds.
    """

    measures_time = False

    def __init__(
        self,
        task: Task,
        epochs: int = 40,
        *,
        seed: int = 0,
        device: str | None = None,
        parts: int = 1,
        sandwich: bool = False,
        folder: Path | str | None = None,
        on_epoch: Callable[[int], None] | None = None,
    ) -> None:
        if task.folds is not None:
            raise InputError(
                f"Shared weights are trained once, and {task.name!r} has {task.folds} folds; leave them out."
            )
        if task.recipe_choices is not None:
            raise InputError(
                f"The recipe_choices of {task.name!r} say how each design is trained, and shared weights are trained once; leave "
                "them out, or train every design with a TrainingEvaluator."
            )
        self._task = task
        self.epochs = whole_number("number of epochs of the shared weights", epochs, 1)
        self._seed = whole_number("seed", seed, 0)
        self._parts = whole_number("number of parts", parts, 1)
        self._sandwich = truth_value("sandwich", sandwich)
        self._device = choose_device(device)
        self._folder = None if folder is None else Path(folder)
        self._on_epoch = on_epoch

    @property
    def space(self) -> SearchSpace:
        return self._task.space

    @cached_property
    def _judged(self) -> frozenset[str]:
        """Metrics of a slice that is evaluated."""
        names = [name for name in self._task.measures if name.startswith(("validation_", "test_"))]
        return frozenset(names) - self._task.unmeasured

    @cached_property
    def unmeasured(self) -> frozenset[str]:
        """Metrics of trainings, which no slice has."""
        return frozenset(self._task.measures) - self._judged - _SIZES - {"epochs", "seconds"}

    @property
    def task_name(self) -> str:
        """The name of what is trained, which says that weights are shared."""
        return f"{self._task.name} on shared weights"

    @cached_property
    def fingerprint(self) -> str:
        """That of a training, and how the weights are shared."""
        task, _, surroundings = fingerprint(self._task, self._device.type).partition("-")
        parts = f"-{self._parts}-parts" if self._parts > 1 else ""
        sandwich = "-sandwich" if self._sandwich else ""
        return f"{task}{OF_SLICES}{self.epochs}-epochs-seed-{self._seed}{parts}{sandwich}-{surroundings}"

    @cached_property
    def training(self) -> SharedTraining:
        """The shared weights, trained to their end at the first use.

        Raises:
            InputError: if they cannot be, or the checkpoint not be read or written.
        """
        training = SharedTraining(
            self._task.trainer(self._device, measure_time=False), self.epochs, self._seed, self._parts, self._sandwich
        )
        path = None if self._folder is None else self._folder / f"{self.fingerprint}.safetensors"
        if path is not None and path.exists():
            training.load(path, self.fingerprint)
        while training.epoch < self.epochs:
            if self._on_epoch is not None:
                self._on_epoch(training.epoch)
            training.train_epoch()
            if path is not None:
                training.save(path, self.fingerprint)
        if self._on_epoch is not None:
            self._on_epoch(training.epoch)
        return training

    @property
    def digest(self) -> str:
        """Of the trained weights; a store holds trials of one digest only."""
        return self.training.digest

    @cached_property
    def unmeasured_of_original(self) -> frozenset[str]:
        """What the original's trial does not have: accuracies, where it is no design."""
        try:
            _ = self._task.network.original_design
        except InputError:
            return self.unmeasured | self._judged
        return self.unmeasured

    @property
    def cost(self) -> float:
        """Of the training, as examples times FLOPs of a forward pass."""
        return self.training.cost

    def cost_of(self, trials: Sequence[Trial]) -> float:
        """What trainings of these trials cost, in the same unit.

        Args:
            trials: that a `TrainingEvaluator` or a table of this task has made, with `epochs` and `flops`.
        """
        examples = len(self._task.splits.train[0])
        if self._task.splits.episode_examples is not None:
            examples = len(self._task.splits.episode_examples)
        return sum(examples * (t.metrics["epochs"] or 0) * (t.metrics["flops"] or 0) for t in trials)

    def check(self, seed: int, epochs: int | None) -> None:
        """Whether it answers requests of this number of epochs.

        Raises:
            InputError: if not.
        """
        if epochs != self.epochs:
            asked = "training to convergence" if epochs is None else f"{epochs} epochs"
            raise InputError(
                f"The shared weights are trained for {self.epochs} epochs and {asked} is asked for; ask for as many, or train "
                "the design with a TrainingEvaluator."
            )

    def evaluate(self, requests: Sequence[Request]) -> Iterator[Trial]:
        """One trial per request, in their order.

        Raises:
            InputError: if a design is not one of the space, or another number of epochs is asked for.
        """
        for request in requests:
            self.check(request.seed, request.epochs)
        checked = [r if r.design is None else r._replace(design=self.space.check(r.design)) for r in requests]
        return map(self._trial, checked)

    def _trial(self, request: Request) -> Trial:
        training = self.training
        started = time.perf_counter()
        metrics: dict[str, float | None] = {**dict.fromkeys(self._task.measures), "epochs": self.epochs}
        reason = None
        try:
            metrics |= training.evaluate(request.design)
        except InputError as error:
            reason = f"{str(error).rstrip('.')}."
        metrics["seconds"] = time.perf_counter() - started
        return Trial(request, "completed" if reason is None else "failed", reason, metrics, shared=True)
