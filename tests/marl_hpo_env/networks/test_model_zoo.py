"""Networks as others wrote them, unmodified: what is said of any network in `TunableNetwork` holds for these."""

from __future__ import annotations

import functools
import inspect
import sys

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional
from torchvision import models
from torchvision.models.resnet import BasicBlock

from agents import Episode, PairwiseQ
from marl_hpo_env.catalog.models.unet import UNet
from marl_hpo_env.errors import InputError
from marl_hpo_env.networks.alignment import interpolate_to
from marl_hpo_env.networks.rules import is_depthwise
from marl_hpo_env.networks.tunable import TunableNetwork

ZOO = {
    "vgg16": (models.vgg16, 138_357_544),
    "vgg16_bn": (models.vgg16_bn, 138_365_992),
    "googlenet": (lambda: models.googlenet(weights=None, aux_logits=False, init_weights=False), 6_624_904),
    "googlenet_with_heads": (lambda: models.googlenet(weights=None, aux_logits=True, init_weights=False), 13_004_888),
    "resnet18": (models.resnet18, 11_689_512),
    "resnet50": (models.resnet50, 25_557_032),
    "densenet121": (models.densenet121, 7_978_856),
    "squeezenet1_1": (models.squeezenet1_1, 1_235_496),
    "mobilenet_v2": (models.mobilenet_v2, 3_504_872),
    "unet": (UNet, 34_512_193),
}
FINAL = {
    "vgg16": {"classifier.6"},
    "vgg16_bn": {"classifier.6"},
    "googlenet": {"fc"},
    "googlenet_with_heads": {"fc", "aux1.fc2", "aux2.fc2"},
    "resnet18": {"fc"},
    "resnet50": {"fc"},
    "densenet121": {"classifier"},
    "squeezenet1_1": {"classifier.1"},
    "mobilenet_v2": {"classifier.1"},
    "unet": {"output"},
}
NO_ADDITIONS = {"pools": 0, "interpolations": 0, "projections": 0, "clamps": 0}


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """Threads that wait for each other take most of the time of tensors as small as these."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@functools.cache
def original(name: str) -> nn.Module:
    """Without values."""
    with torch.device("meta"):
        return ZOO[name][0]()


def image(name: str, size: int, batch: int = 2) -> torch.Tensor:
    return torch.rand(batch, 1 if name == "unet" else 3, size, size, generator=torch.Generator().manual_seed(0))


@functools.cache
def by_default(name: str) -> TunableNetwork:
    return TunableNetwork(original(name), image(name, 64).to("meta"))


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def tensors(output) -> tuple[torch.Tensor, ...]:
    """What a network returns, whether it has auxiliary heads or not."""
    return (output,) if isinstance(output, torch.Tensor) else tuple(t for t in output if t is not None)


def designs(network: TunableNetwork, n: int, seed: int = 0) -> list[tuple[int, ...]]:
    rng = np.random.default_rng(seed)
    return [network.space.sample(rng) for _ in range(n)]


# The originals, rebuilt.


@pytest.mark.parametrize("name", ZOO)
def test_the_built_original_has_the_parameters_and_the_names_of_the_original(name):
    built = by_default(name).build(None, "meta")
    assert count(original(name)) == count(built) == ZOO[name][1]
    expected, got = (module.state_dict() for module in (original(name), built))
    assert {key: value.shape for key, value in got.items()} == {key: value.shape for key, value in expected.items()}
    assert built.meta["added"] == NO_ADDITIONS


@pytest.mark.parametrize("name", ZOO)
def test_the_built_original_gives_the_originals_outputs_bit_for_bit_in_both_modes(name):
    images = image(name, 32 if name.startswith(("vgg", "unet")) else 64)
    built = by_default(name).build(None, "cpu")
    with torch.device("meta"):
        source = ZOO[name][0]()
    source.to_empty(device="cpu").load_state_dict(built.state_dict())
    with torch.no_grad():
        source.train()(images)  # moves the batch norms' averages
        built.load_state_dict(source.state_dict())
        for training in (True, False):
            outputs = []
            for module in (source, built):
                torch.manual_seed(0)  # of the dropout
                outputs.append(module.train(training)(images))
            expected, got = outputs
            assert type(got) is type(expected)
            assert len(tensors(got)) == (3 if training and "heads" in name else 1)
            assert all(torch.equal(a, b) for a, b in zip(tensors(got), tensors(expected), strict=True))
            assert bool(tensors(got)[0].std() > 0)
    assert all(torch.equal(value, built.state_dict()[key]) for key, value in source.named_buffers())


# Random designs of each class, most of them in a shallower variant so that hundreds are quick.

SMALL = {"out_channels": (4, 6, 8), "kernel_size": (1, 3, 4), "stride": (1, 2)}
CHOICES = {nn.Conv2d: SMALL, nn.Linear: {"out_features": (8, 16)}}


def shallow_googlenet(heads: bool) -> nn.Module:
    model = models.GoogLeNet(num_classes=3, aux_logits=heads, init_weights=False)
    model.inception4b = model.inception4c = model.inception5a = nn.Identity()
    return model


SHALLOW = {
    "VGG": (lambda: models.vgg11(num_classes=3), CHOICES | {nn.MaxPool2d: {"kernel_size": (1, 2, 3)}}),
    "GoogLeNet": (lambda: shallow_googlenet(heads=False), {nn.Conv2d: SMALL}),
    "GoogLeNet with heads": (lambda: shallow_googlenet(heads=True), CHOICES),
    "ResNet": (lambda: models.ResNet(BasicBlock, [2, 1, 1, 1], num_classes=3), CHOICES),
    "DenseNet": (lambda: models.DenseNet(4, (3, 2), 8, bn_size=2, num_classes=3), CHOICES),
    "SqueezeNet": (lambda: models.SqueezeNet("1_1", num_classes=3), {nn.Conv2d: SMALL}),
    "MobileNetV2": (
        lambda: models.MobileNetV2(3, inverted_residual_setting=[[1, 16, 1, 1], [6, 24, 2, 2]]),
        {nn.Conv2d: SMALL},
    ),
    "UNet": (
        lambda: UNet(channels=3, classes=3, width=8),
        {nn.Conv2d: SMALL, nn.MaxPool2d: {"kernel_size": (1, 2, 3)}, nn.ConvTranspose2d: {"out_channels": (4, 8)}},
    ),
}


@functools.cache
def shallow(kind: str, size: int) -> TunableNetwork:
    make, choices = SHALLOW[kind]
    with torch.device("meta"):
        return TunableNetwork(make(), torch.empty(2, 3, size, size), choices)


def assert_consistent(built: nn.Module) -> None:
    """Every parameter has the shape that its module would make for its arguments."""
    for name, module in built.named_modules():
        if isinstance(module, nn.ConvTranspose2d):
            shape = (module.in_channels, module.out_channels // module.groups, *module.kernel_size)
        elif isinstance(module, nn.Conv2d):
            shape = (module.out_channels, module.in_channels // module.groups, *module.kernel_size)
        elif isinstance(module, nn.Linear):
            shape = (module.out_features, module.in_features)
        elif isinstance(module, nn.BatchNorm2d):
            shape = (module.num_features,)
            assert tuple(module.running_mean.shape) == shape, name
        else:
            assert not list(module.parameters(recurse=False)), name
            continue
        assert tuple(module.weight.shape) == shape, name


@pytest.mark.parametrize("size", [32, 48])
@pytest.mark.parametrize("kind", SHALLOW)
def test_every_design_builds_with_its_hyperparameters_and_keeps_the_batch(kind, size):
    network = shallow(kind, size)
    for number, design in enumerate(designs(network, 100, seed=size)):
        built = network.build(design, "meta")
        assert_consistent(built)
        modules = dict(built.named_modules())
        for name, chosen in network.space.hyperparameters(design).items():
            for hyperparameter, value in chosen.items():
                got = getattr(modules[name], hyperparameter)
                clamped = built.meta["added"]["clamps"] and isinstance(modules[name], nn.MaxPool2d)
                assert got in (value, (value, value)) or clamped, (design, name, hyperparameter)
        if number % 10 == 0:
            output = built.eval()(torch.empty(3, 3, size, size, device="meta"))
            assert tuple(output.shape) == ((3, 3, size, size) if kind == "UNet" else (3, 3)), design


@pytest.mark.parametrize("kind", SHALLOW)
def test_a_design_on_the_cpu_has_the_shapes_of_one_on_the_meta_device_and_trains(kind):
    network = shallow(kind, 32)
    images = torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    for design in designs(network, 10, seed=1):
        torch.manual_seed(0)
        built = network.build(design, "cpu")
        shapes = {key: value.shape for key, value in network.build(design, "meta").state_dict().items()}
        assert {key: value.shape for key, value in built.state_dict().items()} == shapes
        before = [parameter.detach().clone() for parameter in built.parameters()]
        optimizer = torch.optim.SGD(built.parameters(), lr=0.1)
        outputs = tensors(built(images))
        assert len(outputs) == (3 if "heads" in kind else 1)
        assert {len(output) for output in outputs} == {3}
        sum((output - 1).square().mean() for output in outputs).backward()
        gradients = [parameter.grad for parameter in built.parameters()]
        assert all(gradient is not None and bool(gradient.isfinite().all()) for gradient in gradients)
        optimizer.step()
        assert any(not torch.equal(now, then) for now, then in zip(built.parameters(), before, strict=True))


# Without choices.


@pytest.mark.parametrize("name", ZOO)
def test_default_choices_hold_the_originals_values_and_none_above(name):
    network = by_default(name)
    for layer in network.space.layers:
        for hyperparameter, values in layer.choices.items():
            own = network.original[layer.name][hyperparameter]
            own = own[0] if isinstance(own, tuple) else own
            assert max(values) == own, (layer.name, hyperparameter)
            assert len(values) > 1


@pytest.mark.parametrize("name", ZOO)
def test_default_choices_give_the_original_at_their_largest_and_smaller_networks_below(name):
    network = by_default(name)
    largest = network.build([size - 1 for size in network.space.sizes], "meta")
    assert count(largest) == ZOO[name][1]
    assert largest.meta["added"] == NO_ADDITIONS
    assert all(count(network.build(design, "meta")) < ZOO[name][1] for design in designs(network, 5))
    assert count(network.build([0] * len(network.space), "meta")) < ZOO[name][1] / 4


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2"])
def test_no_layer_made_narrower_by_default_choices_makes_a_residual_network_larger(name):
    network = by_default(name)
    largest = [size - 1 for size in network.space.sizes]
    larger = []
    for position, layer in list(enumerate(network.space.layers))[:30:3]:
        if "out_channels" in layer.choices:
            design = largest.copy()
            full = layer.hyperparameters(largest[position])
            design[position] = layer.action(full | {"out_channels": layer.choices["out_channels"][-2]})
            if count(network.build(design, "meta")) > ZOO[name][1]:
                larger.append(layer.name)
    assert not larger


@pytest.mark.parametrize("name", ZOO)
def test_every_width_is_tunable_by_default_but_the_final_ones_and_depthwise_ones(name):
    network = by_default(name)
    wide = {n for n, m in original(name).named_modules() if isinstance(m, nn.Linear | nn.Conv2d | nn.ConvTranspose2d)}
    depthwise = {n for n, m in original(name).named_modules() if is_depthwise(m)}
    tunable = {layer.name for layer in network.space.layers if {"out_channels", "out_features"} & set(layer.choices)}
    assert tunable == wide - depthwise - FINAL[name]
    assert bool(depthwise) == (name == "mobilenet_v2")


def test_depthwise_convolutions_of_any_design_follow_the_width_before_them():
    network = by_default("mobilenet_v2")
    before = {f"features.{i}.conv.1.0": f"features.{i}.conv.0.0" for i in range(2, 18)}
    for design in designs(network, 5):
        modules = dict(network.build(design, "meta").named_modules())
        for follower, leader in before.items():
            width = modules[leader].out_channels
            follows = modules[follower]
            assert (follows.groups, follows.in_channels, follows.out_channels) == (width, width, width)


# Their layer graphs, edge by edge.


def edges(name: str) -> dict[str, tuple[str, ...]]:
    return {layer.name: layer.inputs for layer in convolutions(name).space.layers}


@functools.cache
def convolutions(name: str) -> TunableNetwork:
    kinds = [nn.Conv2d] if name != "unet" else [nn.Conv2d, nn.ConvTranspose2d]
    choices = {kind: {"out_channels": (4, 8)} for kind in kinds}
    return TunableNetwork(original(name), image(name, 64).to("meta"), choices)


def test_the_branches_of_an_inception_module_are_fed_by_one_layer_and_together_feed_the_next():
    found = edges("googlenet")
    a = [f"inception3a.{branch}.conv" for branch in ("branch1", "branch2.1", "branch3.1", "branch4.1")]
    assert {layer: inputs for layer, inputs in found.items() if layer.startswith("inception3")} == {
        "inception3a.branch1.conv": ("conv3.conv",),
        "inception3a.branch2.0.conv": ("conv3.conv",),
        "inception3a.branch2.1.conv": ("inception3a.branch2.0.conv",),
        "inception3a.branch3.0.conv": ("conv3.conv",),
        "inception3a.branch3.1.conv": ("inception3a.branch3.0.conv",),
        "inception3a.branch4.1.conv": ("conv3.conv",),
        "inception3b.branch1.conv": tuple(a),
        "inception3b.branch2.0.conv": tuple(a),
        "inception3b.branch2.1.conv": ("inception3b.branch2.0.conv",),
        "inception3b.branch3.0.conv": tuple(a),
        "inception3b.branch3.1.conv": ("inception3b.branch3.0.conv",),
        "inception3b.branch4.1.conv": tuple(a),
    }


def test_what_follows_a_residual_block_is_fed_by_its_branch_and_its_shortcut():
    found = edges("resnet18")
    assert {layer: inputs for layer, inputs in found.items() if layer.startswith(("conv", "layer1", "layer2"))} == {
        "conv1": (),
        "layer1.0.conv1": ("conv1",),
        "layer1.0.conv2": ("layer1.0.conv1",),
        "layer1.1.conv1": ("conv1", "layer1.0.conv2"),
        "layer1.1.conv2": ("layer1.1.conv1",),
        # The shortcut of layer1.1 is a merge itself, which its latest layer stands for.
        "layer2.0.conv1": ("layer1.0.conv2", "layer1.1.conv2"),
        "layer2.0.conv2": ("layer2.0.conv1",),
        "layer2.0.downsample.0": ("layer1.0.conv2", "layer1.1.conv2"),
        "layer2.1.conv1": ("layer2.0.conv2", "layer2.0.downsample.0"),
        "layer2.1.conv2": ("layer2.1.conv1",),
    }


def test_a_layer_of_a_dense_block_is_fed_by_all_the_blocks_layers_before_it():
    found = edges("densenet121")
    block = "features.denseblock1.denselayer"
    outputs = ["features.conv0", *(f"{block}{i}.conv2" for i in range(1, 7))]
    expected = {f"{block}{i}.conv1": tuple(outputs[:i]) for i in range(1, 7)}
    expected |= {f"{block}{i}.conv2": (f"{block}{i}.conv1",) for i in range(1, 7)}
    assert {layer: inputs for layer, inputs in found.items() if layer.startswith(block)} == expected
    assert found["features.transition1.conv"] == tuple(outputs)
    assert found["features.denseblock2.denselayer1.conv1"] == ("features.transition1.conv",)


def test_what_follows_a_skip_of_a_u_net_is_fed_by_the_encoder_and_by_the_up_convolution():
    assert edges("unet") == {
        "down.0.0": (),
        "down.0.2": ("down.0.0",),
        "down.1.0": ("down.0.2",),
        "down.1.2": ("down.1.0",),
        "down.2.0": ("down.1.2",),
        "down.2.2": ("down.2.0",),
        "down.3.0": ("down.2.2",),
        "down.3.2": ("down.3.0",),
        "down.4.0": ("down.3.2",),
        "down.4.2": ("down.4.0",),
        "up.0": ("down.4.2",),
        "merge.0.0": ("down.3.2", "up.0"),
        "merge.0.2": ("merge.0.0",),
        "up.1": ("merge.0.2",),
        "merge.1.0": ("down.2.2", "up.1"),
        "merge.1.2": ("merge.1.0",),
        "up.2": ("merge.1.2",),
        "merge.2.0": ("down.1.2", "up.2"),
        "merge.2.2": ("merge.2.0",),
        "up.3": ("merge.2.2",),
        "merge.3.0": ("down.0.2", "up.3"),
        "merge.3.2": ("merge.3.0",),
    }


@pytest.mark.parametrize("name", ["googlenet", "resnet18", "densenet121", "unet"])
def test_the_papers_learner_plays_these_spaces(name):
    space = convolutions(name).space
    learner = PairwiseQ(exploration_episodes=30, max_exploitation_episodes=200)
    learner.reset(space, seed=0)
    explored, exploited = [], []
    while len(explored) + len(exploited) < 60:
        (design,) = learner.ask(1)
        assert space.check(design) == design
        (explored if len(explored) < 30 else exploited).append(design)
        reward = 1 - sum(design) / len(space)
        learner.tell([Episode(design, reward, {"validation_accuracy": reward}, terminated=False)])
    assert len(set(explored)) == 30
    assert set(exploited) - set(explored)


# Networks of other kinds.


def convolutional(dimensions: int) -> nn.Module:
    conv, norm = getattr(nn, f"Conv{dimensions}d"), getattr(nn, f"BatchNorm{dimensions}d")
    pool, mean = getattr(nn, f"MaxPool{dimensions}d"), getattr(nn, f"AdaptiveAvgPool{dimensions}d")

    class Branches(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.left, self.right, self.norm = conv(4, 4, 3, padding=1), conv(4, 4, 1), norm(4)

        def forward(self, x):
            return torch.relu(self.norm(self.left(x) + self.right(x)))

    return nn.Sequential(
        conv(1, 4, 3, padding=1), nn.ReLU(), pool(2), Branches(), mean(1), nn.Flatten(), nn.Linear(4, 3)
    )


@pytest.mark.parametrize("dimensions", [1, 2, 3])
def test_convolutions_of_any_dimension_build_and_train(dimensions):
    conv = getattr(nn, f"Conv{dimensions}d")
    x = torch.rand(3, 1, *(8,) * dimensions)
    choices = {conv: {"out_channels": (2, 4), "kernel_size": (1, 2, 3), "stride": (1, 2), "dilation": (1, 2)}}
    network = TunableNetwork(convolutional(dimensions), x, choices)
    added = dict.fromkeys(NO_ADDITIONS, 0)
    for design in designs(network, 60):
        built = network.build(design)
        built(x).square().sum().backward()
        assert all(bool(parameter.grad.isfinite().all()) for parameter in built.parameters())
        added = {key: added[key] + built.meta["added"][key] for key in added}
    assert added["pools"] > 0
    assert added["projections"] > 0


def test_several_inputs_of_different_shapes_may_meet():
    class Captioned(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.image, self.text, self.output = nn.Conv2d(1, 4, 3), nn.Linear(5, 4), nn.Linear(8, 3)

        def forward(self, image, text):
            return self.output(torch.cat([self.image(image).mean((2, 3)), self.text(text)], 1))

    choices = {nn.Conv2d: {"out_channels": (2, 4)}, nn.Linear: {"out_features": (2, 4, 6)}}
    network = TunableNetwork(Captioned(), (torch.rand(1, 1, 8, 8), torch.rand(1, 5)), choices)
    assert {layer.name: layer.inputs for layer in network.space.layers} == {"image": (), "text": ()}
    for design in ((0, 2), (1, 0)):
        built = network.build(design)
        chosen = network.space.hyperparameters(design)
        width = chosen["image"]["out_channels"] + chosen["text"]["out_features"]
        assert built.get_submodule("output").in_features == width
        assert tuple(built(torch.rand(7, 1, 8, 8), torch.rand(7, 5)).shape) == (7, 3)


class Functional(nn.Module):
    """Everything that has no weights is a call of a function."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.hidden, self.output = nn.Linear(16, 8), nn.Linear(12, 3)

    def forward(self, x):
        x = functional.max_pool2d(functional.relu(self.first(x)), 2)
        x = functional.avg_pool2d(functional.relu(self.second(x)), 2)
        flat = functional.dropout(x.view(x.size(0), -1), 0.5, training=self.training)
        return self.output(torch.cat([functional.relu(self.hidden(flat)), torch.flatten(x.mean((2, 3)), 1)], dim=1))


