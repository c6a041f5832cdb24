"""Random search: uniform, without repeats, and a function of its seed."""

import itertools
from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from agents import Episode, RandomSearch
from marl_hpo_env.testing import space_of


def started(space, seed=0):
    learner = RandomSearch()
    learner.reset(space, seed)
    return learner


def test_every_design_comes_once_and_then_there_is_none():
    learner = started(space_of(2, 3, 2))
    designs = learner.ask(1000)
    assert sorted(designs) == list(itertools.product(range(2), range(3), range(2)))
    assert learner.ask(1) == []


def test_no_design_is_repeated_from_one_ask_to_the_next():
    learner = started(space_of(3, 3))
    designs = [design for _ in range(9) for design in learner.ask(1)]
    assert len(set(designs)) == 9


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(1, 4), min_size=1, max_size=4), st.integers(0, 2**32 - 1), st.integers(1, 9))
def test_designs_depend_on_the_seed_alone_and_not_on_how_many_are_asked_at_a_time(sizes, seed, batch):
    space = space_of(*sizes)
    at_once = started(space, seed).ask(20)
    in_batches = started(space, seed)
    collected = []
    while len(collected) < 20 and (asked := in_batches.ask(min(batch, 20 - len(collected)))):
        collected += asked
    assert collected == at_once
    assert all(space.check(design) == design for design in at_once)


def test_what_it_is_told_changes_nothing():
    space = space_of(4, 4)
    told, untold = started(space), started(space)
    first = told.ask(5)
    assert untold.ask(5) == first
    told.tell([Episode(design, 100.0, {}, False) for design in first])
    assert told.ask(5) == untold.ask(5)


def test_reset_begins_again():
    space = space_of(4, 4)
    learner = started(space, seed=3)
    first = learner.ask(16)
    learner.reset(space, 3)
    assert learner.ask(16) == first


def test_different_seeds_give_different_designs():
    space = space_of(9, 9, 9)
    assert started(space, 0).ask(10) != started(space, 1).ask(10)


def test_the_first_design_is_uniform():
    # 6 designs, 600 seeds: 100 each, standard deviation sqrt(600 * 1/6 * 5/6) = 9.1.
    drawn = Counter(started(space_of(2, 3), seed).ask(1)[0] for seed in range(600))
    assert len(drawn) == 6
    assert all(60 <= count <= 140 for count in drawn.values())


def test_a_space_too_large_to_enumerate_is_sampled_at_once():
    designs = started(space_of(*[20] * 100)).ask(50)
    assert len(set(designs)) == 50
