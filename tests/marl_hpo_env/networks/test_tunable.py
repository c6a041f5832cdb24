from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from marl_hpo_env.errors import InputError
from marl_hpo_env.networks.alignment import interpolate_to, pool_to
from marl_hpo_env.networks.tunable import TunableNetwork

CLASSES = 3
NOTHING_ADDED = {"pools": 0, "interpolations": 0, "projections": 0, "clamps": 0}
IMAGES = torch.rand(4, 1, 8, 8, generator=torch.Generator().manual_seed(0))
WIDTHS = {"out_channels": (4, 6, 8)}
CONVOLUTION = {"out_channels": (4, 6, 8), "kernel_size": (1, 2, 3, 5), "stride": (1, 2)}


class Straight(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 8, 3, padding=1),
            nn.BatchNorm2d(8),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(2),
            nn.Conv2d(8, 6, 3, padding="same", bias=False),
            nn.GroupNorm(2, 6),
            nn.ReLU(),
            nn.MaxPool2d(2),
        )
        self.head = nn.Sequential(nn.Flatten(), nn.Dropout(0.3), nn.Linear(24, 16), nn.ReLU(), nn.Linear(16, CLASSES))

    def forward(self, x):
        return self.head(self.features(x))


class Block(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs)
        self.shortcut = nn.Conv2d(inputs, outputs, 1, stride) if stride > 1 else None

    def forward(self, x):
        out = self.norm2(self.conv2(torch.relu(self.norm1(self.conv1(x)))))
        out += x if self.shortcut is None else self.shortcut(x)
        return torch.relu(out)


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 4, 3, padding=1)
        self.blocks = nn.Sequential(Block(4, 4, 1), Block(4, 4, 1), Block(4, 8, 2))
        self.output = nn.Linear(8, CLASSES)

    def forward(self, x):
        return self.output(self.blocks(self.stem(x)).mean((2, 3)))


class Inception(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 4, 3, padding=1)
        self.branch1 = nn.Conv2d(4, 4, 1)
        self.branch2 = nn.Sequential(nn.Conv2d(4, 6, 1), nn.ReLU(), nn.Conv2d(6, 8, 3, padding=1))
        self.branch3 = nn.Sequential(nn.MaxPool2d(3, 1, 1), nn.Conv2d(4, 4, 1))
        self.after = nn.Conv2d(16, 6, 1)
        self.pool = nn.AdaptiveAvgPool2d(2)
        self.output = nn.Linear(24, CLASSES)

    def forward(self, x):
        x = torch.relu(self.stem(x))
        x = torch.cat([self.branch1(x), self.branch2(x), self.branch3(x)], dim=1)
        return self.output(self.pool(torch.relu(self.after(x))).view(x.size(0), -1))


class DenseBlock(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1), nn.Conv2d(8, 4, 1)
        self.norm = nn.BatchNorm2d(12)
        self.output = nn.Linear(12, CLASSES)

    def forward(self, x):
        features = [self.a(x)]
        features.append(self.b(torch.cat(features, 1)))
        features.append(self.c(torch.cat(features, 1)))
        return self.output(torch.relu(self.norm(torch.cat(features, 1))).mean((2, 3)))


