"""A run's report as one page for a browser, `report.html`: no network is needed, and every figure says more under the mouse."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from html import escape

import numpy as np
from matplotlib.ticker import MaxNLocator

from experiments.tuning.episodes import Line, read_episodes
from experiments.tuning.pictures import columns_of, places
from experiments.tuning.report import layers, short_name, short_value
from experiments.tuning.run import Run, replace_text
from experiments.tuning.tried import Tried, directions, searched, tried
from marl_hpo_env import METRICS, Design, SearchSpace, Store
from marl_hpo_env.pareto import non_dominated
from marl_hpo_env.reward import Objective

COLOURS = ("#1f77b4", "#e07b00", "#2ca02c", "#9467bd")
"""Of the learners, in their order."""

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #222; max-width: 1100px; margin: 2em auto; padding: 0 1em }
h1 { font-size: 1.6em } h2 { font-size: 1.15em; margin: 2em 0 .5em }
.wide { overflow-x: auto }
table { border-collapse: collapse; font-variant-numeric: tabular-nums }
th, td { padding: .25em .8em; text-align: left; border-bottom: 1px solid #e4e4e4; white-space: nowrap }
th { border-bottom: 2px solid #999 } tbody tr:hover { background: #f4f7fb }
svg { font: 12px system-ui, sans-serif } svg text { fill: #333 } svg [data-tip]:hover { stroke: #000; stroke-width: 2 }
.grid { stroke: #e4e4e4 } .edge { stroke: #bbb; fill: none } .last { color: #666; font-size: .85em }
#tip { position: fixed; display: none; background: #222; color: #fff; padding: .5em .8em; border-radius: 4px;
  font-size: .85em; white-space: pre; pointer-events: none; max-height: 90vh; overflow: hidden }
"""

_SCRIPT = """
const tip = document.getElementById("tip");
document.addEventListener("mousemove", event => {
  const text = event.target.dataset && event.target.dataset.tip;
  tip.style.display = text ? "block" : "none";
  if (!text) return;
  tip.textContent = text;
  const left = event.clientX + 14, top = event.clientY + 14;
  tip.style.left = Math.max(0, Math.min(left, innerWidth - tip.offsetWidth - 8)) + "px";
  tip.style.top = Math.max(0, Math.min(top, innerHeight - tip.offsetHeight - 8)) + "px";
});
"""


def write_page(
    run: Run,
    store: Store,
    title: str,
    tables: Mapping[str, tuple[list[str], list[list[str]]]],
    lines: Sequence[str],
    last: str,
    designs: Mapping[str, Design],
) -> None:
    """Writes `report.html` in a run's folder: what `report.md` says, and pictures drawn from the run's files and the store.

    Args:
        run: the run.
        store: of its trials.
        title: the heading.
        tables: header and rows by title.
        lines: sentences.
        last: the paragraph at the page's end.
        designs: what was found, by label.
    """
    space = SearchSpace.described(run.settings["space"])
    labels = run.settings["learners"]
    episodes = {label: read_episodes(run.episodes(label)) for label in labels if run.episodes(label).exists()}
    every = "Every design, and those that no other beats"
    parts = {
        every: _front(run, store, space, shared=False),
        f"{every}: slices of shared weights": _front(run, store, space, shared=True),
        "Reward by episode, and the best so far": _curves(episodes),
        "The layers, and what feeds what": _graph(space, run.settings["original"], designs),
    }
    body = "".join(
        f"<h2>{name}</h2>\n<div class='wide'>{picture}</div>\n" for name, picture in parts.items() if picture
    )
    said = "".join(f"<li>{escape(line)}</li>\n" for line in lines)
    shown = "".join(_table(name, *table) for name, table in tables.items())
    replace_text(
        run / "report.html",
        f"<!doctype html>\n<html lang='en'><meta charset='utf-8'><title>{escape(title)}</title>\n<style>{_STYLE}</style>\n"
        f"<h1>{escape(title)}</h1>\n{shown}{body}<h2>In words</h2>\n<ul>\n{said}</ul>\n<p class='last'>{escape(last)}</p>\n"
        f"<div id='tip'></div>\n<script>{_SCRIPT}</script></html>\n",
    )


