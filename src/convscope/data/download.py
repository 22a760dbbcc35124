"""Downloads that survive cuts: resumed, from several sources, and only kept when every byte is right."""

from __future__ import annotations

import errno
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout
from platformdirs import user_cache_path

from convscope.data.sources import Opened, SourceFailed, check_source, open_source
from convscope.durable import file_sha256, move_synced
from convscope.errors import DataError, ResourceError
from convscope.types import Progress, no_progress

MOST_BYTES = 500_000_000  # bytes, where the size is not known
CHUNK = 1 << 18
CONNECTIONS = 1000  # to one source, each of which must have brought something new


def cache_folder() -> Path:
    """Where downloads, and what was learned from long readings, are kept for the next time."""
    return user_cache_path("convscope")


def download(
    sources: Sequence[str],
    *,
    target: Path,
    sha256: str,
    size: int | None = None,
    progress: Progress = no_progress,
    timeout: float = 30.0,
) -> None:
    """Put the file with that SHA-256 at `target`, from the first source (https, or a file) that has it.

    What arrived before a cut stays beside the target as `.part` and is continued, also by the next call.
    `timeout` is in seconds, for connecting and for each silence. Raises DataError when no source gave the
    right bytes or one is neither https nor a file, and ResourceError when the disk refuses; then there is nothing
    new at `target`.
    """
    for source in sources:
        check_source(source)
    part = target.with_name(f"{target.name}.part")
    failures: list[str] = []
    with _disk_errors(part):
        target.parent.mkdir(parents=True, exist_ok=True)
        with _locked(target, progress):
            if target.exists() and file_sha256(target) == sha256:
                return
            for source in sources:
                try:
                    _fetch_right(source, part, sha256, size, progress, timeout)
                except SourceFailed as failure:
                    failures.append(f"{source}: {failure}")
                else:
                    move_synced(part, target)
                    return
    raise DataError(
        f"cannot download {target.name}: {'; '.join(failures)}; run again to continue what has arrived, "
        f"give another --source, or get the file yourself and name it with --data-dir"
    )


def _fetch_right(source: str, part: Path, sha256: str, size: int | None, progress: Progress, timeout: float) -> None:
    """Fill `part` from one source until it is whole and right; raise SourceFailed where it cannot be.

    Wrong bytes are thrown away. If they continued what an earlier source had begun, that one may have been
    the liar, so the source gets one more chance from the beginning.
    """
    while True:
        continued = _bytes(part) > 0
        _fetch(source, part, size, progress, timeout)
        found = file_sha256(part)
        if found == sha256:
            return
        part.unlink()
        if not continued:
            raise SourceFailed(f"sent wrong bytes, SHA-256 {found}")


def _fetch(source: str, part: Path, size: int | None, progress: Progress, timeout: float) -> None:
    """Fill `part` from one source, connecting again as long as each connection brings something."""
    etag = None
    for _ in range(CONNECTIONS):
        had = _bytes(part)
        if size is not None and had == size:
            return
        failure = SourceFailed("the connection was cut")
        try:
            begin = had if had < (size or MOST_BYTES) else 0
            with open_source(source, begin, etag=etag, timeout=timeout) as opened:
                etag = opened.etag
                if size is not None and opened.total not in (None, size):
                    raise SourceFailed(f"has {opened.total:,} bytes, wanted are {size:,}")
                _append(opened, part, size, progress)
                if (size or opened.total) in (None, _bytes(part)):
                    return
        except SourceFailed as error:
            failure = error
        if _bytes(part) <= had:
            raise failure
    raise SourceFailed(f"was cut {CONNECTIONS:,} times")


def _append(opened: Opened, part: Path, size: int | None, progress: Progress) -> None:
    most = size or MOST_BYTES
    with part.open("ab" if opened.offset else "wb") as file:
        done = opened.offset
        while done <= most and (chunk := opened.read(CHUNK)):
            file.write(chunk)
            done += len(chunk)
            progress(f"downloading {part.stem}", done, size or opened.total)
    if done > most:
        part.unlink()
        raise SourceFailed(f"sent more than {most:,} bytes")


def _bytes(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0


@contextmanager
def _locked(target: Path, progress: Progress) -> Generator[None]:
    """One process at a time: two that write one `.part` would spoil it for both."""
    lock = FileLock(f"{target}.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        progress(f"waiting for another download of {target.name}", 0, None)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


@contextmanager
def _disk_errors(part: Path) -> Generator[None]:
    """Within it, a disk that refuses is a ResourceError; of a full one, what has arrived is given back."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            part.unlink(missing_ok=True)
        raise ResourceError(
            f"cannot download into {part.parent}: {error.strerror or error}; make room, or name the file elsewhere "
            "with --data-dir"
        ) from error
