"""How a network is trained: what a recipe takes and refuses."""

import dataclasses
import math

import numpy as np
import pytest
import torch

from marl_hpo_env import Limits, Recipe


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *[(name, value) for name in ("batch_size", "patience", "max_epochs") for value in (0, -1, 1.5, True, "8")],
        *[(name, value) for name in ("momentum", "weight_decay", "min_improvement") for value in (-1e-9, math.nan)],
        *[("learning_rate", value) for value in (0, 0.0, -1e-3, -0.5, math.nan, math.inf)],
        ("optimizer", "rmsprop"),
        *[("schedule", value) for value in ("linear", None)],
        *[("schedule_epochs", value) for value in (0, 2.5, "8")],
        *[("max_gradient_norm", value) for value in (0, -1, math.nan, "1")],
        *[("precision", value) for value in ("float16", None)],
        *[("imbalance", value) for value in ("oversampling", False)],
        ("initialization", "xavier"),
        ("decayed", "biases"),
        *[("warm_up_epochs", value) for value in (-1, 0.5, True)],
        *[("step_epochs", value) for value in (0, -1, 2.5)],
        *[("step_factor", value) for value in (0, -0.5, 1.1, math.nan)],
        *[("momentum", value) for value in (math.inf, "0.9", None, True)],
        *[("learning_rate", value) for value in ("abc", True, 10**400)],
        *[("batch_size", value) for value in (None, 10**30, [8])],
        *[("nesterov", value) for value in ("no", 1, None)],
        *[("augmentation", value) for value in (True, "flip", 3)],
        *[("optimizer", value) for value in (None, 3, ["sgd"])],
        *[("epochs", value) for value in (0, -3, 2.5, True, "walking", 10**20)],
    ],
)
def test_a_setting_outside_its_range_is_refused_with_its_value(refused, name, value):
    with refused(str(value)[:50]):  # of a long one the beginning
        Recipe(**{name: value})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *[("loss", value) for value in (0, -1, math.nan, math.inf, "guess", True, [1])],
        *[("batch_ratio", value) for value in (0, math.nan, "guessing", True)],
        *[("loss_epochs", value) for value in (0, 1.5, "2", None, True)],
        *[("batches", value) for value in (0, 1.5, math.nan)],
    ],
)
def test_a_limit_outside_its_range_is_refused_with_its_value(refused, name, value):
    with refused(name, str(value)):
        Limits(**{name: value})


def test_a_recipe_that_inherits_fine_tunes_unless_it_names_a_rate():
    assert Recipe().learning_rate == 1e-3
    assert Recipe(initialization="inherit").learning_rate == 1e-4
    assert Recipe(initialization="inherit", learning_rate=1e-3).learning_rate == 1e-3
    assert dataclasses.replace(Recipe(), initialization="inherit", learning_rate=None).learning_rate == 1e-4


def test_numpy_s_numbers_are_numbers():
    recipe = Recipe(batch_size=np.int64(8), learning_rate=np.float32(0.5), momentum=np.float64(0.25))
    assert recipe == Recipe(batch_size=8, learning_rate=0.5, momentum=0.25)
    assert [type(value) for value in (recipe.batch_size, recipe.learning_rate)] == [int, float]


@pytest.mark.parametrize(
    "settings",
    [
        {"batch_size": 1, "patience": 1, "max_epochs": 1, "epochs": 1},
        {"momentum": 0, "weight_decay": 0, "min_improvement": 0},
        {"learning_rate": 1e-30, "optimizer": "sgd", "initialization": "torch"},
        {"epochs": "calibrated"},
        {"epochs": "running"},
        {"warm_up_epochs": 0, "step_epochs": 1, "step_factor": 1},
        {"optimizer": "sgd", "momentum": 1e-9, "nesterov": True},
        {"schedule": "cosine", "schedule_epochs": 1},
        {"schedule": "cosine", "schedule_epochs": 3, "warm_up_epochs": 2},
        {"schedule": "one-cycle", "schedule_epochs": 4},
        {"schedule": "step", "schedule_epochs": 4},  # so that an agent can choose among schedules
        {"max_gradient_norm": 1e-9, "optimizer": "adamw", "precision": "bf16", "imbalance": "sampling"},
    ],
)
def test_settings_at_the_ends_of_their_ranges_are_taken(settings):
    recipe = Recipe(**settings)
    assert {name: getattr(recipe, name) for name in settings} == settings


