"""What frameworks for reinforcement learning come to, unmodified: `python -m experiments.suites.frameworks`.

Each file of `experiments/frameworks` trains in a Python environment of its own, as frameworks pin each other out: in
`.venv-frameworks/NAME` of the current folder, made where it is missing. Each has one thread, the tables of the package, the
tasks' own rewards and the table's first seed. A run that is recorded whole is not played again; one that was cut short begins
anew.

Episodes beyond those asked for are left out: some frameworks play a few more, to the end of a batch. Recordings are compressed,
to a tenth of their size; `marl-hpo compare --recorded` reads them so. Steps per second are of trainings of 200 episodes by
themselves, in CPU time, beside a game of PettingZoo or Gymnasium in the same file: `experiments/suites/frameworks_clock.py`.

The question: how many episodes deep reinforcement learning needs, alone or for a team, until the best design that it has seen
is better than that of random search, and how it stands beside learners that were made for few designs.
"""

from __future__ import annotations

import gzip
import json
import os
import re
import shutil
import subprocess
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any, NamedTuple

import numpy as np
import numpy.typing as npt
import typer

from experiments.command_line import new_app, path_option, run_command
from experiments.commands.compare import compare
from experiments.comparison.contest import open_benchmark
from experiments.comparison.recorded import Recording, recordings
from experiments.comparison.report import shown
from experiments.comparison.statistics import bootstrap, mean
from experiments.progress import progress_bar
from experiments.provenance import measured_by, software
from experiments.suites import frameworks_clock
from experiments.text_tables import markdown_section
from marl_hpo_env import InputError
from marl_hpo_env.tables.table import shipped

app = new_app()

CHECKOUT = Path(__file__).parents[2]
EXAMPLES = CHECKOUT / "experiments" / "frameworks"
ENVIRONMENTS = Path(".venv-frameworks")

LEARNERS = ("pairwise-q", "coordination-graph", "regularized-evolution", "optuna-tpe", "random")
"""Beside which the compared stand, with 20 seeds and 200 distinct designs."""

WINDOW = 50
"""Episodes over which rewards are averaged."""

Array = npt.NDArray[np.float64]


class Player(NamedTuple):
    """A training.

    Args:
        title: as reports call it.
        file: in `experiments/frameworks`, without its ending.
        options: behind the common command line.
        compared: whether with five seeds, 2,000 episodes and on both tables; else it is run once.
    """

    title: str
    file: str
    options: tuple[str, ...] = ()
    compared: bool = False

    @property
    def episodes(self) -> int:
        """Of a run."""
        return 2000 if self.compared else 500

    @property
    def runs(self) -> list[tuple[str, int]]:
        """The table and seed of each."""
        return [(table, seed) for table in shipped() for seed in range(5)] if self.compared else [("digits-convnet", 0)]


PLAYERS = {
    "maskable_ppo": Player("MaskablePPO", "maskable_ppo", compared=True),
    "cleanrl_ppo": Player("CleanRL's PPO", "cleanrl_ppo", compared=True),
    "torchrl_mappo": Player("TorchRL's MAPPO", "torchrl_mappo", compared=True),
    "benchmarl_iql": Player("BenchMARL's IQL", "benchmarl_q", ("--algorithm", "iql"), compared=True),
    "benchmarl_qmix": Player("BenchMARL's QMIX", "benchmarl_q", ("--algorithm", "qmix"), compared=True),
    "torchrl_ippo": Player("TorchRL's IPPO", "torchrl_mappo", ("--critic", "own")),
    "rllib_ppo": Player("RLlib's PPO", "rllib_ppo"),
    "agilerl_ippo": Player("AgileRL's IPPO", "agilerl_ippo"),
    "sb3_supersuit": Player("SB3's PPO by SuperSuit", "sb3_supersuit"),
    "tianshou_dqn": Player("Tianshou's DQN", "tianshou_dqn"),
    "skrl_ippo": Player("skrl's IPPO", "skrl_ippo"),
}


class Head(NamedTuple):
    """The inline metadata of a script (PEP 723)."""

    requires_python: str
    dependencies: list[str]

    @property
    def names(self) -> list[str]:
        """Of the dependencies, without their versions and extras."""
        return [re.split(r"[^\w.-]", dependency, maxsplit=1)[0] for dependency in self.dependencies]


