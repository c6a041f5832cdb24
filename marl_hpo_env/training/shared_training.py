"""The training of shared weights: every batch trains a few random designs as slices; then the weights are frozen.

Single path, one shot, uniform sampling (Guo et al., 2020); with the sandwich rule the largest and the smallest design are among
those of every batch (Yu and Huang, universally slimmable networks, 2019). Everything random comes from the seed and the epoch's
number, so a training that was stopped goes on to the same bits.
"""

from __future__ import annotations

import hashlib
import math
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from marl_hpo_env.data.lazy_images import in_batches
from marl_hpo_env.errors import InputError
from marl_hpo_env.files import whole_file
from marl_hpo_env.networks.trials import extreme
from marl_hpo_env.space import Design
from marl_hpo_env.training.devices import training_on
from marl_hpo_env.training.shared_network import SharedNetwork
from marl_hpo_env.training.trainer import Trainer

DESIGNS = 300
"""Random designs that are trained, drawn at first, or as many as are kept planned: to plan a design takes longer than to train a
small one on a batch."""

PER_BATCH = 2
"""Random designs that a batch trains."""

RECALIBRATION = 4
"""Training batches over which batch norm's statistics are taken anew for a design."""


class _OfAnother(Exception):
    """A checkpoint of another training."""


class SharedTraining:
    """Shared weights in training.

    Args:
        trainer: whose network, data and recipe they have; each epoch has the recipe's rate.
        epochs: passes over the training examples.
        seed: of everything random.
        parts: as for `SharedNetwork`; the weights are divided after half of the epochs.
        sandwich: whether every batch trains the largest and the smallest design, too.

    Attributes:
        network: the shared weights.
        epoch: how many are trained.
        cost: examples times FLOPs of what was trained so far, both forward passes alone.
    """

    def __init__(self, trainer: Trainer, epochs: int, seed: int, parts: int = 1, sandwich: bool = False) -> None:
        self._trainer = trainer
        self._epochs, self._seed, self._parts = epochs, seed, parts
        self.epoch = 0
        self.cost = 0.0
        space = trainer.network.space
        with training_on(trainer.device):
            self.network = SharedNetwork(
                trainer.network, seed=seed, device=trainer.device, parts=parts, loss=trainer.loss
            )
            self._seed_torch(0)
            self.network.largest.load_state_dict(trainer.fresh(trainer.network.largest).state_dict())
            rng = np.random.default_rng((seed, 0))
            drawn = [space.sample(rng) for _ in range(min(DESIGNS, self.network.kept))]
            self._designs = [design for design in dict.fromkeys(drawn) if self._builds(design)]
            ends = [extreme(space, max), extreme(space, min)] if sandwich else []
            self._always = [design for design in ends if self._builds(design)]
        if not self._designs:
            raise InputError(f"None of {len(drawn)} random designs can be built, so no weights can be shared.")
        self._optimizer = trainer.optimizer(self.network)
        order = torch.Generator().manual_seed(seed)
        examples = torch.randperm(len(trainer.data.train[0]), generator=order).to(trainer.data.train[1].device)
        batches = list(examples.split(trainer.recipe.batch_size)[:RECALIBRATION])
        self._batches = list(in_batches(trainer.data.train[0], [b for b in batches if len(b) > 1] or batches))

    def train_epoch(self) -> None:
        """The next epoch.

        Raises:
            InputError: if the weights are no numbers any more.
        """
        self.epoch += 1
        self._divide_at(self.epoch)
        trainer, rng = self._trainer, np.random.default_rng((self._seed, self.epoch))
        with training_on(trainer.device):
            order = torch.Generator().manual_seed(self._seed_torch(self.epoch))
            trainer.set_rate(self._optimizer, self.epoch)
            for batch in trainer.batches(order, torch.arange(len(trainer.data.train[0]))):
                drawn = [self._designs[i] for i in rng.integers(len(self._designs), size=PER_BATCH)]
                designs = [*self._always, *drawn]
                self._optimizer.zero_grad(set_to_none=True)
                for design in designs:
                    with trainer.autocast():
                        loss = self.network.loss(design, batch) / len(designs)
                    loss.backward()
                    self.cost += len(batch[1]) * self.network.sizes(design)["flops"]
                trainer.update(self._optimizer, self.network)
            if not all(bool(torch.isfinite(p).all()) for p in self.network.parameters()):
                raise InputError(
                    f"The shared weights are no numbers any more after epoch {self.epoch}; lower the recipe's learning rate, "
                    f"which is {trainer.recipe.learning_rate}."
                )

    def evaluate(self, design: Design | None) -> dict[str, float | None]:
        """A design's metrics as it is now: sizes, and accuracies and loss of its slice with batch norm recalibrated.

        Args:
            design: of the space; None for the original network, which has accuracies only where it is a design.

        Raises:
            InputError: if the design cannot be built.
        """
        metrics: dict[str, float | None] = dict(self.network.sizes(design))
        if design is None:
            try:
                design = self.network.network.original_design
            except InputError:
                return metrics
        with training_on(self._trainer.device):
            network = self.network.slice(design, self._batches)
            validated = self._trainer.evaluate(network, self._trainer.data.validation)
            tested = self._trainer.evaluate(network, self._trainer.data.test)
        if not math.isfinite(validated["loss"]):
            raise InputError("Its slice of the shared weights computes no number")
        metrics |= {f"validation_{name}": value for name, value in validated.items()}
        return metrics | {f"test_{name}": value for name, value in tested.items() if name != "loss"}

    @property
    def digest(self) -> str:
        """A digest of the weights."""
        digest = hashlib.sha256()
        for name, tensor in self.network.state_dict().items():
            digest.update(name.encode())
            digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()[:16]

    def save(self, path: Path, name: str) -> None:
        """Writes a checkpoint, with which `load` goes on; without code.

        Args:
            path: a safetensors file.
            name: of what is trained, and how.

        Raises:
            InputError: if it cannot be written.
        """
        tensors = {f"weights/{key}": value for key, value in self.network.state_dict().items()}
        for number, state in self._optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer/{number}/{key}": value for key, value in state.items() if value is not None}
        about = {"name": name, "epoch": str(self.epoch), "cost": repr(self.cost)}
        try:
            with whole_file(path) as partial:
                save_file({key: value.contiguous().clone() for key, value in tensors.items()}, partial, about)
        except (OSError, SafetensorError) as error:
            raise InputError(f"The checkpoint {str(path)!r} cannot be written: {error}.") from error

    def load(self, path: Path, name: str) -> None:
        """Goes on from a checkpoint.

        Args:
            path: of the file.
            name: as it was saved.

        Raises:
            InputError: if it cannot be read, or is another training's.
        """
        try:
            with safe_open(path, "pt", device=str(self._trainer.device)) as file:
                about = file.metadata() or {}
                tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118  # it is no mapping
            if about["name"] != name:
                raise _OfAnother
            self.epoch, self.cost = int(about["epoch"]), float(about["cost"])
            self._divide_at(self.epoch, least=True)
            weights = {key.removeprefix("weights/"): v for key, v in tensors.items() if key.startswith("weights/")}
            self.network.load_state_dict(weights)
            state: dict[int, dict[str, torch.Tensor]] = {}
            for key, value in tensors.items():
                if key.startswith("optimizer/"):
                    _, number, entry = key.split("/")
                    state.setdefault(int(number), {})[entry] = value
            self._optimizer.load_state_dict({**self._optimizer.state_dict(), "state": state})
        except _OfAnother:
            raise InputError(
                f"The checkpoint {str(path)!r} is of another training of shared weights; move it away."
            ) from None
        except (OSError, SafetensorError, KeyError, ValueError, RuntimeError) as error:
            raise InputError(
                f"The checkpoint {str(path)!r} cannot be read; move it away, and its weights are trained again."
            ) from error

    def _divide_at(self, epoch: int, least: bool = False) -> None:
        first = self._epochs // 2 + 1
        if self._parts > 1 and (epoch == first or (least and epoch > first)):
            self.network.divide()
            self._optimizer = self._trainer.optimizer(self.network)

    def _builds(self, design: Design) -> bool:
        try:
            self.network.sizes(design)
        except InputError:
            return False
        return True

    def _seed_torch(self, epoch: int) -> int:
        """Seeds what dropout and initialization draw from."""
        seed = int.from_bytes(hashlib.sha256(repr((self._seed, epoch)).encode()).digest()[:8], "big") >> 1
        (torch.default_generator if self._trainer.device.type == "cpu" else torch).manual_seed(seed)
        return seed
