"""The process that decodes what people upload: nothing but this, with limits that the system enforces.

It is started as `python -m convscope.web.explorer.decoding SIZE`. It reads an image's bytes, their number before
them, from standard input and answers on standard output, again and again, until there is no more. An answer is a
letter, the number of bytes that follow, and these: pixels (size, size, 3) uint8, or one line that says why not.
"""

from __future__ import annotations

import io
import signal
import struct
import sys
from contextlib import suppress
from typing import BinaryIO

import numpy as np

from convscope.data.decode import NoSuchFormat, Unreadable, decode_image

try:
    import resource
except ImportError:  # Windows, where only the clock of the process that started this one limits it
    resource = None

MEMORY_BYTES = 1 << 30
"""Enough for the largest image allowed in the format that takes most, which is TIFF with floating-point values."""

PIXELS, UNREADABLE, NO_SUCH_FORMAT, NO_MEMORY = b"P", b"U", b"F", b"M"
HEAD = struct.Struct(">cQ")
LENGTH = struct.Struct(">Q")
LONGEST_REASON = 300


def limit() -> None:
    """Let this process have little memory, and write no file."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the server, which ends this process
    if resource is None:
        return
    limits = {"RLIMIT_AS": MEMORY_BYTES, "RLIMIT_CORE": 0, "RLIMIT_FSIZE": 0}
    for name, most in limits.items():
        with suppress(AttributeError, ValueError, OSError):  # not every system has or keeps each
            resource.setrlimit(getattr(resource, name), (most, most))


def answer(data: bytes, size: int) -> tuple[bytes, bytes]:
    """The kind of answer and what it says of one image."""
    try:
        return PIXELS, np.ascontiguousarray(decode_image(io.BytesIO(data), size).transpose(1, 2, 0)).tobytes()
    except NoSuchFormat as reason:
        return NO_SUCH_FORMAT, as_line(reason)
    except Unreadable as reason:
        kind = NO_MEMORY if isinstance(reason.__cause__, MemoryError) else UNREADABLE
        return kind, as_line(reason)


def as_line(reason: Exception) -> bytes:
    """A reason as it is sent: one line, not too long.

    >>> as_line(ValueError("broken"))
    b'broken'
    """
    return " ".join(str(reason).split())[:LONGEST_REASON].encode("ascii", "replace")


def serve(asked: BinaryIO, answers: BinaryIO, size: int) -> None:
    """Answer until nothing is asked any more, or memory ran out: what is left may be in pieces."""
    while len(head := asked.read(LENGTH.size)) == LENGTH.size:
        data = asked.read(LENGTH.unpack(head)[0])
        kind, said = answer(data, size)
        answers.write(HEAD.pack(kind, len(said)) + said)
        answers.flush()
        if kind == NO_MEMORY:
            return


if __name__ == "__main__":
    limit()
    serve(sys.stdin.buffer, sys.stdout.buffer, int(sys.argv[1]))
