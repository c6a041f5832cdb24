"""Sentences with figures, so that no figure is typed by hand."""

from __future__ import annotations

import itertools
import re
import textwrap
from collections.abc import Iterable, Mapping

from experiments.pages.results import (
    PAPERS,
    estimate_of,
    figures_of,
    learner_of,
    lines_of,
    network_of,
    report_of,
    rows_of,
)
from experiments.pages.tables import claims
from experiments.suites.ablation import WITHOUT


def wrapped(text: str) -> str:
    """A sentence in lines as the pages have them."""
    return textwrap.fill(" ".join(text.split()), width=120, break_long_words=False, break_on_hyphens=False)


def as_item(text: str) -> str:
    """The same as an item of a list."""
    return wrapped(text).replace("\n", "\n  ")


def demo_in_words() -> str:
    """What `make demo` came to."""
    report = report_of("demo")
    played = re.search(rf"{PAPERS}: best reward \S+ \((\d+) episodes, (\d+) distinct designs\)", report)
    seconds = re.search(r"this command (\d+) s", report)
    assert played
    assert seconds
    original, found = network_of("demo", "original"), network_of("demo", PAPERS)
    images = 400  # of the digits' test split
    right = [round(images * float(row["test %"]) / 100) for row in (found, original)]
    return wrapped(
        f"The picture shows one run of `make demo`: {played[1]} episodes, {played[2]} distinct designs, every one trained; "
        f"{seconds[1]} s on two CPU cores with all that is compared. The network found has {found['params']} parameters, the "
        f"original {original['params']}. Of {images} test images it has {right[0]} right and the original {right[1]}: no "
        "difference to build on."
    )


def costs() -> str:
    """What the environment and the learner cost beside trainings."""
    overhead, tables, ours = (figures_of(name) for name in ("overhead", "tables", "coordination-graph"))
    twenty = overhead["layers"]["20"]
    opened = max(one["import_open_reset"]["seconds"] for one in tables["tables"].values())
    return wrapped(
        "Beside the trainings, the paper reports 2 ms of overhead per episode. With 20 layers of 20 actions our "
        f"implementation of its learner takes {twenty['learner_exploration_ms_per_episode']:.2g} ms, and the whole loop with "
        f"the environment {twenty['loop_ms_per_episode']:.2g} ms. A live step costs {overhead['wrapped']['ratio']:.2f} of one "
        f"of PettingZoo's tic-tac-toe. To import the package, open a table and reset takes {opened:.2f} s, without torch. "
        f"`coordination-graph` takes {ours['layers']['20']['mean_ms']:.2g} ms per episode with 20 layers, "
        f"{ours['beside_the_peer']['ratio']:.2f} of what Optuna's TPE takes."
    )


def overhead_in_words() -> str:
    """How the costs grow with the layers."""
    measured = figures_of("overhead")
    growth = measured["growth_per_layer"]
    return wrapped(
        f"A live step costs {measured['raw']['ratio']:.2f} of one of PettingZoo's tic-tac-toe, raw beside raw, and "
        f"{measured['wrapped']['ratio']:.2f} wrapped beside wrapped. Per layer, 1,000 layers cost the learner "
        f"{growth['learner_exploration']:.2f} times what 10 do while it explores, and {growth['learner_exploitation']:.2f} "
        f"times while it exploits; a live step {growth['live_step']:.2f} times."
    )


def depth_in_words() -> str:
    """What more than a thousand layers take."""
    measured = figures_of("depth")
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
    return wrapped(
        f"A residual network of {measured['layers']:,} convolutions: its search space is made in {measured['space_s']:.2g} s, a "
        f"design in {measured['design_s']:.2g} s. Three episodes took {seconds}. The training loss of every one of these designs "
        f"was finite and fell from epoch to epoch, on average from {first:.4f} to {last:.4f} in three; memory stayed under "
        f"{measured['peak_memory_gb']:.2g} GB (`experiments/results/depth.json`).{shared}"
    )


