"""The weights that a training starts from (He et al., 2015)."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import nn

import marl_hpo_env
from marl_hpo_env import InputError, Recipe, Request, Task, WeightedReward
from marl_hpo_env.data.digits import digits
from marl_hpo_env.networks.tunable import TunableNetwork
from marl_hpo_env.training.initialization import he, he_inside

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("module", "fan_in"),
    [
        (nn.Linear(300, 400), 300),
        (nn.Conv2d(32, 256, 3), 32 * 9),
        (nn.Conv2d(32, 256, (1, 5), stride=2, padding=2, dilation=2), 32 * 5),
        (nn.Conv2d(64, 128, 5, groups=4), 64 // 4 * 25),
        (nn.Conv1d(64, 512, 3, bias=False), 64 * 3),
        (nn.Conv3d(8, 128, 3), 8 * 27),
        # As torch counts it: what one input reaches.
        (nn.ConvTranspose2d(256, 64, 3, 2), 64 * 9),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else str(value),
)
def test_weights_have_variance_2_by_fan_in_and_biases_are_0(module, fan_in):
    torch.manual_seed(0)
    he(nn.Sequential(module))
    weights = module.weight.detach()
    assert weights.numel() > 25_000  # so the variance is within 5%: five deviations of sqrt(2 / n)
    assert float(weights.var() * fan_in / 2) == pytest.approx(1, abs=0.05)
    assert abs(float(weights.mean())) < 5 * (2 / fan_in / weights.numel()) ** 0.5
    assert float(((weights / weights.std()) ** 4).mean()) == pytest.approx(3, abs=0.3)  # normal; uniform has 1.8
    assert module.bias is None or not module.bias.any()


def test_what_has_no_fan_in_stays_as_it_is():
    network = nn.Sequential(nn.BatchNorm2d(4), nn.PReLU(4), nn.LayerNorm(4))
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.fill_(0.123)
    he(network)
    assert all((parameter == 0.123).all() for parameter in network.parameters())


def test_the_signal_keeps_its_strength_through_many_layers():
    """He et al.'s reason, by their Eq. 10: with torch's draws it fades by a factor of six in variance per layer."""
    torch.manual_seed(0)
    strengths = {}
    x = torch.randn(16, 32, 8, 8)
    for name in ("he", "torch"):
        layers = [
            part for _ in range(13) for part in (nn.Conv2d(32, 32, 3, padding=1, padding_mode="circular"), nn.ReLU())
        ]
        network = nn.Sequential(*layers)
        if name == "he":
            he(network)
        strengths[name] = float(network(x).detach().square().mean())
    assert 0.1 < strengths["he"] < 10
    assert strengths["torch"] < 0.01


# In training.


class Plain(nn.Module):
    """Thirteen convolutions in a row without batch norm, as VGG-16 has them, narrow."""

    def __init__(self) -> None:
        super().__init__()
        convolutions = [nn.Conv2d(1 if i == 0 else 12, 12, 3, padding=1) for i in range(13)]
        self.features = nn.Sequential(*[part for one in convolutions for part in (one, nn.ReLU())], nn.MaxPool2d(2))
        self.output = nn.Linear(12 * 16, 10)

    def forward(self, x):
        return self.output(torch.flatten(self.features(x), 1))


def trained(initialization):
    recipe = Recipe(batch_size=32, optimizer="sgd", learning_rate=0.01, momentum=0.9, initialization=initialization)
    choices = {"features.0": {"out_channels": (12,)}}
    task = Task("plain", Plain, digits, choices, recipe, WeightedReward({"validation_accuracy": 1}))
    return task.trainer(CPU, measure_time=False).train(Request(None, 0, 4))[1]


def test_a_deep_plain_network_learns_with_it_and_not_without():
    learned, stuck = (trained(initialization) for initialization in ("he", "torch"))
    assert learned.metrics["validation_accuracy"] > 0.7
    assert stuck.metrics["validation_accuracy"] < 0.2
    assert stuck.metrics["train_loss"] > 2.29


def test_the_recipe_torch_leaves_torchs_draws():
    ours = marl_hpo_env.task("digits-convnet")
    assert ours.recipe.initialization == "torch"
    networks = {}
    for name in ("torch", "he"):
        task = dataclasses.replace(ours, recipe=dataclasses.replace(ours.recipe, initialization=name))
        trainer = task.trainer(CPU, measure_time=False)
        torch.manual_seed(7)
        networks[name] = trainer._fresh(None).state_dict()
    torch.manual_seed(7)
    drawn = ours.network.build(None, "cpu").state_dict()
    assert all(torch.equal(value, networks["torch"][key]) for key, value in drawn.items())
    assert not torch.equal(drawn["conv1.weight"], networks["he"]["conv1.weight"])
    assert not networks["he"]["dense.bias"].any()


def test_he_is_what_a_recipe_starts_from_unless_it_says_otherwise():
    assert Recipe().initialization == "he"
    with pytest.raises(InputError, match="There is no initialization 'xavier'"):
        Recipe(initialization="xavier")


# Inside the image.


def inside(module, shape, *after):
    """The variance of the kernels, times what it would be divided by were every tap inside: gain times taps over taps inside."""
    torch.manual_seed(0)
    network = TunableNetwork(
        nn.Sequential(module, *after), torch.zeros(1, *shape), {type(module): {"bias": (False, True)}}
    ).build()
    he_inside(network, torch.zeros(1, *shape))
    weight = network.get_submodule("0").weight.detach()
    assert weight.numel() > 20_000
    return float(weight.var()) * weight[0].numel()


@pytest.mark.filterwarnings("ignore:Using padding='same'")
@pytest.mark.parametrize(
    ("module", "shape", "expected"),
    [
        # On a map of 1x1 one tap of nine sees a pixel.
        (nn.Conv2d(64, 64, 3, padding=1), (64, 1, 1), 9.0),
        # On 2x2 every output sees 2 x 2 taps; on 4x4, in each dimension, 2, 3, 3 and 2 of three: 10 of 12.
        (nn.Conv2d(64, 64, 3, padding=1), (64, 2, 2), 9 / 4),
        (nn.Conv2d(64, 64, 3, padding=1), (64, 4, 4), (12 / 10) ** 2),
        (nn.Conv2d(64, 64, 3), (64, 8, 8), 1.0),
        (nn.Conv2d(64, 64, 3, padding=1, padding_mode="circular"), (64, 2, 2), 1.0),
        # Outputs at 0 and 2 of 4 pixels: taps -1..1 and 1..3, so 2 and 3 of three.
        (nn.Conv2d(64, 64, 3, stride=2, padding=1), (64, 4, 4), (6 / 5) ** 2),
        (nn.Conv2d(64, 64, 3, padding="same", dilation=2), (64, 2, 2), 9.0),
        # On 4x4 the taps at -2, 0 and 2 from each pixel: two of three are inside everywhere.
        (nn.Conv2d(64, 64, 3, padding="same", dilation=2), (64, 4, 4), (3 / 2) ** 2),
        # An even kernel has one pixel less of padding before than after: taps -1..2 and 0..3, 2 of four inside each time.
        (nn.Conv2d(64, 64, 4, padding="same"), (64, 2, 2), 4.0),
        (nn.Conv1d(256, 64, 3, padding=1), (256, 1), 3.0),
        (nn.Linear(300, 400), (300,), 1.0),
    ],
)
def test_taps_that_see_padding_do_not_count(module, shape, expected):
    assert inside(module, shape, nn.ReLU()) == pytest.approx(2 * expected, rel=0.05)
    next_layer = nn.Linear(400, 2) if isinstance(module, nn.Linear) else type(module)(64, 2, 1)
    assert inside(module, shape, next_layer) == pytest.approx(expected, rel=0.05)  # no rectifier follows
    assert inside(module, shape) == pytest.approx(0.01 * expected, rel=0.05)  # the output


def test_padding_that_a_larger_kernel_was_given_does_not_count():
    # A kernel of 4 in place of 3: padding of 1 and one more row and column of it at the right and the bottom. Of the four
    # taps at each of 2 outputs, -1..2 and 0..3, two see a pixel.
    network = TunableNetwork(
        nn.Sequential(nn.Conv2d(64, 64, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(256, 2)),
        torch.zeros(1, 64, 2, 2),
        {nn.Conv2d: {"kernel_size": (4,)}},
    ).build((0,))
    torch.manual_seed(0)
    he_inside(network, torch.zeros(1, 64, 2, 2))
    weight = network.get_submodule("0").weight.detach()
    assert float(weight.var()) * 64 * 4 == pytest.approx(2.0, rel=0.05)


def test_padding_that_a_kernel_was_given_in_one_dimension_counts_in_that_one():
    # A kernel of 4 x 3: one more row at the bottom. Of four rows two see a pixel, as before; of three columns, -1..1 and
    # 0..2, two do.
    network = TunableNetwork(
        nn.Sequential(nn.Conv2d(64, 64, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(256, 2)),
        torch.zeros(1, 64, 2, 2),
        {nn.Conv2d: {"kernel_size": ((4, 3), (3, 4))}},
    )
    for design in ((0,), (1,)):
        built = network.build(design)
        torch.manual_seed(0)
        he_inside(built, torch.zeros(1, 64, 2, 2))
        weight = built.get_submodule("0").weight.detach()
        assert float(weight.var()) * 64 * 4 == pytest.approx(2.0, rel=0.05)
        assert abs(float(weight.mean())) < 5 * float(weight.std()) / weight.numel() ** 0.5


def test_a_transposed_convolution_whose_kernels_overlap_counts_each_that_reaches_an_output():
    # In one dimension 4 inputs of stride 3 put kernels of 4 at -2..1, 1..4, 4..7 and 7..10: 2 + 4 + 4 + 2 taps on 9 outputs.
    variance = inside(nn.ConvTranspose2d(256, 64, 4, 3, 2), (256, 4, 4), nn.ReLU()) / (64 * 16)
    assert variance * 256 * (12 / 9) ** 2 == pytest.approx(2, rel=0.05)


def test_a_transposed_convolution_counts_what_an_output_sums():
    # Kernel 2, stride 2: every output is made by one tap, of 256 channels.
    assert inside(nn.ConvTranspose2d(256, 64, 2, 2), (256, 4, 4), nn.ReLU()) * 256 / (64 * 4) == pytest.approx(
        2, rel=0.05
    )


class Merging(nn.Module):
    def __init__(self):
        super().__init__()
        self.normed, self.shortcut, self.branch = (nn.Conv2d(160, 160, 1) for _ in range(3))
        self.norm, self.head = nn.BatchNorm2d(160), nn.Conv2d(160, 160, 1)

    def forward(self, x):
        x = torch.relu(self.norm(self.normed(x)))
        return self.head(torch.relu(self.shortcut(x) + self.branch(x)))


def test_gain_2_is_for_what_a_rectifier_follows_before_any_merge():
    network = TunableNetwork(Merging(), torch.zeros(1, 160, 4, 4), {nn.Conv2d: {"bias": (True, False)}}).build()
    torch.manual_seed(0)
    he_inside(network, torch.zeros(1, 160, 4, 4))
    gains = {
        name: round(float(module.weight.detach().var()) * 160)
        for name, module in network.named_modules()
        if isinstance(module, nn.Conv2d)
    }
    assert gains == {"normed": 2, "shortcut": 1, "branch": 1, "head": 0}
    assert not any(network.get_submodule(name).bias.any() for name in gains)


def test_hundreds_of_shortcuts_keep_the_signal_finite():
    layers = [nn.Conv2d(8, 8, 1, bias=False) for _ in range(400)]
    network = TunableNetwork(
        nn.Sequential(*layers), torch.zeros(1, 8, 2, 2), {nn.Conv2d: {"bias": (False, True)}}
    ).build()
    torch.manual_seed(0)
    he_inside(network, torch.zeros(1, 8, 2, 2))
    assert torch.isfinite(network(torch.randn(4, 8, 2, 2))).all()
    he(network)  # gain 2: 2^200 in the deviation, more than float32 holds
    assert not torch.isfinite(network(torch.randn(4, 8, 2, 2))).all()


def test_heads_that_are_called_in_training_only_are_drawn_too_and_the_mode_stays():
    class Headed(nn.Module):
        def __init__(self):
            super().__init__()
            self.body, self.main, self.extra = nn.Linear(200, 200), nn.Linear(200, 5), nn.Linear(200, 200)

        def forward(self, x):
            x = torch.relu(self.body(x))
            return (self.main(x), self.extra(x)) if self.training else self.main(x)

    network = TunableNetwork(Headed(), torch.zeros(1, 200), {nn.Linear: {"bias": (True, False)}}).build()
    torch.manual_seed(0)
    he_inside(network, torch.zeros(1, 200))
    assert network.training
    assert float(network.get_submodule("body").weight.detach().var()) * 200 == pytest.approx(2, rel=0.05)
    assert float(network.get_submodule("extra").weight.detach().var()) * 200 == pytest.approx(0.01, rel=0.05)
