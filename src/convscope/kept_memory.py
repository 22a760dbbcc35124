"""Memory that is freed and soon wanted again, kept by the process: each training step needs the same pieces anew."""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from threading import Lock
from typing import ParamSpec, TypeVar

# What glibc's mallopt takes, by the numbers of its malloc.h.
TRIM_THRESHOLD, MMAP_THRESHOLD, MMAP_MAX = -1, -3, -4

KEPT = {MMAP_MAX: 0, TRIM_THRESHOLD: 2**31 - 1}
"""Large pieces come from the heap like small ones, and the heap is not cut."""

USUAL = {MMAP_MAX: 65_536, MMAP_THRESHOLD: 32 << 20, TRIM_THRESHOLD: 64 << 20}
"""Where glibc's own adjusting has come to in a process that once freed a large piece."""

_lock = Lock()
_keepers = 0

Arguments = ParamSpec("Arguments")
Item = TypeVar("Item")


@contextmanager
def kept_memory() -> Generator[None]:
    """While it lasts, what tensors free on the CPU stays with the process; at its end all that is free goes back.

    glibc fetches each piece of some megabytes from the system and gives it back when it is freed, and the system
    clears it page by page: in a training step that takes up to a third of the time. Elsewhere nothing changes.

    >>> with kept_memory():
    ...     pass
    """
    global _keepers
    with _lock:
        _keepers += 1
        if _keepers == 1:
            _set(KEPT)
    try:
        yield
    finally:
        with _lock:
            _keepers -= 1
            if _keepers == 0:
                _set(USUAL)


def keeping_memory(generate: Callable[Arguments, Iterator[Item]]) -> Callable[Arguments, Iterator[Item]]:
    """The generator function, with memory kept from its first item to its end."""

    @functools.wraps(generate)
    def generated(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Iterator[Item]:
        with kept_memory():
            yield from generate(*args, **kwargs)

    return generated


def _set(values: dict[int, int]) -> None:
    """Tell glibc, where that is the C library."""
    try:
        library = ctypes.CDLL(None)
        tell, give_back = library.mallopt, library.malloc_trim
    except (OSError, TypeError, AttributeError):
        return
    for parameter, value in values.items():
        tell(parameter, value)
    if values is USUAL:
        give_back(0)
