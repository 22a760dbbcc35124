"""Images as something to climb on: a few tensors that an optimizer moves, and the images that they make."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from convscope.errors import UsageError
from convscope.methods.ascents.image_statistics import ImageStatistics

Parameterization = Literal["pixel", "fourier", "maco"]
PARAMETERIZATIONS: tuple[Parameterization, ...] = ("fourier", "maco", "pixel")

PIXEL_NOISE = 15 / 255  # each way from the mean colour
CONTRAST = 0.1  # of a fourier start, in units of the dataset's own
EDGE = 1 / 512  # how far from black and white a given image is kept: half the distance of two bytes


class Canvas(NamedTuple):
    """A batch of images in the making; moving `parameters` changes what `images()` gives."""

    parameters: list[Tensor]  # leaves that require gradients, the first axis the images
    images: Callable[[], Tensor]  # () -> (N, C, H, W) in [0, 1], differentiable


def random_canvas(
    parameterization: Parameterization,
    keys: Sequence[tuple[int, ...]],
    size: tuple[int, int],
    statistics: ImageStatistics,
    *,
    device: torch.device | None = None,
) -> Canvas:
    """A canvas (N, C, H, W) for each key, whose random start depends on nothing but the key, such as (seed, channel).

    "pixel": every pixel for itself, from the dataset's mean colour with a little noise, as in Simonyan et al.
    2013 (arXiv:1312.6034). "fourier": frequencies scaled by the dataset's spectrum, and decorrelated colours (Olah
    et al. 2017, doi:10.23915/distill.00007). "maco": the phases only; the amplitudes are the dataset's (Fel et al.
    2023, arXiv:2306.06805, section 4), of which the mean colour may fall short. Raises UsageError for any other.

    >>> statistics = ImageStatistics(torch.full((3,), 0.5), torch.eye(3) / 4, torch.ones(3, 8, 5), (8, 8))
    >>> canvas = random_canvas("maco", [(0, 7), (0, 8)], (8, 12), statistics)
    >>> canvas.images().shape, len(canvas.parameters)
    (torch.Size([2, 3, 8, 12]), 1)
    """
    check_parameterization(parameterization)
    planes = torch.stack([noise(key, (len(statistics.mean), *size)) for key in keys]).to(device)  # (N, C, H, W)
    if parameterization == "pixel":
        uniform = torch.special.erf(planes / 2**0.5)  # in [-1, 1]
        return _pixel(uniform * PIXEL_NOISE, statistics)
    coefficients = torch.fft.rfft2(planes, norm="ortho")
    if parameterization == "maco":
        return _maco(coefficients.angle(), size, statistics)
    return _fourier(coefficients * CONTRAST, size, statistics)


def random_images(
    statistics: ImageStatistics, size: tuple[int, int], count: int, *, seed: int, device: torch.device | None = None
) -> Float[Tensor, "N C H W"]:
    """Images (N, C, H, W) in [0, 1] drawn at random, with a dataset's colours, frequencies and contrast.

    >>> statistics = ImageStatistics(torch.full((3,), 0.5), torch.eye(3) / 4, torch.ones(3, 8, 5), (8, 8))
    >>> random_images(statistics, (8, 8), 2, seed=0).shape
    torch.Size([2, 3, 8, 8])
    """
    canvas = random_canvas("fourier", [(seed, 1 + each) for each in range(count)], size, statistics, device=device)
    with torch.no_grad():
        canvas.parameters[0].div_(CONTRAST)
        return canvas.images()


def canvas_from(
    parameterization: Literal["pixel", "fourier"], images: Float[Tensor, "N C H W"], statistics: ImageStatistics
) -> Canvas:
    """A canvas that starts as the given images (N, C, H, W) in [0, 1], on their device.

    Black and white are approached to half a byte, since no finite parameter makes them. Raises UsageError for
    any other parameterization.

    >>> statistics = ImageStatistics(torch.full((3,), 0.5), torch.eye(3) / 4, torch.ones(3, 8, 5), (8, 8))
    >>> images = torch.rand(2, 3, 9, 7)
    >>> bool((canvas_from("fourier", images, statistics).images() - images).abs().max() < 0.003)
    True
    """
    if parameterization not in ("pixel", "fourier"):
        raise UsageError(f'no "{parameterization}" of a given image; allowed: fourier, pixel')
    values = _unsquash(images.detach().float(), statistics.mean.to(images.device))
    if parameterization == "pixel":
        return _pixel(values, statistics)
    size = (images.shape[2], images.shape[3])
    inverse = torch.linalg.inv(statistics.colours).to(images.device)
    planes = torch.einsum("cd,ndhw->nchw", inverse, values)
    spectrum = statistics.resized(size).spectrum.to(images.device)
    return _fourier(torch.fft.rfft2(planes, norm="ortho") / spectrum, size, statistics)


def check_parameterization(name: str) -> None:
    """Raise UsageError for a name that is not a parameterization's."""
    if name not in PARAMETERIZATIONS:
        raise UsageError(f'no parameterization "{name}"; allowed: {", ".join(PARAMETERIZATIONS)}')


