"""What the pages say in figures, taken from the committed results: `python -m experiments.documentation`.

A page holds it between two markers, of which the first names one of `PARTS`:

    <!-- table: compare-accuracy/overall -->
    ...
    <!-- end -->

The command writes every part anew; with `--check` it changes nothing, and names the pages that differ. A table is copied from
the report of a run; sentences with figures are written here, so that no figure is typed by hand.
"""

from __future__ import annotations

import ast
import itertools
import json
import re
import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache, partial
from pathlib import Path
from typing import Annotated, Any

import typer

from experiments.command_line import new_app, run_command
from experiments.text_tables import markdown_table
from marl_hpo_env import InputError

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "experiments" / "results"
PAGES = ("README.md", "marl_hpo_env/README.md", "agents/README.md", "experiments/README.md")
PICTURE = RESULTS / "readme" / "game.png"

ROOMS = ("environments", "evaluators", "catalog", "training", "tables", "networks", "data")
"""Of `marl_hpo_env`, from the top down: each imports only from those below it."""

PAPERS = "pairwise-q"


# --- reading the results -------------------------------------------------------------------------------------------


def lines_below(report: str, title: str) -> list[str]:
    """The first table below a title of a report in Markdown, line by line.

    Raises:
        InputError: if there is no such title, or no table below it.
    """
    after = report[report.index(title) :].splitlines() if title in report else []
    start = next((number for number, line in enumerate(after) if line.startswith("| ")), None)
    if start is None:
        raise InputError(f"The report has no table below {title!r}; make it again, or name another title.")
    return list(itertools.takewhile(lambda line: line.startswith("| "), after[start:]))


def rows_of(lines: Iterable[str]) -> list[dict[str, str]]:
    """The rows of a table in Markdown, each by its columns' titles."""
    header, _, *rows = [[cell.strip() for cell in line.strip().strip("|").split(" | ")] for line in lines]
    return [dict(zip(header, row, strict=True)) for row in rows]


@cache
def _report(folder: str) -> str:
    return (RESULTS / folder / "report.md").read_text()


@cache
def _measured(name: str) -> Any:
    return json.loads((RESULTS / f"{name}.json").read_text())


def _lines(folder: str, title: str) -> list[str]:
    return lines_below(_report(folder), title)


def _learner(folder: str, name: str, title: str = "## All benchmarks") -> dict[str, str]:
    """A learner's row, without the intervals."""
    (row,) = (row for row in rows_of(_lines(folder, title)) if row["learner"] == name)
    return {column: cell.split(" [")[0] for column, cell in row.items()}


def _network(folder: str, name: str) -> dict[str, str]:
    (row,) = (row for row in rows_of(_lines(folder, "## Trained to convergence")) if row["network"] == name)
    return row


# --- tables ----------------------------------------------------------------------------------------------------------


def _copied(folder: str, title: str, learners: tuple[str, ...] = ()) -> str:
    """The table below a title of a folder's report: all of it, or the rows of these learners."""
    lines = _lines(folder, title)
    if learners:
        kept = [line for line in lines[2:] if line.split(" | ")[0].removeprefix("| ") in learners]
        assert len(kept) == len(learners), f"{folder} has not all of {learners}"
        lines = [*lines[:2], *kept]
    return "\n".join(lines)


def _once_measured(folder: str, *titles: str, closing: bool = True) -> str:
    """The tables below these titles of a folder's report, and its closing sentences; a sentence where there is no report yet."""
    if not (RESULTS / folder / "report.md").exists():
        return "Not measured yet."
    tables = [f"{title.removeprefix('## ')}:\n\n{_copied(folder, title)}" for title in titles]
    return "\n\n".join([*tables, *([_bullets(folder)] if closing else [])])


def _bullets(folder: str) -> str:
    """The closing sentences of a run's report."""
    return "\n".join(line for line in _report(folder).splitlines() if line.startswith("- "))


def _reduced_widths() -> str:
    """Original and finds of every task of the paper with reduced widths, from the Table V of each."""
    tasks = {
        "vgg16-cifar10-1-4": "VGG-16, a quarter as wide, CIFAR-10",
        "unet-isic18-1-8": "U-Net, an eighth, nuclei (2018 Data Science Bowl)",
        "googlenet-cifar10-1-8": "GoogLeNet, an eighth, CIFAR-10",
    }
    titles: list[str] = []
    rows = []
    for name, task in tasks.items():
        folder = f"reproduce-table5-{name}"
        if not (RESULTS / folder).exists():
            continue
        for row in rows_of(_lines(folder, f"## {name}")):
            titles = ["task", *row]
            label = f"[{task}](results/{folder}/report.md)" if row["network"] == "original" else ""
            rows.append([label, *row.values()])
    return markdown_table(titles, rows)


