"""The paper's claims, one row each: whether they hold here, read off the committed results, and the command that shows it.

`python -m experiments.reproduction.claims` prints the table. A claim whose command has no result in `experiments/results` is
not tried; a result of one seed is none. A claim of more, or of less, holds where the 95% interval over the seeds says so; "no
loss" holds where the interval does not speak against it, and a number where the mean reaches it.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np

from experiments.benchmarks.results import FOLDER
from experiments.comparison.statistics import Estimate, bootstrap, mean
from experiments.reproduction.fig11 import EQUAL, SHORT, ahead, narrowed
from experiments.reproduction.fig12 import behind, of_epochs
from experiments.reproduction.fig13 import DECAYS, of_decay
from experiments.reproduction.finds import ORIGINAL, RANDOM, TEAM
from experiments.reproduction.overhead import PAPERS_KB, PAPERS_MS
from experiments.text_tables import markdown_table
from experiments.tuning.callbacks import PHASES

Rows = Sequence[Mapping[str, str]]

Verdict = tuple[bool, str]
"""Whether the claim holds on a task, and what was measured."""


class Claim(NamedTuple):
    """A claim of the paper.

    Args:
        claim: in a few words.
        where: section, table or figure.
        item: the table or figure of `marl-hpo reproduce` whose results say it.
        judge: given the rows of its CSV file.
        once: whether it is enough that it holds on one task, as what is said with "up to".
    """

    claim: str
    where: str
    item: str
    judge: Callable[[Rows], Verdict]
    once: bool = False


def claims_table(folder: Path = FOLDER) -> str:
    """The claims in Markdown.

    Args:
        folder: with the committed results.
    """
    header = ["the paper's claim", "where", "here", "measured", "command"]
    rows = []
    for claim in CLAIMS:
        verdict, measured = _judged(claim, folder)
        rows.append([claim.claim, claim.where, verdict, measured, f"`marl-hpo reproduce {claim.item}`"])
    rows.append(_deep(folder))
    return markdown_table(header, rows)


def _judged(claim: Claim, folder: Path) -> tuple[str, str]:
    verdicts = {task: claim.judge(rows) for task, rows in _results(claim.item, folder)}
    if not verdicts:
        return "not tried", "-"
    holding = [task for task, (holds, _) in verdicts.items() if holds]
    measured = "; ".join(f"{task}: {text}" if task else text for task, (_, text) in verdicts.items())
    if len(holding) == len(verdicts) or (claim.once and holding):
        return "holds", measured
    return ("does not hold" if not holding else f"holds on {', '.join(holding)} only"), measured


def _results(item: str, folder: Path) -> Iterator[tuple[str, Rows]]:
    """The task, or the tasks, and the rows of each committed result of an item; those of a single seed say nothing."""
    for path in sorted(folder.glob(f"reproduce-{item}*/{item}.csv")):
        with path.open(newline="") as file:
            rows = list(csv.DictReader(file))
        if "seed" not in rows[0] or len({row["seed"] for row in rows}) > 1:
            yield path.parent.name.removeprefix(f"reproduce-{item}").removeprefix("-"), rows


def _shown(estimate: Estimate, digits: int = 2) -> str:
    return f"{estimate.value:.{digits}g} [{estimate.low:.{digits}g},{estimate.high:.{digits}g}]"


def _mean(values: Sequence[float]) -> Estimate:
    """With its interval."""
    return bootstrap(mean, np.asarray(values, dtype=float)[:, None])


# --- Table V -----------------------------------------------------------------------------------------------------------


def _pairs(rows: Rows, rival: str, column: str) -> list[tuple[float, float]]:
    """Of each seed the paper's learner's find and the rival's, where both were measured."""
    by_seed = {(row["network"], row["seed"]): row[column] for row in rows}
    seeds = [seed for network, seed in by_seed if network == TEAM]
    pairs = [(by_seed[TEAM, seed], by_seed[rival, seed]) for seed in seeds]
    return [(float(ours), float(theirs)) for ours, theirs in pairs if ours and theirs]


def _smaller(rows: Rows) -> Verdict:
    times = _mean([theirs / ours for ours, theirs in _pairs(rows, ORIGINAL, "model_size_mb")])
    return bool(times.value >= 83), f"{_shown(times, 3)} times"


