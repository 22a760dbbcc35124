"""A layer's channels as rows of numbers, from its survey."""

from __future__ import annotations

from dataclasses import dataclass

from convscope.methods.surveys.tally import LayerSurvey
from convscope.methods.top_images import TWIN


@dataclass(frozen=True)
class ChannelRow:
    """What a channel did over a split."""

    channel: int
    maximum: float  # its highest value, in the layer's own units
    mean: float  # over images and positions
    share_of_zeros: float  # of images and positions, in [0, 1]: those not above zero
    selectivity: float  # for one class, in [0, 1]
    favourite: int  # that class
    class_means: tuple[float, ...]  # for each class the mean over its images and positions of what is above zero
    dead: bool  # the same value everywhere
    duplicate_of: int | None  # the channel that does what this one does
    likeness: float  # to the channel most like it, in [-1, 1]


def make_layer_table(survey: LayerSurvey) -> list[ChannelRow]:
    """A row for each of the layer's channels, in their order.

    >>> import numpy as np, torch
    >>> from convscope.methods.surveys.tally import Tally
    >>> maps = torch.tensor([[[[1.0]], [[0.0]]], [[[3.0]], [[0.0]]]])
    >>> tally = Tally(maps, layer="a", count=1, images=2, classes=2)
    >>> tally.add(maps, torch.eye(2))
    >>> [(row.maximum, row.favourite, row.selectivity, row.dead) for row in make_layer_table(tally.survey())]
    [(3.0, 1, 0.5, False), (0.0, 0, 0.0, True)]
    """
    return [
        ChannelRow(
            channel=index,
            maximum=float(survey.maxima[index]),
            mean=float(survey.means[index]),
            share_of_zeros=float(survey.shares_of_zeros[index]),
            selectivity=float(survey.selectivity[index]),
            favourite=int(survey.selective_class[index]),
            class_means=tuple(survey.class_means[:, index].tolist()),
            dead=bool(survey.dead[index]),
            duplicate_of=int(survey.twins[index]) if survey.likeness[index] > TWIN else None,
            likeness=float(survey.likeness[index]),
        )
        for index in range(len(survey.means))
    ]