def _table(title: str, header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    def cells(kind: str, texts: Sequence[str]) -> str:
        return "<tr>" + "".join(f"<{kind}>{escape(text)}</{kind}>" for text in texts) + "</tr>\n"

    body = "".join(cells("td", row) for row in rows)
    return (
        f"<h2>{escape(title)}</h2>\n<div class='wide'><table><thead>{cells('th', header)}</thead>"
        f"<tbody>\n{body}</tbody></table></div>\n"
    )


class _Plot:
    """Two axes in a frame of 760 by 400 pixels, and what is drawn on them.

    Args:
        x: name and values of the horizontal axis.
        y: likewise of the vertical one.
    """

    _LEFT, _RIGHT, _TOP, _BOTTOM = 70.0, 750.0, 30.0, 350.0

    def __init__(self, x: tuple[str, Sequence[float]], y: tuple[str, Sequence[float]]) -> None:
        self._parts: list[str] = []
        self._x, self._y = (_range(values) for _, values in (x, y))
        for value in _ticks(self._x):
            at, _ = self._at(value, self._y[0])
            self._parts.append(f"<path class='grid' d='M{at:.1f} {self._TOP}V{self._BOTTOM}'/>")
            self._parts.append(f"<text x='{at:.1f}' y='{self._BOTTOM + 18}' text-anchor='middle'>{value:.4g}</text>")
        for value in _ticks(self._y):
            _, at = self._at(self._x[0], value)
            self._parts.append(f"<path class='grid' d='M{self._LEFT} {at:.1f}H{self._RIGHT}'/>")
            self._parts.append(f"<text x='{self._LEFT - 8}' y='{at + 4:.1f}' text-anchor='end'>{value:.4g}</text>")
        middle = (self._LEFT + self._RIGHT) / 2
        self._parts.append(f"<text x='{middle}' y='{self._BOTTOM + 40}' text-anchor='middle'>{escape(x[0])}</text>")
        self._parts.append(f"<text x='{self._LEFT}' y='12' text-anchor='middle'>{escape(y[0])}</text>")

    def _at(self, x: float, y: float) -> tuple[float, float]:
        (left, right), (low, high) = self._x, self._y
        return (
            self._LEFT + (x - left) / (right - left) * (self._RIGHT - self._LEFT),
            self._BOTTOM - (y - low) / (high - low) * (self._BOTTOM - self._TOP),
        )

    def point(self, x: float, y: float, colour: str, tip: str, radius: float = 4) -> None:
        at = self._at(x, y)
        self._parts.append(
            f"<circle cx='{at[0]:.1f}' cy='{at[1]:.1f}' r='{radius}' fill='{colour}' fill-opacity='.75' "
            f"data-tip='{escape(tip)}'/>"
        )

    def line(self, points: Iterable[tuple[float, float]], colour: str) -> None:
        path = "L".join("{:.1f} {:.1f}".format(*self._at(*point)) for point in points)
        self._parts.append(f"<path d='M{path}' fill='none' stroke='{colour}' stroke-width='1.5'/>")

    def legend(self, labels: Mapping[str, str]) -> None:
        """Writes labels above the frame, each behind a point of its colour."""
        spans = "&#160;&#160; ".join(f"<tspan fill='{colour}'>●</tspan> {escape(of)}" for of, colour in labels.items())
        self._parts.append(f"<text x='{self._RIGHT}' y='12' text-anchor='end'>{spans}</text>")

    def __str__(self) -> str:
        return f"<svg width='760' height='400' viewBox='0 0 760 400'>{''.join(self._parts)}</svg>"


def _range(values: Sequence[float]) -> tuple[float, float]:
    """The ends of an axis: a little beyond its values."""
    finite = [value for value in values if math.isfinite(value)] or [0.0]
    low, high = min(finite), max(finite)
    beyond = 0.04 * (high - low) or 0.5 * abs(low) or 1.0
    return low - beyond, high + beyond


def _ticks(ends: tuple[float, float]) -> list[float]:
    return [float(tick) for tick in MaxNLocator(6).tick_values(*ends) if ends[0] <= tick <= ends[1]]


def _front(run: Run, store: Store, space: SearchSpace, shared: bool) -> str:
    """Every design that completed by the first two objectives, the score against the size where there is one only; those that
    were trained, or the slices of shared weights."""
    found = tried(run, store, shared)
    ways = directions(run, found)
    if len(ways) == 1:
        ways["model_size_mb"] = METRICS["model_size_mb"].better
    names = list(ways)[:2]
    points: list[tuple[Tried, list[float]]] = []
    for one in found:
        known = {**({} if one.trial is None else one.trial.metrics), **one.objectives}
        values = [known.get(name) for name in names]
        if not one.terminated and all(value is not None and math.isfinite(value) for value in values):
            points.append((one, [float(value) for value in values if value is not None]))
    if not points:
        return ""
    original = searched(run, store, shared).get(None)
    shown = [values for _, values in points]
    signs = np.array([ways[name] for name in names])
    best = sorted(
        values[::-1] for values, is_best in zip(shown, non_dominated(-signs * np.array(shown)), strict=True) if is_best
    )
    own, seen = None, [Objective.parse(name) for name in names]
    # Of shared weights the original is a slice only where it is a design.
    no_slice = shared and original is not None and any(original.metrics[each.metric] is None for each in seen)
    if original is not None and original.status == "completed" and not no_slice:
        own = [objective.value(original, original) for objective in seen]
        shown = [*shown, own]
    plot = _Plot((names[1], [x for _, x in shown]), (names[0], [y for y, _ in shown]))
    plot.line(((x, y) for x, y in best), "#c33")
    of_all = dict(zip(run.settings["learners"], COLOURS, strict=False))
    colours = {label: colour for label, colour in of_all.items() if label in run.labels(shared)}
    for one, (y, x) in points:
        plot.point(x, y, colours.get(one.learner, "#888"), _tip(space, one))
    if own is not None:
        plot.point(own[1], own[0], "#000", "the original network", 6)
    plot.legend({**colours, "original": "#000", "no other is better in both": "#c33"})
    return str(plot)


def _tip(space: SearchSpace, one: Tried) -> str:
    """A design in words: what it was worth, and each layer's values."""
    chosen = space.hyperparameters(one.design)
    values = {
        name: ", ".join(f"{short_name(n)} {short_value(v)}" for n, v in of.items()) for name, of in chosen.items()
    }
    objectives = [f"{name} {value:.4g}" for name, value in one.objectives.items()]
    first = [f"design {','.join(map(str, one.design))}", f"reward {one.reward:.4g}", *objectives]
    return "\n".join([*first, "", *(f"{name}: {value}" for name, value in values.items())])


def _curves(episodes: Mapping[str, Sequence[Line]]) -> str:
    played = {label: lines for label, lines in episodes.items() if lines}
    if not played:
        return ""
    numbers = [1, max(map(len, played.values()))]
    plot = _Plot(("episode", numbers), ("reward", [line.reward for lines in played.values() for line in lines]))
    for (label, lines), colour in zip(played.items(), COLOURS, strict=False):
        for number, line in enumerate(lines, start=1):
            plot.point(number, line.reward, colour, f"{label}, episode {number}\nreward {line.reward:.4g}", 2.5)
        best = np.maximum.accumulate([line.reward for line in lines])
        plot.line(zip(range(1, len(best) + 1), best.tolist(), strict=True), colour)
    plot.legend(dict(zip(played, COLOURS, strict=False)))
    return str(plot)


_ACROSS, _DOWN = 120, 80
"""Pixels from layer to layer."""


def _graph(space: SearchSpace, original: Mapping[str, str], designs: Mapping[str, Design]) -> str:
    """The layers from left to right."""
    columns = columns_of(space)
    at = places(columns, len(columns))
    highest = max(y for _, y in at.values())
    xy = [(60 + _ACROSS * at[i][0], 40 + _DOWN * (highest - at[i][1])) for i in range(len(space))]
    width, height = max(x for x, _ in xy) + 60, max(y for _, y in xy) + 40
    header, rows = layers(space, original, designs)
    parts = [
        f"<path class='edge' d='M{xy[i][0]} {xy[i][1]}C{xy[i][0] + 50} {xy[i][1]} {xy[j][0] - 50} {xy[j][1]} "
        f"{xy[j][0]} {xy[j][1]}'/>"
        for i, j in space.pairs
    ]
    for number, (layer, (x, y), row) in enumerate(zip(space.layers, xy, rows, strict=True), start=1):
        values = [f"{label}: {text}" for label, text in zip(header[1:], row[1:], strict=True)]
        choices = [f"{short_name(name)}: {' '.join(map(short_value, of))}" for name, of in layer.choices.items()]
        tip = "\n".join([f"{layer.name} ({layer.kind})", "", *values, "", "to choose from", *choices])
        name = layer.name if len(layer.name) <= 16 else f"…{layer.name[-15:]}"
        parts.append(
            f"<circle cx='{x}' cy='{y}' r='13' fill='#1f77b4' data-tip='{escape(tip)}'/>"
            f"<text x='{x}' y='{y + 4}' text-anchor='middle' style='fill:#fff;pointer-events:none'>{number}</text>"
            f"<text x='{x}' y='{y + 28}' text-anchor='middle'>{escape(name)}</text>"
        )
    return f"<svg width='{width}' height='{height}'>{''.join(parts)}</svg>"
