"""The commands `marl-hpo table`, on a task of a few designs that are trained for real."""

from __future__ import annotations

import math
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.commands import table as table_commands
from experiments.commands.table import deviations
from experiments.comparison.landscape import autocorrelation, by_seed, explained, local_optima, seed_deviation
from experiments.comparison.regret import noise_floor
from marl_hpo_env import Layer, Request, SearchSpace, Store, TrainingEvaluator, Trial, task
from marl_hpo_env.catalog import registry
from marl_hpo_env.tables.file import pack, unpack
from marl_hpo_env.tables.table import Table


def choices():
    from torch import nn

    return {nn.MaxPool2d: {"kernel_size": (1, 2)}, nn.Linear: {"out_features": (4, 16)}}


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    """A task of four designs of one epoch, known by name."""
    digits = registry._FACTORIES["digits-convnet"]()
    made = replace(digits, name="tiny", choices=choices, recipe=replace(digits.recipe, epochs=1))
    monkeypatch.setitem(registry._FACTORIES, "tiny", lambda: made)
    return made


@pytest.fixture
def build(marl_hpo) -> Callable[[Path], tuple[int, str, str]]:
    """Builds the tiny task's table in a folder: exit code, output and error stream."""
    alone = ("--workers", "1", "--device", "cpu", "--seeds", "2")
    return lambda folder: marl_hpo("table", "build", "--task", "tiny", "--out", folder, *alone)


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    """Filled by the first test that asks for it."""
    return tmp_path_factory.mktemp("built")


@pytest.fixture
def path(built, build) -> str:
    """Of a table of the tiny task."""
    if not (built / "tiny.npz").exists():
        assert build(built)[0] == 0
    return str(built / "tiny.npz")


def test_a_table_has_the_trials_of_the_training_and_says_how_they_came_about(path, built, tiny):
    table = Table.open(path)
    stored = [trial for _, trial in Store(built / "trials.sqlite").trials()]
    assert {trial.request for trial in stored} == {
        Request(design, seed, 1) for design in [(0, 0), (1, 0), (0, 1), (1, 1), None] for seed in (0, 1)
    }
    for trial in stored:
        found = table.trial(trial.request)
        assert (found.status, list(found.history)) == (trial.status, list(trial.history))
        assert {name: value for name, value in found.metrics.items() if value is not None} == pytest.approx(
            {name: value for name, value in trial.metrics.items() if value is not None}
        )
    assert table.about["fingerprint"] == tiny.fingerprint
    assert table.about["evaluator"] == TrainingEvaluator(tiny, "cpu").fingerprint
    assert table.about["splits"] == {"train": 997, "validation": 400, "test": 400}
    assert table.about["command"] == "marl-hpo table build --task tiny --seeds 2"
    assert set(table.about) >= {"recipe", "limits", "versions", "hardware", "notes", "units"}


def test_what_is_in_the_folder_is_not_trained_again(path, built, tiny, build, tmp_path, monkeypatch):
    trained = []
    evaluate = TrainingEvaluator.evaluate

    def recorded(self, requests):
        trained.extend(requests)
        return evaluate(self, requests)

    monkeypatch.setattr(TrainingEvaluator, "evaluate", recorded)
    fingerprint = TrainingEvaluator(tiny, "cpu").fingerprint
    whole, partial = Store(built / "trials.sqlite"), Store(tmp_path / "trials.sqlite")
    for _, trial in list(whole.trials())[:-1]:
        partial.put(fingerprint, trial)
    partial.close()
    assert build(tmp_path)[0] == 0
    assert len(trained) == 1
    assert build(tmp_path)[0] == 0
    assert len(trained) == 1
    assert Table.open(tmp_path / "tiny.npz").about == Table.open(path).about


def test_a_build_that_is_stopped_keeps_its_trials_and_makes_no_table(build, tmp_path, monkeypatch):
    evaluate = TrainingEvaluator.evaluate

    def stopped(self, requests):
        for done, trial in enumerate(evaluate(self, requests)):
            if done == 2:
                signal.raise_signal(signal.SIGINT)
            yield trial

    monkeypatch.setattr(TrainingEvaluator, "evaluate", stopped)
    code, _, err = build(tmp_path)
    assert code == 130
    assert "the same command continues" in err
    assert len(list(Store(tmp_path / "trials.sqlite").trials())) == 2
    assert not (tmp_path / "tiny.npz").exists()


