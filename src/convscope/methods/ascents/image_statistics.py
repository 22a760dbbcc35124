"""The colours and frequencies of a dataset's images, which a canvas starts from and is scaled by."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from convscope.errors import UsageError
from convscope.methods.needs import spread_evenly
from convscope.types import Dataset, Network

IMAGES = 2000  # looked at, at most: their mean spectrum is smooth long before
BATCH = 100
FLOOR = 0.01  # of a spectrum whose mean square is one, and of the widest colour direction: so that both can be undone
CORRELATION = 0.9  # of red, green and blue, where no dataset says more; in photographs it is about that


@dataclass(frozen=True)
class ImageStatistics:
    """What the images of a dataset have in common: mean colour, how colours vary together, and frequencies."""

    mean: Tensor  # (C,) in [0, 1]
    colours: Tensor  # (C, C): independent planes of unit variance, times this, have the images' colour covariance
    spectrum: Tensor  # (C, H, W // 2 + 1): mean amplitude of each plane's rfft2; its mean square over (H, W) is 1
    size: tuple[int, int]  # (H, W)

    def resized(self, size: tuple[int, int]) -> ImageStatistics:
        """The same for images (H, W) of another size whose pixels are as large: each frequency keeps its share."""
        if size == self.size:
            return self
        rows = torch.fft.fftshift(self.spectrum, dim=1)
        if self.size[0] % 2 == 0:
            rows = torch.cat([rows, rows[:, :1]], dim=1)  # the frequency -1/2 is also 1/2
        places = [
            _place(torch.fft.fftfreq(size[0]), -(self.size[0] // 2) / self.size[0], rows.shape[1], self.size[0]),
            _place(torch.fft.rfftfreq(size[1]), 0.0, rows.shape[2], self.size[1]),
        ]
        grid = torch.stack(torch.meshgrid(places[1], places[0], indexing="xy"), dim=-1)  # (H, W // 2 + 1, 2)
        spectrum = F.grid_sample(rows[None], grid[None], padding_mode="border", align_corners=True)[0]
        return replace(self, spectrum=_scaled(spectrum, size), size=size)


def dataset_statistics(dataset: Dataset, *, most: int = IMAGES) -> ImageStatistics:
    """The statistics of up to `most` training images, evenly spaced over the dataset.

    Colours are decorrelated as in Olah et al. 2017 (doi:10.23915/distill.00007), by a root of their covariance;
    the spectrum is the mean amplitude of each decorrelated plane (Fel et al. 2023, arXiv:2306.06805, section 4).
    """
    count, channels, height, width = dataset.train.images.shape
    chosen = spread_evenly(count, most)
    total, products = torch.zeros(channels), torch.zeros(channels, channels)
    for batch in dataset.train.images.batches(chosen.split(BATCH)):
        pixels = batch.float() / 255  # (N, C, H, W)
        total += pixels.mean((2, 3)).sum(0)
        products += torch.einsum("nchw,ndhw->cd", pixels, pixels) / (height * width)
    mean = total / len(chosen)
    colours = _root(products / len(chosen) - torch.outer(mean, mean))
    inverse = torch.linalg.inv(colours)
    spectrum = torch.zeros(channels, height, width // 2 + 1)
    for batch in dataset.train.images.batches(chosen.split(BATCH)):
        planes = torch.einsum("cd,ndhw->nchw", inverse, batch.float() / 255 - mean[:, None, None])
        spectrum += torch.fft.rfft2(planes, norm="ortho").abs().sum(0)
    return ImageStatistics(mean, colours, _scaled(spectrum, (height, width)), (height, width))


def assumed_statistics(network: Network) -> ImageStatistics:
    """Without a dataset: the network's own mean and deviation, and amplitudes that fall with the frequency.

    Red, green and blue are taken to vary together, as in photographs; any other number of channels are not.

    >>> from torch import nn
    >>> network = Network(nn.Conv2d(1, 2, 3), (0.5,), (0.25,), (8, 8), ("a", "b"), "grey")
    >>> assumed_statistics(network).colours.tolist()
    [[0.25]]
    """
    height, width = network.input_size
    mean, std = torch.tensor(network.mean), torch.tensor(network.std)
    correlation = torch.full((3, 3), CORRELATION) if len(mean) == 3 else torch.zeros(len(mean), len(mean))
    correlation.fill_diagonal_(1)
    frequency = torch.hypot(torch.fft.fftfreq(height)[:, None], torch.fft.rfftfreq(width)[None])
    spectrum = 1 / frequency.clamp(min=1 / max(height, width))
    planes = spectrum.expand(len(mean), -1, -1)
    colours = _root(torch.outer(std, std) * correlation)
    return ImageStatistics(mean, colours, _scaled(planes, (height, width)), (height, width))


def statistics_for(network: Network, dataset: Dataset | None) -> ImageStatistics:
    """The dataset's statistics, or without one what is assumed for the network.

    Raises UsageError for a dataset whose images have other channels than the network takes.
    """
    if dataset is None:
        return assumed_statistics(network)
    if (came := dataset.train.images.shape[1]) != len(network.mean):
        raise UsageError(f"{dataset.name} has images of {came} channels; {network.name} takes {len(network.mean)}")
    return dataset_statistics(dataset)


def _root(covariance: Float[Tensor, "C C"]) -> Float[Tensor, "C C"]:
    """A matrix whose product with its own transpose is the covariance; its columns are the colour directions."""
    variances, directions = torch.linalg.eigh(covariance)
    deviations = variances.clamp(min=0).sqrt()
    return directions * deviations.clamp(min=max(1e-4, FLOOR * deviations.max().item()))


def _scaled(spectrum: Float[Tensor, "C H half"], size: tuple[int, int]) -> Float[Tensor, "C H half"]:
    """The spectrum of planes of unit variance, nowhere zero."""
    width = size[1]
    times = torch.full((width // 2 + 1,), 2.0)  # how often each column stands in the whole spectrum
    times[0] = 1
    if width % 2 == 0:
        times[-1] = 1
    power = (spectrum.square() * times).sum((1, 2), keepdim=True) / (size[0] * width)
    return (spectrum / power.sqrt().clamp(min=1e-12)).clamp(min=FLOOR)


def _place(frequencies: Tensor, first: float, count: int, period: int) -> Tensor:
    """Where frequencies lie on an axis of `count` of them, 1 / period apart from `first` on, in [-1, 1]."""
    return (frequencies - first) * period / max(1, count - 1) * 2 - 1
