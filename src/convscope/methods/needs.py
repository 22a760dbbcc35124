"""What methods need, checked: the image, the channels, and a layer's maps."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any, SupportsIndex

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from convscope.errors import NumericsError, UsageError, closest
from convscope.hooks import frozen_eval, like_model, record_outputs
from convscope.types import Network

Channels = SupportsIndex | str | Sequence[SupportsIndex] | None
"""One channel, several, "all", or a class's name where the layer is the head; None is the method's own choice."""

CHANNELS_FIRST = (nn.Conv2d, nn.ConvTranspose2d, nn.BatchNorm2d, nn.GroupNorm, nn.MaxPool2d, nn.AvgPool2d)


def one_image(network: Network, image: Tensor) -> Float[Tensor, "1 C H W"]:
    """The image as a batch of one, in main memory or wherever it was.

    `image` is (C, H, W) or (1, C, H, W) float in [0, 1], with C the network's input channels. Raises UsageError
    for any other shape, type or range.
    """
    images = image[None] if image.ndim == 3 else image
    channels = len(network.mean)
    if images.ndim != 4 or images.shape[:2] != (1, channels):
        allowed = f"({channels}, H, W) or (1, {channels}, H, W)"
        raise UsageError(f"an image of shape {tuple(image.shape)}; allowed: {allowed}")
    if not images.is_floating_point():
        raise UsageError(f"an image of {image.dtype}; allowed: floats in [0, 1], so divide bytes by 255")
    if not bool(((images >= 0) & (images <= 1)).all()):
        low, high = images.min().item(), images.max().item()
        raise UsageError(f"an image with values from {low:g} to {high:g}; allowed: [0, 1], before any normalizing")
    return images.detach()


def choose_channels(
    channel: Channels, available: int, *, layer: str, most: int | None = None, class_names: Sequence[str] = ()
) -> list[int]:
    """The channels that `channel` names, of a layer that has `available`.

    None gives all, or the first `most`. A class's name is allowed where there are as many as channels. Raises
    UsageError for a channel out of range and a name that is not a class.

    >>> choose_channels(None, 8, layer="conv1", most=3), choose_channels([7, 1], 8, layer="conv1")
    ([0, 1, 2], [7, 1])
    """
    if channel is None:
        return list(range(min(most or available, available)))
    if channel == "all":
        return list(range(available))
    if isinstance(channel, str):
        if len(class_names) != available:
            raise UsageError(f'no channel "{channel}" in {layer}; allowed: 0 to {available - 1}, or all')
        if channel not in class_names:
            near = closest(channel, class_names)
            raise UsageError(f'no class "{channel}"{near}; allowed: {", ".join(class_names[:20])}')
        return [class_names.index(channel)]
    several = channel if isinstance(channel, Sequence) else [channel]
    chosen = list(dict.fromkeys(operator.index(each) for each in several))  # NumPy's integers too, each once
    for number in chosen:
        if not 0 <= number < available:
            raise UsageError(f"no channel {number} in {layer}; allowed: 0 to {available - 1}")
    if not chosen:
        raise UsageError(f"no channel of {layer} is named; allowed: 0 to {available - 1}")
    return chosen


def check_at_least(least: float, **knobs: float) -> None:
    """Raise UsageError, with its name, for a knob that is smaller, or no number.

    >>> check_at_least(1, steps=64, variants=1)
    """
    for name, value in knobs.items():
        if not value >= least:
            raise UsageError(f"{name} {value:g}; allowed: {least:g} or more")


def choose_class(network: Network, target: int | str, count: int) -> int:
    """The class that `target` names, of `count`; a name that looks like a number is first of all a name.

    Raises UsageError for one that the network does not have.
    """
    names = network.class_names[:count]
    if target in names:
        return names.index(str(target))
    if isinstance(target, str) and not target.isdecimal():
        allowed = ", ".join(names[:20]) or f"0 to {count - 1}"
        raise UsageError(f'no class "{target}" in {network.name}{closest(target, names)}; allowed: {allowed}')
    if not 0 <= int(target) < count:
        raise UsageError(f"no class {target} in {network.name}; allowed: 0 to {count - 1}, or a class's name")
    return int(target)


def class_name(network: Network, index: int) -> str:
    """The class's name, or its number where it has none."""
    return network.class_names[index] if index < len(network.class_names) else str(index)


def check_logits(network: Network, logits: Any) -> Float[Tensor, "N classes"]:
    """What the network gave, in single precision.

    Raises UsageError where that is no logits, and NumericsError where they are not finite.
    """
    if not isinstance(logits, Tensor) or logits.ndim != 2:
        gives = tuple(logits.shape) if isinstance(logits, Tensor) else f"a {type(logits).__name__}"
        raise UsageError(f"{network.name} gives {gives}; allowed: logits (N, classes)")
    if not bool(torch.isfinite(logits).all()):
        raise NumericsError(f"{network.name} gives logits that are not finite")
    return logits.float()


