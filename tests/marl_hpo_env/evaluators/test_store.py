"""Trials in an SQLite database."""

from __future__ import annotations

import re
import sqlite3
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marl_hpo_env import METRICS, InputError, Request, Store, Trial
from marl_hpo_env.evaluators import store as store_file
from marl_hpo_env.evaluators import store as store_module

METRIC_VALUES = {name: index / 7 for index, name in enumerate(METRICS)} | {
    "peak_memory_mb": None,
    "flops": 123456789012,
}
HISTORY = ({"train_loss": 2.25, "validation_accuracy": 0.1}, {"train_loss": 1 / 3, "validation_accuracy": 0.7})
COMPLETED = Trial(Request((1, 0, 2), 7, 4), "completed", None, METRIC_VALUES, HISTORY, machine="AVX2")
TRIALS = [
    COMPLETED,
    Trial(Request(None, 7, 4), "completed", None, METRIC_VALUES, HISTORY),
    Trial(Request((1, 0, 2), 7, None), "completed", None, METRIC_VALUES, HISTORY),
    Trial(
        Request(None, 0, None),
        "failed",
        "Out of memory: it's “full”; drop table trials.",
        dict.fromkeys(METRICS),
        (),
        True,
    ),
    Trial(
        Request((0,), 8, 4), "terminated", "5 consecutive batches took longer than 2 ms.", {"epochs": 1}, HISTORY[:1]
    ),
]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "folder that is made" / "trials.db"


def assert_same(stored: Trial, trial: Trial):
    """Every field, whatever kind of sequence the history is."""
    assert stored.request == trial.request
    assert type(stored.request) is Request
    assert stored.request.design is None or type(stored.request.design) is tuple
    assert (stored.status, stored.reason) == (trial.status, trial.reason)
    assert dict(stored.metrics) == dict(trial.metrics)
    assert list(stored.history) == list(trial.history)
    assert stored.accidental is trial.accidental
    assert stored.machine == trial.machine


@pytest.mark.parametrize("trial", TRIALS)
def test_every_field_of_a_trial_comes_back(path, trial):
    for store in (Store(), Store(path)):
        store.put("task", trial)
        assert_same(store.get("task", trial.request), trial)
        ((fingerprint, listed),) = store.trials()
        assert fingerprint == "task"
        assert_same(listed, trial)


def test_a_stored_trial_equals_the_one_that_was_put():
    store = Store()
    store.put("task", COMPLETED)
    assert store.get("task", COMPLETED.request) == COMPLETED
    assert list(store.trials()) == [("task", COMPLETED)]


@given(
    metrics=st.dictionaries(
        st.sampled_from(sorted(METRICS)), st.none() | st.integers(0, 2**60) | st.floats(allow_nan=False)
    ),
    design=st.none() | st.lists(st.integers(0, 999), min_size=1, max_size=50).map(tuple),
    seed=st.integers(0, 2**62),
    epochs=st.none() | st.integers(1, 500),
    reason=st.none() | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")),
)
def test_numbers_come_back_to_the_last_bit(metrics, design, seed, epochs, reason):
    store = Store()
    trial = Trial(Request(design, seed, epochs), "failed", reason, metrics, ())
    store.put("task", trial)
    assert_same(store.get("task", trial.request), trial)
    store.close()


def test_what_was_not_stored_is_none():
    store = Store()
    store.put("task", COMPLETED)
    design, seed, epochs, _ = COMPLETED.request
    assert store.get("other task", COMPLETED.request) is None
    for request in (Request(None, seed, epochs), Request(design, seed + 1, epochs), Request(design, seed, None)):
        assert store.get("task", request) is None
    assert store.get("task", Request(design, seed, epochs, fold=0)) is None
    assert store.get("task", Request(design[:-1], seed, epochs)) is None
    assert store.get("task", COMPLETED.request) is not None


def test_trials_are_all_there_after_reopening(path):
    store = Store(path)
    for trial in TRIALS:
        store.put("a", trial)
        store.put("b", trial)
    before = list(store.trials())
    store.close()
    reopened = Store(path)
    assert list(reopened.trials()) == before
    assert [fingerprint for fingerprint, _ in before] == ["a"] * 5 + ["b"] * 5
    for trial in TRIALS:
        assert_same(reopened.get("b", trial.request), trial)


