"""The loop between a learner and an environment: what it evaluates, what it tells, and when it ends."""

import math
import subprocess
import sys
from dataclasses import replace
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents import Callback, Episode, PairwiseQ, RandomSearch, TurnBasedLearner, play
from agents.playing import EPISODES_PER_EVALUATION
from marl_hpo_env import InputError, Layer, Request, SearchSpace, Trial, WeightedReward, env, parallel_env, task
from marl_hpo_env.testing import chain


class FakeEnvironment:
    """Answers in reverse order, and remembers what was evaluated. The reward is the sum of the actions."""

    directions = {"validation_accuracy": +1}
    reward = SimpleNamespace(penalty=-1.0)

    def __init__(self, space, terminated=()):
        self.space = space
        self.unwrapped = self
        self.batches = []
        self.terminated = set(terminated)

    def evaluate(self, designs):
        self.batches.append(list(designs))
        for design in reversed(designs):
            status = "terminated" if design in self.terminated else "completed"
            yield Trial(Request(design, 0, 1), status, metrics={"validation_accuracy": 0.1 * sum(design)})

    def score(self, trial):
        return float(sum(trial.design)) if trial.status == "completed" else -1.0

    def objectives(self, trial):
        completed = trial.status == "completed"
        return {"validation_accuracy": trial.metrics["validation_accuracy"] if completed else math.nan}


class Scripted:
    """Asks a list of designs and remembers what it is told."""

    def __init__(self, *designs):
        self.designs = designs

    def reset(self, space, seed):
        self.seed = seed
        self.space = space
        self.left = list(self.designs)
        self.asked = []
        self.told = []

    def ask(self, n):
        self.asked.append(n)
        designs, self.left = self.left[:n], self.left[n:]
        return designs

    def tell(self, episodes):
        self.told.append(list(episodes))


def test_episodes_are_told_and_returned_in_the_order_asked_whatever_order_they_finish_in():
    designs = [(0, 1), (2, 2), (1, 0), (2, 0)]
    learner = Scripted(*designs)
    played = play(FakeEnvironment(chain(3, 3)), learner, batch=3)
    assert [episode.design for episode in played] == designs
    assert [[episode.design for episode in told] for told in learner.told] == [designs[:3], designs[3:]]
    # Each has its own reward: 0+1, 2+2, 1+0, 2+0.
    assert [episode.reward for episode in played] == [1.0, 4.0, 1.0, 2.0]


def test_an_episode_holds_the_design_the_reward_the_objectives_and_whether_it_was_terminated():
    learner = Scripted((1, 2), (0, 0))
    completed, terminated = play(FakeEnvironment(chain(3, 3), terminated=[(0, 0)]), learner, batch=2)
    assert completed == Episode(
        (1, 2), 3.0, {"validation_accuracy": pytest.approx(0.3)}, False, {"validation_accuracy": 1}
    )
    assert terminated.terminated is True
    assert terminated.broken is False
    assert terminated.reward == -1.0
    assert math.isnan(terminated.objectives["validation_accuracy"])


def test_an_episode_says_whether_a_constraint_was_broken():
    game = env(
        "digits-convnet", evaluator="table", reward=WeightedReward({"validation_accuracy": 1}, ["parameters <= 2000"])
    )
    episodes = play(game, RandomSearch(), 30)
    large = [episode.objectives["parameters"] > 2000 for episode in episodes]
    assert [episode.broken for episode in episodes] == large
    assert 0 < sum(large) < 30


@pytest.mark.parametrize("status", ["terminated", "failed"])
def test_a_trial_that_did_not_complete_is_told_as_terminated(status):
    class Failing(FakeEnvironment):
        def evaluate(self, designs):
            return iter([replace(trial, status=status) for trial in super().evaluate(designs)])

    (played,) = play(Failing(chain(2, 2)), Scripted((0, 0)))
    assert played.terminated is True


def test_duplicates_in_a_batch_are_evaluated_once_and_told_each():
    game = FakeEnvironment(chain(3, 3))
    learner = Scripted((1, 1), (2, 2), (1, 1), (1, 1))
    played = play(game, learner, batch=4)
    assert game.batches == [[(1, 1), (2, 2)]]
    assert [(episode.design, episode.reward) for episode in played] == [
        ((1, 1), 2.0),
        ((2, 2), 4.0),
        ((1, 1), 2.0),
        ((1, 1), 2.0),
    ]
    assert learner.told == [played]


def test_it_stops_when_the_learner_has_no_more_designs():
    game = FakeEnvironment(chain(2, 3))
    assert len(play(game, RandomSearch(), episodes=100, batch=4)) == 6
    assert [len(batch) for batch in game.batches] == [4, 2]


