"""The comparison's curves: accuracy and loss of all contenders over each other, and what each accuracy took."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from typing import Any, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import XAxis, YAxis
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, PercentFormatter
from numpy.typing import NDArray

from convscope.report.charts import TEST, TRAIN, WIDTH, epochs_above, log_scale, look
from convscope.report.contenders import Contender
from convscope.types import Event

Axis = Literal["step", "epoch", "time"]
Points = tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]

# The first two are the pages' own; all are told apart by colour-blind readers, on white and on black.
COLOURS = (TRAIN, TEST, "#009e73", "#b35a8d", "#94720a", "#7a6fd0")
DASHES: tuple[Any, ...] = ("-", (0, (5, 2)), (0, (1, 1.5)))  # once the colours are used up
MARKS = "osD^vP"
WIDE = 10  # losses that span so many times their lowest are drawn on a log scale
BINS = 120  # points of a line of training batches
UNITS = ((3600.0, "hours"), (60.0, "minutes"), (1.0, "seconds"))


def look_of(place: int) -> dict[str, Any]:
    """How a contender's lines look, by its place."""
    return {"color": COLOURS[place % len(COLOURS)], "linestyle": DASHES[place // len(COLOURS) % len(DASHES)]}


def overlaid(contenders: Sequence[Contender], axis: Axis, *, epochs: bool = False) -> Figure:
    """Test and train accuracy and loss of all contenders against step, epoch or minutes.

    Of several seeds the mean, in a band from the lowest to the highest. Pale: training batches, smoothed. Dotted
    vertical lines: where a contender changes its phase. With `epochs`, they stand above the steps.
    """
    with look():
        figure = Figure(figsize=(WIDTH, 6.0), layout="constrained")
        grid = figure.subplots(2, 2, sharex=True)
        for row, key in enumerate(("accuracy", "loss")):
            for column, half in enumerate(("test", "train")):
                axes = grid[row, column]
                for place, contender in enumerate(contenders):
                    ended = _draw(axes, contender, f"{half}_{key}", axis, place)
                    if half == "train":
                        _draw_batches(axes, contender, key, axis, place)
                    for border in _borders(contender, axis):
                        if border > ended:  # seeds that took unlike times: their mean ends with the quickest
                            break
                        axes.axvline(border, color=look_of(place)["color"], linewidth=1, linestyle=(0, (1, 2)))
                axes.set_ylabel(f"{half} {key}")
                if key == "accuracy":
                    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
                elif axes.dataLim.ymax > WIDE * axes.dataLim.ymin > 0:
                    log_scale(axes)
                    axes.set_ylabel(f"{half} {key} (log scale)")
        for axes in grid[1]:
            axes.set_xlim(left=0)
            axes.set_xlabel(axis)
            if axis == "time":
                axes.set_xlabel(f"{_in_time(axes.xaxis)} of training")
        if epochs:
            longest = max((m.events for c in contenders for m in c.members), key=lambda events: events[-1].step)
            for axes in grid[0]:
                epochs_above(axes, [event for event in longest if event.kind in ("train", "eval")])
        handles, labels = grid[0, 0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper center", ncols=min(4, len(labels) or 1))
    return figure


def _draw(axes: Axes, contender: Contender, key: str, axis: Axis, place: int) -> float:
    """One figure of the evaluations, over the seeds; where its line ends."""
    runs = [_series(member.events, "eval", key, axis) for member in contender.members]
    if (found := over_seeds(runs)) is None:
        return -inf
    x, mean, low, high = found
    mark = MARKS[place % len(MARKS)] if len(x) <= 40 else ""
    axes.plot(x, mean, linewidth=1.7, marker=mark, markersize=3.5, label=contender.name, **look_of(place))
    if len(runs) > 1:
        axes.fill_between(x, low, high, color=look_of(place)["color"], alpha=0.16, linewidth=0)
    return float(x[-1])


def _draw_batches(axes: Axes, contender: Contender, key: str, axis: Axis, place: int) -> None:
    """The mean of the training batches in each of BINS equal stretches, over the seeds."""
    found = over_seeds([_series(member.events, "train", key, axis) for member in contender.members])
    if found is None:
        return
    x, mean, _, _ = found
    parts = np.array_split(np.arange(len(x)), min(BINS, len(x)))
    points = [(x[part].mean(), mean[part].mean()) for part in parts]
    axes.plot(*zip(*points, strict=True), linewidth=1, alpha=0.4, **look_of(place))


def _series(events: Sequence[Event], kind: str, key: str, axis: Axis) -> tuple[list[float], list[float]]:
    """One figure of a run's events, and where each stands on the axis."""
    told = [event for event in events if event.kind == kind and event.data.get(key) is not None]
    return [_place(event, axis) for event in told], [float(event.data[key]) for event in told]


def _place(event: Event, axis: Axis) -> float:
    """Where an event stands on the axis; its time in seconds."""
    return float({"step": event.step, "epoch": event.data["epoch"], "time": event.time}[axis])


def over_seeds(runs: Sequence[tuple[Sequence[float], Sequence[float]]]) -> Points | None:
    """Where all seeds have a value: places, mean, lowest and highest; None where there is no such place.

    Seeds that were looked at in different places, as times are, are joined by straight lines and read off those.

    >>> [each.tolist() for each in over_seeds([([0, 2], [1, 3]), ([0, 2], [3, 3])])]
    [[0.0, 2.0], [2.0, 3.0], [1.0, 3.0], [3.0, 3.0]]
    """
    known = [(np.asarray(x, float), np.asarray(y, float)) for x, y in runs if len(x)]
    if not known:
        return None
    places = known[0][0]
    for x, _ in known[1:]:
        places = np.intersect1d(places, x)
    if len(places) < max(2, min(len(x) for x, _ in known)) and len(known) > 1:
        first, last = max(x[0] for x, _ in known), min(x[-1] for x, _ in known)
        if first > last:
            return None
        places = np.linspace(first, last, max(len(x) for x, _ in known))
    values = np.stack([np.interp(places, x, y) for x, y in known])
    return places, values.mean(0), values.min(0), values.max(0)


def _borders(contender: Contender, axis: Axis) -> list[float]:
    """Where the contender's later phases begin: in its first run, which has got as far as any."""
    run = max((member.events for member in contender.members), key=lambda events: events[-1].step if events else 0)
    later = [event for event in run if event.kind == "phase" and event.step > 0]
    return [_place(event, axis) for event in later]


def accuracy_costs(contenders: Sequence[Contender]) -> Figure:
    """What each test accuracy took to reach for the first time, in epochs and in minutes, averaged over seeds."""
    with look():
        figure = Figure(figsize=(WIDTH, 2.7), layout="constrained")
        both = figure.subplots(1, 2)
        for axes, axis in zip(both, ("epoch", "time"), strict=True):
            for place, contender in enumerate(contenders):
                runs = [_series(member.events, "eval", "test_accuracy", axis) for member in contender.members]
                steps = [(np.maximum.accumulate(y), np.asarray(x)) for x, y in runs if x]
                if steps:
                    levels = np.linspace(max(y[0] for y, _ in steps), min(y[-1] for y, _ in steps), 200)
                    costs = np.stack([x[np.searchsorted(y, levels).clip(max=len(x) - 1)] for y, x in steps])
                    axes.plot(levels, costs.mean(0), linewidth=1.7, label=contender.name, **look_of(place))
            axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
            axes.set_ylim(bottom=0)
            unit = _in_time(axes.yaxis) if axis == "time" else "epochs"
            axes.set(xlabel="test accuracy reached", ylabel=f"{unit} needed")
        handles, labels = both[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper center", ncols=min(4, len(labels) or 1))
    return figure


def _in_time(axis: XAxis | YAxis) -> str:
    """Label an axis of seconds in the unit that suits its length; the unit's name."""
    longest = axis.get_view_interval()[1]
    size, unit = next(((size, unit) for size, unit in UNITS if longest > 3 * size), UNITS[-1])
    axis.set_major_locator(_UnitLocator(size))

    def label(seconds: float, _: int) -> str:
        return f"{seconds / size:g}"

    axis.set_major_formatter(FuncFormatter(label))
    return unit


class _UnitLocator(MaxNLocator):
    """Round numbers of a unit of so many seconds."""

    def __init__(self, size: float) -> None:
        super().__init__(nbins=7, steps=[1, 2, 5, 10])
        self._size = size

    def tick_values(self, vmin: float, vmax: float) -> list[float]:
        """Where the ticks are, in seconds."""
        return [each * self._size for each in super().tick_values(vmin / self._size, vmax / self._size)]
