"""What `coordination-graph` was to reach beside its rivals, and what it did."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping

from experiments.pages.results import (
    RESULTS,
    lines_of,
    report_of,
    rows_of,
)


def estimates_of(folder: str, title: str, column: str) -> dict[str, tuple[float, float, float]]:
    """By learner the figure of a column, and the ends of its interval."""
    found = {}
    for row in rows_of(lines_of(folder, title)):
        figure, low, high = map(float, re.split(r"[ \[\],]+", row[column].strip("]")))
        found[row["learner"]] = figure, low, high
    return found


def best_rival(estimates: Mapping[str, tuple[float, float, float]], sign: int) -> str:
    """Of learners that are not `coordination-graph`, the one with the highest (+1) or lowest (-1) figure."""
    rivals = [name for name in estimates if not name.startswith("coordination-graph")]
    return max(rivals, key=lambda name: sign * estimates[name][0])


OWN, FRONT = "coordination-graph", "coordination-graph(multi_objective=True)"


def of_folders(folders: Iterable[str]) -> Iterator[tuple[str, str]]:
    """The folders, with every title of theirs below which are regrets on a table."""
    for folder in folders:
        for title in re.findall("^(## .*: regret) in hundredths", report_of(folder), re.MULTILINE):
            yield folder, title


def behind(*folders: str) -> str:
    """Where `coordination-graph` is behind a rival beyond the intervals."""
    found = []
    for folder, title in of_folders(folders):
        for count in (25, 50):
            estimates = estimates_of(folder, title, f"at {count}")
            ahead = [name for name, (_, _, high) in estimates.items() if high < estimates[OWN][1] and name != OWN]
            found += [f"`{name}` is ahead at {count} on {title[3:-8]}" for name in ahead]
    return "; ".join(dict.fromkeys(found)) or "behind nobody"


def shares(*folders: str) -> str:
    """The regrets of `coordination-graph` and its best rival after 100 designs, table by table."""
    found = []
    for folder, title in of_folders(folders):
        estimates = estimates_of(folder, title, "at 100")
        rival = best_rival(estimates, -1)
        found.append(f"{estimates[OWN][0]:g} and {estimates[rival][0]:g} (`{rival}`) on {title[3:-8]}")
    return "; ".join(dict.fromkeys(found))


def ahead_in_hypervolume(folder: str) -> str:
    """How far the best front is ahead of the best rival's, in points of hypervolume."""
    (title,) = re.findall(
        "^## .*percent of the hypervolume within the front's nadir.*$", report_of(folder), re.MULTILINE
    )
    found = []
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
    """What `coordination-graph` was to reach beside the best rival of each kind, and what it did."""
    rows: list[tuple[str, Callable[..., str], tuple[str, ...]]] = [
        ("never behind a rival beyond the intervals at 25 and 50", behind, ("compare-accuracy", "compare-optuna-gp")),
        ("at 100 at most half of the best rival's regret, where pairs matter", shares, ("compare-accuracy",)),
        (
            "widths, two objectives: two points of hypervolume ahead of every rival",
            ahead_in_hypervolume,
            ("compare-two-objectives-widths",),
        ),
        ("two thirds forbidden: at most two thirds of TPE's regret at 100", with_forbidden, ("compare-synthetic",)),
        ("100 layers: at most 25% of a random design's regret after 300", in_depth, ("compare-deep",)),
    ]
    text = ["| aim | measured |", "| --- | --- |"]
    for aim, measured, folders in rows:
        there = all((RESULTS / folder / "report.md").exists() for folder in folders)
        text.append(f"| {aim} | {measured(*folders) if there else 'not measured yet'} |")
    return "\n".join(text)
