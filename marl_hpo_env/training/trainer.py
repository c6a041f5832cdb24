"""The training engine: one request in, one network and its trial out.

Everything random comes from the request alone, and on a CPU one thread trains, so the same request gives the same trial
bit for bit, with the same versions and vector instructions. On CUDA some kernels add in an order that changes from run to
run, so the last digits can differ there.
"""

from __future__ import annotations

import copy
import hashlib
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from statistics import median
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from marl_hpo_env.data.folds import fold
from marl_hpo_env.data.lazy_images import in_batches
from marl_hpo_env.data.splits import Examples
from marl_hpo_env.errors import InputError, first_line
from marl_hpo_env.networks.tunable import TunableNetwork
from marl_hpo_env.space import Design
from marl_hpo_env.training.devices import Clock, check_precision, settled_memory, training_on
from marl_hpo_env.training.early_termination import Diverged, EarlyTermination, Restart, Terminated, loss_limit
from marl_hpo_env.training.imbalance import balanced, weighted
from marl_hpo_env.training.initialization import WEIGHTED, he, he_inside
from marl_hpo_env.training.recipe import Limits, Recipe
from marl_hpo_env.training.scoring import Accuracy, Scoring, losses, own_output
from marl_hpo_env.trial import Measure, Request, Trial

WARM_UP_BATCHES = 3
TIMED_BATCHES = 20
_EVALUATION_PIXELS = 2**18


