"""How the explorer's threads end: told so wherever they are, and waited for."""

from __future__ import annotations

import ctypes
import sys
import time
from threading import Thread

JOIN_SECONDS = 60.0
"""What is being done when the explorer ends has so long to notice it: to import torch, say, on a busy machine."""

LOOK_SECONDS = 0.02


ENDS = "the explorer has ended; start it again in the terminal"
BUSY = "too much else was asked since; ask again"


class GivenUp(Exception):
    """Why what was asked is not computed, though nothing is wrong with it: ENDS or BUSY."""


class Closed(BaseException):
    """Ends work when the explorer ends; a BaseException, so that nothing on the way takes it for a failure."""


def interrupt(thread: Thread) -> None:
    """Raise Closed in a thread, at its next step: one that is in the middle of torch when Python ends aborts it.

    A thread that imports is let finish that first: it would take Python's import lock with it, and the next import of
    any thread would wait for ever.
    """
    if _imports(thread):
        Thread(target=_interrupt_later, args=[thread], name="explorer ending", daemon=True).start()
    elif thread.ident is not None:
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident), ctypes.py_object(Closed))


def _interrupt_later(thread: Thread) -> None:
    while _imports(thread):
        time.sleep(LOOK_SECONDS)
    if thread.is_alive():
        interrupt(thread)


def _imports(thread: Thread) -> bool:
    """Whether a thread is in the middle of an import."""
    frame = sys._current_frames().get(thread.ident or 0)  # pyright: ignore[reportPrivateUsage]
    while frame is not None:
        if "importlib" in frame.f_code.co_filename:
            return True
        frame = frame.f_back
    return False
