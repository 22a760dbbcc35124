"""A run's charts as files of their own, from what its log tells: SVG, or PNG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import get_args

from matplotlib.figure import Figure

from convscope.durable import make_place, replace_file
from convscope.errors import UsageError
from convscope.exports import Chart
from convscope.report import charts
from convscope.report.phase_charts import phase_progress
from convscope.report.results import findings_on_record
from convscope.types import Event

CHARTS = get_args(Chart)


def save_chart(
    path: Path, chart: str, events: Sequence[Event], class_names: Sequence[str], *, provenance: Mapping[str, str]
) -> None:
    """Draw one of CHARTS into an `.svg` or a `.png`.

    Raises UsageError for another chart, and where the log lacks what it shows.
    """
    figure = _figure(chart, events, class_names)
    write = charts.svg_file if path.suffix.lower() == ".svg" else charts.png
    make_place(path)
    replace_file(path, write(figure, provenance))


def _figure(chart: str, events: Sequence[Event], class_names: Sequence[str]) -> Figure:
    kinds = {event.kind for event in events}
    if chart not in CHARTS:
        raise UsageError(f'no chart "{chart}"; allowed: {", ".join(CHARTS)}')
    if chart in ("curves", "phases"):
        if not {"train", "phase"} <= kinds:
            raise UsageError(f"no {chart} to draw: the run's log holds no training yet")
        return charts.curves(events) if chart == "curves" else phase_progress(events)
    matrix, _ = findings_on_record(events, 0)
    if matrix is None:
        raise UsageError(
            f"no {chart} to draw: the log has no confusion matrix, as of older runs and of more than 100 classes"
        )
    return (charts.confusion if chart == "confusion" else charts.class_accuracy)(matrix, class_names)
