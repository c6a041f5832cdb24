"""The picture at the top of the README, drawn from the committed run of `make demo`.

On the left the network's layers with an agent at each, and what they made of it; on the right what the game came to.
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

from matplotlib.patches import Circle, FancyArrowPatch, Rectangle
from matplotlib.transforms import Affine2D

from experiments.figures import plt
from experiments.pages.results import PAPERS as LEARNER
from experiments.pages.results import lines_below, rows_of

AGENT, LAYER, FADED, TEXT = "#d9741a", "#2f6db5", "#c9d3df", "#333333"

Rows = list[dict[str, str]]


def draw(demo: Path, path: Path) -> None:
    """Draws the picture.

    Args:
        demo: the folder of a run of `marl-hpo demo`: its report and its learner's episodes.
        path: of the PNG file.
    """
    report = (demo / "report.md").read_text()
    converged, layers = (
        rows_of(lines_below(report, title)) for title in ("## Trained to convergence", "## Layer by layer")
    )
    with (demo / f"episodes-{LEARNER}.csv").open() as file:
        episodes = list(csv.DictReader(file))
    style: Any = {
        "font.size": 10,
        "text.color": TEXT,
        "axes.labelcolor": TEXT,
        "xtick.color": TEXT,
        "ytick.color": TEXT,
    }
    with plt.rc_context(style):
        figure = plt.figure(figsize=(12, 4.6))
        _game(figure.add_axes((0.0, 0.0, 0.635, 1.0)), layers)
        _rewards(figure.add_axes((0.70, 0.585, 0.285, 0.315)), episodes)
        _outcome(figure.add_axes((0.70, 0.10, 0.285, 0.255)), converged)
        figure.savefig(path, dpi=150, metadata={"Software": None})
        plt.close(figure)


# --- the game ------------------------------------------------------------------------------------------------------


def _game(axis: Any, layers: Rows) -> None:
    """Layers from left to right, an agent above each, and the reward above all."""
    places = [1.75 + 1.55 * position for position in range(len(layers))]
    end = places[-1] + 1.35
    axis.set_xlim(0, end + 0.45)
    axis.set_ylim(0, 6.05)
    axis.set_aspect("auto")
    axis.axis("off")
    agents, middle = 3.95, 1.62
    _digit(axis, 0.55, middle)
    _text(axis, 0.55, 0.28, "image")
    _arrow(axis, (0.92, middle), (places[0] - 0.42, middle), FADED)
    for position, (x, layer) in enumerate(zip(places, layers, strict=True)):
        name, original, found = layer["layer"], _values(layer["original"]), _values(layer[LEARNER])
        _layer(axis, x, middle, original, found)
        _text(axis, x, 0.28, name, weight="bold", color=LAYER)
        _arrow(axis, (x, agents - 0.36), (x, middle + 1.02), AGENT)
        _text(axis, x + 0.09, 3.16, _said(original, found), ha="left", size=8.5, va="center")
        axis.add_patch(_round(axis, x, agents))
        _text(axis, x, agents, str(position + 1), color="white", weight="bold", va="center", size=12)
        onwards = places[position + 1] if position + 1 < len(places) else None
        if onwards is not None:
            _arrow(axis, (x + 0.3, agents), (onwards - 0.3, agents), AGENT)
        _arrow(axis, (x + 0.42, middle), ((onwards or end) - 0.42, middle), FADED)
        _arrow(axis, (x, 5.12), (x, agents + 0.38), TEXT, dashed=True)
    _text(axis, (places[0] + places[1]) / 2, agents + 0.12, "sees its pick", size=8.5, color=AGENT)
    _text(axis, end, middle, "class\n0 to 9", va="center")
    _reward(axis, places[0], end, 5.12, middle)


def _reward(axis: Any, start: float, end: float, height: float, middle: float) -> None:
    """The line from the trained network back to every agent."""
    axis.plot([end, end], [middle + 0.55, height], color=TEXT, linewidth=1.2, linestyle=(0, (4, 3)))
    axis.plot([start, end], [height, height], color=TEXT, linewidth=1.2, linestyle=(0, (4, 3)))
    axis.text(
        (start + end) / 2,
        height + 0.42,
        "train it, and every agent gets the same reward:  accuracy − 0.2 · size / original size",
        ha="center",
        va="center",
        size=10.5,
        weight="bold",
    )


def _round(axis: Any, x: float, y: float) -> Any:
    """A circle, whatever the axes' proportions."""
    width, height = axis.figure.get_size_inches()
    box = axis.get_position()
    across = (axis.get_xlim()[1] - axis.get_xlim()[0]) / (width * box.width)
    up = (axis.get_ylim()[1] - axis.get_ylim()[0]) / (height * box.height)
    circle = Circle((0, 0), 0.2, facecolor=AGENT, edgecolor="white", linewidth=1.5, zorder=3)
    circle.set_transform(Affine2D().scale(across, up).translate(x, y) + axis.transData)
    return circle


