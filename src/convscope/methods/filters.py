"""The weights of a convolution as pictures."""

from __future__ import annotations

from typing import Literal

import numpy as np
from torch import nn

from convscope.errors import UsageError, closest
from convscope.hooks import convolutions, resolve_layer
from convscope.methods.needs import Channels, check_at_least, choose_channels, slug
from convscope.paint import FAINT, tile_bounds
from convscope.types import Network, Picture

Sort = Literal["channel", "norm"]
SORTS: tuple[Sort, ...] = ("channel", "norm")


def filters(
    network: Network,
    layer: str | None = None,
    channel: Channels = None,
    *,
    shared_scale: bool = False,
    sort: Sort = "channel",
    channels: int = 16,
    inputs: int = 16,
) -> Picture:
    """The filters of a convolution: those of the first as small images, those of a deeper one slice by slice.

    The first convolution sees the image, so each of its filters (3, kh, kw) is a small image, a grey one
    where images have one channel: all are shown, or those of `channel`. A deeper one sees channels: a row for
    each of its first `channels` filters, or for `channel`, with the `inputs` slices (kh, kw) of largest norm,
    the largest first; so does the first where images have two channels or more than three. Zero is mid grey or
    white. Each filter has a scale of its own, or all share one. `layer` defaults to the first convolution; of a
    block it is the block's first.

    Raises UsageError for a layer that is not and holds no convolution, a channel out of range, and an unknown
    order. After Krizhevsky et al. 2012, figure 3; the slices after Yosinski et al. 2015 (arXiv:1506.06579).

    Parameters
    ----------
    shared_scale
        Colour all filters on one scale instead of each on its own.
    sort
        channel, by number, or norm, the largest first.
    channels
        How many filters of a deeper convolution are shown where no channel is named.
    inputs
        How many slices of each filter of a deeper convolution are shown, the strongest first.

    >>> model = nn.Sequential(nn.Conv2d(3, 8, 5), nn.ReLU(), nn.Conv2d(8, 4, 3))
    >>> network = Network(model, (0.5,) * 3, (0.5,) * 3, (16, 16), ("a", "b"), "tiny")
    >>> filters(network).values.shape, filters(network, "2").values.shape
    ((8, 3, 5, 5), (32, 1, 3, 3))
    """
    name = _convolution(network, layer)
    module = network.model.get_submodule(name)
    assert isinstance(module, nn.Conv2d)
    weights = module.weight.detach().float().cpu().numpy()  # (out, in / groups, kh, kw)
    first = name == convolutions(network.model)[0] and module.in_channels == weights.shape[1] in (1, 3)
    check_at_least(1, channels=channels, inputs=inputs)
    if sort not in SORTS:
        raise UsageError(f'no order "{sort}"; allowed: {", ".join(SORTS)}')
    norms = np.linalg.norm(weights.reshape(len(weights), -1), axis=1)  # (out,)
    chosen = choose_channels(channel, len(weights), layer=name)
    if sort == "norm":
        chosen.sort(key=lambda index: -norms[index])  # keeps the order of equals
    if channel is None and not first:
        chosen = chosen[:channels]
    peaks = np.abs(weights).max(axis=(1, 2, 3))  # (out,)
    bounds = tile_bounds(peaks, shared=shared_scale)[chosen]
    shown = weights[chosen]  # (N, in / groups, kh, kw)
    numbers = {
        "channels": chosen,
        "norms": norms[chosen].tolist(),
        "faint_channels": [index for index in chosen if peaks[index] < FAINT * peaks.max()],
        "largest_weight": float(peaks.max()),
    }
    columns = None
    if first:
        values, captions = shown.repeat(3 // shown.shape[1], axis=1), [str(index) for index in chosen]
    else:
        values, captions = _slices(shown, chosen, inputs, len(weights) // module.groups)
        per_row = len(values) // len(chosen)
        bounds = bounds.repeat(per_row)
        columns = per_row if len(chosen) > 1 and per_row > 1 else None
    kernel = f"{weights.shape[2]}×{weights.shape[3]}"
    return Picture(
        name=f"filters-{slug(layer or name, channel)}",
        title=f"The filters of {name}, {kernel}",
        values=np.ascontiguousarray(values, dtype=np.float32),
        limits=np.stack([-bounds, bounds], axis=1).astype(np.float32),
        scale="rgb" if first else "diverging",
        captions=tuple(captions),
        caption=_reading(first, shared_scale, weights.shape),
        numbers=numbers,
        provenance={"Method": "filters", "Network": network.name, "Layer": name},
        columns=columns,
    )


def _convolution(network: Network, layer: str | None) -> str:
    """The convolution that `layer` names or holds first."""
    found = convolutions(network.model)
    if not found:
        raise UsageError(f"{network.name} has no two-dimensional convolution")
    if layer is None:
        return found[0]
    name = resolve_layer(network.model, layer, model_name=network.name)
    if within := convolutions(network.model, within=name):
        return within[0]
    kind = type(network.model.get_submodule(name)).__name__
    near = closest(name, found) or f"; the first is {found[0]}"
    what = f'layer "{layer}" of {network.name} is a {kind}, not a convolution'
    raise UsageError(f"{what}{near}; list them: convscope layers RUN")


def _slices(
    shown: np.ndarray, chosen: list[int], inputs: int, channels_per_group: int
) -> tuple[np.ndarray, list[str]]:
    """Each filter's slices of largest norm (N * inputs, 1, kh, kw), and "input → output" for each."""
    per_group = shown.shape[1]
    order = np.argsort(-np.linalg.norm(shown, axis=(2, 3)), axis=1, kind="stable")[:, :inputs]
    values = np.take_along_axis(shown, order[:, :, None, None], axis=1)
    captions = [
        f"{index // channels_per_group * per_group + source} → {index}"
        for index, row in zip(chosen, order.tolist(), strict=True)
        for source in row
    ]
    return values.reshape(-1, 1, *shown.shape[2:]), captions


def _reading(first: bool, shared_scale: bool, shape: tuple[int, ...]) -> str:
    """How to read the picture, and what not to conclude."""
    scale = (
        "All tiles share one scale, so a pale filter has small weights."
        if shared_scale
        else "Each filter has a scale of its own: compare patterns, not strengths."
    )
    if first:
        over = " over red, green and blue" if shape[1] == 3 else ""
        return (
            f"Each tile is the weights of one channel{over}: it answers most to image "
            f"patches that look like it, and mid grey is a weight of zero. {scale} Smooth edges, blobs and "
            "stripes have been learned; a tile that looks like noise has hardly moved from its random "
            "start, or fits noise."
        )
    size = "With 1×1 kernels each slice is a single number. " if shape[2:] == (1, 1) else ""
    return (
        "Each tile is one slice of a filter, captioned input → output: how the output weighs one channel "
        "of the layer before. Red is positive, blue negative, white zero; the strongest slices come "
        f"first. {size}{scale} A slice is not a picture of what the channel sees: its inputs are features, "
        "not colours."
    )
