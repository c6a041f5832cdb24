"""Shared weights: slices that are exact, sizes that are the trainer's, and training that can be stopped."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

import marl_hpo_env
from marl_hpo_env import Data, InputError, SharedNetwork, Task, TunableNetwork
from marl_hpo_env.training.shared_training import SharedTraining

CPU = torch.device("cpu")
TASKS = ("digits-convnet", "digits-branches", "digits-unet")


def designs(space, count, seed=0):
    rng = np.random.default_rng(seed)
    return [space.sample(rng) for _ in range(count)]


def batch(task, size=16):
    inputs, targets = task.splits.train
    return inputs[:size], targets[:size]


@pytest.mark.parametrize("name", TASKS)
def test_a_slice_computes_what_the_built_network_does_with_its_tensors(name):
    task = marl_hpo_env.task(name)
    shared = SharedNetwork(task.network, seed=1)
    inputs, _ = batch(task)
    for design in designs(task.space, 4):
        network = task.network.build(design)
        _, tensors = shared.built(design)
        assert set(tensors) >= {key for key, _ in network.named_parameters()}
        network.load_state_dict({key: value.detach() for key, value in tensors.items()}, strict=False)
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = None
        with torch.no_grad():
            network.train()(inputs)
            assert torch.equal(network.eval()(inputs), shared.slice(design, [inputs])(inputs))


@pytest.mark.parametrize("name", TASKS)
def test_sizes_are_the_trainers(name):
    task = marl_hpo_env.task(name)
    shared, trainer = SharedNetwork(task.network), task.trainer(CPU)
    for design in (None, *designs(task.space, 6)):
        assert shared.sizes(design) == trainer.sizes(task.network.build(design))


def test_a_narrower_design_has_the_first_channels_and_the_middle_of_a_kernel():
    model = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 2, 1))
    choices = {"0": {"out_channels": (2, 6), "kernel_size": (1, 5)}}
    network = TunableNetwork(model, torch.zeros(1, 1, 8, 8), choices)
    shared = SharedNetwork(network)
    whole = dict(shared.largest.named_parameters())
    assert whole["0.weight"].shape == (6, 1, 5, 5)
    _, tensors = shared.built(network.space.check((0,)))
    assert torch.equal(tensors["0.weight"], whole["0.weight"][:2, :, 2:3, 2:3])
    assert torch.equal(tensors["2.weight"], whole["2.weight"][:, :2])


def test_the_weights_that_a_type_brings_are_shared_and_learn():
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(16, 2))
    choices = {nn.Conv2d: {"out_channels": (2, 4)}, nn.ReLU: {"type": (nn.ReLU, nn.PReLU)}}
    network = TunableNetwork(model, torch.zeros(1, 1, 4, 4), choices)
    shared = SharedNetwork(network)
    shared.loss((1, 1), (torch.rand(4, 1, 4, 4), torch.tensor([0, 1, 0, 1]))).backward()
    own = {name: p for name, p in shared.named_parameters() if "own" in name}
    assert [float(p.detach()) for p in own.values()] == [0.25]
    assert all(p.grad is not None and p.grad.any() for p in own.values())


class Added(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = nn.Conv2d(1, 4, 1), nn.Conv2d(4, 4, 1), nn.Conv2d(4, 2, 1)

    def forward(self, x):
        x = self.a(x)
        return self.c(x + self.b(x)).mean((2, 3))


def test_a_projection_begins_as_its_selection_and_learns():
    network = TunableNetwork(Added(), torch.zeros(1, 1, 4, 4), {"[ab]": {"out_channels": (2, 4)}})
    shared = SharedNetwork(network)
    _, tensors = shared.built((1, 0))
    (projection,) = [value for name, value in tensors.items() if name.startswith("projection")]
    assert torch.equal(projection.detach().flatten(1), torch.eye(2, 4))
    shared.loss((1, 0), (torch.rand(4, 1, 4, 4), torch.tensor([0, 1, 0, 1]))).backward()
    (own,) = [p for name, p in shared.named_parameters() if "own" in name]
    assert own.grad is not None
    assert own.grad.any()


def test_parts_have_weights_of_their_own_once_they_are_divided():
    task = marl_hpo_env.task("digits-convnet")
    shared = SharedNetwork(task.network, parts=2)
    shared.divide()
    shared.loss((0, 0, 0, 0, 0), batch(task)).backward()
    trained = {name.split(".")[1] for name, p in shared.named_parameters() if p.grad is not None}
    assert trained == {"0"}
    with pytest.raises(InputError, match="9 parts, and no layer has more than 8"):
        SharedNetwork(task.network, parts=9)


class Pooled(nn.Module):
    """Two pools that are printed alike, of which one says where its values were."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Conv2d(1, 4, 3), nn.Conv2d(4, 2, 1)
        self.plain, self.indexed = nn.MaxPool2d(2), nn.MaxPool2d(2, return_indices=True)

    def forward(self, x):
        x = self.a(x)
        values, _ = self.indexed(x)
        return self.b(self.plain(x) + values).mean((2, 3))


