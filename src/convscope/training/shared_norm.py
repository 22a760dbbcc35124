"""Batch norm over the whole batch where every rank has a share of it, on any device.

Ioffe and Szegedy, "Batch Normalization" (2015), algorithm 1, with the batch's moments merged from the shares' moments
by Chan, Golub and LeVeque, "Updating Formulae and a Pairwise Algorithm for Computing Sample Variances" (1979).
torch.nn.SyncBatchNorm does the same, but only on GPUs.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from convscope.ranks import Ranks

BatchNorm = nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d


class SharedNorms:
    """Within it a model's batch norms in training mode take mean and variance over all ranks' images."""

    def __init__(self, model: nn.Module, ranks: Ranks) -> None:
        self._norms = [module for module in model.modules() if isinstance(module, BatchNorm)]
        self._ranks = ranks

    def __enter__(self) -> None:
        for norm in self._norms:
            original = norm.forward
            norm.forward = partial(_forward, norm, original, self._ranks)

    def __exit__(self, *_: object) -> None:
        for norm in self._norms:
            del norm.forward


def _forward(norm: BatchNorm, original: Callable[[Tensor], Tensor], ranks: Ranks, input: Tensor) -> Tensor:
    """What the module computes: (B, C, ...) to the same shape."""
    if not norm.training:
        return original(input)
    outputs, mean, variance, count = _SharedNorm.apply(input, norm.weight, norm.bias, norm.eps, ranks)
    if norm.running_mean is not None and norm.running_var is not None and norm.num_batches_tracked is not None:
        norm.num_batches_tracked += 1
        share = norm.momentum if norm.momentum is not None else 1 / norm.num_batches_tracked.item()
        norm.running_mean.lerp_(mean, share)
        norm.running_var.lerp_(variance * (count / (count - 1)), share)
    return outputs


class _SharedNorm(torch.autograd.Function):
    """Normalization with moments over all ranks, and its gradient."""

    @staticmethod
    def forward(
        ctx: Any, inputs: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float, ranks: Ranks
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        values = inputs.to(torch.promote_types(inputs.dtype, torch.float32))
        variance, mean = torch.var_mean(values, _all_but_channels(inputs), correction=0)
        count = torch.full_like(mean, values.numel() / values.shape[1])
        means, variances, counts = ranks.gather(torch.stack([mean, variance, count])).unbind(1)  # (ranks, C) each
        total = counts.sum(0)
        mean = (means * counts).sum(0) / total
        variance = ((variances + (means - mean).square()) * counts).sum(0) / total
        scale = (variance + eps).rsqrt()
        normal = (values - _wide(mean, inputs)) * _wide(scale, inputs)
        ctx.save_for_backward(normal, weight, scale, total)
        ctx.ranks = ranks
        outputs = normal if weight is None else normal * _wide(weight, inputs)
        outputs = outputs if bias is None else outputs + _wide(bias, inputs)
        ctx.mark_non_differentiable(mean, variance, total)
        return outputs.to(inputs.dtype), mean, variance, total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        normal, weight, scale, total = ctx.saved_tensors
        gradient = gradients[0].to(normal.dtype)
        sums = torch.stack(
            [gradient.sum(_all_but_channels(gradient)), (gradient * normal).sum(_all_but_channels(gradient))]
        )
        own = sums.clone()
        first, second = (ctx.ranks.add_up(sums) / total).unbind()
        inner = gradient - _wide(first, normal) - normal * _wide(second, normal)
        factor = scale if weight is None else scale * weight
        inputs = (inner * _wide(factor, normal)).to(gradients[0].dtype)
        return inputs, None if weight is None else own[1], None if weight is None else own[0], None, None


def _all_but_channels(values: Tensor) -> list[int]:
    return [axis for axis in range(values.dim()) if axis != 1]


def _wide(values: Tensor, like: Tensor) -> Tensor:
    """(C,) as (1, C, 1, ...)."""
    return values.view(1, -1, *[1] * (like.dim() - 2))
