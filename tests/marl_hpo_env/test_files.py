"""Files that are whole whenever they are there."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from marl_hpo_env.files import whole_file

WRITER = """
import sys
from pathlib import Path
from marl_hpo_env.files import whole_file
for i in range(150):
    with whole_file(sys.argv[1]) as partial:
        partial.write_bytes(sys.argv[2].encode() * (1000 + i) + b"end")
"""


def test_many_writers_of_one_file_never_leave_a_torn_one(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"end")
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, str(path), letter]) for letter in "ab"]
    read = 0
    while any(writer.poll() is None for writer in writers):
        content = path.read_bytes()
        assert content.endswith(b"end")
        assert len(set(content[:-3])) <= 1
        read += 1
    assert [writer.returncode for writer in writers] == [0, 0]
    assert read > 10
    assert os.listdir(tmp_path) == ["file"]


def write_half(path):
    with whole_file(path) as partial:
        partial.write_text("half")
        raise InterruptedError


def test_a_writing_that_fails_leaves_the_older_file_and_nothing_beside_it(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")
    with pytest.raises(InterruptedError):
        write_half(path)
    assert (path.read_text(), os.listdir(tmp_path)) == ("old", ["file"])


def test_a_file_is_as_readable_as_any_other(tmp_path):
    with whole_file(tmp_path / "file") as partial:
        partial.write_text("new")
    (tmp_path / "other").write_text("new")
    assert (tmp_path / "file").stat().st_mode == (tmp_path / "other").stat().st_mode


def test_a_folder_that_is_not_there_is_an_error(tmp_path):
    with pytest.raises(OSError, match="No such file"), whole_file(tmp_path / "nowhere" / "file") as partial:
        partial.write_text("new")


KILLED = """
import os, sys
from marl_hpo_env.files import whole_file
with whole_file(sys.argv[1]) as partial:
    partial.write_text("half")
    os.kill(os.getpid(), 9)
"""


def test_what_a_killed_writer_left_is_removed_by_the_next_one_and_what_others_write_is_not(tmp_path):
    path = tmp_path / "file"
    subprocess.run([sys.executable, "-c", KILLED, str(path)], check=False)
    assert len(os.listdir(tmp_path)) == 1
    with whole_file(path) as other, whole_file(path) as partial:
        assert os.listdir(tmp_path) == []
        other.write_text("other")
        partial.write_text("new")
        with whole_file(path) as third:
            third.write_text("third")
        assert other.exists()
    assert (path.read_text(), os.listdir(tmp_path)) == ("other", ["file"])
