"""Learners by name, and the sentences for names and settings that do not exist."""

import sys

import numpy as np
import pytest

from agents import PairwiseQ, RandomSearch, learner, learners
from agents.registry import settings_of, split, summary
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


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ("reinforce(learning_rate=abc)", "a number"),
        ("reinforce(learning_rate=None)", "a number"),
        ("reinforce(baseline_decay=[1])", "a number"),
        ("coordination-graph(multi_objective=maybe)", "True or False"),
        ("pairwise-q(compound_alpha=3)", "True or False"),
        ("pairwise-q(exploration_episodes=1.5)", "a whole number or None"),
        ("reinforce(learning_rate=True)", "a number"),
        ("local-search(initial_designs=many)", "a whole number"),
    ],
)
def test_a_setting_of_another_type_is_one_sentence(text, right, refused):
    with refused(text.partition("(")[0], f"it is {right}."):
        learner(text)


def installed(name):
    """The learner; skips where the package that it is made of is not installed."""
    try:
        return learner(name)
    except InputError as error:
        if "needs the package" in str(error):
            pytest.skip(str(error))
        raise


@pytest.mark.parametrize("name", learners())
@pytest.mark.parametrize("seed", [None, -1, 1.5, "0", True])
def test_every_learner_takes_whole_numbers_from_0_as_seeds(name, seed, refused):
    space = SearchSpace(
        [Layer("a", "Linear", {"out_features": (1, 2)}), Layer("b", "Linear", {"bias": (1, 2)}, ("a",))]
    )
    made = installed(name)
    with refused("seed", repr(seed)):
        made.reset(space, seed)


@pytest.mark.parametrize("name", learners())
def test_every_learner_takes_numpy_s_integers_as_seeds(name):
    space = SearchSpace(
        [Layer("a", "Linear", {"out_features": range(9)}), Layer("b", "Linear", {"bias": range(9)}, ("a",))]
    )
    first, second = installed(name), installed(name)
    first.reset(space, 5)
    second.reset(space, np.int64(5))
    assert first.ask(3) == second.ask(3)


@pytest.mark.parametrize("name", learners())
def test_every_learner_has_a_one_line_summary(name):
    assert summary(name)
    assert "\n" not in summary(name)


@pytest.mark.parametrize("name", learners())
def test_every_learner_keeps_the_protocol(name):
    space = SearchSpace(
        [Layer("a", "Linear", {"out_features": (1, 2)}), Layer("b", "Linear", {"out_features": (1, 2)}, ("a",))]
    )
    made = installed(name)
    made.reset(space, 0)
    designs = made.ask(3)
    assert 1 <= len(designs) <= 3
    assert all(type(design) is tuple and space.check(design) == design for design in designs)
    made.reset(space, 0)
    assert made.ask(3) == designs


# --- settings behind a name, and learners of one's own ---------------------------------------------------------------


@pytest.mark.parametrize("text", ["pairwise-q(update=averaged)", " pairwise-q ( update = averaged ) ", "pairwise-q()"])
def test_settings_stand_behind_a_name(text):
    made = learner(text)
    assert type(made) is PairwiseQ
    assert made.update == ("printed" if "()" in text else "averaged")


def test_commas_inside_brackets_separate_nothing():
    assert split("a, b(k=(1,2), l=[3,4]) ,, c({5,6})") == ["a", "b(k=(1,2), l=[3,4])", "c({5,6})"]
    assert settings_of("random(k=(1,2),l=3)") == {"k": (1, 2), "l": 3}


def test_settings_are_told_with_their_values():
    assert settings_of("regularized-evolution(sample_size=3)") == {"population_size": 20, "sample_size": 3}
    assert settings_of("random") == {}


def test_numbers_none_and_truth_values_are_read_as_such():
    made = learner("pairwise-q(alpha=0.5,exploration_episodes=None,convergence_episodes=3,compound_alpha=True)")
    read = made.alpha, made.exploration_episodes, made.convergence_episodes, made.compound_alpha
    assert read == (0.5, None, 3, True)


def test_a_setting_that_is_given_by_itself_counts_over_one_behind_the_name():
    assert learner("pairwise-q(alpha=0.5,gamma=0.5)", alpha=0.25).alpha == 0.25


OWN = '''
class Own:
    """Asks one design over and over."""

    def __init__(self, design, times=2):
        self.design, self.times = design, times

    def reset(self, space, seed): ...

    def ask(self, n):
        return [self.design] * self.times

    def tell(self, episodes): ...


class Half:
    def reset(self, space, seed): ...

    def ask(self, n): ...


anything = 3
'''


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A module in the current folder, which is not on the path."""
    (tmp_path / "own_learners.py").write_text(OWN)
    (tmp_path / "needing.py").write_text("import a_package_that_is_not_there\n")
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.delitem(sys.modules, "own_learners", raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("own")
def test_one_s_own_class_is_found_in_the_current_folder():
    made = learner("own_learners:Own(times=3)", design=(0, 1))
    assert made.ask(1) == [(0, 1)] * 3
    assert list(settings_of("own_learners:Own")) == ["design", "times"]
    assert summary("own_learners:Own") == "Asks one design over and over."


@pytest.mark.usefixtures("own")
@pytest.mark.parametrize(
    ("text", "mentioned"),
    [
        ("pairwise-q(alpha=0.5", "pairwise-q(setting=value)"),
        ("pairwise-q(alpha=0.5)x", "cannot be read"),
        ("pairwise-q)", "no learner 'pairwise-q)'"),
        ("pairwise-q(averaged)", "'averaged'"),
        ("pairwise-q(alhpa=1)", "did you mean 'alpha"),
        ("random(seed=1)", "no settings"),
        ("", "There is no learner ''"),
        ("own_learners:Own", "missing a required argument: 'design'"),
        ("own_learners:Own(time=3)", "did you mean 'times'"),
        ("own_learners:Half", "has no 'tell'; a learner has reset, ask and tell."),
        ("own_learners:anything", "is a int; name a class"),
        ("own_learners:Nobody", "cannot be found"),
        ("own_learner:Own", "There is no module 'own_learner'"),
        (".own_learners:Own", "cannot be found"),
        ("own_learners.Own", "as in 'own_learners:Own'"),
        ("needing:Own", "its module needs 'a_package_that_is_not_there'"),
        ("nowhere.to_be:Own", "There is no module 'nowhere.to_be'"),
        (":Own", "cannot be read"),
        ("builtins:dict", "has no 'reset'"),
    ],
)
def test_what_makes_no_learner_is_refused_in_one_sentence(text, mentioned, refused):
    with refused(mentioned):
        learner(text)
