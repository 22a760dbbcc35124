"""Convolutions of small maps as matrix products: of the whole map, of its windows, or of a gradient alone."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, lru_cache, partial
from itertools import product
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.grad import conv2d_input

LARGEST = 8
"""The matrix of a whole map may have so many times the numbers of the kernel: it is made anew each step."""

POSITIONS = 64
"""Up to so many positions of a map 1×1 kernels, and gradients of many channels, are products."""

CHANNELS_A_POSITION = 4
"""Many channels are so many for each position, coming in and going out."""


def met_taps(size: int, kernel: int, stride: int, padding: int) -> slice:
    """The taps of a kernel that meet the image at any position of the output, along one axis.

    >>> met_taps(1, 3, stride=1, padding=1), met_taps(2, 3, stride=2, padding=1)
    (slice(1, 2, None), slice(1, 3, None))
    """
    starts = range(-padding, size + padding - kernel + 1, stride)
    met = [tap for start in starts for tap in range(max(0, -start), min(kernel, size - start))]
    return slice(min(met), max(met) + 1) if met else slice(0, 0)


Pair = tuple[int, int]
"""A value for rows and one for columns."""


class Geometry(NamedTuple):
    """Where a convolution's kernel lies on its input; each value is for rows and for columns."""

    size: Pair  # of the output
    stride: Pair
    padding: Pair  # above and to the left; as much below and to the right
    taps: tuple[slice, slice]  # that meet something


class SmallMaps:
    """Within it, a model's convolutions of small maps are computed as matrix products where that takes less time.

    The late layers of a network have millions of weights for maps of a few pixels. There oneDNN's convolutions take
    up to twenty times as long as a product. Where each output sees the whole image, it is one of all pixels with all
    outputs, without the taps that meet nothing but padding. Where a kernel is larger than what it gives, it is one of
    the unfolded maps; in fp32 only on processors with AMX, since what multiplies fp32 on others may be slower than
    what convolves. In bf16 1×1 kernels on small maps are products too, whatever their channels, and where processors
    multiply in tiles (AMX) so is, on small maps of many channels, the gradient of the weights.
    Outputs and gradients are those of the ordinary convolution up to the order of the sums and where a bias is
    rounded; taps that meet only padding have a gradient of exactly zero. Modules, weights and hooks stay what they
    are. Outputs are channels-last. Backward passes, which may compute parts again, belong within it too.

    >>> convolution = nn.Conv2d(3, 8, 3, padding=1)
    >>> image = torch.rand(2, 3, 1, 1)
    >>> with SmallMaps(convolution):
    ...     small = convolution(image)
    >>> torch.allclose(small, convolution(image), atol=1e-6)
    True
    """

    def __init__(self, model: nn.Module) -> None:
        self._convolutions = [
            module for module in model.modules() if isinstance(module, nn.Conv2d) and _is_plain(module)
        ]

    def __enter__(self) -> None:
        for module in self._convolutions:
            module.forward = partial(_forward, module)  # pyright: ignore[reportAttributeAccessIssue]

    def __exit__(self, *_: object) -> None:
        for module in self._convolutions:
            del module.forward


def _is_plain(module: nn.Conv2d) -> bool:
    """Whether this file knows how to compute the convolution, and nobody has changed it."""
    return (
        type(module) is nn.Conv2d
        and "forward" not in module.__dict__
        and module.groups == 1
        and module.dilation == (1, 1)
        and module.padding_mode == "zeros"
        and not isinstance(module.padding, str)
    )


def _forward(module: nn.Conv2d, inputs: Float[Tensor, "N C H W"]) -> Float[Tensor, "N D h w"]:
    """What the module gives for the inputs; what torch refuses is given to torch."""
    dtype = _computed_in(inputs, module.weight)
    if dtype is None or inputs.ndim != 4 or not inputs.numel() or inputs.shape[1] != module.in_channels:
        return nn.Conv2d.forward(module, inputs)
    sides = (inputs.shape[2], inputs.shape[3])
    where, parts = place(sides, module.kernel_size, module.stride, module.padding)  # pyright: ignore[reportArgumentType]
    if not where.taps[0].stop or not where.taps[1].stop:
        return nn.Conv2d.forward(module, inputs)
    if parts:
        found: Any = _Whole.apply(inputs.to(dtype), module.weight, parts, where.size)
    elif way := _way(module, len(inputs), where, dtype):
        found = way.apply(inputs.to(dtype), module.weight, where)
    else:
        return nn.Conv2d.forward(module, inputs)
    return found if module.bias is None else found + module.bias.to(dtype)[:, None, None]


