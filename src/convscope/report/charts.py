"""The report's charts as matplotlib figures, and figures as SVG for a page or as PNG; no pyplot, no global state."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from typing import Any
from xml.sax.saxutils import quoteattr

import numpy as np
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.collections import PatchCollection
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import FixedLocator, LogLocator, NullLocator, PercentFormatter, StrMethodFormatter

from convscope.film.story import optimizer_name
from convscope.report.results import wilson_interval
from convscope.types import Event

# Okabe and Ito's blue and vermilion: told apart by colour-blind readers, and by lightness when printed in grey.
TRAIN, TEST, INK, QUIET, RULE = "#0072b2", "#d55e00", "#22242b", "#71747f", "#dcdee5"
THEME = {  # the page's own colours, by CSS variable
    TRAIN: "var(--train)",
    TEST: "var(--test)",
    INK: "var(--ink)",
    QUIET: "var(--quiet)",
    RULE: "var(--rule)",
}
TAG = r"<[^>]+>"
ID = r'(\sid="|href="#|url\(#)([^")]+)'
STYLE: dict[Any, Any] = {
    "font.family": ["DejaVu Sans"],
    "font.size": 9,
    "text.parse_math": False,  # a class may be called $x$
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": QUIET,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": RULE,
    "grid.linewidth": 0.8,
    "xtick.color": QUIET,
    "ytick.color": QUIET,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "legend.frameon": False,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "svg.fonttype": "none",  # text stays text: small, searchable, and in the page's own font
    "svg.hashsalt": "convscope",
    "savefig.dpi": 160,
}
WIDTH = 7.0  # inches
MOST_LABELS = 100  # of more classes the names along a confusion matrix could not be read


@contextmanager
def look() -> Generator[None]:
    """Matplotlib's defaults with ours on top, whatever the machine's own settings are; put back afterwards."""
    with style.context(["default", STYLE]), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # the page's font will have it; a PNG shows a box
        yield


def curves(events: Iterable[Event]) -> Figure:
    """Loss, accuracy and learning rate against steps, with the phases of the run above them."""
    events = list(events)
    train = [event for event in events if event.kind == "train"]
    evals = [event for event in events if event.kind == "eval"]
    phases = [event.data for event in events if event.kind == "phase"]
    ends = [event for event in events if event.kind == "end" and "train_loss" in event.data]
    last = max((event.step for event in events), default=0) or 1
    with look():
        figure = Figure(figsize=(WIDTH, 6.4), layout="constrained")
        ribbon, loss, accuracy, rate = figure.subplots(
            4, 1, sharex=True, gridspec_kw={"height_ratios": [0.32, 3, 3, 1.1]}
        )
        for axes, key in ((loss, "loss"), (accuracy, "accuracy")):
            _line(axes, train, key, color=TRAIN, alpha=0.35, linewidth=1, label="train, batches")
            _line(axes, evals, f"train_{key}", color=TRAIN, linewidth=1.8, label="train, epoch so far")
            _line(axes, evals, f"test_{key}", color=TEST, linewidth=1.8, marker="o", markersize=3.5, label="test")
            _line(axes, ends[-1:], f"train_{key}", color=TRAIN, marker="D", linestyle="", label="train, afterwards")
        log_scale(loss)
        loss.set_ylabel("loss (log scale)")
        accuracy.set_ylabel("accuracy")
        accuracy.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        accuracy.legend(handles=accuracy.get_lines(), loc="lower right")
        _line(rate, train, "learning_rate", color=INK, linewidth=1.4)
        peaks = [phase["learning_rate"] for phase in phases if phase["learning_rate"] > 0]
        if peaks and max(peaks) > 10 * min(peaks):
            log_scale(rate)
            rate.set_ylim(bottom=min(peaks) / 30)
        else:
            rate.set_ylim(bottom=0)
        rate.set_ylabel("learning\nrate")
        rate.set_xlabel("step")
        rate.set_xlim(0, last * 1.008)
        _ribbon(ribbon, phases, last)
        for border in [phase["first_step"] for phase in phases if 0 < phase["first_step"] < last]:
            for axes in (loss, accuracy, rate):
                axes.axvline(border, color=QUIET, linewidth=1, linestyle=(0, (4, 3)))
        epochs_above(ribbon, evals or train)
        figure.align_ylabels([loss, accuracy, rate])
    return figure


def confusion(matrix: np.ndarray, class_names: Sequence[str]) -> Figure:
    """Counts (classes, classes) of test images, true class down, predicted class across.

    A cell's colour is the root of its share of its row, so that rare mistakes show.
    """
    count = len(class_names)
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    rows, columns = np.nonzero(matrix)
    with look():
        figure = Figure(figsize=(WIDTH, WIDTH * 0.92), layout="constrained")
        axes = figure.subplots()
        axes.grid(visible=False)
        hits = PatchCollection(
            [Rectangle((x - 0.5, y - 0.5), 1, 1) for y, x in zip(rows, columns, strict=True)], linewidths=0
        )
        hits.set_facecolor([TRAIN if y == x else TEST for y, x in zip(rows, columns, strict=True)])
        hits.set_alpha((0.06 + 0.54 * np.sqrt(shares[rows, columns])).tolist())
        hits.set_rasterized(count > 30)
        axes.add_collection(hits)
        if count <= 20:
            centred: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": 9 if count <= 12 else 7}
            for y, x in zip(rows.tolist(), columns.tolist(), strict=True):
                axes.text(x, y, f"{matrix[y, x]}", weight="bold" if y == x else "normal", **centred)
        size = max(3.5, min(9.0, 320 / count))
        labels = [short(name) for name in class_names] if count <= MOST_LABELS else []
        places = range(count if count <= MOST_LABELS else 0)  # ticks that say nothing take seconds to draw
        axes.set_xticks(places, labels, rotation=45, ha="right", rotation_mode="anchor", fontsize=size)
        axes.set_yticks(places, labels, fontsize=size)
        axes.set(
            xlim=(-0.5, count - 0.5), ylim=(count - 0.5, -0.5), xlabel="predicted", ylabel="true", aspect="equal"
        )
        axes.tick_params(length=0)
    return figure


def class_accuracy(matrix: np.ndarray, class_names: Sequence[str]) -> Figure:
    """Each class's accuracy with its 95 % interval, best first, from a matrix of counts (classes, classes).

    Of more than 40 classes, the 20 best and the 20 worst.
    """
    totals, right = matrix.sum(axis=1), np.diag(matrix)
    order = sorted(np.flatnonzero(totals).tolist(), key=lambda index: (-right[index] / totals[index], index))
    if len(order) > 40:
        order = order[:20] + order[-20:]
    with look():
        figure = Figure(figsize=(WIDTH, 0.7 + 0.25 * len(order)), layout="constrained")
        axes = figure.subplots()
        axes.grid(visible=False, axis="y")
        for place, index in enumerate(order):
            share = right[index] / totals[index]
            low, high = wilson_interval(int(right[index]), int(totals[index]))
            axes.barh(place, share, height=0.62, color=TRAIN, alpha=0.45)
            axes.plot([low, high], [place, place], color=INK, linewidth=1.2)
            axes.text(1.015, place, f"{share:.1%}", va="center")
        axes.axvline(right.sum() / max(totals.sum(), 1), color=TEST, linewidth=1.2, linestyle=(0, (4, 3)))
        axes.set_yticks(range(len(order)), [short(class_names[index]) for index in order])
        axes.set(xlim=(0, 1), ylim=(len(order) - 0.4, -0.6), xlabel="test accuracy")
        axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        axes.tick_params(axis="y", length=0)
    return figure


def svg(figure: Figure, *, name: str, label: str) -> str:
    """The figure as an SVG element for a page: ids of its own, the page's colours, a label for who cannot see it."""
    file = io.StringIO()
    with look():
        figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
    text = file.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)

    def adapt(tag: re.Match[str]) -> str:
        own = re.sub(r"font-size: (\S+)px", r"font-size: calc(\1px * var(--larger, 1))", tag[0])  # larger on paper
        return re.sub(r"#[0-9a-f]{6}", lambda colour: THEME.get(colour[0], colour[0]), own)

    text = re.sub(TAG, adapt, _with_own_ids(text, name))
    return text.replace("<svg", f'<svg role="img" aria-label={quoteattr(label)}', 1)