def noise(key: tuple[int, ...], shape: tuple[int, ...]) -> Tensor:
    """Standard normal noise of a shape, a pure function of the key: whole numbers from zero up.

    >>> bool((noise((0, 3), (4,)) == noise((0, 3), (4,))).all())
    True
    """
    return torch.randn(shape, generator=generator(key))


def generator(key: tuple[int, ...]) -> torch.Generator:
    """A random generator in main memory that depends on nothing but the key.

    >>> generator((0, 1)).initial_seed() == generator((1, 0)).initial_seed()
    False
    """
    state = np.random.SeedSequence(key).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(state[0]) >> 1)


def _pixel(values: Float[Tensor, "N C H W"], statistics: ImageStatistics) -> Canvas:
    """Values in units of a pixel, as distances from the mean colour."""
    mean = statistics.mean.to(values.device)
    leaf = values.clone().requires_grad_()
    return Canvas([leaf], lambda: _squash(leaf, mean))


def _fourier(coefficients: Tensor, size: tuple[int, int], statistics: ImageStatistics) -> Canvas:
    """Coefficients (N, C, H, W // 2 + 1) of decorrelated planes, in units of the dataset's amplitudes."""
    leaf = torch.view_as_real(coefficients).clone().requires_grad_()  # (N, C, H, W // 2 + 1, 2)
    spectrum = statistics.resized(size).spectrum.to(leaf.device)
    return Canvas([leaf], lambda: _coloured(torch.view_as_complex(leaf) * spectrum, size, statistics))


def _maco(angles: Float[Tensor, "N C H half"], size: tuple[int, int], statistics: ImageStatistics) -> Canvas:
    """Phases that turn away from their start, with the dataset's amplitudes.

    The columns that hold a frequency and its negative are turned antisymmetrically, as a real image's are: else
    half of their amplitude would be lost. What is real by itself, such as the mean, shrinks when it is turned.
    """
    start = angles.clone()
    leaf = torch.zeros_like(start).requires_grad_()
    spectrum = statistics.resized(size).spectrum.to(leaf.device)
    paired = torch.zeros(start.shape[-1], dtype=torch.bool, device=leaf.device)
    paired[0] = True
    paired[-1] = size[1] % 2 == 0
    rows = torch.arange(size[0], device=leaf.device)
    alone = (rows == (-rows) % size[0])[:, None]  # (H, 1): a row that is its own negative

    def images() -> Tensor:
        turned = torch.where(paired & ~alone, leaf - leaf[:, :, (-rows) % size[0]], leaf)
        return _coloured(torch.polar(spectrum.expand_as(turned), start + turned), size, statistics)

    return Canvas([leaf], images)


def _coloured(frequencies: Tensor, size: tuple[int, int], statistics: ImageStatistics) -> Float[Tensor, "N C H W"]:
    """The images whose decorrelated planes have these frequencies."""
    planes = torch.fft.irfft2(frequencies, s=size, norm="ortho")
    values = torch.einsum("cd,ndhw->nchw", statistics.colours.to(planes.device), planes)
    return _squash(values, statistics.mean.to(planes.device))


def _squash(values: Float[Tensor, "N C H W"], mean: Float[Tensor, " C"]) -> Float[Tensor, "N C H W"]:
    """Any values into (0, 1): zero becomes the mean, and near it a step of the values is a step of the pixel."""
    centre = _inner(mean)[:, None, None]
    return torch.sigmoid(torch.logit(centre) + values / (centre * (1 - centre)))


def _unsquash(images: Float[Tensor, "N C H W"], mean: Float[Tensor, " C"]) -> Float[Tensor, "N C H W"]:
    """What `_squash` makes the images of."""
    centre = _inner(mean)[:, None, None]
    return (torch.logit(images.clamp(EDGE, 1 - EDGE)) - torch.logit(centre)) * (centre * (1 - centre))


def _inner(mean: Float[Tensor, " C"]) -> Float[Tensor, " C"]:
    """The mean, away from black and white, where the steps would vanish."""
    return mean.clamp(0.1, 0.9)
