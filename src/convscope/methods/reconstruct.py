"""Activations projected back to pixels: deconvnet, guided backprop, or the plain gradient."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from convscope.errors import UsageError
from convscope.hooks import resolve_layer
from convscope.methods.evidence import randomized, similarity, with_control
from convscope.methods.needs import (
    Channels,
    as_rgb,
    batch_limit,
    check_at_least,
    choose_channels,
    one_image,
    signed_limits,
    slug,
)
from convscope.methods.projection import Recorded, record_pass
from convscope.relu_rules import Rule
from convscope.types import Network, Picture, Progress, no_progress

Start = Literal["map", "peak"]
STARTS: tuple[Start, ...] = ("map", "peak")
RULE_WORDS: dict[Rule, str] = {
    "deconvnet": "Deconvnet reconstructions",
    "guided": "Guided backprop",
    "gradient": "Gradients",
}


def reconstruct(
    network: Network,
    layer: str,
    image: Tensor,
    channel: Channels = None,
    *,
    rule: Rule = "deconvnet",
    start: Start = "map",
    position: str | None = None,
    channels: int = 16,
    control: bool = False,
    seed: int = 0,
    progress: Progress = no_progress,
) -> Picture:
    """What of an image a layer's channels answer to: their activations, projected back to its pixels.

    `image` is (C, H, W) float in [0, 1]. The first tiles are the image, the layer's channels all at once, and
    the sum of its channels one by one (another picture, except for plain gradients, and shown where all channels
    are asked for); then a tile for each channel, by default the `channels` that answer most to this image. Values
    are in the units of the model's input; each tile but the image has a scale of its own, with zero mid grey.

    A channel's signal is its map, its strongest position alone, or the one unit at `position`, by which channels
    are then ranked; under the rules "deconvnet" and "guided" only what is positive in it. It goes back through the
    layers as their gradient does: transposed convolutions, batch norm as the affine map that it is in evaluation
    mode, max pooling through the positions that won, a residual sum into both its branches; only at ReLUs the rules
    differ (see `relu_rules.ReluRule`). Zeiler & Fergus 2014 (arXiv:1311.2901), section 2.1; Springenberg et al.
    2015 (arXiv:1412.6806), section 3.4.

    Ctrl-C gives the channels that are done. Raises UsageError for an unknown layer, channel, rule, start or
    position, an image of another shape or range, and, unless the rule is "gradient", a network with activations
    that are not ReLUs or with no ReLU that could be met; NumericsError for activations that are not finite.

    Parameters
    ----------
    rule
        What a ReLU does to the signal: deconvnet, guided or gradient.
    start
        The signal: map, a channel's whole map, or peak, its strongest position alone.
    position
        Instead of those, one position of the maps alone: its row and column, such as 3,5.
    channels
        How many channels are shown where none is named.
    control
        Add the same from random weights below.
    seed
        Draws the random weights of the control.

    >>> from torch import nn
    >>> model = nn.Sequential(nn.Conv2d(3, 8, 5), nn.ReLU(), nn.Conv2d(8, 4, 3))
    >>> network = Network(model, (0.5,) * 3, (0.5,) * 3, (16, 16), ("a", "b"), "tiny")
    >>> reconstruct(network, "2", torch.rand(3, 16, 16), 1).values.shape
    (3, 3, 16, 16)
    """
    name = resolve_layer(network.model, layer, model_name=network.name)
    images = one_image(network, image)
    if start not in STARTS:
        raise UsageError(f'no start "{start}"; allowed: {", ".join(STARTS)}')
    if position is not None and start != "map":
        raise UsageError(f'position "{position}" with the start {start}; allowed: one of the two')
    check_at_least(1, channels=channels)
    recorded = record_pass(network, name, images, rule=rule)
    maps = recorded.maps
    named = choose_channels(channel, len(maps), layer=layer, class_names=network.class_names)
    unit = None if position is None else parse_position(position, maps.shape[1:], layer=layer)
    chosen = strongest(maps if unit is None else maps[:, unit[0], unit[1], None, None])[:channels]
    chosen = chosen if channel is None else named
    shares = _signals(maps, chosen, start=start, unit=unit, rule=rule)
    parts: list[Tensor] = []
    step = batch_limit(images.shape[-2:])
    try:
        for first in range(0, len(chosen) + 1, step):
            progress("reconstruct", first, len(chosen) + 1)
            signals = torch.stack([*islice(shares, step)])
            parts.append(recorded.back(signals))
    except KeyboardInterrupt:
        if not parts:
            raise
    back = torch.cat(parts)  # (1 + N, C, H, W)
    interrupted = len(back) <= len(chosen)
    chosen = chosen[: len(back) - 1]
    whole = set(chosen) == set(range(len(maps)))
    tiles = [back[:1], *([back[1:].sum(0, keepdim=True)] if whole else []), back[1:]]
    picture = _picture(
        network, layer, name, images, torch.cat(tiles), maps, chosen, rule, start, unit, recorded.relus
    )
    if interrupted:
        return replace(picture, numbers={**picture.numbers, "interrupted": True})
    if not control:
        return picture
    other = reconstruct(
        randomized(network, seed=seed), name, image, chosen, rule=rule, start=start, position=position
    )
    return with_control(picture, other, originals=1)


def reconstruct_one(
    recorded: Recorded, channel: int, unit: tuple[int, int] | None = None
) -> Float[np.ndarray, "1 3 H W"]:
    """The tile of one channel, or of its unit in that row and column, as `reconstruct` has it, and nothing else.

    >>> from torch import nn
    >>> model = nn.Sequential(nn.Conv2d(3, 8, 5), nn.ReLU(), nn.Conv2d(8, 4, 3))
    >>> network, image = Network(model, (0.5,) * 3, (0.5,) * 3, (16, 16), (), "tiny"), torch.rand(3, 16, 16)
    >>> tile = reconstruct_one(record_pass(network, "2", image[None], rule="guided"), 1, (3, 5))
    >>> np.allclose(tile[0], reconstruct(network, "2", image, 1, rule="guided", position="3,5").values[-1], atol=1e-6)
    True
    """
    _, signal = _signals(recorded.maps, [channel], start="map", unit=unit, rule=recorded.rule)
    return as_rgb(recorded.back(signal[None]))


def strongest(maps: Float[Tensor, "K h w"]) -> list[int]:
    """The channels by the maximum of their maps, the highest first.

    >>> strongest(torch.tensor([[[1.0]], [[3.0]], [[2.0]]]))
    [1, 2, 0]
    """
    return maps.flatten(1).amax(1).argsort(descending=True, stable=True).tolist()


def parse_position(position: str, size: Sequence[int], *, layer: str) -> tuple[int, int]:
    """The row and column that a text such as "3,5" names, of maps of `size` (h, w). Raises UsageError for any other.

    >>> parse_position("3,5", (8, 8), layer="conv1")
    (3, 5)
    """
    parts = position.split(",")
    if len(parts) == 2 and all(part.strip().isdecimal() for part in parts):
        row, column = map(int, parts)
        if row < size[0] and column < size[1]:
            return row, column
    allowed = f"row,column from 0,0 to {size[0] - 1},{size[1] - 1}"
    raise UsageError(f'no position "{position}" in {layer}; allowed: {allowed}')


def _signals(
    maps: Float[Tensor, "K h w"], chosen: Sequence[int], *, start: Start, unit: tuple[int, int] | None, rule: Rule
) -> Iterator[Float[Tensor, "K h w"]]:
    """What goes back: all channels at once, then each of the chosen ones alone."""
    if unit is not None:
        alone = torch.zeros_like(maps)
        alone[:, unit[0], unit[1]] = maps[:, unit[0], unit[1]]
        maps = alone
    elif start == "peak":
        flat = maps.flatten(1)
        peaks = torch.zeros_like(flat).scatter(1, flat.argmax(1, keepdim=True), 1.0)
        maps = maps * peaks.view_as(maps)
    if rule != "gradient":
        maps = maps.clamp(min=0)
    yield maps
    for index in chosen:
        signal = torch.zeros_like(maps)
        signal[index] = maps[index]
        yield signal


def _picture(
    network: Network,
    layer: str,
    name: str,
    images: Float[Tensor, "1 C H W"],
    back: Float[Tensor, "N C H W"],
    maps: Float[Tensor, "K h w"],
    chosen: list[int],
    rule: Rule,
    start: Start,
    unit: tuple[int, int] | None,
    relus: int,
) -> Picture:
    """The picture: the image, all channels at once, their sum where there is one, each channel alone."""
    summed = len(back) - len(chosen) - 1
    values = as_rgb(back)
    dark = [index for index, tile in zip(chosen, values[1 + summed :], strict=True) if not tile.any()]
    alike = similarity(values[1:2], values[:1]).tolist() if summed else []
    whose = "strongest position of each channel" if start == "peak" else "map of each channel"
    where = {} if unit is None else {"position": list(unit), "value": maps[chosen, unit[0], unit[1]].tolist()}
    if unit is not None:
        whose = f"unit in row {unit[0]}, column {unit[1]} of each channel"
    return Picture(
        name="-".join([rule, slug(layer), *map(str, chosen if len(chosen) == 1 else ()), *map(str, unit or ())]),
        title=f"{RULE_WORDS[rule]} from {layer}, {maps.shape[0]} channels of {maps.shape[1]}×{maps.shape[2]}",
        values=np.concatenate([as_rgb(images), values]).astype(np.float32),
        limits=np.concatenate([[[0, 1]], signed_limits(values)]).astype(np.float32),
        scale="rgb",
        captions=("image", "all at once", *["sum"] * summed, *map(str, chosen)),
        caption=f"First the image, then what goes back to its pixels from the layer: all channels at once, "
        f"{'the sum of the channels one by one, ' if summed else ''}and the {whose} alone. "
        f"{rule_reading(rule, relus)} Mid grey is zero, and each tile has a scale of its own. A part of the image "
        "that is missing in a tile did not move that channel here; it may in another image.",
        numbers={
            "relus": relus,
            "channels": chosen,
            "maximum": maps.flatten(1).amax(1)[chosen].tolist(),
            **where,
            "dark_channels": dark,
            **({"sum_similarity": round(alike[0], 4)} if alike else {}),
        },
        provenance={
            "Method": "reconstruct",
            "Network": network.name,
            "Layer": name,
            "Rule": rule,
            **({"Start": start} if unit is None else {"Position": f"{unit[0]},{unit[1]}"}),
        },
    )


def rule_reading(rule: Rule, relus: int) -> str:
    """What the rule does, and what not to conclude from it."""
    if not relus:
        return "No ReLU lies between the image and this layer, so all rules take the signal back alike."
    if rule == "gradient":
        return (
            "The plain gradient says how each pixel would move these activations; under this rule alone do the "
            "channels one by one add up to all at once."
        )
    return (
        f"The signal passes the ReLUs (here {relus}) by the {rule} rule, which keeps only what is positive on the "
        "way back; such pictures are sharp partly because of that: compare them with those from random weights "
        "(control)."
    )
