"""A disk that fails, or a process that dies, at one numbered operation on the files of a run."""

from __future__ import annotations

import errno
import functools
import io
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FREEING = ("unlink", "rmdir")
"""What still works on a disk that stays full."""


@dataclass
class Disk:
    """Numbers what a process does to the files below a folder, from 1, and at number `at` lets it go wrong.

    `fault` is the name of an error (ENOSPC, EIO, EACCES) or "kill". An error lasts, as a full disk does, unless
    `once`. `half` writes half of what was to be written first. Each operation is noted in the file `notes`.
    """

    folder: str
    at: int = 0
    fault: str = "ENOSPC"
    once: bool = False
    half: bool = False
    notes: str | None = None

    def plant(self) -> None:
        """Take over this process's file operations."""
        self._number = 0
        self._inside = os.path.realpath(self.folder) + os.sep
        self._notes = os.open(self.notes, os.O_WRONLY | os.O_CREAT | os.O_APPEND) if self.notes else None
        io.open = self._opener(io.open)
        for name in ("mkdir", "unlink", "rmdir", "rename", "replace"):
            setattr(os, name, self._by_path(name, getattr(os, name)))
        os.open = self._os_open(os.open)
        os.fsync = self._fsync(os.fsync)

    def _touch(self, operation: str, path: str, half: Callable[[], Any] = lambda: None) -> None:
        """Count an operation on a path; go wrong if it is its turn."""
        if not (path + os.sep).startswith(self._inside):
            return
        self._number += 1
        if self._notes is not None:
            os.write(self._notes, f"{operation} {path.removeprefix(self._inside)}\n".encode())
        again = self._number > self.at > 0 and not (self.once or self.fault == "kill" or operation in FREEING)
        if self._number == self.at or again:
            if self.half:
                half()
            if self.fault == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            code = getattr(errno, self.fault)
            raise OSError(code, os.strerror(code), path)

    def _opener(self, original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def opened(file: Any, mode: str = "r", *arguments: Any, **keywords: Any) -> Any:
            if isinstance(file, int) or not set(mode) & set("wax+"):
                return original(file, mode, *arguments, **keywords)
            path = os.path.realpath(os.fspath(file))
            self._touch("open", path)
            return _File(original(file, mode, *arguments, **keywords), path, self._touch)

        return opened

    def _by_path(self, name: str, original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def called(path: Any, *arguments: Any, dir_fd: int | None = None, **keywords: Any) -> Any:
            self._touch(name, _full(path, dir_fd))
            given = keywords if dir_fd is None else {**keywords, "dir_fd": dir_fd}
            return original(path, *arguments, **given)

        return called

    def _os_open(self, original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def opened(path: Any, flags: int, *arguments: Any, dir_fd: int | None = None, **keywords: Any) -> int:
            if flags & (os.O_WRONLY | os.O_RDWR) or not flags & ~(os.O_RDONLY | os.O_CLOEXEC):
                self._touch("open", _full(path, dir_fd))
            given = keywords if dir_fd is None else {**keywords, "dir_fd": dir_fd}
            return original(path, flags, *arguments, **given)

        return opened

    def _fsync(self, original: Callable[[int], None]) -> Callable[[int], None]:
        @functools.wraps(original)
        def synced(descriptor: int) -> None:
            self._touch("fsync", os.readlink(f"/proc/self/fd/{descriptor}"))
            original(descriptor)

        return synced


class _File:
    """An open file whose writes are counted."""

    def __init__(self, file: Any, path: str, touch: Callable[..., None]) -> None:
        self._file, self._path, self._touch = file, path, touch

    def write(self, data: Any) -> int:
        def half() -> None:
            self._file.write(data[: len(data) // 2])
            self._file.flush()

        self._touch("write", self._path, half)
        return self._file.write(data)

    def truncate(self, size: int | None = None) -> int:
        self._touch("truncate", self._path)
        return self._file.truncate(size)

    def __enter__(self) -> _File:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


def _full(path: Any, dir_fd: int | None) -> str:
    """The whole path of a name that may be told beside a folder's descriptor; a last link is not followed."""
    if dir_fd is not None:
        path = os.path.join(os.readlink(f"/proc/self/fd/{dir_fd}"), os.fspath(path))
    given = Path(path)
    return os.path.join(os.path.realpath(given.parent), given.name)
