"""The yardstick for pictures that excite channels: what these reach over a sample of a dataset."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from convscope.hooks import frozen_eval
from convscope.methods.ascents.objectives import Aim, own_maps, score
from convscope.methods.needs import layer_maps, spread_evenly
from convscope.methods.surveys.survey_store import stored_survey
from convscope.types import Dataset, Network, Progress, no_progress

IMAGES = 1000
PIXELS = 2**18  # fed at once


@dataclass(frozen=True)
class Yardstick:
    """Of each channel before its ReLU, or of one direction, over the sampled training images."""

    maxima: Tensor  # (K,): the highest value at any position
    means: Tensor  # (K,): the mean score
    dead: Tensor  # (K,) bool: the layer ends in a ReLU that lets nothing of the channel through
    images: int  # how many were looked at


def find_yardstick(
    network: Network,
    layer: str,
    dataset: Dataset,
    aim: Aim,
    *,
    direction: Tensor | None = None,
    most: int = IMAGES,
    store: Path | None = None,
    progress: Progress = no_progress,
) -> Yardstick:
    """The highest value and the mean score of each channel over up to `most` training images, evenly spaced.

    The layer is a dotted name. With a direction (K,), of that alone. With a `store`, the highest values of channels
    are those of all training images, from the survey that is kept there or is made now, which tells its progress.
    """
    total, _, height, width = dataset.train.images.shape
    chosen = spread_evenly(total, most)
    maxima, scores, rectified = [], [], None
    with frozen_eval(network.model), torch.no_grad():
        for batch in dataset.train.images.batches(chosen.split(max(1, PIXELS // (height * width)))):
            images = batch.float() / 255
            maps = layer_maps(network, layer, images, before_relu=True)
            if rectified is None:  # a ReLU that silences a channel shows in any batch
                rectified = not torch.equal(maps, layer_maps(network, layer, images))
            maps = maps if direction is None else own_maps(maps, [], direction)
            maxima.append(maps.amax((0, 2, 3)))
            scores.append(score(maps, aim).sum(0))
    highest, means = torch.stack(maxima).amax(0).cpu(), torch.stack(scores).sum(0).cpu() / len(chosen)
    looked = len(chosen)
    if store is not None and direction is None:
        surveyed = stored_survey(network, dataset, [layer], store=store, progress=progress)
        reached = surveyed[layer].maxima  # after a ReLU at least zero
        highest, looked = torch.maximum(highest, torch.from_numpy(reached)), total
    return Yardstick(highest, means, (highest <= 0) & bool(rectified), looked)
