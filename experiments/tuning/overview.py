"""What a folder's runs have come to, at any time, from their files and the store alone: nothing is trained, no task is needed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import typer

from experiments.text_tables import markdown_section, print_table
from experiments.tuning.episodes import Line, best_of, read_episodes
from experiments.tuning.page import write_page
from experiments.tuning.report import COLUMNS, comparison, layers, publish
from experiments.tuning.run import NETWORK, Run, is_run, replace_text, runs_in
from marl_hpo_env import Design, InputError, Request, SearchSpace, Store, Trial
from marl_hpo_env.errors import first_line

RUNS = "Runs"
"""The heading over the table of a folder's runs."""

_HEADER = ["run", "learner", "seed", "episodes", "designs", "best reward", "search"]


@dataclass(frozen=True)
class Standing:
    """How far a run is.

    Args:
        run: the run.
        plays: the episodes of every learner, by its label; the first is whose network is taken home.
        trained: the final trainings that have completed: `original`, and by label what each learner found.
    """

    run: Run
    plays: Mapping[str, list[Line]]
    trained: Mapping[str, Trial]

    @property
    def designs(self) -> dict[str, Design]:
        """The best design of each learner of which one has completed, by label, or the one that final training has settled on; or
        the one that was given, as `design`."""
        if "design" in self.run.settings["identity"]:
            return {"design": tuple(self.run.settings["identity"]["design"])}
        layers = len(self.run.settings["space"])
        best = {label: best_of(lines) for label, lines in self.plays.items()}
        found = {label: line.design(layers) for label, line in best.items() if line is not None}
        return found | {label: tuple(design) for label, design in self.run.settings.get("taken", {}).items()}

    @property
    def network(self) -> Path | None:
        """The file with the trained network of the first of these designs, where there is one."""
        path, saved = self.run / NETWORK, self.run.settings.get("network")
        best = next(iter(self.designs.values()), None)
        return path if saved and best is not None and saved["design"] == list(best) and path.exists() else None


@contextmanager
def readable(run: Run) -> Iterator[None]:
    """Files of a run that say what cannot be are one sentence."""
    try:
        yield
    except InputError:
        raise
    except (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError) as error:
        raise InputError(
            f"The run in {str(run.path)!r} cannot be read ({first_line(error)}); move that folder away, and the same command "
            "makes it again."
        ) from error


def standing(run: Run, store: Store) -> Standing:
    """How far a run is, whether it is going on, was stopped, or has ended.

    Raises:
        InputError: if its files are damaged.
    """
    with readable(run):
        return _standing(run, store)


def _standing(run: Run, store: Store) -> Standing:
    settings = run.settings
    labels = settings.get("learners", [])
    plays = {label: read_episodes(run.episodes(label)) for label in labels if run.episodes(label).exists()}
    trained = {}
    for label, design in {"original": None, **Standing(run, plays, {}).designs}.items():
        trial = store.get(settings["identity"]["fingerprint"], Request(design, settings["training_seed"], None))
        if trial is not None and trial.status == "completed":
            trained[label] = trial
    return Standing(run, plays, trained)


def report_so_far(run: Run, store: Store) -> None:
    """Shows what a run has come to, and writes it to its `report.md` and `report.html`; one that has ended keeps its own.

    Raises:
        InputError: if its files are damaged.
    """
    with readable(run):
        _report_so_far(run, store)


def _report_so_far(run: Run, store: Store) -> None:
    path = run / "report.md"
    if run.settings["ended"] is not None and path.exists():
        typer.echo(path.read_text())
        return
    stands = standing(run, store)
    if not any(stands.plays.values()):
        typer.echo(f"Nothing has been played yet in {str(run.path)!r}.", err=True)
        return
    tables = {}
    if len(stands.trained) > 1:
        tables["Trained to convergence"] = comparison(stands.trained)
    if stands.designs:
        space = SearchSpace.described(run.settings["space"])
        tables["Layer by layer"] = layers(space, run.settings["original"], stands.designs)
    title, lines, last = f"{run.settings['task']}: so far", _sentences(stands), "The run has not come to its end."
    publish(path, title, tables, lines, last)
    write_page(run, store, title, tables, lines, last, stands.designs)


