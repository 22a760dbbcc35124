"""Files that are either wholly there, on the disk, or not there at all."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from convscope.errors import ResourceError


def file_sha256(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal. Raises OSError."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def refusal_told(what: str, advice: str) -> Generator[None]:
    """Within it, a disk that refuses is a ResourceError: what could not be done, why, and what to do.

    >>> with refusal_told("write the log", "make room"):
    ...     raise OSError(28, "No space left on device")
    Traceback (most recent call last):
    convscope.errors.ResourceError: cannot write the log: No space left on device; make room
    """
    try:
        yield
    except OSError as error:
        raise ResourceError(f"cannot {what}: {error.strerror or error}; {advice}") from error


def write_synced(path: Path, parts: Iterable[bytes]) -> str:
    """Write a new file, part after part, and wait until the disk has it; its SHA-256. Raises OSError."""
    sha256 = hashlib.sha256()
    with path.open("wb") as file:
        for part in parts:
            sha256.update(part)
            file.write(part)
        file.flush()
        os.fsync(file.fileno())
    return sha256.hexdigest()


def sync_folder(path: Path) -> None:
    """Wait until the disk has the folder's list of names, where the system can be asked for that."""
    if os.name == "nt":
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_folder(path: Path) -> None:
    """Make a folder where there is none, and wait until the disk has its name. Raises OSError."""
    if not path.is_dir():
        path.mkdir(parents=True, exist_ok=True)
        sync_folder(path.parent)


def make_place(path: Path) -> None:
    """Make the folder that a file is to be written into. Raises ResourceError where that cannot be."""
    with refusal_told(f"write {path}", "name another place with --out"):
        path.parent.mkdir(parents=True, exist_ok=True)


def replace_file(path: Path, data: bytes) -> None:
    """Put a file in place of another so that at any moment one of the two is there, whole. Raises OSError."""
    with whole_file(path) as unfinished:
        unfinished.write_bytes(data)


def write_quickly(path: Path, parts: Iterable[bytes]) -> int:
    """Put a file in place whole, without waiting for the disk, for what is not missed after a power cut; its bytes.

    Raises OSError.
    """
    with whole_file(path, synced=False) as unfinished, unfinished.open("wb") as file:
        return sum(file.write(part) for part in parts)


def move_synced(unfinished: Path, target: Path) -> None:
    """Rename a file that was written whole, once all of it is on the disk. Raises OSError."""
    with unfinished.open("rb+") as file:
        os.fsync(file.fileno())
    os.replace(unfinished, target)
    sync_folder(target.parent)


@contextmanager
def whole_file(path: Path, *, synced: bool = True) -> Generator[Path]:
    """A place beside `path` for the block to write a file to; it becomes `path` once it is whole, and goes otherwise.

    Without `synced` nobody waits until the disk has it. Raises OSError.
    """
    unfinished = path.with_name(f".{path.name}.tmp")
    try:
        yield unfinished
        if synced:
            move_synced(unfinished, path)
        else:
            os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)


def as_file_name(text: str) -> str:
    """The text as a part of a file's or a folder's name that every system takes; empty where nothing is left.

    >>> as_file_name("my run: no. 3."), as_file_name("..")
    ('my-run-no.-3', '')
    """
    return re.sub(r"[^\w.-]+", "-", text).strip("-.")


def to_json(values: Any) -> bytes:
    """Indented UTF-8 JSON; NaN is refused, since it is not JSON."""
    return (json.dumps(values, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()
