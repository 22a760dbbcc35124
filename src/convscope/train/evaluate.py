"""Loss and accuracy of a network over a whole split."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F

from convscope.train.engine import Precision, autocast
from convscope.types import Network, Split


def evaluation_batch(image_size: tuple[int, int]) -> int:
    """How many images of (H, W) are evaluated at once: 500 of 32×32, fewer of larger ones.

    >>> evaluation_batch((32, 32)), evaluation_batch((256, 256))
    (500, 7)
    """
    return max(1, min(500, 500 * 32 * 32 // (image_size[0] * image_size[1])))


class Stopped(Exception):
    """The evaluation was told to stop before its end."""


def evaluate(
    network: Network,
    split: Split,
    *,
    device: torch.device,
    precision: Precision = "fp32",
    should_stop: Callable[[], bool] = lambda: False,
) -> tuple[float, float]:
    """Mean cross-entropy and top-1 accuracy in [0, 1] over the split, in evaluation mode, without augmentation.

    The model is left in the modes it came in. Raises Stopped where `should_stop` turned true before the end.
    """
    modes = [(module, module.training) for module in network.model.modules()]
    network.model.eval()
    loss = torch.zeros((), dtype=torch.float64, device=device)
    correct = torch.zeros((), dtype=torch.int64, device=device)
    parts = torch.arange(len(split.labels)).split(evaluation_batch(network.input_size))
    try:
        with torch.inference_mode():
            for indices, images in zip(parts, split.images.batches(parts), strict=True):
                if should_stop():
                    raise Stopped
                labels = split.labels[indices].to(device)
                inputs = images.to(device).to(memory_format=torch.channels_last).float() / 255
                with autocast(device, precision):
                    logits = network(inputs).float()
                loss += F.cross_entropy(logits, labels, reduction="sum")
                correct += (logits.argmax(1) == labels).sum()
    finally:
        for module, mode in modes:
            module.training = mode
    return loss.item() / len(split.labels), correct.item() / len(split.labels)
