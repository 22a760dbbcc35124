"""The training batches of a recipe: any stretch of steps, each batch a pure function of seed and step."""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from jaxtyping import Float32, Int64, UInt8
from torch import Tensor

from convscope.data.augment import Draws, augment, epoch_draws, epoch_order
from convscope.errors import DataError, UsageError
from convscope.ranks import ALONE, Ranks
from convscope.training.schedule import plan, resolution, span_of
from convscope.types import Dataset, Recipe


class Batches:
    """Every batch of a training, by step; of several ranks each gets its share of each batch.

    An epoch has as many steps as whole batches fit; which images are left over changes with its order.
    """

    def __init__(self, dataset: Dataset, recipe: Recipe, *, device: torch.device, ranks: Ranks = ALONE) -> None:
        self.dataset = dataset
        self.recipe = recipe
        self.device = device
        self.count = len(dataset.train.labels)
        self.batch_size = recipe.batch_size
        if not max(2, ranks.count) <= self.batch_size <= self.count:
            raise UsageError(
                f"batch_size {self.batch_size}; allowed: {max(2, ranks.count)} (an image for each process) to "
                f"{self.count}, the number of training images"
            )
        for part, split in (("training", dataset.train), ("test", dataset.test)):
            _check_labels(split.labels, len(dataset.class_names), part)
        self._share = ranks.share(self.batch_size)
        self.steps_per_epoch = self.count // self.batch_size
        self._spans = plan(recipe, steps_per_epoch=self.steps_per_epoch)
        self._mean = torch.tensor(dataset.mean, device=device)
        self._std = torch.tensor(dataset.std, device=device)

    def indices(self, step: int) -> Int64[Tensor, " B"]:
        """Which images (B,) int64 the step is made of."""
        epoch, positions = self._place(step)
        return epoch_order(self.count, seed=self.recipe.seed, epoch=epoch, first=positions.start, last=positions.stop)

    def stream(self, first: int, last: int) -> Iterator[tuple[Float32[Tensor, "B 3 h w"], Int64[Tensor, " B"]]]:
        """For each step in [first, last) what the model is fed, (B, 3, h, w) float32, and its labels (B,)."""
        steps = range(first, last)
        images = self.dataset.train.images.batches(self.indices(step) for step in steps)
        for step, batch in zip(steps, images, strict=True):
            labels = self.dataset.train.labels[self.indices(step)]
            yield self._prepare(batch, step), labels.to(self.device, non_blocking=True)

    def _place(self, step: int) -> tuple[int, slice]:
        """The step's epoch, and this rank's stretch of the epoch's order."""
        epoch, batch = divmod(step, self.steps_per_epoch)
        first = batch * self.batch_size
        return epoch, slice(first + self._share.start, first + self._share.stop)

    def _prepare(self, images: UInt8[Tensor, "B 3 H W"], step: int) -> Float32[Tensor, "B 3 h w"]:
        """Augment, shrink and normalize uint8 images (B, 3, H, W) on the device."""
        epoch, positions = self._place(step)
        augmentation, size = self.recipe.augmentation, self.dataset.image_size
        draws = epoch_draws(
            len(images), augmentation, size, seed=self.recipe.seed, epoch=epoch, first=positions.start
        )
        draws = Draws(*(draw.to(self.device, non_blocking=True) for draw in draws))
        pixels = images.to(self.device, non_blocking=True).float() / 255
        pixels = augment(pixels, draws, cutout=augmentation.cutout, fill=self._mean)
        pixels = shrink(pixels, resolution(span_of(self._spans, step), step))
        normal = (pixels - self._mean[:, None, None]) / self._std[:, None, None]
        return normal.contiguous(memory_format=torch.channels_last)


def shrink(images: Float32[Tensor, "B 3 H W"], share: float) -> Float32[Tensor, "B 3 h w"]:
    """Images with sides of that share of theirs, smoothed as they shrink; at 1 as they are.

    >>> shrink(torch.rand(2, 3, 32, 40), 0.75).shape
    torch.Size([2, 3, 24, 30])
    """
    if share == 1:
        return images
    height, width = (max(1, round(side * share)) for side in images.shape[2:])
    return F.interpolate(images, size=(height, width), mode="bilinear", antialias=True)


def _check_labels(labels: Int64[Tensor, " N"], classes: int, part: str) -> None:
    """Raise DataError where a label is of no class."""
    wrong = ((labels < 0) | (labels >= classes)).nonzero()[:, 0]
    if len(wrong):
        first = int(wrong[0])
        raise DataError(
            f"{len(wrong)} {part} labels are of no class, the first {int(labels[first])} of image {first}; allowed: "
            f"0 to {classes - 1}, a number for each class name"
        )
