"""Where in a tar shard each image lies and what its label is; nothing is unpacked and no image is read."""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from convscope.data.decode import ENDINGS, MOST_BYTES
from convscope.data.tar_headers import Member
from convscope.errors import DataError, printable

MOST_IMAGES = 2**20  # in one shard
MOST_CLASSES = 100_000
LABEL_BYTES = 64
COMPRESSED = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd")  # gzip, bzip2, xz, zstd


class Shard(NamedTuple):
    """What one shard holds."""

    offsets: NDArray[np.int64]  # (N,) where each image's bytes begin
    lengths: NDArray[np.int32]  # (N,)
    labels: NDArray[np.int64]  # (N,) the numbers in .cls files; or places in `folders`
    folders: list[str]  # the class folders in the shard, in the order in which they appear
    problems: list[str]  # a line for each sample that cannot be used
    ignored: int  # links and devices


class _Sample(NamedTuple):
    key: str
    images: list[tarfile.TarInfo]
    labels: list[tarfile.TarInfo]


def has_numbers(path: Path) -> bool:
    """Whether the shard's labels are numbers in .cls files; else they are the names of its class folders."""
    problems: list[str] = []
    with _opened(path) as (tar, file):
        for seen, member in enumerate(_members(tar, file, problems, [])):
            if member.name.lower().endswith(".cls"):
                return True
            if seen > 100:
                break
    return False


def scan_shard(path: Path, *, numbered: bool) -> Shard:
    """The images of a shard: KEY.jpg beside KEY.cls where they are `numbered`, else CLASS/NAME.jpg.

    Links and devices are passed over and counted. Raises DataError for what is no uncompressed tar file.
    """
    offsets, lengths, labels = list[int](), list[int](), list[int]()
    folders, seen = dict[str, int](), set[int]()
    problems, ignored = list[str](), list[str]()

    def problem(name: str, reason: str) -> None:
        problems.append(f"{path.name}/{printable(name)} ({reason})")

    with _opened(path) as (tar, file):
        members = _members(tar, file, problems, ignored)
        for sample in _samples(members) if numbered else _single_images(members):
            known = hash(sample.key)
            if known in seen:
                problem(sample.key, "comes twice")
                continue
            seen.add(known)
            if not sample.images:
                problem(sample.key, "a label without an image")
                continue
            if len(sample.images) > 1 or len(sample.labels) > 1:
                problem(sample.key, "more than one image or label")
                continue
            [image] = sample.images
            if image.sparse is not None:  # pyright: ignore[reportAttributeAccessIssue] - it is not in typeshed
                problem(image.name, "a sparse file")
                continue
            if not 0 < image.size <= MOST_BYTES:
                problem(image.name, f"{image.size:,} bytes, 1 to {MOST_BYTES:,} are allowed")
                continue
            label = _number(file, sample.labels) if numbered else _folder(image.name, folders)
            if isinstance(label, str):
                problem(sample.key, label)
                continue
            offsets.append(image.offset_data)
            lengths.append(image.size)
            labels.append(label)
            if len(offsets) > MOST_IMAGES:
                raise DataError(f"shard {path} holds more than {MOST_IMAGES:,} images; split it")
    return Shard(
        np.array(offsets, np.int64),
        np.array(lengths, np.int32),
        np.array(labels, np.int64),
        list(folders),
        problems,
        len(ignored),
    )


class _Seekable(io.FileIO):
    """A file that is read from anywhere."""

    def read_at(self, offset: int, size: int) -> bytes:
        """So many bytes from there; tarfile minds no move, as it looks up its own place before each header."""
        self.seek(offset)
        return self.read(size) or b""


@contextmanager
def _opened(path: Path) -> Generator[tuple[tarfile.TarFile, _Seekable]]:
    try:
        file = _Seekable(path)
    except OSError as error:
        raise DataError(f"cannot read shard {path}: {error.strerror or error}") from error
    with file:
        start = file.read_at(0, 6)
        file.seek(0)
        if start.startswith(COMPRESSED):
            raise DataError(
                f"shard {path} is compressed, and images are read from its middle; unpack it to a plain .tar"
            )
        try:
            tar = tarfile.TarFile(fileobj=file, mode="r", tarinfo=Member)
        except (tarfile.TarError, OSError, EOFError, ValueError, RecursionError) as error:
            raise DataError(f"shard {path} is no tar file ({error}); make it again") from error
        yield tar, file


def _members(
    tar: tarfile.TarFile, file: _Seekable, problems: list[str], ignored: list[str]
) -> Iterator[tarfile.TarInfo]:
    """The plain files in order; a shard that breaks off adds a problem and ends there."""
    size = os.fstat(file.fileno()).st_size
    position = -1
    try:
        while (member := tar.next()) is not None:
            tar.members.clear()  # pyright: ignore[reportAttributeAccessIssue] - else it would keep all of them
            if tar.offset <= position:
                raise tarfile.ReadError("a header that points back")
            position = tar.offset
            if member.offset_data + member.size > size:
                raise tarfile.ReadError("unexpected end of data")
            if member.isreg():
                if not os.path.basename(member.name).startswith("."):
                    yield member
            elif not member.isdir():
                ignored.append(member.name)
        if file.read_at(tar.offset, tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
            raise tarfile.ReadError("no end mark")
    except (tarfile.TarError, OSError, EOFError, ValueError, RecursionError) as error:
        problems.append(
            f"{os.path.basename(str(file.name))} "
            f"(breaks off or is damaged at byte {tar.offset:,}: {error}; the rest is lost)"
        )


def _samples(members: Iterator[tarfile.TarInfo]) -> Iterator[_Sample]:
    """Members that follow each other under one key: the name up to the first dot of its last part."""
    sample: _Sample | None = None
    for member in members:
        folder, _, base = member.name.rpartition("/")
        stem, _, ending = base.partition(".")
        key = f"{folder}/{stem}" if folder else stem
        if sample is None or sample.key != key:
            if sample and (sample.images or sample.labels):
                yield sample
            sample = _Sample(key, [], [])
        if f".{ending.lower()}" in ENDINGS:
            sample.images.append(member)
        elif ending.lower() == "cls":
            sample.labels.append(member)
    if sample and (sample.images or sample.labels):
        yield sample


def _single_images(members: Iterator[tarfile.TarInfo]) -> Iterator[_Sample]:
    for member in members:
        if member.name.lower().endswith(ENDINGS):
            yield _Sample(member.name, [member], [])


def _number(file: _Seekable, labels: list[tarfile.TarInfo]) -> int | str:
    """The label in a .cls file; else what is wrong with it."""
    if not labels:
        return "no label: KEY.cls must stand beside the image"
    [member] = labels
    if member.size > LABEL_BYTES:
        return f"a label of {member.size:,} bytes"
    content = file.read_at(member.offset_data, member.size)
    text = content.strip()
    if not text.isdigit():  # of bytes: ASCII digits alone
        return f"the label {printable(text.decode('latin-1'))!r} is not a number from 0 on"
    return int(text) if int(text) < MOST_CLASSES else f"the label {int(text)} is above {MOST_CLASSES - 1:,}"


def _folder(name: str, folders: dict[str, int]) -> int | str:
    """The number of the class folder that the name lies in; else what is wrong."""
    folder = name.rpartition("/")[0].rpartition("/")[2]
    if folder in ("", ".", ".."):
        return "no label: neither KEY.cls beside it nor a class folder around it"
    return folders.setdefault(folder, len(folders))
