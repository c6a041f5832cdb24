"""What a run's report says in sentences, by hand."""

from __future__ import annotations

import pytest

from agents import Episode
from experiments.tuning.callbacks import PHASES
from experiments.tuning.sentences import below_zero, device_seconds, of_tables, time_taken
from experiments.tuning.tuning import Play
from marl_hpo_env import PaperReward, Request, Store, StoredEvaluator, Trial, WeightedReward, task
from marl_hpo_env.evaluators.synthetic import SyntheticEvaluator


def trial(number: int, accuracy: float, size: float, **more: float) -> Trial:
    metrics = {"validation_accuracy": accuracy, "model_size_mb": size, **more}
    return Trial(Request((number,), 0, 3), "completed", None, metrics)


def test_where_most_designs_are_below_0_it_says_the_weight_at_which_half_would_not_be():
    # c_A = S / (100 A + S): 30/80, 50/100 and 150/200.
    trials = [trial(0, 0.5, 30.0), trial(1, 0.5, 50.1), trial(2, 0.5, 150.0), trial(3, 0.5, 450.0)]
    stopped = Trial(Request((9,), 0, 3), "terminated", "by hand")
    (line,) = below_zero(PaperReward(), [*trials, stopped])
    assert line.startswith("As printed, Eq. 2 is below 0 for 3 of the 4 completed designs (75%); with c_A = 0.625 ")
    weights = [PaperReward(0.626).printed(one) for one in trials]
    assert sum(weight < 0 for weight in weights) == 2
    assert below_zero(PaperReward(), trials[:2]) == []
    assert below_zero(PaperReward(), [stopped]) == []
    assert below_zero(WeightedReward({"validation_accuracy": 1}), trials) == []


def test_the_weight_is_of_the_accuracy_per_epoch_where_that_is_rewarded():
    (line,) = below_zero(PaperReward(0.5, "per_epoch"), [trial(0, 0.6, 20.0, epochs_to_threshold=6)])
    assert "with c_A = 0.667 half" in line  # 20 / (60 / 6 + 20)


def test_the_memory_of_the_tables_and_the_cells_that_the_first_phase_left():
    designs = [(0, 0, 1), (0, 1, 1), (0, 0, 1), (1, 1, 0)]
    episodes = [Episode(design, 0.0, {}, False) for design in designs]
    phases = [PHASES[0]] * 3 + [PHASES[1]]
    tables = {(0, 1): (10, 10), (2, 2): (1, 25)}
    memory, cells = of_tables(Play("pairwise-q", episodes, phases, {}, None, tables))
    assert memory.startswith("pairwise-q: 2 tables of 125 cells, 0.5 KB as float32 and 1 KB as float64; ")
    # (0, 0) and (0, 1) of the first, 1 of the second.
    assert cells == "pairwise-q: after the first phase of 3 episodes 122 cells (97.6%) were unvisited."
    assert of_tables(Play("random", episodes, phases, {}, None)) == []


def test_a_run_took_what_its_trainings_took_by_device(tmp_path):
    store = Store(tmp_path / "trials.sqlite")
    for number, (fingerprint, seconds) in enumerate(
        [("abc-cpu-1-thread", 1800.0), ("abc-cpu-1-thread", 1800.5), ("abc-cuda", 36.0), ("abc-cuda", None)]
    ):
        store.put(fingerprint, trial(number, 0.5, 1.0, seconds=seconds))
    spent = device_seconds(store)
    assert spent == {"cpu": (2, pytest.approx(3600.5)), "cuda": (2, 36.0)}
    assert time_taken(spent, 12.4) == (
        "the run took 3600 s (1 h) on cpu for 2 trainings and 36 s (0.01 h) on cuda for 2 trainings, this command 12 s"
    )
    assert time_taken({}, 1.0) == "the run took 0 s, this command 1 s"


def test_what_a_formula_computes_was_not_trained(tmp_path):
    store = Store(tmp_path / "trials.sqlite")
    evaluator = StoredEvaluator(SyntheticEvaluator(task("synthetic-chain-100")), store)
    list(evaluator.evaluate([Request((0,) * 100, 0, 1)]))
    assert len(list(store.trials())) == 1
    assert device_seconds(store) == {}
