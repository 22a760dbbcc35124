"""The image whose features match those of a given image: what a layer still knows of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from convscope.errors import UsageError
from convscope.hooks import resolve_layer
from convscope.methods.ascents.image_statistics import statistics_for
from convscope.methods.ascents.inversion import PRIORS, Inversion, Prior, find_inversion
from convscope.methods.evidence import randomized, with_control
from convscope.methods.needs import Channels, as_rgb, check_at_least, one_image, slug
from convscope.paint import image_picture
from convscope.types import Dataset, Network, Picture, Progress, no_progress


def invert(
    network: Network,
    layer: str,
    image: Tensor,
    channel: Channels = None,
    dataset: Dataset | None = None,
    *,
    prior: Prior = "fourier",
    steps: int = 300,
    strength: float = 1.0,
    control: bool = False,
    seed: int = 0,
    progress: Progress = no_progress,
) -> Picture:
    """An image with the same features at a layer, found without looking at the original's pixels: its inversion.

    `image` is (C, H, W) float in [0, 1]; the tiles are the image and the inversion. The features are what
    the layer gives, of all channels or of those named alone. What minimizes |Φ(x) - Φ(image)|² / |Φ(image)|² + λ R(x)
    is sought from random noise, where R is one of two priors on images: the square of the image's frequencies over
    those of the dataset; or that and the total variation with β = 2 between decorrelated colours, where
    Mahendran & Vedaldi 2015 (arXiv:1412.0035), section 2, have total variation and a norm that bounds the colours.
    λ falls to its final value on the way. Without a dataset colours and frequencies come from the network's
    mean and deviation. Ctrl-C gives the inversion so far.

    The numbers: `distance`, |Φ(x) - Φ(image)| / |Φ(image)|, of the inversion, of the start and, on average,
    of random images with the dataset's colours and frequencies; `pixel_error`, the root mean square of image minus
    inversion.

    Raises UsageError for an unknown layer, channel or knob, an image of another shape or range, and channels
    that are silent for the image; NumericsError for a distance that is not finite.

    Parameters
    ----------
    prior
        What is preferred of images that fit alike: fourier (a photograph's frequencies) or tv (smooth ones).
    steps
        Steps of Adam.
    strength
        Times the prior's own weight: more is smoother and fits less.
    control
        Add the inversion of the same network with random weights below.
    seed
        Decides the random start, and the random weights of the control.

    >>> from torch import nn
    >>> model = nn.Sequential(nn.Conv2d(3, 8, 5), nn.ReLU())
    >>> network = Network(model, (0.5,) * 3, (0.25,) * 3, (16, 16), ("a", "b"), "tiny")
    >>> picture = invert(network, "1", torch.rand(3, 16, 16), steps=20)
    >>> picture.values.shape, picture.numbers["distance"] < picture.numbers["distance_at_start"]
    ((2, 3, 16, 16), True)
    """
    if prior not in PRIORS:
        raise UsageError(f'no prior "{prior}"; allowed: {", ".join(PRIORS)}')
    check_at_least(1, steps=steps)
    check_at_least(0, strength=strength, seed=seed)
    names = {layer: resolve_layer(network.model, layer, model_name=network.name)}

    def picture_of(one: Network) -> Picture:
        return _inverted(
            one,
            names,
            image,
            dataset,
            channel,
            prior=prior,
            steps=steps,
            strength=strength,
            seed=seed,
            progress=progress,
        )

    picture = picture_of(network)
    if not control or "interrupted" in picture.numbers:
        return picture
    return with_control(picture, picture_of(randomized(network, seed=seed)), originals=1)


def invert_layers(
    network: Network,
    layers: Sequence[str],
    image: Tensor,
    dataset: Dataset | None = None,
    *,
    steps: int = 300,
    progress: Progress = no_progress,
) -> Picture:
    """The image, then its inversion from each of several layers, shallow to deep as they are given.

    All other knobs have the values that `invert` gives them. Each list in the numbers has an entry for each layer.
    Ctrl-C gives the inversions so far.

    >>> from torch import nn
    >>> model = nn.Sequential(nn.Conv2d(3, 8, 5), nn.ReLU(), nn.Conv2d(8, 4, 3))
    >>> network = Network(model, (0.5,) * 3, (0.25,) * 3, (16, 16), ("a", "b"), "tiny")
    >>> invert_layers(network, ["0", "2"], torch.rand(3, 16, 16), steps=2).captions[0]
    'image'
    """
    check_at_least(1, steps=steps)
    names = {layer: resolve_layer(network.model, layer, model_name=network.name) for layer in layers}
    if not names:
        raise UsageError("no layer is named; list them: convscope layers RUN")
    return _inverted(
        network, names, image, dataset, None, prior="fourier", steps=steps, strength=1.0, seed=0, progress=progress
    )


def _inverted(
    network: Network,
    layers: Mapping[str, str],
    image: Tensor,
    dataset: Dataset | None,
    channel: Channels,
    *,
    prior: Prior,
    steps: int,
    strength: float,
    seed: int,
    progress: Progress,
) -> Picture:
    """The image and its inversions; `layers` are their dotted names by the names they were asked by."""
    original = one_image(network, image)
    statistics = statistics_for(network, dataset)
    found: list[Inversion] = []
    for number, name in enumerate(layers.values()):

        def tell(what: str, done: int, _total: int | None, number: int = number) -> None:
            progress(what, number * steps + done, len(layers) * steps)

        one = find_inversion(
            network,
            name,
            original,
            statistics,
            channel,
            prior=prior,
            steps=steps,
            strength=strength,
            seed=seed,
            progress=tell,
        )
        found.append(one)
        if one.interrupted:
            break
    single = len(layers) == 1
    evidence = {key: [one.numbers[key] for one in found] for key in found[0].numbers}
    labels = [f"{layer}\n{away:.2f} away" for layer, away in zip(layers, evidence["distance"], strict=False)]
    picture = image_picture(
        f"invert-{slug('-'.join(layers), channel)}",
        f"What {', '.join(layers)} still {'knows' if single else 'know'} of the image",
        as_rgb(torch.cat([original.cpu(), *(one.image for one in found)])),
        captions=("image", *labels),
        caption=_reading(min(evidence["distance_of_random"]), channel=channel),
        provenance={
            "Method": "invert",
            "Network": network.name,
            "Layer": ", ".join(layers.values()),
            "Prior": prior,
            "Steps": str(steps),
            "Strength": f"{strength:g}",
            "Seed": str(seed),
            "Statistics": "assumed" if dataset is None else dataset.name,
        },
        columns=1 + len(found),
    )
    numbers: dict[str, Any] = found[0].numbers if single else evidence
    if found[-1].interrupted:
        numbers["interrupted"] = True
    return replace(picture, numbers=numbers)


def _reading(random: float, *, channel: Channels) -> str:
    """How to read the picture, and what not to conclude."""
    what = "all channels" if channel is None else "the chosen channels alone, with all others free,"
    return (
        f"Beside the image: an image found from noise that gives nearly the same features, matched in {what} of the "
        "layer. The tile says how far its features are from the image's, over their length: 0 is equal, random "
        f"images are {random:.2f} away or more. What is kept, the layer tells apart; what is lost or changed, "
        "it ignores, and the prior filled in. It is one of many images that fit, and where the distance is not small "
        "a loss may be the search's and not the layer's."
    )
