"""The table of a campaign, and what was not survived."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path

import typer

from experiments.faults.cases import FAULTS, Case
from experiments.provenance import cores, machine, measured_by, software
from experiments.text_tables import markdown_section, print_table

HEADER = ["tried", "cases", "survived", *FAULTS]
TITLE = "Faults"


def table(cases: Iterable[Case]) -> list[list[str]]:
    """A row per kind: how many cases, how many were survived, and how the others ended."""
    by_kind: dict[str, list[str]] = {}
    for case in cases:
        by_kind.setdefault(case.kind, []).append(case.fault)
    by_kind["all"] = [fault for faults in by_kind.values() for fault in faults]
    return [
        [kind, f"{len(faults):,}", f"{faults.count(''):,}", *(f"{faults.count(fault):,}" for fault in FAULTS)]
        for kind, faults in by_kind.items()
    ]


def _lines(cases: Sequence[Case]) -> list[str]:
    """What was measured, and what was not survived."""
    measured = [f"- {case.kind}: {case.sentence}\n" for case in cases if case.sentence and not case.fault]
    failed = [case for case in cases if case.fault]
    return measured + [f"- {case.kind}, number {case.number}: {case.fault}. {case.sentence}\n" for case in failed]


def show(cases: Sequence[Case]) -> bool:
    """Shows how cases ended; returns whether all were survived."""
    print_table(TITLE, HEADER, table(cases))
    typer.echo("".join(_lines(cases)), nl=False)
    return not any(case.fault for case in cases)


def write(cases: Sequence[Case], out: Path) -> None:
    """Writes how cases ended to `report.md`, with what they were tried on, and every case to `cases.csv`."""
    measured = measured_by(software(), f"{machine()}, {cores()} cores")
    parts = [
        f"# {TITLE}\n",
        markdown_section("By kind", HEADER, table(cases)),
        "".join(_lines(cases)),
        f"{measured}.\n",
    ]
    (out / "report.md").write_text("\n".join(part for part in parts if part))
    with (out / "cases.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(Case._fields)
        writer.writerows(cases)
