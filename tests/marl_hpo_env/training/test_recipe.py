"""How a network is trained: what a recipe takes and refuses."""

import math

import pytest

from marl_hpo_env import Recipe


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *[(name, value) for name in ("batch_size", "patience", "max_epochs") for value in (0, -1, 1.5, True, "8")],
        *[(name, value) for name in ("momentum", "weight_decay", "min_improvement") for value in (-1e-9, math.nan)],
        *[("learning_rate", value) for value in (0, 0.0, -1e-3, -0.5, math.nan, math.inf)],
        ("optimizer", "adamw"),
        ("initialization", "xavier"),
        *[("epochs", value) for value in (0, -3, 2.5, True, "walking")],
    ],
)
def test_a_setting_outside_its_range_is_refused_with_its_value(refused, name, value):
    with refused(str(value)):
        Recipe(**{name: value})


@pytest.mark.parametrize(
    "settings",
    [
        {"batch_size": 1, "patience": 1, "max_epochs": 1, "epochs": 1},
        {"momentum": 0, "weight_decay": 0, "min_improvement": 0},
        {"learning_rate": 1e-30, "optimizer": "sgd", "initialization": "torch"},
        {"epochs": "calibrated"},
        {"epochs": "running"},
    ],
)
def test_settings_at_the_ends_of_their_ranges_are_taken(settings):
    recipe = Recipe(**settings)
    assert {name: getattr(recipe, name) for name in settings} == settings
