"""Learners as samplers of Optuna: Optuna's own suites, and what these do not ask."""

import importlib
import itertools
import math
import pickle
import subprocess
import sys

import numpy as np
import pytest

from agents import CoordinationGraph, RandomSearch, learner

optuna = pytest.importorskip("optuna", reason="needs the extra 'optuna'")

from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution  # noqa: E402
from optuna.testing.pytest_samplers import (  # noqa: E402
    BasicSamplerTestCase,
    MultiObjectiveSamplerTestCase,
    RelativeSamplerTestCase,
)
from optuna.trial import TrialState, create_trial  # noqa: E402

from agents.learner_sampler import LearnerSampler, _Parameter  # noqa: E402

GRID = {"a": CategoricalDistribution(range(5)), "b": IntDistribution(1, 5), "c": FloatDistribution(0, 2, step=0.5)}
"""125 designs."""


class TestOptunasSuites(BasicSamplerTestCase, RelativeSamplerTestCase, MultiObjectiveSamplerTestCase):
    @pytest.fixture
    def sampler(self):
        return lambda: LearnerSampler(learner("coordination-graph"), seed=0)


class Scripted:
    """Asks for the designs that it was made with, in this order, and keeps what it was reset with and told.

    What is kept is shared by its copies.
    """

    def __init__(self, *designs):
        self.designs = designs
        self.kept = {}

    def __deepcopy__(self, memo):
        other = Scripted(*self.designs)
        other.kept = self.kept
        return other

    def reset(self, space, seed):
        self.left = iter(self.designs or map(space.design_at, range(space.size)))
        self.kept.update(space=space, seed=seed)

    def ask(self, n):
        return list(itertools.islice(self.left, n))

    def tell(self, episodes):
        self.kept["told"] = {episode.design: episode for episode in episodes}


def study_of(sampler, trials=(), distributions=GRID, **settings):
    study = optuna.create_study(sampler=sampler, **settings)
    for trial in trials:
        study.add_trial(create_trial(distributions=distributions, **trial))
    return study


def params(*design):
    """The values of a design of GRID."""
    return {"a": design[0], "b": design[1] + 1, "c": design[2] / 2}


def distinct(study):
    return {tuple(sorted(trial.params.items())) for trial in study.trials}


def best_of_grid(trial):
    values = (trial.suggest_int("x", 0, 5), trial.suggest_categorical("y", ["p", "q", "r", "s", "t", "u"]))
    return values[0] + "rputsq".index(values[1])


# --- the game --------------------------------------------------------------------------------------------------------


def test_parameters_are_layers_with_values_or_bins_as_actions():
    scripted = Scripted()
    distributions = {
        "depth": IntDistribution(1, 3),
        "rate": FloatDistribution(1e-4, 1.0, log=True),
        "units_l0": IntDistribution(1, 1000),
        "units_l1": IntDistribution(1, 1000),
        "which": CategoricalDistribution(["x", None, True]),
        "width": CategoricalDistribution([64, 16, 32]),
    }
    first = {"depth": 2, "rate": 0.0099, "units_l0": 1, "units_l1": 1000, "which": None, "width": 16}
    study = study_of(LearnerSampler(scripted, bins=4), [{"params": first, "value": 1.0}], distributions)
    study.ask(distributions)
    space = scripted.kept["space"]
    assert dict(zip(space.names, space.sizes, strict=True)) == {
        "depth": 3,
        "rate": 4,
        "units_l0": 4,
        "units_l1": 4,
        "which": 3,
        "width": 3,
    }
    assert space.layers[-1].choices["value"] == (64, 16, 32)  # numbers keep their order
    assert list(scripted.kept["told"]) == [(1, 1, 0, 3, 1, 1)]


