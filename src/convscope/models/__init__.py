"""Models: our own by name, and any other by its source and name, built for a number of classes from a seed."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from convscope.tables import Entry, Table, look_up

if TYPE_CHECKING:
    from torch import nn

MODELS: Table[Entry] = Table(
    "convscope.models",
    {
        "resnet18": Entry("convscope.models.resnet:resnet18", "3×3 stem at full resolution: the CIFAR standard"),
        "resnet18-imagenet": Entry(
            "convscope.models.resnet:resnet18_imagenet", "7×7 stem and max-pool: torchvision's resnet18"
        ),
        "resnet18-7x7": Entry(
            "convscope.models.resnet:resnet18_7x7", "7×7 stem without pool, every stage halves: quick at 32×32"
        ),
        "resnet10-narrow": Entry(
            "convscope.models.resnet:resnet10_narrow", "5×5 stem, one block a stage, widths 32 to 256: for CPUs"
        ),
        "vgg7": Entry(
            "convscope.models.vgg:vgg7", "5×5 stem and six 3×3 convolutions without shortcuts: the soonest on CPUs"
        ),
        "resnet8": Entry("convscope.models.resnet:resnet8", "three thin stages: for tests and laptops"),
    },
)


def build_model(name: str, *, class_count: int, seed: int) -> nn.Module:
    """A new model with random weights that are a pure function of the seed.

    Besides those of MODELS, `name` may be torchvision:NAME, timm:NAME, huggingface:PLACE or module:function; a
    function's model keeps the weights that it comes with, but for a head of another number of classes.
    Raises UsageError for a name that is none of these.

    >>> sum(p.numel() for p in build_model("resnet18-7x7", class_count=10, seed=0).parameters())
    11185866
    """
    with seeded(seed):
        if name in MODELS or ":" not in name:
            return look_up(MODELS, name, kind="model").load()(class_count=class_count)
        from convscope.models.zoo import other_model

        return other_model(name, class_count)


@contextmanager
def seeded(seed: int) -> Generator[None]:
    """Within it weights are drawn by the seed; what is drawn after it is as if it had not been."""
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # the CPU's alone: torch.manual_seed would seed every GPU as well
        yield
