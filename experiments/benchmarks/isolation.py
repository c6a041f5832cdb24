"""What a training costs beside itself, in a process of its own.

Claim (aims of the project): beside the direct call of the engine at most 5 ms per trial, with one worker.

The same designs of `digits-convnet` are trained for one epoch by `Trainer.train` in this process, and by a `TrainingEvaluator`
with one worker, in turn, design by design, each warm. The cost is the median of the differences of a pair.

Run: `python -m experiments.benchmarks.isolation`, on a quiet core.
"""

from __future__ import annotations

import time
from statistics import median, quantiles
from typing import Annotated

import typer

from experiments.benchmarks.results import write_results
from experiments.command_line import new_app, run_command

app = new_app()


@app.command()
def isolation(designs: Annotated[int, typer.Option(min=4, help="Pairs of trainings.")] = 100) -> None:
    """Measures what a process of its own costs a training."""
    import torch

    from marl_hpo_env import Request, TrainingEvaluator, task

    digits = task("digits-convnet")
    trainer, evaluator = digits.trainer(torch.device("cpu")), TrainingEvaluator(digits, "cpu")
    here, elsewhere = [], []
    for place in range(designs + 1):
        request = Request(digits.space.design_at(place * digits.space.size // (designs + 1)), place, 1)
        started = time.perf_counter()
        trainer.train(request)
        between = time.perf_counter()
        list(evaluator.evaluate([request]))
        if place:  # at the first the process starts
            here.append(1e3 * (between - started))
            elsewhere.append(1e3 * (time.perf_counter() - between))
    costs = [other - own for own, other in zip(here, elsewhere, strict=True)]
    low, _, high = quantiles(costs, n=4)
    write_results(
        "isolation",
        ["marl-hpo-env", "torch"],
        {"pairs": designs, "direct_ms": median(here), "cost_ms": median(costs), "cost_ms_quartiles": [low, high]},
    )


if __name__ == "__main__":
    run_command(app, "isolation")
