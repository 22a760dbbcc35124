"""Data order and augmentation: pure functions of seed, epoch and position, so that any step can be made again."""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64, Shaped, UInt64
from torch import Tensor

from convscope.types import Augmentation

ORDER, DRAWS, STEP = 0, 1, 6
"""What a stream of random bits is for: the last part of its key. The five draws have a stream each."""


def random_bits(count: int, *key: int) -> UInt64[np.ndarray, " {count}"]:
    """`count` random uint64, a pure function of the key.

    The raw stream of Philox is used, since NumPy promises that it stays the same from release to release.

    >>> bool((random_bits(3, 0, 7) == random_bits(3, 0, 7)).all())
    True
    """
    return np.random.Philox(np.random.SeedSequence(key)).random_raw(count)


@functools.lru_cache(maxsize=4)
def epoch_order(count: int, *, seed: int, epoch: int) -> Int64[Tensor, " {count}"]:
    """The order (count,) int64 in which an epoch visits the images.

    >>> sorted(epoch_order(5, seed=0, epoch=3).tolist())
    [0, 1, 2, 3, 4]
    """
    return torch.from_numpy(np.argsort(random_bits(count, seed, epoch, ORDER), kind="stable"))


class Draws(NamedTuple):
    """What augmentation does to each of N images; all int64 (N,), `flip` bool (N,)."""

    rows: Int64[Tensor, " N"]  # shift in [-crop, crop]
    columns: Int64[Tensor, " N"]
    flip: Bool[Tensor, " N"]
    hole_row: Int64[Tensor, " N"]  # the cutout's upper left corner
    hole_column: Int64[Tensor, " N"]


@functools.lru_cache(maxsize=4)
def epoch_draws(count: int, augmentation: Augmentation, size: tuple[int, int], *, seed: int, epoch: int) -> Draws:
    """The draws for every position of an epoch, for images of `size` (H, W)."""
    crop, hole = augmentation.crop, augmentation.cutout
    ranges = (2 * crop + 1, 2 * crop + 1, 2, max(1, size[0] - hole + 1), max(1, size[1] - hole + 1))
    rows, columns, flip, hole_row, hole_column = (
        torch.from_numpy((random_bits(count, seed, epoch, DRAWS + index) % np.uint64(limit)).astype(np.int64))
        for index, limit in enumerate(ranges)
    )
    flips = flip.bool() if augmentation.flip else torch.zeros(count, dtype=torch.bool)
    return Draws(rows - crop, columns - crop, flips, hole_row, hole_column)


def augment(
    images: Shaped[Tensor, "N C H W"], draws: Draws, *, cutout: int, fill: Float[Tensor, " C"]
) -> Shaped[Tensor, "N C H W"]:
    """Shift, mirror and cut out each image by its own draws.

    `images` is (N, 3, H, W) of any type, `draws` on the same device; what a shift uncovers is the reflected
    image, what the cutout covers is `fill` (3,). Returns a new tensor of the same shape and type.
    """
    count, channels, height, width = images.shape
    rows = _reflect(draws.rows[:, None] + torch.arange(height, device=images.device), height)  # (N, H)
    columns = _reflect(draws.columns[:, None] + torch.arange(width, device=images.device), width)  # (N, W)
    columns = torch.where(draws.flip[:, None], columns.flip(1), columns)
    index = torch.arange(count, device=images.device)
    channel = torch.arange(channels, device=images.device)
    images = images[
        index[:, None, None, None], channel[:, None, None], rows[:, None, :, None], columns[:, None, None, :]
    ]
    if cutout:
        covered = (
            _inside(draws.hole_row, cutout, height)[:, :, None]
            & _inside(draws.hole_column, cutout, width)[:, None, :]
        )
        images = torch.where(covered[:, None], fill.to(images.dtype)[:, None, None], images)
    return images


def _reflect(position: Int64[Tensor, "N side"], size: int) -> Int64[Tensor, "N side"]:
    """Positions mirrored at the borders back into 0 … size - 1, the border pixel itself not repeated."""
    period = max(1, 2 * (size - 1))
    position = position.remainder(period)
    return torch.where(position >= size, period - position, position)


def _inside(start: Int64[Tensor, " N"], length: int, size: int) -> Bool[Tensor, "N {size}"]:
    """(N, size) bool: which positions lie in the stretch of `length` from each start (N,)."""
    position = torch.arange(size, device=start.device)
    return (position >= start[:, None]) & (position < start[:, None] + length)
