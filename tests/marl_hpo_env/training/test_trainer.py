from __future__ import annotations

import dataclasses
import functools
import math
import re
from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.nn import functional

import marl_hpo_env
from marl_hpo_env import Store, StoredEvaluator, TrainingEvaluator
from marl_hpo_env.catalog.task import Task
from marl_hpo_env.data.digits import digits
from marl_hpo_env.data.splits import Data
from marl_hpo_env.errors import InputError
from marl_hpo_env.reward import PaperReward
from marl_hpo_env.training import trainer as trainer_module
from marl_hpo_env.training.augmentation import Augmentation
from marl_hpo_env.training.devices import choose_device
from marl_hpo_env.training.imbalance import class_weights, weighted
from marl_hpo_env.training.recipe import Limits, Recipe
from marl_hpo_env.training.scoring import losses
from marl_hpo_env.training.trainer import Trainer
from marl_hpo_env.trial import CLOCK_METRICS, METRICS, Request, Trial

CPU = torch.device("cpu")
SEEN: list[tuple[int, int]] = []
"""Batch size and number of threads of every training step of `Watched`."""


class Watched(nn.Module):
    """Records what passes, and misbehaves in training where asked."""

    def __init__(self, kind: str = "good") -> None:
        super().__init__()
        self.kind = kind

    def forward(self, x):
        if self.training:
            SEEN.append((len(x), torch.get_num_threads()))
            if self.kind == "raise":
                raise RuntimeError("no kernel for this.\nand a second line")
            if self.kind == "nan":
                return x * math.nan
        return x


class Net(nn.Module):
    def __init__(self, batch_norm: bool = True) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3, 2, 1)
        self.watched = Watched()
        self.hidden = nn.Linear(64, 16)
        self.norm = nn.BatchNorm1d(16) if batch_norm else nn.Identity()
        self.output = nn.Linear(16, 10)

    def forward(self, x):
        x = torch.flatten(self.watched(torch.relu(self.conv(x))), 1)
        return self.output(torch.relu(self.norm(self.hidden(x))))


class NetOfAFixedSize(Net):
    def forward(self, x):
        return self.output(self.hidden(torch.einsum("nchw,cd->ndhw", self.conv(x), torch.eye(4)).flatten(1)))


@functools.cache
def few_digits() -> Data:
    return first(200)


def first(n: int) -> Data:
    splits = digits().splits()
    return Data(**{name: (x[:n], y[:n]) for name, (x, y) in splits.items()})


def choices():
    return {nn.Conv2d: {"out_channels": (4, 8)}, Watched: {"kind": ("good", "raise", "nan")}}


LIKE_THE_ORIGINAL = (0, 0)


def make_task(**changes) -> Task:
    recipe = {"batch_size": 64, "epochs": 4, "optimizer": "adam", "learning_rate": 1e-2} | changes.pop("recipe", {})
    plain = {"model": Net, "data": few_digits, "choices": choices, "reward": PaperReward()}
    return Task(name="test", recipe=Recipe(**recipe), **(plain | changes))


def train(task: Task, request: Request) -> Trial:
    trainer = task.trainer(CPU, measure_time=False)
    SEEN.clear()  # of what passed while the network was made tunable
    NOTED.clear()
    return trainer.train(request)[1]


def repeatable(trial: Trial) -> tuple:
    metrics = {name: value for name, value in trial.metrics.items() if name not in CLOCK_METRICS}
    return trial.request, trial.status, trial.reason, metrics, list(trial.history)


@pytest.fixture(scope="module")
def small() -> Trainer:
    return make_task().trainer(CPU, measure_time=False)


@pytest.fixture(scope="module")
def real() -> Trainer:
    return marl_hpo_env.task("digits-convnet").trainer(CPU, measure_time=True)


def scripted_losses(monkeypatch: pytest.MonkeyPatch, losses: list[float]) -> Callable[[], int]:
    """Makes epochs have these losses; returns how many there were."""
    remaining = iter(losses)
    monkeypatch.setattr(Trainer, "_epoch", lambda *_: (next(remaining), 0.5))
    return lambda: len(losses) - len(list(remaining))


def test_the_same_request_gives_the_same_trial_bit_for_bit_whatever_came_before(real):
    request, other = Request((1, 4, 2, 1, 2), 0, 2), Request(None, 0, 1)
    first_trial = real.train(request)[1]
    real.train(other)
    torch.rand(7)
    assert repeatable(real.train(request)[1]) == repeatable(first_trial)
    assert first_trial.status == "completed"


def test_a_network_that_writes_to_its_input_does_not_change_the_data():
    def overwriting():
        return nn.Sequential(nn.Hardtanh(0.2, 0.4, inplace=True), nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))

    generator = torch.Generator().manual_seed(0)
    inputs, targets = torch.rand(60, 4, generator=generator), torch.arange(60) % 3
    data = Data((inputs.clone(), targets), (inputs.clone(), targets), (inputs.clone(), targets))
    recipe = Recipe(16, 2, "adam", 0.01, initialization="he-inside")
    task = Task("overwriting", overwriting, data, {nn.Linear: {"out_features": (4, 8)}}, recipe)
    trainer = task.trainer(torch.device("cpu"))
    assert trainer.train(Request((1,), 0, 2))[1].status == "completed"
    assert all(torch.equal(part, inputs) for part, _ in data.splits().values())


def test_another_seed_gives_another_trial(small):
    assert small.train(Request(None, 0, 2))[1].history != small.train(Request(None, 1, 2))[1].history


