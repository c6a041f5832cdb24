"""The statistics against their definitions, by hand and as scipy has them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import mannwhitneyu, trim_mean

from experiments.comparison.statistics import (
    bootstrap,
    interquartile_mean,
    median_attainment,
    performance_profile,
    probability_of_improvement,
)

TASKS = 3


def scores():
    """Few different values, so that ties are common."""
    values = st.integers(-4, 4).map(float)
    return st.integers(2, 8).flatmap(lambda n: arrays(float, (n, TASKS), elements=values))


def shuffled(matrix, random):
    """The same runs, in another order within each task."""
    columns = [random.sample(column.tolist(), len(column)) for column in matrix.T]
    return np.array(columns).T


# --- the interquartile mean ------------------------------------------------------------------------------------------


def test_the_interquartile_mean_by_hand():
    assert interquartile_mean(np.array([[0.0, 1.0], [100.0, 3.0]])) == 2  # 1 and 3, of 4
    # Of 6 runs, 6 // 4 = 1 goes at either end: 2, 3, 4 and 7 stay.
    assert interquartile_mean(np.array([[7.0, 1.0, 3.0], [4.0, 2.0, 90.0]])) == 4


@given(scores())
def test_the_interquartile_mean_is_scipy_s_trimmed_mean(matrix):
    assert interquartile_mean(matrix) == pytest.approx(trim_mean(matrix, 0.25, axis=None))


# --- performance profiles --------------------------------------------------------------------------------------------


def test_the_profile_by_hand():
    matrix = np.array([[1.0, 2.0], [3.0, 2.0]])
    assert performance_profile(matrix, [0, 1, 2, 3]).tolist() == [1, 0.75, 0.25, 0]


@given(scores())
def test_a_profile_never_rises(matrix):
    assert (np.diff(performance_profile(matrix, np.linspace(-5, 5, 21))) <= 0).all()


# --- the probability of improvement ----------------------------------------------------------------------------------


def test_the_probability_of_improvement_by_hand():
    x, y = np.array([[2.0, 0.0], [4.0, 0.0]]), np.array([[1.0, 0.0], [3.0, 0.0], [4.0, 0.0]])
    # First task: 2 beats 1; 4 beats 1 and 3, and equals 4: 3.5 of 6. Second task: all equal, one half.
    assert probability_of_improvement(x, y) == pytest.approx((3.5 / 6 + 0.5) / 2)


@given(scores(), scores())
def test_one_of_two_is_better(x, y):
    assert probability_of_improvement(x, y) + probability_of_improvement(y, x) == pytest.approx(1)
    assert probability_of_improvement(x, x) == pytest.approx(0.5)


@given(scores(), scores())
def test_the_probability_of_improvement_is_scipy_s_u_statistic(x, y):
    shares = [mannwhitneyu(x[:, task], y[:, task]).statistic / (len(x) * len(y)) for task in range(TASKS)]
    assert probability_of_improvement(x, y) == pytest.approx(np.mean(shares))


# --- all of them -----------------------------------------------------------------------------------------------------

STATISTICS = {
    "interquartile mean": interquartile_mean,
    "profile": lambda x: performance_profile(x, [-1, 0, 1]),
    "improvement": lambda x: probability_of_improvement(x, np.arange(15.0).reshape(5, TASKS) - 7),
}


@pytest.fixture(params=STATISTICS)
def statistic(request):
    return STATISTICS[request.param]


@given(matrix=scores(), random=st.randoms(use_true_random=False))
def test_neither_the_order_of_the_seeds_nor_that_of_the_tasks_matters(matrix, random):
    for name in ("interquartile mean", "profile"):
        expected = STATISTICS[name](matrix)
        assert STATISTICS[name](shuffled(matrix, random)) == pytest.approx(expected)
        assert STATISTICS[name](matrix[:, random.sample(range(TASKS), TASKS)]) == pytest.approx(expected)


def test_further_axes_in_front_are_kept(statistic):
    stack = np.random.default_rng(0).normal(size=(2, 4, 5, TASKS))
    one_by_one = [[statistic(matrix) for matrix in row] for row in stack]
    np.testing.assert_allclose(statistic(stack), one_by_one)


# --- the bootstrap ---------------------------------------------------------------------------------------------------


def test_the_interval_contains_its_estimate(statistic):
    for seed in range(20):
        value, low, high = bootstrap(statistic, np.random.default_rng(seed).normal(size=(12, TASKS)), resamples=300)
        assert (low <= value).all()
        assert (value <= high).all()
        assert (low < high).all()


def test_a_task_is_resampled_by_itself():
    # Seeds of the same score in each task: whatever is drawn within a task is the same, across tasks it would not be.
    matrix = np.array([[0.0, 1.0, 5.0]] * 6)
    value, low, high = bootstrap(lambda x: x.mean(axis=(-2, -1)), matrix)
    assert value == low == high == 2


def test_the_interval_of_a_mean_is_that_of_theory():
    matrix = np.random.default_rng(0).normal(size=(200, 4))
    value, low, high = bootstrap(lambda x: x.mean(axis=(-2, -1)), matrix, resamples=4000)
    half_width = 1.96 * np.sqrt((matrix.var(axis=0) / len(matrix)).sum()) / 4
    assert (low, high) == pytest.approx((value - half_width, value + half_width), abs=0.1 * half_width)


def test_the_interval_of_an_improvement_resamples_both():
    rng = np.random.default_rng(0)
    x, y = rng.normal(1, 1, size=(40, 2)), rng.normal(0, 1, size=(30, 2))
    both = bootstrap(probability_of_improvement, x, y)
    of_x = bootstrap(lambda resampled: probability_of_improvement(resampled, y), x)
    of_y = bootstrap(lambda resampled: probability_of_improvement(x, resampled), y)
    assert 0.5 < both.low < both.value < both.high < 1
    widths = [estimate.high - estimate.low for estimate in (of_x, of_y)]
    # Independent: the squares of the widths add up.
    assert both.high - both.low == pytest.approx(np.hypot(*widths), rel=0.1)


def test_the_interval_covers_what_it_promises():
    # 300 simulations with 20 seeds; the standard deviation of the share is 0.013.
    rng, covered = np.random.default_rng(0), 0
    for simulation in range(300):
        _, low, high = bootstrap(interquartile_mean, rng.normal(size=(20, TASKS)), resamples=500, seed=simulation)
        covered += low <= 0 <= high
    assert 0.88 <= covered / 300 <= 0.98


def test_more_confidence_is_a_wider_interval_and_the_seed_decides():
    matrix = np.random.default_rng(0).normal(size=(12, TASKS))
    half, most = (bootstrap(interquartile_mean, matrix, confidence=c) for c in (0.5, 0.99))
    assert most.low < half.low < half.high < most.high
    assert bootstrap(interquartile_mean, matrix, seed=1) == bootstrap(interquartile_mean, matrix, seed=1)
    assert bootstrap(interquartile_mean, matrix, seed=1) != bootstrap(interquartile_mean, matrix, seed=2)


def test_an_estimate_reads_as_it_is_published():
    estimate = bootstrap(interquartile_mean, [[0.1, 0.5], [0.2, 0.6], [0.3, 0.7], [0.9, 0.8]])
    assert str(estimate) == "0.525 [0.35, 0.75]"


def test_what_says_nothing_is_refused(refused):
    with refused("1 seed", "at least 2"):
        bootstrap(interquartile_mean, [[1.0, 2.0]])
    with refused("(3,)", "(seeds, tasks)"):
        bootstrap(interquartile_mean, [1.0, 2.0, 3.0])
    with refused("not finite"):
        bootstrap(interquartile_mean, [[1.0], [np.nan]])
    with refused("2 and 1 tasks", "same tasks"):
        bootstrap(probability_of_improvement, np.ones((3, 2)), np.ones((3, 1)))
    with refused("95", "0.95"):
        bootstrap(interquartile_mean, np.ones((3, 2)), confidence=95)
    with refused("0 resamples"):
        bootstrap(interquartile_mean, np.ones((3, 2)), resamples=0)


# --- attainment ------------------------------------------------------------------------------------------------------


def test_the_median_attainment_surface_by_hand():
    one = np.array([[1.0, 4.0], [3.0, 1.0]])
    two = np.array([[2.0, 3.0], [4.0, 0.0]])
    three = np.array([[2.0, 2.0], [5.0, 2.0]])  # its second point is dominated by its first
    # Up to 1 only one run has anything; up to 2 they have 4, 3 and 2; up to 3: 1, 3, 2; from 4 on: 1, 0, 2.
    assert median_attainment([one, two, three]).tolist() == [[2.0, 3.0], [3.0, 2.0], [4.0, 1.0]]
    # Of two runs, one is half.
    assert median_attainment([one, two]).tolist() == [[1.0, 4.0], [2.0, 3.0], [3.0, 1.0], [4.0, 0.0]]
    assert median_attainment([one]).tolist() == one.tolist()
    assert median_attainment([np.zeros((0, 2)), np.zeros((0, 2)), one]).shape == (0, 2)


@given(
    st.lists(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=6), min_size=1, max_size=5)
)
def test_a_point_is_above_the_median_surface_if_at_least_half_of_the_runs_attain_it(runs):
    surface = median_attainment([np.array(points, dtype=float) for points in runs])
    for x in range(6):
        for y in range(6):
            attained = sum(any(a <= x and b <= y for a, b in points) for points in runs)
            assert any(a <= x and b <= y for a, b in surface) == (2 * attained >= len(runs))