def test_functional_calls_follow_every_width():
    x = torch.rand(5, 1, 8, 8)
    model = Functional()
    choices = {nn.Conv2d: {"out_channels": (2, 4, 8), "stride": (1, 2)}, nn.Linear: {"out_features": (4, 8)}}
    network = TunableNetwork(model, x, {nn.Conv2d: {"out_channels": (2, 4, 8)}, nn.Linear: choices[nn.Linear]})
    for design in [network.space.design_at(i) for i in range(network.space.size)]:
        assert tuple(network.build(design)(x).shape) == (5, 3)
    built = network.build(None)
    built.load_state_dict(model.state_dict())
    assert torch.equal(built.eval()(x), model.eval()(x))
    for module in (built, model):
        module.train()
    outputs = []
    for module in (model, built):
        torch.manual_seed(0)
        outputs.append(module(x))
    assert torch.equal(*outputs)
    assert not torch.equal(built(x), built.eval()(x))


def test_a_pool_that_is_called_as_a_function_can_be_tuned_and_shrinks_to_its_input():
    x = torch.rand(5, 1, 8, 8)
    for name, kind in {"max_pool2d": nn.MaxPool2d, "avg_pool2d": nn.AvgPool2d}.items():
        for key in (name, kind):
            network = TunableNetwork(Functional(), x, {key: {"kernel_size": (2, 4, 8)}})
            assert network.space.names == (name,)
            built = [network.build((action,)) for action in range(3)]
            assert all(tuple(module(x).shape) == (5, 3) for module in built)
            assert [module.meta["added"]["clamps"] for module in built] == [0, 0, 1]
    strided = TunableNetwork(Functional(), x, {nn.Conv2d: {"stride": (4,)}}).build((0, 0))
    assert strided.meta["added"]["clamps"] == 1
    assert tuple(strided(x).shape) == (5, 3)


