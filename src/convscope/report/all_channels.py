"""What goes back to the pixels from all channels together, for several images and depths, beside the originals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Float
from torch import Tensor

from convscope.methods.evidence import randomized, similarity, with_control
from convscope.methods.reconstruct import reconstruct
from convscope.types import Network, Picture


def from_all_channels(
    network: Network, layers: Sequence[str], images: Sequence[Float[Tensor, "3 H W"]], *, seed: int = 0
) -> Picture:
    """A row for each image: itself, then what the deconvnet rule takes back from each layer, all channels at once.

    A second half is the same from random weights. `images` are in [0, 1]. `numbers["likeness"]` and
    `numbers["random_likeness"]` are, layer by layer, the absolute correlation with the original, averaged over the
    images. Raises UsageError where the rule is not defined for the network.
    """
    picture, likeness = _rows(network, layers, images)
    control, by_chance = _rows(randomized(network, seed=seed), layers, images)
    alike = similarity(picture.values, control.values)[_back(len(images), len(layers))]
    both = with_control(picture, control, alike=alike)
    measured = ", ".join(
        f"{layer} {learned:.2f} ({random:.2f})"
        for layer, learned, random in zip(layers, likeness, by_chance, strict=True)
    )
    caption = (
        f"{picture.caption} The second half is the same from random weights: where the two are alike (similarity "
        f"{alike.mean():.2f} on average, 1 for the same), the picture shows the image and the architecture rather "
        "than what was learned. How like its original each is, as a correlation, with random weights in brackets: "
        f"{measured}. A reconstruction that resembles the image is no proof of learning where random weights give "
        "one as well."
    )
    numbers = {**both.numbers, "likeness": likeness, "random_likeness": by_chance}
    captions = (*picture.captions, *["random"] * len(control.values))  # there is no room for more below a tile
    provenance = {**both.provenance, "Layer": ", ".join(layers), "Seed of the control": str(seed)}
    return replace(both, caption=caption, captions=captions, numbers=numbers, provenance=provenance)


def _rows(network: Network, layers: Sequence[str], images: Sequence[Tensor]) -> tuple[Picture, list[float]]:
    """The rows for one set of weights, and how like its original each layer's tile is on average."""
    drawn = [[reconstruct(network, layer, image, channels=1) for layer in layers] for image in images]
    tiles = [tile for row in drawn for tile in (row[0].values[0], *(each.values[1] for each in row))]
    limits = [limit for row in drawn for limit in (row[0].limits[0], *(each.limits[1] for each in row))]
    values = np.stack(tiles)
    columns = 1 + len(layers)
    originals = values[::columns].repeat(len(layers), axis=0)
    alike = similarity(values[_back(len(images), len(layers))], originals).reshape(len(images), len(layers))
    picture = Picture(
        name="all-channels",
        title=f"From all channels of {', '.join(layers)} back to {len(images)} images",
        values=values,
        limits=np.stack(limits),
        scale="rgb",
        captions=("image", *layers) * len(images),
        caption="Each row is an image and what goes back to its pixels from all channels of a layer at once; mid "
        "grey is zero, and each tile has a scale of its own. What a tile lacks did not reach that layer, or pooling "
        "and ReLUs do not let it back.",
        provenance={"Method": "reconstruct", "Network": network.name, "Rule": "deconvnet"},
        columns=columns,
    )
    return picture, alike.mean(axis=0).round(4).tolist()


def _back(images: int, layers: int) -> list[int]:
    """Which tiles are reconstructions, not originals.

    >>> _back(2, 2)
    [1, 2, 4, 5]
    """
    return [place for place in range(images * (1 + layers)) if place % (1 + layers)]
