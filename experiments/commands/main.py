"""The command `marl-hpo`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import typer

from experiments.command_line import (
    MOST_EPISODES,
    Device,
    Ray,
    Strict,
    Workers,
    new_app,
    path_option,
    run_command,
    seed_option,
)
from experiments.commands.compare import compare
from experiments.commands.report import report
from experiments.commands.reproduce import reproduce
from experiments.commands.reward_options import read_reward
from experiments.commands.scoring_options import OwnLoss, OwnMetrics, OwnScore, read_scoring
from experiments.commands.table import table_app
from experiments.commands.task_options import Examples, Images, ImageSize, TaskOptions, Width, check_images, read_width
from experiments.text_tables import print_table
from experiments.tuning.limits import BATCH
from marl_hpo_env import InputError, Task, tasks
from marl_hpo_env import task as named_task


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


app.add_typer(table_app, name="table")
app.command()(compare)
app.command()(report)
app.command()(reproduce)

Out = Annotated[
    Path | None,
    path_option(
        help="Folder for trials, which all of its runs share, with a folder of its own for each run's report; a run continues "
        "from what is in it.",
        show_default="runs/TASK",
    ),
]
TaskName = Annotated[
    str | None,
    typer.Option(
        "--task",
        help="What to tune; `marl-hpo tasks` lists them. Your own: package.module:FUNCTION or FILE.py:FUNCTION.",
    ),
]
Model = Annotated[
    str | None,
    typer.Option(
        help="In place of a task, your network: torchvision:NAME, or what makes it: package.module:FUNCTION, FILE.py:FUNCTION."
    ),
]
DataFolder = Annotated[
    Path | None,
    path_option(
        "--data",
        "--data-dir",
        help="The folder with the task's data; with --model one with a folder of images per class.",
    ),
]
ChoicesFile = Annotated[
    Path | None,
    path_option(
        "--choices", help="With --model: a TOML file of hyperparameter values; by default fractions of the original's."
    ),
]
WeightsFile = Annotated[
    Path | None,
    path_option(
        "--weights",
        help="With --model: a .safetensors, .pth or .pt file with the network's own weights, which every design and the "
        "original start from. Added layers then share one width. With torchvision networks images are 224 by 224 by default.",
    ),
]
Epochs = Annotated[
    str | None,
    typer.Option(
        metavar="N|calibrated|running",
        help="Epochs of each design's training: a number. Or calibrated before the run, on the original and a few designs, "
        "3 to 10. Or running: lowered as the run goes on, as in the paper.",
        show_default="the task's; with --model calibrated",
    ),
]
BatchSize = Annotated[
    int | None, typer.Option(min=1, help="Images per step.", show_default="the task's; with --model 64")
]
LearningRate = Annotated[
    float | None,
    typer.Option(
        help="Of the optimizer.", show_default="the task's; with --model 0.001, Adam's; with --weights 0.0001"
    ),
]
Seed = Annotated[int, seed_option("Seed of the learner.")]
FitTimeout = Annotated[
    float | None,
    typer.Option(
        metavar="SECONDS",
        help="Give up the original's training, or final training, that takes longer.",
        show_default="no limit",
    ),
]
TrialMemory = Annotated[
    float | None,
    typer.Option(metavar="GB", help="Memory that one training may take.", show_default="all that there is"),
]


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


@app.command()
def tune(
    task_name: TaskName = None,
    model: Model = None,
    data: DataFolder = None,
    images: Images = None,
    image_size: ImageSize = None,
    examples: Examples = None,
    width: Width = None,
    choices: ChoicesFile = None,
    weights_file: WeightsFile = None,
    epochs: Epochs = None,
    batch_size: BatchSize = None,
    learning_rate: LearningRate = None,
    learner: Annotated[str, typer.Option(help="Who plays; `marl-hpo learners` lists them.")] = "pairwise-q",
    episodes: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=MOST_EPISODES,
            metavar="N",
            help="Designs to make.",
            show_default="until the learner is finished; 100 if it never is",
        ),
    ] = None,
    evaluations: Annotated[
        int | None,
        typer.Option(
            min=1, max=MOST_EPISODES, metavar="N", help="Distinct designs to evaluate.", show_default="no limit"
        ),
    ] = None,
    hours: Annotated[
        float | None,
        typer.Option(
            help="Hours of this command, a tenth of which is kept for final training; that is cut short where it needs more.",
            show_default="no limit",
        ),
    ] = None,
    target: Annotated[
        float | None,
        typer.Option(
            metavar="REWARD",
            help="End the search when a design's reward reaches it; the report says what is rewarded.",
            show_default="no limit",
        ),
    ] = None,
    start: Annotated[
        list[str] | None,
        typer.Option(
            metavar="DESIGN",
            help="A design that is known to be good and is evaluated first, such as 3,5,0,1,2, or 'original'; repeat for more.",
        ),
    ] = None,
    baseline: Annotated[
        str | None,
        typer.Option(
            metavar="LEARNER",
            help="Who plays beside the learner, as many distinct designs, such as random; the report then has three rows, as "
            "the paper's Table V, and a picture of the improvements, as its Fig. 10.",
        ),
    ] = None,
    seed: Seed = 0,
    device: Device = None,
    workers: Workers = None,
    trial_timeout: Annotated[
        float | None,
        typer.Option(
            metavar="SECONDS", help="Give up a design whose training takes longer: it failed.", show_default="no limit"
        ),
    ] = None,
    fit_timeout: FitTimeout = None,
    trial_memory: TrialMemory = None,
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
            metavar="BOUND",
            help="Give a design that breaks it the penalty, such as 'inference_ms_per_batch <= 5' or "
            "'validation_accuracy >= original - 0.01'.",
        ),
    ] = None,
    within: Annotated[
        float | None,
        typer.Option(
            min=0,
            help="Look for the smallest network whose validation accuracy stays within as many percentage points of the "
            "original's; in place of --weight.",
        ),
    ] = None,
    accuracy_weight: Annotated[
        float | None,
        typer.Option(
            help="c_A of Eq. 2, 0 to 1, for the paper's tasks and others that are rewarded by it.",
            show_default="the task's, 0.5",
        ),
    ] = None,
    accuracy_score: Annotated[
        str | None,
        typer.Option(
            metavar="final|per_epoch",
            help="A of Eq. 2: the accuracy, or the accuracy divided by the epochs to the loss threshold.",
            show_default="the task's, final; per_epoch with --epochs running",
        ),
    ] = None,
    metric: OwnMetrics = None,
    loss: OwnLoss = None,
    score: OwnScore = None,
    shared: Annotated[
        bool,
        typer.Option(
            "--shared",
            help="Train one network that holds every design, search on its slices, and train the best that are found: one "
            "training in place of one per design.",
        ),
    ] = False,
    shared_epochs: Annotated[
        int | None,
        typer.Option(min=1, help="With --shared: epochs of the network that holds every design.", show_default="40"),
    ] = None,
    confirm: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="With --shared: as many of the best designs are trained, beside those on the front.",
            show_default="5",
        ),
    ] = None,
    ray: Ray = None,
    batch: Annotated[
        int,
        typer.Option(
            min=1,
            help="Designs that the learner is asked for at a time, and so the most that are trained side by side. What it finds "
            "may depend on it.",
        ),
    ] = BATCH,
    strict: Strict = False,
    out: Out = None,
) -> None:
    """Tune a network, of a task or your own; the same command continues a run that was stopped, and a larger limit one that
    has ended."""
    from agents import learner as make_learner
    from experiments.tuning.evaluators import Machines
    from experiments.tuning.limits import RunLimits, positive
    from experiments.tuning.session import play_both, prepare

    limits = RunLimits(episodes, evaluations, hours, target)
    machines = Machines(
        device,
        workers,
        positive("--trial-timeout", trial_timeout),
        positive("--fit-timeout", fit_timeout),
        positive("--trial-memory", trial_memory),
        ray,
        batch,
        strict,
    )
    player = make_learner(learner)
    if baseline is not None:
        make_learner(baseline)
        if baseline == learner:
            raise InputError(f"The baseline {baseline!r} is the learner itself; name another.")
    if not shared and (shared_epochs or confirm):
        raise InputError("The options --shared-epochs and --confirm are for a search on shared weights; add --shared.")
    if shared:
        for option, value in (("--ray", ray), ("--baseline", baseline), ("--target", target)):
            if value is not None:
                raise InputError(
                    f"The option {option} goes with trainings, and --shared searches without; leave out one of them."
                )
    recipe = {"batch_size": batch_size, "epochs": _read_epochs(epochs), "learning_rate": learning_rate}
    weights, constraints = weight or [], constraint or []
    if within is not None:
        if weights:
            raise InputError("Both --within and --weight say what to reward; give one of them.")
        weights = ["model_size_mb / original=1"]
        constraints = [*constraints, f"validation_accuracy >= original - {within / 100}"]
    scored = read_scoring(metric or [], loss, score)
    reward = read_reward(weights, constraints, accuracy_weight, accuracy_score)
    options = TaskOptions(data, images, image_size, examples, read_width(width))
    task = scored(_task(task_name, model, options, choices, recipe, weights_file))
    known = [
        task.network.original_design if design == "original" else task.space.check(_read_design(design))
        for design in start or ()
    ]
    tuning = prepare(task, out, machines, reward(task))
    if shared:
        from experiments.tuning.shared import Shared, play_shared

        play_shared(tuning, learner, player, Shared(shared_epochs or 40, confirm or 5), seed, limits, known)
    else:
        play_both(tuning, learner, player, baseline, seed, limits, known)


@app.command()
def fit(
    design: Annotated[str, typer.Option(help="One action index per layer, separated by commas, such as 3,5,0,1,2.")],
    task_name: TaskName = None,
    model: Model = None,
    data: DataFolder = None,
    images: Images = None,
    image_size: ImageSize = None,
    examples: Examples = None,
    width: Width = None,
    choices: ChoicesFile = None,
    weights_file: WeightsFile = None,
    batch_size: BatchSize = None,
    learning_rate: LearningRate = None,
    metric: OwnMetrics = None,
    loss: OwnLoss = None,
    score: OwnScore = None,
    device: Device = None,
    fit_timeout: FitTimeout = None,
    trial_memory: TrialMemory = None,
    out: Out = None,
) -> None:
    """Train one design to convergence beside the original network, and save it."""
    from experiments.tuning.evaluators import Machines
    from experiments.tuning.limits import positive
    from experiments.tuning.overview import write_overview
    from experiments.tuning.sentences import added
    from experiments.tuning.session import prepare, write_report

    actions = _read_design(design)
    machines = Machines(
        device,
        1,
        fit_timeout=positive("--fit-timeout", fit_timeout),
        trial_memory=positive("--trial-memory", trial_memory),
    )
    recipe = {"batch_size": batch_size, "learning_rate": learning_rate}
    scored = read_scoring(metric or [], loss, score)
    options = TaskOptions(data, images, image_size, examples, read_width(width))
    task = scored(_task(task_name, model, options, choices, recipe, weights_file))
    checked = task.space.check(actions)
    tuning = prepare(task, out, machines)
    run = tuning.run("fit", design=checked, seed=None)
    trials = {"original": tuning.converge("original", None)}
    trials["design"], network = tuning.take_home("the design", checked, run)
    write_report(tuning, run, trials, {"design": checked}, added(task, "design", checked))
    run.update(ended="the design was trained")
    write_overview(tuning.folder.path, tuning.folder.store)
    typer.echo(f"The design's network: {network}")


@app.command()
def show(
    task_name: TaskName = None,
    model: Model = None,
    data: DataFolder = None,
    images: Images = None,
    image_size: ImageSize = None,
    examples: Examples = None,
    width: Width = None,
    choices: ChoicesFile = None,
    weights_file: WeightsFile = None,
    picture: Annotated[Path, path_option(help="Where to draw the layer graph, a PNG file.")] = Path("runs/layers.png"),
) -> None:
    """Show a network's layers: what each can choose from and what feeds it; and draw the graph."""
    from experiments.tuning.pictures import layer_graph
    from experiments.tuning.report import search_space

    if picture.suffix != ".png":
        raise InputError(f"The picture {str(picture)!r} is no PNG file; name it like layers.png.")
    options = TaskOptions(data, images, image_size, examples, read_width(width))
    network = _task(task_name, model, options, choices, {}, weights_file, needs_data=False).network
    layers, sets = search_space(network)
    print_table(*layers, one_line=True)
    print_table(*sets)
    picture.parent.mkdir(parents=True, exist_ok=True)
    layer_graph(network.space, picture)
    typer.echo(f"Layer graph: {picture}")


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


