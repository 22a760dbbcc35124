"""The channels that decide a prediction: whose removal moves one image's score for a class most."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from convscope.hooks import convolutions, frozen_eval, like_model, list_layers, resolve_layer
from convscope.methods.channels.contributions import class_contributions, class_score
from convscope.methods.needs import check_at_least, check_logits, choose_class, one_image
from convscope.methods.removals.removal import logits_without, record_prefix, removal_place
from convscope.methods.removals.replay import layers_until
from convscope.types import Network, Progress, no_progress


@dataclass(frozen=True)
class Removed:
    """What an image's prediction is without one channel."""

    layer: str
    channel: int
    estimate: float  # the change in the class's score, to first order
    change: float  # and as it is
    probability: float  # of the class, without the channel
    predicted: int  # the class of the highest logit, without the channel


@dataclass(frozen=True, eq=False)
class Decisive:
    """The channels that decide an image's prediction, by how much their removal moves it."""

    target: int
    predicted: int
    score: float  # the class's logit less the mean of all logits, with nothing removed
    probability: float
    removed: tuple[Removed, ...]  # the largest change first
    estimates: dict[str, NDArray[np.float32]]  # by layer, (K,): the first-order change for every channel


def find_decisive(
    network: Network,
    image: Tensor,
    target: int | str | None = None,
    layers: Iterable[str] | None = None,
    *,
    count: int = 12,
    progress: Progress = no_progress,
) -> Decisive:
    """The channels whose removal moves an image's score for a class most, of some layers or of all convolutions.

    `image` is (C, H, W) float in [0, 1]; `target` is a class's name or number, by default the predicted one. The
    score is the class's logit less the mean of all logits. For every channel the change is estimated to first order,
    as minus activation times gradient; the `count` channels with the largest estimates are then really removed, set
    to zero, one at a time. The two numbers side by side say how far the estimate can be trusted: it does not see what
    bends on the way, so that a channel with a small estimate may still matter, above all of early layers. A
    convolution's channel is removed behind the batch norm that directly follows it (see `removal.removal_place`).

    Raises UsageError for an unknown layer or class, an image of another shape or range, a layer that runs more than
    once in a pass, a count below 1, and a network that gives no logits; NumericsError for logits that are not finite.

    >>> from torch import nn
    >>> model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))
    >>> network = Network(model, (0.5,) * 3, (0.5,) * 3, (8, 8), ("a", "b"), "tiny")
    >>> found = find_decisive(network, torch.rand(3, 8, 8), "b", ["1"], count=3)
    >>> [abs(each.estimate - each.change) < 1e-5 for each in found.removed]
    [True, True, True]
    """
    images = one_image(network, image)
    check_at_least(1, count=count)
    if layers is None:
        size = (images.shape[2], images.shape[3])
        running = {layer.name for layer in list_layers(network.model, size, channels=len(network.mean))}
        layers = [name for name in convolutions(network.model) if name in running]
    names = dict.fromkeys(resolve_layer(network.model, each, model_name=network.name) for each in layers)
    places = {name: removal_place(network, name) for name in names}
    with frozen_eval(network.model) as model, torch.no_grad():
        logits = check_logits(network, network(like_model(model, images))).cpu()
    predicted = int(logits.argmax())
    index = predicted if target is None else choose_class(network, target, logits.shape[1])
    score = class_score(logits, index).item()
    added = class_contributions(network, images, set(places.values()), index)
    estimates = {name: -added[place][0].numpy() for name, place in places.items()}
    candidates = sorted(
        ((name, channel) for name, each in estimates.items() for channel in range(len(each))),
        key=lambda one: -abs(estimates[one[0]][one[1]]),
    )[:count]
    removed: list[Removed] = []
    for done, name in enumerate(asked := dict.fromkeys(name for name, _ in candidates)):
        progress("removal", done, len(asked))
        channels = [channel for other, channel in candidates if other == name]
        without = _without(network, images, places[name], channels)
        changes = (class_score(without, index) - score).tolist()
        chances, classes = without.softmax(1)[:, index].tolist(), without.argmax(1).tolist()
        for channel, change, chance, winner in zip(channels, changes, chances, classes, strict=True):
            removed.append(Removed(name, channel, float(estimates[name][channel]), change, chance, winner))
    removed.sort(key=lambda each: -abs(each.change))
    return Decisive(index, predicted, score, logits.softmax(1)[0, index].item(), tuple(removed), estimates)


def _without(network: Network, images: Tensor, place: str, channels: list[int]) -> Tensor:
    """The logits (M, classes) for the image without each of these channels, in main memory."""
    with frozen_eval(network.model) as model, torch.no_grad():
        images = like_model(model, images)
        prefix = record_prefix(network, images, place, layers_until(model, network.normalize(images), place))
        which = torch.tensor(channels, device=images.device)
        return logits_without(prefix, torch.zeros_like(which), which, images.new_zeros(len(which))).cpu()
