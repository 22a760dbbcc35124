"""A run's log, followed while it grows: read by byte position into columns, cut and damaged places noticed."""

from __future__ import annotations

import gc
import hashlib
import os
from collections import deque
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import Any, NamedTuple

import numpy as np
import orjson

MEASURED = {
    "train": ("loss", "accuracy", "learning_rate", "images_per_second"),
    "eval": ("train_loss", "train_accuracy", "test_loss", "test_accuracy"),
}
AXES = ("step", "epoch", "time")

CHUNK = 1 << 18
"""Bytes parsed at a time: few enough to stay in the processor's cache."""

LONGEST = 1 << 26
"""A longer line is damage."""

RECENT = 50
"""As many of the newest "train" events decide how fast a training is."""

TAIL = 200
"""As many bytes before the position tell whether the log still is the one that was read."""


class Part(NamedTuple):
    """Whole lines of a log, by columns."""

    start: int  # byte positions
    end: int
    columns: dict[str, dict[str, np.ndarray]]  # of the "train" and the "eval" events
    others: list[dict[str, Any]]  # every other event, and for "start" and "eval" the byte "place" of its line
    damaged: int  # lines that are no events
    newest: dict[str, Any] | None  # the last event


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


class RunLog:
    """The events.jsonl of a run, read as far as `position`.

    `generation` names what has been read: it changes where a resumption began, and where the log was cut or
    replaced, and is the same for every reader of the same file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = Lock()
        self._cuts = -1
        self._seen: tuple[int, int, int] | None = None
        self._begin(0)

    def _begin(self, inode: int) -> None:
        """Forget what was read."""
        self._cuts += 1
        self._inode = inode
        self._tail = b""
        self.position = 0
        self.caught_up = False
        self.trouble = ""
        self.damaged = 0
        self.columns = {kind: Columns(kind) for kind in MEASURED}
        self.others: list[dict[str, Any]] = []
        self.newest: dict[str, Any] | None = None
        self.evals: list[tuple[int, int]] = []  # step and byte place of each "eval" event
        self.recent: deque[tuple[int, float]] = deque(maxlen=RECENT)  # step and time
        self.generation = self._name_generation(0, b"")

    def _name_generation(self, place: int, start: bytes) -> str:
        text = f"{self._inode} {self._cuts} {place} ".encode() + start
        return hashlib.blake2s(text, digest_size=6).hexdigest()

    def read(self) -> Part | None:
        """Take in the next whole lines; None where there are none yet."""
        try:
            state = os.stat(self.path)
            signature = (state.st_ino, state.st_size, state.st_mtime_ns)
            if signature == self._seen and self.caught_up:
                return None
            with self._lock, self.path.open("rb", buffering=0) as file:
                part = self._read(file.fileno())
        except FileNotFoundError:
            with self._lock:
                if self.position or self._inode:
                    self._begin(0)
                self._seen, self.caught_up = None, True
            return None
        except OSError as error:
            self.trouble = f"{self.path.name} cannot be read: {error.strerror}"
            self.caught_up = True
            return None
        self.trouble = ""
        self.caught_up = part is None or part.end == state.st_size
        self._seen = signature
        return part

    def snapshot(self) -> tuple[str, int, dict[str, dict[str, np.ndarray]]]:
        """The generation, the position, and the columns of what has been read until there."""
        with self._lock:
            return self.generation, self.position, {kind: columns.view() for kind, columns in self.columns.items()}

    def told(self, kind: str) -> list[dict[str, Any]]:
        """The events of a kind other than "train", "eval" and "checkpoint"."""
        with self._lock:
            return [event for event in self.others if event["kind"] == kind]

    def confusions(self, step: int) -> Iterator[tuple[int, Any]]:
        """The steps and confusion matrices (None where an evaluation has none) up to a step, the newest first."""
        with self._lock:
            places = [(at, place) for at, place in self.evals if at <= step]
        for at, place in reversed(places):
            line = read_bytes_of(self.path, place, LONGEST).partition(b"\n")[0]
            try:
                event = orjson.loads(line)
                yield event["step"], event["data"].get("confusion")
            except (ValueError, TypeError, KeyError):
                yield at, None

    def _read(self, descriptor: int) -> Part | None:
        inode = os.fstat(descriptor).st_ino
        if inode != self._inode:
            first = self._inode == 0
            self._begin(inode)
            if first:
                self._cuts = 0
                self.generation = self._name_generation(0, b"")
        elif self._tail and read_bytes(descriptor, self.position - len(self._tail), len(self._tail)) != self._tail:
            self._begin(inode)
        lines = whole_lines(descriptor, self.position)
        if not lines:
            return None
        part = parse_lines(lines, self.position)
        self._take(part)
        self._tail = lines[-TAIL:]
        return part

    def _take(self, part: Part) -> None:
        for kind, columns in part.columns.items():
            self.columns[kind].extend(columns)
        train = part.columns["train"]
        for event in part.others:
            if event["kind"] == "start":
                self.generation = self._name_generation(event["place"], orjson.dumps(event))
                self.recent.clear()
                self.recent.append((event["step"], event["time"]))
            elif event["kind"] == "eval":
                self.evals.append((event["step"], event["place"]))
        began = self.recent[-1][0] if self.recent else 0
        newest = zip(train["step"][-RECENT:].tolist(), train["time"][-RECENT:].tolist(), strict=True)
        self.recent.extend((int(step), time) for step, time in newest if step > began)
        self.others.extend(event for event in part.others if event["kind"] not in ("eval", "checkpoint"))
        self.damaged += part.damaged
        self.newest = part.newest or self.newest
        self.position = part.end


def empty_columns(kind: str) -> dict[str, np.ndarray]:
    """Columns without rows: float64 for what lies on an axis, float32 for what was measured."""
    return {name: np.empty(0) for name in AXES} | {name: np.empty(0, np.float32) for name in MEASURED[kind]}


def read_bytes(descriptor: int, place: int, count: int) -> bytes:
    """As many bytes from that place as there are, up to `count`."""
    os.lseek(descriptor, place, os.SEEK_SET)
    return os.read(descriptor, count)


def read_bytes_of(path: Path, place: int, count: int) -> bytes:
    """The same from a file; empty where it is gone."""
    try:
        with path.open("rb", buffering=0) as file:
            return read_bytes(file.fileno(), place, count)
    except OSError:
        return b""


def whole_lines(descriptor: int, place: int, *, limit: int = LONGEST) -> bytes:
    """The next lines that are whole, about a chunk of them; empty where the next is not yet."""
    size = CHUNK
    while True:
        data = read_bytes(descriptor, place, size)
        cut = data.rfind(b"\n") + 1
        if cut:
            return data[:cut]
        if len(data) < size:
            return b""  # the last line, torn or still being written
        if size >= limit:
            return data
        size *= 4


def parse_lines(lines: bytes, start: int) -> Part:
    """The events of whole lines, which begin at byte `start` of the log.

    >>> part = parse_lines(b'{"kind": "end", "step": 3, "time": 1.5, "data": {}}\\n?\\n', 0)
    >>> part.others[0]["step"], part.damaged
    (3, 1)
    """
    with _no_garbage_collection():
        try:
            rows = orjson.loads(b"[" + lines[:-1].replace(b"\n", b",") + b"]")
            if len(rows) != lines.count(b"\n"):
                raise ValueError
            numbers: Sequence[int] = range(len(rows))
            columns = {kind: _by_columns(rows, kind) for kind in MEASURED}
            others = [(number, row) for number, row in enumerate(rows) if row["kind"] != "train"]
            if not all(_is_event(row) for _, row in others):
                raise ValueError
            damaged = 0
        except (ValueError, TypeError, KeyError, OverflowError):
            rows, numbers = read_line_by_line(lines)
            columns = {kind: _by_columns(rows, kind) for kind in MEASURED}
            others = [(number, row) for number, row in zip(numbers, rows, strict=True) if row["kind"] != "train"]
            damaged = lines.count(b"\n") - len(rows)
    if others:
        ends = np.flatnonzero(np.frombuffer(lines, np.uint8) == ord("\n"))
        for number, row in others:
            row["place"] = start + (int(ends[number - 1]) + 1 if number else 0)
            if row["kind"] == "eval":
                row["data"].pop("confusion", None)
    newest = {key: rows[-1][key] for key in ("kind", "step", "time", "data")} if rows else None
    return Part(start, start + len(lines), columns, [row for _, row in others], damaged, newest)


def read_rows(path: Path) -> Iterator[list[dict[str, Any]]]:
    """The events of a log as far as it goes, a part at a time."""
    place = 0
    with path.open("rb", buffering=0) as file:
        while lines := whole_lines(file.fileno(), place):
            yield read_line_by_line(lines)[0]
            place += len(lines)


def read_line_by_line(lines: bytes) -> tuple[list[dict[str, Any]], list[int]]:
    """The lines that are events, and their numbers: the others are damaged."""
    rows: list[dict[str, Any]] = []
    numbers: list[int] = []
    for number, line in enumerate(lines.split(b"\n")):
        try:
            row = orjson.loads(line)
        except ValueError:
            continue
        if _is_event(row):
            rows.append(row)
            numbers.append(number)
    return rows, numbers


def _is_event(row: Any) -> bool:
    """Whether a line is an event whose numbers are numbers."""
    if not isinstance(row, dict) or not isinstance(row.get("data"), dict) or not isinstance(row.get("kind"), str):
        return False
    numbers = [row.get("step"), row.get("time")]
    if row["kind"] in MEASURED:
        optional = (row["data"].get(name) for name in ("epoch", *MEASURED[row["kind"]]))
        numbers += [number for number in optional if number is not None]
    return all(isinstance(number, int | float) for number in numbers)


def _by_columns(rows: Sequence[Any], kind: str) -> dict[str, np.ndarray]:
    """The numbers of the events of a kind; NaN for what an event lacks."""
    events = [row for row in rows if row["kind"] == kind]
    data = [event["data"] for event in events]
    columns = {name: np.array([event[name] for event in events], np.float64) for name in ("step", "time")}
    columns["epoch"] = np.array([values.get("epoch") for values in data], np.float64)
    for name in MEASURED[kind]:
        columns[name] = np.array([values.get(name) for values in data], np.float32)
    return columns


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
