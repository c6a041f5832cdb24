"""The weights that a training starts from (He et al., 2015)."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import nn

import marl_hpo_env
from marl_hpo_env import InputError, Recipe, Request, Task, WeightedReward
from marl_hpo_env.data.digits import digits
from marl_hpo_env.training.initialization import he

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
