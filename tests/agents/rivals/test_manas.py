"""MANAS against Eq. 6 by hand and, with one layer, against the regret bound of its bandit; MANAS-LS against Eq. 5 by hand."""

import math
from collections import Counter

import numpy as np
import pytest
from episodes import episode
from hypothesis import given
from hypothesis import strategies as st

from agents.rivals.manas import Manas
from agents.testing import LearnerConformance
from marl_hpo_env import InputError
from marl_hpo_env.testing import space_of


def started(space, seed=0, kind=Manas):
    learner = kind()
    learner.reset(space, seed)
    return learner


def test_the_first_design_is_uniform():
    # 6 designs, 600 seeds: 100 each, standard deviation 9.1.
    drawn = Counter(started(space_of(2, 3), seed).ask(1)[0] for seed in range(600))
    assert len(drawn) == 6
    assert all(60 <= count <= 140 for count in drawn.values())


@pytest.mark.parametrize("rewards", [(1.0, 0.0), (0.0, 1.0), (-2.4, 0.9), (1e6, 1e6 + 1e-3), (1e15, -1e15)])
def test_equation_6_and_the_softmax_by_hand(rewards):
    space = space_of(2, 3)
    learner = started(space)
    asked = []
    for reward in rewards:
        # One reward is no range yet: every policy is uniform still.
        assert learner.policy(0) == pytest.approx([1 / 2] * 2)
        assert learner.policy(1) == pytest.approx([1 / 3] * 3)
        asked += learner.ask(1)
        learner.tell([episode(asked[-1], reward)])
    # The higher reward is the loss 0, the lower the loss 1: its estimate is 1 / (1/2) = 2 and 1 / (1/3) = 3.
    # After t = 2 rounds eta is sqrt(ln 2 / (2 x 2)) and sqrt(ln 3 / (2 x 3)).
    worse = asked[rewards.index(min(rewards))]
    for layer, (actions, estimate) in enumerate([(2, 2.0), (3, 3.0)]):
        fall = math.exp(-math.sqrt(math.log(actions) / (2 * actions)) * estimate)
        expected = [1 / (actions - 1 + fall)] * actions
        expected[worse[layer]] *= fall
        assert learner.policy(layer) == pytest.approx(expected)


def test_losses_are_mapped_again_when_the_range_grows():
    # Rewards 1, 0.5 and then 0 for three designs, each told at uniform policies: losses 0, 1/2 and 1, times 2.
    space = space_of(2)

    class Unending(Manas):
        finished = False

    learner = started(space, kind=Unending)
    asked = learner.ask(3)
    learner.tell([episode(design, reward) for design, reward in zip(asked, (1.0, 0.5, 0.0), strict=True)])
    told = [(design[0], loss) for design, loss in zip(asked, (0.0, 0.5, 1.0), strict=True)]
    known = dict.fromkeys((0, 1), 0.0)
    # A design that is in a batch several times has been asked for with the same probability each time.
    for action, loss in told:
        known[action] += loss / 0.5
    fall = [math.exp(-math.sqrt(math.log(2) / (2 * 3)) * known[action]) for action in (0, 1)]
    assert learner.policy(0) == pytest.approx([value / sum(fall) for value in fall])


def test_a_design_is_credited_with_the_probability_with_which_it_was_asked_for():
    space = space_of(50)
    learner = started(space)
    early, late = learner.ask(2)
    assert early != late
    learner.tell([episode(early, 1.0)])
    for reward in (0.0, 0.0, 0.0):
        learner.tell([episode(design, reward) for design in learner.ask(1)])
    learner.tell([episode(late, 0.0)])
    # `late` was drawn at 1/50, however far the policy has gone since; its loss is 1, its estimate 50 at least.
    eta = math.sqrt(math.log(50) / (50 * 5))
    assert learner.policy(0)[late[0]] / learner.policy(0)[early[0]] == pytest.approx(math.exp(-eta * 50))


