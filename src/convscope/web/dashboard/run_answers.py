"""What the dashboard tells of a run's numbers: thinned series, confusion matrices, the log itself."""

from __future__ import annotations

from typing import Any, BinaryIO

from convscope.thinning import thin_rows
from convscope.training.log_parts import MEASURED
from convscope.web.answers import Missing
from convscope.web.dashboard.run_list import WatchedRun
from convscope.web.event_stream import json_bytes


def answer_series(run: WatchedRun, axis: str, points: int, low: float, high: float) -> bytes:
    """The run's numbers between two places on an axis, as JSON, thinned to about so many points a column.

    `position` is how far into the log they reach, of which `generation` is the name; `total` counts "train" events.
    """
    generation, position, columns = run.log.snapshot()
    answer: dict[str, Any] = {"generation": generation, "position": position, "total": len(columns["train"]["step"])}
    for kind, names in MEASURED.items():
        found = columns[kind]
        rows = thin_rows(found[axis], {name: found[name] for name in names}, points=points, low=low, high=high)
        answer[kind] = {name: values[rows] for name, values in found.items()}
    return json_bytes(answer)


def find_confusion(run: WatchedRun, step: int) -> dict[str, Any]:
    """The confusion matrix of the newest evaluation at or before a step that has one; None where there is none.

    An older log has none at all: no error, which a browser would tell of in its console at each step.
    """
    for at, matrix in run.log.confusions(step):
        if matrix is not None:
            return {"step": at, "matrix": matrix}
    return {"step": None, "matrix": None}


def open_log(run: WatchedRun) -> BinaryIO:
    """The run's log. Raises Missing."""
    try:
        return run.log.path.open("rb", buffering=0)
    except OSError as error:
        raise Missing(f"the log of {run.name} cannot be read: {error.strerror}") from error