class Trainer:
    """Trains the designs of one network on one device, with the data resident there. `Task.trainer` makes one.

    Args:
        network: whose designs are trained.
        scoring: of the data, which are moved to the device, and how networks are judged.
        recipe: how each is trained.
        limits: when an episode's training is terminated.
        device: where to train.
        measure_time: whether nothing runs beside it, so that times mean something.
        weights: the state dict of the original that a recipe with `"inherit"` starts from.
        folds: how many folds a request may name one of; None for none.
        recipes: those that a design's first action chooses from, the rest of which is the network's; none where all of it is.

    Raises:
        InputError: if the device cannot compute in a recipe's precision.
    """

    def __init__(
        self,
        network: TunableNetwork,
        scoring: Scoring,
        recipe: Recipe,
        limits: Limits,
        device: torch.device,
        measure_time: bool,
        weights: Mapping[str, torch.Tensor] | None = None,
        recipes: Sequence[Recipe] = (),
        folds: int | None = None,
    ) -> None:
        check_precision((recipe, *recipes), device)
        self.network = network
        self.weights = weights
        self.recipes = tuple(recipes)
        self._folds = folds
        self._on_fold: tuple[int, Trainer] | None = None  # the last one: each has the data once more
        self.limits = limits
        self.loss_limit = loss_limit(limits, scoring)
        self.device = device
        self.measure_time = measure_time
        cuda = device.type == "cuda"
        self.machine = torch.cuda.get_device_name(device) if cuda else torch.backends.cpu.get_cpu_capability()
        self.scoring = scoring.on(device)
        self.data = self.scoring.data
        self._follow(recipe)

    def _follow(self, recipe: Recipe) -> None:
        """Takes a recipe for all that is trained."""
        self.recipe = recipe
        self.loss = weighted(self.data.train[1]) if recipe.imbalance == "weights" else self.scoring.loss
        # Small images in large batches: without gradients a batch costs little more than its activations.
        pixels = math.prod(self.data.train[0].shape[2:])
        self._evaluation_batch = max(recipe.batch_size, _EVALUATION_PIXELS // pixels)

    def _of_fold(self, number: int) -> Trainer:
        """The same with this fold for validation."""
        assert self._folds is not None
        if self._on_fold is None or self._on_fold[0] != number:
            _ = self.original_ms
            self._on_fold = None
            other = copy.copy(self)
            other.scoring = self.scoring.of(fold(self.data, self._folds, number))
            other.data = other.scoring.data
            other._follow(self.recipe)
            self._on_fold = number, other
        return self._on_fold[1]

    def _following(self, recipe: Recipe) -> Trainer:
        """The same for designs of the network alone, by this recipe; the limit of time is that of the original's."""
        _ = self.original_ms
        other = copy.copy(self)
        other.recipes = ()
        other._follow(recipe)
        return other

    @cached_property
    def original_ms(self) -> float | None:
        """The original network's median time per training batch on this device, where a limit asks for it (V-E)."""
        if self.limits.batch_ratio is None:
            return None
        with training_on(self.device):
            network = self._fresh(None).train()
            optimizer = self.optimizer(network)
            x, y = self.first(self.recipe.batch_size), self.data.train[1][: self.recipe.batch_size]
            clocks = [self._step(network, optimizer, x, y)[2] for _ in range(WARM_UP_BATCHES + TIMED_BATCHES)]
        return median(clock.ms() for clock in clocks[WARM_UP_BATCHES:])

    @cached_property
    def original_flops(self) -> float | None:
        """The original network's FLOPs, where a limit asks for them."""
        if self.limits.flops_ratio is None:
            return None
        return self.sizes(self.network.build(None, self.device))["flops"]

    def train(self, request: Request, seconds: float = math.inf) -> tuple[nn.Module | None, Trial]:
        """The trained network and its trial; the network is None where the trial did not complete.

        A design that is terminated (V-E), or raises while it is built or trained, is a trial that says so.

        Args:
            request: what to train.
            seconds: after which final training ends with the best of the epochs that it has trained, of which there is one
                at least; the trial says so (`Trial.cut`). Episodes are not cut.
        """
        if request.fold is not None:
            network, trial = self._of_fold(request.fold).train(request._replace(fold=None), seconds)
            return network, replace(trial, request=request)
        if self.recipes and request.design is not None:
            action, *rest = request.design
            network, trial = self._following(self.recipes[action]).train(request._replace(design=tuple(rest)), seconds)
            return network, replace(trial, request=request)
        started = time.perf_counter()
        metrics: dict[str, float | None] = dict.fromkeys(self.scoring.measures)
        history: list[dict[str, float]] = []
        # Limits end episodes (V-E); final training (VII) ends by its own rule, and the original is what they are set by.
        final = request.epochs is None or request.design is None
        network, status, reason, accidental = None, "completed", None, False
        with training_on(self.device):
            try:
                limits = EarlyTermination(Limits())
                if not final:
                    limits = EarlyTermination(self.limits, self.loss_limit, self.original_ms, self.original_flops)
                try:
                    network, reason = self._attempt(request, 0, limits, metrics, history, started + seconds)
                except Restart:
                    history.clear()
                    metrics = dict.fromkeys(self.scoring.measures)
                    network, reason = self._attempt(request, 1, limits, metrics, history, started + seconds)
            except Terminated as error:
                status, reason = "terminated", str(error)
            except Exception as error:  # whatever a design does to torch or to the user's own modules
                status, reason, accidental = "failed", *_failure(error)
        metrics["seconds"] = time.perf_counter() - started
        trial = Trial(request, status, reason, metrics, tuple(history), accidental, self.machine)  # type: ignore[arg-type]
        return network, trial

    def _attempt(
        self,
        request: Request,
        attempt: int,
        limits: EarlyTermination,
        metrics: dict[str, float | None],
        history: list[dict[str, float]],
        deadline: float,
    ) -> tuple[nn.Module, str | None]:
        """One training from fresh weights, and what is to be said of its end; fills in metrics and history as it goes."""
        seed = _seed(request, attempt)
        (torch.default_generator if self.device.type == "cpu" else torch).manual_seed(seed)
        order = torch.Generator().manual_seed(seed)
        recipe = self.recipe
        resident = settled_memory(self.device)
        network = self._fresh(request.design)
        metrics |= (sizes := self.sizes(network))
        limits.flops(sizes["flops"])
        optimizer = self.optimizer(network)
        times: list[float] = []
        examples = self._examples(request)
        best = _BestEpoch(recipe, self.scoring.measures[self.scoring.score]) if request.epochs is None else None
        reason = None
        for epoch in range(1, (request.epochs or recipe.max_epochs) + 1):
            changed = self.set_rate(optimizer, epoch)
            train_loss, train_accuracy = self._epoch(network, optimizer, order, limits, times, examples)
            validated = self.evaluate(network, self.data.validation)
            finite = math.isfinite(train_loss) and math.isfinite(validated["loss"])
            if not finite and best is not None and best.epoch:
                break  # final training: the best epoch so far is what it comes to
            limits.number("training", train_loss, epoch)
            limits.number("validation", validated["loss"], epoch)
            figures = {"train_loss": train_loss}
            if train_accuracy is not None:
                figures["train_accuracy"] = train_accuracy
            figures |= {f"validation_{name}": value for name, value in validated.items()}
            history.append(figures)
            metrics |= {"epochs": epoch, **figures}
            limits.epoch(train_loss)
            if best is not None and best.ends(epoch, figures[self.scoring.score], network, changed):
                break
            if best is not None and epoch < recipe.max_epochs and time.perf_counter() >= deadline:
                reason = f"Final training was cut short after {epoch} epochs: the run's time was over."
                break
        if best is not None:
            network.load_state_dict(best.weights)
            metrics |= history[best.epoch - 1]
        tested = self.evaluate(network, self.data.test)
        metrics |= {f"test_{name}": value for name, value in tested.items() if name != "loss"}
        if resident is not None:
            # Without the data, which are resident whatever the design.
            metrics["peak_memory_mb"] = (torch.cuda.max_memory_allocated(self.device) - resident) / 1e6
        if self.measure_time:
            metrics["train_ms_per_batch"] = median(times[WARM_UP_BATCHES:] or times)
            metrics["inference_ms_per_batch"] = self._inference_ms(network)
        return network, reason

    def _fresh(self, design: Design | None) -> nn.Module:
        """The network with the weights that its training starts from."""
        return self.fresh(self.network.hyperparameters(design))

    def fresh(self, hyperparameters: Mapping[str, Mapping[str, Any]]) -> nn.Module:
        """The same of what is built from these, by layer name."""
        if self.recipe.initialization == "inherit":
            network = self.network.build_with(hyperparameters, self.device, weights=self.weights)
            meta: Any = network.meta
            he_inside(network, self.first(1), only=meta["fresh"])
            return network
        network = self.network.build_with(hyperparameters, self.device)
        if self.recipe.initialization == "he":
            he(network)
        elif self.recipe.initialization == "he-inside":
            he_inside(network, self.first(1))
        return network

    def first(self, count: int) -> torch.Tensor:
        """The first training inputs, for a network that may write to them."""
        (inputs,) = in_batches(self.data.train[0], [slice(count)])
        return inputs

    def _examples(self, request: Request) -> torch.Tensor:
        """Indices of the training examples: episodes may see fewer than final training does (VIII-D)."""
        if request.epochs is not None and self.data.episode_examples is not None:
            return self.data.episode_examples
        return torch.arange(len(self.data.train[0]))

    def _epoch(
        self,
        network: nn.Module,
        optimizer: torch.optim.Optimizer,
        generator: torch.Generator,
        limits: EarlyTermination,
        times: list[float],
        examples: torch.Tensor,
    ) -> tuple[float, float | None]:
        """One pass over these training examples; returns their mean loss and accuracy (None for values), both as they were
        trained on: augmented, and by weights that changed from batch to batch."""
        network.train()
        total = torch.zeros((), device=self.device)
        seen = 0
        accuracy = Accuracy(self.scoring.kind)
        clocks: list[Clock] = []
        for x, y in self.batches(generator, examples):
            output, batch_loss, clock = self._step(network, optimizer, x, y)
            total += batch_loss * len(y)
            accuracy.add(output, y)
            seen += len(y)
            clocks.append(clock)
            if (
                limits.watches_batches and len(times) + len(clocks) > WARM_UP_BATCHES
            ):  # the original's count from there, too
                limits.batch(clock.ms())
        times += [clock.ms() for clock in clocks]
        return float(total) / seen, accuracy.value()

    def batches(
        self, generator: torch.Generator, examples: torch.Tensor
    ) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """These training examples once, in random order and augmented, batch by batch; or as many, drawn class by class.

        Args:
            generator: on the CPU; all draws are its.
            examples: indices, shape (n,).
        """
        inputs, targets = self.data.train
        if self.recipe.imbalance == "sampling":
            order = examples[balanced(targets.cpu()[examples], generator)]
        else:
            order = examples[torch.randperm(len(examples), generator=generator)]
        if isinstance(inputs, torch.Tensor):
            order = order.to(inputs.device)
        batches = list(order.split(self.recipe.batch_size))
        if len(batches[-1]) == 1 < min(len(batches), self.recipe.batch_size):
            batches.pop()  # batch norm cannot train on one example
        augmentation = self.recipe.augmentation
        for batch, x in zip(batches, in_batches(inputs, batches), strict=True):
            y = targets[batch]
            yield (x, y) if augmentation is None else augmentation(x, y, generator)

    def _step(
        self, network: nn.Module, optimizer: torch.optim.Optimizer, x: torch.Tensor, y: torch.Tensor
    ) -> tuple[Any, torch.Tensor, Clock]:
        """One batch: the network's output, its own loss, and the time that it took."""
        clock = Clock(self.device)
        optimizer.zero_grad(set_to_none=True)
        with self.autocast():
            output = network(x)
            batch_loss, output_loss = losses(output, y, self.loss)
        batch_loss.backward()
        self.update(optimizer, network)
        clock.stop()
        return output, output_loss.detach(), clock

    @torch.inference_mode()
    def evaluate(self, network: nn.Module, examples: Examples) -> dict[str, float]:
        """Mean `loss`, `accuracy` but for values, and every other metric by its name, over a split without augmentation; the
        loss and accuracy alone where the loss is no number."""
        network.eval()
        accuracy = Accuracy(self.scoring.kind)
        total = torch.zeros((), device=self.device)
        inputs, targets = examples
        size = self._evaluation_batch
        outputs = []
        batches = [slice(start, start + size) for start in range(0, len(inputs), size)]
        for batch, x in zip(batches, in_batches(inputs, batches), strict=True):
            output, y = network(x), targets[batch]
            accuracy.add(output, y)
            total += losses(output, y, self.scoring.loss)[1] * len(y)
            if self.scoring.metrics:
                outputs.append(own_output(output).cpu())
        figures = {"loss": float(total) / len(targets)}
        right = accuracy.value()
        if right is not None:
            figures["accuracy"] = right
        if outputs and math.isfinite(figures["loss"]):
            figures |= self.scoring.figures(torch.cat(outputs), targets)
        return figures

    @torch.inference_mode()
    def _inference_ms(self, network: nn.Module) -> float:
        """Median time of one forward pass of a batch."""
        network.eval()
        batch = self.first(self.recipe.batch_size)
        times = []
        for _ in range(WARM_UP_BATCHES + TIMED_BATCHES):
            clock = Clock(self.device)
            network(batch)
            clock.stop()
            times.append(clock.ms())
        return median(times[WARM_UP_BATCHES:])

    def sizes(self, network: nn.Module) -> dict[str, float]:
        """The metrics that need no training."""
        network.eval()
        with torch.inference_mode(), FlopCounterMode(display=False) as counter:
            network(self.first(1))
        parameters = sum(p.numel() for p in network.parameters())
        buffers = sum(b.numel() for b in network.buffers() if b.is_floating_point())
        return {
            "parameters": parameters,
            "model_size_mb": 4 * (parameters + buffers) / 1e6,
            "flops": counter.get_total_flops(),
        }

    def autocast(self) -> torch.autocast:
        """In which a batch's output and loss are computed while training: in the recipe's precision."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.recipe.precision == "bf16")

    def update(self, optimizer: torch.optim.Optimizer, network: nn.Module) -> None:
        """The optimizer's step, on a gradient that is no longer than the recipe allows."""
        if self.recipe.max_gradient_norm is not None:
            nn.utils.clip_grad_norm_(network.parameters(), self.recipe.max_gradient_norm)
        optimizer.step()

    def set_rate(self, optimizer: torch.optim.Optimizer, epoch: int) -> bool:
        """Gives the optimizer the epoch's learning rate; whether it is another than before."""
        rate = self.recipe.rate(epoch)
        changed = rate != optimizer.param_groups[0]["lr"]
        for group in optimizer.param_groups:
            group["lr"] = rate
        return changed

    def optimizer(self, network: nn.Module) -> torch.optim.Optimizer:
        recipe = self.recipe
        common: dict[str, Any] = {"lr": recipe.rate(1), "weight_decay": recipe.weight_decay, "fused": True}
        parameters: Any = network.parameters()
        if recipe.decayed == "kernels":
            kernels = {module.weight for module in network.modules() if isinstance(module, WEIGHTED)}
            rest = [parameter for parameter in network.parameters() if parameter not in kernels]
            parameters = [
                {"params": [p for p in network.parameters() if p in kernels]},
                {"params": rest, "weight_decay": 0.0},
            ]
        if recipe.optimizer == "sgd":
            return torch.optim.SGD(parameters, momentum=recipe.momentum, nesterov=recipe.nesterov, **common)
        kind = torch.optim.AdamW if recipe.optimizer == "adamw" else torch.optim.Adam
        return kind(parameters, **common)


class _BestEpoch:
    """The end of final training (VII), and the weights of its best epoch, which are kept: ours, the paper does not say.

    Args:
        recipe: with the patience and the least improvement: in percentage points of a score that is a fraction, and of any other
            in percent of the best so far (ours).
        score: what the score is.

    Attributes:
        epoch: the best so far; 0 before the first.
        weights: after it.
    """

    def __init__(self, recipe: Recipe, score: Measure) -> None:
        self._recipe = recipe
        self._measure = score
        self._best = -math.inf
        self._rate_since = 0  # the last epoch before the rate changed
        self.epoch = 0
        self.weights: dict[str, Any] = {}

    def ends(self, epoch: int, score: float, network: nn.Module, rate_changed: bool) -> bool:
        """Sees an epoch's score; whether it was the last: patience counts from the best epoch, or from the last change of the
        rate (ours)."""
        if rate_changed:
            self._rate_since = epoch - 1
        score *= self._measure.better
        least = self._recipe.min_improvement / 100
        if self.epoch and not self._measure.fraction:
            least *= abs(self._best)
        if score > self._best + least:
            self._best, self.epoch = score, epoch
            self.weights = copy.deepcopy(network.state_dict())
        return epoch - max(self.epoch, self._rate_since) >= self._recipe.patience


def _seed(request: Request, attempt: int) -> int:
    """A seed from the design, the trial's seed and the attempt; the number of epochs does not enter, so that a longer
    training begins as the shorter one did."""
    key = repr((request.design, request.seed, attempt)).encode()
    return int.from_bytes(hashlib.sha256(key).digest()[:8], "big") >> 1


def _failure(error: Exception) -> tuple[str, bool]:
    """The reason of a failed trial, and whether it is an accident."""
    first = first_line(error)
    causes = [error, error.__cause__]  # a layer that cannot be made is said as such
    if (
        any(isinstance(each, torch.OutOfMemoryError | MemoryError) for each in causes)
        or "can't allocate memory" in first
    ):
        return f"Out of memory: {first}.", True
    return f"{first}." if isinstance(error, InputError | Diverged) else f"{type(error).__name__}: {first}.", False