class Mobile(nn.Module):
    """An inverted residual with a depthwise convolution and a squeeze-and-excitation gate."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 4, 3, 2, 1)
        self.expand = nn.Conv2d(4, 8, 1)
        self.depthwise = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.squeeze, self.excite = nn.Conv2d(8, 2, 1), nn.Conv2d(2, 8, 1)
        self.project = nn.Conv2d(8, 4, 1)
        self.scale = nn.Parameter(torch.full((4, 1, 1), 0.5))
        self.output = nn.Linear(4, CLASSES)

    def forward(self, x):
        x = self.stem(x)
        y = functional.relu6(self.depthwise(self.expand(x)))
        y = y * torch.sigmoid(self.excite(torch.relu(self.squeeze(functional.adaptive_avg_pool2d(y, 1)))))
        return self.output((x + self.project(y) * 0.5).mean((2, 3)) + self.scale.mean())


NETWORKS = [Straight, Residual, Inception, DenseBlock, Mobile]
CHOICES = {
    Straight: {
        nn.Conv2d: CONVOLUTION,
        nn.MaxPool2d: {"kernel_size": (1, 2, 3, 4)},
        nn.Linear: {"out_features": (8, 16)},
    },
    Residual: {nn.Conv2d: CONVOLUTION},
    Inception: {nn.Conv2d: CONVOLUTION, nn.MaxPool2d: {"kernel_size": (2, 3, 5)}},
    DenseBlock: {nn.Conv2d: CONVOLUTION},
    Mobile: {nn.Conv2d: CONVOLUTION},
}


@pytest.fixture(scope="module", params=NETWORKS, ids=lambda kind: kind.__name__)
def network(request) -> TunableNetwork:
    return TunableNetwork(request.param(), IMAGES, CHOICES[request.param])


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def designs(network: TunableNetwork, n: int) -> list[tuple[int, ...]]:
    rng = np.random.default_rng(0)
    return [network.space.sample(rng) for _ in range(n)]


def build(model: nn.Module, choices, device=None, **chosen) -> nn.Module:
    """Built with these hyperparameters, by layer name with `_` for a dot; every other layer takes its first action."""
    network = TunableNetwork(model, IMAGES, choices)
    hyperparameters = network.space.hyperparameters((0,) * len(network.space))
    for name, values in chosen.items():
        hyperparameters[name.replace("_", ".")] |= values
    return network.build(network.space.design(hyperparameters), device)


@pytest.mark.parametrize("kind", NETWORKS)
def test_the_rebuilt_original_has_its_parameters_and_gives_its_outputs_bit_for_bit(kind):
    original = kind()
    original(IMAGES)  # moves the batch norms' averages
    rebuilt = TunableNetwork(original, IMAGES[:1], CHOICES[kind]).build(None)
    assert count(rebuilt) == count(original)
    assert rebuilt.meta["added"] == NOTHING_ADDED
    rebuilt.load_state_dict(original.state_dict())
    assert rebuilt.training
    for training in (True, False):
        outputs = []
        for module in (original, rebuilt):
            torch.manual_seed(0)  # of the dropout
            outputs.append(module.train(training)(IMAGES))
        assert torch.equal(*outputs)
    assert all(torch.equal(v, rebuilt.state_dict()[k]) for k, v in original.state_dict().items())


@pytest.mark.parametrize("training", [True, False])
def test_an_original_in_either_mode_drops_out_in_training_only(training):
    class FunctionalDropout(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.hidden, self.output = nn.Linear(64, 16), nn.Linear(16, CLASSES)

        def forward(self, x):
            x = functional.dropout(self.hidden(torch.flatten(x, 1)), 0.5, training=self.training)
            return self.output(x)

    original = FunctionalDropout().train(training)
    rebuilt = TunableNetwork(original, IMAGES, {nn.Linear: {"out_features": (8, 16)}}).build(None)
    rebuilt.load_state_dict(original.state_dict())
    assert torch.equal(rebuilt.eval()(IMAGES), original.eval()(IMAGES))
    outputs = []
    for module in (original, rebuilt):
        torch.manual_seed(0)
        outputs.append(module.train()(IMAGES))
    assert torch.equal(*outputs)


def test_constants_that_the_original_does_not_save_do_not_keep_its_state_from_loading():
    class WithConstants(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("unsaved", torch.tensor(2.0), persistent=False)
            self.register_buffer("saved", torch.tensor(3.0))
            self.plain = torch.tensor(5.0)
            self.hidden, self.output = nn.Linear(64, 16), nn.Linear(16, CLASSES)

        def forward(self, x):
            return self.output(self.hidden(torch.flatten(x, 1))) * self.unsaved * self.saved * self.plain

    original = WithConstants()
    rebuilt = TunableNetwork(original, IMAGES, {nn.Linear: {"out_features": (8, 16)}}).build(None)
    rebuilt.load_state_dict(original.state_dict())
    assert torch.equal(rebuilt(IMAGES), original(IMAGES))


class Scaled(nn.Module):
    """A user's own layer, without `reset_parameters`."""

    def __init__(self, out_channels: int = 8, slope: float = 0.1) -> None:
        super().__init__()
        self.out_channels = out_channels
        self.slope = slope
        self.weight = nn.Parameter(torch.full((out_channels, 1, 1), 0.25))
        self.register_buffer("offset", torch.full((out_channels, 1, 1), 0.75))

    def forward(self, x):
        return functional.leaky_relu(x * self.weight + self.offset, self.slope)


