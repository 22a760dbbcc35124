"""An image with more of what a layer already sees in it: DeepDream, over several sizes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from convscope.errors import UsageError
from convscope.hooks import frozen_eval, like_model, resolve_layer
from convscope.methods.ascents.canvas import generator
from convscope.methods.ascents.image_statistics import assumed_statistics
from convscope.methods.needs import Channels, as_rgb, check_at_least, choose_channels, layer_maps, one_image, slug
from convscope.paint import image_picture
from convscope.types import Network, Picture, Progress, no_progress

SMALL = 128  # pixels of the longer side: images below it are enlarged, larger ones keep their size
LARGEST = 2048  # pixels of the longer side, unless the image itself is larger
LEAST = 8  # pixels of the shorter side of an octave
COARSEST = 20  # pixels: waves longer than that are driven no more than this one, so that the light stays as it was
JITTER = 8  # an image is moved by up to this part of its sides, so that nothing sticks to the layer's grid
STEP = 0.1  # of the way that a dream may go in all


class _Dreamt(NamedTuple):
    """Where a dream got to: the last octave's image, and the image it came from at that size."""

    image: Tensor  # (1, C, H, W)
    start: Tensor  # (1, C, H, W)
    interrupted: bool


def dream(
    network: Network,
    layer: str,
    image: Tensor,
    channel: Channels = None,
    *,
    octaves: int = 4,
    octave_scale: float = 1.4,
    steps: int = 10,
    strength: float = 0.1,
    seed: int = 0,
    progress: Progress = no_progress,
) -> Picture:
    """The image, changed so that a layer answers more strongly to it: DeepDream.

    `image` is (C, H, W) float in [0, 1]. The tiles are the image and the dream, in the size of the largest octave.
    An image of 128 pixels or more ends at its own size, after smaller octaves; a smaller one begins at its own
    and is enlarged. Without `channel` the mean square of what the layer gives is raised, else the mean of the
    channels before their ReLU, so that a silent one can be woken.

    In each octave the image climbs the gradient, whose frequencies and colours are weighted as in photographs and
    whose length is set, while the image is shifted by up to an eighth of its sides. What was added is carried,
    enlarged, to the next octave, and is never more than `strength`, so that the image stays to be recognised. A
    network that takes only one size dreams in one octave, and the caption says so. Ctrl-C gives the dream so far.

    Raises UsageError for an unknown layer, channel or knob, an image of another shape or range, and octaves that
    enlarge it beyond 2048 pixels a side. After Mordvintsev et al. 2015 (Inceptionism: going deeper into neural
    networks).

    Parameters
    ----------
    octaves
        Sizes that the image is dreamt at.
    octave_scale
        Each size over the one before.
    steps
        Steps of gradient ascent in each octave.
    strength
        How far the dream may go from the image: the root mean square, of a range from 0 to 1.
    seed
        Decides how the image is moved about.

    >>> from torch import nn
    >>> model = nn.Sequential(nn.Conv2d(3, 8, 5), nn.ReLU())
    >>> network = Network(model, (0.5,) * 3, (0.25,) * 3, (16, 16), ("a", "b"), "tiny")
    >>> picture = dream(network, "1", torch.rand(3, 16, 16), octaves=2, steps=2)
    >>> picture.values.shape, picture.numbers["octave_sizes"]
    ((2, 3, 22, 22), [[16, 16], [22, 22]])
    """
    name = resolve_layer(network.model, layer, model_name=network.name)
    original = one_image(network, image).float()
    original = original.to(like_model(network.model, original).device)
    check_at_least(1, octaves=octaves, steps=steps)
    check_at_least(1.1, octave_scale=octave_scale)
    check_at_least(0, strength=strength, seed=seed)
    with frozen_eval(network.model):
        with torch.no_grad():
            available = layer_maps(network, name, original).shape[1]
        chosen = (
            None
            if channel is None
            else choose_channels(channel, available, layer=layer, class_names=network.class_names)
        )
        own = (original.shape[2], original.shape[3])
        _check_largest(own, octaves=octaves, scale=octave_scale)
        wanted = octave_sizes(own, octaves=octaves, scale=octave_scale)
        sizes = [size for size in wanted if size == own or _takes(network, name, original, size)]
        dreamt = _dream(
            network, name, original, chosen, sizes, steps=steps, strength=strength, seed=seed, progress=progress
        )
        with torch.no_grad():
            before, after = (objective(network, name, each, chosen).item() for each in (dreamt.start, dreamt.image))
    numbers = {
        "activation_before": before,
        "activation_after": after,
        "change": (dreamt.image - dreamt.start).square().mean().sqrt().item(),
        "octave_sizes": [list(size) for size in sizes],
        **({"interrupted": True} if dreamt.interrupted else {}),
    }
    picture = image_picture(
        f"dream-{slug(layer, channel)}",
        f"What {_whose(channel)}{layer} sees in the image, made stronger",
        as_rgb(torch.cat([dreamt.start, dreamt.image])),
        captions=("image", f"dream\n{before:.3g} → {after:.3g}"),
        caption=_reading(chosen, one_size=sizes == [own] and wanted != [own]),
        provenance={
            "Method": "dream",
            "Network": network.name,
            "Layer": name,
            "Steps": str(steps),
            "Seed": str(seed),
        },
    )
    return replace(picture, numbers=numbers)


