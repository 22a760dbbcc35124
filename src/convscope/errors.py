"""Every error that convscope raises on purpose, its exit code on the command line, and the words that messages share.

ConvscopeError        1   anything below
├─ UsageError         2   a command, name or value that does not exist or does not fit
├─ DataError          3   images, labels, archives or downloads that cannot be used
├─ CheckpointError    4   weights or training state that are damaged or do not fit
├─ NumericsError      5   a loss or a weight that is no longer finite
├─ ResourceError      6   no disk or memory left
├─ BusyError          7   another training holds the folder
├─ RankLost           8   one of the processes that train together is gone
└─ Interrupted      130   Ctrl-C (130) or SIGTERM (143); the state is saved
"""

from __future__ import annotations

import difflib
import errno
from collections.abc import Iterable, Sequence


class ConvscopeError(Exception):
    """A failure that one line explains: what came, what is allowed, how to find it."""

    exit_code = 1


class UsageError(ConvscopeError):
    """A command, name or value that does not exist or does not fit."""

    exit_code = 2


class DataError(ConvscopeError):
    """Images, labels, archives or downloads that cannot be used."""

    exit_code = 3


class CheckpointError(ConvscopeError):
    """Weights or training state that are damaged or do not fit the model."""

    exit_code = 4


class NumericsError(ConvscopeError):
    """A loss or a weight that is no longer finite; `step` is the first of a training at which it was seen."""

    exit_code = 5

    def __init__(self, message: str, *, step: int | None = None) -> None:
        super().__init__(message)
        self.step = step


class ResourceError(ConvscopeError):
    """No disk or memory left."""

    exit_code = 6


class BusyError(ConvscopeError):
    """Another training holds the folder."""

    exit_code = 7


class RankLost(ConvscopeError):
    """One of the processes that train together is gone, so the others ended too; what was saved stands."""

    exit_code = 8


class Interrupted(ConvscopeError):
    """Ctrl-C or SIGTERM, after the step was finished and saved."""

    exit_code = 130

    def __init__(self, message: str, *, exit_code: int = 130) -> None:
        super().__init__(message)
        self.exit_code = exit_code


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out: torch says so by classes of its own, and in places only in words.

    >>> is_out_of_memory(MemoryError()), is_out_of_memory(RuntimeError("shapes do not fit"))
    (True, False)
    """
    kinds = {kind.__name__ for kind in type(error).__mro__}
    told = isinstance(error, RuntimeError) and any(words in str(error) for words in _NO_MEMORY)
    refused = isinstance(error, OSError) and error.errno == errno.ENOMEM
    return told or refused or bool(kinds & {"MemoryError", "OutOfMemoryError"})


_NO_MEMORY = ("DefaultCPUAllocator", "ALLOC_FAILED")  # of the CPU, and of CUDA's libraries


def in_one_line(error: BaseException) -> str:
    r"""What an error says, in one line that is not too long for a terminal; one not ours begins with its kind.

    >>> in_one_line(ValueError("shapes (2,)\n  and (3,)")), in_one_line(KeyError()), in_one_line(DataError("cut off"))
    ('ValueError: shapes (2,) and (3,)', 'KeyError', 'cut off')
    """
    kind = "" if isinstance(error, ConvscopeError) else type(error).__name__
    return _cut(" ".join(": ".join(part for part in (kind, str(error)) if part).split()), 300)


def spelled_out(text: str) -> str:
    r"""The text with its control characters spelled out, so that it is one harmless line.

    >>> spelled_out("é" + chr(10) + "b")
    'é\\nb'
    """
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


def printable(name: str) -> str:
    """A name that a stranger wrote, as one harmless line that is not too long for a message."""
    return _cut(spelled_out(name), 100)


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"


def first_five(offenders: Sequence[str]) -> str:
    """The first five, for a message that gives their count.

    >>> first_five(["a", "b", "c", "d", "e", "f", "g"])
    'a, b, c, d, e and 2 more'
    """
    more = f" and {len(offenders) - 5:,} more" if len(offenders) > 5 else ""
    return ", ".join(offenders[:5]) + more


def closest(name: str, known: Iterable[str]) -> str:
    """The known names most like `name`, for an error message; empty when nothing is near.

    >>> closest("layer3.conv2", ["layer3.0.conv2", "conv1", "fc"])
    '; closest: layer3.0.conv2'
    """
    found = difflib.get_close_matches(name, list(known), n=3, cutoff=0.5)
    return f"; closest: {', '.join(found)}" if found else ""