def _shorter(column: str, percent: float, rows: Rows) -> Verdict:
    pairs = _pairs(rows, ORIGINAL, column)
    if len(pairs) < 2:
        return False, "not measured"
    shorter = _mean([100 * (1 - ours / theirs) for ours, theirs in pairs])
    return bool(shorter.value >= percent), f"{_shown(shorter)}%"


def _points(rival: str, rows: Rows) -> Estimate:
    return _mean([100 * (ours - theirs) for ours, theirs in _pairs(rows, rival, "test_accuracy")])


def _as_accurate(rows: Rows) -> Verdict:
    points = _points(ORIGINAL, rows)
    return bool(points.high >= 0), f"{_shown(points)} points of accuracy"


def _ahead_in_all(rows: Rows) -> Verdict:
    points = _points(RANDOM, rows)
    times = _mean([theirs / ours for ours, theirs in _pairs(rows, RANDOM, "model_size_mb")])
    return bool(points.low > 0 and times.low > 1), f"{_shown(points)} points, {_shown(times)} times smaller"


def _fewer_parameters(rows: Rows) -> Verdict:
    percent = _mean([100 * ours / theirs for ours, theirs in _pairs(rows, ORIGINAL, "parameters")])
    points = _points(ORIGINAL, rows)
    text = f"{_shown(percent)}% of the original's parameters, {_shown(points)} points; the other systems are not run"
    return bool(percent.high < 100 and points.high >= 0), text


# --- Figures 3, 9, 11, 12 and 13 ---------------------------------------------------------------------------------------


