"""Tables: what is written is read, what is damaged is refused, and look-ups of every kind agree."""

from __future__ import annotations

import contextlib
import csv
import hashlib
import io
import itertools
import json
import math
import pickle
import time
import zipfile
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import marl_hpo_env
from marl_hpo_env import METRICS, InputError, Layer, Request, SearchSpace, Trial
from marl_hpo_env.tables import table
from marl_hpo_env.tables.file import pack, unpack
from marl_hpo_env.tables.table import Table
from marl_hpo_env.trial import CLOCK_METRICS

SMALL = SearchSpace(
    [Layer("conv", "Conv2d", {"out_channels": (8, 16)}), Layer("fc", "Linear", {"out_features": (4, 8, 16)})]
)
LOSSES = [float(np.float32(total)) / 30 for total in (60.1, 30.7, 20.3)]
"""As training gives them: a float32 sum over 30 examples."""


SPLITS = {"train": 30, "validation": 400, "test": 200}


def small_table(task="small", **settings) -> Table:
    """Two seeds of three epochs, worked by hand: everything follows from the design's number n, 0 to 5, and the seed s."""
    trials = [trained(n, seed) for n in (*range(6), None) for seed in (0, 1)]
    about = {"splits": SPLITS}
    return Table.from_trials(task, SMALL, (0, 1), 3, trials, **{"about": about, **settings})


def trained(number: int | None, seed: int) -> Trial:
    n = 6 if number is None else number
    request = Request(None if number is None else SMALL.design_at(number), seed, 3)
    if (number, seed) == (5, 1):
        history = ({"train_loss": LOSSES[0], "validation_accuracy": 40 / 400},)
        metrics = dict.fromkeys(METRICS) | {
            "train_loss": LOSSES[0],
            "validation_accuracy": 0.1,
            "epochs": 1,
            "seconds": 2.0,
        }
        return Trial(request, "terminated", "The loss stayed high.", {**metrics, "parameters": 600}, history)
    history = tuple(
        {"train_loss": loss, "validation_accuracy": (100 + 10 * n + epoch + seed) / 400}
        for epoch, loss in enumerate(LOSSES, start=1)
    )
    metrics = dict.fromkeys(METRICS) | history[-1]
    metrics |= {"test_accuracy": (60 + 10 * n + 2 * seed) / 200, "parameters": 100 * (n + 1), "epochs": 3}
    return Trial(request, "completed", None, metrics | {"seconds": 6.0}, history)


def same(found: Trial, trial: Trial) -> bool:
    """In every field, whatever kind of mapping and sequence."""
    metrics = dict.fromkeys(METRICS) | dict(trial.metrics)
    return (found.request, found.status, found.reason, dict(found.metrics), list(found.history)) == (
        trial.request,
        trial.status,
        trial.reason,
        metrics,
        list(trial.history),
    )


# --- the file --------------------------------------------------------------------------------------------------------

FRACTIONS = st.floats(0, 1) | st.integers(0, 400).map(lambda n: n / 400)
NUMBERS = st.floats(allow_nan=False, allow_infinity=False) | st.integers(0, 2**40) | FRACTIONS
CLOCK = st.floats(0, 1e6, width=32)
STORED = [name for name, metric in METRICS.items() if metric.of != "history"]


def figures(name):
    return FRACTIONS if name.endswith("_accuracy") else NUMBERS


@st.composite
def tables(draw, search_spaces):
    """Any small space, and trials of any kind on it."""
    space = draw(search_spaces)
    assume(space.size <= 24)
    seeds = draw(st.lists(st.integers(0, 99), min_size=1, max_size=2, unique=True))
    epochs = draw(st.integers(1, 3))
    keys = draw(st.sets(st.sampled_from(["train_loss", "validation_accuracy", "own"])))
    metrics = st.fixed_dictionaries(
        {}, optional={name: st.none() | (CLOCK if name in CLOCK_METRICS else figures(name)) for name in STORED}
    )
    trials = []
    for number, seed in itertools.product((*range(space.size), None), seeds):
        request = Request(None if number is None else space.design_at(number), seed, epochs)
        length = draw(st.integers(0, epochs)) if keys else 0
        history = tuple({key: draw(figures(key)) for key in keys} for _ in range(length))
        status = draw(st.sampled_from(["completed", "terminated", "failed"]))
        reason = None if status == "completed" else draw(st.text(max_size=3))
        trials.append(Trial(request, status, reason, draw(metrics), history))
    return space, seeds, epochs, trials