def _few_epochs() -> str:
    """By task and threshold: epochs, their rank correlation with convergence, and how many designs had begun to learn."""
    rows = []
    for task in ("digits-convnet", "vgg16-cifar10-1-4", "googlenet-cifar10-1-8", "unet-isic18-1-8"):
        folder = f"few-epochs-{task}"
        (slow,) = rows_of(_lines(folder, "## Designs whose median batch"))
        by_epoch = {row["epochs"]: row for row in rows_of(_lines(folder, "## After so many epochs"))}
        for row in rows_of(_lines(folder, "## By the threshold")):
            if row["f"] in ("0.5", "0.75", "0.9"):
                first = row["f"] == "0.5"
                label, shares = (
                    (f"[{task}](results/{folder}/report.md)", " / ".join(slow.values())) if first else ("", "")
                )
                learning = by_epoch[f"{float(row['epochs, mean']):.0f}"]["99% bound above chance"]
                rows.append(
                    [label, row["f"], row["epochs, mean"], row["rank correlation of accuracy"], learning, shares]
                )
    header = ["task", "f", "epochs, mean", "rank correlation with converged accuracy", "designs above chance"]
    return markdown_table([*header, "batch longer than 1.25 / 1.5 / 2 times"], rows)


def _overhead() -> str:
    columns = {
        "learner_exploration_ms_per_episode": "learner exploring, ms/episode",
        "learner_exploitation_ms_per_episode": "exploiting, ms/episode",
        "loop_ms_per_episode": "whole loop, ms/episode",
        "raw_live_step_us": "live step, raw, µs",
        "live_step_us": "wrapped, µs",
        "finished_step_us": "finished agent's step, µs",
    }
    figures = _measured("overhead")["layers"].items()
    return markdown_table(
        ["layers", *columns.values()],
        [[layers, *(f"{measured[name]:.3g}" for name in columns)] for layers, measured in figures],
    )


def _costs_of_coordination_graph() -> str:
    figures = _measured("coordination-graph")["layers"].items()
    return markdown_table(
        ["layers", "episodes", "mean, ms/episode", "the last 20, ms/episode"],
        [
            [layers, str(one["episodes"]), f"{one['mean_ms']:.3g}", f"{one['median_ms_of_the_last_20']:.3g}"]
            for layers, one in figures
        ],
    )


def _costs_of_tables() -> str:
    return markdown_table(
        [
            "table",
            "designs",
            "a step beside tic-tac-toe's",
            "designs looked up per second",
            "import, open and reset, s",
        ],
        [
            [
                f"`{name}`",
                f"{one['designs']:,}",
                f"{one['loop']['ratio']:.2f}",
                f"{one['designs_per_second'] / 1e6:.1f} million",
                f"{one['import_open_reset']['seconds']:.2f}",
            ]
            for name, one in _measured("tables")["tables"].items()
        ],
    )


def _learners() -> str:
    """Every learner by name, with the first line of its class's docstring and its settings."""
    from agents import learners
    from agents.registry import settings_of, summary

    rows = []
    for name in learners():
        settings = ", ".join(f"{setting}={value!r}" for setting, value in settings_of(name).items())
        rows.append([f"`{name}`", summary(name).rstrip("."), f"`{settings}`" if settings else "none"])
    return markdown_table(["learner", "what it is", "settings and defaults"], rows)


def _metrics() -> str:
    """Every metric of a trial."""
    from marl_hpo_env import METRICS

    depends = {
        "network": "the network",
        "epoch": "the epoch: it is in the history",
        "training": "the whole training",
        "history": "the history, which the environment reads",
    }
    return markdown_table(
        ["metric", "unit", "better", "depends on"],
        [
            [f"`{name}`", metric.unit, "high" if metric.better > 0 else "low", depends[metric.of]]
            for name, metric in METRICS.items()
        ],
    )


def _rooms() -> str:
    """Every room of the environment's package, with the first sentence of its docstring and its modules."""
    package = ROOT / "marl_hpo_env"
    rows = []
    for room in ROOMS:
        said = ast.get_docstring(ast.parse((package / room / "__init__.py").read_text())) or ""
        modules = sorted(path.stem for path in (package / room).glob("*.py") if path.stem != "__init__")
        folders = sorted(f"{path.parent.name}/" for path in (package / room).glob("*/__init__.py"))
        rows.append([f"`{room}`", " ".join(said.split("\n\n")[0].split()), ", ".join([*modules, *folders])])
    ground = sorted(path.stem for path in package.glob("*.py") if path.stem not in ("__init__", "__main__", "testing"))
    rows.append(["(ground)", "Plain values and rules, without torch.", ", ".join(ground)])
    return markdown_table(["room", "what is in it", "modules"], rows)


OUTCOMES = {
    "table5": "Against random search's find",
    "fig10": "Against random search's find",
    "fig11": "Against random, as many designs",
}
"""How the sentence begins that stands for a whole report of `marl-hpo reproduce`; of all others it is the last one."""


def _outcome(name: str, report: str) -> str:
    said = [
        line.removeprefix("- ") for line in report.partition("## In words")[2].splitlines() if line.startswith("- ")
    ]
    chosen = [sentence for sentence in said if sentence.startswith(OUTCOMES.get(name, ""))]
    return (chosen or said or ["The table is in the report."])[-1]


