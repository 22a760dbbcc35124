"""What is counted of one layer while the images stream by: everything in it stays the same size."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float, Int64
from numpy.typing import NDArray
from torch import Tensor

from convscope.errors import NumericsError
from convscope.ranks import Ranks

BINS = 32
WATCHED = 4096  # most images, evenly spaced, for what a sample tells as well: means, zeros, twins
SAMPLED = 1024  # most images, evenly spaced, whose maxima are kept for the histogram
COMPARED = 512  # most images, evenly spaced, whose maps are compared position by position
DRAWN = 8192  # positions, of all those images together, at which they are
NEGLIGIBLE = 1e-6  # the share of a channel's variance below which it is rounding, or as good as none
MOST_COMPARED = 4096  # channels; beyond, comparing each with each takes more memory than all the rest
PART = 2**18  # values reduced at a time: as many as a core's cache holds, and no fewer while more are to come


@dataclass(frozen=True, eq=False)
class LayerSurvey:
    """What each of a layer's K channels did over a whole split of N images, in evaluation mode.

    Values are what the layer itself gives. Its activity is the part above zero, as a ReLU after it would pass it.
    Means, shares of zeros and what is said of classes are of all images up to `WATCHED`, and beyond of evenly
    spaced ones: at most that many and more than half of it. Histograms likewise up to `SAMPLED`; everything else is
    of all images. Twins are alike in the means of the watched images, and at positions drawn from up to `COMPARED`
    images both as they are and less their image's mean: channels that only follow the brightness of whole images
    are no twins.
    """

    values: NDArray[np.float32]  # (K, count): the highest per-image maxima, descending; ties: the earlier image first
    images: NDArray[np.int64]  # (K, count): the images that they are of
    positions: NDArray[np.int64]  # (K, count, 2): the rows and columns where, the first of equal ones
    means: NDArray[np.float64]  # (K,): over images and positions
    shares_of_zeros: NDArray[np.float64]  # (K,): the share of images and positions not above zero
    class_means: NDArray[np.float64]  # (classes, K): the mean activity over each class's images and all positions
    selectivity: NDArray[np.float64]  # (K,) in [0, 1]
    selective_class: NDArray[np.int64]  # (K,): the class of the highest mean activity
    histogram: NDArray[np.int64]  # (K, BINS): how many of the sampled images have their maximum in each bin
    histogram_range: NDArray[np.float64]  # (K, 2): where the equal bins begin and end
    dead: NDArray[np.bool_]  # (K,): the same value everywhere; after a ReLU, never above zero
    twins: NDArray[np.int64]  # (K,): the channel most like it; -1 where there is none
    likeness: NDArray[np.float64]  # (K,): the least of the three correlations with that channel
    map_size: NDArray[np.int64]  # (2,): height and width of a map

    @property
    def maxima(self) -> NDArray[np.float32]:
        """(K,): the highest value of each channel."""
        return self.values[:, 0]

    def first(self, count: int) -> LayerSurvey:
        """The same with only the `count` highest images of each channel."""
        kept = slice(count)
        return replace(
            self, values=self.values[:, kept], images=self.images[:, kept], positions=self.positions[:, kept]
        )


class Tally:
    """One layer's survey in the making."""

    def __init__(
        self, maps: Float[Tensor, "N K h w"], *, layer: str, count: int, images: int, classes: int, first: int = 0
    ) -> None:
        """Begin with the first batch's maps, which decide the shapes and are added separately.

        `images` is how many there will be in all, `first` the number of the first that this tally sees.
        """
        channels, self.width = maps.shape[1], maps.shape[3]
        self.layer = layer
        self.total = images
        self.map_size = tuple(maps.shape[2:])
        self.first = self.seen = first
        self.watched_every, self.sampled_every = -(-images // WATCHED), -(-images // SAMPLED)
        kept = min(count, images)
        self.values = maps.new_full((channels, kept), -torch.inf, dtype=torch.float32)
        self.images = torch.zeros_like(self.values, dtype=torch.int64)
        self.positions = torch.zeros_like(self.images)
        self.higher: list[tuple[Tensor, Tensor, Tensor, Tensor]] = []  # channels, values, images, positions
        self.waiting = 0
        self.class_sums = maps.new_zeros(classes, channels, dtype=torch.float64)
        self.class_counts = maps.new_zeros(classes, dtype=torch.float64)
        self.watched = 0
        self.to_watch: list[tuple[Tensor, Tensor]] = []  # maps and classes, still to be counted in
        self.to_compare: list[Tensor] = []  # maps
        self.sums = maps.new_zeros(channels, dtype=torch.float64)
        self.positive = torch.zeros_like(self.sums)
        self.shift: Tensor | None = None  # (K,), subtracted so that no digits are lost in the products
        compared = channels if channels <= MOST_COMPARED else 0
        self.products = maps.new_zeros(compared, compared, dtype=torch.float32)
        self.compared_every = -(-images // COMPARED)
        self.compared_from = self.compared = -(-first // self.compared_every)
        self.places = self._drawn(-(-images // self.compared_every)).to(maps.device)
        self.within = torch.zeros_like(self.products)
        self.sampled = -(-first // self.sampled_every)
        self.sample = maps.new_zeros(-(-images // self.sampled_every), channels, dtype=torch.float32)

    def add(self, maps: Float[Tensor, "N K h w"], classes: Float[Tensor, "N classes"]) -> None:
        """Count in the next images; `classes` is 1 at each one's class and 0 elsewhere."""
        flat = maps.flatten(2).contiguous()  # (N, K, h * w)
        peaks = flat.amax(2)  # (N, K)
        self._check_finite(peaks)
        self._keep_highest(flat, peaks)
        watched = slice(-self.seen % self.watched_every, None, self.watched_every)
        if watched.start < len(flat):
            self.to_watch.append((flat[watched].clone(), classes[watched]))
            if len(self.to_watch) * self.to_watch[0][0].numel() >= PART:  # every batch has about as many
                self._watch()
        compared = slice(-self.seen % self.compared_every, None, self.compared_every)
        if len(self.within) and compared.start < len(flat):
            self.to_compare.append(flat[compared].clone())
            if len(self.to_compare) * self.to_compare[0].numel() >= PART:
                self._compare()
        kept = peaks[-self.seen % self.sampled_every :: self.sampled_every]
        self.sample[self.sampled : self.sampled + len(kept)] = kept
        self.sampled += len(kept)
        self.seen += len(maps)

    def _check_finite(self, values: Float[Tensor, "N K"]) -> None:
        """Raise NumericsError, naming the first channel, where a value of any image is not finite."""
        if not math.isfinite(values.sum().item()) and not bool(torch.isfinite(values).all()):
            channel = int((~torch.isfinite(values).all(0)).nonzero()[0])
            raise NumericsError(f'layer "{self.layer}" gives values that are not finite in channel {channel}')

    def _watch(self) -> None:
        """Count in what a sample of the images is enough for."""
        if not self.to_watch:
            return
        flat, classes = (torch.cat(parts) for parts in zip(*self.to_watch, strict=True))  # (N, K, P), (N, classes)
        self.to_watch = []
        size = max(1, PART // flat.shape[1:].numel())
        for part, members in zip(flat.split(size), classes.split(size), strict=True):
            means = part.mean(2)
            self._check_finite(means)
            self.sums += means.sum(0)
            active = part.relu()
            self.class_sums += members.T @ active.mean(2)
            self.class_counts += members.sum(0)
            self.positive += active.sign_().sum(0).sum(1)
            if len(self.products):
                self.shift = means.mean(0) if self.shift is None else self.shift
                centred = means - self.shift
                self.products.addmm_(centred.T, centred)
        self.watched += len(flat)

    def _drawn(self, images: int) -> Int64[Tensor, "images drawn"]:
        """Positions of each image to compare: all of them where they are few, else drawn by chance, always alike."""
        places = self.map_size[0] * self.map_size[1]
        drawn = max(1, DRAWN // images)
        if places <= drawn:
            return torch.arange(places).expand(images, -1)
        return torch.randint(places, (images, drawn), generator=torch.Generator().manual_seed(0))

    def _compare(self) -> None:
        """Count in how alike the channels vary within images, whatever the mean of each image is."""
        if not self.to_compare:
            return
        flat = torch.cat(self.to_compare)  # (N, K, P)
        self.to_compare = []
        places = self.places[self.compared : self.compared + len(flat), None]
        size = max(1, PART // flat.shape[1:].numel())
        for part, at in zip(flat.split(size), places.split(size), strict=True):
            values = part.gather(2, at.expand(-1, part.shape[1], -1)) - part.mean(2, keepdim=True)
            rows = values.transpose(1, 2).flatten(0, 1)
            self.within.addmm_(rows.T, rows)
        self.compared += len(flat)

    def _keep_highest(self, flat: Float[Tensor, "N K P"], peaks: Float[Tensor, "N K"]) -> None:
        """Remember the batch's images that are higher than those held; they are merged once enough have come."""
        least = self.values[:, -1]  # an equal one comes later than those held, so it loses
        if self.seen == self.first:
            count = min(self.values.shape[1], len(peaks))
            least = torch.nextafter(peaks.topk(count, dim=0).values[-1], least)
        rows, channels = (peaks > least).nonzero(as_tuple=True)  # in the images' order
        if not len(rows):
            return
        self.higher.append((channels, peaks[rows, channels], rows + self.seen, flat[rows, channels].argmax(1)))
        self.waiting += len(rows)
        if self.seen == self.first or self.waiting > len(self.values):
            self._merge()

    @torch.inference_mode()
    def _count_rest(self) -> None:
        """Count in all that was put off."""
        self._merge()
        self._watch()
        self._compare()

    def _merge(self) -> None:
        """Put the remembered images in their places among the highest."""
        if not self.higher:
            return
        channels, count = self.values.shape
        owners, values, images, positions = (torch.cat(parts) for parts in zip(*self.higher, strict=True))
        owner = torch.cat([torch.arange(channels, device=owners.device).repeat_interleave(count), owners])
        values = torch.cat([self.values.flatten(), values])
        order = values.argsort(descending=True, stable=True)
        order = order[owner[order].argsort(stable=True)]  # by channel, then by value, then as they came
        owner = owner[order]
        rank = torch.arange(len(order), device=order.device) - torch.searchsorted(owner, owner)
        order = order[rank < count]
        self.values = values[order].view(channels, count)
        self.images = torch.cat([self.images.flatten(), images])[order].view(channels, count)
        self.positions = torch.cat([self.positions.flatten(), positions])[order].view(channels, count)
        self.higher, self.waiting = [], 0

    def join(self, ranks: Ranks) -> None:
        """Put together what the ranks saw, each of images in a row, so that every rank has seen all of them."""
        self._count_rest()
        channels, count = self.values.shape
        owners = torch.arange(channels, device=self.values.device).repeat_interleave(count)
        held = zip(
            *(ranks.gather(each).flatten(1) for each in (self.values, self.images, self.positions)), strict=True
        )
        self.higher = [(owners, *of_rank) for of_rank in held]
        self.values = torch.full_like(self.values, -torch.inf)
        self._merge()
        shift = torch.zeros_like(self.sums) if self.shift is None else self.shift.double()
        sums, watched = self.sums - self.watched * shift, self.watched
        for counted in (self.sums, self.positive, self.class_sums, self.class_counts, self.within, self.sample):
            ranks.add_up(counted)
        counts = ranks.add_up(torch.tensor([self.watched, self.compared - self.compared_from]))
        self.watched, self.compared_from = int(counts[0]), 0
        self.compared = int(counts[1])
        if len(self.products):
            common = self.sums / max(1, self.watched)
            moved = shift - common  # products about another centre, by the parallel axis theorem
            crossed = torch.outer(sums, moved)
            products = self.products.double() + crossed + crossed.T + watched * torch.outer(moved, moved)
            self.products, self.shift = ranks.add_up(products).float(), common.float()

    def survey(self) -> LayerSurvey:
        """The survey, once all images were added."""
        self._count_rest()
        places = self.map_size[0] * self.map_size[1]
        means = (self.sums / self.watched).cpu().numpy()
        maxima = self.values[:, 0].double().cpu().numpy()
        dead = maxima - means <= 1e-5 * np.abs(maxima)  # a maximum that is also the mean, up to rounding
        class_means, selectivity, selective_class = self._classes()
        histogram, histogram_range = self._histogram(maxima)
        twins, likeness = self._twins(dead)
        positions = self.positions.cpu()
        return LayerSurvey(
            values=self.values.cpu().numpy(),
            images=self.images.cpu().numpy(),
            positions=torch.stack([positions // self.width, positions % self.width], dim=2).numpy(),
            means=means,
            shares_of_zeros=1 - (self.positive / (self.watched * places)).cpu().numpy(),
            class_means=class_means,
            selectivity=selectivity,
            selective_class=selective_class,
            histogram=histogram,
            histogram_range=histogram_range,
            dead=dead,
            twins=twins,
            likeness=likeness,
            map_size=np.array(self.map_size),
        )

    def _classes(self) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
        """Mean activities, the selectivity (Morcos et al. 2018, arXiv:1803.06959, section 2.2) and its class."""
        sums, counts = self.class_sums.cpu().numpy(), self.class_counts.cpu().numpy()
        means = sums / np.maximum(counts, 1)[:, None]
        present = counts > 0
        best = np.where(present[:, None], means, -1).argmax(0)
        highest = means.max(0)
        rest = (means.sum(0) - highest) / max(1, present.sum() - 1)
        total = highest + rest
        defined = (total > 0) & (present.sum() > 1)
        selectivity = np.divide(highest - rest, total, out=np.zeros_like(total), where=defined)
        return means, selectivity, best

    def _histogram(self, maxima: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """How the sampled images' maxima are spread between the lowest of them and the highest of all images."""
        sample = self.sample.double().cpu().numpy()  # (S, K)
        low = sample.min(0)
        width = np.where(maxima > low, maxima - low, 1)
        bins = ((sample - low) / width * BINS).astype(np.int64).clip(0, BINS - 1)
        channels = sample.shape[1]
        counts = np.bincount((bins + np.arange(channels) * BINS).ravel(), minlength=channels * BINS)
        return counts.reshape(channels, BINS), np.stack([low, maxima], axis=1)

    def _twins(self, dead: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Of each channel the one most like it, and how much: the least of three correlations."""
        channels = len(dead)
        if self.shift is None or channels < 2:
            return np.full(channels, -1), np.zeros(channels)
        shifted = self.sums.cpu().numpy() / self.watched - self.shift.double().cpu().numpy()
        between = self.products.cpu().numpy() / self.watched - np.outer(shifted, shifted)
        within = self.within.cpu().double().numpy() / ((self.compared - self.compared_from) * self.places.shape[1])
        whole = between + within  # the law of total variance
        variance = np.maximum(np.diag(whole), 0)
        alike = _correlation(whole, variance)
        for part in (between, within):
            np.minimum(alike, _correlation(part, variance), out=alike)
        still = dead | (variance == 0)
        alike[still] = alike[:, still] = 0
        np.fill_diagonal(alike, -np.inf)
        twins = alike.argmax(1)
        likeness = alike[np.arange(channels), twins].clip(-1, 1)
        return np.where(still, -1, twins), np.where(still, 0, likeness)


def _correlation(covariance: NDArray[np.float64], variance: NDArray[np.float64]) -> NDArray[np.float64]:
    """The correlations; 1 between two channels that have next to none of their variance (K,) in this covariance."""
    own = np.diag(covariance)
    none = own <= NEGLIGIBLE * variance
    scale = np.where(none, 0, 1 / np.sqrt(np.where(none, 1, own)))
    return covariance * scale * scale[:, None] + np.outer(none, none)
