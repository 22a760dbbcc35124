"""What stands in for photographs and for a trained network where what they are does not change the time."""

from __future__ import annotations

import torch

from convscope.data.memory import dataset_in_memory
from convscope.models import build_model
from convscope.types import Dataset, Network

CLASSES = tuple(f"class {number}" for number in range(10))


def untrained(model: str) -> Network:
    """A network of the table with random weights."""
    built = build_model(model, class_count=len(CLASSES), seed=0)
    return Network(built, (0.5,) * 3, (0.25,) * 3, (32, 32), CLASSES, model)


def noise(count: int) -> Dataset:
    """So many images of smooth noise: what is in them does not change the time."""
    coarse = torch.rand(count, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    parts = [
        (torch.nn.functional.interpolate(part, (32, 32), mode="bilinear") * 255).to(torch.uint8)
        for part in coarse.split(1000)
    ]
    half = torch.cat(parts), torch.arange(count) % len(CLASSES)
    few = half[0][:100], half[1][:100]
    return dataset_in_memory("noise", half, few, CLASSES, source="drawn here")
