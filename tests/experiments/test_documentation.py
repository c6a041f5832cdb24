"""The command that takes the pages' figures from the committed results."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from experiments import documentation
from experiments.documentation import PAGES, PARTS, ROOT, app, lines_below, rows_of, written

REPORT = """# Title

| learner | at 25 |
| --- | --- |
| one | 2.5 [1.4,3.9] |
| two | - |

## Next
"""


def test_the_pages_are_those_of_the_committed_results():
    ran = CliRunner().invoke(app, ["--check"])
    assert ran.exit_code == 0, ran.output + "Run python -m experiments.documentation."


def test_every_part_stands_on_a_page():
    text = "".join((ROOT / page).read_text() for page in PAGES)
    for name in PARTS:
        assert f": {name} -->" in text, name


def test_a_part_takes_the_place_of_what_stood_between_its_markers(monkeypatch):
    monkeypatch.setattr(documentation, "PARTS", {"a": lambda: "new\nlines", "b/c": lambda: "other"})
    page = "x\n<!-- table: a -->\nold\n<!-- end -->\ny\n<!-- text: b/c -->\n<!-- end -->\n"
    expected = "x\n<!-- table: a -->\nnew\nlines\n<!-- end -->\ny\n<!-- text: b/c -->\nother\n<!-- end -->\n"
    assert written(page) == expected
    assert written(expected) == expected


@pytest.mark.parametrize(
    ("page", "named"),
    [
        ("<!-- table: nothing -->\n<!-- end -->\n", "'nothing'"),
        ("<!-- table: metrics -->\nnever closed\n", "not closed"),
        ("<!-- table: metrics -->\n<!-- table: rooms -->\n<!-- end -->\n", "not closed"),
        ("<!-- end -->\n", "closes nothing"),
    ],
)
def test_a_marker_that_cannot_be_read_is_named(page, named):
    with pytest.raises(ValueError, match=named):
        written(page)


@pytest.fixture
def pages(tmp_path, monkeypatch):
    """Two pages in a folder of their own: one is as it should be, one is not."""
    monkeypatch.setattr(documentation, "ROOT", tmp_path)
    monkeypatch.setattr(documentation, "PAGES", ("right.md", "wrong.md"))
    monkeypatch.setattr(documentation, "PARTS", {"a": lambda: "new"})
    (tmp_path / "right.md").write_text("<!-- text: a -->\nnew\n<!-- end -->\n")
    (tmp_path / "wrong.md").write_text("<!-- text: a -->\nold\n<!-- end -->\n")
    return tmp_path


def test_check_names_the_pages_that_differ_and_changes_nothing(pages):
    before = {page.name: page.read_text() for page in pages.iterdir()}
    ran = CliRunner().invoke(app, ["--check"])
    assert (ran.exit_code, ran.output) == (1, "wrong.md differs from the committed results.\n")
    assert {page.name: page.read_text() for page in pages.iterdir()} == before


def test_the_command_writes_the_pages_that_differ(pages):
    ran = CliRunner().invoke(app, [])
    assert (ran.exit_code, ran.output) == (0, "wrong.md was written anew.\n")
    assert (pages / "wrong.md").read_text() == (pages / "right.md").read_text()
    assert CliRunner().invoke(app, ["--check"]).exit_code == 0


def test_a_page_with_a_broken_marker_is_named(pages):
    (pages / "wrong.md").write_text("<!-- text: b -->\n<!-- end -->\n")
    ran = CliRunner().invoke(app, [])
    assert ran.exit_code == 2
    assert ran.output.startswith("wrong.md: The marker 'b' names none of a.")


def test_a_table_of_a_report_is_read():
    lines = lines_below(REPORT, "# Title")
    assert lines == REPORT.splitlines()[2:6]
    assert rows_of(lines) == [{"learner": "one", "at 25": "2.5 [1.4,3.9]"}, {"learner": "two", "at 25": "-"}]
    with pytest.raises(ValueError, match="no table below '## Next'"):
        lines_below(REPORT, "## Next")


def test_the_picture_is_drawn_from_the_demos_report(tmp_path):
    from PIL import Image

    from experiments.readme_picture import draw

    draw(documentation.RESULTS / "demo", tmp_path / "game.png")
    with Image.open(tmp_path / "game.png") as drawn, Image.open(documentation.PICTURE) as committed:
        assert drawn.size == committed.size
