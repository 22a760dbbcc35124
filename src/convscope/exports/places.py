"""The places of one machine that a run.json names: to be told before it is given away, and set where it arrives."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePath
from typing import Any

from convscope.data import DATASETS
from convscope.errors import UsageError
from convscope.tables import look_up


def named_places(config: Mapping[str, Any]) -> list[str]:
    """The absolute paths in a run.json, each once.

    >>> dataset = {"name": "folder:/home/ann/birds", "source": "photos in /srv, https://x.org/y"}
    >>> named_places({"command": "convscope run birds -o /tmp/x", "weights": None, "dataset": dataset})
    ['/tmp/x', '/home/ann/birds', '/srv']
    """
    words = (word for text in _texts(config) for word in re.split(r"[\s='\"]+", text) if "://" not in word)
    ended = (word.rstrip(",.;)") for word in words)
    found = (part for word in ended for part in (word, word.partition(":")[2]))  # after folder: and the like
    return list(dict.fromkeys(part for part in found if PurePath(part).is_absolute()))


def _texts(value: Any) -> Iterator[str]:
    """Every text in what JSON holds, but the keys."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping | list):
        for each in value.values() if isinstance(value, Mapping) else value:
            yield from _texts(each)


def missing_images(config: Mapping[str, Any]) -> str:
    """Where a run's images are said to be, where they are not; empty otherwise."""
    dataset = config["dataset"]
    place = str(dataset["name"]).partition(":")[2] or dataset["options"].get("data_dir") or ""
    return place if place and not Path(place).exists() else ""


def with_images_at(images: Path, config: Mapping[str, Any]) -> dict[str, Any]:
    """The run.json of a run whose images are there. Raises UsageError for a dataset that lies nowhere of its own."""
    dataset = config["dataset"]
    kind, colon, _ = dataset["name"].partition(":")
    if colon:
        return {**config, "dataset": {**dataset, "name": f"{kind}:{images.resolve()}"}}
    if "data_dir" not in inspect.signature(look_up(DATASETS, kind, kind="dataset").load()).parameters:
        raise UsageError(f"{kind} is the same on every machine; leave out --images")
    return {**config, "dataset": {**dataset, "options": {**dataset["options"], "data_dir": str(images.resolve())}}}
