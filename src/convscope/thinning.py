"""Thinning: of a million rows those that a chart can show, the extremes among them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np


def thin_rows(
    axis: np.ndarray,
    columns: Mapping[str, np.ndarray],
    *,
    points: int,
    low: float = -np.inf,
    high: float = np.inf,
) -> np.ndarray:
    """The numbers of the rows to draw, in order: (M,) int64.

    The rows between `low` and `high` on the axis (N,), with one neighbour on either side, are put into `points` / 2
    buckets of equal width; from each come the rows that hold the smallest and the largest value of each column (N,),
    and then the first and the last row of all. Up to `points` rows are left as they are. Rows whose place on the axis
    is not finite are left out.

    >>> thin_rows(np.arange(9.0), {"loss": np.array([5, 1, 2, 3, 9, 4, 4, 0, 4.0])}, points=4).tolist()
    [0, 1, 4, 7, 8]
    """
    order = _in_order(axis)
    ordered = axis if order is None else axis[order]
    first = max(int(np.searchsorted(ordered, low)) - 1, 0)
    last = min(int(np.searchsorted(ordered, high, side="right")) + 1, len(ordered))
    places = np.arange(first, last)
    if len(places) > points:
        rows = slice(first, last) if order is None else order[first:last]
        places = first + _extremes(ordered[first:last], [values[rows] for values in columns.values()], points // 2)
    return places if order is None else order[places]


def _in_order(axis: np.ndarray) -> np.ndarray | None:
    """The rows in the order of the axis, without those that have no place on it; None for all, as they come."""
    if np.isfinite(axis).all():
        return None if (axis[1:] >= axis[:-1]).all() else np.argsort(axis, kind="stable")
    finite = np.flatnonzero(np.isfinite(axis))
    return finite[np.argsort(axis[finite], kind="stable")]


def _extremes(axis: np.ndarray, columns: Sequence[np.ndarray], buckets: int) -> np.ndarray:
    """The rows that hold the smallest or largest value of a column in their bucket, and the first and the last."""
    inner = axis[0] + (axis[-1] - axis[0]) * np.arange(1, buckets) / buckets
    starts = np.unique(np.concatenate(([0], np.searchsorted(axis, inner))))
    sizes = np.diff(starts, append=len(axis))
    bucket = np.repeat(np.arange(len(starts), dtype=np.int32), sizes)  # (N,)
    kept = [np.array([0, len(axis) - 1])]
    for values in columns:
        for extreme in (np.fmin, np.fmax):
            found = np.flatnonzero(values == extreme.reduceat(values, starts)[bucket])
            kept.append(found[np.unique(bucket[found], return_index=True)[1]])
    return np.unique(np.concatenate(kept))