def test_a_users_own_layer_without_reset_is_not_left_with_memory_that_nobody_set():
    model = nn.Sequential(nn.Conv2d(1, 8, 1), Scaled(), nn.Flatten(), nn.Linear(512, CLASSES))
    network = TunableNetwork(model, IMAGES, {Scaled: {"slope": (0.1, 0.3)}})
    for design in (None, (0,), (1,)):
        garbage = [torch.full((8, 1, 1), 1e30) for _ in range(64)]  # so that memory that is not set shows
        del garbage
        layer = network.build(design).get_submodule("1")
        assert layer.weight.flatten().tolist() == [0.25] * 8
        assert layer.offset.flatten().tolist() == [0.75] * 8


def test_fresh_weights_follow_torchs_generator(network):
    for design in (None, *designs(network, 2)):
        states = []
        for seed in (1, 1, 2):
            torch.manual_seed(seed)
            states.append(network.build(design).state_dict())
        first, again, other = states
        assert all(torch.equal(first[k], again[k]) for k in first)
        assert not all(torch.equal(first[k], other[k]) for k in first)


def test_tracing_leaves_the_users_model_and_torchs_generator_alone():
    model = Residual()
    model(IMAGES)
    model.eval()
    state, modes = copy.deepcopy(model.state_dict()), [module.training for module in model.modules()]
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    network = TunableNetwork(model, IMAGES, CHOICES[Residual])
    network.build(None, "meta")
    assert torch.equal(torch.rand(3), expected)
    built = network.build(None)
    built(IMAGES).sum().backward()
    assert [module.training for module in model.modules()] == modes
    assert all(torch.equal(v, state[k]) for k, v in model.state_dict().items())
    assert all(parameter.grad is None and parameter.device.type == "cpu" for parameter in model.parameters())


def test_networks_built_from_one_space_share_nothing(network):
    first, second = network.build(None), network.build(None)
    pointers = [{t.data_ptr() for t in (*m.parameters(), *m.buffers())} for m in (first, second)]
    assert not pointers[0] & pointers[1]


@pytest.mark.filterwarnings("ignore:Using padding='same'")
def test_any_design_builds_with_the_sizes_that_its_parameters_have(network):
    for design in designs(network, 40):
        built = network.build(design, "meta").eval()
        modules = dict(built.named_modules())
        for module in modules.values():
            if isinstance(module, nn.Conv2d):
                size = (module.out_channels, module.in_channels // module.groups, *module.kernel_size)
                assert tuple(module.weight.shape) == size
            if isinstance(module, nn.Linear):
                assert tuple(module.weight.shape) == (module.out_features, module.in_features)
            if isinstance(module, nn.BatchNorm2d):
                assert tuple(module.weight.shape) == (module.num_features,) == tuple(module.running_mean.shape)
        for name, chosen in network.space.hyperparameters(design).items():
            for hyperparameter, value in chosen.items():
                got = getattr(modules[name], hyperparameter)
                if isinstance(modules[name], nn.MaxPool2d) and built.meta["added"]["clamps"]:
                    assert max(np.atleast_1d(got)) <= value
                else:
                    assert got in (value, (value, value)), (design, name, hyperparameter)
        assert {parameter.device.type for parameter in built.parameters()} == {"meta"}
        output = built(torch.empty(5, 1, 8, 8, device="meta"))
        assert tuple(output.shape) == (5, CLASSES)


def test_a_build_on_the_cpu_has_the_shapes_and_additions_of_one_on_the_meta_device(network):
    for design in designs(network, 5):
        real, meta = network.build(design, "cpu"), network.build(design, "meta")
        assert real.meta["added"] == meta.meta["added"]
        assert {k: v.shape for k, v in real.state_dict().items()} == {k: v.shape for k, v in meta.state_dict().items()}
        assert {t.device.type for t in (*real.parameters(), *real.buffers())} == {"cpu"}


def test_every_parameter_of_a_design_learns(network):
    for design in designs(network, 4):
        torch.manual_seed(0)
        built = network.build(design)
        before = {name: parameter.detach().clone() for name, parameter in built.named_parameters()}
        optimizer = torch.optim.SGD(built.parameters(), lr=0.1)
        functional.cross_entropy(built(IMAGES), torch.tensor([0, 1, 2, 0])).backward()
        assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in built.parameters())
        optimizer.step()
        assert any(not torch.equal(p, before[name]) for name, p in built.named_parameters())


