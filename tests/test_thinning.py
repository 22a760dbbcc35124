"""Thinned rows are those of a slow reference: extremes of every bucket are kept, whatever the axis looks like."""

from __future__ import annotations

import math

import numpy as np
import pytest

from convscope.thinning import thin_rows


def thin_slowly(axis: list[float], columns: list[list[float]], points: int, low: float, high: float) -> set[int]:
    """The same as thin_rows, a row at a time; for an axis that ascends."""
    inside = [row for row, place in enumerate(axis) if low <= place <= high]
    before = [row for row, place in enumerate(axis) if place < low][-1:]
    after = [row for row, place in enumerate(axis) if place > high][:1]
    rows = before + inside + after
    if len(rows) <= points:
        return set(rows)
    kept = {rows[0], rows[-1]}
    count = points // 2
    first, span = axis[rows[0]], axis[rows[-1]] - axis[rows[0]]
    buckets: dict[int, list[int]] = {}
    for row in rows:
        bucket = sum(axis[row] >= first + span * edge / count for edge in range(1, count))
        buckets.setdefault(bucket, []).append(row)
    for members in buckets.values():
        for column in columns:
            numbers = [row for row in members if not math.isnan(column[row])]
            if numbers:
                kept |= {min(numbers, key=lambda row: column[row]), max(numbers, key=lambda row: column[row])}
    return kept


@pytest.mark.parametrize("seed", range(12))
def test_rows_are_those_of_the_slow_reference(seed: int):
    random = np.random.default_rng(seed)
    count = int(random.integers(1, 400))
    axis = np.sort(random.integers(0, 300, count)).astype(float)  # some places are taken twice
    columns = {"a": random.normal(size=count), "b": random.integers(0, 3, count).astype(float)}
    columns["a"][random.random(count) < 0.1] = np.nan
    points = int(random.integers(2, 60))
    low, high = np.sort(random.uniform(-20, 320, 2)) if seed % 2 else (-np.inf, np.inf)
    got = thin_rows(axis, columns, points=points, low=low, high=high)
    assert got.tolist() == sorted(got.tolist())
    lists = [values.tolist() for values in columns.values()]
    assert set(got.tolist()) == thin_slowly(axis.tolist(), lists, points, float(low), float(high))


def test_a_spike_of_one_row_in_a_million_is_kept():
    loss = np.full(1_000_000, 0.5, np.float32)
    loss[654_321], loss[777_777] = 9.0, -9.0
    rows = thin_rows(np.arange(1_000_000.0), {"loss": loss}, points=1500)
    assert {0, 654_321, 777_777, 999_999} <= set(rows.tolist())
    assert len(rows) < 3100


def test_up_to_so_many_rows_all_are_kept_and_of_none_none():
    axis = np.arange(10.0)
    assert thin_rows(axis, {"a": axis}, points=10).tolist() == list(range(10))
    assert thin_rows(np.empty(0), {"a": np.empty(0)}, points=10).tolist() == []
    assert thin_rows(axis, {"a": axis}, points=10, low=3.5, high=5.5).tolist() == [3, 4, 5, 6]


def test_an_axis_that_does_not_ascend_is_put_in_order_and_rows_without_a_place_left_out():
    axis = np.array([3.0, np.nan, 1.0, 2.0, np.inf])
    assert thin_rows(axis, {"a": axis}, points=10).tolist() == [2, 3, 0]
    many = np.random.default_rng(0).permutation(1000).astype(float)
    places = many[thin_rows(many, {"a": many}, points=20)]
    assert (np.diff(places) > 0).all()
    assert places[0] == 0
    assert places[-1] == 999


def test_rows_at_one_place_are_one_bucket():
    values = np.random.default_rng(0).normal(size=100)
    rows = thin_rows(np.zeros(100), {"a": values}, points=10)
    assert set(rows.tolist()) == {0, 99, int(values.argmin()), int(values.argmax())}