def test_a_functional_pool_and_a_module_of_the_same_name_stay_apart():
    class SameName(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.avg_pool2d, self.output = nn.Conv2d(1, 4, 1), nn.Conv2d(4, 4, 1), nn.Linear(4, 3)

        def forward(self, x):
            return self.output(self.avg_pool2d(functional.avg_pool2d(self.conv(x), 2)).mean((2, 3)))

    x = torch.rand(2, 1, 8, 8)
    model = SameName()
    built = TunableNetwork(model, x, {"conv": {"out_channels": (2, 4)}}).build(None)
    built.load_state_dict(model.state_dict())
    assert torch.equal(built(x), model(x))


def test_a_projection_takes_no_name_of_the_users():
    class SameName(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.projection_0, self.output = nn.Conv2d(1, 4, 1), nn.Conv2d(4, 4, 1), nn.Linear(4, 3)

        def forward(self, x):
            x = self.conv(x)
            return self.output((x + self.projection_0(x)).mean((2, 3)))

    built = TunableNetwork(SameName(), torch.rand(2, 1, 8, 8), {"conv": {"out_channels": (8,)}}).build((0,))
    assert built.meta["added"]["projections"] == 1
    assert sum(isinstance(module, nn.Conv2d) for module in built.modules()) == 3
    assert built.get_submodule("projection_0").bias is not None


def chain() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 4, 3, padding=1), nn.ReLU(),
        nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Dropout(0.5), nn.Linear(16, 8), nn.Linear(8, 3),
    )  # fmt: skip


