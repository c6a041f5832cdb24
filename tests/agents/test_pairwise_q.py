"""The paper's learner against numbers worked out by hand from Algorithms 1 to 3 and VI-D, and against its invariants.

Every expected number is derived in the comment above it. Unless a test says otherwise, alpha is 0.95 and gamma 0.9.
"""

import csv
import itertools
import math
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents import Episode, PairwiseQ, play
from agents.pairwise_q import QTable
from agents.playing import begin
from marl_hpo_env import Game, InputError, Layer, SearchSpace, env
from marl_hpo_env.testing import chain

ALMOST_NEVER_RANDOM = 1e-12
"""An epsilon decay: the first episode of the second phase is random (epsilon is 1), every other one greedy."""


def layer(name, size, *inputs):
    return Layer(name, "Linear", {"out_features": range(size)}, inputs)


def started(space, seed=0, **options):
    learner = PairwiseQ(**options)
    learner.reset(space, seed)
    return learner


def episode(design, reward=1.0):
    return Episode(tuple(design), reward, {}, False)


def exploring(space, told=(), seed=0):
    """A learner in its first phase that knows of these designs."""
    learner = started(space, seed, exploration_episodes=100)
    learner.tell([episode(design) for design in told])
    return learner


@pytest.mark.parametrize(
    ("task", "settings", "length"),
    [
        ("vgg16-cifar10", {}, 500),  # VIII-D
        ("unet-isic18", {}, 2000),
        ("googlenet-cifar100", {"update": "averaged"}, 4500),
        ("googlenet-cifar100", {"exploration_episodes": 7}, 7),  # what is asked for counts
        ("resnet18-cifar10", {}, 15),  # no task of the paper's: 1.25 times the 12 cells of the larger table
        ("digits-unet", {}, 15),
    ],
)
def test_the_first_phase_is_as_long_as_the_paper_says_in_its_own_tasks(task, settings, length):
    class Environment:
        space = chain(2, 3, 4)

    Environment.unwrapped, Environment.task = Environment, SimpleNamespace(name=task)
    learner = PairwiseQ(**settings)
    begin(Environment, learner, 0)
    assert learner.exploration_length == length
    Environment.task.name = "digits-convnet"  # the same learner in another task
    begin(Environment, learner, 0)
    assert learner.exploration_length == settings.get("exploration_episodes", 15)


def fill(learner, pair, rows):
    """Sets cells of a table; None leaves one unvisited."""
    for row, values in enumerate(rows):
        for column, value in enumerate(values):
            if value is not None:
                learner.tables[pair].update(row, column, value)


def exploiting(space, tables, seed=0, **options):
    """A learner with these tables whose next design is greedy."""
    learner = started(space, seed, exploration_episodes=0, epsilon_decay=ALMOST_NEVER_RANDOM, **options)
    learner.ask(1)
    for pair, rows in tables.items():
        fill(learner, pair, rows)
    return learner


def next_action(learner, space, picks):
    """What the agent after these picks answers."""
    game = Game(space)
    for pick in picks:
        learner.act(game.agent, {"observation": game.observe(game.turn), "action_mask": None})
        game.pick(pick)
    return learner.act(game.agent, {"observation": game.observe(game.turn), "action_mask": None})


def play_one(learner, space):
    """One episode as a user's own loop over the game makes it."""
    game = Game(space)
    while not game.design_complete:
        game.pick(learner.act(game.agent, {"observation": game.observe(game.turn), "action_mask": None}))
    return game.design


def values(learner, pair):
    return learner.tables[pair].q


# --- tables and phases (V-D, VI) -------------------------------------------------------------------------------------


def test_there_is_one_table_of_zeros_per_pair_of_connected_layers():
    space = SearchSpace([layer("a", 2), layer("b", 3, "a"), layer("c", 1, "a"), layer("d", 2, "b", "c")])
    tables = started(space).tables
    assert {pair: (len(t.q), len(t.q[0])) for pair, t in tables.items()} == {
        (0, 1): (2, 3),
        (0, 2): (2, 1),
        (1, 3): (3, 2),
        (2, 3): (1, 2),
    }
    assert all(value == 0 for table in tables.values() for row in table.q for value in row)


# 1.25 x the largest table, rounded up: 1.25 x 2 x 3 = 7.5; 1.25 x 20^2 = 500 (VGG-16); 1.25 x 42^2 = 2205 (U-Net).
@pytest.mark.parametrize(("sizes", "length"), [((2, 3, 2), 8), ((20, 20, 2), 500), ((2, 42, 42), 2205), ((5,), 7)])
def test_exploration_takes_a_quarter_more_episodes_than_the_largest_table_has_cells(sizes, length):
    learner = started(chain(*sizes))
    assert learner.exploration_length == length
    assert learner.total_episodes == length + 400


def test_phases_have_the_lengths_that_are_set_and_then_the_learner_is_finished():
    learner = started(chain(4, 4), exploration_episodes=3, max_exploitation_episodes=4, epsilon_decay=1.0)
    assert learner.phase == "exploration"
    assert len(learner.ask(2)) == 2
    assert learner.phase == "exploration"
    assert len(learner.ask(1)) == 1
    assert learner.phase == "exploration-exploitation"
    assert not learner.finished
    assert len(learner.ask(100)) == 4
    assert learner.finished
    assert learner.ask(1) == []


def test_reset_forgets_everything():
    space = chain(3, 3, 3)
    learner = started(space, seed=5, exploration_episodes=4)
    first = learner.ask(8)
    learner.tell([episode(design) for design in first])
    learner.reset(space, 5)
    assert learner.ask(8) == first
    assert values(learner, (0, 1)) == [[0.0] * 3] * 3
    assert learner.greedy_design is None


def test_reset_forgets_whether_the_next_episode_was_to_be_greedy():
    space = chain(30, 30)
    learner = started(space, seed=5, exploration_episodes=0, epsilon_decay=ALMOST_NEVER_RANDOM)
    first = learner.ask(2)  # ends before the greedy second one
    assert len(first) == 1
    learner.reset(space, 5)
    assert learner.ask(2) == first


@pytest.mark.parametrize(
    "setting",
    [
        {"alpha": 0},
        {"alpha": 1.1},
        {"alpha_decay": 0},
        {"epsilon_decay": 1.5},
        {"epsilon_decay": math.nan},
        {"gamma": -0.1},
        {"gamma": 1.1},
        {"update": "mean"},
        {"epsilon_per": "layer"},
        {"next_unvisited": "cell"},
        {"exploration_episodes": -1},
        {"max_exploitation_episodes": -1},
        {"convergence_episodes": 0},
    ],
)
def test_a_setting_outside_its_range_is_refused_by_name_and_value(setting):
    ((name, value),) = setting.items()
    with pytest.raises(InputError, match=name) as refusal:
        PairwiseQ(**setting)
    assert str(value) in str(refusal.value)


def test_settings_at_the_ends_of_their_ranges_are_taken():
    ends = {"alpha": 1, "alpha_decay": 1, "epsilon_decay": 1, "exploration_episodes": 0, "convergence_episodes": 1}
    learner = started(chain(2, 2), gamma=0, max_exploitation_episodes=1, **ends)
    learner.tell([episode(design, 10.0) for design in learner.ask(1)])
    assert sorted(value for row in values(learner, (0, 1)) for value in row) == [0.0, 0.0, 0.0, 10.0]
    assert learner.finished
    started(chain(2, 2), gamma=1)
    assert started(chain(2, 2), exploration_episodes=1, max_exploitation_episodes=0).total_episodes == 1


@pytest.mark.parametrize("name", ["alpha", "alpha_decay", "epsilon_decay", "gamma"])
@pytest.mark.parametrize("value", ["0.5", None, True, [0.5]])
def test_a_rate_that_is_no_number_is_refused_by_name_and_value(refused, name, value):
    with refused(name, repr(value)):
        PairwiseQ(**{name: value})


# --- Algorithm 1: exploration ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(8))
def test_algorithm_1_the_first_pair_takes_the_one_unvisited_cell(seed):
    space = chain(2, 2)
    # Of the cells (0,0), (0,1), (1,0), (1,1) the first three are visited.
    assert exploring(space, [(0, 0), (0, 1), (1, 0)], seed).ask(1) == [(1, 1)]


def test_algorithm_1_draws_the_first_pair_uniformly_from_the_unvisited_cells():
    space = chain(2, 3)
    # Unvisited: (0,2), (1,0), (1,1), (1,2). Each has 1/4 of 400 draws: 100, standard deviation sqrt(400*1/4*3/4) = 8.7.
    # A uniform row would draw (0,2) 200 times.
    drawn = Counter(exploring(space, [(0, 0), (0, 1)], seed).ask(1)[0] for seed in range(400))
    assert set(drawn) == {(0, 2), (1, 0), (1, 1), (1, 2)}
    assert all(60 <= count <= 140 for count in drawn.values())


@pytest.mark.parametrize("seed", range(8))
def test_algorithm_1_the_next_agents_take_an_unvisited_cell_of_the_row_they_stand_in(seed):
    space = chain(2, 2, 3)
    # Row 1 of the second table has columns 0 and 2 visited; row 0 has column 1.
    told = [(0, 1, 0), (0, 1, 2), (0, 0, 1)]
    assert next_action(exploring(space, told, seed), space, [1, 1]) == 1
    assert next_action(exploring(space, told, seed), space, [1, 0]) in {0, 2}


