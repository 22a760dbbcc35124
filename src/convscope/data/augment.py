"""Data order and augmentation: pure functions of seed, epoch and position, so that any step can be made again."""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64, Shaped, UInt64
from torch import Tensor

from convscope.types import Augmentation

ORDER, DRAWS, STEP, BLOCKS, WINDOW = 0, 1, 6, 7, 8
"""What a stream of random bits is for: the last part of its key. The five draws have a stream each."""

LARGE = 2**18
"""A dataset with more images than this is large: its order goes by blocks, and only a sample of it is surveyed."""

BLOCK, WINDOW_BLOCKS = 16, 1024  # images that lie side by side, and how many blocks are shuffled with each other


def random_bits(count: int, *key: int, first: int = 0) -> UInt64[np.ndarray, " {count}"]:
    """`count` random uint64 from position `first` of a stream, a pure function of the key.

    The raw stream of Philox is used, since NumPy promises that it stays the same from release to release. It can
    be entered anywhere, so that no part of it need be kept.

    >>> bool((random_bits(5, 0, 7)[2:] == random_bits(3, 0, 7, first=2)).all())
    True
    """
    steps, passed = divmod(first, 4)  # Philox makes four numbers at a time
    philox = np.random.Philox(np.random.SeedSequence(key)).advance(steps)
    return philox.random_raw(passed + count)[passed:]


def epoch_order(
    count: int, *, seed: int, epoch: int, first: int = 0, last: int | None = None
) -> Int64[Tensor, " positions"]:
    """The images that an epoch visits at the positions from `first` to `last`, (last - first,) int64.

    Up to LARGE images, any order of all is equally likely. A large dataset is shuffled block by block, and the
    images of each 1024 blocks with each other, so that what is read together lies together (a disk and a remote
    file system read it at a stretch) and no order of the whole is held.

    >>> sorted(epoch_order(5, seed=0, epoch=3).tolist())
    [0, 1, 2, 3, 4]
    """
    last = count if last is None else min(last, count)
    if count <= LARGE:
        return _shuffled(count, seed, epoch, ORDER)[first:last]
    size = BLOCK * WINDOW_BLOCKS
    windows = [_window(count, seed, epoch, number) for number in range(first // size, -(-last // size))]
    return torch.cat(windows)[first % size :][: last - first] if windows else torch.empty(0, dtype=torch.int64)


@functools.lru_cache(maxsize=4)
def _shuffled(count: int, *key: int) -> Int64[Tensor, " {count}"]:
    return torch.from_numpy(np.argsort(random_bits(count, *key), kind="stable"))


@functools.lru_cache(maxsize=4)
def _window(count: int, seed: int, epoch: int, number: int) -> Int64[Tensor, " images"]:
    """The images of one window in their order; the last one has what remains, and the images beyond whole blocks."""
    whole = count // BLOCK
    blocks = _shuffled(whole, seed, epoch, BLOCKS)[number * WINDOW_BLOCKS : (number + 1) * WINDOW_BLOCKS]
    images = (blocks[:, None] * BLOCK + torch.arange(BLOCK)).flatten()
    if (number + 1) * WINDOW_BLOCKS * BLOCK >= count:
        images = torch.cat([images, torch.arange(whole * BLOCK, count)])
    return images[_shuffled(len(images), seed, epoch, WINDOW, number)]


class Draws(NamedTuple):
    """What augmentation does to each of N images; all int64 (N,), `flip` bool (N,)."""

    rows: Int64[Tensor, " N"]  # shift in [-crop, crop]
    columns: Int64[Tensor, " N"]
    flip: Bool[Tensor, " N"]
    hole_row: Int64[Tensor, " N"]  # the cutout's upper left corner
    hole_column: Int64[Tensor, " N"]


def epoch_draws(
    count: int, augmentation: Augmentation, size: tuple[int, int], *, seed: int, epoch: int, first: int = 0
) -> Draws:
    """The draws for `count` positions of an epoch from `first` on, for images of `size` (H, W)."""
    crop, hole = augmentation.crop, augmentation.cutout
    ranges = (2 * crop + 1, 2 * crop + 1, 2, max(1, size[0] - hole + 1), max(1, size[1] - hole + 1))
    rows, columns, flip, hole_row, hole_column = (
        torch.from_numpy(
            (random_bits(count, seed, epoch, DRAWS + index, first=first) % np.uint64(limit)).astype(np.int64)
        )
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
    _, channels, height, width = images.shape
    rows = _reflect(draws.rows[:, None] + torch.arange(height, device=images.device), height)  # (N, H)
    columns = _reflect(draws.columns[:, None] + torch.arange(width, device=images.device), width)  # (N, W)
    columns = torch.where(draws.flip[:, None], columns.flip(1), columns)
    pixels = (rows[:, :, None] * width + columns[:, None]).flatten(1)  # (N, H W): which one comes to each place
    images = images.flatten(2).gather(2, pixels[:, None].expand(-1, channels, -1)).view_as(images)
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
