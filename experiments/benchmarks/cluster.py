"""What a Ray cluster costs beside the trainings, and what one driver can serve.

Claim (aims of the project):
- two nodes with one CPU each train as many designs as two workers of one machine: at least 0.9 of them;
- with trials that take no time, one driver with one SQLite store brings in many times what a thousand machines train.

Both nodes are on this machine, which has two cores for them. The same designs of `digits-convnet`, and of `digits-unet`, whose
trainings are longer, are trained by the workers and by the nodes in turn, each warm; medians over repetitions. Trials
that take no time are real ones, sent back at once: through Ray into a store on disk, with as many under way as two nodes
have, and as a thousand would have. What the driver's own process
computes for one of them bounds what one driver can serve; the rate of this machine, which also runs the nodes, is lower.

Run: `python -m experiments.benchmarks.cluster` (needs the extra `ray`), on two quiet cores.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Annotated, Any

import typer

from experiments.benchmarks.results import write_results
from experiments.command_line import new_app, run_command

if TYPE_CHECKING:
    from marl_hpo_env import Evaluator, RayEvaluator, Request, Task, Trial

TASK = "digits-convnet"
LONGER = "digits-unet"  # trainings of a second
MACHINES = 1000

app = new_app()


def requests_of(task: Task, count: int, seed: int) -> list[Request]:
    """Designs spread evenly over the space, with the task's epochs."""
    from marl_hpo_env import Request

    space, epochs = task.space, task.recipe.epochs
    assert isinstance(epochs, int)
    return [Request(space.design_at(place * space.size // count), seed, epochs) for place in range(count)]


def per_second(evaluator: Evaluator, requests: Sequence[Request]) -> float:
    """Trials that an evaluator brings in a second."""
    started = time.perf_counter()
    trials = list(evaluator.evaluate(requests))
    taken = time.perf_counter() - started
    assert len(trials) == len(requests)
    return len(trials) / taken


def nodes_beside_workers(task: Task, nodes: RayEvaluator, count: int, repetitions: int) -> dict[str, Any]:
    """Trials per second of two nodes and of two workers, the same designs in turn."""
    from marl_hpo_env import TrainingEvaluator

    workers = TrainingEvaluator(task, "cpu", 2)
    rates: dict[str, list[float]] = {"workers": [], "nodes": []}
    for repetition in range(repetitions + 1):
        # The first is short, and not counted: processes start, and load what they need.
        requests = requests_of(task, count if repetition else 8, repetition)
        for name, evaluator in (("workers", workers), ("nodes", nodes)):
            rate = per_second(evaluator, requests)
            if repetition:
                rates[name].append(rate)
    middle = {name: median(values) for name, values in rates.items()}
    return {**{f"{name}_per_s": rate for name, rate in middle.items()}, "ratio": middle["nodes"] / middle["workers"]}


def instant(task: Task, address: str, trial: Trial, count: int, in_flight: int) -> dict[str, float]:
    """The rate of trials that take no time through one driver into one store, and what the driver computes for each."""
    from marl_hpo_env import RayEvaluator, Store, StoredEvaluator

    def at_once(task: object, device: str, request: Request, *_: object) -> Iterator[tuple[None, Trial] | None]:
        yield None
        yield None, replace(trial, request=request)

    nodes = RayEvaluator(task, address, device="cpu")
    nodes._work, nodes._in_flight = at_once, in_flight // nodes.room
    with tempfile.TemporaryDirectory() as folder:
        evaluator = StoredEvaluator(nodes, Store(Path(folder) / "trials.sqlite"))
        per_second(evaluator, [trial.request._replace(seed=count + number) for number in range(100)])
        computed = time.process_time()
        rate = per_second(evaluator, [trial.request._replace(seed=number) for number in range(count)])
        computed = time.process_time() - computed
    return {"in_flight": in_flight, "per_s": rate, "driver_ms": 1e3 * computed / count}


def stored(trial: Trial, count: int) -> dict[str, float]:
    """Trials that one store on disk takes in a second, and the bytes of each there."""
    from marl_hpo_env import Store

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trials.sqlite"
        store = Store(path)
        started = time.perf_counter()
        for number in range(count):
            store.put("instant", replace(trial, request=trial.request._replace(seed=number)))
        rate = count / (time.perf_counter() - started)
        store.close()
        return {"per_s": rate, "bytes_per_trial": path.stat().st_size / count}


def travels(task: Task, trial: Trial) -> dict[str, int]:
    """Bytes of a request, of a trial, of a task without its data, and of its data."""
    from ray import cloudpickle

    parts: list[Any] = [part for pair in task.splits.splits().values() for part in pair]
    return {
        "request": len(cloudpickle.dumps(trial.request)),
        "trial": len(cloudpickle.dumps(trial)),
        "task": len(cloudpickle.dumps(replace(task, data=_no_data))),
        "data": sum(part.nbytes for part in parts),
    }


def _no_data() -> Any:
    """In the place of the data, which are counted apart."""


@app.command()
def main(
    trials: Annotated[int, typer.Option(min=8, help="Designs to train, by each, in each repetition.")] = 200,
    repetitions: Annotated[int, typer.Option(min=1, help="Of each, after one that is not counted.")] = 3,
    instant_trials: Annotated[int, typer.Option(min=100, help="Trials that take no time.")] = 10_000,
) -> None:
    """Measure two nodes beside two workers, and trials that take no time."""
    import ray
    from ray.cluster_utils import Cluster

    from marl_hpo_env import RayEvaluator
    from marl_hpo_env import task as named_task
    from marl_hpo_env.evaluators.evaluator import evaluate_one

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    try:
        cluster.add_node(num_cpus=1)
        task = named_task(TASK)
        nodes = RayEvaluator(task, cluster.address, device="cpu")
        side_by_side = nodes_beside_workers(task, nodes, trials, repetitions)
        other = named_task(LONGER)
        longer = nodes_beside_workers(
            other, RayEvaluator(other, cluster.address, device="cpu"), trials // 6, repetitions
        )
        trial = evaluate_one(nodes, requests_of(task, 8, 0)[3])
        figures = {
            "task": TASK,
            "trials": trials,
            "repetitions": repetitions,
            **side_by_side,
            "longer": {"task": LONGER, **longer},
            "instant": [
                instant(task, cluster.address, trial, instant_trials, in_flight)
                for in_flight in (2 * nodes.room, 2 * MACHINES)
            ],
            "stored": stored(trial, instant_trials),
            "bytes": travels(task, trial),
        }
        ray.shutdown()
    finally:
        cluster.shutdown()
    write_results("cluster", ["torch", "ray"], figures)


if __name__ == "__main__":
    run_command(app, "python -m experiments.benchmarks.cluster")
