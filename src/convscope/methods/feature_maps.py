"""What every channel of a layer gives for one image."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from torch import Tensor

from convscope.errors import UsageError
from convscope.hooks import frozen_eval, resolve_layer
from convscope.methods.needs import Channels, choose_channels, layer_maps, one_image, slug
from convscope.methods.overlay import over_image
from convscope.paint import tile_bounds
from convscope.types import Network, Picture

Sort = Literal["channel", "activation"]
SORTS: tuple[Sort, ...] = ("channel", "activation")


def feature_maps(
    network: Network,
    layer: str,
    image: Tensor,
    channel: Channels = None,
    *,
    shared_scale: bool = False,
    sort: Sort = "channel",
    overlay: bool = False,
) -> Picture:
    """The maps of a layer's channels, or of one, for one image, from one forward pass in evaluation mode.

    `image` is (C, H, W) or (1, C, H, W) float in [0, 1]. The picture's values are (channels, 1, h, w), as
    the layer gave them before anything overwrote them; with `overlay` (channels, 3, H, W), their colours over the
    image, each value on the pixels nearest to it. Each map has a scale of its own, or all share one; maps of a
    single number always share it, since alone each would be at its own maximum.

    Raises UsageError for a layer that is unknown or gives no maps, an image of another shape or range, a
    channel out of range, an unknown order, and an overlay of single numbers; NumericsError for maps that are not
    finite. After Yosinski et al. 2015 (arXiv:1506.06579).

    Parameters
    ----------
    shared_scale
        Colour all maps on one scale instead of each on its own.
    sort
        channel, by number, or activation, by the highest value, the strongest first.
    overlay
        Colour each map over the grey image, enlarged to its size.

    >>> from torch import nn
    >>> model = nn.Sequential(nn.Conv2d(3, 8, 5), nn.ReLU(inplace=True))
    >>> network = Network(model, (0.5,) * 3, (0.5,) * 3, (16, 16), ("a", "b"), "tiny")
    >>> feature_maps(network, "0", torch.rand(3, 16, 16)).values.shape
    (8, 1, 12, 12)
    """
    if sort not in SORTS:
        raise UsageError(f'no order "{sort}"; allowed: {", ".join(SORTS)}')
    name = resolve_layer(network.model, layer, model_name=network.name)
    images = one_image(network, image)
    with frozen_eval(network.model), torch.no_grad():
        maps = layer_maps(network, name, images)[0].float().cpu().numpy()  # (C, h, w)
    chosen = choose_channels(channel, len(maps), layer=layer, class_names=network.class_names)
    if sort == "activation":
        chosen.sort(key=lambda index: -maps[index].max())  # keeps the order of equals
    peaks = np.abs(maps).max(axis=(1, 2))  # (C,)
    single = maps.shape[1:] == (1, 1)
    if overlay and single:
        raise UsageError(f'an overlay of "{layer}", whose maps are single numbers; allowed: a layer with positions')
    shared = shared_scale or single
    bounds = tile_bounds(peaks, shared=shared)
    signed = bool((maps < 0).any())
    values = maps[chosen, None]
    high = bounds[chosen]
    limits = np.stack([-high if signed else np.zeros_like(high), high], axis=1).astype(np.float32)
    scale = "diverging" if signed else "sequential"
    tiles = over_image(values, limits, scale, images) if overlay else values
    dead = [index for index in chosen if not maps[index].any()]
    return Picture(
        name=f"maps-{slug(layer, channel)}",
        title=f"Feature maps of {layer}, {len(maps)} channels of {maps.shape[1]}×{maps.shape[2]}",
        values=np.ascontiguousarray(tiles, dtype=np.float32),
        limits=np.tile(np.array([0, 1], dtype=np.float32), (len(tiles), 1)) if overlay else limits,
        scale="rgb" if overlay else scale,
        captions=tuple(str(index) for index in chosen),
        caption=_reading(signed, shared, single, overlay, coarse=4 * maps.shape[1] <= images.shape[-2]),
        numbers={
            "share_of_zeros": float((values == 0).mean()),
            "dead_channels": dead,
            "maximum": values.max(axis=(1, 2, 3)).tolist(),
        },
        provenance={"Method": "maps", "Network": network.name, "Layer": name},
    )


def _reading(signed: bool, shared: bool, single: bool, overlay: bool, *, coarse: bool) -> str:
    """How to read the picture, and what not to conclude."""
    if overlay:
        colours = (
            f"{'Red is positive, blue negative' if signed else 'Bright is strong'}; where the grey image shows, zero."
        )
    elif signed:
        colours = "Red is positive, blue negative, white zero."
    else:
        colours = "Black is zero, bright is strong; an all-black tile is a channel that is silent for this image."
    if single:
        return (
            "Each cell is one channel, and its map is a single number: the layer has no positions left. "
            f"{colours} All cells share one scale. Nothing here says where in the image a feature is; each number "
            "summarizes all of the image that the channel sees."
        )
    scale = (
        "All tiles share one scale."
        if shared
        else "Each tile has a scale of its own: compare shapes, not brightness, between tiles."
    )
    depth = (
        "A coarse map is not a local feature: the deeper the layer, the more of the image each position sees, and "
        "the less its position says about where the evidence lies."
        if coarse
        else "Tiles that look alike are channels that answer alike to this image, though perhaps not to others."
    )
    return f"Each tile is one channel's answer at every position. {colours} {scale} {depth}"