def _reproductions(results: Path = RESULTS) -> str:
    """Every table and figure that can be reproduced, with its committed results.

    Args:
        results: the folder of their folders.
    """
    from experiments.commands.reproduce import BASES
    from experiments.reproduction.items import items

    rows = []
    for item in items().values():
        folders = [path.parent for path in sorted(results.glob(f"reproduce-{item.name}*/report.md"))]
        outcomes = []
        for folder in folders:
            report = (folder / "report.md").read_text()
            subject = report.partition("\n")[0].partition(" on ")[2]
            outcomes.append(f"[{subject}](results/{folder.name}/report.md): {_outcome(item.name, report)}")
        rows.append(
            [
                f"`marl-hpo reproduce {item.name}`",
                item.question,
                BASES[item.needs],
                " ".join(outcomes) or "none committed yet",
            ]
        )
    return markdown_table(["command", "what the paper asks", "from", "committed result"], rows)


def _claims() -> str:
    from experiments.reproduction.claims import claims_table

    return claims_table(RESULTS)


# --- sentences with figures ------------------------------------------------------------------------------------------


def _wrapped(text: str) -> str:
    return textwrap.fill(" ".join(text.split()), width=120, break_long_words=False, break_on_hyphens=False)


def _item(text: str) -> str:
    return _wrapped(text).replace("\n", "\n  ")


def _demo() -> str:
    report = _report("demo")
    played = re.search(rf"{PAPERS}: best reward \S+ \((\d+) episodes, (\d+) distinct designs\)", report)
    seconds = re.search(r"this command (\d+) s", report)
    assert played
    assert seconds
    original, found = _network("demo", "original"), _network("demo", PAPERS)
    images = 400  # of the digits' test split
    right = [round(images * float(row["test %"]) / 100) for row in (found, original)]
    return _wrapped(
        f"The picture shows one run of `make demo`: {played[1]} episodes, {played[2]} distinct designs, every one trained; "
        f"{seconds[1]} s on two CPU cores with all that is compared. The network found has {found['params']} parameters, the "
        f"original {original['params']}. Of {images} test images it has {right[0]} right and the original {right[1]}: no "
        "difference to build on."
    )


def _cost() -> str:
    overhead, tables, ours = (_measured(name) for name in ("overhead", "tables", "coordination-graph"))
    twenty = overhead["layers"]["20"]
    opened = max(one["import_open_reset"]["seconds"] for one in tables["tables"].values())
    return _wrapped(
        "Beside the trainings, the paper reports 2 ms of overhead per episode. With 20 layers of 20 actions our "
        f"implementation of its learner takes {twenty['learner_exploration_ms_per_episode']:.2g} ms, and the whole loop with "
        f"the environment {twenty['loop_ms_per_episode']:.2g} ms. A live step costs {overhead['wrapped']['ratio']:.2f} of one "
        f"of PettingZoo's tic-tac-toe. To import the package, open a table and reset takes {opened:.2f} s, without torch. "
        f"`coordination-graph` takes {ours['layers']['20']['mean_ms']:.2g} ms per episode with 20 layers, "
        f"{ours['beside_the_peer']['ratio']:.2f} of what Optuna's TPE takes."
    )


def _overhead_in_words() -> str:
    measured = _measured("overhead")
    growth = measured["growth_per_layer"]
    return _wrapped(
        f"A live step costs {measured['raw']['ratio']:.2f} of one of PettingZoo's tic-tac-toe, raw beside raw, and "
        f"{measured['wrapped']['ratio']:.2f} wrapped beside wrapped. Per layer, 1,000 layers cost the learner "
        f"{growth['learner_exploration']:.2f} times what 10 do while it explores, and {growth['learner_exploitation']:.2f} "
        f"times while it exploits; a live step {growth['live_step']:.2f} times."
    )


def _depth_in_words() -> str:
    measured = _measured("depth")
    runs = measured["runs"]
    every = [losses for run in runs.values() for losses in run["train_losses"]]
    if not all(later < earlier for losses in every for earlier, later in itertools.pairwise(losses)):
        return "The training loss of some design did not fall (`experiments/results/depth.json`)."
    first, last = (sum(losses[place] for losses in every) / len(every) for place in (0, -1))
    seconds = " and ".join(f"{run['seconds']:.0f} s for `{name}`" for name, run in runs.items())
    shared = ""
    if "shared" in measured:
        few, _, many = measured["shared"]
        growth = [
            many[what] / few[what] / (many["layers"] / few["layers"]) for what in ("plan_s", "step_s", "weights_mb")
        ]
        shared = (
            f" Weights that designs share cost {many['plan_s']:.2g} s for the plan of a design and {many['step_s']:.2g} s "
            f"for its step on a batch; per layer {growth[0]:.2f} and {growth[1]:.2f} times what they cost with "
            f"{few['layers']} layers, and {growth[2]:.2f} times the weights. From {few['layers']} to "
            f"{many['layers']:,} layers the process grew by "
            f"{many['peak_memory_gb'] - few['peak_memory_gb']:.2g} GB."
        )
    return _wrapped(
        f"A residual network of {measured['layers']:,} convolutions: its search space is made in {measured['space_s']:.2g} s, a "
        f"design in {measured['design_s']:.2g} s. Three episodes took {seconds}. The training loss of every one of these designs "
        f"was finite and fell from epoch to epoch, on average from {first:.4f} to {last:.4f} in three; memory stayed under "
        f"{measured['peak_memory_gb']:.2g} GB (`experiments/results/depth.json`).{shared}"
    )