def test_a_trial_with_the_same_key_takes_the_place_of_the_older(path):
    store = Store(path)
    store.put("task", COMPLETED)
    newer = Trial(COMPLETED.request, "failed", "It failed.", {}, ())
    store.put("task", newer)
    assert_same(store.get("task", COMPLETED.request), newer)
    assert len(list(store.trials())) == 1


def test_a_store_in_memory_is_its_own():
    Store().put("task", COMPLETED)
    assert list(Store().trials()) == []


def test_what_a_store_says_of_itself_is_kept_on_disk(tmp_path):
    path = tmp_path / "run" / "trials.sqlite"
    store = Store(path)
    assert store.about("task") is None
    store.set_about("task", "digits")
    store.set_about("network", "old")
    store.set_about("network", "new")
    store.close()
    assert (Store(path).about("task"), Store(path).about("network")) == ("digits", "new")


def test_two_readers_see_each_trial_the_moment_it_is_put(path):
    writer, readers = Store(path), [Store(path), Store(path)]
    for number, trial in enumerate(TRIALS, start=1):
        assert [reader.get("task", trial.request) for reader in readers] == [None, None]
        writer.put("task", trial)
        for reader in readers:
            assert_same(reader.get("task", trial.request), trial)
            assert len(list(reader.trials())) == number


def test_readers_are_not_held_up_by_a_write_that_is_under_way(path):
    Store(path).put("task", COMPLETED)
    writer = sqlite3.connect(path, isolation_level=None)
    writer.execute("begin immediate")
    writer.execute("delete from trials")
    for reader in (Store(path), Store(path)):
        assert reader.get("task", COMPLETED.request) is not None
    writer.execute("rollback")


WRITER = """
import pathlib, sys
from marl_hpo_env import Request, Store, Trial
store = Store(pathlib.Path(sys.argv[1]))
for seed in range(300):
    store.put("task", Trial(Request((1, 2), seed, 4), "completed", None, {"epochs": seed}, ()))
    if seed == 0:
        print("begun", flush=True)
"""


def test_two_readers_follow_a_writer_in_another_process(path):
    with subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "begun\n"
        readers = [Store(path), Store(path)]
        counts = [0]
        while writer.poll() is None:
            for reader in readers:
                trials = [trial for _, trial in reader.trials()]
                assert sorted(trial.request.seed for trial in trials) == list(range(len(trials)))
                counts.append(len(trials))
        assert writer.returncode == 0
    assert counts == sorted(counts)
    assert [len(list(reader.trials())) for reader in readers] == [300, 300]


def test_a_folder_that_cannot_be_made_is_refused(tmp_path, refused):
    file = tmp_path / "file"
    file.write_text("not a folder")
    with refused(str(file / "trials.db")):
        Store(file / "trials.db")


def test_a_folder_is_not_a_store(tmp_path, refused):
    with refused(str(tmp_path)):
        Store(tmp_path)


@pytest.mark.parametrize("content", ["epoch,loss\n1,2.3\n", "No database at all. " * 500])
def test_a_file_that_is_not_a_database_is_refused_and_left_as_it_was(tmp_path, refused, content):
    file = tmp_path / "notes.txt"
    file.write_text(content)
    with refused(str(file), "not a database"):
        Store(file)
    assert file.read_text() == content
    assert list(tmp_path.iterdir()) == [file]


def test_a_database_of_another_program_is_refused(tmp_path, refused):
    file = tmp_path / "theirs.db"
    database = sqlite3.connect(file)
    database.execute("create table trials (number integer primary key, value real)")
    database.commit()
    database.close()
    with refused(str(file)):
        Store(file).get("task", COMPLETED.request)


def test_a_trial_that_cannot_be_written_is_refused(path, refused):
    store = Store(path)
    locked = sqlite3.connect(path)
    locked.execute("drop table trials")
    locked.commit()
    with refused("cannot be used"):
        store.put("task", COMPLETED)


