"""Fewer FLOPs from a trained network: a search on inherited weights beside Torch-Pruning.

The network is ResNet-18 for 32x32 images, a quarter as wide, trained on 20,000 images of CIFAR-10 for 30 epochs of one
cycle. At each share of its FLOPs four ways make a narrower one, and each is fine-tuned by the same recipe for four epochs:
- Torch-Pruning (extra `pruning`) as in its own benchmark, in small steps until few enough FLOPs are left: by the L1 norm at one
  ratio for all layers (`uniform L1`) and over all layers (`global L1`), and by its group norm over all layers (`group norm`);
- ours: `coordination-graph` with at most 60 designs, widths of added layers tied. A design inherits the trained weights, and is
  judged after one epoch of a quarter of the images, in which batch norm's statistics are taken anew. The first design is the
  widest that has the same share of every width. Choices are sixteenths of a width, from half of what one share for all
  layers would be to one and a half.

Claim (aim): ahead in test accuracy at equal FLOPs at two of three points, in the mean over three seeds.

Latency is that of a batch, and paired: a network and the original take turns. It means something on a quiet machine alone.
Run: `python -m experiments.benchmarks.pruning --images cifar10_jpeg.npz`. What is in its folder is not run again.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from statistics import mean, median
from typing import Annotated, Any, NamedTuple

import torch
import typer
from safetensors.torch import load_file, save_file
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from agents import learner, play
from experiments.command_line import MOST_SEEDS, at_most, new_app, path_option, run_command
from experiments.commands.task_options import TaskOptions
from experiments.progress import progress_bar
from experiments.provenance import machine, measured_by, software
from experiments.text_tables import markdown_section
from experiments.tuning.evaluators import Machines, evaluator_of
from marl_hpo_env import (
    Design,
    InputError,
    Limits,
    Recipe,
    Request,
    Store,
    StoredEvaluator,
    Task,
    Trial,
    WeightedReward,
    env,
)

app = new_app()

POINTS = (0.25, 0.5, 0.75)
"""Of the original's FLOPs."""

PEERS = ("uniform L1", "global L1", "group norm")
OURS = "coordination-graph"

DIVISOR = 4
SEARCHED_ON = 4
"""A design of the search is trained on one of as many parts of the images."""

DESIGNS = 60
SIXTEENTHS = 16
STEPS = 400
"""Of Torch-Pruning, as in its own benchmark: each takes a 400th of the channels."""

_SGD: dict[str, Any] = {"optimizer": "sgd", "momentum": 0.9, "weight_decay": 5e-4}
TRAINING = Recipe(128, 30, learning_rate=0.1, schedule="one-cycle", schedule_epochs=30, **_SGD)
FINE_TUNING = Recipe(128, 4, learning_rate=0.01, step_epochs=2, step_factor=0.2, initialization="inherit", **_SGD)
"""Of what is pruned and of what is found; a design of the search has the first of its epochs."""

ROUNDS = 40
"""Of turns in which latency is measured."""

CPU = torch.device("cpu")


class Original(NamedTuple):
    """The trained original of one seed.

    Args:
        task: the network, its data and its training.
        seed: of all trainings, and of the search.
        trained: the file of its weights.
        figures: of its training.
    """

    task: Task
    seed: int
    trained: Path
    figures: Mapping[str, Any]

    @property
    def weights(self) -> dict[str, torch.Tensor]:
        """The trained ones, a state dict.

        Raises:
            InputError: if their file is gone.
        """
        if not self.trained.exists():
            raise InputError(f"The weights {str(self.trained)!r} are gone; begin in another folder.")
        return load_file(self.trained)

    def network(self) -> nn.Module:
        """The network as its author wrote it, with the trained weights."""
        model: nn.Module = self.task.model()
        model.load_state_dict(self.weights)
        return model.eval()


def trained(task: Task, seed: int, folder: Path) -> Original:
    """The original, trained, or from the folder where it is there.

    Raises:
        InputError: if it cannot be trained, or the folder's was trained on other images.
    """
    weights, figures = folder / f"original-{seed}.safetensors", folder / f"original-{seed}.json"
    images = len(task.splits.train[0])
    if not figures.exists():
        trial, network = _trained(task, None, seed)
        save_file(network.state_dict(), weights)
        _write(figures, {"images": images, **_figures(trial)})
    read = json.loads(figures.read_text())
    if read["images"] != images:
        raise InputError(f"The folder {str(folder)!r} has results on {read['images']} images; choose another --out.")
    return Original(task, seed, weights, read)


def made(way: str, point: float, original: Original, folder: Path) -> dict[str, Any]:
    """The figures of what one way leaves at one point, after fine-tuning."""
    inputs, most = original.task.splits.test[0][: FINE_TUNING.batch_size], point * original.figures["flops"]
    started = time.perf_counter()
    if way == OURS:
        task = searched_task(original, point)
        design, designs = found(task, most, original.seed, folder)
        task = replace(task, data=original.task.splits)
    else:
        model = pruned(original.network(), way, most, inputs[:1])
        task = replace(original.task, model=model, recipe=FINE_TUNING, weights=model.state_dict())
        design, designs = None, 0
    seconds = time.perf_counter() - started
    trial, network = _trained(task, design, original.seed)
    return {
        "way": way,
        "point": point,
        "seed": original.seed,
        "design": design,
        "designs": designs,
        "seconds": seconds,
        **_figures(trial),
        **paired_ms(network, original.network(), inputs),
        "made_with": software(),
    }