def _layer(axis: Any, x: float, middle: float, original: dict[str, str], found: dict[str, str]) -> None:
    """A box per layer: as wide as the original, and filled as far as the agents left it."""
    width = next((name for name in ("kernels", "units") if name in original), None)
    kept = int(found[width]) / int(original[width]) if width else 1.0
    whole = 1.7
    axis.add_patch(Rectangle((x - 0.3, middle - whole / 2), 0.6, whole, facecolor="#eef2f7", edgecolor=FADED))
    colour = LAYER if width else "#8fb0d6"
    axis.add_patch(Rectangle((x - 0.3, middle - whole / 2), 0.6, whole * kept, facecolor=colour, edgecolor="none"))


def _values(cell: str) -> dict[str, str]:
    """`kernels 8, size 3` as a dictionary."""
    return dict(part.rsplit(" ", 1) for part in cell.split(", "))


def _said(original: dict[str, str], found: dict[str, str]) -> str:
    """What the agent picked, and what it was where that is different."""
    lines = []
    for name, value in found.items():
        was = original[name]
        lines.append(f"{name} {value}" if was == value else f"{name} {was} → {value}")
    return "\n".join(lines)


def _digit(axis: Any, x: float, y: float) -> None:
    """One of scikit-learn's scanned digits."""
    from sklearn.datasets import load_digits

    axis.imshow(load_digits().images[0], cmap="Greys", extent=(x - 0.37, x + 0.37, y - 0.41, y + 0.41), aspect="auto")
    axis.add_patch(Rectangle((x - 0.37, y - 0.41), 0.74, 0.82, fill=False, color=FADED))


def _arrow(axis: Any, start: tuple[float, float], stop: tuple[float, float], colour: str, dashed: bool = False) -> None:
    style: dict[str, Any] = {"arrowstyle": "-|>", "mutation_scale": 11, "linewidth": 1.4, "shrinkA": 0, "shrinkB": 0}
    line = (0, (4, 3)) if dashed else "-"
    axis.add_patch(FancyArrowPatch(start, stop, color=colour, linestyle=line, zorder=2, **style))


def _text(axis: Any, x: float, y: float, text: str, **style: Any) -> None:
    axis.text(x, y, text, **{"ha": "center", "va": "bottom", "size": 9.5, **style})


# --- what it came to -----------------------------------------------------------------------------------------------


def _rewards(axis: Any, episodes: Rows) -> None:
    """The reward of every episode, and the best so far; terminated designs lie on the lower edge."""
    rewards = [float(episode["reward"]) for episode in episodes]
    first = sum(episode["phase"] == "exploration" for episode in episodes)
    numbers = range(1, len(rewards) + 1)
    best = [max(rewards[:number]) for number in numbers]
    shown = [(n, r) for n, r in zip(numbers, rewards, strict=True) if r > 0]
    stopped = [n for n, r in zip(numbers, rewards, strict=True) if r <= 0]
    axis.axvspan(0, first + 0.5, color="#f1f4f8", linewidth=0)
    axis.plot(*zip(*shown, strict=True), ".", color=LAYER, markersize=4.5)
    axis.plot(stopped, [0.06] * len(stopped), "x", color="#9aa5b1", markersize=4)
    axis.plot(numbers, best, "-", color=AGENT, linewidth=1.8)
    axis.set_xlim(0, len(rewards) + 1)
    axis.set_ylim(0, 1.05)
    axis.set_xlabel("episode (× terminated early)", size=9, labelpad=2)
    axis.set_title("reward per episode, and the best so far", size=10.5, weight="bold", loc="left", pad=18)
    axis.text(first / 2, 1.08, "exploration", ha="center", size=9)
    axis.text((first + len(rewards)) / 2, 1.08, "exploration-exploitation", ha="center", size=9)
    _plain(axis)


def _outcome(axis: Any, converged: Rows) -> None:
    """Size and test accuracy of the original network and of the one that was found."""
    rows = [row for row in converged if row["network"] in ("original", LEARNER)]
    sizes = [1000 * float(row["size MB"]) for row in rows]
    for position, (row, size) in enumerate(zip(rows, sizes, strict=True)):
        colour = FADED if row["network"] == "original" else LAYER
        axis.barh(-position, size, height=0.62, color=colour)
        label = f"{size:.1f} kB, {float(row['test %']):.1f}% of the test digits right"
        inside = size > 0.6 * max(sizes)
        axis.text(
            0.6 if inside else size + 0.6, -position, label, va="center", ha="left", size=9, weight="bold", color=TEXT
        )
    axis.set_yticks([0, -1], ["original", "found"], size=10)
    axis.set_ylim(-1.5, 0.5)
    axis.set_xlim(0, max(sizes) * 1.02)
    axis.set_xticks([])
    axis.set_title("trained to convergence", size=10.5, weight="bold", loc="left", pad=6)
    _plain(axis)
    axis.spines["bottom"].set_visible(False)


def _plain(axis: Any) -> None:
    axis.tick_params(length=0, labelsize=9)
    for side in ("top", "right"):
        axis.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axis.spines[side].set_color(FADED)
