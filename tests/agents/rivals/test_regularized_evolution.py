"""Regularized evolution: Algorithm 1 of Real et al., step by step."""

from collections import Counter

import pytest
from episodes import episode
from hypothesis import given
from hypothesis import strategies as st

from agents.rivals.regularized_evolution import RegularizedEvolution
from marl_hpo_env import InputError, Layer, SearchSpace
from marl_hpo_env.testing import space_of


def started(space, seed=0, **settings):
    learner = RegularizedEvolution(**settings)
    learner.reset(space, seed)
    return learner


def distance(a, b):
    return sum(x != y for x, y in zip(a, b, strict=True))


@pytest.mark.parametrize(
    "setting",
    [
        {"population_size": 0},
        {"population_size": 2.5},
        {"population_size": True},
        {"sample_size": 0},
        {"sample_size": 21},
        {"sample_size": 4, "population_size": 3},
        {"sample_size": "5"},
    ],
)
def test_a_setting_outside_its_range_is_refused_by_name_and_value(setting):
    name, value = next(iter(setting.items()))
    with pytest.raises(InputError, match=f"^The setting {name} is {value!r}"):
        RegularizedEvolution(**setting)


def test_the_population_begins_uniform():
    # 6 designs, 600 draws: 100 each, standard deviation 9.1.
    drawn = Counter(started(space_of(2, 3), seed).ask(1)[0] for seed in range(600))
    assert len(drawn) == 6
    assert all(60 <= count <= 140 for count in drawn.values())


def test_a_child_is_a_mutation_of_the_best_of_its_sample():
    # 12 draws from 3 all miss the best in (2/3)^12 = 0.8% of all samples.
    space = space_of(9, 9, 9, 9)
    learner = started(space, population_size=12, sample_size=12)
    designs = learner.ask(12)
    learner.tell([episode(designs[p % 3], float(p % 3)) for p in range(12)])
    children = learner.ask(200)
    assert sum(distance(child, designs[2]) == 1 for child in children) >= 190


def test_a_sample_of_one_makes_parents_of_all_alike():
    learner = started(space_of(9, 9, 9, 9), population_size=2, sample_size=1)
    low, high = learner.ask(2)
    learner.tell([episode(low, 0.0), episode(high, 1.0)])
    # Binomial, 400 and 1/2: standard deviation 10.
    assert 150 <= sum(distance(child, low) == 1 for child in learner.ask(400)) <= 250


def test_the_oldest_dies_even_if_it_is_the_best():
    learner = started(space_of(9, 9, 9, 9), population_size=3, sample_size=3)
    best, second, third = learner.ask(3)
    learner.tell([episode(best, 9.0), episode(second, 0.0), episode(third, 0.0)])
    while distance(child := learner.ask(1)[0], best) != 1:
        pass
    learner.tell([episode(child, -1.0)])
    parents = (second, third, child)
    assert all(any(distance(next_one, parent) == 1 for parent in parents) for next_one in learner.ask(100))
    # `child` itself is a neighbour of the best; its own children can be too, on the same layer, but not those of the others.
    assert sum(distance(next_one, second) == 1 or distance(next_one, third) == 1 for next_one in learner.ask(100)) > 50


def test_a_mutation_draws_the_layer_then_the_hyperparameter_then_another_value():
    space = SearchSpace(
        [
            Layer("a", "Conv2d", {"out_channels": (8, 16, 32, 64), "kernel_size": (1, 3), "stride": (1,)}),
            Layer("fixed", "Conv2d", {"out_channels": (8,)}),
            Layer("b", "Linear", {"out_features": (8, 16, 32)}),
        ]
    )
    learner = started(space, population_size=1, sample_size=1)
    (parent,) = learner.ask(1)
    learner.tell([episode(parent, 1.0)])
    before = space.hyperparameters(parent)
    changes = Counter()
    for child in learner.ask(1200):
        after = space.hyperparameters(child)
        (change,) = [
            (name, key, after[name][key])
            for name in after
            for key in after[name]
            if after[name][key] != before[name][key]
        ]
        changes[change] += 1
    # 1/2 x 1/2 x 1/3 of 1200 = 100 for each other width, 1/2 x 1/2 = 300 for the kernel, 1/2 x 1/2 = 300 for each of b's.
    assert Counter(change[:2] for change in changes) == {
        ("a", "out_channels"): 3,
        ("a", "kernel_size"): 1,
        ("b", "out_features"): 2,
    }
    expected = {("a", "out_channels"): 100, ("a", "kernel_size"): 300, ("b", "out_features"): 300}
    assert all(abs(count - expected[change[:2]]) < 75 for change, count in changes.items())


def test_it_ends_when_every_design_was_asked_for():
    learner = started(space_of(2, 2), population_size=2, sample_size=1)
    asked = []
    while designs := learner.ask(3):
        asked += designs
        learner.tell([episode(design, 1.0) for design in designs])
    assert set(asked) == {(0, 0), (0, 1), (1, 0), (1, 1)}


@given(st.integers(0, 2**32 - 1), st.integers(1, 5), st.integers(1, 7))
def test_after_the_first_population_every_design_is_one_mutation_from_the_population(seed, population_size, batch):
    learner = started(space_of(5, 4, 6), seed, population_size=population_size, sample_size=1)
    history = []
    while len(history) < 40:
        designs = learner.ask(batch)
        if len(history) >= population_size:
            population = history[-population_size:]
            assert all(any(distance(design, parent) == 1 for parent in population) for design in designs)
        history += designs
        learner.tell([episode(design, float(sum(design))) for design in designs])