def test_without_a_number_of_episodes_it_plays_until_the_learner_is_finished():
    learner = PairwiseQ(exploration_episodes=3, max_exploitation_episodes=4, epsilon_decay=1.0)
    assert len(play(FakeEnvironment(chain(3, 3)), learner)) == 7
    assert learner.finished


def test_it_plays_as_many_episodes_as_asked_and_never_asks_for_more():
    learner = Scripted(*[(0, 0)] * 20)
    assert len(play(FakeEnvironment(chain(2, 2)), learner, episodes=7, batch=3)) == 7
    assert learner.asked == [3, 3, 1]


def test_what_a_learner_gives_beyond_what_it_was_asked_for_is_not_played():
    game, learner = FakeEnvironment(chain(3, 3)), Scripted()
    learner.ask = lambda n: [(0, 0), (1, 1), (2, 2), (0, 1)]
    assert [episode.design for episode in play(game, learner, 3, batch=2)] == [(0, 0), (1, 1), (0, 0)]
    assert game.batches == [[(0, 0), (1, 1)], [(0, 0)]]


@pytest.mark.parametrize("seed", [None, -1, 1.5, "0", True])
def test_a_seed_is_a_whole_number_from_0(seed, refused):
    with refused("seed", repr(seed)):
        play(env("digits-convnet", evaluator="table"), RandomSearch(), 1, seed=seed)


def test_the_learner_is_reset_with_the_space_and_the_seed():
    game = FakeEnvironment(chain(2, 2))
    learner = Scripted((0, 0))
    play(game, learner, seed=17)
    assert (learner.space, learner.seed) == (game.space, 17)
    play(game, learner)
    assert learner.seed == 0


def test_playing_again_plays_the_same():
    learner = PairwiseQ(exploration_episodes=5, max_exploitation_episodes=20)
    game = FakeEnvironment(chain(4, 4))
    assert play(game, learner, seed=3, batch=2) == play(game, learner, seed=3, batch=2)


class OrderEnforcingWrapper:
    """As PettingZoo's: it checks, and changes nothing."""

    def __init__(self, inner):
        self.env, self.unwrapped = inner, inner.unwrapped


class Changes(OrderEnforcingWrapper):
    pass


def test_what_a_wrapper_that_only_checks_wraps_is_played():
    assert len(play(OrderEnforcingWrapper(FakeEnvironment(chain(2, 2))), Scripted((0, 0), (1, 1)))) == 2


@pytest.mark.parametrize("outer", [OrderEnforcingWrapper, lambda env: env])
def test_what_a_wrapper_changes_is_never_played_past(outer, refused):
    with refused("would not see what Changes changes"):
        play(outer(Changes(OrderEnforcingWrapper(FakeEnvironment(chain(2, 2))))), Scripted((0, 0), (1, 1)))


def test_environments_of_all_three_kinds_are_played_however_they_are_observed():
    import gymnasium
    import pettingzoo

    name = "marl_hpo_env/digits-convnet-v1"
    table = {"evaluator": "table"}
    padded = {**table, "observations": "padded", "masks": None}
    for made in (
        pettingzoo.make("aec", name, **table),
        pettingzoo.make("parallel", name, **table),
        gymnasium.make(name, **table),
        pettingzoo.make("aec", name, **padded),
    ):
        assert len(play(made, RandomSearch(), 3)) == 3


class Noting(Callback):
    """Remembers what it is told, in order, with how many episodes the learner had been told by then."""

    def __init__(self, learner=None):
        self.learner = learner
        self.trials, self.episodes, self.told, self.ends = [], [], [], []

    def on_trial(self, trial):
        self.trials.append(trial.design)

    def on_episode(self, episode, trial):
        assert trial.design == episode.design
        self.episodes.append(episode)
        if self.learner is not None:
            self.told.append(sum(map(len, self.learner.told)))

    def on_end(self, episodes):
        self.ends.append(list(episodes))


def test_a_callback_hears_of_every_trial_as_it_ends_and_of_every_episode_after_it_was_told():
    learner = Scripted((0, 1), (1, 1), (0, 1), (1, 0))
    noting, silent = Noting(learner), Callback()
    played = play(FakeEnvironment(chain(2, 2)), learner, batch=3, callbacks=[silent, noting])
    assert noting.trials == [(1, 1), (0, 1), (1, 0)]  # each distinct one of a batch, as they finish
    assert noting.episodes == played
    assert [episode.design for episode in played] == [(0, 1), (1, 1), (0, 1), (1, 0)]
    assert noting.told == [3, 3, 3, 4]
    assert noting.ends == [played]


