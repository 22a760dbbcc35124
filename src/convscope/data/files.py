"""Many image files in little memory: by number, wherever they lie."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray


@runtime_checkable
class Files(Protocol):
    """Image files by number, in class folders or in shards."""

    def __len__(self) -> int: ...

    def name(self, index: int) -> str:
        """What a message calls the file."""
        ...

    def open(self, index: int) -> str | io.BytesIO:
        """What decode_image takes. Raises Unreadable."""
        ...

    def take(self, indices: NDArray[np.int64]) -> Files:
        """Some of them, in the order asked for."""
        ...

    def digest(self, *, times: bool) -> str:
        """SHA-256 over which files these are and how long; with `times` also over where and since when."""
        ...


class Paths:
    """Files by their paths: the folders once, the names in one piece, as a list of strings would take a gigabyte."""

    def __init__(
        self,
        folders: Sequence[str],
        names: bytes,
        ends: NDArray[np.int64],
        lengths: NDArray[np.uint16],
        folder_of: NDArray[np.int32],
    ) -> None:
        self._folders = tuple(folders)
        self._names = names
        self._ends = ends  # (N,) where in `names` each name ends
        self._lengths = lengths  # (N,) of the names in bytes
        self._folder_of = folder_of  # (N,)

    @classmethod
    def in_folder(cls, folder: str, names: Sequence[str]) -> Paths:
        """The files of these names in a folder; an empty one where the names are whole paths.

        >>> Paths.in_folder("cats", ["1.png", "2.png"]).name(1)
        'cats/2.png'
        """
        encoded = [os.fsencode(name) for name in names]
        lengths = np.fromiter(map(len, encoded), np.uint16, len(encoded))
        ends = np.cumsum(lengths, dtype=np.int64)
        return cls([folder], b"".join(encoded), ends, lengths, np.zeros(len(names), np.int32))

    @classmethod
    def joined(cls, parts: Sequence[Paths]) -> Paths:
        """The files of one after those of the other."""
        before = np.cumsum([0, *(len(part._names) for part in parts)])
        folders_before = np.cumsum([0, *(len(part._folders) for part in parts)], dtype=np.int32)
        return cls(
            [folder for part in parts for folder in part._folders],
            b"".join(part._names for part in parts),
            np.concatenate([part._ends + start for part, start in zip(parts, before[:-1], strict=True)]),
            np.concatenate([part._lengths for part in parts]),
            np.concatenate([part._folder_of + n for part, n in zip(parts, folders_before[:-1], strict=True)]),
        )

    def __len__(self) -> int:
        return len(self._ends)

    def name(self, index: int) -> str:
        """The path."""
        end = int(self._ends[index])
        name = os.fsdecode(self._names[end - int(self._lengths[index]) : end])
        return os.path.join(self._folders[self._folder_of[index]], name)

    def open(self, index: int) -> str:
        """The path; decoding opens it."""
        return self.name(index)

    def take(self, indices: NDArray[np.int64]) -> Paths:
        """Some of them, in the order asked for."""
        return Paths(
            self._folders, self._names, self._ends[indices], self._lengths[indices], self._folder_of[indices]
        )

    def digest(self, *, times: bool) -> str:
        """SHA-256 over each file's class folder, name and length; with `times` over its whole path and time."""
        sha256 = hashlib.sha256()
        for index in range(len(self)):
            path = self.name(index)
            about = os.stat(path)
            known = (path, about.st_mtime_ns) if times else os.path.split(path)[1]
            sha256.update(repr((known, about.st_size)).encode("utf-8", "surrogateescape"))
        return sha256.hexdigest()
