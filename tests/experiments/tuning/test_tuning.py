import contextlib

import pytest

from agents import Callback, PairwiseQ, play
from marl_hpo_env import Request, Store, StoredEvaluator, TrainingEvaluator, env, task
from marl_hpo_env.trial import CLOCK_METRICS


class Killed(Exception):
    """The process would be gone here."""


def run(path, workers=1, stop_after=None, batch=8):
    """A run of the paper's learner with both phases: its episodes, and its store without clock figures."""
    store = Store(path)
    digits = task("digits-convnet")
    game = env(digits, evaluator=StoredEvaluator(TrainingEvaluator(digits, "cpu", workers), store), epochs=1)
    learner = PairwiseQ(exploration_episodes=6, max_exploitation_episodes=8, epsilon_decay=0.8)
    episodes = []

    class Stopping(Callback):
        def on_episode(self, episode, trial):
            episodes.append(episode)
            if len(episodes) == stop_after:
                raise Killed

    with contextlib.suppress(Killed):
        play(game, learner, seed=3, batch=batch, callbacks=[Stopping()])
    rows = []
    for fingerprint, trial in store.trials():
        metrics = {name: value for name, value in trial.metrics.items() if name not in CLOCK_METRICS}
        rows.append((fingerprint, trial.request, trial.status, trial.history, metrics))
    store.close()
    return episodes, rows


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    return run(tmp_path_factory.mktemp("run") / "trials.sqlite")


def test_the_run_explores_and_exploits(uninterrupted):
    episodes, rows = uninterrupted
    assert len(episodes) == 14
    assert len({episode.design for episode in episodes}) == len(
        [r for r in rows if isinstance(r[1], Request) and r[1].design]
    )


@pytest.mark.parametrize("stop_after", [3, 9])
def test_a_run_stopped_in_either_phase_continues_to_the_same_episodes_and_store(uninterrupted, tmp_path, stop_after):
    path = tmp_path / "trials.sqlite"
    partial, rows = run(path, stop_after=stop_after)
    assert partial == uninterrupted[0][:stop_after]
    assert 0 < len(rows) < len(uninterrupted[1])
    assert run(path) == uninterrupted


def test_two_workers_and_one_design_at_a_time_come_to_the_same(uninterrupted, tmp_path):
    assert run(tmp_path / "two.sqlite", workers=2) == uninterrupted
    assert run(tmp_path / "one.sqlite", batch=1) == uninterrupted
