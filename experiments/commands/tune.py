"""The command `marl-hpo tune`."""

from __future__ import annotations

from typing import Annotated

import typer

from experiments.command_line import MOST_EPISODES, Device, Ray, Strict, Workers
from experiments.commands.reward_options import read_reward
from experiments.commands.run_options import (
    BatchSize,
    ChoicesFile,
    DataFolder,
    Epochs,
    FitTimeout,
    LearningRate,
    Model,
    Out,
    Seed,
    TaskName,
    TrialMemory,
    WeightsFile,
    chosen_task,
    read_design,
    said_about,
)
from experiments.commands.scoring_options import OwnLoss, OwnMetrics, OwnScore, read_scoring
from experiments.commands.task_options import (
    Column,
    Examples,
    Groups,
    Images,
    ImageSize,
    KindOption,
    Labels,
    Masks,
    Width,
    read_options,
)
from experiments.tuning.limits import BATCH
from marl_hpo_env import InputError


def tune(
    task_name: TaskName = None,
    model: Model = None,
    data: DataFolder = None,
    images: Images = None,
    image_size: ImageSize = None,
    examples: Examples = None,
    labels: Labels = None,
    kind: KindOption = None,
    column: Column = None,
    groups: Groups = None,
    masks: Masks = None,
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
            help="Look for the smallest network whose validation accuracy, or other score, is at most as many percentage points "
            "worse than the original's, both trained to convergence; a score that is no fraction counts in its own units. In "
            "place of --weight.",
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
    tensorboard: Annotated[
        bool,
        typer.Option(
            "--tensorboard", help="Write curves for TensorBoard, too: tensorboard --logdir FOLDER, that of --out."
        ),
    ] = False,
    mlflow: Annotated[
        bool, typer.Option("--mlflow", help="Log to MLflow, too: where MLFLOW_TRACKING_URI says, or in ./mlflow.db.")
    ] = False,
    wandb: Annotated[
        bool,
        typer.Option(
            "--wandb",
            help="Log to Weights & Biases, too; with WANDB_MODE=offline in the run's folder, for `wandb sync`.",
        ),
    ] = False,
    out: Out = None,
) -> None:
    """Tune a network, of a task or your own; the same command continues a run that was stopped, and a larger limit one that
    has ended."""
    from agents import learner as make_learner
    from experiments.tuning.evaluators import Machines
    from experiments.tuning.limits import RunLimits, positive
    from experiments.tuning.logs import logs
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
    told = logs(tensorboard, mlflow, wandb)
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
    scored = read_scoring(metric or [], loss, score)
    reward = read_reward(weights, constraints, accuracy_weight, accuracy_score, within)
    options = read_options(data, images, image_size, examples, width, labels, kind, column, groups, masks)
    task = scored(chosen_task(task_name, model, options, choices, recipe, weights_file))
    known = [
        task.original_design if design == "original" else task.space.check(read_design(design))
        for design in start or ()
    ]
    tuning = prepare(task, out, machines, reward(task), said_about(model, task), told)
    if shared:
        from experiments.tuning.shared import Shared, play_shared

        play_shared(tuning, learner, player, Shared(shared_epochs or 40, confirm or 5), seed, limits, known)
    else:
        play_both(tuning, learner, player, baseline, seed, limits, known)


def _read_epochs(text: str | None) -> int | str | None:
    """A number as a number; what it may be is checked by the recipe."""
    try:
        return None if text is None else int(text)
    except ValueError:
        return text
