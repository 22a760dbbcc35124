"""CIFAR-10 and CIFAR-100 (Krizhevsky, 2009) from their binary archives; the pickled ones are never opened."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from convscope.data.archive import read_members
from convscope.data.download import cache_folder, download
from convscope.data.memory import dataset_in_memory
from convscope.durable import file_sha256
from convscope.errors import DataError, first_five
from convscope.types import Dataset, Progress, no_progress

PIXEL_BYTES = 3 * 32 * 32
NAMES_BYTES = 65_536  # bytes of the file of class names


class Layout(NamedTuple):
    """Where one of the two datasets keeps what, and how its official archive is recognised."""

    name: str
    archive: str
    sha256: str
    size: int | None  # bytes of the archive, where known
    sources: tuple[str, ...]  # whose bytes are checked, whoever they are
    folder: str  # in the archive, and when unpacked
    train_files: tuple[str, ...]
    test_file: str
    names_file: str
    class_names: tuple[str, ...]  # used where names_file is missing
    classes: int
    label_bytes: int  # before each image; the last one is the class
    records: int  # the most images a file may hold

    @property
    def record_bytes(self) -> int:
        """Bytes of one image with its label."""
        return self.label_bytes + PIXEL_BYTES

    @property
    def wanted(self) -> dict[str, int]:
        """The files to read, each with the most bytes it may have."""
        images = dict.fromkeys((*self.train_files, self.test_file), self.records * self.record_bytes)
        return images | {self.names_file: NAMES_BYTES}


Contents = Iterator[tuple[str, bytes]]
"""Name and content of one file after another, so that never all are held."""

AUTHORS = "https://www.cs.toronto.edu/~kriz/"

CIFAR10 = Layout(
    name="cifar10",
    archive="cifar-10-binary.tar.gz",
    sha256="c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
    size=170_052_171,
    sources=(
        AUTHORS + "cifar-10-binary.tar.gz",
        "https://storage.googleapis.com/s4tf-hosted-binaries/datasets/CIFAR10/cifar-10-binary.tar.gz",
    ),
    folder="cifar-10-batches-bin",
    train_files=tuple(f"data_batch_{number}.bin" for number in range(1, 6)),
    test_file="test_batch.bin",
    names_file="batches.meta.txt",
    class_names=(
        *("airplane", "automobile", "bird", "cat", "deer"),
        *("dog", "frog", "horse", "ship", "truck"),
    ),
    classes=10,
    label_bytes=1,
    records=10_000,
)

CIFAR100 = Layout(
    name="cifar100",
    archive="cifar-100-binary.tar.gz",
    sha256="58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec",
    size=None,
    sources=(AUTHORS + "cifar-100-binary.tar.gz",),
    folder="cifar-100-binary",
    train_files=("train.bin",),
    test_file="test.bin",
    names_file="fine_label_names.txt",
    class_names=(),
    classes=100,
    label_bytes=2,  # the coarse label, then the fine one
    records=50_000,
)


def load_cifar10(
    *, data_dir: str | Path | None = None, sources: Sequence[str] = (), progress: Progress = no_progress
) -> Dataset:
    """CIFAR-10: 50,000 training and 10,000 test images (N, 3, 32, 32) uint8 of ten classes.

    `data_dir` is the archive, a folder that holds it, or the unpacked folder or its parent; without it the
    archive is downloaded once, from `sources` first. Raises DataError, and ResourceError where the disk refuses, with
    what to do next.
    """
    return _load(CIFAR10, data_dir, sources, progress)


def load_cifar100(
    *, data_dir: str | Path | None = None, sources: Sequence[str] = (), progress: Progress = no_progress
) -> Dataset:
    """CIFAR-100: 50,000 training and 10,000 test images (N, 3, 32, 32) uint8 of a hundred (fine) classes.

    `data_dir`, `sources` and what is raised are as for load_cifar10.
    """
    return _load(CIFAR100, data_dir, sources, progress)


def _load(layout: Layout, data_dir: str | Path | None, sources: Sequence[str], progress: Progress) -> Dataset:
    if data_dir is None:
        place = cache_folder() / layout.archive
        urls = (*sources, *layout.sources)
        download(urls, target=place, sha256=layout.sha256, size=layout.size, progress=progress)
    else:
        place = find(layout, Path(data_dir))
    progress(f"reading {layout.name}", 0, None)
    files, source = read_folder(layout, place) if place.is_dir() else read_archive(layout, place)
    return parse(layout, files, source)


def find(layout: Layout, data_dir: Path) -> Path:
    """The archive, or the folder with the unpacked files, that `data_dir` is or holds; else DataError."""
    if data_dir.is_file():
        return data_dir
    if any((data_dir / file).exists() for file in (*layout.train_files, layout.test_file)):
        return data_dir
    for held in (data_dir / layout.folder, data_dir / layout.archive):
        if held.exists():
            return held
    if not data_dir.exists():
        raise DataError(
            f"no file or folder {data_dir} to read {layout.name} from; wanted: {layout.archive}, or its folder; "
            f"without --data-dir it is downloaded"
        )
    pickled = [file for file in data_dir.glob("cifar-*") if file.name.endswith(("-py", "-python", "-python.tar.gz"))]
    hint = f"; {pickled[0].name} is the pickled version, which is never opened" if pickled else ""
    raise DataError(
        f"no {layout.name} in {data_dir}{hint}; wanted: {layout.archive}, or the files of {layout.folder}/ "
        f"unpacked from it; without --data-dir it is downloaded"
    )


def read_archive(layout: Layout, archive: Path) -> tuple[Contents, str]:
    """The wanted files out of an archive, and in words where they come from. Raises DataError, also as they come."""
    try:
        sha256 = file_sha256(archive)
    except OSError as error:
        raise DataError(f"cannot read {archive}: {error.strerror}") from error
    members = read_members(archive, {f"{layout.folder}/{file}": most for file, most in layout.wanted.items()})
    files = ((member.rpartition("/")[2], content) for member, content in members)
    if sha256 == layout.sha256:
        return files, f"official {layout.archive} (SHA-256 verified)"
    return files, f"archive {archive}, SHA-256 {sha256}, not the official archive"


def read_folder(layout: Layout, folder: Path) -> tuple[Contents, str]:
    """The wanted files in an unpacked folder, and in words where they come from. Raises DataError as they come."""

    def contents() -> Contents:
        for file, most in layout.wanted.items():
            path = folder / file
            try:
                if not path.exists():
                    continue
                if path.stat().st_size > most:
                    raise DataError(f"{path} has {path.stat().st_size:,} bytes, at most {most:,} are allowed")
                with path.open("rb") as opened:
                    content = opened.read(most)
            except OSError as error:
                raise DataError(f"cannot read {path}: {error.strerror}") from error
            yield file, content

    return contents(), f"unpacked files at {folder}, not verified as the official bytes"


def parse(layout: Layout, files: Contents, source: str) -> Dataset:
    """The dataset that the files' bytes spell. Raises DataError for missing, cut or mislabelled files."""
    names: bytes | None = None
    # Each training file has its place among the images from the beginning: joining them would hold all of them twice.
    room = torch.empty((len(layout.train_files), layout.records, 3, 32, 32), dtype=torch.uint8)
    train: dict[str, tuple[Tensor, Tensor]] = {}
    test: tuple[Tensor, Tensor] | None = None
    for file, content in files:
        if file == layout.names_file:
            names = content
            continue
        records, labels = _records(layout, file, content)
        if file == layout.test_file:
            test = torch.from_numpy(records.copy()), labels
        else:
            place = room[layout.train_files.index(file), : len(labels)]
            place.numpy()[:] = records
            train[file] = place, labels
    missing = [file for file in layout.train_files if file not in train]
    missing += [] if test else [layout.test_file]
    missing += [] if layout.class_names or names is not None else [layout.names_file]
    if missing or not test:
        raise DataError(f"{layout.name}: missing {first_five(missing)} ({source}); get {layout.archive} again")
    class_names = layout.class_names if names is None else _class_names(layout, names)
    in_order = [train[file] for file in layout.train_files]
    labels = torch.cat([each for _, each in in_order])
    whole = len(labels) == room.shape[0] * room.shape[1]
    pixels = room.flatten(0, 1) if whole else torch.cat([each for each, _ in in_order])
    return dataset_in_memory(layout.name, (pixels, labels), test, class_names, source=source)