def test_a_design_that_was_never_asked_for_widens_the_range_and_is_credited_to_nobody():
    learner = started(space_of(4))
    learner.tell([episode((2,), 5.0), episode((3,), -5.0)])
    assert learner.policy(0) == pytest.approx([0.25] * 4)


def test_a_design_is_credited_once_for_every_time_that_it_was_asked_for():
    learner = started(space_of(50))
    designs = learner.ask(2)
    learner.tell([episode(designs[0], 1.0), episode(designs[1], 0.0)])
    before = learner.policy(0)
    learner.tell([episode(designs[1], 0.0)])
    assert learner.policy(0) == pytest.approx(before)


# --- the bandit of one layer -----------------------------------------------------------------------------------------

ROUNDS, ARMS, SEEDS = 1000, 5, 10

# Rewards of every arm in every round, fixed beforehand: an oblivious adversary.
ADVERSARIES = {
    "one arm is good": np.tile([1.0, 0, 0, 0, 0], (ROUNDS, 1)),
    "the good arm changes, for good": np.repeat(
        [[1.0, 0, 0, 0, 0], [0, 0, 0, 1, 0]], [ROUNDS // 4, ROUNDS * 3 // 4], axis=0
    ),
    "one arm is a little better": (np.random.default_rng(0).random((ROUNDS, ARMS)) < [0.5, 0.5, 0.8, 0.5, 0.5]) * 1.0,
    "the good arm goes round": np.eye(ARMS)[np.arange(ROUNDS) % ARMS],
}


class Bandit(Manas):
    """Goes on when all arms are known, as where the same design has another reward each time."""

    finished = False


class DeafBandit(Bandit):
    def tell(self, episodes):
        pass


def mean_regret(kind, rewards):
    """The reward of the best arm minus the learner's, both over all rounds: the mean over the seeds."""
    regrets = []
    for seed in range(SEEDS):
        learner = started(space_of(ARMS), seed, kind)
        gained = 0.0
        for reward in rewards:
            (design,) = learner.ask(1)
            gained += reward[design[0]]
            learner.tell([episode(design, float(reward[design[0]]))])
        regrets.append(rewards.sum(axis=0).max() - gained)
    return float(np.mean(regrets))


@pytest.mark.parametrize("adversary", ADVERSARIES)
def test_the_regret_stays_within_the_bound(adversary):
    # Bubeck and Cesa-Bianchi, Theorem 3.1: 2 sqrt(T K ln K) = 2 sqrt(1000 x 5 x 1.609) = 179.4.
    assert mean_regret(Bandit, ADVERSARIES[adversary]) <= 2 * math.sqrt(ROUNDS * ARMS * math.log(ARMS))


def test_a_deaf_bandit_breaks_the_bound():
    # Uniform: 1000 x 4/5 = 800 in expectation.
    assert mean_regret(DeafBandit, ADVERSARIES["one arm is good"]) > 700


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=30), st.integers(1, 5), st.integers(0, 2**32 - 1))
def test_a_policy_is_a_distribution_and_no_scale_of_rewards_changes_it(rewards, batch, seed):
    space = space_of(3, 1, 4)
    plain, scaled = started(space, seed), started(space, seed)
    for at in range(0, len(rewards), batch):
        part = rewards[at : at + batch]
        designs = plain.ask(len(part))
        if not designs or scaled.ask(len(part)) != designs:
            return
        plain.tell([episode(design, reward) for design, reward in zip(designs, part, strict=False)])
        scaled.tell([episode(design, 8 * reward) for design, reward in zip(designs, part, strict=False)])
        for layer in range(3):
            policy = plain.policy(layer)
            assert policy.sum() == pytest.approx(1)
            assert (policy >= 0).all()
            assert scaled.policy(layer) == pytest.approx(policy)


# --- MANAS-LS --------------------------------------------------------------------------------------------------------


def least_squares():
    return Manas(estimator="least-squares")


class TestLeastSquares(LearnerConformance):
    episodes = 20

    def make(self):
        return least_squares()