def _task(
    name: str | None,
    model: str | None,
    options: TaskOptions,
    choices: Path | None,
    recipe: dict[str, Any],
    weights: Path | None,
    needs_data: bool = True,
) -> Task:
    """The named task, or one of the user's own network; what `recipe` says takes the place of its recipe's values."""
    given = {key: value for key, value in recipe.items() if value is not None}
    if (name is None) == (model is None):
        raise InputError(
            "Say what to tune: either --task with a name, or --model with your network and --data with images."
        )
    if name is not None:
        if choices is not None:
            raise InputError("A task brings its own choices; leave out --choices.")
        if weights is not None:
            raise InputError("The option --weights is for --model; a task is trained from its own start.")
        task = options.task(name)
        task = replace(task, recipe=replace(task.recipe, **given))
        if options.images is not None and needs_data:
            check_images(task)
        return task
    assert model is not None
    for option, value in (("--images", options.images), ("--examples", options.examples)):
        if value is not None:
            raise InputError(f"The option {option} is for --task; a --model takes --data, a folder of images.")
    if options.divisor > 1:
        raise InputError("The option --width is for --task; a --model has its own widths, and --choices says others.")
    if options.data is None and needs_data:
        raise InputError(f"The model {model!r} needs --data, a folder with one folder of images per class.")
    from experiments.commands.own_network import own_task

    return own_task(model, options.data, options.image_size, choices, given, weights)


def _read_design(text: str) -> list[int]:
    try:
        return [int(action) for action in text.split(",")]
    except ValueError:
        raise InputError(f"The design {text!r} is not a list of action indices; write it as 3,5,0,1,2.") from None


def _read_epochs(text: str | None) -> int | str | None:
    """A number as a number; what it may be is checked by the recipe."""
    try:
        return None if text is None else int(text)
    except ValueError:
        return text


if __name__ == "__main__":
    main()
