"""One forward pass, many signals back at once: layers whose backward pass takes a batch of gradients quickly."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.grad import conv2d_input
from torch.overrides import TorchFunctionMode

Pair = tuple[int, int]

MOST_OF_IT = 0.7
"""A signal that is zero outside a smaller share of its map goes back from there alone: one unit sees little."""


class BatchedBackward(TorchFunctionMode):
    """Within it, a forward pass is recorded so that `gradients` takes many signals back through it quickly.

    What is computed stays the same to rounding. A batch of gradients goes back through a convolution as one
    larger batch, and batch norms in evaluation mode become the affine maps that they are. Weights get no gradients.

    >>> weight, x = torch.ones(1, 1, 2, 2), torch.ones(1, 1, 3, 3, requires_grad=True)
    >>> with BatchedBackward():
    ...     y = F.conv2d(x, weight)
    >>> gradients(y, x, torch.ones(5, *y.shape)).shape
    torch.Size([5, 1, 1, 3, 3])
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Calls func, or its quick twin."""
        kwargs = kwargs or {}
        if func is torch.conv2d:
            return _conv2d(*args, **kwargs)
        if func is F.batch_norm:
            return _batch_norm(*args, **kwargs)
        return func(*args, **kwargs)


def gradients(outputs: Tensor, inputs: Tensor, signals: Tensor) -> Tensor:
    """For each signal, of the outputs' shape, the gradient of its product with the outputs, of the inputs' shape.

    What was recorded stays as long as the outputs do, so that more signals can follow.
    """

    def back(signal: Tensor) -> Tensor:
        return torch.autograd.grad(outputs, inputs, signal, retain_graph=True)[0]

    return back(signals[0])[None] if len(signals) == 1 else torch.func.vmap(back)(signals)


def _conv2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: int | Sequence[int] = 1,
    padding: int | Sequence[int] | str = 0,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
) -> Tensor:
    """A convolution of a batch (N, C, H, W), with the backward pass above."""
    if isinstance(padding, str) or input.ndim != 4:
        return torch.conv2d(input, weight, bias, stride, padding, dilation, groups)
    return cast(
        "Tensor", _Convolve.apply(input, weight, bias, _pair(stride), _pair(padding), _pair(dilation), groups)
    )


def _batch_norm(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """A batch norm; an affine map where it uses the statistics that it has kept."""
    if training or running_mean is None or running_var is None:
        return F.batch_norm(input, running_mean, running_var, weight, bias, training, momentum, eps)
    scale = (running_var + eps).rsqrt()
    scale = scale if weight is None else scale * weight
    shift = -running_mean * scale
    shift = shift if bias is None else shift + bias
    shape = (1, -1, *(1,) * (input.ndim - 2))
    return input * scale.view(shape) + shift.view(shape)


class _Convolve(torch.autograd.Function):
    """torch.conv2d, differentiated by its input alone."""

    @staticmethod
    def forward(  # pyright: ignore[reportIncompatibleMethodOverride]
        values: Tensor, weight: Tensor, bias: Tensor | None, stride: Pair, padding: Pair, dilation: Pair, groups: int
    ) -> Tensor:
        return torch.conv2d(values, weight, bias, stride, padding, dilation, groups)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        values, weight, _, *ctx.geometry = inputs
        ctx.shape = values.shape
        ctx.save_for_backward(weight)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        (weight,) = ctx.saved_tensors
        back = cast("Tensor", _Transpose.apply(gradient, weight, ctx.shape, *ctx.geometry))
        return back, None, None, None, None, None, None


class _Transpose(torch.autograd.Function):
    """A convolution's gradient by its input (N, C, H, W); a batch of gradients goes through as one larger N."""

    @staticmethod
    def forward(  # pyright: ignore[reportIncompatibleMethodOverride]
        gradient: Tensor,
        weight: Tensor,
        shape: Sequence[int],
        stride: Pair,
        padding: Pair,
        dilation: Pair,
        groups: int,
    ) -> Tensor:
        (top, bottom), (left, right) = (_extent(gradient, axis) for axis in (2, 3))
        part = gradient[:, :, top:bottom, left:right]
        if part.numel() > MOST_OF_IT * gradient.numel():
            # Its documentation allows pairs, its inferred types do not.
            return conv2d_input(shape, weight, gradient, stride, padding, dilation, groups)  # pyright: ignore[reportArgumentType]
        back = gradient.new_zeros(tuple(shape))
        if part.numel():
            spans = [_reached(*each) for each in zip(part.shape[2:], weight.shape[2:], stride, dilation, strict=True)]
            small = (*shape[:2], *spans)
            reached = conv2d_input(small, weight, part, stride, 0, dilation, groups)  # pyright: ignore[reportArgumentType]
            _place(reached, back, top * stride[0] - padding[0], left * stride[1] - padding[1])
        return back

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        """Nothing is kept: it is not differentiated again."""

    @staticmethod
    def vmap(info: Any, in_dims: tuple[Any, ...], *inputs: Any) -> tuple[Tensor, int]:
        """The gradients (B, N, ...) as (B * N, ...), and back."""
        gradient, weight, shape, *geometry = inputs
        gradients = gradient.movedim(in_dims[0], 0)  # (B, N, K, h, w)
        count, images = gradients.shape[:2]
        back = _Transpose.apply(gradients.flatten(0, 1), weight, (count * images, *shape[1:]), *geometry)
        return cast("Tensor", back).unflatten(0, (count, images)), 0


def _extent(gradient: Tensor, axis: int) -> Pair:
    """From where to where along an axis of (N, K, h, w) there is anything that is not zero."""
    sizes = gradient.abs().amax([each for each in range(4) if each != axis])
    found = sizes.nonzero().flatten().tolist()
    return (found[0], found[-1] + 1) if found else (0, 0)


def _reached(count: int, kernel: int, stride: int, dilation: int) -> int:
    """How many inputs in a row so many outputs in a row see."""
    return (count - 1) * stride + dilation * (kernel - 1) + 1


def _place(part: Tensor, whole: Tensor, top: int, left: int) -> None:
    """Write a part into the whole from that row and column on; what lies outside is dropped, as padding is."""
    bottom, right = top + part.shape[2], left + part.shape[3]
    rows, columns = slice(max(0, top), max(0, bottom)), slice(max(0, left), max(0, right))
    target = whole[:, :, rows, columns]
    top, left = max(0, -top), max(0, -left)
    target.copy_(part[:, :, top : top + target.shape[2], left : left + target.shape[3]])


def _pair(size: int | Sequence[int]) -> Pair:
    """The two sides of a size that may be given as one."""
    sides = (size,) if isinstance(size, int) else tuple(size)
    return (sides[0], sides[-1])