def test_equation_5_and_the_zipf_law_by_hand():
    learner = started(space_of(2, 3), kind=least_squares)
    # Losses 1/2, 1/4, 1 and 0: the actions add 1/2 and 0 in the first layer, and 0, 1/4 and 1/2 in the second.
    told = {(0, 0): -4.0, (1, 1): -3.0, (0, 2): -6.0, (1, 0): -2.0}
    for design, reward in told.items():
        learner.tell([episode(design, reward)])
    # 1/1 + 1/2 = 3/2 and 1/1 + 1/2 + 1/3 = 11/6.
    assert learner.policy(0) == pytest.approx([1 / 2 / (3 / 2), 1 / (3 / 2)])
    assert learner.policy(1) == pytest.approx([1 / (11 / 6), 1 / 2 / (11 / 6), 1 / 3 / (11 / 6)])


def test_actions_with_equal_estimates_share_the_probabilities_of_their_ranks():
    learner = started(space_of(5), kind=least_squares)
    learner.tell([episode((0,), 0.0)])
    # One reward is no range yet.
    assert learner.policy(0) == pytest.approx([1 / 5] * 5)
    learner.tell([episode((1,), 1.0), episode((2,), 0.5)])
    # Estimates 1, 0, 1/2 and, of those never picked, 0 and 0: ranks 1 to 3 for three, whose 1/1 + 1/2 + 1/3 they share.
    assert learner.policy(0) * (137 / 60) == pytest.approx([1 / 5, 11 / 18, 1 / 4, 11 / 18, 11 / 18])


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2)), min_size=2, max_size=30), st.integers(0, 99))
def test_no_scale_of_rewards_changes_a_ranking(picks, seed):
    terms = np.random.default_rng(seed).permutation(12).astype(float)
    plain, scaled = started(space_of(4, 3), kind=least_squares), started(space_of(4, 3), kind=least_squares)
    for a, b in picks:
        plain.tell([episode((a, b), terms[a] + terms[4 + b])])
        scaled.tell([episode((a, b), 4 * (terms[a] + terms[4 + b]) - 64)])
    for layer in range(2):
        assert plain.policy(layer) == pytest.approx(scaled.policy(layer))
        assert plain.policy(layer).sum() == pytest.approx(1)


def test_every_rank_of_an_additive_table_is_right_once_each_action_was_seen_often_enough():
    terms = [np.random.default_rng(p).random(6) for p in range(4)]
    learner = started(space_of(6, 6, 6, 6), kind=least_squares)
    for _ in range(120):
        (design,) = learner.ask(1)
        learner.tell([episode(design, float(sum(term[a] for term, a in zip(terms, design, strict=True))))])
    for layer, term in enumerate(terms):
        assert (np.argsort(-learner.policy(layer)) == np.argsort(-term)).all()


def test_its_simple_regret_on_a_bandit_with_fixed_means_vanishes():
    # 300 rounds, means 0.8 and four times 0.5; the mean of an arm picked 26 times has standard deviation 0.1.
    for seed in range(5):
        rewards = np.random.default_rng(seed).random((300, ARMS)) < [0.5, 0.5, 0.8, 0.5, 0.5]

        class Unending(Manas):
            finished = False

        learner = Unending(estimator="least-squares")
        learner.reset(space_of(ARMS), seed)
        for reward in rewards:
            (design,) = learner.ask(1)
            learner.tell([episode(design, float(reward[design[0]]))])
        assert learner.policy(0).argmax() == 2


def test_least_squares_finds_the_best_of_an_additive_table_but_not_untold(solves):
    # 150 of 1,024 designs.
    budget = {"sizes": (4,) * 5, "evaluations": 150, "episodes": 1000}
    assert solves(least_squares, **budget)
    assert not solves(least_squares, **budget, told=False)


def test_an_unknown_estimator_is_refused():
    with pytest.raises(InputError, match=r"^estimator is 'exp3'; it is 'importance-weighted' or"):
        Manas(estimator="exp3")
