"""Server-sent events: what waits for a page that listens, and an event as bytes."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Mapping
from typing import Any

import orjson

BACKLOG = 256
"""Messages that wait for a page; one that is slower than that is cut off, and comes back by itself."""


class Page:
    """One listening page: the messages that wait for it."""

    def __init__(self) -> None:
        self._waiting: deque[bytes | None] = deque()  # None: what is to be told is made when its turn comes
        self._awake = asyncio.Event()
        self.closed = False

    def put(self, message: bytes | None) -> None:
        """Queue a message, None at most once; or the end of the stream where too many wait."""
        if message is None and None in self._waiting:
            return
        if len(self._waiting) >= BACKLOG:
            self.close()
        else:
            self._waiting.append(message)
            self._awake.set()

    def close(self) -> None:
        """End the stream."""
        self.closed = True
        self._waiting.clear()
        self._awake.set()

    async def messages(self) -> AsyncIterator[bytes | None]:
        """What is put, as it comes, until it is closed."""
        while not self.closed:
            while self._waiting and not self.closed:
                yield self._waiting.popleft()
            self._awake.clear()
            if not self._waiting and not self.closed:
                await self._awake.wait()


def event(kind: str, data: Mapping[str, Any]) -> bytes:
    """One server-sent event, to which an id and the empty line that ends it have to be added."""
    return f"event: {kind}\ndata: ".encode() + json_bytes(data) + b"\n"


def json_bytes(values: Any) -> bytes:
    """Values, NumPy's too, as JSON; NaN becomes null."""
    return orjson.dumps(values, option=orjson.OPT_SERIALIZE_NUMPY)
