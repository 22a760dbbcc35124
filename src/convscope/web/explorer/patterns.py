"""The explorer's patterns: each channel's as fine as it is drawn by now."""

from __future__ import annotations

from typing import Any

from convscope.types import Network, Picture
from convscope.web.explorer.behind import Behind
from convscope.web.explorer.explored import Explored
from convscope.web.explorer.looks import Drawn, Memory
from convscope.web.explorer.pictures import bare_png

KEPT_BYTES = 200_000_000


class Patterns:
    """What the background has drawn, a part at a time; what was shown last is kept."""

    def __init__(self, explored: Explored, behind: Behind) -> None:
        self._explored = explored
        self._behind = behind
        self._kept = Memory(KEPT_BYTES)

    def draw(self, network: Network, layer: str, channel: int) -> Drawn | None:
        """A channel's pattern as fine as it is by now; None, and it is wanted, where there is none."""
        behind = self._behind
        steps = behind.steps_drawn(network, layer)[channel]
        if not steps or behind.patterns is None:
            behind.want_pattern(layer, channel)
            return None
        return Drawn(
            self._part(network, layer, channel, steps),
            self._place(network, layer, channel),
            self._explored.command("maximize", layer=layer, channel=channel, steps=steps),
        )

    def alone(self, network: Network, layer: str, channel: int) -> Drawn | None:
        """A channel's pattern as a picture of its own, to keep; None where there is none."""
        drawn, kept = self.draw(network, layer, channel), self._behind.patterns
        if drawn is None or kept is None:
            return None
        return Drawn(kept.picture(network, layer, channel), 0, drawn.command)

    def png(self, network: Network, layer: str, channel: int) -> bytes | None:
        """The same as bare pixels; all of a part are painted at once."""
        drawn = self.draw(network, layer, channel)
        if drawn is None:
            return None
        painted = self._kept.get(
            (layer, channel - drawn.tile, self._behind.drawn[layer][channel], "bare"),
            lambda: [bare_png(drawn.picture, [tile]) for tile in range(len(drawn.picture.values))],
            size=lambda each: sum(map(len, each)),
        )
        return painted[drawn.tile]

    def numbers(self, network: Network, layer: str, channel: int, steps: int) -> dict[str, Any]:
        """What the pattern reaches, where it is drawn."""
        if not steps:
            return {}
        numbers = self._part(network, layer, channel, steps).numbers
        place = self._place(network, layer, channel)
        names = ("activation", "ratio", "dataset_maximum", "agreement")
        return {f"pattern_{name}": numbers[name][place] for name in names if numbers.get(name)}

    def _part(self, network: Network, layer: str, channel: int, steps: int) -> Picture:
        """The patterns of the part that holds a channel."""
        kept = self._behind.patterns
        assert kept is not None
        part = next(part for part in kept.parts(network, layer) if channel in part)
        return self._kept.get(
            (layer, part[0], steps),
            lambda: kept.picture(network, layer, part),
            size=lambda picture: picture.values.nbytes,
        )

    def _place(self, network: Network, layer: str, channel: int) -> int:
        """The channel's place in its part."""
        kept = self._behind.patterns
        assert kept is not None
        return next(part for part in kept.parts(network, layer) if channel in part).index(channel)
