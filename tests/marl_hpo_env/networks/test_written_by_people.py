"""Networks as people write them: what their forward passes ask of shapes, and the layers and tensors of their own.

Each is traced, built as it is with its own weights (which `TunableNetwork` compares in both modes), and built and trained with
other widths, or refused with one sentence.
"""

from __future__ import annotations

import copy
import io
import math
import pickle
import warnings

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from marl_hpo_env.errors import InputError
from marl_hpo_env.networks import rules
from marl_hpo_env.networks.rules import Replacement, register_rule
from marl_hpo_env.networks.tunable import TunableNetwork
from marl_hpo_env.testing import RuleConformance

CLASSES = 3
WIDTHS = {nn.Conv2d: {"out_channels": (2, 4, 6, 8)}, nn.Linear: {"out_features": (4, 8, 12)}}


class Written(nn.Module):
    """A stem of 8 channels, what a test is about, and a classifier.

    Args:
        forward: of the network and the stem's output, to what the classifier takes.
        modules: by name, beside `stem` and `output`.
    """

    def __init__(self, forward, features=8, **modules) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.output = nn.Linear(features, CLASSES)
        for name, module in modules.items():
            if isinstance(module, nn.Parameter | nn.Module):
                setattr(self, name, module)
            else:
                self.register_buffer(name, module)
        self.body = forward

    def forward(self, x):
        x = self.body(self, torch.relu(self.stem(x)))
        return self.output(x.mean((2, 3)) if x.dim() == 4 else x)


class OwnConv(nn.Conv2d):
    """Nothing but another name."""


class ScaledConv(nn.Conv2d):
    """As weight standardisation is written: arguments that are no attributes, and a tensor of its own per channel."""

    def __init__(self, inputs, outputs, size, gain=2.0, **settings) -> None:
        super().__init__(inputs, outputs, size, **settings)
        self.gain = nn.Parameter(torch.full((outputs, 1, 1, 1), gain))

    def forward(self, x):
        weight = self.weight - self.weight.mean((1, 2, 3), keepdim=True)
        return functional.conv2d(
            x, weight * self.gain, self.bias, self.stride, self.padding, self.dilation, self.groups
        )


class NormAct(nn.BatchNorm2d):
    """timm's form: a normalisation with its activation."""

    def __init__(self, channels, **settings) -> None:
        super().__init__(channels, **settings)
        self.act = nn.SiLU()

    def forward(self, x):
        return self.act(super().forward(x))