@given(data=st.data())
def test_every_trial_comes_back_to_the_last_bit(data, search_spaces, tmp_path_factory):
    space, seeds, epochs, trials = data.draw(tables(search_spaces))
    made = Table.from_trials("any", space, seeds, epochs, data.draw(st.permutations(trials)))
    path = tmp_path_factory.mktemp("tables") / "any.npz"
    made.save(path)
    opened = Table.open(path)
    assert opened.space.describe() == space.describe()
    assert (opened.seeds, opened.epochs, opened.digest) == (tuple(seeds), epochs, made.digest)
    for trial in trials:
        assert same(opened.trial(trial.request), trial)


@given(data=st.data())
def test_a_file_with_any_byte_changed_is_refused(data, refused):
    content = bytearray(small_table().content)
    position = data.draw(st.integers(0, len(content) - 1))
    content[position] ^= data.draw(st.integers(1, 255))
    with refused("'mine'"):
        Table(bytes(content), "mine")


@given(data=st.data())
def test_a_part_of_a_file_or_more_than_it_is_refused(data, refused):
    content = small_table().content
    for other in (content[: data.draw(st.integers(0, len(content) - 1))], content + data.draw(st.binary(min_size=1))):
        with refused("'mine'"):
            Table(other, "mine")


def test_a_table_is_an_npz_without_pickle_in_the_smallest_exact_types():
    with np.load(io.BytesIO(small_table().content), allow_pickle=False) as archive:
        arrays = dict(archive)
    header = json.loads(arrays.pop("header").tobytes())
    assert {name: (array.dtype.name, array.shape) for name, array in arrays.items()} == {
        "status": ("uint8", (2, 7)),
        "reason": ("uint8", (2, 7)),
        "length": ("uint8", (2, 7)),
        "history/train_loss": ("float32", (2, 3, 7)),
        "history/validation_accuracy": ("uint8", (2, 3, 7)),
        "metric/test_accuracy": ("uint8", (2, 7)),
        "metric/parameters": ("uint16", (1, 7)),  # no seed changes it
        "metric/epochs": ("uint8", (2, 7)),
        "metric/seconds": ("uint8", (2, 7)),
    }
    assert header["scales"]["history/validation_accuracy"] == 400
    assert header["scales"]["metric/test_accuracy"] == 100
    assert arrays["history/validation_accuracy"][1, 2].tolist() == [104, 114, 124, 134, 144, 255, 164]
    assert header["units"]["parameters"] == METRICS["parameters"].unit
    assert header["reasons"] == ["The loss stayed high."]


def test_equal_contents_are_equal_bytes_and_other_contents_another_digest():
    assert small_table().content == small_table().content
    assert small_table().digest != small_table(task="other").digest


def test_equal_contents_are_equal_bytes_whenever_they_are_written(monkeypatch):
    before = small_table().content
    monkeypatch.setattr(time, "time", lambda: 2_000_000_000.0)
    monkeypatch.setattr(time, "localtime", lambda *_: time.gmtime(2_000_000_000))
    assert small_table().content == before


@pytest.mark.parametrize("top", [254, 255, 256, 2**16 - 2, 2**16 - 1, 2**16, 2**32 - 2, 2**32 - 1, 2**32, 2**53])
def test_the_highest_number_of_a_type_is_a_value_and_not_a_missing_one(top):
    made = two_objectives([(0.5, top), *[(0.25, n) for n in range(5)]])
    assert made.trial(Request((0, 0), 0, 1)).metrics["parameters"] == top
    assert Table(made.content).mean("parameters").tolist() == [top, 0, 1, 2, 3, 4]


