"""What a method is given by its command: what its signature needs, whichever method it is."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import torch

from convscope.types import Dataset

LAYER = "conv3"


def given(method: Callable[..., Any], dataset: Dataset) -> dict[str, Any]:
    """The middle stage, the first test image, the dataset: those that it needs, and the dataset wherever it is taken.

    >>> from bench.stand_ins import noise
    >>> sorted(given(lambda network, layer, image, channel=None, *, steps=3: None, noise(10)))
    ['image', 'layer']
    """
    image = next(iter(dataset.test.images.batches([torch.tensor([0])]))).float() / 255
    there = {"layer": LAYER, "image": image, "dataset": dataset}
    parameters = inspect.signature(method).parameters
    return {
        name: value
        for name, value in there.items()
        if name in parameters and (name == "dataset" or parameters[name].default is inspect.Parameter.empty)
    }