def test_a_dropouts_probability_and_a_dilation_can_be_chosen():
    x = torch.rand(2, 1, 8, 8)
    network = TunableNetwork(chain(), x, {nn.Dropout: {"p": (0.0, 0.5)}, nn.Conv2d: {"dilation": (1, 2, 3)}})
    built = network.build(network.space.design({"0": {"dilation": 3}, "2": {"dilation": 1}, "6": {"p": 0.0}}))
    assert built.get_submodule("6").p == 0.0
    assert (built.get_submodule("0").dilation, built.get_submodule("2").dilation) == ((3, 3), (1, 1))
    assert torch.equal(built(x), built(x))  # nothing drops out
    assert tuple(built(x).shape) == (2, 3)


def test_a_module_type_can_be_chosen():
    network = TunableNetwork(chain(), torch.rand(2, 1, 8, 8), {nn.ReLU: {"type": (nn.ReLU, nn.SiLU, nn.Tanh)}})
    assert network.space.sizes == (3, 3)
    built = network.build((2, 1))
    assert (type(built.get_submodule("1")), type(built.get_submodule("3"))) == (nn.Tanh, nn.SiLU)
    assert network.original == {"1": {"type": nn.ReLU}, "3": {"type": nn.ReLU}}
    seen = []
    built.get_submodule("1").register_forward_hook(lambda _, inputs, output: seen.append((inputs[0].tanh(), output)))
    built(torch.rand(2, 1, 8, 8))
    assert torch.equal(*seen[0])