def _sentences(stands: Standing) -> list[str]:
    settings = stands.run.settings
    lines = [f"Reward: {settings['identity']['reward']}."]
    for label, episodes in stands.plays.items():
        counts = f"{len(episodes)} episodes, {len({line.key for line in episodes})} distinct designs so far"
        if (best := best_of(episodes)) is None:
            lines.append(f"{label}: no design has completed ({counts}).")
        else:
            design = ",".join(map(str, stands.designs[label]))
            lines.append(f"{label}: best reward {best.reward:.4f}, of the design {design} ({counts}).")
        if stopped := len({line.key for line in episodes if line.terminated}):
            lines.append(f"{label}: {stopped} designs were terminated or failed.")
    lines += [f"{label}: {trial.reason}" for label, trial in stands.trained.items() if trial.cut]
    if stands.network is not None:
        lines.append(f"The best network so far: {stands.network}")
    elif stands.plays and stands.designs:
        episodes = next(iter(stands.plays.values()))
        lines.append("The best network so far is not trained yet; the same command trains it at its end.")
        if " tune " in settings["command"]:
            lines.append(f"To end the search here and train it, put --episodes {len(episodes)} behind that command.")
    lines.append(f"The run goes on by the same command: {settings['command']}")
    return lines


def write_overview(folder: Path, store: Store) -> tuple[list[str], list[list[str]]]:
    """Writes the table over a folder's runs to its `report.md`; returns its header and rows.

    Raises:
        InputError: if the files of one are damaged.
    """
    rows, original = [], None
    for run in runs_in(folder):
        with readable(run):
            stands = standing(run, store)
            original = stands.trained.get("original", original)
            (label, episodes), *_ = [*stands.plays.items(), ("design", [])]
            identity = run.settings["identity"]
            learner, seed = identity.get("learner", "-"), "-" if identity["seed"] is None else str(identity["seed"])
            so_far = "so far, on slices" if label in run.labels(shared=True) else "so far"
            search = so_far if run.settings["ended"] is None else "ended"
            reached, measured = _reached(episodes), _measured(stands.trained.get(label))
            rows.append([run.path.name, str(learner), seed, *reached, search, *measured])
    for label, path in _of_before(folder).items():
        rows.append(["(of before)", label, "-", *_reached(read_episodes(path)), "-", *_measured(None)])
    if original is not None:
        rows.insert(0, ["original", *["-"] * (len(_HEADER) - 1), *_measured(original)])
    header = [*_HEADER, *(title for title, _, _ in COLUMNS)]
    if rows:
        task = (store.about("task") or folder.name).rsplit(" ", 1)[0]
        _keep_other_report(folder / "report.md")
        replace_text(folder / "report.md", f"# {task}\n\n{markdown_section(RUNS, header, rows)}")
    return header, rows


def report_of(folder: Path) -> None:
    """Shows what a folder of runs, or one run in it, has come to, and writes the reports anew.

    Raises:
        InputError: if there is no run.
    """
    with opened(folder) as (runs, store):
        if len(runs) == 1:
            report_so_far(runs[0], store)
        header, rows = write_overview(_top(folder), store)
        print_table(RUNS, header, rows)
        if len(runs) > 1:
            typer.echo(f"One of them: marl-hpo report {folder / runs[0].path.name}")


@contextmanager
def opened(folder: Path) -> Iterator[tuple[list[Run], Store]]:
    """The runs of a folder, or the one that it is, and the store of their trials.

    Raises:
        InputError: if there is no run.
    """
    runs = runs_of(folder)
    stored = _top(folder) / "trials.sqlite"
    if not stored.is_file() or not (runs or _of_before(folder)):
        raise InputError(f"The folder {str(folder)!r} holds no run; name the one that `marl-hpo tune` named.")
    store = Store(stored)
    try:
        yield runs, store
    finally:
        store.close()


def runs_of(folder: Path) -> list[Run]:
    """The runs of a folder by name, or the one that it is."""
    return [Run(folder)] if is_run(folder) else list(runs_in(folder))


def _top(folder: Path) -> Path:
    """The folder that a run is in, or the one that is given."""
    return folder.resolve().parent if is_run(folder) else folder


def _of_before(folder: Path) -> dict[str, Path]:
    """The episodes by learner of a run of an earlier version, which has no sub-folder."""
    return {path.stem.removeprefix("episodes-"): path for path in sorted(folder.glob("episodes-*.csv"))}


def _reached(episodes: Sequence[Line]) -> list[str]:
    best = best_of(episodes)
    counts = [str(len(episodes)), str(len({line.key for line in episodes}))]
    return [*counts, "-" if best is None else f"{best.reward:.4f}"]


def _measured(trial: Trial | None) -> list[str]:
    return ["-"] * len(COLUMNS) if trial is None else comparison({"": trial})[1][0][1:]


def _keep_other_report(path: Path) -> None:
    """Renames a report that is no table of runs, such as one that an earlier version wrote."""
    if path.exists() and f"## {RUNS}\n" not in path.read_text():
        kept = path.with_name("report-before.md")
        path.rename(kept)
        typer.echo(f"The report of an earlier version is kept as {str(kept)!r}.", err=True)