@pytest.mark.parametrize(
    ("distribution", "actions"),
    [
        (FloatDistribution(-1, 1), 8),
        (FloatDistribution(1e-7, 10, log=True), 8),
        (FloatDistribution(-10, 10, step=0.1), 8),
        (FloatDistribution(0, 1, step=0.25), 5),
        (IntDistribution(3, 10), 8),
        (IntDistribution(3, 11), 8),
        (IntDistribution(0, 7 * 10**8, step=7), 8),
        (IntDistribution(1, 12, log=True), 7),  # of 8 bins of equal ratio one would hold no number
        (IntDistribution(1, 10**6, log=True), 8),
        (CategoricalDistribution(range(20)), 20),
    ],
    ids=repr,
)
def test_what_is_drawn_inside_an_action_lies_in_it(distribution, actions):
    parameter, rng = _Parameter(distribution, 8), np.random.default_rng(0)
    assert len(parameter) == len(parameter.choices) == actions
    for action in range(actions):
        drawn = [distribution.to_internal_repr(parameter.draw(action, rng)) for _ in range(20)]
        assert all(distribution._contains(value) and parameter.action(value) == action for value in drawn)


def test_bins_of_a_logarithmic_parameter_have_equal_ratio():
    parameter = _Parameter(FloatDistribution(1e-4, 1.0, log=True), 4)
    assert [parameter.action(value) for value in (1e-4, 0.9e-3, 1.1e-3, 0.9e-2, 1.1e-2, 0.9e-1, 1.1e-1, 1.0)] == [
        *(0, 0, 1, 1),
        *(2, 2, 3, 3),
    ]


def test_parameters_with_the_same_last_word_are_of_one_kind():
    scripted, names = Scripted(), ["depth", "encoder.width", "decoder.width", "units_l0", "units_l1", "odd."]
    distributions = {name: IntDistribution(1, 3) for name in names}
    study = study_of(LearnerSampler(scripted), [{"params": dict.fromkeys(names, 1), "value": 0.0}], distributions)
    study.ask(distributions)
    kinds = {layer.name: layer.kind for layer in scripted.kept["space"].layers}
    assert kinds["encoder.width"] == kinds["decoder.width"]
    assert kinds["units_l0"] == kinds["units_l1"]
    assert len(set(kinds.values())) == 4


def test_structure_can_be_given_and_every_parameter_is_connected_with_every_other_where_it_is_not():
    def pairs(inputs):
        scripted = Scripted()
        study_of(LearnerSampler(scripted, inputs=inputs), [{"params": params(0, 0, 0), "value": 0.0}]).ask(GRID)
        space = scripted.kept["space"]
        return {(space.names[i], space.names[j]) for i, j in space.pairs}

    assert pairs(None) == {("a", "b"), ("a", "c"), ("b", "c")}
    assert pairs({"a": ("c", "not there")}) == {("c", "a")}
    assert pairs({"b": ("a",), "c": ("b",)}) == {("a", "b"), ("b", "c")}
    assert pairs({}) == set()


def test_what_is_no_structure_is_refused(refused):
    with refused("round in a circle", "'a' - 'b' - 'a'"):
        LearnerSampler(RandomSearch(), inputs={"a": ("b",), "b": ("a",)})
    with refused("names by parameter"):
        LearnerSampler(RandomSearch(), inputs={"a": "b"})


def test_settings_out_of_range_are_refused(refused):
    with refused("number of bins is 1"):
        LearnerSampler(RandomSearch(), bins=1)
    with refused("seed is -1"):
        LearnerSampler(RandomSearch(), seed=-1)
    with refused("'coordination-graph'"):
        LearnerSampler("coordination-graph")


# --- what is told ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("direction", ["minimize", "maximize"])
def test_trials_without_a_value_that_counts_are_terminated_and_rewarded_less_than_any_other(direction):
    scripted = Scripted()
    trials = [
        {"params": params(0, 0, 0), "value": 3.0},
        {"params": params(0, 0, 1), "value": 7.0},
        {"params": params(0, 0, 2), "state": TrialState.FAIL},
        {"params": params(0, 0, 3), "state": TrialState.PRUNED, "intermediate_values": {0: 5.0}},
        {"params": params(0, 0, 4), "value": 5.0, "constraints": {"size": 0.1}},
        {"params": params(1, 0, 0), "value": math.inf},
        {"params": params(1, 0, 1), "value": 5.0, "constraints": {"size": 0.0}},
    ]
    study = study_of(LearnerSampler(scripted), trials, direction=direction)
    study.tell(study.ask({name: GRID[name] for name in "ab"}), state=TrialState.FAIL)  # lacks a parameter
    study.ask(GRID)
    sign = 1 if direction == "maximize" else -1
    told = scripted.kept["told"]
    rewards = {design: episode.reward for design, episode in told.items() if not episode.terminated}
    assert rewards == {(0, 0, 0): sign * 3.0, (0, 0, 1): sign * 7.0, (1, 0, 1): sign * 5.0}
    terminated = {design: episode.reward for design, episode in told.items() if episode.terminated}
    assert set(terminated) == {(0, 0, 2), (0, 0, 3), (0, 0, 4), (1, 0, 0)}
    assert max(terminated.values()) < min(rewards.values())