def pruned(model: nn.Module, way: str, most: float, example: torch.Tensor) -> nn.Module:
    """A network that Torch-Pruning has taken channels from until it has at most as many FLOPs; changed in place.

    Raises:
        InputError: if it cannot have as few.
    """
    import torch_pruning as tp

    norm = way == "group norm"
    (output,) = (module for module in model.modules() if isinstance(module, nn.Linear))
    make = tp.pruner.GroupNormPruner if norm else tp.pruner.BasePruner
    pruner = make(
        model,
        example,
        importance=tp.importance.GroupMagnitudeImportance(p=2 if norm else 1),
        global_pruning=way != "uniform L1",
        pruning_ratio=1.0,
        iterative_steps=STEPS,
        ignored_layers=[output],
    )
    for _ in range(STEPS):
        if flops(model, example) <= most:
            return model
        pruner.step()
    raise InputError(f"Torch-Pruning cannot leave {most:.3g} FLOPs; name another point.")


def searched_task(original: Original, point: float) -> Task:
    """The task of the search: widths of every convolution about what one share for all of them would be, and few images."""
    share = math.sqrt(point)
    parts = [n for n in range(1, SIXTEENTHS + 1) if 0.5 * share <= n / SIXTEENTHS <= 1.5 * share]
    choices = {
        name: {"out_channels": tuple(dict.fromkeys(max(1, n * module.out_channels // SIXTEENTHS) for n in parts))}
        for name, module in original.network().named_modules()
        if isinstance(module, nn.Conv2d)
    }
    data = original.task.splits
    count = len(data.train[0])
    few = torch.randperm(count, generator=torch.Generator().manual_seed(original.seed))[: count // SEARCHED_ON]
    inherited = replace(original.task, recipe=FINE_TUNING, weights=original.weights)
    return replace(inherited, data=replace(data, episode_examples=few), choices=choices)


def found(task: Task, most: float, seed: int, folder: Path) -> tuple[Design, int]:
    """The best design of a search among those of at most as many FLOPs, and how many it tried; from the store where it was
    stopped.

    Raises:
        InputError: if no design has as few.
    """
    task = replace(
        task,
        recipe=replace(task.recipe, epochs=1),
        reward=WeightedReward({"validation_accuracy": 1}, [f"flops <= {math.floor(most)}"]),
    )
    evaluator = StoredEvaluator(evaluator_of(task, Machines("cpu", 1), timed=False), Store(folder / "trials.sqlite"))
    game = env(task, evaluator=evaluator, seed=seed)
    start = widest_uniform(task, most)
    played = play(game, learner(OURS), evaluations=DESIGNS, start=[start], seed=seed)
    return max(played, key=lambda episode: episode.reward).design, len({episode.design for episode in played})


def widest_uniform(task: Task, most: float) -> Design:
    """The widest design with the same choice in every layer that has at most as many FLOPs.

    Raises:
        InputError: if none has.
    """
    example = task.splits.test[0][:1]
    for action in reversed(range(min(task.space.sizes))):
        design = (action,) * len(task.space)
        if flops(task.network.build(design), example) <= most:
            return design
    raise InputError(f"No design has at most {most:.3g} FLOPs; name another point.")


def flops(network: nn.Module, example: Any) -> float:
    """Of a forward pass, in evaluation."""
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        network.eval()(example)
    return counter.get_total_flops()


def paired_ms(network: nn.Module, original: nn.Module, inputs: Any) -> dict[str, float]:
    """Median milliseconds for a batch of each, which take turns, and the median of their ratio."""
    pairs = []
    with torch.inference_mode():
        for _ in range(ROUNDS):
            pair = []
            for each in (network.eval(), original.eval()):
                started = time.perf_counter()
                each(inputs)
                pair.append(1e3 * (time.perf_counter() - started))
            pairs.append(pair)
    ours, theirs = zip(*pairs[ROUNDS // 10 :], strict=True)
    return {
        "ms": median(ours),
        "original_ms": median(theirs),
        "ms / original": median(a / b for a, b in zip(ours, theirs, strict=True)),
    }


def _trained(task: Task, design: Design | None, seed: int) -> tuple[Trial, nn.Module]:
    epochs = task.recipe.epochs
    assert isinstance(epochs, int)
    network, trial = task.trainer(CPU, measure_time=False).train(Request(design, seed, epochs))
    if network is None:
        raise InputError(f"A network of seed {seed} cannot be trained: {trial.reason}")
    return trial, network


def _figures(trial: Trial) -> dict[str, Any]:
    kept = ("test_accuracy", "validation_accuracy", "flops", "parameters", "epochs")
    return {**{name: trial.metrics[name] for name in kept}, "training_seconds": trial.metrics["seconds"]}


def _write(path: Path, figures: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(figures, indent=1) + "\n")


def report(originals: Sequence[Mapping[str, Any]], results: Sequence[Mapping[str, Any]]) -> str:
    """The tables and the outcome of the claim, in Markdown; of accuracies the mean over the seeds, and their range."""
    columns = ["FLOPs at most, %", "way", "test accuracy %", "FLOPs, %", "parameters", "latency / original"]
    columns += ["seconds to find", "designs"]
    whole = [100 * original["test_accuracy"] for original in originals]
    rows = [["100", "original", _range(whole), "100", f"{originals[0]['parameters']:,}", "1", "-", "-"]]
    ahead, said = 0, []
    points = sorted({result["point"] for result in results}, reverse=True)
    for point in points:
        accuracy = {}
        for way in (*PEERS, OURS):
            made_so = [result for result in results if (result["way"], result["point"]) == (way, point)]
            accuracy[way] = [100 * result["test_accuracy"] for result in made_so]
            shares = [100 * r["flops"] / o["flops"] for r, o in zip(made_so, originals, strict=True)]
            cells = [_range(accuracy[way]), f"{mean(shares):.1f}"]
            cells += [f"{mean(result['parameters'] for result in made_so):,.0f}"]
            cells += [f"{mean(result[key] for result in made_so):.3g}" for key in ("ms / original", "seconds")]
            designs = max(result["designs"] for result in made_so)
            rows.append([f"{100 * point:g}", way, *cells, str(designs or "-")])
        best = max(PEERS, key=lambda way: mean(accuracy[way]))
        by_seed = [ours - theirs for ours, theirs in zip(accuracy[OURS], accuracy[best], strict=True)]
        ahead += mean(by_seed) > 0
        said.append(
            f"- At {100 * point:g}% of the FLOPs ours differs by {mean(by_seed):+.2f} points from {best}, the best of "
            f"Torch-Pruning's ({', '.join(f'{each:+.2f}' for each in by_seed)} by seed)."
        )
    said.append(f"- Ours is ahead at {ahead} of {len(points)} points.")
    return f"{markdown_section('At equal FLOPs', columns, rows)}\n" + "\n".join(said) + "\n"


def _range(values: Sequence[float]) -> str:
    return f"{mean(values):.2f} [{min(values):.2f},{max(values):.2f}]"


def _each(points: Sequence[float]) -> Iterator[tuple[str, float]]:
    return ((way, point) for point in points for way in (*PEERS, OURS))


@app.command()
def main(
    images: Annotated[Path, path_option(metavar="FILE.npz", help="Images of CIFAR-10, as `marl-hpo tune --images`.")],
    examples: Annotated[int, typer.Option(min=10, help="To train on.")] = 20_000,
    seeds: Annotated[int, typer.Option(min=1, callback=at_most(MOST_SEEDS), help="Each of another original.")] = 3,
    points: Annotated[
        list[float] | None,
        typer.Option(min=0.01, max=1, help="Shares of the FLOPs; 0.25, 0.5 and 0.75 where left out."),
    ] = None,
    out: Annotated[Path, path_option(help="Folder for figures and report; what is in it is not run again.")] = Path(
        "experiments/results/pruning"
    ),
) -> None:
    """Prune and search a trained network at some shares of its FLOPs, and fine-tune what is left."""
    if find_spec("torch_pruning") is None:
        raise InputError("Torch-Pruning is not installed; install it with: pip install 'marl-hpo-env[pruning]'.")
    torch.set_num_threads(1)
    task = TaskOptions(images=images, examples=examples, divisor=DIVISOR).task("resnet18-cifar10")
    task = replace(task, data=task.splits, recipe=TRAINING, limits=Limits())
    out.mkdir(parents=True, exist_ok=True)
    originals, results, ways = [], [], list(_each(points or POINTS))
    with progress_bar() as progress:
        bar = progress.add_task("pruning", total=seeds * len(ways), note="")
        for seed in range(seeds):
            progress.update(bar, note=f"seed {seed}, the original")
            original = trained(task, seed, out)
            originals.append(original.figures)
            for way, point in ways:
                progress.update(bar, note=f"seed {seed}, {way} at {point:g}")
                path = out / f"{way.replace(' ', '-')}-{point:g}-{seed}.json"
                if not path.exists():
                    _write(path, made(way, point, original, out))
                results.append(json.loads(path.read_text()))
                progress.update(bar, advance=1)
    count = originals[0]["images"]
    text = (
        f"# Beside Torch-Pruning\n\nResNet-18, a quarter as wide, trained on {count:,} images of CIFAR-10; means over the "
        f"seeds, {seeds} so far, in brackets the lowest and the highest.\n\n{report(originals, results)}\n"
        f"{measured_by(software(), f'{machine(CPU)}, 1 CPU core')}.\n"
    )
    (out / "report.md").write_text(text)
    typer.echo(text)


if __name__ == "__main__":
    run_command(app, "python -m experiments.benchmarks.pruning")
