"""Convolutions of small maps as matrix products: all of one, without taps that meet padding, or a gradient alone."""

from __future__ import annotations

from functools import cache, partial
from itertools import product
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.grad import conv2d_input

POSITIONS = 64
"""Maps of more positions are left to torch, unless the kernel is larger than what it gives."""

CHANNELS_A_POSITION = 4
"""And those with fewer channels than so many for each position, coming in or going out, unless a kernel is 1×1."""


def met_taps(size: int, kernel: int, stride: int, padding: int) -> slice:
    """The taps of a kernel that meet the image at any position of the output, along one axis.

    >>> met_taps(1, 3, stride=1, padding=1), met_taps(2, 3, stride=2, padding=1)
    (slice(1, 2, None), slice(1, 3, None))
    """
    starts = range(-padding, size + padding - kernel + 1, stride)
    met = [tap for start in starts for tap in range(max(0, -start), min(kernel, size - start))]
    return slice(min(met), max(met) + 1) if met else slice(0, 0)


class Geometry(NamedTuple):
    """Where a convolution's kernel lies on its input; each value is for rows and for columns."""

    size: tuple[int, int]  # of the output
    stride: tuple[int, int]
    padding: tuple[int, int]
    taps: tuple[slice, slice]  # that meet something


class SmallMaps:
    """Within it, a model's convolutions of small maps by large kernels are computed as matrix products.

    The late layers of a network have millions of weights for maps of a few pixels. There oneDNN's convolutions take
    up to three times as long as the product of the unfolded maps, and most of a kernel may meet nothing but padding.
    Where processors multiply bf16 matrices in tiles (AMX) convolving is as quick as it can be but for the gradient of
    the weights: on small maps of many channels that one is a product, and of 1×1 kernels, of any channels, all three.
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
    """What the module gives for the inputs."""
    (up, left), (down, right) = _padding(module), module.stride
    height = (inputs.shape[-2] + 2 * up - module.kernel_size[0]) // down + 1
    width = (inputs.shape[-1] + 2 * left - module.kernel_size[1]) // right + 1
    rows = met_taps(inputs.shape[-2], module.kernel_size[0], down, up)
    columns = met_taps(inputs.shape[-1], module.kernel_size[1], right, left)
    if inputs.ndim != 4 or not rows.stop or not columns.stop:
        return nn.Conv2d.forward(module, inputs)
    kind = inputs.device.type
    dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else inputs.dtype
    products = inputs.shape[0] * height * width  # rows of the matrices
    channels = min(module.in_channels, module.out_channels)
    tiled = height * width <= POSITIONS and dtype == torch.bfloat16 and _multiplies_in_tiles()
    if module.weight[0].numel() > products or (tiled and module.kernel_size == (1, 1)):
        way = _Unfolded
    elif tiled and height * width <= channels / CHANNELS_A_POSITION:
        way = _UnfoldedGradient
    else:
        return nn.Conv2d.forward(module, inputs)
    where = Geometry((height, width), (down, right), (up, left), (rows, columns))
    found: Any = way.apply(inputs.to(dtype), module.weight, where)
    return found if module.bias is None else found + module.bias.to(dtype)[:, None, None]


@cache
def _multiplies_in_tiles() -> bool:
    """Whether the processor has AMX for bf16; a torch without a word on it is one without bf16 training on CPUs."""
    return bool(getattr(torch.cpu, "get_capabilities", dict)().get("amx_bf16", False))


def _padding(module: nn.Conv2d) -> tuple[int, int]:
    """The pixels of padding above and to the left, which are as many below and to the right."""
    above, left = module.padding
    return int(above), int(left)


class _Unfolded(torch.autograd.Function):
    """A convolution as the product of its unfolded input and its kernels."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, weight: Tensor, where: Geometry) -> Tensor:
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
            weight = _whole_gradient(signal.T @ flat, ctx.weight, where)
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
    def forward(ctx: Any, inputs: Tensor, weight: Tensor, where: Geometry) -> Tensor:
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
            weight = _whole_gradient(signal @ _unfold(images, where), ctx.weight, where)
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


def _whole_gradient(products: Tensor, weight: Tensor, where: Geometry) -> Tensor:
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