VERSION_1 = """
create table if not exists trials (
    fingerprint text not null,
    design text not null,
    seed integer not null,
    epochs text not null,
    status text not null,
    reason text,
    metrics text not null,
    history text not null,
    primary key (fingerprint, design, seed, epochs)
) without rowid;
create table if not exists about (name text primary key, value text not null) without rowid;
insert into about values ('task', 'digits-convnet 7f1b8355f84a46ff');
insert into trials values ('7f1b8355f84a46ff-cpu-1-thread', '[1, 0, 2]', 7, '4', 'completed', null, '{"epochs": 4}', '[]');
insert into trials values ('7f1b8355f84a46ff-cpu-1-thread', '[1, 0, 3]', 7, '4', 'failed', 'Out of memory: 4 GB.', '{}', '[]');
insert into trials values ('another-cpu-1-thread', 'null', 7, 'null', 'failed', 'RuntimeError: no.', '{}', '[]');
"""
"""A store as version 0.1.0 wrote it."""


@pytest.fixture
def old(tmp_path):
    path = tmp_path / "old.sqlite"
    with sqlite3.connect(path) as database:
        database.executescript(VERSION_1)
    return path


def test_a_store_of_version_1_is_brought_forward_and_loses_nothing(old):
    for _ in range(2):  # as it was, and as it has become
        store = Store(old)
        trials = {(trial.design, trial.accidental): trial.reason for _, trial in store.trials()}
        assert trials == {
            ((1, 0, 2), False): None,
            ((1, 0, 3), True): "Out of memory: 4 GB.",
            (None, False): "RuntimeError: no.",
        }
        assert store.about("task") == "digits-convnet 7f1b8355f84a46ff"
        stored = store.get("7f1b8355f84a46ff-cpu-1-thread", Request((1, 0, 2), 7, 4))
        assert stored == Trial(Request((1, 0, 2), 7, 4), "completed", None, {"epochs": 4})
        store.close()
    with sqlite3.connect(old) as database:
        assert database.execute("pragma user_version").fetchone() == (3,)
        known = database.execute("select fingerprint, name from tasks").fetchall()
        assert known == [("7f1b8355f84a46ff-cpu-1-thread", "digits-convnet")]


def test_a_store_of_version_2_is_brought_forward_and_loses_nothing(old):
    with sqlite3.connect(old) as database:
        for statement in store_file._FROM_VERSION_1:
            database.execute(statement)
        database.execute("pragma user_version = 2")
    for _ in range(2):
        store = Store(old)
        assert [trial.accidental for _, trial in store.trials()] == [False, True, False]
        assert store.about("task") == "digits-convnet 7f1b8355f84a46ff"
        assert store.introduce("new", "digits-convnet") == 2
        store.close()


# --- damage ----------------------------------------------------------------------------------------------------------


def everything(store):
    return list(store.trials()), store.about("task"), store.about("run of random")


def test_a_damaged_store_is_read_as_it_was_or_refused(tmp_path, damaged, refused):
    path = tmp_path / "trials.sqlite"
    store = Store(path)
    for seed in range(40):
        store.put("task", replace(COMPLETED, request=Request((1, 0, seed), seed, 4)))
    store.set_about("task", "digits 0123")
    store.set_about("run of random", "random, seed 0")
    store.introduce("task", "digits")
    whole = everything(store)
    store.close()
    content, read, sentences = path.read_bytes(), 0, []
    for number, copy in enumerate(damaged(content)):
        broken = tmp_path / f"{number}.sqlite"
        broken.write_bytes(copy)
        try:
            found = everything(Store(broken))
        except InputError as error:
            sentences.append(str(error))
        else:
            read += 1
            assert found == whole or copy == b"", number  # SQLite takes a file of no bytes for a new one
    assert all(re.fullmatch(r"The store '.*\.", sentence) for sentence in sentences), sentences
    assert read < 15


@pytest.mark.parametrize(
    "statement",
    [
        "update trials set metrics = '{}'",
        "update trials set reason = 'no'",
        "update trials set seed = 8",
        "update trials set design = x'00'",
        "update trials set checksum = null",
        "update about set value = 'other'",
        "update tasks set name = 'other'",
    ],
)
def test_a_row_that_does_not_fit_its_checksum_is_refused_when_the_store_is_opened_and_when_it_is_read(
    path, refused, statement
):
    store = Store(path)
    store.put("task", COMPLETED)
    store.set_about("run", "mine")
    store.introduce("task", "mine")
    with sqlite3.connect(path) as database:
        database.execute(statement)
    with refused(str(path), "is damaged", "put a copy"):
        Store(path)
    with refused("is damaged"):
        list(store.trials())
        store.about("run")
        Store(path)


