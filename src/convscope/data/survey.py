"""What a listing's files are like: which are broken, the statistics of their pixels, and a fingerprint."""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np
import PIL
import torch
from numpy.typing import NDArray
from torch import Tensor

from convscope.data.augment import LARGE
from convscope.data.decode import Unreadable, read_size
from convscope.data.download import cache_folder
from convscope.data.file_images import decode_batches
from convscope.data.files import Files
from convscope.data.listing import Listing
from convscope.data.memory import PixelSummary, Statistics, fingerprint, labels_digest
from convscope.durable import replace_file
from convscope.types import Progress

BATCH = 64
FALLBACK_SIZE = 64  # for images of different sizes
LARGEST_COMMON_SIZE = 256
SAMPLE = 2**14  # images of each half that a large dataset's survey reads
FORMAT = 2  # of a survey that is kept; one of another is taken anew


class Broken(NamedTuple):
    """A file that cannot be read."""

    half: str  # train or test
    number: int  # in its half
    line: str  # name and reason


class Survey(NamedTuple):
    """What was learned from reading files once; plain values, so that JSON can keep them."""

    size: int
    broken: list[Broken]
    mean: Statistics
    std: Statistics
    fingerprint: str

    def numbers(self, half: str) -> list[int]:
        """The broken files of a half."""
        return [each.number for each in self.broken if each.half == half]


Kept = tuple[Tensor | None, Tensor | None]
"""The readable images (N, 3, size, size) uint8 of train and of test, where they are kept in memory."""


def common_size(listing: Listing, *, progress: Progress) -> int:
    """The side of the images if all are squares of one size up to 256, else 64; from the headers of up to LARGE."""
    halves = (listing.train.files, listing.test.files)
    total = sum(map(len, halves))
    looked_at = _spread(total, min(total, LARGE))
    first: tuple[int, int] | None = None
    for done, number in enumerate(looked_at):
        with suppress(Unreadable):
            index = int(number)
            half, index = (halves[0], index) if index < len(halves[0]) else (halves[1], index - len(halves[0]))
            size = read_size(half.open(index))
            first = first or size
            if size != first or size[0] != size[1] or size[0] > LARGEST_COMMON_SIZE:
                return FALLBACK_SIZE
        if done % 1000 == 0:
            progress("looking at image sizes", done, len(looked_at))
    return first[0] if first else FALLBACK_SIZE


def is_large(listing: Listing) -> bool:
    """Whether only a sample is surveyed: a rule of the number of images alone, so that it is the same everywhere."""
    return len(listing.train.labels) + len(listing.test.labels) > LARGE


def take_survey(
    listing: Listing, size: int, *, keep: bool, progress: Progress, workers: int | None = None
) -> tuple[Survey, Kept]:
    """Read every file; with `keep`, hand back the readable images of train and of test."""
    total = len(listing.train.files) + len(listing.test.files)
    train = _read_half(listing.train.files, size, keep, workers, progress, 0, total)
    test = _read_half(listing.test.files, size, keep, workers, progress, len(listing.train.files), total)
    broken = [
        Broken(half, index, f"{files.name(index)} ({reason})")
        for half, files, found in (("train", listing.train.files, train), ("test", listing.test.files, test))
        for index, reason in found.broken.items()
    ]
    mean, std = train.summary.statistics()
    labels = [
        torch.from_numpy(half.without(found.broken).labels)
        for half, found in ((listing.train, train), (listing.test, test))
    ]
    whole = fingerprint(train.summary, labels[0], test.summary, labels[1], listing.class_names)
    return Survey(size, broken, mean, std, whole), (train.pixels, test.pixels)


def sample_survey(
    listing: Listing, size: int, *, keep: bool, whole: bool, progress: Progress, workers: int | None = None
) -> tuple[Survey, Kept]:
    """A large dataset's survey: the statistics of SAMPLE training images, evenly spread, and a fingerprint.

    The fingerprint is made of every file's name and length (in a shard: its place), every label, and the pixels
    of SAMPLE images of each half. `whole` reads all the same, to find what is broken, and so does `keep`.
    """
    broken: list[Broken] = []
    kept: Kept = None, None
    if keep or whole:
        read, kept = take_survey(listing, size, keep=keep, progress=progress, workers=workers)
        broken = read.broken
    sound = [
        half.without([each.number for each in broken if each.half == name])
        for name, half in (("train", listing.train), ("test", listing.test))
    ]
    samples = [half.take(_spread(len(half.labels), min(SAMPLE, len(half.labels)))) for half in sound]
    sampled = Listing(samples[0], samples[1], listing.class_names, listing.words)
    survey, _ = take_survey(sampled, size, keep=False, progress=progress, workers=workers)
    parts = [survey.fingerprint]
    for half in sound:
        parts += [half.files.digest(times=False), labels_digest(torch.from_numpy(half.labels))]
    manifest = hashlib.sha256(json.dumps(parts).encode()).hexdigest()
    return survey._replace(fingerprint=manifest, broken=broken or survey.broken), kept


def _spread(count: int, wanted: int) -> NDArray[np.int64]:
    """So many of `count` numbers, evenly apart."""
    return np.arange(wanted, dtype=np.int64) * count // max(1, wanted)


class _Reading(NamedTuple):
    summary: PixelSummary
    broken: dict[int, str]
    pixels: Tensor | None


def _read_half(
    files: Files, size: int, keep: bool, workers: int | None, progress: Progress, before: int, total: int
) -> _Reading:
    count = len(files)
    pixels = torch.empty((count, 3, size, size), dtype=torch.uint8) if keep else None
    summary, broken = PixelSummary(), dict[int, str]()
    asked = [range(start, min(start + BATCH, count)) for start in range(0, count, BATCH)]
    for decoded in decode_batches(files, size, asked, workers=workers):
        batch = torch.from_numpy(decoded.pixels)
        if pixels is not None:
            pixels[summary.shape[0] : summary.shape[0] + len(batch)] = batch
        summary.add(batch)
        broken |= decoded.broken
        progress("reading images", before + summary.shape[0] + len(broken), total)
    return _Reading(summary, broken, None if pixels is None else pixels[: summary.shape[0]])


def survey_place(listing: Listing, image_size: int | None, *, whole: bool) -> Path:
    """Where the survey of exactly these files, in this state and at this size, is kept."""
    halves = [half.files.digest(times=True) for half in (listing.train, listing.test)]
    labels = [labels_digest(torch.from_numpy(half.labels)) for half in (listing.train, listing.test)]
    state = json.dumps([FORMAT, PIL.__version__, image_size, listing.class_names, halves, labels, whole])
    return cache_folder() / "surveys" / f"{hashlib.sha256(state.encode()).hexdigest()}.json"


def recall(place: Path) -> Survey | None:
    """The survey kept there; None where there is none that can be read."""
    with suppress(OSError, ValueError, TypeError):
        known = Survey(**json.loads(place.read_text()))
        broken = [Broken(*each) for each in known.broken]
        return known._replace(mean=tuple(known.mean), std=tuple(known.std), broken=broken)
    return None


def remember(place: Path, survey: Survey) -> None:
    """Keep the survey for the next start; if that fails, the next start takes longer, and nothing else."""
    with suppress(OSError):
        place.parent.mkdir(parents=True, exist_ok=True)
        replace_file(place, json.dumps(survey._asdict()).encode())
