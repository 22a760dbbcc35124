"""The channels that speak for and against a class, over the class's images."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from convscope.errors import UsageError
from convscope.hooks import like_model, list_layers, resolve_layer
from convscope.methods.attributions import ends_in_pool
from convscope.methods.channels.contributions import class_contributions
from convscope.methods.needs import batch_limit, check_at_least, spread_evenly
from convscope.methods.surveys.survey import Half, check_images, half_of
from convscope.types import Dataset, Network, Progress, no_progress


@dataclass(frozen=True, eq=False)
class ClassChannels:
    """What each of a layer's K channels adds to a class's score on the class's images."""

    layer: str
    target: int
    images: int  # of the class that were looked at
    contributions: NDArray[np.float64]  # (K,): the mean over the images; above zero it speaks for the class
    errors: NDArray[np.float64]  # (K,): the standard error of that mean
    strongest_for: tuple[int, ...]  # channels, the most telling first
    strongest_against: tuple[int, ...]


def find_class_channels(
    network: Network,
    dataset: Dataset,
    target: int,
    layer: str | None = None,
    *,
    count: int = 8,
    images: int = 500,
    split: Half = "test",
    progress: Progress = no_progress,
) -> ClassChannels:
    """What each channel of a layer adds to a class's score on the class's images, and the `count` that add most.

    The score is the class's logit less the mean of all classes' logits, so that what all classes share speaks for
    none. A channel adds activation times gradient, summed over positions (see `contributions.class_contributions`).
    Where only a mean over positions and a linear head follow, as in a ResNet, this is the head's weight, less its
    mean over the classes, times the channel's mean activation, and all channels together are the score but for the
    bias. `layer` is by default the last one before the head. `images` of the class, spaced evenly over the split, are
    looked at, or all where there are fewer. `target` is one of the dataset's classes, which must be the network's.

    Raises UsageError for a class, layer or split that is not, counts below 1, and images that the network does not
    take; NumericsError for logits that are not finite.

    >>> from torch import nn
    >>> from convscope.data import load_dataset
    >>> model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 10))
    >>> digits = load_dataset("digits")
    >>> network = Network(model, (0.5,) * 3, (0.5,) * 3, (8, 8), digits.class_names, "tiny")
    >>> found = find_class_channels(network, digits, 3)
    >>> found.layer, found.contributions.shape
    ('1', (4,))
    """
    check_at_least(1, count=count, images=images)
    if not 0 <= target < len(dataset.class_names):
        raise UsageError(f"no class {target} in {dataset.name}; allowed: 0 to {len(dataset.class_names) - 1}")
    name = last_layer(network) if layer is None else resolve_layer(network.model, layer, model_name=network.name)
    half = half_of(dataset, split)
    check_images(network, half)
    own = (half.labels == target).nonzero()[:, 0]
    if not len(own):
        raise UsageError(f"no {split} images of {dataset.class_names[target]} in {dataset.name}")
    looked_at = own[spread_evenly(len(own), images)]
    total, parts = len(looked_at), looked_at.split(batch_limit(half.images.shape[2:]))
    found: list[NDArray[np.float64]] = []
    for done, pixels in enumerate(half.images.batches(parts)):
        progress("contributions", done * len(parts[0]), total)
        added = class_contributions(network, like_model(network.model, pixels) / 255, [name], target)[name]
        found.append(added.double().numpy())
    each = np.concatenate(found)  # (images, K)
    means = each.mean(0)
    order = np.argsort(-means, kind="stable")
    errors = each.std(0, ddof=1) / np.sqrt(total) if total > 1 else np.zeros_like(means)
    return ClassChannels(
        layer=name,
        target=target,
        images=total,
        contributions=means,
        errors=errors,
        strongest_for=tuple(int(index) for index in order[:count] if means[index] > 0),
        strongest_against=tuple(int(index) for index in order[::-1][:count] if means[index] < 0),
    )


def last_layer(network: Network) -> str:
    """The dotted name of the last layer that gives maps and does not end in a pooling: the stage before a head.

    Raises UsageError where there is none.

    >>> from torch import nn
    >>> model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(36, 2))
    >>> last_layer(Network(model, (0.5,) * 3, (0.5,) * 3, (8, 8), ("a", "b"), "tiny"))
    '1'
    """
    layers = list_layers(network.model, network.input_size, channels=len(network.mean), blocks=True)
    maps = [
        each.name for each in layers if len(each.output_shape) == 3 and not ends_in_pool(network.model, each.name)
    ]
    if not maps:
        raise UsageError(f"no layer of {network.name} gives maps; list them: convscope layers RUN")
    return maps[-1]
