"""Matched channels beside each other: their filters, or the patterns that they answer to; those alone come last."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from convscope.methods.filters import filters
from convscope.methods.maximize import maximize
from convscope.methods.needs import slug
from convscope.methods.similarity.channel_matching import PARTNER, ChannelMatch
from convscope.paint import PAPER, image_picture
from convscope.types import Dataset, Network, Picture, Progress, no_progress

PAIRS = 8  # whose patterns are drawn: from the most alike to the least
ALONE = 2  # channels without a partner of each network, whose patterns are drawn
ASCENT_STEPS = 64
COLUMNS = 6
SIDE = 60  # pixels of a filter or pattern, about
BETWEEN, AROUND = 2, 7  # pixels of paper between the two of a pair, and beside them


def filter_pairs(network: Network, other: Network, match: ChannelMatch, names: tuple[str, str]) -> Picture | None:
    """The first convolution's filters of two networks, matched ones beside each other, the most alike first.

    None where a filter is no small image, since the images have two channels or more than three.
    """
    pictures = filters(network), filters(other)
    if any(picture.scale != "rgb" for picture in pictures):
        return None
    side = [max(sides) for sides in zip(*(picture.values.shape[2:] for picture in pictures), strict=True)]
    scaled = [
        _framed((picture.values / picture.limits[:, 1, None, None, None] + 1) / 2, side) for picture in pictures
    ]
    numbers = [range(len(side)) for side in scaled]
    tiles, captions = _tiles(
        scaled, numbers, match.pairs, match.correlations, (match.alone, match.others_alone), match
    )
    layers = [picture.provenance["Layer"] for picture in pictures]
    return image_picture(
        f"pairs-{slug(layers[0])}",
        f"The filters of {layers[0]}, {names[0]} left and {names[1]} right",
        tiles,
        captions=captions,
        caption=_reading(names, match, "their filters"),
        provenance={"Method": "channel matching", "Networks": " and ".join(names), "Layers": " and ".join(layers)},
        columns=COLUMNS,
    )


def pattern_pairs(
    network: Network,
    other: Network,
    layers: tuple[str, str],
    match: ChannelMatch,
    names: tuple[str, str],
    dataset: Dataset,
    *,
    progress: Progress = no_progress,
) -> Picture | None:
    """What some matched channels answer to most, drawn by gradient ascent: each pair beside each other.

    The pairs are spread evenly from the most alike to the least; after them some channels without a partner. None
    where there is neither.
    """
    chosen = np.unique(np.linspace(0, len(match.pairs) - 1, min(PAIRS, len(match.pairs))).astype(int)).tolist()
    pairs = [match.pairs[index] for index in chosen]
    alone = [
        [channel for channel in each if channel not in dead][:ALONE]
        for each, dead in ((match.alone, match.dead), (match.others_alone, match.others_dead))
    ]
    wanted = [[pair[side] for pair in pairs] + alone[side] for side in (0, 1)]
    if not any(wanted):
        return None
    size = [max(sides) for sides in zip(network.input_size, other.input_size, strict=True)]
    drawn: list[NDArray[np.float32]] = []
    for each, layer, channels in zip((network, other), layers, wanted, strict=True):
        images = np.zeros((0, 3, *size), dtype=np.float32)
        if channels:
            images = maximize(each, layer, channels, dataset, steps=ASCENT_STEPS, progress=progress).values
        drawn.append(_framed(images, size))
    places = [(index, index) for index in range(len(pairs))]
    rest = [range(len(pairs), len(pairs) + len(each)) for each in alone]
    values = [match.correlations[index] for index in chosen]
    shown = f"{len(pairs)} of {len(match.pairs)} pairs, from the most to the least alike"
    tiles, captions = _tiles(drawn, wanted, places, values, rest, match)
    return image_picture(
        f"pairs-{slug(layers[0])}",
        f"What channels of {layers[0]} answer to, {names[0]} left and {names[1]} right",
        tiles,
        captions=captions,
        caption=_reading(names, match, f"patterns drawn to excite them, by gradient ascent from noise ({shown})"),
        provenance={"Method": "channel matching", "Networks": " and ".join(names), "Layers": " and ".join(layers)},
        columns=COLUMNS,
    )


def _framed(images: NDArray[Any], side: Sequence[int]) -> NDArray[np.float32]:
    """Images (N, 3, h, w) in the middle of as much paper as makes them `side` large."""
    before = [(want - have) // 2 for want, have in zip(side, images.shape[2:], strict=True)]
    framed = _paper(len(images), *side)
    framed[:, :, before[0] : before[0] + images.shape[2], before[1] : before[1] + images.shape[3]] = images
    return framed


def _paper(count: int, height: int, width: int) -> NDArray[np.float32]:
    """Tiles (count, 3, height, width) that look as if there were none."""
    colour = np.array(PAPER)[:, None, None] / 255
    return np.tile(colour, (count, 1, height, width)).astype(np.float32)


def _tiles(
    sides: Sequence[NDArray[np.float32]],
    numbers: Sequence[Sequence[int]],
    pairs: Sequence[tuple[int, int]],
    correlations: Sequence[float],
    alone: Sequence[Sequence[int]],
    match: ChannelMatch,
) -> tuple[NDArray[np.float32], list[str]]:
    """A tile for each pair, and one half empty for each that is alone, with what stands below it.

    `pairs` and `alone` are places in `sides`, and `numbers` the channel of each place.
    """
    scale = max(1, round(SIDE / max(sides[0].shape[2:])))
    height, width = (scale * side for side in sides[0].shape[2:])
    rows: list[tuple[int | None, int | None]] = [
        *pairs,
        *((a, None) for a in alone[0]),
        *((None, b) for b in alone[1]),
    ]
    tiles = _paper(len(rows), height, 2 * (width + AROUND) + BETWEEN)
    captions: list[str] = []
    for tile, row in enumerate(rows):
        for side, (start, place) in enumerate(zip((AROUND, AROUND + width + BETWEEN), row, strict=True)):
            if place is not None:
                enlarged = sides[side][place].repeat(scale, axis=1).repeat(scale, axis=2)
                tiles[tile, :, :, start : start + width] = enlarged
        if tile < len(pairs):
            first, second = (numbers[side][place] for side, place in enumerate(pairs[tile]))
            captions.append(f"{first} · {second}\n{correlations[tile]:.2f}")
        else:
            side = 0 if row[0] is not None else 1
            number = numbers[side][row[side] or 0]
            dead = number in (match.dead, match.others_dead)[side]
            captions.append(f"{number}\n{'dead' if dead else 'alone'}")
    return tiles, captions


def _reading(names: tuple[str, str], match: ChannelMatch, what: str) -> str:
    """How to read the picture, and what not to conclude."""
    unmatched = match.alone or match.others_alone
    last = " Last come channels without a partner, alone on their side." if unmatched else ""
    return (
        f"Each tile shows two channels that do the most alike by {what}, {names[0]} left and {names[1]} right, with "
        f"their numbers and the correlation of their maps over the test images.{last} A correlation below "
        f"{PARTNER:g} makes no partners. Each half has a scale of its own. Channels can do the same for these "
        "images and look different: what they are blind to may differ."
    )
