"""The patterns of a film: what channels answered to at each step of which all weights were kept."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch.nn.functional as F
from torch import Tensor

from convscope.errors import CheckpointError, UsageError
from convscope.hooks import resolve_layer
from convscope.methods.ascents.excited_picture import channel_names
from convscope.methods.ascents.follow import follow
from convscope.methods.ascents.image_statistics import statistics_for
from convscope.methods.depths import middle_layer
from convscope.methods.maximize import MOST
from convscope.methods.needs import Channels, as_rgb, channel_count, choose_channels
from convscope.models.weights import read_weights
from convscope.paint import image_picture
from convscope.training.frames import weights_path
from convscope.types import Dataset, Network, Picture, Progress

FIRST_STEPS, STEPS = 64, 16
LARGEST = 96  # pixels of a tile's longer side; larger patterns are shown smaller


def follow_patterns(
    run: Path,
    network: Network,
    steps: Sequence[int],
    dataset: Dataset | None,
    *,
    layer: str | None,
    channel: Channels,
    seed: int,
    progress: Progress,
) -> dict[int, Picture]:
    """What excites the channels of a layer most, by step; weights that cannot be read are left out.

    Raises UsageError for a layer or channel that is not, and where the film kept no weights; CheckpointError where
    none of them can be read.
    """
    called = layer or middle_layer(network)
    name = resolve_layer(network.model, called, model_name=network.name)
    available = channel_count(network, name)
    chosen = choose_channels(channel, available, layer=called, most=MOST, class_names=network.class_names)
    if not steps:
        raise UsageError(f"the film of {run} kept no weights, so it has no patterns; allowed: --show filters")
    captions = channel_names(network, name, chosen)
    read: list[int] = []
    why = ""

    def weights() -> Iterator[dict[str, Tensor]]:
        nonlocal why
        for step in steps:
            try:
                found = read_weights(weights_path(run, step))
            except CheckpointError as error:
                why = str(error)
                continue
            read.append(step)
            yield found

    def tell(what: str, done: int, total: int | None) -> None:
        progress("following patterns", len(read), len(steps))

    statistics = statistics_for(network, dataset)
    pictures: dict[int, Picture] = {}
    for images in follow(
        network, name, chosen, weights(), statistics, first_steps=FIRST_STEPS, steps=STEPS, seed=seed, progress=tell
    ):
        pictures[read[-1]] = image_picture(
            f"film-patterns-step-{read[-1]}", f"patterns of {called}", _shown(images), captions=captions
        )
    if not pictures:
        raise CheckpointError(f"none of the film's {len(steps)} sets of weights can be read: {why}")
    return pictures


def patterns_reading() -> str:
    """How to read the patterns, and what not to conclude."""
    return (
        "Each pattern was drawn by gradient ascent to excite one channel, with that step's weights rounded to 16 "
        "bits. It is warm-started: the first began as noise, each later one as the pattern before, faded by half, so "
        "that it moves only where the network did; what of it comes from earlier steps the picture does not say."
    )


def _shown(images: Tensor) -> np.ndarray:
    """The images (N, C, H, W) as RGB (N, 3, h, w), no larger than there is room for."""
    longer = max(images.shape[2:])
    if longer > LARGEST:
        images = F.interpolate(images, scale_factor=LARGEST / longer, mode="area")
    return as_rgb(images)
