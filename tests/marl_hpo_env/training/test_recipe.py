"""The learning rate by epoch, and what a recipe refuses."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marl_hpo_env import Recipe


def test_the_rate_warms_up_and_then_steps():
    recipe = Recipe(learning_rate=0.8, warm_up_epochs=3, step_epochs=5, step_factor=0.5)
    # Quarters of the full rate; then full until epoch 5 has passed; then half, and a quarter after epoch 10.
    assert [recipe.rate(epoch) for epoch in range(1, 12)] == pytest.approx(
        [0.2, 0.4, 0.6, 0.8, 0.8, 0.4, 0.4, 0.4, 0.4, 0.4, 0.2]
    )


@given(st.integers(1, 600))
def test_without_a_schedule_the_rate_is_one(epoch):
    assert Recipe(learning_rate=0.3).rate(epoch) == 0.3


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"nesterov": True}, "needs the optimizer 'sgd' with a momentum above 0"),
        ({"nesterov": True, "optimizer": "sgd"}, "needs the optimizer 'sgd' with a momentum above 0"),
        ({"decayed": "biases"}, "There is no part that decays 'biases'"),
        ({"warm_up_epochs": -1}, "warm_up_epochs is -1; it is a whole number from 0"),
        ({"step_epochs": 0}, "step_epochs is 0; it is a whole number from 1"),
        ({"step_factor": 0}, "step_factor is 0; it is above 0 and at most 1"),
        ({"step_factor": 2.0}, "step_factor is 2.0; it is above 0 and at most 1"),
        ({"initialization": "hee"}, "There is no initialization 'hee'"),
    ],
)
def test_what_is_outside_its_range_is_one_sentence(settings, sentence, refused):
    with refused(sentence):
        Recipe(**settings)