def test_a_longer_training_begins_as_a_shorter_one(small):
    assert small.train(Request(None, 0, 3))[1].history[:2] == small.train(Request(None, 0, 2))[1].history


def test_the_original_learns_real_digits_and_has_its_sizes(real):
    network, trial = real.train(Request(None, 0, 4))
    assert trial.status == "completed"
    assert set(trial.metrics) == set(METRICS)
    assert trial.metrics["validation_accuracy"] > 0.9
    assert trial.metrics["test_accuracy"] > 0.9
    convolutions, dense = 9 * 8 * (1 + 8 + 8), 128 * 64 + 64 * 10
    assert trial.metrics["parameters"] == convolutions + 3 * 2 * 8 + dense + 64 + 10
    assert trial.metrics["model_size_mb"] == pytest.approx(4e-6 * (trial.metrics["parameters"] + 3 * 2 * 8))
    assert trial.metrics["flops"] == 2 * (64 * convolutions + dense)
    assert trial.metrics["epochs"] == len(trial.history) == 4
    assert trial.metrics["train_loss"] == trial.history[-1]["train_loss"]
    assert trial.metrics["validation_accuracy"] == trial.history[-1]["validation_accuracy"]
    assert trial.metrics["peak_memory_mb"] is None
    assert accuracy(network, real.data.validation) == trial.metrics["validation_accuracy"]
    assert accuracy(network, real.data.test) == trial.metrics["test_accuracy"]


def accuracy(network: nn.Module, examples) -> float:
    x, y = examples
    with torch.no_grad():
        return int((network.eval()(x).argmax(1) == y).sum()) / len(y)


def test_times_are_measured_only_where_nothing_runs_beside_it(real, small):
    alone, beside = real.train(Request(None, 0, 1))[1], small.train(Request(None, 0, 1))[1]
    for name in ("train_ms_per_batch", "inference_ms_per_batch"):
        assert 0 < alone.metrics[name] < 1e4
        assert beside.metrics[name] is None
    assert alone.metrics["seconds"] > 0
    assert beside.metrics["seconds"] > 0


@pytest.mark.parametrize("action", [0, 1])
def test_one_thread_trains_and_the_callers_threads_and_generator_are_as_they_were(small, action):
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        torch.manual_seed(5)
        expected = torch.rand(3)
        torch.manual_seed(5)
        SEEN.clear()
        small.train(Request((0, action), 0, 1))
        assert {used for _, used in SEEN} == {1}
        assert torch.get_num_threads() == 2
        assert torch.equal(torch.rand(3), expected)
    finally:
        torch.set_num_threads(threads)


def test_making_the_original_leaves_the_callers_generator_as_it_was():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    train(make_task(), Request(None, 0, 1))
    assert torch.equal(torch.rand(3), expected)


def test_a_trial_does_not_depend_on_the_generator_when_the_original_was_made():
    class WithAParameter(Net):
        def __init__(self) -> None:
            super().__init__()
            self.position = nn.Parameter(torch.randn(4, 1, 1))

        def forward(self, x):
            x = torch.flatten(self.watched(self.conv(x) + self.position), 1)
            return self.output(torch.relu(self.norm(self.hidden(x))))

    trials = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        trials.append(train(make_task(model=WithAParameter), Request(None, 0, 1)))
    assert trials[0].status == "completed"
    assert repeatable(trials[0]) == repeatable(trials[1])


def test_a_loss_that_is_not_finite_is_a_failed_trial_that_says_so(small):
    network, trial = small.train(Request((0, 2), 0, 3))
    assert network is None
    assert (trial.status, trial.reason) == ("failed", "The training loss became nan in epoch 1, also after a restart.")
    assert trial.history == ()
    assert trial.metrics["test_accuracy"] is None
    assert trial.metrics["parameters"] > 0


def test_a_module_that_raises_is_a_failed_trial_and_the_next_one_trains(small):
    network, trial = small.train(Request((0, 1), 0, 3))
    assert network is None
    assert (trial.status, trial.reason) == ("failed", "RuntimeError: no kernel for this.")
    assert small.train(Request((0, 0), 0, 1))[1].status == "completed"


def test_a_design_that_cannot_be_built_is_a_failed_trial():
    trial = train(
        make_task(model=NetOfAFixedSize, choices=lambda: {nn.Conv2d: {"out_channels": (4, 8)}}),
        Request((1,), 0, 1),
    )
    assert trial.status == "failed"
    assert trial.reason.startswith("The network cannot be built: 'einsum' at test_trainer.py:")
    assert trial.metrics["parameters"] is None


def test_too_high_a_loss_restarts_once_with_fresh_weights_and_then_terminates(small, monkeypatch):
    unlimited = small.train(Request(LIKE_THE_ORIGINAL, 0, 4))[1]
    trainer = make_task(limits=Limits(loss=1e-6, loss_epochs=2)).trainer(CPU, measure_time=False)
    built = []
    build = trainer.network.build_with
    monkeypatch.setattr(trainer.network, "build_with", lambda *args: built.append(args) or build(*args))
    network, trial = trainer.train(Request(LIKE_THE_ORIGINAL, 0, 4))
    assert len(built) == 2
    assert network is None
    assert trial.status == "terminated"
    assert trial.reason == ("The training loss stayed above 1e-06 for 2 consecutive epochs, also after a restart.")
    assert len(trial.history) == trial.metrics["epochs"] == 2
    assert trial.history[0]["train_loss"] != unlimited.history[0]["train_loss"]
    assert trial.metrics["test_accuracy"] is None
    assert repeatable(trainer.train(Request(LIKE_THE_ORIGINAL, 0, 4))[1]) == repeatable(trial)


