"""What the explorer computes of one image: predictions, maps, reconstructions, attributions, what decides."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Hashable
from contextlib import suppress
from threading import Lock
from typing import Any, NamedTuple, TypeVar, cast

import numpy as np
import torch

from convscope.errors import ConvscopeError
from convscope.hooks import frozen_eval, like_model
from convscope.methods.attribute import attribute
from convscope.methods.attributions import How
from convscope.methods.needs import check_logits, class_name, signed_limits
from convscope.methods.projection import Recorded, record_pass
from convscope.methods.reconstruct import reconstruct, reconstruct_one, rule_reading
from convscope.methods.removals.decisive import find_decisive
from convscope.paint import colours
from convscope.relu_rules import Rule
from convscope.types import Network, Picture, Progress
from convscope.web.answers import Missing
from convscope.web.explorer.explored import Explored
from convscope.web.explorer.pictures import draw_sheet, encode_png, record_maps

Value = TypeVar("Value")

KEPT_BYTES = 200_000_000
MOST_CLASSES = 20

FEWEST_PASSES = 3
PASSES_PIXELS = 32 * 32 * 32
"""So many passes are kept as their images have pixels in all, three at least: a deep network's pass of 224 × 224 \
pixels takes a hundred megabytes."""


class Drawn(NamedTuple):
    """A picture, which of its tiles the page shows, and the command that draws it again."""

    picture: Picture
    tile: int
    command: str


class Unit(NamedTuple):
    """What of an image a unit, or a channel, answers to."""

    png: bytes  # bare
    dark: bool
    value: float  # how strongly it answers; of a channel, its strongest unit
    caption: str  # what the rule does
    command: str


