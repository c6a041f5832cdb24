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


def write(cases: Sequence[Case], out: Path) -> bool:
    """Shows the table, and writes it to `report.md` with what it was measured on, and every case to `cases.csv`.

    Returns:
        Whether all was survived.
    """
    rows = table(cases)
    failed = [case for case in cases if case.fault]
    lines = [f"- {case.kind}: {case.sentence}\n" for case in cases if case.sentence and not case.fault]
    lines += [f"- {case.kind}, number {case.number}: {case.fault}. {case.sentence}\n" for case in failed]
    print_table(TITLE, HEADER, rows)
    for line in lines:
        typer.echo(line, nl=False)
    measured = measured_by(software(), f"{machine()}, {cores()} cores")
    parts = [f"# {TITLE}\n", markdown_section("By kind", HEADER, rows), "".join(lines), f"{measured}.\n"]
    (out / "report.md").write_text("\n".join(part for part in parts if part))
    with (out / "cases.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(Case._fields)
        writer.writerows(cases)
    return not failed
