"""What the explorer's pages are told while they are open: how far long work has come, and what is drawn."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from typing import Any

from convscope.web.event_stream import Page, event

TELL_SECONDS = 0.3
"""Progress is told no oftener than this, but for the end of it."""


class Stream:
    """Tells every open page; any thread may speak."""

    def __init__(self) -> None:
        self._pages: set[Page] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._going: dict[str, dict[str, Any]] = {}  # the progress of what has not ended
        self._told: dict[str, float] = {}

    def open(self) -> None:
        """Begin, in the server's loop."""
        self._loop = asyncio.get_running_loop()

    def progress(self, what: str, done: int, total: int | None) -> None:
        """Say how far long work has come; it has ended when done is total."""
        now, ended = time.monotonic(), done == total
        if not ended and now - self._told.get(what, 0) < TELL_SECONDS:
            return
        self._told[what] = now
        said = {"what": what, "done": done, "total": total}
        if ended:
            self._going.pop(what, None)
        else:
            self._going[what] = said
        self._send(tell("progress", said))

    def drawn(self, layer: str, channels: list[int], steps: int) -> None:
        """Say which channels' patterns are there, or finer."""
        self._send(b"".join(tell("drawn", {"layer": layer, "channel": index, "steps": steps}) for index in channels))

    def _send(self, message: bytes) -> None:
        if self._loop is not None:
            with suppress(RuntimeError):  # the loop has ended
                self._loop.call_soon_threadsafe(self._put, message)

    def _put(self, message: bytes) -> None:
        for page in self._pages:
            page.put(message)

    async def messages(self) -> AsyncIterator[bytes]:
        """The server-sent events for one page: where everything stands, then what comes."""
        page = Page()
        self._pages.add(page)
        try:
            yield b"retry: 1000\n\n" + b"".join(tell("progress", said) for said in [*self._going.values()])
            async for message in page.messages():
                yield message or b""
        finally:
            self._pages.discard(page)

    def close(self) -> None:
        """End every page's stream."""
        for page in self._pages:
            page.close()


def tell(kind: str, data: Mapping[str, Any]) -> bytes:
    """A whole event."""
    return event(kind, data) + b"\n"