def gpu_in_words() -> str:
    """What the training engine is good for on a GPU."""
    measured = figures_of("engine-cuda")
    return wrapped(
        f"On an {measured['device']} the engine trains {measured['designs_per_hour']['engine']:,.0f} designs of VGG-16 an hour, "
        f"at full width with {measured['epochs']} epochs on {measured['images']:,} images each: {measured['ratio']:.2f} of what "
        "the plain loop does (`experiments/results/engine-cuda.json`)."
    )


def isolation_in_words() -> str:
    """What a process of its own costs a training."""
    measured = figures_of("isolation")
    low, high = measured["cost_ms_quartiles"]
    return wrapped(
        f"A process of its own costs a training {measured['cost_ms']:.2g} ms (quartiles {low:.2g} to {high:.2g}), where the "
        f"engine called directly takes {measured['direct_ms']:.0f} ms: {measured['pairs']} pairs "
        "(`experiments/results/isolation.json`)."
    )


def vectorised_in_words() -> str:
    """How many picks there are a second."""
    measured = figures_of("vectorised")
    picks = measured["picks_per_second"]
    return wrapped(
        f"{measured['games']:,} games of `digits-convnet` in one vectorised environment make "
        f"{picks['vector_entry_point'] / 1e6:.1f} million picks a second on one core, {measured['ratio']:.0f} times those of "
        f"Gymnasium's `SyncVectorEnv` of the same games, {picks['sync']:,.0f} (`experiments/results/vectorised.json`)."
    )


def one_shot_in_words() -> str:
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
        rows = rows_of(lines_of("one-shot", f"## {name}: slices and trainings"))
        slices[name] = {row["cost in trainings"]: row["spearman"].split(" [")[0] for row in rows}
    at_40, at_80 = (" and ".join(of_table[cost] for of_table in slices.values()) for cost in ("40", "80"))
    return wrapped(
        "The validation accuracy of one training of each design has a rank correlation with the mean test accuracy under the "
        f"table's other seeds of {' and '.join(trained.values())}. Slices have {at_40} with the mean under all seeds at the cost "
        f"of 40 trainings, and {at_80} at that of 80."
    )


def tied_widths_in_words() -> str:
    """What tied widths change."""
    measured = figures_of("tied-widths")
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
    return wrapped(
        f"Of {measured['designs']['counted']} random designs with widths of their own, {'; '.join(counts)}. On the digits, "
        f"designs inherit from a residual network of {original:.0f}% validation accuracy: at once they reach {shares[0]}, tied "
        f"{shares[1]}, and after one epoch {shares[2]}, tied {shares[3]}, with {shares[4]} and {shares[5]} of the parameters and "
        f"{shares[6]} and {shares[7]} of the FLOPs in the mean. Single ones reach {100 * min(at_once):.0f}% to "
        f"{100 * max(at_once):.0f}% at once, far more apart than the two ways."
    )


