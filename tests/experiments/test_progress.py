"""What is shown of a long run where nobody would see a bar move."""

from __future__ import annotations

import io
import threading

import pytest
from rich.console import Console

from experiments import progress
from experiments.progress import at_work, progress_bar


class Written(io.StringIO):
    """What is written to a file, and whether there are so many lines of it yet."""

    def __init__(self, lines):
        super().__init__()
        self.there, self.wanted = threading.Event(), lines

    def write(self, text):
        count = super().write(text)
        if self.getvalue().count("\n") >= self.wanted:
            self.there.set()
        return count


@pytest.fixture
def often(monkeypatch):
    monkeypatch.setattr(progress, "BETWEEN_LINES", 0.01)


def test_a_redirected_bar_is_lines(often):
    file = Written(3)
    with progress_bar(Console(file=file, width=20)) as bar:
        task = bar.add_task("pairwise-q [exploration]", total=80, note="")
        bar.update(task, completed=12, note="best 0.92")
        assert file.there.wait(30)
    lines = [line for line in file.getvalue().splitlines() if "exploration]: 12" in line]
    assert lines[0] == "pairwise-q [exploration]: 12 of 80, best 0.92, for 0:00:00 now"
    assert len(lines) >= 2


def test_a_redirected_wait_is_lines(often):
    file = Written(2)
    with at_work(Console(file=file), "training the original network"):
        assert file.there.wait(30)
    assert file.getvalue().startswith("training the original network, for 0:00:00 now\n")


def test_on_a_terminal_there_are_no_lines_beside_the_bar(often):
    file = Written(10**9)
    with progress_bar(Console(file=file, force_terminal=True)) as bar:
        bar.add_task("games", total=2, note="")
        assert not file.there.wait(0.1)
    assert "now" not in file.getvalue()


def test_an_error_within_ends_the_lines():
    def lines():  # rich has a thread of its own, whose end it does not wait for
        return [thread for thread in threading.enumerate() if thread.name == "a line a minute"]

    def fail():
        assert lines()
        raise KeyError

    with pytest.raises(KeyError), progress_bar(Console(file=io.StringIO())):
        fail()
    assert not lines()