def test_the_number_of_additions_is_that_of_the_calls_and_modules_in_the_network(network, resizes):
    for design in designs(network, 20):
        built = network.build(design, "meta")
        x = torch.empty(4, 1, 8, 8, device="meta")
        names = {name for name, _ in network.build(None, "meta").named_modules()}
        added = [name for name, _ in built.named_modules() if name not in names]
        assert all(name.startswith("projection_") for name in added)
        assert {name: built.meta["added"][name] for name in ("pools", "interpolations", "projections")} == {
            "pools": resizes(built, x, pool_to),
            "interpolations": resizes(built, x, interpolate_to),
            "projections": len(added),
        }


def test_equal_widths_need_no_projection_and_one_that_differs_needs_one():
    widths = {"stem": (4, 8), "blocks.0.conv2": (4, 8), "blocks.1.conv2": (4, 8)}
    choices = {name: {"out_channels": values} for name, values in widths.items()}
    network = TunableNetwork(Residual(), IMAGES, choices)
    expected = {
        # stem, end of the first block, end of the second: shortcuts that differ from what they are added to
        (4, 4, 4): 0,
        (8, 8, 8): 0,
        (8, 4, 4): 1,
        (4, 8, 4): 2,
        (4, 4, 8): 1,
    }
    for values, projections in expected.items():
        chosen = {name: {"out_channels": v} for name, v in zip(widths, values, strict=True)}
        added = network.build(network.space.design(chosen), "meta").meta["added"]
        assert added == NOTHING_ADDED | {"projections": projections}, values


def test_a_shortcut_is_projected_onto_the_branch_and_the_branch_keeps_its_width():
    built = build(Residual(), {"blocks.0.conv2": {"out_channels": (6,)}})
    assert built.meta["added"]["projections"] == 2  # the first shortcut onto 6, the sum onto the second block's 4
    projection = built.get_submodule("projection_0")
    assert (projection.in_channels, projection.out_channels) == (4, 6)
    assert (projection.kernel_size, projection.bias) == ((1, 1), None)


def test_a_concatenation_takes_any_widths_as_they_are():
    built = build(Inception(), {nn.Conv2d: WIDTHS}, branch1={"out_channels": 6})
    assert built.meta["added"] == NOTHING_ADDED
    assert built.get_submodule("after").in_channels == 6 + 4 + 4


def test_each_branch_that_is_larger_is_pooled_once_to_the_smallest():
    added = {}
    for strided in ("branch1", "branch2.0", "branch2.2", "branch3.1"):
        built = build(Inception(), {strided: {"stride": (2,)}})
        added[strided] = built.meta["added"]
        assert tuple(built(IMAGES).shape) == (4, CLASSES)
    assert added == dict.fromkeys(added, NOTHING_ADDED | {"pools": 2})


def test_branches_that_all_shrink_alike_need_no_pool():
    strides = {name: {"stride": (2,)} for name in ("branch1", "branch2.2", "branch3.1")}
    assert build(Inception(), strides).meta["added"] == NOTHING_ADDED