def test_algorithm_1_an_agent_with_no_unvisited_cell_in_its_row_acts_at_random():
    space = chain(2, 2, 2)
    told = [(0, 0, 0), (0, 0, 1)]
    # Row 0 of the second table is full, row 1 empty.
    actions = Counter(next_action(exploring(space, told, seed), space, [1, 0]) for seed in range(100))
    assert set(actions) == {0, 1}
    assert min(actions.values()) > 25


def test_algorithm_1_the_first_pair_acts_at_random_once_its_table_is_full():
    space = chain(2, 2)
    told = [(0, 0), (0, 1), (1, 0), (1, 1)]
    drawn = Counter(exploring(space, told, seed).ask(1)[0] for seed in range(400))
    assert set(drawn) == set(told)
    assert all(60 <= count <= 140 for count in drawn.values())


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("last", [1, 2])
def test_fork_a_first_layer_explores_while_some_table_it_feeds_has_an_unvisited_cell(seed, last):
    space = SearchSpace([layer("a", 3), layer("b", 2, "a"), layer("c", 2, "a")])
    # Rows 0 and 2 of both tables are full. Of row 1, one table is full and the other lacks column 1.
    full = [(0, 0, 0), (0, 1, 1), (2, 0, 0), (2, 1, 1)]
    told = [*full, (1, 0, 0), (1, 0, 1)] if last == 1 else [*full, (1, 0, 0), (1, 1, 0)]
    ((a, *branches),) = exploring(space, told, seed).ask(1)
    assert a == 1
    assert branches[last - 1] == 1


def test_fork_a_first_layer_draws_its_row_with_the_unvisited_cells_of_all_tables_as_weight():
    space = SearchSpace([layer("a", 2), layer("b", 4, "a"), layer("c", 4, "a")])
    # Row 0 lacks 2 cells in each table, 4 in all. Row 1 lacks 3 in (a, b), where column 0 was used four times, and 0 in (a, c).
    told = [(0, 0, 0), (0, 1, 1), (1, 0, 0), (1, 0, 1), (1, 0, 2), (1, 0, 3)]
    drawn = sum(exploring(space, told, seed).ask(1)[0][0] == 0 for seed in range(400))
    # 400 * 4/7 = 229, standard deviation 9.9. (By the larger of the tables, 2 and 3: 160. By either table alone: 160 or 400.)
    assert 190 <= drawn <= 268


@pytest.mark.parametrize("seed", range(8))
def test_fork_each_branch_explores_its_own_row(seed):
    space = SearchSpace([layer("a", 1), layer("b", 2, "a"), layer("c", 2, "b"), layer("d", 3, "b")])
    # Row 1 of (b, c) lacks column 0; row 1 of (b, d) lacks column 2.
    learner = exploring(space, [(0, 1, 1, 0), (0, 1, 1, 1)], seed)
    assert next_action(learner, space, [0, 1]) == 0
    assert next_action(learner, space, [0, 1, 0]) == 2


@pytest.mark.parametrize("seed", range(8))
def test_merge_explores_the_action_that_is_unvisited_in_all_incoming_rows(seed):
    space = SearchSpace([layer("a", 2), layer("b", 2), layer("c", 3, "a", "b")])
    # Row a=0 has column 0 visited, row b=0 columns 0 and 1: unvisited in 0, 1 and 2 rows.
    learner = exploring(space, [(0, 1, 0), (1, 0, 0), (1, 0, 1)], seed)
    assert next_action(learner, space, [0, 0]) == 2


@pytest.mark.parametrize("seed", range(8))
def test_merge_explores_the_action_unvisited_in_most_incoming_rows_where_none_is_so_in_all(seed):
    space = SearchSpace([layer("a", 2), layer("b", 2), layer("c", 2), layer("d", 3, "a", "b", "c")])
    # Visited in row a=0: columns 0, 2; in row b=0: 0, 1, 2; in row c=0: 2.
    # So column 0 is unvisited in one row (c), column 1 in two (a, c), column 2 in none.
    told = [(0, 1, 1, 0), (0, 1, 1, 2), (1, 0, 1, 0), (1, 0, 1, 1), (1, 0, 1, 2), (1, 1, 0, 2)]
    assert next_action(exploring(space, told, seed), space, [0, 0, 0]) == 1


def test_merge_acts_at_random_where_every_incoming_row_is_full():
    space = SearchSpace([layer("a", 1), layer("b", 1), layer("c", 2, "a", "b")])
    told = [(0, 0, 0), (0, 0, 1)]
    actions = Counter(exploring(space, told, seed).ask(1)[0][2] for seed in range(100))
    assert min(actions[0], actions[1]) > 25


def test_merge_breaks_ties_of_exploration_at_random():
    space = SearchSpace([layer("a", 1), layer("b", 1), layer("c", 3, "a", "b")])
    actions = Counter(exploring(space, [(0, 0, 1)], seed).ask(1)[0][2] for seed in range(100))
    assert set(actions) == {0, 2}
    assert min(actions.values()) > 25


@pytest.mark.parametrize("seed", range(8))
def test_diamond_explores_as_a_fork_and_as_a_merge(seed):
    space = SearchSpace([layer("a", 2), layer("b", 2, "a"), layer("c", 2, "a"), layer("d", 2, "b", "c")])
    # Row 0 of (a, b) and of (a, c) is full, so a picks 1.
    # Row 0 of (b, d) and of (c, d) lacks column 1, row 1 of both lacks column 0.
    told = [(0, 0, 0, 0), (0, 1, 1, 1)]
    ((a, *_),) = exploring(space, told, seed).ask(1)
    assert a == 1
    assert next_action(exploring(space, told, seed), space, [1, 0, 0]) == 1
    assert next_action(exploring(space, told, seed), space, [1, 1, 1]) == 0


@pytest.mark.parametrize("seed", range(4))
def test_a_single_layer_explores_each_action_once(seed):
    # A layer with no neighbour has a table of one row (ours).
    learner = started(chain(6), seed)
    assert sorted(learner.ask(6)) == [(action,) for action in range(6)]


def test_a_layer_without_neighbours_in_a_larger_space_explores_each_action_once():
    space = SearchSpace([layer("a", 2), layer("alone", 4), layer("b", 2, "a")])
    assert sorted(alone for _, alone, _ in started(space).ask(4)) == [0, 1, 2, 3]


def test_designs_that_are_asked_but_not_yet_told_count_as_explored():
    assert sorted(started(chain(3, 3)).ask(9)) == list(itertools.product(range(3), repeat=2))


# --- Algorithm 2: updates --------------------------------------------------------------------------------------------


def test_line_3_adds_alpha_times_the_reward_at_every_visit():
    learner = exploring(chain(2, 2))
    learner.tell([episode((1, 0), 10.0)])
    # 0 + 0.95 * 10
    assert values(learner, (0, 1)) == [[0.0, 0.0], [pytest.approx(9.5), 0.0]]
    learner.tell([episode((1, 0), 10.0)])
    # 9.5 + 0.95 * 10: as printed, the cell grows with its visits
    assert values(learner, (0, 1)) == [[0.0, 0.0], [pytest.approx(19.0), 0.0]]
    learner.tell([episode((1, 0), -1.0)])
    # 19 + 0.95 * -1
    assert values(learner, (0, 1))[1][0] == pytest.approx(18.05)


def test_line_3_averaged_moves_towards_the_reward():
    learner = started(chain(2, 2), exploration_episodes=100, update="averaged")
    learner.tell([episode((1, 0), 10.0), episode((1, 0), 10.0)])
    # 0.95 * 10 = 9.5; then 0.05 * 9.5 + 0.95 * 10 = 0.475 + 9.5
    assert values(learner, (0, 1)) == [[0.0, 0.0], [pytest.approx(9.975), 0.0]]


def test_lines_6_and_8_as_printed_reading_the_next_table_before_its_own_update():
    learner = exploring(chain(2, 2, 2))
    learner.tell([episode((0, 0, 0), 10.0)])
    # Row 0 of the second table is unvisited: line 6, 0 + 9.5. Last table, line 3: 0 + 9.5.
    assert values(learner, (0, 1))[0][0] == pytest.approx(9.5)
    assert values(learner, (1, 2)) == [[pytest.approx(9.5), 0.0], [0.0, 0.0]]
    learner.tell([episode((0, 0, 1), 20.0)])
    # This episode visits the row's last cell, but it is read before: line 6, 9.5 + 0.95 * 20 = 28.5. Line 3: 19.
    assert values(learner, (0, 1))[0][0] == pytest.approx(28.5)
    assert values(learner, (1, 2)) == [[pytest.approx(9.5), pytest.approx(19.0)], [0.0, 0.0]]
    learner.tell([episode((0, 0, 0), 100.0)])
    # Row 0 is full: line 8, with the row's maximum before this update, 19 (after it, it is 104.5):
    # 0.05 * 28.5 + 0.95 * (100 + 0.9 * 19) = 1.425 + 0.95 * 117.1 = 1.425 + 111.245 = 112.67. Line 3: 9.5 + 95 = 104.5.
    assert values(learner, (0, 1)) == [[pytest.approx(112.67), 0.0], [0.0, 0.0]]
    assert values(learner, (1, 2)) == [[pytest.approx(104.5), pytest.approx(19.0)], [0.0, 0.0]]