def test_pools_that_are_printed_alike_and_differ_are_told_apart():
    network = TunableNetwork(Pooled(), torch.zeros(1, 1, 8, 8), {"a": {"out_channels": (2, 4)}})
    sizes = SharedNetwork(network).sizes((0,))
    assert sizes["parameters"] == 10 * 2 + 3 * 2
    assert sizes["flops"] == 2 * (36 * 9 * 2 + 9 * 2 * 2)


def weights(training):
    return {name: value.clone() for name, value in training.network.state_dict().items()}


@pytest.mark.parametrize(("parts", "sandwich"), [(1, False), (2, True)])
def test_a_training_that_was_stopped_goes_on_to_the_same_bits(tmp_path, parts, sandwich):
    task = marl_hpo_env.task("digits-convnet")
    task = replace(task, recipe=replace(task.recipe, batch_size=512))

    def begin():
        return SharedTraining(task.trainer(CPU), 3, 5, parts, sandwich)

    whole = begin()
    for _ in range(3):
        whole.train_epoch()
    first = begin()
    for _ in range(2):
        first.train_epoch()
    first.save(tmp_path / "checkpoint.safetensors", "name")
    second = begin()
    second.load(tmp_path / "checkpoint.safetensors", "name")
    second.train_epoch()
    assert second.digest == whole.digest != first.digest
    assert second.cost == whole.cost
    expected, found = weights(whole), weights(second)
    assert expected.keys() == found.keys()
    assert all(torch.equal(found[name], value) for name, value in expected.items())
    with pytest.raises(InputError, match="is of another training"):
        begin().load(tmp_path / "checkpoint.safetensors", "another")
    (tmp_path / "checkpoint.safetensors").write_bytes(b"damaged")
    with pytest.raises(InputError, match="cannot be read; move it away"):
        begin().load(tmp_path / "checkpoint.safetensors", "name")


@pytest.mark.parametrize("sandwich", [True, False])
def test_with_the_sandwich_rule_every_batch_trains_the_largest_and_the_smallest_design(monkeypatch, sandwich):
    task = marl_hpo_env.task("digits-convnet")
    few = Data(*((x[:150], y[:150]) for x, y in task.splits.splits().values()))
    model = nn.Sequential(nn.Conv2d(1, 6, 3), nn.ReLU(), nn.Conv2d(6, 4, 3), nn.Flatten(), nn.Linear(64, 10))
    choices = {"0": {"out_channels": (6, 1, 2, 3, 4, 5)}, "2": {"out_channels": (1, 2, 3, 4)}}
    recipe = replace(task.recipe, batch_size=50)
    training = SharedTraining(Task("wide", model, few, choices, recipe).trainer(CPU), 1, 0, sandwich=sandwich)
    trained, loss = [], training.network.loss

    def recorded(design, batch):
        trained.append(design)
        return loss(design, batch)

    monkeypatch.setattr(training.network, "loss", recorded)
    training.train_epoch()
    batches = [trained[i : i + len(trained) // 3] for i in range(0, len(trained), len(trained) // 3)]
    assert [len(batch) for batch in batches] == [4 if sandwich else 2] * 3
    assert [batch[:2] == [(0, 3), (1, 0)] for batch in batches] == [sandwich] * 3


def test_the_caller_s_random_numbers_stay():
    task = marl_hpo_env.task("digits-convnet")
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    SharedTraining(task.trainer(CPU), 1, 0)
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize("change", [{"imbalance": "weights"}, {"imbalance": "sampling"}, {"max_gradient_norm": 1e-9}])
def test_shared_weights_are_trained_by_all_of_the_recipe(change):
    def trained(**settings):
        task = marl_hpo_env.task("digits-convnet")
        few = Data(*((x[:150], y[:150].clamp(max=2)) for x, y in task.splits.splits().values()))
        recipe = replace(task.recipe, optimizer="sgd", batch_size=50, **settings)
        training = SharedTraining(replace(task, data=few, recipe=recipe).trainer(CPU), 1, 0)
        begun = training.digest
        training.train_epoch()
        return begun, training

    (begun, plain), (same, other) = trained(), trained(**change)
    assert begun == same
    assert plain.digest != other.digest
    if "max_gradient_norm" in change:
        (start,) = (trained(learning_rate=1e-30)[1],)
        moved = [
            (a - b).abs().max() for a, b in zip(other.network.parameters(), start.network.parameters(), strict=True)
        ]
        assert max(moved) < 1e-6
