"""Randomly composed networks: each is traced as it is, and every design of it builds, or is refused with one sentence."""

from __future__ import annotations

import warnings

import numpy as np
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from marl_hpo_env.errors import InputError
from marl_hpo_env.networks.tunable import TunableNetwork


class MyConv(nn.Conv2d):
    """A layer of a user's own name, with a tensor of its own."""

    def __init__(self, *arguments, **settings) -> None:
        super().__init__(*arguments, **settings)
        self.gain = nn.Parameter(torch.ones(self.out_channels, 1, 1, 1))

    def _conv_forward(self, x, weight, bias):
        return super()._conv_forward(x, weight * self.gain, bias)


class Convolution(nn.Module):
    def __init__(self, width, draw) -> None:
        super().__init__()
        groups, size = draw(st.sampled_from((1, 1, 2))), draw(st.sampled_from((1, 3, 5)))
        self.conv = draw(st.sampled_from((nn.Conv2d, MyConv)))(
            width, self.width(width), size, draw(st.sampled_from((1, 1, 2))), size // 2, groups=groups
        )
        self.norm = draw(st.sampled_from((nn.BatchNorm2d, lambda c: nn.GroupNorm(2, c), lambda c: nn.Identity())))(
            self.width(width)
        )

    @staticmethod
    def width(width):
        return 12 if width == 8 else 8

    def forward(self, x):
        return torch.relu(self.norm(self.conv(x)))


class Residual(nn.Module):
    def __init__(self, width, draw) -> None:
        super().__init__()
        self.a, self.b = (nn.Conv2d(width, width, 3, padding=1) for _ in range(2))
        self.merge = draw(st.sampled_from((torch.add, torch.maximum, torch.mul, lambda a, b: a / (b.abs() + 1))))
        self.again = draw(st.booleans())

    def forward(self, x):
        y = self.b(torch.relu(self.a(x)))
        if self.again:
            y = self.b(y)
        return self.merge(x, y)


class Branches(nn.Module):
    def __init__(self, width, draw) -> None:
        super().__init__()
        half = width // 2
        self.a, self.b = nn.Conv2d(width, half, 1), nn.Conv2d(width, width - half, 3, padding=1)
        self.swap = draw(st.booleans())

    def forward(self, x):
        parts = [self.a(x), self.b(x)]
        return torch.cat(parts[::-1] if self.swap else parts, dim=1)


class Squeeze(nn.Module):
    def __init__(self, width, draw) -> None:
        super().__init__()
        self.down, self.up = nn.Linear(width, 4), nn.Linear(4, width)
        self.expand = draw(st.booleans())

    def forward(self, x):
        b, c = x.size(0), x.shape[1]
        y = functional.adaptive_avg_pool2d(x, 1).view(b, c)
        y = self.up(functional.silu(self.down(y))).sigmoid().view(b, c, 1, 1)
        return x * y.expand_as(x) if self.expand else x * y


class Shuffle(nn.Module):
    def __init__(self, width, draw) -> None:
        super().__init__()
        self.conv, self.groups = nn.Conv2d(width, width, 1), 2
        self.fixed = width if draw(st.booleans()) else None

    def forward(self, x):
        x = self.conv(x)
        b, c, h, w = x.shape
        c = self.fixed or c
        return x.view(b, self.groups, c // self.groups, h, w).transpose(1, 2).contiguous().view(b, c, h, w)


class Scale(nn.Module):
    def __init__(self, width, draw) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.rand(width))
        self.register_buffer("shift", torch.rand(1, width, 1, 1))
        self.form = draw(st.sampled_from((0, 1, 2)))

    def forward(self, x):
        forms = (self.scale[:, None, None], self.scale.view(1, -1, 1, 1), self.scale.reshape(-1, 1, 1))
        return x * forms[self.form] + self.shift


class ChannelsLast(nn.Module):
    def __init__(self, width, draw) -> None:
        super().__init__()
        self.norm, self.a, self.b = nn.LayerNorm(width), nn.Linear(width, 16), nn.Linear(16, width)
        self.add = draw(st.booleans())

    def forward(self, x):
        y = x.permute(0, 2, 3, 1)
        z = self.b(functional.gelu(self.a(self.norm(y))))
        return (y + z if self.add else z).permute(0, 3, 1, 2)


class Pool(nn.Module):
    def __init__(self, width, draw) -> None:
        super().__init__()
        self.kind, self.size = (
            draw(st.sampled_from((functional.max_pool2d, functional.avg_pool2d))),
            draw(st.sampled_from((2, 3))),
        )

    def forward(self, x):
        return self.kind(x, self.size, stride=1) if min(x.shape[2:]) >= self.size else x


