"""The command `marl-hpo`."""

from __future__ import annotations

import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from marl_hpo_env import InputError, Reward, Task, WeightedReward, task, tasks

if TYPE_CHECKING:
    from agents import Learner
    from experiments.tuning import Play, Tuning
    from marl_hpo_env import Trial

app = typer.Typer(
    help="Let multi-agent learners design convolutional networks: every layer is an agent that picks its hyperparameters.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

Out = Annotated[
    Path | None,
    typer.Option(help="Folder for trials and reports; a run continues from what is in it. [default: runs/TASK]"),
]
TaskName = Annotated[str, typer.Option("--task", help="What to tune; `marl-hpo tasks` lists them.")]
Seed = Annotated[int, typer.Option(help="Seed of the learner.")]
Device = Annotated[
    str | None, typer.Option(help="Where to train, such as 'cpu' or 'cuda'. [default: a GPU where there is one]")
]
Workers = Annotated[
    int | None,
    typer.Option(min=1, help="Trainings side by side. [default: one per core; 1 on a GPU or where times are rewarded]"),
]


@app.command()
def demo(out: Out = None, device: Device = None, workers: Workers = None) -> None:
    """Tune a real CNN on real digits with the paper's agents, and compare with random search: two minutes on two cores."""
    from agents import learner

    tuning = _tuning("digits-convnet", out or Path("runs/demo"), device, workers)
    # One hundred episodes of the second phase; with the default limit the demo could run for many minutes.
    team = _play(tuning, learner("pairwise-q", max_exploitation_episodes=100), "pairwise-q", 0, None)
    _close(tuning, team, _play(tuning, learner("random"), "random", 0, team.evaluations))


@app.command()
def tune(
    task_name: TaskName,
    learner: Annotated[str, typer.Option(help="Who plays; `marl-hpo learners` lists them.")] = "pairwise-q",
    episodes: Annotated[
        int | None,
        typer.Option(min=1, help="Designs to make. [default: until the learner is finished; 100 if it never is]"),
    ] = None,
    seed: Seed = 0,
    device: Device = None,
    workers: Workers = None,
    weight: Annotated[
        list[str] | None,
        typer.Option(
            metavar="METRIC=WEIGHT",
            help="Reward a weighted sum of metrics in place of the task's reward, such as validation_accuracy=1 or "
            "'model_size_mb / original=0.2'; repeat for more. What is better small counts negatively by itself.",
        ),
    ] = None,
    constraint: Annotated[
        list[str] | None,
        typer.Option(
            metavar="BOUND", help="Give a design that breaks it the penalty, such as 'inference_ms_per_batch <= 5'."
        ),
    ] = None,
    out: Out = None,
) -> None:
    """Tune a task's network; the same command continues a run that was stopped."""
    from agents import learner as make_learner

    player = make_learner(learner)
    tuning = _tuning(task_name, out, device, workers, weight or [], constraint or [])
    _close(tuning, _play(tuning, player, learner, seed, episodes))


@app.command()
def fit(
    task_name: TaskName,
    design: Annotated[str, typer.Option(help="One action index per layer, separated by commas, such as 3,5,0,1,2.")],
    device: Device = None,
    out: Out = None,
) -> None:
    """Train one design to convergence beside the original network."""
    try:
        actions = [int(action) for action in design.split(",")]
    except ValueError:
        raise InputError(f"The design {design!r} is not a list of action indices; write it as 3,5,0,1,2.") from None
    checked = task(task_name).space.check(actions)
    tuning = _tuning(task_name, out, device, 1)
    _report(
        tuning,
        {"original": tuning.converge("original", None), "design": tuning.converge("design", checked)},
        {"design": checked},
    )


@app.command(name="tasks")
def list_tasks() -> None:
    """List the tasks."""
    for name in tasks():
        typer.echo(f"{name:<20} {task(name).description}")


@app.command(name="learners")
def list_learners() -> None:
    """List the learners."""
    from agents import learners
    from agents.registry import summary

    for name in learners():
        typer.echo(f"{name:<20} {summary(name)}")


class _Stopped(BaseException):
    """The user, or the system, asks the command to stop."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command; bad input is one sentence on the error stream and exit code 2, Ctrl-C is exit code 130."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _stop)
    try:
        app(arguments)
    except InputError as error:
        typer.echo(f"marl-hpo: {error}", err=True)
        sys.exit(2)
    except _Stopped:
        typer.echo("\nStopped; every finished trial is stored, and the same command continues.", err=True)
        sys.exit(130)


def _stop(number: int, frame: object) -> NoReturn:
    raise _Stopped


def _tuning(
    name: str,
    out: Path | None,
    device: str | None,
    workers: int | None,
    weights: Sequence[str] = (),
    constraints: Sequence[str] = (),
) -> Tuning:
    """Checks everything that can be wrong before anything is trained or written."""
    chosen = task(name)
    reward = _reward(chosen, weights, constraints)
    from experiments.tuning import Tuning

    return Tuning(chosen, out or Path("runs") / name, reward=reward, device=device, workers=workers)


def _reward(chosen: Task, weights: Sequence[str], constraints: Sequence[str]) -> Reward | None:
    if not weights and not constraints:
        return None
    parsed = {}
    for text in weights:
        metric, equals, value = text.rpartition("=")
        try:
            parsed[metric.strip()] = float(value)
        except ValueError:
            equals = ""
        if not equals:
            raise InputError(f"The weight {text!r} cannot be read; write it as validation_accuracy=1.")
    if parsed:
        return WeightedReward(parsed, constraints)
    if not isinstance(chosen.reward, WeightedReward):
        raise InputError(f"The reward of {chosen.name!r} takes no constraints; say what to reward with --weight.")
    return WeightedReward(chosen.reward.weights, constraints)


def _play(tuning: Tuning, player: Learner, name: str, seed: int, episodes: int | None) -> Play:
    played = tuning.play(name, player, episodes, seed)
    tuning.write_episodes(played)
    return played


def _close(tuning: Tuning, played: Play, baseline: Play | None = None) -> None:
    """The closing report: the original network and what was found, each trained to convergence the same way."""
    from experiments.pictures import rewards_per_episode

    plays = [played] if baseline is None else [played, baseline]
    trials = {"original": tuning.converge("original", None)}
    trials |= {each.name: tuning.converge(each.name, each.best.design) for each in plays}
    path = tuning.folder / f"rewards-{played.name}.png"
    rewards_per_episode(played, path, sum(phase == "explore" for phase in played.phases))
    lines = [line for each in plays for line in _outcome(each)]
    _report(tuning, trials, {each.name: each.best.design for each in plays}, lines)
    typer.echo(f"Reward per episode: {path}")
    typer.echo(f"Every trial: {tuning.folder / 'trials.sqlite'}")


def _outcome(played: Play) -> list[str]:
    """What a learner's play came to, in sentences."""
    counts = f"{len(played.episodes)} episodes, {played.evaluations} distinct designs"
    lines = [f"{played.name}: best reward {played.best.reward:.4f} ({counts})."]
    if played.converged is not None:
        last = next(e.reward for e in reversed(played.episodes) if e.design == played.converged)
        same = "the best" if played.converged == played.best.design else f"{list(played.converged)}, reward {last:.4f}"
        lines.append(f"{played.name}: the tables converged to {same}.")
    elif played.phases[-1]:
        lines.append(f"{played.name}: the tables had not converged.")
    return lines


def _report(
    tuning: Tuning, trials: dict[str, Trial], designs: dict[str, tuple[int, ...]], lines: Sequence[str] = ()
) -> None:
    from rich.console import Console

    from experiments.report import comparison, layers, markdown_table, rich_table

    console = Console()
    text = [f"# {tuning.task.name}\n"]
    for title, (header, rows) in {
        "Trained to convergence": comparison(trials),
        "Layer by layer": layers(tuning.task.network, designs),
    }.items():
        console.print(rich_table(title, header, rows))
        text.append(f"## {title}\n\n{markdown_table(header, rows)}")
    for line in lines:
        typer.echo(line)
    (tuning.folder / "report.md").write_text("\n".join([*text, *lines]) + "\n")


if __name__ == "__main__":
    main()