def test_where_branches_differ_in_either_dimension_the_one_with_the_fewest_pixels_decides():
    class TallAndWide(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.left, self.right = nn.Conv2d(1, 4, 1), nn.Conv2d(1, 4, 1)
            self.after = nn.Conv2d(4, 4, 1)
            self.output = nn.Linear(4, CLASSES)

        def forward(self, x):
            return self.output(self.after(self.left(x) + self.right(x)).mean((2, 3)))

    built = build(TallAndWide(), {"left": {"stride": ((1, 2),)}, "right": {"stride": ((4, 1),)}})
    assert built.meta["added"] == NOTHING_ADDED | {"pools": 1}
    sizes = []
    built.get_submodule("after").register_forward_hook(lambda _, __, output: sizes.append(tuple(output.shape[2:])))
    built(IMAGES)
    assert sizes == [(2, 8)]  # of (8, 4) and (2, 8)


def test_a_producer_that_is_merged_twice_is_aligned_once():
    class TwoUses(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.c = nn.Conv1d(8, 4, 1), nn.Conv1d(4, 4, 1), nn.Conv1d(4, 4, 1)
            self.output = nn.Linear(8, CLASSES)

        def forward(self, x):
            x = self.a(x.squeeze(1))
            return self.output(torch.cat([x + self.b(x), x + self.c(x)], 1).mean(2))

    widths = {"b": {"out_channels": (6,)}, "c": {"out_channels": (6,)}}
    assert build(TwoUses(), widths).meta["added"] == NOTHING_ADDED | {"projections": 1}
    strides = {"b": {"stride": (2,)}, "c": {"stride": (2,)}}
    assert build(TwoUses(), strides).meta["added"] == NOTHING_ADDED | {"pools": 1}
    apart = {"b": {"out_channels": (6,)}, "c": {"out_channels": (8,)}}
    assert build(TwoUses(), apart).meta["added"]["projections"] == 2


def test_what_differs_between_training_and_evaluation_in_a_flag_has_one_projection_for_both():
    class Dropping(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem, self.branch, self.output = nn.Conv2d(1, 4, 1), nn.Conv2d(4, 4, 1), nn.Linear(4, CLASSES)

        def forward(self, x):
            x = functional.dropout(self.stem(x), 0.5, training=self.training)
            return self.output((x + self.branch(x)).mean((2, 3)))

    built = build(Dropping(), {"branch": {"out_channels": (6,)}})
    assert built.meta["added"] == NOTHING_ADDED | {"projections": 1}
    before = built.eval()(IMAGES)
    with torch.no_grad():
        built.get_submodule("projection_0").weight.add_(1)  # what training learns counts in evaluation
    assert not torch.equal(built(IMAGES), before)


def test_a_gate_that_broadcasts_is_not_pooled_to():
    built = build(Mobile(), {"stem": {"stride": (1,)}})
    assert built.meta["added"] == NOTHING_ADDED


def test_a_gate_of_one_channel_is_not_projected():
    class SpatialAttention(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem, self.gate, self.output = nn.Conv2d(1, 4, 1), nn.Conv2d(4, 1, 1), nn.Linear(4, CLASSES)

        def forward(self, x):
            x = self.stem(x)
            return self.output((x * torch.sigmoid(self.gate(x))).mean((2, 3)))

    built = build(SpatialAttention(), {"stem": {"out_channels": (6,)}})
    assert built.meta["added"] == NOTHING_ADDED
    assert built.get_submodule("gate").out_channels == 1
    assert tuple(built(IMAGES).shape) == (4, CLASSES)


def test_flat_features_are_projected_by_a_linear_layer():
    class Skip(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.hidden, self.branch, self.output = nn.Linear(64, 8), nn.Linear(8, 8), nn.Linear(8, CLASSES)

        def forward(self, x):
            x = self.hidden(torch.flatten(x, 1))
            return self.output(x + self.branch(x))

    built = build(Skip(), {"branch": {"out_features": (16,)}})
    assert built.meta["added"] == NOTHING_ADDED | {"projections": 1}
    assert isinstance(built.get_submodule("projection_0"), nn.Linear)
    assert tuple(built(IMAGES).shape) == (4, CLASSES)


def test_numbers_one_per_example_are_added_as_they_are():
    class TwoEstimates(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.hidden, self.left, self.right = nn.Linear(64, 8), nn.Linear(8, 1), nn.Linear(8, 1)
            self.output = nn.Linear(1, CLASSES)

        def forward(self, x):
            x = self.hidden(torch.flatten(x, 1))
            return self.output((self.left(x).squeeze(1) + self.right(x).squeeze(1)).unsqueeze(1))

    built = build(TwoEstimates(), {"hidden": {"out_features": (4,)}})
    assert built.meta["added"] == NOTHING_ADDED
    assert tuple(built(IMAGES).shape) == (4, CLASSES)


@pytest.mark.parametrize("keyword", ["dim", "axis"])
def test_a_concatenation_is_read_with_either_name_of_its_dimension(keyword):
    class Concatenation(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.left, self.right = nn.Conv2d(1, 4, 1), nn.Conv2d(1, 4, 1)
            self.output = nn.Linear(8, CLASSES)

        def forward(self, x):
            x = torch.cat([self.left(x), self.right(x)], **{keyword: 1})
            return self.output(x.mean((2, 3)))

    built = build(Concatenation(), {"left": {"out_channels": (6,)}})
    assert built.meta["added"] == NOTHING_ADDED
    assert built.get_submodule("output").in_features == 10


def test_a_pool_larger_than_its_input_is_clamped_and_counted():
    for kernels, clamps in {(2, 2): 0, (4, 2): 0, (4, 4): 1, (8, 4): 1, (2, 8): 1}.items():
        first, second = kernels
        choices = {"features.3": {"kernel_size": (first,)}, "features.7": {"kernel_size": (second,)}}
        built = build(Straight(), choices)
        assert built.meta["added"] == NOTHING_ADDED | {"clamps": clamps}
        assert tuple(built(IMAGES).shape) == (4, CLASSES)


def test_a_convolution_larger_than_its_input_is_clamped_and_counted():
    model = nn.Sequential(
        nn.MaxPool2d(2), nn.Conv2d(1, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, CLASSES)
    )
    for kernel, clamps in {2: 0, 4: 1}.items():
        built = build(model, {nn.MaxPool2d: {"kernel_size": (kernel,)}})
        assert built.meta["added"] == NOTHING_ADDED | {"clamps": clamps}
        assert tuple(built.get_submodule("1").kernel_size) == (3, 3)
        assert tuple(built(IMAGES).shape) == (4, CLASSES)


def test_a_pool_called_as_a_function_is_clamped_as_a_module_is():
    class FunctionalPool(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.output = nn.Conv2d(1, 4, 3, padding=1), nn.LazyLinear(CLASSES)

        def forward(self, x):
            x = functional.max_pool2d(functional.max_pool2d(self.conv(x), 4), 2)
            return self.output(torch.flatten(x, 1))

    model = FunctionalPool()
    model(IMAGES)
    built = build(model, {nn.Conv2d: {"stride": (2,)}})
    assert built.meta["added"]["clamps"] == 1
    assert tuple(built(IMAGES).shape) == (4, CLASSES)


@pytest.mark.parametrize("kernel", [1, 2, 3, 4, 5, 7])
def test_a_kernel_choice_keeps_every_spatial_size(kernel):
    choices = {"blocks.*conv[12]": {"kernel_size": (kernel,)}, "stem": {"kernel_size": (kernel,)}}
    built = build(Residual(), choices)
    assert built.meta["added"] == NOTHING_ADDED
    sizes = []
    for name in ("blocks.0.conv2", "blocks.2.conv1"):
        built.get_submodule(name).register_forward_hook(lambda _, __, output: sizes.append(tuple(output.shape[2:])))
    built(IMAGES)
    assert sizes == [(8, 8), (4, 4)]


@pytest.mark.filterwarnings("ignore:Using padding='same'")
@pytest.mark.parametrize("kernel", [2, 3, 4, 5])
def test_padding_same_takes_a_stride(kernel):
    built = build(Straight(), {"features.4": {"kernel_size": (kernel,), "stride": (2,)}})
    assert built.get_submodule("head.2").in_features == 6  # 8 -> pool 4 -> conv 2 -> pool 1
    assert tuple(built(IMAGES).shape) == (4, CLASSES)


def test_an_uneven_padding_of_a_max_pool_does_not_show_where_everything_is_negative():
    model = nn.Sequential(nn.Conv2d(1, 1, 1), nn.MaxPool2d(3, 1, 1), nn.Flatten(), nn.Linear(64, CLASSES))
    built = build(model, {nn.MaxPool2d: {"kernel_size": (2,)}})
    seen = []
    built.get_submodule("1").register_forward_hook(lambda _, __, output: seen.append(output))
    with torch.no_grad():
        built.get_submodule("0").weight.fill_(0)
        built.get_submodule("0").bias.fill_(-5)
        built(IMAGES)
    assert torch.equal(seen[0], torch.full((4, 1, 8, 8), -5.0))


def test_a_depthwise_convolution_follows_the_width_before_it():
    built = build(Mobile(), {nn.Conv2d: WIDTHS}, expand={"out_channels": 6})
    depthwise = built.get_submodule("depthwise")
    assert (depthwise.in_channels, depthwise.out_channels, depthwise.groups) == (6, 6, 6)


def test_a_module_called_twice_is_built_once_and_padded_at_both_calls():
    class Shared(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem, self.shared, self.output = nn.Conv2d(1, 4, 1), nn.Conv2d(4, 4, 3, padding=1), nn.Linear(256, 3)

        def forward(self, x):
            x = self.shared(torch.relu(self.shared(self.stem(x))))
            return self.output(torch.flatten(x, 1))

    for kernel in (1, 2, 3, 4, 5):
        built = build(Shared(), {"shared": {"kernel_size": (kernel,)}})
        assert built.get_submodule("output").in_features == 256, kernel
        assert [name for name, _ in built.named_modules() if name] == ["stem", "shared", "output"]
        assert tuple(built(IMAGES).shape) == (4, CLASSES)


@pytest.mark.parametrize("width", [2, 8])
def test_a_module_called_twice_builds_with_any_width(width):
    class Shared(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem, self.shared, self.output = nn.Conv2d(1, 4, 1), nn.Conv2d(4, 4, 1), nn.Linear(4, CLASSES)

        def forward(self, x):
            return self.output(self.shared(torch.relu(self.shared(self.stem(x)))).mean((2, 3)))

    built = build(Shared(), {"shared": {"out_channels": (width,)}})
    assert built.get_submodule("shared").out_channels == width
    assert tuple(built(IMAGES).shape) == (4, CLASSES)


class FixedReshape(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.output = nn.Conv2d(1, 4, 3, padding=1), nn.Linear(256, CLASSES)

    def forward(self, x):
        return self.output(self.conv(x).view(-1, 256))


@pytest.mark.parametrize("width", [2, 3, 8])
def test_a_reshape_to_a_fixed_number_of_features_follows_the_widths(width):
    network = TunableNetwork(FixedReshape(), IMAGES, {nn.Conv2d: {"out_channels": (4, width)}})
    for action, features in enumerate((256, 64 * width)):
        built = network.build((action,))
        assert tuple(built(IMAGES).shape) == (4, CLASSES)
        assert built.get_submodule("output").in_features == features


def test_an_original_that_does_not_keep_its_batch_is_refused():
    class FoldsTheBatch(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.output = nn.Conv2d(1, 4, 3, padding=1), nn.Linear(128, CLASSES)

        def forward(self, x):
            return self.output(self.conv(x).view(-1, 128))

    with pytest.raises(InputError, match=r"has shape \(4, 3\) for a batch of 2.*flatten"):
        TunableNetwork(FoldsTheBatch(), IMAGES, {nn.Conv2d: WIDTHS}).build(None)


def test_a_forward_that_depends_on_the_values_of_tensors_is_refused_with_the_reason():
    class DependsOnValues(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(64, CLASSES)

        def forward(self, x):
            x = self.layer(torch.flatten(x, 1))
            return x if x.sum() > 0 else -x

    with pytest.raises(InputError, match=r"DependsOnValues cannot be traced .* must not depend on the values"):
        TunableNetwork(DependsOnValues(), IMAGES, {nn.Linear: {"out_features": (4, 8)}})


@pytest.mark.parametrize(
    ("choices", "words"),
    [
        ({nn.Conv3d: WIDTHS}, "match no module"),
        ({"feature.*": WIDTHS}, "match no module"),
        ({nn.Conv2d: {"channels": (4, 8)}}, "no constructor argument of Conv2d"),
        ({"head.4": {"out_features": (3, 6)}}, "Nothing is left to choose"),
    ],
)
def test_choices_that_do_not_fit_are_refused(choices, words):
    with pytest.raises(InputError, match=words):
        TunableNetwork(Straight(), IMAGES, choices)


@pytest.mark.parametrize("design", [(0,), (0, 0, 0), (0, 3), (-1, 0), "ab"])
def test_a_design_of_another_space_is_refused(design):
    network = TunableNetwork(Straight(), IMAGES, {nn.Conv2d: WIDTHS})
    with pytest.raises(InputError):
        network.build(design)


def test_a_value_that_a_constructor_refuses_is_named():
    network = TunableNetwork(Straight(), IMAGES, {"features.0": {"padding_mode": ("zeros", "mirrored")}})
    with pytest.raises(InputError, match=r"features\.0.*mirrored"):
        network.build((1,), "meta")


def test_several_inputs_are_a_tuple():
    class TwoInputs(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.left, self.right, self.output = nn.Linear(5, 4), nn.Linear(7, 4), nn.Linear(8, CLASSES)

        def forward(self, x, y):
            return self.output(torch.cat([self.left(x), self.right(y)], 1))

    inputs = torch.rand(1, 5), torch.rand(1, 7)
    network = TunableNetwork(TwoInputs(), inputs, {nn.Linear: {"out_features": (2, 4, 6)}})
    assert network.space.names == ("left", "right")
    assert network.build((2, 0)).get_submodule("output").in_features == 8
    assert network.build((2, 2)).get_submodule("output").in_features == 12


def test_the_signature_is_that_of_the_network_and_not_of_its_weights():
    def signature(model: nn.Module) -> str:
        return TunableNetwork(model, IMAGES, {"stem": WIDTHS}).signature

    class Doubled(Inception):
        def forward(self, x):
            return super().forward(x * 2)

    larger = Inception()
    larger.branch2[2] = nn.Conv2d(6, 8, 5, padding=2)
    assert signature(Inception()) == signature(Inception())
    assert len({signature(model) for model in (Inception(), larger, Doubled(), Mobile())}) == 4


def test_the_signature_depends_on_the_constants_that_the_network_computes_with():
    class Tempered(nn.Module):
        def __init__(self, temperature: float) -> None:
            super().__init__()
            self.hidden, self.output = nn.Linear(64, 8), nn.Linear(8, CLASSES)
            self.register_buffer("temperature", torch.tensor(temperature))

        def forward(self, x):
            return self.output(self.hidden(torch.flatten(x, 1))) / self.temperature

    def signature(temperature: float) -> str:
        return TunableNetwork(Tempered(temperature), IMAGES, {nn.Linear: {"out_features": (4, 8)}}).signature

    assert signature(1.0) == signature(1.0)
    assert signature(1.0) != signature(1000.0)


def test_what_would_be_lost_when_modules_are_made_anew_is_refused():
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 4)
            self.b.weight = self.a.weight

        def forward(self, x):
            return self.b(self.a(x))

    normed = nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(4, 4)), nn.Linear(4, 2))
    for model, sentence in ((Tied(), "are one parameter"), (normed, "are parametrized")):
        with pytest.raises(InputError, match=sentence):
            TunableNetwork(model, torch.zeros(1, 4))


@pytest.mark.parametrize(
    ("hyperparameter", "value"),
    [
        ("out_channels", 0),
        ("kernel_size", 0),
        ("kernel_size", -1),
        ("stride", 1.5),
        ("out_channels", "big"),
        ("stride", True),
    ],
)
def test_sizes_that_make_no_sense_are_refused_before_anything_is_built(hyperparameter, value):
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Flatten(), nn.Linear(4 * 36, 2))
    with pytest.raises(InputError, match="it is a whole number from 1"):
        TunableNetwork(model, torch.zeros(1, 1, 8, 8), {nn.Conv2d: {hyperparameter: (1, value)}})


def test_the_signature_tells_apart_what_a_built_network_takes_over():
    class Scaled(nn.Module):
        def __init__(self, scale):
            super().__init__()
            self.scale = nn.Parameter(torch.tensor(scale))
            self.layer = nn.Linear(4, 4)
            self.output = nn.Linear(4, 2)

        def forward(self, x):
            return self.output(self.layer(x) * self.scale)

    same, again, other = (TunableNetwork(Scaled(scale), torch.zeros(1, 4)).signature for scale in (1.0, 1.0, 0.5))
    assert same == again != other


# --- the original as a design ------------------------------------------------------------------------------------------


def test_an_original_whose_values_are_among_the_choices_is_a_design():
    choices = {nn.Conv2d: CONVOLUTION, nn.ReLU: {"type": (nn.SiLU, nn.ReLU)}, "head.2": {"out_features": (8, 16)}}
    network = TunableNetwork(Straight(), IMAGES, choices)
    design = network.original_design
    values = network.space.hyperparameters(design)
    assert values["features.0"] == {"out_channels": 8, "kernel_size": 3, "stride": 1}
    assert values["features.2"] == {"type": nn.ReLU}
    assert values["head.2"] == {"out_features": 16}
    original, rebuilt = network.build(None), network.build(design)
    rebuilt.load_state_dict(original.state_dict())
    assert torch.equal(rebuilt.eval()(IMAGES), original.eval()(IMAGES))


@pytest.mark.parametrize(
    ("choices", "layer", "values", "nearest"),
    [
        ({"out_channels": (2, 7, 16)}, "features.0", "out_channels 8, and its choices are 2, 7, 16", "1,1"),
        ({"out_channels": (4, 8)}, "features.4", "out_channels 6, and its choices are 4, 8", "1,0"),
        (
            {"out_channels": (6, 8), "kernel_size": ((1, 3), (5, 5))},
            "features.0",
            r"kernel_size \(3, 3\), and its choices are \(1, 3\), \(5, 5\)",
            "1,0",
        ),
    ],
)
def test_an_original_that_is_no_design_names_its_layer_and_the_nearest_design(choices, layer, values, nearest):
    network = TunableNetwork(Straight(), IMAGES, {nn.Conv2d: choices})
    with pytest.raises(InputError, match=f"layer '{layer}' has {values}; the nearest design is {nearest}") as raised:
        network.original_design  # noqa: B018
    assert len(str(raised.value).splitlines()) == 1


def test_an_original_of_a_type_that_is_not_among_the_choices_is_no_design():
    network = TunableNetwork(Straight(), IMAGES, {"features.2": {"type": (nn.SiLU, nn.GELU)}})
    with pytest.raises(InputError, match=r"has type ReLU, and its choices are SiLU, GELU; the nearest design is 0\."):
        network.original_design  # noqa: B018
