from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import nn
from torch.nn import functional

from marl_hpo_env.errors import InputError
from marl_hpo_env.networks.rules import Incoming, Replacement, is_depthwise, replacement, sets_width


def replace(module: nn.Module, shape: tuple[int, ...], **chosen) -> Replacement:
    return replacement(module, chosen, [Incoming(shape, shape)])


def output_shape(module: nn.Module, shape: tuple[int, ...], **chosen) -> tuple[int, ...]:
    """What torch says comes out of the replacement, padding before it included."""
    new = replace(module, shape, **chosen)
    x = torch.zeros(shape, device="meta")
    if new.padding:
        x = functional.pad(x, new.padding, value=new.padding_value)
    with torch.device("meta"):
        return tuple(type(module)(**new.arguments)(x).shape)


@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("kind", [nn.Conv1d, nn.MaxPool1d])
def test_a_kernel_choice_keeps_the_output_size_wherever_the_padding_can_follow(kind, stride):
    checked = 0
    for size, kernel, padding, dilation, new in itertools.product((5, 8), (1, 2, 3, 5), (0, 1, 2), (1, 2), range(1, 8)):
        if size + 2 * padding < dilation * (kernel - 1) + 1 or 2 * padding + dilation * (new - kernel) < 0:
            continue  # the original does not run, or the kernel shrinks by more than there is padding
        if kind is nn.MaxPool1d and (padding > kernel // 2 or stride == kernel):
            continue  # torch refuses that padding; a pool whose stride is its kernel keeps that instead
        if kind is nn.MaxPool1d and dilation * (new - kernel) // 2 + padding > new // 2:
            continue  # torch refuses the padding that would keep the size
        with torch.device("meta"):
            original = (
                nn.Conv1d(1, 1, kernel, stride, padding, dilation)
                if kind is nn.Conv1d
                else nn.MaxPool1d(kernel, stride, padding, dilation)
            )
        shape = (2, 1, size)
        expected = tuple(original(torch.zeros(shape, device="meta")).shape)
        case = f"size {size}, kernel {kernel} -> {new}, padding {padding}, dilation {dilation}"
        assert output_shape(original, shape, kernel_size=new) == expected, case
        assert not replace(original, shape, kernel_size=new).clamped, case
        checked += 1
    assert checked > 30


@pytest.mark.parametrize(
    ("original", "kernel", "padding", "before"),
    [
        (nn.Conv2d(1, 1, 3, padding=1), 3, (1, 1), ()),
        (nn.Conv2d(1, 1, 3, padding=1), 5, (2, 2), ()),
        (nn.Conv2d(1, 1, 3, padding=1), 7, (3, 3), ()),
        (nn.Conv2d(1, 1, 3, padding=1), 1, (0, 0), ()),
        (nn.Conv2d(1, 1, 3, padding=1), 2, (0, 0), (0, 1, 0, 1)),
        (nn.Conv2d(1, 1, 3, padding=1), 4, (1, 1), (0, 1, 0, 1)),
        (nn.Conv2d(1, 1, 3, padding=1), (2, 5), (0, 2), (0, 0, 0, 1)),
        (nn.Conv2d(1, 1, 3, padding=1), (5, 2), (2, 0), (0, 1, 0, 0)),
        (nn.Conv2d(1, 1, 3, padding=2, dilation=2), 5, (4, 4), ()),
        (nn.Conv2d(1, 1, 3, padding=2, dilation=2), 2, (1, 1), ()),
        (nn.Conv2d(1, 1, 1), 3, (1, 1), ()),
        (nn.Conv2d(1, 1, 7, stride=2, padding=3), 3, (1, 1), ()),
        (nn.Conv2d(1, 1, (1, 7), padding=(0, 3)), (1, 3), (0, 1), ()),
        (nn.Conv2d(1, 1, 3, padding="valid"), 5, (1, 1), ()),
        (nn.Conv2d(1, 1, 5), 3, (0, 0), ()),  # it does not crop
    ],
)
def test_padding_grows_with_the_kernel_and_an_odd_remainder_goes_right_and_bottom(original, kernel, padding, before):
    new = replace(original, (2, 1, 8, 8), kernel_size=kernel)
    assert (new.arguments["padding"], new.padding, new.clamped) == (padding, before, False)
    assert new.arguments["kernel_size"] == kernel


@pytest.mark.parametrize(
    ("original", "kernel", "padding", "before", "output"),
    [
        # Shrunk by no more than there is padding, the output keeps its 6 pixels; an odd remainder goes right.
        (nn.Conv1d(1, 1, 5, padding=1), 5, 1, 0, 6),
        (nn.Conv1d(1, 1, 5, padding=1), 4, 0, 1, 6),
        (nn.Conv1d(1, 1, 5, padding=1), 3, 0, 0, 6),
        # By more, nothing is padded on either side, and the output grows by what was there to crop.
        (nn.Conv1d(1, 1, 5, padding=1), 2, 0, 0, 7),
        (nn.Conv1d(1, 1, 5, padding=1), 1, 0, 0, 8),
        (nn.Conv1d(1, 1, 5), 4, 0, 0, 5),
        (nn.Conv1d(1, 1, 5), 2, 0, 0, 7),
        (nn.Conv1d(1, 1, 7, padding="valid"), 4, 0, 0, 5),
        (nn.Conv1d(1, 1, 3, dilation=3), 2, 0, 0, 5),
        (nn.MaxPool1d(5, 1, 1), 4, 0, 1, 6),
        (nn.MaxPool1d(5, 1, 1), 2, 0, 0, 7),
        (nn.AvgPool1d(5, 1), 2, 0, 0, 7),
    ],
)
def test_a_kernel_that_shrinks_by_more_than_there_is_padding_is_padded_nowhere(
    original, kernel, padding, before, output
):
    shape = (2, 1, 8)
    new = replace(original, shape, kernel_size=kernel)
    assert new.arguments["padding"] == (padding,)
    assert new.padding == ((0, before) if before else ())
    assert not new.clamped
    assert output_shape(original, shape, kernel_size=kernel) == (2, 1, output)


@pytest.mark.parametrize("size", [7, 8])
@pytest.mark.parametrize("kernel", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("dilation", [1, 2])
def test_padding_same_with_a_stride_halves_the_size_as_same_would(size, kernel, dilation):
    original = nn.Conv2d(1, 1, 3, padding="same", dilation=dilation)
    half = math.ceil(size / 2)
    assert output_shape(original, (2, 1, size, size), kernel_size=kernel, stride=2) == (2, 1, half, half)


@pytest.mark.filterwarnings("ignore:Using padding='same'")
def test_padding_same_stays_same_with_stride_1():
    original = nn.Conv2d(1, 1, 3, padding="same")
    assert replace(original, (2, 1, 8, 8), kernel_size=4).arguments["padding"] == "same"
    assert output_shape(original, (2, 1, 8, 8), kernel_size=4) == (2, 1, 8, 8)


@pytest.mark.filterwarnings("ignore:Using padding='same'")
@pytest.mark.parametrize("kernel", [2, 3, 4])
def test_padding_same_with_a_stride_sees_the_same_pixels_as_same_without(kernel):
    original = nn.Conv1d(1, 1, 3, padding="same", bias=False)
    new = replace(original, (1, 1, 9), kernel_size=kernel, stride=2)
    strided = nn.Conv1d(**new.arguments)
    plain = nn.Conv1d(1, 1, kernel, padding="same", bias=False)
    plain.load_state_dict(strided.state_dict())
    x = torch.randn(1, 1, 9, generator=torch.Generator().manual_seed(0))
    padded = functional.pad(x, new.padding) if new.padding else x
    torch.testing.assert_close(strided(padded), plain(x)[..., ::2])


@pytest.mark.parametrize("kind", [nn.MaxPool2d, nn.AvgPool2d])
def test_a_pool_whose_stride_was_its_kernel_keeps_that(kind):
    for kernel in (1, 2, 4):
        new = replace(kind(2), (2, 3, 8, 8), kernel_size=kernel)
        assert (new.arguments["kernel_size"], new.arguments["stride"]) == (kernel, kernel)
        assert output_shape(kind(2), (2, 3, 8, 8), kernel_size=kernel) == (2, 3, 8 // kernel, 8 // kernel)


@pytest.mark.parametrize("stride", [1, 2, 3])
def test_a_stride_that_was_chosen_for_a_pool_is_the_stride_it_gets(stride):
    assert replace(nn.MaxPool2d(2), (2, 3, 8, 8), kernel_size=3, stride=stride).arguments["stride"] == stride


@pytest.mark.parametrize(
    ("pool", "kernel", "shape", "clamped"),
    [
        (nn.MaxPool2d(2), 4, (2, 3), (2, 3)),
        (nn.MaxPool2d(2), 4, (1, 1), (1, 1)),
        (nn.MaxPool2d(2), 4, (8, 2), (4, 2)),
        (nn.AvgPool2d(2), 4, (2, 2), (2, 2)),
        (nn.AvgPool2d(2), (2, 4), (3, 3), (2, 3)),
    ],
)
def test_a_pool_larger_than_its_input_shrinks_to_it(pool, kernel, shape, clamped):
    new = replace(pool, (2, 1, *shape), kernel_size=kernel)
    assert (new.arguments["kernel_size"], new.clamped) == (clamped, True)
    assert all(output_shape(pool, (2, 1, *shape), kernel_size=kernel))


def test_every_pool_fits_every_input():
    for kernel, padding, dilation, size in itertools.product((2, 3, 5), (0, 1), (1, 2, 3), range(1, 9)):
        for stride in {1, 2, kernel}:
            pool = nn.MaxPool1d(kernel, stride, padding, dilation)
            for chosen in (2, 3, 4, 7):
                assert output_shape(pool, (2, 1, size), kernel_size=chosen)[2] >= 1, (pool, chosen, size)


def test_a_pool_in_ceil_mode_fits_every_input():
    for kernel, padding, size in itertools.product((2, 3), (0, 1), range(1, 9)):
        for stride in (1, 2, 3):
            pool = nn.MaxPool1d(kernel, stride, padding, ceil_mode=True)
            for chosen in (1, 2, 3, 4):
                assert output_shape(pool, (2, 1, size), kernel_size=chosen)[2] >= 1, (pool, chosen, size)


def test_every_convolution_fits_every_input():
    for kernel, padding, dilation, size in itertools.product((1, 3), (0, 1), (1, 2), range(1, 7)):
        original = nn.Conv1d(1, 1, kernel, 2, padding, dilation)
        for chosen in (1, 2, 5, 7):
            assert output_shape(original, (2, 1, size), kernel_size=chosen)[2] >= 1, (original, chosen, size)


@pytest.mark.parametrize("stride", [1, 2, 3])
def test_a_transposed_convolution_keeps_its_output_size_wherever_the_padding_can_follow_its_kernel(stride):
    checked = 0
    for kernel, padding, dilation, new in itertools.product((1, 2, 3, 4), (0, 1, 2), (1, 2), range(1, 6)):
        if 6 * stride + 1 + dilation * (kernel - 1) - 2 * padding < 1:
            continue  # the original does not run
        original = nn.ConvTranspose1d(1, 1, kernel, stride, padding, dilation=dilation)
        growth, shape = dilation * (new - kernel), (2, 1, 7)
        kept = output_shape(original, shape, kernel_size=new) == tuple(original(torch.zeros(shape)).shape)
        case = f"kernel {kernel} -> {new}, padding {padding}, dilation {dilation}"
        if 2 * padding + growth >= 0 and (growth % 2 == 0 or max(stride, dilation) > 1):
            assert kept, case
            checked += 1
    assert checked > 40


@pytest.mark.parametrize(
    ("original", "kernel", "padding", "output_padding"),
    [
        (nn.ConvTranspose2d(1, 1, 2, 2), 4, (1, 1), (0, 0)),
        (nn.ConvTranspose2d(1, 1, 2, 2), 3, (1, 1), (1, 1)),
        (nn.ConvTranspose2d(1, 1, 2, 2), (2, 3), (0, 1), (0, 1)),
        (nn.ConvTranspose2d(1, 1, 3, 2, 1, 1), 3, (1, 1), (1, 1)),
        (nn.ConvTranspose2d(1, 1, 4, 2, 1), 2, (0, 0), (0, 0)),
        (nn.ConvTranspose2d(1, 1, 3, 2, 1, dilation=2), 4, (2, 2), (0, 0)),
        # There is no padding to take away: as much as torch allows is added to the output instead.
        (nn.ConvTranspose2d(1, 1, 4, 2), 2, (0, 0), (1, 1)),
    ],
)
def test_the_padding_of_a_transposed_convolution_grows_with_its_kernel(original, kernel, padding, output_padding):
    new = replace(original, (2, 1, 8, 8), kernel_size=kernel)
    assert (new.arguments["padding"], new.arguments["output_padding"]) == (padding, output_padding)
    assert output_shape(original, (2, 1, 8, 8), kernel_size=kernel)[:2] == (2, 1)


def test_the_input_of_a_convolution_is_padded_up_to_its_kernel_and_counted():
    new = replace(nn.Conv2d(1, 1, 5), (2, 1, 3, 8))
    assert new == Replacement(nn.Conv2d, new.arguments, (0, 0, 0, 2), 0.0, True)
    assert output_shape(nn.Conv2d(1, 1, 5), (2, 1, 3, 8)) == (2, 1, 1, 4)


def test_a_max_pool_is_padded_with_what_no_maximum_sees():
    new = replace(nn.MaxPool2d(3, 1, 1), (2, 1, 8, 8), kernel_size=2)
    assert (new.padding, new.padding_value) == ((0, 1, 0, 1), -math.inf)


def test_a_module_that_nothing_changes_for_gets_its_own_arguments():
    modules = [
        (nn.Conv2d(4, 6, 3, 2, 1, bias=False, padding_mode="reflect"), (2, 4, 8, 8)),
        (nn.Conv2d(4, 8, (1, 3), padding="same", groups=2), (2, 4, 8, 8)),
        (nn.MaxPool2d(3, 2, 1, ceil_mode=True), (2, 4, 8, 8)),
        (nn.MaxPool2d(2, 1, 1), (2, 4, 8, 8)),
        (nn.AvgPool2d(3, 2, 1, count_include_pad=False), (2, 4, 8, 8)),
        (nn.ConvTranspose2d(4, 2, 2, 2), (2, 4, 8, 8)),
        (nn.Linear(16, 3), (2, 16)),
        (nn.BatchNorm2d(4, eps=1e-3), (2, 4, 8, 8)),
        (nn.GroupNorm(2, 4), (2, 4, 8, 8)),
        (nn.LayerNorm([4, 8]), (2, 3, 4, 8)),
        (nn.PReLU(4), (2, 4, 8, 8)),
        (nn.Dropout(0.3), (2, 4)),
    ]
    for module, shape in modules:
        new = replace(module, shape)
        again = type(module)(**new.arguments)
        again.load_state_dict(module.state_dict())
        x = torch.randn(shape, generator=torch.Generator().manual_seed(0))
        assert torch.equal(again.eval()(x), module.eval()(x))
        assert repr(again).replace("(1, 1)", "1") == repr(module).replace("(1, 1)", "1")
        assert (new.padding, new.clamped) == ((), False)


@pytest.mark.parametrize(
    ("module", "shape", "chosen", "expected"),
    [
        (nn.Conv2d(4, 6, 3), (2, 5, 8, 8), {"out_channels": 7}, {"in_channels": 5, "out_channels": 7, "groups": 1}),
        (nn.Conv2d(4, 4, 3, groups=4), (2, 6, 8, 8), {}, {"in_channels": 6, "out_channels": 6, "groups": 6}),
        (nn.Conv2d(4, 8, 3, groups=4), (2, 6, 8, 8), {}, {"in_channels": 6, "out_channels": 12, "groups": 6}),
        (nn.Conv2d(4, 8, 3, groups=4), (2, 1, 8, 8), {}, {"in_channels": 1, "out_channels": 2, "groups": 1}),
        (nn.Conv2d(8, 8, 3, groups=4), (2, 6, 8, 8), {}, {"in_channels": 6, "out_channels": 8, "groups": 2}),
        (nn.Conv2d(8, 8, 3, groups=4), (2, 5, 8, 8), {}, {"in_channels": 5, "groups": 1}),
        (nn.Conv2d(8, 8, 3, groups=4), (2, 8, 8, 8), {"out_channels": 6}, {"out_channels": 6, "groups": 2}),
        (nn.ConvTranspose2d(8, 4, 2), (2, 3, 8, 8), {"out_channels": 6}, {"in_channels": 3, "out_channels": 6}),
        (nn.Linear(8, 4), (2, 12), {"out_features": 3}, {"in_features": 12, "out_features": 3}),
        (nn.Linear(8, 4), (2, 5, 12), {}, {"in_features": 12}),
        (nn.BatchNorm1d(8), (2, 12), {}, {"num_features": 12}),
        (nn.InstanceNorm2d(8), (2, 12, 4, 4), {}, {"num_features": 12}),
        (nn.GroupNorm(4, 8), (2, 6, 4, 4), {}, {"num_channels": 6, "num_groups": 2}),
        (nn.LayerNorm([8, 4]), (2, 3, 6, 5), {}, {"normalized_shape": (6, 5)}),
        (nn.LayerNorm([4]), (2, 3, 6, 5), {}, {"normalized_shape": (5,)}),
        (nn.PReLU(8), (2, 5, 4, 4), {}, {"num_parameters": 5}),
        (nn.PReLU(), (2, 5, 4, 4), {}, {"num_parameters": 1}),
        (nn.Dropout(0.5), (2, 5), {"p": 0.1}, {"p": 0.1, "inplace": False}),
    ],
)
def test_widths_follow_the_input_and_what_was_chosen(module, shape, chosen, expected):
    arguments = replace(module, shape, **chosen).arguments
    assert {name: arguments[name] for name in expected} == expected
    type(module)(**arguments)(torch.zeros(shape))  # torch takes them


@pytest.mark.parametrize(
    ("module", "depthwise", "width"),
    [
        (nn.Conv2d(4, 4, 3, groups=4), True, False),
        (nn.Conv2d(4, 8, 3, groups=4), True, False),
        (nn.Conv2d(1, 8, 3), False, True),
        (nn.Conv2d(4, 4, 3, groups=2), False, True),
        (nn.ConvTranspose2d(4, 4, 2), False, True),
        (nn.Linear(4, 4), False, True),
        (nn.BatchNorm2d(4), False, False),
        (nn.MaxPool2d(2), False, False),
    ],
)
def test_what_sets_a_width_and_what_is_depthwise(module, depthwise, width):
    assert (is_depthwise(module), sets_width(module)) == (depthwise, width)


def test_a_size_of_too_many_dimensions_is_refused_with_its_value():
    with pytest.raises(InputError, match=r"\(3, 3, 3\)"):
        replace(nn.Conv2d(1, 1, 3), (2, 1, 8, 8), kernel_size=(3, 3, 3))
