"""The lines of a log as columns of numbers: a part at a time, with damaged lines told apart."""

from __future__ import annotations

import gc
import os
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from operator import itemgetter
from typing import Any, NamedTuple

import numpy as np
import orjson

MEASURED = {
    "train": ("loss", "accuracy", "learning_rate", "images_per_second"),
    "eval": ("train_loss", "train_accuracy", "test_loss", "test_accuracy"),
}
"""What the columns of each kind of event hold, beside the axes."""

AXES = ("step", "epoch", "time")

CHUNK = 1 << 18
"""Bytes parsed at a time: few enough to stay in the processor's cache."""

LONGEST = 1 << 23
"""A longer line is damage."""


class Part(NamedTuple):
    """Whole lines of a log, by columns."""

    start: int  # byte positions
    end: int
    columns: dict[str, dict[str, np.ndarray]]  # of the "train" and the "eval" events, by kind and name
    others: list[dict[str, Any]]  # every event but "train"; with its "place", the byte where its line begins
    newest: dict[str, Any] | None  # the last event
    damaged: int  # lines that are no events


class Columns:
    """Equally long columns of numbers that grow at the end."""

    def __init__(self, kind: str) -> None:
        self.rows = 0
        self._arrays = empty_columns(kind)

    def extend(self, more: Mapping[str, np.ndarray]) -> None:
        """Append rows."""
        rows = self.rows + len(more["step"])
        for name, array in self._arrays.items():
            if rows > len(array):
                grown = np.empty(max(rows, len(array) * 3 // 2), array.dtype)
                grown[: self.rows] = array[: self.rows]
                self._arrays[name] = array = grown
            array[self.rows : rows] = more[name]
        self.rows = rows

    def view(self) -> dict[str, np.ndarray]:
        """The rows so far, by name; they stay as they are when more are appended."""
        return {name: array[: self.rows] for name, array in self._arrays.items()}


def empty_columns(kind: str) -> dict[str, np.ndarray]:
    """Columns without rows: float64 for what lies on an axis, float32 for what was measured."""
    return {name: np.empty(0) for name in AXES} | {name: np.empty(0, np.float32) for name in MEASURED[kind]}


def parse_lines(lines: bytes, start: int) -> Part:
    r"""The events of whole lines, the first of which begins at byte `start` of the log.

    >>> part = parse_lines(b'{"kind": "end", "step": 3, "time": 1.5, "data": {}}\n?\n', 0)
    >>> part.others[0]["step"], part.damaged
    (3, 1)
    """
    with _no_garbage_collection():
        try:
            rows = orjson.loads(b"[" + lines[:-1].replace(b"\n", b",") + b"]")
            found = _sort_out(rows, range(lines.count(b"\n")))
        except (ValueError, TypeError, KeyError, AttributeError):
            # Some line is damaged, so each is looked at for itself.
            sound = list(read_events_of(lines))
            rows = [row for _, row in sound]
            found = _sort_out(rows, [number for number, _ in sound])
    columns, others = found
    if others:
        ends = np.flatnonzero(np.frombuffer(lines, np.uint8) == ord("\n"))
        for number, row in others:
            row["place"] = start + (int(ends[number - 1]) + 1 if number else 0)
            if row["kind"] == "eval":
                row["data"].pop("confusion", None)  # large, and read again when it is asked for
    newest = {key: rows[-1][key] for key in ("kind", "step", "time", "data")} if rows else None
    damaged = max(lines.count(b"\n"), 1) - len(rows)
    return Part(start, start + len(lines), columns, [row for _, row in others], newest, damaged)


def _sort_out(
    rows: Sequence[Any], numbers: Sequence[int]
) -> tuple[dict[str, dict[str, np.ndarray]], list[tuple[int, dict[str, Any]]]]:
    """The columns of the events, and all but the "train" events with their lines' numbers.

    Raises ValueError, TypeError, KeyError or AttributeError where something is no event.
    """
    train = [row for row in rows if row["kind"] == "train"]
    others: list[tuple[int, dict[str, Any]]] = []
    if len(train) < len(rows):
        others = [(number, row) for number, row in zip(numbers, rows, strict=True) if row["kind"] != "train"]
    evaluated = [row for _, row in others if row["kind"] == "eval"]
    columns = {"train": _by_columns(train, "train"), "eval": _by_columns(evaluated, "eval")}
    places = columns["train"]["step"] + columns["train"]["time"]
    if len(rows) != len(numbers) or np.isnan(places).any() or not all(_is_event(row) for _, row in others):
        raise ValueError("a line is no event")
    return columns, others


def _by_columns(events: Sequence[Any], kind: str) -> dict[str, np.ndarray]:
    """The numbers of events of one kind; NaN for what an event lacks."""
    data = [event["data"] for event in events]
    columns = {name: np.array([event[name] for event in events], np.float64) for name in ("step", "time")}
    for name, values in empty_columns(kind).items():
        if name not in columns:
            try:
                columns[name] = np.fromiter(map(itemgetter(name), data), values.dtype, len(data))
            except (KeyError, TypeError):
                columns[name] = np.array([value.get(name) for value in data], values.dtype)
    return columns


def read_events_of(lines: bytes) -> Iterator[tuple[int, dict[str, Any]]]:
    """The lines that are events, with their numbers: the others are damaged."""
    for number, line in enumerate(lines.split(b"\n")):
        try:
            row = orjson.loads(line)
        except ValueError:
            continue
        if _is_event(row):
            yield number, row


def _is_event(row: Any) -> bool:
    """Whether a line is an event whose numbers are numbers."""
    if not isinstance(row, dict) or not isinstance(row.get("data"), dict) or not isinstance(row.get("kind"), str):
        return False
    numbers = [row.get("step"), row.get("time")]
    if row["kind"] in MEASURED:
        optional = (row["data"].get(name) for name in ("epoch", *MEASURED[row["kind"]]))
        numbers += [number for number in optional if number is not None]
    return all(isinstance(number, int | float) for number in numbers)


@contextmanager
def _no_garbage_collection() -> Generator[None]:
    """Within it the many small objects of a parsed log are not searched for cycles, of which they have none."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def whole_lines(descriptor: int, place: int, end: int | None = None) -> bytes:
    """The next lines that are whole, about a chunk of them and none beyond `end`; empty where there is none yet."""
    size = CHUNK
    while True:
        data = read_bytes(descriptor, place, size if end is None else min(size, end - place))
        if cut := data.rfind(b"\n") + 1:
            return data[:cut]
        if len(data) < size:
            return b""  # the last line, torn or still being written
        if size >= LONGEST:
            return data
        size *= 4


def read_bytes(descriptor: int, place: int, count: int) -> bytes:
    """As many bytes from that place as there are, up to `count`."""
    os.lseek(descriptor, place, os.SEEK_SET)
    return os.read(descriptor, count)
