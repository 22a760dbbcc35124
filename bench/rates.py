"""The floor that a training is held against: what a step computes, and how fast the machine multiplies matrices."""

from __future__ import annotations

import time

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from bench.timing import finish

REPEATS = 5


def matmul_rate(dtype: torch.dtype, *, device: torch.device | str = "cpu", size: int = 4096) -> float:
    """Operations a second in the fastest of a few products of two square matrices: multiplications and additions."""
    left, right = (torch.rand(size, size, device=device).to(dtype) for _ in range(2))
    seconds: list[float] = []
    for _ in range(REPEATS + 1):
        finish()
        began = time.perf_counter()
        left @ right
        finish()
        seconds.append(time.perf_counter() - began)
    return 2 * size**3 / min(seconds[1:])


def training_operations(model: nn.Module, image_size: tuple[int, int]) -> float:
    """Operations of convolutions and matrices, forward and backward, that training on one image takes."""
    device = next(model.parameters()).device
    images = torch.zeros(2, 3, *image_size, device=device)
    counter = FlopCounterMode(display=False)
    with counter:
        F.cross_entropy(model.train()(images), torch.zeros(2, dtype=torch.int64, device=device)).backward()
    model.zero_grad()
    return counter.get_total_flops() / len(images)