def test_a_restart_that_meets_the_limit_completes(monkeypatch):
    epochs = scripted_losses(monkeypatch, [3.0, 3.0, 3.0, 1.5, 1.0, 1.0])
    trial = train(make_task(limits=Limits(loss=2.0, loss_epochs=2)), Request(LIKE_THE_ORIGINAL, 0, 4))
    assert trial.status == "completed"
    assert [epoch["train_loss"] for epoch in trial.history] == [3.0, 1.5, 1.0, 1.0]
    assert epochs() == 6


def test_what_was_measured_before_a_restart_does_not_count_after_it(monkeypatch):
    scripted_losses(monkeypatch, [1.5, 3.0, 3.0, 3.0, 1.5, 1.5, 1.5])
    trial = train(make_task(limits=Limits(loss=2.0, loss_epochs=2)), Request(LIKE_THE_ORIGINAL, 0, 4))
    assert [epoch["train_loss"] for epoch in trial.history] == [3.0, 1.5, 1.5, 1.5]


def test_slow_batches_terminate_at_once():
    trainer = make_task(limits=Limits(batch_ratio=1e-6, batches=3)).trainer(CPU, measure_time=False)
    assert trainer.original_ms > 0  # measured once, on this device
    SEEN.clear()
    trial = trainer.train(Request(LIKE_THE_ORIGINAL, 0, 4))[1]
    assert trial.status == "terminated"
    assert trial.reason.startswith("3 consecutive batches took longer than ")
    assert len(SEEN) == 3 + 3  # the first three warm up, as the original's do


def test_the_original_is_what_limits_are_set_by_and_meets_none():
    limits = Limits(loss=1e-6, loss_epochs=1, batch_ratio=1e-6, batches=1)
    assert train(make_task(limits=limits), Request(None, 0, 2)).status == "completed"


def test_limits_do_not_apply_in_final_training():
    limits = Limits(loss=1e-6, loss_epochs=1, batch_ratio=1e-6, batches=1)
    trial = train(make_task(limits=limits, recipe={"max_epochs": 3}), Request(None, 0, None))
    assert (trial.status, trial.metrics["epochs"]) == ("completed", 3)


def test_final_training_ends_by_patience_and_keeps_the_weights_of_the_best_epoch():
    trainer = make_task(recipe={"patience": 4, "max_epochs": 80}).trainer(CPU, measure_time=False)
    network, trial = trainer.train(Request(None, 0, None))
    accuracies = [epoch["validation_accuracy"] for epoch in trial.history]
    best = accuracies.index(max(accuracies)) + 1
    assert len(accuracies) == best + 4 < 80
    assert accuracies[-1] < max(accuracies)  # else this test would not tell the best epoch from the last
    assert trial.metrics["validation_accuracy"] == max(accuracies) == accuracy(network, trainer.data.validation)
    assert trial.metrics["test_accuracy"] == accuracy(network, trainer.data.test)
    assert trial.metrics["epochs"] == len(accuracies)
    stopped = trainer.train(Request(None, 0, best))[0]
    assert all(torch.equal(v, network.state_dict()[k]) for k, v in stopped.state_dict().items())


def test_an_improvement_below_the_smallest_that_counts_does_not_prolong_final_training():
    trial = train(make_task(recipe={"patience": 3, "min_improvement": 100.0}), Request(None, 0, None))
    accuracies = [epoch["validation_accuracy"] for epoch in trial.history]
    assert len(accuracies) == 1 + 3
    assert trial.metrics["validation_accuracy"] == accuracies[0] < max(accuracies)


def scripted_accuracies(monkeypatch: pytest.MonkeyPatch, accuracies: list[float]) -> None:
    """Makes the epochs of a final training have these validation accuracies."""
    remaining = iter(accuracies)
    evaluate = Trainer.evaluate

    def evaluated(trainer, network, examples):
        figures = evaluate(trainer, network, examples)
        return {**figures, "accuracy": next(remaining)} if examples is trainer.data.validation else figures

    monkeypatch.setattr(Trainer, "evaluate", evaluated)


@pytest.mark.parametrize(
    ("min_improvement", "accuracies", "best"),
    [
        # In percentage points: from 0.5, half a point more is 0.505.
        (0.5, [0.5, 0.504, 0.506, 0.510, 0.5105], 3),
        (0.5, [0.5, 0.504, 0.5045], 1),
        # Small steps count together, from the best that counted.
        (0.5, [0.5, 0.503, 0.506, 0.509, 0.5105], 3),
        # The paper's 0.01 points (VII), which is the default: from 0.5, 0.5001.
        (0.01, [0.5, 0.50009, 0.50011, 0.5002, 0.5002], 3),
        (0.01, [0.5, 0.50009, 0.50005], 1),
        # 20 points, as nothing of a percentage would reach.
        (20.0, [0.1, 0.29, 0.31, 0.5, 0.4], 3),
    ],
)
def test_an_improvement_is_counted_in_percentage_points(monkeypatch, min_improvement, accuracies, best):
    if min_improvement == 0.01:
        assert Recipe().min_improvement == min_improvement
    scripted_accuracies(monkeypatch, accuracies)
    task = make_task(recipe={"patience": 2, "min_improvement": min_improvement})
    trial = train(task, Request(None, 0, None))
    assert trial.status == "completed"
    assert [epoch["validation_accuracy"] for epoch in trial.history] == accuracies  # two epochs after the best one
    assert trial.metrics["validation_accuracy"] == accuracies[best - 1]


