"""Which channel of one network does what which channel of another does: matched by what they answer to."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float64
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from convscope.hooks import frozen_eval, resolve_layer
from convscope.methods.needs import batch_limit, layer_maps, spread_evenly
from convscope.types import Dataset, Network, Progress, no_progress

PARTNER = 0.5  # the correlation from which two channels are called partners
STILL = 1e-6  # a channel that varies by less, as a share of its size, is dead: the rest is rounding


class ChannelMatch(NamedTuple):
    """The partners among two layers' channels, the most alike first, and who has none."""

    pairs: list[tuple[int, int]]  # a channel of the first layer and its partner in the other
    correlations: list[float]  # of each pair, from PARTNER to 1
    alone: list[int]  # channels of the first layer without a partner, the dead ones last
    others_alone: list[int]  # and of the other
    dead: list[int]
    others_dead: list[int]


def match_channels(correlations: Float64[np.ndarray, "K L"]) -> ChannelMatch:
    """The one-to-one assignment of channels whose correlations sum to the most (Kuhn 1955, "Hungarian").

    As in Li et al. 2016 (arXiv:1511.07543). A row or column of zeros is a dead channel and takes no part; a pair
    that the assignment leaves with a correlation below PARTNER is none.

    >>> match = match_channels(np.array([[0.1, 0.9, 0.0], [0.8, 0.7, 0.0], [0.2, 0.3, 0.0]]))
    >>> match.pairs, match.alone, match.others_alone, match.others_dead
    ([(0, 1), (1, 0)], [2], [2], [2])
    """
    rows, columns = (np.flatnonzero(correlations.any(axis=axis)) for axis in (1, 0))
    live = correlations[np.ix_(rows, columns)]
    found = zip(*linear_sum_assignment(live, maximize=True), strict=True)
    ranked = sorted(((-float(live[a, b]), int(rows[a]), int(columns[b])) for a, b in found))
    partners = [(first, other, -value) for value, first, other in ranked if -value >= PARTNER]
    taken, others_taken = {first for first, _, _ in partners}, {other for _, other, _ in partners}
    dead, others_dead = (
        sorted(set(range(count)) - set(alive.tolist()))
        for count, alive in zip(correlations.shape, (rows, columns), strict=True)
    )
    return ChannelMatch(
        [(first, other) for first, other, _ in partners],
        [value for _, _, value in partners],
        [each for each in rows.tolist() if each not in taken] + dead,
        [each for each in columns.tolist() if each not in others_taken] + others_dead,
        dead,
        others_dead,
    )


def channel_correlations(
    network: Network,
    other: Network,
    layer: str,
    other_layer: str,
    dataset: Dataset,
    *,
    count: int = 1000,
    progress: Progress = no_progress,
) -> Float64[np.ndarray, "K L"]:
    """Pearson's correlation of each channel of `layer` with each of the other network's `other_layer`.

    Over all positions of `count` test images, evenly spaced, or of all, which both networks are shown; where the maps
    differ in size, the finer are averaged to the coarser. Zero for a channel that gives the same everywhere. What is
    held does not grow with the images: sums are kept in float64.

    Raises UsageError for a layer that is unknown, does not run or gives no maps, and NumericsError for values that
    are not finite.

    >>> from convscope.data import load_dataset
    >>> from torch import nn
    >>> network = Network(nn.Sequential(nn.Conv2d(3, 4, 3)), (0.5,) * 3, (0.5,) * 3, (32, 32), (), "tiny")
    >>> dataset = load_dataset("digits")
    >>> channel_correlations(network, network, "0", "0", dataset, count=9).diagonal().round(6).tolist()
    [1.0, 1.0, 1.0, 1.0]
    """
    sides = [
        (each, resolve_layer(each.model, name, model_name=each.name))
        for each, name in ((network, layer), (other, other_layer))
    ]
    images, chosen = dataset.test.images, spread_evenly(len(dataset.test.labels), count)
    sums = _Sums()
    with frozen_eval(network.model), frozen_eval(other.model), torch.inference_mode():
        for pixels in images.batches(chosen.split(max(1, batch_limit(images.shape[2:]) // 4))):
            progress("channels", sums.images, len(chosen))
            maps = [layer_maps(each, name, pixels.float() / 255).float() for each, name in sides]
            size = tuple(min(pair) for pair in zip(*(each.shape[2:] for each in maps), strict=True))
            first, second = (F.adaptive_avg_pool2d(each, size).movedim(1, 3).flatten(0, 2) for each in maps)
            sums.add(first.double().cpu(), second.double().cpu(), images=len(pixels))
    progress("channels", len(chosen), len(chosen))
    return sums.correlations()


class _Sums:
    """Sums over positions of two layers' channels, of their squares and of their products."""

    def __init__(self) -> None:
        self.images = self.positions = 0

    def add(self, first: Float64[Tensor, "P K"], second: Float64[Tensor, "P L"], *, images: int) -> None:
        """Count in the next images' positions."""
        if not self.positions:
            self.shifts = first.mean(0), second.mean(0)  # near the mean, so that no digits are lost in the squares
            self.sums = [torch.zeros_like(shift) for shift in self.shifts]
            self.squares = [torch.zeros_like(shift) for shift in self.shifts]
            self.products = first.new_zeros(first.shape[1], second.shape[1])
        shifted = [values - shift for values, shift in zip((first, second), self.shifts, strict=True)]
        for side, values in enumerate(shifted):
            self.sums[side] += values.sum(0)
            self.squares[side] += values.square().sum(0)
        self.products.addmm_(shifted[0].T, shifted[1])
        self.positions += len(first)
        self.images += images

    def correlations(self) -> Float64[np.ndarray, "K L"]:
        """Of each pair of channels; zero where one of them is dead."""
        means = [total / self.positions for total in self.sums]
        scales: list[Tensor] = []
        for mean, squares, shift in zip(means, self.squares, self.shifts, strict=True):
            variance = (squares / self.positions - mean.square()).clamp(min=0)
            size = variance + (mean + shift).square()
            scales.append(torch.where(variance > STILL**2 * size, variance.rsqrt(), 0.0))
        covariance = self.products / self.positions - torch.outer(*means)
        return (covariance * torch.outer(*scales)).clamp(-1, 1).numpy()