def _records(layout: Layout, file: str, content: bytes) -> tuple[UInt8[np.ndarray, "N 3 32 32"], Tensor]:
    """Images (N, 3, 32, 32) uint8, a view of `content`, and labels (N,) int64 of one file."""
    if len(content) % layout.record_bytes:
        raise DataError(
            f"{layout.name}: {file} has {len(content):,} bytes, which is no multiple of the "
            f"{layout.record_bytes:,} of a record: it is cut off or damaged; get {layout.archive} again"
        )
    records = np.frombuffer(content, dtype=np.uint8).reshape(-1, layout.record_bytes)
    labels = records[:, layout.label_bytes - 1].astype(np.int64)
    wrong = np.flatnonzero(labels >= layout.classes)
    if len(wrong):
        offenders = first_five([f"record {index} has {labels[index]}" for index in wrong])
        raise DataError(
            f"{layout.name}: {file} has {len(wrong):,} labels outside 0 to {layout.classes - 1}: "
            f"{offenders}; get {layout.archive} again"
        )
    pixels = records[:, layout.label_bytes :].reshape(-1, 3, 32, 32)
    return pixels, torch.from_numpy(labels)


def _class_names(layout: Layout, content: bytes) -> tuple[str, ...]:
    names = tuple(content.decode("utf-8", errors="replace").split())
    if len(set(names)) != layout.classes or len(names) != layout.classes:
        raise DataError(
            f"{layout.name}: {layout.names_file} has {len(set(names))} different names in {len(names)} "
            f"lines, wanted are {layout.classes}; get {layout.archive} again"
        )
    return names