class Looks:
    """One image after the other, as a person clicks; what was computed last is kept for the next click."""

    def __init__(self, explored: Explored) -> None:
        self._explored = explored
        self._kept = Memory(KEPT_BYTES)
        self._passes = Memory(max(FEWEST_PASSES, PASSES_PIXELS // math.prod(explored.input_size)))

    def prepare(self, network: Network) -> None:
        """Load and set up before the first click what the first click would wait for."""
        image = torch.zeros(len(network.mean), *network.input_size)
        layers = [layer["name"] for layer in self._explored.layers if layer["explorable"]]
        with suppress(ConvscopeError):
            reconstruct_one(record_pass(network, layers[0], image[None], rule="gradient"), 0, (0, 0))
            draw_sheet(record_maps(network, layers[0], image), 0, 1, 1)

    def prepare_questions(self, network: Network) -> None:
        """The same for what may take seconds."""
        image = torch.zeros(len(network.mean), *network.input_size)
        with suppress(ConvscopeError):
            attribute(network, image, how="saliency")

    def describe(self, network: Network, image: str) -> dict[str, Any]:
        """What the network says of an image. Raises Missing."""
        gallery = self._explored.gallery
        pixels = gallery.pixels(image)
        with frozen_eval(network.model) as model, torch.no_grad():
            logits = check_logits(network, network(like_model(model, pixels[None])))
        chances = logits.softmax(1)[0].cpu()
        order = chances.argsort(descending=True, stable=True)[:MOST_CLASSES].tolist()
        return {
            "id": image,
            "name": gallery.name(image),
            "label": gallery.label(image),
            "size": list(pixels.shape[1:]),
            "predicted": order[0],
            "probabilities": [[class_name(network, index), chances[index].item(), index] for index in order],
        }

    def maps(self, network: Network, image: str, layer: str) -> np.ndarray:
        """A layer's maps (K, h, w) of an image. Raises Missing."""
        pixels = self._explored.gallery.pixels(image)
        return self._kept.get((image, layer), lambda: record_maps(network, layer, pixels), size=lambda it: it.nbytes)

    def unit(
        self, network: Network, image: str, layer: str, channel: int, at: tuple[int, int] | None, rule: Rule
    ) -> Unit:
        """The reconstruction of one unit, or of a whole channel for `at` None. Raises Missing.

        The image's pass up to the layer is kept, so that the next unit costs a backward pass and no more.
        """
        explored = self._explored
        _, height, width = explored.by_name[layer]["maps"]
        if at and not (at[0] < height and at[1] < width):
            raise Missing(f"no unit {at[0]},{at[1]} in {layer}; allowed: 0,0 to {height - 1},{width - 1}")

        def record() -> Recorded:
            return record_pass(network, layer, explored.gallery.pixels(image)[None], rule=rule)

        def draw() -> Unit:
            recorded = self._passes.get((image, layer, rule), record, size=lambda _: 1)
            values = reconstruct_one(recorded, channel, at)
            found = recorded.maps[channel]
            painted = colours(values, signed_limits(values), "rgb")[0]
            return Unit(
                png=encode_png(np.ascontiguousarray(painted)),
                dark=not values.any(),
                value=float(found[at] if at else found.max()),
                caption=rule_reading(rule, recorded.relus),
                command=explored.command(
                    "reconstruct",
                    layer=layer,
                    channel=channel,
                    image=explored.gallery.argument(image),
                    rule=rule,
                    position=at and f"{at[0]},{at[1]}",
                ),
            )

        return self._kept.get((image, layer, channel, at, rule), draw, size=lambda it: len(it.png))

    def whole_unit(
        self, network: Network, image: str, layer: str, channel: int, at: tuple[int, int] | None, rule: Rule
    ) -> Picture:
        """The picture that a unit's command draws, to keep."""
        position = at and f"{at[0]},{at[1]}"
        pixels = self._explored.gallery.pixels(image)
        return reconstruct(network, layer, pixels, channel, rule=rule, position=position)

    def attribution(self, network: Network, image: str, how: How, target: int | None) -> Drawn:
        """An attribution's map. Raises Missing, and UsageError where it is not defined for the network."""
        explored = self._explored

        def draw() -> Picture:
            return attribute(network, explored.gallery.pixels(image), how=how, target=target)

        picture = self._kept.get((image, how, target), draw, size=lambda it: it.values.nbytes)
        flags = {"image": explored.gallery.argument(image), "how": how, "target": target}
        return Drawn(picture, 0, explored.command("attribute", **flags))

    def decisive(self, network: Network, image: str, target: int | None, progress: Progress) -> dict[str, Any]:
        """The channels whose removal moves this image's prediction most. Raises Missing."""
        pixels = self._explored.gallery.pixels(image)
        found = self._kept.get(
            (image, "decisive", target),
            lambda: find_decisive(network, pixels, target, progress=progress),
            size=lambda _: 100_000,
        )
        return {
            "target": found.target,
            "predicted": found.predicted,
            "score": found.score,
            "probability": found.probability,
            "removed": [each.__dict__ for each in found.removed],
        }


class Memory:
    """What was computed last, up to so many bytes; the oldest is forgotten first."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._held: OrderedDict[Hashable, tuple[Any, int]] = OrderedDict()
        self._bytes = 0
        self._lock = Lock()

    def find(self, key: Hashable, kind: type[Value]) -> Value | None:
        """What is held under the key, of this kind; None where nothing is."""
        with self._lock:
            found = self._held.get(key, (None, 0))[0]
        return found if isinstance(found, kind) else None

    def get(self, key: Hashable, make: Callable[[], Value], *, size: Callable[[Value], int]) -> Value:
        """What is held under the key, or else made now and held."""
        with self._lock:
            if key in self._held:
                self._held.move_to_end(key)
                return cast("Value", self._held[key][0])
        made = make()
        with self._lock:
            self._bytes += size(made) - self._held.get(key, (None, 0))[1]
            self._held[key] = made, size(made)
            while self._bytes > self._most:
                self._bytes -= self._held.popitem(last=False)[1][1]
        return made
