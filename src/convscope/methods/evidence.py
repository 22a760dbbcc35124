"""What a picture is worth: the same picture from random weights beside it, and how alike the two are."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float

from convscope.paint import nearly_square
from convscope.types import Network, Picture


def randomized(network: Network, *, seed: int = 0) -> Network:
    """The same network with random weights: the control of Adebayo et al. 2018 (arXiv:1810.03292), section 3.

    Layers that can reset themselves do; parameters that this leaves as they were, as under spectral norm, and those
    of other modules are permuted. Batch norms lose their statistics. The seed decides all of it on any device.
    The network that was given is not touched.

    >>> from torch import nn
    >>> network = Network(nn.Conv2d(3, 4, 3), (0.5,) * 3, (0.5,) * 3, (8, 8), (), "tiny")
    >>> bool((randomized(network).model.weight == network.model.weight).any())
    False
    """
    device = next(network.model.parameters(), torch.empty(0)).device
    model = copy.deepcopy(network.model).cpu()
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.default_generator.manual_seed(seed)  # the CPU's alone: torch.manual_seed would seed every GPU as well
        for module in model.modules():
            before = [parameter.clone() for parameter in module.parameters(recurse=False)]
            if callable(reset := getattr(module, "reset_parameters", None)):
                reset()
            for parameter, was in zip(module.parameters(recurse=False), before, strict=True):
                if torch.equal(parameter, was):
                    order = torch.randperm(parameter.numel())
                    parameter.copy_(parameter.flatten()[order].view_as(parameter))
    return replace(network, model=model.to(device), weights_sha256="")


def similarity(values: Float[np.ndarray, "N C H W"], others: Float[np.ndarray, "N C H W"]) -> Float[np.ndarray, " N"]:
    """The absolute Pearson correlation in [0, 1] of each pair of tiles; 0 where one of them is constant.

    Absolute, since the sign of a picture from random weights means nothing.

    >>> tile = np.arange(12.0).reshape(1, 3, 2, 2)
    >>> similarity(tile, 3 - 2 * tile).tolist()
    [1.0]
    """
    first, second = (tiles.reshape(len(tiles), -1).astype(np.float64) for tiles in (values, others))
    first, second = (flat - flat.mean(axis=1, keepdims=True) for flat in (first, second))
    norms = np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1)
    products = np.abs((first * second).sum(axis=1))
    return np.divide(products, norms, out=np.zeros_like(norms), where=norms > 0).clip(0, 1)


def with_control(
    picture: Picture, control: Picture, *, originals: int = 0, alike: Float[np.ndarray, " N"] | None = None
) -> Picture:
    """The picture with, below it, the same from random weights; both have as many tiles.

    The first `originals` tiles of each show the input and are not compared. `numbers["control_similarity"]` says
    of each other tile how alike the two are: at 1 the picture shows the image and the architecture, not what was
    learned. `alike` are those similarities where tiles hold colours, not the values to compare.

    >>> from convscope.paint import image_picture
    >>> picture = image_picture("a", "A", np.random.default_rng(0).random((3, 3, 4, 4)), columns=2)
    >>> both = with_control(picture, picture)
    >>> both.values.shape, both.numbers["control_similarity"]
    ((7, 3, 4, 4), [1.0, 1.0, 1.0])
    """
    count = len(picture.values)
    columns = min(picture.columns or nearly_square(count), count)
    gap = -count % columns  # blank tiles, so that the control begins a row of its own
    blank = np.broadcast_to(picture.limits[:1].mean(), (gap, *picture.values.shape[1:]))
    if alike is None:
        alike = similarity(picture.values[originals:], control.values[originals:])
    captions, below = (each.captions or ("",) * count for each in (picture, control))
    return replace(
        picture,
        values=np.concatenate([picture.values, blank, control.values]).astype(np.float32),
        limits=np.concatenate([picture.limits, picture.limits[:1].repeat(gap, axis=0), control.limits]),
        captions=(*captions, *("",) * gap, *(f"{caption} random".strip() for caption in below)),
        caption=f"{picture.caption} The lower half is the same from random weights: where the two are alike "
        f"(similarity {alike.mean():.2f} on average, 1 for the same), the picture shows the image and the "
        "architecture rather than what was learned.",
        numbers={**picture.numbers, "control_similarity": alike.round(4).tolist()},
        columns=columns,
    )