KINDS = (Convolution, Residual, Branches, Squeeze, Shuffle, Scale, ChannelsLast, Pool)


class Composed(nn.Module):
    """Blocks of 8 or 12 channels, one or two inputs, and outputs in one of three forms."""

    def __init__(self, draw) -> None:
        super().__init__()
        self.two = draw(st.booleans())
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        if self.two:
            self.other = nn.Conv2d(1, 8, 3, padding=1)
        blocks, width = [], 8
        for kind in draw(st.lists(st.sampled_from(KINDS), min_size=1, max_size=4)):
            blocks.append(kind(width, draw))
            width = Convolution.width(width) if kind is Convolution else width
        self.blocks = nn.ModuleList(blocks)
        self.flat = draw(st.sampled_from(("mean", "reshape", "flatten")))
        self.hidden = nn.Linear(width * (1 if self.flat == "mean" else 4), 8)
        self.output = nn.Linear(8, 3)
        self.returns = draw(st.sampled_from((0, 1, 2)))

    def forward(self, x, z=None):
        assert x.dim() == 4
        x = self.stem(x)
        if z is not None:
            x = x + self.other(z)
        for block in self.blocks:
            x = block(x)
        if self.flat == "mean":
            x = x.mean((2, 3))
        else:
            x = functional.adaptive_avg_pool2d(x, 2)
            x = x.reshape(x.size(0), -1) if self.flat == "reshape" else torch.flatten(x, 1)
        hidden = torch.relu(self.hidden(x))
        output = self.output(hidden)
        return (output, (output, {"hidden": hidden.sum(1)}), {"output": output})[self.returns]


@st.composite
def networks(draw):
    torch.manual_seed(draw(st.integers(0, 100)))
    return Composed(draw)


def first(output):
    return output["output"] if isinstance(output, dict) else output[0] if isinstance(output, tuple) else output


def inputs_of(model, seed):
    generator = torch.Generator().manual_seed(seed)
    inputs = [torch.randn(2, 3, 8, 8, generator=generator)]
    if model.two:
        inputs.append(torch.randn(2, 1, 8, 8, generator=generator))
    return inputs


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(networks(), st.integers(0, 1000))
def test_a_composed_network_is_what_was_traced_and_its_designs_build_or_are_refused_in_a_sentence(model, seed):
    inputs = inputs_of(model, seed)
    choices = {
        nn.Conv2d: {"out_channels": (4, 8, 12), "stride": (1, 2)},
        nn.Linear: {"out_features": (4, 6, 8, 16)},
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        network = TunableNetwork(model, tuple(inputs), choices)  # compares it in both modes
    rng = np.random.default_rng(seed)
    refusals = []
    for _ in range(3):
        design = network.space.sample(rng)
        try:
            built = network.build(design)
        except InputError as error:
            refusals.append(str(error))
            continue
        output = first(built(*inputs))
        assert output.shape == (2, 3)
        output.square().sum().backward()
        for name, values in network.space.hyperparameters(design).items():
            module = built.get_submodule(name)
            assert all(
                getattr(module, key) == (value if key != "stride" else (value, value)) for key, value in values.items()
            )
    assert all(refusal.endswith(".") and "\n" not in refusal for refusal in refusals)


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(networks(), st.integers(0, 1000))
def test_a_composed_network_inherits_itself_to_the_bit_and_twice_as_wide_computes_the_same(model, seed):
    inputs = inputs_of(model, seed)
    state = model.eval().state_dict()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        network = TunableNetwork(model, tuple(inputs), verify=False)
        expected = first(model(*inputs))
        assert torch.equal(first(network.build(None, weights=state).eval()(*inputs)), expected)
        rng = np.random.default_rng(seed)
        narrow = network.build(network.space.sample(rng), weights=state).eval()
        assert narrow.meta["fresh"] == ()
        assert bool(first(narrow(*inputs)).isfinite().all())
        if any(isinstance(module, nn.GroupNorm | Shuffle) for module in model.modules()):
            return  # their groups are others in a wider network
        doubled = {
            layer: {key: 2 * value for key, value in own.items() if key != "kernel_size"}
            for layer, own in network.original.items()
        }
        wide = first(network.build_with(doubled, weights=state).eval()(*inputs))
    assert torch.allclose(wide, expected, rtol=1e-4, atol=1e-5)
