"""Synthetic tasks by name: computed, not trained, with the best design known."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

import marl_hpo_env
from agents import learner, play
from marl_hpo_env import Request, Store, StoredEvaluator, Table, WeightedReward
from marl_hpo_env.environments.vectorised import VectorisedEnvironment
from marl_hpo_env.evaluators.synthetic import SyntheticEvaluator
from marl_hpo_env.tables.synthetic import MEASURES, SYNTHETIC, VALUE, drawing, tabled
from marl_hpo_env.testing import EvaluatorConformance


class TestConformance(EvaluatorConformance):
    metrics = {"value": marl_hpo_env.task("synthetic-widths-7").metrics["value"]}

    @pytest.fixture(autouse=True, params=["synthetic-chain-20", "synthetic-forbidden-6", "synthetic-widths-7"])
    def _named(self, request):
        self.name = request.param

    def make(self):
        return SyntheticEvaluator(marl_hpo_env.task(self.name))


@pytest.mark.parametrize("name", SYNTHETIC)
def test_it_is_played_by_its_name_and_the_best_design_is_known(name):
    game = marl_hpo_env.env(name, reward=WeightedReward({VALUE: 1.0}), seed=3).unwrapped
    episodes = play(game, learner("random"), 5)
    best = game.regret + max(episode.reward for episode in episodes)
    assert best == pytest.approx(1.0)
    (trial,) = game.evaluate([drawing(name, 3).best])
    assert trial.metrics[VALUE] == 1.0
    assert game.regret == pytest.approx(0.0)


@pytest.mark.parametrize("name", tabled())
def test_as_a_table_it_has_the_same_trials_and_no_design_is_better(name):
    table = Table.open(name)
    values = table.mean(VALUE)
    assert np.nanmax(values) == pytest.approx(1.0)
    assert table.space.design_at(int(np.nanargmax(values))) == drawing(name, 0).best
    evaluator = SyntheticEvaluator(marl_hpo_env.task(name))
    requests = [Request(table.space.design_at(number), 0, 1) for number in range(0, table.space.size, 1000)]
    for trial in evaluator.evaluate([Request(None, 0, 1), *requests]):
        stored = table.trial(trial.request)
        assert (stored.status, stored.metrics[VALUE]) == (trial.status, trial.metrics.get(VALUE))


def test_the_shares_are_what_the_names_say():
    forbidden = Table.open("synthetic-forbidden-6")
    assert 0.55 < 1 - forbidden.completed(forbidden.designs).mean() < 0.8
    assert set(MEASURES) == set(marl_hpo_env.task("synthetic-widths-7").measures) - {"test_value"}


def test_among_widths_the_original_is_the_widest_and_has_the_parameters_of_a_chain_of_linear_layers():
    evaluator = SyntheticEvaluator(marl_hpo_env.task("synthetic-widths-7"))
    original, one = evaluator.evaluate([Request(None, 0, 1), Request((0, 1, 0, 0, 0, 0, 0), 0, 1)])
    assert original.metrics["parameters"] == 65 * 256 + 6 * 257 * 256 + 257 * 10
    assert one.metrics["parameters"] == 65 * 64 + 65 * 128 + 129 * 64 + 4 * 65 * 64 + 65 * 10
    game = marl_hpo_env.env("synthetic-widths-7").unwrapped
    assert set(game.directions.values()) == {+1, -1}
    list(game.evaluate([(3,) * 7]))
    assert 0 < game.regret < 1  # the best by a search over all designs


def test_under_a_reward_that_is_not_the_value_alone_the_best_design_is_unknown_at_depth():
    bounded = WeightedReward({VALUE: 1.0}, [f"{VALUE} <= 0.5"])
    assert not hasattr(marl_hpo_env.env("synthetic-chain-20", reward=bounded).unwrapped, "regret")
    small = marl_hpo_env.env("synthetic-orders-8", reward=bounded).unwrapped
    list(small.evaluate([small.space.design_at(0)]))
    assert 0 <= small.regret < 2.5  # a search over all designs


def test_a_store_around_it_knows_the_best_design_too():
    stored = StoredEvaluator(SyntheticEvaluator(marl_hpo_env.task("synthetic-chain-20")), Store())
    game = marl_hpo_env.env("synthetic-chain-20", stored).unwrapped
    list(game.evaluate([drawing("synthetic-chain-20", 0).best]))
    assert game.regret == 0


def test_many_games_at_once_are_computed_too():
    games = VectorisedEnvironment(
        marl_hpo_env.task("synthetic-chain-20"), SyntheticEvaluator(marl_hpo_env.task("synthetic-chain-20")), num_envs=2
    )
    games.reset(seed=0)
    for _ in range(20):
        _, rewards, *_ = games.step(np.array([0, 1]))
    expected = [drawing("synthetic-chain-20", 0).trial(Request((pick,) * 20, 0, 1)).metrics[VALUE] for pick in (0, 1)]
    assert rewards == pytest.approx(expected)


def test_every_seed_is_another_drawing_of_the_same_space():
    evaluator = SyntheticEvaluator(marl_hpo_env.task("synthetic-chain-20"))
    design = (0,) * 20
    first, again, other = evaluator.evaluate([Request(design, seed, 1) for seed in (0, 0, 1)])
    assert first.metrics[VALUE] == again.metrics[VALUE] != other.metrics[VALUE]


def test_it_is_sent_to_another_process_and_cannot_be_trained(refused):
    task = pickle.loads(pickle.dumps(marl_hpo_env.task("synthetic-chain-20")))
    assert task.fingerprint == marl_hpo_env.task("synthetic-chain-20").fingerprint
    assert task.fingerprint != marl_hpo_env.task("synthetic-chain-100").fingerprint
    with refused("no network and no data"):
        task.fit(None)