def test_lines_6_and_8_averaged():
    learner = started(chain(2, 2, 2), exploration_episodes=100, update="averaged")
    learner.tell([episode((0, 0, 0), 10.0), episode((0, 0, 1), 20.0)])
    # Line 6 averaged: 9.5, then 0.05 * 9.5 + 0.95 * 20 = 0.475 + 19 = 19.475.
    assert values(learner, (0, 1))[0][0] == pytest.approx(19.475)
    learner.tell([episode((0, 0, 0), 100.0)])
    # Line 8: 0.05 * 19.475 + 0.95 * (100 + 0.9 * 19) = 0.97375 + 111.245. Last table: 0.05 * 9.5 + 95 = 95.475.
    assert values(learner, (0, 1))[0][0] == pytest.approx(112.21875)
    assert values(learner, (1, 2))[0] == [pytest.approx(95.475), pytest.approx(19.0)]


def test_line_8_uses_the_row_that_the_design_opens_and_not_the_whole_next_table():
    learner = exploring(chain(1, 2, 2))
    fill(learner, (1, 2), [[4.0, 6.0], [90.0, 50.0]])
    learner.tell([episode((0, 0, 0), 10.0)])
    # 0.95 * (10 + 0.9 * 6) = 0.95 * 15.4
    assert values(learner, (0, 1)) == [[pytest.approx(14.63), 0.0]]


def test_line_8_follows_gamma_and_alpha():
    learner = started(chain(1, 1, 1), exploration_episodes=100, alpha=0.5, gamma=0.25)
    fill(learner, (0, 1), [[8.0]])
    fill(learner, (1, 2), [[4.0]])
    learner.tell([episode((0, 0, 0), 10.0)])
    # 0.5 * 8 + 0.5 * (10 + 0.25 * 4) = 4 + 5.5; last: 4 + 0.5 * 10
    assert values(learner, (0, 1)) == [[pytest.approx(9.5)]]
    assert values(learner, (1, 2)) == [[pytest.approx(9.0)]]


def test_line_8_with_a_row_of_negative_values_takes_the_highest_of_them():
    learner = exploring(chain(1, 1, 2))
    fill(learner, (1, 2), [[-4.0, -2.0]])
    learner.tell([episode((0, 0, 0), 10.0)])
    # The row is visited, so its maximum is -2 and not the initial 0: 0.95 * (10 - 0.9 * 2) = 0.95 * 8.2
    assert values(learner, (0, 1)) == [[pytest.approx(7.79)]]


def test_every_pair_ascending_reads_the_table_after_it_before_that_is_updated():
    learner = exploring(chain(1, 1, 1, 1))
    learner.tell([episode((0, 0, 0, 0), 10.0)])
    # All unvisited: lines 6, 6, 3.
    assert [values(learner, pair)[0][0] for pair in ((0, 1), (1, 2), (2, 3))] == pytest.approx([9.5, 9.5, 9.5])
    learner.tell([episode((0, 0, 0, 0), 10.0)])
    # Lines 8, 8, 3: 0.05 * 9.5 + 0.95 * (10 + 0.9 * 9.5) = 0.475 + 0.95 * 18.55 = 18.0975, twice; 9.5 + 9.5 = 19.
    assert [values(learner, pair)[0][0] for pair in ((0, 1), (1, 2), (2, 3))] == pytest.approx([18.0975, 18.0975, 19.0])
    learner.tell([episode((0, 0, 0, 0), 10.0)])
    # 0.05 * 18.0975 + 0.95 * (10 + 0.9 * 18.0975) = 0.904875 + 9.5 + 15.4733625 = 25.8782375
    # 0.05 * 18.0975 + 0.95 * (10 + 0.9 * 19) = 0.904875 + 9.5 + 16.245 = 26.649875; 19 + 9.5 = 28.5
    assert [values(learner, pair)[0][0] for pair in ((0, 1), (1, 2), (2, 3))] == pytest.approx(
        [25.8782375, 26.649875, 28.5]
    )


def test_a_visited_cell_whose_value_is_zero_by_chance_counts_as_visited():
    learner = exploring(chain(1, 1, 2))
    learner.tell([episode((0, 0, 0), 0.0), episode((0, 0, 1), 0.0), episode((0, 0, 0), 10.0)])
    # Line 8 with zeros: 0.95 * 10 = 9.5; the row is now [9.5, 0].
    learner.tell([episode((0, 0, 1), 10.0)])
    # Line 8: 0.05 * 9.5 + 0.95 * (10 + 0.9 * 9.5) = 0.475 + 17.6225. Were the 0 unvisited, line 6 would give 19.
    assert values(learner, (0, 1)) == [[pytest.approx(18.0975)]]


def test_line_5_asks_for_an_unvisited_cell_in_the_row_by_default_and_in_the_table_as_an_option():
    by_row, by_table = (
        started(chain(1, 2, 1), exploration_episodes=100, next_unvisited=reading) for reading in ("row", "table")
    )
    both = [by_row, by_table]
    for learner in both:
        learner.tell([episode((0, 0, 0), 10.0), episode((0, 0, 0), 10.0)])
    # The first episode: line 6, 9.5. The second: row 0 is full, row 1 is not.
    # Row: line 8, 0.05 * 9.5 + 0.95 * (10 + 0.9 * 9.5) = 18.0975. Table: line 6, 9.5 + 9.5 = 19.
    assert [values(learner, (0, 1))[0][0] for learner in both] == pytest.approx([18.0975, 19.0])
    for learner in both:
        learner.tell([episode((0, 1, 0), 0.0), episode((0, 0, 0), 10.0)])
    # Now the table is full and row 0 of it is [19]: line 8 for both, 0.95 * (10 + 0.9 * 19) = 25.745,
    # plus 0.05 * 18.0975 = 0.904875, or plus 0.05 * 19 = 0.95.
    assert [values(learner, (0, 1))[0][0] for learner in both] == pytest.approx([26.649875, 26.695])


def test_fork_stays_at_line_6_while_any_row_it_opens_has_an_unvisited_cell():
    space = SearchSpace([layer("a", 1), layer("b", 1, "a"), layer("c", 2, "b"), layer("d", 1, "b")])
    learner = exploring(space)
    learner.tell([episode((0, 0, 0, 0), 10.0), episode((0, 0, 0, 0), 10.0)])
    # (b, d) is full after the first episode, (b, c) is not: line 6 twice, 9.5 + 9.5.
    assert values(learner, (0, 1)) == [[pytest.approx(19.0)]]
    learner.tell([episode((0, 0, 1, 0), 2.0)])
    # Column 1 of (b, c) is read as unvisited: 19 + 0.95 * 2 = 20.9. Then (b, c) = [19, 1.9], (b, d) = [19 + 1.9].
    assert values(learner, (0, 1)) == [[pytest.approx(20.9)]]
    assert values(learner, (1, 2)) == [[pytest.approx(19.0), pytest.approx(1.9)]]
    assert values(learner, (1, 3)) == [[pytest.approx(20.9)]]
    learner.tell([episode((0, 0, 1, 0), 2.0)])
    # Line 8 over {19, 1.9, 20.9}: 0.05 * 20.9 + 0.95 * (2 + 0.9 * 20.9) = 1.045 + 0.95 * 20.81 = 1.045 + 19.7695.
    assert values(learner, (0, 1)) == [[pytest.approx(20.8145)]]


@pytest.mark.parametrize(("row_c", "row_d"), [([4.0, 30.0], [7.0]), ([4.0, 7.0], [30.0])])
def test_fork_backs_up_the_maximum_over_the_union_of_the_rows_it_opens(row_c, row_d):
    space = SearchSpace([layer("a", 1), layer("b", 1, "a"), layer("c", 2, "b"), layer("d", 1, "b")])
    learner = exploring(space)
    fill(learner, (1, 2), [row_c])
    fill(learner, (1, 3), [row_d])
    learner.tell([episode((0, 0, 0, 0), 10.0)])
    # 0.95 * (10 + 0.9 * 30) = 0.95 * 37
    assert values(learner, (0, 1)) == [[pytest.approx(35.15)]]


@pytest.mark.parametrize("unvisited", [(1, 2), (1, 3)])
def test_fork_reads_every_table_it_opens_for_an_unvisited_cell(unvisited):
    space = SearchSpace([layer("a", 1), layer("b", 1, "a"), layer("c", 2, "b"), layer("d", 2, "b")])
    learner = exploring(space)
    for pair in ((1, 2), (1, 3)):
        fill(learner, pair, [[5.0, None if pair == unvisited else 5.0]])
    learner.tell([episode((0, 0, 0, 0), 10.0)])
    # Line 6: 0.95 * 10. (Line 8 would give 0.95 * (10 + 4.5).)
    assert values(learner, (0, 1)) == [[pytest.approx(9.5)]]


