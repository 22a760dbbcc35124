"""What a network loses with a channel: its accuracy on each class, and its loss, without it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from numpy.typing import NDArray
from torch import Tensor

from convscope.errors import UsageError
from convscope.hooks import frozen_eval, like_model, resolve_layer
from convscope.methods.needs import (
    Channels,
    batch_limit,
    channel_count,
    check_at_least,
    choose_channels,
    layer_maps,
    spread_evenly,
)
from convscope.methods.removals.removal import logits_with_all, logits_without, record_prefix, removal_place
from convscope.methods.removals.replay import layers_until
from convscope.methods.surveys.survey import check_images
from convscope.types import Dataset, Network, Progress, Split, no_progress

Removal = Literal["zero", "mean"]
REMOVALS: tuple[Removal, ...] = ("zero", "mean")
PARTS = 4  # a batch is computed again in so many parts, which a processor's cache holds better


@dataclass(frozen=True, eq=False)
class Ablation:
    """What a network does over some images with each of K channels of a layer removed, one at a time."""

    layer: str  # that was asked for
    removed_at: str  # the layer whose output was changed: itself, or the batch norm that directly follows it
    rule: Removal
    channels: tuple[int, ...]
    counts: NDArray[np.int64]  # (classes,): the images of each class
    accuracy_before: NDArray[np.float64]  # (classes,) in [0, 1], with nothing removed; 0 where there are no images
    accuracy: NDArray[np.float64]  # (K, classes)
    loss_before: NDArray[np.float64]  # (classes,): mean cross-entropy over each class's images
    loss: NDArray[np.float64]  # (K, classes)
    unchanged: NDArray[np.int64]  # (K,): images in which the channel was what it was set to anyway

    @property
    def accuracy_change(self) -> NDArray[np.float64]:
        """(K,): the change in accuracy over all images, below zero where it falls."""
        return (self.accuracy - self.accuracy_before) @ self.counts / self.counts.sum()

    @property
    def loss_change(self) -> NDArray[np.float64]:
        """(K,): the change in mean cross-entropy over all images, above zero where it rises."""
        return (self.loss - self.loss_before) @ self.counts / self.counts.sum()


def ablate(
    network: Network,
    layer: str,
    channel: Channels = None,
    dataset: Dataset | None = None,
    *,
    rule: Removal = "zero",
    count: int = 1000,
    progress: Progress = no_progress,
) -> Ablation:
    """What removing each channel of a layer, one at a time, does to each class's accuracy and to the loss.

    By default of all channels, over `count` test images, evenly spaced, or all where there are fewer. A
    removed channel is zero at all positions, or, under the rule "mean", its mean over those images and positions,
    which takes away what it tells and leaves the layer's usual level. A convolution's channel is removed behind
    the batch norm that directly follows it, since zero before it would not be nothing. What comes before the layer
    is computed once for all channels, and images in which the channel is as it would be set are not computed again.
    Ctrl-C is passed on: part of the images would not be those that it says.

    Ablation is that of Morcos et al. 2018 (arXiv:1803.06959), section 2.3. Raises UsageError without a dataset, for
    an unknown layer, channel or rule, a layer that runs more than once in a pass, a count below 1, images that
    the network does not take and classes that it does not have; NumericsError for logits that are not finite.

    >>> from torch import nn
    >>> from convscope.data.memory import dataset_in_memory
    >>> pixels = torch.tensor([[255, 0, 0], [0, 255, 0]], dtype=torch.uint8).view(2, 3, 1, 1)
    >>> halves = (pixels, torch.tensor([0, 1])), (pixels, torch.tensor([0, 1]))
    >>> colours = dataset_in_memory("colours", *halves, ("red", "green"), source="here")
    >>> model = nn.Sequential(nn.ReLU(), nn.Flatten(), nn.Linear(3, 2, bias=False))
    >>> model[2].weight.data = torch.tensor([[2.0, 0.0, 0.0], [0.0, 2.0, 0.0]])
    >>> network = Network(model, (0.0,) * 3, (1.0,) * 3, (1, 1), ("red", "green"), "tiny")
    >>> found = ablate(network, "0", "all", colours)
    >>> found.accuracy.tolist(), found.unchanged.tolist()
    ([[1.0, 1.0], [1.0, 0.0], [1.0, 1.0]], [1, 1, 2])
    """
    name = resolve_layer(network.model, layer, model_name=network.name)
    if dataset is None:
        raise UsageError("what a network loses is seen on a dataset, and none was given; name one, such as digits")
    if rule not in REMOVALS:
        raise UsageError(f'no rule "{rule}"; allowed: {", ".join(REMOVALS)}')
    check_at_least(1, count=count)
    half = dataset.test
    check_images(network, half)
    chosen = choose_channels(channel, channel_count(network, name), layer=layer, class_names=network.class_names)
    place = removal_place(network, name)
    looked_at = spread_evenly(len(half.labels), count)
    total, parts = len(looked_at), looked_at.split(batch_limit(half.images.shape[2:]))
    tally = _Tally(len(chosen), len(dataset.class_names))
    read: dict[str, bool] = {}
    with frozen_eval(network.model) as model, torch.no_grad():
        levels = _levels(network, place, half, parts, rule)[chosen]
        channels = torch.tensor(chosen, device=levels.device)
        for part, images in zip(parts, half.images.batches(parts), strict=True):
            inputs = like_model(model, images) / 255
            read = read or layers_until(model, network.normalize(inputs[:1]), place)
            prefix = record_prefix(network, inputs, place, read)
            logits = logits_with_all(prefix)
            if logits.shape[1] != tally.classes:
                came = f"{logits.shape[1]} classes in {network.name}"
                raise UsageError(f"{came}; allowed: those of {dataset.name}, {tally.classes}")
            tally.begin(logits, half.labels[part])
            changed = (prefix.maps[:, channels] != levels[:, None, None]).flatten(2).any(2)  # (B, K)
            for some in changed.nonzero().split(-(-len(part) // PARTS)):
                progress("ablation", tally.seen + int(some[0, 0]), total)
                rows, places = some.unbind(1)
                tally.replace(rows, places, logits_without(prefix, rows, channels[places], levels[places]))
            tally.end()
    progress("ablation", total, total)
    return tally.ablation(name, place, rule, chosen)


def _levels(network: Network, layer: str, half: Split, parts: Sequence[Tensor], rule: Removal) -> Float[Tensor, " K"]:
    """What each of the layer's channels is set to where it is removed."""
    first = layer_maps(network, layer, torch.zeros(1, *half.images.shape[1:]))
    if rule == "zero":
        return first.new_zeros(first.shape[1])
    sums = first.new_zeros(first.shape[1], dtype=torch.float64)
    for images in half.images.batches(parts):
        sums += layer_maps(network, layer, images.float() / 255).mean((2, 3)).double().sum(0)
    return (sums / sum(len(part) for part in parts)).to(first)