def test_trainings_that_failed_by_accident_make_no_table(build, tmp_path, monkeypatch):
    def out_of_memory(self, requests):
        return (Trial(request, "failed", "Out of memory: 4 GB.", accidental=True) for request in requests)

    monkeypatch.setattr(TrainingEvaluator, "evaluate", out_of_memory)
    code, _, err = build(tmp_path)
    assert code == 2
    assert "10 trainings failed" in err
    assert "Out of memory: 4 GB." in err
    assert not (tmp_path / "tiny.npz").exists()


def test_a_space_that_is_too_large_is_refused_before_anything_is_written(build, tmp_path, monkeypatch):
    monkeypatch.setattr(table_commands, "MOST_DESIGNS", 3)
    code, _, err = build(tmp_path / "run")
    assert code == 2
    assert "has 4 designs; a table has at most 3" in err
    assert not (tmp_path / "run").exists()


def test_rows_train_again_to_the_last_bit(path, marl_hpo):
    code, out, _ = marl_hpo("table", "check", path, "--rows", "3", "--workers", "1", "--device", "cpu")
    assert (code, out.strip()) == (0, "3 trials trained again, 3 the same to the last bit.")


def altered(path: str, tmp_path: Path, points: float, **header) -> str:
    """The same table with every test accuracy lower by as many points."""
    about, columns, _ = unpack(Path(path).read_bytes(), path)
    columns["metric/test_accuracy"] = columns["metric/test_accuracy"] - points / 100
    (tmp_path / "other.npz").write_bytes(pack({**about, **header}, columns))
    return str(tmp_path / "other.npz")


def test_rows_that_do_not_train_again_to_the_last_bit_fail_where_nothing_explains_it(path, marl_hpo, tmp_path):
    arguments = ("check", altered(path, tmp_path, 0.001), "--rows", "2", "--workers", "1", "--device", "cpu")
    code, out, _ = marl_hpo("table", *arguments)
    assert code == 1
    assert "2 trials trained again, 0 the same" in out
    assert "0.001 points from the table" in out


@pytest.mark.parametrize(("points", "code"), [(0.001, 0), (50, 1)])
def test_elsewhere_rows_train_again_within_the_spread_between_seeds(path, marl_hpo, tmp_path, points, code):
    other = altered(path, tmp_path, points, hardware="an abacus")
    ended, out, _ = marl_hpo("table", "check", other, "--rows", "2", "--workers", "1", "--device", "cpu")
    assert ended == code
    assert "with the hardware an abacus" in out


def test_a_table_of_another_network_is_not_checked(path, marl_hpo, monkeypatch):
    monkeypatch.setitem(registry._FACTORIES, "tiny", lambda: replace(task("digits-convnet"), name="tiny"))
    code, _, err = marl_hpo("table", "check", path, "--rows", "1")
    assert code == 2
    assert "is of another network, data, choices or recipe than 'tiny' has now" in err