class WithHeads(Net):
    """With auxiliary heads, in training and in evaluation."""

    def __init__(self, heads: int = 2) -> None:
        super().__init__(batch_norm=False)
        self.heads = nn.ModuleList(nn.Linear(64, 10) for _ in range(heads))

    def forward(self, x):
        features = torch.flatten(self.watched(torch.relu(self.conv(x))), 1)
        own = self.output(torch.relu(self.hidden(features)))
        return own, *(head(features) for head in self.heads)


def test_a_limit_means_the_same_for_a_network_with_auxiliary_heads_and_without():
    # So low a rate that the losses stay: about ln 10 = 2.3 for the network itself, and 0.3 * 2.3 more for each head.
    still = {"batch_size": 50, "learning_rate": 1e-20}
    task = make_task(model=WithHeads, recipe=still, limits=Limits(loss=2.6, loss_epochs=1))
    network, trial = task.trainer(CPU, measure_time=False).train(Request(LIKE_THE_ORIGINAL, 0, 2))
    assert trial.status == "completed"
    x, y = task.splits.train
    with torch.no_grad():
        own, *heads = (float(functional.cross_entropy(scores, y)) for scores in network(x))
        validation = float(functional.cross_entropy(network(task.splits.validation[0])[0], task.splits.validation[1]))
    assert own < 2.6 < own + 0.3 * sum(heads)
    assert trial.metrics["train_loss"] == pytest.approx(own, rel=1e-5)
    assert trial.metrics["validation_loss"] == pytest.approx(validation, rel=1e-5)
    # And a limit below the network's own loss is violated.
    task = make_task(model=WithHeads, recipe=still, limits=Limits(loss=2.0, loss_epochs=1))
    assert train(task, Request(LIKE_THE_ORIGINAL, 0, 2)).status == "terminated"


def test_auxiliary_heads_are_trained_and_judge_nothing():
    trainer = make_task(model=WithHeads).trainer(CPU, measure_time=False)
    network, trial = trainer.train(Request(None, 0, 12))
    x, y = trainer.data.validation
    own, *heads = (scores.argmax(1) for scores in network.eval()(x))
    assert trial.metrics["validation_accuracy"] == int((own == y).sum()) / len(y)
    for head in heads:
        assert int((head == y).sum()) / len(y) > 0.5  # 0.1 where it is not trained
        assert not torch.equal(head, own)


@pytest.mark.parametrize(("n", "batches"), [(128, [64, 64]), (129, [64, 64]), (130, [64, 64, 2]), (40, [40])])
def test_a_last_batch_of_one_example_is_left_out(n, batches):
    trial = train(make_task(data=lambda: first(n)), Request(None, 0, 1))
    assert trial.status == "completed"
    assert [size for size, _ in SEEN] == batches


def test_a_batch_size_of_one_trains_on_every_example():
    task = make_task(model=lambda: Net(batch_norm=False), data=lambda: first(20), recipe={"batch_size": 1})
    trial = train(task, Request(None, 0, 1))
    assert (trial.status, trial.reason) == ("completed", None)
    assert [size for size, _ in SEEN] == [1] * 20


NOTED: list[tuple[bool, torch.Tensor]] = []
"""Of every batch that reaches `Noting`: whether it is trained on, and its images."""


class Noting(Watched):
    def forward(self, x):
        if x.device.type != "meta":
            NOTED.append((self.training, x.detach().clone()))
        return x


def noted_task(n: int = 100, **recipe) -> Task:
    """Images of one value each, 1 to n; nothing is before `Noting`."""
    x = torch.arange(1.0, n + 1).view(n, 1, 1, 1).expand(n, 1, 8, 8) / n
    examples = x.contiguous(), torch.arange(n) % 10
    model = nn.Sequential(Noting(), nn.Flatten(), nn.Linear(64, 10))
    recipe = {"batch_size": 40, "epochs": 2} | recipe
    choices = {Noting: {"kind": ("good", "as good")}}
    return make_task(model=model, data=lambda: Data(examples, examples, examples), choices=choices, recipe=recipe)


def trained_on(task: Task, request: Request) -> list[torch.Tensor]:
    assert train(task, request).status == "completed"
    return [x for training, x in NOTED if training]


def test_every_epoch_has_all_examples_in_an_order_of_its_own_that_the_seed_decides():
    task = noted_task()

    def orders(seed):
        places = torch.cat([100 * x[:, 0, 0, 0] for x in trained_on(task, Request((0,), seed, 3))]).round().int()
        return [epoch.tolist() for epoch in places.split(100)]

    epochs = orders(0)
    assert [sorted(epoch) for epoch in epochs] == [list(range(1, 101))] * 3
    assert len({tuple(epoch) for epoch in [*epochs, list(range(1, 101))]}) == 4
    assert orders(0) == epochs
    assert orders(1)[0] != epochs[0]


def test_every_training_batch_is_augmented_by_its_own_draws_and_nothing_else_is():
    augmentation = Augmentation(rotation=0, shift=0.5, flip=False)  # a shift leaves zeros beside the image
    task = noted_task(augmentation=augmentation)
    batches = trained_on(task, Request((0,), 0, 2))
    assert [len(batch) for batch in batches] == [40, 40, 20] * 2
    shifted = torch.cat([(batch == 0).flatten(1).any(1) for batch in batches])
    assert shifted.float().mean() > 0.9
    assert all((x != 0).all() for training, x in NOTED if not training)
    # The second epoch draws anew, and another seed draws otherwise.
    holes = [
        [(batch == 0).flatten(1).sum(1).sort().values.tolist() for batch in part] for part in (batches[:3], batches[3:])
    ]
    assert holes[0] != holes[1]
    again = trained_on(task, Request((0,), 0, 2))
    assert all(torch.equal(a, b) for a, b in zip(again, batches, strict=True))
    assert not torch.equal(trained_on(task, Request((0,), 1, 2))[0], batches[0])
    plain = trained_on(noted_task(), Request((0,), 0, 2))
    assert all((batch != 0).all() for batch in plain)