def png(figure: Figure, provenance: Mapping[str, str] | None = None) -> bytes:
    """The figure as PNG on white, with its provenance inside."""
    file = io.BytesIO()
    with look():
        figure.savefig(file, format="png", facecolor="white", metadata={"Software": None, **(provenance or {})})
    return file.getvalue()


def svg_file(figure: Figure, provenance: Mapping[str, str] | None = None) -> bytes:
    """The figure as an SVG file on white, its words as text, with its provenance inside."""
    file = io.BytesIO()
    about = "; ".join(f"{key}: {value}" for key, value in (provenance or {}).items())
    with look():
        told = {"Date": None, "Creator": "convscope", "Description": about}
        figure.savefig(file, format="svg", facecolor="white", metadata=told)
    text = _with_own_ids(file.getvalue().decode(), "chart")
    return text.replace("'DejaVu Sans'", "'DejaVu Sans', Verdana, sans-serif").encode()  # not every reader has it


def _with_own_ids(text: str, name: str) -> str:
    """The SVG with ids that begin so: matplotlib's are the same in every chart, or differ from run to run."""
    numbers: dict[str, int] = {}

    def rename(found: re.Match[str]) -> str:
        return f"{found[1]}{name}-{numbers.setdefault(found[2], len(numbers))}"

    return re.sub(TAG, lambda tag: re.sub(ID, rename, tag[0]), text)


