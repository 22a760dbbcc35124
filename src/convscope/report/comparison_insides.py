"""What two networks have in common inside: how alike their layers are, and which of their channels are partners."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from convscope.errors import NumericsError, UsageError
from convscope.hooks import convolutions
from convscope.methods.depths import end_layers
from convscope.methods.evidence import randomized
from convscope.methods.similarity.channel_matching import ChannelMatch, channel_correlations, match_channels
from convscope.methods.similarity.layer_similarity import gram_matrices, layer_similarity
from convscope.report.comparison_charts import Alike, likeness_by_depth, likeness_maps
from convscope.report.comparison_pictures import filter_pairs, pattern_pairs
from convscope.report.page import Album
from convscope.types import Dataset, Network, Progress

Grams = Mapping[str, NDArray[np.float64]]


class Side(NamedTuple):
    """A network that is looked into."""

    name: str
    network: Network
    place: int | None  # its contender's, for its colour; None for a yardstick


def likeness(
    reference: Side, others: Sequence[Side], twin: Side | None, dataset: Dataset, album: Album, *, progress: Progress
) -> dict[str, Any]:
    """Charts of how alike the layers of the reference and of each other network are, with two yardsticks.

    `twin` is the reference with another seed, where there is one; the other yardstick is the reference with random
    weights.
    """
    random = Side("random weights", randomized(reference.network), None)
    compared = [*others, *([twin] if twin else []), random]
    own = gram_matrices(reference.network, dataset, progress=progress)
    grams: dict[str, Grams] = {
        side.name: gram_matrices(side.network, dataset, progress=progress) for side in compared
    }
    tables = {side.name: layer_similarity(own, grams[side.name]) for side in compared}
    shown = [side for side in compared if side is not random]
    pairs = [
        Alike(
            f"{reference.name} and {side.name}",
            reference.name,
            side.name,
            tables[side.name],
            list(own),
            list(grams[side.name]),
        )
        for side in shown
    ]
    label = "Linear CKA of each layer with each"
    found: dict[str, Any] = {"maps": album.chart("likeness", likeness_maps(pairs), label), "twin": twin}
    same = [side for side in compared if list(grams[side.name]) == list(own)]
    lines = {side.name: (np.diag(tables[side.name]), side.place) for side in same}
    if len(lines) > 1:
        chart = likeness_by_depth(lines, list(own))
        found["depth"] = album.chart("likeness-by-depth", chart, "Linear CKA of the same layer, by depth")
    found["means"] = {name: float(values.mean()) for name, (values, _) in lines.items()}
    found["lowest"] = {name: list(own)[int(values.argmin())] for name, (values, _) in lines.items()}
    return found


def partners(
    reference: Side, other: Side, dataset: Dataset, album: Album, *, progress: Progress
) -> list[dict[str, Any]]:
    """Of the first convolution and of the last stage: the channels that are partners, in numbers and in a picture."""
    names = reference.name, other.name
    control = randomized(other.network)
    ends = zip(end_layers(reference.network), end_layers(other.network), strict=True)
    found: list[dict[str, Any]] = []
    for layers in ends:
        try:
            tables = [
                channel_correlations(reference.network, each, *layers, dataset, progress=progress)
                for each in (other.network, control)
            ]
        except (UsageError, NumericsError) as error:
            found.append({"layers": layers, "why_not": str(error)})
            continue
        match, chance = (match_channels(table) for table in tables)
        first = layers[0] == convolutions(reference.network.model)[0]
        if first:
            picture = filter_pairs(reference.network, other.network, match, names)
        else:
            picture = pattern_pairs(
                reference.network, other.network, layers, match, names, dataset, progress=progress
            )
        counts = tables[0].shape
        found.append(
            {
                "layers": layers,
                "first": first,
                "counts": counts,
                **_numbers(match),
                "chance": _numbers(chance),
                "picture": album.picture(picture, scale=1) if picture else None,
            }
        )
    return found


def _numbers(match: ChannelMatch) -> dict[str, Any]:
    """What the words about a match are about."""
    return {
        "pairs": len(match.pairs),
        "mean": float(np.mean(match.correlations)) if match.pairs else None,
        "same_number": sum(first == other for first, other in match.pairs),
        "alone": len(match.alone),
        "others_alone": len(match.others_alone),
        "dead": len(match.dead),
        "others_dead": len(match.others_dead),
    }
