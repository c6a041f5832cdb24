"""Local search: the best of some starts; every neighbour, once; the first that is better; new starts at a local optimum."""

import itertools

import pytest
from episodes import episode
from hypothesis import given
from hypothesis import strategies as st

from agents.rivals.local_search import LocalSearch
from marl_hpo_env import InputError, Layer, SearchSpace
from marl_hpo_env.testing import space_of


def started(space, seed=0, initial_designs=1):
    learner = LocalSearch(initial_designs)
    learner.reset(space, seed)
    return learner


def next_told(learner, reward):
    """Asks for one design and tells its reward."""
    (design,) = learner.ask(1)
    learner.tell([episode(design, reward)])
    return design


def distance(a, b):
    return sum(x != y for x, y in zip(a, b, strict=True))


def test_a_neighbour_differs_in_one_hyperparameter_of_one_layer():
    # 3 x 2 + 2 actions: of each design (3 - 1) + (2 - 1) + (2 - 1) = 4 neighbours.
    space = SearchSpace(
        [
            Layer("a", "Conv2d", {"out_channels": (8, 16, 32), "kernel_size": (1, 3)}),
            Layer("b", "Linear", {"out_features": (8, 16)}),
        ]
    )
    learner = started(space)
    start = space.hyperparameters(next_told(learner, 1.0))
    neighbours = [space.hyperparameters(next_told(learner, 0.0)) for _ in range(4)]
    differences = [
        [(name, key) for name in start for key in start[name] if neighbour[name][key] != start[name][key]]
        for neighbour in neighbours
    ]
    assert sorted(differences) == [
        [("a", "kernel_size")],
        [("a", "out_channels")],
        [("a", "out_channels")],
        [("b", "out_features")],
    ]


def test_it_moves_to_the_first_neighbour_that_is_better():
    learner = started(space_of(9, 9, 9))
    start = next_told(learner, 0.0)
    assert distance(next_told(learner, -1.0), start) == 1
    better = next_told(learner, 1.0)
    assert distance(better, start) == 1
    # 24 neighbours, of which the start and, on the same line, two that may be known already are not asked for again.
    around = [next_told(learner, 0.5) for _ in range(20)]
    assert all(distance(design, better) == 1 for design in around)


def test_an_equal_neighbour_is_not_better():
    learner = started(space_of(9, 9))
    start = next_told(learner, 1.0)
    assert all(distance(next_told(learner, 1.0), start) == 1 for _ in range(16))


def test_at_a_local_optimum_it_starts_again_even_from_what_is_worse():
    learner = started(space_of(5, 5, 5), seed=1)
    start = next_told(learner, 1.0)
    neighbours = [next_told(learner, 0.0) for _ in range(12)]
    assert all(distance(design, start) == 1 for design in neighbours)
    again = next_told(learner, -3.0)
    assert distance(again, start) > 1
    assert distance(next_told(learner, -4.0), again) == 1


def test_it_climbs_from_the_best_of_ten_and_at_a_local_optimum_from_the_best_of_ten_others():
    learner = LocalSearch()
    learner.reset(space_of(9, 9, 9, 9), seed=0)
    for climb in range(3):
        # The third is the best, and the first of two equals.
        starts = [next_told(learner, reward - 10.0 * climb) for reward in (3, 1, 5, 5, 0, 4, 2, 4.5, 1, 0)]
        # 32 neighbours, less those that are known already; none is better.
        neighbours = [next_told(learner, -99.0) for _ in range(28)]
        assert all(distance(design, starts[2]) == 1 for design in neighbours)
        assert sum(distance(design, starts[2]) > 1 for design in starts) == 9
        while learner._moves:
            next_told(learner, -99.0)


def test_neighbours_fill_the_batch_of_the_last_starts():
    learner = started(space_of(9, 9, 9), initial_designs=10)
    first = learner.ask(8)
    learner.tell([episode(design, float(p)) for p, design in enumerate(first)])
    second = learner.ask(8)
    assert all(distance(design, first[7]) == 1 for design in second[2:])
    learner.tell([episode(design, 9.0 if p == 1 else 0.0) for p, design in enumerate(second)])
    assert all(distance(design, second[1]) == 1 for design in learner.ask(8))


def test_a_climb_that_goes_on_has_no_further_starts():
    learner = started(space_of(4, 4, 4), initial_designs=3)
    for _ in range(3):
        next_told(learner, 1.0)
    batch = learner.ask(len(learner._moves) + 1)  # all neighbours but known ones, and starts of the next climb
    learner.tell([episode(design, 2.0 if p == 0 else 0.0) for p, design in enumerate(batch)])
    assert all(distance(design, batch[0]) == 1 for design in learner.ask(3))


@pytest.mark.parametrize("value", [0, 2.5, True])
def test_a_setting_outside_its_range_is_refused(value):
    with pytest.raises(InputError, match=f"^The setting initial_designs is {value}; it is a whole number from 1"):
        LocalSearch(value)


def test_of_several_starts_it_climbs_from_the_best():
    learner = started(space_of(9, 9, 9))
    starts = learner.ask(4)
    learner.tell([episode(design, reward) for design, reward in zip(starts, (1.0, 3.0, 2.0, 3.0), strict=True)])
    assert all(distance(design, starts[1]) == 1 for design in learner.ask(10))


def test_starts_that_fill_a_batch_do_not_end_a_climb_that_goes_on():
    learner = started(space_of(4, 4, 4))
    start = next_told(learner, 1.0)
    batch = learner.ask(11)  # the 9 neighbours and 2 starts
    assert [distance(design, start) == 1 for design in batch] == [True] * 9 + [False] * 2
    better = batch[0]
    learner.tell([episode(design, 2.0 if design == better else 0.0) for design in batch])
    assert all(distance(design, better) == 1 for design in learner.ask(3))


def test_starts_that_fill_the_batch_of_a_local_optimum_are_climbed_from():
    learner = started(space_of(4, 4, 4))
    next_told(learner, 1.0)
    batch = learner.ask(11)
    learner.tell([episode(design, 0.0 if p < 9 else p - 20.0) for p, design in enumerate(batch)])
    (neighbour,) = learner.ask(1)
    assert distance(neighbour, batch[10]) == 1


@given(
    st.lists(st.integers(1, 4), min_size=1, max_size=4),
    st.integers(0, 2**32 - 1),
    st.integers(1, 9),
    st.integers(1, 12),
)
def test_every_design_comes_once_and_then_there_is_none(sizes, seed, batch, initial_designs):
    learner = started(space_of(*sizes), seed, initial_designs)
    asked = []
    while designs := learner.ask(batch):
        asked += designs
        learner.tell([episode(design, float(hash(design) % 7)) for design in designs])
    assert sorted(asked) == list(itertools.product(*map(range, sizes)))
