"""Learners by name, and the sentences for names and settings that do not exist."""

import pytest

from agents import PairwiseQ, RandomSearch, learner, learners
from agents.registry import summary
from marl_hpo_env import InputError, Layer, SearchSpace


def test_the_names_are_sorted_and_have_the_paper_s_learner_and_random_search():
    assert learners() == sorted(learners())
    assert {"pairwise-q", "random"} <= set(learners())


@pytest.mark.parametrize(("name", "kind"), [("pairwise-q", PairwiseQ), ("random", RandomSearch)])
def test_a_name_makes_its_class(name, kind):
    assert type(learner(name)) is kind


def test_every_call_makes_a_new_learner():
    assert learner("pairwise-q") is not learner("pairwise-q")


def test_settings_reach_the_learner():
    made = learner("pairwise-q", alpha=0.5, exploration_episodes=3, update="averaged")
    assert (made.alpha, made.exploration_episodes, made.update) == (0.5, 3, "averaged")


def test_an_unknown_learner_is_refused_with_the_nearest_name():
    with pytest.raises(InputError, match=r"'pairwise-qq'.*did you mean 'pairwise-q'"):
        learner("pairwise-qq")


def test_a_name_that_is_near_none_is_refused_with_all_names():
    with pytest.raises(InputError) as refusal:
        learner("zzz")
    assert all(name in str(refusal.value) for name in learners())


def test_an_unknown_setting_is_refused_with_the_learner_and_the_nearest_setting():
    with pytest.raises(InputError, match=r"pairwise-q.*'exploration_episode'.*'exploration_episodes'"):
        learner("pairwise-q", exploration_episode=5)


def test_a_setting_of_a_learner_that_has_none_is_refused():
    with pytest.raises(InputError, match=r"'random'.*no settings.*'alpha'"):
        learner("random", alpha=0.5)


def test_a_setting_outside_its_range_is_refused():
    with pytest.raises(InputError, match="alpha"):
        learner("pairwise-q", alpha=2.0)


@pytest.mark.parametrize("name", learners())
def test_every_learner_has_a_one_line_summary(name):
    assert summary(name)
    assert "\n" not in summary(name)


@pytest.mark.parametrize("name", learners())
def test_every_learner_keeps_the_protocol(name):
    space = SearchSpace(
        [Layer("a", "Linear", {"out_features": (1, 2)}), Layer("b", "Linear", {"out_features": (1, 2)}, ("a",))]
    )
    made = learner(name)
    made.reset(space, 0)
    designs = made.ask(3)
    assert 1 <= len(designs) <= 3
    assert all(type(design) is tuple and space.check(design) == design for design in designs)
    made.reset(space, 0)
    assert made.ask(3) == designs