def test_merge_updates_each_incoming_table_with_the_row_that_the_layer_opens():
    space = SearchSpace([layer("a", 1), layer("b", 1), layer("c", 1, "a", "b"), layer("d", 2, "c")])
    learner = exploring(space)
    fill(learner, (0, 2), [[2.0]])
    fill(learner, (1, 2), [[20.0]])
    fill(learner, (2, 3), [[4.0, 6.0]])
    learner.tell([episode((0, 0, 0, 0), 10.0)])
    # Line 8, 0.95 * (10 + 0.9 * 6) = 14.63 for both: 0.05 * 2 + 14.63 and 0.05 * 20 + 14.63. Line 3: 4 + 9.5.
    assert values(learner, (0, 2)) == [[pytest.approx(14.73)]]
    assert values(learner, (1, 2)) == [[pytest.approx(15.63)]]
    assert values(learner, (2, 3)) == [[pytest.approx(13.5), 6.0]]


def test_merge_that_feeds_nothing_updates_each_incoming_table_by_line_3():
    space = SearchSpace([layer("a", 1), layer("b", 1), layer("c", 2, "a", "b")])
    learner = exploring(space)
    fill(learner, (0, 2), [[2.0, 80.0]])
    fill(learner, (1, 2), [[20.0, 80.0]])
    learner.tell([episode((0, 0, 0), 10.0)])
    # 2 + 9.5 and 20 + 9.5
    assert values(learner, (0, 2)) == [[pytest.approx(11.5), 80.0]]
    assert values(learner, (1, 2)) == [[pytest.approx(29.5), 80.0]]


def test_diamond_updates_each_branch_with_its_own_row():
    space = SearchSpace([layer("a", 1), layer("b", 1, "a"), layer("c", 1, "a"), layer("d", 2, "b", "c")])
    learner = exploring(space)
    fill(learner, (1, 3), [[4.0, 6.0]])
    fill(learner, (2, 3), [[8.0, None]])
    learner.tell([episode((0, 0, 0, 0), 10.0)])
    # (a, b): b's row is full, line 8: 0.95 * (10 + 0.9 * 6) = 14.63. (a, c): c's row is not, line 6: 9.5.
    assert values(learner, (0, 1)) == [[pytest.approx(14.63)]]
    assert values(learner, (0, 2)) == [[pytest.approx(9.5)]]
    # Into the last layer, line 3: 4 + 9.5 and 8 + 9.5.
    assert values(learner, (1, 3)) == [[pytest.approx(13.5), 6.0]]
    assert values(learner, (2, 3)) == [[pytest.approx(17.5), 0.0]]


def test_a_skip_connection_into_the_last_layer_is_updated_by_line_3_and_its_fork_is_the_first_layer():
    space = SearchSpace([layer("a", 1), layer("b", 1, "a"), layer("c", 1, "a", "b")])
    learner = exploring(space)
    learner.tell([episode((0, 0, 0), 10.0), episode((0, 0, 0), 10.0)])
    # (a, c) and (b, c): 9.5 + 9.5. (a, b): 9.5 by line 6, then by line 8 with (b, c) alone, which is 9.5: 18.0975.
    assert values(learner, (0, 2)) == [[pytest.approx(19.0)]]
    assert values(learner, (1, 2)) == [[pytest.approx(19.0)]]
    assert values(learner, (0, 1)) == [[pytest.approx(18.0975)]]


def test_a_single_layer_is_updated_by_line_3():
    learner = exploring(chain(3))
    learner.tell([episode((2,), 10.0), episode((0,), -1.0), episode((2,), 10.0)])
    # 9.5 + 9.5; 0.95 * -1
    assert [list(table.q[0]) for table in learner.tables.values()] == [[pytest.approx(-0.95), 0.0, pytest.approx(19.0)]]


# Lines 5 and 8 read the row that the middle layer's pick opens. Below, that pick is never 0, and row 0 always says otherwise.

CHAIN = chain(2, 3, 2)
FORK = SearchSpace([layer("a", 2), layer("b", 3, "a"), layer("c", 2, "b"), layer("d", 2, "b")])
MERGE = SearchSpace([layer("a", 2), layer("b", 2), layer("c", 3, "a", "b"), layer("d", 2, "c")])
ROWS = {
    # A space, the tables before its middle layer, a design in which that picks 2, and the tables behind it.
    "chain": (CHAIN, [(0, 1)], (1, 2, 0), [(1, 2)]),
    "fork": (FORK, [(0, 1)], (1, 2, 0, 0), [(1, 2), (1, 3)]),
    "merge": (MERGE, [(0, 2), (1, 2)], (1, 1, 2, 0), [(2, 3)]),
}


def updated_cells(shape, next_tables, reading):
    """What the cells before the middle layer come to by a reward of 10, where they were 20, with these tables behind it."""
    space, before, design, after = ROWS[shape]
    learner = started(space, exploration_episodes=100, next_unvisited=reading)
    for i, j in before:
        learner.tables[i, j].update(design[i], design[j], 20.0)
    for pair, rows in zip(after, next_tables, strict=False):
        fill(learner, pair, rows)
    learner.tell([episode(design, 10.0)])
    untouched = [
        value
        for i, j in before
        for row, numbers in enumerate(values(learner, (i, j)))
        for column, value in enumerate(numbers)
        if (row, column) != (design[i], design[j])
    ]
    assert set(untouched) == {0.0}
    return [values(learner, (i, j))[design[i]][design[j]] for i, j in before]


@pytest.mark.parametrize("reading", ["row", "table"])
@pytest.mark.parametrize("shape", ROWS)
def test_line_8_takes_the_maximum_of_the_row_that_the_middle_pick_opens(shape, reading):
    # Every cell of the next tables is visited. Row 2 is [4, 6]; the others are higher.
    # 0.05 * 20 + 0.95 * (10 + 0.9 * 6) = 1 + 0.95 * 15.4 = 15.63. (Row 0: 1 + 0.95 * (10 + 0.9 * 50) = 53.25.)
    rows = [[50.0, 40.0], [90.0, 80.0], [4.0, 6.0]]
    assert updated_cells(shape, [rows, rows], reading) == pytest.approx([15.63] * len(ROWS[shape][1]))


@pytest.mark.parametrize("shape", ROWS)
def test_line_8_follows_a_full_row_although_row_0_is_not_visited(shape):
    # Row 2 is full, [4, 6]: line 8, as above. Rows 0 and 1 lack cells, so any row but this one would give line 6,
    # 20 + 9.5 = 29.5; and so does the whole table.
    rows = [[7.0, None], [None, None], [4.0, 6.0]]
    cells = len(ROWS[shape][1])
    assert updated_cells(shape, [rows, rows], "row") == pytest.approx([15.63] * cells)
    assert updated_cells(shape, [rows, rows], "table") == pytest.approx([29.5] * cells)


@pytest.mark.parametrize("reading", ["row", "table"])
@pytest.mark.parametrize("shape", ROWS)
def test_line_6_follows_the_unvisited_cell_of_the_row_that_the_middle_pick_opens(shape, reading):
    # Row 2 lacks column 1, the others are full: line 6, 20 + 0.95 * 10 = 29.5.
    # Row 0 would give line 8, 1 + 0.95 * (10 + 0.9 * 7) = 16.485.
    rows = [[7.0, 3.0], [8.0, 2.0], [4.0, None]]
    assert updated_cells(shape, [rows, rows], reading) == pytest.approx([29.5] * len(ROWS[shape][1]))


@pytest.mark.parametrize("reading", ["row", "table"])
@pytest.mark.parametrize("lacking", [0, 1])
def test_fork_lines_5_and_8_read_the_middle_picks_row_of_every_table_it_opens(lacking, reading):
    # Row 2 of one table is full, that of the other lacks a cell: line 6 over both, 20 + 9.5.
    full, lacks = [[7.0, 3.0], [8.0, 2.0], [4.0, 6.0]], [[7.0, 3.0], [8.0, 2.0], [4.0, None]]
    tables = [lacks, full] if lacking == 0 else [full, lacks]
    assert updated_cells("fork", tables, reading) == pytest.approx([29.5])
    # Both full: line 8 over {4, 6, 9, 5}: 1 + 0.95 * (10 + 0.9 * 9) = 1 + 17.195.
    higher = [[7.0, 3.0], [8.0, 2.0], [9.0, 5.0]]
    tables = [higher, full] if lacking == 0 else [full, higher]
    assert updated_cells("fork", tables, reading) == pytest.approx([18.195])


