"""The explorer's films: how one channel formed, frame by frame, from what the training's film kept."""

from __future__ import annotations

import copy
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import safetensors.numpy
from safetensors import SafetensorError

from convscope.errors import CheckpointError, ConvscopeError
from convscope.film.animation import webp_bytes
from convscope.film.frame_pictures import film_scale, filters_picture, frame_scale
from convscope.film.patterns import follow_patterns
from convscope.film.render import HOLD, chosen_filters, draw_film, draw_sheets, read_frames, with_patterns
from convscope.film.story import Story
from convscope.paint import colours, image_picture
from convscope.training.folder import read_events
from convscope.training.frames import FilmInfo, read_info, recorded_steps, weights_steps
from convscope.types import Event, Network, Picture
from convscope.web.answers import Missing
from convscope.web.explorer.behind import Behind
from convscope.web.explorer.explored import Explored
from convscope.web.explorer.looks import Memory
from convscope.web.explorer.pictures import encode_png

FRAMES_PER_SECOND = 8.0
KEPT_BYTES = 50_000_000


class Source(NamedTuple):
    """The run's film, and what the log says of it."""

    run: Path
    info: FilmInfo
    events: list[Event]

    @property
    def told(self) -> list[int]:
        """The steps that the log says were kept."""
        return [event.step for event in self.events if event.kind == "film"]


