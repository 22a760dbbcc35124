"""The training phase by phase: a column of charts for each optimizer, and how quick and how even its progress was."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from convscope.film.story import optimizer_name
from convscope.report.charts import QUIET, TEST, TRAIN, WIDTH, log_scale, look
from convscope.types import Event

EARLY, LATE = 0.62, 0.38
"""Shares of a phase's gain in its first half, beyond which it is not called even."""


def phase_progress(events: Sequence[Event]) -> Figure:
    """Accuracy above loss, a column for each phase, by epochs; a row has one scale, so that columns compare."""
    phases = [event.data for event in events if event.kind == "phase"]
    widths = [max(phase["last_step"] - phase["first_step"], 1) for phase in phases]
    widths = [max(width, 0.25 * max(widths)) for width in widths]
    with look():
        figure = Figure(figsize=(WIDTH, 4.4), layout="constrained")
        grid = figure.subplots(2, len(phases), sharey="row", squeeze=False, gridspec_kw={"width_ratios": widths})
        for number, (phase, column) in enumerate(zip(phases, grid.T, strict=True)):
            for axes, key in zip(column, ("accuracy", "loss"), strict=True):
                batches = _within(events, "train", phase, key)
                axes.plot(*batches, color=TRAIN, alpha=0.3, linewidth=0.8)
                axes.plot(batches[0], _smooth(batches[1]), color=TRAIN, linewidth=1.8, label="train")
                tests = _within(events, "eval", phase, f"test_{key}")
                axes.plot(*tests, color=TEST, linewidth=1.6, marker="o", markersize=3.5, label="test")
            column[0].set_title(f"{number + 1}: {optimizer_name(phase)}, {phase['learning_rate']:g}", fontsize=9)
            column[1].set_xlabel("epoch")
        grid[0, 0].set_ylabel("accuracy")
        grid[0, 0].yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        grid[0, -1].legend(loc="lower right")
        grid[1, 0].set_ylabel("loss (log scale)")
        log_scale(grid[1, 0])
        for axes in grid[:, 1:].flat:
            axes.spines["left"].set_color(QUIET)
            axes.tick_params(axis="y", length=0)
        figure.align_ylabels(grid[:, 0])
    return figure


def paces(events: Sequence[Event]) -> list[dict[str, Any]]:
    """Of each phase with enough on record: the accuracy on training batches at both ends, and the gain's first half.

    "early" is the share of that gain that came in the first half of the phase (None where there was little gain),
    "shape" says it in a word; "opening" and "closing" are the points of test accuracy an epoch between the phase's
    first and last two evaluations, the one before it included (None where there are not as many).
    """
    found: list[dict[str, Any]] = []
    for phase in [event.data for event in events if event.kind == "phase"]:
        accuracies = _within(events, "train", phase, "accuracy")[1]
        if len(accuracies) < 3:
            continue
        width = max(1, len(accuracies) // 20)
        first, last = float(np.mean(accuracies[:width])), float(np.mean(accuracies[-width:]))
        start = (len(accuracies) - width) // 2
        middle = float(np.mean(accuracies[start : start + width]))
        early = (middle - first) / (last - first) if abs(last - first) > 0.02 else None
        opening, closing = _gains(events, phase)
        found.append(
            {
                "index": phase["index"],
                "optimizer": optimizer_name(phase),
                "first": first,
                "last": last,
                "early": early,
                "shape": _shape(early),
                "opening": opening,
                "closing": closing,
            }
        )
    return found


def _shape(early: float | None) -> str:
    """A phase's progress in a word.

    >>> _shape(0.9), _shape(0.5), _shape(0.1), _shape(None)
    ('fast at first, then slower', 'about even', 'slow at first, then faster', 'hardly any')
    """
    if early is None:
        return "hardly any"
    if early > EARLY:
        return "fast at first, then slower"
    return "about even" if early >= LATE else "slow at first, then faster"


def _gains(events: Sequence[Event], phase: Mapping[str, Any]) -> tuple[float | None, float | None]:
    """The points of test accuracy an epoch at the phase's opening and closing."""
    known = [event for event in events if event.kind == "eval" and event.step <= phase["last_step"]]
    within = [place for place, event in enumerate(known) if event.step > phase["first_step"]]
    gains: list[float | None] = []
    for place in (within[:1], within[-1:]):
        before, after = (known[place[0] - 1], known[place[0]]) if place and place[0] else (None, None)
        epochs = after.data["epoch"] - before.data["epoch"] if before and after else 0
        gain = after.data["test_accuracy"] - before.data["test_accuracy"] if before and after and epochs else None
        gains.append(None if gain is None else 100 * gain / epochs)
    return gains[0], gains[1]


def _within(
    events: Sequence[Event], kind: str, phase: Mapping[str, Any], key: str
) -> tuple[list[float], list[float]]:
    """The epochs and values of one number within a phase."""
    chosen = [
        event.data
        for event in events
        if event.kind == kind and phase["first_step"] < event.step <= phase["last_step"] and key in event.data
    ]
    return [data["epoch"] for data in chosen], [data[key] for data in chosen]


def _smooth(values: Sequence[float]) -> list[float]:
    """Running means over a twentieth of the values, narrower at both ends.

    >>> _smooth([1.0, 2.0, 3.0])
    [1.0, 2.0, 3.0]
    """
    half = len(values) // 40
    reach = [min(half, place, len(values) - 1 - place) for place in range(len(values))]
    return [float(np.mean(values[place - width : place + width + 1])) for place, width in enumerate(reach)]
