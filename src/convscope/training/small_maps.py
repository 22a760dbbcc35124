"""Convolutions of maps so small that much of a kernel meets only padding, without multiplying the padding."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache, partial
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

MOST_OUTPUTS = 4
"""Positions in the output up to which each is computed as a matrix product of its own."""

MOST_USE = 0.75
"""The share of a kernel's products that meet the image, above which an ordinary convolution is as quick."""


class Reach(NamedTuple):
    """What one position of an output is made of, along one axis."""

    inputs: slice
    taps: slice


class Patch(NamedTuple):
    """What one position of an output is made of."""

    row: int
    column: int
    inputs: tuple[slice, slice]
    taps: tuple[slice, slice]


def reaches(size: int, kernel: int, stride: int, padding: int) -> list[Reach]:
    """For each position of the output, which inputs and which taps of the kernel meet there, along one axis.

    >>> [(reach.inputs, reach.taps) for reach in reaches(2, 3, stride=2, padding=1)]
    [(slice(0, 2, None), slice(1, 3, None))]
    """
    found: list[Reach] = []
    for start in range(-padding, size + padding - kernel + 1, stride):
        first, last = max(start, 0), min(start + kernel, size)
        found.append(Reach(slice(first, last), slice(first - start, last - start)))
    return found


@lru_cache(maxsize=256)
def patches(
    size: tuple[int, int], kernel: tuple[int, int], stride: tuple[int, int], padding: tuple[int, int]
) -> list[Patch]:
    """What each position of the output is made of; empty where an ordinary convolution is the better way.

    >>> len(patches((2, 2), (3, 3), (1, 1), (1, 1))), len(patches((8, 8), (3, 3), (1, 1), (1, 1)))
    (4, 0)
    """
    rows, columns = (reaches(*axis) for axis in zip(size, kernel, stride, padding, strict=True))
    if not 0 < len(rows) * len(columns) <= MOST_OUTPUTS:
        return []
    met = sum(max(0, row.taps.stop - row.taps.start) for row in rows)
    met *= sum(max(0, column.taps.stop - column.taps.start) for column in columns)
    if met > MOST_USE * len(rows) * len(columns) * kernel[0] * kernel[1]:
        return []
    return [
        Patch(y, x, (row.inputs, column.inputs), (row.taps, column.taps))
        for y, row in enumerate(rows)
        for x, column in enumerate(columns)
    ]


class SmallMaps:
    """Within it, a model's convolutions of small maps multiply only what is not padding.

    Outputs and gradients are those of the ordinary convolution up to the order of the sums; taps that meet only
    padding have a gradient of exactly zero. Modules, weights and hooks stay what they are.

    >>> convolution = nn.Conv2d(3, 8, 3, padding=1)
    >>> image = torch.rand(2, 3, 1, 1)
    >>> with SmallMaps(convolution):
    ...     small = convolution(image)
    >>> torch.allclose(small, convolution(image), atol=1e-6)
    True
    """

    def __init__(self, model: nn.Module) -> None:
        self._convolutions = [module for module in model.modules() if _is_plain(module)]

    def __enter__(self) -> None:
        for module in self._convolutions:
            module.forward = partial(_forward, module)

    def __exit__(self, *_: object) -> None:
        for module in self._convolutions:
            del module.forward


def _is_plain(module: nn.Module) -> bool:
    """Whether a module is a convolution that this file knows how to compute, and nobody has changed it."""
    return (
        type(module) is nn.Conv2d
        and "forward" not in module.__dict__
        and module.groups == 1
        and module.dilation == (1, 1)
        and module.padding_mode == "zeros"
        and not isinstance(module.padding, str)
        and module.padding != (0, 0)
    )


def _forward(module: nn.Conv2d, inputs: Float[Tensor, "N C H W"]) -> Float[Tensor, "N D h w"]:
    """What the module gives for the inputs."""
    size = (inputs.shape[-2], inputs.shape[-1])
    padding: Any = module.padding
    parts = patches(size, module.kernel_size, module.stride, padding) if inputs.ndim == 4 else []
    if not parts:
        return nn.Conv2d.forward(module, inputs)
    kind = inputs.device.type
    dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else inputs.dtype
    outputs: Any = _ByPosition.apply(inputs.to(dtype), module.weight, parts)
    return outputs if module.bias is None else outputs + module.bias.to(dtype)[:, None, None]


class _ByPosition(torch.autograd.Function):
    """A convolution as one matrix product for each position of its output."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, weight: Tensor, parts: Sequence[Patch]) -> Tensor:
        x = inputs.permute(0, 2, 3, 1)  # (N, H, W, C)
        taps = weight.permute(0, 2, 3, 1)  # (D, kh, kw, C)
        height, width = parts[-1].row + 1, parts[-1].column + 1
        outputs = x.new_empty(len(x), height, width, len(weight))
        kernels = [taps[:, *part.taps].to(x.dtype).flatten(1) for part in parts]  # each (D, what it meets)
        for part, kernel in zip(parts, kernels, strict=True):
            outputs[:, part.row, part.column] = x[:, *part.inputs].flatten(1) @ kernel.T
        ctx.parts, ctx.weight = parts, weight
        ctx.save_for_backward(inputs, *kernels)
        return outputs.permute(0, 3, 1, 2)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> tuple[Tensor | None, Tensor | None, None]:
        inputs, *kernels = ctx.saved_tensors
        x, dy = inputs.permute(0, 2, 3, 1), gradients[0].permute(0, 2, 3, 1)
        dx = torch.zeros_like(x) if ctx.needs_input_grad[0] else None
        dw = torch.zeros_like(ctx.weight) if ctx.needs_input_grad[1] else None
        for part, kernel in zip(ctx.parts, kernels, strict=True):
            signal = dy[:, part.row, part.column]  # (N, D)
            if dx is not None:
                met = dx[:, *part.inputs]
                met += (signal @ kernel).view(met.shape)
            if dw is not None:
                met = dw.permute(0, 2, 3, 1)[:, *part.taps]
                met += (signal.T @ x[:, *part.inputs].flatten(1)).view(met.shape)
        return None if dx is None else dx.permute(0, 3, 1, 2), dw, None
