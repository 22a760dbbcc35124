"""The comparison's other charts: accuracies by seed and by class, and how alike layers are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib import colormaps
from matplotlib.collections import PatchCollection
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import PercentFormatter
from numpy.typing import NDArray

from convscope.report.charts import INK, QUIET, RULE, WIDTH, look, short
from convscope.report.comparison_curves import MARKS, look_of
from convscope.report.results import wilson_interval
from convscope.report.standings import Difference, Standing

MOST_CLASSES = 24  # rows of a chart


def seed_dots(standings: Sequence[Standing], images: int) -> Figure:
    """Each contender's final test accuracy: a dot for each seed and a bar at their mean; of one seed its interval."""
    with look():
        figure = Figure(figsize=(WIDTH, 0.75 + 0.42 * len(standings)), layout="constrained")
        axes = figure.subplots()
        axes.grid(visible=False, axis="y")
        for place, standing in enumerate(standings):
            values = standing.values("test_accuracy")
            colour = look_of(place)["color"]
            if len(values) == 1:
                low, high = wilson_interval(round(values[0] * images), images)
                axes.plot([low, high], [place, place], color=colour, linewidth=1.4, alpha=0.6)
            elif values:
                axes.plot([np.mean(values)] * 2, [place - 0.28, place + 0.28], color=colour, linewidth=2.2)
            axes.plot(
                values, [place] * len(values), MARKS[place % len(MARKS)], color=colour, markersize=6, alpha=0.75
            )
        axes.set_yticks(range(len(standings)), [short(standing.name) for standing in standings])
        axes.set(ylim=(len(standings) - 0.4, -0.6), xlabel="test accuracy")
        axes.margins(x=0.08)
        axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=1))
        axes.tick_params(axis="y", length=0)
    return figure


def class_differences(
    differences: Mapping[str, Difference], reference: str, class_names: Sequence[str], places: Mapping[str, int]
) -> Figure:
    """By class, how many points more each contender gets right than the reference, and what chance makes.

    The grey band is what chance alone makes in 95 of 100 cases; strokes are seeds; a filled dot lies beyond what
    chance and seeds make. Of many classes, those that differ most; below them, all test images.
    """
    first = next(iter(differences.values()))
    order = np.flatnonzero(np.isfinite(first.points[:-1]))
    if len(order) > MOST_CLASSES:
        sizes = np.max([np.abs(each.points[order]) for each in differences.values()], axis=0)
        order = order[np.argsort(-sizes, kind="stable")[:MOST_CLASSES]]
    rows = [*order.tolist(), -1]
    with look():
        figure = Figure(figsize=(WIDTH, 1.2 + 0.26 * len(rows)), layout="constrained")
        panels = figure.subplots(1, len(differences), sharex=True, sharey=True, squeeze=False)[0]
        for axes, (name, found) in zip(panels, differences.items(), strict=True):
            colour = look_of(places[name])["color"]
            axes.grid(visible=False, axis="y")
            axes.axvline(0, color=QUIET, linewidth=1)
            for row, index in enumerate(rows):
                chance, seeds = 100 * found.chance[index], 100 * found.seeds[:, index]
                axes.barh(row, 2 * chance, left=-chance, height=0.72, color=QUIET, alpha=0.25, linewidth=0)
                if len(seeds) > 1:
                    axes.plot(seeds, [row] * len(seeds), "|", color=colour, alpha=0.6)
                fill = colour if found.clear[index] else "none"
                axes.plot(100 * found.points[index], row, "o", color=colour, markersize=5.5, markerfacecolor=fill)
            axes.axhline(len(rows) - 1.5, color=RULE, linewidth=1)
            axes.set_title(short(f"{name} − {reference}") if len(panels) > 2 else f"{name} − {reference}", fontsize=9)
            axes.set_xlabel("points of accuracy")
        names = [short(class_names[index]) for index in order.tolist()]
        panels[0].set_yticks(range(len(rows)), [*names, "all images"])
        panels[0].set_ylim(len(rows) - 0.4, -0.6)
        for axes in panels:
            axes.tick_params(axis="y", length=0)
    return figure


class Alike(NamedTuple):
    """How alike the layers of two networks are."""

    title: str
    down: str  # whose layers are the rows
    across: str
    values: NDArray[np.float64]  # (rows, columns) in [0, 1]
    rows: Sequence[str]
    columns: Sequence[str]


def likeness_maps(pairs: Sequence[Alike]) -> Figure:
    """The linear CKA of each layer with each, a panel for each pair of networks."""
    wide = 1 if len(pairs) == 1 else 2
    high = -(-len(pairs) // wide)
    with look():
        figure = Figure(figsize=(WIDTH, high * (3.5 if wide > 1 else 5.0)), layout="constrained")
        panels = figure.subplots(high, wide, squeeze=False).ravel()
        table = colormaps["magma"]
        for axes, pair in zip(panels, pairs, strict=False):
            rows, columns = pair.values.shape
            cells = [Rectangle((x - 0.5, y - 0.5), 1, 1) for y in range(rows) for x in range(columns)]
            tiles = PatchCollection(cells, linewidths=0.2)
            colours: list[Any] = table(pair.values.ravel()).tolist()
            tiles.set_facecolor(colours)
            tiles.set_edgecolor(colours)  # or hairlines show between the cells
            axes.add_collection(tiles)
            if max(rows, columns) <= 10:
                for (y, x), value in np.ndenumerate(pair.values):
                    ink = "#ffffff" if value < 0.6 else "#000000"
                    axes.text(x, y, f"{value:.2f}".lstrip("0"), ha="center", va="center", fontsize=7, color=ink)
            size = max(4.5, min(8.0, 110 / max(rows, columns)))
            axes.set_xticks(
                range(columns), pair.columns, rotation=60, ha="right", rotation_mode="anchor", fontsize=size
            )
            axes.set_yticks(range(rows), pair.rows, fontsize=size)
            axes.set(xlim=(-0.5, columns - 0.5), ylim=(rows - 0.5, -0.5), aspect="equal")
            axes.set(xlabel=pair.across, ylabel=pair.down)
            axes.set_title(pair.title, fontsize=9)
            axes.grid(visible=False)
            axes.tick_params(length=0)
        for axes in panels[len(pairs) :]:
            axes.set_visible(False)
    return figure


def likeness_by_depth(lines: Mapping[str, tuple[NDArray[np.float64], int | None]], layers: Sequence[str]) -> Figure:
    """The linear CKA of each layer with the same layer of other networks.

    `lines` gives for each of those its values and the place of its contender, None for a yardstick, drawn in grey.
    """
    with look():
        figure = Figure(figsize=(WIDTH, 3.1), layout="constrained")
        axes = figure.subplots()
        greys = iter(((0, (5, 2)), (0, (1, 1.5))))
        for name, (values, place) in lines.items():
            style: dict[str, Any] = (
                look_of(place) if place is not None else {"color": INK, "alpha": 0.6, "linestyle": next(greys)}
            )
            mark = MARKS[place % len(MARKS)] if place is not None else ""
            axes.plot(range(len(layers)), values, linewidth=1.7, marker=mark, markersize=3.5, label=name, **style)
        axes.set_xticks(range(len(layers)), layers, rotation=45, ha="right", rotation_mode="anchor", fontsize=7.5)
        axes.set(ylim=(0, 1.03), ylabel="CKA of the same layer")
        figure.legend(loc="outside upper center", ncols=2)
    return figure
