"""Whether the pixels that a map points at mattered: what a logit is without them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from convscope.methods.needs import batch_limit

TOP = 0.2  # the share of the pixels that is taken away
SHIFTS = 8  # how often as many pixels elsewhere are


def without_top(
    model: nn.Module,
    inputs: Float[Tensor, "1 C H W"],
    target: int,
    maps: Sequence[Float[np.ndarray, "1 1 H W"]],
    *,
    seed: int = 0,
) -> tuple[list[float], list[float]]:
    """For each map, the logit when its top fifth of pixels is zero, and when pixels elsewhere are.

    Those elsewhere are the same shape moved around by at least a quarter of the image, on average over eight
    draws: scattered pixels would disturb a network more than a patch, wherever they are. `inputs` is what the
    model is fed, so that zero is the mean colour. The model's mode is the caller's.

    >>> model, values = nn.Sequential(nn.Flatten(), nn.Linear(16, 1, bias=False)), np.zeros((1, 1, 4, 4))
    >>> values[0, 0, 1, 1:] = 1
    >>> model[1].weight.data = torch.from_numpy(values).float().view(1, 16)
    >>> without_top(model, torch.ones(1, 1, 4, 4), 0, [values])[0]
    [0.0]
    """
    height, width = inputs.shape[2:]
    masks: list[np.ndarray] = []
    for values in maps:
        generator = np.random.default_rng(seed)  # for each anew, so that a map's figures do not depend on the others
        top = np.zeros(height * width, dtype=bool)
        top[np.argsort(-values.ravel(), kind="stable")[: max(1, round(TOP * top.size))]] = True
        moves = [generator.integers(side // 4, side - side // 4 + 1, SHIFTS).tolist() for side in (height, width)]
        mask = top.reshape(height, width)
        masks += [mask, *(np.roll(mask, move, (0, 1)) for move in zip(*moves, strict=True))]
    taken = torch.from_numpy(np.stack(masks))[:, None].to(inputs.device)  # (maps * (1 + SHIFTS), 1, H, W)
    with torch.no_grad():
        logits = [model(inputs * ~some)[:, target] for some in taken.split(batch_limit((height, width)))]
    table = torch.cat(logits).float().cpu().view(len(maps), 1 + SHIFTS)
    return table[:, 0].tolist(), table[:, 1:].mean(1).tolist()
