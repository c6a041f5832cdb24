"""Weights that designs inherit: beside a reference worked out by hand, and by the function that they compute."""

from __future__ import annotations

import functools

import numpy as np
import pytest
import torch
from torch import nn
from torch.func import functional_call
from torchvision import models
from torchvision.models.resnet import BasicBlock, Bottleneck

from marl_hpo_env.catalog.models.unet import UNet
from marl_hpo_env.errors import InputError
from marl_hpo_env.networks.tunable import TunableNetwork

IMAGES = torch.randn(2, 1, 6, 6, generator=torch.Generator().manual_seed(0))


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def strong(module: nn.Module, strengths) -> nn.Module:
    """Gives the module's filters these L1 norms, in random directions."""
    with torch.no_grad():
        weight = module.weight.normal_()
        weight /= weight.abs().flatten(1).sum(1).view(-1, *[1] * (weight.dim() - 1))
        weight *= torch.tensor(strengths).float().view(-1, *[1] * (weight.dim() - 1))
    return module


def inherited(model: nn.Module, chosen, images=IMAGES, **settings) -> tuple[nn.Module, dict, dict]:
    """The built network and both state dicts."""
    network = TunableNetwork(model.eval(), images, **settings)
    built = network.build_with(chosen, weights=model.state_dict()).eval()
    return built, model.state_dict(), built.state_dict()


def random_statistics(model: nn.Module) -> nn.Module:
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, 0, 0.3)
            nn.init.uniform_(module.running_var, 0.5, 2)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, 0, 0.2)
    return model


# Weight by weight.


def chain() -> nn.Module:
    torch.manual_seed(0)
    model = nn.Sequential(
        strong(nn.Conv2d(1, 4, 3, padding=1), [1, 4, 2, 3]),
        nn.BatchNorm2d(4),
        nn.PReLU(4),
        strong(nn.Conv2d(4, 3, 3, padding=1), [2, 1, 3]),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(3, 2),
    )
    return random_statistics(model)


def test_in_a_chain_the_strongest_filters_stay_in_their_order():
    built, old, new = inherited(chain(), {"0": {"out_channels": 2}, "3": {"out_channels": 2}})
    for name in ("0.weight", "0.bias", "1.weight", "1.bias", "1.running_mean", "1.running_var", "2.weight"):
        assert torch.equal(new[name], old[name][[1, 3]]), name
    assert torch.equal(new["1.num_batches_tracked"], old["1.num_batches_tracked"])
    assert torch.equal(new["3.weight"], old["3.weight"][[0, 2]][:, [1, 3]])
    assert torch.equal(new["6.weight"], old["6.weight"][:, [0, 2]])
    assert torch.equal(new["6.bias"], old["6.bias"])
    assert built.meta["fresh"] == ()


def test_in_a_chain_a_wider_layer_has_copies_and_its_reader_shares_them():
    _, old, new = inherited(chain(), {"0": {"out_channels": 6}})
    copies = [0, 1, 2, 3, 0, 1]
    assert torch.equal(new["0.weight"], old["0.weight"][copies])
    assert torch.equal(new["1.running_var"], old["1.running_var"][copies])
    shares = torch.tensor([2, 2, 1, 1, 2, 2]).view(1, -1, 1, 1)
    assert torch.equal(new["3.weight"], old["3.weight"][:, copies] / shares)


@pytest.mark.parametrize(("size", "rows"), [(1, [1]), (2, [1, 2]), (3, [0, 1, 2]), (4, [0, 1, 2, None])])
def test_a_kernel_is_cropped_or_padded_around_its_centre_and_an_odd_remainder_lies_right_and_bottom(size, rows):
    _, old, new = inherited(chain(), {"0": {"kernel_size": size}})
    for i, row in enumerate(rows):
        for j, column in enumerate(rows):
            tap = torch.zeros(4, 1) if row is None or column is None else old["0.weight"][:, :, row, column]
            assert torch.equal(new["0.weight"][:, :, i, j], tap)


