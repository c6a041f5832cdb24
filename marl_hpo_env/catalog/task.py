"""A task: a network, its data, how it is trained and stopped, and what is rewarded."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from marl_hpo_env.catalog.identity import identity
from marl_hpo_env.errors import InputError, truth_value, whole_number
from marl_hpo_env.metrics import Loss, Metric, measures
from marl_hpo_env.reward import Reward, WeightedReward
from marl_hpo_env.space import Design, Layer, SearchSpace
from marl_hpo_env.training.augmentation import Augmentation
from marl_hpo_env.training.early_termination import loss_limit
from marl_hpo_env.training.recipe import Limits, Recipe
from marl_hpo_env.trial import ACCURACIES, VALUE_METRICS, Measure, Request, Trial

if TYPE_CHECKING:
    import torch
    from torch import nn
    from torch.utils.data import Dataset

    from marl_hpo_env.data.splits import Data
    from marl_hpo_env.networks.graph import Choices
    from marl_hpo_env.networks.tunable import TunableNetwork
    from marl_hpo_env.training.scoring import Scoring, Units
    from marl_hpo_env.training.trainer import Trainer


_SCORES = {"values": "validation_r2"}
"""The score of kinds of targets that have no accuracy."""

_FIRST_SETTINGS: dict[type, tuple[str, ...]] = {
    Recipe: (
        *("batch_size", "epochs", "optimizer", "learning_rate", "momentum", "weight_decay", "augmentation"),
        *("initialization", "min_improvement", "patience", "max_epochs"),
    ),
    Limits: ("loss", "loss_epochs", "batch_ratio", "batches"),
    Augmentation: ("rotation", "shift", "flip"),
}
"""The settings that always enter a fingerprint: those that there were when the first stores and tables were made."""


class LargestClass(NamedTuple):
    """What guessing the largest class would give.

    Args:
        name: of the class.
        validation: the fraction of the validation examples that are of it.
        test: likewise.
    """

    name: str
    validation: float
    test: float


RECIPE = "recipe"
"""The layer, and so the agent, that chooses settings of the recipe."""

_NOT_TO_CHOOSE = ("epochs", "min_improvement", "patience", "max_epochs")
"""A request's, and what ends final training, of which an episode knows nothing."""


def _settings(of: Any) -> dict[str, Any]:
    """A dataclass's fields by name; those that were added later only where they are not at their default."""
    named = {}
    for setting in fields(of):
        value = getattr(of, setting.name)
        if setting.name in _FIRST_SETTINGS[type(of)] or value != setting.default:
            named[setting.name] = _settings(value) if type(value) in _FIRST_SETTINGS else value
    return named