def cluster_in_words() -> str:
    """What a cluster gains."""
    measured = figures_of("cluster")
    few, many = measured["instant"]
    longer = measured["longer"]
    size = measured["bytes"]
    return wrapped(
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


def a_thousand_machines() -> str:
    """What a thousand workers would be fed."""
    measured = figures_of("cluster")
    (_, many) = measured["instant"]
    seconds, size = 1000 / many["per_s"], measured["stored"]["bytes_per_trial"]
    return wrapped(
        f"At that rate one driver keeps up with 1,000 CPUs whose trainings take {seconds:.2g} s on average, or with "
        f"{60 * many['per_s']:,.0f} CPUs whose trainings take a minute. Of 1,000 machines with one training a minute each, "
        f"the store grows by {1440 * 1000 * size / 1e9:.1f} GB a day."
    )


def peer_of_coordination_graph() -> str:
    """Its time beside the peer's."""
    peer = figures_of("coordination-graph")["beside_the_peer"]
    return wrapped(
        f"With {peer['layers']} layers it takes {peer['ratio']:.2f} of what Optuna's multivariate TPE takes in the same run."
    )


def claims_in_words() -> str:
    """How many of the paper's claims hold here."""
    verdicts = [row["here"] for row in rows_of(claims().splitlines())]
    hold, fail, untried = (
        sum(verdict.startswith(word) for verdict in verdicts) for word in ("holds", "does not hold", "not tried")
    )
    does, has = ("does" if fail == 1 else "do"), ("has" if untried == 1 else "have")
    return wrapped(
        f"Of {len(verdicts)} claims of the paper, {hold} hold on what has been run here, {fail} {does} not, and {untried} "
        f"{has} not been tried."
    )


def settings_of_the_papers_learner() -> str:
    """What the settings of the paper's learner change."""

    def left(setting: str, column: str = "at 200") -> str:
        return learner_of("compare-pairwise-q", f"{PAPERS}{setting}")[column]

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
            *(left(length, "at 100") for length in lengths), learner_of("compare-pairwise-q", "random")["at 100"]
        ),
        f"The first phase alone leaves {left('(max_exploitation_episodes=0)')}, the second alone "
        f"{left('(exploration_episodes=0)')}.",
        f"Rewards averaged in a cell, in place of the printed sum, leave {left('(update=averaged)')}.",
    ]
    return "\n".join(f"- {as_item(item)}" for item in items)


def ends_early() -> str:
    """Who stops before the last design, and why."""
    names = ("digits-convnet", "digits-branches", "nas-bench-macro", "channel-bench-macro")
    title = {name: f"## {name}: regret" for name in names}
    stops = sorted(int(learner_of("compare-accuracy", PAPERS, one)["distinct"]) for one in title.values())
    repeats = [
        learner_of("compare-accuracy", name, title["digits-branches"])["distinct"]
        for name in ("independent-q", "vdn", "reinforce")
    ]
    return "\n".join(
        f"- {as_item(item)}"
        for item in (
            f"The paper's learner converges and stops after {stops[0]} to {stops[-1]} distinct designs on average. What it has "
            "after 200 is what it had then. So it does no better than random search, and after 200 designs worse.",
            "Others repeat themselves until their 1,000 episodes are over. On `digits-branches` `independent-q` had "
            "{} distinct designs on average, `vdn` {} and `reinforce` {}.".format(*repeats),
        )
    )


def floors() -> str:
    """What the best design by validation still loses in the test."""
    floors = re.findall(r"floor of the test regret: ([0-9.]+)", report_of("compare-accuracy"))
    convnet, branches, macro, widths = (f"{float(floor):.2f}" for floor in floors)
    return "- " + as_item(
        "Test figures tell learners apart less. Whoever chooses the very best design by one seed's validation accuracy still "
        f"loses {convnet} points of mean test accuracy on `digits-convnet`, {branches} on `digits-branches`, {macro} on "
        f"NAS-Bench-Macro and {widths} on Channel-Bench-Macro. Where a mean test regret is near that, validation "
        "has no more to say."
    )


def motpe() -> str:
    """Which learners look for the whole front."""
    title = "## digits-branches: regret"
    return "- " + as_item(
        "`coordination-graph(multi_objective=True)` looks for the whole front, and so do Optuna's NSGA-II and MOTPE. MOTPE tried "
        f"{learner_of('compare-two-objectives', 'optuna-motpe', title)['distinct']} distinct designs of `digits-branches` before "
        "its 1,000 episodes were over."
    )