def _line(axes: Axes, events: Sequence[Event], key: str, **look: Any) -> None:
    """One value of the events against their steps."""
    points = [(event.step, event.data[key]) for event in events if event.data.get(key) is not None]
    if points:
        axes.plot(*zip(*points, strict=True), **look)


def log_scale(axes: Axes) -> None:
    """A vertical log scale whose labels are plain numbers."""
    axes.set_yscale("log", nonpositive="clip")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 3)))
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.yaxis.set_minor_locator(NullLocator())


def _ribbon(axes: Axes, phases: Sequence[Mapping[str, Any]], last: int) -> None:
    """The phases as named stretches."""
    for number, phase in enumerate(phases):
        first, final = phase["first_step"], min(phase["last_step"], last)
        axes.axvspan(first, final, color=INK, alpha=0.14 if number % 2 else 0.07, linewidth=0)
        words = [optimizer_name(phase), f"{phase['learning_rate']:g}", str(phase["schedule"])]
        room = round((final - first) / last * 90)  # characters
        texts = [", ".join(words[:count]) for count in (3, 2, 1)]
        text = next((text for text in texts if len(text) <= room), "")
        axes.text((first + final) / 2, 0.45, text, ha="center", va="center")
    axes.set(ylim=(0, 1), yticks=[])
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    axes.tick_params(bottom=False, labelbottom=False)


def epochs_above(axes: Axes, events: Sequence[Event]) -> None:
    """A second scale above the first: epochs."""
    if not events or not events[-1].step:
        return
    per_step = events[-1].data["epoch"] / events[-1].step
    above = axes.secondary_xaxis("top", functions=(lambda x: x * per_step, lambda x: x / per_step))
    total = per_step * axes.get_xlim()[1]
    gap = next((gap for gap in (0.2, 0.5, 1, 2, 5, 10, 20, 50, 100) if total / gap <= 12), total)
    above.xaxis.set_major_locator(FixedLocator(list(np.arange(0, total + gap / 100, gap))))
    above.set_xlabel("epoch")
    above.spines[:].set_visible(False)


def short(name: str) -> str:
    """A class's name, cut to what a chart has room for."""
    return name if len(name) <= 18 else f"{name[:17]}…"
