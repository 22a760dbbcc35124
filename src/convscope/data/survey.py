"""One reading of every file of a listing: which are broken, and what the pixels of the others are like."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import PIL
import torch
from torch import Tensor

from convscope.data.decode import Unreadable, read_size
from convscope.data.download import cache_folder
from convscope.data.file_images import decode_batches
from convscope.data.listing import Half, Listing
from convscope.data.memory import PixelSummary, Statistics, fingerprint
from convscope.durable import replace_file
from convscope.types import Progress

BATCH = 64
FALLBACK_SIZE = 64  # for images of different sizes
LARGEST_COMMON_SIZE = 256


class Survey(NamedTuple):
    """What was learned from reading every file once; plain values, so that JSON can keep them."""

    size: int
    broken: dict[str, str]  # path: reason
    mean: Statistics
    std: Statistics
    fingerprint: str


def common_size(paths: Sequence[str], *, progress: Progress) -> int:
    """The side of the images if all are squares of one size up to 256, else 64; from their headers."""
    first: tuple[int, int] | None = None
    for done, path in enumerate(paths):
        with suppress(Unreadable):
            size = read_size(path)
            first = first or size
            if size != first or size[0] != size[1] or size[0] > LARGEST_COMMON_SIZE:
                return FALLBACK_SIZE
        if done % 1000 == 0:
            progress("looking at image sizes", done, len(paths))
    return first[0] if first else FALLBACK_SIZE


def take_survey(
    listing: Listing, size: int, *, keep: bool, progress: Progress, workers: int | None = None
) -> tuple[Survey, tuple[Tensor | None, Tensor | None]]:
    """Read every file; with `keep`, hand back the readable images (N, 3, size, size) of train and of test."""
    total = len(listing.train.paths) + len(listing.test.paths)
    train = _read_half(listing.train, size, keep, workers, progress, 0, total)
    test = _read_half(listing.test, size, keep, workers, progress, len(listing.train.paths), total)
    broken = train.broken | test.broken
    mean, std = train.summary.statistics()
    labels = [torch.from_numpy(half.without(broken).labels) for half in (listing.train, listing.test)]
    whole = fingerprint(train.summary, labels[0], test.summary, labels[1], listing.class_names)
    return Survey(size, broken, mean, std, whole), (train.pixels, test.pixels)


class _Reading(NamedTuple):
    summary: PixelSummary
    broken: dict[str, str]
    pixels: Tensor | None


def _read_half(
    half: Half, size: int, keep: bool, workers: int | None, progress: Progress, before: int, total: int
) -> _Reading:
    count = len(half.paths)
    pixels = torch.empty((count, 3, size, size), dtype=torch.uint8) if keep else None
    summary, broken = PixelSummary(), dict[str, str]()
    asked = [range(start, min(start + BATCH, count)) for start in range(0, count, BATCH)]
    for decoded in decode_batches(half.paths, size, asked, workers=workers):
        batch = torch.from_numpy(decoded.pixels)
        if pixels is not None:
            pixels[summary.shape[0] : summary.shape[0] + len(batch)] = batch
        summary.add(batch)
        broken |= decoded.broken
        progress("reading images", before + summary.shape[0] + len(broken), total)
    return _Reading(summary, broken, None if pixels is None else pixels[: summary.shape[0]])


def survey_place(listing: Listing, image_size: int | None) -> Path:
    """Where the survey of exactly these files, in this state and at this size, is kept."""
    halves = [
        [(path, status.st_size, status.st_mtime_ns) for path in half.paths for status in [os.stat(path)]]
        for half in (listing.train, listing.test)
    ]
    state = json.dumps([1, PIL.__version__, image_size, listing.class_names, halves])
    return cache_folder() / "surveys" / f"{hashlib.sha256(state.encode()).hexdigest()}.json"


def recall(place: Path) -> Survey | None:
    """The survey kept there; None where there is none that can be read."""
    with suppress(OSError, ValueError, TypeError):
        known = Survey(**json.loads(place.read_text()))
        return known._replace(mean=tuple(known.mean), std=tuple(known.std))
    return None


def remember(place: Path, survey: Survey) -> None:
    """Keep the survey for the next start; if that fails, the next start takes longer, and nothing else."""
    with suppress(OSError):
        place.parent.mkdir(parents=True, exist_ok=True)
        replace_file(place, json.dumps(survey._asdict()).encode())