def ablation_in_words() -> str:
    """What every part of `coordination-graph` is worth."""
    rows = rows_of(lines_of("ablation", "# Ablation"))
    points = [column for column in rows[0] if re.fullmatch(r"at \d+", column)]
    parts = [row["learner"] for row in rows if row["learner"] in WITHOUT]
    in_the_mean = {row["learner"]: [row[f"behind the whole, {at}"] for at in points] for row in rows[1:]}
    kinds = [row for row in rows_of(lines_of("ablation", "Behind the whole, by kind")) if row["learner"] in parts]

    def costs(cells: Iterable[str]) -> str:
        """Where the intervals of differences to the whole learner lie above 0: `at 100, 200`; or nothing."""
        found = [at for at, cell in zip(points, cells, strict=True) if estimate_of(cell)[1] > 0]
        return f"at {', '.join(at.removeprefix('at ') for at in found)}" if found else ""

    mean = {part: f'"{part}" {said}' for part in parts if (said := costs(in_the_mean[part]))}
    by_kind: dict[str, list[str]] = {}
    for row in kinds:
        if costs(row[at] for at in points):
            by_kind.setdefault(row["learner"], []).append(row["tables"])
    nowhere = [f'"{part}"' for part in parts if part not in mean and part not in by_kind]
    whole = "coordination-graph"
    front = f"{whole}(multi_objective=True)"
    widths = "## synthetic-widths-7: percent of the hypervolume within"
    covered, covered_without = (
        learner_of("compare-two-objectives-synthetic", name, widths)["at 50"]
        for name in (front, f"{front[:-1]},without=distances)")
    )
    deepest, without_greed = (
        learner_of("compare-deepest", name, "## synthetic-chain-1000")["at 300"]
        for name in (whole, f"{whole}(without=greed)")
    )
    left = {row["learner"]: row["at 200"].split(" ")[0] for row in rows}
    on_kinds = [f'"{part}" on {", ".join(of_part)}' for part, of_part in by_kind.items()]
    intervals = len(kinds) * len(points)
    items = [
        f"After 200 designs the whole learner leaves {left[whole]}, local search {left['local-search']}, evolution "
        f"{left['regularized-evolution']} and TPE {left['optuna-tpe']}.",
        f"In the mean of all tables these cost beyond the intervals: {'; '.join(mean.values())}.",
        f"On tables of a kind, at 25, 50, 100 or 200: {'; '.join(on_kinds)}. "
        f"Of {intervals} such intervals about {round(intervals / 40)} lie above 0 by chance.",
        f"On these tables nowhere: {', '.join(nowhere) or 'none'}.",
        f"Distances are for the front: on `synthetic-widths-7` {covered}% of the hypervolume at 50, and {covered_without} "
        "without.",
        f"Greed at first is for depth: at 1,000 layers {deepest} of 100 after 300 designs, and {without_greed} without it.",
    ]
    return "\n".join(f"- {as_item(item)}" for item in items)


def prior_in_words() -> str:
    """What other tasks gain and cost."""
    rows = {(row["task"], row["prior"]): row for row in rows_of(lines_of("prior", "# Knowledge from other tasks"))}

    def left(prior: str) -> str:
        values = [rows["all", prior][f"at {n}"].split(" ")[0] for n in (5, 10, 25)]
        return f"{values[0]}, {values[1]} and {values[2]}"

    def gaining(count: int) -> str:
        """The tasks whose interval of the difference to no prior lies below 0."""
        highest = {
            task: estimate_of(row[f"behind none at {count}"])[2]
            for (task, prior), row in rows.items()
            if prior == "other tasks" and task != "all"
        }
        return ", ".join(f'"{task}"' for task, high in highest.items() if high < 0) or "none"

    items = [
        f"Over all tasks {left('none')} is left at 5, 10 and 25 designs without a prior, and {left('other tasks')} with what "
        f"other tasks say. With the contrary it is {left('misleading')}: what misleads costs its first designs.",
        f"Beyond the intervals other tasks gain at 5 designs on {gaining(5)}; at 10 on {gaining(10)}; at 25 on {gaining(25)}.",
    ]
    return "\n".join(f"- {as_item(item)}" for item in items)
