"""The search behind `invert`: from noise to an image whose features at a layer match a given image's."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from convscope.errors import NumericsError, UsageError
from convscope.hooks import frozen_eval, like_model
from convscope.methods.ascents.canvas import random_canvas, random_images
from convscope.methods.ascents.image_statistics import ImageStatistics
from convscope.methods.needs import Channels, choose_channels, layer_maps
from convscope.types import Network, Progress, no_progress

Prior = Literal["fourier", "tv"]
PRIORS: tuple[Prior, ...] = ("fourier", "tv")
WEIGHT = 0.03  # of either prior, beside a squared relative distance
BEGINNING = 200  # times that weight is the prior's at first, so that coarse shapes come before fine ones
SETTLED = 0.75  # share of the steps after which the prior has its own weight
RATE: dict[Prior, float] = {"fourier": 0.2, "tv": 0.1}  # of Adam; falls to zero in the second half of the steps
STRANGERS = 8  # random images that the reached distance is held against


class Inversion(NamedTuple):
    """What came of one layer."""

    image: Tensor  # (1, C, H, W) in [0, 1], in main memory
    numbers: dict[str, Any]
    interrupted: bool


def find_inversion(
    network: Network,
    layer: str,
    original: Float[Tensor, "1 C H W"],
    statistics: ImageStatistics,
    channel: Channels = None,
    *,
    prior: Prior,
    steps: int,
    strength: float,
    seed: int,
    progress: Progress = no_progress,
) -> Inversion:
    """The inversion of one layer, given by its dotted name, and how near it came.

    Raises UsageError for channels that are silent, and NumericsError for a loss that is not finite.
    """
    size = (original.shape[2], original.shape[3])
    interrupted = False
    with frozen_eval(network.model) as model:
        target, chosen = _target(network, layer, original, channel)
        device = like_model(model, original).device
        canvas = random_canvas("fourier", [(seed,)], size, statistics, device=device)

        def misfit(images: Float[Tensor, "N C H W"]) -> Float[Tensor, " N"]:
            return squared_distance(layer_maps(network, layer, images)[:, chosen], target)

        with torch.no_grad():
            at_start = misfit(canvas.images()).sqrt().item()
            strangers = random_images(statistics, size, STRANGERS, seed=seed, device=device)
            random = misfit(strangers).sqrt().mean().item()
        optimizer = torch.optim.Adam(canvas.parameters, lr=RATE[prior])
        try:
            for step in range(steps):
                share = step / steps
                optimizer.param_groups[0]["lr"] = RATE[prior] * min(1.0, 2 - 2 * share)
                weight = strength * WEIGHT * BEGINNING ** max(0.0, 1 - share / SETTLED)
                with torch.enable_grad():
                    images = canvas.images()
                    penalty = power(canvas.parameters[0])
                    if prior == "tv":
                        penalty = penalty + variation(images, statistics)
                    loss = misfit(images).sum() + weight * penalty
                if not bool(torch.isfinite(loss)):
                    raise NumericsError(
                        f'the distance of the features of layer "{layer}" is not finite in step {step + 1}'
                    )
                loss.backward(inputs=canvas.parameters)
                optimizer.step()
                optimizer.zero_grad()
                progress(f"inverting {layer}", step + 1, steps)
        except KeyboardInterrupt:
            interrupted = True
        with torch.no_grad():
            image = canvas.images()
            distance = misfit(image).sqrt().item()
    numbers = {
        "distance": distance,
        "distance_at_start": at_start,
        "distance_of_random": random,
        "pixel_error": (image.cpu() - original.cpu()).square().mean().sqrt().item(),
    }
    return Inversion(image.cpu(), numbers, interrupted)


def squared_distance(maps: Float[Tensor, "N K h w"], target: Float[Tensor, "1 K h w"]) -> Float[Tensor, " N"]:
    """The squared distance of each image's maps from the target, over the target's own square, in float32.

    Half precision holds no number above 65,504, and a sum of squares soon is.

    >>> squared_distance(torch.zeros(1, 2, 3, 3), torch.ones(1, 2, 3, 3)).tolist()
    [1.0]
    """
    maps, target = maps.float(), target.float()
    return (maps - target).square().sum((1, 2, 3)) / target.square().sum()


def power(coefficients: Float[Tensor, "1 C H half two"]) -> Float[Tensor, ""]:
    """The Fourier prior: the mean square of a canvas's frequencies, in units of the dataset's amplitudes.

    Beside total variation it keeps colours from the ends of their range, where a squashed pixel no longer moves.
    """
    return coefficients.square().sum(-1).mean()


def variation(images: Float[Tensor, "1 C H W"], statistics: ImageStatistics) -> Float[Tensor, ""]:
    """The total variation with β = 2, a pixel: squared steps right and down, in decorrelated colours.

    The last row and column take no step further, so that every step counts once.
    """
    planes = torch.einsum("cd,ndhw->nchw", torch.linalg.inv(statistics.colours).to(images), images)
    steps = [planes.diff(dim=axis).square().sum() for axis in (2, 3)]
    return torch.stack(steps).sum() / planes.numel()


def _target(
    network: Network, layer: str, original: Float[Tensor, "1 C H W"], channel: Channels
) -> tuple[Float[Tensor, "1 K h w"], list[int]]:
    """The features to match, and of which channels they are."""
    with torch.no_grad():
        maps = layer_maps(network, layer, original)
    chosen = choose_channels(channel, maps.shape[1], layer=layer, class_names=network.class_names)
    target = maps[:, chosen]
    if not bool(target.any()):
        raise UsageError(
            f"the channels asked for of {layer} give nothing but zeros for this image, so any image without them "
            "matches; allowed: channels that answer, see: convscope maps"
        )
    return target, chosen