def _isolation_in_words() -> str:
    measured = _measured("isolation")
    low, high = measured["cost_ms_quartiles"]
    return _wrapped(
        f"A process of its own costs a training {measured['cost_ms']:.2g} ms (quartiles {low:.2g} to {high:.2g}), where the "
        f"engine called directly takes {measured['direct_ms']:.0f} ms: {measured['pairs']} pairs "
        "(`experiments/results/isolation.json`)."
    )


def _vectorised_in_words() -> str:
    measured = _measured("vectorised")
    picks = measured["picks_per_second"]
    return _wrapped(
        f"{measured['games']:,} games of `digits-convnet` in one vectorised environment make "
        f"{picks['vector_entry_point'] / 1e6:.1f} million picks a second on one core, {measured['ratio']:.0f} times those of "
        f"Gymnasium's `SyncVectorEnv` of the same games, {picks['sync']:,.0f} (`experiments/results/vectorised.json`)."
    )


def _one_shot_in_words() -> str:
    """How slices order the designs beside how a training of each does: its validation accuracy under one seed of the table, and
    the mean test accuracy under the others, in which designs that did not complete are last."""
    import numpy as np
    from scipy.stats import spearmanr  # type: ignore[import-untyped]

    from marl_hpo_env import Table

    trained, slices = {}, {}
    for name in ("digits-convnet", "digits-branches"):
        table = Table.open(name)
        designs = list(map(table.space.design_at, range(table.space.size)))
        by_seed = []
        for seed in table.seeds:
            own = np.where(table.completed(designs, seed), table.metrics(designs, seed)["validation_accuracy"], -1)
            others = [other for other in table.seeds if other != seed]
            completed = np.array([table.completed(designs, other) for other in others])
            tested = np.array([table.metrics(designs, other)["test_accuracy"] for other in others])
            total, count = np.where(completed, tested, 0).sum(0), completed.sum(0)
            worth = np.where(count > 0, total / np.maximum(count, 1), -1)
            by_seed.append(float(spearmanr(own, worth).statistic))
        trained[name] = f"{sum(by_seed) / len(by_seed):.3f} on `{name}`"
        rows = rows_of(_lines("one-shot", f"## {name}: slices and trainings"))
        slices[name] = {row["cost in trainings"]: row["spearman"].split(" [")[0] for row in rows}
    at_40, at_80 = (" and ".join(of_table[cost] for of_table in slices.values()) for cost in ("40", "80"))
    return _wrapped(
        "The validation accuracy of one training of each design has a rank correlation with the mean test accuracy under the "
        f"table's other seeds of {' and '.join(trained.values())}. Slices have {at_40} with the mean under all seeds at the cost "
        f"of 40 trainings, and {at_80} at that of 80."
    )


def _tied_widths_in_words() -> str:
    measured = _measured("tied-widths")
    tied, free = (measured["digits"][way] for way in ("tied", "each its own"))

    def range_of(summary: Mapping[str, float]) -> str:
        return f"{summary['mean']:.1f} ({summary['least']:g} to {summary['most']:g})"

    counts = []
    for name, ways in measured["counted"].items():
        needed = range_of(ways["each its own"]["projections"])
        sizes = [
            f"{100 * ways[way][figure]['mean']:.0f}%"
            for way in ("each its own", "tied")
            for figure in ("parameters / original", "flops / original")
        ]
        counts.append(
            f"a {name} needs {needed} projections, and has {sizes[0]} of the original's parameters and {sizes[1]} of its "
            f"FLOPs; with tied widths it has none, {sizes[2]} and {sizes[3]}"
        )
    shares = [
        f"{100 * way[figure]['mean']:.0f}%"
        for figure in ("accuracy at once", "accuracy after an epoch", "parameters / original", "flops / original")
        for way in (free, tied)
    ]
    original = 100 * free["original's accuracy"]["mean"]
    at_once = [way["accuracy at once"][end] for way in (free, tied) for end in ("least", "most")]
    return _wrapped(
        f"Of {measured['designs']['counted']} random designs with widths of their own, {'; '.join(counts)}. On the digits, "
        f"designs inherit from a residual network of {original:.0f}% validation accuracy: at once they reach {shares[0]}, tied "
        f"{shares[1]}, and after one epoch {shares[2]}, tied {shares[3]}, with {shares[4]} and {shares[5]} of the parameters and "
        f"{shares[6]} and {shares[7]} of the FLOPs in the mean. Single ones reach {100 * min(at_once):.0f}% to "
        f"{100 * max(at_once):.0f}% at once, far more apart than the two ways."
    )


