"""Which images shards hold, where they lie and what they are: found once, kept on the disk, never in memory."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from convscope.data.download import cache_folder
from convscope.data.file_images import count_workers, in_workers
from convscope.data.tar_members import Shard, has_numbers, scan_shard
from convscope.durable import file_sha256, sync_folder, to_json, write_synced
from convscope.errors import DataError, ResourceError
from convscope.types import Progress

FORMAT = 1
COLUMNS = {"offsets": "<i8", "lengths": "<i4", "labels": "<i8"}
MOST_PROBLEMS = 10_000
CHUNK = 2**20
FEW_SHARDS = 8  # so few are read sooner than processes are started


class Index(NamedTuple):
    """The images of some shards; the columns are mapped from files, so that memory holds what is being looked at."""

    shards: list[str]  # paths
    starts: NDArray[np.int64]  # (shards + 1,) the number of each shard's first image
    offsets: NDArray[np.int64]  # (N,) where the bytes of each image begin in its shard
    lengths: NDArray[np.int32]  # (N,)
    labels: NDArray[np.int64]  # (N,)
    folders: tuple[str, ...]  # names of the classes where they are folders in the shards
    numbered: bool  # the labels are numbers in .cls files
    problems: list[str]
    ignored: int
    place: Path
    key: str  # of exactly these shards in this state
    content: str  # SHA-256 over the shards' names and lengths and the three columns


def open_index(shards: Sequence[Path], *, progress: Progress) -> Index:
    """The index of those shards, made if they have changed since the last time.

    Raises DataError for shards that cannot be read, and ResourceError where there is no space for the index.
    """
    key = _key(shards)
    place = cache_folder() / "shards" / key
    with suppress(OSError, ValueError, KeyError, TypeError):
        return read_index(place)
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        building = place.with_name(f".{key}.{os.getpid()}")
        shutil.rmtree(building, ignore_errors=True)
        building.mkdir()
        try:
            _build(shards, building, key, progress)
            shutil.rmtree(place, ignore_errors=True)
            with suppress(FileExistsError):
                building.rename(place)
            sync_folder(place.parent)
        finally:
            shutil.rmtree(building, ignore_errors=True)
        return read_index(place)
    except OSError as error:
        raise ResourceError(f"cannot keep the index of the shards in {place.parent}: {error.strerror}") from error


def read_index(place: Path) -> Index:
    """The index kept there. Raises OSError, ValueError, KeyError or TypeError if it is damaged."""
    known: dict[str, Any] = json.loads((place / "index.json").read_bytes())
    if known["format"] != FORMAT:
        raise ValueError("an index of another release")
    columns: dict[str, Any] = {}
    for name, kind in COLUMNS.items():
        file = place / f"{name}.bin"
        if (
            file.stat().st_size != known["starts"][-1] * np.dtype(kind).itemsize
            or file_sha256(file) != known["sums"][name]
        ):
            raise ValueError(f"{file} is damaged")
        # Copied on write: torch takes no array that cannot be written to.
        columns[name] = np.memmap(file, dtype=kind, mode="c")
    return Index(
        shards=known["shards"],
        starts=np.array(known["starts"], np.int64),
        folders=tuple(known["folders"]),
        numbered=known["numbered"],
        problems=known["problems"],
        ignored=known["ignored"],
        place=place,
        key=place.name,
        content=known["content"],
        **columns,
    )


def write_index(
    place: Path,
    *,
    shards: Sequence[str],
    lengths: Sequence[int],
    starts: Sequence[int],
    folders: Sequence[str] = (),
    numbered: bool = True,
    problems: Sequence[str] = (),
    ignored: int = 0,
) -> None:
    """Describe the columns that lie in `place`; `lengths` are the shards' in bytes."""
    sums = {name: file_sha256(place / f"{name}.bin") for name in COLUMNS}
    named = [[os.path.basename(shard), length] for shard, length in zip(shards, lengths, strict=True)]
    content = hashlib.sha256(json.dumps([named, sums]).encode()).hexdigest()
    known = {"format": FORMAT, "shards": list(shards), "starts": list(starts), "folders": list(folders)}
    known |= {"numbered": numbered, "problems": list(problems), "ignored": ignored, "sums": sums, "content": content}
    write_synced(place / "index.json", [to_json(known)])
    sync_folder(place)


class _Scanner:
    def __init__(self, numbered: bool) -> None:
        self._numbered = numbered

    def __getitem__(self, path: Path) -> Shard | DataError:
        try:
            return scan_shard(path, numbered=self._numbered)
        except DataError as error:  # told by the main process: a loader would wrap it into a traceback
            return error


def _build(shards: Sequence[Path], place: Path, key: str, progress: Progress) -> None:
    numbered = has_numbers(shards[0])
    starts, folders, problems, ignored = [0], dict[str, int](), list[str](), 0
    workers = count_workers() if len(shards) > FEW_SHARDS else 0
    files = {name: (place / f"{name}.bin").open("wb") for name in COLUMNS}
    try:
        for done, shard in enumerate(in_workers(_Scanner(numbered), shards, workers=workers)):
            if isinstance(shard, DataError):
                raise shard
            labels = shard.labels
            if not numbered:
                numbers = [folders.setdefault(folder, len(folders)) for folder in shard.folders]
                labels = np.array(numbers, np.int64)[labels]
            for name, column in (("offsets", shard.offsets), ("lengths", shard.lengths), ("labels", labels)):
                files[name].write(column.astype(COLUMNS[name]).tobytes())
            starts.append(starts[-1] + len(labels))
            ignored += shard.ignored
            problems += shard.problems
            if len(problems) > MOST_PROBLEMS:
                raise DataError(
                    f"more than {MOST_PROBLEMS:,} samples cannot be used, up to {shards[done]}; "
                    f"the first: {problems[0]}"
                )
            progress("indexing shards", done + 1, len(shards))
        for file in files.values():
            file.flush()
            os.fsync(file.fileno())
    finally:
        for file in files.values():
            file.close()
    if not starts[-1]:
        raise DataError(f"no images in {shards[0].parent}: {'; '.join(problems[:1]) or 'its shards have none'}")
    if not numbered:
        _sort_classes(place / "labels.bin", list(folders))
    lengths = [shard.stat().st_size for shard in shards]
    names = [str(shard) for shard in shards]
    write_index(
        place,
        shards=names,
        lengths=lengths,
        starts=starts,
        folders=sorted(folders),
        numbered=numbered,
        problems=problems,
        ignored=ignored,
    )


def _sort_classes(labels: Path, folders: list[str]) -> None:
    """Number the classes in the order of their names, as class folders are."""
    numbers = np.argsort(np.argsort(np.array(folders, dtype=object)))
    column = np.memmap(labels, dtype=COLUMNS["labels"], mode="r+")
    for start in range(0, len(column), CHUNK):
        column[start : start + CHUNK] = numbers[column[start : start + CHUNK]]
    column.flush()


def _key(shards: Sequence[Path]) -> str:
    try:
        state = [(str(shard), about.st_size, about.st_mtime_ns) for shard in shards for about in [shard.stat()]]
    except OSError as error:
        raise DataError(f"cannot read shard {error.filename}: {error.strerror}") from error
    return hashlib.sha256(json.dumps([FORMAT, state]).encode()).hexdigest()
