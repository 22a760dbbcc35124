"""Files out of a tar archive that nobody has to trust: those that are named are read, or all are written, checked."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import tarfile
import zlib
from collections.abc import Collection, Generator, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path, PurePosixPath
from typing import Protocol, runtime_checkable

from convscope.data.tar_headers import Member
from convscope.durable import refusal_told, sync_folder
from convscope.errors import DataError, printable

WHOLE_ARCHIVE = 400_000_000  # bytes unpacked; the largest official archive has 185 million
MOST_FILES = 100_000  # written out of one archive
PART = 1 << 20  # bytes written at a time
LONGEST_NAME = 200  # bytes of each of its parts; file systems take 255


def read_members(archive: Path, wanted: Mapping[str, int]) -> Iterator[tuple[str, bytes]]:
    """Name and content of those members of a .tar.gz that `wanted` names, each with the most bytes it may have.

    They come one by one, as the archive has them. Names are compared as a whole, so `..` and absolute paths never
    match; every other member is passed over, and what is missing does not come. Raises DataError for a broken
    archive, a wanted member that is a link or a device, comes twice or is too large, and an archive that unpacks to
    more than WHOLE_ARCHIVE bytes.
    """
    found: set[str] = set()
    with _broken_told(archive, ".tar.gz"), _Capped(archive) as unpacked, _opened(unpacked) as tar:
        for member in tar:
            if member.name not in wanted:
                continue
            content = _plain_content(tar, member, archive)
            if member.name in found:
                raise DataError(f"archive {archive}: {member.name} comes twice")
            if member.size > wanted[member.name]:
                raise DataError(
                    f"archive {archive}: {member.name} has {member.size:,} bytes, "
                    f"at most {wanted[member.name]:,} are allowed"
                )
            found.add(member.name)
            yield member.name, content.read()


def unpack_files(archive: Path, folder: Path, *, endings: Collection[str]) -> dict[str, str]:
    """Write every file of a plain .tar into an empty folder, and wait for the disk; the SHA-256 of each, by name.

    A name is taken where it is plain (see is_plain_name) and has one of the endings; folders are made as names need
    them. Raises DataError for an archive that is broken, packed or of more than MOST_FILES, any other name, a link,
    a device, a file with holes, and a name that comes twice; ResourceError where the disk refuses. What was written
    until then is the caller's to remove: it lies in the folder and nowhere else.
    """
    sums: dict[str, str] = {}
    with _broken_told(archive, "a plain .tar"), archive.open("rb") as file, _opened(file) as tar:
        for member in tar:
            name = printable(member.name)
            if member.isdir():
                continue
            content = _plain_content(tar, member, archive)
            if not is_plain_name(member.name) or not member.name.endswith(tuple(endings)):
                raise DataError(f"archive {archive} holds {name}, which is not unpacked")
            target = folder / member.name
            if target.exists() or any(str(above) in sums for above in PurePosixPath(member.name).parents):
                raise DataError(f"archive {archive}: {name} comes twice")
            if len(sums) == MOST_FILES:
                raise DataError(f"archive {archive} holds more than {MOST_FILES:,} files")
            sums[member.name] = _write(content, target)
    for place in {folder / above for name in sums for above in PurePosixPath(name).parents}:
        sync_folder(place)
    return sums


def is_plain_name(name: str) -> bool:
    r"""Whether a name leads to a file below the folder that it is taken from, on any system, and hides nothing.

    >>> [is_plain_name(name) for name in ("film/film.json", "../x", "/x", "a//b", ".lock", "C:\\x", "a\nb")]
    [True, False, False, False, False, False, False]
    """
    return name.isprintable() and all(
        part
        and part[0] != "."
        and part[-1] not in ". "
        and _SPECIAL.isdisjoint(part)
        and len(part.encode()) <= LONGEST_NAME
        for part in name.split("/")
    )


_SPECIAL = frozenset('\\:*?"<>|')
"""What some system gives a meaning of its own in a name."""


@runtime_checkable
class _Content(Protocol):
    """What a member holds, read from its beginning."""

    def read(self, size: int = -1, /) -> bytes: ...


def _write(content: _Content, target: Path) -> str:
    """Write a new file from an archive, and wait for the disk; its SHA-256. Raises ResourceError."""
    digest = hashlib.sha256()
    with _refusal_told(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        file = target.open("xb")
    with file:
        while part := content.read(PART):
            digest.update(part)
            with _refusal_told(target):
                file.write(part)
        with _refusal_told(target):
            file.flush()
            os.fsync(file.fileno())
    return digest.hexdigest()


def _refusal_told(target: Path) -> AbstractContextManager[None]:
    return refusal_told(f"write {target}", "make room, or name another place with --out")


def _plain_content(tar: tarfile.TarFile, member: tarfile.TarInfo, archive: Path) -> _Content:
    """What a member holds. Raises DataError unless it is a plain file."""
    holes = member.sparse is not None  # pyright: ignore[reportAttributeAccessIssue] - it is not in typeshed
    content = None if holes or member.type not in (tarfile.REGTYPE, tarfile.AREGTYPE) else tar.extractfile(member)
    if content is None:
        raise DataError(f"archive {archive}: {printable(member.name)} is a link or a device, not a plain file")
    return content


def _opened(file: io.BufferedIOBase) -> tarfile.TarFile:
    """The archive, read from its beginning to its end and never back."""
    return tarfile.open(fileobj=file, mode="r|", tarinfo=Member)


@contextmanager
def _broken_told(archive: Path, kind: str) -> Generator[None]:
    """Within it, an archive that cannot be read is a DataError."""
    try:
        yield
    except (tarfile.TarError, EOFError, zlib.error, OSError, ValueError, RecursionError) as error:
        raise DataError(
            f"archive {archive} cannot be read as {kind} ({error or type(error).__name__}); get it again"
        ) from error


class _Capped(gzip.GzipFile):
    """An archive that refuses to unpack to more than WHOLE_ARCHIVE bytes, so that a bomb stays small."""

    def read(self, size: int | None = -1) -> bytes:
        content = super().read(size)
        if self.tell() > WHOLE_ARCHIVE:
            raise DataError(f"archive {self.name} unpacks to more than {WHOLE_ARCHIVE:,} bytes; it is not read")
        return content
