"""The campaign of faults: `python -m experiments.faults`, of which the whole takes an hour or more on two cores.

Kills at random moments, designs that misbehave, wrong command lines, damaged files, and long rows of episodes and trainings. All
follows from the seed, but for the clock. The same command continues a campaign that was stopped; `--only KIND --number N` tries
a case again.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Annotated

import typer

from experiments.command_line import new_app, path_option, run_command
from experiments.faults import commands, damage, designs, kills, levels, ray_kills
from experiments.faults.cases import Journal, Kind, Place
from experiments.faults.processes import end_all
from experiments.faults.report import show, write
from experiments.progress import progress_bar
from marl_hpo_env import InputError

HANDS = 2
"""Groups of cases side by side."""

app = new_app()


def kinds() -> list[Kind]:
    """All that is tried, what takes longest first."""
    rooms = (ray_kills, kills, levels, designs, commands, damage)
    return [kind for room in rooms for kind in room.kinds()]


def missing(kind: Kind, share: float, seed: int, journal: Journal) -> Iterator[list[int]]:
    """The groups of a kind's cases that were not all tried: those that were not, or all where they are in a row."""
    for group in kind.groups(share):
        left = [number for number in group if (seed, kind.name, number) not in journal.cases]
        if left:
            yield group if kind.in_a_row else left


@app.command()
def main(
    seed: Annotated[int, typer.Option(min=0, help="Of all that is drawn.")] = 0,
    share: Annotated[float, typer.Option(min=0.001, max=1, help="Of the whole campaign.")] = 1.0,
    out: Annotated[Path, path_option(help="Folder for cases and report.")] = Path("experiments/results/faults"),
    only: Annotated[str | None, typer.Option(metavar="KIND", help="Try one kind, as the report names it.")] = None,
    number: Annotated[int | None, typer.Option(min=0, metavar="N", help="With --only: try the case again.")] = None,
) -> None:
    """Try what goes wrong, and report what was lost, shown and left."""
    chosen = [kind for kind in kinds() if only in (None, kind.name)]
    if not chosen:
        raise InputError.unknown("kind of cases", only, [kind.name for kind in kinds()])
    if number is not None and only is None:
        raise InputError(f"The case {number} is of no kind; name one with --only.")
    journal = Journal(out / "cases.jsonl")
    place = Place(seed, out.absolute() / "work")
    groups = [(kind, group) for kind in chosen for group in missing(kind, share, seed, journal)]
    if number is not None:
        (kind,) = chosen
        groups = [(kind, next((group for group in kind.groups(1) if kind.in_a_row and number in group), [number]))]
    with progress_bar() as progress:
        bar = progress.add_task("faults", total=sum(len(group) for _, group in groups), note="")

        def tried(kind: Kind, group: list[int]) -> None:
            for case in kind.tries(place, kind.name, group):
                if ended.is_set():  # its processes were killed
                    return
                with one:
                    journal.put(case)
                    progress.update(bar, advance=1, note=kind.name)

        one, ended = threading.Lock(), threading.Event()
        pool = ThreadPoolExecutor(HANDS)
        try:
            for future in as_completed([pool.submit(tried, *group) for group in groups]):
                future.result()
        finally:
            ended.set()
            pool.shutdown(wait=False, cancel_futures=True)
            end_all()
    numbers = {kind: kind.numbers(share) if number is None else [number] for kind in chosen}
    cases = [journal.cases[seed, kind.name, each] for kind in chosen for each in numbers[kind]]
    if only is None:
        write(cases, out)
    if not show(cases):
        raise typer.Exit(1)


if __name__ == "__main__":
    run_command(app, "python -m experiments.faults")
