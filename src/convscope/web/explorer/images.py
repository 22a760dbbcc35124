"""The images that the explorer shows: a dataset's, a folder's and uploaded ones, by ids that are no paths."""

from __future__ import annotations

import hashlib
import os
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from threading import Lock

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from convscope.data.decode import ENDINGS, Unreadable, decode_image, read_size
from convscope.data.file_images import FileImages
from convscope.errors import UsageError
from convscope.types import Dataset, Network, Split
from convscope.web.answers import Missing

SPLITS = ("test", "train", "folder", "uploaded")
MOST_FILES = 20_000
MOST_UPLOADS = 50


class Gallery:
    """Images by id: test-12, train-3, folder-7, and those uploaded, of which the newest are kept."""

    def __init__(self, network: Network, dataset: Dataset | None, folder: Path | None) -> None:
        """Raises UsageError for a folder without images."""
        self._network = network
        self._halves: dict[str, Split] = {"test": dataset.test, "train": dataset.train} if dataset else {}
        self._folder = folder
        self.files = list_images(folder) if folder else []
        self._uploads: OrderedDict[str, UInt8[Tensor, "3 H W"]] = OrderedDict()
        self._lock = Lock()

    @property
    def splits(self) -> list[str]:
        """Where there are images, the first one to be shown first."""
        return [name for name in SPLITS if self.count(name)] or ["uploaded"]

    def count(self, split: str) -> int:
        """How many images there are. Raises UsageError."""
        if split not in SPLITS:
            raise UsageError(f'no split "{split[:30]}"; allowed: {", ".join(SPLITS)}')
        if split in self._halves:
            return len(self._halves[split].labels)
        return {"folder": len(self.files), "uploaded": len(self._uploads)}.get(split, 0)

    def ids(self, split: str, numbers: Sequence[int]) -> list[str]:
        """The ids of images of a split; uploaded ones are numbered from the newest on."""
        if split == "uploaded":
            newest = [*reversed(self._uploads)]
            return [newest[number] for number in numbers]
        return [f"{split}-{number}" for number in numbers]

    def place(self, image: str) -> tuple[str, int]:
        """The split and number that an id stands for. Raises Missing."""
        split, _, text = image.rpartition("-")
        if split in ("test", "train", "folder") and text.isascii() and text.isdecimal() and len(text) < 12:
            number = int(text)
            if number < self.count(split) and str(number) == text:
                return split, number
        raise Missing("there is no such image")

    def label(self, image: str) -> int | None:
        """The image's class, where it is known. Raises Missing."""
        if image in self._uploads:
            return None
        split, number = self.place(image)
        return int(self._halves[split].labels[number]) if split in self._halves else None

    def name(self, image: str) -> str:
        """What a person would call the image."""
        if image in self._uploads:
            return "uploaded image"
        split, number = self.place(image)
        if split == "folder":
            return Path(self.files[number]).name
        return f"{'test' if split == 'test' else 'training'} image {number}"

    def argument(self, image: str) -> str:
        """What stands for the image in a command: a test image's number, a file, or the name of its download."""
        if image in self._uploads:
            return f"{image}.png"
        split, number = self.place(image)
        if split == "test":
            return str(number)
        return self.files[number] if split == "folder" else f"{image}.png"

    def add(self, pixels: UInt8[np.ndarray, "3 H W"]) -> str:
        """Keep an uploaded image; its id."""
        key = f"upload-{hashlib.sha256(pixels.tobytes()).hexdigest()[:16]}"
        with self._lock:
            self._uploads[key] = torch.from_numpy(np.ascontiguousarray(pixels))
            self._uploads.move_to_end(key)
            while len(self._uploads) > MOST_UPLOADS:
                self._uploads.popitem(last=False)
        return key

    def pixels(self, image: str) -> Float[Tensor, "C H W"]:
        """The image as the network takes it, in [0, 1]. Raises Missing, and for a file that cannot be read."""
        if (kept := self._uploads.get(image)) is not None:
            return fit(kept, self._network)
        split, number = self.place(image)
        if split in self._halves:
            [found] = self._halves[split].images.batches([torch.tensor([number])])
            return fit(found[0], self._network)
        try:
            return fit(torch.from_numpy(decode_image(self.files[number], self.side)), self._network)
        except Unreadable as error:
            raise UsageError(f"{self.name(image)} cannot be read: {error}") from error

    def as_dataset(self) -> Dataset | None:
        """The folder's images as a dataset without classes, for what needs none; None where there is no folder."""
        if not self.files or len(set(self._network.input_size)) > 1:
            return None
        found = hashlib.sha256()
        for path in self.files:
            about = os.stat(path)
            found.update(f"{path} {about.st_size} {about.st_mtime_ns}\n".encode())
        images = FileImages(self.files, self.side)
        half = Split(images, torch.zeros(len(self.files), dtype=torch.int64))
        return Dataset(
            name=f"folder:{self._folder}",
            train=half,
            test=half,
            class_names=("",),
            mean=_as_colours(self._network.mean),
            std=_as_colours(self._network.std),
            fingerprint=found.hexdigest(),
            source=str(self._folder),
        )

    @property
    def searched(self) -> str:
        """The split whose images a survey knows by their numbers."""
        return "train" if self._halves else "folder"

    @property
    def predicted(self) -> str:
        """The split that the network is asked about as a whole."""
        return "test" if self._halves else "folder"

    @property
    def side(self) -> int:
        """The side in pixels of the square that an image of any size is made for this network."""
        return max(self._network.input_size)


def fit(image: UInt8[Tensor, "3 H W"], network: Network) -> Float[Tensor, "C h w"]:
    """The middle of an image at least as large as the network's input, in [0, 1], grey where it takes grey."""
    size = network.input_size
    top, left = (max(0, (have - want) // 2) for have, want in zip(image.shape[1:], size, strict=True))
    pixels = image[:, top : top + size[0], left : left + size[1]].float() / 255
    return pixels.mean(0, keepdim=True) if len(network.mean) == 1 else pixels


def list_images(folder: Path) -> list[str]:
    """The image files of a folder and those in it, by name. Raises UsageError where there are none."""
    if not folder.is_dir():
        raise UsageError(f'no folder "{folder}"; wanted: a folder with image files')
    found: list[str] = []
    for place, inner, names in os.walk(folder):
        inner.sort()
        found += [os.path.join(place, name) for name in sorted(names) if name.lower().endswith(ENDINGS)]
        if len(found) >= MOST_FILES:
            break
    readable = [path for path in found[:MOST_FILES] if _is_image(path)]
    if not readable:
        raise UsageError(f'no images in "{folder}"; wanted: files that end in {", ".join(ENDINGS)}')
    return readable


def _is_image(path: str) -> bool:
    """Whether the file's beginning is that of an image."""
    try:
        return min(read_size(path)) > 0
    except Unreadable:
        return False


def _as_colours(values: tuple[float, ...]) -> tuple[float, float, float]:
    """A number for each colour, of a network that takes colours or grey."""
    return values[0], values[1 % len(values)], values[2 % len(values)]