def test_masks_are_augmented_with_their_images():
    masks = torch.zeros(30, 1, 8, 8)
    masks[..., 2:6, 1:7] = 1
    examples = masks.clone(), masks
    model = nn.Sequential(Watched(), nn.Conv2d(1, 1, 1))
    recipe = {"augmentation": Augmentation(rotation=0, shift=0.5, flip=True), "learning_rate": 0.5, "max_epochs": 1}
    task = make_task(model=model, data=lambda: Data(examples, examples, examples), recipe=recipe)
    # What is to be predicted is where the image is: one pixel says all, however both were shifted.
    trial = train(task, Request((0,), 0, 60))
    assert trial.metrics["train_accuracy"] > 0.95


def test_the_time_of_inference_is_that_of_one_batch():
    task = noted_task()
    NOTED.clear()
    task.trainer(CPU, measure_time=True).train(Request((0,), 0, 1))
    assert {len(x) for training, x in NOTED[-20:]} == {40}
    assert not any(training for training, _ in NOTED[-20:])


def test_final_training_keeps_its_best_epoch_where_validation_alone_stops_being_a_number(monkeypatch):
    evaluate, losses = Trainer.evaluate, iter([1.0, 1.0, math.nan])

    def evaluated(trainer, network, examples):
        figures = evaluate(trainer, network, examples)
        return {**figures, "loss": next(losses)} if examples is trainer.data.validation else figures

    monkeypatch.setattr(Trainer, "evaluate", evaluated)
    trial = train(make_task(), Request(None, 0, None))
    assert (trial.status, len(trial.history)) == ("completed", 2)
    assert trial.metrics["validation_accuracy"] == max(epoch["validation_accuracy"] for epoch in trial.history)


@pytest.mark.parametrize(("epochs", "sizes"), [(1, [40, 30]), (None, [40] * 5)])
def test_episodes_see_the_examples_that_are_meant_for_them_and_final_training_sees_all(epochs, sizes):
    data = dataclasses.replace(few_digits(), episode_examples=torch.arange(130, 200))
    task = make_task(data=lambda: data, recipe={"batch_size": 40, "max_epochs": 1})
    trial = train(task, Request(LIKE_THE_ORIGINAL, 0, epochs))
    assert trial.status == "completed"
    assert [size for size, _ in SEEN] == sizes
    # Which examples they are: others trained on change nothing of an episode.
    x, y = data.train
    others = dataclasses.replace(data, train=(x, torch.where(torch.arange(200) < 130, (y + 1) % 10, y)))
    same = train(make_task(data=lambda: others, recipe={"batch_size": 40, "max_epochs": 1}), trial.request)
    assert (same.history == trial.history) == (epochs is not None)


def test_the_training_loss_is_the_mean_over_examples():
    task = make_task(model=lambda: Net(batch_norm=False), data=lambda: first(70), recipe={"learning_rate": 1e-20})
    network, trial = task.trainer(CPU, measure_time=False).train(Request(None, 0, 1))
    x, y = task.splits.train
    with torch.no_grad():
        expected = functional.cross_entropy(network.train()(x), y)
    assert trial.metrics["train_loss"] == pytest.approx(float(expected), rel=1e-5)


@pytest.mark.parametrize("epochs", [2, None])
def test_the_test_split_changes_the_test_accuracy_and_nothing_else(epochs):
    data = few_digits()
    x, y = data.test
    relabelled = dataclasses.replace(data, test=(x, (y + 1) % 10))
    request, recipe = Request((1, 0), 0, epochs), {"max_epochs": 5, "patience": 2}
    trials = [train(make_task(data=lambda d=d: d, recipe=recipe), request) for d in (data, relabelled)]
    plain, changed = (repeatable(trial) for trial in trials)
    assert plain[3].pop("test_accuracy") != changed[3].pop("test_accuracy")
    assert plain == changed


def test_the_validation_split_does_not_reach_the_weights():
    data = few_digits()
    x, y = data.validation
    relabelled = dataclasses.replace(data, validation=(x, (y + 1) % 10))
    states = [
        make_task(data=lambda d=d: d).trainer(CPU, measure_time=False).train(Request(None, 0, 2))[0].state_dict()
        for d in (data, relabelled)
    ]
    assert all(torch.equal(v, states[1][k]) for k, v in states[0].items())


# Real failures: nothing here is scripted.


def plain_net() -> Net:
    return Net(batch_norm=False)


def test_a_training_that_diverges_fails_and_the_run_goes_on():
    task = make_task(model=plain_net, recipe={"optimizer": "sgd", "learning_rate": 1e20})
    env = marl_hpo_env.env(task, evaluator=TrainingEvaluator(task, "cpu"))
    for action in (0, 1):
        env.reset()
        env.step(action)
        env.step(0)
        trial = env.unwrapped.trial
        assert trial.status == "failed"
        assert re.fullmatch(r"The training loss became (nan|inf) in epoch 1, also after a restart\.", trial.reason)
        assert trial.design == (action, 0)
        assert set(env.rewards.values()) == {-1.0}
    network, trial = task.trainer(CPU, measure_time=False).train(Request(None, 0, None))
    assert (network, trial.status) == (None, "failed")


