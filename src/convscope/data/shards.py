"""A dataset from tar shards (webdataset's layout): read in place by an index, whatever their number."""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from convscope.data.decode import Unreadable
from convscope.data.listed import check_image_size, listed_dataset
from convscope.data.listing import Half, Listing, check_same_classes, split_listing
from convscope.data.shard_index import Index, open_index, read_index
from convscope.data.tar_members import MOST_CLASSES
from convscope.errors import DataError, first_five, printable
from convscope.types import Dataset, Progress, no_progress

LAYOUT = "wanted: train-*.tar and test-*.tar (or val-*.tar), or *.tar to be split 80/20"
CLASS_FILES = ("classes.txt", "classes.json")
CLASS_FILE_BYTES = 10_000_000


class Members:
    """Images in shards by number; another process maps the index for itself instead of getting a copy."""

    def __init__(self, index: Index, chosen: NDArray[np.int64] | None = None) -> None:
        self._index = index
        self._chosen = chosen  # (N,) of the index's numbers; None for all of them

    def __reduce__(self) -> tuple[Any, ...]:
        return _members_at, (self._index.place, self._chosen)

    def __len__(self) -> int:
        return len(self._index.labels) if self._chosen is None else len(self._chosen)

    def _find(self, index: int) -> tuple[str, int, int]:
        """Shard, offset and length."""
        known = self._index
        number = index if self._chosen is None else int(self._chosen[index])
        shard = int(np.searchsorted(known.starts, number, side="right")) - 1
        return known.shards[shard], int(known.offsets[number]), int(known.lengths[number])

    def name(self, index: int) -> str:
        """The shard's path and the name that the image has in it."""
        shard, offset, _ = self._find(index)
        try:
            header = _read(shard, offset - 512, 512)
        except Unreadable:
            header = b""
        folder = header[345:500].partition(b"\0")[0] if header[257:263] == b"ustar\0" else b""
        name = b"/".join(part for part in (folder, header[:100].partition(b"\0")[0]) if part)
        return f"{shard}/{printable(name.decode('utf-8', 'replace')) or f'the image at byte {offset:,}'}"

    def open(self, index: int) -> io.BytesIO:
        """The image's bytes. Raises Unreadable."""
        return io.BytesIO(_read(*self._find(index)))

    def take(self, indices: NDArray[np.int64]) -> Members:
        """Some of them, in the order asked for."""
        return Members(self._index, indices if self._chosen is None else self._chosen[indices])

    def digest(self, *, times: bool) -> str:
        """SHA-256 over the shards' names and lengths and where each image lies; `times` adds their times."""
        sha256 = hashlib.sha256((self._index.key if times else self._index.content).encode())
        if self._chosen is not None:
            sha256.update(np.ascontiguousarray(self._chosen).data)
        return sha256.hexdigest()


def _members_at(place: Path, chosen: NDArray[np.int64] | None) -> Members:
    return Members(read_index(place), chosen)


def _read(shard: str, offset: int, length: int) -> bytes:
    try:
        with open(shard, "rb", buffering=0) as file:
            file.seek(offset)
            content = file.read(length)
    except (OSError, ValueError) as error:
        raise Unreadable(getattr(error, "strerror", None) or str(error)) from error
    if len(content) < length:
        raise Unreadable(f"the shard ends {length - len(content):,} bytes too soon")
    return content


