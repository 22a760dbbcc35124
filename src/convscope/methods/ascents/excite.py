"""Images that excite some channels of a layer, drawn in one batch, with what they reached."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from convscope.hooks import frozen_eval, like_model, record_input
from convscope.methods.ascents.ascent import REACH, Respond, ascend
from convscope.methods.ascents.canvas import Parameterization, random_canvas
from convscope.methods.ascents.image_statistics import ImageStatistics
from convscope.methods.ascents.objectives import Aim, climbed, likeness, own_maps, score
from convscope.methods.ascents.transforms import NUDGE, SHIFT, draw_moves
from convscope.methods.needs import layer_maps
from convscope.types import Network, Progress, no_progress

PIXELS = 2**16  # climbed at once
STILL = 1e-6  # a smaller change, as a share of the score, is rounding


@dataclass(frozen=True)
class Excited:
    """The images of M = channels × variants, variants next to each other, and their evidence; on the CPU."""

    images: Tensor  # (M, C, H, W) in [0, 1]
    frames: dict[int, Tensor]  # images (M, C, H, W) by the number of steps taken
    activations: Tensor  # (M,): the highest value at any position, of the image as it is, before the ReLU
    scores: Tensor  # (M,): what was climbed, of the image as it is
    start_scores: Tensor  # (M,)
    agreements: Tensor | None  # (M,) in [-1, 1]: of two starts; None with variants
    likenesses: Tensor | None  # (M,) in [0, 1]: to the other variants; None without
    still: Tensor  # (M,) bool: nothing moved the score
    interrupted: bool

    def pick(self, index: int) -> Excited:
        """One image alone, with its evidence."""

        def cut(value: Any) -> Any:
            return value[index : index + 1] if isinstance(value, Tensor) else value

        frames = {step: cut(images) for step, images in self.frames.items()}
        return replace(
            self,
            frames=frames,
            **{each.name: cut(getattr(self, each.name)) for each in fields(self) if each.name != "frames"},
        )


def excite(
    network: Network,
    layer: str,
    channels: Sequence[int],
    statistics: ImageStatistics,
    *,
    aim: Aim = "channel",
    direction: Float[Tensor, " K"] | None = None,
    parameterization: Parameterization = "fourier",
    steps: int = 64,
    variants: int = 1,
    seed: int = 0,
    keep: Collection[int] = (),
    progress: Progress = no_progress,
) -> Excited:
    """For each channel the image that excites it most, or several unlike each other, of the network's input size.

    A single image is the better of two that climb from different starts; how far those agree is the cosine
    between what they changed in the layer's mean response, from start to end. Every start and move is a pure
    function of seed, channel and variant, and no image sees another channel's: a batch gives what its
    channels give alone.
    """
    starts = 2 if variants == 1 else variants
    keys = [(seed, channel, start) for channel in channels for start in range(starts)]
    chosen = [channel for channel in channels for _ in range(starts)]
    device = like_model(network.model, torch.empty(0)).device
    canvas = random_canvas(parameterization, keys, network.input_size, statistics, device=device)
    with torch.no_grad():
        first = canvas.images()
    respond = _own_responses(network, layer, chosen) if variants == 1 and direction is None else None
    objective = climbed([0] * len(keys) if respond else chosen, aim, variants=variants, direction=direction)
    climb = ascend(
        network,
        layer,
        canvas,
        objective,
        respond=respond,
        moves=draw_moves(keys, steps, network.input_size, shift=NUDGE if aim == "position" else SHIFT),
        reach=REACH[parameterization],
        keep=keep,
        progress=progress,
    )
    with frozen_eval(network.model), torch.no_grad():
        before, after = (layer_maps(network, layer, images, before_relu=True) for images in (first, climb.images))
    own = own_maps(after, chosen, direction)  # (N, 1, h, w)
    scores, start_scores = score(own, aim)[:, 0], score(own_maps(before, chosen, direction), aim)[:, 0]
    kept = torch.arange(len(keys), device=device)
    agreements = alike = None
    if variants == 1:
        turned = (after - before).mean((2, 3)).unflatten(0, (-1, 2))  # (channels, 2, K)
        agreements = F.cosine_similarity(turned[:, 0], turned[:, 1], dim=1).cpu()
        kept = 2 * torch.arange(len(channels), device=device) + scores.view(-1, 2).argmax(1)
    else:
        alike = likeness(after, variants).cpu()
    return Excited(
        images=climb.images[kept].cpu(),
        frames={step: climb.frames.get(step, climb.images)[kept].cpu() for step in keep},
        activations=own.amax((1, 2, 3))[kept].cpu(),
        scores=scores[kept].cpu(),
        start_scores=start_scores[kept].cpu(),
        agreements=agreements,
        likenesses=alike,
        still=((scores - start_scores).abs() <= STILL * start_scores.abs())[kept].cpu(),
        interrupted=climb.interrupted,
    )


def _own_responses(network: Network, layer: str, channels: Sequence[int]) -> Respond | None:
    """Of image i the map of `channels[i]` alone, (N, 1, h, w), where a plain convolution gives it; else None.

    A convolution's other channels need not be computed, which are nearly all of the work at the first one.
    """
    module = network.model.get_submodule(layer)
    if type(module) is not nn.Conv2d or module.groups > 1 or module.padding_mode != "zeros":
        return None
    weight = module.weight.detach()[list(channels)]  # (N, C, kh, kw)
    bias = None if module.bias is None else module.bias.detach()[list(channels)]

    def respond(images: Float[Tensor, "N C H W"]) -> Float[Tensor, "N 1 h w"]:
        fed = network.normalize(like_model(network.model, images))
        inputs = record_input(network.model, fed, layer).flatten(0, 1)[None]  # (1, N * C, H, W)
        stride, padding, dilation = module.stride, module.padding, module.dilation
        maps = F.conv2d(inputs, weight, bias, stride, padding, dilation, groups=len(channels))
        return maps[0][:, None]

    return respond


def joined(parts: Sequence[Excited]) -> Excited:
    """Those of several parts, one after the other."""

    def cat(name: str) -> Any:
        values = [getattr(part, name) for part in parts]
        return None if values[0] is None else torch.cat(values)

    frames = {step: torch.cat([part.frames[step] for part in parts]) for step in parts[0].frames}
    names = [each.name for each in fields(Excited) if each.name not in ("frames", "interrupted")]
    interrupted = any(part.interrupted for part in parts)
    return Excited(frames=frames, interrupted=interrupted, **{name: cat(name) for name in names})


def chunks(channels: Sequence[int], size: tuple[int, int], *, variants: int = 1) -> list[list[int]]:
    """The channels in parts whose images are climbed at once, so that memory stays bounded.

    >>> [len(part) for part in chunks(range(100), (32, 32))]
    [32, 32, 32, 4]
    """
    room = max(1, PIXELS // (size[0] * size[1]) // max(2, variants))
    return [list(channels[start : start + room]) for start in range(0, len(channels), room)]
