"""A dataset from your own images: class folders, kept in memory if they fit and streamed if not."""

from __future__ import annotations

from pathlib import Path

from convscope.data.listed import check_image_size, listed_dataset
from convscope.data.listing import list_images
from convscope.types import Dataset, Progress, no_progress


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
    check_image_size(image_size)
    root = Path(path).absolute()
    listing = list_images(root, seed=seed)
    return listed_dataset(
        listing,
        name=f"folder:{root}",
        where=str(root),
        source=f"class folders in {root}, {listing.words}",
        image_size=image_size,
        skip_bad=skip_bad,
        in_memory=in_memory,
        progress=progress,
    )
