"""A class's most typical and most confusing images, from what a network says of a whole split."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int64
from numpy.typing import NDArray

from convscope.errors import UsageError
from convscope.hooks import frozen_eval, like_model
from convscope.methods.needs import batch_limit, check_at_least, check_logits
from convscope.methods.surveys.survey import Half, check_images, half_of
from convscope.types import Dataset, Network, Progress, no_progress


@dataclass(frozen=True)
class Judged:
    """An image of a split and what the network says of it."""

    image: int  # its number in the split
    label: int  # its class
    predicted: int
    probability: float  # of the class that it is listed for


@dataclass(frozen=True)
class ClassImages:
    """Images that show what a network takes for a class, the highest probability first."""

    typical: tuple[Judged, ...]  # of the class and recognized; its own probability
    intruders: tuple[Judged, ...]  # of other classes and taken for it; the class's probability
    missed: tuple[Judged, ...]  # of the class and taken for another; that other's probability


def predict(
    network: Network, dataset: Dataset, *, split: Half = "test", progress: Progress = no_progress
) -> NDArray[np.float32]:
    """The probability (N, classes) of each class for each image of a split, in one pass without augmentation.

    Raises UsageError for a split that is not and images that the network does not take; NumericsError for logits that
    are not finite.

    >>> from torch import nn
    >>> from convscope.data import load_dataset
    >>> model = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 10))
    >>> digits = load_dataset("digits")
    >>> predict(Network(model, (0.5,) * 3, (0.5,) * 3, (32, 32), digits.class_names, "tiny"), digits).shape
    (360, 10)
    """
    half = half_of(dataset, split)
    check_images(network, half)
    total = len(half.labels)
    parts = torch.arange(total).split(batch_limit(half.images.shape[2:]))
    found: list[NDArray[np.float32]] = []
    with frozen_eval(network.model) as model, torch.inference_mode():
        for part, images in zip(parts, half.images.batches(parts), strict=True):
            progress("predictions", int(part[0]), total)
            logits = check_logits(network, network(like_model(model, images) / 255))
            found.append(logits.softmax(1).cpu().numpy())
    progress("predictions", total, total)
    return np.concatenate(found)


def choose_class_images(
    probabilities: Float[np.ndarray, "N classes"], labels: Int64[np.ndarray, " N"], target: int, *, count: int = 9
) -> ClassImages:
    """The `count` most typical images of a class, those taken for it, and those of it taken for others.

    `labels` are the images' classes, in the same order. Of equally probable images the earlier comes first. Raises
    UsageError for a class that is not, and a count below 1.

    >>> probabilities = np.array([[0.9, 0.1], [0.3, 0.7], [0.8, 0.2]])
    >>> found = choose_class_images(probabilities, np.array([0, 0, 1]), 0)
    >>> [[each.image for each in some] for some in (found.typical, found.intruders, found.missed)]
    [[0], [2], [1]]
    """
    classes = probabilities.shape[1]
    if not 0 <= target < classes:
        raise UsageError(f"no class {target}; allowed: 0 to {classes - 1}")
    check_at_least(1, count=count)
    predicted = probabilities.argmax(1)
    own = labels == target

    def highest(which: NDArray[np.bool_], values: NDArray[np.floating]) -> tuple[Judged, ...]:
        images = np.flatnonzero(which)
        images = images[np.argsort(-values[images], kind="stable")][:count].tolist()
        return tuple(Judged(each, int(labels[each]), int(predicted[each]), float(values[each])) for each in images)

    return ClassImages(
        typical=highest(own & (predicted == target), probabilities[:, target]),
        intruders=highest(~own & (predicted == target), probabilities[:, target]),
        missed=highest(own & (predicted != target), probabilities.max(1)),
    )
