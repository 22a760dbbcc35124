"""Moves are whole pixels in small images, reflect what they uncover, and are the image's own."""

from __future__ import annotations

import pytest
import torch

from convscope.methods.ascents.transforms import NUDGE, SCALE, TURN, draw_moves, move

KEYS = [(0, channel, 0) for channel in range(40)]


@pytest.mark.parametrize("size", [(32, 32), (16, 24), (9, 8)])
def test_small_images_are_shifted_by_whole_pixels_with_a_reflected_border(size):
    images = torch.rand(40, 2, *size, generator=torch.Generator().manual_seed(0))
    moves = draw_moves(KEYS, 3, size)
    moved = move(images, moves[1])
    seen = set()
    for image, result, matrix in zip(images, moved, moves[1], strict=True):
        torch.testing.assert_close(matrix[:, :2], torch.eye(2))
        shift = [round(value) for value in (matrix[:, 2] * torch.tensor([size[1], size[0]]) / 2).tolist()]
        seen.add(tuple(shift))
        rows, columns = (
            _reflected(torch.arange(side) + step, side) for side, step in zip(size, reversed(shift), strict=True)
        )
        torch.testing.assert_close(result, image[:, rows][:, :, columns], rtol=0, atol=1e-5)
        assert all(abs(step) <= side // 8 for step, side in zip(shift, reversed(size), strict=True))
    assert len(seen) > min(size) // 3


def _reflected(places, side):
    """Places mirrored at the borders, the border pixel repeated."""
    places = torch.where(places < 0, -1 - places, places)
    return torch.where(places >= side, 2 * side - 1 - places, places)


def test_shifts_reach_an_eighth_each_way_equally_often():
    moves = draw_moves([(0, channel) for channel in range(20)], 200, (32, 32))
    shifts = (moves[..., 2] * 16).round().long()
    assert set(shifts.flatten().tolist()) == set(range(-4, 5))
    counts = (shifts.flatten() + 4).bincount()
    assert counts.min() > 0.8 * counts.max()


def test_nudges_are_smaller():
    moves = draw_moves(KEYS, 50, (32, 64), shift=NUDGE)
    shifts = (moves[..., 2] * torch.tensor([32, 16])).round()
    assert shifts[..., 0].abs().max() == 4
    assert shifts[..., 1].abs().max() == 2


def test_large_images_are_also_scaled_and_turned_but_never_mirrored():
    moves = draw_moves(KEYS, 50, (64, 96))
    stretch = torch.tensor([96.0, 64.0])
    matrices = moves[..., :2] * stretch[:, None] / stretch  # in pixels
    determinants = torch.linalg.det(matrices)
    assert (determinants > 0).all()
    scales = determinants.sqrt()
    assert 1 - SCALE <= scales.min() < 1 - 0.9 * SCALE < 1 + 0.9 * SCALE < scales.max() <= 1 + SCALE
    turns = torch.atan2(matrices[..., 1, 0], matrices[..., 0, 0])
    assert 0.9 * TURN < turns.max() <= TURN * 1.001
    torch.testing.assert_close(
        matrices @ matrices.mT, scales[..., None, None] ** 2 * torch.eye(2).expand_as(matrices)
    )


def test_moves_depend_on_the_key_alone():
    batch = draw_moves(KEYS, 10, (32, 32))
    for position in (0, 17):
        assert torch.equal(draw_moves(KEYS[position : position + 1], 10, (32, 32))[:, 0], batch[:, position])
    assert not torch.equal(batch[:, 0], batch[:, 1])


def test_moving_is_differentiable():
    images = torch.rand(3, 3, 8, 8, requires_grad=True)
    move(images, draw_moves(KEYS[:3], 1, (8, 8))[0]).sum().backward()
    assert images.grad is not None
    torch.testing.assert_close(images.grad.sum(), torch.tensor(3 * 3 * 64.0))