class _Tally:
    """Counts of what is right, and sums of losses, by channel and class."""

    def __init__(self, channels: int, classes: int) -> None:
        self.classes = classes
        self.seen = 0
        self.counts = torch.zeros(classes, dtype=torch.float64)
        self.before = torch.zeros(2, classes, dtype=torch.float64)  # right ones, losses
        self.after = torch.zeros(2, channels, classes, dtype=torch.float64)
        self.unchanged = torch.zeros(channels, dtype=torch.int64)

    def begin(self, logits: Float[Tensor, "B classes"], labels: Int64[Tensor, " B"]) -> None:
        """Take in a batch with nothing removed: what each channel's removal gives as well until it is replaced."""
        self.labels = labels
        self.whole = _judged(logits, labels)  # (2, B)
        self.images = self.whole[:, None].repeat(1, len(self.unchanged), 1)  # (2, K, B)
        self.same = torch.ones(self.images.shape[1:], dtype=torch.bool)

    def replace(
        self, rows: Int64[Tensor, " M"], places: Int64[Tensor, " M"], logits: Float[Tensor, "M classes"]
    ) -> None:
        """What these images of the batch give without these of the channels."""
        rows, places = rows.cpu(), places.cpu()
        self.images[:, places, rows] = _judged(logits, self.labels[rows])
        self.same[places, rows] = False

    def end(self) -> None:
        """Count in the batch."""
        members = F.one_hot(self.labels, self.classes).double()
        self.seen += len(self.labels)
        self.counts += members.sum(0)
        self.before += self.whole @ members
        self.after += self.images @ members
        self.unchanged += self.same.sum(1)

    def ablation(self, layer: str, place: str, rule: Removal, channels: Sequence[int]) -> Ablation:
        """The means over each class's images."""
        count = self.counts.clamp(min=1)
        accuracy_before, loss_before = (self.before / count).numpy()
        accuracy, loss = (self.after / count).numpy()
        return Ablation(
            layer=layer,
            removed_at=place,
            rule=rule,
            channels=tuple(channels),
            counts=self.counts.long().numpy(),
            accuracy_before=accuracy_before,
            accuracy=accuracy,
            loss_before=loss_before,
            loss=loss,
            unchanged=self.unchanged.numpy(),
        )


def _judged(logits: Float[Tensor, "N classes"], labels: Int64[Tensor, " N"]) -> Float[Tensor, "2 N"]:
    """Whether each image's highest logit is its class's, and its cross-entropy, in main memory."""
    logits = logits.cpu()
    return torch.stack([logits.argmax(1) == labels, F.cross_entropy(logits, labels, reduction="none")]).double()
