"""Local search: every neighbour, once; the first that is better; a new start at a local optimum."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from agents import Episode
from agents.local_search import LocalSearch
from marl_hpo_env import Layer, SearchSpace


def space_of(*sizes):
    return SearchSpace(Layer(f"layer{p}", "Linear", {"out_features": range(size)}) for p, size in enumerate(sizes))


def started(space, seed=0):
    learner = LocalSearch()
    learner.reset(space, seed)
    return learner


def episode(design, reward):
    return Episode(design, reward, {}, False)


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


@given(st.lists(st.integers(1, 4), min_size=1, max_size=4), st.integers(0, 2**32 - 1), st.integers(1, 9))
def test_every_design_comes_once_and_then_there_is_none(sizes, seed, batch):
    learner = started(space_of(*sizes), seed)
    asked = []
    while designs := learner.ask(batch):
        asked += designs
        learner.tell([episode(design, float(hash(design) % 7)) for design in designs])
    assert sorted(asked) == list(itertools.product(*map(range, sizes)))