def test_a_store_of_a_newer_version_is_refused_and_left_alone(old, refused):
    with sqlite3.connect(old) as database:
        database.execute("pragma user_version = 4")
    with refused("is of version 4 and this package reads up to 3"):
        Store(old)
    with sqlite3.connect(old) as database:
        assert database.execute("select count(*) from trials").fetchone() == (3,)
        assert not database.execute("select 1 from sqlite_master where name = 'tasks'").fetchone()


def test_a_store_says_how_many_trials_a_task_has_under_other_fingerprints():
    store = Store()
    assert store.introduce("one", "mine") == 0
    store.put("one", COMPLETED)
    store.put("one", TRIALS[1])
    assert store.introduce("one", "mine") == 0
    assert store.introduce("two", "other") == 0
    assert store.introduce("two", "mine") == 2
    store.put("two", COMPLETED)
    assert store.introduce("two", "mine") == 0  # the run goes on, and has been told
    assert store.introduce("three", "mine") == 3


def test_the_folders_on_the_way_to_a_store_are_made_and_others_are_used(tmp_path):
    path = tmp_path / "runs" / "today" / "trials.db"
    for name in ("a", "b"):
        store = Store(path.with_name(f"{name}.db"))
        store.put("task", COMPLETED)
        store.close()
    assert sorted(found.name for found in path.parent.iterdir()) == ["a.db", "b.db"]


def test_a_store_serves_the_threads_of_a_process(path):
    store = Store(path)
    with ThreadPoolExecutor(1) as other:
        other.submit(store.put, "task", COMPLETED).result()
        assert_same(other.submit(store.get, "task", COMPLETED.request).result(), COMPLETED)
    assert_same(store.get("task", COMPLETED.request), COMPLETED)


@pytest.mark.parametrize(
    ("column", "text"),
    [
        *(("design", text) for text in ("true", "3", "[" * 100_000)),
        *(("metrics", text) for text in ("[]", "3", '{"test_accuracy": "x"}', "{")),
        *(("history", text) for text in ("3", "[3]", '[{"train_loss": []}]')),
        *(("status", text) for text in ("done", "")),
    ],
)
def test_a_row_whose_checksum_somebody_made_fit_is_refused_where_it_is_no_trial(path, refused, column, text):
    Store(path).put("task", COMPLETED)
    names = store_module._COLUMNS["trials"].split(", ")
    with sqlite3.connect(path) as database:
        row = dict(zip(names, database.execute(f"select {', '.join(names)} from trials").fetchone(), strict=True))
        row[column] = text
        setters = ", ".join(f"{name} = ?" for name in (*names, "checksum"))
        database.execute(f"update trials set {setters}", (*row.values(), store_module._checksum(*row.values())))
    with refused(str(path), "is damaged"):
        list(Store(path).trials())


def test_a_name_in_a_store_that_is_no_text_is_refused(path, refused):
    Store(path).close()
    path.write_bytes(path.read_bytes().replace(b"trials", b"tr\xf5als").replace(b"CREATE TABLE", b"CREATE TABXE"))
    with refused(str(path)):
        Store(path)


def test_a_new_file_that_another_process_opens_at_the_same_moment_is_waited_for(tmp_path, monkeypatch):
    refused = []

    class Busy(sqlite3.Connection):
        def execute(self, statement, *values):
            if "journal_mode" in statement and len(refused) < 3:
                refused.append(statement)
                error = sqlite3.OperationalError("database is locked")
                error.sqlite_errorcode = sqlite3.SQLITE_BUSY
                raise error
            return super().execute(statement, *values)

    connect = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda *given, **named: connect(*given, **named, factory=Busy))
    store = Store(tmp_path / "trials.sqlite")
    store.put("abc", COMPLETED)
    assert len(refused) == 3
    assert [trial for _, trial in store.trials()] == [COMPLETED]
