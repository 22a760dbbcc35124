"""What an image is to excite: a channel, one position of it or a direction; and how alike its variants may be."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

Aim = Literal["channel", "position"]
AIMS: tuple[Aim, ...] = ("channel", "position")

SLOPE = 0.1  # how much a negative value counts
DIVERSITY = 0.5  # of a whole objective, for variants that are all alike


def score(maps: Float[Tensor, "N K h w"], aim: Aim) -> Float[Tensor, "N K"]:
    """How far each map is up: the mean over its positions, or its value at the centre.

    In the mean, negative values count a tenth. With all of them counted whole, a filter without bias would be
    driven by its sum of weights alone: every edge detector would ask for a plain colour. With none, a silent
    channel would have no gradient.

    >>> maps = torch.tensor([4.0, -10.0]).view(1, 1, 1, 2)
    >>> score(maps, "channel").item(), score(maps, "position").item()
    (1.5, -10.0)
    """
    if aim == "position":
        return maps[:, :, maps.shape[2] // 2, maps.shape[3] // 2]
    return F.leaky_relu(maps, SLOPE).mean((2, 3))


def own_maps(
    maps: Float[Tensor, "N K h w"], channels: Sequence[int], direction: Float[Tensor, " K"] | None = None
) -> Float[Tensor, "N 1 h w"]:
    """Of image i the map of `channels[i]`; or of every image its maps' sum along the direction.

    >>> own_maps(torch.arange(4.0).view(2, 2, 1, 1), [1, 0]).flatten().tolist()
    [1.0, 2.0]
    """
    if direction is not None:
        return torch.einsum("nkhw,k->nhw", maps, direction.to(maps))[:, None]
    chosen = torch.as_tensor(channels, device=maps.device)
    return maps[torch.arange(len(chosen), device=maps.device), chosen][:, None]


def likeness(maps: Float[Tensor, "N K h w"], variants: int) -> Float[Tensor, " N"]:
    """How alike each image is to the other variants of its channel, in [0, 1]; they stand next to each other.

    It is the mean cosine between the Gram matrices of the maps' positive parts: which channels answer together,
    anywhere (Olah et al. 2017, doi:10.23915/distill.00007, "Diversity").

    >>> maps = torch.rand(2, 3, 4, 4)
    >>> [round(each, 4) for each in likeness(torch.cat([maps, maps[1:], maps[1:]]), 2)[2:].tolist()]
    [1.0, 1.0]
    """
    active = maps.relu().flatten(2)  # (N, K, P)
    grams = F.normalize((active @ active.mT).flatten(1), dim=1).unflatten(0, (-1, variants))  # (n, variants, K * K)
    cosines = grams @ grams.mT  # (n, variants, variants)
    others = cosines.sum(2) - cosines.diagonal(dim1=1, dim2=2)
    return (others / (variants - 1)).flatten()


def climbed(
    channels: Sequence[int], aim: Aim, *, variants: int = 1, direction: Float[Tensor, " K"] | None = None
) -> Callable[[Float[Tensor, "N K h w"]], Float[Tensor, " N"]]:
    """What each image of a batch is to raise: its own score, less its likeness to its channel's other variants.

    The likeness counts in proportion to the score, so that it matters as much in a layer of small values.

    >>> climbed([1], "position")(torch.tensor([2.0, 5.0]).view(1, 2, 1, 1)).tolist()
    [5.0]
    """

    def objective(maps: Float[Tensor, "N K h w"]) -> Float[Tensor, " N"]:
        scores = score(own_maps(maps, channels, direction), aim)[:, 0]
        if variants == 1:
            return scores
        return scores - DIVERSITY * scores.detach().abs() * likeness(maps, variants)

    return objective
