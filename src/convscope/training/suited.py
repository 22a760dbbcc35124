"""A recipe suited to a network: what the network cannot have is done without."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import nn

from convscope.training.batches import shrink
from convscope.training.engine import FORMATS, place
from convscope.training.whitening import image_convolution
from convscope.types import Dataset, Phase, Recipe


def suit_model(recipe: Recipe, model: nn.Module, dataset: Dataset) -> Recipe:
    """The recipe without what the model does not allow, found by feeding a copy of it black images.

    - Maps with their channels last, where it calls `view` on them to flatten them, as many a first network does.
    - Smaller images in a phase (`resolution`), where it takes images of one size alone.
    - Whitening, where it does not begin with a convolution of the whole image.

    A model that fails with images as they are gets the recipe as it is: its failure is told where it is trained. So
    does one that cannot be copied, such as one that keeps tensors which were computed of its weights.
    """
    try:
        trial = copy.deepcopy(model).cpu().eval()
    except RuntimeError:
        return recipe
    layout = "contiguous" if recipe.memory_format == "contiguous" else "channels-last"
    if layout == "channels-last" and not _takes(trial, dataset, 1.0, layout):
        if not _takes(trial, dataset, 1.0, "contiguous"):
            return recipe
        layout = "contiguous"
        recipe = replace(recipe, memory_format=layout)

    def suited(phase: Phase) -> Phase:
        if phase.resolution != 1 and not _takes(trial, dataset, phase.resolution, layout):
            phase = replace(phase, resolution=1.0)
        return replace(phase, whitened=phase.whitened and image_convolution(model, dataset) is not None)

    return replace(recipe, phases=tuple(suited(phase) for phase in recipe.phases))


def what_is_left_out(asked: Recipe, suited: Recipe) -> Iterator[str]:
    """In words for the user, a line each, what of a recipe its network does not allow."""
    pairs = list(zip(asked.phases, suited.phases, strict=True))
    if any(one.resolution != other.resolution for one, other in pairs):
        yield f"{asked.model} takes images of one size alone: none are made smaller, as the recipe {asked.name} would"
    if any(one.whitened != other.whitened for one, other in pairs):
        yield (
            f"{asked.model} does not begin with a convolution of the whole image: it is trained without the "
            f"whitening of the recipe {asked.name}"
        )


def _takes(trial: nn.Module, dataset: Dataset, share: float, layout: str) -> bool:
    """Whether the model computes something of images with sides of that share of the dataset's, in that layout."""
    images = shrink(torch.zeros(2, len(dataset.mean), *dataset.image_size), share)
    place(trial, images.device, layout)  # pyright: ignore[reportArgumentType] - one of the two
    try:
        with torch.no_grad():
            trial(images.contiguous(memory_format=FORMATS[layout]))  # pyright: ignore[reportArgumentType] - likewise
    except Exception:  # networks refuse in ways of their own: torch by RuntimeError, others by ValueError or assert
        return False
    return True
