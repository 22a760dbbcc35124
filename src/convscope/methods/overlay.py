"""Heat maps as colours, alone or over the image that they are of."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from convscope.methods.needs import as_rgb
from convscope.paint import colours

STRENGTH = 0.8  # how much of the image the strongest value covers
PALE = 0.55  # the contrast that is left of the image


def coloured(
    values: Float[np.ndarray, "N 1 h w"],
    limits: Float[np.ndarray, "N 2"],
    scale: Literal["diverging", "sequential"],
) -> Float[np.ndarray, "N 3 h w"]:
    """The maps' colours in [0, 1]."""
    return (colours(values, limits, scale).transpose(0, 3, 1, 2) / 255).astype(np.float32)


def over_image(
    values: Float[np.ndarray, "N 1 h w"],
    limits: Float[np.ndarray, "N 2"],
    scale: Literal["diverging", "sequential"],
    image: Float[Tensor, "1 C H W"],
) -> Float[np.ndarray, "N 3 H W"]:
    """The maps' colours in [0, 1] over the grey image: a stronger value covers more of it, zero nothing.

    Each value of a smaller map covers the pixels nearest to it. The image is in [0, 1].

    >>> over_image(np.zeros((1, 1, 1, 1)), np.array([[-1.0, 1.0]]), "diverging", torch.ones(1, 1, 2, 2)).shape
    (1, 3, 2, 2)
    """
    size = image.shape[2:]
    heat = torch.from_numpy(coloured(values, limits, scale))
    bounds = np.abs(limits).max(axis=1)[:, None, None, None]
    share = np.divide(np.abs(values), bounds, out=np.zeros_like(values), where=bounds > 0).clip(0, 1)
    heat, cover = (
        F.interpolate(maps, size, mode="nearest-exact") for maps in (heat, torch.from_numpy(STRENGTH * share))
    )
    grey = (1 - PALE) / 2 + PALE * torch.from_numpy(as_rgb(image)).mean(1, keepdim=True)
    return (grey * (1 - cover) + heat * cover).float().numpy()
