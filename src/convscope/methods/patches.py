"""Stretches cut from images and padded to one size."""

from __future__ import annotations

from jaxtyping import Float, Int64
from torch import Tensor


def cut(
    images: Float[Tensor, "N C H W"],
    rows: Int64[Tensor, "N 2"],
    columns: Int64[Tensor, "N 2"],
    size: tuple[int, int],
    *,
    fill: Float[Tensor, "N C"],
) -> Float[Tensor, "N C h w"]:
    """From each image the rows and columns [start, stop) as a tile of (h, w), the rest of it in the colour `fill`.

    What begins at the image's own border lies at the tile's other end, as if the image went on beyond the border.

    >>> import torch
    >>> image, all_of_it = torch.arange(1.0, 4).view(1, 1, 1, 3), torch.tensor([[0, 1]])
    >>> cut(image, all_of_it, torch.tensor([[0, 2]]), (1, 3), fill=torch.zeros(1, 1)).tolist()
    [[[[0.0, 1.0, 2.0]]]]
    """
    tiles = fill[:, :, None, None].expand(*images.shape[:2], *size).clone()
    for tile, image, (top, bottom), (left, right) in zip(tiles, images, rows.tolist(), columns.tolist(), strict=True):
        y = 0 if top else size[0] - bottom
        x = 0 if left else size[1] - right
        tile[:, y : y + bottom - top, x : x + right - left] = image[:, top:bottom, left:right]
    return tiles


def longest(stretches: Int64[Tensor, "positions 2"]) -> int:
    """The length of the longest stretch [start, stop).

    >>> import torch
    >>> longest(torch.tensor([[0, 3], [1, 6]]))
    5
    """
    return int((stretches[:, 1] - stretches[:, 0]).max())
