"""What every channel of many layers does over a whole dataset, from one streaming pass."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from convscope.errors import UsageError
from convscope.hooks import (
    convolutions,
    frozen_eval,
    layer_aliases,
    like_model,
    list_layers,
    observe_outputs,
    resolve_layer,
)
from convscope.methods.depths import head_layer
from convscope.methods.needs import as_maps, check_at_least
from convscope.methods.surveys.tally import LayerSurvey, Tally
from convscope.ranks import ALONE, Ranks
from convscope.types import Dataset, Network, Progress, Split, no_progress

Half = Literal["train", "test"]


def survey(
    network: Network,
    dataset: Dataset,
    layers: Iterable[str] | None = None,
    *,
    count: int = 9,
    split: Half = "train",
    progress: Progress = no_progress,
    ranks: Ranks = ALONE,
) -> dict[str, LayerSurvey]:
    """A survey of each layer over all images of a split, by dotted name, from one pass without augmentation.

    `layers` defaults to `surveyed_layers`. Of each channel the `count` highest images are kept, each with its
    highest position; fewer where there are fewer images. What is held does not grow with the images. Values of
    an image depend in their last digits on the batch it is in, as they do in any forward pass. Ctrl-C is passed on:
    a survey of a part of the images would tell of other images than it says. Several ranks share the images; each
    gets the survey of all.

    Raises UsageError for a layer that is unknown, does not run or gives no maps, a count below 1, a split that
    is not, and images that the network does not take; NumericsError for values that are not finite.

    >>> from torch import nn
    >>> from convscope.data.memory import dataset_in_memory
    >>> pixels, labels = torch.arange(12, dtype=torch.uint8).view(4, 3, 1, 1), torch.tensor([0, 1, 0, 1])
    >>> dataset = dataset_in_memory("a", (pixels, labels), (pixels, labels), ("a", "b"), source="here")
    >>> network = Network(nn.Sequential(nn.Conv2d(3, 5, 1)), (0.5,) * 3, (0.5,) * 3, (1, 1), ("a", "b"), "tiny")
    >>> survey(network, dataset, count=2)["0"].values.shape
    (5, 2)
    """
    names = resolved_layers(network, layers)
    half = half_of(dataset, split)
    check_at_least(1, count=count)
    check_images(network, half)
    total, classes = len(half.labels), len(dataset.class_names)
    parts = torch.arange(total).split(forward_batch(half.images.shape[2:]))
    parts = parts[ranks.share(len(parts))]
    if not parts:
        raise UsageError(f"{total} images for {ranks.count} processes; allowed: fewer processes")
    tallies: dict[str, Tally] = {}
    members = torch.empty(0)

    def count_in(name: str, output: Tensor) -> None:
        maps = as_maps(
            network.model.get_submodule(name), output, layer=name, image_size=half.images.shape[2:]
        ).float()
        if name not in tallies:
            first = int(parts[0][0])
            tallies[name] = Tally(maps, layer=name, count=count, images=total, classes=classes, first=first)
        tallies[name].add(maps, members)

    with frozen_eval(network.model), torch.inference_mode():
        for indices, images in zip(parts, half.images.batches(parts), strict=True):
            progress("survey", int(indices[0]), total)
            inputs = like_model(network.model, images) / 255
            members = F.one_hot(half.labels[indices], classes).float().to(inputs.device)
            observe_outputs(network.model, network.normalize(inputs), names, count_in)
    if not ranks.alone:
        for name in names:
            tallies[name].join(ranks)
    progress("survey", total, total)
    return {name: tallies[name].survey() for name in names}


def surveyed_layers(network: Network) -> list[str]:
    """The dotted names of all convolutions that run, of the stages that have names of their own, and of the head."""
    size, channels = network.input_size, len(network.mean)
    running = {layer.name for layer in list_layers(network.model, size, channels=channels)}
    found = [name for name in convolutions(network.model) if name in running]
    found += [stage for stage in layer_aliases(network.model).values() if stage not in found]
    head = head_layer(network)
    return [*found, head] if head in running else found


def resolved_layers(network: Network, layers: Iterable[str] | None) -> list[str]:
    """The dotted names that `layers` stand for, each once; `surveyed_layers` for None. Raises UsageError."""
    if layers is None:
        return surveyed_layers(network)
    return list(dict.fromkeys(resolve_layer(network.model, each, model_name=network.name) for each in layers))


def half_of(dataset: Dataset, split: str) -> Split:
    """The training or the test half. Raises UsageError for any other."""
    if split not in ("train", "test"):
        raise UsageError(f'no split "{split}"; allowed: train, test')
    return dataset.train if split == "train" else dataset.test


def check_images(network: Network, half: Split) -> None:
    """Raise UsageError unless the network takes as many channels as the images have."""
    came, wanted = half.images.shape[1], len(network.mean)
    if came != wanted:
        raise UsageError(f"images of {came} channels; allowed for {network.name}: {wanted}")


def forward_batch(image_size: tuple[int, int]) -> int:
    """How many images of (H, W) go through the network at once: few enough that a layer's maps stay in the cache.

    And not so few that a network of many weights for small maps does little but fetch them.

    >>> forward_batch((32, 32)), forward_batch((224, 224))
    (125, 5)
    """
    return max(1, min(125, 250 * 32 * 32 // (image_size[0] * image_size[1])))
