"""What the explorer tells of a layer's channels: the table, one channel's evidence, its pictures."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from convscope.methods.channels.connections import Connection, Connections, find_connections
from convscope.methods.filters import filters
from convscope.methods.maximize import maximize
from convscope.methods.removals.ablation import ablate
from convscope.methods.surveys.layer_table import ChannelRow, make_layer_table
from convscope.methods.surveys.tally import LayerSurvey
from convscope.methods.top_images import SELECTIVE
from convscope.types import Network, Progress
from convscope.web.answers import Missing
from convscope.web.explorer.behind import Behind
from convscope.web.explorer.explored import Explored
from convscope.web.explorer.films import Films
from convscope.web.explorer.looks import Drawn, Memory
from convscope.web.explorer.patterns import Patterns
from convscope.web.explorer.tops import TopImages

KEPT_BYTES = 200_000_000
VARIANTS = 4
STRONGEST = 8

ABLATION_LEAST = 100
ABLATION_PIXELS = 400 * 32 * 32
"""A channel is removed for so many test images as have these pixels in all: a second or two of one processor."""


class Channels:
    """The layers' channels, from what the background has found so far."""

    def __init__(self, explored: Explored, behind: Behind, patterns: Patterns, tops: TopImages, films: Films) -> None:
        self._explored = explored
        self._patterns = patterns
        self._tops = tops
        self._films = films
        self._behind = behind
        self._kept = Memory(KEPT_BYTES)

    def table(self, network: Network, layer: str) -> dict[str, Any]:
        """A row for each channel, None while the survey is not there, and which pictures there are."""
        self._behind.look_at(layer)
        survey = self._behind.surveys.get(layer)
        drawn = self._behind.steps_drawn(network, layer)
        rows = survey and [_row(row) for row in make_layer_table(survey)]
        if survey is None:
            self._behind.want_survey(layer)
        return {
            "channels": self._explored.by_name[layer]["channels"],
            "rows": rows or None,
            "drawn_steps": drawn,
            "pictures": self._pictures(layer, drawn),
        }

    def _pictures(self, layer: str, drawn: Sequence[int]) -> list[str]:
        """What a channel can be shown as; what is there for all channels by now comes first."""
        described = self._explored.by_name[layer]
        is_there = {"pattern": all(drawn)}
        if self._explored.surveyed is not None:
            is_there["top-image"] = layer in self._behind.surveys
        if "Conv" in described["kind"] and not described["block"]:
            is_there["filter"] = True
        return sorted(is_there, key=lambda name: not is_there[name])

    def describe(self, network: Network, layer: str, channel: int) -> dict[str, Any]:
        """One channel's evidence but for what takes long; its connections are None until they are found."""
        explored = self._explored
        self._behind.look_at(layer)
        survey, drawn = self._behind.surveys.get(layer), self._behind.steps_drawn(network, layer)[channel]
        if survey is None:
            self._behind.want_survey(layer)
        row = None if survey is None else make_layer_table(survey)[channel]
        links = self.links(layer, channel)
        named = {"layer": layer, "channel": channel}
        return {
            "numbers": {**self._patterns.numbers(network, layer, channel, drawn), **_numbers(row)},
            "badges": self._badges(row),
            "classes": self._classes(survey, channel),
            "histogram": _histogram(survey, channel),
            "top": self._tops.describe(network, survey, layer, channel),
            "incoming": links and [self._link(each) for each in links.incoming],
            "outgoing": links and [self._link(each) for each in links.outgoing],
            "notes": list(links.notes) if links else [],
            "commands": {
                "pattern": explored.command("maximize", **named),
                "variants": explored.command("maximize", **named, variants=VARIANTS),
                "top": explored.command("top-images", **named, reconstructions=True),
                "film": self._films.command(layer, channel),
            },
        }

    def _link(self, connection: Connection) -> dict[str, Any]:
        """A connection, and the layer whose page shows its channel, if there is one."""
        page = connection.layer and self._explored.page_of(connection.layer)
        return {**asdict(connection), "page": page}

    def links(self, layer: str, channel: int) -> Connections | None:
        """A channel's connections, where they were found."""
        return self._kept.find((layer, channel, "links"), Connections)

    def find_links(self, network: Network, layer: str, channel: int) -> None:
        """Find a channel's strongest connections, which `describe` then tells."""
        self._kept.get(
            (layer, channel, "links"),
            lambda: find_connections(network, layer, channel, count=STRONGEST),
            size=lambda _: 10_000,
        )

    def filter(self, network: Network, layer: str, channel: int) -> Drawn:
        """A channel's filter: the first convolution's as an image, the strongest slice of a deeper one."""
        if "filter" not in self._pictures(layer, ()):
            raise Missing(f"{layer} is no convolution, so it has no filters")
        picture = self._kept.get(
            (layer, channel, "filter"),
            lambda: filters(network, layer, channel, inputs=9),
            size=lambda picture: picture.values.nbytes,
        )
        return Drawn(picture, 0, self._explored.command("filters", layer=layer, channel=channel, inputs=9))

    def variants(self, network: Network, layer: str, channel: int, progress: Progress) -> Drawn:
        """Patterns of one channel that are unlike each other."""
        picture = self._kept.get(
            (layer, channel, "variants"),
            lambda: maximize(network, layer, channel, self._explored.surveyed, variants=VARIANTS, progress=progress),
            size=lambda picture: picture.values.nbytes,
        )
        return Drawn(picture, 0, self._explored.command("maximize", layer=layer, channel=channel, variants=VARIANTS))

    def ablation(self, network: Network, layer: str, channel: int, progress: Progress) -> dict[str, Any]:
        """What the network loses without a channel, over some of the test images, which it says."""
        dataset = self._explored.images_with_labels()
        count = max(ABLATION_LEAST, ABLATION_PIXELS // math.prod(self._explored.input_size))

        def make() -> dict[str, Any]:
            found = ablate(network, layer, channel, dataset, count=count, progress=progress)
            return {
                "images": int(found.counts.sum()),
                "of": len(dataset.test.labels),
                "classes": list(dataset.class_names),
                "accuracy_before": found.accuracy_before.tolist(),
                "accuracy": found.accuracy[0].tolist(),
                "loss_change": float(found.loss_change[0]),
            }

        return self._behind.kept(f"ablation/{layer}-{channel}", make)

    def _badges(self, row: ChannelRow | None) -> list[str]:
        """What is special about a channel, in words."""
        if row is None:
            return []
        names = self._explored.class_names if self._explored.dataset else ()
        badges = ["dead"] if row.dead else []
        if row.duplicate_of is not None:
            badges.append(f"duplicate of {row.duplicate_of}")
        if row.selectivity >= SELECTIVE and not row.dead and row.favourite < len(names):
            badges.append(f"selective for {names[row.favourite]}")
        return badges

    def _classes(self, survey: LayerSurvey | None, channel: int) -> list[list[Any]]:
        """For each class the channel's mean activity over its images."""
        dataset = self._explored.dataset
        if survey is None or dataset is None:
            return []
        means = survey.class_means[:, channel].tolist()
        return [[name, mean] for name, mean in zip(dataset.class_names, means, strict=True)]


def _row(row: ChannelRow) -> dict[str, Any]:
    """A channel's row for the page."""
    told = asdict(row)
    del told["class_means"]
    return {**told, "share_active": 1 - told.pop("share_of_zeros")}


def _numbers(row: ChannelRow | None) -> dict[str, Any]:
    """A channel's row without its number."""
    return {} if row is None else {key: value for key, value in _row(row).items() if key != "channel"}


def _histogram(survey: LayerSurvey | None, channel: int) -> dict[str, Any] | None:
    """How the images' maxima are spread."""
    if survey is None:
        return None
    low, high = survey.histogram_range[channel]
    counts = survey.histogram[channel].tolist()
    return {"edges": np.linspace(low, high, len(counts) + 1).tolist(), "counts": counts}