def layer_maps(
    network: Network, layer: str, images: Float[Tensor, "N C H W"], *, before_relu: bool = False
) -> Float[Tensor, "N K h w"]:
    """A layer's maps for images in [0, 1], differentiable; a vector's entries are maps of one number.

    `layer` is a dotted name. The model's mode and gradients are the caller's (see `hooks.frozen_eval`). Raises
    UsageError for a layer that gives no maps and NumericsError for maps that are not finite.
    """
    inputs = network.normalize(like_model(network.model, images))
    output = record_outputs(network.model, inputs, [layer], before_relu=before_relu)[layer]
    maps = as_maps(network.model.get_submodule(layer), output, layer=layer, image_size=images.shape[2:])
    check_finite(maps, layer=layer)
    return maps


def channel_count(network: Network, layer: str) -> int:
    """How many channels the layer, a dotted name, has, from one pass of a black image."""
    with frozen_eval(network.model), torch.no_grad():
        return layer_maps(network, layer, torch.zeros(1, len(network.mean), *network.input_size)).shape[1]


def as_maps(module: nn.Module, output: Tensor, *, layer: str, image_size: Sequence[int]) -> Float[Tensor, "N K h w"]:
    """A module's output as maps (N, K, h, w): vectors become maps of one number, and channels come first.

    Where channels stand is known of PyTorch's own layers; of others, such as blocks and activations of networks that
    keep channels last, it is read from the sides: those that an image of `image_size` (H, W) halved, quartered and
    so on has are the map's. Raises UsageError for what is neither maps nor vectors.
    """
    if output.ndim not in (2, 4):
        raise UsageError(f'layer "{layer}" gives {tuple(output.shape)}; allowed: (N, C, H, W) or (N, C)')
    if output.ndim == 2:
        return output[:, :, None, None]
    if isinstance(module, CHANNELS_FIRST) or "2d" in type(module).__name__:
        return output
    if isinstance(module, (nn.Linear, nn.LayerNorm)):
        return output.movedim(-1, 1)
    first, last = (_is_reduced(sides, image_size) for sides in (output.shape[2:], output.shape[1:3]))
    return output.movedim(-1, 1) if last and not first else output


def _is_reduced(sides: Sequence[int], image_size: Sequence[int]) -> bool:
    """Whether both sides are an image's, divided by the same whole number."""
    divisors = range(1, max(image_size) + 1)
    return any(
        all(side in (size // divisor, -(-size // divisor)) for side, size in zip(sides, image_size, strict=True))
        for divisor in divisors
    )


def check_finite(maps: Float[Tensor, "N K h w"], *, layer: str) -> None:
    """Raise NumericsError, naming the first channel, where maps hold a value that is not finite."""
    if not bool(torch.isfinite(maps).all()):
        finite = torch.isfinite(maps).flatten(2).all(2).all(0)  # (K,)
        channel = int(np.flatnonzero(~finite.cpu().numpy())[0])
        raise NumericsError(f'layer "{layer}" gives values that are not finite in channel {channel}')


def batch_limit(image_size: Sequence[int]) -> int:
    """How many images of (H, W) pass a network at once with their gradients: 512 of 32×32, fewer of larger ones.

    >>> batch_limit((32, 32)), batch_limit((224, 224))
    (512, 10)
    """
    return max(1, min(512, 512 * 32 * 32 // (image_size[0] * image_size[1])))


def spread_evenly(total: int, count: int) -> Int64[Tensor, " N"]:
    """Numbers of at most `count` of `total` images, evenly spaced, so that every class is among them as often.

    >>> spread_evenly(10, 4).tolist(), spread_evenly(2, 4).tolist()
    ([0, 3, 6, 9], [0, 1])
    """
    return torch.from_numpy(np.linspace(0, total - 1, min(count, total)).round().astype(np.int64))


def as_rgb(images: Float[Tensor, "N C H W"]) -> Float[np.ndarray, "N 3 H W"]:
    """Images of any number of channels as colours: grey ones three times, of more than three the first three.

    Of two channels the third colour is zero.
    """
    pixels: np.ndarray[Any, Any] = images.detach().float().cpu().numpy()
    if pixels.shape[1] == 1:
        return pixels.repeat(3, axis=1)
    if pixels.shape[1] == 2:
        return np.concatenate([pixels, np.zeros_like(pixels[:, :1])], axis=1)
    return pixels[:, :3]


def signed_limits(values: Float[np.ndarray, "N C H W"]) -> Float[np.ndarray, "N 2"]:
    """For each tile limits around zero that all but the largest 0.5 % of its sizes lie within.

    >>> signed_limits(np.array([[[[-2.0, 2.0]]]])).tolist()
    [[-2.0, 2.0]]
    """
    sizes = np.abs(values).reshape(len(values), -1)
    highs = np.maximum(np.quantile(sizes, 0.995, axis=1), 1e-30)  # a few pixels must not grey all others
    return np.stack([-highs, highs], axis=1).astype(np.float32)


def slug(layer: str, channel: Channels = None) -> str:
    """A layer's name as part of a file name, with the one channel or class that is shown of it.

    >>> slug("layer1.0.conv1", 3), slug("fc", "cat/dog"), slug("fc", [1, 2])
    ('layer1-0-conv1-3', 'fc-cat-dog', 'fc')
    """
    named = f"{layer}-{channel}" if isinstance(channel, (int, str)) else layer
    return named.replace(".", "-").replace("/", "-")
