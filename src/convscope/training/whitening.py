"""Steps of a first convolution as if the numbers that its kernels see were uncorrelated and of one size."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float64
from torch import Tensor, nn

from convscope.types import Dataset

IMAGES = 2000
"""So many training images, evenly spaced, tell how the pixels of a patch go together."""

PLACES = 16
"""Patches of an image are taken at about so many places across and down."""

DAMPING = 0.2
"""Added to the variance along each direction, in squared normalized pixels: what hardly varies is not blown up."""


class PatchWhitening:
    """Turns a first convolution's gradient so that a step of SGD is one in whitened coordinates.

    Neighbouring pixels are nearly the same, so patches p vary ten thousand times as much along some directions as
    along others, and plain steps learn edges late. With the patches' second moments C and P = (C + damping I)^(-1/2),
    a kernel w = P v answers to p as v does to the whitened P p; a step of SGD on v moves w along
    (C + damping I)^(-1) times its own gradient (Desjardins et al. 2015, arXiv:1507.00210, section 3, for one layer
    and moments that stay). Momentum and weight decay are the same in both. The weights stay those of an ordinary
    convolution, and begin as they would.

    The layer is one that `image_convolution` has found.
    """

    def __init__(self, layer: nn.Conv2d, dataset: Dataset) -> None:
        self._weight = layer.weight
        damped = patch_moments(layer, dataset)
        damped.diagonal().add_(DAMPING)
        self._inverse = torch.linalg.inv(damped).to(layer.weight)  # (n, n)

    def turn_gradient(self) -> None:
        """Replace the gradient by the one of the whitened coordinates, in the weights' own; none stays none."""
        gradient = self._weight.grad
        if gradient is not None:
            self._weight.grad = (gradient.flatten(1) @ self._inverse).view_as(gradient)


def image_convolution(model: nn.Module, dataset: Dataset) -> nn.Conv2d | None:
    """The model's first convolution, where it looks at all colours of images that are no smaller than its kernel."""
    layer = next((module for module in model.modules() if isinstance(module, nn.Conv2d)), None)
    if layer is None or layer.in_channels != len(dataset.mean) or layer.groups != 1:
        return None
    reach = [step * (size - 1) + 1 for size, step in zip(layer.kernel_size, layer.dilation, strict=True)]
    return layer if all(side >= far for side, far in zip(dataset.image_size, reach, strict=True)) else None


def patch_moments(layer: nn.Conv2d, dataset: Dataset) -> Float64[Tensor, "n n"]:
    """The mean product of each two numbers of a patch, n = C·kh·kw in a kernel's order, of normalized images."""
    mean, std = (torch.tensor(values)[:, None, None] for values in (dataset.mean, dataset.std))
    images = dataset.train.images
    count = min(IMAGES, images.shape[0])
    chosen = torch.arange(count) * images.shape[0] // count
    kernel = (layer.kernel_size[0], layer.kernel_size[1])
    stride = tuple(max(1, side // PLACES) for side in dataset.image_size)
    total = torch.zeros((), dtype=torch.float64)
    places = 0
    for pixels in images.batches(chosen.split(100)):
        normal = (pixels / 255 - mean) / std
        patches = F.unfold(normal, kernel, dilation=layer.dilation, stride=stride)  # (N, n, places)
        rows = patches.double().transpose(1, 2).flatten(0, 1)  # (N·places, n)
        total = total + rows.T @ rows
        places += len(rows)
    return total / places
