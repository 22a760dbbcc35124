"""Augmentation against a slow reference, and orders and draws that never change."""

import numpy as np
import pytest
import torch

from convscope.data.augment import (
    BLOCK,
    DRAWS,
    LARGE,
    WINDOW_BLOCKS,
    Draws,
    _shuffled,
    augment,
    epoch_draws,
    epoch_order,
    random_bits,
)
from convscope.types import Augmentation


def slow_augment(image, row, column, flip, hole_row, hole_column, cutout, fill):
    """One image, pixel by pixel, as the docstring says."""
    _, height, width = image.shape
    out = image.clone()
    for y in range(height):
        for x in range(width):
            from_y, from_x = y + row, (width - 1 - x if flip else x) + column
            from_y = -from_y if from_y < 0 else from_y
            from_x = -from_x if from_x < 0 else from_x
            from_y = 2 * (height - 1) - from_y if from_y >= height else from_y
            from_x = 2 * (width - 1) - from_x if from_x >= width else from_x
            inside = hole_row <= y < hole_row + cutout and hole_column <= x < hole_column + cutout
            out[:, y, x] = fill if inside else image[:, from_y, from_x]
    return out


@pytest.mark.parametrize("cutout", [0, 3])
def test_each_image_by_its_own_draws(cutout):
    images = torch.rand(20, 3, 8, 9)
    fill = torch.tensor([0.1, 0.2, 0.3])
    draws = epoch_draws(20, Augmentation(crop=4, flip=True, cutout=cutout), (8, 9), seed=1, epoch=2)
    got = augment(images, draws, cutout=cutout, fill=fill)
    for index, image in enumerate(images):
        one = [draw[index].item() for draw in draws]
        assert torch.equal(got[index], slow_augment(image, *one, cutout, fill))


def test_draws_are_spread_over_their_ranges():
    draws = epoch_draws(4000, Augmentation(crop=2, flip=True, cutout=5), (8, 8), seed=0, epoch=0)
    for values, low, high in ((draws.rows, -2, 2), (draws.columns, -2, 2), (draws.hole_row, 0, 3)):
        counts = torch.bincount(values - low)
        assert values.min() == low
        assert values.max() == high
        assert counts.min() > 4000 / len(counts) * 0.8
    assert 0.45 < draws.flip.float().mean() < 0.55
    assert not torch.equal(draws.rows, draws.columns)


def test_nothing_asked_changes_nothing():
    images = torch.rand(5, 3, 8, 8)
    draws = epoch_draws(5, Augmentation(), (8, 8), seed=0, epoch=0)
    assert torch.equal(augment(images, draws, cutout=0, fill=torch.zeros(3)), images)


def test_order_is_a_permutation_and_a_pure_function():
    order = epoch_order(1000, seed=5, epoch=7)
    assert order.sort().values.tolist() == list(range(1000))
    _shuffled.cache_clear()
    assert torch.equal(order, epoch_order(1000, seed=5, epoch=7))
    assert not torch.equal(order, epoch_order(1000, seed=5, epoch=8))
    assert not torch.equal(order, epoch_order(1000, seed=6, epoch=7))


def test_the_stream_stays_what_it_is():
    """A checkpoint is resumed with whatever NumPy is installed then: these numbers must never change."""
    assert random_bits(2, 0, 1).tolist() == RECORDED
    assert random_bits(2, 0, 1).dtype == np.uint64


RECORDED = [11203925021116910928, 9292188272879797859]


def test_a_slice_of_an_epoch_does_not_depend_on_the_rest():
    whole = epoch_draws(64, Augmentation(crop=3, flip=True), (8, 8), seed=1, epoch=1)
    images = torch.rand(64, 3, 8, 8)
    all_at_once = augment(images, whole, cutout=0, fill=torch.zeros(3))
    half = augment(images[32:], Draws(*(d[32:] for d in whole)), cutout=0, fill=torch.zeros(3))
    assert torch.equal(all_at_once[32:], half)


@pytest.mark.parametrize("first", [0, 1, 4, 7, 30])
def test_a_stream_can_be_entered_anywhere(first):
    assert random_bits(50, 3, 1, DRAWS)[first:].tolist() == random_bits(50 - first, 3, 1, DRAWS, first=first).tolist()
    whole = epoch_draws(50, Augmentation(crop=3, flip=True, cutout=2), (8, 8), seed=1, epoch=1)
    part = epoch_draws(10, Augmentation(crop=3, flip=True, cutout=2), (8, 8), seed=1, epoch=1, first=first)
    assert all(torch.equal(one[first : first + 10], other) for one, other in zip(whole, part, strict=True))


def test_a_large_order_visits_every_image_once_and_any_stretch_is_the_same():
    count = LARGE + 12_345
    order = epoch_order(count, seed=5, epoch=7)
    assert torch.equal(order.sort().values, torch.arange(count))
    window = BLOCK * WINDOW_BLOCKS
    for first, last in ((0, 10), (window - 3, window + 4), (0, 2 * window), (count - 5, count), (count, count)):
        _shuffled.cache_clear()
        assert torch.equal(order[first:last], epoch_order(count, seed=5, epoch=7, first=first, last=last))
    for other in (epoch_order(count, seed=5, epoch=8), epoch_order(count, seed=6, epoch=7)):
        assert (order == other).sum() < 20


def test_a_window_of_a_large_order_is_of_whole_blocks_from_everywhere():
    order = epoch_order(2 * LARGE, seed=0, epoch=0)[: BLOCK * WINDOW_BLOCKS]
    blocks, counts = (order // BLOCK).unique(return_counts=True)
    assert counts.tolist() == [BLOCK] * WINDOW_BLOCKS
    assert blocks.min() < 200
    assert blocks.max() > 2 * LARGE // BLOCK - 200
    assert ((order[1:] // BLOCK) == (order[:-1] // BLOCK)).sum() < 60  # neighbours are apart within the window