def load_shards(
    path: str | Path,
    *,
    image_size: int | None = None,
    skip_bad: bool = False,
    seed: int = 0,
    in_memory: bool | None = None,
    progress: Progress = no_progress,
) -> Dataset:
    """The images (N, 3, size, size) uint8 in the tar shards of a folder, or in those that a pattern (`*`) matches.

    KEY.jpg (or any image) stands beside KEY.cls, a number; or the label is the folder that the image lies in.
    The names of numbered classes are the lines of classes.txt, or the list in classes.json, beside the shards.
    `image_size` and `in_memory` are as for load_folder. Raises DataError for shards that are missing or are no
    plain tar files, and, without `skip_bad`, for samples that cannot be used.
    """
    check_image_size(image_size)
    where = str(Path(path).absolute())
    halves = find_shards(Path(where))
    indices = {half: open_index(shards, progress=progress) for half, shards in halves.items()}
    if len({index.numbered for index in indices.values()}) > 1:
        raise DataError(f"{where}: the labels of one half are numbers in .cls files, those of the other are folders")
    folder = next(iter(halves.values()))[0].parent
    class_names = _class_names(folder, indices, where)
    parts: dict[str, Half] = {}
    problems = [line for index in indices.values() for line in index.problems]
    for name, index in indices.items():
        parts[name], outside = _half(index, len(class_names))
        problems += outside
    if problems and not skip_bad:
        raise DataError(
            f"{where}: {len(problems):,} samples cannot be used: {first_five(problems)}; "
            f"mend them, or leave them out with --skip-bad"
        )
    if "whole" in parts:
        listing = split_listing(parts["whole"], class_names, where=where, seed=seed)
    else:
        listing = Listing(parts["train"], parts["test"], class_names, "as split by their names")
    ignored = sum(index.ignored for index in indices.values())
    links = f", {ignored:,} links in them ignored" if ignored else ""
    return listed_dataset(
        listing,
        name=f"shards:{where}",
        where=where,
        source=f"{sum(map(len, halves.values())):,} tar shards in {where}, {listing.words}{links}",
        image_size=image_size,
        skip_bad=skip_bad,
        in_memory=in_memory,
        progress=progress,
        left_out=tuple(problems),
    )


def find_shards(place: Path) -> dict[Literal["train", "test", "whole"], list[Path]]:
    """The shards of the training and of the test half by the beginnings of their names; or those of the whole."""
    folder, pattern = (place, "*.tar") if place.is_dir() else (place.parent, place.name)
    try:
        found = sorted(each for each in folder.glob(pattern) if each.is_file() and not each.name.startswith("."))
    except (OSError, ValueError) as error:
        raise DataError(f"cannot look for shards {place}: {error}; {LAYOUT}") from error
    if not found:
        raise DataError(f"no tar shards {place if folder != place else place / pattern}; {LAYOUT}")
    halves = {
        half: [each for each in found if re.match(rf"{half}[^a-z]", each.name)] for half in ("train", "test", "val")
    }
    test = halves["test"] or halves["val"]
    if halves["train"] and test:
        return {"train": halves["train"], "test": test}
    if test or (halves["train"] and len(halves["train"]) < len(found)):
        missing = "train" if test else "test"
        raise DataError(f"{place}: {len(found):,} shards, but none is called {missing}-*.tar; {LAYOUT}")
    return {"whole": found}


def _class_names(folder: Path, indices: dict[Any, Index], where: str) -> tuple[str, ...]:
    """The names of the classes: from folders in the shards, a file beside them, or else the numbers."""
    first, *others = indices.values()
    if not first.numbered:
        for other in others:
            check_same_classes(first.folders, other.folders, where=where, halves=("train-*.tar", "test-*.tar"))
        names = first.folders
    else:
        file = next((folder / name for name in CLASS_FILES if (folder / name).is_file()), None)
        most = max(int(index.labels.max()) for index in indices.values())
        names = _read_names(file) if file else tuple(map(str, range(most + 1)))
    if len(names) < 2:
        raise DataError(f"{where}: {len(names)} classes; at least two are needed")
    return names


def _read_names(file: Path) -> tuple[str, ...]:
    try:
        if file.stat().st_size > CLASS_FILE_BYTES:
            raise ValueError(f"more than {CLASS_FILE_BYTES:,} bytes")
        text = file.read_text(encoding="utf-8")
        listed: Any = json.loads(text) if file.suffix == ".json" else text.splitlines()
        if not isinstance(listed, list) or not all(isinstance(name, str) and name.strip() for name in listed):
            raise ValueError("it is not a list of names")
        names = tuple(name.strip() for name in listed)
        if len(names) > MOST_CLASSES:
            raise ValueError(f"more than {MOST_CLASSES:,} names")
        if len(set(names)) < len(names):
            raise ValueError("a name comes twice")
        return names
    except (OSError, ValueError, RecursionError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise DataError(
            f"cannot use {file} as the names of the classes ({reason}); wanted: one name a line"
        ) from error


def _half(index: Index, classes: int) -> tuple[Half, list[str]]:
    """The index's images with a label below `classes`, and a line for each of the others."""
    half = Half(Members(index), index.labels)
    outside = np.flatnonzero(index.labels >= classes).tolist()
    lines = [
        f"{os.path.relpath(half.files.name(each), Path(index.shards[0]).parent)} "
        f"(label {index.labels[each]}, but the {classes} classes are 0 to {classes - 1})"
        for each in outside
    ]
    return half.without(outside), lines