def _cluster_in_words() -> str:
    measured = _measured("cluster")
    few, many = measured["instant"]
    longer = measured["longer"]
    size = measured["bytes"]
    return _wrapped(
        f"Two nodes with one CPU each train {measured['nodes_per_s']:.2g} designs of `{measured['task']}` a second, "
        f"{measured['ratio']:.2f} of what two workers train in the same run; of `{longer['task']}`, whose trainings are longer, "
        f"{longer['nodes_per_s']:.2g} a second, {longer['ratio']:.2f} of the workers'. Of trials that take no time, "
        f"one driver and its store bring in {few['per_s']:.0f} a second with {few['in_flight']:,} under way, "
        f"and {many['per_s']:.0f} with {many['in_flight']:,}, while it shares two cores with the cluster itself; "
        "the driver's process computes "
        f"{few['driver_ms']:.2g} and {many['driver_ms']:.2g} ms for each. The store alone takes "
        f"{measured['stored']['per_s']:,.0f} trials a second. A request is {size['request']:,} bytes, a trial {size['trial']:,}; "
        f"the task is {size['task'] / 1e3:.1f} KB and its data {size['data'] / 1e3:.0f} KB, once per machine "
        "(`experiments/results/cluster.json`)."
    )


def _a_thousand_machines() -> str:
    measured = _measured("cluster")
    (_, many) = measured["instant"]
    seconds, size = 1000 / many["per_s"], measured["stored"]["bytes_per_trial"]
    return _wrapped(
        f"At that rate one driver keeps up with 1,000 CPUs whose trainings take {seconds:.2g} s on average, or with "
        f"{60 * many['per_s']:,.0f} CPUs whose trainings take a minute. Of 1,000 machines with one training a minute each, "
        f"the store grows by {1440 * 1000 * size / 1e9:.1f} GB a day."
    )


def _peer() -> str:
    peer = _measured("coordination-graph")["beside_the_peer"]
    return _wrapped(
        f"With {peer['layers']} layers it takes {peer['ratio']:.2f} of what Optuna's multivariate TPE takes in the same run."
    )


def _claims_in_words() -> str:
    verdicts = [row["here"] for row in rows_of(_claims().splitlines())]
    hold, fail, untried = (
        sum(verdict.startswith(word) for verdict in verdicts) for word in ("holds", "does not hold", "not tried")
    )
    does, has = ("does" if fail == 1 else "do"), ("has" if untried == 1 else "have")
    return _wrapped(
        f"Of {len(verdicts)} claims of the paper, {hold} hold on what has been run here, {fail} {does} not, and {untried} "
        f"{has} not been tried."
    )


def _settings_of_the_papers_learner() -> str:
    def left(setting: str, column: str = "at 200") -> str:
        return _learner("compare-pairwise-q", f"{PAPERS}{setting}")[column]

    lengths = [f"(exploration_episodes={length})" for length in (10, 40, 160)]
    decays = ["(epsilon_decay=0.98)", "", "(epsilon_decay=0.995)"]
    items = [
        "After 200 designs, {}, {} and {} are left with a first phase of 10, 40 and 160 episodes (Fig. 11).".format(
            *map(left, lengths)
        ),
        "A slower decay of epsilon leaves less, too (Fig. 13): {}, {} and {} with 0.98, 0.99 and 0.995.".format(
            *map(left, decays)
        ),
        "What that buys is more designs before the learner stops. After 100 designs the three first phases are at {}, {} and "
        "{}, random search at {}.".format(
            *(left(length, "at 100") for length in lengths), _learner("compare-pairwise-q", "random")["at 100"]
        ),
        f"The first phase alone leaves {left('(max_exploitation_episodes=0)')}, the second alone "
        f"{left('(exploration_episodes=0)')}.",
        f"Rewards averaged in a cell, in place of the printed sum, leave {left('(update=averaged)')}.",
    ]
    return "\n".join(f"- {_item(item)}" for item in items)


def _ends_early() -> str:
    names = ("digits-convnet", "digits-branches", "nas-bench-macro", "channel-bench-macro")
    title = {name: f"## {name}: regret" for name in names}
    stops = sorted(int(_learner("compare-accuracy", PAPERS, one)["distinct"]) for one in title.values())
    repeats = [
        _learner("compare-accuracy", name, title["digits-branches"])["distinct"]
        for name in ("independent-q", "vdn", "reinforce")
    ]
    return "\n".join(
        f"- {_item(item)}"
        for item in (
            f"The paper's learner converges and stops after {stops[0]} to {stops[-1]} distinct designs on average. What it has "
            "after 200 is what it had then. So it does no better than random search, and after 200 designs worse.",
            "Others repeat themselves until their 1,000 episodes are over. On `digits-branches` `independent-q` had "
            "{} distinct designs on average, `vdn` {} and `reinforce` {}.".format(*repeats),
        )
    )