def test_a_batch_is_slow_beside_the_original_s_median_and_the_first_three_do_not_count(monkeypatch):
    # By a clock that says 10 ms for each of the original's batches, but for the first, and 100 ms for the slow design's.
    kernels = {"conv": {"out_channels": (4, 8)}, Watched: {"kind": ("good",)}}
    task = make_task(choices=lambda: kernels, limits=Limits(batch_ratio=5.0, batches=3))
    said = iter([900.0, 900.0, 900.0] + [10.0] * 20 + [900.0, 900.0, 900.0] + [100.0] * 3 + [900.0] * 3 + [49.0] * 99)
    monkeypatch.setattr(trainer_module.Clock, "ms", lambda clock: next(said))
    trainer = task.trainer(CPU, measure_time=False)
    slow, fast = (trainer.train(Request(design, 0, 2))[1] for design in ((1, 0), (0, 0)))
    assert slow.status == "terminated"
    assert slow.reason == "3 consecutive batches took longer than 50 ms."
    assert slow.metrics["test_accuracy"] is None
    assert fast.status == "completed"


@pytest.mark.parametrize("device", ["cpu", *(["cuda"] if torch.cuda.is_available() else [])])
def test_a_design_that_runs_out_of_memory_fails_is_not_kept_and_the_run_goes_on(device):
    # Weights of 256 TB: more than a process can address.
    units = {Watched: {"kind": ("good",)}, "hidden": {"out_features": (16, 10**12)}}
    task = make_task(choices=lambda: units)
    store = Store()
    evaluator = StoredEvaluator(TrainingEvaluator(task, device), store)
    huge, small = Request((0, 1), 0, 1), Request((0, 0), 0, 1)
    trials = list(evaluator.evaluate([huge, small]))
    # It is tried again when the others are done.
    assert [(trial.request, trial.status) for trial in trials] == [(small, "completed"), (huge, "failed")]
    assert trials[1].reason.startswith("Out of memory: ")
    assert trials[1].reason.count("\n") == 0
    assert trials[1].accidental
    assert store.get(evaluator.fingerprint, huge) is None
    assert store.get(evaluator.fingerprint, small) == trials[0]


def test_fit_gives_the_finally_trained_network_and_its_trial():
    task = make_task(recipe={"max_epochs": 2}, seed=3)
    network, trial = task.fit((1, 0), "cpu")
    assert trial.request == Request((1, 0), 3, None)
    assert trial.metrics["validation_accuracy"] == accuracy(network, task.splits.validation)
    assert network.get_submodule("conv").out_channels == 8
    # Nothing runs beside it: what it comes to is reported with its times.
    assert all(trial.metrics[name] is not None for name in ("train_ms_per_batch", "inference_ms_per_batch"))


@pytest.mark.parametrize(
    ("design", "words"), [((0, 1), "no kernel for this"), ((0, 9), "Action 9"), ((0,), "2 actions")]
)
def test_fit_refuses_a_design_that_cannot_be_trained(design, words):
    with pytest.raises(InputError, match=words):
        make_task().fit(design, "cpu")


@pytest.mark.parametrize("name", ["gpu", "meta", "cpu:x", *([] if torch.cuda.is_available() else ["cuda"])])
def test_a_device_that_is_not_there_is_refused_by_name(name):
    with pytest.raises(InputError, match=name):
        choose_device(name)


def test_without_a_name_the_best_device_is_chosen():
    assert choose_device(None).type == ("cuda" if torch.cuda.is_available() else "cpu")


# Schedules.


def test_the_optimizer_has_the_rate_of_each_epoch(monkeypatch):
    rates = []
    epoch = Trainer._epoch

    def recorded(self, network, optimizer, *more):
        rates.append({group["lr"] for group in optimizer.param_groups})
        return epoch(self, network, optimizer, *more)

    monkeypatch.setattr(Trainer, "_epoch", recorded)
    recipe = {"learning_rate": 0.1, "warm_up_epochs": 1, "step_epochs": 2, "decayed": "kernels"}
    train(make_task(recipe=recipe), Request(None, 0, 5))
    assert [rate for (rate,) in rates] == pytest.approx([0.05, 0.1, 0.05, 0.05, 0.025])


def test_a_longer_training_begins_as_the_shorter_one_did():
    task = make_task(recipe={"learning_rate": 0.01, "warm_up_epochs": 2, "step_epochs": 3})
    shorter, longer = (train(task, Request(None, 0, epochs)) for epochs in (3, 5))
    assert list(longer.history[:3]) == list(shorter.history)


def test_momentum_looks_ahead_where_asked():
    def weights(**recipe):
        recipe = {"optimizer": "sgd", "learning_rate": 0.01, "batch_size": 200, "initialization": "torch"} | recipe
        network, _ = make_task(model=plain_net, recipe=recipe).trainer(CPU).train(Request(None, 0, 1))
        return network.output.bias.detach()

    start, plain, heavy, ahead = (
        weights(learning_rate=1e-20),
        weights(),
        weights(momentum=0.5),
        weights(momentum=0.5, nesterov=True),
    )
    # One step: momentum has nothing to add yet; looking ahead adds half of the step that is to come.
    assert torch.equal(heavy, plain)
    torch.testing.assert_close(ahead - start, 1.5 * (plain - start), rtol=1e-3, atol=1e-7)


