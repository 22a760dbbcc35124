"""Small random moves of an image while it is climbed, so that what is found does not hang on single pixels."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from convscope.methods.ascents.canvas import generator

SHIFT = 1 / 8  # of a side, each way: four pixels of 32, as in training on small images
NUDGE = 1 / 16  # where a place matters
SCALE = 0.1  # each way; it and the turn only from LARGE pixels on, since resampling blurs what a small image has
TURN = math.radians(10)
LARGE = 64
MOVES = 1  # the last part of a key whose numbers are moves


def draw_moves(
    keys: Sequence[tuple[int, ...]], steps: int, size: tuple[int, int], *, shift: float = SHIFT
) -> Float[Tensor, "steps N 2 3"]:
    """For each step and key the affine map from places in the moved image to places in the image, in [-1, 1].

    Shifts are whole pixels up to the share `shift` of a side; images (H, W) of 64 and more are also scaled by up to a
    tenth and turned by up to 10 degrees. Nothing is mirrored, also where training does: a channel for one
    diagonal is none for the other. Each key's moves depend on nothing else.

    >>> draw_moves([(0, 1), (0, 2)], 5, (32, 32)).shape
    torch.Size([5, 2, 2, 3])
    """
    draws = torch.stack([torch.rand(steps, 4, generator=generator((*key, MOVES))) for key in keys], dim=1)
    sides = torch.tensor([size[1], size[0]], dtype=torch.float32)  # x before y, as grid_sample has it
    reach = (sides * shift).floor()
    shifts = (draws[..., :2] * (2 * reach + 1)).floor().clamp(max=2 * reach) - reach  # (steps, N, 2) pixels
    large = min(size) >= LARGE
    scales = 1 + SCALE * (2 * draws[..., 2] - 1) * large  # (steps, N)
    turns = TURN * (2 * draws[..., 3] - 1) * large
    cosine, sine, stretch = turns.cos() * scales, turns.sin() * scales, size[0] / size[1]
    rows = [torch.stack([cosine, -sine * stretch], -1), torch.stack([sine / stretch, cosine], -1)]
    return torch.cat([torch.stack(rows, -2), (2 * shifts / sides)[..., None]], dim=-1)


def move(images: Float[Tensor, "N C H W"], moves: Float[Tensor, "N 2 3"]) -> Float[Tensor, "N C H W"]:
    """The images, each moved by its own map; what a move uncovers is the reflected image.

    >>> still = torch.eye(3)[None, :2]
    >>> images = torch.rand(1, 3, 8, 8)
    >>> bool(torch.allclose(move(images, still), images, atol=1e-5))
    True
    """
    grid = F.affine_grid(moves, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, padding_mode="reflection", align_corners=False)
