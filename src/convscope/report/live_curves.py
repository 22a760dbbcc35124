"""A training's curves in a notebook's cell, drawn anew while it runs."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from convscope.report import charts
from convscope.thinning import thin_rows
from convscope.types import Event

SHARE = 0.05
"""The share of the training's time that drawing may take; where it is slow, the curves are drawn more rarely."""

POINTS = 1000
"""About so many of the "train" events are drawn, however many there are, the extremes among them."""

WIDTH = 800  # pixels on the page


def live_curves(events: Iterable[Event], *, seconds: float = 2.0) -> Iterator[Event]:
    """The same events, with loss, accuracy and learning rate so far as a chart in the notebook's cell.

    The chart is drawn at most every so many seconds, and once more at the end, however that comes. Outside a notebook
    the events pass through and nothing is drawn.

    >>> list(live_curves([Event("start", 0, 0.0, {"resumed": False})]))
    [Event(kind='start', step=0, time=0.0, data={'resumed': False})]
    """
    show = _notebook_cell()
    if show is None:
        yield from events
        return
    told: list[Event] = []
    due, drawn = time.monotonic(), 0
    try:
        for event in events:
            told.append(event)
            if event.kind in ("train", "eval") and time.monotonic() >= due:
                cost, drawn = _draw(told, show), len(told)
                due = time.monotonic() + max(seconds, cost / SHARE)
            yield event
    finally:
        if len(told) > drawn:
            _draw(told, show)


def _draw(events: list[Event], show: Callable[[bytes], None]) -> float:
    """Show the curves of the events so far; the seconds that took."""
    began = time.monotonic()
    show(charts.png(charts.curves(_thinned(events))))
    return time.monotonic() - began


def _thinned(events: list[Event]) -> list[Event]:
    """The events, of many "train" events only about POINTS."""
    train = [event for event in events if event.kind == "train"]
    steps = np.array([event.step for event in train], dtype=np.float64)
    values = {key: np.array([event.data[key] for event in train]) for key in ("loss", "accuracy", "learning_rate")}
    kept = [train[row] for row in thin_rows(steps, values, points=POINTS)] if train else []
    return sorted([*kept, *(event for event in events if event.kind != "train")], key=lambda event: event.step)


def _notebook_cell() -> Callable[[bytes], None] | None:
    """What puts a PNG into the notebook's current cell, in place of the one before; None outside a notebook."""
    ipython: Any = sys.modules.get("IPython")  # a notebook has imported it already
    if ipython is None or not hasattr(ipython.get_ipython(), "kernel"):
        return None
    from IPython.display import Image, display  # pyright: ignore

    handle: Any = None

    def show(png: bytes) -> None:
        nonlocal handle
        image = Image(data=png, format="png", width=WIDTH)
        if handle is None:
            handle = display(image, display_id=True)
        else:
            handle.update(image)

    return show
