"""What the patterns of channels are worth: the same from random weights, and random images, on one yardstick."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from convscope.hooks import frozen_eval, resolve_layer
from convscope.methods.ascents.canvas import random_images
from convscope.methods.ascents.excite import excite
from convscope.methods.ascents.image_statistics import statistics_for
from convscope.methods.evidence import randomized
from convscope.methods.needs import as_rgb, layer_maps, slug, spread_evenly
from convscope.paint import image_picture
from convscope.types import Dataset, Network, Picture, Progress, no_progress

COMPARED = 8  # channels that are drawn again
IMAGES = 128  # training images, and as many random images, that give the yardstick


def beside_random(
    network: Network,
    layer: str,
    patterns: Picture,
    dataset: Dataset,
    *,
    steps: int = 64,
    seed: int = 0,
    progress: Progress = no_progress,
) -> Picture:
    """The first of a layer's patterns, and below them those of the same channels in a network of random weights.

    `patterns` is what `maximize` or `drawn_picture` gave of the layer. `numbers` hold, for each of the channels, how
    far its pattern ("pattern") and random images ("noise") get, over the highest activation that `IMAGES` training
    images give the same network, and the same of random weights ("random_pattern", "random_noise"); None where no
    image gives more than zero. The random images have the dataset's colours and frequencies.
    """
    name = resolve_layer(network.model, layer, model_name=network.name)
    channels = patterns.numbers["channels"][:COMPARED]
    statistics = statistics_for(network, dataset)
    other = randomized(network, seed=seed)
    control = excite(other, name, channels, statistics, steps=steps, seed=seed, progress=progress)
    chosen = spread_evenly(len(dataset.train.labels), IMAGES)
    photographs = next(iter(dataset.train.images.batches([chosen]))).float() / 255
    noise = random_images(statistics, network.input_size, len(chosen), seed=seed)
    reached = np.array(patterns.numbers["activation"][:COMPARED])
    learned = _over(highest(network, name, photographs)[channels], reached, highest(network, name, noise)[channels])
    by_chance = _over(
        highest(other, name, photographs)[channels],
        control.activations.numpy(),
        highest(other, name, noise)[channels],
    )
    picture = image_picture(
        f"patterns-random-{slug(layer)}",
        f"Patterns of {layer}, and of the same channels with random weights",
        np.concatenate([patterns.values[:COMPARED], as_rgb(control.images)]),
        captions=(
            *(f"{each}\n{_times(ratio)}" for each, ratio in zip(channels, learned[0], strict=True)),
            *(f"random\n{_times(ratio)}" for ratio in by_chance[0]),
        ),
        caption="Above, patterns of the trained network; below, what the same ascent makes of the same channels "
        f"before any training. Here 1.0× is the highest activation that {len(chosen)} training images give the same "
        "network. What both rows share is the method's and the architecture's, not what was learned.",
        provenance={**patterns.provenance, "Method": "patterns-random", "Seed of the control": str(seed)},
        columns=len(channels),
    )
    numbers: dict[str, Any] = {
        "channels": channels,
        "images": len(chosen),
        **dict(zip(("pattern", "noise", "random_pattern", "random_noise"), (*learned, *by_chance), strict=True)),
    }
    if control.interrupted:
        numbers["interrupted"] = True
    return replace(picture, numbers=numbers)


def with_own(network: Network, layer: str, patterns: Picture) -> Picture:
    """The patterns with `numbers["own_most"]`: how many excite their own channel more than any other one shown does.

    Of a classifier's head it is "named", how many are taken for the class that they were drawn for. Only colours can
    be fed again, so of a network with other inputs there is no such number.
    """
    name = resolve_layer(network.model, layer, model_name=network.name)
    inputs, channels = len(network.mean), patterns.numbers["channels"]
    if inputs not in (1, 3) or len(patterns.values) != len(channels) or len(channels) < 2:
        return patterns
    reached = highest_each(network, name, torch.from_numpy(patterns.values[:, :inputs]))  # (images, K)
    module = network.model.get_submodule(name)
    if isinstance(module, nn.Linear):
        found = {"named": int((reached.argmax(1) == np.array(channels)).sum())}
    else:
        best = reached[:, channels].argmax(0)  # for each channel the image that excites it most
        found = {"own_most": int((best == np.arange(len(channels))).sum())}
    return replace(patterns, numbers={**patterns.numbers, **found})


def highest(network: Network, layer: str, images: Float[Tensor, "N C H W"]) -> np.ndarray:
    """(K,): each channel's highest value, before its ReLU, at any position of any of the images."""
    return highest_each(network, layer, images).max(axis=0)


def highest_each(network: Network, layer: str, images: Float[Tensor, "N C H W"]) -> np.ndarray:
    """(N, K): each channel's highest value, before its ReLU, at any position of each image."""
    with frozen_eval(network.model), torch.no_grad():
        parts = [layer_maps(network, layer, part, before_relu=True).amax((2, 3)) for part in images.split(32)]
    return torch.cat(parts).float().cpu().numpy()


def _over(yardstick: np.ndarray, *values: np.ndarray) -> list[list[float | None]]:
    """Each of the values over its channel's yardstick; None where that is not above zero."""
    return [
        [float(value / unit) if unit > 0 else None for value, unit in zip(each, yardstick, strict=True)]
        for each in values
    ]


def _times(ratio: float | None) -> str:
    return "silent" if ratio is None else f"{ratio:.1f}×"
