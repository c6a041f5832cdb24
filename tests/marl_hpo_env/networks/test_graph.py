from __future__ import annotations

import pytest
import torch
from torch import nn

from marl_hpo_env.errors import InputError
from marl_hpo_env.networks.graph import default_choices, search_space
from marl_hpo_env.networks.trace import Traced

WIDTHS = {"out_channels": (2, 4)}
ALL_CONVOLUTIONS = {nn.Conv2d: WIDTHS}


def conv(inputs: int, outputs: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 1)


def trace(model: nn.Module) -> Traced:
    return Traced(model, [torch.empty(2, 1, 8, 8, device="meta")], lambda module, name: False)


def edges(model: nn.Module, choices=None) -> dict[str, tuple[str, ...]]:
    space = search_space(trace(model), ALL_CONVOLUTIONS if choices is None else choices)
    return {layer.name: layer.inputs for layer in space.layers}


class Classifier(nn.Module):
    """Adds the output, so that no convolution is final."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.output = nn.Linear(width, 3)

    def classify(self, x: torch.Tensor) -> torch.Tensor:
        return self.output(x.mean((2, 3)))


class Inception(Classifier):
    def __init__(self) -> None:
        super().__init__(4)
        self.stem = conv(1, 4)
        self.branch1 = conv(4, 4)
        self.branch2 = nn.Sequential(conv(4, 2), nn.ReLU(), conv(2, 4))
        self.branch3 = nn.Sequential(nn.MaxPool2d(3, 1, 1), conv(4, 4))
        self.after = conv(12, 4)

    def forward(self, x):
        x = self.stem(x)
        return self.classify(self.after(torch.cat([self.branch1(x), self.branch2(x), self.branch3(x)], 1)))


class Residual(Classifier):
    def __init__(self, blocks: int) -> None:
        super().__init__(4)
        self.stem = conv(1, 4)
        self.blocks = nn.ModuleList(nn.ModuleList([conv(4, 4), conv(4, 4)]) for _ in range(blocks))
        self.after = conv(4, 4)

    def forward(self, x):
        x = self.stem(x)
        for first, second in self.blocks:
            x = torch.relu(x + second(torch.relu(first(x))))
        return self.classify(self.after(x))


class DenseBlock(Classifier):
    def __init__(self) -> None:
        super().__init__(4)
        self.a, self.b, self.c, self.d = conv(1, 2), conv(2, 2), conv(4, 2), conv(6, 4)

    def forward(self, x):
        features = [self.a(x)]
        features.append(self.b(torch.cat(features, 1)))
        features.append(self.c(torch.cat(features, 1)))
        return self.classify(self.d(torch.cat(features, 1)))


class CalledTwice(Classifier):
    def __init__(self) -> None:
        super().__init__(4)
        self.stem, self.shared, self.between, self.after = conv(1, 4), conv(4, 4), conv(4, 4), conv(4, 4)

    def forward(self, x):
        x = self.between(self.shared(self.stem(x)))
        return self.classify(self.after(self.shared(x)))


class FlattenedMerge(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = conv(1, 2), conv(1, 2)
        self.dense, self.output = nn.Linear(4, 4), nn.Linear(4, 3)

    def forward(self, x):
        x = torch.cat([self.left(x), self.right(x)], 1)
        x = x.view(x.size(0), -1)
        return self.output(self.dense(x))


class MergeWithConstant(Classifier):
    def __init__(self) -> None:
        super().__init__(2)
        self.left, self.right, self.after = conv(1, 2), conv(1, 2), conv(4, 2)
        self.offset = nn.Parameter(torch.zeros(1, 4, 1, 1))

    def forward(self, x):
        return self.classify(self.after(torch.cat([self.left(x), self.right(x)], 1) + self.offset))


def test_in_a_chain_each_layer_is_fed_by_the_one_before():
    model = nn.Sequential(conv(1, 2), nn.ReLU(), conv(2, 2), nn.Flatten(), nn.Linear(2, 4), nn.Linear(4, 3))
    assert edges(model, {nn.Conv2d: WIDTHS, nn.Linear: {"out_features": (2, 4)}}) == {"0": (), "2": ("0",), "4": ("2",)}


def test_a_layer_that_is_not_tunable_is_passed_through_to_the_nearest_tunable_ancestor():
    model = nn.Sequential(conv(1, 2), conv(2, 2), conv(2, 2), nn.Flatten(), nn.Linear(2, 3))
    assert edges(model, {nn.Conv2d: WIDTHS, "1": None}) == {"0": (), "2": ("0",)}


def test_a_fork_feeds_every_branch_and_a_concatenation_is_fed_by_every_branch_end():
    assert edges(Inception()) == {
        "stem": (),
        "branch1": ("stem",),
        "branch2.0": ("stem",),
        "branch2.2": ("branch2.0",),
        "branch3.1": ("stem",),
        "after": ("branch1", "branch2.2", "branch3.1"),
    }


def test_what_follows_a_residual_block_is_fed_by_the_block_and_by_its_shortcut():
    assert edges(Residual(1)) == {
        "stem": (),
        "blocks.0.0": ("stem",),
        "blocks.0.1": ("blocks.0.0",),
        "after": ("stem", "blocks.0.1"),
    }


def test_in_a_residual_chain_a_shortcut_that_is_a_merge_contributes_its_latest_layer_only():
    assert edges(Residual(3)) == {
        "stem": (),
        "blocks.0.0": ("stem",),
        "blocks.0.1": ("blocks.0.0",),
        "blocks.1.0": ("stem", "blocks.0.1"),
        "blocks.1.1": ("blocks.1.0",),
        "blocks.2.0": ("blocks.0.1", "blocks.1.1"),
        "blocks.2.1": ("blocks.2.0",),
        "after": ("blocks.1.1", "blocks.2.1"),
    }


def test_in_a_residual_chain_no_layer_has_more_than_two_inputs_however_long_it_is():
    assert max(len(inputs) for inputs in edges(Residual(12)).values()) == 2


def test_a_dense_block_connects_every_layer_with_all_before_it():
    assert edges(DenseBlock()) == {"a": (), "b": ("a",), "c": ("a", "b"), "d": ("a", "b", "c")}


def test_a_module_called_twice_is_one_layer_fed_by_what_comes_before_its_first_call():
    assert edges(CalledTwice()) == {
        "stem": (),
        "shared": ("stem",),
        "between": ("shared",),
        "after": ("shared",),
    }


def test_a_flatten_by_the_tensors_own_size_is_no_merge():
    choices = {nn.Conv2d: WIDTHS, nn.Linear: {"out_features": (2, 4)}}
    assert edges(FlattenedMerge(), choices)["dense"] == ("left", "right")


def test_adding_a_parameter_is_no_merge():
    assert edges(MergeWithConstant())["after"] == ("left", "right")


def test_layers_are_in_the_order_of_their_calls_not_of_their_definition():
    class Reversed(Classifier):
        def __init__(self) -> None:
            super().__init__(2)
            self.second, self.first = conv(2, 2), conv(1, 2)

        def forward(self, x):
            return self.classify(self.second(self.first(x)))

    assert list(edges(Reversed())) == ["first", "second"]


def test_the_width_of_what_reaches_the_output_is_not_tunable_but_its_kernel_is():
    model = nn.Sequential(conv(1, 2), nn.ReLU(), conv(2, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    space = search_space(trace(model), {nn.Conv2d: {"out_channels": (2, 4), "kernel_size": (1, 3)}})
    assert [dict(layer.choices) for layer in space.layers] == [
        {"out_channels": (2, 4), "kernel_size": (1, 3)},
        {"kernel_size": (1, 3)},
    ]


def test_both_operands_of_an_addition_at_the_output_keep_their_width():
    class TwoHeads(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem, self.left, self.right = nn.Linear(4, 4), nn.Linear(4, 3), nn.Linear(4, 3)

        def forward(self, x):
            x = self.stem(x)
            return self.left(x) + self.right(x)

    assert list(edges(TwoHeads(), {nn.Linear: {"out_features": (2, 4)}})) == ["stem"]


def test_a_depthwise_convolution_has_no_width_to_choose():
    model = nn.Sequential(conv(1, 4), nn.Conv2d(4, 4, 3, groups=4), conv(4, 4), nn.Flatten(), nn.LazyLinear(3))
    model(torch.zeros(1, 1, 4, 4))
    space = search_space(trace(model), {nn.Conv2d: {"out_channels": (2, 4), "kernel_size": (1, 3)}})
    assert [set(layer.choices) for layer in space.layers] == [
        {"out_channels", "kernel_size"},
        {"kernel_size"},
        {"out_channels", "kernel_size"},
    ]


def test_the_last_key_that_matches_a_module_counts():
    model = nn.Sequential(conv(1, 2), conv(2, 2), conv(2, 2), nn.Flatten(), nn.Linear(2, 3))
    choices = {nn.Conv2d: WIDTHS, "[12]": {"kernel_size": (1, 3)}, "2": None}
    space = search_space(trace(model), choices)
    assert {layer.name: dict(layer.choices) for layer in space.layers} == {
        "0": {"out_channels": (2, 4)},
        "1": {"kernel_size": (1, 3)},
    }


def test_the_kind_of_a_layer_is_its_modules_type():
    model = nn.Sequential(conv(1, 2), nn.Flatten(), nn.Linear(2, 4), nn.Linear(4, 3))
    space = search_space(trace(model), {nn.Conv2d: WIDTHS, nn.Linear: {"out_features": (2, 4)}})
    assert [layer.kind for layer in space.layers] == ["Conv2d", "Linear"]


@pytest.mark.parametrize(
    ("choices", "words"),
    [
        ({nn.Conv3d: WIDTHS}, ["for 'Conv3d' match no module", "Conv2d"]),
        ({"features.*": WIDTHS}, ["features.*", "match no module"]),
        ({nn.Conv2d: {"channels": (2, 4)}}, ["channels", "no constructor argument", "out_channels"]),
        (
            {nn.Linear: {"out_features": (3, 6)}},
            ["Nothing is left to choose", "give choices for other modules", "Conv2d"],
        ),
        ({nn.Conv2d: None}, ["Nothing is left to choose", "give choices for other modules", "Conv2d"]),
        ({nn.Conv2d: {"out_channels": ()}}, ["no values", "out_channels"]),
    ],
)
def test_choices_that_do_not_fit_the_network_are_refused_with_a_sentence(choices, words):
    model = nn.Sequential(conv(1, 2), nn.Flatten(), nn.Linear(2, 3))
    with pytest.raises(InputError) as refusal:
        search_space(trace(model), choices)
    message = str(refusal.value)
    assert all(word in message for word in words)
    assert "\n" not in message
    assert message.endswith(".")


@pytest.mark.parametrize(
    ("module", "choices"),
    [
        (nn.Conv2d(3, 64, 3), {"out_channels": (16, 32, 48, 64), "kernel_size": (1, 3)}),
        (nn.Conv2d(3, 256, 7), {"out_channels": (64, 128, 192, 256), "kernel_size": (5, 7)}),
        (nn.Conv2d(3, 6, 5), {"out_channels": (1, 3, 4, 6), "kernel_size": (3, 5)}),
        (nn.Conv2d(3, 2, 1), {"out_channels": (1, 2)}),
        # A kernel of an even size, or of two sizes, has no next smaller one of its kind.
        (nn.Conv2d(3, 8, 2), {"out_channels": (2, 4, 6, 8)}),
        (nn.Conv2d(3, 8, 4), {"out_channels": (2, 4, 6, 8)}),
        (nn.Conv2d(3, 8, (1, 3)), {"out_channels": (2, 4, 6, 8)}),
        # A width in groups stays one that they divide.
        (nn.Conv2d(8, 16, 1, groups=4), {"out_channels": (4, 8, 12, 16)}),
        (nn.Conv2d(4, 4, 3, groups=2), {"out_channels": (2, 4), "kernel_size": (1, 3)}),
        # A depthwise one follows its input.
        (nn.Conv2d(4, 4, 3, groups=4), {"kernel_size": (1, 3)}),
        (nn.ConvTranspose2d(4, 8, 3), {"out_channels": (2, 4, 6, 8)}),
        (nn.Linear(5, 128), {"out_features": (32, 64, 96, 128)}),
        (nn.Linear(5, 3), {"out_features": (1, 2, 3)}),
    ],
)
def test_default_choices_are_quarters_of_a_width_and_the_next_smaller_odd_kernel_in_ascending_order(module, choices):
    assert default_choices(trace(nn.Sequential(module))) == {"0": choices}


def test_default_choices_leave_out_what_has_one_value_and_name_each_module_literally():
    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.add_module("a[b]*", nn.Linear(2, 2))
            self.add_module("ab", nn.Linear(2, 1))

        def forward(self, x):
            for _, module in self.named_children():
                x = module(x)
            return x

    choices = default_choices(trace(Odd()))
    assert list(choices.values()) == [{"out_features": (1, 2)}]
    assert list(edges(Odd(), choices)) == ["a[b]*"]
