"""Which pixels of the input each position of a layer can see."""

from __future__ import annotations

import copy
import math
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Int64
from torch import Tensor, nn

from convscope.hooks import frozen_eval, record_outputs, resolve_layer
from convscope.methods.needs import as_maps, batch_limit
from convscope.types import Network


class ReceptiveField(NamedTuple):
    """For each row and column of a layer's maps the stretch of the input that it sees, clipped to the image.

    A stretch is [start, stop); (0, 0) is a position that sees nothing but padding.
    """

    rows: Int64[Tensor, "h 2"]
    columns: Int64[Tensor, "w 2"]


def receptive_field(network: Network, layer: str, image_size: tuple[int, int] | None = None) -> ReceptiveField:
    """What each position of a layer can see of images of (H, W), the network's input size by default.

    A position sees a pixel if its value is not a number once the pixel's is not: that passes every operation that
    uses the pixel and no other, whatever the weights. One input row after another, and one column after another,
    is made so, in a copy of the model in double precision. Layers that look at whole maps, such as squeeze and
    excitation or group norm, see the whole image. Raises UsageError for a layer that is unknown or gives no maps.

    >>> model = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.MaxPool2d(2))
    >>> network = Network(model, (0.5,) * 3, (0.5,) * 3, (6, 6), ("a", "b"), "tiny")
    >>> receptive_field(network, "1").rows.tolist()
    [[0, 3], [1, 5], [3, 6]]
    """
    name = resolve_layer(network.model, layer, model_name=network.name)
    height, width = image_size or network.input_size
    model = _slimmed(network.model)
    step = batch_limit((height, width))
    seen: list[Tensor] = []
    with frozen_eval(model), torch.no_grad():
        for side, axis in ((height, 2), (width, 3)):
            marks: list[Tensor] = []
            for marked in torch.arange(side).split(step):
                images = torch.zeros(len(marked), len(network.mean), height, width, dtype=torch.float64)
                images.movedim(axis, 1)[torch.arange(len(marked)), marked] = torch.nan
                output = record_outputs(model, images, [name])[name]
                maps = as_maps(model.get_submodule(name), output, layer=name, image_size=(height, width))
                marks.append(maps.isnan().any(1).any(4 - axis))  # (marked, h or w)
            seen.append(_stretches(torch.cat(marks)))
    return ReceptiveField(*seen)


def _stretches(seen: Tensor) -> Int64[Tensor, "positions 2"]:
    """The first and last of the inputs (inputs, positions) that each position sees, the last plus one."""
    inputs = len(seen)
    start = seen.int().argmax(0)
    stop = inputs - seen.flip(0).int().argmax(0)
    return torch.stack([start, stop], dim=1) * seen.any(0)[:, None]


class _Slim(nn.Conv2d):
    """Sees the same as the convolution that it was, but computes a single map for each group."""

    def forward(self, input: Tensor) -> Tensor:
        maps = input.unflatten(1, (self.groups, -1)).mean(2)  # (N, groups, H, W)
        kernel = maps.new_full((self.groups, 1, *self.kernel_size), 1 / math.prod(self.kernel_size))
        maps = F.conv2d(maps, kernel, None, self.stride, self.padding, self.dilation, self.groups)
        return maps[:, :, None].expand(-1, -1, self.out_channels // self.groups, -1, -1).flatten(1, 2).contiguous()


class _Unchanged(nn.BatchNorm2d):
    """Sees the same as the batch norm that it was, position by position, and computes nothing."""

    def forward(self, input: Tensor) -> Tensor:
        return input


def _slimmed(model: nn.Module) -> nn.Module:
    """A copy in double precision and main memory that costs little: only what its layers see matters.

    All weights of a tensor become one number, which is not zero, since some libraries skip those. In single precision
    some compute convolutions in tiles, where what is not a number spreads.
    """
    number = torch.tensor(0.01, dtype=torch.float64)
    weights: dict[int, Any] = {id(each): nn.Parameter(number.expand(each.shape)) for each in model.parameters()}
    slim = copy.deepcopy(model, weights).cpu().double()
    for module in slim.modules():
        if type(module) is nn.Conv2d and module.padding_mode == "zeros":
            module.__class__ = _Slim  # the same weights under the same names, for code that looks at them
        elif type(module) is nn.BatchNorm2d and module.track_running_stats:
            module.__class__ = _Unchanged
    return slim