def test_diamond_lines_5_and_8_read_in_each_table_the_row_of_its_own_middle_layer():
    space = SearchSpace([layer("a", 2), layer("b", 2, "a"), layer("c", 3, "a"), layer("d", 2, "b", "c")])
    learner = exploring(space)
    fill(learner, (1, 3), [[50.0, 40.0], [4.0, 6.0]])
    fill(learner, (2, 3), [[50.0, None], [5.0, 8.0], [60.0, None]])
    learner.tell([episode((1, 1, 1, 0), 10.0)])
    # (a, b) reads row 1 of (b, d): 0.95 * (10 + 0.9 * 6) = 14.63. (a, c) row 1 of (c, d): 0.95 * (10 + 0.9 * 8) = 16.34.
    assert values(learner, (0, 1)) == [[0.0, 0.0], [0.0, pytest.approx(14.63)]]
    assert values(learner, (0, 2)) == [[0.0, 0.0, 0.0], [0.0, pytest.approx(16.34), 0.0]]
    # Into the last layer, line 3: 4 + 9.5 and 5 + 9.5.
    assert values(learner, (1, 3)) == [[50.0, 40.0], [pytest.approx(13.5), 6.0]]
    assert values(learner, (2, 3)) == [[50.0, 0.0], [pytest.approx(14.5), 8.0], [60.0, 0.0]]
    learner.tell([episode((0, 1, 2, 1), 10.0)])
    # (a, b) again reads row 1 of (b, d), now [13.5, 6]: 0.95 * (10 + 0.9 * 13.5) = 21.0425.
    # (a, c) reads row 2 of (c, d), which lacks column 1: line 6, 9.5.
    assert values(learner, (0, 1))[0] == [0.0, pytest.approx(21.0425)]
    assert values(learner, (0, 2))[0] == [0.0, 0.0, pytest.approx(9.5)]


def test_a_chain_of_four_reads_at_each_step_the_row_of_the_layer_between():
    learner = exploring(chain(2, 3, 3, 2))
    learner.tables[0, 1].update(1, 2, 20.0)
    fill(learner, (1, 2), [[90.0, 80.0, 70.0], [60.0, 50.0, 40.0], [1.0, 2.0, 3.0]])
    fill(learner, (2, 3), [[90.0, 80.0], [5.0, 6.0], [70.0, None]])
    learner.tell([episode((1, 2, 1, 0), 10.0)])
    # (0, 1) reads row 2 of (1, 2), highest 3: 1 + 0.95 * (10 + 0.9 * 3) = 1 + 12.065.
    # (1, 2) reads row 1 of (2, 3), highest 6: 0.05 * 2 + 0.95 * (10 + 0.9 * 6) = 0.1 + 14.63. Line 3: 5 + 9.5.
    assert values(learner, (0, 1)) == [[0.0] * 3, [0.0, 0.0, pytest.approx(13.065)]]
    assert values(learner, (1, 2))[2] == [1.0, pytest.approx(14.73), 3.0]
    assert values(learner, (2, 3))[1] == [pytest.approx(14.5), 6.0]


# --- Equation 3: the rates -------------------------------------------------------------------------------------------


def test_alpha_stays_while_exploring_then_is_decayed_by_the_episodes_already_passed():
    learner = started(chain(30, 30), exploration_episodes=2)
    rates = []
    seen = set()
    for _ in range(5):
        (design,) = learner.ask(1)
        assert design not in seen, "the precondition of this test: choose another seed"
        seen.add(design)
        learner.tell([episode(design, 10.0)])
        rates.append(values(learner, (0, 1))[design[0]][design[1]] / 10)
    # Exploration: 0.95, 0.95. Then n = 0, 1, 2: 0.95 * 0.999^n, 0.999^2 = 0.998001.
    assert rates == pytest.approx([0.95, 0.95, 0.95, 0.95 * 0.999, 0.95 * 0.998001], rel=1e-12)


def test_compounded_alpha_multiplies_the_last_value_as_equation_3_prints_it():
    learner = started(chain(4), exploration_episodes=0, compound_alpha=True)
    learner.tell([episode((action,), 1.0) for action in range(4)])
    # n = 0, 1, 2, 3: exponents 0, 0+1, 0+1+2, 0+1+2+3.
    expected = [0.95, 0.95 * 0.999, 0.95 * 0.999**3, 0.95 * 0.999**6]
    assert next(iter(learner.tables.values())).q[0] == pytest.approx(expected, rel=1e-12)


def test_alpha_and_its_decay_are_settings():
    learner = started(chain(3), exploration_episodes=0, alpha=0.8, alpha_decay=0.5)
    learner.tell([episode((action,), 1.0) for action in range(3)])
    assert next(iter(learner.tables.values())).q[0] == pytest.approx([0.8, 0.4, 0.2])


def test_alpha_in_line_8_is_the_decayed_one():
    learner = started(chain(1, 1, 2), exploration_episodes=0, alpha=0.8, alpha_decay=0.5)
    fill(learner, (1, 2), [[4.0, 6.0]])
    learner.tell([episode((0, 0, 0), 10.0)])
    # 0.8 * (10 + 0.9 * 6) = 12.32; then the row is [4 + 8, 6] = [12, 6].
    assert values(learner, (0, 1)) == [[pytest.approx(12.32)]]
    learner.tell([episode((0, 0, 1), 10.0)])
    # n = 1, alpha 0.4: 0.6 * 12.32 + 0.4 * (10 + 0.9 * 12) = 7.392 + 8.32
    assert values(learner, (0, 1)) == [[pytest.approx(15.712)]]


def greedy_flags(episodes, seed, **options):
    """Of a second phase, which episodes were greedy: the greedy design is (7, 7), 1 of 2500."""
    learner = started(chain(50, 50), seed, exploration_episodes=0, **options)
    learner.tables[0, 1].update(7, 7, 100.0)
    return [design == (7, 7) for _ in range(episodes) for design in learner.ask(1)]


def test_epsilon_is_the_decay_to_the_power_of_the_episodes_already_passed():
    seeds = range(200)
    runs = [greedy_flags(250, seed) for seed in seeds]
    # n = 0: epsilon is 1. (0.99^1 would let a greedy one through in 200 seeds with probability 1 - 0.99^200 = 87 %.)
    assert not any(run[0] for run in runs)
    # Random episodes in a block of 50 from n on, on average: 0.99^n * (1 - 0.99^50) / 0.01 = 39.5, 23.9, 14.5, 8.7, 5.3;
    # the standard deviation of the average of 200 runs is at most sqrt(50 / 4 / 200) = 0.25.
    for start in range(0, 250, 50):
        drawn = sum(50 - sum(run[start : start + 50]) for run in runs) / len(runs)
        assert drawn == pytest.approx(0.99**start * (1 - 0.99**50) / 0.01, abs=1.0)


def test_compounded_epsilon_falls_with_the_sum_of_the_episodes():
    runs = [greedy_flags(60, seed, compound_epsilon=True) for seed in range(200)]
    # On average sum over n of 0.99^(n(n+1)/2) random episodes, 12 rather than the 45.3 without compounding.
    expected = sum(0.99 ** (n * (n + 1) / 2) for n in range(60))
    assert 11 < expected < 13
    assert sum(60 - sum(run) for run in runs) / len(runs) == pytest.approx(expected, abs=1.0)


def test_compounded_epsilon_is_one_in_the_first_episode_only():
    # Exponents 0, 0+1, 0+1+2: so low a decay leaves nothing of epsilon from the second episode on.
    assert greedy_flags(4, 0, compound_epsilon=True, epsilon_decay=ALMOST_NEVER_RANDOM) == [False, True, True, True]


def test_a_random_episode_of_the_second_phase_is_uniform_over_all_designs():
    def second(seed):
        learner = started(chain(2, 2), seed, exploration_episodes=1)
        first, then = learner.ask(2)
        return first == then, then

    drawn = [second(seed) for seed in range(400)]
    # One in four is the one that exploration has just visited: 100, standard deviation 8.7. So is every design.
    assert 60 <= sum(repeated for repeated, _ in drawn) <= 140
    assert all(60 <= count <= 140 for count in Counter(design for _, design in drawn).values())


@pytest.mark.parametrize(("epsilon_per", "least", "most"), [("episode", 0.0, 0.1), ("agent", 0.6, 0.9)])
def test_epsilon_is_drawn_for_the_whole_team_or_for_each_agent(epsilon_per, least, most):
    mixed = 0
    for seed in range(200):
        learner = started(chain(50, 50, 50), seed, exploration_episodes=0, epsilon_decay=0.5, epsilon_per=epsilon_per)
        for pair in ((0, 1), (1, 2)):
            for row in range(50):
                learner.tables[pair].update(row, 7, 2.0 if row == 7 else 1.0)
        # n = 1, epsilon 0.5. A greedy agent picks 7 whatever its row. Per episode all or none of three are greedy (a
        # random one is 7 in 1 of 50); per agent 6 of the 8 combinations are mixed.
        learner.ask(1)
        (design,) = learner.ask(1)
        mixed += 0 < design.count(7) < 3
    assert least <= mixed / 200 <= most


@pytest.mark.parametrize("seed", range(4))
def test_exploration_is_the_same_whether_epsilon_is_drawn_for_the_team_or_for_each_agent(seed):
    space = chain(4, 4, 4)
    by_team, by_agent = (
        started(space, seed, exploration_episodes=16, epsilon_per=per).ask(16) for per in ("episode", "agent")
    )
    assert by_agent == by_team
    assert len({design[1:] for design in by_agent}) == 16  # every cell of the second table as well