def _computed_in(inputs: Tensor, weight: Tensor) -> torch.dtype | None:
    """In which type torch would convolve them; None where it would refuse."""
    kind = inputs.device.type
    casts = inputs.is_floating_point() and torch.float64 not in (inputs.dtype, weight.dtype)
    if casts and torch.is_autocast_enabled(kind):
        return torch.get_autocast_dtype(kind)
    return inputs.dtype if inputs.dtype == weight.dtype else None


def _way(
    module: nn.Conv2d, count: int, where: Geometry, dtype: torch.dtype
) -> type[_Unfolded | _UnfoldedGradient] | None:
    """How one of so many images is computed whose outputs see but a part of them each; None leaves it to torch."""
    tiles, half = _multiplies_in_tiles(), dtype == torch.bfloat16
    positions = where.size[0] * where.size[1]
    if module.weight[0].numel() > count * positions and (half or tiles):  # the kernel is larger than what it gives
        return _Unfolded
    if not half or positions > POSITIONS:
        return None
    if module.kernel_size == (1, 1):
        return _Unfolded
    channels = min(module.in_channels, module.out_channels)
    return _UnfoldedGradient if tiles and positions <= channels / CHANNELS_A_POSITION else None


@cache
def _multiplies_in_tiles() -> bool:
    """Whether the processor has AMX for bf16; a torch without a word on it is one without bf16 training on CPUs."""
    return bool(getattr(torch.cpu, "get_capabilities", dict)().get("amx_bf16", False))


Parts = Sequence[tuple[slice, slice]]
"""Rows and columns of a kernel, for one position of the output after another."""


@lru_cache(1000)
def place(sides: Pair, kernel: Pair, stride: Pair, padding: Pair) -> tuple[Geometry, Parts]:
    """How a kernel lies on an image of those sides, and the part of it that lies on the image at each position.

    No parts are told unless each holds the whole image, and all together are at most LARGEST times the kernel.

    >>> where, parts = place((2, 1), (3, 1), (1, 1), (1, 0))
    >>> where.size, parts
    ((2, 1), [(slice(1, 3, None), slice(0, 1, None)), (slice(0, 2, None), slice(0, 1, None))])
    >>> place((3, 3), (3, 3), (1, 1), (1, 1))[1]
    []
    """
    axes = list(zip(sides, kernel, stride, padding, strict=True))
    height, width = ((side + 2 * pad - length) // step + 1 for side, length, step, pad in axes)
    met_rows, met_columns = (met_taps(*axis) for axis in axes)
    where = Geometry((height, width), stride, padding, (met_rows, met_columns))
    rows, columns = (
        [slice(pad - step * at, pad - step * at + side) for at in range(count)]
        for (side, _, step, pad), count in zip(axes, where.size, strict=True)
    )
    if not rows or not columns or len(rows) * len(columns) * sides[0] * sides[1] > LARGEST * kernel[0] * kernel[1]:
        return where, []
    whole = rows[-1].start >= 0 <= columns[-1].start and rows[0].stop <= kernel[0] and columns[0].stop <= kernel[1]
    return where, list(product(rows, columns)) if whole else []


class _Whole(torch.autograd.Function):
    """A convolution each of whose outputs sees the whole image, as one product with all of them."""

    @staticmethod
    def forward(
        ctx: Any, inputs: Tensor, weight: Tensor, parts: Parts, size: tuple[int, int]
    ) -> Float[Tensor, "N D h w"]:
        kernels = weight.permute(0, 2, 3, 1)
        count, channels, *sides = inputs.shape
        matrix = inputs.new_empty(len(parts), len(weight), *sides, channels)
        for one, (rows, columns) in zip(matrix, parts, strict=True):
            one.copy_(kernels[:, rows, columns])
        flat, matrix = inputs.permute(0, 2, 3, 1).flatten(1), matrix.flatten(2).flatten(0, 1)
        ctx.save_for_backward(flat, matrix)
        ctx.weight, ctx.shape, ctx.parts = weight, inputs.shape, parts
        return (flat @ matrix.T).view(count, *size, -1).permute(0, 3, 1, 2)

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride] - as torch's decorator has it
        ctx: Any, *gradients: Any
    ) -> tuple[Tensor | None, ...]:
        flat, matrix = ctx.saved_tensors
        count, channels, *sides = ctx.shape
        signal = gradients[0].permute(0, 2, 3, 1).flatten(1)  # (N, h w D)
        inputs = weight = None
        if ctx.needs_input_grad[1]:
            products = (signal.T @ flat).view(len(ctx.parts), -1, *sides, channels)
            weight = torch.zeros_like(ctx.weight)
            for one, (rows, columns) in zip(products, ctx.parts, strict=True):
                weight.permute(0, 2, 3, 1)[:, rows, columns] += one
        if ctx.needs_input_grad[0]:
            inputs = (signal @ matrix).view(count, *sides, channels).permute(0, 3, 1, 2)
        return inputs, weight, None, None


