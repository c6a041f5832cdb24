"""That the campaign of faults sees what it looks for."""

from __future__ import annotations

import dataclasses
import signal
import sys
from pathlib import Path

import pytest

from experiments.faults import commands, damage, inside, levels, processes
from experiments.faults import kills as kills_module
from experiments.faults.__main__ import missing
from experiments.faults.cases import FAULTS, Case, Fault, Journal, Kind, Place
from experiments.faults.kills import Command, Run
from experiments.faults.report import show, table, write
from marl_hpo_env import InputError

FAKE = """
import signal, sqlite3, subprocess, sys, time
from pathlib import Path

Path("run").mkdir(exist_ok=True)
store = sqlite3.connect("run/trials.sqlite")
store.execute("create table if not exists trials (fingerprint, design, seed, epochs, metrics)")
store.execute("insert into trials values ('task', '[0]', 0, '1', '{}'), ('task', '[1]', 0, '1', '{}')")
store.commit()


def told(*_):
    WHEN_TOLD
    sys.exit(130)


signal.signal(signal.SIGTERM, told)
AT_WORK
time.sleep(60)
"""


@pytest.mark.parametrize(
    ("when_told", "at_work", "fault", "mentioned"),
    [
        ("pass", "pass", "", ""),
        (
            "store.execute('delete from trials where design = ?', ['[1]']); store.commit()",
            "pass",
            "lost",
            "Of 2 trials 1",
        ),
        ("store.execute('update trials set metrics = 1'); store.commit()", "pass", "lost", "Of 2 trials 2"),
        ("1 / 0", "pass", "traceback", "ZeroDivisionError"),
        ("pass", "subprocess.Popen(['sleep', '60'], start_new_session=True)", "left behind", "sleep 60"),
        ("time.sleep(60)", "pass", "left behind", "still 1"),
        ("sys.exit(3)", "pass", "other", "exit code 3"),
    ],
)
def test_what_a_killed_command_loses_shows_and_leaves_is_seen(
    tmp_path, monkeypatch, when_told, at_work, fault, mentioned
):
    monkeypatch.setattr(kills_module, "PATIENCE", 1)
    monkeypatch.setattr(processes, "PATIENCE", 1)
    script = FAKE.replace("WHEN_TOLD", when_told).replace("AT_WORK", at_work)
    run = Run(Command("fake", (), lambda folder: {}, ("-c", script)), tmp_path)
    run.start()
    try:
        kills_module.wait_until(lambda: len(kills_module.rows(run.out)) == 2 and _at_work(run, at_work), 20)
        case = Place(0, tmp_path).tried("fake", 0, lambda: run.kill(signal.SIGTERM))
    finally:
        run.marked.end()
    assert case.fault == fault, case
    assert mentioned in case.sentence
    assert run.marked.alive() == {}


def _at_work(run: Run, at_work: str) -> bool:
    return len(run.marked.alive()) == (1 if at_work == "pass" else 2)


def test_a_campaign_that_ignores_a_signal_starts_commands_that_do_not(tmp_path):
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as under nohup
    try:
        marked = processes.Marked()
        program = "import signal; print(signal.getsignal(signal.SIGHUP).name)"
        marked.start([sys.executable, "-c", program], tmp_path, tmp_path / "said").wait(60)
        marked.end()
    finally:
        signal.signal(signal.SIGHUP, before)
    assert (tmp_path / "said").read_text().strip() == "SIG_DFL"


def test_another_result_and_a_file_that_stays_are_seen(tmp_path):
    code = "from pathlib import Path; Path('run').mkdir(); Path('run/network.1.partial').touch()"
    run = Run(Command("fake", (), lambda folder: {"trials": [1], "runs": 2}, ("-c", code)), tmp_path)
    run.start()
    with pytest.raises(Fault, match="1 files such as network") as left:
        run.end_by_itself()
    with pytest.raises(Fault, match="something else than undisturbed: runs") as lost:
        run.check_result({"trials": [1], "runs": 3})
    assert (left.value.what, lost.value.what) == ("left behind", "lost")


WORK = """
import os, time
from experiments.faults.cases import Fault


def work(place, kind, number):
    if number == 1:
        raise ValueError("no")
    if number == 2:
        os.abort()
    if number == 3:
        time.sleep(60)
    if number == 4:
        raise Fault("lost", "One is lost.")
    if number == 5:
        return bytearray(4 * 10**9) and None
    return f"case {number}"
"""


def test_what_becomes_of_cases_in_one_process_is_seen_and_the_next_ones_are_tried(tmp_path, monkeypatch):
    (tmp_path / "fake_work.py").write_text(WORK)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=":")
    import fake_work

    cases = list(inside.tries(fake_work.work, Place(0, tmp_path / "place"), "fake", range(7), seconds=3))
    assert [(case.number, case.fault) for case in cases] == [
        *((0, ""), (1, "traceback"), (2, "other"), (3, "other"), (4, "lost"), (5, "traceback"), (6, "")),
    ]
    assert "ValueError: no (fake_work.py:" in cases[1].sentence
    assert "ended its process with -6" in cases[2].sentence
    assert "took longer than 3 s" in cases[3].sentence
    assert "MemoryError" in cases[5].sentence


