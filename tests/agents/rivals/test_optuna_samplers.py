"""Optuna's samplers behind the protocol: the same designs as Optuna driven by hand, and legal ones on any graph."""

import logging
import math
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents import Episode
from agents.rivals.optuna_samplers import OptunaGP, OptunaMOGP, OptunaMOTPE, OptunaNSGA2, OptunaTPE
from marl_hpo_env import Layer, SearchSpace

optuna = pytest.importorskip("optuna", reason="needs the extra 'optuna'")

LEARNERS = {"tpe": OptunaTPE, "gp": OptunaGP, "motpe": OptunaMOTPE, "mogp": OptunaMOGP, "nsga2": OptunaNSGA2}
SPACE = SearchSpace(
    [
        Layer("conv1", "Conv2d", {"out_channels": (8, 16, 32), "kernel_size": ((1, 1), (3, 3))}),
        Layer("act", "Activation", {"type": ("ReLU", "GELU", "SiLU")}, ("conv1",)),
        Layer("fixed", "Dropout", {"p": (0.5,)}, ("act",)),
        Layer("fc", "Linear", {"out_features": (64, 16, 32), "bias": (False, True)}, ("fixed",)),
    ]
)


@pytest.fixture(params=LEARNERS)
def make(request):
    return LEARNERS[request.param]


def objectives(design):
    """Accuracy and size of a design: the first grows with the width of conv1, the second with both widths."""
    values = SPACE.hyperparameters(design)
    width, units = values["conv1"]["out_channels"], values["fc"]["out_features"]
    accuracy = 0.5 + 0.1 * math.log2(width) - 0.3 * (values["act"]["type"] == "SiLU") - 0.001 * abs(units - 32)
    return {"validation_accuracy": accuracy, "model_size_mb / original": width * units / 1000}


DIRECTIONS = {"validation_accuracy": +1, "model_size_mb": -1, "model_size_mb / original": -1}


def outcome(design):
    """Every design with a 1x1 kernel and without a bias is terminated."""
    values = SPACE.hyperparameters(design)
    found = objectives(design)
    if values["conv1"]["kernel_size"] == (1, 1) and not values["fc"]["bias"]:
        return Episode(design, -2.0, dict.fromkeys(found, math.nan), True, DIRECTIONS)
    return Episode(design, found["validation_accuracy"] - found["model_size_mb / original"], found, False, DIRECTIONS)


def run(learner, seed, batches, tell=outcome, space=SPACE):
    """The designs that a learner asks for, batch by batch."""
    learner.reset(space, seed)
    designs = []
    for n in batches:
        asked = learner.ask(n)
        designs += asked
        learner.tell([tell(design) for design in asked])
    return designs


# --- Optuna by hand --------------------------------------------------------------------------------------------------


def suggested(trial):
    """What a user of Optuna would write for this space."""
    return SPACE.design(
        {
            "conv1": {
                "out_channels": [8, 16, 32][trial.suggest_int("conv1.out_channels", 0, 2)],
                "kernel_size": [(1, 1), (3, 3)][trial.suggest_categorical("conv1.kernel_size", [0, 1])],
            },
            "act": {"type": ["ReLU", "GELU", "SiLU"][trial.suggest_categorical("act.type", [0, 1, 2])]},
            "fixed": {"p": [0.5][trial.suggest_int("fixed.p", 0, 0)]},
            "fc": {
                "out_features": [16, 32, 64][trial.suggest_int("fc.out_features", 0, 2)],
                "bias": [False, True][trial.suggest_categorical("fc.bias", [0, 1])],
            },
        }
    )


def driven_by_hand(sampler, directions, batches):
    study = optuna.create_study(sampler=sampler, directions=directions)
    designs = []
    for n in batches:
        trials = [study.ask() for _ in range(n)]
        asked = [suggested(trial) for trial in trials]
        for trial, design in zip(trials, asked, strict=True):
            episode = outcome(design)
            if len(directions) == 1:
                study.tell(trial, episode.reward)
            elif episode.terminated:
                study.tell(trial, state=optuna.trial.TrialState.PRUNED)
            else:
                study.tell(trial, list(episode.objectives.values()))
        designs += asked
    return designs


ONE, BOTH = ["maximize"], ["maximize", "minimize"]
ALIKE = {"validation_accuracy": 0.5, "model_size_mb / original": 1.0}