class _Unfolded(torch.autograd.Function):
    """A convolution as the product of its unfolded input and its kernels."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, weight: Tensor, where: Geometry) -> Float[Tensor, "N D h w"]:
        # (D, kh, kw, C), of the taps that meet something
        kernels = weight.permute(0, 2, 3, 1)[:, *where.taps].to(inputs.dtype)
        flat, matrix = _unfold(inputs, where), kernels.flatten(1)
        ctx.save_for_backward(flat, matrix)
        ctx.weight, ctx.shape, ctx.where = weight, inputs.shape, where
        return (flat @ matrix.T).view(len(inputs), *where.size, -1).permute(0, 3, 1, 2)

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride] - as torch's decorator has it
        ctx: Any, *gradients: Any
    ) -> tuple[Tensor | None, ...]:
        flat, matrix = ctx.saved_tensors
        where = ctx.where
        signal = gradients[0].permute(0, 2, 3, 1).flatten(0, 2)  # (N h w, D)
        inputs = weight = None
        if ctx.needs_input_grad[1]:
            weight = _kernel_gradient(signal.T @ flat, ctx.weight, where)
        if ctx.needs_input_grad[0]:
            count, channels, *sides = ctx.shape
            (up, left), (height, width) = where.padding, (axis.stop - axis.start for axis in where.taps)
            unfolded = (signal @ matrix).view(-1, *where.size, height, width, channels)
            padded = signal.new_zeros(count, sides[0] + 2 * up, sides[1] + 2 * left, channels)
            met = _windows(padded, where)
            for row, column in product(range(height), range(width)):
                met[..., row, column] += unfolded[:, :, :, row, column]
            inputs = padded[:, up : up + sides[0], left : left + sides[1]].permute(0, 3, 1, 2)
        return inputs, weight, None


class _UnfoldedGradient(torch.autograd.Function):
    """A convolution as torch computes it, but for the gradient of its weight: a product with its unfolded input."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, weight: Tensor, where: Geometry) -> Float[Tensor, "N D h w"]:
        kernels = weight.to(inputs.dtype)
        ctx.save_for_backward(inputs, kernels)
        ctx.weight, ctx.where = weight, where
        return F.conv2d(inputs, kernels, None, where.stride, where.padding)

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride] - as torch's decorator has it
        ctx: Any, *gradients: Any
    ) -> tuple[Tensor | None, ...]:
        images, kernels = ctx.saved_tensors
        where = ctx.where
        inputs = weight = None
        if ctx.needs_input_grad[1]:
            signal = gradients[0].permute(1, 0, 2, 3).flatten(1).contiguous()  # (D, N h w)
            weight = _kernel_gradient(signal @ _unfold(images, where), ctx.weight, where)
        if ctx.needs_input_grad[0]:
            inputs = conv2d_input(images.shape, kernels, gradients[0], where.stride, where.padding)
        return inputs, weight, None


def _unfold(inputs: Float[Tensor, "N C H W"], where: Geometry) -> Tensor:
    """What each position's taps meet: a matrix (N h w, kh kw C), of the taps that meet something at all."""
    up, left = where.padding
    padded = inputs.permute(0, 2, 3, 1)
    if up or left:
        padded = F.pad(padded, (0, 0, left, left, up, up))  # (N, H', W', C)
    rows = len(inputs) * where.size[0] * where.size[1]
    return _windows(padded, where).permute(0, 1, 2, 4, 5, 3).reshape(rows, -1)


def _kernel_gradient(products: Tensor, weight: Tensor, where: Geometry) -> Tensor:
    """The gradient of all of a weight, of the products (D, kh kw C) for the taps that meet something."""
    if products.numel() == weight.numel():
        kernels = products.to(weight.dtype).view(weight.permute(0, 2, 3, 1).shape)
        return kernels.permute(0, 3, 1, 2)
    whole = torch.zeros_like(weight)
    met = whole.permute(0, 2, 3, 1)[:, *where.taps]
    met.copy_(products.view(met.shape))
    return whole


def _windows(padded: Float[Tensor, "N H W C"], where: Geometry) -> Float[Tensor, "N h w C kh kw"]:
    """What the taps meet at each position, of the taps that meet something at all: a view."""
    for axis, (met, step, count) in enumerate(zip(where.taps, where.stride, where.size, strict=True), start=1):
        padded = padded.narrow(axis, met.start, padded.shape[axis] - met.start)
        padded = padded.unfold(axis, met.stop - met.start, step).narrow(axis, 0, count)
    return padded
