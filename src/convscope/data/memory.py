"""Images in memory, and what every dataset carries: statistics, a fingerprint, classes that are not empty."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from jaxtyping import Int64, UInt8
from torch import Tensor

from convscope.errors import DataError, first_five
from convscope.types import Dataset, Split

Statistics = tuple[float, float, float]

CHUNK = 1024  # images counted at a time, so that temporary copies stay small


class TensorImages:
    """Images (N, 3, H, W) uint8 in memory."""

    def __init__(self, pixels: UInt8[Tensor, "N 3 H W"]) -> None:
        self.pixels = pixels

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(N, 3, H, W)."""
        n, channels, height, width = self.pixels.shape
        return n, channels, height, width

    def batches(self, indices: Iterable[Tensor]) -> Iterator[Tensor]:
        """For each index tensor (B,) int64 the images (B, 3, H, W) uint8, in the order asked for."""
        for index in indices:
            yield self.pixels[index]


class PixelSummary:
    """How often each value occurs, and a SHA-256: exact, so a stream and a tensor give the same numbers."""

    def __init__(self) -> None:
        self.shape = (0, 3, 0, 0)
        self._counts = np.zeros((3, 256), dtype=np.int64)
        self._sha256 = hashlib.sha256()

    def add(self, pixels: UInt8[Tensor, "N 3 H W"]) -> None:
        """Count in the next images."""
        for chunk in pixels.split(CHUNK):
            for channel in range(3):
                self._counts[channel] += chunk[:, channel].reshape(-1).bincount(minlength=256).numpy()
            self._sha256.update(chunk.contiguous().numpy().data)
        n, channels, height, width = pixels.shape
        self.shape = (self.shape[0] + n, channels, height, width)

    def statistics(self) -> tuple[Statistics, Statistics]:
        """Mean and standard deviation of each channel, in [0, 1].

        A channel with a single value gets the deviation 1, so that dividing by it stays finite.
        """
        levels = np.arange(256)
        means, stds = [], []
        for counts in self._counts:  # in integers as long as possible: the same on every machine
            count, total, squares = int(counts.sum()), int(levels @ counts), int(levels**2 @ counts)
            spread = count * squares - total**2
            means.append(total / max(1, count) / 255)
            stds.append(math.sqrt(spread) / count / 255 if spread else 1.0)
        return tuple(means), tuple(stds)

    def digest(self) -> str:
        """SHA-256 over the pixels so far, in hexadecimal."""
        return self._sha256.hexdigest()


def channel_statistics(pixels: UInt8[Tensor, "N 3 H W"]) -> tuple[Statistics, Statistics]:
    """Mean and standard deviation of each channel of uint8 images (N, 3, H, W), in [0, 1].

    >>> import torch
    >>> channel_statistics(torch.tensor([0, 255], dtype=torch.uint8).repeat(1, 3, 1, 1))
    ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    """
    summary = PixelSummary()
    summary.add(pixels)
    return summary.statistics()


def fingerprint(
    train: PixelSummary,
    train_labels: Int64[Tensor, " N"],
    test: PixelSummary,
    test_labels: Int64[Tensor, " M"],
    class_names: Sequence[str],
) -> str:
    """SHA-256 over shape, pixels and labels of train, then of test, then the class names, in hexadecimal."""
    halves = [
        {
            "shape": summary.shape,
            "pixels": summary.digest(),
            "labels": labels_digest(labels),
        }
        for summary, labels in ((train, train_labels), (test, test_labels))
    ]
    manifest = json.dumps({"train": halves[0], "test": halves[1], "class_names": list(class_names)})
    return hashlib.sha256(manifest.encode()).hexdigest()


def labels_digest(labels: Int64[Tensor, " N"]) -> str:
    """SHA-256 over labels (N,) int64, in hexadecimal."""
    sha256 = hashlib.sha256()
    for part in labels.split(2**16):
        sha256.update(part.numpy().astype("<i8").tobytes())
    return sha256.hexdigest()


def check_classes(
    train_labels: Int64[Tensor, " N"],
    test_labels: Int64[Tensor, " M"],
    class_names: Sequence[str],
    *,
    where: str,
) -> None:
    """Raise DataError, naming `where`, unless every class has images both to train on and to test on.

    >>> import torch
    >>> check_classes(torch.tensor([0, 1]), torch.tensor([0, 0]), ["cat", "dog"], where="pets")
    Traceback (most recent call last):
    convscope.errors.DataError: pets: no test images of 1 of 2 classes: dog; each class needs at least one
    """
    for split, labels in (("train", train_labels), ("test", test_labels)):
        if not len(labels):
            raise DataError(f"{where}: no {split} images at all; each class needs at least one")
        counts = labels.bincount(minlength=len(class_names)).tolist()
        empty = [name for name, count in zip(class_names, counts, strict=True) if not count]
        if empty:
            raise DataError(
                f"{where}: no {split} images of {len(empty)} of {len(class_names)} classes: "
                f"{first_five(empty)}; each class needs at least one"
            )


def dataset_in_memory(
    name: str,
    train: tuple[UInt8[Tensor, "N 3 H W"], Int64[Tensor, " N"]],
    test: tuple[UInt8[Tensor, "M 3 H W"], Int64[Tensor, " M"]],
    class_names: Sequence[str],
    *,
    source: str,
    mirror: bool = True,
) -> Dataset:
    """The Dataset of images (N, 3, H, W) uint8 and labels (N,) int64 that are already in memory.

    Raises DataError where a class is empty.
    """
    check_classes(train[1], test[1], class_names, where=name)
    summaries = PixelSummary(), PixelSummary()
    summaries[0].add(train[0])
    summaries[1].add(test[0])
    mean, std = summaries[0].statistics()
    return Dataset(
        name=name,
        train=Split(TensorImages(train[0]), train[1]),
        test=Split(TensorImages(test[0]), test[1]),
        class_names=tuple(class_names),
        mean=mean,
        std=std,
        fingerprint=fingerprint(summaries[0], train[1], summaries[1], test[1], class_names),
        source=source,
        mirror=mirror,
    )