def head(script: str) -> Head:
    """What a script says that it needs.

    Raises:
        InputError: if it has no such head.
    """
    found = re.search(r"^# /// script\n((?:#.*\n)+?)# ///$", script, re.MULTILINE)
    try:
        read = tomllib.loads(re.sub(r"^# ?", "", found[1], flags=re.MULTILINE)) if found else {}
        return Head(read["requires-python"], read["dependencies"])
    except (KeyError, tomllib.TOMLDecodeError) as error:
        raise InputError(
            "The script has no head with requires-python and dependencies, as PEP 723 wants it; begin it with '# /// script'."
        ) from error


def lines_of_code(script: str) -> int:
    """Below its head and docstring, without empty lines and comments."""
    lines = map(str.strip, script.split('"""', 2)[2].splitlines())
    return sum(bool(line) and not line.startswith("#") for line in lines)


def python_of(file: str) -> Path:
    """The interpreter of a file's own environment, which is made where it is missing.

    Raises:
        InputError: if what the file needs cannot be installed.
    """
    folder = ENVIRONMENTS / file
    python = (folder / "bin" / "python").absolute()
    if python.exists():
        return python
    needs = head((EXAMPLES / f"{file}.py").read_text())
    packages = [each for each in needs.dependencies if each != "marl-hpo-env"]
    if shutil.which("uv"):
        commands: list[list[Any]] = [["uv", "venv", "--quiet", "--python", needs.requires_python, folder]]
        commands.append(
            ["uv", "pip", "install", "--quiet", "--python", python, "--editable", f"{CHECKOUT}[benchmarks]", *packages]
        )
    else:
        commands = [["python3", "-m", "venv", folder]]
        commands.append([python, "-m", "pip", "install", "--quiet", "--editable", f"{CHECKOUT}[benchmarks]", *packages])
    try:
        for command in commands:
            subprocess.run(command, check=True)
    except BaseException as error:
        shutil.rmtree(folder, ignore_errors=True)
        if isinstance(error, subprocess.CalledProcessError):
            raise InputError(f"What {file!r} needs cannot be installed: {' '.join(packages)}.") from error
        raise
    return python


def call(player: Player, program: Sequence[object], *arguments: object) -> subprocess.CompletedProcess[str]:
    """What came of a program in a player's environment, with the common command line behind it."""
    command = list(map(str, [python_of(player.file), *program, *arguments, *player.options]))
    one_thread = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, check=False, capture_output=True, text=True, env=one_thread)


def trained(player: Player, table: str, seed: int) -> Recording:
    """What a training recorded.

    Raises:
        InputError: if it fails, or ends too early.
    """
    what = f"The training of {player.title} on {table!r} with seed {seed}"
    with TemporaryDirectory() as folder:
        options = ("--episodes", player.episodes, "--seed", seed)
        ended = call(player, [EXAMPLES / f"{player.file}.py"], table, folder, *options)
        if ended.returncode:
            last = (ended.stderr.strip().splitlines() or ["it says nothing"])[-1]
            raise InputError(f"{what} has failed: {last}")
        (recording,) = recordings([f"run={folder}"])["run"]
    if len(recording.episodes) < player.episodes:
        raise InputError(f"{what} ended after {len(recording.episodes)} episodes, and is to play {player.episodes}.")
    return recording


def steps_per_second(player: Player, game: str) -> float | None:
    """Of a training by itself, in CPU time; None where it cannot be counted, or the game not be played.

    Args:
        player: whose.
        game: `"ours"`, or `"theirs"` for one of PettingZoo or Gymnasium in its place.
    """
    with TemporaryDirectory() as folder:
        clock = ["-m", frameworks_clock.__name__, game, EXAMPLES / f"{player.file}.py"]
        ended = call(player, clock, "digits-convnet", folder, "--episodes", 200)
    found = re.search(f"{frameworks_clock.RATE} (.+)", ended.stdout)
    return float(found[1]) if found and not ended.returncode else None


def versions(python: Path, names: Sequence[str]) -> dict[str, str]:
    """Of what is installed beside an interpreter."""
    code = "import importlib.metadata, json, sys; print(json.dumps({n: importlib.metadata.version(n) for n in sys.argv[1:]}))"
    answer = subprocess.run([python, "-c", code, *names], check=True, capture_output=True, text=True).stdout
    return {name: version.partition("+")[0] for name, version in json.loads(answer).items()}


def compressed(recording: Recording, episodes: int) -> bytes:
    """A recording's file, of its first episodes; the same for the same run."""
    lines = [recording.header, *recording.episodes[:episodes]]
    return gzip.compress("".join(f"{json.dumps(line)}\n" for line in lines).encode(), mtime=0)


