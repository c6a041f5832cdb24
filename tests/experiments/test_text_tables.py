"""Tables in a terminal: nothing that is read is broken, and no line is too long; files have everything."""

from __future__ import annotations

import io
import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from rich.console import Console

from experiments.text_tables import markdown_section, markdown_table, print_table


def printed(title, header, rows, width=80) -> list[str]:
    """The lines that a terminal of this width shows."""
    file = io.StringIO()
    print_table(title, header, rows, Console(file=file, width=width))
    return file.getvalue().splitlines()


METRICS = [
    "val %",
    "test %",
    "size MB",
    "params",
    "validation_accuracy",
    "model_size_mb / original",
    "P(better than one)",
]
part = st.sampled_from(["features", "inception3a", "branch2", "denseblock14", "conv", "0", "12", "downsample"])
layer = st.lists(part, min_size=1, max_size=7).map(".".join)
name = layer | st.sampled_from(["pairwise-q(exploration_episodes=160)", "coordination-graph(multi_objective=True)"])
figure = st.floats(-1e3, 1e3).map("{:.4g}".format) | st.floats(0, 1).map("{:.6f}".format)
number = st.integers(0, 10**12).map("{:,}".format) | figure | st.just("-") | st.floats(0, 100).map("{:.2f}%".format)
estimate = st.tuples(figure, figure, figure).map(lambda three: "{} [{},{}]".format(*three))
values = st.lists(
    st.tuples(st.sampled_from(["kernels", "size", "stride"]), st.integers(1, 4096)), min_size=1, max_size=4
)
sentence = values.map(lambda pairs: ", ".join(f"{what} {value}" for what, value in pairs))
fed_by = st.lists(layer, min_size=1, max_size=3).map(", ".join)
kinds = st.lists(st.sampled_from([number, figure, estimate, sentence, fed_by, name]), min_size=1, max_size=12)


@st.composite
def tables(draw):
    columns = draw(kinds)
    header = [draw(st.sampled_from(METRICS)) for _ in range(1 + len(columns))]
    return header, [[draw(name), *map(draw, columns)] for _ in range(draw(st.integers(1, 6)))]


@given(table=tables(), width=st.sampled_from([80, 100]))
@example(
    table=(["network", *METRICS[:4], "train ms"], [["original", "98.1", "97.2", "44.71", "11,178,051", "9"]]), width=40
)
def test_every_number_stands_whole_on_a_line_and_no_line_is_too_long(table, width):
    header, rows = table
    lines = printed("A title of some words", header, rows, width)
    assert max(map(len, lines)) <= width
    words = [word for line in lines for word in line.split()]
    for row in rows:
        for cell in row[1:]:
            for token in cell.split():
                if not re.search("[a-z]", token.replace("e", "")):
                    assert token in words
    known = {word for cells in (header, *rows, ["A title of some words"]) for cell in cells for word in cell.split()}
    assert all(word in known or "…" in word or set(word) == {"─"} for word in words)


@given(table=tables())
def test_where_there_is_room_every_cell_stands_on_its_row_s_line(table):
    header, rows = table
    _, head, rule, *lines = printed("Title", header, rows, 10_000)
    assert head.split() == " ".join(header).split()
    assert set(rule) == {"─"}
    assert [line.split() for line in lines] == [*(" ".join(row).split() for row in rows), []]


def test_numbers_end_and_names_begin_below_each_other():
    rows = [["original", "98.75", "10,178"], ["pairwise-q", "7.00", "-"]]
    assert printed("Networks", ["network", "val %", "params"], rows) == [
        "Networks",
        "network     val %  params",
        "─────────────────────────",
        "original    98.75  10,178",
        "pairwise-q   7.00       -",
        "",
    ]


def test_padding_goes_first_then_cells_are_broken_between_words():
    header, rows = ["learner", "at 25", "at 50"], [["random", "0.36 [0.2,0.5]", "12 [1,2]"]]
    assert printed("", header, rows, 31)[0] == "learner at 25          at 50"
    assert printed("", header, rows, 30) == [
        "learner  at 25        at 50",
        "──────────────────────────────",
        "random   0.36         12 [1,2]",
        "         [0.2,0.5]",
        "",
    ]


def test_long_names_are_cut_in_the_middle_and_never_through_a_number():
    rows = [["features.denseblock3.conv2", "9" * 20], ["inception3a.branch2.0.conv", "1"]]
    lines = printed("", ["layer", "count"], rows, 44)
    assert lines[2].split() == ["features.de…lock3.conv2", "9" * 20]
    assert lines[3].split() == ["inception3a…nch2.0.conv", "1"]
    # The same room, and a number where the cut would be.
    rows = [["features.lay100000.conv200", "9" * 20]]
    assert printed("", ["layer", "count"], rows, 44)[2].split()[0] == "features.la….conv200"


def test_names_that_would_be_the_same_when_cut_are_cut_less():
    rows = [[f"features.denseblock{n}.denselayer24.convolution2", "1" * 38] for n in (1, 2)]
    lines = printed("", ["layer", "count"], rows)
    assert [line.split()[0] for line in lines[2:4]] == [
        "features.denseblock1…layer24.convolution2",
        "features.denseblock2…layer24.convolution2",
    ]


def test_columns_that_do_not_fit_stand_in_a_second_table_with_the_names():
    header = ["layer", *(f"count {n}" for n in range(4))]
    rows = [["conv", *(str(10**12 + n) for n in range(4))]]
    lines = printed("", header, rows, 40)
    assert [line.split() for line in lines if line.startswith("conv")] == [
        ["conv", "1000000000000", "1000000000001"],
        ["conv", "1000000000002", "1000000000003"],
    ]


def test_a_design_is_cut_between_its_actions():
    design = ",".join(str(n) for n in range(10, 60))
    line = printed("", ["design", "validation_accuracy"], [[design, "0.9"]])[2]
    shown = line.split()[0]
    head, tail = shown.split("…")
    assert design.startswith(head)
    assert design.endswith(tail)
    assert set(re.findall(r"\d+", shown)) <= set(design.split(","))
    assert len(line) <= 80


def test_square_brackets_are_text():
    assert printed("[red]", ["[bold]"], [["[0,1]"]]) == ["[red]", "[bold]", "──────", "[0,1]", ""]


@pytest.mark.parametrize("rows", [[], [["only"]]])
def test_tables_of_one_column_or_no_rows_are_printed(rows):
    assert len(printed("Title", ["layer"], rows)) == 4 + len(rows)


def test_files_have_everything():
    name = "inception3a.branch2.0.conv" * 10
    assert markdown_table(["layer", "n"], [[name, "1"]]) == f"| layer | n |\n| --- | --- |\n| {name} | 1 |\n"
    assert markdown_section("T", ["layer"], []).startswith("## T\n\n| layer |\n| --- |\n")
