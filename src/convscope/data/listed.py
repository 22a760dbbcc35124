"""A dataset from a listing of image files: kept in memory if they fit, streamed if not."""

from __future__ import annotations

import psutil
import torch
from torch import Tensor

from convscope.data.file_images import FileImages
from convscope.data.files import Files
from convscope.data.listing import Listing
from convscope.data.memory import TensorImages, check_classes
from convscope.data.survey import (
    Kept,
    common_size,
    is_large,
    recall,
    remember,
    sample_survey,
    survey_place,
    take_survey,
)
from convscope.errors import DataError, UsageError, first_five
from convscope.types import Dataset, Progress, Split


def check_image_size(image_size: int | None) -> None:
    """Raise UsageError for a size below one."""
    if image_size is not None and image_size < 1:
        raise UsageError(f"an image size of {image_size}; it must be at least 1")


def listed_dataset(
    listing: Listing,
    *,
    name: str,
    where: str,
    source: str,
    image_size: int | None,
    skip_bad: bool,
    in_memory: bool | None,
    progress: Progress,
    left_out: tuple[str, ...] = (),
) -> Dataset:
    """The images (N, 3, size, size) uint8 of a listing, with their statistics; messages begin with `where`.

    `image_size` None is the images' own size if they are squares of one size up to 256, else 64. `in_memory`
    None keeps the images in memory if they take at most a quarter of what is free. `left_out` are images that
    the listing had to pass over. Raises DataError, without `skip_bad`, for images that cannot be read.
    """
    large = is_large(listing)
    total = len(listing.train.labels) + len(listing.test.labels)
    place = survey_place(listing, image_size, whole=skip_bad or not large)
    survey = recall(place)
    size = survey.size if survey else image_size or common_size(listing, progress=progress)
    if in_memory is None:
        in_memory = total * 3 * size * size <= psutil.virtual_memory().available // 4
    kept: Kept = None, None
    if in_memory or survey is None:
        if large:
            survey, kept = sample_survey(listing, size, keep=in_memory, whole=skip_bad, progress=progress)
        else:
            survey, kept = take_survey(listing, size, keep=in_memory, progress=progress)
    if not in_memory:
        remember(place, survey)

    bad = [each.line.removeprefix(f"{where}/") for each in survey.broken]
    if bad and not skip_bad:
        raise DataError(
            f"{where}: {len(bad):,} of {total:,} images cannot be read: {first_five(bad)}; "
            f"mend them, or leave them out with --skip-bad"
        )
    train, test = listing.train.without(survey.numbers("train")), listing.test.without(survey.numbers("test"))
    labels = [torch.from_numpy(half.labels) for half in (train, test)]
    check_classes(labels[0], labels[1], listing.class_names, where=where)
    return Dataset(
        name=name,
        train=Split(_images(kept[0], train.files, size), labels[0]),
        test=Split(_images(kept[1], test.files, size), labels[1]),
        class_names=listing.class_names,
        mean=survey.mean,
        std=survey.std,
        fingerprint=survey.fingerprint,
        source=source,
        skipped=(*left_out, *bad),
    )


def _images(pixels: Tensor | None, files: Files, size: int) -> TensorImages | FileImages:
    return FileImages(files, size) if pixels is None else TensorImages(pixels)