def octave_sizes(size: tuple[int, int], *, octaves: int, scale: float) -> list[tuple[int, int]]:
    """The sizes (H, W) to dream at, ascending: up from a small image's own, or up to a larger image's own.

    Octaves whose shorter side would be below 8 pixels are left out, but never the image's own.

    >>> octave_sizes((32, 32), octaves=3, scale=1.5), octave_sizes((180, 240), octaves=2, scale=1.5)
    ([(32, 32), (48, 48), (72, 72)], [(120, 160), (180, 240)])
    """
    first = 0 if max(size) < SMALL else 1 - octaves
    powers = [scale**power for power in range(first, first + octaves)]
    sizes = [(round(size[0] * power), round(size[1] * power)) for power in powers]
    return [each for each in sizes if each == size or min(each) >= LEAST]


def objective(
    network: Network, layer: str, images: Float[Tensor, "1 C H W"], chosen: Sequence[int] | None
) -> Float[Tensor, ""]:
    """What a dream raises: the mean square of the layer's maps, or the mean of some before their ReLU."""
    if chosen is None:
        return layer_maps(network, layer, images).square().mean()
    return layer_maps(network, layer, images, before_relu=True)[:, list(chosen)].mean()


def _dream(
    network: Network,
    layer: str,
    original: Float[Tensor, "1 C H W"],
    chosen: Sequence[int] | None,
    sizes: Sequence[tuple[int, int]],
    *,
    steps: int,
    strength: float,
    seed: int,
    progress: Progress,
) -> _Dreamt:
    """The dream over the octaves, or over as many as there were before an interruption."""
    random, done = generator((seed,)), 0
    directions = assumed_statistics(network).colours
    colours = (directions / directions.norm(dim=0) @ directions.T).to(original)  # deviations along each direction
    added, interrupted = torch.zeros_like(original), False
    try:
        for size in sizes:
            start = _resize(original, size).clamp(0, 1)
            image = (start + _resize(added, size)).clamp(0, 1)
            reach = [side // JITTER for side in size]
            for _ in range(steps):
                shifts = [int(torch.randint(-most, most + 1, (), generator=random)) for most in reach]
                image = climb(network, layer, image, chosen, step=strength * STEP, shifts=shifts, colours=colours)
                added = _within(image - start, strength)
                image = start + added
                done += 1
                progress(f"dreaming {layer}", done, steps * len(sizes))
    except KeyboardInterrupt:
        interrupted = True
    start = _resize(original, sizes[-1]).clamp(0, 1)
    return _Dreamt((start + _resize(added, sizes[-1])).clamp(0, 1), start, interrupted)


def climb(
    network: Network,
    layer: str,
    image: Float[Tensor, "1 C H W"],
    chosen: Sequence[int] | None,
    *,
    step: float,
    shifts: Sequence[int],
    colours: Float[Tensor, "C C"],
) -> Float[Tensor, "1 C H W"]:
    """The image after one step, of root mean square `step`, along the gradient of the image moved by `shifts`.

    The gradient's colours are weighted by `colours`, and its frequencies as they stand in photographs, down to a
    wave of 20 pixels; its mean is left out. Where the gradient is zero the image stays.
    """
    leaf = image.detach().requires_grad_()
    with torch.enable_grad():
        moved = torch.roll(leaf, tuple(shifts), dims=(2, 3))
        (gradient,) = torch.autograd.grad(objective(network, layer, moved, chosen), leaf)
    size = (image.shape[2], image.shape[3])
    coloured = torch.einsum("cd,ndhw->nchw", colours, gradient)
    smooth = torch.fft.irfft2(torch.fft.rfft2(coloured) * _damping(size).to(image), s=size)
    length = smooth.square().mean().sqrt()
    return (image + step * smooth / length.clamp(min=torch.finfo(length.dtype).tiny)).clamp(0, 1)


def _damping(size: tuple[int, int]) -> Float[Tensor, "H half"]:
    """The weight of each frequency: what it is in photographs, whose amplitudes fall as one over the frequency."""
    frequency = torch.hypot(torch.fft.fftfreq(size[0])[:, None], torch.fft.rfftfreq(size[1])[None])
    weights = 1 / frequency.clamp(min=1 / COARSEST)
    weights[0, 0] = 0
    return weights


def _within(added: Float[Tensor, "1 C H W"], most: float) -> Float[Tensor, "1 C H W"]:
    """What was added, with a root mean square of at most that."""
    return added * min(1.0, most / max(added.square().mean().sqrt().item(), 1e-12))


def _takes(network: Network, layer: str, original: Float[Tensor, "1 C H W"], size: tuple[int, int]) -> bool:
    """Whether the network takes images of that size, up to the layer."""
    try:
        with torch.no_grad():
            layer_maps(network, layer, _resize(original, size))
    except torch.OutOfMemoryError:
        raise
    except (RuntimeError, ValueError, AssertionError):  # as models refuse a size
        return False
    return True


def _resize(images: Float[Tensor, "1 C H W"], size: tuple[int, int]) -> Float[Tensor, "1 C h w"]:
    """The images in another size."""
    return F.interpolate(images, size, mode="bicubic", antialias=True, align_corners=False)


def _check_largest(size: tuple[int, int], *, octaves: int, scale: float) -> None:
    """Raise UsageError where a small image would be enlarged too far."""
    if max(size) >= SMALL:
        return
    try:
        side = max(size) * scale ** (octaves - 1)
    except OverflowError:
        side = math.inf
    if not side <= LARGEST:
        raise UsageError(
            f"octaves {octaves} with octave_scale {scale:g} end at {side:.4g} pixels a side; allowed: up to "
            f"{LARGEST}, so fewer octaves or a smaller octave_scale"
        )


def _whose(channel: Channels) -> str:
    """Whose answer is made stronger, in words."""
    return "" if channel is None else f"channel {channel} of " if isinstance(channel, int) else "channels of "


def _reading(chosen: Sequence[int] | None, *, one_size: bool) -> str:
    """How to read the picture, and what not to conclude."""
    what = "the layer answers" if chosen is None else "the chosen channels answer"
    size = (
        "The network takes images of one size only, so there is one octave, without coarser or finer patterns. "
        if one_size
        else ""
    )
    return (
        f"Beside the image the dream: the image, changed step by step so that {what} more strongly. What appears "
        f"is what the network tends to see, put where the image gave an excuse for it. {size}It is an exaggeration: "
        "the patterns are not in the image, and they say nothing of what the network would decide."
    )
