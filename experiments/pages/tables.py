"""Tables on the pages: copied from a report, or made of results and of what there is in the code."""

from __future__ import annotations

import ast
from pathlib import Path

from experiments.pages.results import (
    RESULTS,
    ROOT,
    figures_of,
    lines_of,
    report_of,
    rows_of,
)
from experiments.text_tables import markdown_table

ROOMS = ("testing", "environments", "evaluators", "catalog", "training", "tables", "networks", "data")
"""Of `marl_hpo_env`, from the top down: each imports only from those below it."""


def copied(folder: str, title: str, learners: tuple[str, ...] = ()) -> str:
    """The table below a title of a folder's report: all of it, or the rows of these learners."""
    lines = lines_of(folder, title)
    if learners:
        kept = [line for line in lines[2:] if line.split(" | ")[0].removeprefix("| ") in learners]
        assert len(kept) == len(learners), f"{folder} has not all of {learners}"
        lines = [*lines[:2], *kept]
    return "\n".join(lines)


def once_measured(folder: str, *titles: str, closing: bool = True) -> str:
    """The tables below these titles of a folder's report, and its closing sentences; a sentence where there is no report yet."""
    if not (RESULTS / folder / "report.md").exists():
        return "Not measured yet."
    tables = [f"{title.removeprefix('## ')}:\n\n{copied(folder, title)}" for title in titles]
    return "\n\n".join([*tables, *([bullets(folder)] if closing else [])])


def bullets(folder: str) -> str:
    """The closing sentences of a run's report."""
    return "\n".join(line for line in report_of(folder).splitlines() if line.startswith("- "))


def reduced_widths() -> str:
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
        for row in rows_of(lines_of(folder, f"## {name}")):
            titles = ["task", *row]
            label = f"[{task}](results/{folder}/report.md)" if row["network"] == "original" else ""
            rows.append([label, *row.values()])
    return markdown_table(titles, rows)


def few_epochs() -> str:
    """By task and threshold: epochs, their rank correlation with convergence, and how many designs had begun to learn."""
    rows = []
    for task in ("digits-convnet", "vgg16-cifar10-1-4", "googlenet-cifar10-1-8", "unet-isic18-1-8"):
        folder = f"few-epochs-{task}"
        (slow,) = rows_of(lines_of(folder, "## Designs whose median batch"))
        by_epoch = {row["epochs"]: row for row in rows_of(lines_of(folder, "## After so many epochs"))}
        for row in rows_of(lines_of(folder, "## By the threshold")):
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


def overhead() -> str:
    """The costs beside trainings, by the number of layers."""
    columns = {
        "learner_exploration_ms_per_episode": "learner exploring, ms/episode",
        "learner_exploitation_ms_per_episode": "exploiting, ms/episode",
        "loop_ms_per_episode": "whole loop, ms/episode",
        "raw_live_step_us": "live step, raw, µs",
        "live_step_us": "wrapped, µs",
        "finished_step_us": "finished agent's step, µs",
    }
    figures = figures_of("overhead")["layers"].items()
    return markdown_table(
        ["layers", *columns.values()],
        [[layers, *(f"{measured[name]:.3g}" for name in columns)] for layers, measured in figures],
    )


def costs_of_coordination_graph() -> str:
    """The learner's time, by the number of layers."""
    figures = figures_of("coordination-graph")["layers"].items()
    return markdown_table(
        ["layers", "episodes", "mean, ms/episode", "the last 20, ms/episode"],
        [
            [layers, str(one["episodes"]), f"{one['mean_ms']:.3g}", f"{one['median_ms_of_the_last_20']:.3g}"]
            for layers, one in figures
        ],
    )


def costs_of_tables() -> str:
    """How long tables take to open and to answer."""
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
            for name, one in figures_of("tables")["tables"].items()
        ],
    )


def every_learner() -> str:
    """Every learner by name, with the first line of its class's docstring and its settings."""
    from agents import learners
    from agents.registry import settings_of, summary

    rows = []
    for name in learners():
        settings = ", ".join(f"{setting}={value!r}" for setting, value in settings_of(name).items())
        rows.append([f"`{name}`", summary(name).rstrip("."), f"`{settings}`" if settings else "none"])
    return markdown_table(["learner", "what it is", "settings and defaults"], rows)


def every_metric() -> str:
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


def every_room() -> str:
    """Every room of the environment's package, with the first sentence of its docstring and its modules."""
    package = ROOT / "marl_hpo_env"
    rows = []
    for room in ROOMS:
        said = ast.get_docstring(ast.parse((package / room / "__init__.py").read_text())) or ""
        modules = sorted(path.stem for path in (package / room).glob("*.py") if path.stem != "__init__")
        folders = sorted(f"{path.parent.name}/" for path in (package / room).glob("*/__init__.py"))
        rows.append([f"`{room}`", " ".join(said.split("\n\n")[0].split()), ", ".join([*modules, *folders])])
    ground = sorted(path.stem for path in package.glob("*.py") if path.stem not in ("__init__", "__main__"))
    rows.append(["(ground)", "Plain values and rules, without torch.", ", ".join(ground)])
    return markdown_table(["room", "what is in it", "modules"], rows)


OUTCOMES = {
    "table5": "Against random search's find",
    "fig10": "Against random search's find",
    "fig11": "Against random, as many designs",
}
"""How the sentence begins that stands for a whole report of `marl-hpo reproduce`; of all others it is the last one."""


def outcome(name: str, report: str) -> str:
    """What a reproduction says, in a cell."""
    said = [
        line.removeprefix("- ") for line in report.partition("## In words")[2].splitlines() if line.startswith("- ")
    ]
    chosen = [sentence for sentence in said if sentence.startswith(OUTCOMES.get(name, ""))]
    return (chosen or said or ["The table is in the report."])[-1]


def reproductions(results: Path = RESULTS) -> str:
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
            outcomes.append(f"[{subject}](results/{folder.name}/report.md): {outcome(item.name, report)}")
        rows.append(
            [
                f"`marl-hpo reproduce {item.name}`",
                item.question,
                BASES[item.needs],
                " ".join(outcomes) or "none committed yet",
            ]
        )
    return markdown_table(["command", "what the paper asks", "from", "committed result"], rows)


def claims() -> str:
    """The paper's claims and their verdicts."""
    from experiments.reproduction.claims import claims_table

    return claims_table(RESULTS)