def test_an_episode_in_which_only_some_agents_exploit_is_not_a_greedy_one():
    greedy = set()
    for seed in range(60):
        learner = started(chain(50, 50), seed, exploration_episodes=0, epsilon_decay=0.5, epsilon_per="agent")
        for row in range(50):
            learner.tables[0, 1].update(row, 7, 2.0 if row == 7 else 1.0)
        for _ in range(2):
            learner.tell([episode(design, 0.0) for design in learner.ask(1)])
        greedy.add(learner.greedy_design)
    assert greedy == {None, (7, 7)}


# --- Algorithm 3: exploitation ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(4))
def test_algorithm_3_takes_the_joint_argmax_of_the_first_pair_and_then_of_each_row(seed):
    # The first table's highest is 5 at (1, 0). In row 0 of the second it is 4 at column 2; row 1's 9 is out of reach.
    tables = {(0, 1): [[1.0, 4.0], [5.0, 2.0]], (1, 2): [[3.0, 1.0, 4.0], [9.0, 0.0, 0.0]]}
    assert exploiting(chain(2, 2, 3), tables, seed).ask(1) == [(1, 0, 2)]


def test_algorithm_3_breaks_ties_at_random():
    tables = {(0, 1): [[1.0, 5.0], [5.0, 1.0]], (1, 2): [[2.0, 2.0], [3.0, 1.0]]}
    drawn = Counter(exploiting(chain(2, 2, 2), tables, seed).ask(1)[0] for seed in range(200))
    # The first pair is (0, 1) or (1, 0), 1/2 each; the row of 1 has one argmax, 0, and that of 0 two.
    assert set(drawn) == {(0, 1, 0), (1, 0, 0), (1, 0, 1)}
    assert 70 <= drawn[0, 1, 0] <= 130
    assert min(drawn[1, 0, 0], drawn[1, 0, 1]) > 25


def test_algorithm_3_prefers_the_zero_of_an_unvisited_cell_to_negative_values():
    tables = {(0, 1): [[-1.0, -2.0], [-3.0, None]]}
    assert exploiting(chain(2, 2), tables).ask(1) == [(1, 1)]


def test_algorithm_3_follows_a_value_that_has_fallen():
    learner = exploiting(chain(2, 2), {(0, 1): [[1.0, 4.0], [5.0, 2.0]]})
    learner.tables[0, 1].update(1, 0, 3.0)
    assert learner.ask(1) == [(0, 1)]


@pytest.mark.parametrize("swapped", [False, True])
def test_fork_a_first_layer_exploits_the_highest_value_over_all_tables_it_feeds(swapped):
    space = SearchSpace([layer("a", 2), layer("b", 2, "a"), layer("c", 2, "a")])
    one, other = [[1.0, 2.0], [0.0, 8.0]], [[9.0, 0.0], [8.0, 7.0]]
    # Row 0: highest 2 and 9; row 1: highest 8 and 8. So a picks 0 (by their sum it would pick 1).
    # Row 0's argmax is column 1 in the one table and column 0 in the other.
    tables = {(0, 1): other, (0, 2): one} if swapped else {(0, 1): one, (0, 2): other}
    assert exploiting(space, tables).ask(1) == [(0, 0, 1) if swapped else (0, 1, 0)]


def test_fork_behind_the_first_layer_exploits_its_own_row_alone():
    space = SearchSpace([layer("a", 1), layer("b", 2, "a"), layer("c", 2, "b"), layer("d", 2, "b")])
    # b picks 0 by (a, b), though the tables it feeds are higher in row 1; then c picks 1 and d picks 0.
    tables = {(0, 1): [[2.0, 1.0]], (1, 2): [[0.0, 1.0], [50.0, 0.0]], (1, 3): [[1.0, 0.0], [0.0, 50.0]]}
    assert exploiting(space, tables).ask(1) == [(0, 0, 1, 0)]


@pytest.mark.parametrize("seed", range(4))
def test_merge_exploits_the_action_that_most_rows_have_as_their_argmax(seed):
    space = SearchSpace([layer("a", 1), layer("b", 1), layer("c", 1), layer("d", 3, "a", "b", "c")])
    # Argmax 0, 1, 1: action 1 has two votes of three. The means are 5/3, 4/3 and 1.5/3: action 0 would win by mean.
    tables = {(0, 3): [[5.0, 1.0, 0.0]], (1, 3): [[0.0, 1.0, 0.5]], (2, 3): [[0.0, 2.0, 1.0]]}
    assert exploiting(space, tables, seed).ask(1) == [(0, 0, 0, 1)]


@pytest.mark.parametrize("seed", range(4))
def test_merge_a_plurality_is_enough(seed):
    space = SearchSpace([layer(name, 1) for name in "abcd"] + [layer("e", 4, *"abcd")])
    # Argmax 0, 1, 2, 2: two votes of four are no majority, yet most. Means by action: 9/4, 9/4, 2/4, 0.
    tables = {
        (0, 4): [[9.0, 0.0, 0.0, 0.0]],
        (1, 4): [[0.0, 9.0, 0.0, 0.0]],
        (2, 4): [[0.0, 0.0, 1.0, 0.0]],
        (3, 4): [[0.0, 0.0, 1.0, 0.0]],
    }
    assert exploiting(space, tables, seed).ask(1) == [(0, 0, 0, 0, 2)]


@pytest.mark.parametrize("seed", range(4))
def test_merge_on_a_tie_of_votes_takes_the_highest_mean_among_all_its_actions(seed):
    space = SearchSpace([layer("a", 1), layer("b", 1), layer("c", 3, "a", "b")])
    # Argmax 0 and 2, one vote each. Means: 2.5, 4, 3. The highest is action 1's, which no row has as its argmax.
    tables = {(0, 2): [[5.0, 4.0, 0.0]], (1, 2): [[0.0, 4.0, 6.0]]}
    assert exploiting(space, tables, seed).ask(1) == [(0, 0, 1)]


@pytest.mark.parametrize("seed", range(4))
def test_merge_a_row_with_several_argmaxes_votes_for_each(seed):
    space = SearchSpace([layer("a", 1), layer("b", 1), layer("c", 1), layer("d", 3, "a", "b", "c")])
    # Votes: a for 0 and 1, b for 1, c for 2, so 1, 2, 1. Were a to vote for 0 alone, the means 1, 4/3, 100/3 would say 2.
    tables = {(0, 3): [[3.0, 3.0, 0.0]], (1, 3): [[0.0, 1.0, 0.0]], (2, 3): [[0.0, 0.0, 100.0]]}
    assert exploiting(space, tables, seed).ask(1) == [(0, 0, 0, 1)]


def test_merge_a_row_votes_for_the_zero_of_an_unvisited_cell_over_negative_values():
    space = SearchSpace([layer("a", 1), layer("b", 1), layer("c", 1), layer("d", 3, "a", "b", "c")])
    # Argmax 1, 1, 0: two votes for action 1, though its mean, 0, is below that of action 0, 7/3.
    tables = {(0, 3): [[-1.0, None, -2.0]], (1, 3): [[-1.0, None, -1.0]], (2, 3): [[9.0, 0.0, 0.0]]}
    assert exploiting(space, tables).ask(1) == [(0, 0, 0, 1)]


def test_merge_reads_the_row_that_each_feeding_layer_picked():
    space = SearchSpace([layer("a", 2), layer("b", 2), layer("c", 2, "a", "b")])
    # a picks 1 (its table's highest, 7, is in row 1) and b picks 0 (5): rows [0, 7] and [0, 5] both say 1.
    tables = {(0, 2): [[6.0, 0.0], [0.0, 7.0]], (1, 2): [[0.0, 5.0], [4.0, 0.0]]}
    assert exploiting(space, tables).ask(1) == [(1, 0, 1)]


@pytest.mark.parametrize("seed", range(4))
def test_diamond_exploits_as_a_fork_and_as_a_merge(seed):
    space = SearchSpace([layer("a", 2), layer("b", 2, "a"), layer("c", 2, "a"), layer("d", 3, "b", "c")])
    tables = {
        # a: highest of row 0 is max(2, 9) = 9, of row 1 max(8, 8) = 8: a picks 0, b then 1, c then 0.
        (0, 1): [[1.0, 2.0], [0.0, 8.0]],
        (0, 2): [[9.0, 0.0], [8.0, 7.0]],
        # d stands in row 1 of (b, d) and row 0 of (c, d): argmax 0 and 2, a tie; means 2.5, 4, 3: d picks 1.
        (1, 3): [[0.0, 0.0, 99.0], [5.0, 4.0, 0.0]],
        (2, 3): [[0.0, 4.0, 6.0], [99.0, 0.0, 0.0]],
    }
    assert exploiting(space, tables, seed).ask(1) == [(0, 1, 0, 1)]


def test_a_single_layer_exploits_its_highest_action():
    learner = exploiting(chain(4), {})
    next(iter(learner.tables.values())).update(0, 2, 1.0)
    assert learner.ask(1) == [(2,)]


# --- the second phase (VI-C) -----------------------------------------------------------------------------------------