def test_a_name_pattern_picks_layers_and_none_leaves_them_out():
    kernels = {"kernel_size": (1, 3)}
    tunable = {
        "layer[12].*.conv?": [f"layer{i}.{block}.conv{j}" for i in (1, 2) for block in (0, 1) for j in (1, 2)],
        "layer4.1.conv2": ["layer4.1.conv2"],
    }
    for pattern, names in tunable.items():
        network = TunableNetwork(original("resnet18"), image("resnet18", 64), {pattern: kernels})
        assert list(network.space.names) == names
    choices = {nn.Conv2d: kernels, "layer*": None, "layer3.0.conv?": kernels, "*.downsample.*": None}
    network = TunableNetwork(original("resnet18"), image("resnet18", 64), choices)
    assert network.space.names == ("conv1", "layer3.0.conv1", "layer3.0.conv2")


# What cannot be traced or built.


class User(nn.Module):
    """A network with a forward pass that a user wrote."""

    def __init__(self, body, features: int = 256) -> None:
        super().__init__()
        self.conv, self.output = nn.Conv2d(1, 4, 3, padding=1), nn.Linear(features, 3)
        self.body = body

    def forward(self, x):
        return self.body(self, x)


UNTRACEABLE = {
    "the values of a tensor": lambda self, x: self.output(self.conv(x).flatten(1)) if x.sum() > 0 else x,
    "a loop over the batch": lambda self, x: self.output(torch.cat([self.conv(y[None]).flatten(1) for y in x])),
    "a size as an int": lambda self, x: self.output(self.conv(x).view(int(x.shape[0]), -1)),
}
FOLLOWING = {
    "a view with fixed features": lambda self, x: self.output(self.conv(x).view(x.size(0), 256)),
    "a view with a free batch": lambda self, x: self.output(self.conv(x).view(-1, 256)),
    "a view with fixed channels": lambda self, x: self.output(self.conv(x).view(2, 4, 64).flatten(1)),
    "a shape": lambda self, x: self.output(self.conv(x).flatten(1)) if x.shape[2] > 4 else x,
    "a length": lambda self, x: self.output(self.conv(x).view(len(x.shape) - 5, 256)),
}


