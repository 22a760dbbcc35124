"""Images that a page sends: read within limits, and decoded in a process of their own that may fail alone."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from contextlib import suppress
from threading import Lock, Timer

import numpy as np
from anyio.to_thread import run_sync
from numpy.typing import NDArray
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from convscope.data.decode import MOST_BYTES
from convscope.web.explorer.decoding import HEAD, LENGTH, LONGEST_REASON, NO_MEMORY, NO_SUCH_FORMAT, PIXELS
from convscope.web.guard import refuse

BODY_SECONDS = 30.0
"""An upload has so long to arrive."""

DECODE_SECONDS = 10.0
"""Decoding may take so long; the largest images take about one second."""

THROWN_AWAY_BYTES = 10 * MOST_BYTES
"""What is too large is read on this far: a browser that is still sending reads no answer."""

AT_ONCE = 2
"""So many uploads are read at once; others wait."""


ENDED = b""


class Refused(Exception):
    """Why an upload is not taken, and the HTTP status that says so."""

    def __init__(self, message: str, *, status: int) -> None:
        super().__init__(message)
        self.status = status


async def tell_refused(request: Request, error: Exception) -> Response:
    """The answer to an upload that is not taken, for an app's table of exception handlers."""
    return refuse(str(error), status=error.status if isinstance(error, Refused) else 400)


class Uploads:
    """Takes images from requests: their central square (size, size, 3) uint8 RGB, as the network reads them."""

    def __init__(self, size: int) -> None:
        self._decoder = Decoder(size)
        self._places: asyncio.Semaphore | None = None

    async def take(self, request: Request) -> NDArray[np.uint8]:
        """The image that is the request's body. Raises Refused with 400, 408, 413, 415 or 422."""
        self._places = self._places or asyncio.Semaphore(AT_ONCE)
        async with self._places:
            data = await read_body(request)
            return await run_sync(self._decoder.decode, data)

    def close(self) -> None:
        """End the process that decodes."""
        self._decoder.close()


async def read_body(request: Request) -> bytes:
    """The request's body, at most MOST_BYTES of it. Raises Refused with 400, 408 or 413."""
    data, length = bytearray(), 0
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for chunk in request.stream():
                length += len(chunk)
                if length > THROWN_AWAY_BYTES:
                    break
                if length <= MOST_BYTES:
                    data += chunk
                else:
                    data.clear()
    except TimeoutError as error:
        raise Refused(f"the image did not arrive within {BODY_SECONDS:.0f} seconds", status=408) from error
    except ClientDisconnect as error:
        raise Refused("the image did not arrive whole", status=400) from error
    if length > MOST_BYTES:
        raise Refused(f"more than {MOST_BYTES // 1_000_000} MB; send a smaller file", status=413)
    if not data:
        raise Refused("the file is empty", status=422)
    return bytes(data)


class Decoder:
    """Decodes images in another process, which starts with the first image and anew after each that ends it."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.process: subprocess.Popen[bytes] | None = None
        self._lock = Lock()

    def decode(self, data: bytes) -> NDArray[np.uint8]:
        """The image's central square (size, size, 3) uint8. Raises Refused with 415 or 422."""
        with self._lock:
            used = self.process is not None
            kind, said = self._ask(data)
            if kind == NO_MEMORY and used:  # what earlier images left behind may be to blame
                kind, said = self._ask(data)
        if kind == PIXELS:
            return np.frombuffer(said, np.uint8).reshape(self.size, self.size, 3)
        if kind == NO_MEMORY:
            raise Refused("decoding it takes too much memory", status=422)
        raise Refused(said.decode(), status=415 if kind == NO_SUCH_FORMAT else 422)

    def close(self) -> None:
        """End the process."""
        if self.process:
            self.process.kill()
            self.process.communicate()
            self.process = None

    def _ask(self, data: bytes) -> tuple[bytes, bytes]:
        """The process's answer, or what became of it."""
        if self.process and self.process.poll() is not None:
            self.close()
        process = self.process = self.process or start_decoding(self.size)
        late = Timer(DECODE_SECONDS, process.kill)
        late.start()
        try:
            kind, said = converse(process, data, self.size)
        finally:
            late.cancel()
        if kind in (NO_MEMORY, ENDED):
            self.close()
        return kind, said


def converse(process: subprocess.Popen[bytes], data: bytes, size: int) -> tuple[bytes, bytes]:
    """The kind of a process's answer, ENDED where it gave none, and what it says."""
    assert process.stdin is not None
    assert process.stdout is not None
    with suppress(OSError):  # its pipe is broken: it ended
        process.stdin.write(LENGTH.pack(len(data)))
        process.stdin.write(data)
        process.stdin.flush()
        head = process.stdout.read(HEAD.size)
        if len(head) == HEAD.size:
            kind, length = HEAD.unpack(head)
            right = length == 3 * size**2 if kind == PIXELS else length <= LONGEST_REASON
            said = process.stdout.read(length) if right else b""
            if right and len(said) == length:
                return kind, said
    return ENDED, b"decoding it takes too long, or ends the decoder"


def start_decoding(size: int) -> subprocess.Popen[bytes]:
    """A new process that decodes."""
    return subprocess.Popen(
        [sys.executable, "-m", "convscope.web.explorer.decoding", str(size)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,  # what libtiff says of broken files
        env={
            **os.environ,
            "OPENBLAS_NUM_THREADS": "1",
            "OMP_NUM_THREADS": "1",
        },  # threads would need memory of their own
        start_new_session=os.name != "nt",
    )
