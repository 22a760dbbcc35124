"""A frame of the film as pictures, on one colour scale for the whole film; without torch, for the server."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from convscope.errors import UsageError
from convscope.training.frames import FilmInfo, Frame
from convscope.types import Picture

SATURATED = 0.995
"""The share of a frame's values that lie within its scale; the few beyond it take its last colour."""

FILTERS, INPUTS = 16, 16
"""How many filters and slices of each are shown where the first convolution's filters are no small images."""

SCALE_READING = (
    "The colours mean the same values in every frame of the film: the scale ends where the frame with the largest "
    f"values has {SATURATED:.1%} of them within it, and the few beyond take its last colour."
)


class Scale(NamedTuple):
    """The value at which the colours end, for every picture of a frame or of a whole film."""

    filters: float
    maps: dict[str, float]  # by layer


def frame_scale(frame: Frame) -> Scale:
    """The scale that suits one frame: 99.5 % of its absolute values lie within it.

    >>> frame = Frame(0, np.full((2, 3, 1, 1), -2), {"conv1": np.zeros((1, 2, 4, 4))}, np.zeros((1, 2)), [])
    >>> frame_scale(frame)
    Scale(filters=2.0, maps={'conv1': 0.0})
    """
    return Scale(_extent(frame.filters), {layer: _extent(values) for layer, values in frame.maps.items()})


def film_scale(scales: Iterable[Scale]) -> Scale:
    """The one scale for frames with these scales: the largest of each; zero where there are no frames.

    >>> film_scale([Scale(2.0, {"conv1": 1.0}), Scale(1.0, {"conv1": 3.0, "conv2": 0.5})])
    Scale(filters=2.0, maps={'conv1': 3.0, 'conv2': 0.5})
    """
    filters, maps = 0.0, dict[str, float]()
    for scale in scales:
        filters = max(filters, scale.filters)
        maps = {layer: max(scale.maps.get(layer, 0.0), maps.get(layer, 0.0)) for layer in {**maps, **scale.maps}}
    return Scale(filters, maps)


def filters_picture(info: FilmInfo, frame: Frame, *, limit: float, epoch: float | None = None) -> Picture:
    """The first convolution's filters at one step, zero mid grey or white, with `limit` the value of the last colour.

    Filters over three channels, or one, are small images (filters, 3, kh, kw); others are shown slice by slice
    (filters × inputs, 1, kh, kw), always the same ones, so that a film can be followed.

    >>> info = FilmInfo("conv1", ["conv1"], np.zeros((1, 3, 8, 8), np.uint8), [0], [0])
    >>> frame = Frame(120, np.zeros((4, 3, 5, 5)), {}, np.zeros((1, 2)), [])
    >>> picture = filters_picture(info, frame, limit=0.5, epoch=2.5)
    >>> picture.title, picture.values.shape, picture.limits[0].tolist()
    ('The filters of conv1 after step 120, epoch 2.5', (4, 3, 5, 5), [-0.5, 0.5])
    """
    filters = frame.filters.astype(np.float32)
    colours = filters.shape[1] in (1, 3)
    columns = None
    if colours:
        values = filters.repeat(3 // filters.shape[1], axis=1)
        captions = [str(index) for index in range(len(values))]
        reading = "Each tile is the weights of one channel over red, green and blue; mid grey is a weight of zero."
    else:
        kept = filters[:FILTERS, :INPUTS]  # (O, I, kh, kw)
        columns = kept.shape[1] if len(kept) > 1 and kept.shape[1] > 1 else None
        captions = [f"{source} → {index}" for index in range(len(kept)) for source in range(kept.shape[1])]
        values = kept.reshape(-1, 1, *kept.shape[2:])
        reading = (
            "Each tile is one slice of a filter, captioned input → output: red positive, blue negative, white zero."
        )
    return Picture(
        name=f"film-filters-step-{frame.step}",
        title=f"The filters of {info.filter_layer} {said_step(frame.step, epoch)}",
        values=np.ascontiguousarray(values),
        limits=_limits(len(values), -limit, limit),
        scale="rgb" if colours else "diverging",
        captions=tuple(captions),
        caption=f"{reading} {SCALE_READING}",
        provenance={"Method": "film", "Layer": info.filter_layer, "Step": str(frame.step)},
        columns=columns,
    )


def maps_picture(
    info: FilmInfo, frame: Frame, layer: str, probe: int, *, limit: float, epoch: float | None = None
) -> Picture:
    """The maps (channels, 1, H, W) that a layer's first channels gave for a probe image at one step.

    `limit` is the value of the last colour. Where the layer gives negative values, zero is white; else it is black.
    Raises UsageError for a layer or a probe image that the film does not hold.

    >>> info = FilmInfo("conv1", ["conv1"], np.zeros((1, 3, 8, 8), np.uint8), [7], [0])
    >>> frame = Frame(9, np.zeros((4, 3, 5, 5)), {"conv1": np.ones((1, 4, 8, 8))}, np.zeros((1, 2)), [])
    >>> maps_picture(info, frame, "conv1", 0, limit=2.0).title
    'Maps of conv1 for test image 7 after step 9'
    """
    if layer not in frame.maps:
        raise UsageError(f'no layer "{layer}" in the film; allowed: {", ".join(frame.maps)}')
    maps = frame.maps[layer].astype(np.float32)  # (P, C, H, W)
    if not 0 <= probe < len(maps):
        raise UsageError(f"no probe image {probe} in the film; allowed: 0 to {len(maps) - 1}")
    signed = bool((maps < 0).any())
    values = maps[probe, :, None]
    reading = (
        "Red is positive, blue negative, white zero."
        if signed
        else "Black is zero, bright is strong; an all-black tile is a channel that is silent for this image."
    )
    return Picture(
        name=f"film-maps-{_slug(layer)}-probe-{probe}-step-{frame.step}",
        title=f"Maps of {layer} for test image {info.indices[probe]} {said_step(frame.step, epoch)}",
        values=np.ascontiguousarray(values),
        limits=_limits(len(values), -limit if signed else 0.0, limit),
        scale="diverging" if signed else "sequential",
        captions=tuple(str(index) for index in range(len(values))),
        caption=f"Each tile is one channel's answer at every position. {reading} {SCALE_READING}",
        provenance={"Method": "film", "Layer": layer, "Step": str(frame.step)},
    )


def said_step(step: int, epoch: float | None = None) -> str:
    """When a frame was taken, in words.

    >>> said_step(0), said_step(12000, 30.625)
    ('before the first step', 'after step 12,000, epoch 30.6')
    """
    when = f"after step {step:,}" if step else "before the first step"
    return f"{when}, epoch {epoch:.1f}" if epoch is not None and step else when


def _extent(values: np.ndarray) -> float:
    """The absolute value that the share SATURATED of the values does not exceed; zero of none."""
    return float(np.quantile(np.abs(values.astype(np.float32)), SATURATED)) if values.size else 0.0


def _limits(count: int, low: float, high: float) -> np.ndarray:
    """The same limits (count, 2) for every tile."""
    return np.tile(np.array([low, high], dtype=np.float32), (count, 1))


def _slug(name: str) -> str:
    """The name as a part of a file's name."""
    return re.sub(r"[^\w.]+", "-", name)
