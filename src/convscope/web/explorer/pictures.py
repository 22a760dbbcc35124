"""How the explorer's pictures leave it: bare pixels for its page, or the whole picture with captions to keep."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image

from convscope.hooks import frozen_eval
from convscope.methods.needs import layer_maps
from convscope.paint import colours, png_bytes, tile_bounds
from convscope.types import Network, Picture


def encode_png(pixels: UInt8[np.ndarray, "H W channels"]) -> bytes:
    """Pixels, RGB or RGBA, as PNG.

    >>> encode_png(np.zeros((2, 2, 3), dtype=np.uint8))[1:4]
    b'PNG'
    """
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", compress_level=3)
    return file.getvalue()


def bare_png(picture: Picture, tiles: Sequence[int]) -> bytes:
    """Some of a picture's tiles side by side without gap, one value one pixel."""
    chosen = list(tiles)
    painted = colours(picture.values[chosen], picture.limits[chosen], picture.scale)  # (N, H, W, 3)
    return encode_png(np.ascontiguousarray(np.concatenate(list(painted), axis=1)))


def whole_png(picture: Picture, command: str) -> bytes:
    """The picture with its captions, and in it the command that draws it again."""
    return png_bytes(replace(picture, provenance={**picture.provenance, "Command": command}))


def record_maps(network: Network, layer: str, image: torch.Tensor) -> Float[np.ndarray, "K h w"]:
    """A layer's maps of one image (C, H, W). Raises UsageError and NumericsError."""
    with frozen_eval(network.model), torch.no_grad():
        return layer_maps(network, layer, image[None])[0].float().cpu().numpy()


def draw_sheet(
    maps: Float[np.ndarray, "K h w"], first: int, count: int, columns: int
) -> UInt8[np.ndarray, "H W channels"]:
    """The colours of `count` maps from the channel `first` on, row by row, without gap; what is left over is clear.

    Each map has a scale of its own, as in `methods.feature_maps`, but for those of a single number.
    """
    peaks = np.abs(maps).max(axis=(1, 2))
    bounds = tile_bounds(peaks, shared=maps.shape[1:] == (1, 1))
    signed = bool((maps < 0).any())
    chosen = maps[first : first + count, None]
    high = bounds[first : first + count]
    limits = np.stack([-high if signed else np.zeros_like(high), high], axis=1)
    painted = colours(chosen, limits, "diverging" if signed else "sequential")  # (N, h, w, 3)
    number, height, width = painted.shape[:3]
    rows = -(-number // columns)
    sheet = np.zeros((rows * columns, height, width, 4), dtype=np.uint8)
    sheet[:number, ..., :3], sheet[:number, ..., 3] = painted, 255
    lines = sheet.reshape(rows, columns, height, width, 4).transpose(0, 2, 1, 3, 4)
    return np.ascontiguousarray(lines.reshape(rows * height, columns * width, 4))


def draw_heat(picture: Picture) -> UInt8[np.ndarray, "H W channels"]:
    """A map's only tile as colours to lay over its image: a stronger value covers more of it, zero nothing."""
    values, limits = picture.values[:1], picture.limits[:1]
    bound = float(np.abs(limits).max()) or 1.0
    painted = colours(values, limits, picture.scale)[0]
    cover = np.rint(255 * (np.abs(values[0, 0]) / bound).clip(0, 1)).astype(np.uint8)
    return np.dstack([painted, cover])


def told(picture: Picture, command: str) -> dict[str, Any]:
    """A picture in words: what it shows, how to read it, its evidence, and the command that draws it again."""
    numbers: Mapping[str, Any] = picture.numbers
    return {"title": picture.title, "caption": picture.caption, "numbers": dict(numbers), "command": command}
