"""The command `marl-hpo`."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer

from experiments.command_line import Device, Workers, new_app, run_command
from experiments.commands.compare import compare
from experiments.commands.dashboard import dashboard
from experiments.commands.export import export
from experiments.commands.fit import fit
from experiments.commands.predict import predict
from experiments.commands.report import report
from experiments.commands.reproduce import reproduce
from experiments.commands.run_options import Out
from experiments.commands.show import show
from experiments.commands.table import table_app
from experiments.commands.tune import tune
from experiments.text_tables import print_table
from marl_hpo_env import task as named_task
from marl_hpo_env import tasks


def _say_version(asked: bool) -> None:
    if asked:
        typer.echo(f"marl-hpo {version('marl-hpo-env')}")
        raise typer.Exit


app = new_app(
    help="Let multi-agent learners design convolutional networks: every layer is an agent that picks its hyperparameters.",
    no_args_is_help=True,
)


@app.callback()
def start(
    version: Annotated[
        bool, typer.Option("--version", help="Say which version this is.", is_eager=True, callback=_say_version)
    ] = False,
) -> None:
    """Runs before every command."""


app.command()(tune)
app.command()(fit)
app.command()(show)
app.command()(report)
app.command()(dashboard)
app.command()(predict)
app.command()(export)
app.command()(compare)
app.command()(reproduce)
app.add_typer(table_app, name="table")


@app.command()
def demo(out: Out = None, device: Device = None, workers: Workers = None) -> None:
    """Tune a real CNN on real digits with the paper's agents, and compare with random search: two minutes on two cores."""
    from agents import learner
    from experiments.tuning.evaluators import Machines
    from experiments.tuning.limits import RunLimits
    from experiments.tuning.session import play_both, prepare

    tuning = prepare(named_task("digits-convnet"), out or Path("runs/demo"), Machines(device, workers))
    # One hundred episodes of the second phase; with the default limit the demo could run for many minutes.
    team = "pairwise-q(max_exploitation_episodes=100)"
    play_both(tuning, team, learner(team), "random", 0, RunLimits())


@app.command(name="tasks")
def list_tasks() -> None:
    """List the tasks."""
    print_table("", ["task", "what is tuned"], [[name, named_task(name).description] for name in tasks()])


@app.command(name="learners")
def list_learners() -> None:
    """List the learners and their settings."""
    from agents import learners
    from agents.registry import settings_of, summary

    rows = []
    for name in learners():
        rows.append([name, summary(name)])
        settings = ", ".join(f"{setting}={value!r}" for setting, value in settings_of(name).items())
        if settings:
            rows.append(["", f"({settings})"])
    print_table("", ["learner", "how it plays, and its settings"], rows)


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command."""
    run_command(app, "marl-hpo", arguments)


if __name__ == "__main__":
    main()