@pytest.mark.parametrize("wrong", [{"optimizer": "adam", "momentum": 0.9}, {"optimizer": "sgd", "momentum": 0.0}])
def test_a_momentum_that_is_none_cannot_look_ahead(refused, wrong):
    with refused("nesterov", "momentum"):
        Recipe(nesterov=True, **wrong)


@pytest.mark.parametrize(
    ("settings", "rates"),
    [
        ({}, [0.8] * 6),
        # Quarters on the way to the full rate.
        ({"warm_up_epochs": 3}, [0.2, 0.4, 0.6, 0.8, 0.8, 0.8]),
        ({"step_epochs": 2}, [0.8, 0.8, 0.4, 0.4, 0.2, 0.2]),
        ({"step_epochs": 1, "step_factor": 0.1}, [0.8, 0.08, 0.008, 0.0008, 0.00008, 0.000008]),
        ({"warm_up_epochs": 1, "step_epochs": 3}, [0.4, 0.8, 0.8, 0.4, 0.4, 0.4]),
        ({"step_epochs": 2, "step_factor": 1}, [0.8] * 6),
    ],
)
def test_the_rate_of_each_epoch_by_hand(settings, rates):
    recipe = Recipe(learning_rate=0.8, **settings)
    assert [recipe.rate(epoch) for epoch in range(1, 7)] == pytest.approx(rates)


def rates_of_torch(schedule, epochs):
    """Those of one of torch's schedules, with a step per epoch."""
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.8)
    scheduler = schedule(optimizer)
    for epoch in range(epochs):
        yield optimizer.param_groups[0]["lr"]
        optimizer.step()
        if epoch < epochs - 1:
            scheduler.step()


@pytest.mark.parametrize("epochs", [4, 5, 7, 10, 30, 100])
def test_cosine_and_one_cycle_are_torch_s(epochs):
    cosine = Recipe(learning_rate=0.8, schedule="cosine", schedule_epochs=epochs)
    theirs = list(rates_of_torch(lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, epochs), epochs))
    assert [cosine.rate(epoch) for epoch in range(1, epochs + 1)] == pytest.approx(theirs)
    cycle = Recipe(learning_rate=0.8, schedule="one-cycle", schedule_epochs=epochs)
    theirs = list(rates_of_torch(lambda o: torch.optim.lr_scheduler.OneCycleLR(o, 0.8, total_steps=epochs), epochs))
    assert [cycle.rate(epoch) for epoch in range(1, epochs + 1)] == pytest.approx(theirs)


@pytest.mark.parametrize("schedule", ["cosine", "one-cycle"])
def test_a_schedule_that_has_ended_keeps_its_last_rate(schedule):
    recipe = Recipe(schedule=schedule, schedule_epochs=6)
    assert 0 < recipe.rate(6) < recipe.rate(5)
    assert {recipe.rate(epoch) for epoch in (6, 7, 100)} == {recipe.rate(6)}


def test_a_cosine_falls_after_warm_up():
    recipe = Recipe(learning_rate=0.8, schedule="cosine", schedule_epochs=5, warm_up_epochs=3)
    assert [recipe.rate(epoch) for epoch in range(1, 7)] == pytest.approx([0.2, 0.4, 0.6, 0.8, 0.4, 0.4])


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"schedule": "cosine"}, ("schedule_epochs are None", "from 1")),
        ({"schedule": "cosine", "schedule_epochs": 3, "warm_up_epochs": 3}, ("schedule_epochs are 3", "from 4")),
        ({"schedule": "one-cycle", "schedule_epochs": 3}, ("schedule_epochs are 3", "from 4")),
        ({"schedule": "one-cycle", "schedule_epochs": 9, "warm_up_epochs": 1}, ("warm_up_epochs 1", "one-cycle")),
        ({"schedule": "cosine", "schedule_epochs": 9, "step_epochs": 2}, ("cosine", "step_epochs 2")),
    ],
)
def test_parts_of_schedules_that_do_not_go_together_are_one_sentence(refused, settings, sentence):
    with refused(*sentence):
        Recipe(**settings)
