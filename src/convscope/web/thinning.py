"""Thinning: of a million rows those that a chart can show, the extremes among them."""

from __future__ import annotations

from collections.abc import Mapping

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

    `axis` (N,) ascends; the rows between `low` and `high` on it, with one neighbour on either side, are put into
    `points` / 2 buckets of equal width, and from each bucket come the rows that hold the smallest and the largest
    value of each column (N,), with the first and the last row of all. Up to `points` rows are left as they are.

    >>> thin_rows(np.arange(9.0), {"loss": np.array([5, 1, 2, 3, 9, 4, 4, 0, 4.0])}, points=4).tolist()
    [0, 1, 4, 7, 8]
    """
    first = max(int(np.searchsorted(axis, low)) - 1, 0)
    last = min(int(np.searchsorted(axis, high, side="right")) + 1, len(axis))
    if last - first <= points:
        return np.arange(first, last)
    inside = axis[first:last]
    span = inside[-1] - inside[0]
    count = max(points // 2, 1)
    if span > 0:
        edges = inside[0] + span * np.arange(1, count) / count
        starts = np.unique(np.concatenate(([0], np.searchsorted(inside, edges))))
    else:
        starts = np.zeros(1, np.int64)
    starts = starts[starts < len(inside)]
    kept = [np.array([0, len(inside) - 1])]
    bucket = np.repeat(np.arange(len(starts)), np.diff(starts, append=len(inside)))
    for values in columns.values():
        values = values[first:last]
        for extreme in (np.fmin, np.fmax):
            found = np.flatnonzero(values == extreme.reduceat(values, starts)[bucket])
            kept.append(found[np.unique(bucket[found], return_index=True)[1]])
    return first + np.unique(np.concatenate(kept))