def test_a_callback_hears_of_the_end_also_where_an_error_ends_the_play():
    class Failing(Callback):
        def on_episode(self, episode, trial):
            if episode.design == (1, 1):
                raise KeyError

    noting = Noting()
    with pytest.raises(KeyError):
        play(FakeEnvironment(chain(2, 2)), Scripted((0, 1), (1, 1)), callbacks=[Failing(), noting])
    assert [[episode.design for episode in end] for end in noting.ends] == [[(0, 1), (1, 1)]]


@given(
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), max_size=30),
    st.integers(1, 10),
    st.integers(1, 5),
    st.none() | st.integers(1, 12),
)
def test_it_stops_at_so_many_distinct_designs_and_no_batch_goes_beyond(designs, evaluations, batch, episodes):
    learner = Scripted(*designs)
    game = FakeEnvironment(chain(3, 3))
    played = play(game, learner, episodes, evaluations=evaluations, batch=batch)
    distinct = len({episode.design for episode in played})
    assert [episode.design for episode in played] == designs[: len(played)]
    if distinct == evaluations:
        assert len({*designs[: len(played) - 1]}) < evaluations  # not an episode more
    else:
        assert distinct < evaluations
        assert len(played) == min(len(designs), episodes or len(designs))
    # Nothing is evaluated that is not counted, and no learner is asked for more than is still to be had.
    assert {design for asked in game.batches for design in asked} == {episode.design for episode in played}
    had = 0
    for asked, told in zip(learner.asked, learner.told, strict=False):
        assert asked <= min(batch, evaluations - len({episode.design for episode in played[:had]}))
        had += len(told)


def test_a_learner_that_only_repeats_itself_is_stopped_short_of_its_evaluations():
    played = play(FakeEnvironment(chain(3, 3)), Scripted(*[(1, 1)] * 100), evaluations=4)
    assert len(played) == 4 * EPISODES_PER_EVALUATION
    assert len(play(FakeEnvironment(chain(3, 3)), Scripted(*[(1, 1)] * 100), 70, evaluations=4)) == 70


@pytest.mark.parametrize("asked", [(1, 1), ((1, 1),), 3, {(1, 1)}])
def test_what_is_no_list_of_designs_is_refused(asked, refused):
    learner = Scripted()
    learner.ask = lambda n: asked
    environment = FakeEnvironment(chain(3, 3))
    with refused("`ask` returned", repr(asked), "list of designs"):
        play(environment, learner)
    learner.ask = lambda n: [1, 1]
    with refused("one per layer", "got 1"):
        play(environment, learner)
    assert not environment.batches


def test_what_a_learner_by_turns_lacks_is_said(refused):
    class Unprepared(TurnBasedLearner):
        def reset(self, space, seed):
            pass

    class Undecided(TurnBasedLearner):
        pass

    with refused("'Unprepared'", "super().reset(space, seed)"):
        play(FakeEnvironment(chain(3, 3)), Unprepared())
    with refused("'Undecided'", "`act`"):
        play(FakeEnvironment(chain(3, 3)), Undecided())


def test_repeats_are_episodes_and_no_evaluations():
    learner = Scripted((0, 0), (0, 0), (1, 0), (0, 0), (2, 0), (1, 1))
    played = play(FakeEnvironment(chain(3, 3)), learner, evaluations=3, batch=2)
    assert [episode.design for episode in played] == [(0, 0), (0, 0), (1, 0), (0, 0), (2, 0)]
    assert learner.asked == [2, 2, 1]
    assert len(play(FakeEnvironment(chain(3, 3)), learner, episodes=2, evaluations=3)) == 2


@pytest.mark.parametrize(
    "wrong", [{"batch": 0}, {"batch": -1}, {"episodes": 0}, {"episodes": -5}, {"evaluations": 0}, {"evaluations": -1}]
)
def test_a_batch_or_number_of_episodes_that_is_not_positive_is_refused_before_anything_is_asked(wrong):
    game = FakeEnvironment(chain(2, 2))
    ((name, value),) = wrong.items()
    with pytest.raises(InputError, match=name) as refusal:
        play(game, Scripted((0, 0)), **wrong)
    assert str(value) in str(refusal.value)
    assert game.batches == []


# --- with the package's own environments ---------------------------------------------------------------------------