def test_in_the_second_phase_a_design_seen_in_either_phase_leaves_the_tables_alone_and_the_rates_go_on():
    space = chain(2, 2)
    learner = started(space, exploration_episodes=1)
    (first,) = learner.ask(1)
    others = [design for design in itertools.product(range(2), repeat=2) if design != first]

    def cell(design):
        return values(learner, (0, 1))[design[0]][design[1]]

    learner.tell([episode(first, 10.0)])
    assert cell(first) == pytest.approx(9.5)
    learner.tell([episode(first, 10.0)])  # n = 0, seen in the first phase
    assert cell(first) == pytest.approx(9.5)
    learner.tell([episode(others[0], 10.0)])  # n = 1: 9.5 * 0.999
    assert cell(others[0]) == pytest.approx(9.4905)
    learner.tell([episode(others[0], -50.0)])  # n = 2, seen in the second phase
    assert cell(others[0]) == pytest.approx(9.4905)
    learner.tell([episode(others[1], 10.0)])  # n = 3: 9.5 * 0.999^3 = 9.5 * 0.997002999
    assert cell(others[1]) == pytest.approx(9.4715284905, rel=1e-12)


def test_in_the_first_phase_a_design_seen_before_updates_the_tables_again():
    learner = exploring(chain(2, 2))
    learner.tell([episode((0, 1), 10.0), episode((0, 1), 10.0)])
    assert values(learner, (0, 1))[0][1] == pytest.approx(19.0)


def test_a_design_that_only_shares_cells_with_earlier_ones_does_update_them():
    learner = started(chain(2, 2, 2), exploration_episodes=0, alpha_decay=1.0)
    learner.tell([episode((0, 0, 0), 10.0), episode((0, 0, 1), 10.0)])
    assert values(learner, (0, 1))[0][0] == pytest.approx(19.0)


def convergent(convergence_episodes):
    """Past its one random episode, with (3, 4) as the greedy design."""
    learner = started(
        chain(10, 10),
        exploration_episodes=0,
        epsilon_decay=ALMOST_NEVER_RANDOM,
        convergence_episodes=convergence_episodes,
    )
    (first,) = learner.ask(1)
    assert first not in {(3, 4), (5, 6)}, "the precondition of these tests: choose another seed"
    assert first[0] != 0, "the same"
    learner.tell([episode(first, 0.0)])
    learner.tables[0, 1].update(3, 4, 100.0)
    return learner


def greedy_episode(learner, reward=0.0):
    (design,) = learner.ask(1)
    learner.tell([episode(design, reward)])
    return design


def test_converged_once_the_same_greedy_design_came_k_times_across_intervening_updates():
    learner = convergent(3)
    assert learner.greedy_design is None
    assert greedy_episode(learner) == (3, 4)  # the first; it is new, so it updates the tables
    assert learner.greedy_design == (3, 4)
    assert greedy_episode(learner) == (3, 4)  # the second, after an update; it is no longer new
    for _ in range(5):
        assert greedy_episode(learner) == (3, 4)  # no update since the last: says nothing
    assert not learner.converged
    learner.tell([episode((0, 1), 0.0)])  # a new design, so an update
    assert not learner.converged
    assert greedy_episode(learner) == (3, 4)  # the third
    assert learner.converged
    assert learner.finished
    assert learner.greedy_design == (3, 4)
    assert learner.ask(1) == []


def test_by_default_five_greedy_choices_of_one_design_converge():
    learner = started(chain(10, 10), exploration_episodes=0, epsilon_decay=ALMOST_NEVER_RANDOM)
    learner.ask(1)
    learner.tables[0, 1].update(3, 4, 100.0)
    for action in range(5):
        assert not learner.converged
        assert greedy_episode(learner) == (3, 4)
        learner.tell([episode((0, action), 0.0)])  # a new design, so an update
    assert learner.converged


def test_another_greedy_design_begins_the_count_towards_convergence_again():
    learner = convergent(3)
    assert [greedy_episode(learner), greedy_episode(learner)] == [(3, 4), (3, 4)]
    learner.tables[0, 1].update(5, 6, 200.0)
    assert greedy_episode(learner) == (5, 6)  # the first of the new design, and an update
    assert learner.greedy_design == (5, 6)
    learner.tables[0, 1].update(5, 6, 0.0)
    assert greedy_episode(learner) == (3, 4)  # the first again, after two of the same before
    assert not learner.converged
    learner.tell([episode((0, 1), 0.0)])
    assert greedy_episode(learner) == (3, 4)
    assert not learner.converged
    learner.tell([episode((0, 2), 0.0)])
    assert greedy_episode(learner) == (3, 4)
    assert learner.converged


def test_while_one_design_is_unseen_greedy_choices_without_an_update_say_nothing():
    learner = started(chain(2, 2), exploration_episodes=0, epsilon_decay=ALMOST_NEVER_RANDOM, convergence_episodes=4)
    (first,) = learner.ask(1)
    learner.tell([episode(first, 0.0)])
    best = (1 - first[0], 1 - first[1])
    learner.tables[0, 1].update(*best, 100.0)
    for _ in range(9):
        assert greedy_episode(learner) == best
    learner.tell([episode((first[0], best[1]), 0.0)])  # an update; three of the four designs are seen
    for _ in range(9):
        assert greedy_episode(learner) == best
    assert not learner.converged
    learner.tell([episode((best[0], first[1]), 0.0)])  # the fourth
    assert greedy_episode(learner) == best
    assert learner.converged


def test_random_and_exploring_episodes_do_not_count_towards_convergence():
    space = chain(1, 1)  # every episode is the same design
    learner = started(space, exploration_episodes=5, epsilon_decay=1.0, convergence_episodes=1)
    for _ in range(20):
        learner.tell([episode(design) for design in learner.ask(1)])
    assert not learner.converged
    assert learner.greedy_design is None


def test_an_episode_that_nobody_asked_for_does_not_count_towards_convergence():
    learner = convergent(1)
    learner.tell([episode((3, 4), 0.0)])
    assert not learner.converged


def test_a_batch_ends_at_a_greedy_design_so_that_none_is_chosen_from_tables_that_rewards_will_change():
    learner = convergent(2)
    assert learner.ask(5) == [(3, 4)]
    learner.tell([episode((3, 4), -1000.0)])
    # 100 - 0.95 * 0.999 * 1000 < 0: (3, 4) is not greedy any more, and one choice is not yet convergence.
    assert values(learner, (0, 1))[3][4] < 0
    assert not learner.converged
    assert learner.ask(1) != [(3, 4)]


def test_a_batch_ends_before_a_greedy_design_whose_tables_wait_for_the_rewards_of_the_batch():
    # Exploration, then n = 0, which is random; n = 1 is greedy and has to know what came of all before it.
    learner = started(chain(4, 4), exploration_episodes=3, epsilon_decay=ALMOST_NEVER_RANDOM)
    assert len(learner.ask(100)) == 4
    assert len(learner.ask(100)) == 1


def test_a_batch_ends_at_the_first_phase_where_each_agent_may_exploit_by_itself():
    learner = started(chain(4, 4), exploration_episodes=3, epsilon_per="agent", epsilon_decay=1.0)
    assert [len(learner.ask(100)) for _ in range(3)] == [3, 1, 1]


@pytest.mark.parametrize("seed", range(10))
def test_a_batch_ends_behind_a_greedy_design_since_its_reward_may_converge(seed):
    space = chain(10, 10)
    learner = started(space, seed, exploration_episodes=0, epsilon_decay=0.7, convergence_episodes=1)
    learner.tables[0, 1].update(3, 4, 100.0)
    while not learner.converged:
        designs = learner.ask(100)
        # Random designs until one is greedy, which is then alone in its batch.
        learner.tell([episode(design, 0.0) for design in designs])
    assert designs == [(3, 4)]


def test_a_design_that_is_never_told_does_not_keep_the_learner_from_converging():
    learner = convergent(1)
    learner.tables[0, 1].update(5, 6, 200.0)
    assert learner.ask(1) == [(5, 6)]  # its evaluation is lost, say
    learner.tables[0, 1].update(5, 6, 0.0)
    assert greedy_episode(learner) == (3, 4)
    assert learner.greedy_design == (3, 4)
    assert learner.converged


def test_a_design_that_nobody_asked_for_is_an_episode_of_the_phase_that_it_falls_in():
    learner = started(chain(10, 10), exploration_episodes=2, max_exploitation_episodes=3, alpha_decay=0.5)
    learner.tell([episode((0, 0), 10.0)])
    assert learner.phase == "exploration"
    (design,) = learner.ask(1)
    assert learner.phase == "exploration-exploitation"
    learner.tell([episode(design, 10.0), episode((5, 5), 10.0), episode((6, 6), 10.0)])
    table = values(learner, (0, 1))
    # Both of the first phase with its alpha, then n = 0 and n = 1 episodes into the second.
    assert table[0][0] == table[design[0]][design[1]] == pytest.approx(9.5, rel=1e-12)
    assert table[5][5] == pytest.approx(9.5, rel=1e-12)
    assert table[6][6] == pytest.approx(4.75, rel=1e-12)
    assert not learner.finished
    learner.tell([episode((7, 7), 10.0)])
    assert learner.finished  # after two and three episodes, one of which it asked for
    assert learner.ask(1) == []