@pytest.mark.parametrize(
    ("code", "said", "fault"),
    [
        (2, "marl-hpo: The thing is 3; it is 4.", ""),
        (0, "done", ""),
        (1, "Traceback (most recent call last):\n  ...\nKeyError: 3", "traceback"),
        (1, "no", "other"),
        (2, "", "other"),
    ],
)
def test_how_a_wrong_command_line_ends_is_seen(tmp_path, code, said, fault):
    before = commands._files(tmp_path)
    case = Place(0, tmp_path).tried("fake", 0, lambda: commands._check(["tune"], code, said, before, tmp_path))
    assert case.fault == fault
    (tmp_path / "written").touch()
    case = Place(0, tmp_path).tried("fake", 0, lambda: commands._check(["tune"], code, said, before, tmp_path))
    assert case.fault == (fault or ("left behind" if code else ""))


def test_a_case_follows_from_seed_and_number(tmp_path):
    lines = [[commands.line(Place(seed, tmp_path).draw("fake", n)) for n in range(50)] for seed in (0, 0, 1)]
    assert lines[0] == lines[1] != lines[2]
    assert len({tuple(line) for line in lines[0]}) > 40


@pytest.mark.parametrize(
    ("read", "fault"),
    [
        (lambda path: path.read_bytes(), "lost"),
        (lambda path: b"whole", ""),
        (lambda path: _refuse("The file is damaged."), ""),
        (lambda path: _refuse("Two\nlines"), "other"),
    ],
)
def test_a_damaged_file_that_is_read_as_another_is_seen(tmp_path, monkeypatch, read, fault):
    def first_whole(path):
        return read(path) if path.read_bytes() != b"whole" else b"whole"

    form = damage.Format("file", lambda path: path.write_bytes(b"whole"), first_whole, lambda path, draw: None)
    monkeypatch.setattr(damage, "FORMATS", (form,))
    monkeypatch.setattr(damage, "_EXPECTED", {})
    (tmp_path / "whole").mkdir()
    (tmp_path / "whole" / "folders.txt").touch()
    place = Place(0, tmp_path / "place")
    place.folder.mkdir()
    faults = {place.tried("fake", n, lambda n=n: damage.tried(place, "fake", n)).fault for n in range(20)}
    assert faults == {"", fault}  # some are made so by somebody


def _refuse(sentence: str) -> None:
    raise InputError(sentence)


def test_what_grows_is_seen(monkeypatch, tmp_path):
    monkeypatch.setattr(levels, "_processes", lambda: 1)
    assert "10, in the middle and at the end" in levels._levels(10, lambda count: None)
    files = []
    with pytest.raises(Fault, match="open files"):
        levels._levels(10, lambda count: files.append((tmp_path / "file").open("w")))
    for file in files:
        file.close()


def test_a_campaign_that_was_stopped_goes_on_where_it_was(tmp_path):
    kind = Kind("fake", 10, 2, lambda place, name, numbers: iter(()), in_a_row=True)
    alone = dataclasses.replace(kind, in_a_row=False)
    journal = Journal(tmp_path / "cases.jsonl")
    for number in (0, 1, 2):
        journal.put(Case(0, "fake", number))
    journal.put(Case(1, "fake", 3))
    with (tmp_path / "cases.jsonl").open("a") as file:
        file.write('[0, "fake", 4, "lo')
    again = Journal(tmp_path / "cases.jsonl")
    assert list(missing(kind, 0.5, 0, again)) == [[2, 3], [4]]
    assert list(missing(alone, 0.5, 0, again)) == [[3], [4]]
    again.put(Case(0, "fake", 4))
    assert (0, "fake", 4) in Journal(tmp_path / "cases.jsonl").cases
    assert Kind("long", 300, 1, kind.tries, is_size=True).numbers(0.1) == [30]


def test_the_report_counts_every_fault(tmp_path, capsys):
    cases = [Case(0, "kills", 0), *(Case(0, "kills", n, fault, "It is so.") for n, fault in enumerate(FAULTS, 1))]
    assert table([*cases, Case(0, "files", 0)]) == [
        ["kills", "5", "1", "1", "1", "1", "1"],
        ["files", "1", "1", "0", "0", "0", "0"],
        ["all", "6", "2", "1", "1", "1", "1"],
    ]
    write(cases, tmp_path)
    assert not show(cases)
    assert "- kills, number 2: traceback. It is so." in capsys.readouterr().out
    assert "number 2: traceback" in Path(tmp_path / "report.md").read_text()
    assert len(Path(tmp_path / "cases.csv").read_text().splitlines()) == 6
    assert show(cases[:1])