class ChannelNorm(nn.LayerNorm):
    """torchvision's form: a layer norm over the channels of an image."""

    def forward(self, x):
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class SamePadding(nn.Conv2d):
    """TensorFlow's padding, which hangs on the size of the image."""

    def forward(self, x):
        pads = []
        for size, kernel, stride in zip(x.shape[:1:-1], self.kernel_size[::-1], self.stride[::-1], strict=True):
            pad = max((math.ceil(size / stride) - 1) * stride + kernel - size, 0)
            pads += [pad // 2, pad - pad // 2]
        return functional.conv2d(functional.pad(x, pads), self.weight, self.bias, self.stride)


def squeeze(self, x):
    """Squeeze-and-excitation as everybody writes it."""
    b, c, _, _ = x.size()
    y = x.mean((2, 3)).view(b, c)
    y = torch.sigmoid(self.up(torch.relu(self.down(y)))).view(b, c, 1, 1)
    return x * y.expand_as(x)


def shuffle(self, x):
    b, c, h, w = x.shape
    return self.grouped(x).view(b, 2, c // 2, h, w).transpose(1, 2).reshape(b, c, h, w)


def checks(self, x):
    if x.dim() != 4:
        raise ValueError(f"Expected 4 dimensions, not {x.dim()}: {x.shape}")
    assert x.shape[2] == x.shape[3] and isinstance(x, torch.Tensor) and len(x.shape) == 4  # noqa: PT018
    return self.conv(x) if len(x) > 0 else x


def gem(self, x):
    return functional.avg_pool2d(self.conv(x).clamp(min=1e-6).pow(3), (x.size(-2), x.size(-1))).pow(1 / 3).flatten(1)


def scripted(self, x):
    x = self.conv(x)
    if torch.jit.isinstance(x, list[torch.Tensor]):
        x = torch.cat(x, 1)
    return [x][0] if isinstance(x, torch.Tensor) else x[0]


def windows(self, x):
    """Into windows of two by two and back, as attention over windows does."""
    b, c, h, w = x.shape
    s = 2
    pad = (s - h % s) % s
    x = functional.pad(x, (0, pad, 0, pad)).view(b, c, h // s, s, w // s, s)
    return self.conv(x.permute(0, 1, 2, 4, 3, 5).reshape(b, c, h, w))


def two_halves(self, x):
    a, b = list(self.conv(x).chunk(2, 1))
    return a * torch.sigmoid(b)


def in_proportion(self, x):
    a, b, c = torch.split(self.conv(x), [2, 2, 4], dim=1)
    return torch.cat([c, torch.maximum(a, b)], 1)


def merged(self, x):
    a, b = self.conv(x), self.other(x)
    y = torch.max(a, b) + a / (b.abs() + 1)
    return torch.addcmul(torch.where(a > 0, y, b), a, b).view_as(y)


def unpooled(self, x):
    pooled, indices = self.pool(x)
    return self.unpool(self.conv(pooled), indices, output_size=x.shape[2:])


def decoder(self, x):
    x = self.wide(x.mean((2, 3)))
    return self.conv(x.view(-1, 8, 2, 2))


def sequence(self, x):
    x = self.conv(x).flatten(2).transpose(1, 2)
    x, _ = self.lstm(x)
    return x[:, -1]


def attention(self, x):
    x = self.conv(x).flatten(2).permute(0, 2, 1)
    x = x + self.attend(x, x, x, need_weights=False)[0]
    return self.encode(x).mean(1)


def positions(self, x):
    y = self.conv(x) + self.place
    return y * self.scale.view(1, -1, 1, 1) + self.shift[None, :, None, None]


def blurred(self, x):
    return functional.conv2d(self.conv(x), self.kernel, stride=2, padding=1, groups=8)


def response(self, x):
    """ConvNeXt V2's normalisation, over the channels that come last."""
    x = self.conv(x).permute(0, 2, 3, 1)
    norm = torch.norm(x, p=2, dim=(1, 2), keepdim=True)
    norm = norm / (norm.mean(dim=-1, keepdim=True) + 1e-6)
    x = self.gamma * (x * norm) + self.beta + x
    return self.back(self.out(functional.gelu(self.linear(x)))).permute(0, 3, 1, 2)


def made_in_forward(self, x):
    x = self.conv(x)
    ramp = torch.arange(x.shape[3], dtype=x.dtype) / x.shape[3]
    mask = torch.zeros(x.shape[0], 1, x.shape[2], x.shape[3])
    return x * ramp + mask + x.new_ones(x.size(0), x.size(1), 1, 1)


def positional_slice(self, x):
    y = self.conv(x).flatten(2).transpose(1, 2)
    return self.linear(y + self.table[: y.size(1)].unsqueeze(0)).mean(1)


def conv(inputs=8, outputs=8, size=3, **settings):
    return nn.Conv2d(inputs, outputs, size, padding=size // 2, **settings)


PEOPLE = {
    "a layer of one's own name": lambda: Written(lambda s, x: s.conv(x), conv=OwnConv(8, 8, 3)),
    "a scaled convolution": lambda: Written(lambda s, x: s.conv(x), conv=ScaledConv(8, 8, 3, gain=0.5)),
    "a normalisation that activates": lambda: Written(lambda s, x: s.norm(s.conv(x)), conv=conv(), norm=NormAct(8)),
    "a layer norm of channels": lambda: Written(lambda s, x: s.norm(s.conv(x)), conv=conv(), norm=ChannelNorm(8)),
    "padding by the image's size": lambda: Written(lambda s, x: s.conv(x), conv=SamePadding(8, 8, 3, stride=2)),
    "squeeze-and-excitation": lambda: Written(squeeze, down=nn.Linear(8, 4), up=nn.Linear(4, 8)),
    "a channel shuffle": lambda: Written(shuffle, grouped=conv(groups=2)),
    "checks of shapes": lambda: Written(checks, conv=conv()),
    "generalised mean": lambda: Written(gem, conv=conv()),
    "a choice by type": lambda: Written(scripted, conv=conv()),
    "windows": lambda: Written(windows, conv=conv()),
    "two halves": lambda: Written(two_halves, 4, conv=conv()),
    "parts of fixed sizes": lambda: Written(in_proportion, 6, conv=conv()),
    "merges of every kind": lambda: Written(merged, conv=conv(), other=conv()),
    "unpooling": lambda: Written(
        unpooled, conv=conv(), pool=nn.MaxPool2d(2, return_indices=True), unpool=nn.MaxUnpool2d(2)
    ),
    "a decoder": lambda: Written(decoder, wide=nn.Linear(8, 32), conv=conv()),
    "a recurrent layer": lambda: Written(sequence, 5, conv=conv(), lstm=nn.LSTM(8, 5, batch_first=True)),
    "attention": lambda: Written(
        attention,
        conv=conv(),
        attend=nn.MultiheadAttention(8, 2, batch_first=True),
        encode=nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), 2),
    ),
    "tensors per channel": lambda: Written(
        positions,
        conv=conv(),
        place=nn.Parameter(torch.randn(1, 8, 1, 1)),
        scale=nn.Parameter(torch.rand(8)),
        shift=torch.rand(8),
    ),
    "a blur": lambda: Written(blurred, conv=conv(), kernel=torch.full((8, 1, 3, 3), 1 / 9)),
    "response normalisation": lambda: Written(
        response,
        conv=conv(),
        gamma=nn.Parameter(torch.rand(1, 1, 1, 8)),
        beta=nn.Parameter(torch.rand(1, 1, 1, 8)),
        linear=nn.Linear(8, 12),
        out=nn.Linear(12, 8),
        back=nn.LayerNorm(8),
    ),
    "tensors made in forward": lambda: Written(made_in_forward, conv=conv()),
    "a table that is cut to the input": lambda: Written(
        positional_slice, 4, conv=conv(), table=torch.randn(100, 8), linear=nn.Linear(8, 4)
    ),
    "a view of fixed features": lambda: Written(lambda s, x: s.conv(x).view(-1, 8 * 8 * 8), 512, conv=conv()),
}


def images(n=2):
    return torch.randn(n, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def sentence(error) -> str:
    message = str(error.value)
    assert "\n" not in message
    assert message.endswith(".")
    return message


@pytest.fixture(autouse=True)
def nothing_is_said_by_the_way():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        yield


@pytest.mark.parametrize("what", PEOPLE)
def test_what_people_write_is_traced_built_and_trained(what):
    torch.manual_seed(0)
    model = PEOPLE[what]()
    network = TunableNetwork(model, images(), WIDTHS)
    built = network.build(None)
    built.load_state_dict(model.state_dict())  # strictly
    for training in (True, False):
        outputs = []
        for module in (model.train(training), built.train(training)):
            torch.manual_seed(1)
            outputs.append(module(images()))
        assert torch.equal(*outputs)
    assert sum(p.numel() for p in built.parameters()) == sum(p.numel() for p in model.parameters())
    rng = np.random.default_rng(0)
    for _ in range(8):
        design = network.space.sample(rng)
        try:
            built = network.build(design)
        except InputError as error:  # of two channels no three parts can be made
            assert what == "parts of fixed sizes" and "no channels are left" in str(error)  # noqa: PT017, PT018
            continue
        output = built(images(4))
        assert output.shape == (4, CLASSES)
        output.square().sum().backward()
        assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in built.parameters())
        chosen = network.space.hyperparameters(design)
        for name, values in chosen.items():
            module = built.get_submodule(name)
            assert all(getattr(module, key) == value for key, value in values.items())


def test_a_layer_of_ones_own_is_a_layer_of_the_space():
    for what in ("a layer of one's own name", "a scaled convolution", "padding by the image's size"):
        network = TunableNetwork(PEOPLE[what](), images())
        assert network.space.names == ("stem", "conv")
        assert network.fixed == ()


def test_a_resized_layer_keeps_what_its_constructor_does_not_show():
    network = TunableNetwork(PEOPLE["a scaled convolution"](), images(), {"conv": {"out_channels": (6, 12)}})
    for action, width in enumerate((6, 12)):
        layer = network.build((action,)).get_submodule("conv")
        assert type(layer) is ScaledConv
        assert layer.gain.shape == (width, 1, 1, 1)
        assert bool((layer.gain == 0.5).all())
        assert layer.weight.shape == (width, 8, 3, 3)
        assert float(layer.weight.std()) > 0


def test_weights_that_no_design_changes_are_named():
    class Functional(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.output = nn.Conv2d(3, 4, 3), nn.Linear(4, CLASSES)
            self.kernel = nn.Parameter(torch.randn(4, 4, 1, 1))

        def forward(self, x):
            return self.output(functional.conv2d(self.conv(x), self.kernel).mean((2, 3)))

    with pytest.warns(UserWarning, match="No design changes the weights of 'kernel'"):
        network = TunableNetwork(Functional(), images(), {"conv": {"kernel_size": (1, 3)}})
    assert network.fixed == ("kernel",)


# --- silent faults ---------------------------------------------------------------------------------------------------


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.output = conv(3), conv(), nn.Linear(16, CLASSES)
        self.down = nn.Conv2d(8, 8, 3, stride=2, padding=1)
        self.drop = nn.Dropout(0.5)

    def forward(self, x):
        x = self.a(x)
        x = x + self.b(x)
        x = torch.cat([x, functional.interpolate(self.down(x), x.shape[2:])], 1)
        if self.training:
            x = self.drop(x)
        return self.output(x.mean((2, 3)))


def test_a_design_with_merges_goes_through_a_file_and_to_another_process():
    choices = {"a": {"out_channels": (4, 8), "stride": (1, 2)}, "b": {"out_channels": (6, 8), "stride": (1, 2)}}
    network = TunableNetwork(Residual(), images(), choices)
    for number in range(network.space.size):
        built = network.build(network.space.design_at(number))
        built(images())
        file = io.BytesIO()
        torch.save(built, file)
        file.seek(0)
        for read in (torch.load(file, weights_only=False), pickle.loads(pickle.dumps(built)), copy.deepcopy(built)):
            assert read.meta["added"] == built.meta["added"]
            for training in (True, False):
                outputs = []
                for module in (built.train(training), read.train(training)):
                    torch.manual_seed(0)
                    outputs.append(module(images()))
                assert torch.equal(*outputs)
            read.train()(images()).sum().backward()
            assert all(p.grad is not None for p in read.parameters())


def test_a_network_of_two_modes_read_from_a_file_is_one_network_still():
    class TwoModes(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.output = nn.Conv2d(3, 4, 3), nn.Linear(4, CLASSES)
            self.scale = nn.Parameter(torch.ones(1))

        def forward(self, x):
            x = self.conv(x) * self.scale
            return self.output(functional.dropout(x, 0.5, self.training).mean((2, 3)))

    built = pickle.loads(pickle.dumps(TunableNetwork(TwoModes(), images()).build(None)))
    before = built.eval()(images())
    with torch.no_grad():
        built.scale.mul_(2)
        built.output.weight.add_(1)
    assert not torch.allclose(built(images()), before)
    double = copy.deepcopy(built).double()
    assert double(images().double()).dtype == torch.float64
    assert built(images()).dtype == torch.float32


def test_attention_keeps_its_biases():
    model = PEOPLE["attention"]()
    built = TunableNetwork(model, images(), WIDTHS).build(None)
    assert {k: v.shape for k, v in built.state_dict().items()} == {k: v.shape for k, v in model.state_dict().items()}


def test_hooks_stay_on_layers_that_a_design_changes():
    model = Residual()
    model.a.register_forward_hook(lambda module, inputs, output: output * 0)
    model.b.register_forward_pre_hook(lambda module, inputs: (inputs[0] + 1,))
    network = TunableNetwork(model, images(), {"a": {"out_channels": (4,)}, "b": {"out_channels": (6,)}})
    built = network.build((0, 0))
    seen = {}
    for name in ("a", "b"):
        built.get_submodule(name).register_forward_hook(lambda m, i, o, name=name: seen.update({name: (i[0], o)}))
    built(images())
    assert not seen["a"][1].any()
    assert torch.equal(seen["b"][0], torch.ones(2, 4, 8, 8))


class Counts(nn.Module):
    """A buffer that forward updates by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.output = nn.Conv2d(3, 4, 3), nn.Linear(4, CLASSES)
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x):
        self.calls += 1
        return self.output(self.conv(x).mean((2, 3)))


def test_tracing_changes_no_buffer_of_the_users_and_an_update_that_no_trace_shows_is_refused():
    model = Counts()
    with pytest.raises(InputError, match="in training mode the buffer calls differs") as refusal:
        TunableNetwork(model, images())
    sentence(refusal)
    assert model.calls == 0
    TunableNetwork(model, images(), verify=False)
    assert model.calls == 0


def test_a_branch_by_the_values_of_a_weight_is_found():
    class ByWeight(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.output = nn.Conv2d(3, 4, 3), nn.Linear(4, CLASSES)
            self.calls = [0]

        def forward(self, x):
            self.calls[0] += 1
            x = self.conv(x)
            return self.output((x if self.calls[0] < 2 else -x).mean((2, 3)))

    with pytest.raises(
        InputError, match=r"is not what torch.fx traced of it: in evaluation mode the output"
    ) as refusal:
        TunableNetwork(ByWeight(), images())
    assert "'output'" in sentence(refusal)


def test_a_network_that_differs_from_itself_is_compared_in_evaluation_alone():
    class Noisy(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.output = nn.Conv2d(3, 4, 3), nn.Linear(4, CLASSES)
            self.noise = np.random.default_rng()

        def forward(self, x):
            x = self.conv(x)
            if self.training:
                x = x * float(self.noise.random())
            return self.output(x.mean((2, 3)))

    assert len(TunableNetwork(Noisy(), images()).space) == 1


# --- what is refused, and how ----------------------------------------------------------------------------------------


def lazy():
    return nn.Sequential(nn.LazyConv2d(4, 3), nn.Flatten(), nn.LazyLinear(3))


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (lazy, "run the model once first"),
        (lambda: nn.DataParallel(Residual()), "give model.module"),
        (lambda: torch.compile(Residual()), "before torch.compile"),
        (lambda: torch.jit.trace(Residual().eval(), images()), "TorchScript"),
        (lambda: Written(lambda s, x: x if x.sum() > 0 else -x), "must not depend on the values of tensors"),
        (lambda: Written(lambda s, x: s.conv(x).view(int(x.shape[0]), -1), 512, conv=conv()), "the size of the batch"),
    ],
)
def test_what_cannot_be_traced_is_refused_with_what_to_do(model, words):
    with pytest.raises(InputError, match=words) as refusal:
        TunableNetwork(model(), images(), WIDTHS)
    sentence(refusal)


def test_an_answer_that_changes_with_the_design_is_refused_with_its_line():
    def by_size(self, x):
        x = self.conv(x)
        return x if x.shape[2] > 4 else -x

    choices = {"conv": {"stride": (1, 2)}}
    network = TunableNetwork(Written(by_size, conv=conv()), images(), choices)
    assert network.build((0,))(images()).shape == (2, CLASSES)
    with pytest.raises(InputError, match=r"which was True in the original and is False now") as refusal:
        network.build((1,))
    assert "test_written_by_people.py:" in sentence(refusal)


def test_an_int_of_a_size_is_asked_for_again():
    def window(self, x):
        x = self.conv(x)
        return functional.avg_pool2d(x, int(x.shape[2])).flatten(1)

    network = TunableNetwork(Written(window, conv=conv()), images(), {"conv": {"stride": (1, 2)}})
    assert network.build((0,))(images()).shape == (2, CLASSES)
    with pytest.raises(InputError, match=r"was 8 in the original and is 4 now"):
        network.build((1,))


def test_where_no_design_can_be_built_the_layers_that_are_the_cause_are_named_before_anything_is_trained():
    class Fixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.kernel = nn.Parameter(torch.randn(4, 8, 1, 1))

        def forward(self, x):
            return functional.conv2d(x, self.kernel)

    model = Written(lambda s, x: s.fixed(s.conv(x)), 4, conv=conv(), fixed=Fixed())
    choices = {"stem": {"out_channels": (4, 8)}, "conv": {"out_channels": (2, 6)}}
    with pytest.raises(InputError, match=r"whatever is chosen for 'conv'; leave it out of the choices") as refusal:
        TunableNetwork(model, images(), choices)
    sentence(refusal)


def test_where_some_designs_cannot_be_built_their_share_is_said():
    def half(self, x):
        x = self.conv(x)
        assert x.shape[1] % 4 == 0
        return x

    with pytest.warns(UserWarning, match=r"of 6 designs that were tried cannot be built, such as:"):
        TunableNetwork(Written(half, conv=conv()), images(), {"conv": {"out_channels": (2, 8)}})


def test_a_width_that_groups_do_not_divide_is_left_out():
    with pytest.warns(
        UserWarning, match=r"Of 'grouped' the out_channels 5, 7 are left out.*multiples of 2; 2 are left"
    ):
        network = TunableNetwork(PEOPLE["a channel shuffle"](), images(), {"grouped": {"out_channels": (4, 5, 7, 8)}})
    assert network.space.layers[0].choices == {"out_channels": (4, 8)}
    by_default = TunableNetwork(PEOPLE["a decoder"](), images()).space
    assert by_default.layers[by_default.position("wide")].choices == {"out_features": (8, 16, 24, 32)}


def test_optional_arguments_stay_at_their_default():
    class Optional(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.output = nn.Conv2d(3, 4, 3), nn.Linear(4, CLASSES)

        def forward(self, x, mask=None, scale=2.0, flag=False):
            x = self.conv(x) * scale
            if mask is not None:
                x = x * mask
            return -self.output(x.mean((2, 3))) if flag else self.output(x.mean((2, 3)))

    network = TunableNetwork(Optional(), images(), {"conv": {"out_channels": (2, 4)}})
    assert network.build((0,))(images()).shape == (2, CLASSES)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_a_network_of_another_type_is_built_in_its_type(dtype):
    model = Residual().to(dtype)
    network = TunableNetwork(model, images().to(dtype), {"a": {"out_channels": (4,)}, "b": {"out_channels": (6,)}})
    built = network.build((0, 0))
    assert {p.dtype for p in built.parameters()} == {dtype}
    assert built.meta["added"]["projections"] == 1
    assert built(images().to(dtype)).dtype == dtype


def test_a_module_that_is_registered_twice_and_one_that_is_never_called_do_not_keep_the_state_from_loading():
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.output = nn.Conv2d(3, 4, 3), nn.Linear(4, CLASSES)
            self.same, self.unused = self.conv, nn.Linear(2, 2)

        def forward(self, x):
            return self.output(self.same(x).mean((2, 3)))

    model = Twice()
    built = TunableNetwork(model, images()).build(None)
    state = model.state_dict()
    built.load_state_dict(state)
    assert set(state) == set(model.state_dict())  # the caller's own is left alone
    assert torch.equal(built(images()), model(images()))
    with pytest.raises(RuntimeError, match="Missing key"):
        built.load_state_dict({key: value for key, value in state.items() if "output" not in key})


# --- rules of a user's own -------------------------------------------------------------------------------------------


class Gate(nn.Module):
    """A layer with a hyperparameter of its own."""

    def __init__(self, width, power=1) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.power = power

    def forward(self, x):
        return x * self.weight[:, None, None] ** self.power


def gate(module, chosen, inputs):
    return Replacement(Gate, {"width": inputs[0].shape[1], "power": chosen.get("power", module.power)})


@pytest.fixture
def gate_rule():
    register_rule(Gate, gate)
    yield
    del rules._RULES[Gate]


@pytest.mark.usefixtures("gate_rule")
class TestGate(RuleConformance):
    chosen = {"power": 3}

    def make(self):
        return Gate(8)

    def example(self):
        return images().repeat(1, 3, 1, 1)[:, :8]


class TestOurAttention(RuleConformance):
    channels = 2

    def make(self):
        return nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, norm_first=True)

    def example(self):
        return torch.rand(2, 5, 8)


class TestOurNorm(RuleConformance):
    chosen = {"num_groups": 2}

    def make(self):
        return nn.GroupNorm(4, 8)

    def example(self):
        return torch.rand(2, 8, 3, 3)


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        (lambda m, c, i: Replacement(Gate, {"width": 8}), "does not take an input of shape"),
        (lambda m, c, i: Replacement(Gate, {"width": i[0].shape[1], "power": 1}), "'power' was chosen as 3 and is 1"),
        (lambda m, c, i: Replacement(nn.Conv2d, {"in_channels": i[0].shape[1], "out_channels": 2, "kernel_size": 1}),
         "makes another module"),
        (lambda m, c, i: Replacement(lambda: copy.deepcopy(m), {}), "does not lie on the device"),
    ],
)  # fmt: skip
def test_a_wrong_rule_is_told(gate_rule, rule, words):
    register_rule(Gate, rule)
    suite = TestGate()
    told = []
    for name in dir(suite):
        if name.startswith("test_"):
            try:
                getattr(suite, name)()
            except AssertionError as error:
                told.append(str(error))
    assert any(words in said for said in told)


def test_a_rule_of_ones_own_makes_a_type_a_layer(gate_rule):
    model = Written(lambda s, x: s.gate(s.conv(x)), conv=conv(), gate=Gate(8))
    network = TunableNetwork(model, images(), {"conv": {"out_channels": (4, 6)}, "gate": {"power": (1, 2)}})
    assert network.space.names == ("conv", "gate")
    for number in range(network.space.size):
        design = network.space.design_at(number)
        gate = network.build(design).get_submodule("gate")
        assert (len(gate.weight), gate.power) == ((4, 6)[design[0]], (1, 2)[design[1]])
    assert network.fixed == ()


# --- found by trying -------------------------------------------------------------------------------------------------


class Sign(torch.autograd.Function):
    """A sign whose gradient passes straight through."""

    @staticmethod
    def forward(ctx, x):
        return x.sign()

    @staticmethod
    def backward(ctx, gradient):
        return gradient


def frozen(self, x):
    with torch.no_grad():
        x = self.frozen(x)
    return self.conv(x)


def moved(self, x):
    x = self.conv(x)
    out = torch.zeros_like(x)
    out[:, :, :-1] = x[:, :, 1:]
    return out


def tokens(self, x):
    x = self.conv(x).flatten(2).transpose(1, 2)
    x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], 1)
    return self.linear((x + self.place[:, : x.size(1)]).mean(1))


def separate(self, x):
    x = self.conv(x).flatten(2).transpose(1, 2)
    return functional.scaled_dot_product_attention(self.q(x), self.k(x), self.v(x)).mean(1)


def dropped(self, x):
    """torchvision's and others' drop connect, written out."""
    x = self.conv(x)
    if self.training:
        x = x * torch.floor(0.8 + torch.rand([x.shape[0], 1, 1, 1], dtype=x.dtype, device=x.device))
    return torch.cat([x[:, :4] * 2, x[:, 4:]], 1)


FOUND = {
    "a device of a feature map, and a part that may be empty": lambda: Written(dropped, conv=conv()),
    "a weight whose type is asked for": lambda: Written(lambda s, x: s.conv(x).to(s.conv.weight.dtype), conv=conv()),
    "a weight that is returned to": lambda: Written(lambda s, x: s.conv(x) + 0 * (s.conv.weight**2).sum(), conv=conv()),
    "the device of the parameters": lambda: Written(lambda s, x: s.conv(x.to(next(s.parameters()).device)), conv=conv()),
    "a length of the batch": lambda: Written(lambda s, x: s.conv(x).view(len(x), -1), 512, conv=conv()),
    "a function with a gradient of its own": lambda: Written(lambda s, x: Sign.apply(s.conv(x)), conv=conv()),
    "an assignment to a slice": lambda: Written(moved, conv=conv()),
    "an unflattened vector": lambda: Written(
        lambda s, x: s.conv(s.apart(s.wide(x.mean((2, 3))))),
        wide=nn.Linear(8, 32), apart=nn.Unflatten(1, (8, 2, 2)), conv=conv(),
    ),
    "a token and a table of positions": lambda: Written(
        tokens, 4, conv=conv(), token=nn.Parameter(torch.rand(1, 1, 8)), place=torch.rand(1, 300, 8), linear=nn.Linear(8, 4)
    ),
    "queries and keys of their own widths": lambda: Written(
        separate, conv=conv(), q=nn.Linear(8, 8), k=nn.Linear(8, 8), v=nn.Linear(8, 8)
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", FOUND)
def test_what_was_found_by_trying_is_built_and_trained_and_goes_through_a_file(what):
    torch.manual_seed(0)
    network = TunableNetwork(FOUND[what](), images(), WIDTHS)
    rng = np.random.default_rng(0)
    for _ in range(6):
        built = network.build(network.space.sample(rng))
        output = built(images(5))
        assert output.shape == (5, CLASSES)
        output.square().sum().backward()
        if what != "a function with a gradient of its own":
            read = pickle.loads(pickle.dumps(built))
            assert torch.equal(read.eval()(images(5)), built.eval()(images(5)))


def test_a_token_has_the_width_that_it_meets():
    network = TunableNetwork(FOUND["a token and a table of positions"](), images(), {"conv": {"out_channels": (4, 12)}})
    for action, width in enumerate((4, 12)):
        built = network.build((action,))
        assert (built.token.shape, built.place.shape) == ((1, 1, width), (1, 300, width))
        assert built.meta["added"]["projections"] == 0


def test_what_is_frozen_in_forward_stays_frozen():
    model = Written(frozen, frozen=conv(), conv=conv())
    built = TunableNetwork(model, images(), {"conv": {"out_channels": (4,)}}).build((0,))
    built(images()).sum().backward()
    assert {name for name, p in built.named_parameters() if p.grad is None} == {
        "stem.weight", "stem.bias", "frozen.weight", "frozen.bias"
    }  # fmt: skip


def test_sizes_of_a_feature_map_on_the_way_to_the_output_fix_no_width():
    model = Written(lambda s, x: (h := s.conv(x)).mean((2, 3)).view(h.size(0), -1), conv=conv())
    assert TunableNetwork(model, images()).space.names == ("stem", "conv")


def test_weights_per_channel_are_not_named_as_fixed_and_kernels_are():
    assert TunableNetwork(PEOPLE["tensors per channel"](), images()).fixed == ()


def test_a_convolution_that_pads_by_the_images_size_keeps_its_output_with_a_larger_kernel():
    network = TunableNetwork(PEOPLE["padding by the image's size"](), images(), {"conv": {"kernel_size": (3, 5)}})
    sizes = []
    for action in (0, 1):
        built = network.build((action,))
        built.get_submodule("conv").register_forward_hook(lambda m, i, o: sizes.append(o.shape[2:]))
        built(images())
    assert sizes[0] == sizes[1]


def test_halves_that_are_cut_out_by_a_number_are_refused_where_nothing_is_left_of_one():
    model = Written(lambda s, x: (y := s.conv(x))[:, :4] * y[:, 4:], 4, conv=conv())
    network = TunableNetwork(model, images(), {"conv": {"out_channels": (4, 8)}})
    assert network.build((1,))(images()).shape == (2, CLASSES)
    with pytest.raises(InputError, match="no channels are left, since they are cut out by a number") as refusal:
        network.build((0,), "meta")
    sentence(refusal)


def test_a_normalisation_of_another_type_with_the_same_arguments_is_made():
    model = Written(lambda s, x: s.norm(s.conv(x)), conv=conv(), norm=nn.BatchNorm2d(8))
    choices = {"norm": {"type": (nn.BatchNorm2d, nn.InstanceNorm2d)}}
    network = TunableNetwork(model, images(), choices)
    types = [type(network.build((action,)).get_submodule("norm")) for action in (0, 1)]
    assert types == [nn.BatchNorm2d, nn.InstanceNorm2d]
