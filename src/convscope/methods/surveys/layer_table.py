"""A layer's channels as rows of numbers to sort and to filter by, from its survey."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Literal

from convscope.errors import UsageError, closest
from convscope.methods.surveys.tally import LayerSurvey
from convscope.methods.top_images import SELECTIVE, TWIN

Kind = Literal["all", "live", "dead", "duplicate", "selective"]
KINDS: tuple[Kind, ...] = ("all", "live", "dead", "duplicate", "selective")


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


SORTABLE = tuple(each.name for each in fields(ChannelRow) if each.name not in ("class_means", "dead", "duplicate_of"))


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


def choose_rows(
    table: Sequence[ChannelRow],
    *,
    sort: str = "channel",
    descending: bool | None = None,
    kind: Kind = "all",
    favourite: int | None = None,
) -> list[ChannelRow]:
    """The rows of one kind, of channels that favour one class, or of all, sorted by a column.

    `descending` is by default true but for the channels' own numbers; equal rows stay in the table's order. A channel
    that is dead favours no class. "live" ones are not dead, "selective" ones are excited by a class three times as
    much as by the others, and "duplicate" ones do what another does. With `sort` "favourite", the channels of a
    class stand together, the most selective first. Raises UsageError for a column or kind that is not.
    """
    if sort not in SORTABLE:
        raise UsageError(f'no column "{sort}"{closest(sort, SORTABLE)}; allowed: {", ".join(SORTABLE)}')
    if kind not in KINDS:
        raise UsageError(f'no kind "{kind}"{closest(kind, KINDS)}; allowed: {", ".join(KINDS)}')
    chosen = [row for row in table if _is(row, kind)]
    if favourite is not None:
        chosen = [row for row in chosen if row.favourite == favourite and not row.dead]
    if sort == "favourite":
        return sorted(chosen, key=lambda row: (row.dead, row.favourite, -row.selectivity))
    down = sort != "channel" if descending is None else descending
    return sorted(chosen, key=lambda row: -getattr(row, sort) if down else getattr(row, sort))


def _is(row: ChannelRow, kind: Kind) -> bool:
    """Whether the channel is of this kind."""
    return {
        "all": True,
        "live": not row.dead,
        "dead": row.dead,
        "duplicate": row.duplicate_of is not None,
        "selective": row.selectivity >= SELECTIVE,
    }[kind]