def _floors() -> str:
    floors = re.findall(r"floor of the test regret: ([0-9.]+)", _report("compare-accuracy"))
    convnet, branches, macro, widths = (f"{float(floor):.2f}" for floor in floors)
    return "- " + _item(
        "Test figures tell learners apart less. Whoever chooses the very best design by one seed's validation accuracy still "
        f"loses {convnet} points of mean test accuracy on `digits-convnet`, {branches} on `digits-branches`, {macro} on "
        f"NAS-Bench-Macro and {widths} on Channel-Bench-Macro. Where a mean test regret is near that, validation "
        "has no more to say."
    )


def _motpe() -> str:
    title = "## digits-branches: regret"
    return "- " + _item(
        "`coordination-graph(multi_objective=True)` looks for the whole front, and so do Optuna's NSGA-II and MOTPE. MOTPE tried "
        f"{_learner('compare-two-objectives', 'optuna-motpe', title)['distinct']} distinct designs of `digits-branches` before "
        "its 1,000 episodes were over."
    )


def _estimates(folder: str, title: str, column: str) -> dict[str, tuple[float, float, float]]:
    """By learner the figure of a column, and the ends of its interval."""
    found = {}
    for row in rows_of(_lines(folder, title)):
        figure, low, high = map(float, re.split(r"[ \[\],]+", row[column].strip("]")))
        found[row["learner"]] = figure, low, high
    return found


def _best_rival(estimates: Mapping[str, tuple[float, float, float]], sign: int) -> str:
    """Of learners that are not `coordination-graph`, the one with the highest (+1) or lowest (-1) figure."""
    rivals = [name for name in estimates if not name.startswith("coordination-graph")]
    return max(rivals, key=lambda name: sign * estimates[name][0])


OWN, FRONT = "coordination-graph", "coordination-graph(multi_objective=True)"


def _of_folders(folders: Iterable[str]) -> Iterator[tuple[str, str]]:
    """The folders, with every title of theirs below which are regrets on a table."""
    for folder in folders:
        for title in re.findall("^(## .*: regret) in hundredths", _report(folder), re.MULTILINE):
            yield folder, title


def _behind(*folders: str) -> str:
    """Where `coordination-graph` is behind a rival beyond the intervals."""
    found = []
    for folder, title in _of_folders(folders):
        for count in (25, 50):
            estimates = _estimates(folder, title, f"at {count}")
            ahead = [name for name, (_, _, high) in estimates.items() if high < estimates[OWN][1] and name != OWN]
            found += [f"`{name}` is ahead at {count} on {title[3:-8]}" for name in ahead]
    return "; ".join(dict.fromkeys(found)) or "behind nobody"


def _shares(*folders: str) -> str:
    """The regrets of `coordination-graph` and its best rival after 100 designs, table by table."""
    found = []
    for folder, title in _of_folders(folders):
        estimates = _estimates(folder, title, "at 100")
        rival = _best_rival(estimates, -1)
        found.append(f"{estimates[OWN][0]:g} and {estimates[rival][0]:g} (`{rival}`) on {title[3:-8]}")
    return "; ".join(dict.fromkeys(found))


def _ahead_in_hypervolume(folder: str) -> str:
    (title,) = re.findall("^## .*percent of the hypervolume within the front's nadir.*$", _report(folder), re.MULTILINE)
    found = []
    for count in (50, 100):
        estimates = _estimates(folder, title, f"at {count}")
        rival = _best_rival(estimates, 1)
        found.append(f"{estimates[FRONT][0] - estimates[rival][0]:+.1f} points to `{rival}` at {count}")
    return "; ".join(found)


def _with_forbidden(folder: str) -> str:
    estimates = _estimates(folder, "## synthetic-forbidden-6", "at 100")
    return f"{(100 - estimates[OWN][0]) / (100 - estimates['optuna-tpe'][0]):.2f} of it"


def _in_depth(folder: str) -> str:
    return f"{100 - _estimates(folder, '## synthetic-chain-100', 'at 300')[OWN][0]:.0f}%"


def _aims() -> str:
    """What `coordination-graph` was to reach beside the best rival of each kind, and what it did."""
    rows: list[tuple[str, Callable[..., str], tuple[str, ...]]] = [
        ("never behind a rival beyond the intervals at 25 and 50", _behind, ("compare-accuracy", "compare-optuna-gp")),
        ("at 100 at most half of the best rival's regret, where pairs matter", _shares, ("compare-accuracy",)),
        (
            "widths, two objectives: two points of hypervolume ahead of every rival",
            _ahead_in_hypervolume,
            ("compare-two-objectives-widths",),
        ),
        ("two thirds forbidden: at most two thirds of TPE's regret at 100", _with_forbidden, ("compare-synthetic",)),
        ("100 layers: at most 25% of a random design's regret after 300", _in_depth, ("compare-deep",)),
    ]
    text = ["| aim | measured |", "| --- | --- |"]
    for aim, measured, folders in rows:
        there = all((RESULTS / folder / "report.md").exists() for folder in folders)
        text.append(f"| {aim} | {measured(*folders) if there else 'not measured yet'} |")
    return "\n".join(text)


