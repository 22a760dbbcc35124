"""Which image files belong to which class and to which half, for folders as people have them."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from convscope.data.decode import ENDINGS
from convscope.data.files import Files, Paths
from convscope.data.split import stratified_split
from convscope.errors import DataError, first_five

LAYOUT = "wanted: train/CLASS/IMAGE and test/CLASS/IMAGE, or CLASS/IMAGE to be split 80/20"


class Half(NamedTuple):
    """The files of the training or the test half, and their classes."""

    files: Files
    labels: NDArray[np.int64]  # (N,)

    def take(self, indices: NDArray[np.int64]) -> Half:
        """Some of them, in the order asked for."""
        return Half(self.files.take(indices), self.labels[indices])

    def without(self, broken: Collection[int]) -> Half:
        """The half that is left when the files of these numbers are taken out."""
        if not broken:
            return self
        keep = np.ones(len(self.labels), dtype=bool)
        keep[list(broken)] = False
        return self.take(np.flatnonzero(keep))


class Listing(NamedTuple):
    """The image files of a dataset."""

    train: Half
    test: Half
    class_names: tuple[str, ...]
    words: str  # how the halves came about


def list_images(root: Path, *, seed: int = 0) -> Listing:
    """The image files under train/ and test/, or those of one folder split 80/20 by class and seed.

    Hidden files and files with other endings are passed over. Raises DataError for folders, classes or halves
    that are missing or empty.
    """
    if not root.is_dir():
        raise DataError(f"no folder {root}; {LAYOUT}")
    halves = [half for half in ("train", "test") if _subfolders(root / half)]
    if len(halves) == 1:
        missing = "test" if halves == ["train"] else "train"
        raise DataError(f"{root} has {halves[0]}/ but no {missing}/ with class folders; {LAYOUT}")
    if halves:
        train, test = _scan(root / "train"), _scan(root / "test")
        check_same_classes(tuple(train), tuple(test), where=str(root), halves=("train/", "test/"))
        return Listing(_half(train), _half(test), tuple(train), "as split by its folders")
    classes = _scan(root)
    return split_listing(_half(classes), tuple(classes), where=str(root), seed=seed)


def check_same_classes(train: Collection[str], test: Collection[str], *, where: str, halves: tuple[str, str]) -> None:
    """Raise DataError, naming `where`, unless both halves have the same class folders."""
    for one, other, name, absent in ((test, train, halves[1], halves[0]), (train, test, *halves)):
        extra = [each for each in one if each not in other]
        if extra:
            raise DataError(
                f"{where}: {len(extra)} classes of {name} are missing from {absent}: {first_five(extra)}; "
                f"both need the same class folders"
            )


def split_listing(whole: Half, class_names: tuple[str, ...], *, where: str, seed: int) -> Listing:
    """The images split 80/20 by class and seed. Raises DataError for a class with a single image."""
    counts = np.bincount(whole.labels, minlength=len(class_names)).tolist()
    single = [name for name, count in zip(class_names, counts, strict=True) if count == 1]
    if single:
        raise DataError(
            f"{where}: {len(single)} classes have a single image, which cannot be both trained and tested on: "
            f"{first_five(single)}; add images or take the class out"
        )
    train, test = stratified_split(whole.labels, seed=seed)
    return Listing(whole.take(train), whole.take(test), class_names, f"split 80/20 by seed {seed}")


def _subfolders(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    try:
        return sorted(each for each in folder.iterdir() if each.is_dir() and not each.name.startswith("."))
    except OSError as error:
        raise DataError(f"cannot read {folder}: {error.strerror}") from error


def _scan(folder: Path) -> dict[str, Paths]:
    """Each class's images, both in the order of their names."""
    classes = {each.name: _images(each) for each in _subfolders(folder)}
    if len(classes) < 2:
        found = f"a single class folder, {next(iter(classes))}," if classes else "no class folders"
        raise DataError(f"{found} in {folder}: at least two classes are needed; {LAYOUT}")
    return classes


def _images(folder: Path) -> Paths:
    try:
        with os.scandir(folder) as entries:
            files = sorted(each.name for each in entries if each.is_file() and not each.name.startswith("."))
    except OSError as error:
        raise DataError(f"cannot read {folder}: {error.strerror}") from error
    images = [file for file in files if file.lower().endswith(ENDINGS)]
    if not images:
        others = Counter(Path(file).suffix.lower() or "no ending" for file in files)
        found = first_five([f"{count:,} {ending}" for ending, count in others.most_common()])
        raise DataError(f"no images in {folder} (files: {found or 'none'}); read are {' '.join(ENDINGS)}")
    return Paths.in_folder(str(folder), images)


def _half(classes: dict[str, Paths]) -> Half:
    counts = [len(files) for files in classes.values()]
    return Half(Paths.joined(list(classes.values())), np.repeat(np.arange(len(classes), dtype=np.int64), counts))