@dataclass(frozen=True, eq=False)
class Task:
    """Everything that a design is tuned for.

    Args:
        name: such as `"vgg16-cifar100"`.
        model: the original network, or a function that makes it.
        data: a `Data`; or a torch `Dataset` of (input, class) or a tuple of inputs and classes, which are then split; or a
            function that returns one of these, so that nothing is loaded before it is needed.
        choices: the values of each layer's hyperparameters, by module type or name pattern, or a function that returns
            them; where None, fractions of the original's own. See `TunableNetwork`.
        recipe: how every network is trained.
        reward: from trial to reward; by default the score, minus a fifth of the size relative to the original's.
        limits: when a training is terminated.
        description: one line for `marl-hpo tasks`.
        seed: of every training in the search; more seeds are more trials, never an average.
        input_shape: of one example, so that the network can be looked at without its data; None takes the data's.
        weights: of the original, which every design inherits where the recipe's initialization is `"inherit"`: a state dict, or
            a file that `read_weights` reads. Where layers that make the output are for another number of classes, they are
            drawn anew.
        tie_added: whether layers whose outputs are added share one width; None for where there are weights. See
            `TunableNetwork`.
        recipe_choices: values of the recipe's settings, such as `{"learning_rate": (1e-3, 1e-2), "optimizer": ("sgd", "adam")}`,
            for an agent of the name `recipe` to choose from. It is the first layer and feeds those that no other feeds. A
            design is trained by what it chose, the original by the recipe as it stands. What ends final training, and the
            epochs, cannot be chosen. Where batch sizes are, times per batch are of batches of that size.
        folds: an episode trains its design on as many folds of the training and validation examples, each of which is for
            validation once; the reward is the mean of theirs. Final training is on the data as they are divided, and the test
            split is outside all folds. None for that division in episodes, too.
        loss: what networks are trained by: a function of the outputs and targets of a batch, such as `torch.nn.HuberLoss()`, or a
            `Loss`; where None that of the kind of targets. Each auxiliary head has it, too.
        metrics: of the task's own, by name; see `Metric`. Of `"f1"` come `validation_f1` and `test_f1`.
        score: what stands for the accuracy wherever one network is held better than another: in the best epoch and the end of
            final training, in the default reward and in Eq. 2: a metric of validation, or `"validation_loss"`. Where None
            `"validation_accuracy"`, and for values `"validation_r2"`, which is to be said where a function makes the data.

    With several workers a task is pickled, so functions must then stand at the top of a module.
    """

    name: str
    model: nn.Module | Callable[[], nn.Module]
    data: (
        Data
        | Dataset[Any]
        | tuple[torch.Tensor, torch.Tensor]
        | Callable[[], Data | Dataset[Any] | tuple[torch.Tensor, torch.Tensor]]
    )
    choices: Choices | Callable[[], Choices] | None = None
    recipe: Recipe = field(default_factory=Recipe)
    reward: Reward = None  # type: ignore[assignment]  # made of the score
    limits: Limits = field(default_factory=Limits)
    description: str = ""
    seed: int = 0
    input_shape: tuple[int, ...] | None = None
    weights: Mapping[str, torch.Tensor] | Path | str | None = None
    tie_added: bool | None = None
    recipe_choices: Mapping[str, Sequence[Any]] | None = None
    folds: int | None = None
    loss: Loss | Callable[[torch.Tensor, torch.Tensor], torch.Tensor] | None = None
    metrics: Mapping[str, Metric] = field(default_factory=dict)
    score: str = None  # type: ignore[assignment]  # by the kind of targets

    def __post_init__(self) -> None:
        for what, value, kind in (
            ("name", self.name, str),
            ("recipe", self.recipe, Recipe),
            ("limits", self.limits, Limits),
        ):
            if not isinstance(value, kind):
                raise InputError(f"The {what} of the task {self.name!r} is {value!r}; it is a {kind.__name__}.")
        object.__setattr__(self, "seed", whole_number("seed", self.seed, 0))
        if self.folds is not None:
            object.__setattr__(self, "folds", whole_number("number of folds", self.folds, 2))
        if not isinstance(self.weights, Mapping | Path | str | None):
            raise InputError(
                f"The weights of the task {self.name!r} are a {type(self.weights).__name__}; give a state dict or a file of one."
            )
        starts = {recipe.initialization for recipe in self.recipes}
        if (self.weights is None) == ("inherit" in starts):
            has = "no weights" if self.weights is None else "weights"
            raise InputError(
                f"The task {self.name!r} has {has} and a recipe with the initialization "
                f"{' or '.join(map(repr, sorted(starts)))}; weights and 'inherit' go together."
            )
        if self.tie_added is not None:
            truth_value(f"tie_added of the task {self.name!r}", self.tie_added)
        self._check_scoring()

    def _check_scoring(self) -> None:
        """Loss, metrics and score, of which the last, and the reward, are made where they are not given.

        Raises:
            InputError: if one cannot be used.
        """
        if self.loss is not None and not isinstance(self.loss, Loss):
            Loss(self.loss)
        if not isinstance(self.metrics, Mapping):
            raise InputError(f"The metrics of the task {self.name!r} are {self.metrics!r}; give a Metric by name.")
        if self.score is None:
            object.__setattr__(self, "score", _SCORES.get(getattr(self.data, "kind", None), "validation_accuracy"))
        scores = [n for n, m in self.measures.items() if n.startswith("validation_") and m.of == "epoch"]
        if self.score not in scores:
            raise InputError.unknown("score", self.score, scores)
        if self.reward is None:
            object.__setattr__(self, "reward", WeightedReward({self.score: 1.0, "model_size_mb / original": 0.2}))
        if hasattr(self.reward, "of_task"):
            object.__setattr__(self, "reward", self.reward.of_task(self.measures, self.score))

    @property
    def measures(self) -> dict[str, Measure]:
        """What each metric of its trials is, by name: those that every trial has, and its own."""
        return measures(self.metrics)

    @property
    def unmeasured(self) -> frozenset[str]:
        """Metrics that no trial of its kind of targets has; of data that need not be read to see the network, those of values."""
        if self.input_shape is None and self.splits.kind == "values":
            return frozenset(ACCURACIES)
        return frozenset(VALUE_METRICS)

    @property
    def better(self) -> int:
        """+1 where a higher score is better, -1 where a lower one is."""
        return self.measures[self.score].better

    @cached_property
    def scoring(self) -> Scoring:
        """What its networks are trained by and judged by.

        Raises:
            InputError: if the data have no such score, or a loss or metric of its own cannot be computed.
        """
        from marl_hpo_env.training.scoring import Scoring

        return Scoring(self.splits, self.loss, self.metrics, self.score)

    @property
    def units(self) -> Units | None:
        """How values and a network's outputs go into each other: networks are trained on standardised values. None for other
        kinds of targets."""
        return self.scoring.units

    @cached_property
    def splits(self) -> Data:
        """The data, loaded and split at the first use.

        Raises:
            InputError: if it cannot be, or has no classes where the recipe balances them, or cannot be
                divided into as many folds.
        """
        from marl_hpo_env.data.folds import fold
        from marl_hpo_env.data.given import as_data
        from marl_hpo_env.training.imbalance import check_imbalance

        data = as_data(self.data() if callable(self.data) else self.data)
        for recipe in self.recipes:
            check_imbalance(recipe, data, self.loss is not None)
        if self.folds is not None:
            fold(data, self.folds, 0)
        return data

    @cached_property
    def network(self) -> TunableNetwork:
        """The original network as a search space, traced at the first use.

        Raises:
            InputError: if it cannot be, or has fewer outputs than the data have classes.
        """
        return self._traced(verify=True)

    def _traced(self, verify: bool) -> TunableNetwork:
        """The same, compared with the network that was given or not."""
        import torch
        from torch import nn

        from marl_hpo_env.networks.tunable import TunableNetwork

        with torch.random.fork_rng(devices=[]):
            # Parameters of the model's own, outside any module, keep the values that they are made with.
            torch.default_generator.manual_seed(0)
            model = self.model if isinstance(self.model, nn.Module) else self.model()
        choices = self.choices() if callable(self.choices) else self.choices
        tied = self.weights is not None if self.tie_added is None else self.tie_added
        if self.input_shape is not None:
            return TunableNetwork(model, torch.zeros(1, *self.input_shape), choices, verify, tie_added=tied)
        network = TunableNetwork(model, self.splits.train[0][:1], choices, verify, tie_added=tied)
        classes = self.splits.number_of_classes
        if len(network.output_shape) < 2:
            raise InputError(
                "The network has one output of shape (n,); give it a second dimension, of one output each."
            )
        if network.output_shape[1] < classes:
            raise InputError(
                f"The network has {network.output_shape[1]} outputs and the data have {classes} {self.splits.kind}; give it as "
                "many."
            )
        if verify:
            self.scoring.check(tuple(network.output_shape[1:]))
        return network

    @cached_property
    def inherited(self) -> dict[str, torch.Tensor] | None:
        """The weights that fit the original, read at the first use; None where there are none.

        Raises:
            InputError: if they cannot be read, or are another network's.
        """
        from marl_hpo_env.networks.weight_files import read_weights

        if self.weights is None:
            return None
        weights = self.weights if isinstance(self.weights, Mapping) else read_weights(self.weights)
        return {name: tensor.detach().cpu() for name, tensor in self.network.fitting(weights).items()}

    def checked(self, request: Request) -> Request:
        """The same, if it can be trained.

        Raises:
            InputError: if there is no such design or fold.
        """
        if request.fold is not None:
            if self.folds is None:
                raise InputError(
                    f"Fold {request.fold!r} of {self.name!r} is asked for, which has no folds; leave it out."
                )
            whole_number("fold", request.fold, 0, self.folds - 1)
        return request if request.design is None else request._replace(design=self.space.check(request.design))

    @cached_property
    def recipe_layer(self) -> Layer | None:
        """What the agent `recipe` chooses from; None where the recipe is given.

        Raises:
            InputError: if the recipe does not take a value, or a combination of them.
        """
        if self.recipe_choices is None:
            return None
        if not isinstance(self.recipe_choices, Mapping):
            raise InputError(
                f"The recipe_choices of the task {self.name!r} are {self.recipe_choices!r}; give values by the setting's name."
            )
        known = [setting.name for setting in fields(Recipe) if setting.name not in _NOT_TO_CHOOSE]
        for name in self.recipe_choices:
            if name not in known:
                raise InputError.unknown("setting of a recipe to choose", name, known)
        given = Layer(RECIPE, "Recipe", self.recipe_choices)
        made = self._made_by(given)
        own = {name: tuple(dict.fromkeys(getattr(recipe, name) for recipe in made)) for name in given.choices}
        return Layer(RECIPE, "Recipe", own)  # NumPy's numbers as Python's

    @cached_property
    def recipes(self) -> tuple[Recipe, ...]:
        """The recipe, which is the original's, and behind it what each action of the agent `recipe` makes of it."""
        return (self.recipe, *(self._made_by(self.recipe_layer) if self.recipe_layer is not None else ()))

    def _made_by(self, layer: Layer) -> list[Recipe]:
        made = []
        for chosen in map(layer.hyperparameters, range(len(layer.actions))):
            try:
                made.append(replace(self.recipe, **chosen))
            except InputError as error:
                values = ", ".join(f"{name}={value!r}" for name, value in chosen.items())
                raise InputError(f"The recipe cannot be chosen as {values}: {error}") from error
        return made

    @cached_property
    def space(self) -> SearchSpace:
        """The designs of this task: the network's, behind the recipe's layer where there is one.

        Raises:
            InputError: as `network`; or if one of its layers has the name of that of the recipe.
        """
        layers, recipe = self.network.space.layers, self.recipe_layer
        if recipe is None:
            return self.network.space
        if RECIPE in self.network.space.names:
            raise InputError(
                f"The network of {self.name!r} has a layer {RECIPE!r} itself; give it another name, or leave out recipe_choices."
            )
        fed = [layer if layer.inputs else replace(layer, inputs=(RECIPE,)) for layer in layers]
        return SearchSpace([recipe, *fed])

    def build(self, design: Iterable[int] | None = None, device: torch.device | str | None = None) -> nn.Module:
        """A network with fresh weights, as `TunableNetwork.build`.

        Args:
            design: one action per layer of `space`; None for the original.
            device: where its weights lie; torch's default where None.

        Raises:
            InputError: if the design is not one of the space, or cannot be built.
        """
        if design is not None and self.recipe_layer is not None:
            design = self.space.check(design)[1:]
        return self.network.build(design, device)

    @property
    def original(self) -> dict[str, dict[str, Any]]:
        """The original's own values of what can be chosen, by layer name; they need not be among the choices."""
        if self.recipe_layer is None:
            return self.network.original
        own = {name: getattr(self.recipe, name) for name in self.recipe_layer.choices}
        return {RECIPE: own, **self.network.original}

    @property
    def original_design(self) -> Design:
        """The design with the original's own values.

        Raises:
            InputError: if it is no design of the space; the sentence names the first layer whose values are not among its
                choices.
        """
        first = () if self.recipe_layer is None else (self.recipe_layer.action(self.original[RECIPE]),)
        return first + self.network.original_design

    @cached_property
    def loss_limit(self) -> float | None:
        """The training loss above which an epoch violates the limit; None where there is no limit."""
        return loss_limit(self.limits, self.scoring) if self.limits.loss == "guessing" else self.limits.loss

    @cached_property
    def guessing_loss(self) -> float:
        """The training loss of a network that guesses (see `Scoring.guessing`)."""
        return self.scoring.guessing

    @property
    def largest_class(self) -> LargestClass | None:
        """What guessing the class with the most training examples would give; None where the targets are no classes."""
        data = self.splits
        if data.kind != "classes":
            return None
        index = int(data.train[1].bincount().argmax())
        name = data.class_names[index] if data.class_names else f"class {index}"
        right = (float((targets == index).float().mean()) for _, targets in (data.validation, data.test))
        return LargestClass(name, *right)

    @property
    def conditions(self) -> dict[str, dict[str, Any]]:
        """How the designs are trained and stopped, as JSON values: `recipe`, without the epochs, which are part of a request,
        `limits`; `recipe_choices` where there are any; and `scoring`, the loss, metrics and score of its own, likewise.

        Raises:
            InputError: if a function among them cannot be read, and has no name.
        """
        recipe = _settings(self.recipe)
        del recipe["epochs"]
        conditions = {"recipe": recipe, "limits": _settings(self.limits)}
        if self.recipe_layer is not None:
            conditions["recipe_choices"] = dict(SearchSpace([self.recipe_layer]).describe()[0]["choices"])
        scoring: dict[str, Any] = {}
        if self.loss is not None:
            loss = self.loss if isinstance(self.loss, Loss) else Loss(self.loss)
            scoring["loss"] = identity(loss.function, loss.name, "loss")
        if self.metrics:
            scoring["metrics"] = {
                name: [identity(each.function, each.name, f"metric {name!r}"), each.better, each.unit]
                for name, each in self.metrics.items()
            }
        if self.score not in ("validation_accuracy", *_SCORES.values()):
            scoring["score"] = self.score
        if scoring:
            conditions["scoring"] = scoring
        return conditions

    @cached_property
    def fingerprint(self) -> str:
        """A digest of all that a trial depends on beside its request and the device: network, choices, data split,
        recipe and limits, and the weights where there are any. What is rewarded is not part of it: a trial can be rewarded
        in many ways.

        A setting that was added later (see `_FIRST_SETTINGS`) enters only where it is not at its default, so that stores and
        tables of before keep their fingerprint.
        """
        from marl_hpo_env.networks.saved import checksum

        content = [self.network.signature, self.space.describe(), self.splits.digest(), *self.conditions.values()]
        if self.inherited is not None:
            content.append(checksum({}, self.inherited))
        if self.folds is not None:
            groups = self.splits.groups
            content.append({"folds": self.folds, "groups": None if groups is None else groups.tolist()})
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]

    def trainer(self, device: torch.device, measure_time: bool = True, *, verified: bool = False) -> Trainer:
        """The engine that trains this task's designs.

        Args:
            device: where to train.
            measure_time: whether nothing runs beside it, so that times mean something.
            verified: whether the process that this task comes from has compared the network with what was traced of it, so
                that it need not be done, and said, again.

        Raises:
            InputError: if the data cannot be read or the network not be traced.
        """
        from marl_hpo_env.training.trainer import Trainer

        scoring = self.scoring  # before the network, which a task without its data need not trace
        if verified and "network" not in self.__dict__:
            self.__dict__["network"] = self._traced(verify=False)
        if self.input_shape is not None:  # else the network was traced with them
            scoring.check(tuple(self.network.output_shape[1:]))
        return Trainer(
            self.network,
            scoring,
            self.recipe,
            self.limits,
            device,
            measure_time,
            self.inherited,
            self.recipes[1:],
            self.folds,
        )

    def fit(self, design: Iterable[int] | None, device: str | None = None) -> tuple[nn.Module, Trial]:
        """Final training (paper VII): the network trained to convergence, with the weights of its best epoch.

        Args:
            design: one action per layer, or None for the original network.
            device: where to train; CUDA where there is one, else the CPU.

        Raises:
            InputError: if the design is not one of the space, or cannot be trained.
        """
        from marl_hpo_env.training.devices import choose_device

        checked = None if design is None else self.space.check(design)
        network, trial = self.trainer(choose_device(device)).train(Request(checked, self.seed, None))
        if network is None:
            what = "The original network" if checked is None else f"The design {list(checked)}"
            raise InputError(f"{what} cannot be trained: {trial.reason}")
        return network, trial

    def __getstate__(self) -> dict[str, Any]:
        # What was loaded or traced is made again where the task arrives.
        return {name: self.__dict__[name] for name in self.__dataclass_fields__}