def test_a_value_that_is_no_number_is_a_terminated_episode():
    scripted = Scripted((1, 1, 1))
    study = study_of(LearnerSampler(scripted), [{"params": params(0, 0, 0), "value": 0.0}])
    with pytest.warns(UserWarning, match="nan is not acceptable"):
        study.tell(study.ask(GRID), math.nan)
    study.ask(GRID)
    assert sorted(episode.terminated for episode in scripted.kept["told"].values()) == [False, True]


def test_of_several_objectives_none_but_the_best_are_best_and_weights_change_with_the_trial():
    scripted = Scripted()
    values = {(0, 0, 0): [1.0, 9.0], (0, 0, 1): [5.0, 5.0], (0, 0, 2): [9.0, 20.0], (0, 0, 3): [0.5, 3.0]}
    trials = [{"params": params(*design), "values": of_design} for design, of_design in values.items()]
    study = study_of(LearnerSampler(scripted, seed=0), trials, directions=["minimize", "maximize"])
    best = set()
    for _ in range(20):
        study.ask(GRID)
        rewards = {design: episode.reward for design, episode in scripted.kept["told"].items()}
        assert max(rewards, key=rewards.get) != (0, 0, 1)  # it is dominated
        best.add(max(rewards, key=rewards.get))
    assert best >= {(0, 0, 2), (0, 0, 3)}


def test_objectives_are_told_with_their_directions():
    scripted = Scripted()
    trials = [
        {"params": params(0, 0, 0), "values": [1.0, 2.0]},
        {"params": params(0, 0, 1), "values": [math.inf, 3.0]},
    ]
    study_of(LearnerSampler(scripted), trials, directions=["minimize", "maximize"]).ask(GRID)
    told = scripted.kept["told"]
    assert told[0, 0, 0].objectives == {"0": 1.0, "1": 2.0}
    assert told[0, 0, 0].directions == {"0": -1, "1": 1}
    assert told[0, 0, 1].terminated
    assert np.isnan(list(told[0, 0, 1].objectives.values())).all()


@pytest.mark.parametrize("multi_objective", [False, True])
def test_fronts_are_found(multi_objective):
    def objective(trial):
        width, kernel, idle = (trial.suggest_int(name, 0, 5) for name in ("width", "kernel", "idle"))
        return width + kernel - idle, width - kernel + idle

    study = study_of(
        LearnerSampler(CoordinationGraph(multi_objective=multi_objective), seed=0),
        directions=["maximize", "minimize"],
    )
    study.optimize(objective, n_trials=40)
    # On the front the kernel is 5 and nothing idle, whatever the width: 6 of 216 designs, of which 40 at random hold one.
    front = {
        trial.params["width"] for trial in study.trials if (trial.params["kernel"], trial.params["idle"]) == (5, 0)
    }
    assert len(front) >= 4


# --- each ask is a function of the study -----------------------------------------------------------------------------


def test_a_study_that_was_stopped_goes_on_as_if_it_had_not():
    def sampler():
        return LearnerSampler(CoordinationGraph(), seed=3)

    whole, parts = study_of(sampler()), study_of(sampler())
    whole.optimize(best_of_grid, n_trials=12)
    parts.optimize(best_of_grid, n_trials=5)
    parts.sampler = pickle.loads(pickle.dumps(sampler()))
    parts.optimize(best_of_grid, n_trials=7)
    assert [trial.params for trial in parts.trials] == [trial.params for trial in whole.trials]


def test_other_seeds_are_other_studies_and_the_learner_stays_as_it_is():
    def asked(sampler):
        study = study_of(sampler)
        study.optimize(best_of_grid, n_trials=6)
        return [trial.params for trial in study.trials]

    mine = CoordinationGraph()
    before = set(vars(mine))
    first = asked(LearnerSampler(mine, seed=0))
    # One that has begun has a space, and more.
    assert set(vars(mine)) == before
    assert first != asked(LearnerSampler(mine, seed=1))


