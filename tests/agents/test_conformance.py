"""The shipped conformance suite: every learner of the package passes it, and learners that break the protocol do not."""

import math
import random

import numpy as np
import pytest

from agents import RandomSearch, learner, learners
from agents.protocol import TurnBasedLearner
from agents.testing import LearnerConformance
from marl_hpo_env import InputError

# Those that train networks or fit models between two designs.
SLOW = {
    "nevergrad": 12,
    "optuna-gp": 11,
    "optuna-mogp": 11,
    "optuna-motpe": 12,
    "optuna-tpe": 12,
    "predictor": 18,
    "reinforce": 12,
    "smac": 12,
    "vdn": 12,
}


class TestEveryLearner(LearnerConformance):
    @pytest.fixture(autouse=True, params=learners())
    def _named(self, request):
        self.name = request.param
        try:
            learner(self.name)
        except InputError as error:
            pytest.skip(str(error))
        self.episodes = SLOW.get(self.name, LearnerConformance.episodes)

    def make(self):
        return learner(self.name)


class Illegal(RandomSearch):
    def ask(self, n):
        return [(*design[:-1], self._space.sizes[-1]) for design in super().ask(n)]


class OneLayerShort(RandomSearch):
    def ask(self, n):
        return [design[:-1] for design in super().ask(n)]


class NumpyIntegers(RandomSearch):
    def ask(self, n):
        return [tuple(np.int64(action) for action in design) for design in super().ask(n)]


class Lists(RandomSearch):
    def ask(self, n):
        return [list(design) for design in super().ask(n)]


class TooMany(RandomSearch):
    def ask(self, n):
        return super().ask(n + 1)


class Nothing(RandomSearch):
    def ask(self, n):
        return []


class NoMerges(RandomSearch):
    def ask(self, n):
        if any(len(feeding) > 1 for feeding in self._space.feeding):
            raise NotImplementedError("merges")
        return super().ask(n)


class NamesAgentsAsLayers(TurnBasedLearner):
    def act(self, agent, observation):
        return self._game.space.names.index(agent) % len(observation["action_mask"])


class OnAndOff(RandomSearch):
    def reset(self, space, seed):
        super().reset(space, seed)
        self.asks = 0

    def ask(self, n):
        self.asks += 1
        if len(self._seen) < self._space.size:
            return super().ask(n)
        return [] if self.asks % 2 else [(0,) * len(self._space)]


class WantsToBeTold(RandomSearch):
    told = True

    def ask(self, n):
        assert self.told
        self.told = False
        return super().ask(n)

    def tell(self, episodes):
        self.told = True


class ReadsItsListLater(RandomSearch):
    def reset(self, space, seed):
        super().reset(space, seed)
        self.last = []

    def ask(self, n):
        self._rng = np.random.default_rng((len(self._seen), len(self.last)))
        self.last = super().ask(n)
        return self.last


class KeepsWhatItIsTold(RandomSearch):
    def reset(self, space, seed):
        super().reset(space, seed)
        self.told = None

    def ask(self, n):
        if self.told == []:
            self._space.sample(self._rng)
        return super().ask(n)

    def tell(self, episodes):
        self.told = episodes


class Unseeded(RandomSearch):
    def reset(self, space, seed):
        super().reset(space, random.randrange(2**32))


class IgnoresItsSeed(RandomSearch):
    def reset(self, space, seed):
        super().reset(space, 0)


class ForgetsNothing(RandomSearch):
    def reset(self, space, seed):
        seen = getattr(self, "_seen", set())
        super().reset(space, seed)
        self._seen |= {design for design in seen if len(design) == len(space)}


class SharesItsGenerator(RandomSearch):
    shared = np.random.default_rng(0)

    def reset(self, space, seed):
        super().reset(space, seed)
        self.shared.bit_generator.state = self._rng.bit_generator.state
        self._rng = self.shared


class DrawsFromNumpy(RandomSearch):
    def ask(self, n):
        np.random.random()  # noqa: NPY002
        return super().ask(n)


