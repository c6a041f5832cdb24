"""A task: a network, its data, how it is trained and stopped, and what is rewarded."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from marl_hpo_env.recipe import Limits, Recipe
from marl_hpo_env.reward import Reward
from marl_hpo_env.space import Design, SearchSpace
from marl_hpo_env.trial import Request, Trial

if TYPE_CHECKING:
    from torch import nn

    from marl_hpo_env.data import Data
    from marl_hpo_env.layer_graph import Choices
    from marl_hpo_env.tunable_network import TunableNetwork


@dataclass(frozen=True)
class Task:
    """Everything that a design is tuned for.

    Args:
        name: such as `"vgg16-cifar100"`.
        make_model: makes the original network. A function at the top of a module, so that worker processes can call it.
        make_data: loads the data; likewise.
        make_choices: the values of each layer's hyperparameters, by module type or name pattern; likewise.
        recipe: how every network is trained.
        reward: from trial to reward.
        limits: when a training is terminated.
        description: one line for `marl-hpo tasks`.
        seed: of every training in the search; more seeds are more trials, never an average.
    """

    name: str
    make_model: Callable[[], nn.Module]
    make_data: Callable[[], Data]
    make_choices: Callable[[], Choices]
    recipe: Recipe
    reward: Reward
    limits: Limits = field(default_factory=Limits)
    description: str = ""
    seed: int = 0

    @cached_property
    def data(self) -> Data:
        """The data, loaded at the first use."""
        return self.make_data()

    @cached_property
    def network(self) -> TunableNetwork:
        """The original network as a search space, traced at the first use."""
        import torch

        from marl_hpo_env.tunable_network import TunableNetwork

        with torch.random.fork_rng(devices=[]):
            # Parameters of the model's own, outside any module, keep the values that they are made with.
            torch.default_generator.manual_seed(0)
            model = self.make_model()
        return TunableNetwork(model, self.data.train[0][:1], self.make_choices())

    @property
    def space(self) -> SearchSpace:
        """The designs of this task."""
        return self.network.space

    @cached_property
    def fingerprint(self) -> str:
        """A digest of all that a trial depends on beside its request and the device: network, choices, data split,
        recipe and limits. What is rewarded is not part of it: a trial can be rewarded in many ways."""
        recipe = asdict(self.recipe)
        del recipe["epochs"]  # part of the request
        content = [self.network.signature, self.space.describe(), self.data.digest(), recipe, asdict(self.limits)]
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]

    def fit(self, design: Design | None, device: str | None = None) -> tuple[nn.Module, Trial]:
        """Final training (paper VII): the network trained to convergence, with the weights of its best epoch.

        Args:
            design: one action per layer, or None for the original network.
            device: where to train; CUDA where there is one, else the CPU.

        Raises:
            InputError: if the design is not one of the space, or cannot be trained.
        """
        from marl_hpo_env.errors import InputError
        from marl_hpo_env.training import Trainer, choose_device

        design = None if design is None else self.space.check(design)
        trainer = Trainer(self, choose_device(device), measure_time=True)
        network, trial = trainer.train(Request(design, self.seed, None))
        if network is None:
            raise InputError(f"Design {design} cannot be trained: {trial.reason}")
        return network, trial

    def __getstate__(self) -> dict[str, Any]:
        # What was loaded or traced is made again where the task arrives.
        return {name: self.__dict__[name] for name in self.__dataclass_fields__}
