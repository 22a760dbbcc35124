"""Loss and accuracy of a network over a whole split."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Int64
from torch import Tensor

from convscope.ranks import ALONE, Ranks
from convscope.training.engine import FORMATS, MemoryFormat, Precision, autocast
from convscope.types import Network, Split


def evaluation_batch(image_size: tuple[int, int], device: torch.device) -> int:
    """How many images of (H, W) are evaluated at once: the pixels of 500 of 32×32, on a CPU at most 125 images.

    >>> cpu, gpu = torch.device("cpu"), torch.device("cuda")
    >>> evaluation_batch((32, 32), cpu), evaluation_batch((32, 32), gpu), evaluation_batch((256, 256), cpu)
    (125, 500, 7)
    """
    most = 125 if device.type == "cpu" else 500
    return max(1, min(most, 500 * 32 * 32 // (image_size[0] * image_size[1])))


class Evaluation(NamedTuple):
    """What a network makes of a split."""

    loss: float  # mean cross-entropy
    accuracy: float  # top-1, in [0, 1]
    confusion: Int64[Tensor, "classes classes"]  # images by true class (rows) and predicted class


class Stopped(Exception):
    """The evaluation was told to stop before its end."""


def evaluate(
    network: Network,
    split: Split,
    *,
    device: torch.device,
    precision: Precision = "fp32",
    memory_format: MemoryFormat = "channels-last",
    should_stop: Callable[[], bool] = lambda: False,
    ranks: Ranks = ALONE,
) -> Evaluation:
    """Loss, accuracy and confusion over the whole split, in evaluation mode, without augmentation.

    Several ranks take the batches in turn, and all get the sums that one would get.
    The model is left in the modes it came in. Raises Stopped where `should_stop` turned true before the end.
    """
    modes = [(module, module.training) for module in network.model.modules()]
    network.model.eval()
    classes = len(network.class_names)
    confusion = torch.zeros(classes * classes, dtype=torch.int64, device=device)
    parts = torch.arange(len(split.labels)).split(evaluation_batch(network.input_size, device))
    losses = torch.zeros(len(parts), dtype=torch.float64, device=device)  # by batch: their sum is in one order
    batches = split.images.batches(parts[ranks.rank :: ranks.count])
    try:
        with torch.inference_mode():
            for turn in range(0, len(parts), ranks.count):
                if ranks.agree(should_stop())[0]:
                    raise Stopped
                part = turn + ranks.rank
                if part >= len(parts):
                    continue
                indices, images = parts[part], next(batches)
                labels = split.labels[indices].to(device)
                inputs = images.to(device).to(memory_format=FORMATS[memory_format]).float() / 255
                with autocast(device, precision):
                    logits = network(inputs).float()
                losses[part] = F.cross_entropy(logits, labels, reduction="sum")
                confusion += (labels * classes + logits.argmax(1)).bincount(minlength=classes * classes)
    finally:
        for module, mode in modes:
            module.training = mode
    confusion = ranks.add_up(confusion).view(classes, classes).cpu()
    loss = ranks.add_up(losses).sum().item()
    return Evaluation(loss / len(split.labels), confusion.diagonal().sum().item() / len(split.labels), confusion)