class Films:
    """Filters of the first convolution at once; patterns of other layers are drawn in the background, and kept."""

    def __init__(self, explored: Explored, behind: Behind) -> None:
        self._explored = explored
        self._behind = behind
        self._kept = Memory(KEPT_BYTES)
        self._going: dict[tuple[str, int], tuple[int, int]] = {}  # frames done, and all there will be
        self._failed: dict[tuple[str, int], str] = {}

    def tell(self, layer: str, channel: int) -> dict[str, Any]:
        """When the frames were taken, and how far they are drawn. Raises Missing."""
        source = self._source(layer, channel)
        pictures = self._pictures(source, layer, channel)
        steps, story = self._steps(source, layer) if pictures is None else [*pictures], Story(source.events)
        done, total = (len(steps),) * 2 if pictures else self._going.get((layer, channel), (0, len(steps)))
        return {
            "steps": steps,
            "epochs": None if story.epoch(0) is None else [story.epoch(step) for step in steps],
            "phases": [story.phase(step) for step in steps],
            "drawn": done,
            "total": total,
            "waiting": pictures is None,
            "command": self.command(layer, channel),
        }

    def command(self, layer: str, channel: int) -> str | None:
        """The command that draws the film; None where there is none."""
        if not self._explored.has_film:
            return None
        if layer == self._filter_layer():
            return self._explored.command("film", show="filters", channel=channel)
        return self._explored.command("film", show="patterns", layer=layer, channel=channel)

    def strip(self, layer: str, channel: int) -> bytes | None:
        """The frames side by side as bare pixels; None, and they are drawn, where there are none. Raises Missing."""
        source = self._source(layer, channel)
        pictures = self._pictures(source, layer, channel)
        if pictures is None:
            self._want(layer, channel)
            return None
        painted = [np.concatenate([*colours(each.values, each.limits, each.scale)], 1) for each in pictures.values()]
        return encode_png(np.ascontiguousarray(np.concatenate(painted, 1)))

    def animation(self, layer: str, channel: int) -> bytes | None:
        """What the film's command writes, as WebP; None, and it is drawn, where it is not there. Raises Missing."""
        source = self._source(layer, channel)
        pictures = self._pictures(source, layer, channel)
        if pictures is None:
            self._want(layer, channel)
            return None

        def draw() -> bytes:
            if layer == source.info.filter_layer:
                images = draw_film(source.run, source.events, show="filters", channel=channel).images
            else:
                images = draw_sheets(with_patterns({}, pictures), Story(source.events))
            return webp_bytes(images, frames_per_second=FRAMES_PER_SECOND, hold=HOLD)

        return self._kept.get((layer, channel, "animation"), draw, size=len)

    def _source(self, layer: str, channel: int) -> Source:
        """The run's film. Raises Missing where it has none, or none of this layer."""
        run = self._explored.run
        if run is None or not self._explored.has_film:
            raise Missing(f"{self._explored.name} has no film of its training; a run that was trained with one has")
        try:
            info = read_info(run)
            size = (run / "events.jsonl").stat().st_size
            events = self._kept.get(("events", size), lambda: read_events(run), size=lambda _: size)
        except OSError as error:
            raise Missing(f"the log of {self._explored.name} cannot be read: {error.strerror}") from error
        except ConvscopeError as error:
            raise Missing(str(error)) from error
        if info is None:
            raise Missing(f"{self._explored.name} has no film of its training any more")
        source = Source(run, info, events)
        if not self._steps(source, layer):
            raise Missing("the training's film kept no frame of this layer")
        if why := self._failed.get((layer, channel)):
            raise Missing(why)
        return source

    def _steps(self, source: Source, layer: str) -> list[int]:
        """The steps of which there is, or will be, a frame."""
        return (recorded_steps if layer == source.info.filter_layer else weights_steps)(source.run, source.told)

    def _filter_layer(self) -> str | None:
        """The layer whose filters the film kept."""
        run = self._explored.run
        try:
            info = read_info(run) if run else None
        except ConvscopeError:
            return None
        return info and info.filter_layer

    def _pictures(self, source: Source, layer: str, channel: int) -> dict[int, Picture] | None:
        """The frames by step; None where they have to be drawn first."""
        if layer == source.info.filter_layer:
            return self._kept.get(
                (layer, channel, len(source.told)), partial(_filters, source, channel), size=lambda it: 1000 * len(it)
            )
        return self._read(layer, channel)

    def _read(self, layer: str, channel: int) -> dict[int, Picture] | None:
        """The patterns that were drawn."""
        if held := self._kept.find((layer, channel, "patterns"), dict):
            return held
        path = self._behind.path(_name(layer, channel))
        try:
            found = safetensors.numpy.load(path.read_bytes()) if path else {}
            values = found["images"].astype(np.float32) / 255
            steps: list[int] = found["steps"].tolist()
        except (OSError, KeyError, SafetensorError):
            return None
        title = f"patterns of {layer}"
        return self._hold(
            layer,
            channel,
            {
                step: image_picture(f"film-{step}", title, values[[place]], captions=[str(channel)])
                for place, step in enumerate(steps)
            },
        )

    def _hold(self, layer: str, channel: int, pictures: dict[int, Picture]) -> dict[int, Picture]:
        size = sum(each.values.nbytes for each in pictures.values())
        return self._kept.get((layer, channel, "patterns"), lambda: pictures, size=lambda _: size)

    def _want(self, layer: str, channel: int) -> None:
        """Have the patterns drawn, unless they are being."""
        if (layer, channel) not in self._going:
            self._going[layer, channel] = 0, len(self._steps(self._source(layer, channel), layer))
            self._behind.put(partial(self._draw, layer=layer, channel=channel))

    def _draw(self, network: Network, *, layer: str, channel: int) -> None:
        """Follow the channel's pattern through the film, with weights that are nobody else's, and keep it."""
        what = f"film of {layer} {channel}"
        source = self._source(layer, channel)
        alone = replace(network, model=copy.deepcopy(network.model))

        def tell(_what: str, done: int, total: int | None) -> None:
            self._going[layer, channel] = done, total or 0
            self._behind.progress(what, done, (total or 0) + 1)  # it has ended when it is kept

        try:
            pictures = follow_patterns(
                source.run,
                alone,
                self._steps(source, layer),
                self._explored.dataset,
                layer=layer,
                channel=channel,
                seed=0,
                progress=tell,
            )
            images = np.concatenate([each.values for each in pictures.values()])
            self._hold(layer, channel, pictures)
            self._behind.keep(
                _name(layer, channel),
                safetensors.numpy.save(
                    {"images": np.rint(images * 255).astype(np.uint8), "steps": np.array([*pictures], np.int64)}
                ),
            )
        except ConvscopeError as error:
            self._failed[layer, channel] = str(error)
        finally:
            self._going.pop((layer, channel), None)
        self._behind.progress(what, 1, 1)


def _filters(source: Source, channel: int) -> dict[int, Picture]:
    """The channel's filter at each step, on one scale. Raises Missing."""
    try:
        frames = chosen_filters(source.info, read_frames(source.run, source.told), channel)
    except CheckpointError as error:
        raise Missing(str(error)) from error
    limit = film_scale(map(frame_scale, frames)).filters
    return {frame.step: filters_picture(source.info, frame, limit=limit) for frame in frames}


def _name(layer: str, channel: int) -> str:
    return f"film/{layer}-{channel}.safetensors"