class Added(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a = strong(nn.Conv2d(1, 3, 1), [4, 1, 2])
        self.b = strong(nn.Conv2d(3, 3, 3, padding=1), [1, 3, 2.5])
        self.output = nn.Linear(3, 2)

    def forward(self, x):
        x = self.a(x)
        return self.output((x + self.b(x)).mean((2, 3)))


def test_layers_that_are_added_have_one_order():
    # 4 + 1, 1 + 3, 2 + 2.5: alone the first would keep 0 and 2, the second 1 and 2.
    built, old, new = inherited(Added(), {"a": {"out_channels": 2}, "b": {"out_channels": 2}})
    assert torch.equal(new["a.weight"], old["a.weight"][[0, 2]])
    assert torch.equal(new["b.weight"], old["b.weight"][[0, 2]][:, [0, 2]])
    assert torch.equal(new["output.weight"], old["output.weight"][:, [0, 2]])
    assert built.meta["added"]["projections"] == 0


@pytest.mark.parametrize(("widths", "expected"), [((3, 1), [[1, 0, 0]]), ((1, 3), [[1], [0], [0]]), ((6, 3), None)])
def test_a_projection_begins_as_the_selection_that_it_stands_for(widths, expected):
    built, _, new = inherited(Added(), {"a": {"out_channels": widths[0]}, "b": {"out_channels": widths[1]}})
    assert built.meta["added"]["projections"] == 1
    if expected is None:  # the mean of two copies is the channel itself
        expected = [[0.5, 0, 0, 0.5, 0, 0], [0, 0.5, 0, 0, 0.5, 0], [0, 0, 0.5, 0, 0, 0.5]]
    assert new["projection_0.weight"].flatten(1).tolist() == expected
    assert built.meta["fresh"] == ()


class Concatenated(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = strong(nn.Conv2d(1, 2, 1), [1, 2]), strong(nn.Conv2d(1, 3, 1), [3, 1, 2])
        self.norm, self.after, self.output = nn.BatchNorm2d(5), nn.Conv2d(5, 4, 1), nn.Linear(4, 2)

    def forward(self, x):
        x = self.norm(torch.cat([self.a(x), torch.relu(self.b(x))], 1))
        return self.output(self.after(x).mean((2, 3)))


def test_after_a_concatenation_each_operand_has_its_own_channels():
    model = random_statistics(Concatenated())
    _, old, new = inherited(model, {"a": {"out_channels": 1}, "b": {"out_channels": 2}})
    assert torch.equal(new["a.weight"], old["a.weight"][[1]])
    assert torch.equal(new["b.weight"], old["b.weight"][[0, 2]])
    assert torch.equal(new["norm.running_mean"], old["norm.running_mean"][[1, 2, 4]])
    assert torch.equal(new["after.weight"], old["after.weight"][:, [1, 2, 4]])
    _, old, new = inherited(model, {"a": {"out_channels": 3}, "b": {"out_channels": 2}})  # five again, but others
    assert torch.equal(new["norm.running_mean"], old["norm.running_mean"][[0, 1, 0, 2, 4]])
    shares = torch.tensor([2, 1, 2, 1, 1]).view(1, -1, 1, 1)
    assert torch.equal(new["after.weight"], old["after.weight"][:, [0, 1, 0, 2, 4]] / shares)


def test_the_same_value_concatenated_twice_is_told_apart():
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.output = strong(nn.Conv2d(1, 3, 1), [3, 1, 2]), nn.Linear(6, 2)

        def forward(self, x):
            x = self.a(x)
            return self.output(torch.cat([x.mean((2, 3)), x.amax((2, 3))], 1))

    _, old, new = inherited(Twice(), {"a": {"out_channels": 2}})
    assert torch.equal(new["output.weight"], old["output.weight"][:, [0, 2, 3, 5]])


def test_a_depthwise_block_follows_what_feeds_it():
    model = nn.Sequential(
        strong(nn.Conv2d(1, 4, 1), [1, 4, 2, 3]),
        nn.Conv2d(4, 8, 3, padding=1, groups=4),
        nn.BatchNorm2d(8),
        nn.Conv2d(8, 2, 1),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(2, 2),
    )
    random_statistics(model)
    _, old, new = inherited(model, {"0": {"out_channels": 2}, "1": {"kernel_size": 1}})
    assert torch.equal(new["1.weight"], old["1.weight"][[2, 3, 6, 7]][:, :, 1:2, 1:2])
    assert torch.equal(new["2.running_mean"], old["2.running_mean"][[2, 3, 6, 7]])
    assert torch.equal(new["3.weight"], old["3.weight"][:, [2, 3, 6, 7]])


def test_a_grouped_convolution_keeps_as_many_channels_of_each_group():
    model = nn.Sequential(
        strong(nn.Conv2d(1, 4, 1), [4, 3, 2, 1]),
        strong(nn.Conv2d(4, 4, 1, groups=2), [1, 2, 4, 3]),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(4, 2),
    )
    _, old, new = inherited(model, {"0": {"out_channels": 2}, "1": {"out_channels": 2}})
    assert torch.equal(new["0.weight"], old["0.weight"][[0, 2]])
    assert torch.equal(new["1.weight"], old["1.weight"][[1, 2]][:, [0]])
    assert torch.equal(new["4.weight"], old["4.weight"][:, [1, 2]])


def flat(pool: int) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        strong(nn.Conv2d(1, 3, 1), [1, 3, 2]), nn.MaxPool2d(pool), nn.Flatten(), nn.Linear(3 * (6 // pool) ** 2, 2)
    )


def test_a_linear_layer_after_a_map_reads_the_channels_places():
    _, old, new = inherited(flat(3), {"0": {"out_channels": 2}})
    assert torch.equal(new["3.weight"], old["3.weight"].view(2, 3, 4)[:, [1, 2]].flatten(1))


def test_a_map_of_another_size_is_resampled_and_the_sum_over_it_stays():
    model = flat(3)
    smaller = inherited(model, {"0": {"out_channels": 2, "stride": 6}})[2]["3.weight"]  # 1x1 for 2x2
    by_place = model[3].weight.detach().view(2, 3, 2, 2)[:, [1, 2]]
    assert torch.allclose(smaller, by_place.sum((2, 3)))
    larger = inherited(model, {"1": {"kernel_size": 1}})[2]["3.weight"].view(2, 3, 6, 6)  # 6x6 for 2x2
    by_place = model[3].weight.detach().view(2, 3, 2, 2)
    assert torch.allclose(larger[:, :, 0, 0], by_place[:, :, 0, 0] / 9)
    assert torch.allclose(larger[:, :, 5, 2], by_place[:, :, 1, 0] / 9)


def test_a_map_that_is_flattened_with_its_channels_last_is_read_in_that_order():
    class Last(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.output = strong(nn.Conv2d(1, 3, 1), [1, 3, 2]), nn.Linear(108, 2)

        def forward(self, x):
            return self.output(self.conv(x).permute(0, 2, 3, 1).reshape(x.size(0), -1))

    _, old, new = inherited(Last(), {"conv": {"out_channels": 2}})
    assert torch.equal(new["output.weight"], old["output.weight"].view(2, 36, 3)[:, :, [1, 2]].flatten(1))


# What is computed.


def vgg() -> nn.Module:
    model = models.VGG(models.vgg.make_layers([8, "M", 16, "M"], batch_norm=True), num_classes=3)
    model.classifier = nn.Sequential(nn.Linear(16 * 49, 12), nn.ReLU(), nn.Linear(12, 3))
    return model


def googlenet() -> nn.Module:
    model = models.GoogLeNet(num_classes=3, aux_logits=False, init_weights=False)
    model.inception4b = model.inception4c = model.inception5a = nn.Identity()
    return model


def efficientnet() -> nn.Module:
    kinds = models.efficientnet.MBConvConfig, models.efficientnet.FusedMBConvConfig
    blocks = [kinds[0](1, 3, 1, 8, 8, 1), kinds[0](4, 5, 2, 8, 16, 2), kinds[1](2, 3, 1, 16, 16, 1)]
    return models.EfficientNet(blocks, 0.0, num_classes=3, last_channel=32)


SMALL = {
    "VGG": vgg,
    "ResNet": lambda: models.ResNet(BasicBlock, [2, 1, 1, 1], num_classes=3),
    "ResNet-50": lambda: models.ResNet(Bottleneck, [1, 2, 1, 1], num_classes=3, width_per_group=16),
    "ResNeXt": lambda: models.ResNet(Bottleneck, [1, 1, 1, 1], num_classes=3, groups=4, width_per_group=4),
    "DenseNet": lambda: models.DenseNet(4, (3, 2), 8, bn_size=2, num_classes=3),
    "SqueezeNet": lambda: models.SqueezeNet("1_1", num_classes=3),
    "MobileNetV2": lambda: models.MobileNetV2(3, inverted_residual_setting=[[1, 16, 1, 1], [6, 24, 2, 2]]),
    "MobileNetV3": lambda: models.mobilenet_v3_small(num_classes=3, width_mult=0.5),
    "EfficientNet": efficientnet,
    "RegNet": lambda: models.RegNet(models.regnet.BlockParams.from_init_params(5, 8, 8, 2.0, 8, se_ratio=0.25), 3),
    "GoogLeNet": googlenet,
    "U-Net": lambda: UNet(channels=3, classes=3, width=8),
}
DOUBLED_ONLY = {
    "ShuffleNetV2": lambda: models.shufflenet_v2_x0_5(num_classes=3),  # halves its channels by number
    "ConvNeXt": lambda: models.ConvNeXt(
        [models.convnext.CNBlockConfig(8, 16, 2), models.convnext.CNBlockConfig(16, None, 1)], num_classes=3
    ),
}


@functools.cache
def small(name: str) -> tuple[nn.Module, TunableNetwork, torch.Tensor]:
    torch.manual_seed(0)
    model = random_statistics((SMALL | DOUBLED_ONLY)[name]()).eval()
    images = torch.randn(2, 3, 32, 32)
    return model, TunableNetwork(model, images, verify=False), images


def difference(name: str, factor) -> float:
    """How far a design's outputs are from the original's, of the largest, with widths and kernels that grow."""
    model, network, images = small(name)
    chosen = {}
    for number, (layer, own) in enumerate(network.original.items()):
        chosen[layer] = {}
        for hyperparameter, value in own.items():
            size = value[0] if isinstance(value, tuple) else value
            larger = size + number % 3 if hyperparameter == "kernel_size" else size * factor(number)
            chosen[layer][hyperparameter] = larger
    with torch.no_grad():
        built = network.build_with(chosen, weights=model.state_dict()).eval()
        expected, got = model(images), built(images)
    assert built.meta["fresh"] == ()
    return float((got - expected).abs().max() / expected.abs().max())


@pytest.mark.parametrize("name", SMALL | DOUBLED_ONLY)
def test_a_network_twice_as_wide_computes_what_the_original_does(name):
    assert difference(name, lambda number: 2) < 1e-5


@pytest.mark.parametrize("name", SMALL)
def test_a_network_of_which_some_layers_are_wider_computes_what_the_original_does(name):
    assert difference(name, lambda number: 1 + number % 2) < 1e-5


@pytest.mark.parametrize("name", SMALL | DOUBLED_ONLY)
def test_the_original_with_its_weights_is_the_original_to_the_bit_and_any_design_has_no_fresh_weights(name):
    model, network, images = small(name)
    state = model.state_dict()
    built = network.build(None, weights=state)
    assert built.meta["fresh"] == ()
    assert all(torch.equal(tensor, state[key]) for key, tensor in built.state_dict().items())
    with torch.no_grad():
        assert torch.equal(built.eval()(images), model(images))
        rng = np.random.default_rng(0)
        for _ in range(2):
            narrow = network.build(network.space.sample(rng), weights=state).eval()
            assert narrow.meta["fresh"] == ()
            assert bool(narrow(images).isfinite().all())


@pytest.mark.parametrize("name", SMALL | DOUBLED_ONLY)
def test_the_design_of_the_originals_own_values_computes_what_the_original_does(name):
    model, network, images = small(name)
    built = network.build(network.original_design, weights=model.state_dict()).eval()
    with torch.no_grad():
        expected = model(images)
        assert float((built(images) - expected).abs().max() / expected.abs().max()) < 1e-5


class Between(nn.Module):
    """An operation between two convolutions."""

    def __init__(self, operation, channels: int) -> None:
        super().__init__()
        self.before, self.after, self.output = nn.Conv2d(1, 8, 3, padding=1), nn.Conv2d(channels, 4, 1), nn.Linear(4, 2)
        self.operation = operation

    def forward(self, x):
        return self.output(self.after(self.operation(self.before(x))).mean((2, 3)))


class OfRows(nn.Module):
    """A layer of sequences, over the places of a map."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x):
        rows = x.flatten(2).transpose(1, 2)
        rows = self.layer(rows, rows, rows)[0] if isinstance(self.layer, nn.MultiheadAttention) else self.layer(rows)
        rows = rows[0] if isinstance(self.layer, nn.LSTM) else rows
        return rows.transpose(1, 2).unflatten(2, (6, 6))


def halves_multiplied(x):
    first, second = x.chunk(2, 1)
    return first * second


def between(operation, channels: int, width: int) -> tuple[float, tuple[str, ...]]:
    """How far the outputs are from the original's, of the largest, once 8 channels are so many; and what is fresh."""
    torch.manual_seed(1)
    model = Between(operation, channels)
    chosen = {"before": {"out_channels": width}}
    if isinstance(operation, OfRows) and isinstance(operation.layer, nn.LSTM):
        chosen["operation.layer"] = {"hidden_size": width}
    built, _, _ = inherited(model, chosen, verify=False)
    with torch.no_grad():
        expected, got = model(IMAGES), built(IMAGES)
    return float((got - expected).abs().max() / expected.abs().max()), built.meta["fresh"]


@pytest.mark.parametrize(
    ("operation", "channels", "width"),
    [
        pytest.param(operation, channels, width, id=name)
        for name, operation, channels, width in [
            ("softmax", nn.Softmax2d(), 8, 16),
            ("sum", lambda x: x.sum(1, keepdim=True), 1, 16),
            ("running sum", lambda x: x.cumsum(1), 8, 16),
            ("deviation", lambda x: x.std(1, keepdim=True), 1, 16),
            ("norm", lambda x: nn.functional.normalize(x, dim=1), 8, 16),
            ("sorted", lambda x: x.sort(1)[0], 8, 16),
            ("product of maps", lambda x: (x.flatten(2).mT @ x.flatten(2)).unflatten(2, (6, 6)), 36, 16),
            ("attention", OfRows(nn.MultiheadAttention(8, 2, batch_first=True)), 8, 16),
            ("local response norm", nn.LocalResponseNorm(5, alpha=1), 8, 16),
            ("GLU", nn.GLU(1), 4, 16),
            ("group norm", nn.GroupNorm(2, 8), 8, 16),
            ("chunk", halves_multiplied, 4, 9),
            ("recurrent", OfRows(nn.LSTM(8, 8, batch_first=True)), 8, 16),
            ("mean, not all alike", lambda x: x.mean(1, keepdim=True), 1, 12),
            ("layer norm, not all alike", OfRows(nn.LayerNorm(8)), 8, 12),
        ]
    ],
)
def test_operations_over_channels_that_are_listed_do_not_keep_the_function(operation, channels, width):
    changed, fresh = between(operation, channels, width)
    assert changed > 1e-4
    # Where weights cannot follow, that is said.
    recurrent = [f"operation.layer.{name}" for name in ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")]
    named = {nn.GLU: ["after.weight"], nn.LSTM: recurrent}
    assert list(fresh) == named.get(type(getattr(operation, "layer", operation)), [])


@pytest.mark.parametrize(
    ("operation", "channels", "width"),
    [
        pytest.param(operation, channels, width, id=name)
        for name, operation, channels, width in [
            ("greatest", lambda x: x.amax(1, keepdim=True), 1, 12),
            ("shuffle", nn.ChannelShuffle(2), 8, 12),
            ("chunk", halves_multiplied, 4, 12),
            ("mean, all alike", lambda x: x.mean(1, keepdim=True), 1, 16),
            ("layer norm, all alike", OfRows(nn.LayerNorm(8)), 8, 16),
        ]
    ],
)
def test_operations_over_channels_that_are_not_listed_keep_the_function(operation, channels, width):
    changed, fresh = between(operation, channels, width)
    assert changed < 1e-5
    assert fresh == ()


# Plans: the same as functions.


def test_a_plan_from_the_largest_design_takes_the_first_channels_and_passes_gradients_back():
    choices = {nn.Conv2d: {"out_channels": (2, 4, 6), "kernel_size": (1, 3, 5)}}
    network = TunableNetwork(chain(), IMAGES, choices)
    largest = {name: {"out_channels": 6, "kernel_size": 5} for name in ("0", "3")}
    whole = network.build_with(largest)
    design = network.space.design(
        {"0": {"out_channels": 2, "kernel_size": 3}, "3": {"out_channels": 4, "kernel_size": 1}}
    )
    plan = network.plan(network.hyperparameters(design), largest)
    assert plan.fresh == ()
    tensors = {**whole.state_dict(), **dict(whole.named_parameters())}
    part = plan(tensors)
    assert torch.equal(part["0.weight"], tensors["0.weight"][:2, :, 1:4, 1:4])
    assert torch.equal(part["3.weight"], tensors["3.weight"][:4, :2, 2:3, 2:3])
    assert torch.equal(part["6.weight"], tensors["6.weight"][:, :4])
    built = network.build(design, "meta").eval()
    output = functional_call(built, part, (IMAGES,))
    output.square().sum().backward()
    gradient = tensors["0.weight"].grad
    assert gradient is not None
    assert bool(gradient[:2, :, 1:4, 1:4].ne(0).any())
    assert not gradient[2:].any()
    with torch.no_grad():
        loaded = network.build(design).eval()
        loaded.load_state_dict(part)
        assert torch.equal(loaded(IMAGES), output)


def shared(model: nn.Module, largest, chosen) -> tuple[dict, dict]:
    """A design's tensors as slices of the largest network's, and those of that."""
    network = TunableNetwork(model, IMAGES, verify=False)
    whole = random_statistics(network.build_with(largest)).state_dict()
    return network.plan(chosen, largest)(whole), whole


def test_slices_of_layers_that_are_added_are_the_first_channels_of_each():
    widths = [{name: {"out_channels": width} for name in "ab"} for width in (6, 4)]
    part, whole = shared(Added(), *widths)
    assert torch.equal(part["a.weight"], whole["a.weight"][:4])
    assert torch.equal(part["b.weight"], whole["b.weight"][:4, :4])
    assert torch.equal(part["output.weight"], whole["output.weight"][:, :4])


def test_slices_after_a_concatenation_are_the_first_channels_of_each_operand():
    widths = [{"a": {"out_channels": a}, "b": {"out_channels": b}} for a, b in ((4, 6), (3, 2))]
    part, whole = shared(Concatenated(), *widths)
    first = [0, 1, 2, 4, 5]
    assert torch.equal(part["b.weight"], whole["b.weight"][:2])
    assert torch.equal(part["norm.running_mean"], whole["norm.running_mean"][first])
    assert torch.equal(part["norm.weight"], whole["norm.weight"][first])
    assert torch.equal(part["after.weight"], whole["after.weight"][:, first])


def test_slices_of_a_depthwise_block_follow_what_feeds_it():
    model = nn.Sequential(nn.Conv2d(1, 4, 1), nn.Conv2d(4, 8, 3, groups=4), nn.BatchNorm2d(8), nn.Conv2d(8, 2, 1))
    widths = [{"0": {"out_channels": width}, "1": {"kernel_size": size}} for width, size in ((6, 5), (3, 3))]
    part, whole = shared(model, *widths)
    assert whole["1.weight"].shape == (12, 1, 5, 5)
    assert torch.equal(part["1.weight"], whole["1.weight"][:6, :, 1:4, 1:4])
    assert torch.equal(part["2.running_var"], whole["2.running_var"][:6])
    assert torch.equal(part["3.weight"], whole["3.weight"][:, :6])


def test_slices_of_a_linear_layer_after_a_map_are_the_places_of_the_first_channels():
    part, whole = shared(flat(3), {"0": {"out_channels": 6}}, {"0": {"out_channels": 4}})
    assert torch.equal(part["3.weight"], whole["3.weight"].view(2, 6, 4)[:, :4].flatten(1))


# Tied widths.


def test_layers_that_are_added_share_the_width_that_the_first_of_them_chooses():
    model = models.ResNet(BasicBlock, [2, 2, 1, 1], num_classes=3)
    images = torch.randn(1, 3, 32, 32)
    tied, free = (TunableNetwork(model, images, tie_added=on) for on in (True, False))
    leaders = ("conv1", "layer1.0.conv1", "layer1.1.conv1", "layer2.0.conv1", "layer2.0.conv2", "layer2.1.conv1")
    widths = [layer.name for layer in tied.space.layers if "out_channels" in layer.choices]
    assert tuple(widths[:6]) == leaders
    assert "layer2.0.downsample.0" not in tied.space.names  # it had nothing else to choose
    assert list(tied.space.layers[2].choices) == ["kernel_size"]
    rng = np.random.default_rng(0)
    for _ in range(5):
        design = tied.space.sample(rng)
        built = tied.build(design, "meta")
        assert built.meta["added"]["projections"] == 0
        chosen = tied.hyperparameters(design)
        for name in ("layer1.0.conv2", "layer1.1.conv2"):
            assert built.get_submodule(name).out_channels == chosen["conv1"]["out_channels"]
    assert any(free.build(free.space.sample(rng), "meta").meta["added"]["projections"] for _ in range(3))


def test_tied_widths_fit_what_takes_any_of_them_apart():
    class Shuffled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.output = nn.Conv2d(1, 12, 1), nn.Conv2d(1, 12, 1), nn.Linear(12, 2)

        def forward(self, x):
            b, _, h, w = x.shape
            x = self.a(x) + self.b(x).view(b, 3, -1, h, w).flatten(1, 2)
            return self.output(x.mean((2, 3)))

    choices = {nn.Conv2d: {"out_channels": (3, 4, 6)}}
    with pytest.warns(UserWarning, match="multiples of 3"):
        tied = TunableNetwork(Shuffled(), IMAGES, choices, tie_added=True)
    assert tied.space.names == ("a",)
    assert tied.space.layers[0].choices == {"out_channels": (3, 6)}


# What does not fit.


def test_weights_of_another_network_are_refused_with_the_first_that_differ():
    model = chain()
    network = TunableNetwork(model, IMAGES)
    state = model.state_dict()
    for wrong, words in (
        ({**state, "more": torch.zeros(1)}, "'more' is not of the network"),
        ({key: value for key, value in state.items() if key != "0.bias"}, "'0.bias' is missing"),
        ({**state, "0.weight": torch.zeros(5, 1, 3, 3)}, r"'0.weight' has shape \(5, 1, 3, 3\) and not \(4, 1, 3, 3\)"),
        ({**state, "6.weight": torch.zeros(2, 5)}, r"'6.weight' has shape"),
    ):
        with pytest.raises(InputError, match=words) as refusal:
            network.build(None, weights=wrong)
        assert str(refusal.value).endswith(".")


def test_an_output_layer_for_another_number_of_classes_is_drawn_and_named():
    model = chain()
    state = {**model.state_dict(), "6.weight": torch.zeros(5, 3), "6.bias": torch.zeros(5)}
    built = TunableNetwork(model, IMAGES).build(None, weights=state)
    assert built.meta["fresh"] == ("6.weight", "6.bias")
    assert torch.equal(built.get_submodule("0").weight, model[0].weight)
    assert bool(built.get_submodule("6").weight.any())
