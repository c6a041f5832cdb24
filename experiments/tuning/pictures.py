"""Pictures of runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import nn

from experiments.figures import plt, save
from experiments.tuning.importance import ordered
from experiments.tuning.report import IMPROVEMENTS, short_name, short_value
from experiments.tuning.tuning import Play
from marl_hpo_env import Design, SearchSpace
from marl_hpo_env.data.splits import Examples


def rewards_per_episode(played: Play, path: Path, exploration: int, printed: Sequence[float] | None = None) -> None:
    """The reward of every episode in the first and the second phase, each with the best so far (the paper's Fig. 9).

    Args:
        played: the learner's play.
        path: of the PNG file.
        exploration: episodes in the first phase; a learner without phases has one panel.
        printed: of every episode, the reward as the paper prints it, on an axis of its own; None where there is none.
    """
    rewards = [episode.reward for episode in played.episodes]
    best = [max(rewards[: i + 1]) for i in range(len(rewards))]
    parts = [("(a) exploration", 0, exploration), ("(b) exploration-exploitation", exploration, len(rewards))]
    parts = [part for part in parts if part[1] < min(part[2], len(rewards))]
    if len(parts) == 1:
        parts = [("all episodes", 0, len(rewards))]
    figure, axes = plt.subplots(1, len(parts), figsize=(5 * len(parts), 3.2), sharey=True, squeeze=False)
    for axis, (title, start, end) in zip(axes[0], parts, strict=True):
        numbers = range(1, len(rewards[start:end]) + 1)
        axis.plot(numbers, rewards[start:end], ".", markersize=4, color="tab:blue", label="episode")
        axis.plot(numbers, best[start:end], "-", linewidth=1, color="tab:orange", label="best so far")
        axis.set_title(title)
        axis.set_xlabel("episode")
        axis.grid(alpha=0.3)
        if printed is not None:
            second = axis.twinx()
            second.plot(numbers, printed[start:end], "-", linewidth=0.5, color="0.5")
            second.set_ylim(min(printed) - 1, max(printed) + 1)
            axis.plot([], [], "-", linewidth=0.5, color="0.5", label="Eq. 2 as printed (right axis)")
            if axis is axes[0][-1]:
                second.set_ylabel("Eq. 2 as printed")
    axes[0][0].set_ylabel("reward")
    axes[0][0].legend(loc="lower right", fontsize="small")
    save(figure, path)


def improvement_bars(improved: Mapping[str, Sequence[float]], path: Path) -> None:
    """Each network's improvement over the original, in times and in points of accuracy (the paper's Fig. 10).

    Args:
        improved: by label, as `report.improvements`.
        path: of the PNG file.
    """
    figure, (times, points) = plt.subplots(1, 2, figsize=(7.5, 3.2), width_ratios=[3, 1.2])
    width = 0.8 / len(improved)
    for number, (label, values) in enumerate(improved.items()):
        offset = (number - (len(improved) - 1) / 2) * width
        for axis, heights, form in ((times, values[:-1], "{:.2g}x"), (points, values[-1:], "{:+.2f}")):
            bars = axis.bar([place + offset for place in range(len(heights))], heights, width, label=label)
            axis.bar_label(bars, [form.format(height) for height in heights], fontsize="small")
    for axis, names, unit in (
        (times, IMPROVEMENTS[:-1], "times the original"),
        (points, IMPROVEMENTS[-1:], "percentage points"),
    ):
        axis.set_xticks(range(len(names)), names)
        axis.set_ylabel(f"improvement, {unit}")
        axis.margins(y=0.15)
        axis.grid(axis="y", alpha=0.3)
    times.axhline(1, color="black", linewidth=0.8, linestyle="--")
    points.axhline(0, color="black", linewidth=0.8, linestyle="--")
    times.legend(fontsize="small", loc="lower left", bbox_to_anchor=(0, 1))
    save(figure, path)


def pareto_front(
    seen: Sequence[Sequence[float]],
    front: Sequence[Sequence[float]],
    original: Sequence[float],
    names: Sequence[str],
    path: Path,
) -> None:
    """Every design that was seen, those that no other dominates, and the original network, by the first two objectives.

    Args:
        seen: per completed design, its objectives.
        front: likewise of those that no other dominates.
        original: the original network's objectives.
        names: of the objectives.
        path: of the PNG file.
    """
    figure, axis = plt.subplots(figsize=(5, 3.6))
    axis.plot(*_first_two(seen), ".", markersize=4, color="0.6", label="designs")
    axis.plot(
        *_first_two(front), "o-", markersize=4, linewidth=1, color="tab:orange", label="no other is better in all"
    )
    axis.plot(*_first_two([original]), "*", markersize=9, color="tab:blue", label="original")
    axis.set_xlabel(names[1])
    axis.set_ylabel(names[0])
    axis.grid(alpha=0.3)
    axis.legend(fontsize="small")
    save(figure, path)


def parallel_coordinates(
    space: SearchSpace,
    shown: Sequence[tuple[str, str]],
    figures: Mapping[Design, float],
    figure_name: str,
    taken: Design,
    path: Path,
) -> None:
    """Every design as a line through its hyperparameters' values, coloured by a figure, which is the last axis.

    Args:
        space: of the designs.
        shown: the axes, layer and hyperparameter.
        figures: by design.
        figure_name: what that is.
        taken: the design that is taken home, which is drawn over the others.
        path: of the PNG file.
    """
    orders = [ordered(space.layers[space.position(layer)].choices[name]) for layer, name in shown]
    low, high = min(figures.values()), max(figures.values())

    def heights(design: Design) -> list[float]:
        chosen = space.hyperparameters(design)
        places = [
            order.index(chosen[layer][name]) / (len(order) - 1)
            for (layer, name), order in zip(shown, orders, strict=True)
        ]
        return [*places, (figures[design] - low) / (high - low or 1)]

    figure, axis = plt.subplots(figsize=(2 + 0.8 * len(shown), 3.8))
    for design in sorted(figures, key=lambda design: figures[design]):
        line = heights(design)
        axis.plot(line, color=plt.colormaps["viridis"](line[-1]), linewidth=0.8, alpha=0.6)
    if taken in figures:
        axis.plot(heights(taken), color="tab:red", linewidth=1.8, label="taken home")
        axis.legend(fontsize="small", loc="lower center", bbox_to_anchor=(0.5, 1.0))
    for x, values in enumerate([*(map(short_value, order) for order in orders), [f"{low:.3g}", f"{high:.3g}"]]):
        texts = list(values)
        axis.axvline(x, color="0.8", linewidth=0.8, zorder=0)
        for place, text in enumerate(texts):
            axis.text(x, place / (len(texts) - 1), f" {text}", fontsize=6, va="center")
    names = [*(f"{layer} {short_name(name)}" for layer, name in shown), figure_name]
    axis.set_xticks(range(len(names)), names, rotation=45, ha="right", fontsize="x-small")
    axis.set_yticks([])
    save(figure, path)


def _first_two(points: Sequence[Sequence[float]]) -> tuple[list[float], list[float]]:
    ordered = sorted((point[1], point[0]) for point in points)
    return [x for x, _ in ordered], [y for _, y in ordered]


def predicted_masks(network: nn.Module, examples: Examples, path: Path, count: int = 6) -> None:
    """Images, their true masks, and what a network predicts: the first plane of each.

    Args:
        network: trained; scores above 0 are inside.
        examples: inputs and masks; the first `count` are drawn.
        path: of the PNG file.
        count: columns of the picture.
    """
    images, masks = examples[0][:count], examples[1][:count]
    with torch.inference_mode():
        scores = network.eval()(images)
    predicted = (scores if isinstance(scores, torch.Tensor) else scores[0]) > 0
    figure, axes = plt.subplots(3, len(images), figsize=(1.3 * len(images), 4), squeeze=False)
    for row, (label, planes) in enumerate((("image", images), ("true mask", masks), ("predicted", predicted))):
        for axis, plane in zip(axes[row], planes, strict=True):
            drawn = plane.float()
            colour = row == 0 and len(drawn) == 3
            drawn = (drawn - drawn.min()) / (drawn.max() - drawn.min()).clamp(min=1e-9)
            axis.imshow((drawn.permute(1, 2, 0) if colour else drawn[0]).numpy(), cmap="gray", vmin=0, vmax=1)
            axis.set_xticks([])
            axis.set_yticks([])
        axes[row][0].set_ylabel(label, fontsize="small")
    figure.tight_layout(pad=0.3)
    figure.savefig(path, dpi=120)
    plt.close(figure)


_DEPTH_PER_ROW = 24
_LONGEST_NAME = 24


def columns_of(space: SearchSpace) -> list[list[int]]:
    """The positions of the layers, in a column for each depth: how many layers a signal passes before at most."""
    depth: list[int] = []
    for producers in space.feeding:
        depth.append(1 + max((depth[i] for i in producers), default=-1))
    return [[i for i, d in enumerate(depth) if d == column] for column in range(max(depth) + 1)]


def places(columns: Sequence[Sequence[int]], per_row: int) -> dict[int, tuple[float, float]]:
    """Where each layer is drawn: to the right by depth, upward among those of its depth; after so many columns a row below."""
    tallest = max(map(len, columns))
    return {
        i: (c % per_row, row - (len(column) - 1) / 2 - c // per_row * (tallest + 0.5))
        for c, column in enumerate(columns)
        for row, i in enumerate(column)
    }


def layer_graph(space: SearchSpace, path: Path) -> None:
    """The layers of a search space and what feeds what, from the input on the left to the output on the right; a deep network
    goes on in a row below.

    Args:
        space: the layers.
        path: of the PNG file.
    """
    columns = columns_of(space)
    depth = {i: number for number, column in enumerate(columns) for i in column}
    at = places(columns, _DEPTH_PER_ROW)
    rows, tallest = -(-len(columns) // _DEPTH_PER_ROW), max(map(len, columns))
    height = 1.2 + (0.8 * tallest + 0.6) * rows
    figure, axis = plt.subplots(figsize=(2 + 0.9 * min(len(columns), _DEPTH_PER_ROW), min(120, height)))
    for i, j in space.pairs:
        bend = 0 if depth[j] - depth[i] == 1 else 0.25
        style = {
            "arrowstyle": "-|>",
            "color": "0.7",
            "linewidth": 0.7,
            "connectionstyle": f"arc3,rad={bend}",
            "shrinkA": 6,
            "shrinkB": 6,
        }
        axis.annotate("", at[j], at[i], arrowprops=style)
    for i, layer in enumerate(space.layers):
        axis.plot(*at[i], "o", color="tab:blue", markersize=12, zorder=3)
        axis.annotate(str(i + 1), at[i], ha="center", va="center", fontsize=6, color="white", zorder=4)
        name = layer.name if len(layer.name) <= _LONGEST_NAME else f"…{layer.name[1 - _LONGEST_NAME :]}"
        axis.annotate(name, at[i], (0, 8), textcoords="offset points", fontsize=6, rotation=30, zorder=5)
    axis.margins(0.05, 0.3)
    axis.axis("off")
    figure.savefig(path, dpi=100, bbox_inches="tight")
    plt.close(figure)