def test_a_final_training_that_is_never_a_number_says_so():
    network, trial = make_task(recipe={"max_epochs": 2}).trainer(CPU).train(Request((0, 2), 0, None))
    assert (network, trial.status) == (None, "failed")
    assert trial.reason == "The training loss became nan in epoch 1, also after a restart."


def test_what_torch_calls_out_of_memory_is_an_accident(monkeypatch):
    def step(*_):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    monkeypatch.setattr(Trainer, "_step", step)
    trial = train(make_task(), Request(None, 0, 1))
    assert (trial.status, trial.accidental) == ("failed", True)
    assert trial.reason.startswith("Out of memory: CUDA out of memory")


def test_a_layer_that_a_gpu_has_no_memory_for_is_an_accident_too(monkeypatch):
    def constructor(*_, **__):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 4.00 TiB.")

    trainer = make_task().trainer(CPU)
    monkeypatch.setattr(nn.Linear, "__init__", constructor)
    _, trial = trainer.train(Request((0, 1), 0, 1))
    assert (trial.status, trial.accidental) == ("failed", True)
    assert trial.reason.startswith("Out of memory: Module 'hidden' cannot be made with ")


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_only_kernels_decay_where_asked(optimizer):
    recipe = {"optimizer": optimizer, "weight_decay": 0.1, "decayed": "kernels"}
    trainer = make_task(recipe=recipe).trainer(CPU)
    network = trainer._fresh(None)
    decayed, rest = trainer.optimizer(network).param_groups
    assert (decayed["weight_decay"], rest["weight_decay"]) == (0.1, 0.0)
    named = {parameter: name for name, parameter in network.named_parameters()}
    assert {named[p] for p in decayed["params"]} == {"conv.weight", "hidden.weight", "output.weight"}
    assert len(decayed["params"]) + len(rest["params"]) == len(named)


def test_patience_counts_from_the_last_change_of_the_rate(monkeypatch):
    # Accuracy never improves after the first epoch, so patience alone decides. The rate changes after epochs 4 and 8.
    def evaluate(self, network, examples):
        return {"loss": 1.0, "accuracy": 0.5}

    monkeypatch.setattr(Trainer, "evaluate", evaluate)

    def epochs(**recipe):
        return len(train(make_task(recipe={"max_epochs": 30, **recipe}), Request(None, 0, None)).history)

    # The last epoch is the first that lies `patience` after the best (1) and after the last one before a change.
    assert epochs(patience=3) == 1 + 3
    assert epochs(patience=3, step_epochs=4) == 1 + 3  # it ends before the first change, which follows epoch 4
    assert epochs(patience=4, step_epochs=4) == 4 + 4  # epoch 5 has a new rate
    assert epochs(patience=5, step_epochs=4) == 30  # each change comes before patience has run out
    assert epochs(patience=3, warm_up_epochs=3) == 3 + 3  # epoch 4 is the first with the full rate


def test_a_loss_that_is_no_number_is_restarted_once(monkeypatch):
    calls = scripted_losses(monkeypatch, [float("nan"), 2.0, 1.5])
    trial = train(make_task(), Request((1, 0), 0, 2))
    assert (trial.status, calls()) == ("completed", 3)
    assert [epoch["train_loss"] for epoch in trial.history] == [2.0, 1.5]
    calls = scripted_losses(monkeypatch, [2.0, float("inf"), 2.0, 2.0, float("nan")])
    trial = train(make_task(), Request((1, 0), 0, 3))
    assert (trial.status, calls()) == ("failed", 5)
    assert trial.reason == "The training loss became nan in epoch 3, also after a restart."


class NanInEvaluation(nn.Module):
    """As a batch norm whose running variance overflows: finite while it trains."""

    def __init__(self):
        super().__init__()
        self.conv, self.output = nn.Conv2d(1, 4, 3), nn.Linear(144, 10)

    def forward(self, x):
        scores = self.output(self.conv(x).flatten(1))
        return scores if self.training else scores * float("nan")


def test_a_network_that_is_no_number_in_evaluation_alone_is_no_completed_trial():
    trial = train(make_task(model=NanInEvaluation, choices={nn.Conv2d: {"out_channels": (2, 4)}}), Request((0,), 0, 2))
    assert trial.status == "failed"
    assert trial.reason == "The validation loss became nan in epoch 1, also after a restart."


def test_every_metric_is_measured_and_those_of_the_network_need_no_training():
    task = make_task()
    trainer = task.trainer(CPU)
    trial = trainer.train(Request((0, 0), 0, 1))[1]
    unmeasured = TrainingEvaluator(task, "cpu").unmeasured
    for name, metric in METRICS.items():
        assert (trial.metrics[name] is None) == (name in unmeasured or metric.of == "history"), name
    assert {METRICS[name].of for name in trainer.sizes(trainer._fresh((0, 0)))} == {"network"}
    assert {METRICS[name].of for name in trial.history[0]} == {"epoch"}


# Clipping, precision.


@pytest.mark.parametrize("norm", [1e-3, 1e9])
def test_a_gradient_is_no_longer_than_the_recipe_allows(monkeypatch, norm):
    lengths = []
    step = torch.optim.SGD.step

    def noted(self, *more):
        gradients = [p.grad for group in self.param_groups for p in group["params"]]
        lengths.append(float(torch.linalg.vector_norm(torch.cat([g.flatten() for g in gradients]))))
        return step(self, *more)

    monkeypatch.setattr(torch.optim.SGD, "step", noted)
    free = train(make_task(recipe={"optimizer": "sgd"}), Request(None, 0, 1))
    unclipped, lengths[:] = list(lengths), []
    clipped = train(make_task(recipe={"optimizer": "sgd", "max_gradient_norm": norm}), Request(None, 0, 1))
    assert min(unclipped) > 1e-2
    assert lengths == pytest.approx(unclipped if norm > 1 else [norm] * len(unclipped), rel=1e-2)
    assert (clipped.history == free.history) == (norm > 1)


