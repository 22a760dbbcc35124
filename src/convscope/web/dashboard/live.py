"""What is live: one task follows the logs of all runs, and hands what is new to every page that listens."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from threading import Event
from typing import Any, NamedTuple

from convscope.training.log_parts import MEASURED, Part, empty_columns
from convscope.types import Say
from convscope.web.dashboard.run_list import RunList, WatchedRun
from convscope.web.dashboard.run_log import RunLog
from convscope.web.dashboard.run_summary import is_finished
from convscope.web.event_stream import Page, event, json_bytes

POLL_SECONDS = 0.25
SCAN_SECONDS = 2.0
IDLE_SECONDS = 2.0
"""Seconds between two looks at the logs' lengths, at the folder, and at either when no page listens."""

PATIENCE_SECONDS = 1.5
"""A page that asks waits so long for what is new, then gets what is known."""

MESSAGES_A_SECOND = 1000
"""To all pages together; where they are hundreds each is told less often, and the training keeps its processor."""

TURN_BYTES = 1 << 25
"""As much of one log is read before the others have their turn."""

REPLAY_BYTES = 1 << 22
"""A page that missed more than this fetches the thinned series again."""

ROWS = 2_000_000
"""As many rows of all logs together are kept in memory, 40 bytes each."""

RUNS_BYTES_A_SECOND = 1e7
"""To all pages together; the list of many runs is told less often."""

ID_RUNS = 200
"""As many runs stand in an event's id, which comes back in a header; of others a page asks again."""


class Told(NamedTuple):
    """How far a run's log has been told to the pages."""

    generation: str
    position: int


class Live:
    """Follows the runs of a folder for any number of pages."""

    def __init__(self, folder: Path, *, warn: Say) -> None:
        self.runs = RunList(folder)
        self._warn = warn
        self.pages: set[Page] = set()
        self.left = time.monotonic()  # when the last page left
        self.described = json_bytes(self.runs.describe())
        self._told: dict[str, Told] = {}
        self._grown: set[str] = set()  # runs whose logs have grown while we watched
        self._scanned = 0.0
        self._runs_told = 0.0
        self._wake = Event()
        self._looked = asyncio.Event()

    async def follow(self) -> None:
        """Look at the logs for ever; the one task that does."""
        while True:
            try:
                if await self._look():
                    continue  # a long log is read in turns
            except Exception as error:  # whatever it is, it must not end the watching
                self._warn(f"unforeseen {type(error).__name__}: {error}; please report it")
                await asyncio.sleep(IDLE_SECONDS)
            self._looked.set()
            self._looked = asyncio.Event()
            await asyncio.to_thread(self._rest)

    def _rest(self) -> None:
        """Wait until a log has changed, the folder is to be looked at, or somebody asks; without waking the loop."""
        pause = self._pause() if self.pages else IDLE_SECONDS
        for _ in range(max(1, round(SCAN_SECONDS / pause))):
            if self._wake.wait(pause):
                break
            if any(run.log.has_changed() for run in self.runs.runs.values()):
                break
        self._wake.clear()

    def _pause(self) -> float:
        """Seconds between two messages to each page; half of what all of them get is the list of runs."""
        return max(POLL_SECONDS, 2 * len(self.pages) / MESSAGES_A_SECOND)

    async def refresh(self) -> None:
        """Wait until every log has been read to its end, but not for long."""
        self._wake.set()
        with suppress(TimeoutError):
            await asyncio.wait_for(self._looked.wait(), PATIENCE_SECONDS)

    async def caught_up(self, run: WatchedRun) -> None:
        """Wait until the run's log has been read to its end once."""
        self._wake.set()
        while run.id in self.runs.runs and not run.log.caught_up:
            await asyncio.sleep(0.02)

    async def _look(self) -> bool:
        """Read what is new and tell it; whether there is more to read at once."""
        now = time.monotonic()
        scan = now - self._scanned >= SCAN_SECONDS
        gap = max(0.5, self._pause(), len(self.described) * len(self.pages) / RUNS_BYTES_A_SECOND)
        describe = now - self._runs_told >= gap
        read, described = await asyncio.to_thread(self._read, scan=scan, describe=describe)
        if scan:
            self._scanned = now
        self._told = {key: told for key, told in self._told.items() if key in self.runs.runs}
        if message := b"".join(part for run, parts in read for part in self._tell(run, parts)):
            self._put(message)
        if described not in (b"", self.described):
            self.described, self._runs_told = described, now
            self._put(None)
        return any(not run.log.caught_up for run, _ in read)

    def _read(self, *, scan: bool, describe: bool) -> tuple[list[tuple[WatchedRun, list[Part]]], bytes]:
        """What is new in the logs, and the list of runs as JSON where it is asked for."""
        if scan:
            self.runs.scan()
        read = [(run, read_new(run)) for run in self.runs.runs.values()]
        spare_memory([run.log for run in self.runs.runs.values()])
        return read, json_bytes(self.runs.describe()) if describe else b""

    def _tell(self, run: WatchedRun, parts: Sequence[Part]) -> Iterator[bytes]:
        """The events for what was read of a run, each with an id."""
        before, log = self._told.get(run.id), run.log
        now = Told(log.generation, log.position)
        if before == now or not log.caught_up:
            return
        if before:
            self._grown.add(run.id)
        joins = before and parts and before == (now.generation, parts[0].start)
        if joins and parts[-1].end - parts[0].start <= REPLAY_BYTES:
            for part in parts:
                self._told[run.id] = Told(now.generation, part.end)
                yield tell_part(run.id, now.generation, part) + self._id(self._told)
        else:
            self._told[run.id] = now
            yield tell_head(run.id, now) + self._id(self._told)

    def _put(self, message: bytes | None) -> None:
        for page in self.pages:
            page.put(message)

    def _is_live(self, run: WatchedRun) -> bool:
        """Whether its log may grow, or has grown while we watched."""
        return run.id in self._grown or not is_finished(run.log)

    def _id(self, told: Mapping[str, Told]) -> bytes:
        """The end of an event: the id that says how far the live runs have been told."""
        live = [run.id for run in self.runs.runs.values() if self._is_live(run) and run.id in told]
        known = (":".join(map(str, (key, *told[key]))) for key in live[:ID_RUNS])
        return b"id: " + ",".join(known).encode() + b"\n\n"

    async def stream(self, last_id: str) -> AsyncIterator[bytes]:
        """The server-sent events for one page: what it missed since `last_id`, then everything as it comes."""
        await self.refresh()
        page = Page()
        self.pages.add(page)  # from here on it is told what comes; what was told before is caught up with now
        self._wake.set()  # the next look comes sooner when somebody listens
        told, known = dict(self._told), parse_id(last_id)
        runs = [run for key, run in self.runs.runs.items() if key in told]
        try:
            yield b"retry: 1000\n\n" + self._list() + b"\n"
            missed = await asyncio.to_thread(lambda: [catch_up(run, known.get(run.id), told[run.id]) for run in runs])
            for run, message in zip(runs, missed, strict=True):
                known[run.id] = told[run.id]
                if message:
                    yield message + self._id(known)
            async for message in page.messages():
                yield message or self._list() + b"\n"
        finally:
            self.pages.discard(page)
            self.left = time.monotonic()

    def _list(self) -> bytes:
        """The event that tells the list of runs."""
        return b"event: runs\ndata: " + self.described + b"\n"

    def close(self) -> None:
        """End every page's stream, and a rest."""
        for page in self.pages:
            page.close()
        self._wake.set()


