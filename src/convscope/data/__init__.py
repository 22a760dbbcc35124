"""Datasets: from files to uint8 images, labels, class names and statistics."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from convscope.errors import UsageError
from convscope.tables import Entry, Table, look_up
from convscope.types import Dataset, Progress, no_progress

__all__ = ["DATASETS", "load_dataset"]

DATASETS: Table[Entry] = Table(
    "convscope.datasets",
    {
        "digits": Entry(
            "convscope.data.digits:load_digits", "1,797 handwritten digits; comes along, needs no network"
        ),
        "cifar10": Entry("convscope.data.cifar:load_cifar10", "60,000 photographs in 10 classes, 32x32; 170 MB"),
        "cifar100": Entry("convscope.data.cifar:load_cifar100", "60,000 photographs in 100 classes, 32x32; 169 MB"),
        "folder": Entry("convscope.data.folder:load_folder", "your own images in class folders, as folder:PATH"),
        "shards": Entry(
            "convscope.data.shards:load_shards",
            "tar shards (webdataset's layout), as shards:FOLDER or shards:'PATTERN'",
        ),
    },
)

PLACES = {"folder": "PATH", "shards": "FOLDER"}
"""The datasets that lie where their name says, and how to say it."""


def load_dataset(
    name: str,
    *,
    data_dir: str | Path | None = None,
    sources: Sequence[str] = (),
    image_size: int | None = None,
    skip_bad: bool = False,
    seed: int = 0,
    progress: Progress = no_progress,
) -> Dataset:
    """The dataset of that name, with train and test images (N, 3, H, W) uint8 and labels (N,) int64.

    `folder:PATH` reads the class folders at PATH and `shards:FOLDER` the tar shards in FOLDER. `seed` matters where
    a dataset is split by it; the others ignore it. Raises UsageError for an unknown name or an
    option that the dataset does not take, DataError for images, labels, archives or downloads that cannot be used,
    and ResourceError where the disk refuses what is downloaded.

    >>> load_dataset("digits").train.images.shape
    (1437, 3, 32, 32)
    """
    kind, _, path = name.partition(":")
    if kind not in PLACES:
        kind = name
    load = look_up(DATASETS, kind, kind="dataset").load()
    if kind in PLACES and not path:
        raise UsageError(f'the dataset "{kind}" needs a path: {kind}:{PLACES[kind]}')

    options: dict[str, Any] = {
        "data_dir": data_dir,
        "sources": tuple(sources),
        "image_size": image_size,
        "skip_bad": skip_bad,
    }
    given = {
        option: value for option, value in options.items() if value is not None and value != () and value is not False
    }
    for option in given:
        if option not in _options(load):
            takers = [taker for taker, entry in DATASETS.items() if option in _options(entry.load())]
            raise UsageError(
                f"the dataset {kind} takes no {_flag(option)}; "
                f"{_flag(option)} is for {', '.join(takers)}; {_describe_options(kind, load, options)}"
            )
    always = {"seed": seed, "progress": progress}
    given |= {option: value for option, value in always.items() if option in _options(load)}
    return load(path, **given) if kind in PLACES else load(**given)


def _options(load: Callable[..., Any]) -> list[str]:
    parameters = inspect.signature(load).parameters.values()
    return [parameter.name for parameter in parameters if parameter.kind is parameter.KEYWORD_ONLY]


def _flag(option: str) -> str:
    return {"sources": "--source"}.get(option, f"--{option.replace('_', '-')}")


def _describe_options(kind: str, load: Callable[..., Any], options: dict[str, Any]) -> str:
    taken = [_flag(option) for option in options if option in _options(load)]
    return f"{kind} takes {', '.join(taken) or 'none of these options'}"
