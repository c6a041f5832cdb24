"""What the pages say in figures, taken from the committed results: `python -m experiments.documentation`.

A page holds it between two markers, of which the first names one of `PARTS`:

    <!-- table: compare-accuracy/overall -->
    ...
    <!-- end -->

The command writes every part anew; with `--check` it changes nothing, and names the pages that differ. A table is copied from
the report of a run; sentences with figures are written in `experiments/pages`, so that no figure is typed by hand.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import Annotated

import typer

from experiments.command_line import new_app, run_command
from experiments.pages.aims import aims
from experiments.pages.results import PAPERS, RESULTS, ROOT
from experiments.pages.sentences import (
    a_thousand_machines,
    ablation_in_words,
    claims_in_words,
    cluster_in_words,
    costs,
    demo_in_words,
    depth_in_words,
    ends_early,
    floors,
    gpu_in_words,
    isolation_in_words,
    motpe,
    one_shot_in_words,
    overhead_in_words,
    peer_of_coordination_graph,
    prior_in_words,
    settings_of_the_papers_learner,
    tied_widths_in_words,
    vectorised_in_words,
)
from experiments.pages.tables import (
    bullets,
    claims,
    copied,
    costs_of_coordination_graph,
    costs_of_tables,
    every_learner,
    every_metric,
    every_room,
    few_epochs,
    once_measured,
    overhead,
    reduced_widths,
    reproductions,
)
from marl_hpo_env import InputError

PAGES = ("README.md", "marl_hpo_env/README.md", "agents/README.md", "experiments/README.md")
PICTURE = RESULTS / "readme" / "game.png"

SIX = ("coordination-graph", "regularized-evolution", "predictor", "optuna-tpe", "random", PAPERS)

_OVERALL, _HYPERVOLUME = "## All benchmarks: regret", "## All benchmarks: percent of the hypervolume within"
_WIDTHS = "## channel-bench-macro: percent of the hypervolume within"

PARTS: Mapping[str, Callable[[], str]] = {
    "demo/converged": partial(copied, "demo", "## Trained to convergence"),
    "demo/layers": partial(copied, "demo", "## Layer by layer"),
    "demo/outcome": partial(bullets, "demo"),
    "demo/in-words": demo_in_words,
    "compare-accuracy/six": partial(copied, "compare-accuracy", _OVERALL, SIX),
    "compare-accuracy/overall": partial(copied, "compare-accuracy", _OVERALL),
    "compare-accuracy/ends-early": ends_early,
    "compare-accuracy/floors": floors,
    "compare-pairwise-q/overall": partial(copied, "compare-pairwise-q", _OVERALL),
    "reproduce": reproductions,
    "claims": claims,
    "claims/in-words": claims_in_words,
    "compare-pairwise-q/in-words": settings_of_the_papers_learner,
    "compare-optuna-gp/overall": partial(copied, "compare-optuna-gp", _OVERALL),
    "compare-optuna-gp-two-objectives/overall": partial(copied, "compare-optuna-gp-two-objectives", _OVERALL),
    "compare-optuna-gp-two-objectives-macro/regret": partial(
        copied, "compare-optuna-gp-two-objectives-macro", "## nas-bench-macro: regret"
    ),
    "compare-two-objectives/hypervolume": partial(copied, "compare-two-objectives", _HYPERVOLUME),
    "compare-two-objectives/overall": partial(copied, "compare-two-objectives", _OVERALL),
    "compare-two-objectives/motpe": motpe,
    "compare-two-objectives-widths": partial(copied, "compare-two-objectives-widths", _WIDTHS),
    "compare-optuna-mogp": partial(copied, "compare-optuna-mogp", _WIDTHS),
    "compare-two-objectives-synthetic": partial(
        copied, "compare-two-objectives-synthetic", "## synthetic-widths-7: percent of the hypervolume within"
    ),
    "compare-smac/overall": partial(copied, "compare-smac", _OVERALL),
    "aims": aims,
    "compare-synthetic/forbidden-6": partial(copied, "compare-synthetic", "## synthetic-forbidden-6"),
    "compare-synthetic/orders-8": partial(copied, "compare-synthetic", "## synthetic-orders-8"),
    "compare-synthetic/chain-20": partial(copied, "compare-synthetic", "## synthetic-chain-20"),
    "compare-deep": partial(copied, "compare-deep", "## synthetic-chain-100"),
    "compare-optuna-gp-deep": partial(copied, "compare-optuna-gp-deep", "## synthetic-chain-100"),
    "compare-deepest": partial(copied, "compare-deepest", "## synthetic-chain-1000"),
    "few-epochs/thresholds": few_epochs,
    "one-shot": partial(
        once_measured,
        "one-shot",
        *(
            f"## {table}: {what}"
            for table in ("digits-convnet", "digits-branches")
            for what in ("slices and trainings", "regret in points of mean test accuracy")
        ),
    ),
    "one-shot/in-words": one_shot_in_words,
    "tied-widths/in-words": tied_widths_in_words,
    "prior/table": partial(copied, "prior", "# Knowledge from other tasks"),
    "prior/in-words": prior_in_words,
    "learner-sampler": partial(
        once_measured,
        "learner-sampler",
        *(f"## {table}: regret in points of validation accuracy" for table in ("digits-convnet", "digits-branches")),
    ),
    "frameworks/all": partial(once_measured, "frameworks", "## Every framework on digits-convnet", closing=False),
    "frameworks/rise": partial(
        once_measured,
        "frameworks",
        *(
            f"## {table}: {what}"
            for table in ("digits-convnet", "digits-branches")
            for what in ("mean reward by episodes", "regret of the best design seen, by episodes")
        ),
        closing=False,
    ),
    "frameworks/compare": partial(once_measured, "frameworks/compare", _OVERALL, closing=False),
    "shared-search": partial(once_measured, "shared-search", "## Found at equal cost"),
    "vgg16-cifar10-surrogate": partial(once_measured, "vgg16-cifar10-surrogate", "## On held-out designs"),
    "gpu/engine": gpu_in_words,
    "gpu/shared": partial(once_measured, "shared-on-a-gpu", "## Trained to convergence", "## Confirmed by training"),
    "pruning": partial(once_measured, "pruning", "## At equal FLOPs"),
    "zoo/by-zoo": partial(copied, "zoo", "## By zoo"),
    "ablation/overall": partial(copied, "ablation", "# Ablation"),
    "compare-parts": partial(copied, "compare-parts", _OVERALL),
    "ablation/in-words": ablation_in_words,
    "live/digits-convnet": partial(copied, "compare-live", "## digits-convnet"),
    "live/digits-unet": partial(copied, "compare-live", "## digits-unet"),
    "digits-unet/converged": partial(copied, "digits-unet", "## Trained to convergence"),
    "reduced-widths": reduced_widths,
    "overhead": overhead,
    "overhead/in-words": overhead_in_words,
    "depth/in-words": depth_in_words,
    "faults/by-kind": partial(copied, "faults", "## By kind"),
    "faults/levels": partial(bullets, "faults"),
    "isolation/in-words": isolation_in_words,
    "vectorised/in-words": vectorised_in_words,
    "cluster/in-words": cluster_in_words,
    "cluster/thousand": a_thousand_machines,
    "coordination-graph": costs_of_coordination_graph,
    "coordination-graph/peer": peer_of_coordination_graph,
    "tables": costs_of_tables,
    "costs": costs,
    "learners": every_learner,
    "metrics": every_metric,
    "rooms": every_room,
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