def _ablation_in_words() -> str:
    def left(name: str) -> str:
        return _learner("ablation", name, "# Ablation")["at 200"]

    unordered, penalties, noisy = (
        {row["learner"]: row[table] for row in rows_of(_lines("ablation", "By table, at 200"))}
        for table in ("pairwise, 6 of 6, unordered", "pairwise, 8 of 12, penalties", "additive, 20 of 12, noisy")
    )
    whole, no_actions = "coordination-graph", "no terms per action, nor per pair of actions"
    items = [
        f"After 200 designs the whole learner leaves {left(whole)}, local search {left('local-search')}, evolution "
        f"{left('regularized-evolution')} and TPE {left('optuna-tpe')}.",
        "Terms per hyperparameter value are worth their place beyond the intervals. So are pairs of layers and Thompson sampling "
        "from 50 designs on, and the weights that layers share up to 50. A layer's own terms per value are so on the mean only.",
        'Two parts are for tables of a kind. Terms per action are for values without any order in common: on "pairwise, 6 of 6, '
        f'unordered" {unordered[whole]} is left with them and {unordered[no_actions]} without.',
        f'Ranks are for penalties: on "penalties" {penalties[whole]} with them and {penalties["no ranks"]} without. Elsewhere '
        f'they cost a little, most on "additive, 20 of 12, noisy": {noisy[whole]} with them, {noisy["no ranks"]} without.',
    ]
    return "\n".join(f"- {_item(item)}" for item in items)


def _prior_in_words() -> str:
    rows = {(row["task"], row["prior"]): row for row in rows_of(_lines("prior", "# Knowledge from other tasks"))}

    def left(prior: str) -> str:
        values = [rows["all", prior][f"at {n}"].split(" ")[0] for n in (5, 10, 25)]
        return f"{values[0]}, {values[1]} and {values[2]}"

    def gaining(count: int) -> str:
        """The tasks whose interval of the difference to no prior lies below 0."""
        highest = {
            task: float(row[f"behind none at {count}"].strip("]").split(",")[1])
            for (task, prior), row in rows.items()
            if prior == "other tasks" and task != "all"
        }
        return ", ".join(f'"{task}"' for task, high in highest.items() if high < 0) or "none"

    items = [
        f"Over all tasks {left('none')} is left at 5, 10 and 25 designs without a prior, and {left('other tasks')} with what "
        f"other tasks say. With the contrary it is {left('misleading')}: what misleads costs its first designs.",
        f"Beyond the intervals other tasks gain at 5 designs on {gaining(5)}; at 10 on {gaining(10)}; at 25 on {gaining(25)}.",
    ]
    return "\n".join(f"- {_item(item)}" for item in items)


# --- the pages -------------------------------------------------------------------------------------------------------

SIX = ("coordination-graph", "regularized-evolution", "predictor", "optuna-tpe", "random", PAPERS)

_OVERALL, _HYPERVOLUME = "## All benchmarks: regret", "## All benchmarks: percent of the table's hypervolume"