class FastEvaluator:
    """Trials in no time, the latest request first; a design that ends in 0 is terminated."""

    measures_time = False
    fingerprint = "fast"

    def __init__(self, space):
        self.space = space
        self.requests = []

    def evaluate(self, requests):
        self.requests += requests
        for request in reversed(requests):
            score = 0.5 if request.design is None else 0.05 * sum(request.design)
            metrics = {
                "validation_accuracy": score,
                "test_accuracy": 0.987,
                "model_size_mb": 1 + score,
                "parameters": 7.0,
            }
            terminated = request.design is not None and request.design[-1] == 0
            yield Trial(request, "terminated" if terminated else "completed", metrics=metrics)


@pytest.mark.parametrize("make", [env, parallel_env])
def test_no_test_figure_reaches_a_learner(make):
    evaluator = FastEvaluator(chain(3, 3))
    learner = Scripted((2, 2), (1, 0), (0, 1))
    play(make("digits-convnet", evaluator=evaluator), learner, batch=3)
    (told,) = learner.told
    assert all(set(episode.objectives) == {"validation_accuracy", "model_size_mb / original"} for episode in told)
    assert not any(value == 0.987 for episode in told for value in episode.objectives.values())
    assert [episode.terminated for episode in told] == [False, True, False]
    # (2, 2): 0.05 * 4 = 0.2 and 1.2 / 1.5 = 0.8; the reward is 1 * 0.2 - 0.2 * 0.8 = 0.04. Terminated: -2 * (1 + 0.2).
    assert told[0].objectives == pytest.approx({"validation_accuracy": 0.2, "model_size_mb / original": 0.8})
    assert told[0].reward == pytest.approx(0.04)
    assert told[1].reward == pytest.approx(-2.4)
    assert all(math.isnan(value) for value in told[1].objectives.values())


def test_a_test_figure_cannot_be_made_an_objective():
    with pytest.raises(InputError, match="test_accuracy"):
        WeightedReward({"test_accuracy": 1.0})


def test_a_design_is_evaluated_once_over_a_whole_play():
    evaluator = FastEvaluator(chain(2, 2))
    designs = [(0, 1), (1, 1), (0, 1), (1, 1), (1, 0), (0, 1)]
    played = play(env("digits-convnet", evaluator=evaluator), Scripted(*designs), batch=2)
    assert [episode.design for episode in played] == designs
    asked = [request.design for request in evaluator.requests if request.design is not None]
    assert sorted(asked) == [(0, 1), (1, 0), (1, 1)]


def test_a_loop_over_the_turn_based_environment_plays_the_designs_that_play_does():
    space = SearchSpace(
        [
            Layer("a", "Conv2d", {"out_channels": (1, 2, 3)}),
            Layer("b", "Conv2d", {"out_channels": (1, 2)}, ("a",)),
            Layer("c", "Conv2d", {"out_channels": (1, 2, 3)}, ("a",)),
            Layer("d", "Conv2d", {"out_channels": (1, 2, 3)}, ("b", "c")),
        ]
    )
    settings = {"exploration_episodes": 10, "max_exploitation_episodes": 30, "epsilon_decay": 0.9}
    made = play(env("digits-convnet", evaluator=FastEvaluator(space)), PairwiseQ(**settings), seed=4, episodes=40)

    game = env("digits-convnet", evaluator=FastEvaluator(space))
    learner = PairwiseQ(**settings)
    learner.reset(space, 4)
    by_hand = []
    for _ in made:
        game.reset()
        for agent in game.agent_iter():
            observation, reward, terminated, truncated, info = game.last()
            game.step(None if terminated or truncated else learner.act(agent, observation))
        told = Episode(game.unwrapped.design, reward, {}, bool(info["terminated"]))
        learner.tell([told])
        by_hand.append(told)
    assert [(e.design, e.reward, e.terminated) for e in by_hand] == [(e.design, e.reward, e.terminated) for e in made]


def test_a_learner_that_decides_by_turns_sees_the_paper_s_state_and_an_action_mask():
    seen = []

    class Watching(TurnBasedLearner):
        def act(self, agent, observation):
            seen.append((agent, observation["observation"].tolist(), observation["action_mask"].tolist()))
            return 1

        def tell(self, episodes):
            pass

    (played,) = play(FakeEnvironment(chain(2, 3)), Watching(), episodes=1)
    assert played.design == (1, 1)
    # A layer that nothing feeds sees one 0; the next one sees the pick plus one.
    assert seen == [("layer0", [0], [1, 1]), ("layer1", [2], [1, 1, 1])]


def test_the_task_s_seed_and_not_the_learner_s_reaches_the_trials():
    evaluator = FastEvaluator(chain(2, 2))
    game = env("digits-convnet", evaluator=evaluator)
    play(game, Scripted((1, 1)), seed=99)
    assert {request.seed for request in evaluator.requests} == {task("digits-convnet").seed}