def test_adamw_s_decay_does_not_enter_the_gradient():
    kinds = {
        name: type(make_task(recipe={"optimizer": name}).trainer(CPU).optimizer(Net())) for name in ("adam", "adamw")
    }
    assert kinds == {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}


def test_bf16_without_a_gpu_that_can_is_one_sentence_before_anything_is_trained(refused):
    task = make_task(recipe={"precision": "bf16"})
    with refused("'bf16'", "'cpu'", "float32"):
        task.fit(None, "cpu")
    with refused("'bf16'", "'cpu'"):
        TrainingEvaluator(task, "cpu")
    with refused("'bf16'", "'cpu'"):
        TrainingEvaluator(make_task(recipe_choices={"precision": ("float32", "bf16")}), "cpu")


def test_bf16_computes_in_training_alone_and_keeps_float32_weights(monkeypatch):
    monkeypatch.setattr(trainer_module, "check_precision", lambda *_: None)  # the CPU can, slowly
    task = make_task(
        model=nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.Linear(8, 10)),
        choices=None,
        recipe={"precision": "bf16"},
    )
    trainer = task.trainer(CPU)
    seen = set()

    def noted(output, targets, *more):
        seen.add((torch.is_inference_mode_enabled(), output.dtype))
        result = losses(output, targets, *more)
        assert result[0].dtype == torch.float32
        return result

    monkeypatch.setattr(trainer_module, "losses", noted)
    network, trial = trainer.train(Request(None, 0, 2))
    assert seen == {(False, torch.bfloat16), (True, torch.float32)}
    assert {p.dtype for p in network.parameters()} == {torch.float32}
    assert trial.history[1]["train_loss"] < trial.history[0]["train_loss"]


# Classes of different sizes.


def imbalanced() -> Data:
    """Two classes, noise, four in five of the first; validation is balanced."""
    generator = torch.Generator().manual_seed(0)
    targets = torch.tensor([0] * 160 + [1] * 40)
    validation = torch.tensor([0, 1] * 50)
    return Data(*((torch.randn(len(y), 4, generator=generator), y) for y in (targets, validation, validation)))


def linear(**recipe) -> Task:
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 3))  # one output more than there are classes
    recipe = {"batch_size": 50, "optimizer": "adam", "learning_rate": 1e-2} | recipe
    return make_task(model=model, data=imbalanced, choices={"0": {"out_features": (2, 4)}}, recipe=recipe)


def guesses_of_the_first(task: Task) -> float:
    network, _ = task.trainer(CPU).train(Request(None, 0, 20))
    network.eval()
    return float((network(task.splits.validation[0]).argmax(1) == 0).float().mean())


def test_a_remedy_for_imbalance_keeps_noise_from_being_called_the_largest_class():
    assert guesses_of_the_first(linear()) > 0.95
    for remedy in ("weights", "sampling"):
        assert 0.2 < guesses_of_the_first(linear(imbalance=remedy)) < 0.8, remedy


def test_weights_are_those_of_torch_s_cross_entropy():
    weights = class_weights(torch.tensor([0, 0, 0, 2]))
    torch.testing.assert_close(weights, torch.tensor([2 / 3, 2.0, 2.0]))  # of a class that is not there, any
    scores, targets = torch.randn(6, 3), torch.tensor([0, 2, 0, 0, 2, 0])
    loss_of = weighted(torch.tensor([0, 0, 0, 2]))
    torch.testing.assert_close(losses(scores, targets, loss_of)[0], functional.cross_entropy(scores, targets, weights))
    assert losses(torch.zeros(6, 3), targets, loss_of)[0] == pytest.approx(math.log(3))  # the loss of guessing


def test_sampling_draws_every_class_equally_often_and_as_many_examples():
    trainer = linear(imbalance="sampling").trainer(CPU)
    batches = [y for _, y in trainer.batches(torch.Generator().manual_seed(0), torch.arange(200))]
    assert sum(map(len, batches)) == 200
    assert 70 < int((torch.cat(batches) == 1).sum()) < 130
    few = torch.cat([torch.arange(20), torch.arange(190, 200)])  # the examples of an episode
    drawn = torch.cat([x for x, _ in trainer.batches(torch.Generator().manual_seed(0), few)])
    assert len(drawn) == 30
    inputs = trainer.data.train[0]
    assert all(any(torch.equal(x, inputs[i]) for i in few) for x in drawn)


def test_validation_is_neither_weighed_nor_drawn():
    plain, remedied = (linear(learning_rate=1e-30, imbalance=each).trainer(CPU) for each in (None, "weights"))
    ours, theirs = (trainer.train(Request(None, 0, 1))[1].history[0] for trainer in (remedied, plain))
    assert ours["validation_loss"] == theirs["validation_loss"]
    assert ours["train_loss"] != theirs["train_loss"]


def test_masks_have_no_classes_to_balance(refused):
    task = marl_hpo_env.task("digits-unet")
    task = dataclasses.replace(task, recipe=dataclasses.replace(task.recipe, imbalance="weights"))
    with refused("'weights'", "for classes", "masks"):
        _ = task.splits
