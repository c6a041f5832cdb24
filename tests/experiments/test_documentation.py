"""The command that takes the pages' figures from the committed results."""

from __future__ import annotations

import pytest

from experiments import documentation
from experiments.documentation import PAGES, PARTS, ROOT, app, written
from experiments.pages import sentences
from experiments.pages.results import lines_below, rows_of
from experiments.pages.tables import reproductions
from experiments.text_tables import markdown_table

REPORT = """# Title

| learner | at 25 |
| --- | --- |
| one | 2.5 [1.4,3.9] |
| two | - |

## Next
"""


def test_the_pages_are_those_of_the_committed_results(run_app):
    code, said, _ = run_app(app, "--check")
    assert code == 0, said + "Run python -m experiments.documentation."


def test_every_part_stands_on_a_page():
    text = "".join((ROOT / page).read_text() for page in PAGES)
    for name in PARTS:
        assert f": {name} -->" in text, name


def test_a_part_takes_the_place_of_what_stood_between_its_markers(monkeypatch):
    monkeypatch.setattr(documentation, "PARTS", {"a": lambda: "new\nlines", "b/c": lambda: "other"})
    page = "x\n<!-- table: a -->\nold\n<!-- end -->\ny\n<!-- text: b/c -->\n<!-- end -->\n"
    expected = "x\n<!-- table: a -->\nnew\nlines\n<!-- end -->\ny\n<!-- text: b/c -->\nother\n<!-- end -->\n"
    assert written(page, "a.md") == expected
    assert written(expected, "a.md") == expected


@pytest.mark.parametrize(
    ("page", "named"),
    [
        ("<!-- table: nothing -->\n<!-- end -->\n", ("'nothing'",)),
        ("<!-- table: metrics -->\nnever closed\n", ("1 markers", "0 ends")),
        ("<!-- table: metrics -->\n<!-- table: rooms -->\n<!-- end -->\n<!-- end -->\n", ("'metrics'", "not closed")),
        ("<!-- end -->\n", ("0 markers", "1 ends")),
    ],
)
def test_a_marker_that_cannot_be_read_is_refused(page, named, refused):
    with refused("a.md", *named):
        written(page, "a.md")


@pytest.fixture
def pages(tmp_path, monkeypatch):
    """Two pages in a folder of their own: one is as it should be, one is not."""
    monkeypatch.setattr(documentation, "ROOT", tmp_path)
    monkeypatch.setattr(documentation, "PAGES", ("right.md", "wrong.md"))
    monkeypatch.setattr(documentation, "PARTS", {"a": lambda: "new"})
    (tmp_path / "right.md").write_text("<!-- text: a -->\nnew\n<!-- end -->\n")
    (tmp_path / "wrong.md").write_text("<!-- text: a -->\nold\n<!-- end -->\n")
    return tmp_path


def test_check_names_the_pages_that_differ_and_changes_nothing(pages, run_app):
    before = {page.name: page.read_text() for page in pages.iterdir()}
    assert run_app(app, "--check") == (1, "wrong.md differs from the committed results.\n", "")
    assert {page.name: page.read_text() for page in pages.iterdir()} == before


def test_the_command_writes_the_pages_that_differ(pages, run_app):
    assert run_app(app) == (0, "wrong.md was written anew.\n", "")
    assert (pages / "wrong.md").read_text() == (pages / "right.md").read_text()
    assert run_app(app, "--check") == (0, "", "")


def test_a_page_with_a_broken_marker_is_named(pages, run_app):
    (pages / "wrong.md").write_text("<!-- text: b -->\n<!-- end -->\n")
    code, said, error = run_app(app)
    assert (code, said) == (2, "")
    assert "wrong.md" in error
    assert "'b'" in error


def test_a_table_of_a_report_is_read(refused):
    lines = lines_below(REPORT, "# Title")
    assert lines == REPORT.splitlines()[2:6]
    assert rows_of(lines) == [{"learner": "one", "at 25": "2.5 [1.4,3.9]"}, {"learner": "two", "at 25": "-"}]
    for title in ("## Next", "## Nowhere"):
        with refused(title):
            lines_below(REPORT, title)


def test_a_reproduction_has_a_row_with_each_committed_result_in_one_sentence(tmp_path):
    for task, words in (("a", "## In words\n\n- First.\n- Last.\n"), ("b", "")):
        (tmp_path / f"reproduce-fig9-{task}").mkdir()
        (tmp_path / f"reproduce-fig9-{task}" / "report.md").write_text(f"# fig9 on {task}\n\n- Not this.\n\n{words}\n")
    (tmp_path / "reproduce-fig11-c").mkdir()
    (tmp_path / "reproduce-fig11-c" / "report.md").write_text(
        "# fig11 on c\n\n## In words\n\n- Against random, as many designs as both phases, so.\n- Last.\n"
    )
    rows = {row["command"]: row["committed result"] for row in rows_of(reproductions(tmp_path).splitlines())}
    assert rows["`marl-hpo reproduce fig9`"] == (
        "[a](results/reproduce-fig9-a/report.md): Last. "
        "[b](results/reproduce-fig9-b/report.md): The table is in the report."
    )
    assert rows["`marl-hpo reproduce fig11`"].endswith(": Against random, as many designs as both phases, so.")
    assert rows["`marl-hpo reproduce table5`"] == "none committed yet"


def test_claims_are_counted_by_their_verdicts(monkeypatch):
    verdicts = ("holds", "holds for the search", "does not hold", "not tried", "holds on a only")
    table = markdown_table(["the paper's claim", "here"], [["it", verdict] for verdict in verdicts])
    monkeypatch.setattr(sentences, "claims", lambda: table)
    assert sentences.claims_in_words() == (
        "Of 5 claims of the paper, 3 hold on what has been run here, 1 does not, and 1 has not been tried."
    )


def test_the_picture_is_drawn_from_the_demos_report(tmp_path):
    from PIL import Image

    from experiments.readme_picture import draw

    draw(documentation.RESULTS / "demo", tmp_path / "game.png")
    with Image.open(tmp_path / "game.png") as drawn, Image.open(documentation.PICTURE) as committed:
        assert drawn.size == committed.size
