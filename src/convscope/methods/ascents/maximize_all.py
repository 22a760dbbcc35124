"""What every channel of every layer answers to, coarse to fine, within a budget; a later call goes on from there."""

from __future__ import annotations

import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from convscope.errors import UsageError
from convscope.methods.ascents.pattern_store import PatternStore
from convscope.methods.needs import Channels
from convscope.methods.surveys.survey import resolved_layers
from convscope.types import Dataset, Network, Picture, Progress, no_progress


def maximize_within(
    network: Network,
    store: Path,
    dataset: Dataset | None = None,
    *,
    budget: float,
    layers: Iterable[str] | None = None,
    seed: int = 0,
    progress: Progress = no_progress,
) -> dict[str, list[int]]:
    """Draw every channel of the layers, at first in few steps, then in more, for about `budget` seconds.

    Returns, by dotted name, in how many steps each channel of a layer is drawn by now, 0 where it is not.
    `layers` defaults to all convolutions, stages and the head. What is drawn is kept part by part in the folder
    `store`/maximize, in one of its own for these weights, dataset and seed, and never drawn again unless it is
    damaged: a call that is stopped, by its budget or by Ctrl-C, and one that goes on later give what one long call
    gives. A part that is known to take longer than what is left is not begun. `drawn_picture` shows them.

    Raises UsageError for a layer that is unknown and ResourceError where the disk refuses.

    >>> from tempfile import TemporaryDirectory
    >>> from torch import nn
    >>> model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())
    >>> network = Network(model, (0.5,) * 3, (0.25,) * 3, (8, 8), ("cat", "dog"), "tiny")
    >>> with TemporaryDirectory() as store:
    ...     steps = maximize_within(network, Path(store), budget=60, layers=["0"])
    ...     picture = drawn_picture(network, Path(store), "0", [1, 3])
    >>> steps["0"], picture.values.shape[1:], picture.numbers["channels"]
    ([256, 256, 256, 256], (3, 8, 8), [1, 3])
    """
    if not budget > 0:
        raise UsageError(f"budget {budget:g}; allowed: more than 0 seconds")
    began = time.monotonic()
    names = resolved_layers(network, layers)
    kept = PatternStore(network, store, dataset, seed=seed)
    kept.begin()
    plan = kept.plan(network, names)
    with suppress(KeyboardInterrupt):
        for number, (steps, name, part) in enumerate(plan):
            left = budget - (time.monotonic() - began)
            if left <= 0:
                break
            progress("maximizing all channels", number, len(plan))
            kept.measure(network, name)
            if kept.is_drawn(name, part, steps):
                continue
            if kept.expected_seconds(name, part, steps) > left or not kept.draw(network, name, part, steps):
                break
    return {name: kept.steps_drawn(network, name) for name in names}


def drawn_picture(
    network: Network,
    store: Path,
    layer: str,
    channel: Channels = None,
    dataset: Dataset | None = None,
    *,
    seed: int = 0,
) -> Picture:
    """The finest images that `maximize_within` has drawn of a layer's channels, or of some, with the same arguments.

    Raises UsageError where there are none of these weights, dataset and seed, and for a channel out of range. The
    example stands at `maximize_within`.
    """
    return PatternStore(network, store, dataset, seed=seed).picture(network, layer, channel)