def _differ_widely(rows: Rows) -> Verdict:
    texts, least = [], np.inf
    for task in dict.fromkeys(row["task"] for row in rows):
        done = [row for row in rows if row["task"] == task and row["status"] == "completed"]
        best = sorted(done, key=lambda row: -float(row["validation_accuracy"]))[: max(2, len(done) // 4)]
        sizes = [float(row["model_size_mb"]) for row in best]
        least = min(least, max(sizes) / min(sizes))
        texts.append(f"{max(sizes) / min(sizes):.3g} times in size among the most accurate quarter of {task}")
    return bool(least >= 2), ", ".join(texts)


def _rise(rows: Rows) -> Verdict:
    gains = []
    for seed in dict.fromkeys(row["seed"] for row in rows):
        first, second = (
            [float(r["reward"]) for r in rows if r["seed"] == seed and r["phase"] == phase] for phase in PHASES
        )
        if first and second[50:]:
            gains.append(float(np.mean(second[50:]) - np.mean(first)))
    if len(gains) < 2:
        return False, "too few runs have more than 50 episodes of the second phase"
    gain = _mean(gains)
    return bool(
        gain.low > 0
    ), f"mean reward from episode 51 of the second phase {gain.value:+.2g} [{gain.low:.2g},{gain.high:.2g}]"


def _best_in_second(rows: Rows) -> Verdict:
    seeds = list(dict.fromkeys(row["seed"] for row in rows))
    second = 0
    for seed in seeds:
        of_seed = [row for row in rows if row["seed"] == seed]
        second += max(of_seed, key=lambda row: float(row["reward"]))["phase"] == PHASES[1]
    return second == len(seeds), f"in {second} of {len(seeds)} runs"


def _near_260(rows: Rows) -> Verdict:
    lengths = [
        sum(row["seed"] == seed and row["phase"] == PHASES[1] for row in rows)
        for seed in dict.fromkeys(row["seed"] for row in rows)
    ]
    low, middle, high = np.quantile(lengths, [0.25, 0.5, 0.75])
    return bool(low <= 260 <= high), f"a run ends after {middle:.0f} (quartiles {low:.0f} to {high:.0f})"


def _lengths(rows: Rows) -> list[int]:
    return sorted({int(row["first_phase"]) for row in rows})


def _steadier(rows: Rows) -> Verdict:
    narrower = narrowed(rows, _lengths(rows))
    return bool(
        narrower.low > 0
    ), f"the middle half becomes narrower by {_shown(Estimate(*(100 * v for v in narrower)))} points"


def _beats_random(rival: str, rows: Rows) -> Verdict:
    better = [ahead(rows, rival, length) for length in _lengths(rows)]
    shown = ", ".join(_shown(one) for one in better)
    return all(one.low > 0.5 for one in better), f"a higher reward with probability {shown}"


def _misjudge(rows: Rows) -> Verdict:
    every = sorted({int(row["epochs"]) for row in rows})
    lost = {epochs: behind(rows, epochs, every[-1]) for epochs in every[:-1] if epochs < 3}
    text = ", ".join(f"{epochs}: {_shown(one)}" for epochs, one in lost.items())
    return all(one.low > 0 for one in lost.values()), f"final reward lost with so many epochs, {text}"


def _three_suffice(rows: Rows) -> Verdict:
    every = sorted({int(row["epochs"]) for row in rows})
    if every[-1] <= 3:
        return False, "no more than 3 tried"
    lost = behind(rows, 3, every[-1])
    return bool(lost.low <= 0), f"from 3 to {every[-1]} epochs {lost.value:+.2g} [{lost.low:.2g},{lost.high:.2g}]"


def _less_in_size(rows: Rows) -> Verdict:
    every = sorted({int(row["epochs"]) for row in rows})
    changes = []
    for column in ("test_accuracy", "model_size_mb"):
        few, all_of_them = (float(np.mean(of_epochs(rows, epochs, column))) for epochs in (every[0], every[-1]))
        changes.append(100 * (all_of_them / few - 1))
    return abs(changes[1]) < abs(changes[0]), f"accuracy changes by {changes[0]:+.2g}%, size by {changes[1]:+.2g}%"


def _halves(rows: Rows) -> Verdict:
    fast, slow = (np.median(of_decay(rows, decay, "second_phase_episodes", converged=True)) for decay in DECAYS[:2])
    return bool(fast / slow <= 0.55), f"{fast / slow:.2f} times the episodes"


def _slower_is_longer(rows: Rows) -> Verdict:
    lengths = [float(np.median(of_decay(rows, decay, "second_phase_episodes", converged=True))) for decay in DECAYS]
    return lengths == sorted(set(lengths)), f"{', '.join(f'{length:.0f}' for length in lengths)} episodes"


def _slower_is_better(rows: Rows) -> Verdict:
    fast, slow = (np.array(of_decay(rows, decay, "test_accuracy")) for decay in (DECAYS[0], DECAYS[-1]))
    gain = _mean(list(100 * (slow - fast)))
    return bool(gain.low > 0), f"{gain.value:+.2g} [{gain.low:.2g},{gain.high:.2g}] points from 0.98 to 0.995"


# --- VIII-D ------------------------------------------------------------------------------------------------------------


def _by_space(rows: Rows, value: Callable[[Mapping[str, str]], float]) -> dict[str, float]:
    """The mean over the seeds."""
    return {
        task: float(np.mean([value(row) for row in rows if row["task"] == task]))
        for task in dict.fromkeys(row["task"] for row in rows)
    }


def _two_ms(rows: Rows) -> Verdict:
    extra = _by_space(rows, lambda row: float(row["team_ms"]) - float(row["random_ms"]))
    return max(extra.values()) <= PAPERS_MS, ", ".join(f"{task} {ms:.2g} ms" for task, ms in extra.items())


def _memory(rows: Rows) -> Verdict:
    kilobytes = _by_space(rows, lambda row: 8 * float(row["cells"]) / 1e3)
    papers = {task: PAPERS_KB[task.partition("-")[0]] for task in kilobytes}
    text = ", ".join(f"{task} {kb:,.0f} KB" for task, kb in kilobytes.items())
    return all(abs(kilobytes[task] / papers[task] - 1) < 0.1 for task in papers), f"as float64 {text}"


def _filled(rows: Rows) -> Verdict:
    share = _by_space(rows, lambda row: 100 * float(row["unvisited_after_exploration"]) / float(row["cells"]))
    return not any(
        share.values()
    ), f"unvisited: {', '.join(f'{task} {percent:.2f}%' for task, percent in share.items())}"


def _cheaper(rows: Rows) -> Verdict:
    by_seed = {(row["network"], row["seed"]): float(row["search_seconds"]) for row in rows}
    ratios = [seconds / by_seed[RANDOM, seed] for (network, seed), seconds in by_seed.items() if network == TEAM]
    ratio = _mean(ratios)
    return bool(ratio.high <= 1), f"{_shown(ratio)} of the device time of random search with as many designs"


def _deep(folder: Path) -> list[str]:
    """The claim of the depth, which is shown by a benchmark."""
    verdict, measured = "not tried", "-"
    path = folder / "overhead.json"
    if path.exists():
        layers = json.loads(path.read_text())["layers"]
        if "1000" in layers:
            phases = ("learner_exploration_ms_per_episode", "learner_exploitation_ms_per_episode")
            slowest = max(float(layers["1000"][phase]) for phase in phases)
            verdict = "holds for the search"
            measured = (
                f"1,000 layers: at most {slowest:.2g} ms per episode, in proportion to the layers; rewards by formula"
            )
    trained = folder / "depth.json"
    if trained.exists() and verdict != "not tried":
        depth = json.loads(trained.read_text())
        losses = [each for run in depth["runs"].values() for each in run["train_losses"]]
        falling = all(later < earlier for each in losses for earlier, later in pairwise(each))
        verdict = "holds" if falling else verdict
        fell = "in all" if falling else "not in all"
        measured += f"; {depth['layers']:,} layers trained in {len(losses)} episodes: the loss falls {fell}"
    return ["Networks of over 1,000 layers can be designed", "V", verdict, measured, "`make benchmark`"]


CLAIMS = (
    Claim("Models up to 83 times smaller", "abstract", "table5", _smaller, once=True),
    Claim("Training up to 52% shorter", "abstract", "table5", partial(_shorter, "train_ms_per_batch", 52), once=True),
    Claim(
        "Inference up to 54% shorter (63% in Table V)",
        "abstract",
        "table5",
        partial(_shorter, "inference_ms_per_batch", 54),
        once=True,
    ),
    Claim("No loss of accuracy against the original", "abstract, Table V", "table5", _as_accurate),
    Claim("Ahead of random search in accuracy and size", "VIII-B, Fig. 10", "table5", _ahead_in_all),
    Claim("As accurate with far fewer parameters", "VIII-C, Table IV", "table4", _fewer_parameters),
    Claim("Accurate designs differ widely in size", "II, Fig. 3a", "fig3", _differ_widely),
    Claim("Rewards rise in the second phase", "VIII-A, Fig. 9", "fig9", _rise),
    Claim("The best design comes in the second phase", "VIII-A, Fig. 9", "fig9", _best_in_second),
    Claim("Converges near episode 260 of the second phase", "VIII-A, Fig. 9", "fig9", _near_260),
    Claim("Steadier with more episodes in the first phase", "VIII-E, Fig. 11", "fig11", _steadier),
    Claim(
        "Ahead of random search with the first phase's episodes",
        "VIII-E, Fig. 11",
        "fig11",
        partial(_beats_random, SHORT),
    ),
    Claim("Ahead of random search with as many designs", "VIII-D", "fig11", partial(_beats_random, EQUAL)),
    Claim("Fewer than 3 epochs per episode misjudge", "VIII-F, Fig. 12", "fig12", _misjudge),
    Claim("More epochs than needed add nothing", "VIII-F, Fig. 12", "fig12", _three_suffice),
    Claim("Epochs matter less for size than for accuracy", "VIII-F, Fig. 12", "fig12", _less_in_size),
    Claim("A decay of 0.98 halves the episodes of 0.99", "VIII-G", "fig13", _halves),
    Claim("Slower decays take longer to converge", "VIII-G, Fig. 13", "fig13", _slower_is_longer),
    Claim("Slower decays find a higher accuracy", "VIII-G, Fig. 13", "fig13", _slower_is_better),
    Claim("2 ms per episode more than random search", "VIII-D", "overhead", _two_ms),
    Claim("Q-tables of 164, 380 and 255 KB", "VIII-D", "overhead", _memory),
    Claim("The first phase fills all tables", "VI-A, VIII-D", "overhead", _filled),
    Claim("Less time than random search with as many designs", "VIII-D", "table7", _cheaper),
)


if __name__ == "__main__":
    print(claims_table(), end="")