def test_alpha_stays_while_exploring_although_episodes_were_told_that_nobody_asked_for():
    learner = started(chain(10, 10), exploration_episodes=6)
    learner.tell([episode((k, k), 1.0) for k in range(4)])
    assert learner.phase == "exploration"
    (design,) = learner.ask(1)
    learner.tell([episode(design, 10.0)])
    assert values(learner, (0, 1))[design[0]][design[1]] == pytest.approx(9.5, rel=1e-12)


def test_two_greedy_designs_asked_before_either_is_told_are_one_choice():
    learner = convergent(2)
    designs = learner.ask(1) + learner.ask(1)
    assert designs == [(3, 4), (3, 4)]
    learner.tell([episode(design, -1000.0) for design in designs])
    assert not learner.converged


# --- as a whole --------------------------------------------------------------------------------------------------------


def test_the_committed_demo_is_played_again_episode_by_episode():
    """One seed gives one result: also the one that is committed. Its networks were trained, these are looked up in a table that
    was made on a processor with other vector instructions, so accuracies differ by a few images."""
    path = Path(__file__).parents[2] / "experiments" / "results" / "demo" / "episodes-pairwise-q.csv"
    with path.open(newline="") as file:
        committed = list(csv.DictReader(file))
    environment = env("digits-convnet", evaluator="table")
    played = play(environment, PairwiseQ(), len(committed), seed=0)
    layers = environment.unwrapped.space.names
    assert [dict(zip(layers, map(str, told.design), strict=True)) for told in played] == [
        {name: row[name] for name in layers} for row in committed
    ]
    assert [told.reward for told in played] == pytest.approx([float(row["reward"]) for row in committed], abs=0.05)


# --- properties ------------------------------------------------------------------------------------------------------

few = settings(max_examples=30, deadline=None)
seeds = st.integers(0, 2**32 - 1)


@st.composite
def layer_graphs(draw, max_inputs=None, max_layers=6):
    """Any ordered acyclic graph of layers with 1 to 4 actions."""
    layers = []
    for position in range(draw(st.integers(1, max_layers))):
        names = [known.name for known in layers]
        inputs = draw(st.lists(st.sampled_from(names), unique=True, max_size=max_inputs)) if names else []
        layers.append(layer(f"layer{position}", draw(st.integers(1, 4)), *inputs))
    return SearchSpace(layers)


def reward_of(design):
    """Any fixed function of the design, within -1 and 1."""
    return math.sin(sum((position + 1) * (action + 1) ** 2 for position, action in enumerate(design)))


def play_alone(learner, episodes):
    designs = []
    for _ in range(episodes):
        asked = learner.ask(1)
        learner.tell([episode(design, reward_of(design)) for design in asked])
        designs += asked
    return designs


@few
@given(layer_graphs(max_inputs=1), seeds)
def test_exploration_never_repeats_a_cell_of_a_row_that_has_an_unvisited_one(space, seed):
    learner = started(space, seed)
    visited = {pair: set() for pair in space.pairs}
    for design in learner.ask(learner.exploration_length):
        for i, j in space.pairs:
            cell = (design[i], design[j])
            row = {known for known in visited[i, j] if known[0] == cell[0]}
            assert cell not in row or len(row) == space.sizes[j]
            visited[i, j].add(cell)


@few
@given(st.lists(st.integers(1, 4), min_size=2, max_size=5), seeds)
def test_exploration_of_a_chain_begins_with_every_cell_of_the_first_table(sizes, seed):
    cells = sizes[0] * sizes[1]
    designs = started(chain(*sizes), seed, exploration_episodes=cells).ask(cells)
    assert len({design[:2] for design in designs}) == cells


@few
@given(st.integers(1, 5), st.integers(2, 5), seeds)
def test_exploration_of_a_chain_of_equal_layers_fills_every_table_in_n_squared_episodes(n, layers, seed):
    space = chain(*[n] * layers)
    designs = started(space, seed, exploration_episodes=n * n).ask(n * n)
    for i, j in space.pairs:
        assert len({(design[i], design[j]) for design in designs}) == n * n


@few
@given(layer_graphs(), seeds)
def test_exploration_is_the_same_one_by_one_in_one_batch_and_in_a_hand_written_loop(space, seed):
    one_by_one, in_a_batch, by_hand = (started(space, seed) for _ in range(3))
    length = one_by_one.exploration_length
    designs = play_alone(one_by_one, length)
    assert in_a_batch.ask(length) == designs
    for design in designs:
        assert play_one(by_hand, space) == design
        by_hand.tell([episode(design, reward_of(design))])
    assert [t.q for t in by_hand.tables.values()] == [t.q for t in one_by_one.tables.values()]


@few
@given(layer_graphs(max_layers=4), seeds, st.sampled_from(["episode", "agent"]))
def test_the_second_phase_is_the_same_asked_or_in_a_hand_written_loop(space, seed, epsilon_per):
    asked, by_hand = (
        started(space, seed, exploration_episodes=5, epsilon_decay=0.8, epsilon_per=epsilon_per) for _ in range(2)
    )
    for design in play_alone(asked, 40):
        assert play_one(by_hand, space) == design
        by_hand.tell([episode(design, reward_of(design))])
    assert by_hand.greedy_design == asked.greedy_design


@few
@given(layer_graphs(max_layers=4), seeds, st.integers(1, 7))
def test_a_learner_is_a_function_of_its_seed_and_what_it_is_told(space, seed, batch):
    learner, replayed = (started(space, seed, exploration_episodes=6, epsilon_decay=0.8) for _ in range(2))
    record = []
    for _ in range(6):
        asked = learner.ask(batch)
        told = [episode(design, reward_of(design)) for design in asked]
        learner.tell(told)
        record.append((asked, told))
    for asked, told in record:
        assert replayed.ask(batch) == asked
        replayed.tell(told)
    assert [t.q for t in replayed.tables.values()] == [t.q for t in learner.tables.values()]


@few
@given(layer_graphs(max_layers=4), seeds, st.integers(2, 9), st.integers(1, 3), st.sampled_from(["episode", "agent"]))
def test_the_size_of_a_batch_changes_no_result(space, seed, batch, convergence_episodes, epsilon_per):
    one_by_one, in_batches = (
        started(
            space,
            seed,
            exploration_episodes=6,
            max_exploitation_episodes=40,
            epsilon_decay=0.9,
            convergence_episodes=convergence_episodes,
            epsilon_per=epsilon_per,
        )
        for _ in range(2)
    )
    designs = play_alone(one_by_one, 46)
    batched = []
    while asked := in_batches.ask(batch):
        in_batches.tell([episode(design, reward_of(design)) for design in asked])
        batched += asked
    assert batched == designs
    assert in_batches.converged == one_by_one.converged
    assert in_batches.greedy_design == one_by_one.greedy_design
    assert [t.q for t in in_batches.tables.values()] == [t.q for t in one_by_one.tables.values()]


def test_different_seeds_explore_in_a_different_order():
    assert started(chain(5, 5), seed=0).ask(10) != started(chain(5, 5), seed=1).ask(10)


@few
@given(
    layer_graphs(),
    seeds,
    st.sampled_from(["row", "table"]),
    st.sampled_from(["episode", "agent"]),
    st.integers(1, 5),
    st.data(),
)
def test_on_any_graph_averaged_values_stay_within_the_bound_of_discounted_rewards(
    space, seed, reading, epsilon_per, batch, data
):
    learner = started(
        space,
        seed,
        exploration_episodes=10,
        max_exploitation_episodes=30,
        epsilon_decay=0.8,
        update="averaged",
        next_unvisited=reading,
        epsilon_per=epsilon_per,
    )
    rewards = data.draw(st.lists(st.floats(-1, 1), min_size=40, max_size=40))
    played = 0
    while designs := learner.ask(batch):
        assert all(space.check(design) == design for design in designs)
        learner.tell([episode(design, rewards[played + k]) for k, design in enumerate(designs)])
        played += len(designs)
    assert played == 40 or learner.converged
    for table in learner.tables.values():
        for row, highest in zip(table.q, table.row_max, strict=True):
            # With rewards of at most 1, sum over n of 0.9^n = 10.
            assert all(abs(value) <= 10 + 1e-9 for value in row)
            assert highest == max(row)


@few
@given(layer_graphs(), seeds, st.integers(1, 5))
def test_on_any_graph_printed_values_stay_finite(space, seed, batch):
    learner = started(space, seed, exploration_episodes=10, max_exploitation_episodes=30, epsilon_decay=0.8)
    while designs := learner.ask(batch):
        learner.tell([episode(design, reward_of(design)) for design in designs])
    assert all(math.isfinite(value) for table in learner.tables.values() for row in table.q for value in row)


@few
@given(
    st.integers(1, 3),
    st.integers(1, 4),
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, 3), st.integers(-3, 3)), max_size=40),
)
def test_a_row_s_maximum_and_its_unvisited_cells_follow_every_update(rows, columns, updates):
    table = QTable(rows, columns)
    visited = set()
    for row, column, value in updates:
        cell = (row % rows, column % columns)
        table.update(*cell, float(value))
        visited.add(cell)
        assert table.q[cell[0]][cell[1]] == value
        assert table.row_max == [max(values_of_row) for values_of_row in table.q]
        assert table.unvisited == [
            {column for column in range(columns) if (row, column) not in visited} for row in range(rows)
        ]
