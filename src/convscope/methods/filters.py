"""The weights of a convolution as pictures."""

from __future__ import annotations

import numpy as np
from torch import nn

from convscope.errors import UsageError, closest
from convscope.hooks import convolutions, resolve_layer
from convscope.paint import FAINT, tile_bounds
from convscope.types import Network, Picture


def filters(
    network: Network,
    layer: str | None = None,
    channel: int | None = None,
    *,
    shared_scale: bool = False,
    channels: int = 16,
    inputs: int = 16,
) -> Picture:
    """The filters of a convolution: those of the first in colour, those of a deeper one slice by slice.

    The first convolution sees the image, so each of its filters (3, kh, kw) is a small image: all are
    shown, or the one of `channel`. A deeper one sees channels: a row for each of its first `channels`
    filters, or for `channel`, with the `inputs` slices (kh, kw) of largest norm, the largest first. Zero is
    mid grey or white. Each filter has a scale of its own, or all share one. `layer` defaults to the first
    convolution; of a block it is the block's first.

    Raises UsageError for a layer that is not and holds no convolution, and for a channel out of range. After
    Krizhevsky et al. 2012, figure 3; the slices after Yosinski et al. 2015 (arXiv:1506.06579).

    >>> model = nn.Sequential(nn.Conv2d(3, 8, 5), nn.ReLU(), nn.Conv2d(8, 4, 3))
    >>> network = Network(model, (0.5,) * 3, (0.5,) * 3, (16, 16), ("a", "b"), "tiny")
    >>> filters(network).values.shape, filters(network, "2").values.shape
    ((8, 3, 5, 5), (32, 1, 3, 3))
    """
    name = _convolution(network, layer)
    module = network.model.get_submodule(name)
    assert isinstance(module, nn.Conv2d)
    weights = module.weight.detach().float().cpu().numpy()  # (out, in / groups, kh, kw)
    first = name == convolutions(network.model)[0] and weights.shape[1] == 3
    chosen = _chosen(channel, len(weights), len(weights) if first else channels, name)
    if not first and inputs < 1:
        raise UsageError(f"inputs {inputs}; allowed: 1 or more")
    peaks = np.abs(weights).max(axis=(1, 2, 3))  # (out,)
    bounds = tile_bounds(peaks, shared=shared_scale)[chosen]
    shown = weights[chosen]  # (N, in / groups, kh, kw)
    numbers = {
        "channels": chosen,
        "norms": np.linalg.norm(shown.reshape(len(shown), -1), axis=1).tolist(),
        "faint_channels": [index for index in chosen if peaks[index] < FAINT * peaks.max()],
        "largest_weight": float(peaks.max()),
    }
    columns = None
    if first:
        values, captions = shown, [str(index) for index in chosen]
    else:
        values, captions = _slices(shown, chosen, inputs, len(weights) // module.groups)
        per_row = len(values) // len(chosen)
        bounds = bounds.repeat(per_row)
        columns = per_row if len(chosen) > 1 and per_row > 1 else None
    kernel = f"{weights.shape[2]}×{weights.shape[3]}"
    return Picture(
        name=f"filters-{(layer or name).replace('.', '-')}",
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


def _chosen(channel: int | None, available: int, most: int, layer: str) -> list[int]:
    """The channels to show: the one asked for, else the first `most`."""
    if most < 1:
        raise UsageError(f"channels {most}; allowed: 1 or more")
    if channel is None:
        return list(range(min(most, available)))
    if not 0 <= channel < available:
        raise UsageError(f"no channel {channel} in {layer}; allowed: 0 to {available - 1}")
    return [channel]


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
        return (
            "Each tile is the weights of one channel over red, green and blue: it answers most to image "
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
