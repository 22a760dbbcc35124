"""How a command ends that does not end well: one line on standard error, and an exit code."""

from __future__ import annotations

import errno
import os

from cyclopts import CycloptsError

from convscope.command_line.console import say
from convscope.command_line.stop_signals import exit_code
from convscope.errors import ConvscopeError, ResourceError, in_one_line, is_out_of_memory

DISK_ERRORS = {
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EROFS,
    errno.EACCES,
    errno.EPERM,
    errno.EIO,
    errno.EISDIR,
    errno.EFBIG,
}
"""What a disk answers where an error names no file."""


def explain(error: BaseException) -> int:
    """Say on standard error what went wrong, in one line; the exit code."""
    if isinstance(error, KeyboardInterrupt):
        message, code = "stopped; what was saved stands", exit_code(error)
    elif is_out_of_memory(error):
        message = "out of memory; close other programs, or use smaller images or batches (--set batch_size=VALUE)"
        code = ResourceError.exit_code
    elif isinstance(error, OSError) and (error.filename or error.errno in DISK_ERRORS):
        place = f" {error.filename}" if error.filename else ""
        message = f"cannot read or write{place}: {error.strerror}; what was saved before stands"
        code = ResourceError.exit_code
    elif isinstance(error, ConvscopeError):
        message, code = str(error), error.exit_code
    elif isinstance(error, CycloptsError):
        message, code = f"{' '.join(str(error).split())} See: {_help(error)}", 2
    else:
        message, code = f"unforeseen {in_one_line(error)}; please report it, with what --debug shows", 1
    rank = os.environ.get("RANK", "0")
    say(f"convscope: {message}" if rank == "0" else f"convscope: rank {rank}: {message}")
    return code


def _help(error: CycloptsError) -> str:
    """The command whose help lists what is allowed."""
    return " ".join(["convscope", *(error.command_chain or ()), "--help"])
