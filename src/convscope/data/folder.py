"""A dataset from your own images: class folders, kept in memory if they fit and streamed if not."""

from __future__ import annotations

import os
from pathlib import Path

import psutil
import torch
from torch import Tensor

from convscope.data.file_images import FileImages
from convscope.data.listing import Half, list_images
from convscope.data.memory import TensorImages, check_classes, first_five
from convscope.data.survey import common_size, recall, remember, survey_place, take_survey
from convscope.errors import DataError, UsageError
from convscope.types import Dataset, Progress, Split, no_progress


def load_folder(
    path: str | Path,
    *,
    image_size: int | None = None,
    skip_bad: bool = False,
    seed: int = 0,
    in_memory: bool | None = None,
    progress: Progress = no_progress,
) -> Dataset:
    """The images (N, 3, size, size) uint8 in the class folders at `path`, or in those of its train/ and test/.

    `image_size` None is the images' own size if they are squares of one size up to 256, else 64. `in_memory`
    None keeps the images in memory if they take at most a quarter of what is free. Raises DataError for
    folders or classes that are missing or empty, and, without `skip_bad`, for images that cannot be read.
    """
    if image_size is not None and image_size < 1:
        raise UsageError(f"an image size of {image_size}; it must be at least 1")
    root = Path(path).absolute()
    listing = list_images(root, seed=seed)
    paths = [*listing.train.paths, *listing.test.paths]
    place = survey_place(listing, image_size)
    survey = recall(place)
    size = survey.size if survey else image_size or common_size(paths, progress=progress)
    if in_memory is None:
        in_memory = len(paths) * 3 * size * size <= psutil.virtual_memory().available // 4
    kept: tuple[Tensor | None, Tensor | None] = None, None
    if in_memory or survey is None:
        survey, kept = take_survey(listing, size, keep=in_memory, progress=progress)
    if not in_memory:
        remember(place, survey)

    bad = [f"{os.path.relpath(path, root)} ({reason})" for path, reason in survey.broken.items()]
    if bad and not skip_bad:
        raise DataError(
            f"{root}: {len(bad):,} of {len(paths):,} images cannot be read: {first_five(bad)}; "
            f"mend them, or leave them out with --skip-bad"
        )
    train, test = listing.train.without(survey.broken), listing.test.without(survey.broken)
    labels = [torch.from_numpy(half.labels) for half in (train, test)]
    check_classes(labels[0], labels[1], listing.class_names, where=str(root))
    return Dataset(
        name=f"folder:{root}",
        train=Split(_images(kept[0], train, size), labels[0]),
        test=Split(_images(kept[1], test, size), labels[1]),
        class_names=listing.class_names,
        mean=survey.mean,
        std=survey.std,
        fingerprint=survey.fingerprint,
        source=f"class folders in {root}, {listing.words}",
        skipped=tuple(bad),
    )


def _images(pixels: Tensor | None, half: Half, size: int) -> TensorImages | FileImages:
    return FileImages(half.paths, size) if pixels is None else TensorImages(pixels)