# --- the report ------------------------------------------------------------------------------------------------------


def rises(rewards: Array) -> list[float]:
    """The mean reward, over seeds and the last `WINDOW` episodes, after as many as `ends` says; shape (seeds, episodes)."""
    return [float(rewards[:, end - WINDOW : end].mean()) for end in ends(rewards.shape[1])]


def ends(episodes: int) -> list[int]:
    """After how many episodes rewards are reported."""
    return [end for end in (50, 100, 200, 500, 1000, 2000) if end <= episodes]


def best_at_random(rewards: Array, episodes: int) -> Array:
    """The expected reward of the best design of random search after each episode; shape (episodes,).

    Args:
        rewards: of every design, shape (designs,).
        episodes: how many; each takes any design.
    """
    below = np.arange(len(rewards) + 1) / len(rewards)
    ordered = np.sort(rewards)
    return np.array([np.diff(below**n) @ ordered for n in range(1, episodes + 1)])


def ahead_from(rewards: Array, at_random: Array) -> int | None:
    """The episode from which on the best reward so far, in the mean over seeds, is above that of random search; None where it
    is not at the end.

    Args:
        rewards: of each episode, shape (seeds, episodes).
        at_random: the expected best reward of random search, shape (episodes,).
    """
    behind = np.flatnonzero(np.maximum.accumulate(rewards, axis=1).mean(axis=0) <= at_random)
    if not behind.size:
        return 1
    return None if behind[-1] == len(at_random) - 1 else int(behind[-1]) + 2


def of_tables(runs: Sequence[Recording]) -> dict[str, Array]:
    """By table, every episode's reward; shape (seeds, episodes)."""
    tables = dict.fromkeys(str(run.header["task"]) for run in runs)
    return {
        table: np.array([[one["reward"] for one in run.episodes] for run in runs if run.header["task"] == table])
        for table in tables
    }


def report(played: Mapping[str, Sequence[Recording]], measured: Mapping[str, Any]) -> str:
    """The tables, in Markdown.

    Args:
        played: the recordings of each of `PLAYERS` that has been run.
        measured: of each, its `versions`, and the steps per second of `ours` and `theirs`, None where there is no figure.
    """
    by_player = {name: of_tables(runs) for name, runs in played.items()}
    overview = []
    for name, found in by_player.items():
        player, rewards = PLAYERS[name], found["digits-convnet"]
        code = lines_of_code((EXAMPLES / f"{player.file}.py").read_text())
        of_packages = ", ".join(f"{package} {version}" for package, version in measured[name]["versions"].items())
        first, last = (f"{of_some.mean():.3f}" for of_some in (rewards[:, :WINDOW], rewards[:, -WINDOW:]))
        rates = ["-" if rate is None else f"{rate:,.0f}" for rate in (measured[name]["ours"], measured[name]["theirs"])]
        overview.append([player.title, of_packages, str(code), f"{rewards.shape[1]:,}", first, last, *rates])
    rewarded = ["episodes", f"first {WINDOW}", f"last {WINDOW}"]
    header = ["training", "versions", "lines of code", *rewarded, "steps per second", "another game's"]
    parts = [markdown_section("Every framework on digits-convnet", header, overview)]
    for table in shipped():
        here = {PLAYERS[name].title: found[table] for name, found in by_player.items() if table in found}
        if here:
            parts += _of_table(table, here)
    return "\n".join(parts)


def _of_table(table: str, played: Mapping[str, Array]) -> list[str]:
    """How rewards rise on a table, and the best design seen beside random search's."""
    benchmark = open_benchmark(table, (), ())
    of_all = benchmark.rewards(benchmark.table_seed(0))
    longest = ends(max(rewards.shape[1] for rewards in played.values()))
    rows = [
        [title, *(f"{value:.3f}" for value in found), *["-"] * (len(longest) - len(found))]
        for title, found in ((title, rises(rewards)) for title, rewards in played.items())
    ]
    rows += [[what, *[f"{value:.3f}"] * len(longest)] for what, value in _extremes(of_all)]
    rise = markdown_section(f"{table}: mean reward by episodes", ["", *(f"at {end:,}" for end in longest)], rows)
    compared = {title: rewards for title, rewards in played.items() if len(rewards) > 1}
    return [rise, *([_best_seen(table, of_all, compared)] if compared else [])]