# Optuna begins to model after 10 trials.
@pytest.mark.parametrize("batches", [[1] * 14, [4, 7, 1, 2]], ids=["one by one", "in batches"])
@pytest.mark.parametrize(
    ("learner", "sampler", "directions"),
    [
        (OptunaTPE(), lambda seed: optuna.samplers.TPESampler(seed=seed, multivariate=True), ONE),
        (OptunaTPE(multivariate=False), lambda seed: optuna.samplers.TPESampler(seed=seed, multivariate=False), ONE),
        (OptunaGP(), lambda seed: optuna.samplers.GPSampler(seed=seed), ONE),
        (OptunaMOTPE(), lambda seed: optuna.samplers.TPESampler(seed=seed), BOTH),
        (OptunaMOTPE(multivariate=True), lambda seed: optuna.samplers.TPESampler(seed=seed, multivariate=True), BOTH),
        (
            OptunaNSGA2(population_size=6),
            lambda seed: optuna.samplers.NSGAIISampler(seed=seed, population_size=6),
            BOTH,
        ),
    ],
    ids=["tpe", "tpe independent", "gp", "motpe", "motpe multivariate", "nsga2"],
)
def test_it_asks_what_optuna_driven_by_hand_asks(learner, sampler, directions, batches):
    asked = run(learner, 3, batches)
    assert asked == driven_by_hand(sampler(3), directions, batches)
    assert asked != run(learner, 3, batches, lambda design: outcome(design)._replace(reward=0.0, objectives=ALIKE))


# --- the protocol ----------------------------------------------------------------------------------------------------


def test_designs_may_be_told_after_others_were_asked():
    learner, at_once = OptunaMOTPE(), OptunaMOTPE()
    learner.reset(SPACE, 0)
    first, second = learner.ask(6), learner.ask(8)
    learner.tell([outcome(design) for design in first])
    learner.tell([outcome(design) for design in second])
    assert first + second == run(at_once, 0, [14])
    assert learner.ask(5) == at_once.ask(5)


@pytest.mark.parametrize("name", ["tpe", "motpe", "nsga2"])
@settings(max_examples=15)
@given(data=st.data())
def test_designs_are_legal_on_any_graph(name, search_spaces, data):
    space = data.draw(search_spaces)

    def tell(design):
        terminated = data.draw(st.booleans())
        value = math.nan if terminated else sum(design) / 10
        return Episode(design, -2.0 if terminated else value, {"validation_accuracy": value}, terminated, DIRECTIONS)

    designs = run(LEARNERS[name](), data.draw(st.integers(0, 2**40)), [1, 12, 1, 1], tell, space)
    assert all(space.check(design) == design for design in designs)


def test_designs_of_the_gaussian_process_are_legal_on_every_shape(space):
    designs = run(OptunaGP(), 0, [12, 1, 2], lambda design: Episode(design, sum(design), {}, False), space)
    assert all(space.check(design) == design for design in designs)


@pytest.mark.parametrize("name", ["tpe", "motpe"])
def test_it_learns_to_avoid_what_is_terminated(name):
    # A quarter of all designs is: 20 of 80 where nothing is learned, with a standard deviation of 3.9.
    last = [design for seed in range(4) for design in run(LEARNERS[name](), seed, [1] * 40)[-20:]]
    assert sum(outcome(design).terminated for design in last) <= 10


def test_a_design_that_it_never_asked_for_is_taken_in(make):
    learner = make()
    learner.reset(SPACE, 0)
    for action in range(3):
        learner.tell([outcome((action, 0, 0, 0))])
    learner.tell([outcome(design) for design in learner.ask(2)])
    assert len(learner.ask(3)) == 3


def test_it_begins_with_terminated_designs_only(make):
    names = ("validation_accuracy", "model_size_mb")
    designs = run(make(), 0, [3] * 5, lambda d: Episode(d, -2.0, dict.fromkeys(names, math.nan), True, DIRECTIONS))
    assert len(designs) == 15


def test_optuna_logs_as_much_after_it_as_before_and_nothing_through_it(make, capfd):
    before = optuna.logging.get_verbosity()
    run(make(), 0, [2, 2])
    assert optuna.logging.get_verbosity() == before == logging.INFO
    assert capfd.readouterr() == ("", "")


def test_without_optuna_it_says_what_to_install(make, monkeypatch, refused):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with refused("'optuna'", "pip install"):
        make()


def test_a_population_is_at_least_two(refused):
    with refused("setting population_size is 1", "from 2"):
        OptunaNSGA2(population_size=1)