def spare_memory(logs: Sequence[RunLog]) -> None:
    """Let go of the columns of the logs that nobody has asked for the longest, where there are too many rows."""
    kept = sorted((log for log in logs if log.remembers), key=lambda log: log.asked)
    rows = sum(log.rows for log in kept)
    for log in kept[:-1]:
        if rows <= ROWS:
            break
        rows -= log.rows
        log.forget()


def read_new(run: WatchedRun) -> list[Part]:
    """What the run's log has that was not read yet, or the first part of it."""
    parts: list[Part] = []
    taken = 0
    while taken < TURN_BYTES and (part := run.log.read()):
        taken += part.end - part.start
        if taken <= REPLAY_BYTES:
            parts.append(part)
        else:
            parts = [part]  # too much to tell: what does not join says so
    return parts


def catch_up(run: WatchedRun, known: Told | None, told: Told) -> bytes:
    """The events for what a page that knows the log up to `known` has missed until `told`."""
    if known == told:
        return b""
    same = known and known.generation == told.generation
    if known and same and 0 < told.position - known.position <= REPLAY_BYTES:
        part = run.log.read_range(known.position, told.position)
        if part and run.log.generation == told.generation:
            return tell_part(run.id, told.generation, part)
    if known and same and known.position > told.position:
        told = Told("", told.position)  # of no log: what the page knows is not in the file any more
    return tell_head(run.id, told)


def tell_part(run: str, generation: str, part: Part) -> bytes:
    """The events for a part of a run's log; the last, which says how far it reaches, is left open for an id."""
    steps = [other["step"] for other in part.others if other["kind"] == "film"]
    frames = b"".join(event("frame", {"run": run, "step": step}) + b"\n" for step in steps)
    return frames + event("points", {**_where(run, generation, part.start, part.end), **part.columns})


def tell_head(run: str, told: Told) -> bytes:
    """The event that says how long a log is, so that a page that knows less asks again; left open for an id."""
    empty = {kind: empty_columns(kind) for kind in MEASURED}
    return event("points", {**_where(run, told.generation, told.position, told.position), **empty})


def _where(run: str, generation: str, start: int, end: int) -> dict[str, Any]:
    return {"run": run, "generation": generation, "start": start, "end": end}


def parse_id(text: str) -> dict[str, Told]:
    """How far a page has come, from the id of the last event that it saw; what makes no sense is left out.

    >>> parse_id("a:g1:120,b:g2:7,nonsense")
    {'a': Told(generation='g1', position=120), 'b': Told(generation='g2', position=7)}
    """
    found: dict[str, Told] = {}
    for item in text.split(","):
        run, _, rest = item.partition(":")
        generation, _, position = rest.partition(":")
        if run and generation and position.isdecimal() and len(position) < 19:
            found[run] = Told(generation, int(position))
    return found