def sentence(refusal: pytest.ExceptionInfo[InputError]) -> str:
    message = str(refusal.value)
    assert "\n" not in message
    assert message.endswith(".")
    return message


def line(function) -> str:
    return f"{__file__.rpartition('/')[2]}:{inspect.getsourcelines(function)[1]}"


@pytest.mark.parametrize("what", UNTRACEABLE)
def test_a_forward_that_cannot_be_traced_is_refused_with_its_line_and_what_to_do(what):
    with pytest.raises(InputError) as refusal:
        TunableNetwork(User(UNTRACEABLE[what]), torch.rand(2, 1, 8, 8))
    message = sentence(refusal)
    assert f"at {line(UNTRACEABLE[what])}" in message
    assert message.startswith("User cannot be traced")
    assert "must not depend on the values of tensors" in message or "depends on the size of the batch" in message


@pytest.mark.parametrize("what", FOLLOWING)
def test_sizes_that_are_written_into_a_forward_pass_follow_the_widths(what):
    network = TunableNetwork(User(FOLLOWING[what]), torch.rand(2, 1, 8, 8), {nn.Conv2d: {"out_channels": (4, 8, 3)}})
    for action, width in enumerate((4, 8, 3)):
        built = network.build((action,))
        assert built.get_submodule("output").in_features == 64 * width
        assert tuple(built(torch.rand(2, 1, 8, 8)).shape) == (2, 3)