def test_learners_import_and_play_without_torch():
    code = "import sys, agents; agents.learner('pairwise-q'); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# --- known designs, a target, a clock ----------------------------------------------------------------------------------


def test_known_designs_come_first_in_their_order_a_batch_at_a_time_and_are_told():
    learner, game = Scripted((2, 2), (0, 1), (1, 1)), FakeEnvironment(chain(3, 3))
    starts = [(1, 2), (0, 0), (1, 2)]
    noting = Noting()
    played = play(game, learner, 5, start=starts, batch=2, callbacks=[noting])
    assert [episode.design for episode in played] == [(1, 2), (0, 0), (1, 2), (2, 2), (0, 1)]
    assert noting.episodes == played
    assert [[episode.design for episode in told] for told in learner.told] == [starts[:2], starts[2:], [(2, 2), (0, 1)]]
    assert game.batches == [[(1, 2), (0, 0)], [(1, 2)], [(2, 2), (0, 1)]]
    assert learner.asked == [2]  # nothing before the known designs, and no more than are left


def test_known_designs_count_as_episodes_and_as_evaluations():
    starts = [(0, 0), (0, 1), (0, 0)]
    assert len(play(FakeEnvironment(chain(3, 3)), Scripted((1, 1)), 2, start=starts)) == 2
    played = play(FakeEnvironment(chain(3, 3)), Scripted((1, 1), (1, 2)), evaluations=3, start=starts)
    assert [episode.design for episode in played] == [*starts, (1, 1)]


def test_a_known_design_that_does_not_exist_is_refused_before_anything_is_evaluated():
    learner, game = Scripted((1, 1)), FakeEnvironment(chain(3, 3))
    with pytest.raises(InputError, match="Action 3 of layer"):
        play(game, learner, 3, start=[(0, 0), (0, 3)])
    assert game.batches == []


def test_a_play_ends_after_the_batch_that_reaches_the_target():
    designs = [(0, 1), (2, 1), (0, 0), (2, 2)]
    reached = play(FakeEnvironment(chain(3, 3)), Scripted(*designs), target=3, batch=1)
    assert [episode.reward for episode in reached] == [1.0, 3.0]
    assert len(play(FakeEnvironment(chain(3, 3)), Scripted(*designs), target=3, batch=3)) == 3
    assert len(play(FakeEnvironment(chain(3, 3)), Scripted(*designs), target=4.5)) == 4
    assert len(play(FakeEnvironment(chain(3, 3)), Scripted(*designs), start=[(2, 2)], target=3)) == 1


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands still but for what is added to it."""
    now = [100.0]
    monkeypatch.setattr("agents.playing.time.monotonic", lambda: now[0])
    return now


def test_once_its_time_is_over_a_play_ends_with_what_has_finished(clock):
    class Slow(Callback):
        def on_trial(self, trial):
            clock[0] += 10.0

    slow = [Slow()]
    designs = [(0, 0), (0, 1), (1, 0), (1, 1), (2, 0)]
    learner = Scripted(*designs)
    # Trials finish in reverse order: after 30 seconds those of the first batch and the last of the second.
    played = play(FakeEnvironment(chain(3, 3)), learner, seconds=25, batch=2, callbacks=slow)
    assert [episode.design for episode in played] == [(0, 0), (0, 1), (1, 1)]
    assert [episode for told in learner.told for episode in told] == played
    # No new batch begins once it is over.
    clock[0] = 0.0
    assert len(play(FakeEnvironment(chain(3, 3)), Scripted(*designs), seconds=20, batch=2, callbacks=slow)) == 2
    # However little time there is, one design is evaluated.
    assert len(play(FakeEnvironment(chain(3, 3)), Scripted(*designs), seconds=1e-9, callbacks=slow)) == 1
    assert len(play(FakeEnvironment(chain(3, 3)), Scripted(*designs), seconds=1e9, callbacks=slow)) == 5


@pytest.mark.parametrize("seconds", [0, -1, math.nan, math.inf, "ten", True])
def test_a_time_that_is_not_positive_is_refused(seconds):
    with pytest.raises(InputError, match=r"The number of seconds is .*; it is a positive number\."):
        play(FakeEnvironment(chain(3, 3)), Scripted((0, 0)), seconds=seconds)


@pytest.mark.parametrize("target", [math.nan, math.inf, -math.inf, "high", False])
def test_a_target_that_is_no_finite_number_is_refused(target):
    with pytest.raises(InputError, match=r"The target is .*; it is a reward, a finite number\."):
        play(FakeEnvironment(chain(3, 3)), Scripted((0, 0)), target=target)