@pytest.mark.parametrize("fails", [0, 1])
def test_a_file_of_a_tables_name_is_whole_wherever_saving_breaks_off(tmp_path, monkeypatch, fails):
    path = tmp_path / "mine.npz"
    small_table().save(path)
    other = small_table(task="other")
    written = []

    def breaks_off(self, content):
        written.append(self)
        with self.open("wb") as file:
            file.write(content if len(written) <= fails else content[: len(content) // 2])
        if len(written) > fails:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(type(path), "write_bytes", breaks_off)
    with contextlib.suppress(InputError):
        other.save(path)
    assert Table.open(path).digest in (small_table().digest, other.digest)


def test_a_table_that_cannot_be_saved_is_refused(tmp_path, monkeypatch, refused):
    def full(self, content):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(type(tmp_path), "write_bytes", full)
    with refused("mine.npz", "cannot be written", "No space left"):
        small_table().save(tmp_path / "mine.npz")


@pytest.mark.parametrize("content", [b"", b"accuracy,size\n", b"PK\x03\x04" * 99])
def test_a_file_that_is_no_table_is_refused(content, tmp_path, refused):
    (tmp_path / "mine.npz").write_bytes(content)
    with refused(str(tmp_path / "mine.npz"), "is no table"):
        Table.open(tmp_path / "mine.npz")


def test_an_npz_of_something_else_is_refused(tmp_path, refused):
    np.savez_compressed(tmp_path / "mine.npz", header=np.zeros(3), status=np.zeros((1, 7)))
    with refused("is no table"):
        Table.open(tmp_path / "mine.npz")


def signed(content: bytes, version: int = 1) -> bytes:
    """With a comment that fits."""
    file = io.BytesIO(content)
    with zipfile.ZipFile(file, "a") as archive:
        archive.comment = f"marl-hpo-env table {version} sha256 ".encode() + bytes(64)
    unsigned = file.getvalue()[:-64]
    return unsigned + hashlib.sha256(unsigned).hexdigest().encode()


@pytest.mark.parametrize("version", [0, 2, 11])
def test_a_table_of_another_version_is_refused(version, refused):
    with refused(f"is of version {version} and this package reads version 1"):
        Table(signed(small_table().content, version))


def test_objects_are_never_unpickled(refused):
    file = io.BytesIO()
    np.savez(file, header=np.array([{"a": 1}], dtype=object))
    with refused("does not hold what a table holds"):
        Table(signed(file.getvalue()))


@pytest.mark.parametrize(
    ("header", "columns"),
    [
        ({"space": [{"name": "conv"}]}, {}),
        ({"space": SMALL.describe()[:1]}, {}),
        ({"seeds": 3}, {}),
        ({"seeds": [0, 1, 2]}, {}),
        ({"epochs": 2}, {}),
        ({"statuses": []}, {}),
        ({"statuses": 3}, {}),
        ({"statuses": ["failed", "terminated", "completed"]}, {}),
        ({"reasons": [[], {}]}, {}),
        ({"notes": 3}, {}),
        ({"seeds": [0, 0]}, {}),
        ({"seeds": [0, "1"]}, {}),
        ({"seeds": [0, -1]}, {}),
        ({"epochs": "3"}, {}),
        ({"epochs": 10**30}, {}),
        ({"space": 3}, {}),
        ({"space": [{**SMALL.describe()[0], "choices": [["x", [[[[]]]]]]}]}, {}),
        (
            {
                "space": [
                    SMALL.describe()[0],
                    {**SMALL.describe()[1], "choices": [[str(i), list(range(50))] for i in range(8)]},
                ]
            },
            {},
        ),
        ({"space": [{**SMALL.describe()[0], "name": f"layer{i}", "inputs": []} for i in range(1000)]}, {}),
        ({"reasons": []}, {}),
        ({}, {"status": np.zeros((2, 6))}),
        ({}, {"status": np.full((2, 7), 3.0)}),
        ({}, {"length": np.full((2, 7), 4.0)}),
        ({}, {"network": np.full(6, 6.0)}),
        ({}, {"network": np.zeros(7)}),
        ({}, {"metric/test_accuracy": np.zeros((3, 7))}),
    ],
)
def test_a_table_that_contradicts_itself_is_refused(header, columns, refused):
    good_header, good_columns, _ = unpack(small_table().content, "good")
    assert Table(pack(good_header, good_columns)).space == SMALL
    with refused("'mine' does not hold what a table holds"):
        Table(pack({**good_header, **header}, {**good_columns, **columns}), "mine")


def stored(text, /, **more):
    """The archive of a table with this header and its good columns, or others in their place, without the seal."""
    _, columns, _ = unpack(small_table().content, "good")
    arrays = {"header": np.frombuffer(text.encode(), np.uint8), **columns, **more}
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, array in arrays.items():
            entry = io.BytesIO()
            np.lib.format.write_array(entry, array)
            archive.writestr(
                f"{name}.npy", entry.getvalue().replace(b"(3, 1), }" + b" " * 14, b"(100000000000000,), }".ljust(23))
            )
    return bytearray(file.getvalue())


def good_header(**changes):
    header, columns, _ = unpack(small_table().content, "good")
    return json.dumps({**header, "scales": dict.fromkeys(columns, 1), **changes})


def with_a_huge_entry(content):
    """In the archive's directory the first entry claims as many bytes as fit in 32 bits."""
    at = content.index(b"PK\x01\x02")
    content[at + 24 : at + 28] = b"\xfe\xff\xff\xff"
    return content


def packed_badly(content):
    """A compressed entry whose stream is broken."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("header.npy", bytes(range(256)) * 40)
    broken = bytearray(file.getvalue())
    broken[45:65] = bytes(20)
    return broken


HOSTILE = {
    "deep JSON": lambda: stored("[" * 100_000),
    "a list": lambda: stored("[]"),
    "a number": lambda: stored("3"),
    "no scales": lambda: stored(json.dumps({"space": []})),
    "scales of no numbers": lambda: stored(
        good_header(scales=dict.fromkeys(unpack(small_table().content, "")[1], "a"))
    ),
    "scales of nothing": lambda: stored(good_header(scales=dict.fromkeys(unpack(small_table().content, "")[1], 0))),
    "no UTF-8": lambda: stored(good_header(), header=np.full(9, 255, np.uint8)),
    "strings": lambda: stored(good_header(), status=np.array(["a"])),
    "whole numbers with a sign": lambda: stored(good_header(), status=np.zeros((2, 7), np.int64)),
    "a pair": lambda: stored(good_header(), status=np.zeros((2, 7), [("a", "u1"), ("b", "u1")])),
    "a huge entry": lambda: with_a_huge_entry(stored(good_header())),
    "a huge array": lambda: stored(good_header(), status=np.zeros((3, 1))),
    "a broken stream": lambda: packed_badly(stored(good_header())),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_sealed_file_that_is_no_table_is_one_sentence(kind, refused):
    assert Table(signed(bytes(stored(good_header())))).space == SMALL
    with refused("does not hold what a table holds"):
        Table(signed(bytes(HOSTILE[kind]())))


def test_a_damaged_table_is_refused(damaged, refused):
    for copy in damaged(small_table().content):
        with refused():
            Table(copy)


@pytest.mark.parametrize("entry", ["space", "seeds", "epochs", "statuses", "reasons", "task"])
def test_a_table_with_half_a_header_is_refused(entry, refused):
    header, columns, _ = unpack(small_table().content, "good")
    del header[entry]
    with refused("does not hold what a table holds", entry):
        Table(pack(header, columns))


def test_a_file_that_cannot_be_read_or_written_is_refused(tmp_path, refused):
    with refused("no.npz", "cannot be read"):
        Table.open(tmp_path / "no.npz")
    with refused("no/no.npz", "cannot be written"):
        small_table().save(tmp_path / "no" / "no.npz")
    with refused("ends in .npz", "table.zip"):
        small_table().save(tmp_path / "table.zip")
    assert list(tmp_path.iterdir()) == []


def test_a_table_of_the_package_is_opened_by_its_name(tmp_path, monkeypatch, refused):
    monkeypatch.setattr(table, "_SHIPPED", tmp_path)
    small_table().save(tmp_path / "small.npz")
    (tmp_path / "notes.md").write_text("no table")
    assert table.shipped() == ["small"]
    assert Table.open("small").digest == small_table().digest
    with refused("'smal'", "small"):
        Table.open("smal")
    monkeypatch.setattr(table, "_SHIPPED", tmp_path / "absent")
    with refused("'small'", "synthetic-orders-8"):
        Table.open("small")


# --- making one ------------------------------------------------------------------------------------------------------


def test_a_table_without_every_trial_is_refused_with_one_that_is_missing(refused):
    trials = [trained(n, seed) for n in range(6) for seed in (0, 1) if (n, seed) not in {(3, 1), (4, 0)}]
    with refused("lacks 2 of its 12 trials", "[0, 2]", "seed 0"):
        Table.from_trials("small", SMALL, (0, 1), 3, trials)


@pytest.mark.parametrize(
    ("request_", "mentioned"),
    [
        (Request((0, 0), 5, 3), "seed 5"),
        (Request((0, 0), 0, 2), "2 epochs"),
        (Request((0, 0), 0, None), "None epochs"),
        (Request((0, 3), 0, 3), "Action 3"),
        (Request((0,), 0, 3), "2 actions"),
    ],
)
def test_a_trial_of_something_else_is_refused(request_, mentioned, refused):
    with refused(mentioned):
        Table.from_trials("small", SMALL, (0, 1), 3, [Trial(request_, "completed")])


def test_an_unknown_metric_is_refused(refused):
    with refused("'accuracy'", "'test_accuracy'"):
        Table.from_trials("small", SMALL, (0,), 3, [Trial(Request((0, 0), 0, 3), "completed", None, {"accuracy": 1.0})])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"metrics": {"test_accuracy": 90.0}}, ("[1, 0] under seed 1", "test_accuracy 90", "so 0.9 for 90%")),
        ({"metrics": {"validation_accuracy": -0.1}}, ("validation_accuracy -0.1", "a fraction of 0 to 1.")),
        ({"metrics": {"parameters": float("nan")}}, ("parameters nan", "finite numbers, or None")),
        ({"metrics": {"train_loss": float("inf")}}, ("train_loss inf",)),
        ({"history": ({"train_loss": float("nan")},)}, ("train_loss nan",)),
        ({"history": ({"validation_accuracy": 55.0},)}, ("so 0.55 for 55%",)),
    ],
)
def test_figures_that_cannot_be_measured_are_refused_with_their_trial(refused, changes, words):
    trials = [trained(n, seed) for n in range(6) for seed in (0, 1)]
    trials[3] = replace(trials[3], **changes)
    with refused(*words):
        Table.from_trials("small", SMALL, (0, 1), 3, trials)


def test_a_loss_that_is_no_number_may_stand_in_a_trial_that_failed():
    trials = [trained(n, seed) for n in range(6) for seed in (0, 1)]
    trials[3] = Trial(trials[3].request, "failed", "The loss is no number.", {}, ({"train_loss": float("nan")},))
    assert Table.from_trials("small", SMALL, (0, 1), 3, trials).trial(trials[3].request).status == "failed"


def test_a_second_trial_of_a_design_with_other_figures_is_refused(refused):
    trials = [trained(n, seed) for n in range(6) for seed in (0, 1)]
    same_again = Table.from_trials("small", SMALL, (0, 1), 3, [*trials, trained(2, 1)])
    assert same_again.digest == Table.from_trials("small", SMALL, (0, 1), 3, trials).digest
    other = replace(trained(2, 1), metrics={**trained(2, 1).metrics, "parameters": 7})
    with refused("The trial of the design [0, 1] under seed 1 is there twice"):
        Table.from_trials("small", SMALL, (0, 1), 3, [*trials, other])


def test_a_table_may_lack_the_original_network():
    made = Table.from_trials("small", SMALL, (0, 1), 3, [trained(n, seed) for n in range(6) for seed in (0, 1)])
    original = made.trial(Request(None, 0, 3))
    assert (original.status, original.reason) == ("failed", "The table has no trial of the original network.")
    assert same(made.trial(Request((1, 0), 1, 3)), trained(1, 1))


def test_an_original_network_that_a_table_lacks_has_no_figures_and_no_epochs():
    made = Table.from_trials("small", SMALL, (0, 1), 3, [trained(n, seed) for n in range(6) for seed in (0, 1)])
    for seed in (0, 1):
        original = made.trial(Request(None, seed, 3))
        assert original.history == ()
        assert set(original.metrics.values()) == {None}


def test_a_table_of_a_csv_file(tmp_path):
    # The README's reader.
    (tmp_path / "mine.csv").write_text(
        "width,depth,accuracy,parameters\n8,1,0.5,100\n8,2,0.6,200\n16,1,0.7,150\n16,2,0.65,300\n"
    )

    def my_table(path):
        space = SearchSpace(
            [
                Layer("width", "Conv2d", {"out_channels": (8, 16)}),
                Layer("depth", "Block", {"repeats": (1, 2)}, ("width",)),
            ]
        )
        trials = []
        for row in csv.DictReader(path.open()):
            design = space.design(
                {"width": {"out_channels": int(row["width"])}, "depth": {"repeats": int(row["depth"])}}
            )
            accuracy = float(row["accuracy"])
            metrics = {"validation_accuracy": accuracy, "test_accuracy": accuracy, "parameters": int(row["parameters"])}
            trials.append(Trial(Request(design, 0, 1), "completed", None, metrics))
        return Table.from_trials("mine", space, [0], 1, trials, about={"notes": ["Test accuracy only."]})

    made = my_table(tmp_path / "mine.csv")
    assert made.mean_test_accuracy.tolist() == [0.5, 0.7, 0.6, 0.65]
    assert made.pareto_front(("test_accuracy", "parameters")).tolist() == [1, 0]


# --- look-ups --------------------------------------------------------------------------------------------------------


@given(data=st.data())
def test_a_designs_number_is_the_search_spaces(space, table_of, data):
    made = table_of(space)
    designs = data.draw(st.lists(st.integers(0, space.size - 1).map(space.design_at)))
    given_ = np.array(designs, dtype=int).reshape(-1, len(space))
    assert made.numbers(given_).tolist() == [space.index(design) for design in designs]
    assert made.designs.tolist() == [list(space.design_at(n)) for n in range(space.size)]


@given(data=st.data())
def test_the_columnar_look_up_gives_what_the_trials_have(data, search_spaces):
    space, seeds, epochs, trials = data.draw(tables(search_spaces))
    assume(any(trial.history for trial in trials))
    made = Table.from_trials("any", space, seeds, epochs, trials)
    seed, asked = data.draw(st.sampled_from(seeds)), data.draw(st.integers(1, epochs))
    numbers = data.draw(st.lists(st.integers(0, space.size - 1), min_size=1))
    columns = made.metrics(made.designs[numbers], seed, asked)
    assert set(columns) <= set(METRICS)
    for i, number in enumerate(numbers):
        trial = made.trial(Request(space.design_at(number), seed, asked))
        assert made.completed(made.designs[numbers], seed)[i] == (trial.status == "completed")
        for name in METRICS:
            value = columns[name][i] if name in columns else np.nan
            assert (None if np.isnan(value) else value) == trial.metrics[name]


@pytest.mark.parametrize(
    ("designs", "mentioned"),
    [
        ([[0, 3]], "'fc'"),
        ([[0, 0], [-1, 0]], "'conv'"),
        ([[0, 0, 0]], "(n, 2)"),
        ([0, 0], "(n, 2)"),
        ([[0.0, 0.0]], "float64"),
        ([[True, False]], "bool"),
    ],
)
def test_designs_that_do_not_exist_are_refused(designs, mentioned, refused):
    for look_up in (small_table().metrics, small_table().completed, small_table().numbers):
        with refused(mentioned):
            look_up(designs)


def test_fewer_epochs_are_answered_from_the_history():
    made = small_table()
    trial = made.trial(Request((0, 1), 1, 2))  # n = 2
    measured = {name: value for name, value in trial.metrics.items() if value is not None}
    assert measured == {
        "validation_accuracy": 123 / 400,
        "train_loss": LOSSES[1],
        "parameters": 300,
        "epochs": 2,
        "seconds": 4.0,
    }
    assert list(trial.history) == list(trained(2, 1).history[:2])
    assert made.trial(Request((0, 1), 1, 3)) == trained(2, 1)


def test_a_terminated_training_is_terminated_whatever_the_epochs():
    for epochs in (1, 2, 3):
        trial = small_table().trial(Request((1, 2), 1, epochs))
        assert (trial.status, trial.reason) == ("terminated", "The loss stayed high.")
        assert (trial.metrics["seconds"], trial.metrics["epochs"], trial.metrics["test_accuracy"]) == (2.0, 1, None)
        assert len(trial.history) == 1


def test_seeds_and_epochs_that_are_not_there_are_refused(refused):
    made = small_table()
    for seed, epochs, mentioned in ((2, 3, "[0, 1]"), (0, 4, "1 to 3"), (0, 0, "1 to 3"), (0, None, "convergence")):
        with refused("'small'", mentioned):
            made.trial(Request((0, 0), seed, epochs))
        if epochs is not None:
            with refused("'small'", mentioned):
                made.metrics([[0, 0]], seed, epochs)


def test_without_a_history_there_are_figures_of_all_epochs_only(refused):
    trials = [
        Trial(Request(SMALL.design_at(n), 0, 50), "completed", None, {"validation_accuracy": n / 9}) for n in range(6)
    ]
    made = Table.from_trials("small", SMALL, [0], 50, trials)
    assert made.trial(Request((1, 0), 0, 50)).metrics["validation_accuracy"] == 1 / 9
    with refused("10 epochs", "50 only"):
        made.trial(Request((1, 0), 0, 10))


def test_means_are_over_the_seeds_that_completed(refused):
    made = small_table()
    assert made.mean_test_accuracy.tolist() == [0.305, 0.355, 0.405, 0.455, 0.505, 0.55]
    assert made.mean("parameters").tolist() == [100, 200, 300, 400, 500, 600]
    with refused("'flops'", "parameters, seconds"):
        made.mean("flops")


def test_what_is_measured_is_what_a_completed_trial_has(spaces, formula_evaluator, table_of):
    assert small_table().measured == {
        "validation_accuracy",
        "test_accuracy",
        "train_loss",
        "parameters",
        "epochs",
        "seconds",
    }
    without_times = table_of(spaces["single"], formula_evaluator(spaces["single"], measures_time=False))
    assert not without_times.measured & {"train_ms_per_batch", "inference_ms_per_batch"}


# --- several objectives ----------------------------------------------------------------------------------------------

# accuracy and parameters of the six designs, by number
POINTS = [(0.50, 100), (0.60, 300), (0.60, 200), (0.55, 250), (0.90, 400), (0.40, 500)]


def two_objectives(points=POINTS, **settings) -> Table:
    trials = [
        Trial(Request(SMALL.design_at(n), 0, 1), "completed", None, {"test_accuracy": accuracy, "parameters": size})
        for n, (accuracy, size) in enumerate(points)
    ]
    return Table.from_trials("two", SMALL, [0], 1, trials, **settings)


def test_front_and_hypervolume_worked_by_hand():
    made, objectives = two_objectives(), ("test_accuracy", "parameters")
    assert made.pareto_front(objectives).tolist() == [4, 2, 0]
    assert made.reference_point(objectives) == {"test_accuracy": 0.4, "parameters": 500}
    # Strips between sizes 100, 200, 400 and 500, as high as the accuracy above 0.4.
    assert made.hypervolume(objectives) == pytest.approx(100 * 0.1 + 200 * 0.2 + 100 * 0.5)
    assert made.hypervolume(objectives, made.designs[[2]]) == pytest.approx(300 * 0.2)
    assert made.hypervolume(objectives, made.designs[[5]]) == 0
    assert made.hypervolume(objectives, made.designs[[]]) == 0
    # From the worst in the front only the one between its ends is better in both.
    assert made.reference_point(objectives, "nadir") == pytest.approx({"test_accuracy": 0.5, "parameters": 400})
    assert made.hypervolume(objectives, reference="nadir") == pytest.approx(200 * 0.1)


def test_an_unknown_reference_is_refused(refused):
    with refused("There is no reference 'nadr'; did you mean 'nadir'"):
        two_objectives().hypervolume(("test_accuracy", "parameters"), reference="nadr")


def test_a_mean_is_over_the_seeds_under_which_a_design_completed_with_the_metric():
    figures = {0: (0.5, 0.7), 1: (0.5, None), 2: (None, 0.7), 3: (None, None), 4: (0.4, 0.5), 5: (0.1, 0.2)}
    trials = [
        Trial(
            Request(SMALL.design_at(n), seed, 1),
            "terminated" if (n, seed) == (4, 0) else "completed",
            metrics={"test_accuracy": accuracy, "parameters": 10 + n},
        )
        for n, accuracies in figures.items()
        for seed, accuracy in enumerate(accuracies)
    ]
    made = Table.from_trials("two seeds", SMALL, [0, 1], 1, trials)
    # The fifth design was terminated under the first seed, so that does not count; nobody measured the fourth.
    assert made.mean_test_accuracy.tolist() == pytest.approx([0.6, 0.5, 0.7, math.nan, 0.5, 0.15], nan_ok=True)
    assert made.mean("parameters").tolist() == [10, 11, 12, 13, 14, 15]
    assert 3 not in made.pareto_front(("test_accuracy", "parameters"))


def test_objectives_that_the_table_lacks_are_refused(refused):
    for look_up in (two_objectives().pareto_front, two_objectives().hypervolume, two_objectives().reference_point):
        for name in ("flops", "accuracy"):
            with refused(repr(name), "parameters, test_accuracy"):
                look_up(("test_accuracy", name))


@given(points=st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=6, max_size=6))
def test_the_front_is_what_nothing_dominates(points):
    made, objectives = (
        two_objectives([(accuracy / 5, size) for accuracy, size in points]),
        ("test_accuracy", "parameters"),
    )
    front = made.pareto_front(objectives).tolist()
    for n, (accuracy, size) in enumerate(points):
        dominated = any(a >= accuracy and s <= size and (a, s) != (accuracy, size) for a, s in points)
        assert (n in front) != dominated
    assert made.hypervolume(objectives, made.designs[front]) == pytest.approx(made.hypervolume(objectives))


def test_of_designs_that_are_the_same_network_the_front_has_one():
    same_network = [(0.9, 400) if n in (1, 4) else point for n, point in enumerate(POINTS)]
    made = two_objectives(same_network, networks=[0, 1, 2, 3, 1, 4])
    assert made.networks.tolist() == [0, 1, 2, 3, 1, 4]
    assert made.pareto_front(("test_accuracy", "parameters")).tolist() == [1, 2, 0]
    assert two_objectives().networks.tolist() == list(range(6))


def test_what_an_environment_reads_off_the_history_is_neither_stored_nor_answered():
    trials = [trained(n, seed) for n in (*range(6), None) for seed in (0, 1)]
    with_more = [replace(trial, metrics={**trial.metrics, "epochs_to_threshold": 2}) for trial in trials]
    made = Table.from_trials("small", SMALL, [0, 1], 3, with_more, about={"splits": SPLITS})
    assert "epochs_to_threshold" not in made.measured
    assert made.trial(Request((0, 1), 1, 3)).metrics["epochs_to_threshold"] is None
    assert made.digest == small_table().digest
    shipped_table = Table.open("digits-convnet")  # of version 0.1, which stored epochs to another threshold
    assert "epochs_to_threshold" not in shipped_table.measured


def test_a_table_of_the_package_is_sent_by_its_name_and_digest(refused, monkeypatch):
    env = marl_hpo_env.parallel_env("digits-convnet", evaluator="table")
    env.reset()
    sent = pickle.dumps(env)
    assert len(sent) < 20_000
    received = pickle.loads(sent)
    design = dict.fromkeys(env.possible_agents, 0)
    assert received.step(design)[1] == env.step(design)[1]
    assert received.evaluator.table.digest == env.evaluator.table.digest
    monkeypatch.setattr(Table, "open", lambda name: small_table())
    with refused("'digits-convnet'", "version"):
        pickle.loads(sent)


def test_any_other_table_is_sent_with_its_content():
    table = small_table()
    received = pickle.loads(pickle.dumps(table))
    assert (received.digest, received.space, received.about) == (table.digest, table.space, table.about)