def test_an_attention_takes_the_width_that_reaches_it_where_its_heads_divide_it():
    class Attention(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.output = nn.Linear(8, 16), nn.Linear(16, 3)
            self.attention = nn.MultiheadAttention(16, 4, batch_first=True)

        def forward(self, x):
            x = self.embed(x)
            return self.output((x + self.attention(x, x, x)[0]).mean(1))

    with pytest.warns(UserWarning, match="the out_features 6 are left out.*multiples of 4"):
        network = TunableNetwork(Attention(), torch.rand(2, 5, 8), {"embed": {"out_features": (6, 8, 16)}})
    for action, width in enumerate((8, 16)):
        built = network.build((action,))
        assert tuple(built(torch.rand(2, 5, 8)).shape) == (2, 3)
        assert (built.get_submodule("attention").embed_dim, built.get_submodule("attention").num_heads) == (width, 4)
    with pytest.raises(InputError, match="a width of 6 reaches an attention of 4 heads") as refusal:
        network.build_with({"embed": {"out_features": 6}}, "meta")
    sentence(refusal)


def test_a_value_that_a_constructor_refuses_is_refused_by_the_modules_name():
    network = TunableNetwork(chain(), torch.rand(2, 1, 8, 8), {nn.Dropout: {"p": (0.5, 1.5)}})
    with pytest.raises(InputError, match=r"'6' cannot be made.*leave the value out") as refusal:
        network.build((1,), "meta")
    sentence(refusal)


# A very deep network.


class DeepBlock(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = (nn.Conv2d(4, 4, 3, padding=1) for _ in range(3))

    def forward(self, x):
        return x + 0.1 * self.c(torch.relu(self.b(torch.relu(self.a(x)))))


def deep(blocks: int) -> TunableNetwork:
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), *(DeepBlock() for _ in range(blocks)),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3),
    )  # fmt: skip
    choices = {nn.Conv2d: {"out_channels": (2, 4), "kernel_size": (1, 3)}}
    return TunableNetwork(model, torch.rand(1, 1, 8, 8), choices)


