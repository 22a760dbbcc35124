"""A run's log, followed while it grows: what is new since the last look, and whether it still is the same log."""

from __future__ import annotations

import hashlib
import os
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import orjson

from convscope.training.log_parts import (
    LONGEST,
    MEASURED,
    Columns,
    Part,
    parse_lines,
    read_bytes,
    whole_lines,
)

RECENT = 50
"""As many of the newest "train" events decide how fast a training is."""

TAIL = 200
"""As many bytes before the position tell whether the log still is the one that was read."""


class RunLog:
    """The events.jsonl of a run, read as far as `position`.

    `generation` names the log that this is a position in: it changes where a resumption began, and where the log was
    cut or replaced, and is the same for every reader of the same file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.asked = 0.0  # when its columns were last wanted
        self._lock = Lock()
        self._cuts = 0
        self._seen: tuple[int, int, int] | None = None
        self._begin(0)

    def _begin(self, inode: int) -> None:
        """Forget what was read."""
        self._inode = inode
        self._tail = b""
        self._columns: dict[str, Columns] | None = {kind: Columns(kind) for kind in MEASURED}
        self._others: list[dict[str, Any]] = []
        self._evals: list[tuple[int, int]] = []  # step and byte place of each "eval" event
        self.rows = 0  # "train" events
        self.position = 0
        self.generation = self._name_generation(0, b"")
        self.caught_up = False
        self.trouble = ""
        self.damaged = 0  # lines
        self.newest: dict[str, Any] | None = None  # event
        self.measured: dict[str, dict[str, float]] = {}  # by kind, the numbers of the newest event
        self.recent: deque[tuple[int, float]] = deque(maxlen=RECENT)  # step and time

    def _name_generation(self, place: int, start: bytes) -> str:
        text = f"{self._inode} {self._cuts} {place} ".encode() + start
        return hashlib.blake2s(text, digest_size=6).hexdigest()

    def read(self) -> Part | None:
        """Take in the next whole lines; None where there are none yet.

        A log that was cut or replaced is read again from its beginning.
        """
        try:
            state = self.path.stat()
            signature = (state.st_ino, state.st_size, state.st_mtime_ns)
            if signature == self._seen and self.caught_up:
                return None
            with self._lock, self.path.open("rb", buffering=0) as file:
                part = self._read(file.fileno())
        except OSError as error:
            missing = isinstance(error, FileNotFoundError)
            with self._lock:
                if missing and self._inode:
                    self._cuts += 1
                    self._begin(0)
            self.trouble = "" if missing else f"{self.path.name} cannot be read: {error.strerror}"
            self._seen, self.caught_up = None, True
            return None
        self.trouble = ""
        self._seen, self.caught_up = signature, part is None or part.end == state.st_size
        return part

    def has_changed(self) -> bool:
        """Whether the file is another or longer than when it was last read."""
        try:
            state = self.path.stat()
        except OSError:
            return self._seen is not None
        return (state.st_ino, state.st_size, state.st_mtime_ns) != self._seen

    def _read(self, descriptor: int) -> Part | None:
        """Take in the next whole lines of an open file, from its beginning where it is another than before."""
        inode = os.fstat(descriptor).st_ino
        if inode != self._inode:
            self._begin(inode)
        elif self._tail != read_bytes(descriptor, self.position - len(self._tail), len(self._tail)):
            self._cuts += 1
            self._begin(inode)
        lines = whole_lines(descriptor, self.position)
        if not lines:
            return None
        part = parse_lines(lines, self.position)
        self._take(part)
        self._tail = lines[-TAIL:]
        return part

    def _take(self, part: Part) -> None:
        """Add a part to what was read."""
        for kind, columns in part.columns.items():
            if self._columns:
                self._columns[kind].extend(columns)
            if len(columns["step"]):
                self.measured[kind] = {name: float(columns[name][-1]) for name in MEASURED[kind]}
        for event in part.others:
            if event["kind"] == "start":
                self.generation = self._name_generation(event["place"], orjson.dumps(event))
                self.recent.clear()  # what came before was perhaps on another machine
                self.recent.append((event["step"], event["time"]))
            elif event["kind"] == "eval":
                self._evals.append((event["step"], event["place"]))
        train = part.columns["train"]
        last = self.recent[-1][0] if self.recent else -1
        newest = zip(train["step"][-RECENT:].tolist(), train["time"][-RECENT:].tolist(), strict=True)
        self.recent.extend((int(step), seconds) for step, seconds in newest if step > last)
        self._others.extend(event for event in part.others if event["kind"] not in ("eval", "checkpoint"))
        self.rows += len(train["step"])
        self.damaged += part.damaged
        self.newest = part.newest or self.newest
        self.position = part.end

    def snapshot(self) -> tuple[str, int, dict[str, dict[str, np.ndarray]]]:
        """The generation, the position, and the columns of what has been read until there."""
        self.asked = time.monotonic()
        with self._lock:
            if self._columns is None:
                self._columns = self._recall()
            return self.generation, self.position, {kind: columns.view() for kind, columns in self._columns.items()}

    def forget(self) -> None:
        """Give the columns' memory back; they are read again when they are asked for."""
        with self._lock:
            self._columns = None

    @property
    def remembers(self) -> bool:
        """Whether the columns are in memory."""
        return self._columns is not None

    def _recall(self) -> dict[str, Columns]:
        """The columns up to the position, read again."""
        found = {kind: Columns(kind) for kind in MEASURED}
        place = 0
        try:
            with self.path.open("rb", buffering=0) as file:
                while place < self.position and (lines := whole_lines(file.fileno(), place, self.position)):
                    for kind, columns in parse_lines(lines, place).columns.items():
                        found[kind].extend(columns)
                    place += len(lines)
        except OSError:
            pass  # gone since: the next look says so
        return found

    def told(self, kind: str) -> list[dict[str, Any]]:
        """The events of a kind other than "train", "eval" and "checkpoint"."""
        with self._lock:
            return [event for event in self._others if event["kind"] == kind]

    def confusions(self, step: int) -> Iterator[tuple[int, Any]]:
        """The steps and confusion matrices (None where an evaluation has none) up to a step, the newest first."""
        with self._lock:
            places = [(at, place) for at, place in self._evals if at <= step]
        for at, place in reversed(places):
            try:
                with self.path.open("rb") as file:
                    file.seek(place)
                    event = orjson.loads(file.readline(LONGEST))
                    yield event["step"], event["data"].get("confusion")
            except (OSError, ValueError, TypeError, KeyError):
                yield at, None

    def read_range(self, start: int, end: int) -> Part | None:
        """The part between two positions; None where the file has it no more."""
        try:
            with self.path.open("rb", buffering=0) as file:
                lines = read_bytes(file.fileno(), start, end - start)
        except OSError:
            return None
        return parse_lines(lines, start) if len(lines) == end - start and lines.endswith(b"\n") else None