def test_it_learns():
    found = 0
    for seed in range(4):
        study = study_of(LearnerSampler(CoordinationGraph(), seed=seed), direction="maximize")
        study.optimize(best_of_grid, n_trials=15)
        found += study.best_value == 10
    assert found == 4  # at random, 15 of 36 designs hold the best one so often in 3% of all cases


# --- side by side ----------------------------------------------------------------------------------------------------


def test_the_first_trials_differ_in_every_parameter():
    study = study_of(LearnerSampler(RandomSearch(), seed=0))
    trials = [study.ask(GRID) for _ in range(10)]
    for five in (trials[:5], trials[5:]):
        assert all(len({trial.params[name] for trial in five}) == 5 for name in GRID)


def test_no_two_running_trials_have_one_design():
    study = study_of(LearnerSampler(Scripted(), seed=0), [{"params": params(0, 0, 0), "value": 0.0}])
    for _ in range(20):
        study.ask(GRID)
    assert len({tuple(trial.params.items()) for trial in study.trials[1:]}) == 20


def test_of_two_that_want_one_design_at_once_one_asks_again():
    study = study_of(LearnerSampler(Scripted((1, 1, 1)), seed=0), [{"params": params(0, 0, 0), "value": 0.0}])

    class Slow(Scripted):
        """While it thinks, another trial takes the design that it will ask for first."""

        def ask(self, n):
            if "other" not in self.kept:
                self.kept["other"] = quick.ask(GRID).params
            return super().ask(n)

        def __deepcopy__(self, memo):
            return self

    quick = optuna.load_study(study_name=study.study_name, storage=study._storage, sampler=study.sampler)
    slow = Slow((1, 1, 1), (2, 2, 2))
    study.sampler = LearnerSampler(slow, seed=0)
    assert study.ask(GRID).params == params(2, 2, 2)
    assert slow.kept["other"] == params(1, 1, 1)


def test_a_learner_that_insists_on_a_running_design_gets_it():
    study = study_of(LearnerSampler(Scripted(*[(1, 1, 1)] * 9)), [{"params": params(0, 0, 0), "value": 0.0}])
    assert study.ask(GRID).params == study.ask(GRID).params == params(1, 1, 1)


def test_threads_repeat_no_design():
    study = study_of(LearnerSampler(CoordinationGraph(), seed=0))
    study.optimize(best_of_grid, n_trials=1)
    study.optimize(best_of_grid, n_trials=23, n_jobs=4)
    assert len(distinct(study)) == 24


WORKER = """
import sys
import optuna
from agents import learner
from agents.learner_sampler import LearnerSampler

def objective(trial):
    return trial.suggest_int("x", 0, 4) + trial.suggest_int("y", 0, 4)

sampler = LearnerSampler(learner("coordination-graph"), seed=0)
optuna.load_study(study_name="shared", storage=sys.argv[1], sampler=sampler).optimize(objective, n_trials=7)
"""


def test_two_processes_on_one_study_repeat_no_design(tmp_path):  # takes seconds: processes start, SQLite writes to disk
    storage = f"sqlite:///{tmp_path}/study.db"
    study = optuna.create_study(study_name="shared", storage=storage)
    distributions = {name: IntDistribution(0, 4) for name in "xy"}
    study.add_trial(create_trial(params={"x": 2, "y": 2}, distributions=distributions, value=4.0))
    command = [sys.executable, "-c", WORKER, storage]
    workers = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    for worker in workers:
        _, errors = worker.communicate(timeout=300)
        assert worker.returncode == 0, errors
    assert len(study.trials) == len(distinct(study)) == 15


# --- the extra -------------------------------------------------------------------------------------------------------


def test_the_package_does_not_import_optuna():
    script = "import agents, sys; assert 'optuna' not in sys.modules"
    subprocess.run([sys.executable, "-c", script], check=True)


def test_without_optuna_it_says_what_to_install(monkeypatch, refused):
    monkeypatch.setitem(sys.modules, "optuna.distributions", None)
    monkeypatch.delitem(sys.modules, "agents.learner_sampler")
    with refused("'optuna'", "pip install"):
        importlib.import_module("agents.learner_sampler")
