"""Dominance against its definition, volumes against counted unit cells."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from marl_hpo_env.pareto import hypervolume, nadir, non_dominated

SIDE = 5


@st.composite
def grid_points(draw):
    """Points on a small grid, so that ties and duplicates are common."""
    shape = (draw(st.integers(0, 12)), draw(st.integers(1, 4)))
    return draw(arrays(float, shape, elements=st.integers(0, SIDE + 1).map(float)))


def dominates(a, b):
    return (a <= b).all() and (a < b).any()


def covered_cells(points, objectives):
    """The unit cells of the grid below (SIDE, ..., SIDE) whose lower corner is covered: the volume, counted."""
    return sum(
        any((point <= corner).all() for point in points)
        for corner in np.array(list(itertools.product(range(SIDE), repeat=objectives)), dtype=float)
    )


def test_the_front_by_hand():
    #            kept     kept     dominated by (2, 3)  a duplicate is kept too  ties with (1, 5), worse elsewhere
    points = [[1, 5], [2, 3], [3, 3], [2, 3], [1, 6], [4, 1]]
    assert non_dominated(points).tolist() == [True, True, False, True, False, True]


def test_the_volume_by_hand():
    # Below (6, 6): columns of 1 x 1, 2 x 3 and 2 x 5.
    assert hypervolume([[1, 5], [2, 3], [4, 1]], [6, 6]) == 1 + 6 + 10
    # Two boxes, 2*2*1 and 1*1*3, that share 1*1*1.
    assert hypervolume([[0, 0, 2], [1, 1, 0]], [2, 2, 3]) == 4 + 3 - 1
    assert hypervolume([[1], [3]], [4]) == 3


@given(grid_points())
def test_kept_is_what_nothing_dominates(points):
    expected = [not any(dominates(other, point) for other in points) for point in points]
    assert non_dominated(points).tolist() == expected


@given(arrays(float, (8, 2), elements=st.floats(allow_nan=False)))
def test_any_floats_have_a_front(points):
    expected = [not any(dominates(other, point) for other in points) for point in points]
    assert non_dominated(points).tolist() == expected


@given(grid_points())
def test_the_volume_is_that_of_the_cells_that_are_covered(points):
    objectives = points.shape[1]
    assert hypervolume(points, [SIDE] * objectives) == pytest.approx(covered_cells(points, objectives))


@given(grid_points(), st.data())
def test_a_further_point_never_makes_the_volume_smaller(points, data):
    reference = [SIDE] * points.shape[1]
    fewer = points[: data.draw(st.integers(0, len(points)))]
    assert hypervolume(fewer, reference) <= hypervolume(points, reference) + 1e-9


@given(grid_points(), st.randoms(use_true_random=False))
def test_only_the_front_counts_and_its_order_does_not(points, random):
    reference = [SIDE] * points.shape[1]
    front = points[non_dominated(points)]
    shuffled = front[random.sample(range(len(front)), len(front))]
    assert hypervolume(shuffled, reference) == pytest.approx(hypervolume(points, reference))


@pytest.mark.parametrize("outside", [[2, 0, 0], [0, 3, 0], [np.inf, -5, -5]])
def test_points_outside_the_reference_contribute_nothing(outside):
    inside = [[1, 1, 1]]
    assert hypervolume([outside], [2, 2, 2]) == 0
    assert hypervolume([*inside, outside], [2, 2, 2]) == hypervolume(inside, [2, 2, 2]) == 1


def test_the_volume_agrees_with_monte_carlo():
    rng = np.random.default_rng(0)
    points, drawn = rng.random((40, 3)) ** 0.5, rng.random((20_000, 3))
    share = (points[None] <= drawn[:, None]).all(axis=2).any(axis=1).mean()
    # Standard deviation below 0.5 / sqrt(20,000) = 0.0035.
    assert hypervolume(points, [1, 1, 1]) == pytest.approx(share, abs=0.015)


def test_a_hundred_thousand_points_on_one_front():
    x = np.random.default_rng(0).permutation(100_000) / 100_000
    points = np.column_stack([x, 1 - x])
    assert non_dominated(points).all()
    assert hypervolume(points, [1, 1]) == pytest.approx(0.5, abs=1e-4)


@pytest.mark.parametrize("points", [[[1, np.inf]], [[1, np.inf], [2, np.inf]], [[1, np.inf], [2, 3], [np.inf, np.inf]]])
def test_a_point_that_is_infinite_in_one_objective_is_kept_where_it_is_best_in_the_other(points):
    assert non_dominated(points)[0]
    expected = [not any(dominates(np.array(b), np.array(a)) for b in points) for a in points]
    assert non_dominated(points).tolist() == expected


def test_the_volume_of_one_objective_is_a_length():
    assert hypervolume([[0.98], [0.99]], [1]) == pytest.approx(0.02)
    assert hypervolume([[1.5], [1]], [1]) == 0


def test_no_points_cover_nothing():
    assert hypervolume([], [1, 1]) == 0
    assert hypervolume(np.empty((0, 2)), [1, 1]) == 0
    assert non_dominated([]).tolist() == []


def test_what_cannot_be_compared_is_refused(refused):
    with refused("NaN", "did not complete"):
        non_dominated([[0.0, np.nan]])
    with refused("(3,)", "one row per point"):
        non_dominated([1, 2, 3])
    with refused("2 objectives", "reference 3"):
        hypervolume([[0, 0]], [1, 1, 1])
    with refused("[inf, 1.0]", "finite"):
        hypervolume([[0, 0]], [np.inf, 1])
    with refused("minus infinity"):
        hypervolume([[0, -np.inf]], [1, 1])


def test_the_nadir_is_the_worst_in_the_front_alone(refused):
    assert nadir([[1, 5], [2, 3], [4, 1], [9, 9], [2, 4]]).tolist() == [4, 5]
    assert nadir([[1, 1], [2, 2]]).tolist() == [1, 1]
    with refused("no points"):
        nadir(np.zeros((0, 2)))
