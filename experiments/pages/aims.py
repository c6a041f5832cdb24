"""What `coordination-graph` was to reach beside its rivals, and what it did."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from experiments.pages.results import estimate_of, lines_of, report_of, rows_of
from experiments.text_tables import markdown_table

Estimates = Mapping[str, tuple[float, float, float]]
"""By learner a figure, and the ends of its interval."""

WITH_REGRET = (
    "compare-accuracy",
    "compare-optuna-gp",
    "compare-smac",
    "compare-two-objectives",
    "compare-two-objectives-macro",
    "compare-two-objectives-widths",
    "compare-optuna-mogp",
    "compare-optuna-gp-two-objectives",
    "compare-optuna-gp-two-objectives-macro",
)
"""The comparisons on tables with `coordination-graph` and all of its rivals."""

OWN, FRONT = "coordination-graph", "coordination-graph(multi_objective=True)"


def estimates_of(folder: str, title: str, column: str) -> Estimates:
    """A column of the table below a title of a folder's report."""
    return {row["learner"]: estimate_of(row[column]) for row in rows_of(lines_of(folder, title))}


def best_rival(estimates: Estimates, sign: int) -> str:
    """Of learners that are not `coordination-graph`, the one with the highest (+1) or lowest (-1) figure."""
    rivals = [name for name in estimates if not name.startswith(OWN)]
    return max(rivals, key=lambda name: sign * estimates[name][0])


def regrets(folder: str, count: int) -> Iterator[tuple[str, Estimates]]:
    """The tables of a folder's report by name, with the regrets after so many designs."""
    for table in re.findall("^## (.*): regret in hundredths", report_of(folder), re.MULTILINE):
        yield table, estimates_of(folder, f"## {table}: regret", f"at {count}")


def behind(*folders: str) -> str:
    """Where `coordination-graph` is behind a rival beyond the intervals after 25 or 50 designs."""
    found = [
        f"`{name}` is ahead at {count} on {table}"
        for folder in folders
        for count in (25, 50)
        for table, estimates in regrets(folder, count)
        for name, (_, _, high) in estimates.items()
        if high < estimates[OWN][1]
    ]
    return "; ".join(dict.fromkeys(found)) or "behind nobody"


def shares(folder: str) -> str:
    """The regrets of `coordination-graph` and its best rival after 100 designs, table by table."""
    found = []
    for table, estimates in regrets(folder, 100):
        rival = best_rival(estimates, -1)
        found.append(f"{estimates[OWN][0]:g} and {estimates[rival][0]:g} (`{rival}`) on {table}")
    return "; ".join(found)


def ahead_in_hypervolume(*folders: str) -> str:
    """How far the front is ahead of the best rival's in points of hypervolume, folder by folder."""
    found = []
    for folder in folders:
        (title,) = re.findall("^## .*hypervolume within the front's nadir", report_of(folder), re.MULTILINE)
        for count in (50, 100):
            estimates = estimates_of(folder, title, f"at {count}")
            rival = best_rival(estimates, 1)
            found.append(f"{estimates[FRONT][0] - estimates[rival][0]:+.1f} points to `{rival}` at {count}")
    return "; ".join(found)


def with_forbidden(folder: str) -> str:
    """Its share of TPE's regret where two thirds of the designs are terminated."""
    estimates = estimates_of(folder, "## synthetic-forbidden-6", "at 100")
    return f"{(100 - estimates[OWN][0]) / (100 - estimates['optuna-tpe'][0]):.2f} of it"


def in_depth(folder: str) -> str:
    """What is left at 100 layers."""
    return f"{100 - estimates_of(folder, '## synthetic-chain-100', 'at 300')[OWN][0]:.0f}%"


def aims() -> str:
    """Each aim, and what was measured."""
    return markdown_table(
        ["aim", "measured"],
        [
            [
                "never behind a rival beyond the intervals at 25 and 50, with one objective and with two",
                behind(*WITH_REGRET),
            ],
            ["at 100 at most half of the best rival's regret, where pairs matter", shares("compare-accuracy")],
            [
                "widths, two objectives: two points of hypervolume ahead of every rival",
                ahead_in_hypervolume("compare-two-objectives-widths", "compare-optuna-mogp"),
            ],
            ["two thirds forbidden: at most two thirds of TPE's regret at 100", with_forbidden("compare-synthetic")],
            ["100 layers: at most 25% of a random design's regret after 300", in_depth("compare-deep")],
        ],
    )