class SeedsPython(RandomSearch):
    def reset(self, space, seed):
        super().reset(space, seed)
        random.seed(seed)


class FearsTerminations(RandomSearch):
    def tell(self, episodes):
        assert not any(math.isnan(value) for episode in episodes for value in episode.objectives.values())


class Exponential(RandomSearch):
    def tell(self, episodes):
        for episode in episodes:
            math.exp(episode.reward)


class Normalises(RandomSearch):
    def tell(self, episodes):
        rewards = np.array([episode.reward for episode in episodes])
        if rewards.size > 1:
            rewards /= rewards.max() - rewards.min()


class Sorts(RandomSearch):
    def tell(self, episodes):
        episodes.sort(key=lambda episode: episode.reward)


class ClearsTheObjectives(RandomSearch):
    def tell(self, episodes):
        for episode in episodes:
            episode.objectives.clear()


class WantsAList(RandomSearch):
    def tell(self, episodes):
        assert isinstance(episodes, list)


class KnowsOnlyItsOwn(RandomSearch):
    def tell(self, episodes):
        assert all(episode.design in self._seen for episode in episodes)


class AsksFirst(RandomSearch):
    def tell(self, episodes):
        assert self._seen


PLAYS = "test_it_asks_for_designs_of_any_space_and_replays_them"


@pytest.mark.parametrize(
    ("broken", "check"),
    [
        (Illegal, PLAYS),
        (OneLayerShort, PLAYS),
        (NumpyIntegers, PLAYS),
        (Lists, PLAYS),
        (TooMany, PLAYS),
        (Nothing, PLAYS),
        (Unseeded, PLAYS),
        (NoMerges, PLAYS),
        (NamesAgentsAsLayers, PLAYS),
        (TooMany, "test_it_asks_for_all_that_is_wanted_at_once"),
        (WantsToBeTold, "test_it_can_be_asked_again_before_it_is_told"),
        (OnAndOff, "test_once_it_has_no_more_designs_it_stays_so"),
        (ReadsItsListLater, "test_the_lists_it_gave_and_got_are_its_caller_s"),
        (KeepsWhatItIsTold, "test_the_lists_it_gave_and_got_are_its_caller_s"),
        (IgnoresItsSeed, "test_other_seeds_are_other_runs"),
        (ForgetsNothing, "test_reset_forgets_everything"),
        (SharesItsGenerator, "test_two_learners_share_nothing"),
        (DrawsFromNumpy, "test_the_global_random_states_stay_as_they_are"),
        (SeedsPython, "test_the_global_random_states_stay_as_they_are"),
        (FearsTerminations, "test_it_takes_in_terminated_episodes"),
        (Exponential, "test_it_takes_in_rewards_of_any_size"),
        (Normalises, "test_it_takes_in_rewards_of_any_size"),
        (Sorts, "test_it_does_not_change_what_it_is_told"),
        (ClearsTheObjectives, "test_it_does_not_change_what_it_is_told"),
        (WantsAList, "test_it_takes_any_sequence_of_episodes_also_an_empty_one"),
        (KnowsOnlyItsOwn, "test_it_takes_in_designs_that_it_never_asked_for"),
        (AsksFirst, "test_it_takes_in_designs_that_are_known_before_the_first_is_asked_for"),
    ],
)
def test_a_learner_that_breaks_the_protocol_fails(broken, check):
    class Suite(LearnerConformance):
        def make(self):
            return broken()

    with pytest.raises((AssertionError, NotImplementedError, ArithmeticError, ValueError)):
        getattr(Suite(), check)()


def test_every_check_fails_for_some_broken_learner():
    checks = {name for name in dir(LearnerConformance) if name.startswith("test_")}
    (marked,) = test_a_learner_that_breaks_the_protocol_fails.pytestmark
    assert {check for _, check in marked.args[1]} == checks


def test_a_suite_that_makes_no_learner_says_so():
    with pytest.raises(NotImplementedError, match="make"):
        LearnerConformance().test_other_seeds_are_other_runs()
