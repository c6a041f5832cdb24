"""Sequential Q-learning: MetaQNN's schedule and update by hand, and that it learns."""

import numpy as np
import pytest
from episodes import episode

from agents.rivals.sequential_q import SequentialQ
from marl_hpo_env import InputError
from marl_hpo_env.testing import space_of


def started(space, seed=0, **settings):
    learner = SequentialQ(**settings)
    learner.reset(space, seed)
    return learner


def test_a_replay_carries_the_reward_from_the_last_layer_to_the_first():
    learner = started(space_of(2, 2), learning_rate=0.5, replays=1)
    learner.tell([episode((0, 0), 1.0)])
    assert learner.q == [[[1, 1]], [[1, 1], [1, 1]]]  # where values start
    learner.tell([episode((0, 0), 3.0)])
    # The last layer: 1 + 0.5 (3 - 1) = 2, now the highest of its row; the first: 1 + 0.5 (2 - 1) = 1.5.
    assert learner.q == [[[1.5, 1]], [[2, 1], [1, 1]]]
    learner.tell([episode((0, 0), -4.0)])
    # 2 + 0.5 (-4 - 2) = -1, where the other action is now the highest of the row: 1.5 + 0.5 (1 - 1.5) = 1.25.
    assert learner.q == [[[1.25, 1]], [[-1, 1], [1, 1]]]


def test_a_value_comes_close_to_what_is_replayed_long_enough():
    learner = started(space_of(3, 3), replays=500)
    for _ in range(10):
        learner.tell([episode((0, 0), -7.0), episode((2, 1), 5.0)])
    assert learner.q[0][0] == pytest.approx([-7, -7, 5], abs=1e-3)
    assert learner.q[1][2] == pytest.approx([-7, 5, -7], abs=1e-3)


@pytest.mark.parametrize(
    ("distinct", "epsilon"),
    [(0, 1.0), (149, 1.0), (150, 0.9), (159, 0.9), (160, 0.8), (180, 0.6), (255, 0.1), (400, 0.1)],
)
def test_epsilon_follows_the_schedule_over_distinct_designs(distinct, epsilon):
    learner = started(space_of(20, 20), schedule_evaluations=270, replays=1)
    designs = [(n // 20, n % 20) for n in range(distinct)]
    learner.tell([episode(design, 0.0) for design in designs])
    learner.tell([episode(design, 0.0) for design in designs])
    assert learner.epsilon == epsilon


def test_the_schedule_can_be_the_sources_own():
    learner = started(space_of(60, 60), schedule_evaluations=2700, replays=1)
    learner.tell([episode((n // 60, n % 60), 0.0) for n in range(1499)])
    assert learner.epsilon == 1
    learner.tell([episode((59, 59), 0.0)])
    assert learner.epsilon == 0.9


def test_mostly_greedy_at_the_end_of_the_schedule():
    learner = started(space_of(4, 4), schedule_evaluations=2, replays=1000)
    learner.tell([episode((0, 0), 0.0), episode((1, 2), 1.0)])
    # 0.1 for each of two layers, of which a quarter picks the same: (1 - 0.075)^2 = 0.856; deviation sqrt(.856 .144 / 1000).
    assert learner.ask(1000).count((1, 2)) / 1000 == pytest.approx(0.856, abs=0.05)


def test_it_finds_the_best_of_an_additive_table_but_not_untold(solves):
    # 450 of 1,024 designs; epsilon reaches 0.1 at 283, and the rest is found from there.
    budget = {"sizes": (4,) * 5, "evaluations": 450, "episodes": 2000}
    assert solves(lambda: SequentialQ(schedule_evaluations=300), **budget)
    assert not solves(SequentialQ, **budget, told=False)


def test_equal_rewards_leave_every_action_possible():
    learner = started(space_of(3, 2), schedule_evaluations=1, replays=10)
    learner.tell([episode((0, 0), 4.0)])
    assert len(set(learner.ask(300))) == 6


def test_a_run_is_a_function_of_its_seed_and_what_it_is_told(space):
    def run(seed):
        learner, designs = started(space, seed, schedule_evaluations=8), []
        for _ in range(10):
            asked = learner.ask(3)
            designs += asked
            learner.tell([episode(design, float(np.sin(space.index(design)))) for design in asked])
        return designs

    first = run(1)
    assert first == run(1)
    assert all(space.check(design) == design for design in first)
    assert space.size < 9 or first != run(2)


@pytest.mark.parametrize(
    ("setting", "value"),
    [("schedule_evaluations", 0), ("replays", 1.5), ("learning_rate", 0), ("learning_rate", 1.1)],
)
def test_a_setting_outside_its_range_is_refused(setting, value):
    with pytest.raises(InputError, match=f"^The setting {setting} is {value}; it is "):
        SequentialQ(**{setting: value})
