"""Tables of text: in a terminal, where no number is broken and no line is too long, and whole in a Markdown file.

A table is a title, a header, and rows of cells; its first column names the rows. What is too wide for the terminal is made
narrower step by step: without padding; with cells broken between their words; with long names cut in the middle; and at last
with columns moved into a second table below.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator, Sequence
from functools import cached_property

from rich.console import Console
from rich.text import Text

TextTable = tuple[str, list[str], list[list[str]]]
"""Title, header and rows."""

SHORTEST_NAME = 22
"""Names are cut to no less; no metric's name is longer."""

NARROWEST_SENTENCES = 16
"""A column of sentences, cells of more than two words, is no narrower."""

NARROWEST_CUT = 8
"""A column of rows of one line is cut to no less."""

_FIGURE = r"[-+]?(\d{1,3}(,\d{3})+|\d+)(\.\d+)?(e[-+]?\d+)?"
_NUMBER = re.compile(rf"{_FIGURE}%?|-")
_NUMBERS = re.compile(rf"\[{_FIGURE},{_FIGURE}\]|{_NUMBER.pattern}")


def print_table(
    title: str,
    header: Sequence[str],
    rows: Sequence[Sequence[str]],
    console: Console | None = None,
    one_line: bool = False,
) -> None:
    """Shows a table in the terminal, in as many parts as it needs to fit.

    Args:
        title: a line above it; empty for none.
        header: of each column.
        rows: a cell for each column.
        console: where; the standard output where None.
        one_line: whether every row has one line, in which what is too long is cut in the middle.
    """
    console = console or Console()
    if one_line:
        rows = _cut_rows([header, *rows], console.width)[1:]
    columns = [_Column(*cells) for cells in zip(header, *rows, strict=True)]
    lines = [Text(line, "italic") for line in _broken(title, console.width) if line]
    if one_line:
        lines += [*_lines(columns, [column.whole for column in columns], 1, whole=True), Text()]
    for part in [] if one_line else _parts(columns, console.width):
        lines += [*_lines(part, *_widths(part, console.width)), Text()]
    for line in lines:
        console.print(line, soft_wrap=True)


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """For a file."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def markdown_section(title: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """For a file, under a heading."""
    return f"## {title}\n\n{markdown_table(header, rows)}"


def _cut_rows(rows: Sequence[Sequence[str]], width: int) -> list[list[str]]:
    """The cells, so cut in the middle that a row fits into one line; the longest columns are cut first."""
    whole = [max(map(len, cells)) for cells in zip(*rows, strict=True)]
    least = [min(size, NARROWEST_CUT) for size in whole]
    widths = _filled(least, whole, width - len(whole) + 1)
    return [[_shortened(cell, room) for cell, room in zip(row, widths, strict=True)] for row in rows]


class _Column:
    """A column's cells, the header's first, and how narrow it can be."""

    def __init__(self, *cells: str) -> None:
        self.cells = cells
        self.is_numeric = len(cells) > 1 and all(_NUMBER.fullmatch(cell) for cell in cells[1:])
        self._words = {word for cell in cells for word in cell.split()}

    @cached_property
    def whole(self) -> int:
        """The width in which no cell is broken."""
        return max(map(len, self.cells))

    @cached_property
    def broken(self) -> int:
        """The width in which cells are broken between words."""
        sentences = any(len(cell.split()) > 2 for cell in self.cells[1:])
        return max(min(self.whole, NARROWEST_SENTENCES) if sentences else 1, *map(len, self._words), 1)

    def cut(self, most: int) -> int:
        """The width in which long names are cut: the least in which they still differ, but no more than `most`."""
        numbers = max((len(word) for word in self._words if _NUMBERS.fullmatch(word)), default=0)
        least = max(min(SHORTEST_NAME, self.broken), numbers)
        most = max(least, min(self.broken, most))
        return next((width for width in range(least, most) if self._differ(width)), most)

    def _differ(self, width: int) -> bool:
        """Whether names can be told apart when they are cut to this width."""
        return len({_shortened(word, width) for word in self._words}) == len(self._words)


def _parts(columns: Sequence[_Column], width: int) -> Iterator[list[_Column]]:
    """The columns of each table that fits; the first column, which names the rows, stands in all of them."""
    first, *others = columns
    part, room = [first], width - first.cut(width // 2)
    for column in others:
        needed = 1 + column.cut(width // 2)
        if needed > room and len(part) > 1:
            yield part
            part, room = [first], width - first.cut(width // 2)
        part.append(column)
        room -= needed
    yield part


def _widths(columns: Sequence[_Column], width: int) -> tuple[list[int], int]:
    """The width of each column, and of the gaps between them."""
    whole, broken, cut = zip(*((c.whole, c.broken, c.cut(width // 2)) for c in columns), strict=True)
    for least, most, gap in (
        (whole, whole, 2),
        (whole, whole, 1),
        (broken, whole, 2),
        (broken, whole, 1),
        (cut, broken, 1),
    ):
        room = width - gap * (len(columns) - 1)
        if sum(least) <= room:
            return _filled(least, most, room), gap
    return list(cut), 1


def _filled(least: Sequence[int], most: Sequence[int], room: int) -> list[int]:
    """Widths between these that leave the longest lines as short as the room allows."""
    for level in range(room, 0, -1):
        widths = [min(high, max(low, level)) for low, high in zip(least, most, strict=True)]
        if sum(widths) <= room:
            return widths
    return list(least)


def _lines(columns: Sequence[_Column], widths: Sequence[int], gap: int, whole: bool = False) -> Iterator[Text]:
    """The lines of a table, the header's above a rule; with `whole` no cell is broken."""
    for row, cells in enumerate(zip(*(column.cells for column in columns), strict=True)):
        broken = [[cell] if whole else _broken(cell, width) for cell, width in zip(cells, widths, strict=True)]
        for number in range(max(map(len, broken))):
            pieces = [lines[number] if number < len(lines) else "" for lines in broken]
            aligned = [
                piece.rjust(width) if column.is_numeric else piece.ljust(width)
                for column, piece, width in zip(columns, pieces, widths, strict=True)
            ]
            yield Text((" " * gap).join(aligned).rstrip(), "" if row else "bold")
        if row == 0:
            yield Text("─" * (sum(widths) + gap * (len(columns) - 1)))


def _broken(cell: str, width: int) -> list[str]:
    """The lines of a cell."""
    words = [word if _NUMBERS.fullmatch(word) else _shortened(word, width) for word in cell.split()]
    return textwrap.wrap(" ".join(words), width, break_long_words=False, break_on_hyphens=False) or [""]


def _shortened(name: str, width: int) -> str:
    """A name cut in the middle, but not through a number in it."""
    if len(name) <= width:
        return name
    head, tail = width // 2, len(name) - (width - 1 - width // 2)
    for number in re.finditer(r"\d+(\.\d+)?", name):
        if number.start() < head < number.end():
            head = number.start()
        if number.start() < tail < number.end():
            tail = number.end()
    return f"{name[:head]}…{name[tail:]}"