def calls(work) -> int:
    """How many Python functions are called: what a computation costs, whatever else the machine does."""
    counted = 0

    def count(frame, event, argument):
        nonlocal counted
        counted += event == "call"

    sys.setprofile(count)
    try:
        work()
    finally:
        sys.setprofile(None)
    return counted


def test_a_space_and_a_design_cost_as_much_per_layer_however_many_layers_there_are():
    networks = {blocks: deep(blocks) for blocks in (20, 80)}  # 61 layers and 241
    spaces = [calls(lambda blocks=blocks: deep(blocks)) for blocks in networks]
    designs = [calls(lambda network=network: network.build([0] * len(network.space))) for network in networks.values()]
    for few, many in (spaces, designs):
        assert many / few < 1.1 * 241 / 61


def test_a_network_of_over_a_thousand_layers_has_a_space_and_its_designs_train():
    network = deep(340)
    assert len(network.space) == 1021
    # Within a block two pairs; from block to block one to the layer, one to the shortcut before it.
    assert len(network.space.pairs) == 340 * 4 - 1
    assert len(deep(20).space.pairs) == 20 * 4 - 1
    design = network.space.sample(np.random.default_rng(0))
    torch.manual_seed(0)
    built = network.build(design)
    x = torch.rand(2, 1, 8, 8)
    before = [parameter.detach().clone() for parameter in built.parameters()]
    built(x).square().sum().backward()
    assert all(bool(parameter.grad.isfinite().all()) for parameter in built.parameters())
    torch.optim.SGD(built.parameters(), lr=0.1).step()
    assert any(not torch.equal(now, then) for now, then in zip(built.parameters(), before, strict=True))
    assert tuple(built(x).shape) == (2, 3)


# Networks that predict per pixel, and images of other sizes.


def test_in_a_u_net_interpolations_are_counted_and_the_output_has_the_inputs_size(resizes):
    network = shallow("UNet", 32)
    images = torch.empty(3, 3, 32, 32, device="meta")
    counts = []
    for design in designs(network, 20, seed=3):
        built = network.build(design, "meta")
        counts.append(resizes(built, images, interpolate_to))
        assert counts[-1] == built.meta["added"]["interpolations"]
        assert built.meta["added"]["pools"] == 0  # a skip is never made smaller than it is
        assert built(images).shape == images.shape
    assert max(counts) > 3


def test_what_comes_from_below_in_a_u_net_takes_the_skips_size():
    choices = {"up.3": {"stride": (1, 2)}, "pool.0": {"kernel_size": (2, 4)}}
    network = TunableNetwork(UNet(width=4), torch.rand(2, 1, 32, 32), choices)
    for chosen, interpolations in {(2, 2): 0, (4, 2): 1, (2, 1): 1}.items():
        design = network.space.design({"pool.0": {"kernel_size": chosen[0]}, "up.3": {"stride": chosen[1]}})
        built = network.build(design)
        sizes = []
        built.get_submodule("merge.3.0").register_forward_hook(lambda _, x, y: sizes.append(tuple(y.shape[2:])))  # noqa: B023
        assert tuple(built(torch.rand(2, 1, 32, 32)).shape) == (2, 1, 32, 32)
        assert sizes == [(32, 32)]
        assert built.meta["added"] == NO_ADDITIONS | {"interpolations": interpolations}


@pytest.mark.parametrize("kind", SHALLOW)
def test_a_design_takes_images_of_another_size_where_the_original_does(kind):
    network = shallow(kind, 32)
    with torch.device("meta"):
        source = SHALLOW[kind][0]().eval()
    for design in [None, *designs(network, 8, seed=4)]:
        built = network.build(design, "meta").eval()
        for size in (48, 64):
            x = torch.empty(3, 3, size, size, device="meta")
            assert built(x).shape == source(x).shape, (design, size)
