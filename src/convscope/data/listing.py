"""Which image files belong to which class and to which half, for folders as people have them."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from convscope.data.decode import ENDINGS
from convscope.data.memory import first_five
from convscope.data.split import stratified_split
from convscope.errors import DataError

LAYOUT = "wanted: train/CLASS/IMAGE and test/CLASS/IMAGE, or CLASS/IMAGE to be split 80/20"


class Half(NamedTuple):
    """The files of the training or the test half, class by class in the order of their names."""

    paths: list[str]
    labels: NDArray[np.int64]  # (N,)

    def without(self, broken: dict[str, str]) -> Half:
        """The half that is left when these files are taken out."""
        keep = [index for index, path in enumerate(self.paths) if path not in broken]
        return Half([self.paths[index] for index in keep], self.labels[keep])


class Listing(NamedTuple):
    """The image files of a folder."""

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
        for one, other, name, absent in ((test, train, "test", "train"), (train, test, "train", "test")):
            extra = [each for each in one if each not in other]
            if extra:
                raise DataError(
                    f"{root}: {len(extra)} classes of {name}/ are missing from {absent}/: {first_five(extra)}; "
                    f"both need the same class folders"
                )
        return Listing(_half(train), _half(test), tuple(train), "as split by its folders")
    classes = _scan(root)
    single = [name for name, files in classes.items() if len(files) < 2]
    if single:
        raise DataError(
            f"{root}: {len(single)} classes have a single image, which cannot be both trained and tested on: "
            f"{first_five(single)}; add images or take the class out"
        )
    whole = _half(classes)
    parts = stratified_split(whole.labels, seed=seed)
    train, test = (Half([whole.paths[index] for index in part], whole.labels[part]) for part in parts)
    return Listing(train, test, tuple(classes), f"split 80/20 by seed {seed}")


def _subfolders(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    try:
        return sorted(each for each in folder.iterdir() if each.is_dir() and not each.name.startswith("."))
    except OSError as error:
        raise DataError(f"cannot read {folder}: {error.strerror}") from error


def _scan(folder: Path) -> dict[str, list[str]]:
    """The paths of each class's images, both in the order of their names."""
    classes = {each.name: _images(each) for each in _subfolders(folder)}
    if len(classes) < 2:
        found = f"a single class folder, {next(iter(classes))}," if classes else "no class folders"
        raise DataError(f"{found} in {folder}: at least two classes are needed; {LAYOUT}")
    return classes


def _images(folder: Path) -> list[str]:
    try:
        with os.scandir(folder) as entries:
            files = sorted(each.path for each in entries if each.is_file() and not each.name.startswith("."))
    except OSError as error:
        raise DataError(f"cannot read {folder}: {error.strerror}") from error
    images = [file for file in files if file.lower().endswith(ENDINGS)]
    if not images:
        others = Counter(Path(file).suffix.lower() or "no ending" for file in files)
        found = first_five([f"{count:,} {ending}" for ending, count in others.most_common()])
        raise DataError(f"no images in {folder} (files: {found or 'none'}); read are {' '.join(ENDINGS)}")
    return images


def _half(classes: dict[str, list[str]]) -> Half:
    paths = [path for files in classes.values() for path in files]
    counts = [len(files) for files in classes.values()]
    return Half(paths, np.repeat(np.arange(len(classes), dtype=np.int64), counts))