def _best_seen(table: str, of_all: Array, played: Mapping[str, Array]) -> str:
    """The regret of the best design seen, and from when on it is below random search's; the rewards of all have one length."""
    best, (longest, *_) = float(of_all.max()), (rewards.shape[1] for rewards in played.values())
    at_random, marks = best_at_random(of_all, longest), ends(longest)
    rows = []
    for title, rewards in played.items():
        left, ahead = best - np.maximum.accumulate(rewards, axis=1), ahead_from(rewards, at_random)
        estimates = [shown(bootstrap(mean, left[:, [end - 1]]), 100) for end in marks]
        rows.append([title, *estimates, "never" if ahead is None else f"{ahead:,}"])
    rows.append(["random search, expected", *(f"{100 * (best - at_random[end - 1]):.2g}" for end in marks), "-"])
    columns = ["", *(f"at {end:,}" for end in marks), "ahead for good from"]
    return markdown_section(f"{table}: regret of the best design seen, by episodes", columns, rows)


def _extremes(of_all: Array) -> list[tuple[str, float]]:
    return [("a random design", float(of_all.mean())), ("the best design", float(of_all.max()))]


HOW_TO_READ = f"""How to read it: "at 500" is the mean reward of the {WINDOW} episodes that end with the 500th, in the mean over
the seeds. A step is one layer's pick; its rate is that of a whole training in CPU time. "Another game's" is that of the same
file with another environment: tic-tac-toe in turn, rock-paper-scissors at once, CartPole for a single controller. Regret is
in hundredths of the reward, a mean over the seeds with its 95% interval. Random search takes any design in every episode; "ahead
for good from" is the episode from which on a training's regret stays below it.
"""


@app.command()
def main(
    player: Annotated[
        list[str] | None, typer.Option(help=f"What to run: {', '.join(PLAYERS)}; all where left out. Repeat for more.")
    ] = None,
    out: Annotated[Path, path_option(help="Folder for recordings and reports.")] = Path(
        "experiments/results/frameworks"
    ),
) -> None:
    """Train with every framework, then compare."""
    for name in player or ():
        if name not in PLAYERS:
            raise InputError.unknown("training", name, list(PLAYERS))
    folder, notes = out / "recordings", out / "measured.json"
    folder.mkdir(parents=True, exist_ok=True)
    measured = json.loads(notes.read_text()) if notes.exists() else {}
    files = {
        (name, table, seed): folder / f"{name}-{table}-{seed}.jsonl.gz"
        for name, of_name in PLAYERS.items()
        for table, seed in of_name.runs
    }
    missing = [run for run, file in files.items() if run[0] in (player or PLAYERS) and not file.exists()]
    with progress_bar() as progress:
        bar = progress.add_task("trainings", total=len(missing), note="")
        for name, table, seed in missing:
            progress.update(bar, note=f"{PLAYERS[name].title}, {table}, seed {seed}")
            recording = trained(PLAYERS[name], table, seed)
            files[name, table, seed].write_bytes(compressed(recording, PLAYERS[name].episodes))
            progress.update(bar, advance=1)
        for name, one in PLAYERS.items():
            if name in (player or PLAYERS) and name not in measured:
                progress.update(bar, note=f"{one.title}, steps per second")
                names = head((EXAMPLES / f"{one.file}.py").read_text()).names
                packages = list(dict.fromkeys([*names[1:], "torch", "gymnasium", "pettingzoo"]))
                rates = {game: steps_per_second(one, game) for game in ("ours", "theirs")}
                measured[name] = {"versions": versions(python_of(one.file), packages), **rates}
                notes.write_text(f"{json.dumps(measured, indent=1)}\n")
    whole = [
        name
        for name in PLAYERS
        if name in measured and all(file.exists() for run, file in files.items() if run[0] == name)
    ]
    patterns = {name: f"{PLAYERS[name].title}={folder}/{name}-digits-*.jsonl.gz" for name in whole}
    played = {name: recordings([pattern])[PLAYERS[name].title] for name, pattern in patterns.items()}
    text = f"# Frameworks\n\n{HOW_TO_READ}\n{report(played, measured)}\n{measured_by(software(), '1 CPU core')}.\n"
    (out / "report.md").write_text(text)
    typer.echo(text)
    compared = [patterns[name] for name in whole if PLAYERS[name].compared]
    compare(
        tasks=shipped(), seeds=20, episodes=200, learners=",".join(LEARNERS), recorded=compared, out=out / "compare"
    )


if __name__ == "__main__":
    run_command(app, "python -m experiments.suites.frameworks")