def test_a_table_is_described(path, marl_hpo, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    code, out, _ = marl_hpo("table", "describe", path)
    table = Table.open(path)
    best = ",".join(map(str, table.space.design_at(int(table.mean_test_accuracy.argmax()))))
    assert code == 0
    for text in ("4 designs", f"{100 * table.mean_test_accuracy.max():.2f}% ({best})", "local optima", "Pareto front"):
        assert text in out
    assert max(map(len, out.splitlines())) <= 80
    code, _, err = marl_hpo("table", "describe", "tinny")
    assert (code, "There is no table 'tinny'" in err) == (2, True)


def test_a_table_without_test_figures_is_described_by_its_validation_accuracy(tmp_path, marl_hpo):
    space = SearchSpace(
        [Layer("a", "Linear", {"out_features": (1, 2)}), Layer("b", "Linear", {"out_features": (1, 2)}, ["a"])]
    )
    trials = [
        Trial(
            Request(design, 0, 1), "completed", None, {"validation_accuracy": 0.5 + 0.1 * sum(design), "parameters": 9}
        )
        for design in map(space.design_at, range(4))
    ]
    Table.from_trials("mine", space, [0], 1, trials).save(tmp_path / "mine.npz")
    code, out, err = marl_hpo("table", "describe", tmp_path / "mine.npz")
    assert code == 0, err
    assert "best mean validation accuracy" in out
    assert "70.00% (1,1)" in out
    assert "test" not in out


# --- the figures -----------------------------------------------------------------------------------------------------

GRID = SearchSpace([Layer("a", "Conv2d", {"stride": (1, 2)}), Layer("b", "Conv2d", {"stride": (1, 2)}, ("a",))])
LINE = SearchSpace([Layer("a", "Conv2d", {"stride": (1, 2, 3)}), Layer("b", "Conv2d", {"stride": (1,)}, ("a",))])


def test_variance_explained_worked_by_hand():
    # Numbers run over the first layer first: additive; the exclusive or; a half of each.
    assert explained(GRID, np.array([0.0, 1.0, 2.0, 3.0])) == pytest.approx((1, 1))
    assert explained(GRID, np.array([0.0, 1.0, 1.0, 0.0])) == pytest.approx((0, 1))
    assert explained(GRID, np.array([0.0, 0.0, 0.0, 4.0])) == pytest.approx((2 / 3, 1))
    # Without the last design, three values are what three terms explain.
    assert explained(GRID, np.array([0.0, 1.0, 5.0, np.nan])) == pytest.approx((1, 1))


def test_autocorrelation_worked_by_hand():
    # Every step of the exclusive or goes to the other value; one layer in two decides.
    assert autocorrelation(GRID, np.array([0.0, 1.0, 1.0, 0.0])) == pytest.approx(-1)
    assert autocorrelation(GRID, np.array([0.0, 1.0, 0.0, 1.0])) == pytest.approx(0)
    # -1, 0, 1: from each to the two others; the products -1 * 0, -1 * 1, 0 * 1, mean -1/3, variance 2/3.
    assert autocorrelation(LINE, np.array([1.0, 2.0, 3.0])) == pytest.approx(-0.5)
    assert math.isnan(autocorrelation(LINE, np.array([1.0, 1.0, 1.0])))


@given(values=st.lists(st.floats(-5, 5) | st.just(np.nan), min_size=24, max_size=24))
def test_local_optima_and_autocorrelation_are_those_of_all_neighbours(values):
    space = SearchSpace(Layer(name, "Conv2d", {"stride": range(size)}) for name, size in (("a", 2), ("b", 3), ("c", 4)))
    landscape = np.array(values)
    designs = [space.design_at(n) for n in range(24)]
    neighbours = [
        [m for m, other in enumerate(designs) if sum(a != b for a, b in zip(design, other, strict=True)) == 1]
        for design in designs
    ]
    optima = [
        n for n in range(24) if not math.isnan(values[n]) and not any(values[m] > values[n] for m in neighbours[n])
    ]
    assert local_optima(space, landscape) == len(optima)
    steps = []  # a layer at random, then another action at random
    for n, m in [(i, j) for i in range(24) for j in neighbours[i]]:
        size = next(s for a, b, s in zip(designs[n], designs[m], space.sizes, strict=True) if a != b)
        if not math.isnan(values[n] + values[m]):
            steps.append((1 / (size - 1), values[n], values[m]))
    if steps and np.nanvar(landscape) > 1e-9:
        mean = np.nanmean(landscape)
        covariance = sum(w * (x - mean) * (y - mean) for w, x, y in steps) / sum(w for w, _, _ in steps)
        assert autocorrelation(space, landscape) == pytest.approx(covariance / np.nanvar(landscape), abs=1e-9)


def test_noise_worked_by_hand():
    assert seed_deviation(np.array([[0.0, 0.5, np.nan], [0.2, 0.5, 0.9]])) == pytest.approx(math.sqrt(0.02 / 2))
    assert math.isnan(seed_deviation(np.array([[0.0, 0.5]])))


def noisy_table() -> Table:
    """Validation and test accuracy of three designs under two seeds."""
    figures = {
        0: [(0.9, 0.5), (0.7, 0.7), (0.9, 0.8)],
        1: [(0.6, 0.5), (0.8, 0.7), (0.7, 0.6)],
    }
    trials = [
        Trial(Request((n, 0), seed, 1), "completed", None, {"validation_accuracy": validation, "test_accuracy": test})
        for seed, row in figures.items()
        for n, (validation, test) in enumerate(row)
    ]
    return Table.from_trials("noisy", LINE, [0, 1], 1, trials)


def test_the_noise_floor_is_what_the_best_on_validation_leaves():
    # Means on test: 0.5, 0.7, 0.7. Seed 0 picks the first or the last, 0.6 in the mean; seed 1 the middle one.
    table = noisy_table()
    floor = noise_floor(by_seed(table, "validation_accuracy"), table.mean_test_accuracy)
    assert floor == pytest.approx((0.1 + 0.0) / 2)


def test_deviations_worked_by_hand():
    table = noisy_table()
    trained = [
        Trial(Request((0, 0), 0, 1), "completed", None, {"test_accuracy": 0.53}),
        Trial(Request((2, 0), 1, 1), "terminated"),
    ]
    # From the table 0.03 and 0.6 (terminated is 0); between its seeds 0 and 0.2.
    assert deviations(table, trained) == pytest.approx((math.sqrt((0.0009 + 0.36) / 2), math.sqrt(0.04 / 2)))