PARTS: Mapping[str, Callable[[], str]] = {
    "demo/converged": partial(_copied, "demo", "## Trained to convergence"),
    "demo/layers": partial(_copied, "demo", "## Layer by layer"),
    "demo/outcome": partial(_bullets, "demo"),
    "demo/in-words": _demo,
    "compare-accuracy/six": partial(_copied, "compare-accuracy", _OVERALL, SIX),
    "compare-accuracy/overall": partial(_copied, "compare-accuracy", _OVERALL),
    "compare-accuracy/ends-early": _ends_early,
    "compare-accuracy/floors": _floors,
    "compare-pairwise-q/overall": partial(_copied, "compare-pairwise-q", _OVERALL),
    "reproduce": _reproductions,
    "claims": _claims,
    "claims/in-words": _claims_in_words,
    "compare-pairwise-q/in-words": _settings_of_the_papers_learner,
    "compare-optuna-gp/overall": partial(_copied, "compare-optuna-gp", _OVERALL),
    "compare-optuna-gp-two-objectives/overall": partial(_copied, "compare-optuna-gp-two-objectives", _OVERALL),
    "compare-optuna-gp-two-objectives-macro/regret": partial(
        _copied, "compare-optuna-gp-two-objectives-macro", "## nas-bench-macro: regret"
    ),
    "compare-two-objectives/hypervolume": partial(_copied, "compare-two-objectives", _HYPERVOLUME),
    "compare-two-objectives/overall": partial(_copied, "compare-two-objectives", _OVERALL),
    "compare-two-objectives/motpe": _motpe,
    "compare-two-objectives-widths": partial(
        _copied, "compare-two-objectives-widths", "## channel-bench-macro: percent of the hypervolume within"
    ),
    "aims": _aims,
    "few-epochs/thresholds": _few_epochs,
    "one-shot": partial(
        _once_measured,
        "one-shot",
        *(
            f"## {table}: {what}"
            for table in ("digits-convnet", "digits-branches")
            for what in ("slices and trainings", "regret in points of mean test accuracy")
        ),
    ),
    "one-shot/in-words": _one_shot_in_words,
    "tied-widths/in-words": _tied_widths_in_words,
    "prior/table": partial(_copied, "prior", "# Knowledge from other tasks"),
    "prior/in-words": _prior_in_words,
    "learner-sampler": partial(
        _once_measured,
        "learner-sampler",
        *(f"## {table}: regret in points of validation accuracy" for table in ("digits-convnet", "digits-branches")),
    ),
    "frameworks/all": partial(_once_measured, "frameworks", "## Every framework on digits-convnet", closing=False),
    "frameworks/rise": partial(
        _once_measured,
        "frameworks",
        *(
            f"## {table}: {what}"
            for table in ("digits-convnet", "digits-branches")
            for what in ("mean reward by episodes", "regret of the best design seen, by episodes")
        ),
        closing=False,
    ),
    "frameworks/compare": partial(_once_measured, "frameworks/compare", _OVERALL, closing=False),
    "shared-search": partial(_once_measured, "shared-search", "## Found at equal cost"),
    "vgg16-cifar10-surrogate": partial(_once_measured, "vgg16-cifar10-surrogate", "## On held-out designs"),
    "pruning": partial(_once_measured, "pruning", "## At equal FLOPs"),
    "zoo/by-zoo": partial(_copied, "zoo", "## By zoo"),
    "ablation/overall": partial(_copied, "ablation", "# Ablation"),
    "ablation/in-words": _ablation_in_words,
    "live/digits-convnet": partial(_copied, "compare-live", "## digits-convnet"),
    "live/digits-unet": partial(_copied, "compare-live", "## digits-unet"),
    "digits-unet/converged": partial(_copied, "digits-unet", "## Trained to convergence"),
    "reduced-widths": _reduced_widths,
    "overhead": _overhead,
    "overhead/in-words": _overhead_in_words,
    "depth/in-words": _depth_in_words,
    "faults/by-kind": partial(_copied, "faults", "## By kind"),
    "faults/levels": partial(_bullets, "faults"),
    "isolation/in-words": _isolation_in_words,
    "vectorised/in-words": _vectorised_in_words,
    "cluster/in-words": _cluster_in_words,
    "cluster/thousand": _a_thousand_machines,
    "coordination-graph": _costs_of_coordination_graph,
    "coordination-graph/peer": _peer,
    "tables": _costs_of_tables,
    "costs": _cost,
    "learners": _learners,
    "metrics": _metrics,
    "rooms": _rooms,
}
"""By name, what can stand between markers."""

_OPENING, _END = r"<!-- (?:table|text): (\S+) -->\n", "<!-- end -->"
_PART = re.compile(f"({_OPENING}).*?({_END})", re.DOTALL)


def written(page: str, name: str) -> str:
    """The page's text with every part anew.

    Args:
        page: its text.
        name: of the page, for the sentences.

    Raises:
        InputError: if a marker names no part, or is not closed.
    """

    def part(found: re.Match[str]) -> str:
        if found[2] not in PARTS:
            raise InputError.unknown(f"part of {name}", found[2], list(PARTS))
        if re.search(_OPENING, found[0][len(found[1]) :]):
            raise InputError(f"The marker {found[2]!r} in {name} is not closed; write {_END!r} below what it holds.")
        return f"{found[1]}{PARTS[found[2]]().rstrip()}\n{found[3]}"

    opened, closed = len(re.findall(_OPENING, page)), page.count(_END)
    if opened != closed:
        raise InputError(f"The page {name} has {opened} markers and {closed} ends; each marker has one.")
    return _PART.sub(part, page)


app = new_app()


@app.command()
def main(
    check: Annotated[bool, typer.Option("--check", help="Change nothing; name the pages that differ.")] = False,
    picture: Annotated[bool, typer.Option("--picture", help="Draw the README's picture, too.")] = False,
) -> None:
    """Write what the pages say in figures from the committed results."""
    differing = []
    for name in PAGES:
        path = ROOT / name
        before = path.read_text()
        after = written(before, name)
        if after != before:
            differing.append(name)
            if not check:
                path.write_text(after)
    if picture and not check:
        from experiments.readme_picture import draw

        draw(RESULTS / "demo", PICTURE)
    for name in differing:
        typer.echo(f"{name} {'differs from the committed results' if check else 'was written anew'}.")
    if check and differing:
        raise typer.Exit(1)


if __name__ == "__main__":
    run_command(app, "python -m experiments.documentation")
