"""The command `marl-hpo fit`."""

from __future__ import annotations

from typing import Annotated

import typer

from experiments.command_line import Device
from experiments.commands.run_options import (
    BatchSize,
    ChoicesFile,
    DataFolder,
    FitTimeout,
    LearningRate,
    Model,
    Out,
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


def fit(
    design: Annotated[str, typer.Option(help="One action index per layer, separated by commas, such as 3,5,0,1,2.")],
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

    actions = read_design(design)
    machines = Machines(
        device,
        1,
        fit_timeout=positive("--fit-timeout", fit_timeout),
        trial_memory=positive("--trial-memory", trial_memory),
    )
    recipe = {"batch_size": batch_size, "learning_rate": learning_rate}
    scored = read_scoring(metric or [], loss, score)
    options = read_options(data, images, image_size, examples, width, labels, kind, column, groups, masks)
    task = scored(chosen_task(task_name, model, options, choices, recipe, weights_file))
    checked = task.space.check(actions)
    tuning = prepare(task, out, machines, about=said_about(model, task))
    run = tuning.run("fit", design=checked, seed=None)
    trials = {"original": tuning.converge("original", None)}
    trials["design"], network = tuning.take_home("the design", checked, run)
    write_report(tuning, run, trials, {"design": checked}, added(task, "design", checked))
    run.update(ended="the design was trained")
    write_overview(tuning.folder.path, tuning.folder.store)
    typer.echo(f"The design's network: {network}")
